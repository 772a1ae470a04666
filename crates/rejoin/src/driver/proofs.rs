//! When enhanced authentication is begun anew on an open link.

use super::Driver;
use crate::authentication::AuthStep;

impl Driver {
    /// The application asks for it.
    pub(super) fn reauthenticate(&mut self) {
        if self.may_begin() {
            self.begin_step(AuthStep::Begin { again: true });
        }
    }

    /// What proves who we are is about to end.
    pub(super) fn renew_by_method(&mut self) {
        if self.may_begin() {
            self.begin_step(AuthStep::Begin { again: true });
        } else {
            // It is asked for again in a while.
            let _ = self.engine.renewal_failed(self.now);
        }
    }

    /// Nothing of an exchange is under way: an answer, or the judgement of a proof, must not be lost to another step.
    fn may_begin(&self) -> bool {
        self.step.is_none() && self.engine.may_reauthenticate()
    }
}
