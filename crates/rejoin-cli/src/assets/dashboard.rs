//! The dashboard: a table of panels, and the JSON that Grafana imports.

use serde_json::{Value, json};

/// One panel.
struct Panel {
    title: &'static str,
    /// What it says, and what to look at next.
    description: &'static str,
    kind: Kind,
    /// As Grafana names units.
    unit: &'static str,
    /// In 24ths of the width.
    width: u32,
    /// PromQL, and the legend.
    queries: &'static [(&'static str, &'static str)],
}

#[derive(Clone, Copy)]
enum Kind {
    /// A number or a word, coloured: these values are these words.
    Lamp(&'static [(&'static str, &'static str, &'static str)]),
    Number,
    Lines,
    /// Areas that add up.
    Stack,
    Timeline,
}

/// A row with its panels.
struct Row(&'static str, &'static [Panel]);

const YES_NO: &[(&str, &str, &str)] = &[("0", "NO", "red"), ("1", "YES", "green")];
const HEALTH: &[(&str, &str, &str)] =
    &[("0", "healthy", "green"), ("1", "degraded", "orange"), ("2", "unhealthy", "red")];

const ROWS: &[Row] = &[
    Row(
        "Now",
        &[
            Panel {
                title: "Link open",
                description: "The link is open and nothing speaks against it. NO with messages waiting means that they are \
                              delivered later.",
                kind: Kind::Lamp(YES_NO),
                unit: "none",
                width: 4,
                queries: &[("mqtt_client_link_open{$it}", "{{client}}")],
            },
            Panel {
                title: "Ready",
                description: "The link is open and every subscription is granted on it.",
                kind: Kind::Lamp(YES_NO),
                unit: "none",
                width: 4,
                queries: &[("mqtt_client_ready{$it}", "{{client}}")],
            },
            Panel {
                title: "Health",
                description: "What the client says of itself, where health is judged.",
                kind: Kind::Lamp(HEALTH),
                unit: "none",
                width: 4,
                queries: &[("mqtt_client_health_status{$it}", "{{client}}")],
            },
            Panel {
                title: "Silent for",
                description: "Time since the last byte from the broker. Pings keep it below half a minute on a good link.",
                kind: Kind::Number,
                unit: "s",
                width: 4,
                queries: &[("time() - (mqtt_client_last_heard_timestamp_seconds{$it} > 0)", "{{client}}")],
            },
            Panel {
                title: "Waiting",
                description: "Messages accepted and not answered for.",
                kind: Kind::Number,
                unit: "short",
                width: 4,
                queries: &[("mqtt_client_queue_messages{$it}", "{{client}}")],
            },
            Panel {
                title: "Oldest message",
                description: "How long the oldest of them waits: how late we are.",
                kind: Kind::Number,
                unit: "s",
                width: 4,
                queries: &[("mqtt_client_queue_oldest_age_seconds{$it}", "{{client}}")],
            },
        ],
    ),
    Row(
        "Link",
        &[
            Panel {
                title: "State of the link",
                description: "What each client was doing. Suspect: open by the book, and a ping is late.",
                kind: Kind::Timeline,
                unit: "none",
                width: 24,
                queries: &[("(mqtt_client_state{$it} == 1)", "{{client}} {{state}}")],
            },
            Panel {
                title: "Links lost, by reason",
                description: "Links that ended within each interval. `rejoin explain REASON` says what a reason means.",
                kind: Kind::Stack,
                unit: "short",
                width: 8,
                queries: &[(
                    "sum by (client, reason) (increase(mqtt_client_disconnects_total{$it}[$__rate_interval])) > 0",
                    "{{client}} {{reason}}",
                )],
            },
            Panel {
                title: "Failed attempts, by stage",
                description: "Where opening a link fails: dns and tcp point to the network, tls to certificates, connack to \
                              the broker.",
                kind: Kind::Stack,
                unit: "short",
                width: 8,
                queries: &[(
                    "sum by (client, stage) (increase(mqtt_client_connect_attempts_total{$it, outcome=\"failed\"}[$__rate_interval])) > 0",
                    "{{client}} {{stage}}",
                )],
            },
            Panel {
                title: "Where the time of outages went",
                description: "Per second of wall time, from the last byte heard to the last message of the backlog: detect, \
                              refused, waited, connect, then resubscribe and drain, which run at the same time.",
                kind: Kind::Stack,
                unit: "s",
                width: 8,
                queries: &[(
                    "sum by (phase) (rate(mqtt_client_recovery_duration_seconds_sum{$it}[$__rate_interval]))",
                    "{{phase}}",
                )],
            },
            Panel {
                title: "Outages",
                description: "From the loss of a link until the next one was open: half and nearly all of them were shorter.",
                kind: Kind::Lines,
                unit: "s",
                width: 8,
                queries: &[
                    (
                        "histogram_quantile(0.5, sum by (client, le) (rate(mqtt_client_outage_duration_seconds_bucket{$it}[$__range])))",
                        "{{client}} half",
                    ),
                    (
                        "histogram_quantile(0.95, sum by (client, le) (rate(mqtt_client_outage_duration_seconds_bucket{$it}[$__range])))",
                        "{{client}} 95 %",
                    ),
                ],
            },
            Panel {
                title: "Ping round trip",
                description: "From PINGREQ to PINGRESP, which only idle links send.",
                kind: Kind::Lines,
                unit: "s",
                width: 8,
                queries: &[(
                    "histogram_quantile(0.99, sum by (client, le) (rate(mqtt_client_ping_round_trip_seconds_bucket{$it}[5m])))",
                    "{{client}} 99 %",
                )],
            },
            Panel {
                title: "Sessions",
                description: "What became of the session when links opened. Lost: the broker forgot it, and what it kept.",
                kind: Kind::Stack,
                unit: "short",
                width: 8,
                queries: &[
                    (
                        "sum by (client, result) (increase(mqtt_client_sessions_total{$it}[$__rate_interval])) > 0",
                        "{{client}} {{result}}",
                    ),
                    (
                        "increase(mqtt_client_subscription_gaps_total{$it}[$__rate_interval]) > 0",
                        "{{client}} gaps",
                    ),
                    (
                        "increase(mqtt_client_id_conflicts_total{$it}[$__rate_interval]) > 0",
                        "{{client}} id conflicts",
                    ),
                ],
            },
        ],
    ),
    Row(
        "Messages",
        &[
            Panel {
                title: "Handed over and acknowledged",
                description: "Accepted above acknowledged: the queue grows.",
                kind: Kind::Lines,
                unit: "cps",
                width: 8,
                queries: &[
                    (
                        "sum by (client) (rate(mqtt_client_publish_accepted_total{$it}[$__rate_interval]))",
                        "{{client}} accepted",
                    ),
                    (
                        "sum by (client) (rate(mqtt_client_publish_acked_total{$it}[$__rate_interval]))",
                        "{{client}} acknowledged",
                    ),
                ],
            },
            Panel {
                title: "Time to acknowledgement",
                description: "From acceptance to acknowledgement; outages are part of it.",
                kind: Kind::Lines,
                unit: "s",
                width: 8,
                queries: &[
                    (
                        "histogram_quantile(0.5, sum by (client, le) (rate(mqtt_client_publish_ack_duration_seconds_bucket{$it}[$__rate_interval])))",
                        "{{client}} half",
                    ),
                    (
                        "histogram_quantile(0.99, sum by (client, le) (rate(mqtt_client_publish_ack_duration_seconds_bucket{$it}[$__rate_interval])))",
                        "{{client}} 99 %",
                    ),
                ],
            },
            Panel {
                title: "Of it in the queue",
                description: "From acceptance until first written. As long as the time to acknowledgement: the queue is the \
                              reason, else the broker.",
                kind: Kind::Lines,
                unit: "s",
                width: 8,
                queries: &[(
                    "histogram_quantile(0.99, sum by (client, le) (rate(mqtt_client_queue_wait_duration_seconds_bucket{$it}[$__rate_interval])))",
                    "{{client}} 99 %",
                )],
            },
            Panel {
                title: "How full the queue is",
                description: "Of its limit in bytes. When it is full, messages are given back or given up.",
                kind: Kind::Lines,
                unit: "percentunit",
                width: 8,
                queries: &[(
                    "mqtt_client_queue_bytes{$it} / mqtt_client_queue_limit_bytes{$it}",
                    "{{client}}",
                )],
            },
            Panel {
                title: "In flight",
                description: "Sent and unacknowledged. Flat at the Receive Maximum of the broker: the window is the limit.",
                kind: Kind::Lines,
                unit: "short",
                width: 8,
                queries: &[("mqtt_client_in_flight_messages{$it}", "{{client}}")],
            },
            Panel {
                title: "Not delivered",
                description: "Accepted messages that ended otherwise, by reason, those given back, and packets sent twice.",
                kind: Kind::Stack,
                unit: "short",
                width: 8,
                queries: &[
                    (
                        "sum by (client, reason) (increase(mqtt_client_publish_failed_total{$it}[$__rate_interval])) > 0",
                        "{{client}} {{reason}}",
                    ),
                    (
                        "increase(mqtt_client_publish_not_accepted_total{$it}[$__rate_interval]) > 0",
                        "{{client}} given back",
                    ),
                    (
                        "increase(mqtt_client_publish_resent_total{$it}[$__rate_interval]) > 0",
                        "{{client}} sent again",
                    ),
                ],
            },
            Panel {
                title: "Received",
                description: "Messages received, by QoS.",
                kind: Kind::Lines,
                unit: "cps",
                width: 8,
                queries: &[(
                    "sum by (client, qos) (rate(mqtt_client_received_messages_total{$it}[$__rate_interval]))",
                    "{{client}} QoS {{qos}}",
                )],
            },
            Panel {
                title: "Waiting for the program",
                description: "Received and not yet taken. Grows: the program is too slow; QoS 0 is dropped in the end.",
                kind: Kind::Lines,
                unit: "short",
                width: 8,
                queries: &[
                    ("mqtt_client_handler_lag_messages{$it}", "{{client}}"),
                    (
                        "increase(mqtt_client_handler_dropped_total{$it}[$__rate_interval]) > 0",
                        "{{client}} dropped",
                    ),
                ],
            },
            Panel {
                title: "Bytes",
                description: "Sent and received, as MQTT packets.",
                kind: Kind::Lines,
                unit: "Bps",
                width: 8,
                queries: &[
                    ("rate(mqtt_client_sent_bytes_total{$it}[$__rate_interval])", "{{client}} sent"),
                    ("rate(mqtt_client_received_bytes_total{$it}[$__rate_interval])", "{{client}} received"),
                ],
            },
            Panel {
                title: "Commits of the queue on disk",
                description: "How long each took until it would survive a power cut.",
                kind: Kind::Lines,
                unit: "s",
                width: 12,
                queries: &[(
                    "histogram_quantile(0.99, sum by (client, le) (rate(mqtt_client_queue_sync_duration_seconds_bucket{$it}[5m])))",
                    "{{client}} 99 %",
                )],
            },
            Panel {
                title: "Compared with the usual",
                description: "The present over what is usual, by signal, where baselines are kept. 1 is as usual.",
                kind: Kind::Lines,
                unit: "none",
                width: 12,
                queries: &[("mqtt_client_baseline_ratio{$it}", "{{client}} {{signal}}")],
            },
        ],
    ),
];

/// Which series, by the variables of the dashboard.
const IT: &str = "job=~\"$job\", client=~\"$client\"";
const LAMP_HEIGHT: u32 = 4;
const HEIGHT: u32 = 8;

/// The whole dashboard.
pub(super) fn dashboard() -> Value {
    let mut panels = Vec::new();
    let (mut id, mut y) = (0, 0);
    for Row(title, row) in ROWS {
        id += 1;
        panels.push(json!({
            "id": id, "type": "row", "title": title, "collapsed": false, "panels": [],
            "gridPos": {"x": 0, "y": y, "w": 24, "h": 1},
        }));
        y += 1;
        let (mut x, mut height) = (0, 0);
        for panel in *row {
            if x + panel.width > 24 {
                (x, y) = (0, y + height);
            }
            id += 1;
            height = if panel.is_small() { LAMP_HEIGHT } else { HEIGHT };
            panels.push(panel.json(id, (x, y), height));
            x += panel.width;
        }
        y += height;
    }
    json!({
        "title": "MQTT clients (rejoin)",
        "description": "Made by `rejoin assets grafana`, for the metrics of rejoin.",
        "uid": "rejoin-clients",
        "tags": ["mqtt", "rejoin"],
        "schemaVersion": 39,
        "version": 1,
        "editable": true,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [
            {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
            variable("job", "Job", "label_values(mqtt_client_link_open, job)"),
            variable("client", "Client", "label_values(mqtt_client_link_open{job=~\"$job\"}, client)"),
        ]},
        "panels": panels,
    })
}

fn source() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

fn variable(name: &str, label: &str, query: &str) -> Value {
    json!({
        "name": name, "label": label, "type": "query", "datasource": source(), "query": query, "refresh": 2,
        "multi": true, "includeAll": true, "current": {"text": "All", "value": "$__all"}, "sort": 1,
    })
}

impl Panel {
    const fn is_small(&self) -> bool {
        matches!(self.kind, Kind::Lamp(_) | Kind::Number)
    }

    fn json(&self, id: u32, (x, y): (u32, u32), height: u32) -> Value {
        let targets: Vec<Value> = self
            .queries
            .iter()
            .zip("ABCDEF".chars())
            .map(|((query, legend), name)| {
                let expr = query.replace("$it", IT);
                json!({"refId": name.to_string(), "datasource": source(), "expr": expr, "legendFormat": legend})
            })
            .collect();
        let (kind, defaults, options) = self.look();
        json!({
            "id": id, "type": kind, "title": self.title, "description": self.description, "datasource": source(),
            "gridPos": {"x": x, "y": y, "w": self.width, "h": height},
            "fieldConfig": {"defaults": defaults, "overrides": []},
            "options": options,
            "targets": targets,
        })
    }

    fn look(&self) -> (&'static str, Value, Value) {
        let unit = self.unit;
        let stat = json!({
            "reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "background", "graphMode": "none",
            "textMode": "auto",
        });
        let legend =
            json!({"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}});
        match self.kind {
            Kind::Lamp(words) => {
                let words = words
                    .iter()
                    .map(|(value, text, color)| ((*value).to_owned(), json!({"text": text, "color": color})));
                let words: serde_json::Map<String, Value> = words.collect();
                let mappings = json!([{"type": "value", "options": words}]);
                ("stat", json!({"unit": unit, "mappings": mappings}), stat)
            }
            Kind::Number => {
                let mut options = stat;
                options["colorMode"] = json!("value");
                options["graphMode"] = json!("area");
                ("stat", json!({"unit": unit, "min": 0}), options)
            }
            Kind::Lines => {
                let custom = json!({"fillOpacity": 5, "lineWidth": 1, "showPoints": "never"});
                ("timeseries", json!({"unit": unit, "min": 0, "custom": custom}), legend)
            }
            Kind::Stack => {
                let custom = json!({"drawStyle": "bars", "fillOpacity": 60, "stacking": {"mode": "normal", "group": "A"}});
                ("timeseries", json!({"unit": unit, "min": 0, "custom": custom}), legend)
            }
            Kind::Timeline => {
                let mappings = json!([{"type": "value", "options": {"1": {"text": " "}}}]);
                let options = json!({"mergeValues": true, "showValue": "never", "rowHeight": 0.9});
                ("state-timeline", json!({"unit": unit, "mappings": mappings}), options)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{names, unknown};
    use super::*;

    #[test]
    fn panels_have_a_unit_a_description_and_queries_of_metrics_that_exist() {
        let dashboard = dashboard();
        let panels = dashboard["panels"].as_array().unwrap();
        let mut ids = Vec::new();
        for panel in panels {
            ids.push(panel["id"].as_u64().unwrap());
            if panel["type"] == "row" {
                continue;
            }
            let title = panel["title"].as_str().unwrap();
            assert!(!panel["description"].as_str().unwrap().is_empty(), "{title}");
            assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{title}");
            for target in panel["targets"].as_array().unwrap() {
                let expr = target["expr"].as_str().unwrap();
                assert!(expr.contains("client=~\"$client\""), "{title} shows whatever there is");
                assert!(!expr.contains("$it"), "{title}");
            }
        }
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "each number once");
        let text = dashboard.to_string();
        assert_eq!(unknown(&text), [""; 0]);
        assert!(names(&text).len() > 25);
    }

    #[test]
    fn panels_fill_their_rows_and_do_not_overlap() {
        let dashboard = dashboard();
        let mut taken = std::collections::BTreeSet::new();
        for panel in dashboard["panels"].as_array().unwrap() {
            let at = |name: &str| panel["gridPos"][name].as_u64().unwrap();
            assert!(at("x") + at("w") <= 24);
            for (x, y) in
                (at("y")..at("y") + at("h")).flat_map(|y| (at("x")..at("x") + at("w")).map(move |x| (x, y)))
            {
                assert!(taken.insert((x, y)), "{} overlaps", panel["title"]);
            }
        }
        let height = taken.iter().map(|(_, y)| y).max().unwrap() + 1;
        assert_eq!(taken.len() as u64, 24 * height, "no holes");
    }
}
