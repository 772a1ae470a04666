//! The end of a client that is held up by something other than the network: its own budget of attempts, a refusal that
//! does not heal, a provider of credentials, a change-over to new ones, an answer to SUBSCRIBE.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use rejoin::{
    Budget, Client, CredentialSource, Credentials, Event, Link, Qos, ReasonCode, ShutdownReport, Stage,
    State, SubscribeError,
};
use rejoin_lab::wire::PacketKind;
use rejoin_lab::{Manners, Refusal, Times};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use crate::broker::HOST;
use crate::ending::{ENDING, Scene, WITHIN, play_before, play_ends, reach, shut_down, stage};
use crate::handed::{DROPPED, Handed, drop_handle, end_in_vain, has_seen, seen, shut_down_in_vain};
use crate::way;

/// One attempt each minute.
const BUDGET: Budget =
    Budget { spacing: Duration::from_secs(1), per_period: 1, period: Duration::from_secs(60) };
/// How long credentials are good for; new ones are asked for when a tenth of it is left.
const LIFE: Duration = Duration::from_secs(100);

/// A client that has used up its attempts: it ended its one link itself, at once and not in order.
async fn out_of_budget() -> turmoil::Result<Client> {
    let client = way::to_broker(false)
        .client_id("client")
        .config(|config| config.recovery.budget = Some(BUDGET))
        .start()?;
    reach(&client, "a link", State::is_connection_open).await;
    client.restart_link();
    reach(&client, "the budget", |state| matches!(state.link, Link::Waiting { held_by_budget: true, .. }))
        .await;
    Ok(client)
}

#[test]
fn an_end_is_no_reason_to_exceed_the_budget() {
    play_ends(Scene::default, out_of_budget, (1, 0));
}

#[test]
fn a_shutdown_with_time_enough_waits_for_the_budget_and_drains() {
    play_before(Scene::default(), |server| async move {
        let client = out_of_budget().await?;
        let (handed, begun) = (Handed::over(&client, 2)?, Instant::now());
        let report = client.shutdown().within(BUDGET.period * 2).await;
        let took = begun.elapsed();
        assert!(BUDGET.period - WITHIN <= took && took <= BUDGET.period + WITHIN, "took {took:?}");
        assert_eq!((report.delivered, report.lost, report.clean), (2, 0, true), "{report:?}");
        handed.agree_with(report).await;
        has_seen(&server, (2, 1)).await;
        Ok(())
    });
}

/// A client that the broker refuses for a reason that does not heal by itself.
async fn in_the_slow_lane() -> turmoil::Result<Client> {
    let client = way::to_broker(false).client_id("client").login("me", "wrong").start()?;
    reach(&client, "the slow lane", |state| matches!(state.link, Link::Waiting { slow_lane: true, .. }))
        .await;
    Ok(client)
}

fn refuses() -> Scene {
    let refusal = Refusal::new(ReasonCode::BAD_USER_NAME_OR_PASSWORD);
    Scene::with(Manners { refuse_connect: Some(refusal), ..Manners::default() })
}

#[test]
fn in_the_slow_lane_with_messages() {
    play_ends(refuses, in_the_slow_lane, (1, 0));
}

#[test]
fn in_the_slow_lane_without_messages() {
    play_before(refuses(), |server| async move {
        let client = in_the_slow_lane().await?;
        let begun = Instant::now();
        let report = shut_down(&client).await;
        assert_eq!(report, ShutdownReport::default());
        assert!(begun.elapsed() < Duration::from_millis(100), "took {:?}", begun.elapsed());
        has_seen(&server, (1, 0)).await;
        Ok(())
    });
}

/// A provider of credentials that answers when it is told to, from a certain question on.
#[derive(Clone, Default)]
struct Provider {
    asked: Arc<AtomicUsize>,
    /// Told of each question.
    question: Arc<Notify>,
    /// One permit for each answer.
    answer: Arc<Notify>,
}

impl Provider {
    /// Answers at once to the first questions.
    fn source(&self, at_once: usize) -> CredentialSource {
        let provider = self.clone();
        CredentialSource::new(move || {
            let provider = provider.clone();
            async move {
                let number = provider.asked.fetch_add(1, Ordering::Relaxed);
                provider.question.notify_one();
                if number >= at_once {
                    provider.answer.notified().await;
                }
                Ok(Credentials::new("me", format!("token {number}")).expires_at(SystemTime::now() + LIFE))
            }
        })
        // The world's clock is not the one that credentials end by: what is kept would never get old.
        .asked_each_time()
    }

    /// Waits for so many questions.
    async fn is_asked(&self, times: usize) {
        while self.asked.load(Ordering::Relaxed) < times {
            timeout(LIFE, self.question.notified()).await.expect("nobody asks for credentials");
        }
    }

    fn client(&self, at_once: usize) -> turmoil::Result<Client> {
        Ok(way::to_broker(false).client_id("client").login_from(self.source(at_once)).start()?)
    }

    /// Nobody asks any more: who did was withdrawn.
    fn is_let_go(&self) -> bool {
        Arc::strong_count(&self.answer) == 1
    }
}

/// A client that waits for its first credentials.
async fn asks(provider: &Provider) -> turmoil::Result<Client> {
    let client = provider.client(0)?;
    reach(&client, "a question", |state| stage(state) == Some(Stage::Credentials)).await;
    provider.is_asked(1).await;
    Ok(client)
}

#[test]
fn while_a_provider_of_credentials_does_not_answer() {
    for dropped in [false, true] {
        play_before(Scene::default(), |server| async move {
            let provider = Provider::default();
            end_in_vain(asks(&provider).await?, dropped).await?;
            // An answer that comes later moves nobody.
            provider.answer.notify_one();
            has_seen(&server, (0, 0)).await;
            assert!(provider.is_let_go(), "the question goes on after the end");
            Ok(())
        });
    }
}

#[test]
fn credentials_that_come_after_the_shutdown_began_are_in_time() {
    play_before(Scene::default(), |server| async move {
        let provider = Provider::default();
        let client = asks(&provider).await?;
        let (handed, begun) = (Handed::over(&client, 2)?, Instant::now());
        let answer = async {
            // waits: the shutdown has begun, and most of its time is left.
            sleep(WITHIN / 3).await;
            provider.answer.notify_one();
        };
        let (report, ()) = tokio::join!(shut_down(&client), answer);
        assert!(begun.elapsed() < WITHIN, "took {:?}", begun.elapsed());
        assert_eq!((report.delivered, report.lost, report.clean), (2, 0, true), "{report:?}");
        handed.agree_with(report).await;
        has_seen(&server, (1, 1)).await;
        Ok(())
    });
}

#[test]
fn while_new_credentials_are_asked_for_on_an_open_link() {
    for dropped in [false, true] {
        play_before(Scene::default(), |server| async move {
            let provider = Provider::default();
            let client = provider.client(1)?;
            provider.is_asked(2).await;
            assert!(client.is_connection_open(), "{:?}", client.state());
            let (handed, begun) = (Handed::over(&client, 20)?, Instant::now());
            let told = if dropped {
                drop_handle(client, handed).await
            } else {
                let report = shut_down(&client).await;
                assert!(report.clean, "{report:?}");
                drop(client);
                handed.agree_with(report).await;
                report
            };
            assert!(begun.elapsed() < DROPPED, "took {:?}", begun.elapsed());
            assert_eq!((told.delivered, told.lost), (20, 0), "{told:?}");
            has_seen(&server, (1, 1)).await;
            assert!(provider.is_let_go(), "the question goes on after the end");
            Ok(())
        });
    }
}

#[test]
fn a_link_that_waits_to_be_changed_for_another_is_the_last_one() {
    let mut manners = Manners::default();
    manners.lose(PacketKind::PubAck, Times::Always);
    play_before(Scene::with(manners), |server| async move {
        let provider = Provider::default();
        let client = provider.client(2)?;
        provider.is_asked(1).await;
        // waits: until just before new credentials are asked for, so that the acknowledgements are not late yet.
        sleep(LIFE * 9 / 10 - Duration::from_secs(1)).await;
        let mut handed = Handed::over(&client, 3)?;
        provider.is_asked(2).await;
        // waits: for the answer to be taken. The change-over waits a second for what is not acknowledged, and meanwhile
        // sends nothing new.
        sleep(Duration::from_millis(100)).await;
        handed.more(&client, 2)?;
        // waits: it would have left by now.
        sleep(Duration::from_millis(100)).await;
        let came = server.with(|broker| broker.counters().received(PacketKind::Publish));
        assert_eq!((came, client.is_connection_open()), (3, true), "{:?}", client.state());
        let report = shut_down(&client).await;
        assert_eq!((report.lost, report.maybe_delivered, report.clean), (5, 5, true), "{report:?}");
        handed.agree_with(report).await;
        has_seen(&server, (1, 1)).await;
        let came = server.with(|broker| broker.counters().received(PacketKind::Publish));
        assert_eq!(came, 5, "what was held back went out at the end");
        Ok(())
    });
}

/// A client between its link and the next one, which has new credentials and is not answered yet.
async fn between_links(provider: &Provider) -> turmoil::Result<Client> {
    let client = provider.client(2)?;
    let mut events = client.events();
    while !matches!(timeout(LIFE, events.next()).await?, Some(Event::Closed { .. })) {}
    Ok(client)
}

#[test]
fn while_the_next_link_is_opened_with_new_credentials() {
    play_before(Scene::default(), |server| async move {
        let provider = Provider::default();
        let client = between_links(&provider).await?;
        server.with(|broker| broker.manners_mut().withhold_connack = Times::Always);
        reach(&client, "CONNACK", |state| stage(state) == Some(Stage::Connack)).await;
        shut_down_in_vain(&client, Handed::over(&client, 2)?).await;
        // It left its first link in order, and of the second it knows nothing.
        has_seen(&server, (2, 1)).await;
        Ok(())
    });
}

#[test]
fn a_shutdown_drains_over_the_next_link_where_that_comes_in_time() {
    for dropped in [false, true] {
        play_before(Scene::default(), |server| async move {
            let provider = Provider::default();
            let client = between_links(&provider).await?;
            turmoil::hold("client", HOST);
            let (handed, begun) = (Handed::over(&client, 2)?, Instant::now());
            let release = async {
                // waits: the end has begun, and the next link is not there.
                sleep(DROPPED / 2).await;
                assert_eq!(seen(&server).0, 1);
                turmoil::release("client", HOST);
            };
            let end = async {
                if dropped {
                    return drop_handle(client, handed).await;
                }
                let report = shut_down(&client).await;
                assert!(report.clean, "{report:?}");
                handed.agree_with(report).await;
                report
            };
            let (told, ()) = tokio::join!(end, release);
            assert!(begun.elapsed() < WITHIN, "took {:?}", begun.elapsed());
            assert_eq!((told.delivered, told.lost), (2, 0), "{told:?}");
            has_seen(&server, (2, 2)).await;
            Ok(())
        });
    }
}

/// A broker that answers neither SUBSCRIBE nor UNSUBSCRIBE.
fn answers_no_filter() -> Scene {
    let mut manners = Manners::default();
    manners.lose(PacketKind::SubAck, Times::Always);
    manners.lose(PacketKind::UnsubAck, Times::Always);
    Scene::with(manners)
}

#[test]
fn while_a_subscription_is_not_answered() {
    play_before(answers_no_filter(), |server| async move {
        let client = way::to_broker(false).client_id("client").start()?;
        reach(&client, "a link", State::is_connection_open).await;
        let asked = tokio::spawn(client.subscribe("asked/#", Qos::AtLeastOnce).into_future());
        let mut declared = client.subscribe("declared/#", Qos::AtLeastOnce).declare()?;
        let parting = tokio::spawn(client.subscribe("parting/#", Qos::AtLeastOnce).declare()?.unsubscribe());
        let handed = Handed::over(&client, 20)?;
        // waits: for SUBSCRIBE to come.
        sleep(Duration::from_secs(1)).await;
        assert!(server.with(|broker| broker.counters().received(PacketKind::Subscribe)) > 0);
        assert!(!client.ready() && !asked.is_finished());
        let begun = Instant::now();
        let report = shut_down(&client).await;
        // Messages are what is waited for, and these are answered.
        assert!(begun.elapsed() < Duration::from_secs(1), "took {:?}", begun.elapsed());
        assert_eq!((report.lost, report.clean), (0, true), "{report:?}");
        let told = handed.answers().await;
        assert_eq!((told.delivered, told.lost), (20, 0), "{told:?}");
        let asked = timeout(ENDING, asked).await??;
        assert!(matches!(asked, Err(SubscribeError::Stopped)), "{asked:?}");
        assert!(matches!(declared.wait_granted(ENDING).await, Err(SubscribeError::Stopped)));
        assert!(timeout(ENDING, declared.next()).await?.is_none());
        let parted = timeout(ENDING, parting).await??;
        assert!(matches!(parted, Err(SubscribeError::Stopped)), "{parted:?}");
        has_seen(&server, (1, 1)).await;
        Ok(())
    });
}

#[test]
fn the_last_handle_is_dropped_while_a_subscription_is_not_answered() {
    play_before(answers_no_filter(), |server| async move {
        let client = way::to_broker(false).client_id("client").start()?;
        reach(&client, "a link", State::is_connection_open).await;
        // Given up waiting, and the stream with it.
        let asked = client.subscribe("asked/#", Qos::AtLeastOnce).into_future();
        assert!(timeout(Duration::from_secs(1), asked).await.is_err());
        let handed = Handed::over(&client, 20)?;
        let told = drop_handle(client, handed).await;
        assert_eq!((told.delivered, told.lost), (20, 0), "{told:?}");
        has_seen(&server, (1, 1)).await;
        Ok(())
    });
}
