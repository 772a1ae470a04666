//! The proxy that the environment names, and the servers it is not used for.

use std::net::IpAddr;

use super::{Proxies, Proxy};

/// Servers that are reached without a proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Exceptions(Vec<Exception>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Exception {
    All,
    /// A name and everything below it, for one port or all.
    Name(String, Option<u16>),
    /// The first bits of an address.
    Net(IpAddr, u8),
}

impl Exceptions {
    pub(super) fn parse(list: &str) -> Self {
        let items = list.split([',', ' ']).map(str::trim).filter(|item| !item.is_empty());
        Self(items.map(Exception::parse).collect())
    }

    pub(super) fn hold(&self, host: &str, port: u16) -> bool {
        self.0.iter().any(|exception| exception.is(host, port))
    }
}

impl Exception {
    fn parse(item: &str) -> Self {
        if item == "*" {
            return Self::All;
        }
        let bare = item.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Self::Net(address, if address.is_ipv4() { 32 } else { 128 });
        }
        if let Some((address, bits)) = item.split_once('/')
            && let (Ok(address), Ok(bits)) = (address.parse(), bits.parse())
        {
            return Self::Net(address, bits);
        }
        let (name, port) = match item.rsplit_once(':') {
            Some((name, port)) if port.parse::<u16>().is_ok() => (name, port.parse().ok()),
            _ => (item, None),
        };
        let name = name.trim_start_matches('*').trim_start_matches('.').trim_end_matches('.');
        Self::Name(name.to_ascii_lowercase(), port)
    }

    fn is(&self, host: &str, port: u16) -> bool {
        match self {
            Self::All => true,
            Self::Name(name, only) => {
                let host = host.trim_end_matches('.').to_ascii_lowercase();
                let below = host.strip_suffix(name.as_str());
                only.is_none_or(|only| only == port)
                    && below.is_some_and(|below| below.is_empty() || below.ends_with('.'))
            }
            Self::Net(net, bits) => host.parse().is_ok_and(|address: IpAddr| same_bits(*net, address, *bits)),
        }
    }
}

fn same_bits(a: IpAddr, b: IpAddr, bits: u8) -> bool {
    let (a, b, width) = match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u128::from(u32::from(a)), u128::from(u32::from(b)), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => (u128::from(a), u128::from(b), 128),
        _ => return false,
    };
    let rest = u32::from(width - bits.min(width));
    (a ^ b).checked_shr(rest).unwrap_or(0) == 0
}

/// A variable that does not parse is told in the log and left out: it may be meant for another program.
pub(super) fn read(variable: impl Fn(&str) -> Option<String>) -> Proxies {
    let either = |name: &str| {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        set(&name.to_ascii_lowercase()).or_else(|| set(name))
    };
    let proxy = |name: &str| {
        let value = either(name)?;
        Proxy::parse(&value)
            .inspect_err(|error| tracing::warn!(target: "rejoin", variable = name, %error, "not used"))
            .ok()
            .map(Box::new)
    };
    let all = proxy("ALL_PROXY");
    Proxies {
        secure: proxy("HTTPS_PROXY").or_else(|| all.clone()),
        plain: all,
        except: either("NO_PROXY").map(|list| Exceptions::parse(&list)).unwrap_or_default(),
        named: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::url::{Scheme, ServerUrl};

    fn shown(variables: &[(&str, &str)], url: &str) -> String {
        // The scheme of TLS parses only with its feature.
        let mut target = ServerUrl::parse(&url.replace("mqtts", "mqtt")).unwrap();
        if url.starts_with("mqtts") {
            target.scheme = Scheme::Tls;
        }
        let proxies = read(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        });
        proxies.choose(&target).map_or_else(|| "-".to_owned(), Proxy::to_string)
    }

    #[test]
    fn the_usual_variables_are_read() {
        let set = [
            ("HTTPS_PROXY", "http://web:3128"),
            ("all_proxy", "socks5h://all"),
            ("NO_PROXY", "near.example"),
        ];
        assert_eq!(shown(&set, "mqtts://broker.example"), "http://web:3128");
        assert_eq!(shown(&set, "mqtt://broker.example"), "socks5h://all:1080");
        assert_eq!(shown(&set, "mqtts://near.example"), "-");
        assert_eq!(shown(&set, "mqtts://localhost"), "-");
        assert_eq!(shown(&set, "mqtt://127.0.0.2"), "-");
        assert_eq!(shown(&[("ALL_PROXY", "")], "mqtt://broker.example"), "-");
        assert_eq!(shown(&[("ALL_PROXY", "nonsense://x")], "mqtt://broker.example"), "-");
        assert_eq!(shown(&[], "mqtt://broker.example"), "-");
    }

    #[test]
    fn exceptions_are_names_with_all_below_them_addresses_and_networks() {
        let list = Exceptions::parse(
            "example.com, .plant.example,*.lab.example 10.0.0.0/8,[2001:db8::1],one.example:8883",
        );
        for near in [
            "example.com",
            "EXAMPLE.com.",
            "a.example.com",
            "plant.example",
            "x.lab.example",
            "10.9.8.7",
            "2001:db8::1",
        ] {
            assert!(list.hold(near, 1883), "{near}");
        }
        for far in ["notexample.com", "example.com.evil", "11.0.0.1", "2001:db8::2", "one.example"] {
            assert!(!list.hold(far, 1883), "{far}");
        }
        assert!(list.hold("one.example", 8883));
        assert!(Exceptions::parse("*").hold("anything", 1));
        assert!(
            !Exceptions::parse("0.0.0.0/0").hold("::1", 1)
                && Exceptions::parse("0.0.0.0/0").hold("192.0.2.1", 1)
        );
    }
}
