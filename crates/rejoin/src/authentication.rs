//! Enhanced authentication (5.0): who answers the broker's challenges, and the answer under way.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use rejoin_core::TransportError;
use rejoin_core::text::Text;

use crate::credentials::no_credentials;
use crate::renewal::{Asked, ask_beside_a_link};
use crate::secret::Secret;
use crate::transport::Dial;

/// Characters of an error that are shown.
const SHOWN: usize = 256;

/// What enhanced authentication asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthStep {
    /// An exchange begins: the data of CONNECT, or of AUTH where `again`.
    Begin {
        /// On an open link, as when a token is about to expire.
        again: bool,
    },
    /// The broker's challenge.
    Challenge(Option<Secret>),
    /// The exchange ended well for the broker; this is what it says for itself. An error means that it is not
    /// believed, and ends the link; messages may have been sent on it by then. What `Ok` holds is not sent.
    Proof {
        /// The broker's data.
        data: Option<Secret>,
        /// On an open link.
        again: bool,
    },
}

type Answer = Result<Option<Secret>, Box<dyn Error + Send + Sync>>;
type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// Enhanced authentication of MQTT 5.0: a method, and a function that answers its steps, each within
/// [`crate::StageLimits::credentials`].
///
/// ```
/// use rejoin::{AuthStep, Authentication, Client, Secret};
/// let authentication = Authentication::new("K8S-SAT", |step| async move {
///     Ok(match step {
///         AuthStep::Begin { .. } => Some(Secret::from("the service account's token")),
///         _ => None,
///     })
/// });
/// let builder = Client::builder("mqtt://broker.example").authentication(authentication);
/// ```
#[derive(Clone)]
pub struct Authentication {
    method: String,
    answer: Arc<dyn Fn(AuthStep) -> Answering + Send + Sync>,
    /// How long what a [`AuthStep::Begin`] gave is good for.
    pub(crate) good_for: Option<Duration>,
}

impl fmt::Debug for Authentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authentication").field("method", &self.method).finish_non_exhaustive()
    }
}

impl Authentication {
    /// A method and who answers its steps.
    pub fn new<F, Fut>(method: impl Into<String>, answer: F) -> Self
    where
        F: Fn(AuthStep) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Answer> + Send + 'static,
    {
        Self { method: method.into(), answer: Arc::new(move |step| Box::pin(answer(step))), good_for: None }
    }

    /// What [`AuthStep::Begin`] answers is good for this long: the client authenticates anew on the open link when 30 s
    /// of it, or a tenth if that is less, are left. Default: nobody knows, and [`crate::Client::reauthenticate`] is the
    /// application's to call; with [`crate::Builder::login_from`] beside it, when those credentials end.
    #[must_use]
    pub const fn good_for(mut self, life: Duration) -> Self {
        self.good_for = Some(life);
        self
    }

    /// As the settings of the core want it.
    pub(crate) fn config(&self) -> Result<rejoin_core::Authentication, String> {
        let method = Text::try_from(self.method.as_str()).map_err(|error| error.to_string())?;
        Ok(rejoin_core::Authentication { method, data: None })
    }

    /// The data of one step.
    pub(crate) async fn step(&self, step: AuthStep) -> Result<Option<Bytes>, TransportError> {
        let answer = (self.answer)(step).await.map_err(|error| {
            let words: String = error.to_string().chars().take(SHOWN).collect();
            no_credentials(format!("enhanced authentication failed here: {}", words.escape_debug()))
        })?;
        let data = answer.map(Secret::into_bytes);
        if data.as_ref().is_some_and(|data| data.len() > Text::MAX_BYTES) {
            return Err(no_credentials("enhanced authentication gave more than 65,535 bytes of data"));
        }
        Ok(data)
    }
}

/// What an answer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum For {
    Challenge,
    Again,
    Proof { again: bool },
}

type Answered = Result<Option<Bytes>, TransportError>;

/// An answer under way. Dropping it withdraws it.
pub(crate) struct Step {
    purpose: For,
    asked: Asked<Option<Bytes>>,
}

impl Step {
    pub(crate) fn begin(dial: &Dial, by: &Authentication, step: AuthStep) -> Self {
        let purpose = match &step {
            AuthStep::Begin { .. } => For::Again,
            AuthStep::Challenge(_) => For::Challenge,
            AuthStep::Proof { again, .. } => For::Proof { again: *again },
        };
        let by = by.clone();
        let question = async move { by.step(step).await };
        Self { purpose, asked: ask_beside_a_link(dial, "enhanced authentication", question) }
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(For, Answered)> {
        self.asked.as_mut().poll(cx).map(|answered| (self.purpose, answered))
    }
}
