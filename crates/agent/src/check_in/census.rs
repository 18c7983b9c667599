//! What the host counted in its logs, sent when it is due. Failing to is no reason not to check in.

use super::Running;
use crate::census::{self, CensusStatus, Counter};
use crate::link::{self, Body};
use crate::pace::chance;
use crate::state::{CENSUS, CENSUS_TERMS, Durable};
use crate::told::Contact;
use advisory::Problem;
use jiff::Timestamp;
use std::time::{Duration, Instant};
use traffic::census::Key;
use wire::v1::census::{CENSUS_PATH, Counted, Taken, Terms};

/// Bytes of the terms; they have a hundred.
const TERMS_BYTES_MAX: u64 = 1 << 16;
/// Messages in one round: a server that comes back after a month is told it in five.
const MESSAGES_MAX: usize = 8;

/// The host's census, as far as the agent's life knows it.
#[derive(Debug, Default)]
pub(super) struct Part {
    terms: Option<Terms>,
    counter: Option<Counter>,
    at: Option<Instant>,
    failures: u32,
    told: Option<Timestamp>,
    /// What was told last, without its hours.
    last: Option<Counted>,
    /// What went wrong last, so that it is told once.
    said: Option<String>,
}

impl Running<'_> {
    /// Begins to count, if the owner wants it and the terms are known.
    pub(super) fn begin_census(&mut self) {
        if !self.config.settings.census.on {
            return;
        }
        let kept = self.state.read(CENSUS_TERMS, TERMS_BYTES_MAX).ok().flatten();
        self.census.terms = kept.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        if self.census.terms.is_some() {
            self.start_counting();
        } else if let Some(problem) =
            census::note(&self.state.path(CENSUS), &self.config.root, &self.config.settings.census)
        {
            self.trouble(problem);
        }
    }

    fn start_counting(&mut self) {
        let Some(key) = self.census.terms.as_ref().and_then(key) else { return };
        let (kept, root) = (self.state.path(CENSUS), self.config.root.clone());
        // The one before writes down how far it came.
        self.census.counter = None;
        self.census.counter = Counter::start(&kept, &root, &self.config.settings.census, &key);
    }

    /// Asks for terms, or sends what was counted, when it is time. Gives when to come again.
    pub(super) fn drive_census(&mut self) -> Instant {
        let now = Instant::now();
        let pace = self.config.pace;
        if !self.config.settings.census.on {
            return now + pace.full;
        }
        for problem in self.census.counter.iter().flat_map(Counter::news).collect::<Vec<_>>() {
            self.trouble(problem);
        }
        self.note_census();
        // A server that does not answer, or sent us away, is left in peace.
        let waits = self.census.at.is_some_and(|at| now < at);
        if waits || self.status.contact != Contact::InTouch {
            return now + pace.step_slow;
        }
        let wait = match self.tell_census() {
            Ok(next_seconds) => {
                (self.census.failures, self.census.said) = (0, None);
                pace.next(next_seconds, chance())
            }
            Err(problem) => {
                self.census.failures = self.census.failures.saturating_add(1);
                self.failed_census(&problem)
            }
        };
        self.note_census();
        self.census.at = Some(Instant::now() + wait);
        Instant::now() + wait.min(pace.step_slow)
    }

    /// One round. Gives when the server wants the next, seconds.
    fn tell_census(&mut self) -> Result<u32, link::Error> {
        if self.census.terms.is_none() {
            let terms: Terms = self.link()?.get(CENSUS_PATH)?;
            if key(&terms).is_none() {
                return Err(link::Error::Unreadable("its key is none".to_owned()));
            }
            let bytes = serde_json::to_vec(&terms).expect("text fields only");
            if let Err(error) = self.state.keep(CENSUS_TERMS, &bytes, Durable::Yes) {
                self.trouble(Problem::new("keep the terms of the census in", self.directory(), error));
            }
            self.census.terms = Some(terms);
            self.start_counting();
        }
        let mut next = self.census.terms.as_ref().map_or(0, |terms| terms.next_seconds);
        for _ in 0..MESSAGES_MAX {
            let last = self.census.last.as_ref();
            let found = self.census.counter.as_ref().and_then(|counter| counter.due(last));
            let Some((message, due)) = found else { break };
            let taken: Taken = self.link()?.post(CENSUS_PATH, &Body::new(&message))?;
            next = taken.next_seconds;
            if !taken.stored {
                // The fleet has another key: the terms are asked for anew, at the next round.
                self.census.terms = None;
                break;
            }
            self.census.told = Some(Timestamp::now());
            self.census.last = Some(Counted { hours: Vec::new(), ..message });
            if let Some(counter) = &self.census.counter {
                counter.told(&due);
            }
        }
        Ok(next)
    }

    fn failed_census(&mut self, problem: &link::Error) -> Duration {
        let pace = self.config.pace;
        let wait = match problem {
            // A server that takes no censuses yet, or a bug.
            link::Error::Refused { status: 400 | 404 | 405 | 413 | 422, .. } | link::Error::Unreadable(_) => {
                pace.rarely(chance())
            }
            link::Error::Refused { retry_after: Some(asked), .. } => pace.retry_after(*asked, chance()),
            link::Error::Refused { .. } | link::Error::Untrusted(_) | link::Error::Unreachable(_) => {
                pace.back_off(self.census.failures, chance())
            }
        };
        let reason = problem.to_string();
        if self.census.said.as_ref() != Some(&reason) {
            let problem = Problem::new("tell the census to", self.identity.server.clone(), &reason);
            self.trouble(problem.remedy("what was counted is kept, for a month at most"));
            self.census.said = Some(reason);
        }
        wait
    }

    /// Puts into the status how the census stands.
    fn note_census(&mut self) {
        let counter = self.census.counter.as_ref().map(Counter::status);
        let status = CensusStatus { told: self.census.told, ..counter.unwrap_or_default() };
        if self.status.census.as_ref() != Some(&status) {
            self.status.census = Some(status);
            self.write_status();
        }
    }
}

fn key(terms: &Terms) -> Option<Key> {
    let digit = |at: usize| u8::from_str_radix(terms.key.get(at * 2..at * 2 + 2)?, 16).ok();
    let bytes: Vec<u8> = (0..32).map(digit).collect::<Option<_>>()?;
    (terms.key.len() == 64).then(|| Key::new(bytes.try_into().expect("it has 32 bytes")))
}
