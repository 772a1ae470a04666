//! What was typed wrongly is refused at once, in one line that names it.

use crate::program::{run, run_with_input};

#[test]
fn a_wrong_flag_is_one_line_and_exit_2() {
    for (words, part) in [
        (&["pub", "-t", "a", "-m", "x", "-p", "70000"][..], "--port"),
        (&["pub", "-t", "a", "-m", "x", "-q", "3"], "--qos"),
        (&["pub", "-t", "a", "-m", "x", "--prot", "1"], "--port"),
        (&["pub", "-t", "a", "-m", "x", "-V", "31"], "3.1 is not spoken"),
        (&["pub", "-t", "a", "-m", "x", "--deadline", "soon"], "`soon` is no duration"),
        (&["pub", "-t", "a", "-m", "x", "--backoff", "5s"], "FIRST..WIDEST"),
        (&["pub", "-t", "a", "-m", "x", "-n"], "cannot be used with"),
        (&["pub", "-t", "a", "-m", "x", "-x", "5000000000"], "longer than MQTT can say"),
        (&["pub", "-t", "a", "-m", "x", "-k", "1500ms"], "whole seconds"),
        (&["pub", "-t", "a/+", "-m", "x"], "wildcard `+`"),
        (&["pub", "-t", "", "-m", "x"], "empty"),
        (&["pub", "-m", "x"], "no topic"),
        (&["pub", "-t", "a"], "no message"),
        (&["pub", "-t", "a", "-m", "x", "-c"], "give one with -i"),
        (&["pub", "-t", "a", "-m", "x", "-c", "-i", "n", "-x", "0"], "-x 0"),
        (&["pub", "-t", "a", "-m", "x", "-i", ""], "-i: empty"),
        (&["pub", "-t", "a", "-m", "x", "-D", "publish", "frob", "1"], "`frob`"),
        (&["pub", "-t", "a", "-m", "x", "-V", "311", "-D", "publish", "content-type", "x"], "no properties"),
        (&["pub", "-t", "a", "-m", "x", "-V", "311", "-P", "x"], "without -u"),
        (&["pub", "-t", "a", "-m", "x", "-L", "mqtt://h/b"], "one in -t"),
        (&["pub", "-t", "a", "-m", "x", "-L", "http://h"], "unknown scheme `http`"),
        (&["pub", "-t", "a", "-m", "x", "-L", "mqtt://h", "--cafile", "f"], "write mqtts:// or wss://"),
        (&["pub", "-t", "a", "-m", "x", "--insecure"], "--dangerously-trust-any-server"),
        (&["pub", "-t", "a", "-m", "x", "--cert", "f"], "--key"),
        (&["pub", "-t", "a", "-m", "x", "--proxy", "ftp://p"], "--proxy: proxy URL: unknown scheme"),
        (&["pub", "-t", "a", "-m", "x", "--ws-header", "A: b"], "no WebSocket"),
        (&["pub", "-t", "a", "-m", "x", "--ws", "--ws-header", "nonsense"], "NAME: VALUE"),
        (
            &["pub", "-t", "a", "-m", "x", "-u", "a", "-P", "b", "--password-file", "f"],
            "-P gives a password already",
        ),
        (&["check", "mqtt://h", "-L", "mqtt://h"], "cannot be used with"),
        (&["pub", "-t", "a", "-m", "x", "-h", "a b"], "no host name"),
        (&["pub", "-t", "a", "-m", "x", "--will-topic", "a/#"], "--will-topic"),
        (&["pub", "-t", "a", "-m", "x", "--will-qos", "1"], "--will-topic"),
        (&["sub", "-t", "a/#/b"], "`#` must be the last level"),
        (&["sub"], "no topic filter"),
        (&["sub", "-t", "a", "-F", "%z"], "unknown sequence `%z`"),
        (&["sub", "-t", "a", "-C", "0"], "--count"),
        (&["sub", "-t", "a", "-L", "mqtt://h", "mqtt://i"], "every server is given with -L"),
        (&["watch", "mqtt://h", "mqtt://i"], "every server is given with -L"),
        (
            &["pub", "-t", "a", "-m", "two", "words"],
            "'words': a host is given with -h, and what has spaces in it goes in quotes",
        ),
        (&["pub", "-t", "a", "-m", "x", "--frob"], "--frob"),
        (&["frobnicate"], "frobnicate"),
        (&["explain", "frobnicate"], "frobnicate"),
    ] {
        let ended = run(words);
        assert_eq!(ended.code, Some(2), "{words:?}: {ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{words:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(part), "{words:?}: {}", ended.stderr);
        assert!(ended.stderr.starts_with("error: ") && ended.stdout.is_empty(), "{words:?}: {ended:?}");
    }
}

#[test]
fn a_password_in_the_wrong_place_is_not_shown() {
    for words in [
        &["sub", "-t", "a", "mqtt://u:pa@ss@h"][..],
        &["sub", "-t", "a", "-p", "mqtt://u:pa@ss@h"],
        &["sub", "-t", "a", "--deadline", "mqtt://u:pa@ss@h"],
        &["sub", "-t", "a", "-h", "mqtt://u:pa@ss@h"],
        &["sub", "-t", "a", "--mqtt://u:pa@ss@h"],
        &["mqtt://u:pa@ss@h"],
        &["explain", "mqtt://u:pa@ss@h"],
        &["report", "mqtt://u:pa@ss@h"],
        &["queue", "ls", "mqtt://u:pa@ss@h"],
        &["sub", "-t", "mqtt://u:pa@ss@h/#/x"],
        &["sub", "-t", "a", "-A", "mqtt://u:pa@ss@h"],
        &["sub", "-t", "a", "--proxy", "mqtt://u:pa@ss@h"],
    ] {
        let ended = run(words);
        assert_ne!(ended.code, Some(0), "{words:?}: {ended:?}");
        assert!(
            !ended.stderr.contains("ss@") && !ended.stderr.contains("pa@"),
            "{words:?}: {}",
            ended.stderr
        );
    }
}

#[test]
fn a_start_that_is_refused_is_told_to_programs_as_everything_else() {
    for (words, code, part) in [
        (&["sub"][..], 2, "no topic filter"),
        (&["pub", "-t", "a/#", "-m", "x"], 2, "-t: "),
        (&["sub", "-t", "a", "--events", "/nonexistent/events"], 1, "/nonexistent/events"),
    ] {
        let ended = run(&[words, &["--output", "json"]].concat());
        assert_eq!(ended.code, Some(code), "{words:?}: {ended:?}");
        let line: serde_json::Value = serde_json::from_str(&ended.stderr).expect("one JSON object");
        assert_eq!((&line["event"], &line["exit_code"]), (&"error".into(), &code.into()), "{line}");
        assert!(line["message"].as_str().is_some_and(|message| message.contains(part)), "{line}");
    }
}

#[test]
fn a_password_is_never_shown() {
    for words in [
        &["pub", "-t", "a", "-m", "x", "-L", "mqtt://alice:hunter2@h:99999"][..],
        &["pub", "-t", "a", "-m", "x", "-P", "hunter2", "-V", "311"],
        &["pub", "-t", "a", "-m", "x", "-h", "mqtt://bob:hunter2@broker"],
        &["pub", "-t", "a", "-m", "x", "-h", "bob:hunter2@broker"],
        &["pub", "-t", "a", "-m", "x", "--proxy", "http://bob:hunter2/x@broker"],
        &[
            "pub",
            "-t",
            "a",
            "-m",
            "x",
            "-u",
            "alice",
            "-P",
            "hunter2",
            "-h",
            "127.0.0.1",
            "-p",
            "1",
            "--no-reconnect",
            "-d",
        ],
    ] {
        let ended = run(words);
        assert_ne!(ended.code, Some(0), "{words:?}");
        assert!(!ended.stderr.contains("hunter2"), "{words:?}: {}", ended.stderr);
    }
}

#[test]
fn what_cannot_be_read_or_written_is_a_local_failure() {
    let missing = run(&["pub", "-t", "a", "-f", "/nonexistent/file"]);
    assert_eq!(missing.code, Some(1), "{missing:?}");
    assert!(missing.stderr.contains("/nonexistent/file"), "{missing:?}");
    let ca = run(&["pub", "-t", "a", "-m", "x", "--cafile", "/nonexistent/file"]);
    assert_eq!(ca.code, Some(2), "{ca:?}");
    assert!(ca.stderr.contains("tls: /nonexistent/file"), "{ca:?}");
    let events = run(&["pub", "-t", "a", "-m", "x", "--events", "/nonexistent/file"]);
    assert_eq!(events.code, Some(1), "{events:?}");
    assert!(events.stderr.contains("cannot write events to /nonexistent/file"), "{events:?}");
}

#[test]
fn help_tells_the_exit_codes_and_h_is_the_host() {
    for words in [&["--help"][..], &["help"], &["pub", "--help"], &["help", "sub"], &["sub", "--help"]] {
        let help = run(words);
        assert_eq!(help.code, Some(0), "{words:?}");
        assert!(
            help.stdout.contains("Exit codes:") && help.stdout.contains("27 "),
            "{words:?}: {}",
            help.stdout
        );
    }
    let help = run(&["pub", "--help"]).stdout;
    assert!(help.contains("-h, --host <HOST>") && help.contains("REJOIN_PASSWORD"), "{help}");
    assert_eq!(run(&["--version"]).code, Some(0));
    let code = run(&["explain", "0x87"]);
    assert!(code.code == Some(0) && code.stdout.contains("not authorized"), "{code:?}");
}

/// The ways to a broker, and who we are there.
const WAYS: [&str; 34] = [
    "-h, --host",
    "-p, --port",
    "-L, --url",
    "-V, --mqtt-version",
    "-i, --id",
    "-A, --bind",
    "--unix",
    "--proxy",
    "--no-proxy",
    "--ws",
    "--ws-path",
    "--ws-header",
    "--servers",
    "--clustered",
    "--lower-qos",
    "--follow",
    "--connect-timeout",
    "--deadline",
    "--cafile",
    "--capath",
    "--tls-use-os-certs",
    "--cert",
    "--key",
    "--tls-alpn",
    "--tls-version",
    "--tls-server-name",
    "--tls-keylog",
    "--no-tls",
    "--dangerously-trust-any-server",
    "-u, --username",
    "-P, --pw",
    "--password-file",
    "--password-command",
    "[env: REJOIN_PASSWORD",
];

#[test]
fn every_verb_that_connects_has_every_flag_of_the_way() {
    for verb in [&["pub"][..], &["sub"], &["check"], &["watch"], &["queue", "drain"]] {
        let help = run(&[verb, &["--help"]].concat()).stdout;
        // A flag alone, or with what it takes.
        let has = |flag: &str| {
            help.lines().any(|line| {
                let after = line.split_once(flag).map(|(_, after)| after);
                after.is_some_and(|after| after.is_empty() || after.starts_with([' ', '=', ']']))
            })
        };
        let missing: Vec<_> = WAYS.iter().filter(|flag| !has(flag)).collect();
        assert!(missing.is_empty(), "{verb:?} has no {missing:?}");
    }
}

#[test]
fn a_url_may_carry_the_topic_and_a_flag_wins_over_the_environment() {
    // Nobody listens on port 1: what is told names the place that was meant.
    let ended = run_with_input(&["pub", "-L", "mqtt://127.0.0.1:1/plant/7", "-l", "--no-reconnect"], b"x\n");
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(ended.stderr.contains("connection refused by 127.0.0.1:1"), "{ended:?}");
}
