//! Who we are and for how long: what is asked for an attempt, and again before it ends.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use rejoin_core::flight::Flight;
use rejoin_core::{Login, Now, TransportError};
use tokio::task::JoinHandle;

use crate::credentials::{CredentialSource, no_credentials};
use crate::translate;
use crate::transport::Dial;

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

type Answered = Result<Identity, TransportError>;

/// New credentials being asked for while the link is open. Dropping it withdraws the question.
pub(crate) struct Renewing {
    task: JoinHandle<Answered>,
}

impl Renewing {
    /// Asks, in a task of its own and within the limit of the credentials stage.
    fn begin(source: CredentialSource, limit: Duration) -> Self {
        let task = tokio::spawn(async move {
            match tokio::time::timeout(limit, source.renew()).await {
                Ok(asked) => asked,
                Err(_) => {
                    Err(no_credentials(format!("the credential provider gave no answer within {limit:?}")))
                }
            }
        });
        Self { task }
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Answered> {
        let answered = ready!(Pin::new(&mut self.task).poll(cx));
        let broke = |error| Err(no_credentials(format!("the credential provider broke off: {error}")));
        Poll::Ready(answered.unwrap_or_else(broke))
    }
}

impl Drop for Renewing {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// New credentials are due. Where nobody gives any, there is only the method of enhanced authentication.
pub(crate) fn begin(dial: &Dial, engine: &mut Flight, now: Now) -> Option<Renewing> {
    let Some(source) = dial.login.clone() else {
        engine.renewed(None, None, now);
        return None;
    };
    Some(Renewing::begin(source, dial.limits.credentials))
}

/// The provider answered, or could not.
pub(crate) fn answered(answered: Answered, engine: &mut Flight, now: Now) {
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
