//! The dry hand: pretends, so that a whole rollout can be rehearsed on real hosts without changing them. It looks at the
//! real packages, locks, disk and probes; what it claims to fetch, install, restart and boot is written down and nothing
//! else. What it pretends outlives a killed agent, as a package manager in a unit of its own would.
//!
//! It fails as it is told to in a file of the agent's directory, for tests.

use super::clock;
use super::hand::Hand;
use super::sight::{Job, Look, Sight};
use crate::hand::order::Deed;
use crate::settings::HandKind;
use crate::state::{Durable, FAULTS, PRETENCE, State};
use advisory::Problem;
use exposure::inventory::{Package, PackageState};
use jiff::Timestamp;
use rollout::converge::Act;
use rollout::plan::Digest;
use rustix::process::{Signal, getpid, kill_process};
use serde::{Deserialize, Serialize};
use std::rc::Rc;

/// Bytes of either file; a thousand acts have 100 KiB.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Acts that are remembered.
const BEGUN_MAX: usize = 256;
/// How long an act takes, milliseconds.
const ACT_MS: u64 = 500;

/// Which versions it claims to be installed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Claim {
    /// What is really installed.
    #[default]
    Real,
    New,
    Half,
}

/// When the agent is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Moment {
    Before,
    After,
}

/// What it pretends.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Pretence {
    /// "NOTHING IN THIS FILE WAS DONE": for whoever finds it.
    note: String,
    /// The plan it is about.
    plan: Option<Digest>,
    claim: Claim,
    fetched: bool,
    stale: bool,
    reboot: bool,
    /// Boots that it pretends to have had.
    boots: u64,
    /// What is under way, and until when: milliseconds since the real boot.
    busy: Option<Busy>,
    /// Everything that was begun: (fence, deed).
    begun: Vec<(u64, Deed)>,
    /// Acts that have failed as they were told to.
    failed: Vec<Deed>,
    /// Acts at which the agent was killed as it was told to.
    died: Vec<(Moment, Deed)>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Busy {
    deed: Deed,
    boot: u64,
    until_ms: u64,
}

/// How it is to fail.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Faults {
    /// How long an act takes, milliseconds.
    act_ms: Option<u64>,
    /// Acts that fail, each once for every time it is named.
    fails: Vec<Deed>,
    /// Transactions that leave packages half installed, in the same way.
    halves: Vec<Deed>,
    /// Acts that never end.
    hangs: Vec<Deed>,
    /// The agent is killed before it begins these, once each.
    dies_before: Vec<Deed>,
    /// The agent is killed after it has begun these, once each.
    dies_after: Vec<Deed>,
    /// The probes fail with the new versions.
    unhealthy: bool,
    /// The patch needs a reboot.
    reboots: bool,
    /// Restarts do not get rid of old code.
    keeps_stale: bool,
}

/// The hand.
#[derive(Debug)]
pub(super) struct Dry {
    sight: Sight,
    state: Rc<State>,
    pretence: Pretence,
}

impl Dry {
    pub(super) fn new(sight: Sight, state: Rc<State>) -> Result<Self, Problem> {
        let refused = |reason: String| {
            Problem::new("read what the dry hand pretends", PRETENCE, reason)
                .remedy("remove the file: nothing in it was done")
        };
        let bytes = state.read(PRETENCE, FILE_BYTES_MAX).map_err(|problem| refused(problem.to_string()))?;
        let pretence = match bytes {
            Some(bytes) => serde_json::from_slice(&bytes).map_err(|problem| refused(problem.to_string()))?,
            None => Pretence::default(),
        };
        Ok(Self { sight, state, pretence })
    }

    fn faults(&self) -> Result<Faults, Problem> {
        let refused = |reason: String| {
            Problem::new("read the dry hand's faults", FAULTS, reason).remedy("repair or remove it")
        };
        match self.state.read(FAULTS, FILE_BYTES_MAX).map_err(|problem| refused(problem.to_string()))? {
            Some(bytes) => serde_json::from_slice(&bytes).map_err(|problem| refused(problem.to_string())),
            None => Ok(Faults::default()),
        }
    }

    fn write(&mut self) -> Result<(), Problem> {
        "NOTHING IN THIS FILE WAS DONE: it is what the dry hand pretends".clone_into(&mut self.pretence.note);
        let bytes = serde_json::to_vec(&self.pretence).expect("text keys only");
        self.state.keep(PRETENCE, &bytes, Durable::Yes).map_err(|problem| {
            Problem::new("write what the dry hand pretends", PRETENCE, problem).remedy("free some space")
        })
    }

    /// Another plan is another pretence; boots go on.
    fn turn_to(&mut self, digest: Digest) {
        if self.pretence.plan != Some(digest) {
            let Pretence { boots, .. } = self.pretence;
            self.pretence = Pretence { plan: Some(digest), boots, ..Pretence::default() };
        }
    }

    /// What was under way is over, if its time has come.
    fn finish(&mut self, faults: &Faults) -> Result<(), Problem> {
        let Some(busy) = &self.pretence.busy else { return Ok(()) };
        let deed = busy.deed;
        // After a real reboot it counts as over.
        let is_cut = busy.boot != self.sight.boot();
        if !is_cut && (clock::uptime_ms() < busy.until_ms || faults.hangs.contains(&deed)) {
            return Ok(());
        }
        self.pretence.busy = None;
        let failed = self.pretence.failed.iter().filter(|failed| **failed == deed).count();
        let told = |list: &[Deed]| list.iter().filter(|told| **told == deed).count();
        let (fails, halves) = (told(&faults.fails), told(&faults.halves));
        if failed < fails + halves {
            self.pretence.failed.push(deed);
        }
        let pretence = &mut self.pretence;
        if failed >= fails && failed < fails + halves {
            (pretence.claim, pretence.stale) = (Claim::Half, true);
        } else if failed >= fails {
            match deed {
                Deed::Fetch => pretence.fetched = true,
                // A pretence takes nothing from its host.
                Deed::Drain | Deed::GiveBack => {}
                Deed::Apply | Deed::Repair => {
                    pretence.stale |= pretence.claim != Claim::New;
                    pretence.reboot |= faults.reboots && pretence.claim != Claim::New;
                    pretence.claim = Claim::New;
                }
                Deed::Revert => {
                    (pretence.claim, pretence.stale, pretence.reboot) = (Claim::Real, true, false);
                }
                Deed::Restart => pretence.stale = faults.keeps_stale,
                Deed::Reboot => {
                    pretence.boots += 1;
                    (pretence.stale, pretence.reboot) = (false, false);
                }
            }
        }
        self.write()
    }

    /// Kills the agent, once, if it is told to: nothing is tidied up.
    fn die_at(&mut self, moment: Moment, deed: Deed, told: &[Deed]) -> Result<(), Problem> {
        if told.contains(&deed) && !self.pretence.died.contains(&(moment, deed)) {
            self.pretence.died.push((moment, deed));
            self.write()?;
            let _ = kill_process(getpid(), Signal::KILL);
        }
        Ok(())
    }
}

impl Hand for Dry {
    fn kind(&self) -> HandKind {
        HandKind::Dry
    }

    fn boot(&self) -> u64 {
        let boots = self.pretence.boots;
        if boots == 0 { self.sight.boot() } else { self.sight.boot() ^ clock::number(&boots.to_be_bytes()) }
    }

    fn glance(&self, now: Timestamp) -> Look {
        Look { boot: self.boot(), ..self.sight.glance(now) }
    }

    fn look(&mut self, job: &Job<'_>, now: Timestamp) -> Result<Look, Problem> {
        self.turn_to(job.digest);
        let faults = self.faults()?;
        self.finish(&faults)?;
        let mut look = self.sight.look(job, now)?;
        if self.pretence.claim != Claim::Real {
            look.packages = claimed(job, &look.packages, self.pretence.claim);
        }
        let named = job.class.changes.iter().all(|change| change.from.is_none() || change.back.is_some());
        look.boot = self.boot();
        look.fetched = self.pretence.fetched;
        look.kept = self.pretence.fetched && named;
        look.working = self.pretence.busy.is_some();
        look.stale = self.pretence.stale;
        look.reboot_needed = self.pretence.reboot;
        Ok(look)
    }

    fn begin(&mut self, act: &Act, job: &Job<'_>) -> Result<(), Problem> {
        let Some(deed) = Deed::of(act) else { return Ok(()) };
        self.turn_to(job.digest);
        let faults = self.faults()?;
        self.die_at(Moment::Before, deed, &faults.dies_before)?;
        if self.pretence.begun.len() == BEGUN_MAX {
            self.pretence.begun.remove(0);
        }
        self.pretence.begun.push((job.fence, deed));
        let until_ms = clock::uptime_ms() + faults.act_ms.unwrap_or(ACT_MS);
        self.pretence.busy = Some(Busy { deed, boot: self.sight.boot(), until_ms });
        self.write()?;
        self.die_at(Moment::After, deed, &faults.dies_after)
    }

    fn healthy(&self, probes: Option<bool>) -> Option<bool> {
        let is_broken =
            self.pretence.claim != Claim::Real && self.faults().is_ok_and(|faults| faults.unhealthy);
        probes.map(|healthy| healthy && !is_broken)
    }
}

/// The class's packages in the versions that are claimed.
fn claimed(job: &Job<'_>, real: &[Package], claim: Claim) -> Vec<Package> {
    let state = if claim == Claim::Half { PackageState::HalfInstalled } else { PackageState::Installed };
    let changed = job.class.changes.iter().map(|change| {
        let is_it = |package: &&Package| package.name == change.name && package.arch == change.arch;
        let held = real.iter().find(is_it).is_some_and(|package| package.held);
        Package {
            name: change.name.clone(),
            arch: change.arch.clone(),
            version: change.to.clone(),
            source: change.source.clone(),
            source_version: String::new(),
            state,
            held,
            essential: false,
            module: None,
            vendor: String::new(),
            origin: exposure::inventory::Origin::Unknown,
        }
    });
    changed.collect()
}
