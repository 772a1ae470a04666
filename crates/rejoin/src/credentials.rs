//! Credentials that are asked for: before each attempt, by one asker at a time, and kept as long as they are fresh.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rejoin_core::text::Text;
use rejoin_core::{Login, TransportError, TransportErrorKind};
use tokio::sync::Mutex;

use crate::renewal::Identity;
use crate::secret::Secret;

/// Kept credentials are asked for anew this long before they expire, or at nine tenths of their life if that is
/// later: a broker that gets them in the last second may be too slow to like them.
const MARGIN: Duration = Duration::from_secs(30);
/// What was asked for on an open link is used by the attempt that follows within this time: the change-over waits for the
/// budget, which lets an attempt through each minute at the latest.
const HANDED_OVER: Duration = Duration::from_secs(60);
/// Characters of a provider's error that are shown.
const SHOWN: usize = 256;

/// What a client proves its identity with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Credentials {
    /// User name.
    pub user: Option<String>,
    /// Password or token.
    pub password: Option<Secret>,
    /// Until when they are good, if that is known: new ones are asked for before, and the link changes over to them.
    /// Without it they are asked for again before each attempt.
    pub expires: Option<SystemTime>,
}

impl Credentials {
    /// User name and password.
    pub fn new(user: impl Into<String>, password: impl Into<Secret>) -> Self {
        Self { user: Some(user.into()), password: Some(password.into()), expires: None }
    }

    /// A token without a user name. MQTT 3.1.1 cannot send it: it goes at 5.0, to every server, or not at all.
    pub fn token(token: impl Into<Secret>) -> Self {
        Self { user: None, password: Some(token.into()), expires: None }
    }

    /// They are good until then. New ones are asked for when 30 s, or a tenth of their life if that is less, are left;
    /// the client then changes over to a new link in order ([`rejoin_core::LocalCause::Renewal`]), or repeats the
    /// enhanced authentication on the same one.
    #[must_use]
    pub const fn expires_at(mut self, time: SystemTime) -> Self {
        self.expires = Some(time);
        self
    }
}

type Answer = Result<Credentials, Box<dyn Error + Send + Sync>>;
type Asking = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// Where credentials come from: a function that is asked before each attempt, and again when the broker refused what
/// it gave. Clones share it, so that many clients of one program ask once.
///
/// ```no_run
/// # async fn fetch_token() -> Result<(String, std::time::SystemTime), std::io::Error> { unreachable!() }
/// use rejoin::{Client, Credentials, CredentialSource};
/// let source = CredentialSource::new(|| async {
///     let (token, until) = fetch_token().await?;
///     Ok(Credentials::new("gw-17", token).expires_at(until))
/// });
/// let builder = Client::builder("mqtt://broker.example").login_from(source);
/// ```
///
/// An answer with a known end is used until shortly before it, or until a broker refuses it;
/// [`CredentialSource::asked_each_time`] changes that. A failure of the function is waited out by a back-off of its own
/// and is not held against the broker.
#[derive(Clone)]
pub struct CredentialSource {
    inner: Arc<Inner>,
    each_time: bool,
}

struct Inner {
    ask: Box<dyn Fn() -> Asking + Send + Sync>,
    /// Held while one asks, so that others wait for the same answer.
    kept: Mutex<Option<Kept>>,
    /// How often credentials were refused; what was kept before the latest is not used again.
    refusals: AtomicU64,
}

struct Kept {
    credentials: Credentials,
    got: SystemTime,
    refusals: u64,
    /// An open link asked for them, and no attempt has had them yet.
    renewed: bool,
}

impl fmt::Debug for CredentialSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CredentialSource")
    }
}

impl Kept {
    fn is_fresh(&self, now: SystemTime) -> bool {
        let Some(expires) = self.credentials.expires else { return false };
        let life = expires.duration_since(self.got).unwrap_or_default();
        now + MARGIN.min(life / 10) < expires
    }

    fn is_for_the_next(&self, now: SystemTime) -> bool {
        self.renewed && now < self.got + HANDED_OVER
    }
}

impl CredentialSource {
    /// A source that asks this function.
    pub fn new<F, Fut>(ask: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Answer> + Send + 'static,
    {
        let ask = Box::new(move || -> Asking { Box::pin(ask()) });
        let inner = Arc::new(Inner { ask, kept: Mutex::default(), refusals: AtomicU64::new(0) });
        Self { inner, each_time: false }
    }

    /// The function is asked before every attempt, though the end of its last answer is known: the end only tells when to
    /// renew it on an open link. One attempt within a minute after that renewal uses its answer, so that the link is not away while the
    /// function thinks. For a file or a command whose answer somebody may replace long before it ends. Default: an answer
    /// with a known end is kept, which spares the provider when many clients come back at once.
    #[must_use]
    pub fn asked_each_time(mut self) -> Self {
        self.each_time = true;
        self
    }

    /// The broker refused what was given.
    pub(crate) fn refused(&self) {
        self.inner.refusals.fetch_add(1, Ordering::Relaxed);
    }

    /// For an attempt.
    pub(crate) async fn login(&self) -> Result<Identity, TransportError> {
        self.answer(false).await
    }

    /// For an open link whose credentials are about to end.
    pub(crate) async fn renew(&self) -> Result<Identity, TransportError> {
        self.answer(true).await
    }

    /// How much is left of the life of what was given last, where that is known.
    pub(crate) fn good_for(&self) -> Option<Duration> {
        let ends = self.inner.kept.try_lock().ok()?.as_ref()?.credentials.expires?;
        ends.duration_since(SystemTime::now()).ok()
    }

    async fn answer(&self, renewed: bool) -> Result<Identity, TransportError> {
        let mut kept = self.inner.kept.lock().await;
        let now = SystemTime::now();
        let refusals = self.inner.refusals.load(Ordering::Relaxed);
        let known = kept.as_mut().filter(|kept| kept.refusals == refusals && kept.is_fresh(now));
        if let Some(known) = known.filter(|known| !self.each_time || (!renewed && known.is_for_the_next(now)))
        {
            known.renewed = false;
            return identity(&known.credentials);
        }
        *kept = None;
        let credentials = (self.inner.ask)().await.map_err(|error| {
            let words: String = error.to_string().chars().take(SHOWN).collect();
            no_credentials(format!("the credential provider failed: {}", words.escape_debug()))
        })?;
        let identity = identity(&credentials);
        *kept = Some(Kept { credentials, got: SystemTime::now(), refusals, renewed });
        identity
    }
}

fn identity(credentials: &Credentials) -> Result<Identity, TransportError> {
    let user_name = match &credentials.user {
        None => None,
        Some(user) => Some(
            Text::try_from(user.as_str())
                .map_err(|error| no_credentials(format!("the user name the provider gave: {error}")))?,
        ),
    };
    if credentials.password.as_ref().is_some_and(|password| password.expose().len() > Text::MAX_BYTES) {
        return Err(no_credentials("the password the provider gave is longer than 65,535 bytes"));
    }
    let login = Login { user_name, password: credentials.password.clone().map(Secret::into_bytes) };
    Ok(Identity { login: Some(login), data: None, ends: credentials.expires })
}

pub(crate) fn no_credentials(what: impl Into<String>) -> TransportError {
    TransportError::new(TransportErrorKind::Credentials, what)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    fn counting(life: Option<Duration>) -> (CredentialSource, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let source = CredentialSource::new(move || {
            let number = count.fetch_add(1, Ordering::Relaxed);
            async move {
                tokio::task::yield_now().await;
                let credentials = Credentials::new("me", format!("token {number}"));
                Ok(match life {
                    Some(life) => credentials.expires_at(SystemTime::now() + life),
                    None => credentials,
                })
            }
        });
        (source, asked)
    }

    #[tokio::test]
    async fn without_a_known_end_each_attempt_asks() {
        let (source, asked) = counting(None);
        for _ in 0..3 {
            source.login().await.unwrap();
        }
        assert_eq!(asked.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn many_askers_at_once_ask_once() {
        let (source, asked) = counting(Some(Duration::from_secs(60)));
        let askers: Vec<_> = (0..10)
            .map(|_| {
                let source = source.clone();
                tokio::spawn(async move { source.login().await })
            })
            .collect();
        for asker in askers {
            let login = asker.await.unwrap().unwrap().login.unwrap();
            assert_eq!(login.password.unwrap(), "token 0");
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn what_was_refused_or_is_about_to_expire_is_asked_for_anew() {
        let (source, asked) = counting(Some(Duration::from_secs(60)));
        source.login().await.unwrap();
        source.refused();
        source.login().await.unwrap();
        source.login().await.unwrap();
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        let got = SystemTime::now();
        let life = Duration::from_secs(100);
        let credentials = Credentials::token("t").expires_at(got + life);
        let kept = Kept { credentials, got, refusals: 0, renewed: true };
        assert!(kept.is_for_the_next(got + Duration::from_secs(59)));
        assert!(!kept.is_for_the_next(got + Duration::from_secs(60)));
        assert!(kept.is_fresh(got + Duration::from_secs(89)));
        assert!(!kept.is_fresh(got + Duration::from_secs(91)));
    }

    #[tokio::test]
    async fn who_wants_it_is_asked_each_time_but_not_twice_for_one_change_over() {
        let (source, asked) = counting(Some(Duration::from_secs(60)));
        let source = source.asked_each_time();
        source.login().await.unwrap();
        source.clone().login().await.unwrap();
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        assert!(source.renew().await.unwrap().ends.is_some());
        let login = source.login().await.unwrap().login.unwrap();
        assert_eq!(login.password.unwrap(), "token 2", "the next link has what the last one asked for");
        source.login().await.unwrap();
        assert_eq!(asked.load(Ordering::Relaxed), 4);
        source.renew().await.unwrap();
        source.refused();
        source.login().await.unwrap();
        assert_eq!(asked.load(Ordering::Relaxed), 6);
    }

    #[tokio::test]
    async fn a_failure_is_told_and_nothing_is_kept() {
        let source = CredentialSource::new(|| async { Err("the vault is sealed".into()) });
        let error = source.login().await.unwrap_err();
        assert_eq!(error.kind, TransportErrorKind::Credentials);
        assert!(error.detail.contains("the vault is sealed"), "{error}");
    }

    #[test]
    fn credentials_are_never_printed() {
        assert!(!format!("{:?}", Credentials::new("me", "hunter2")).contains("hunter2"));
    }
}
