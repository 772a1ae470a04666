//! How long each stage of opening a link took, and what was found on the way.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use rejoin_core::Stage;

/// How long each stage of opening a link took, and what was found on the way.
///
/// Shown as `dns 3ms, tcp 11ms, tls 71ms, connack 57ms`. Stages that an attempt did not need are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stages {
    spent: [Option<Duration>; Stage::ALL.len()],
    /// How many addresses the name has; 0 where none was looked up.
    pub addresses: usize,
    /// The name service did not answer, and addresses that worked before were used.
    pub addresses_are_old: bool,
    /// The address that was connected to: that of the proxy, where one is used.
    pub peer: Option<SocketAddr>,
    /// The proxy that was used, without its credentials.
    pub proxy: Option<String>,
    /// What TLS agreed on.
    pub tls: Option<TlsFacts>,
}

/// What TLS agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsFacts {
    /// Version, as in `TLS 1.3`.
    pub version: &'static str,
    /// Cipher suite, by its name in the standard.
    pub cipher: String,
    /// Protocol agreed by ALPN.
    pub alpn: Option<String>,
    /// A session ticket of an earlier link saved the certificates.
    pub resumed: bool,
    /// The server proved who it is. False only where verification was switched off. With `Tls::from_config` it is what that
    /// configuration makes of a proof: true says only that nothing here switched it off.
    pub verified: bool,
    /// Until when the server's certificate is valid.
    pub expires: Option<SystemTime>,
}

impl Stages {
    /// How long this stage took; `None` where the attempt did not come to its end.
    pub const fn get(&self, stage: Stage) -> Option<Duration> {
        self.spent[stage as usize]
    }

    /// The stages in their order, with their times.
    pub fn iter(&self) -> impl Iterator<Item = (Stage, Duration)> + '_ {
        Stage::ALL.into_iter().filter_map(|stage| Some((stage, self.get(stage)?)))
    }

    pub(crate) fn add(&mut self, stage: Stage, time: Duration) {
        let spent = &mut self.spent[stage as usize];
        *spent = Some(spent.unwrap_or_default() + time);
    }

    /// CONNACK took what is left of the whole.
    pub(crate) fn finish(&mut self, took: Duration) {
        let known: Duration = self.iter().map(|(_, time)| time).sum();
        self.add(Stage::Connack, took.saturating_sub(known));
    }
}

impl fmt::Display for Stages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (stage, time)) in self.iter().enumerate() {
            let comma = if number > 0 { ", " } else { "" };
            write!(f, "{comma}{stage} {}ms", (time.as_secs_f64() * 1e3).round())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_told_in_their_order_and_sum_up_to_the_whole() {
        let ms = Duration::from_millis;
        let mut stages = Stages::default();
        stages.add(Stage::Tls, ms(70));
        stages.add(Stage::Dns, ms(3));
        stages.add(Stage::Tcp, ms(11));
        stages.add(Stage::Tls, ms(1));
        stages.finish(ms(142));
        assert_eq!(stages.to_string(), "dns 3ms, tcp 11ms, tls 71ms, connack 57ms");
        assert_eq!(stages.get(Stage::Proxy), None);
    }
}
