//! Between the line and the host's part in rollouts: what was heard goes there, what is new comes back.

use super::Running;
use crate::hint::Hints;
use crate::job::{Driven, Untold};
use crate::link::{self, Body};
use crate::pace::chance;
use crate::settings::HandKind;
use crate::told::{Contact, Told};
use std::time::{Duration, Instant};
use wire::v1::{CheckedIn, EVIDENCE_PATH, Noted, REHEARSAL_PATH};

/// When to ask again whether a host without a part in rollouts has one: never; this is only how long we sleep.
const NEVER: Duration = Duration::from_secs(24 * 3600);

/// Jobs whose evidence is sent with one check-in.
const EVIDENCE_AT_ONCE: usize = 4;

impl Running<'_> {
    /// The agent's version; a hand that pretends is named with it, so that nobody takes what it reports for real.
    pub(super) fn version(&self) -> String {
        let version = env!("CARGO_PKG_VERSION");
        match self.config.settings.agent.hand {
            HandKind::Eyes
            | HandKind::Apt
            | HandKind::Dnf
            | HandKind::Zypper
            | HandKind::Pacman
            | HandKind::Apk => version.to_owned(),
            HandKind::Dry => format!("{version}+dry"),
        }
    }

    /// Takes what an answer says besides the report.
    pub(super) fn heard(&mut self, answer: &CheckedIn) {
        if let Some(part) = &mut self.part {
            part.hear(answer.job.as_ref(), &mut *self.log);
            if let Some(word) = &answer.heard {
                part.vouched(word, &mut *self.log);
            }
        }
        if !answer.hint {
            self.hints = None;
        } else if self.hints.as_ref().is_none_or(|hints| !hints.is_for(&self.identity)) {
            self.hints = Hints::start(&self.identity, &self.config.pace);
        }
        // Whoever hinted was asked by this.
        if let Some(hints) = &self.hints {
            hints.take();
        }
        if let Some(asked) = &answer.rehearse {
            self.rehearsal.begin(asked, &self.config.root, self.config.network, &self.state);
        }
    }

    /// Carries on with the job at hand.
    pub(super) fn drive(&mut self) -> Driven {
        let Some(part) = &mut self.part else { return Driven { news: false, urgent: false, again: NEVER } };
        let driven = part.drive(&mut *self.log);
        let told = part.status();
        if self.status.job.as_ref() != Some(&told) {
            self.status.job = Some(told);
            self.write_status();
        }
        Driven { news: driven.news && self.may_call(), ..driven }
    }

    /// When to speak to the server about something new: soon, but not again and again.
    pub(super) fn soon(&self) -> Instant {
        let now = Instant::now();
        self.spoke.map_or(now, |spoke| (spoke + self.config.pace.news_min).max(now))
    }

    /// Whether a hint came, or a rehearsal is over.
    pub(super) fn is_called(&self) -> bool {
        self.is_hinted() || self.may_call() && self.rehearsal.is_over()
    }

    /// Whether a hint came, once a second at most: the server waits for us.
    pub(super) fn is_hinted(&self) -> bool {
        self.may_call() && self.hints.as_ref().is_some_and(Hints::is_there)
    }

    /// Whether the server wants to hear of what is new: not one that sent us away.
    fn may_call(&self) -> bool {
        matches!(self.status.contact, Contact::InTouch | Contact::Never)
    }

    /// Sends what a rehearsal found.
    pub(super) fn tell_rehearsed(&mut self) -> Result<(), link::Error> {
        let Some((found, took)) = self.rehearsal.found() else { return Ok(()) };
        let (changes, blocks, took) = (found.changes.len(), found.blocks.len(), *took);
        let body = Body::new(found);
        match self.link()?.post::<Noted>(REHEARSAL_PATH, &body) {
            Ok(Noted { .. }) => self.tell(Told::Rehearsed { changes, blocks, took }),
            // Nobody wants it any more, or it is not what was wanted: it is not sent again.
            Err(link::Error::Refused { status: 400 | 404 | 409 | 413 | 422, detail, .. }) => {
                let problem = advisory::Problem::new(
                    "send what a rehearsal found to",
                    self.identity.server.clone(),
                    detail,
                );
                self.trouble(problem);
            }
            Err(problem) => return Err(problem),
        }
        self.rehearsal.told();
        Ok(())
    }

    /// Sends what was seen of jobs that are over, the oldest first.
    pub(super) fn tell_evidence(&mut self) -> Result<(), link::Error> {
        // Bounded: what could not be marked as told would come again and again.
        for _ in 0..EVIDENCE_AT_ONCE {
            let untold = match Untold::first(&self.state) {
                None => break,
                Some(Ok(untold)) => untold,
                Some(Err(problem)) => {
                    self.trouble(problem);
                    continue;
                }
            };
            match self.link()?.post::<Noted>(EVIDENCE_PATH, &Body::new(&untold.evidence)) {
                // Nobody wants it, or this server knows nothing of evidence: it stays on the host.
                Ok(Noted { .. }) | Err(link::Error::Refused { status: 400 | 404 | 409 | 413 | 422, .. }) => {
                    untold.told();
                }
                Err(problem) => return Err(problem),
            }
        }
        Ok(())
    }

    /// How long a job lets a check-in that was not answered wait; `None`: there is none that waits for an answer.
    pub(super) fn longest_wait(&self) -> Option<Duration> {
        let (part, pace) = (self.part.as_ref()?, &self.config.pace);
        if part.is_under_way() {
            Some(pace.unanswered(chance()))
        } else {
            part.is_end_untold().then(|| pace.untold(chance()))
        }
    }
}
