//! The end of a client in every state it can be in: a shutdown comes back in time and its report is true, and when
//! the last handle is dropped nothing is left behind.

use std::rc::Rc;
use std::time::Duration;

use rejoin::{Client, Link, Message, Qos, ShutdownReport, Stage, State, StopReason};
use rejoin_lab::wire::PacketKind;
use rejoin_lab::{Manners, Times};
use tokio::time::{Instant, sleep, timeout};

use crate::broker::{self, HOST, Server};
use crate::handed::{end_in_vain, has_seen};
use crate::way;

/// How long each shutdown may drain.
pub(crate) const WITHIN: Duration = Duration::from_secs(3);
/// What it may take beyond that: the orderly end of the connection, and the turns of the hosts.
pub(crate) const ENDING: Duration = Duration::from_secs(6);
/// How long a state may take to come.
const LIMIT: Duration = Duration::from_secs(120);

/// The broker of a test, and how it and the network are when the client starts.
#[derive(Default)]
pub(crate) struct Scene {
    manners: Manners,
    tls: bool,
    /// Nobody says a word on the broker's port.
    mute: bool,
    /// The broker is down.
    down: bool,
    /// A client may open sockets of the machine, too.
    real_sockets: bool,
}

impl Scene {
    /// A broker that behaves like this, on a healthy network.
    pub(crate) fn with(manners: Manners) -> Self {
        Self { manners, ..Self::default() }
    }

    /// Nobody says a word on the broker's port.
    pub(crate) fn mute() -> Self {
        Self { mute: true, ..Self::default() }
    }

    /// A healthy broker, and sockets of the machine beside those of the simulated network. Time is virtual for them, too.
    pub(crate) fn with_real_sockets() -> Self {
        Self { real_sockets: true, ..Self::default() }
    }
}

/// Plays a client in a scene to its end, and gives how many connections are left ten seconds later.
fn play<F: Future<Output = turmoil::Result> + 'static>(scene: Scene, client: F) -> usize {
    run(scene, |_| client)
}

/// The same for a client whose test looks at the broker meanwhile, and of which no connection is left.
pub(crate) fn play_before<F: Future<Output = turmoil::Result> + 'static>(
    scene: Scene,
    client: impl FnOnce(Rc<Server>) -> F,
) {
    assert_eq!(run(scene, client), 0, "connections are left");
}

/// Plays both ends of a client that `begin` brings to where it cannot deliver: a shutdown, and the drop of its last handle.
/// That many connections and DISCONNECT come to the broker, and no more.
pub(crate) fn play_ends<F: Future<Output = turmoil::Result<Client>> + 'static>(
    scene: impl Fn() -> Scene,
    begin: impl Fn() -> F,
    seen: (u64, u64),
) {
    for dropped in [false, true] {
        let client = begin();
        play_before(scene(), |server| async move {
            end_in_vain(client.await?, dropped).await?;
            has_seen(&server, seen).await;
            Ok(())
        });
    }
}

fn run<F: Future<Output = turmoil::Result> + 'static>(
    scene: Scene,
    client: impl FnOnce(Rc<Server>) -> F,
) -> usize {
    let server = Server::new(scene.manners, way::acceptor(scene.tls), Vec::new());
    let mut world = turmoil::Builder::new();
    world.rng_seed(1).simulation_duration(LIMIT * 4);
    if scene.real_sockets {
        world.enable_tokio_io();
    }
    let mut sim = world.build();
    let host = Rc::clone(&server);
    let mute = scene.mute;
    sim.host(HOST, move || {
        let server = Rc::clone(&host);
        async move { if mute { broker::mute(server).await } else { broker::serve(server).await } }
    });
    if scene.down {
        sim.crash(HOST);
    }
    sim.client("client", client(Rc::clone(&server)));
    sim.run().unwrap();
    let until = sim.elapsed() + Duration::from_secs(10);
    while sim.elapsed() < until && server.connections() > 0 {
        sim.step().unwrap();
    }
    assert_eq!(
        server.with(|broker| broker.violations().map(ToString::to_string).collect::<Vec<_>>()),
        [""; 0]
    );
    server.connections()
}

fn start(tls: bool) -> turmoil::Result<Client> {
    Ok(way::to_broker(tls).client_id("client").start()?)
}

pub(crate) async fn reach(client: &Client, what: &str, wanted: impl Fn(&State) -> bool) {
    let mut states = client.state_watch();
    let reached = timeout(LIMIT, states.wait_for(|state| wanted(state))).await;
    assert!(matches!(reached, Ok(Some(_))), "{what} did not come: {:?}", client.state());
}

fn publish(client: &Client, messages: u64) -> turmoil::Result {
    for n in 0..messages {
        drop(client.publish("out", format!("message {n}")).qos(Qos::AtLeastOnce).enqueue()?);
    }
    Ok(())
}

/// Shuts down and checks what is true of every end.
pub(crate) async fn shut_down(client: &Client) -> ShutdownReport {
    let begun = Instant::now();
    let report = client.shutdown().within(WITHIN).await;
    assert!(begun.elapsed() <= WITHIN + ENDING, "took {:?}", begun.elapsed());
    assert_eq!(client.link(), Link::Stopped { reason: StopReason::Shutdown });
    assert!(!client.is_connected() && !client.is_connection_open(), "{:?}", client.state());
    // Asking again gives the same report, at once.
    assert_eq!(client.shutdown().await, report);
    report
}

pub(crate) fn stage(state: &State) -> Option<Stage> {
    match state.link {
        Link::Connecting { stage, .. } => Some(stage),
        _ => None,
    }
}

#[test]
fn before_anything_happened() {
    let left = play(Scene::default(), async {
        let client = start(false)?;
        publish(&client, 2)?;
        let report = shut_down(&client).await;
        // It drains: the link is made for it.
        assert_eq!((report.delivered, report.lost, report.clean), (2, 0, true), "{report:?}");
        Ok(())
    });
    assert_eq!(left, 0);
}

#[test]
fn while_a_connection_is_opened_that_nobody_answers() {
    let left = play(Scene::default(), async {
        turmoil::hold("client", HOST);
        let client = start(false)?;
        publish(&client, 2)?;
        reach(&client, "the opening of TCP", |state| stage(state).is_some()).await;
        let report = shut_down(&client).await;
        assert_eq!((report.lost, report.maybe_delivered, report.clean), (2, 0, false), "{report:?}");
        turmoil::release("client", HOST);
        // waits: what was on its way when the client ended arrives.
        sleep(Duration::from_secs(1)).await;
        Ok(())
    });
    assert_eq!(left, 0);
}

#[test]
fn in_the_middle_of_a_tls_handshake() {
    let left = play(Scene { tls: true, ..Scene::mute() }, async {
        let client = start(true)?;
        publish(&client, 2)?;
        reach(&client, "TLS", |state| stage(state) == Some(Stage::Tls)).await;
        let report = shut_down(&client).await;
        assert_eq!((report.lost, report.maybe_delivered, report.clean), (2, 0, false), "{report:?}");
        Ok(())
    });
    assert_eq!(left, 0);
}

#[test]
fn while_connack_is_waited_for() {
    let manners = Manners { withhold_connack: Times::Always, ..Manners::default() };
    let left = play(Scene::with(manners), async {
        let client = start(false)?;
        publish(&client, 2)?;
        reach(&client, "CONNACK", |state| stage(state) == Some(Stage::Connack)).await;
        let report = shut_down(&client).await;
        assert_eq!((report.lost, report.maybe_delivered, report.clean), (2, 0, false), "{report:?}");
        Ok(())
    });
    assert_eq!(left, 0);
}

#[test]
fn on_an_open_link_over_tls_and_without() {
    for tls in [false, true] {
        let left = play(Scene { tls, ..Scene::default() }, async move {
            let client = start(tls)?;
            reach(&client, "a link", State::is_connection_open).await;
            publish(&client, 500)?;
            let report = shut_down(&client).await;
            assert_eq!((report.delivered, report.lost, report.clean), (500, 0, true), "{report:?}");
            Ok(())
        });
        assert_eq!(left, 0);
    }
}

#[test]
fn with_messages_that_are_never_acknowledged() {
    let mut manners = Manners::default();
    manners.lose(PacketKind::PubAck, Times::Always);
    let left = play(Scene::with(manners), async {
        let client = start(false)?;
        reach(&client, "a link", State::is_connection_open).await;
        publish(&client, 7)?;
        let report = shut_down(&client).await;
        assert_eq!((report.delivered, report.lost, report.maybe_delivered), (0, 7, 7), "{report:?}");
        Ok(())
    });
    assert_eq!(left, 0);
}

#[test]
fn on_a_link_of_which_the_network_is_gone() {
    play(Scene::default(), async {
        let client = start(false)?;
        reach(&client, "a link", State::is_connection_open).await;
        turmoil::partition("client", HOST);
        publish(&client, 7)?;
        let report = shut_down(&client).await;
        assert_eq!((report.lost, report.maybe_delivered, report.clean), (7, 7, false), "{report:?}");
        Ok(())
    });
}

#[test]
fn on_a_link_that_is_suspect() {
    play(Scene::default(), async {
        let client = start(false)?;
        reach(&client, "a link", State::is_connection_open).await;
        turmoil::hold("client", HOST);
        reach(&client, "suspicion", |state| matches!(state.link, Link::Suspect { .. })).await;
        let report = shut_down(&client).await;
        assert_eq!((report.lost, report.clean), (0, false), "{report:?}");
        Ok(())
    });
}

#[test]
fn between_two_attempts() {
    play(Scene { down: true, ..Scene::default() }, async {
        let client = start(false)?;
        publish(&client, 2)?;
        reach(&client, "a pause", |state| matches!(state.link, Link::Waiting { .. })).await;
        let report = shut_down(&client).await;
        assert_eq!((report.lost, report.maybe_delivered, report.clean), (2, 0, false), "{report:?}");
        Ok(())
    });
}

#[test]
fn a_shutdown_that_is_given_up_goes_on_by_itself() {
    let mut manners = Manners::default();
    manners.lose(PacketKind::PubAck, Times::Always);
    let left = play(Scene::with(manners), async {
        let client = start(false)?;
        reach(&client, "a link", State::is_connection_open).await;
        publish(&client, 2)?;
        let given_up =
            timeout(Duration::from_millis(100), client.shutdown().within(WITHIN).into_future()).await;
        assert!(given_up.is_err());
        // Two wait for the same end.
        let (one, other) = tokio::join!(client.shutdown().into_future(), client.shutdown().into_future());
        assert_eq!((one, one.lost), (other, 2));
        Ok(())
    });
    assert_eq!(left, 0);
}

#[test]
fn while_a_handler_never_returns() {
    let left = play(Scene::default(), async {
        let client = start(false)?;
        let (called, mut calls) = tokio::sync::mpsc::unbounded_channel();
        let handler = move |_: Message| {
            let _ = called.send(());
            std::future::pending::<Result<(), std::io::Error>>()
        };
        drop(client.handle("jobs/#", Qos::AtLeastOnce, handler).await?);
        client.publish("jobs/1", "work").qos(Qos::AtLeastOnce).await?;
        assert_eq!(calls.recv().await, Some(()));
        let report = shut_down(&client).await;
        assert_eq!((report.delivered, report.lost, report.clean), (0, 0, true), "{report:?}");
        Ok(())
    });
    assert_eq!(left, 0);
}

#[test]
fn by_dropping_the_last_handle() {
    let left = play(Scene::default(), async {
        let client = start(false)?;
        reach(&client, "a link", State::is_connection_open).await;
        let deliveries: Vec<_> = (0..20)
            .map(|n| client.publish("out", format!("message {n}")).qos(Qos::ExactlyOnce).enqueue())
            .collect::<Result<_, _>>()?;
        let stream = client.subscribe("in/#", Qos::AtMostOnce).declare()?;
        drop(client);
        // A stream counts as a handle, and a delivery does not.
        for delivery in deliveries {
            delivery.acked().await?;
        }
        drop(stream);
        // waits: nobody is left who could tell that the driver ended.
        sleep(Duration::from_secs(8)).await;
        Ok(())
    });
    assert_eq!(left, 0);
}
