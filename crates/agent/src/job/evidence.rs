//! What was seen of a job that is over: kept on the host, so that it can be shown later what "proven" rested on.

use super::sight::{Job, Look};
use crate::hand::deed::Outcome;
use crate::hand::place::Place;
use crate::state::{Durable, EVIDENCE, State, keep_newest};
use advisory::Problem;
use exposure::inventory::PackageState;
use jiff::Timestamp;
use rollout::order::Stage;
use rollout::plan::{Digest, HostId, PlanId, Probe};
use serde::Serialize;
use std::path::Path;

/// The format written here.
const SCHEMA: &str = "palisade.evidence/1";
/// Jobs whose evidence is kept; one has some 10 KiB.
const KEPT_MAX: usize = 64;

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
    now: Timestamp,
) -> Result<(), Problem> {
    let packages = look.packages.iter().map(|package| Seen {
        name: &package.name,
        arch: &package.arch,
        version: &package.version,
        state: package.state,
        held: package.held,
    });
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
        deeds: Place::outcomes_in(Path::new(crate::hand::place::DIRECTORY), job.digest, job.fence),
    };
    let failed = |reason: String| {
        Problem::new("keep what was seen of", format!("plan {}", job.plan.id), reason)
            .remedy("free some space")
    };
    let bytes = serde_json::to_vec(&evidence).map_err(|problem| failed(problem.to_string()))?;
    let name = format!("{EVIDENCE}/{}-{}.json", job.plan.id, job.fence);
    let kept = state.folder(EVIDENCE).and_then(|folder| {
        // And the one that is written now.
        keep_newest(&folder, KEPT_MAX - 1);
        state.keep(name, &bytes, Durable::Yes)
    });
    kept.map_err(|problem| failed(problem.to_string()))
}
