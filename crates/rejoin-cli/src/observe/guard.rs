//! Who may read and who may act.
//!
//! On loopback everybody on this machine may read, and whoever has the token may act. On any other address the token is
//! asked for everything. A browser must have asked for this program by a name of its own: a foreign page whose name
//! suddenly points here (DNS rebinding) is turned away by the Host header.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use axum::http::{HeaderMap, StatusCode, header};

/// Characters of a token at least: 16 of them chosen at random cannot be guessed over a network.
pub(crate) const TOKEN_MIN: usize = 16;

/// Characters of a token at most.
pub(crate) const TOKEN_MAX: usize = 256;

/// Where a token of one's own may stand.
pub(crate) const TOKEN_VARIABLE: &str = "REJOIN_SERVE_TOKEN";

/// What proves the right to act. Never printed but by [`Token::reveal`].
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Token {
    /// From the file, from the environment, or drawn anew.
    pub(crate) fn find(file: Option<&Path>, variable: Option<String>) -> Result<Self, String> {
        if let Some(path) = file {
            let place = path.display();
            let text = std::fs::read_to_string(path).map_err(|e| format!("token file {place}: {e}"))?;
            return Self::given(text.trim_end()).map_err(|e| format!("token file {place}: {e}"));
        }
        match variable {
            Some(text) => Self::given(&text).map_err(|e| format!("{TOKEN_VARIABLE}: {e}")),
            None => Ok(Self::drawn()),
        }
    }

    fn given(text: &str) -> Result<Self, String> {
        let fits = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
        if !(TOKEN_MIN..=TOKEN_MAX).contains(&text.len()) || !text.chars().all(fits) {
            return Err(format!(
                "a token has {TOKEN_MIN} to {TOKEN_MAX} characters out of letters, digits and - . _ ~"
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// 128 bits that nobody can guess: the keys of the hash come from the system's source of randomness, and what a
    /// keyed hash says of fixed input tells nothing of its key.
    fn drawn() -> Self {
        let state = RandomState::new();
        Self(format!("{:016x}{:016x}", state.hash_one(1_u8), state.hash_one(2_u8)))
    }

    /// The token itself, for the one line that gives it to the user.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether this is it, in a time that tells nothing of where it differs.
    fn is(&self, other: &str) -> bool {
        let (ours, theirs) = (self.0.as_bytes(), other.as_bytes());
        let mut differs = u8::from(ours.len() != theirs.len());
        for (index, byte) in theirs.iter().take(TOKEN_MAX).enumerate() {
            differs |= std::hint::black_box(ours[index % ours.len()] ^ byte);
        }
        std::hint::black_box(differs) == 0
    }
}

/// Why a request is not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The status.
    pub(crate) status: StatusCode,
    /// In words.
    pub(crate) text: String,
}

/// What a request wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// To see.
    Read,
    /// To change something.
    Act,
}

/// Who may read and who may act, at one address.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    token: Token,
    /// What the cookie holds. It lets read and nothing else: a browser sends a cookie to every port of this host, so
    /// that whoever serves another one gets to see it.
    reader: Token,
    /// Reading needs no token.
    open: bool,
    /// The name the user gave as the address, besides `localhost` and addresses.
    name: String,
    loopback: bool,
    /// Cookies do not tell ports apart; their names do.
    cookie: String,
}

impl Guard {
    /// For an address; `name` is its host as the user wrote it.
    pub(crate) fn new(addr: SocketAddr, name: &str, token: Token) -> Self {
        let loopback = addr.ip().is_loopback();
        Self {
            token,
            reader: Token::drawn(),
            open: loopback,
            name: name.to_ascii_lowercase(),
            loopback,
            cookie: format!("rejoin-{}", addr.port()),
        }
    }

    /// Whether reading needs the token, too.
    pub(crate) const fn is_closed(&self) -> bool {
        !self.open
    }

    /// Lets a request pass or says why not. `query` is that of the address asked for.
    pub(crate) fn check(&self, headers: &HeaderMap, query: &str, wish: Wish) -> Result<(), Refusal> {
        self.check_host(headers)?;
        let token = |shown| (shown, &self.token);
        let shown = match wish {
            Wish::Read if self.open => return Ok(()),
            Wish::Read => bearer(headers)
                .or_else(|| token_in(query))
                .map(token)
                .or_else(|| self.cookie_in(headers).map(|shown| (shown, &self.reader))),
            // Neither a cookie nor an address may act: both are sent by pages that were tricked into it.
            Wish::Act => bearer(headers).map(token),
        };
        match shown {
            Some((shown, secret)) if secret.is(shown) => Ok(()),
            Some((_, secret)) if std::ptr::eq(secret, &raw const self.reader) => Err(Refusal {
                status: StatusCode::UNAUTHORIZED,
                text: "the cookie is of an earlier run; open the address with the token on stderr of the program"
                    .to_owned(),
            }),
            Some(_) => Err(Refusal {
                status: StatusCode::FORBIDDEN,
                text: "this is not the token of this program".to_owned(),
            }),
            None => Err(Refusal {
                status: StatusCode::UNAUTHORIZED,
                text: "the token is missing; the address with it is on stderr of the program".to_owned(),
            }),
        }
    }

    /// What lets a browser that showed the token in the address read by itself from now on. The token is not in it.
    pub(crate) fn set_cookie(&self) -> String {
        format!("{}={}; HttpOnly; SameSite=Strict; Path=/", self.cookie, self.reader.reveal())
    }

    /// The token in the query, if it is the right one.
    pub(crate) fn shown_in(&self, query: &str) -> Option<&str> {
        token_in(query).filter(|shown| self.token.is(shown)).map(|_| self.token.reveal())
    }

    fn check_host(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let mut hosts = headers.get_all(header::HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else {
            return Err(Refusal {
                status: StatusCode::BAD_REQUEST,
                text: "a request names one host in its Host header".to_owned(),
            });
        };
        let host = host.to_str().unwrap_or_default();
        let name = host_name(host).to_ascii_lowercase();
        let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        // The port may be another one: of a tunnel, or of a proxy in front.
        let known = match address {
            Ok(address) => !self.loopback || address.is_loopback(),
            Err(_) => name == "localhost" || (!name.is_empty() && name == self.name),
        };
        if known {
            return Ok(());
        }
        Err(Refusal {
            status: StatusCode::FORBIDDEN,
            text: format!(
                "`{}` is no name of this program; ask for localhost, for its address, or give the name to --serve",
                host.escape_debug()
            ),
        })
    }

    fn cookie_in<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        cookies
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find_map(|(name, value)| (name == self.cookie).then_some(value))
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn token_in(query: &str) -> Option<&str> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find_map(|(name, value)| (name == "token").then_some(value))
}

/// The host without its port.
fn host_name(host: &str) -> &str {
    match host.rsplit_once(':') {
        // An IPv6 address in brackets without a port ends in one.
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.is_empty() => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (header::HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    fn guard(addr: &str, name: &str) -> Guard {
        Guard::new(addr.parse().unwrap(), name, Token::given(TOKEN).unwrap())
    }

    #[test]
    fn a_foreign_name_is_turned_away_and_a_tunnel_is_not() {
        let local = guard("127.0.0.1:9090", "127.0.0.1");
        let passes =
            |guard: &Guard, host: &str| guard.check(&headers(&[("host", host)]), "", Wish::Read).is_ok();
        for host in [
            "127.0.0.1:9090",
            "localhost:9090",
            "LOCALHOST",
            "localhost:8000",
            "[::1]:9090",
            "[::1]",
            "127.0.0.2",
        ] {
            assert!(passes(&local, host), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:9090",
            "localhost.evil.example",
            "10.0.0.1:9090",
            "",
            ":9090",
            "[::2]:1",
            "127.0.0.1.evil.example",
        ] {
            assert!(!passes(&local, host), "{host}");
        }
        let twice = headers(&[("host", "localhost"), ("host", "evil.example")]);
        assert_eq!(local.check(&twice, "", Wish::Read).unwrap_err().status, StatusCode::BAD_REQUEST);
        assert_eq!(local.check(&headers(&[]), "", Wish::Read).unwrap_err().status, StatusCode::BAD_REQUEST);
        let open = guard("0.0.0.0:9090", "gw.example");
        let shown =
            |host: &str| open.check(&headers(&[("host", host)]), &format!("token={TOKEN}"), Wish::Read);
        assert!(shown("10.0.0.1:9090").is_ok() && shown("gw.example:9090").is_ok());
        assert_eq!(shown("evil.example").unwrap_err().status, StatusCode::FORBIDDEN);
    }

    #[test]
    fn acting_needs_the_token_in_the_header_and_reading_only_away_from_loopback() {
        let local = guard("127.0.0.1:9090", "");
        let remote = guard("10.0.0.1:9090", "");
        let bearer =
            |token: &str| headers(&[("host", "10.0.0.1"), ("authorization", &format!("Bearer {token}"))]);
        let plain = headers(&[("host", "127.0.0.1")]);
        let given = remote.set_cookie();
        let given = given.split(';').next().unwrap();
        let cookie = headers(&[("host", "10.0.0.1"), ("cookie", &format!("a=b; {given}"))]);
        let query = format!("snapshot=1&token={TOKEN}");
        assert!(local.check(&plain, "", Wish::Read).is_ok());
        assert_eq!(local.check(&plain, &query, Wish::Act).unwrap_err().status, StatusCode::UNAUTHORIZED);
        assert_eq!(remote.check(&plain, "", Wish::Read).unwrap_err().status, StatusCode::UNAUTHORIZED);
        assert_eq!(remote.check(&bearer("wrong"), "", Wish::Read).unwrap_err().status, StatusCode::FORBIDDEN);
        for wrong in ["", "0", "0123456789abcdeF", "0123456789abcdef0", "0123456789abcde"] {
            assert_eq!(
                remote.check(&bearer(wrong), "", Wish::Act).unwrap_err().status,
                StatusCode::FORBIDDEN
            );
        }
        for wish in [Wish::Read, Wish::Act] {
            assert!(remote.check(&bearer(TOKEN), "", wish).is_ok());
        }
        assert!(remote.check(&cookie, "", Wish::Read).is_ok());
        assert!(remote.check(&plain, &query, Wish::Read).is_ok());
        assert_eq!(remote.check(&cookie, &query, Wish::Act).unwrap_err().status, StatusCode::UNAUTHORIZED);
    }

    #[test]
    fn whoever_sees_the_cookie_can_read_and_cannot_act() {
        let remote = guard("10.0.0.1:9090", "");
        let given = remote.set_cookie();
        assert!(!given.contains(TOKEN), "{given}");
        let (name, seen) = given.split(';').next().unwrap().split_once('=').unwrap();
        let stolen = headers(&[("host", "10.0.0.1"), ("authorization", &format!("Bearer {seen}"))]);
        for wish in [Wish::Read, Wish::Act] {
            assert_eq!(remote.check(&stolen, "", wish).unwrap_err().status, StatusCode::FORBIDDEN);
        }
        let with = |value: &str| headers(&[("host", "10.0.0.1"), ("cookie", &format!("{name}={value}"))]);
        assert!(remote.check(&with(seen), "", Wish::Read).is_ok());
        let query = format!("token={TOKEN}");
        assert!(
            remote.check(&with("old"), &query, Wish::Read).is_ok(),
            "the address wins over an old cookie"
        );
        for wrong in ["old", TOKEN] {
            let refusal = remote.check(&with(wrong), "", Wish::Read).unwrap_err();
            assert_eq!(refusal.status, StatusCode::UNAUTHORIZED);
            assert!(refusal.text.contains("of an earlier run"), "{refusal:?}");
        }
        assert_ne!(guard("10.0.0.1:9090", "").set_cookie(), given, "each run has its own");
        assert!(!format!("{remote:?}").contains(seen));
    }

    #[test]
    fn tokens_are_long_different_and_never_printed() {
        let (a, b) = (Token::drawn(), Token::drawn());
        assert!(a != b && a.reveal().len() == 32 && Token::given(a.reveal()).is_ok());
        assert_eq!(format!("{a:?}"), "***");
        assert!(!format!("{:?}", guard("127.0.0.1:1", "x")).contains(TOKEN));
        for bad in ["short", "has a space in it", "with/slash/and/more"] {
            let error = Token::find(None, Some(bad.to_owned())).unwrap_err();
            assert!(error.contains(TOKEN_VARIABLE) && !error.contains(bad), "{error}");
        }
        assert!(
            Token::find(Some(Path::new("/nonexistent/token")), None)
                .unwrap_err()
                .contains("/nonexistent/token")
        );
    }
}
