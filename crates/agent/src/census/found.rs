//! Which logs a host has: what web servers are told to write, and what its owner names.

use super::{apache, nginx};
use crate::follow::Wanted;
use crate::settings::Census;
use advisory::Problem;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use traffic::format::{Custom, State};

/// Bytes of a file of configuration: 4 MiB.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Files of web servers' configurations.
const FILES_MAX: usize = 500;
/// Files that a pattern finds.
const FOUND_MAX: usize = 10_000;

/// A log, as somebody's configuration names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Log {
    pub(super) path: PathBuf,
    /// In the web server's own words; `None`: lines tell.
    pub(super) format: Option<String>,
    /// Where that is said.
    pub(super) by: String,
}

/// What a configuration tells.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) logs: Vec<Log>,
    pub(super) problems: Vec<Problem>,
}

impl Told {
    pub(super) fn not_followed(&mut self, log: &str, by: &str, reason: &str) {
        self.problems.push(Problem::new("follow log", format!("{log} ({by})"), reason));
    }

    pub(super) fn problem(&mut self, by: &str, reason: &str) {
        self.problems.push(Problem::new("read configuration", by, reason));
    }
}

/// Files of a host, by the names that they have there.
pub(super) struct Files<'r> {
    root: &'r Path,
    /// Each file is read once: includes may lead in a circle.
    read: BTreeSet<PathBuf>,
    problems: Vec<Problem>,
}

impl<'r> Files<'r> {
    pub(super) fn new(root: &'r Path) -> Self {
        Self { root, read: BTreeSet::new(), problems: Vec::new() }
    }

    fn place(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    pub(super) fn is_there(&self, path: &Path) -> bool {
        self.place(path).is_file()
    }

    pub(super) fn is_directory(&self, path: &Path) -> bool {
        self.place(path).is_dir()
    }

    pub(super) fn read(&mut self, path: &Path) -> Option<String> {
        if self.read.len() >= FILES_MAX || !self.read.insert(path.to_owned()) {
            return None;
        }
        let mut bytes = Vec::new();
        let read =
            File::open(self.place(path)).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes));
        if let Err(error) = read {
            let problem = Problem::new("read configuration", path.display().to_string(), error);
            self.problems.push(problem.remedy("let the agent read it, or name the logs in [census] logs"));
            return None;
        }
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Files that a pattern finds, by the names that they have on the host.
    pub(super) fn find(&self, pattern: &Path) -> Vec<PathBuf> {
        let found = glob::glob(&self.place(pattern).to_string_lossy()).into_iter().flatten().flatten();
        let named = found.filter(|path| path.is_file()).take(FOUND_MAX);
        named.filter_map(|path| Some(Path::new("/").join(path.strip_prefix(self.root).ok()?))).collect()
    }
}

/// A log that is followed, or would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Followed {
    /// Its name, or a pattern.
    pub path: PathBuf,
    /// How its lines are written; `None`: they tell.
    pub format: Option<String>,
    /// Who says that there is such a log.
    pub by: String,
    /// Who may read it: owner, group, mode. `None` where there is no such file.
    pub readable_by: Option<String>,
    /// Why whoever asks cannot read it.
    pub unreadable: Option<String>,
}

/// Every log of a host, and what stands in the way.
#[derive(Debug)]
pub struct Logs {
    /// In the order of their names.
    pub logs: Vec<Followed>,
    /// What cannot be followed, and why.
    pub problems: Vec<Problem>,
    wanted: Vec<Wanted>,
}

impl Logs {
    /// Looks for them in the root directory of a host.
    pub fn find(root: &Path, settings: &Census) -> Self {
        let mut found = Told::default();
        if settings.find {
            let mut files = Files::new(root);
            for told in [nginx::logs(&mut files), apache::logs(&mut files)] {
                found.logs.extend(told.logs);
                found.problems.extend(told.problems);
            }
            found.problems.extend(files.problems);
        }
        let named = settings.logs.iter().map(|path| Log {
            path: path.clone(),
            format: settings.format.clone(),
            by: "[census] logs".to_owned(),
        });
        found.logs.splice(0..0, named);
        let files = Files::new(root);
        let mut logs: BTreeMap<PathBuf, (Followed, Wanted)> = BTreeMap::new();
        for log in found.logs {
            let custom = log.format.as_deref().map(Custom::parse).transpose();
            let custom = custom.unwrap_or_else(|problem| {
                found.problems.push(problem.remedy("its lines are read by what they look like"));
                None
            });
            let (readable_by, unreadable) = readable(root, &files, &log.path);
            let path = files.place(&log.path);
            let wanted = Wanted { path, state: State::new(custom.map(Arc::new)) };
            let followed =
                Followed { path: log.path.clone(), format: log.format, by: log.by, readable_by, unreadable };
            // What the owner names comes first, and stays.
            logs.entry(log.path).or_insert((followed, wanted));
        }
        let (logs, wanted) = logs.into_values().unzip();
        Self { logs, problems: found.problems, wanted }
    }

    pub(super) fn wanted(&self) -> Vec<Wanted> {
        self.wanted.clone()
    }
}

/// Who may read a log, and why we cannot.
fn readable(root: &Path, files: &Files<'_>, path: &Path) -> (Option<String>, Option<String>) {
    let mut place = files.place(path);
    if path.to_string_lossy().contains(['*', '?', '[']) {
        match files.find(path).first() {
            Some(first) => place = files.place(first),
            None => return (None, Some("nothing is called like that yet".to_owned())),
        }
    }
    let unreadable = File::open(&place).err().map(|error| error.to_string());
    let by = fs::metadata(&place).ok().map(|found| {
        let name = |file: &str, id: u32| name(&root.join(file), id).unwrap_or_else(|| id.to_string());
        let (user, group) = (name("etc/passwd", found.uid()), name("etc/group", found.gid()));
        format!("{user}:{group} {:03o}", found.mode() & 0o777)
    });
    (by, unreadable)
}

/// A user or a group, by number: `name:x:number:…`.
fn name(file: &Path, id: u32) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let is_it = |line: &&str| line.split(':').nth(2).and_then(|number| number.parse().ok()) == Some(id);
    text.lines().find(is_it).and_then(|line| line.split(':').next()).map(str::to_owned)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A made-up host with these files.
    pub(in super::super) struct Root(tempfile::TempDir);

    impl Root {
        pub(in super::super) fn new(files: &[(&str, &str)]) -> Self {
            let root = tempfile::tempdir().unwrap();
            for (path, text) in files {
                let path = root.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            Self(root)
        }

        pub(in super::super) fn files(&self) -> Files<'_> {
            Files::new(self.0.path())
        }
    }

    #[test]
    fn what_the_owner_names_comes_before_what_is_found_and_an_include_that_leads_in_a_circle_ends() {
        let root = Root::new(&[
            ("etc/nginx/nginx.conf", "http { access_log /var/log/a.log; include nginx.conf; }"),
            ("var/log/a.log", ""),
        ]);
        let settings = Census {
            logs: vec!["/var/log/a.log".into(), "/var/log/b.log".into()],
            format: Some("$remote_addr $time_iso8601".to_owned()),
            ..Census::default()
        };
        let logs = Logs::find(root.0.path(), &settings);
        let told: Vec<_> = logs.logs.iter().map(|log| (log.by.as_str(), log.unreadable.is_some())).collect();
        assert_eq!(told, [("[census] logs", false), ("[census] logs", true)]);
        assert!(logs.problems.is_empty(), "{:?}", logs.problems);
    }
}
