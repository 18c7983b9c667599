//! What an upgrade of some source packages would change on this host, closed under dependencies, file by file; by the library
//! of the dnf 4 that is installed here. It works on a scratch root: nothing of the host is changed, and no right is needed.

mod answer;

use crate::apt::{Network, Outlook};
use crate::observe::dnf::Scratch;
use crate::observe::root::Root;
use crate::program::Program;
use crate::rehearse::{closure, file};
use answer::{Answer, Old, Question, Told, Wanted};
use exposure::inventory::Package;
use jiff::Timestamp;
use rollout::plan::{Change, File};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The program that asks dnf's library.
const ASK: &str = include_str!("ask.py");
/// A whole distribution's metadata takes some seconds to load, and a minute to fetch over a slow line.
const DEADLINE: Duration = Duration::from_secs(240);
/// The first line of a program that names its interpreter; Linux reads 256 bytes of it (execve(2)).
const SHEBANG_BYTES_MAX: u64 = 256;

/// Works out what upgrading the installed binaries of `sources` would do to the system in `root`. `packages`: everything
/// that is installed. With [`Network::Archives`] the repositories' metadata is fetched anew, into the scratch root. Errors tell, in
/// words, why it cannot be worked out.
pub(crate) fn rehearse(
    root: &Root,
    sources: &[String],
    packages: &[Package],
    network: Network,
    now: Timestamp,
    outlook: &mut Outlook,
) -> Result<(), String> {
    let dnf = Dnf::open(root, now)?;
    let Some(answer) = dnf.closure(sources, packages, network, &mut outlook.blocks)? else { return Ok(()) };
    let exact: Vec<Wanted> = answer.installs.iter().map(Told::exact).collect();
    let old: Vec<Old> = answer.removes.iter().map(Told::exact).collect();
    let closed = dnf.ask(exact, old, Network::None)?;
    let plain = |told: &[Told]| told.iter().map(Told::exact).collect::<BTreeSet<_>>();
    if let Some(other) = plain(&answer.installs).symmetric_difference(&plain(&closed.installs)).next() {
        let name = &other.name;
        outlook.blocks.push(format!("named with exact versions, dnf does something else to {name}"));
    }
    changes(&closed, packages, outlook);
    Ok(())
}

/// What a transaction changes, with its files.
fn changes(answer: &Answer, packages: &[Package], outlook: &mut Outlook) {
    let key = |told: &Told| (told.name.clone(), told.arch.clone());
    let mut removed: BTreeMap<_, &Told> = answer.removes.iter().map(|told| (key(told), told)).collect();
    for told in &answer.installs {
        let to = told.evr();
        let from = removed.remove(&key(told));
        let Some(file) = told.file() else {
            outlook.blocks.push(format!("no metadata tells the SHA-256 digest of {} {to}", told.name));
            continue;
        };
        let lies_here = |package: &&Package| package.name == told.name && package.arch == told.arch;
        if from.is_none() && packages.iter().any(|package| lies_here(&package) && package.version == to) {
            outlook.blocks.push(format!("{} {to} is installed already", told.name));
        }
        let is_old = |old: &&Told| key(old) == key(told) && from.is_some_and(|from| old.evr() == from.evr());
        outlook.changes.push(Change {
            name: told.name.clone(),
            arch: told.arch.clone(),
            source: told.source().to_owned(),
            from: from.map(Told::evr),
            to,
            archive: told.repository.clone(),
            file,
            back: answer.old.iter().find(is_old).and_then(Told::file),
        });
    }
    outlook.blocks.extend(removed.values().map(|told| format!("{} would be removed", told.name)));
}

impl Told {
    fn file(&self) -> Option<File> {
        file(self.sha256.as_deref(), self.size_bytes)
    }
}

/// dnf's library, aimed at a scratch root.
#[derive(Debug)]
struct Dnf {
    scratch: Scratch,
    interpreter: PathBuf,
}

impl Dnf {
    fn open(root: &Root, now: Timestamp) -> Result<Self, String> {
        let interpreter = interpreter()?;
        Ok(Self { scratch: Scratch::lay_out(root, now)?, interpreter })
    }

    /// What dnf would do to upgrade the sources whole, and every source whole that they pull in; `None` if there is nothing
    /// to do.
    fn closure(
        &self,
        sources: &[String],
        packages: &[Package],
        network: Network,
        blocks: &mut Vec<String>,
    ) -> Result<Option<Answer>, String> {
        let mut network = network;
        let upgrade = |wanted: &[&Package], _: &mut Vec<String>| {
            let latest = |package: &&Package| Wanted {
                name: package.name.clone(),
                arch: package.arch.clone(),
                version: None,
            };
            let wanted: BTreeSet<Wanted> = wanted.iter().map(latest).collect();
            // Fetched once; what follows reads what was fetched.
            let network = std::mem::replace(&mut network, Network::None);
            self.ask(wanted.into_iter().collect(), Vec::new(), network)
        };
        let pulled = |answer: &Answer| {
            let is_it =
                |told: &Told, package: &&Package| package.name == told.name && package.arch == told.arch;
            let installed = |told| packages.iter().find(|package| is_it(told, package));
            answer.removes.iter().filter_map(installed).map(|package| package.source.as_str()).collect()
        };
        let found = closure(sources, packages, blocks, upgrade, pulled)?;
        Ok(found.filter(|answer| !answer.installs.is_empty()))
    }

    fn ask(&self, wanted: Vec<Wanted>, old: Vec<Old>, network: Network) -> Result<Answer, String> {
        let root = self.scratch.path();
        let question = Question {
            root: root.display().to_string(),
            config: root.join("etc/dnf/dnf.conf").display().to_string(),
            refresh: network == Network::Archives,
            wanted,
            old,
        };
        let file = root.join("question.json");
        let bytes = serde_json::to_vec(&question).map_err(|error| error.to_string())?;
        std::fs::write(&file, bytes).map_err(|error| format!("{}: {error}", file.display()))?;
        let output = Program::new(&self.interpreter)
            // -I: nothing of the caller's environment or directory is loaded; -B: nothing is written beside the library.
            .args(["-I", "-B", "-c", ASK])
            .arg(&file)
            .env("HOME", root)
            .deadline(DEADLINE)
            .run_ok()
            .map_err(|problem| format!("dnf's library cannot be asked: {problem}"))?;
        answer::parse(&output.stdout).map_err(|reason| format!("dnf cannot work it out: {reason}"))
    }
}

/// The interpreter that this host's dnf names: the one that has its library.
pub(crate) fn interpreter() -> Result<PathBuf, String> {
    let dnf = crate::program::find("dnf").ok_or("dnf is not installed here: install it")?;
    let file = std::fs::File::open(&dnf).map_err(|error| format!("{}: {error}", dnf.display()))?;
    let mut line = Vec::new();
    let mut reader = BufReader::new(file.take(SHEBANG_BYTES_MAX));
    reader.read_until(b'\n', &mut line).map_err(|error| format!("{}: {error}", dnf.display()))?;
    named(&line).ok_or_else(|| {
        format!("{} is not dnf 4: this version rehearses with the library of dnf 4 only", dnf.display())
    })
}

/// The Python that a program's first line names.
fn named(line: &[u8]) -> Option<PathBuf> {
    let line = std::str::from_utf8(line).ok()?.strip_prefix("#!")?;
    let program = Path::new(line.split_whitespace().next()?);
    let is_python = program.file_name()?.to_str()?.contains("python");
    (program.is_absolute() && is_python).then(|| program.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_the_one_of_the_python_that_dnf_names() {
        assert_eq!(named(b"#!/usr/bin/python3\n"), Some("/usr/bin/python3".into()));
        assert_eq!(
            named(b"#! /usr/libexec/platform-python -s\n"),
            Some("/usr/libexec/platform-python".into())
        );
        for other in [&b"#!/bin/sh\n"[..], b"\x7fELF", b"#!python3", b"#!/usr/bin/env python3\n"] {
            assert_eq!(named(other), None);
        }
    }
}
