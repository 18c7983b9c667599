//! The next certificate.
//!
//! Whatever happens, one identity is whole: the next key is on the disk before it is used, and the identity is replaced in
//! one step.

use super::Running;
use crate::identity::{self, Identity};
use crate::link::{self, Body};
use crate::pace::chance;
use crate::state;
use crate::told::Told;
use advisory::Problem;
use jiff::Timestamp;
use std::time::Instant;
use wire::v1::{RENEW_PATH, Refusal, Renew, Renewed};

impl Running<'_> {
    /// Asks for the next certificate at two thirds of the present one's life. Failing to is no reason not to check in.
    pub(super) fn renew_if_due(&mut self) -> Result<(), link::Error> {
        let now = Instant::now();
        let is_due = self.identity.validity().is_ok_and(|validity| Timestamp::now() >= validity.renew_at());
        if !is_due || self.renew_after.is_some_and(|after| now < after) {
            return Ok(());
        }
        self.renew_after = Some(now + self.config.pace.renew.mul_f64(0.5 + chance()));
        match self.renew() {
            Ok(until) => {
                self.tell(Told::Renewed { until });
                Ok(())
            }
            // These mean more than no certificate.
            Err(Unrenewed::Link(
                problem @ link::Error::Refused {
                    refusal: Some(Refusal::Revoked | Refusal::Quarantined | Refusal::Busy),
                    ..
                },
            )) => Err(problem),
            Err(problem) => {
                let until = self.identity.validity().map(|validity| format!("{:.0}", validity.until));
                let reason =
                    format!("{problem}; the present one is good until {}", until.unwrap_or_default());
                self.trouble(Problem::new("renew the certificate of", self.identity.host.clone(), reason));
                Ok(())
            }
        }
    }

    fn renew(&mut self) -> Result<Timestamp, Unrenewed> {
        // On the disk first: if we end before the answer is kept, the same key is asked for again.
        let key = self.state.next_key(Some(&self.identity.key()?))?;
        let asked = Body::new(&Renew { csr: key.request()? });
        let Renewed { certificate, authority } = self.link()?.post(RENEW_PATH, &asked)?;
        let Identity { server, host, group, .. } = self.identity.clone();
        let mut renewed = Identity::new(&server, host, &key, certificate, authority)?;
        renewed.group = group;
        self.state.keep_identity(&renewed)?;
        self.identity = renewed;
        self.link = None;
        Ok(self.identity.validity()?.until)
    }
}

/// Why there is no new certificate.
#[derive(Debug, thiserror::Error)]
enum Unrenewed {
    #[error(transparent)]
    State(#[from] state::Error),
    #[error(transparent)]
    Identity(#[from] identity::Error),
    #[error("{0}")]
    Link(#[from] link::Error),
}
