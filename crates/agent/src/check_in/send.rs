//! What changed on the host, sent in its order.

use super::{ROUNDS_MAX, Running};
use crate::link::{self, Body};
use crate::told::Told;
use advisory::Problem;
use jiff::Timestamp;
use wire::v1::{REPORT_PATH, Report, Reported};

impl Running<'_> {
    /// Sends what waits, oldest first. If the server wants a report and none waits, the newest again.
    pub(super) fn send(&mut self, is_wanted: bool) -> Result<(), link::Error> {
        if !is_wanted && self.spool.waiting() == 1 {
            // The server has what we think it lacks: its answer to our last report was lost.
            self.already_stored();
            return Ok(());
        }
        let mut again = is_wanted && self.spool.waiting() == 0;
        for _ in 0..ROUNDS_MAX {
            let kept = if again { self.spool.last().cloned() } else { self.spool.next().cloned() };
            again = false;
            let Some(kept) = kept else { break };
            let report = match self.spool.read(&self.state, &kept) {
                Ok(report) => report,
                Err(problem) => {
                    self.trouble(problem);
                    self.watch.forget();
                    continue;
                }
            };
            match self.report(report) {
                Ok(parts) => self.was_stored(kept.number, parts),
                Err(link::Error::Refused { status: 400 | 413 | 422, detail, .. })
                    if self.spool.give_up(&self.state, kept.number) =>
                {
                    let reason =
                        format!("the server will not take it: {detail}; dropped, since there is a newer one");
                    self.trouble(Problem::new("send report", kept.number.to_string(), reason));
                }
                Err(problem) => return Err(problem),
            }
            if self.is_stopped() {
                break;
            }
        }
        Ok(())
    }

    fn already_stored(&mut self) {
        let Some(kept) = self.spool.next().cloned() else { return };
        match self.spool.read(&self.state, &kept) {
            Ok(report) => self.was_stored(kept.number, report.parts),
            Err(problem) => self.trouble(problem),
        }
    }

    fn was_stored(&mut self, number: u64, parts: wire::v1::Parts) {
        if let Err(error) = self.spool.was_stored(&self.state, number, parts) {
            let reason = format!("{error}; after a restart it is sent again");
            self.trouble(Problem::new("note that a report was stored in", self.directory(), reason));
        }
    }

    /// Sends one report: first what the server should lack, then what it says that it lacks. Gives its parts.
    fn report(&mut self, whole: Report) -> Result<wire::v1::Parts, link::Error> {
        let observed = Timestamp::from_microsecond(whole.observed_at).unwrap_or_default();
        let mut part = self.spool.without_known(whole.clone());
        let (mut bytes, mut pieces) = (0, 0);
        // Twice: the second time with everything that it asked for.
        for _ in 0..2 {
            let body = Body::new(&part);
            (bytes, pieces) = (bytes + body.bytes.len(), pieces + part.bodies.len());
            let Reported { missing } = self.link()?.post(REPORT_PATH, &body)?;
            if missing.is_empty() {
                self.tell(Told::Reported { observed, pieces, bytes });
                return Ok(whole.parts);
            }
            part.bodies = whole.bodies.clone();
            part.bodies.retain(|hash, _| missing.contains(hash));
        }
        Err(link::Error::Unreadable("it lacks pieces of a report that it was sent".to_owned()))
    }
}
