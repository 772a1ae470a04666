//! What users pay before the first byte: a program that connects and publishes once, built from nothing.

use super::Effort;
use crate::cast::{Cast, OURS};
use crate::figures::Figures;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// For one build.
const LIMIT: Duration = Duration::from_secs(240);
const TOKIO: &str =
    "tokio = { version = \"1\", features = [\"rt\", \"macros\", \"net\", \"time\", \"sync\"] }\n";

/// A crate, the lines of its manifest, and the program.
struct Hello {
    name: &'static str,
    needs: &'static str,
    program: &'static str,
}

const HELLOS: [Hello; 7] = [
    Hello {
        name: OURS,
        needs: "rejoin = { path = \"@ROOT@/crates/rejoin\" }\n",
        program: r#"
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = rejoin::Client::connect("mqtt://127.0.0.1").await?;
    client.publish("hello", "world").qos(rejoin::Qos::AtLeastOnce).enqueue()?.acked().await?;
    Ok(())
}
"#,
    },
    Hello {
        name: "rumqttc",
        needs: "rumqttc = { version = \"=0.25.1\", default-features = false }\n",
        program: r#"
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = rumqttc::v5::MqttOptions::new("hello", "127.0.0.1", 1883);
    let (client, mut events) = rumqttc::v5::AsyncClient::new(options, 10);
    client.publish("hello", rumqttc::v5::mqttbytes::QoS::AtLeastOnce, false, "world").await?;
    loop {
        if let rumqttc::v5::Event::Incoming(rumqttc::v5::Incoming::PubAck(_)) = events.poll().await? {
            return Ok(());
        }
    }
}
"#,
    },
    Hello {
        name: "rumqttc-next",
        needs: "rumqttc-next = { version = \"=0.34.0\", default-features = false }\n",
        program: r#"
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, PublishOptions, mqttbytes::QoS};
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (client, mut events) = AsyncClient::builder(MqttOptions::new("hello", ("127.0.0.1", 1883))).capacity(10).build();
    client.publish("hello", "world", PublishOptions::new(QoS::AtLeastOnce)).await?;
    loop {
        if let Event::Incoming(Packet::PubAck(_)) = events.poll().await? {
            return Ok(());
        }
    }
}
"#,
    },
    Hello {
        name: "mqrstt",
        needs: "mqrstt = { version = \"=0.4.2\", default-features = false, features = [\"tokio\"] }\n",
        program: r#"
use mqrstt::{NetworkBuilder, packets::{Packet, QoS}};
struct Hear;
impl mqrstt::AsyncEventHandler for Hear {
    async fn handle(&mut self, packet: Packet) {
        if let Packet::PubAck(_) = packet {
            std::process::exit(0);
        }
    }
}
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (mut network, client) = NetworkBuilder::new_from_client_id("hello").tokio_network();
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", 1883)).await?;
    network.connect(tokio::io::BufStream::new(stream), &mut Hear).await?;
    client.publish("hello", QoS::AtLeastOnce, false, "world").await?;
    network.run(&mut Hear).await?;
    Ok(())
}
"#,
    },
    Hello {
        name: "mqtt5",
        needs: "mqtt5 = { version = \"=0.49.0\", default-features = false }\n",
        program: r#"
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = mqtt5::MqttClient::new("hello");
    client.connect("mqtt://127.0.0.1:1883").await?;
    client.publish_qos1("hello", "world").await?;
    Ok(())
}
"#,
    },
    Hello {
        name: "flowsdk",
        needs: "flowsdk = { version = \"=0.7.0\", default-features = false, features = [\"async-client\", \"strict-protocol-compliance\"] }\nasync-trait = \"0.1\"\n",
        program: r#"
use flowsdk::mqtt_client::{MqttClientOptions, TokioAsyncClientConfig, TokioAsyncMqttClient, TokioMqttEventHandler};
struct Hear;
#[async_trait::async_trait]
impl TokioMqttEventHandler for Hear {}
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = MqttClientOptions::builder().peer("127.0.0.1:1883").client_id("hello").build();
    let client = TokioAsyncMqttClient::new(options, Box::new(Hear), TokioAsyncClientConfig::default()).await?;
    client.connect_sync().await?;
    client.publish_sync("hello", b"world", 1, false).await?;
    Ok(())
}
"#,
    },
    Hello {
        name: "paho-mqtt",
        needs: "paho-mqtt = { version = \"=0.14.0\", default-features = false, features = [\"bundled\"] }\n",
        program: r#"
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = paho_mqtt::AsyncClient::new("tcp://127.0.0.1:1883")?;
    client.connect(None).await?;
    client.publish(paho_mqtt::Message::new("hello", "world", 1)).await?;
    Ok(())
}
"#,
    },
];

/// Removed at the end, also when a build fails.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(super) fn measure(_: &Cast, _: Effort, figures: &mut Figures) -> Result<(), String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let scratch = Scratch(here.join("target/hello"));
    for hello in &HELLOS {
        let case = "hello, world";
        match build(here, &scratch.0, hello) {
            Ok((seconds, packages, size)) => {
                figures.add(case, hello.name, "build_s", seconds);
                figures.add(case, hello.name, "packages", packages);
                figures.add(case, hello.name, "size_bytes", size);
                eprintln!("    {}: {seconds:.0} s, {packages} packages, {size} B", hello.name);
            }
            Err(why) => figures.note(case, hello.name, "build_s", &why),
        }
    }
    Ok(())
}

fn build(here: &Path, scratch: &Path, hello: &Hello) -> Result<(f64, f64, f64), String> {
    let told = |error: std::io::Error| error.to_string();
    let folder = scratch.join(hello.name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(folder.join("src")).map_err(told)?;
    let root = here.parent().unwrap_or(here).display().to_string();
    let manifest = format!(
        "[workspace]\n[package]\nname = \"hello\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\
        [profile.release]\nstrip = true\n[dependencies]\n{TOKIO}{}",
        hello.needs.replace("@ROOT@", &root)
    );
    fs::write(folder.join("Cargo.toml"), manifest).map_err(told)?;
    fs::write(folder.join("src/main.rs"), hello.program).map_err(told)?;
    // The versions that the rates were measured with.
    fs::copy(here.join("Cargo.lock"), folder.join("Cargo.lock")).map_err(told)?;
    let cargo = |words: &[&str]| {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(words).current_dir(&folder).env("CARGO_TARGET_DIR", folder.join("target"));
        command.env_remove("RUSTFLAGS").stderr(Stdio::null()).stdout(Stdio::piped());
        command
    };
    cargo(&["fetch"]).status().map_err(told)?;
    let tree = cargo(&["tree", "--prefix", "none", "--edges", "normal"]).output().map_err(told)?;
    let tree = String::from_utf8_lossy(&tree.stdout).into_owned();
    let mut packages: Vec<&str> =
        tree.lines().map(|line| line.trim_end_matches(" (*)")).filter(|line| !line.is_empty()).collect();
    packages.sort_unstable();
    packages.dedup();
    let begun = Instant::now();
    let mut child = cargo(&["build", "--release"]).spawn().map_err(told)?;
    loop {
        match child.try_wait().map_err(told)? {
            Some(status) if status.success() => break,
            Some(_) => return Err("does not build here".to_owned()),
            None if begun.elapsed() > LIMIT => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("takes more than {} s", LIMIT.as_secs()));
            }
            // waits: for the compiler.
            None => std::thread::sleep(Duration::from_millis(50)),
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let size = fs::metadata(folder.join("target/release/hello")).map_err(told)?.len();
    let _ = fs::remove_dir_all(folder.join("target"));
    // Without the program itself.
    Ok((seconds, packages.len() as f64 - 1.0, size as f64))
}
