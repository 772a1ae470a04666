//! A password that is asked for: by `--password-file` and `--password-command`.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use rejoin_core::ReasonCode;
use rejoin_lab::ScriptedBroker;
#[cfg(unix)]
use rejoin_lab::{BrokerServer, Manners};

#[cfg(unix)]
use crate::program::{LIMIT, run_with_input};
use crate::program::{place, run, words};

/// Base64 for URLs, without padding.
fn encoded(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let digit = |bits: u32| char::from(DIGITS[bits as usize & 63]);
    text.as_bytes()
        .chunks(3)
        .flat_map(|three| {
            let bits =
                three.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
            (0..=three.len()).map(move |n| digit(bits >> (18 - 6 * n))).collect::<Vec<_>>()
        })
        .collect()
}

/// A JSON Web Token that is good for another hour.
fn token(proof: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let body = format!("{{\"exp\":{}}}", now + 3600);
    format!("{}.{}.{proof}", encoded("{\"alg\":\"HS256\"}"), encoded(&body))
}

/// A file of this test, gone at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("rejoin-login-{name}-{}", std::process::id())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A broker that closes without CONNACK, as some do when a token was revoked; meanwhile somebody replaces it.
async fn replaced(flag: &'static str, given: impl Fn(&str) -> String) {
    let file = Scratch::new(flag);
    let (old, new) = (token("old"), token("new"));
    std::fs::write(&file.0, &old).expect("a file of the test");
    let broker = ScriptedBroker::start().await.expect("a port");
    let presented = Arc::new(Mutex::new(Vec::new()));
    let (seen, path, next) = (Arc::clone(&presented), file.0.clone(), new.clone());
    let serving = broker.serve(move |_, mut peer| {
        let (seen, path, next) = (Arc::clone(&seen), path.clone(), next.clone());
        async move {
            let connect = peer.expect_connect().await?;
            let password = String::from_utf8(connect.password.unwrap_or_default().to_vec()).expect("UTF-8");
            let fits = password == next;
            seen.lock().expect("nobody panics").push(password);
            std::fs::write(path, &next).expect("a file of the test");
            if !fits {
                return Ok(());
            }
            peer.connack(false).await?;
            let id = peer.expect_publish().await?.packet_id.expect("QoS 1");
            peer.puback(id, ReasonCode::SUCCESS).await?;
            peer.expect_end().await.map(drop)
        }
    });
    let (addr, given) = (serving.addr(), given(file.0.to_str().expect("UTF-8")));
    let ended = tokio::task::spawn_blocking(move || {
        let quick =
            ["--backoff", "50ms..200ms", "--overload-backoff", "50ms..200ms", "--lift-connect-budget"];
        let flags = ["-t", "t", "-m", "x", "-q", "1", "-u", "me", "--deadline", "15", flag, &given];
        run(&words("pub", &place(addr), &[&flags[..], &quick].concat()))
    });
    let ended = ended.await.expect("the run ends");
    assert_eq!(*presented.lock().expect("nobody panics"), [old, new], "{flag}");
    assert_eq!(ended.code, Some(0), "{flag}: {ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_was_replaced_before_its_end_is_the_one_of_the_next_attempt() {
    replaced("--password-file", str::to_owned).await;
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_is_run_before_each_attempt_though_its_token_is_good_for_an_hour() {
    replaced("--password-command", |file| format!("cat '{file}'")).await;
}

/// `sensors | rejoin pub -l --password-command 'ssh vault cat token'`: ssh reads what it finds on its stdin.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_reads_its_stdin_gets_none_of_the_messages() {
    let credentials = Some(("me".into(), "hunter2".into()));
    let broker = BrokerServer::start(Manners { credentials, ..Manners::default() }).await.expect("a port");
    let addr = broker.addr();
    let ended = tokio::task::spawn_blocking(move || {
        let command = "cat >/dev/null; echo hunter2";
        let flags = ["-t", "t", "-l", "-u", "me", "--deadline", "15", "--password-command", command];
        run_with_input(&words("pub", &place(addr), &flags), b"one\ntwo\n")
    });
    let ended = ended.await.expect("the run ends");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stderr.contains("published 2 · acknowledged 2"), "{ended:?}");
}

#[cfg(unix)]
#[test]
fn a_command_that_takes_too_long_ends_with_all_that_it_started() {
    let held = Scratch::new("held");
    let path = held.0.to_str().expect("UTF-8").to_owned();
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(made.is_ok_and(|status| status.success()), "mkfifo, of coreutils");
    let (tell, gone) = std::sync::mpsc::channel();
    let file = path.clone();
    // At its end, nobody holds the other end any more.
    std::thread::spawn(move || tell.send(std::fs::read(file).is_ok()));
    let command = format!("sleep 60 > '{path}' & wait");
    let flags = ["-t", "t", "-m", "x", "-u", "me", "--no-reconnect", "--connect-timeout", "2s"];
    let flags = [&flags[..], &["--password-command", &command]].concat();
    let ended = run(&words("pub", &place(([127, 0, 0, 1], 1).into()), &flags));
    assert!(ended.stderr.contains("credential"), "{ended:?}");
    assert_eq!(gone.recv_timeout(LIMIT), Ok(true), "what it started lives on");
}
