//! The check of an exported log.

use crate::EXIT_USAGE;
use anyhow::{Context, Result};
use server::store::audit::{Chain, Entry};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::ExitCode;

/// The log was changed.
const EXIT_BROKEN: u8 = 1;

pub(super) fn verify(path: &Path, since: Option<&str>, json: bool) -> Result<ExitCode> {
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
