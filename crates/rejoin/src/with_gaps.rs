//! A stream of messages that also says where some may be missing.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use crate::health::Gap;
use crate::message::Message;
use crate::subscription::Subscription;

/// What a [`WithGaps`] yields.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Item {
    /// A message.
    Message(Message),
    /// Messages may be missing between those before and those after.
    Gap(Gap),
}

/// A [`Subscription`] with its gaps. Made by [`Subscription::with_gaps`].
///
/// ```no_run
/// # async fn example(client: rejoin::Client) -> rejoin::Result<()> {
/// use rejoin::{Item, Qos};
/// let mut temperatures = client.subscribe("plant/+/temp", Qos::AtLeastOnce).await?.with_gaps();
/// while let Some(item) = temperatures.next().await {
///     match item {
///         Item::Message(message) => println!("{}", message.topic),
///         Item::Gap(gap) => println!("missing from {:?} to {:?}: ask the archive", gap.from, gap.to),
///         _ => {}
///     }
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "dropping a subscription ends it"]
pub struct WithGaps {
    subscription: Subscription,
}

impl WithGaps {
    pub(crate) const fn new(subscription: Subscription) -> Self {
        Self { subscription }
    }

    /// The next message or gap; `None` when the client stopped and everything was read.
    pub async fn next(&mut self) -> Option<Item> {
        std::future::poll_fn(|cx| self.subscription.poll_item(cx)).await
    }

    /// The subscription, without its gaps.
    pub fn into_inner(self) -> Subscription {
        self.subscription
    }
}

impl Stream for WithGaps {
    type Item = Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Item>> {
        self.subscription.poll_item(cx)
    }
}
