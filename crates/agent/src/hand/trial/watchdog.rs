//! What the previous program does while a new agent is on trial: it waits, and takes the new one back.

use super::{PREVIOUS_JOURNAL, Trial, clear_away, put};
use crate::hand::deed::{Outcome, attempt};
use crate::hand::grant::Grant;
use crate::hand::order::Order;
use crate::hand::place::Place;
use crate::hand::restart::AGENT_UNIT;
use crate::hand::{deed_unit, units};
use crate::job::{clock, mend_journal};
use crate::program::{Program, is_stopped};
use crate::settings;
use crate::state::{DIRECTORY, State};
use advisory::Problem;
use jiff::Timestamp;
use rollout::plan::check::agent::PACKAGE;
use std::io;
use std::path::Path;
use std::time::Duration;

/// How often it looks.
const EVERY: Duration = Duration::from_secs(2);
/// How often it is begun to take an agent back: power may fail in it.
const RESTORES_MAX: u32 = 3;
/// Where packages put the program.
const PROGRAM: &str = "/usr/bin/palisade";

/// What is to follow from what was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Wait,
    Restore,
    GiveUp,
}

/// The time in which nothing is carried out and nobody is heard.
#[derive(Debug, Default)]
struct Silence {
    since_ms: Option<u64>,
}

impl Silence {
    /// `working`: whether something is carried out; `None`: it cannot be seen, and nothing follows.
    fn next(&mut self, trial: &Trial, working: Option<bool>, uptime_ms: u64) -> Next {
        if working != Some(false) {
            self.since_ms = None;
            return Next::Wait;
        }
        let since_ms = *self.since_ms.get_or_insert(uptime_ms);
        if uptime_ms.saturating_sub(since_ms) < u64::from(trial.seconds) * 1_000 {
            return Next::Wait;
        }
        self.since_ms = None;
        if trial.restores < RESTORES_MAX { Next::Restore } else { Next::GiveUp }
    }
}

/// Watches until the new agent was heard or is taken back. The previous program runs this, in a unit of its own.
pub fn watch() -> Result<(), Problem> {
    let place = Place::open()?;
    let mut silence = Silence::default();
    while let Some(trial) = Trial::open(&place)? {
        if is_stopped() {
            return Ok(());
        }
        if trial.was_heard(&place) {
            trial.ended_now().keep(&place)?;
            break;
        }
        match silence.next(&trial, units::is_working().ok(), clock::uptime_ms()) {
            Next::Wait => {}
            Next::Restore => {
                let run = deed_unit(&format!("Palisade: takes {} back", trial.new))
                    .arg(&trial.program)
                    .args(["agent", "restore"]);
                // Somebody else was faster: the silence begins anew when that is over.
                if let Err(problem) = run.run_ok() {
                    eprintln!("<4>palisade: watchdog: {problem}");
                }
            }
            Next::GiveUp => {
                let reason = format!("it was begun {RESTORES_MAX} times, and never ended");
                let problem = Problem::new("take back", trial.new.clone(), reason);
                trial.ended_now().keep(&place)?;
                clear_away(&place);
                return Err(problem.remedy(
                    "install the previous version by hand, and look at the journal of palisade-deed",
                ));
            }
        }
        std::thread::sleep(EVERY);
    }
    clear_away(&place);
    Ok(())
}

/// Takes the new agent back: package, or where that fails the program alone; then the journal, if the previous program cannot
/// read what the new one wrote; and starts it. The previous program runs this, as a deed like any other.
pub fn restore() -> Result<(), Problem> {
    let place = Place::open()?;
    let Some(mut trial) = Trial::open(&place)?.filter(|trial| !trial.was_heard(&place)) else {
        return Ok(());
    };
    trial.restores += 1;
    trial.keep(&place)?;
    let order = trial.order();
    let mut outcome = Outcome::begun(&order);
    place.keep_outcome(&order, &outcome)?;
    // The job leads back from here on, whatever the agent's journal says.
    place.forget_grants(&order)?;
    place.keep_grant(&order, &Grant { back: true, ..Grant::default() })?;
    systemctl("stop", &mut outcome);
    let mut done = attempt(&place, &order, Path::new(settings::FILE), &mut outcome);
    let mut restored = format!("{} restored", trial.old);
    if let Err(problem) = &done {
        outcome.told.push(format!("its package could not be taken back: {problem}"));
        // What the package database says of it is not what lies there: the host is not as it should be either way.
        outcome.unfinished.insert(PACKAGE.to_owned());
        restored =
            format!("the program of {} was put in its place, its package could not be taken back", trial.old);
        done = put_back(&trial, &order);
    }
    outcome.told.extend(match mend(&place) {
        Ok(true) => Some("its journal could not be read; the previous one was put back".to_owned()),
        Ok(false) => None,
        Err(problem) => Some(format!("the agent's journal cannot be read: {problem}")),
    });
    systemctl("start", &mut outcome);
    let reason = format!("not heard by the centre within {} s; {restored}", trial.seconds);
    outcome.problem = Some(match &done {
        Ok(()) => {
            Problem::new("keep", trial.new.clone(), reason).remedy(format!("see journalctl -u {AGENT_UNIT}"))
        }
        Err(problem) => problem.clone(),
    });
    outcome.ended = Some(Timestamp::now());
    place.keep_outcome(&order, &outcome)?;
    done?;
    trial.ended_now().keep(&place)
}

fn systemctl(what: &str, outcome: &mut Outcome) {
    let run =
        Program::new("systemctl").args([what, "--", AGENT_UNIT]).deadline(super::RESTART_WITHIN).run_ok();
    if let Err(problem) = run {
        outcome.told.push(format!("{what} the agent: {problem}"));
    }
}

/// Where the package manager does not do it: the program alone, in one step.
fn put_back(trial: &Trial, order: &Order) -> Result<(), Problem> {
    let kept = std::fs::File::open(&trial.program);
    let done = kept.and_then(|mut kept| put(&mut kept, Path::new(PROGRAM), 0o755));
    done.map_err(|problem| {
        order.refused(format!("put {PROGRAM} back: {problem}")).remedy("install it by hand")
    })
}

fn mend(place: &Place) -> io::Result<bool> {
    let kept = std::fs::read(place.path(PREVIOUS_JOURNAL))?;
    let state = State::open(Path::new(DIRECTORY)).map_err(io::Error::other)?;
    mend_journal(&state, &kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rollout::plan::{Digest, PlanId};

    fn trial() -> Trial {
        Trial {
            plan: PlanId(uuid::Uuid::from_u128(7)),
            digest: Digest::of(b"plan"),
            fence: 3,
            began: Timestamp::UNIX_EPOCH,
            boot: 1,
            seconds: 120,
            new: "palisade 2".to_owned(),
            old: "palisade 1".to_owned(),
            program: "/usr/libexec/palisade-previous/palisade".into(),
            since: None,
            restores: 0,
            ended: None,
        }
    }

    #[test]
    fn an_agent_is_taken_back_after_its_time_while_nothing_is_carried_out_and_not_for_ever() {
        let mut silence = Silence::default();
        let mut next = |working, seconds: u64| silence.next(&trial(), working, seconds * 1_000);
        assert_eq!(next(Some(true), 0), Next::Wait);
        assert_eq!(next(Some(false), 100), Next::Wait);
        assert_eq!(next(Some(false), 219), Next::Wait);
        assert_eq!(next(None, 220), Next::Wait, "what cannot be seen is no silence");
        assert_eq!(next(Some(false), 221), Next::Wait);
        assert_eq!(next(Some(true), 340), Next::Wait, "something is carried out");
        assert_eq!(next(Some(false), 341), Next::Wait);
        assert_eq!(next(Some(false), 461), Next::Restore);
        assert_eq!(next(Some(false), 463), Next::Wait, "it was begun");
        let often = Trial { restores: RESTORES_MAX, ..trial() };
        assert_eq!(silence.next(&often, Some(false), 900_000), Next::GiveUp);
    }
}
