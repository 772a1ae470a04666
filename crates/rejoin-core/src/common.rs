//! Settings that many clients of one process share.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, LazyLock};

use crate::config::{LinkConfig, RecoveryConfig, SessionConfig};

/// Settings that are mostly the same for everybody: the defaults are in memory once, however many clients there are, and
/// who changes one has a copy of the group it is in.
///
/// Used like the settings themselves:
///
/// ```
/// use rejoin_core::{Config, Text};
///
/// let mut config = Config::new(Text::from_static("sensor-7"), Text::from_static("broker:1883"));
/// config.recovery.fleet = true;
/// assert!(config.recovery.fleet && config.recovery.reconnect);
/// ```
#[derive(Clone, PartialEq)]
pub struct Common<T>(Arc<T>);

impl<T> From<T> for Common<T> {
    fn from(settings: T) -> Self {
        Self(Arc::new(settings))
    }
}

impl<T> Deref for Common<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Clone> DerefMut for Common<T> {
    fn deref_mut(&mut self) -> &mut T {
        Arc::make_mut(&mut self.0)
    }
}

impl<T: fmt::Debug> fmt::Debug for Common<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! defaults_once {
    ($($settings:ty),*) => { $(
        impl Default for Common<$settings> {
            fn default() -> Self {
                static DEFAULTS: LazyLock<Common<$settings>> =
                    LazyLock::new(|| Common::from(<$settings>::default()));
                DEFAULTS.clone()
            }
        }
    )* };
}

defaults_once!(LinkConfig, SessionConfig, RecoveryConfig);

impl Common<RecoveryConfig> {
    /// See [`RecoveryConfig::divided_by`].
    #[must_use]
    pub fn divided_by(self, n: u32) -> Self {
        RecoveryConfig::clone(&self).divided_by(n).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_shared_until_one_changes_them() {
        let (mut one, other) = (Common::<RecoveryConfig>::default(), Common::<RecoveryConfig>::default());
        assert!(Arc::ptr_eq(&one.0, &other.0));
        one.fleet = true;
        assert!(one.fleet && !other.fleet && !Common::<RecoveryConfig>::default().fleet);
    }
}
