//! Text from outside: URLs of brokers, topics and filters.

use rejoin::{Client, ServerUrl};
use rejoin_core::{TopicFilter, TopicName};

/// A URL is read or refused in words; what is read can be shown without its password.
pub fn url(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match ServerUrl::parse(text) {
        Ok(url) => {
            assert!(!url.host.is_empty(), "{text:?} has no host");
            let shown = format!("{url:?}");
            assert!(url.password.is_none() || shown.contains("***"), "{shown}");
            let again = ServerUrl::parse(text);
            assert_eq!(again.as_ref(), Ok(&url));
        }
        Err(error) => {
            let shown = error.to_string();
            assert!(shown.chars().all(|c| !c.is_control()), "{shown:?} would break a terminal");
            if let Some((login, _)) = text.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@')) {
                let password = login.split_once(':').map_or("", |(_, password)| password);
                // A short one may stand elsewhere by chance, and a host may be called like it.
                let plain = password.chars().all(char::is_alphanumeric);
                let telling = plain && password.len() >= 6 && text.matches(password).count() == 1;
                assert!(!telling || !tells(&shown, text, password), "{shown:?} shows a password");
            }
        }
    }
    // The builder takes everything and says at its end what was wrong.
    let _ = Client::builder(text).server(text).client_id(text).prepare().map(drop);
}

/// Whether this error repeats the password. `client` as a password stands in our own words, which stay when it is another.
fn tells(shown: &str, url: &str, password: &str) -> bool {
    let other = ServerUrl::parse(&url.replace(password, "000000"));
    shown.contains(password) && !other.is_err_and(|error| error.to_string().contains(password))
}

/// A filter matches what the standard's own words match: levels, one by one.
pub fn filter(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (filter, topic) = text.split_once('\n').unwrap_or((text, "a/b"));
    let name = TopicName::try_from(topic);
    let Ok(parsed) = TopicFilter::try_from(filter) else {
        assert!(!is_valid(filter), "{filter:?} was refused");
        return;
    };
    assert!(is_valid(filter), "{filter:?} was taken");
    assert_eq!(parsed.as_str(), filter);
    assert_eq!(parsed.is_shared(), filter.starts_with("$share/"));
    if name.is_ok() {
        let plain = plain(filter);
        let levels: Vec<&str> = plain.split('/').collect();
        let given: Vec<&str> = topic.split('/').collect();
        let hidden = topic.starts_with('$') && plain.starts_with(['+', '#']);
        assert_eq!(parsed.matches(topic), !hidden && fits(&levels, &given), "{filter:?} and {topic:?}");
    }
}

fn plain(filter: &str) -> &str {
    match filter.strip_prefix("$share/") {
        Some(shared) => shared.split_once('/').map_or("", |(_, plain)| plain),
        None => filter,
    }
}

fn is_valid(filter: &str) -> bool {
    if filter.is_empty() || filter.contains('\0') || filter.len() > 65_535 {
        return false;
    }
    if let Some(shared) = filter.strip_prefix("$share/") {
        let Some((group, rest)) = shared.split_once('/') else { return false };
        if group.is_empty() || group.contains(['+', '#']) || rest.is_empty() {
            return false;
        }
    }
    let levels: Vec<&str> = plain(filter).split('/').collect();
    levels.iter().enumerate().all(|(at, level)| match *level {
        "+" => true,
        "#" => at + 1 == levels.len(),
        other => !other.contains(['+', '#']),
    })
}

fn fits(filter: &[&str], topic: &[&str]) -> bool {
    match (filter, topic) {
        (["#"], _) | ([], []) => true,
        (["+", filter @ ..], [_, topic @ ..]) => fits(filter, topic),
        ([level, filter @ ..], [given, topic @ ..]) => level == given && fits(filter, topic),
        _ => false,
    }
}
