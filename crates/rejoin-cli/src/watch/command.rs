//! The command line as it may be shown: what repeats the run, without what nobody else may know.

/// Flags whose value is a secret or may hold one.
const SECRET: [&str; 5] = ["-P", "--pw", "--password-command", "--ws-header", "--will-payload"];

/// The command of this process.
pub(crate) fn masked() -> String {
    let words = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    mask(words)
}

fn mask(words: impl Iterator<Item = String>) -> String {
    let mut command = String::from("rejoin");
    let mut secret = false;
    for word in words {
        command.push(' ');
        let hidden = if secret { "***".to_owned() } else { one(&word) };
        secret = !secret && SECRET.contains(&word.as_str());
        command.push_str(&quoted(&hidden));
    }
    command
}

fn one(word: &str) -> String {
    if let Some((flag, _)) = word.split_once('=').filter(|(flag, _)| SECRET.contains(flag)) {
        return format!("{flag}=***");
    }
    if word.starts_with("-P") && word.len() > 2 {
        return "-P***".to_owned();
    }
    // `scheme://user:password@host`, several of them in one word too.
    let part = |part: &str| {
        let Some((scheme, rest)) = part.split_once("://") else { return part.to_owned() };
        let end = rest.find('/').unwrap_or(rest.len());
        match rest[..end].rsplit_once('@') {
            Some((login, host)) => {
                let user = login.split(':').next().unwrap_or_default();
                let hidden = if login.contains(':') { ":***" } else { "" };
                format!("{scheme}://{user}{hidden}@{host}{}", &rest[end..])
            }
            // A password with a slash in it: nothing of it is shown.
            None if rest.contains('@') => format!("{scheme}://***"),
            None => part.to_owned(),
        }
    };
    word.split(' ').map(part).collect::<Vec<_>>().join(" ")
}

/// As a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,*".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(words: &[&str]) -> String {
        mask(words.iter().map(|word| (*word).to_owned()))
    }

    #[test]
    fn no_secret_is_in_the_command_that_is_shown() {
        for words in [
            &["watch", "-P", "geheim"][..],
            &["watch", "-Pgeheim"],
            &["watch", "--pw=geheim"],
            &["watch", "--pw", "geheim"],
            &["watch", "mqtts://gw:geheim@broker:8883/a"],
            &["watch", "-L", "mqtt://a:geheim@b mqtt://c:geheim@d"],
            &["watch", "--proxy=socks5://me:geheim@proxy"],
            &["watch", "mqtt://a:gehe/im@b"],
            &["watch", "--ws-header", "Authorization: geheim"],
        ] {
            let shown = masked(words);
            assert!(!shown.contains("geheim") && !shown.contains("gehe") && shown.contains("***"), "{shown}");
        }
    }

    #[test]
    fn the_rest_can_be_typed_again() {
        assert_eq!(
            masked(&["watch", "mqtt://broker.example", "-t", "a/#", "--for", "10m"]),
            "rejoin watch mqtt://broker.example -t 'a/#' --for 10m"
        );
        assert_eq!(masked(&["watch", "mqtts://gw:x@b/t"]), "rejoin watch mqtts://gw:***@b/t");
    }
}
