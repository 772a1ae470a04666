//! What can be counted and measured of a client, at any time, as plain data.
//!
//! [`crate::Client::metrics`] gives a [`MetricsSnapshot`]; nothing has to be switched on for it. Counting costs no lock
//! and no allocation on the way of a message.
//!
//! ```
//! # fn example(client: &rejoin::Client) {
//! let metrics = client.metrics();
//! println!(
//!     "{} acknowledged at QoS 1, half of them within {:?}; {} waiting, {} links lost",
//!     metrics.acked[1],
//!     metrics.ack_duration[1].quantile(0.5),
//!     metrics.queue_messages,
//!     metrics.disconnects.total(),
//! );
//! # }
//! ```
//!
//! [`MetricsSnapshot::families`] gives the same as a table with names, kinds, units and labels, which is what exporters
//! read. The names are frozen: dashboards and alerts may rely on them. No topic, client id or address is in a label.

//!
//! Exporters, each a feature of its own and none on by default: `prometheus` for `prometheus-client`, `metrics` for the
//! facade of that name, `otel` for OpenTelemetry.

#[cfg(feature = "metrics")]
pub mod facade;
mod histogram;
mod meter;
mod names;
#[cfg(feature = "otel")]
pub mod otel;
#[cfg(feature = "prometheus")]
pub mod prometheus;
mod recorder;
mod snapshot;
mod table;

pub use histogram::Histogram;
pub use snapshot::{ByName, ConnectAttempts, MetricsReader, MetricsSnapshot};
pub use table::{Description, Family, Kind, Label, Sample, Value, descriptions};

pub(crate) use meter::{Cells, Count, Meters};
pub(crate) use recorder::Recorder;
pub(crate) use snapshot::{acks, take};
