//! `palisade audit`: the log through the API, and the check of an export, which asks nobody.

use super::session::{look, print};
use crate::EXIT_USAGE;
use crate::cli::fleet::{Asking, Audit};
use crate::client::{Access, Client, access_path};
use crate::output::listing;
use anyhow::{Context, Result};
use server::store::audit::{Chain, Entry};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::ExitCode;

/// The log was changed.
const EXIT_BROKEN: u8 = 1;

pub(crate) fn run(command: &Audit, asking: &Asking) -> Result<ExitCode> {
    let client = || Client::new(&Access::read(&access_path(asking.access.as_deref())?)?);
    match command {
        Audit::List { most } => {
            let mut entries = client()?.list("/audit", &[("newest_first", "true")], *most)?;
            // Told as they happened.
            entries.reverse();
            if asking.json {
                return print(&(serde_json::to_string_pretty(&entries)? + "\n"));
            }
            for entry in &mut entries {
                let at = entry["at"].as_i64().and_then(|at| jiff::Timestamp::from_microsecond(at).ok());
                entry["at"] = at.map_or_else(String::new, |at| format!("{at:.0}")).into();
            }
            let columns = [
                ("#", "/seq"),
                ("when", "/at"),
                ("who", "/actor"),
                ("what", "/action"),
                ("to what", "/object"),
                ("particulars", "/detail"),
            ];
            print(&listing::table(&entries, &columns, look()))
        }
        Audit::Export => {
            let mut out = std::io::stdout().lock();
            for line in client()?.lines("/audit/export", &[])? {
                writeln!(out, "{}", line.context("export the audit log: it broke off")?)?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Audit::Verify { file, since } => verify(file, since.as_deref(), asking.json),
    }
}

fn verify(path: &Path, since: Option<&str>, json: bool) -> Result<ExitCode> {
    let known = match since
        .map(|since| since.split_once(':').and_then(|(seq, hash)| Some((seq.parse::<i64>().ok()?, hash))))
    {
        None => None,
        Some(Some(known)) => Some(known),
        Some(None) => {
            eprintln!("palisade: audit verify: --since is NUMBER:HASH, as an earlier verify told it");
            return Ok(ExitCode::from(EXIT_USAGE));
        }
    };
    let file = File::open(path).with_context(|| format!("open the export {}", path.display()))?;
    let mut chain = Chain::default();
    let mut broken = None;
    let mut known_seen = known.is_none_or(|(seq, _)| seq == 0);
    for (place, line) in BufReader::new(file).lines().enumerate() {
        let line = line.with_context(|| format!("read {}", path.display()))?;
        let entry: Entry = match serde_json::from_str(&line) {
            Ok(entry) => entry,
            Err(problem) => {
                broken = Some(format!("line {}: no entry can be read: {problem}", place + 1));
                break;
            }
        };
        if let Err(problem) = chain.follow(&entry) {
            broken = Some(problem.to_string());
            break;
        }
        known_seen |= known.is_some_and(|known| known == chain.end());
    }
    if broken.is_none() && !known_seen {
        broken = Some("the entry named by --since is not in it: the log was cut, or made anew".to_owned());
    }
    let (seq, hash) = chain.end();
    if json {
        let outcome =
            serde_json::json!({ "whole": broken.is_none(), "entries": seq, "hash": hash, "broken": broken });
        println!("{outcome:#}");
    } else {
        match &broken {
            None => println!("whole: {seq} entries; note down for the next time: --since {seq}:{hash}"),
            Some(broken) => println!("BROKEN after {seq} good entries: {broken}"),
        }
    }
    Ok(if broken.is_none() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_BROKEN) })
}
