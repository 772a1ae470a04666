//! rejoin as a user writes it: `enqueue` with back-pressure and a final flush, a stream with `next`.

use super::subject::{Ear, Subject};
use super::{Job, observe};
use ::rejoin::{Client, Qos, Queue, Session, VersionPolicy};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// For everything that has to end.
const LIMIT: Duration = Duration::from_secs(60);
/// A link that lived so long was stable, in runs that cut one every 300 ms; the default of 30 s is for networks.
const STABLE: Duration = Duration::from_millis(50);

pub(super) struct Rejoin {
    client: Client,
    ear: Arc<Ear>,
    /// Handing over waits for nothing.
    at_once: bool,
}

impl Subject for Rejoin {
    async fn open(job: &Job, id: &str, ear: &Arc<Ear>) -> Result<Self, String> {
        let version = if job.version == 5 { VersionPolicy::Only5 } else { VersionPolicy::Only311 };
        let scheme = if job.tls.is_some() { "mqtts" } else { "mqtt" };
        let host = if job.tls.is_some() { "localhost".to_owned() } else { job.address.ip().to_string() };
        let mut builder = Client::builder(&format!("{scheme}://{host}:{}", job.address.port()))
            .client_id(id)
            .version(version)
            .keep_alive(job.keep_alive);
        if !job.plain {
            builder = builder.max_in_flight(job.window).receive_maximum(job.window);
            builder =
                builder.queue(Queue::in_memory().max_messages(job.channel as u64 + u64::from(job.window)));
        }
        if job.again {
            builder = builder.lift_connect_budget().stable_after(STABLE);
            if !job.pause.is_zero() {
                builder = builder.backoff(job.pause, job.pause).overload_backoff(job.pause, job.pause);
            }
        }
        if job.keeps_session() {
            builder = builder.session(Session::kept_for(Duration::from_secs(3600)));
        }
        #[cfg(feature = "tls")]
        if let Some(file) = &job.tls {
            builder = builder.tls(::rejoin::Tls::new().ca_file(file));
        }
        let client = match job.mode.as_str() {
            // Many at once: the next is started while this one connects.
            "idle" => {
                let client = builder.start().map_err(|error| error.to_string())?;
                let (opening, ear) = (client.clone(), Arc::clone(ear));
                tokio::spawn(async move {
                    match opening.wait_open(LIMIT).await {
                        Ok(_) => ear.opened(),
                        Err(error) => ear.fail(error),
                    }
                });
                client
            }
            _ => {
                let client = builder.connect().await.map_err(|error| error.to_string())?;
                ear.opened();
                client
            }
        };
        observe::look_on(job, &client)?;
        Ok(Self { client, ear: Arc::clone(ear), at_once: job.mode == "offline" })
    }

    async fn publish(&mut self, topic: &str, qos: u8, payload: &Bytes) -> Result<(), String> {
        let message = self.client.publish(topic, payload.clone()).qos(level(qos));
        let handed = match self.at_once {
            true => message.enqueue(),
            false => message.enqueue_when_room().await,
        };
        handed.map(drop).map_err(|error| error.to_string())
    }

    async fn subscribe(&mut self, filter: &str, qos: u8) -> Result<(), String> {
        let mut messages = self.client.subscribe(filter, level(qos)).await.map_err(|e| e.to_string())?;
        let ear = Arc::clone(&self.ear);
        tokio::spawn(async move {
            while let Some(message) = messages.next().await {
                ear.message(&message.payload);
            }
        });
        Ok(())
    }

    async fn settle(&mut self, _ear: &Ear) -> Result<(), String> {
        self.client.flush(LIMIT).await.map_err(|error| error.to_string())
    }
}

const fn level(qos: u8) -> Qos {
    match qos {
        0 => Qos::AtMostOnce,
        1 => Qos::AtLeastOnce,
        _ => Qos::ExactlyOnce,
    }
}
