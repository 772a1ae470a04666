//! A password that changes all the time: asked for before each attempt, and nothing is lost in between.

use std::process::Command;
use std::time::Duration;

use crate::broker::{Folder, Mosquitto};
use crate::program::{Program, check};

/// Nothing here takes longer.
const LIMIT: Duration = Duration::from_secs(20);
/// How often the password changes.
const CHANGES: usize = 6;
/// The true defaults would wait seconds.
const SCALED: [&str; 4] =
    ["--backoff=20ms..100ms", "--overload-backoff=20ms..100ms", "--lift-connect-budget", "--stable-after=0s"];

/// Tells the broker a new password. It cuts those who came in with the old one.
fn change(folder: &Folder, broker: &Mosquitto, password: &str) {
    let file = folder.file("passwords");
    let done = Command::new("mosquitto_passwd").arg("-b").arg(&file).args(["alice", password]).output();
    assert!(done.is_ok_and(|done| done.status.success()), "mosquitto_passwd");
    broker.signal("HUP");
}

#[test]
fn a_token_that_expires_every_second_costs_no_message() {
    if !Mosquitto::is_here("login") {
        return;
    }
    eprintln!("login: {CHANGES} passwords, {}", SCALED.join(" "));
    let folder = Folder::new("login");
    let passwords = folder.write("passwords", "");
    let done = Command::new("mosquitto_passwd").args(["-b", &passwords, "alice", "token 0"]).output();
    assert!(done.is_ok_and(|done| done.status.success()), "mosquitto_passwd");
    folder.write("token", "token 0\n");
    let port = crate::broker::free_port();
    let listener = format!("listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {passwords}\n");
    let broker = Mosquitto::start_with(&folder, "", &listener);

    let subscriber = Program::start(&folder, &broker, None, "sub", &["sub", "-t", "n", "-q", "1"]);
    subscriber.wait_for("resubscribed", 0, LIMIT);
    let place = format!("mqtt://127.0.0.1:{port}");
    let command = format!("cat {}", folder.file("token").display());
    let login = ["-u", "alice", "--password-command", &command];
    let words = [&["pub", "-L", &place, "-t", "n", "-l", "-i", "P", "-c"][..], &login, &SCALED].concat();
    let mut publisher = Program::start_anywhere(&folder, None, "pub", &words);
    publisher.wait_for("opened", 0, LIMIT);
    for number in 1..=CHANGES {
        publisher.write(format!("{number} before\n").as_bytes());
        let opened = publisher.count("opened");
        let token = format!("token {number}");
        folder.write("token", &format!("{token}\n"));
        change(&folder, &broker, &token);
        publisher.write(format!("{number} after\n").as_bytes());
        publisher.wait_for("opened", opened, LIMIT);
        subscriber.wait_for_output(&format!("{number} after"), LIMIT);
    }
    assert_eq!(publisher.end(LIMIT), Some(0), "{}", publisher.told());
    let printed = subscriber.printed();
    for number in 1..=CHANGES {
        for part in ["before", "after"] {
            assert!(printed.contains(&format!("{number} {part}")), "{number} {part} is lost:\n{printed}");
        }
    }
    assert!(!publisher.told().contains("token "), "{}", publisher.told());

    // What is wrong with a login has its own exit and words.
    let (code, found) = check(&folder, &[&place, "-u", "alice", "-P", "wrong"]);
    assert_eq!((code, found["cause"].as_str()), (Some(9), Some("refused")), "{found}");
    let (code, found) = check(&folder, &[&place, "-u", "alice", "--password-command", "exit 3"]);
    assert_eq!((code, found["cause"].as_str()), (Some(9), Some("no-credentials")), "{found}");
    assert!(found["why"][0].as_str().is_some_and(|why| why.contains("exit status: 3")), "{found}");
}
