//! rejoin-core alone between blocking calls on one thread: what the engine costs before a runtime, tasks and handles
//! come on top.

use super::{Job, TOPIC};
use crate::meter::{Measured, Meter};
use crate::sink;
use bytes::{Bytes, BytesMut};
use rejoin_core::{
    Config, Engine, Event, Input, MessageId, Now, Output, Publication, PublishId, Qos, ReasonCode,
    SubscribeRequest, SubscriptionId, SubscriptionOptions, Text, Timestamp, TopicFilter, TopicName,
    VersionPolicy,
};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

/// As much as one read takes from the kernel.
const READ: usize = 64 * 1024;

struct Driver {
    engine: Engine,
    socket: TcpStream,
    origin: Instant,
    buffer: BytesMut,
    out: Vec<Bytes>,
    finished: u64,
    messages: Vec<MessageId>,
    got: u64,
    open: bool,
}

pub(super) fn run(job: &Job) -> Result<Measured, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let mut config = Config::new(Text::from_static("core"), Text::from_static("sink"));
    config.version = if job.version == 5 { VersionPolicy::Only5 } else { VersionPolicy::Only311 };
    config.link.receive_maximum = job.window;
    config.session.in_flight_max = Some(job.window);
    let socket = TcpStream::connect(job.address).map_err(|e| text(&e))?;
    socket.set_nodelay(true).map_err(|e| text(&e))?;
    let origin = Instant::now();
    let now = Now::new(Timestamp::ZERO, 0);
    let engine = Engine::new(config, rejoin_core::Recovered::default(), 1, now).map_err(|e| text(&e))?;
    let mut driver = Driver {
        engine,
        socket,
        origin,
        buffer: BytesMut::new(),
        out: Vec::new(),
        finished: 0,
        messages: Vec::new(),
        got: 0,
        open: false,
    };
    driver.engine.handle(Input::Tick, now);
    driver.drain()?;
    while !driver.open {
        driver.read()?;
        driver.drain()?;
    }
    if job.receives() { driver.receive(job) } else { driver.publish(job) }
}

impl Driver {
    fn now(&self) -> Now {
        Now::new(Timestamp::ZERO + self.origin.elapsed(), 0)
    }

    fn read(&mut self) -> Result<(), String> {
        self.buffer.resize(READ, 0);
        match self.socket.read(&mut self.buffer) {
            Ok(count) if count > 0 => {
                let bytes = self.buffer.split_to(count).freeze();
                self.engine.handle(Input::Received(bytes), self.now());
                Ok(())
            }
            Ok(_) => Err("the sink closed the connection".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Does what the engine wants, writes included.
    fn drain(&mut self) -> Result<(), String> {
        loop {
            while let Some(output) = self.engine.poll() {
                match output {
                    Output::Open { .. } => {
                        let now = self.now();
                        self.engine.handle(Input::Opened, now);
                    }
                    Output::Transmit(bytes) => self.out.push(bytes),
                    Output::Event(Event::Finished { .. }) => self.finished += 1,
                    Output::Event(Event::Message(message)) => {
                        self.got += 1;
                        self.messages.extend(message.id);
                    }
                    Output::Event(Event::Opened { .. }) => self.open = true,
                    Output::Close { .. } => return Err("the engine closed the link".to_owned()),
                    _ => {}
                }
            }
            if self.out.is_empty() {
                return Ok(());
            }
            let mut written = 0;
            for bytes in self.out.drain(..) {
                self.socket.write_all(&bytes).map_err(|e| e.to_string())?;
                written += bytes.len();
            }
            let now = self.now();
            self.engine.handle(Input::Written(written), now);
        }
    }

    fn publish(&mut self, job: &Job) -> Result<Measured, String> {
        let topic = TopicName::try_from(TOPIC).map_err(|e| e.to_string())?;
        let mut publication = Publication::new(topic, vec![b'x'; job.size]);
        publication.qos = level(job.qos);
        let total = job.count + u64::from(job.qos == 0);
        let mut handed = 0;
        let meter = Meter::start();
        while self.finished < total {
            let now = self.now();
            let room = u64::from(job.window) + job.channel as u64;
            while handed < total && handed - self.finished < room {
                handed += 1;
                let mut one = publication.clone();
                if handed > job.count {
                    one.topic = TopicName::try_from(sink::end_of(job.count)).map_err(|e| e.to_string())?;
                    one.qos = Qos::AtLeastOnce;
                }
                self.engine.publish(PublishId(handed), one, now).map_err(|e| e.to_string())?;
            }
            self.drain()?;
            if self.finished < total && (job.qos > 0 || handed == total) {
                self.read()?;
                self.drain()?;
            }
        }
        Ok(meter.stop(job.count))
    }

    fn receive(&mut self, job: &Job) -> Result<Measured, String> {
        let order = sink::order(job.qos, job.count, job.size, job.window);
        let filter = TopicFilter::try_from(order.as_str()).map_err(|e| e.to_string())?;
        let options = SubscriptionOptions { qos: level(job.qos), ..SubscriptionOptions::default() };
        let request =
            SubscribeRequest { id: SubscriptionId(1), filter, options, user_properties: Vec::new() };
        let meter = Meter::start();
        let now = self.now();
        self.engine.subscribe(request, now).map_err(|e| e.to_string())?;
        self.drain()?;
        while self.got < job.count {
            self.read()?;
            self.drain()?;
            let now = self.now();
            for id in std::mem::take(&mut self.messages) {
                self.engine.ack(id, ReasonCode::SUCCESS, now);
            }
            self.drain()?;
        }
        Ok(meter.stop(job.count))
    }
}

const fn level(qos: u8) -> Qos {
    match qos {
        0 => Qos::AtMostOnce,
        1 => Qos::AtLeastOnce,
        _ => Qos::ExactlyOnce,
    }
}
