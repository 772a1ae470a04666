//! `rejoin sub`: payload on stdout, gaps told, acknowledged only what was written.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use rejoin_core::codec::packet::Qos;
use rejoin_lab::{BrokerServer, Ending, Manners};

use crate::program::{Ended, Program, place, run, start, words};
#[cfg(target_os = "linux")]
use crate::program::{FullPipe, LIMIT, start_on};

const QUICK: [&str; 5] =
    ["--backoff", "50ms..200ms", "--overload-backoff", "50ms..200ms", "--lift-connect-budget"];

async fn broker() -> BrokerServer {
    BrokerServer::start(Manners::default()).await.expect("a port")
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("the work ends")
}

/// A subscriber whose filters are granted.
async fn subscriber(addr: SocketAddr, rest: &[&str]) -> Program {
    let rest: Vec<String> = rest.iter().map(|word| (*word).to_owned()).collect();
    blocking(move || {
        let mut all: Vec<&str> = rest.iter().map(String::as_str).collect();
        all.push("-d");
        let mut program = start(&words("sub", &place(addr), &all));
        program.told("subscribed");
        program
    })
    .await
}

fn publish(broker: &BrokerServer, topic: &str, payload: &str, qos: Qos) {
    assert!(
        broker.with(|broker| broker.publish(topic, payload.to_owned(), qos, false)),
        "somebody subscribes"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prints_what_was_asked_for_and_ends_after_so_many() {
    let broker = broker().await;
    for (flags, expected) in [
        (&["-t", "a/#"][..], "one\ntwo\n"),
        (&["-t", "a/#", "-v"], "a/b one\na/c two\n"),
        (&["-t", "a/b", "-t", "a/c", "-q", "2"], "one\ntwo\n"),
        (&["-t", "a/#", "-F", "%q %l %t=%p"], "1 3 a/b=one\n1 3 a/c=two\n"),
        (&["-t", "a/#", "-N", "-q", "0"], "onetwo"),
        (&["-t", "a/#", "-V", "311"], "one\ntwo\n"),
    ] {
        let program = subscriber(broker.addr(), &[flags, &["-C", "2"]].concat()).await;
        publish(&broker, "a/b", "one", Qos::AtLeastOnce);
        publish(&broker, "a/c", "two", Qos::AtLeastOnce);
        let ended = blocking(move || program.end()).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), expected), "{flags:?}: {}", ended.stderr);
    }
    assert!(broker.with(|broker| broker.violations().next().is_none()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_lines_on_request() {
    let broker = broker().await;
    let addr = broker.addr();
    let program = blocking(move || {
        let mut program =
            start(&words("sub", &place(addr), &["-t", "a/#", "-C", "1", "--output", "json", "-d"]));
        program.told("resubscribed");
        program
    })
    .await;
    publish(&broker, "a/b", "say \"hi\"", Qos::AtLeastOnce);
    let ended = blocking(move || program.end()).await;
    let message: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((&message["topic"], &message["payload"]), (&"a/b".into(), &"say \"hi\"".into()));
    assert_eq!(Ended::event(&ended.stderr, "summary")["received"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_in_vain_is_exit_27() {
    let broker = broker().await;
    let addr = broker.addr();
    let ended = blocking(move || run(&words("sub", &place(addr), &["-t", "a", "-W", "0.2"]))).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(27), ""), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_session_hands_over_what_came_meanwhile() {
    let broker = broker().await;
    let flags = ["-c", "-i", "keeper", "-x", "3600", "-t", "a", "-C", "1"];
    let first = subscriber(broker.addr(), &flags).await;
    publish(&broker, "a", "1", Qos::AtLeastOnce);
    assert_eq!(blocking(move || first.end()).await.stdout, "1\n");
    // Nobody is connected; the subscription is still there.
    publish(&broker, "a", "2", Qos::AtLeastOnce);
    publish(&broker, "a", "3", Qos::ExactlyOnce);
    let addr = broker.addr();
    let second = blocking(move || {
        run(&words(
            "sub",
            &place(addr),
            &["-c", "-i", "keeper", "-x", "3600", "-q", "2", "-t", "a", "-C", "2"],
        ))
    })
    .await;
    assert_eq!((second.code, second.stdout.as_str()), (Some(0), "2\n3\n"), "{second:?}");
    assert!(second.stderr.contains("session=kept"), "{second:?}");
    assert_eq!(broker.with(|broker| broker.owed_to("keeper")), 0, "all of it was acknowledged");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_is_told_when_the_broker_forgot_the_session() {
    let broker = broker().await;
    let program = subscriber(broker.addr(), &[&["-t", "a"][..], &QUICK].concat()).await;
    broker.kill(Ending::Rst).await;
    let program = blocking(move || {
        let mut program = program;
        program.told("lost");
        program
    })
    .await;
    broker.start_again(false).await.unwrap();
    let (mut program, gap) = blocking(move || {
        let mut program = program;
        let gap = program.told("may be missing");
        program.told("recovered");
        (program, gap)
    })
    .await;
    assert!(gap.contains("add -c -i NAME") && gap.contains("messages between"), "{gap}");
    publish(&broker, "a", "after", Qos::AtLeastOnce);
    let ended = blocking(move || {
        program.printed("after");
        #[cfg(unix)]
        program.signal("INT");
        program.end()
    })
    .await;
    assert_eq!(ended.stderr.matches("may be missing").count(), 1, "once: {}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_gap_is_told_when_the_broker_kept_the_session() {
    let broker = broker().await;
    let program = subscriber(broker.addr(), &[&["-t", "a"][..], &QUICK].concat()).await;
    broker.kill(Ending::Rst).await;
    broker.start_again(true).await.unwrap();
    let program = blocking(move || {
        let mut program = program;
        program.told("recovered");
        program
    })
    .await;
    let ended = {
        publish(&broker, "a", "after", Qos::AtLeastOnce);
        blocking(move || {
            let mut program = program;
            program.printed("after");
            #[cfg(unix)]
            program.signal("INT");
            program.end()
        })
        .await
    };
    assert!(ended.stderr.contains("session=kept") && !ended.stderr.contains("may be missing"), "{ended:?}");
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ctrl_c_ends_in_order() {
    let broker = broker().await;
    let program = subscriber(broker.addr(), &["-t", "a"]).await;
    let ended = blocking(move || {
        program.signal("INT");
        program.end()
    })
    .await;
    assert_eq!(ended.code, Some(130), "{ended:?}");
    assert!(ended.stderr.contains("received 0 · outages 0"), "{ended:?}");
    let gone = tokio::time::timeout(Duration::from_secs(10), async {
        while broker.connections() > 0 {
            tokio::task::yield_now().await;
        }
    });
    gone.await.expect("DISCONNECT, then the end of the stream");
}

/// What a reader of the pipe did not get is not acknowledged, and comes again for the next one.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_goes_away_is_a_clean_end_and_loses_nothing() {
    let broker = broker().await;
    let addr = broker.addr();
    let flags = ["-c", "-i", "piped", "-x", "3600", "-t", "a"];
    let mut child = blocking(move || {
        let mut child = Command::new(env!("CARGO_BIN_EXE_rejoin"))
            .args(words("sub", &place(addr), &flags))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // The reader goes away before the first message.
        drop(child.stdout.take());
        child
    })
    .await;
    let subscribed = tokio::time::timeout(Duration::from_secs(10), async {
        while !broker.with(|broker| broker.publish("a", "kept", Qos::AtLeastOnce, false)) {
            tokio::task::yield_now().await;
        }
    });
    subscribed.await.expect("the subscription is made");
    let status = blocking(move || child.wait().unwrap()).await;
    assert_eq!(status.code(), Some(0));
    let again =
        blocking(move || run(&words("sub", &place(addr), &[&flags[..], &["-C", "1"]].concat()))).await;
    assert_eq!((again.code, again.stdout.as_str()), (Some(0), "kept\n"), "{again:?}");
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stderr_that_nobody_reads_holds_no_message_up() {
    let broker = broker().await;
    let addr = broker.addr();
    let full = FullPipe::new("sub");
    let stderr = full.end();
    let program = blocking(move || {
        let flags = ["-t", "t", "-F", "got %p", "-C", "1", "-d"];
        start_on(&words("sub", &place(addr), &flags), Stdio::piped(), stderr)
    })
    .await;
    let there = tokio::time::timeout(LIMIT, async {
        while !broker.with(|broker| broker.publish("t", "one", Qos::AtLeastOnce, false)) {
            tokio::task::yield_now().await;
        }
    });
    there.await.expect("it subscribes");
    let ended = blocking(move || program.end()).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "got one\n"), "{ended:?}");
}
