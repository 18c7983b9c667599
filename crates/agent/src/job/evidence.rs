//! What was seen of a job that is over: kept on the host, so that it can be shown later what "proven" rested on.

use super::probes::Prober;
use super::replay::{Replayer, Service};
use super::sight::{Job, Look};
use crate::hand::deed::Outcome;
use crate::hand::fit::{REHEARSES_ITSELF, asked};
use crate::hand::place::Place;
use crate::state::{Durable, EVIDENCE, State, entries, keep_newest};
use advisory::Problem;
use exposure::inventory::PackageState;
use jiff::Timestamp;
use rollout::order::{Skip, Stage};
use rollout::plan::{Digest, HostId, PlanId, Probe};
use serde::Serialize;
use std::path::{Path, PathBuf};
use wire::v1::EVIDENCE_BYTES_MAX;

/// The format written here.
const SCHEMA: &str = "palisade.evidence/1";
/// Jobs whose evidence is kept; one has some 10 KiB.
const KEPT_MAX: usize = 64;

/// How files end whose content the server has not, and has.
const UNTOLD: &str = ".new.json";
const TOLD: &str = ".json";

/// One that the server has not been told.
#[derive(Debug)]
pub(crate) struct Untold {
    path: PathBuf,
    /// As it is to be sent.
    pub(crate) evidence: wire::v1::Evidence,
}

impl Untold {
    /// Whether there is any.
    pub(crate) fn is_there(state: &State) -> bool {
        entries(&state.path(EVIDENCE)).any(|path| ends(&path, UNTOLD))
    }

    /// The oldest, if there is any. What cannot be read is none: it stays on the host, and is told as a problem.
    pub(crate) fn first(state: &State) -> Option<Result<Self, Problem>> {
        let mut files: Vec<PathBuf> =
            entries(&state.path(EVIDENCE)).filter(|path| ends(path, UNTOLD)).collect();
        files.sort();
        let path = files.into_iter().next()?;
        Some(Self::read(&path).inspect_err(|_| told(&path)))
    }

    fn read(path: &Path) -> Result<Self, Problem> {
        let failed = |reason: String| {
            Problem::new("send what was seen of a job from", path.display().to_string(), reason)
                .remedy("it stays on this host")
        };
        let bytes = std::fs::read(path).map_err(|problem| failed(problem.to_string()))?;
        if bytes.len() > EVIDENCE_BYTES_MAX {
            return Err(failed(format!("it has more than {EVIDENCE_BYTES_MAX} bytes")));
        }
        let seen: serde_json::Value =
            serde_json::from_slice(&bytes).map_err(|problem| failed(problem.to_string()))?;
        let plan =
            serde_json::from_value(seen["plan"].clone()).map_err(|problem| failed(problem.to_string()))?;
        let fence = seen["fence"].as_u64().ok_or_else(|| failed("it names no grant".to_owned()))?;
        Ok(Self { path: path.to_owned(), evidence: wire::v1::Evidence { plan, fence, seen } })
    }

    /// It is not sent again.
    pub(crate) fn told(self) {
        told(&self.path);
    }
}

fn ends(path: &Path, with: &str) -> bool {
    path.to_str().is_some_and(|path| path.ends_with(with))
}

/// Where this fails, it is sent again, which does no harm.
fn told(path: &Path) {
    if let Some(kept) = path.to_str().and_then(|path| path.strip_suffix(UNTOLD)) {
        let _ = std::fs::rename(path, format!("{kept}{TOLD}"));
    }
}

/// What is kept.
#[derive(Debug, Serialize)]
struct Evidence<'a> {
    schema: &'static str,
    host: HostId,
    plan: PlanId,
    digest: Digest,
    fence: u64,
    /// How it ended.
    stage: Stage,
    at: Timestamp,
    /// The boot in which this was seen.
    boot: u64,
    /// The plan's packages, as the package database has them.
    packages: Vec<Seen<'a>>,
    /// Whether a process maps old files of them.
    stale: bool,
    reboot_needed: bool,
    /// What was asked of the host, and passed for its whole soak if it is proven.
    probes: &'a [Probe],
    /// How services did that attempts were replayed to: before the change, after it without attempts, and at worst.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    replays: &'a [Service],
    /// Why it did not end as it should, in words: what services did not bear, the probe that did not pass, what was not done, what the
    /// package manager would do other than the plan says.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    why: Vec<String>,
    /// Each thing that was done, with what changed besides, what was restarted, and what was said.
    deeds: Vec<Outcome>,
}

#[derive(Debug, Serialize)]
struct Seen<'a> {
    name: &'a str,
    arch: &'a str,
    version: &'a str,
    state: PackageState,
    held: bool,
}

/// Keeps it.
pub(super) fn keep(
    state: &State,
    host: HostId,
    job: &Job<'_>,
    look: &Look,
    (prober, replayer): (&Prober, &Replayer),
    now: Timestamp,
) -> Result<(), Problem> {
    let packages = look.packages.iter().map(|package| Seen {
        name: &package.name,
        arch: &package.arch,
        version: &package.version,
        state: package.state,
        held: package.held,
    });
    let deeds = Place::outcomes_in(Path::new(crate::hand::place::DIRECTORY), job.digest, job.fence);
    let mut why = Vec::new();
    if job.stage == Stage::Skipped(Skip::Unfit) {
        let unfit = asked(&deeds).and_then(|asked| asked.unfit.as_ref());
        why.extend(unfit.map(|unfit| format!("{unfit}; {REHEARSES_ITSELF}")));
    } else if job.stage != Stage::Proven {
        why = replayer.why(job.digest, job.fence);
        why.extend(prober.why(job.digest, job.fence));
        why.extend(undone(&deeds));
    }
    let evidence = Evidence {
        schema: SCHEMA,
        host,
        plan: job.plan.id,
        digest: job.digest,
        fence: job.fence,
        stage: job.stage,
        at: now,
        boot: look.boot,
        packages: packages.collect(),
        stale: look.stale,
        reboot_needed: look.reboot_needed,
        probes: &job.plan.probes,
        replays: replayer.seen(job.digest, job.fence),
        why,
        deeds,
    };
    let failed = |reason: String| {
        Problem::new("keep what was seen of", format!("plan {}", job.plan.id), reason)
            .remedy("free some space")
    };
    let bytes = serde_json::to_vec(&evidence).map_err(|problem| failed(problem.to_string()))?;
    let name = format!("{EVIDENCE}/{}-{}{UNTOLD}", job.plan.id, job.fence);
    let kept = state.folder(EVIDENCE).and_then(|folder| {
        // And the one that is written now.
        keep_newest(&folder, KEPT_MAX - 1);
        state.keep(name, &bytes, Durable::Yes)
    });
    kept.map_err(|problem| failed(problem.to_string()))
}

/// What was ordered and not done, each reason once.
fn undone(deeds: &[Outcome]) -> Vec<String> {
    let mut why = Vec::new();
    for problem in deeds.iter().filter_map(|outcome| outcome.problem.as_ref()) {
        let told = format!("{} {}: {}", problem.operation, problem.object, problem.reason);
        if !why.contains(&told) {
            why.push(told);
        }
    }
    why
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_something_was_not_done_is_told_once() {
        let outcome = |reason: Option<&str>| -> Outcome {
            let problem = reason.map(|reason| Problem::new("apply", "plan p", reason).remedy("look"));
            let none: [u8; 0] = [];
            serde_json::from_value(serde_json::json!({
                "deed": "apply", "plan": PlanId(uuid::Uuid::nil()), "digest": Digest([7; 32]), "fence": 1,
                "began": "2026-11-30T00:00:00Z", "ended": null, "problem": problem, "told": none, "changed": none,
                "conffiles": none, "restarted": none, "not_restarted": none, "users_before": none,
            }))
            .unwrap()
        };
        let deeds = [outcome(None), outcome(Some("no room")), outcome(Some("no room"))];
        assert_eq!(undone(&deeds), ["apply plan p: no room"]);
    }

    #[test]
    fn what_was_seen_is_shown_once_each_in_order_and_what_is_damaged_stops_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let state = State::create(&directory.path().join("agent")).unwrap();
        assert!(Untold::first(&state).is_none());
        let folder = state.folder(EVIDENCE).unwrap();
        let plan = |number: u128| PlanId(uuid::Uuid::from_u128(number));
        for number in [2, 1] {
            let seen = serde_json::json!({ "plan": plan(number), "fence": 3, "stage": "proven" });
            let name = format!("{EVIDENCE}/{}-3{UNTOLD}", plan(number));
            state.keep(name, seen.to_string().as_bytes(), Durable::Yes).unwrap();
        }
        std::fs::write(folder.join(format!("00-damaged{UNTOLD}")), "{").unwrap();
        assert!(Untold::first(&state).unwrap().unwrap_err().to_string().contains("00-damaged"));
        for number in [1, 2] {
            // Asked again before it was told, it is there again.
            assert!(Untold::first(&state).unwrap().is_ok());
            let untold = Untold::first(&state).unwrap().unwrap();
            assert_eq!((untold.evidence.plan, untold.evidence.fence), (plan(number), 3));
            untold.told();
        }
        assert!(Untold::first(&state).is_none());
        assert_eq!(
            entries(&folder).filter(|path| ends(path, TOLD)).count(),
            3,
            "all of it stays on the host"
        );
    }
}
