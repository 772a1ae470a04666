//! Name look-up: asked anew for every round, never twice at once for a name, and with the last good addresses to
//! fall back on.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, OnceLock};

use rejoin_core::{TransportError, TransportErrorKind};
use tokio::net::lookup_host;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::addresses::Health;
use crate::sync::lock;

type Answer = Option<Result<Vec<SocketAddr>, TransportError>>;

/// What names had for addresses, and what these were like. Takes memory when there is something to remember: a client
/// whose server is given as an address never asks.
#[derive(Debug, Default)]
pub(crate) struct Resolver(OnceLock<Box<Memory>>);

#[derive(Debug, Default)]
struct Memory {
    names: Mutex<HashMap<(String, u16), Known>>,
    health: Mutex<Health>,
}

#[derive(Debug, Default)]
struct Known {
    good: Vec<SocketAddr>,
    /// The system's look-up cannot be withdrawn: one that hangs is waited for again instead of asking beside it.
    asked: Option<watch::Receiver<Answer>>,
}

/// What a look-up came to.
#[derive(Debug)]
pub(super) struct Found {
    /// In the order they are tried; at least one.
    pub(super) addresses: Vec<SocketAddr>,
    /// Why these are old ones.
    pub(super) instead_of: Option<TransportError>,
}

impl Found {
    /// An address that nobody has to look up.
    pub(super) fn one(address: IpAddr, port: u16) -> Self {
        Self { addresses: vec![SocketAddr::new(address, port)], instead_of: None }
    }
}

impl Resolver {
    fn memory(&self) -> &Memory {
        self.0.get_or_init(Box::default)
    }

    /// The addresses of a name, by then at the latest.
    pub(super) async fn look_up(
        &self,
        host: &str,
        port: u16,
        until: Instant,
    ) -> Result<Found, TransportError> {
        let now = Instant::now();
        if let Ok(address) = host.parse() {
            return Ok(Found::one(address, port));
        }
        let mut asked = self.ask(host, port);
        let answer = match timeout_at(until, asked.wait_for(Option::is_some)).await {
            Ok(Ok(answer)) => answer.clone(),
            Ok(Err(_)) => None,
            Err(_) => Some(Err(TransportError::new(
                TransportErrorKind::ResolverFailed,
                format!("{host}: the name service did not answer within {:.1?}", now.elapsed()),
            ))),
        };
        let answer = answer.unwrap_or_else(|| {
            Err(TransportError::new(
                TransportErrorKind::ResolverFailed,
                format!("{host}: the look-up broke off"),
            ))
        });
        let (found, instead_of) = match answer {
            Ok(found) => (found, None),
            Err(error) => {
                let old =
                    lock(&self.memory().names).get(&(host.to_owned(), port)).map(|known| known.good.clone());
                match old.filter(|old| !old.is_empty()) {
                    Some(old) => {
                        tracing::debug!(target: "rejoin", host, %error, "using the addresses that worked before");
                        (old, Some(error))
                    }
                    None => return Err(error),
                }
            }
        };
        Ok(Found { addresses: lock(&self.memory().health).sort(&found, Instant::now()), instead_of })
    }

    fn ask(&self, host: &str, port: u16) -> watch::Receiver<Answer> {
        let mut names = lock(&self.memory().names);
        let known = names.entry((host.to_owned(), port)).or_default();
        if let Some(asked) = &known.asked
            && asked.borrow().is_none()
            && asked.has_changed().is_ok()
        {
            return asked.clone();
        }
        let (answer, asked) = watch::channel(None);
        known.asked = Some(asked.clone());
        let host = host.to_owned();
        tokio::spawn(async move {
            let found = lookup_host((host.as_str(), port)).await;
            answer.send_replace(Some(match found {
                Ok(found) => {
                    Some(found.collect::<Vec<_>>()).filter(|found| !found.is_empty()).ok_or_else(|| {
                        TransportError::new(TransportErrorKind::NameNotFound, format!("{host}: no address"))
                    })
                }
                Err(error) => Err(look_up_error(&host, &error)),
            }));
        });
        asked
    }

    /// An address of this name worked: it, and those beside it, are worth remembering.
    pub(super) fn worked(&self, host: &str, port: u16, address: SocketAddr, all: &[SocketAddr]) {
        let Some(memory) = self.0.get() else { return };
        lock(&memory.health).worked(address);
        if let Some(known) = lock(&memory.names).get_mut(&(host.to_owned(), port)) {
            all.clone_into(&mut known.good);
        }
    }

    /// A name whose look-up never ends, as that of a machine with a dead name service, and which had these addresses.
    #[cfg(test)]
    pub(super) fn hangs(&self, host: &str, port: u16, good: &[SocketAddr]) -> watch::Sender<Answer> {
        let (answer, asked) = watch::channel(None);
        let known = Known { good: good.to_vec(), asked: Some(asked) };
        lock(&self.memory().names).insert((host.to_owned(), port), known);
        answer
    }

    pub(super) fn failed(&self, address: SocketAddr) {
        lock(&self.memory().health).failed(address, Instant::now());
    }
}

/// The resolver's errors carry words and no number; only some say that asking again is of no use.
fn look_up_error(host: &str, error: &std::io::Error) -> TransportError {
    let words = error.to_string();
    let absent = ["not known", "No address", "nodename", "No such host", "not found"];
    let kind = if absent.iter().any(|part| words.contains(part)) {
        TransportErrorKind::NameNotFound
    } else {
        TransportErrorKind::ResolverFailed
    };
    TransportError::new(kind, format!("{host}: {words}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(50)
    }

    #[tokio::test]
    async fn a_name_service_that_hangs_ends_at_the_limit_and_is_not_asked_twice() {
        let resolver = Resolver::default();
        let asked = resolver.hangs("broker.example", 1883, &[]);
        for _ in 0..3 {
            let error = resolver.look_up("broker.example", 1883, soon()).await.unwrap_err();
            assert_eq!(error.kind, TransportErrorKind::ResolverFailed, "{error}");
        }
        assert_eq!(asked.receiver_count(), 1, "only the one that is remembered");
    }

    #[tokio::test]
    async fn the_last_good_addresses_are_used_when_the_name_service_is_gone() {
        let resolver = Resolver::default();
        let good: Vec<SocketAddr> =
            vec!["192.0.2.1:1883".parse().unwrap(), "192.0.2.2:1883".parse().unwrap()];
        let answer = resolver.hangs("broker.example", 1883, &good);
        resolver.failed(good[0]);
        let found = resolver.look_up("broker.example", 1883, soon()).await.unwrap();
        assert_eq!(found.addresses, [good[1], good[0]], "the one that failed comes last");
        assert!(found.instead_of.is_some());
        let new: SocketAddr = "192.0.2.3:1883".parse().unwrap();
        answer.send_replace(Some(Ok(vec![new])));
        let asked =
            lock(&resolver.memory().names)[&("broker.example".to_owned(), 1883)].asked.clone().unwrap();
        assert_eq!(*asked.borrow(), Some(Ok(vec![new])));
    }

    #[tokio::test]
    async fn an_address_is_no_name() {
        let found = Resolver::default().look_up("::1", 7, soon()).await.unwrap();
        assert_eq!(found.addresses, ["[::1]:7".parse().unwrap()]);
    }

    #[test]
    fn only_a_clear_word_of_the_resolver_says_that_a_name_does_not_exist() {
        let cases = [
            ("Name or service not known", TransportErrorKind::NameNotFound),
            ("No address associated with hostname", TransportErrorKind::NameNotFound),
            ("Temporary failure in name resolution", TransportErrorKind::ResolverFailed),
            ("System error", TransportErrorKind::ResolverFailed),
        ];
        for (words, expected) in cases {
            let words = format!("failed to lookup address information: {words}");
            let error = look_up_error("broker.example", &std::io::Error::other(words));
            assert_eq!(error.kind, expected, "{error}");
            assert!(error.detail.starts_with("broker.example: "));
        }
    }
}
