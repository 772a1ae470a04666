//! Who we are and for how long: what is asked for an attempt, and again before it ends.

use std::pin::Pin;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use rejoin_core::flight::Flight;
use rejoin_core::{Login, Now, TransportError};
use tokio::task::JoinHandle;

use crate::credentials::{CredentialSource, no_credentials};
use crate::translate;
use crate::transport::Dial;

/// Who is asked for credentials.
pub(crate) const PROVIDER: &str = "the credential provider";

/// What an attempt proves its identity with.
#[derive(Debug, Default)]
pub(crate) struct Identity {
    /// Credentials, where somebody was asked for them.
    pub(crate) login: Option<Login>,
    /// Authentication Data for CONNECT.
    pub(crate) data: Option<Bytes>,
    /// When the first of them ends, if that is known.
    pub(crate) ends: Option<SystemTime>,
}

impl Identity {
    /// How much of its life is left.
    pub(crate) fn good_for(&self) -> Option<Duration> {
        self.ends.map(|ends| ends.duration_since(SystemTime::now()).unwrap_or_default())
    }
}

type Answer<T> = Result<T, TransportError>;

/// What the application was asked and has not answered. Holds none of its code: polling it blocks nobody.
pub(crate) type Asked<T> = Pin<Box<dyn Future<Output = Answer<T>> + Send>>;

struct Asking<T>(JoinHandle<T>);

impl<T> Drop for Asking<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Asks the application, in a task on the runtime of its own code: where the driver has a thread of its own, an answer that
/// blocks must not stop pings and timers. Dropping what this gives withdraws the question.
pub(crate) fn ask<T: Send + 'static>(
    dial: &Dial,
    whom: &'static str,
    question: impl Future<Output = Answer<T>> + Send + 'static,
) -> Asked<T> {
    let mut asking = Asking(dial.runtime.spawn(question));
    Box::pin(async move {
        let broke = |error| Err(no_credentials(format!("{whom} broke off: {error}")));
        (&mut asking.0).await.unwrap_or_else(broke)
    })
}

/// The same on an open link, within the limit of the credentials stage.
pub(crate) fn ask_beside_a_link<T: Send + 'static>(
    dial: &Dial,
    whom: &'static str,
    question: impl Future<Output = Answer<T>> + Send + 'static,
) -> Asked<T> {
    let (limit, asked) = (dial.limits.credentials, ask(dial, whom, question));
    Box::pin(async move {
        let late = |_| Err(no_credentials(format!("{whom} gave no answer within {limit:?}")));
        tokio::time::timeout(limit, asked).await.unwrap_or_else(late)
    })
}

/// New credentials are due. Where nobody gives any, there is only the method of enhanced authentication.
pub(crate) fn begin(dial: &Dial, engine: &mut Flight, now: Now) -> Option<Asked<Identity>> {
    let Some(source) = dial.login.clone() else {
        engine.renewed(None, None, now);
        return None;
    };
    Some(ask_beside_a_link(dial, PROVIDER, async move { source.renew().await }))
}

/// The provider answered, or could not.
pub(crate) fn answered(answered: Answer<Identity>, engine: &mut Flight, now: Now) {
    match answered {
        Ok(identity) => {
            let good_for = identity.good_for();
            engine.renewed(identity.login, good_for, now);
        }
        Err(error) => {
            translate::not_renewed(&error);
            let _ = engine.renewal_failed(now);
        }
    }
}

/// Proves anew who we are, on the open link. What ends first, the login or what the method gave, is renewed for.
pub(crate) fn reauthenticate(data: Option<Bytes>, dial: &Dial, engine: &mut Flight, now: Now) {
    let begun = engine.reauthenticate(data, now);
    let life = dial.authentication.as_ref().and_then(|by| by.good_for);
    if begun && life.is_some() {
        let login = dial.login.as_ref().and_then(CredentialSource::good_for);
        engine.credentials_end(life.into_iter().chain(login).min(), now);
    }
}
