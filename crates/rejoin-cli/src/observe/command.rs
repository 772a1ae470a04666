//! The command line as a document may show it: what proves who somebody is stands there as `***`.

/// Words after which something stands that proves who somebody is, or may.
const SECRET: [&str; 4] = ["--pw", "--ws-header", "--password-command", "authentication-data"];

/// The words of this process.
pub(crate) fn own() -> String {
    shown(std::env::args_os().map(|word| word.to_string_lossy().into_owned()))
}

fn shown(words: impl Iterator<Item = String>) -> String {
    let mut hide_next = false;
    let mut shown = Vec::new();
    for (index, word) in words.enumerate() {
        let word = match (index, std::mem::take(&mut hide_next)) {
            // The folder the program lies in is nobody's business.
            (0, _) => "rejoin".to_owned(),
            (_, true) => "***".to_owned(),
            _ => {
                let (word, next) = masked(&word);
                hide_next = next;
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

/// The word, and whether the next one is a secret.
fn masked(word: &str) -> (String, bool) {
    if SECRET.contains(&word) {
        return (word.to_owned(), true);
    }
    if let Some((flag, _)) = word.split_once('=').filter(|(flag, _)| SECRET.contains(flag)) {
        return (format!("{flag}=***"), false);
    }
    if let Some(flags) = word.strip_prefix('-').filter(|flags| !flags.starts_with('-'))
        && let Some(at) = flags.find('P')
    {
        // Flags without a value may stand before it; a value that looks so is hidden once too often.
        let rest = &flags[at + 1..];
        return (format!("-{}P{}", &flags[..at], if rest.is_empty() { "" } else { "***" }), rest.is_empty());
    }
    (urls(word), false)
}

/// Passwords in addresses, several of which may stand in one word.
fn urls(word: &str) -> String {
    let mut out = String::new();
    let mut rest = word;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let end = after.find(' ').unwrap_or(after.len());
        let (authority, tail) = after.split_at(end);
        // A password may hold an @ or / that should have been escaped; a path with an @ is hidden once too often.
        match authority.rsplit_once('@') {
            Some((login, host)) => {
                let user = login.split_once(':');
                out.push_str(&user.map_or_else(|| login.to_owned(), |(user, _)| format!("{user}:***")));
                out.push('@');
                out.push_str(host);
            }
            None => out.push_str(authority),
        }
        rest = tail;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_shown() {
        for (line, expected) in [
            ("/x/y/rejoin pub -t a -m b", "rejoin pub -t a -m b"),
            ("rejoin sub -P secret -t a", "rejoin sub -P *** -t a"),
            ("rejoin sub -Psecret", "rejoin sub -P***"),
            ("rejoin sub -lPsecret", "rejoin sub -lP***"),
            ("rejoin sub --pw secret --pw=secret", "rejoin sub --pw *** --pw=***"),
            ("rejoin sub -L mqtt://me:secret@host:1/a", "rejoin sub -L mqtt://me:***@host:1/a"),
            ("rejoin sub -L mqtts://me:se@cret@host", "rejoin sub -L mqtts://me:***@host"),
            ("rejoin sub --url=mqtt://u:se/cret:secret@a", "rejoin sub --url=mqtt://u:***@a"),
            (
                "rejoin sub -D connect authentication-data secret",
                "rejoin sub -D connect authentication-data ***",
            ),
            ("rejoin watch mqtt://me@host", "rejoin watch mqtt://me@host"),
        ] {
            let words = shown(line.split(' ').map(str::to_owned));
            assert!(!words.contains("secret"), "{words}");
            assert_eq!(words, expected);
        }
        assert_eq!(urls("mqtt://u:secret@a mqtt://v:secret@b"), "mqtt://u:***@a mqtt://v:***@b");
        assert_eq!(shown(["rejoin", "pub", "a b", ""].map(str::to_owned).into_iter()), "rejoin pub 'a b' ''");
    }
}
