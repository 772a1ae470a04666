//! Exit codes: the verdict of a run, in one place, with the table that `--help` prints.

use std::fmt;
use std::process::ExitCode;

use rejoin_core::codec::reason::ReasonCode;

/// How a run ended. The number is the process's exit status and never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything asked for was done; every QoS 1 and 2 message was acknowledged.
    Done,
    /// A local failure: a file, the disk, a bug.
    Local,
    /// Wrong flags or configuration.
    Usage,
    /// No connection before the deadline; nothing was accepted.
    NoConnection,
    /// Some messages were not acknowledged, or were refused, and are gone with this process.
    Undelivered,
    /// Some messages were not acknowledged, and are safe in the queue folder.
    StillQueued,
    /// The verdict of `demo` or `replay`: lost, duplicated without a reason, or a rule is broken.
    VerdictFailed,
    /// `check`: usable, but something is wrong with it.
    Degraded,
    /// `check`: not usable.
    Unhealthy,
    /// `-W`: the time for waiting was over.
    TimedOut,
    /// The broker refused the connection or the subscription, with this MQTT 5 reason code.
    Refused(ReasonCode),
    /// Ended by a signal, after the drain.
    Signal(i32),
}

impl Exit {
    /// The exit status.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Local => 1,
            Self::Usage => 2,
            Self::NoConnection => 3,
            Self::Undelivered => 4,
            Self::StillQueued => 5,
            Self::VerdictFailed => 6,
            Self::Degraded => 8,
            Self::Unhealthy => 9,
            Self::TimedOut => 27,
            // A code the standard does not name could collide with 0 or with a signal's number.
            Self::Refused(reason) if reason.0 >= 0x80 && reason.0 <= 0xA2 => reason.0,
            Self::Refused(_) => 0x80,
            Self::Signal(number) => 128_u8.saturating_add(number.unsigned_abs() as u8),
        }
    }

    /// The stable name used in JSON.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Local => "local-failure",
            Self::Usage => "usage",
            Self::NoConnection => "no-connection",
            Self::Undelivered => "undelivered",
            Self::StillQueued => "still-queued",
            Self::VerdictFailed => "verdict-failed",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
            Self::TimedOut => "timed-out",
            Self::Refused(_) => "refused",
            Self::Signal(_) => "signal",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.code(), self.name())
    }
}

/// Why a verb could not do what was asked: the line for people and the verdict for scripts.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The verdict.
    pub(crate) exit: Exit,
    /// One line: lower case, no full stop, names the thing and the remedy.
    pub(crate) message: String,
}

impl Failure {
    /// A failure with its verdict.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    /// Wrong flags or configuration.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// A local failure.
    pub(crate) fn local(message: impl Into<String>) -> Self {
        Self::new(Exit::Local, message)
    }
}

/// The table as `--help` and `rejoin explain exit` print it.
pub(crate) const TABLE: &str = "\
Exit codes:
  0        everything asked for was done; every QoS 1/2 message was acknowledged
  1        unexpected local failure (file, disk, bug)
  2        wrong flags or configuration
  3        no connection before the deadline; nothing was accepted
  4        some messages were refused, or not acknowledged before the deadline, and are gone
  5        some messages were not acknowledged before the deadline and are safe in the queue folder:
           run again, or rejoin queue drain
  6        demo, replay: the verdict is FAIL
  8        check: degraded (slow, a certificate about to expire, no proof of who the server is)
  9        check: unhealthy
  27       -W: time-out while waiting for messages
  128-162  the broker refused, by MQTT 5 reason code; the codes 1 to 5 of MQTT 3.1.1 count as
           132, 133, 136, 134 and 135
  Ctrl-C and SIGTERM: the first drains for 5 s and reports, then the process ends as 130 or 143;
  the second quits at once. As reason codes these two numbers mean \"protocol error\" and \"topic
  filter invalid\": the last line on stderr tells which.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_exits_with_its_reason_code_and_never_with_zero() {
        assert_eq!(Exit::Refused(ReasonCode::NOT_AUTHORIZED).code(), 135);
        assert_eq!(Exit::Refused(ReasonCode::BAD_USER_NAME_OR_PASSWORD).code(), 134);
        assert_eq!(Exit::Refused(ReasonCode(0x80)).code(), 128);
        assert_eq!(Exit::Refused(ReasonCode(0xA2)).code(), 162);
        assert_eq!(Exit::Refused(ReasonCode(0x00)).code(), 128);
        assert_eq!(Exit::Refused(ReasonCode(0xFF)).code(), 128);
    }

    #[test]
    fn every_code_is_in_the_table() {
        for exit in [
            Exit::Done,
            Exit::Local,
            Exit::Usage,
            Exit::NoConnection,
            Exit::Undelivered,
            Exit::StillQueued,
            Exit::VerdictFailed,
            Exit::Degraded,
            Exit::Unhealthy,
            Exit::TimedOut,
        ] {
            let line = format!("\n  {:<9}", exit.code());
            assert!(TABLE.contains(&line), "{exit} is missing in the table");
        }
        assert_eq!((Exit::Signal(2).code(), Exit::Signal(15).code()), (130, 143));
    }
}
