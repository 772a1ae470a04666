//! The command line as a document may show it: what proves who somebody is stands there as `***`.

/// Flags after which something stands that proves who somebody is, or that belongs to the messages: a document holds no
/// payload and no topic.
const HIDDEN: [&str; 9] = [
    "--pw",
    "--ws-header",
    "--password-command",
    "--message",
    "--topic",
    "--will-topic",
    "--will-payload",
    "--loopback",
    "authentication-data",
];

/// The same in one letter: password, message, topic.
const HIDDEN_LETTERS: &str = "Pmt";

/// Letters that take a value that may be shown: what stands after them in the same word is it.
const SHOWN_LETTERS: &str = "hpLViIkxuqfCWFA";

/// Behind these the path is that of a web server or of a socket; behind all others it is a topic.
const WITHOUT_TOPIC: [&str; 7] =
    ["ws://", "wss://", "unix://", "http://", "socks://", "socks5://", "socks5h://"];

/// The words of this process.
pub(crate) fn own() -> String {
    shown(std::env::args_os().map(|word| word.to_string_lossy().into_owned()))
}

/// What becomes of the next words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Next {
    /// They are looked at.
    #[default]
    Look,
    /// The next one is hidden.
    Hide,
    /// It is the command of a property, `publish`.
    Command,
    /// It is the name of a property.
    Name,
    /// It is the key of a user property; its value comes then.
    Key,
    /// It is the address of a proxy, which needs no scheme.
    Proxy,
    /// It is the path of a WebSocket, which may be signed.
    Path,
}

fn shown(words: impl Iterator<Item = String>) -> String {
    let mut next = Next::Look;
    let mut shown = Vec::new();
    for (index, word) in words.enumerate() {
        let now = std::mem::take(&mut next);
        let word = match now {
            // The folder the program lies in is nobody's business.
            _ if index == 0 => "rejoin".to_owned(),
            Next::Hide => "***".to_owned(),
            Next::Command => {
                next = Next::Name;
                word
            }
            Next::Name => {
                next = if word.eq_ignore_ascii_case("user-property") { Next::Key } else { Next::Hide };
                word
            }
            Next::Key => {
                next = Next::Hide;
                word
            }
            Next::Proxy => proxy(&word),
            Next::Path => path(&word),
            Next::Look => {
                let (word, then) = masked(&word);
                next = then;
                word
            }
        };
        shown.push(if word.is_empty() || word.contains(char::is_whitespace) {
            format!("'{word}'")
        } else {
            word
        });
    }
    shown.join(" ")
}

/// The word, and what becomes of the next one.
fn masked(word: &str) -> (String, Next) {
    if HIDDEN.contains(&word) {
        return (word.to_owned(), Next::Hide);
    }
    if let Some((flag, _)) = word.split_once('=').filter(|(flag, _)| HIDDEN.contains(flag)) {
        return (format!("{flag}=***"), Next::Look);
    }
    if word == "--proxy" {
        return (word.to_owned(), Next::Proxy);
    }
    if let Some(address) = word.strip_prefix("--proxy=") {
        return (format!("--proxy={}", proxy(address)), Next::Look);
    }
    if word == "--ws-path" {
        return (word.to_owned(), Next::Path);
    }
    if let Some(signed) = word.strip_prefix("--ws-path=") {
        return (format!("--ws-path={}", path(signed)), Next::Look);
    }
    if word == "--property" {
        return (word.to_owned(), Next::Command);
    }
    if word.starts_with("--property=") {
        return (word.to_owned(), Next::Name);
    }
    // Flags without a value may stand before the one that has it.
    let flags = word.strip_prefix('-').filter(|flags| !flags.starts_with('-')).unwrap_or_default();
    for (at, letter) in flags.char_indices() {
        let (before, rest) = flags.split_at(at + letter.len_utf8());
        match letter {
            _ if HIDDEN_LETTERS.contains(letter) && rest.is_empty() => return (word.to_owned(), Next::Hide),
            _ if HIDDEN_LETTERS.contains(letter) => return (format!("-{before}***"), Next::Look),
            'D' if rest.is_empty() => return (word.to_owned(), Next::Command),
            'D' => return (word.to_owned(), Next::Name),
            _ if SHOWN_LETTERS.contains(letter) => break,
            _ => {}
        }
    }
    (urls(word), Next::Look)
}

/// The address of a proxy: without a scheme it is that of an HTTP proxy.
fn proxy(address: &str) -> String {
    const SCHEME: &str = "http://";
    if address.contains("://") {
        return urls(address);
    }
    let shown = urls(&format!("{SCHEME}{address}"));
    shown.strip_prefix(SCHEME).unwrap_or(&shown).to_owned()
}

/// Whoever signs a WebSocket does it in the query.
fn path(word: &str) -> String {
    word.split_once('?').map_or_else(|| word.to_owned(), |(path, _)| format!("{path}?***"))
}

/// Passwords, topics and queries in addresses, several of which may stand in one word.
fn urls(word: &str) -> String {
    let mut out = String::new();
    let mut rest = word;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let scheme = before.to_ascii_lowercase();
        let topics = !WITHOUT_TOPIC.iter().any(|without| scheme.ends_with(without));
        // A blank ends an address where another one follows; elsewhere it belongs to a login or a query.
        let end = after.find("://").and_then(|next| after[..next].rfind(char::is_whitespace));
        let (address, tail) = after.split_at(end.unwrap_or(after.len()));
        // Whoever signs a WebSocket does it in the query. It begins at the first `?`, as for whoever reads the address.
        let (authority, query) =
            address.split_once('?').map_or((address, None), |(authority, query)| (authority, Some(query)));
        // A password may hold an @ or / that should have been escaped; a path with an @ is hidden once too often.
        let host = match authority.rsplit_once('@') {
            Some((login, host)) => {
                match login.split_once(':') {
                    Some((user, _)) => out.push_str(&format!("{user}:***")),
                    // Of a topic with an @ in it.
                    None if login.contains('/') => out.push_str("***"),
                    None => out.push_str(login),
                }
                out.push('@');
                host
            }
            None => authority,
        };
        match host.split_once('/') {
            Some((host, topic)) if topics && !topic.is_empty() => {
                out.push_str(host);
                out.push_str("/***");
            }
            _ => out.push_str(host),
        }
        if query.is_some() {
            out.push_str("?***");
        }
        rest = tail;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_shown_as(rows: &[(&str, &str)]) {
        for (line, expected) in rows {
            let words = shown(line.split(' ').map(str::to_owned));
            assert!(!words.contains("secret"), "{words}");
            assert_eq!(words, *expected);
        }
    }

    #[test]
    fn no_login_and_no_signature_is_shown() {
        is_shown_as(&[
            ("/x/y/rejoin pub -q 1 -r", "rejoin pub -q 1 -r"),
            ("rejoin sub -P secret -c", "rejoin sub -P *** -c"),
            ("rejoin sub -Psecret", "rejoin sub -P***"),
            ("rejoin sub -lPsecret", "rejoin sub -lP***"),
            ("rejoin sub --pw secret --pw=secret", "rejoin sub --pw *** --pw=***"),
            ("rejoin sub -L mqtt://me:secret@host:1", "rejoin sub -L mqtt://me:***@host:1"),
            ("rejoin sub -Lmqtt://me:secret@host:1", "rejoin sub -Lmqtt://me:***@host:1"),
            ("rejoin sub -L mqtts://me:se@cret@host", "rejoin sub -L mqtts://me:***@host"),
            ("rejoin sub --url=mqtt://u:se/cret:secret@a", "rejoin sub --url=mqtt://u:***@a"),
            (
                "rejoin sub -D connect authentication-data secret",
                "rejoin sub -D connect authentication-data ***",
            ),
            ("rejoin watch mqtt://me@host", "rejoin watch mqtt://me@host"),
            ("rejoin sub -iPAUL -L unix:///run/mqtt", "rejoin sub -iPAUL -L unix:///run/mqtt"),
            ("rejoin sub -L wss://host/mqtt", "rejoin sub -L wss://host/mqtt"),
            ("rejoin sub -L wss://host/mqtt?sig=secret", "rejoin sub -L wss://host/mqtt?***"),
            ("rejoin sub -Lws://me@host/mqtt?sig=secret", "rejoin sub -Lws://me@host/mqtt?***"),
            ("rejoin sub --url=wss://host:8/mqtt?u=a@b&sig=secret", "rejoin sub --url=wss://host:8/mqtt?***"),
            ("rejoin watch mqtts://host/secret?client_id=secret", "rejoin watch mqtts://host/***?***"),
            ("rejoin sub --ws --ws-path mqtt?sig=secret -c", "rejoin sub --ws --ws-path mqtt?*** -c"),
            ("rejoin sub --ws --ws-path=mqtt?a=b?sig=secret", "rejoin sub --ws --ws-path=mqtt?***"),
            ("rejoin sub --ws --ws-path mqtt", "rejoin sub --ws --ws-path mqtt"),
            ("rejoin sub -Afd00::D -P secret", "rejoin sub -Afd00::D -P ***"),
            ("rejoin sub -LWSS://host/mqtt", "rejoin sub -LWSS://host/mqtt"),
            ("rejoin sub --proxy HTTP://me:secret@proxy/x", "rejoin sub --proxy HTTP://me:***@proxy/x"),
            ("rejoin sub --proxy me:secret@proxy:1 -c", "rejoin sub --proxy me:***@proxy:1 -c"),
            ("rejoin sub --proxy=me:secret@proxy:1", "rejoin sub --proxy=me:***@proxy:1"),
            ("rejoin sub --proxy socks5://me:secret@proxy", "rejoin sub --proxy socks5://me:***@proxy"),
        ]);
        assert_eq!(urls("mqtt://u:secret@a mqtt://v:secret@b"), "mqtt://u:***@a mqtt://v:***@b");
        assert_eq!(urls("wss://a/?x=secret secret wss://b/?y=secret"), "wss://a/?*** wss://b/?***");
        assert_eq!(shown(["rejoin", "pub", "a b", ""].map(str::to_owned).into_iter()), "rejoin pub 'a b' ''");
    }

    #[test]
    fn no_payload_and_no_topic_is_shown() {
        is_shown_as(&[
            ("rejoin pub -t secret/1 -m secret", "rejoin pub -t *** -m ***"),
            ("rejoin pub -tsecret/1 -rmsecret", "rejoin pub -t*** -rm***"),
            ("rejoin pub --topic secret --message -Psecret", "rejoin pub --topic *** --message ***"),
            ("rejoin sub --topic=secret/# -t secret", "rejoin sub --topic=*** -t ***"),
            (
                "rejoin pub --will-topic secret --will-payload=secret",
                "rejoin pub --will-topic *** --will-payload=***",
            ),
            (
                "rejoin pub -D publish user-property key secret -l",
                "rejoin pub -D publish user-property key *** -l",
            ),
            (
                "rejoin pub -dD PUBLISH User-Property key secret -l",
                "rejoin pub -dD PUBLISH User-Property key *** -l",
            ),
            (
                "rejoin pub --property publish response-topic secret",
                "rejoin pub --property publish response-topic ***",
            ),
            (
                "rejoin pub -Dpublish correlation-data secret -P secret",
                "rejoin pub -Dpublish correlation-data *** -P ***",
            ),
            ("rejoin watch mqtt://host:1/secret/#", "rejoin watch mqtt://host:1/***"),
            ("rejoin watch tcp://host/secret", "rejoin watch tcp://host/***"),
            ("rejoin watch ssl://host:1/secret/#", "rejoin watch ssl://host:1/***"),
            ("rejoin watch -Ltls://u:secret@host/secret", "rejoin watch -Ltls://u:***@host/***"),
            ("rejoin watch MQTT://host/secret", "rejoin watch MQTT://host/***"),
            ("rejoin watch mqtt://u:secret@host/secret", "rejoin watch mqtt://u:***@host/***"),
            ("rejoin watch mqtt://host/secret@x", "rejoin watch mqtt://***@x"),
        ]);
    }
}
