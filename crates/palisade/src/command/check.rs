//! `palisade check`: read everything, one pure call, write everything.

mod extracts;
mod feeds;

use crate::cli::{Check, Format};
use crate::home;
use crate::output::{cyclonedx, openvex, sarif, table};
use crate::terminal::{self, Progress};
use crate::{EXIT_INTERRUPTED, EXIT_USAGE};
use advisory::digest::sha256;
use agent::apt::Network;
use agent::{Observation, observe};
use anyhow::{Context, Result};
use exposure::Inventory;
use exposure::report::{self, Bar, Facts, Finding, Outcome, Report};
use exposure::ssvc::Deadlines;
use jiff::Timestamp;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Something is at or over the bar.
const EXIT_FINDINGS: u8 = 1;
/// Nothing is over the bar, but something could not be judged.
const EXIT_UNDETERMINED: u8 = 2;

pub(crate) fn run(arguments: &Check) -> Result<ExitCode> {
    for (option, path, wanted) in arguments.feed.iter().map(|path| ("--feed", path, path.exists())).chain([(
        "--root",
        &arguments.root,
        arguments.root.is_dir(),
    )]) {
        if !wanted {
            let what = if option == "--root" { "no such directory" } else { "no such file or directory" };
            eprintln!("palisade: check: {option} {}: {what}", path.display());
            return Ok(ExitCode::from(EXIT_USAGE));
        }
    }
    if arguments.explain.is_some() && !matches!(arguments.format, Format::Table | Format::Json) {
        eprintln!("palisade: check: --explain goes with --format table or json");
        return Ok(ExitCode::from(EXIT_USAGE));
    }
    let progress = Progress::new(arguments.quiet);
    let now = Timestamp::now();
    let Observation { mut inventory, feeds: own_feeds, apt } =
        observe(&arguments.root, None, now, &mut |what| progress.tell(what));
    let cache = arguments.cache.clone().or_else(cache_directory);
    let network = if arguments.offline { Network::None } else { Network::Archives };
    let closes = apt.map_or_else(Vec::new, |apt| {
        apt.closes(&mut inventory, cache.as_deref(), network, &mut |what| progress.tell(what))
    });
    // Only these tell of what is fixed.
    let with_fixed = arguments.explain.is_some() || matches!(arguments.format, Format::Openvex);
    let asked =
        feeds::Asked { inventory: &inventory, now, cache: cache.as_deref(), progress: &progress, with_fixed };
    let read = feeds::read(&arguments.feed, &own_feeds, &closes, asked);
    if agent::program::is_stopped() {
        return Ok(ExitCode::from(EXIT_INTERRUPTED));
    }
    progress.tell("matching");
    let facts = Facts {
        inventory: &inventory,
        advisories: &read.advisories,
        signals: &read.signals,
        lifecycle: &read.lifecycle,
        problems: &read.problems,
        mission: arguments.mission.into(),
        deadlines: Deadlines::default(),
    };
    let report = report::report(&facts);
    drop(progress);
    if arguments.quiet {
        eprintln!("palisade: {}", verdict_line(&report, arguments.fail_on.into()));
    } else {
        let text = match &arguments.explain {
            Some(id) => explained(id, arguments, &facts, &report)?,
            None => answered(arguments, &facts, &report)?,
        };
        match std::io::stdout().lock().write_all(text.as_bytes()) {
            // A closed pipe (`palisade check | head`) is the reader's decision; the exit code stays what was found.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
            written => written.context("write the answer")?,
        }
    }
    let outcome = report.outcome(arguments.fail_on.into());
    // The process ends here: a hundred thousand pieces of memory need not be given back one by one.
    std::mem::forget((read, report, inventory));
    Ok(match outcome {
        Outcome::Clean => ExitCode::SUCCESS,
        Outcome::Findings => ExitCode::from(EXIT_FINDINGS),
        Outcome::Undetermined => ExitCode::from(EXIT_UNDETERMINED),
    })
}

fn answered(arguments: &Check, facts: &Facts<'_>, report: &Report) -> Result<String> {
    let value = match arguments.format {
        Format::Table => return Ok(table::report(report, look(arguments))),
        Format::Json => return Ok(serde_json::to_string_pretty(report)? + "\n"),
        Format::Sarif => sarif::log(report, facts.inventory),
        Format::Openvex => {
            let findings = report::verdicts(facts);
            openvex::document(
                &findings,
                facts.inventory,
                &digest(findings.iter(), facts.inventory)?,
                report.observed,
            )
        }
        Format::Cyclonedx => {
            let findings = report.entries.iter().flat_map(|entry| &entry.findings);
            let serial = uuid(&digest(findings, facts.inventory)?);
            cyclonedx::bom(report, facts.inventory, &serial)
        }
    };
    Ok(serde_json::to_string_pretty(&value)? + "\n")
}

fn explained(id: &str, arguments: &Check, facts: &Facts<'_>, report: &Report) -> Result<String> {
    let findings = report::explain(facts, id);
    let about = |cve: &String| cve.eq_ignore_ascii_case(id);
    let entries: Vec<_> = report
        .entries
        .iter()
        .filter(|entry| {
            entry.source == id
                || entry.changes.iter().any(|change| change.name == id)
                || entry.closes.iter().chain(&entry.stay_open).chain(&entry.bulletins).any(about)
        })
        .collect();
    if arguments.format == Format::Table {
        return Ok(table::explained(id, &findings, &entries, look(arguments)));
    }
    let value = serde_json::json!({ "schema": "palisade.explain/1", "id": id, "entries": entries, "findings": findings });
    Ok(serde_json::to_string_pretty(&value)? + "\n")
}

fn look(arguments: &Check) -> table::Look {
    table::Look { width: terminal::width(), colours: terminal::colours(arguments.color), all: arguments.all }
}

/// The outcome in a line, for `--quiet`.
fn verdict_line(report: &Report, bar: Bar) -> String {
    let over = report.entries.iter().filter(|entry| entry.rank.decision >= bar.least()).count();
    let unjudged = report.undetermined.len();
    let host = &report.host;
    match report.outcome(bar) {
        Outcome::Clean => format!("{host}: nothing at or over the bar, and everything could be judged"),
        Outcome::Undetermined => {
            format!("{host}: nothing at or over the bar, but {unjudged} things could not be judged")
        }
        Outcome::Findings => {
            let first = report.entries.first();
            let first = first.map(|entry| format!("{} ({})", entry.source, entry.rank.decision));
            format!(
                "{host}: {over} source packages at or over the bar, first {}; {unjudged} things could not be judged",
                first.unwrap_or_default()
            )
        }
    }
}

/// `$XDG_CACHE_HOME/palisade`, `~/.cache/palisade`; root without either uses the system's.
fn cache_directory() -> Option<PathBuf> {
    home::directory("XDG_CACHE_HOME", ".cache").map(|cache| cache.join("palisade"))
}

/// SHA-256 of what a document says about a host, in hex: the same facts have the same id, whenever they were seen.
fn digest<'a>(findings: impl Iterator<Item = &'a Finding>, inventory: &Inventory) -> Result<String> {
    let said: Vec<_> = findings.map(|finding| (&finding.advisory, &finding.cves, &finding.verdict)).collect();
    let bytes = serde_json::to_vec(&(said, &inventory.host, &inventory.packages))?;
    Ok(sha256(&bytes))
}

/// The first half of a digest as a UUID of version 8 (RFC 9562: made by a rule of our own).
fn uuid(digest: &str) -> String {
    format!(
        "{}-{}-8{}-a{}-{}",
        &digest[..8],
        &digest[8..12],
        &digest[13..16],
        &digest[17..20],
        &digest[20..32]
    )
}
