//! What is read: files, patterns, directories, standard input, the journal. Each becomes one stream of lines.

use advisory::Problem;
use agent::unpack::{Bytes, Caps};
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Where lines come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    File(PathBuf),
    /// A member of a directory that was named: it may be no log at all.
    Member(PathBuf),
    Stdin,
    /// What these units logged.
    Journal(Vec<String>),
}

/// One stream of lines.
#[derive(Clone, Debug)]
pub(super) struct Input {
    pub(super) origin: Origin,
    /// As it is packed; 0 where that is not known before.
    pub(super) size_bytes: u64,
}

impl Input {
    pub(super) fn name(&self) -> String {
        match &self.origin {
            Origin::File(path) | Origin::Member(path) => path.display().to_string(),
            Origin::Stdin => "standard input".to_owned(),
            Origin::Journal(units) => format!("the journal of {}", units.join(", ")),
        }
    }

    pub(super) fn path(&self) -> Option<&Path> {
        match &self.origin {
            Origin::File(path) | Origin::Member(path) => Some(path),
            Origin::Stdin | Origin::Journal(_) => None,
        }
    }

    /// Its bytes, unpacked.
    pub(super) fn open(&self) -> Result<Bytes> {
        let raw: Box<dyn Read + Send> = match &self.origin {
            Origin::File(path) | Origin::Member(path) => {
                Box::new(File::open(path).with_context(|| format!("open {}", path.display()))?)
            }
            Origin::Stdin => Box::new(io::stdin()),
            Origin::Journal(units) => Box::new(journal(units)?),
        };
        Bytes::of(raw, Caps::OF_LOGS).context("read")
    }
}

/// The output of a program; it is ended when nobody reads on.
struct Output(Child);

impl Read for Output {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let bytes = self.0.stdout.as_mut().map_or(Ok(0), |stdout| stdout.read(into))?;
        if bytes == 0 && !into.is_empty() {
            let status = self.0.wait()?;
            if !status.success() {
                return Err(io::Error::other(format!("journalctl ended with {status}")));
            }
        }
        Ok(bytes)
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Everything that was named, each file once.
pub(super) fn expand(named: &[PathBuf], journal: &[String]) -> (Vec<Input>, Vec<Problem>) {
    let mut gathering = Gathering::default();
    for path in named {
        if path == Path::new("-") {
            gathering.add(Origin::Stdin, 0);
        } else if path.exists() {
            gathering.path(path, false);
        } else {
            gathering.pattern(path);
        }
    }
    if !journal.is_empty() {
        gathering.add(Origin::Journal(journal.to_vec()), 0);
    }
    if named.is_empty() && journal.is_empty() {
        gathering.add(Origin::Stdin, 0);
    }
    (gathering.inputs, gathering.problems)
}

#[derive(Default)]
struct Gathering {
    inputs: Vec<Input>,
    problems: Vec<Problem>,
    /// By device and number, so that a link to a log is not that log again.
    seen: BTreeSet<(u64, u64)>,
}

impl Gathering {
    fn add(&mut self, origin: Origin, size_bytes: u64) {
        if !self.inputs.iter().any(|input| input.origin == origin) {
            self.inputs.push(Input { origin, size_bytes });
        }
    }

    fn pattern(&mut self, pattern: &Path) {
        let text = pattern.to_string_lossy();
        let refused = |reason: &str| Problem::new("read log", text.clone(), reason);
        let found = match glob::glob(&text) {
            Ok(found) => found,
            Err(error) => {
                return self
                    .problems
                    .push(refused(&error.to_string()).remedy("quote it, and mend the pattern"));
            }
        };
        // In the order of names, as a shell gives them.
        let paths: Vec<PathBuf> = found.filter_map(Result::ok).collect();
        if paths.is_empty() {
            let reason =
                if text.contains(['*', '?', '[']) { "nothing is called like that" } else { "no such file" };
            self.problems
                .push(refused(reason).remedy("name a log, a directory of logs, or - for standard input"));
        }
        for path in paths {
            self.path(&path, false);
        }
    }

    fn path(&mut self, path: &Path, is_member: bool) {
        let meta = match fs::metadata(path) {
            Ok(meta) => meta,
            Err(error) => {
                let problem = Problem::new("read log", path.display().to_string(), error);
                return self.problems.push(problem.remedy("read it as somebody who may"));
            }
        };
        if !self.seen.insert((meta.dev(), meta.ino())) && !is_pipe(&meta) {
            return;
        }
        if meta.is_dir() {
            return self.directory(path);
        }
        let path = path.to_owned();
        let size = if meta.is_file() { meta.len() } else { 0 };
        self.add(if is_member { Origin::Member(path) } else { Origin::File(path) }, size);
    }

    fn directory(&mut self, path: &Path) {
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) => {
                let problem = Problem::new("read directory", path.display().to_string(), error);
                return self.problems.push(problem.remedy("read it as somebody who may"));
            }
        };
        let mut members: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        members.sort();
        for member in members {
            let hidden = member.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
            // A pipe in a directory would be waited for.
            if !hidden && (member.is_file() || member.is_dir()) {
                self.path(&member, true);
            }
        }
    }
}

fn is_pipe(meta: &fs::Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt;
    meta.file_type().is_fifo()
}

fn journal(units: &[String]) -> Result<Output> {
    if !agent::program::is_installed("journalctl") {
        bail!("read the journal: there is no journalctl on this host; give files");
    }
    let mut command = Command::new("journalctl");
    command.args(["--output=cat", "--no-pager", "--quiet"]);
    for unit in units {
        command.arg(format!("--unit={unit}"));
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).env("LC_ALL", "C");
    Ok(Output(command.spawn().context("start journalctl")?))
}
