//! Censuses as files: written so that a reader never sees half of one, and added up.

use super::{Read as Told, ahead, key, tell, usage};
use crate::cli::census::Merge;
use advisory::Problem;
use agent::census::Ruleset;
use anyhow::{Context, Result, anyhow, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;
use traffic::census::{Census, Limits};

/// A longer file is no partial census: one of a hundred signatures, a thousand days and a million sources takes half.
const PARTIAL_BYTES_MAX: u64 = 1 << 30;

/// Writes a file at once: whoever reads it sees what was there, or all of what is.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    agent::follow::write(path, bytes).with_context(|| format!("write {}", path.display()))
}

/// The same, of what `fill` writes.
pub(super) fn write_whole(path: &Path, fill: impl FnOnce(&mut File) -> Result<()>) -> Result<()> {
    let write = || -> Result<()> {
        let directory =
            path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut fresh = tempfile::NamedTempFile::new_in(directory)?;
        fill(fresh.as_file_mut())?;
        fresh.as_file().sync_all()?;
        fresh.persist(path)?;
        Ok(())
    };
    write().with_context(|| format!("write {}", path.display()))
}

/// Prints a census as a line of text, as pipes that carry lines need it.
pub(super) fn print(census: &Census) -> Result<()> {
    writeln!(std::io::stdout().lock(), "{}", STANDARD.encode(census.to_bytes()))
        .context("write the partial census")
}

pub(super) fn merge(merge: &Merge) -> Result<ExitCode> {
    let (rules, mut problems) = Ruleset::read(&merge.telling.rules);
    let ahead = match ahead::asked(&merge.telling, &rules) {
        Ok(ahead) => ahead,
        Err(problem) => return Ok(usage(&problem)),
    };
    let mut censuses = Vec::new();
    for path in &merge.partials {
        read(path, &mut censuses)?;
    }
    let many = censuses.len();
    let census = Census::unite(censuses, Limits::default()).map_err(|problem| anyhow!("{problem}"))?;
    if census.setup().rules != rules.digest {
        let problem =
            Problem::new("merge censuses", "rules", "they were counted with other rules than these");
        bail!(
            problem
                .remedy("give the same --rules as when they were counted, to the same version of palisade")
        );
    }
    let key = key::key(merge.telling.key.as_deref())?;
    let with_sources = merge.telling.show_sources || census.setup().pseudonyms;
    if !with_sources && census.setup().key != key.id() {
        let problem = Problem::new(
            "merge censuses",
            "key",
            "sources have to become pseudonyms, and this is not their key",
        );
        bail!(problem.remedy("give the same --key as when they were counted, or --show-sources"));
    }
    let what = if many == 1 { "1 partial".to_owned() } else { format!("{many} partials") };
    let read = Told { census, rules: &rules, key: &key, what: &what, notes: &[] };
    tell(read, &merge.telling, ahead.as_ref(), &mut problems)
}

/// Partials of a file: one as bytes, or one in each line of text.
fn read(path: &Path, into: &mut Vec<(String, Census)>) -> Result<()> {
    let name = path.display().to_string();
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().take(PARTIAL_BYTES_MAX + 1).read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(PARTIAL_BYTES_MAX + 1).read_to_end(&mut bytes))
    };
    read.with_context(|| format!("read {name}"))?;
    if bytes.len() as u64 > PARTIAL_BYTES_MAX {
        bail!("read {name}: it is longer than any partial census; give files that --partial wrote");
    }
    let lines: Option<Vec<Vec<u8>>> = std::str::from_utf8(&bytes).ok().and_then(|text| {
        text.lines()
            .filter(|line| !line.trim().is_empty())
            .map(|line| STANDARD.decode(line.trim()).ok())
            .collect()
    });
    for bytes in lines.filter(|lines| !lines.is_empty()).unwrap_or_else(|| vec![bytes]) {
        into.push((name.clone(), Census::from_bytes(&name, &bytes).map_err(|problem| anyhow!("{problem}"))?));
    }
    Ok(())
}
