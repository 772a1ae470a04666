//! `--flight` and `rejoin replay`: what a user sends, and what is made of it.

use rejoin_lab::{BrokerServer, Manners};

use crate::program::{place, run, words};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_user_recorded_is_played_again_and_judged() {
    let server = BrokerServer::start(Manners::default()).await.expect("a port");
    let addr = server.addr();
    let file = std::env::temp_dir().join(format!("rejoin-cli-{}.flight", std::process::id()));
    // Left by an earlier process of the same number.
    let _ = std::fs::remove_file(&file);
    tokio::task::spawn_blocking(move || {
        let name = file.to_str().expect("a name");
        let publish = ["-t", "a", "-m", "hunter2", "-u", "me", "-P", "hunter2", "--flight", name];
        let ended = run(&words("pub", &place(addr), &publish));
        assert_eq!(ended.code, Some(0), "{ended:?}");

        // A second run does not write over the first.
        let ended = run(&words("pub", &place(addr), &publish));
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.stderr.contains("name another file"), "{ended:?}");

        let ended = run(&["replay", name]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(ended.stdout.contains("links 1, messages 1, of these answered for 1"), "{ended:?}");
        assert!(ended.stdout.contains("nothing speaks against the client"), "{ended:?}");
        let ended = run(&["replay", "--json", name]);
        assert!(ended.stdout.contains("\"clean\":true"), "{ended:?}");

        let text = std::fs::read_to_string(&file).expect("it was written");
        assert!(!text.contains("hunter2"), "{text}");
        // An engine that behaves in another way is told from this one.
        std::fs::write(&file, text.replacen("PUBLISH", "PUBLISSH", 1)).expect("it is written");
        let test = format!("{name}.test");
        let _ = std::fs::remove_file(&test);
        let ended = run(&["replay", name]);
        assert_eq!(ended.code, Some(6), "{ended:?}");
        assert!(ended.stdout.contains("this build does something else here"), "{ended:?}");
        // A test of it would hold that the engine must not do what it does.
        let ended = run(&["replay", name, "--test", &test]);
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.stderr.contains("no rule is broken"), "{ended:?}");
        assert!(!std::path::Path::new(&test).exists(), "nothing is kept");

        // What is shown of a file is text, whatever the file holds.
        std::fs::write(&file, text.replacen("PUBLISH", "PUBLISH\u{9b}2J", 1)).expect("it is written");
        let ended = run(&["replay", name]);
        assert_eq!(ended.code, Some(6), "{ended:?}");
        assert!(!ended.stdout.contains(|c: char| c.is_control() && c != '\n'), "{ended:?}");

        std::fs::write(&file, "{\"not\": \"a flight\"}\n").expect("it is written");
        let ended = run(&["replay", name]);
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.stderr.contains("line 1: this is no flight"), "{ended:?}");
        let ended = run(&["replay", "nowhere.flight"]);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains("nowhere.flight"), "{ended:?}");
        std::fs::remove_file(&file).expect("it is there");
    })
    .await
    .expect("the runs end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recording_that_just_stops_is_read_and_said_to_be_not_whole() {
    let server = BrokerServer::start(Manners::default()).await.expect("a port");
    let addr = server.addr();
    let file = std::env::temp_dir().join(format!("rejoin-cli-killed-{}.flight", std::process::id()));
    // Left by an earlier process of the same number.
    let _ = std::fs::remove_file(&file);
    tokio::task::spawn_blocking(move || {
        let name = file.to_str().expect("a name");
        let nowhere = format!("{name}.folder/gw.flight");
        let ended = run(&words("pub", &place(addr), &["-t", "a", "-m", "x", "--flight", &nowhere]));
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains(&nowhere), "{ended:?}");

        let ended = run(&words("pub", &place(addr), &["-t", "a", "-m", "x", "--flight", name]));
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let text = std::fs::read_to_string(&file).expect("it was written");
        // Killed in the middle of a write, and of a character.
        let end =
            text.find("CONNECT(").and_then(|at| Some(at + text[at..].find("\n.\n")? + 3)).expect("a link");
        let killed = [&text.as_bytes()[..end], b"< 1 1 \xC3"].concat();
        std::fs::write(&file, killed).expect("it is written");
        let ended = run(&["replay", name]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(ended.stdout.contains("the recording ends before the client did"), "{ended:?}");
        std::fs::write(&file, &text).expect("it is written");
        let ended = run(&["replay", name]);
        assert!(ended.code == Some(0) && !ended.stdout.contains("the recording ends"), "{ended:?}");
        std::fs::remove_file(&file).expect("it is there");
    })
    .await
    .expect("the runs end");
}
