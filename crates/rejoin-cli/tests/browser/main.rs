//! The live page in a real browser: Debian's Chromium, driven by node beside this file, looks at a real program whose
//! link runs through the lab's proxy. What this machine cannot do is skipped aloud, with the reason.
#![cfg(unix)]

mod browsers;
mod program;
#[path = "../../../rejoin/tests/it/skipped.rs"]
mod skipped;
mod tools;

use std::process::Stdio;
use std::time::{Duration, Instant};

use rejoin_lab::{BrokerServer, Manners, Proxy};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use program::Program;
use tools::{Node, Tools};

/// The whole takes half a minute; a machine under load gets more.
const LIMIT: Duration = Duration::from_secs(180);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_live_page_tells_the_truth_in_a_real_browser() {
    let Some(tools) = Tools::found("the live page") else { return };
    let broker = BrokerServer::start(Manners::default()).await.expect("a port");
    let proxy = Proxy::in_front_of(broker.addr()).await.expect("a port");
    let addr = proxy.addr();
    let program = tokio::task::spawn_blocking(move || Program::publishing(addr)).await.expect("it starts");
    let begin = Instant::now();
    let passed = tokio::time::timeout(LIMIT, look(&tools, &proxy, program)).await;
    eprintln!("the browser took {:.1} s", begin.elapsed().as_secs_f64());
    assert!(passed.expect("the browser ends within its limit"), "the page failed, see above");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_faults_of_the_demo_are_at_hand_in_its_page() {
    let Some(tools) = Tools::found("the page of the demo") else { return };
    let program = tokio::task::spawn_blocking(Program::demo).await.expect("it starts");
    let mut node = tools.script("demo.mjs");
    let ended = node.env("REJOIN_PAGE", program.page()).stdin(Stdio::null()).kill_on_drop(true).status();
    let ended = tokio::time::timeout(LIMIT, ended).await.expect("the browser ends within its limit");
    assert!(ended.expect("node starts").success(), "the page of the demo failed, see above");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_report_opens_from_the_disk_in_a_real_browser() {
    let Some(tools) = Tools::found("the report") else { return };
    let page = program::report(tools.folder()).await;
    let mut node = tools.script("report.mjs");
    let ended = node.env("REJOIN_PAGE", page).stdin(Stdio::null()).kill_on_drop(true).status();
    let ended = tokio::time::timeout(LIMIT, ended).await.expect("the browser ends within its limit");
    assert!(ended.expect("node starts").success(), "the report failed, see above");
}

#[tokio::test]
async fn what_the_page_holds_is_whole_and_bounded() {
    let Some(node) = Node::found("the parts of the page") else { return };
    let ended = tokio::time::timeout(LIMIT, node.script("model.mjs").kill_on_drop(true).output()).await;
    let ended = ended.expect("node ends within its limit").expect("node starts");
    eprint!("{}{}", String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success(), "the page's own tests failed, see above");
}

/// Runs `page.mjs` and does to the link and to the program what it asks for. True when every test in it passed.
async fn look(tools: &Tools, proxy: &Proxy, mut program: Program) -> bool {
    let mut node = tools
        .script("page.mjs")
        .env("REJOIN_PAGE", program.page())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("node starts");
    let mut answers = node.stdin.take().expect("it is piped");
    let mut lines = BufReader::new(node.stdout.take().expect("it is piped")).lines();
    while let Some(line) = lines.next_line().await.expect("node writes UTF-8") {
        match line.strip_prefix("do ") {
            Some("cut") => {
                proxy.refuse().await;
                proxy.reset();
            }
            Some("heal") => proxy.heal(),
            Some("stop") => program.signal("STOP"),
            Some("continue") => program.signal("CONT"),
            Some("restart") => {
                let addr = proxy.addr();
                let other = tokio::task::spawn_blocking(move || program.replaced(addr)).await;
                program = other.expect("it starts");
            }
            Some(other) => panic!("page.mjs asks for `{other}`"),
            None => {
                eprintln!("{line}");
                continue;
            }
        }
        answers.write_all(b"done\n").await.expect("node listens");
    }
    node.wait().await.expect("node ends").success()
}
