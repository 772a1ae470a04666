//! What a Prometheus server reads.

use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use rejoin::metrics::descriptions;
use rejoin::metrics::prometheus::{RegisterError, register};

use super::{open, published};
use crate::peer::Listener;
use crate::skipped::skipped;

fn page(registry: &Registry) -> String {
    let mut page = String::new();
    text::encode(&mut page, registry).unwrap();
    page
}

#[tokio::test]
async fn every_metric_is_on_the_page_under_its_name_with_its_unit() {
    let listener = Listener::bind().await;
    let (client, _peer) = published(&listener).await;
    let mut registry = Registry::default();
    let _clients = register(&mut registry, &client, "up").unwrap();
    let page = page(&registry);
    for line in [
        "mqtt_client_link_open{client=\"up\"} 1.0",
        "mqtt_client_state{client=\"up\",state=\"waiting\"} 0.0",
        "mqtt_client_publish_acked_total{client=\"up\",qos=\"1\"} 1",
        "mqtt_client_publish_ack_duration_seconds_count{client=\"up\",qos=\"1\"} 1",
        "mqtt_client_publish_ack_duration_seconds_bucket{le=\"+Inf\",client=\"up\",qos=\"1\"} 1",
        "mqtt_client_disconnects_total{client=\"up\",reason=\"ping-timeout\"} 0",
        "mqtt_client_connect_attempts_total{client=\"up\",outcome=\"opened\",stage=\"connack\"} 1",
        "# UNIT mqtt_client_queue_bytes bytes",
        "# TYPE mqtt_client_ping_round_trip_seconds histogram",
        "# EOF",
    ] {
        assert!(page.lines().any(|known| known == line), "{line} is missing:\n{page}");
    }
    assert!(page.contains("mqtt_client_build_info{client=\"up\",version=\""), "{page}");
    // What nobody judges or limits is not there.
    let absent = ["health_status", "baseline_ratio", "alert_firing", "queue_limit_messages"];
    for description in descriptions() {
        let sample = |line: &str| line.starts_with(description.name) && line.contains("client=\"up\"");
        let expected = !absent.iter().any(|name| description.name.ends_with(name));
        assert_eq!(page.lines().any(sample), expected, "{}", description.name);
    }
    assert!(!page.contains("secret") && !page.contains("127.0.0.1"), "no topic and no address:\n{page}");
}

#[tokio::test]
async fn a_second_client_shares_the_families_and_leaves_with_its_last_handle() {
    let listener = Listener::bind().await;
    let (first, _peer) = open(&listener).await;
    let (second, _other) = open(&listener).await;
    let mut registry = Registry::default();
    let clients = register(&mut registry, &first, "one").unwrap();
    clients.add(&second, "two").unwrap();
    let both = page(&registry);
    assert_eq!(both.matches("# TYPE mqtt_client_link_open gauge").count(), 1);
    assert_eq!(both.matches("mqtt_client_link_open{").count(), 2);
    second.shutdown().within_secs(2).await;
    assert!(page(&registry).contains("mqtt_client_state{client=\"two\",state=\"stopped\"} 1.0"));
    drop(second);
    assert!(!page(&registry).contains("\"two\""));
    assert!(clients.remove("one") && !clients.remove("one"));
    assert_eq!(page(&registry), "# EOF\n");
}

#[tokio::test]
async fn a_clash_of_names_is_refused_and_says_what_to_do() {
    let listener = Listener::bind().await;
    let (client, _peer) = open(&listener).await;
    let mut registry = Registry::default();
    let clients = register(&mut registry, &client, "one").unwrap();
    let twice = clients.add(&client, "one").unwrap_err();
    assert_eq!(twice, RegisterError::NameTaken { name: "one".to_owned() });
    assert!(twice.to_string().contains("name of its own"));
    let again = register(&mut registry, &client, "two").unwrap_err();
    assert_eq!(again, RegisterError::MetricTaken { metric: "mqtt_client_link_open".to_owned() });
    assert!(again.to_string().contains("`add`"), "{again}");

    let mut foreign = Registry::default();
    foreign.register("mqtt_client_publish_acked", "of another client", Counter::<u64>::default());
    let clash = register(&mut foreign, &client, "one").unwrap_err();
    assert_eq!(clash, RegisterError::MetricTaken { metric: "mqtt_client_publish_acked".to_owned() });
    assert!(!page(&foreign).contains("link_open"), "nothing was changed");
}

/// `promtool`, of Debian's package `prometheus`, judges a page that a client really gave.
#[tokio::test]
async fn promtool_has_nothing_against_the_page() {
    use std::io::Write;
    use std::process::{Command, Stdio};

    let listener = Listener::bind().await;
    let (client, _peer) = published(&listener).await;
    let mut registry = Registry::default();
    let _clients = register(&mut registry, &client, "up").unwrap();
    let mut page = String::new();
    prometheus_text::encode(&mut page, &registry).unwrap();
    let started = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = started else {
        skipped("the judge of the page", "promtool is missing; apt-get install prometheus");
        return;
    };
    promtool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{words}\n{page}");
}
