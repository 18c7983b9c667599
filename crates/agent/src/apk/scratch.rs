//! A root for apk to answer questions on: copies of what its answers hang on, so that it needs no right and changes nothing.

use super::{AS_THEY_ARE, Offered, Steps, indexes_kept, is_index, offered, refusal, steps};
use crate::apt::Network;
use crate::job::sight::sha256_of;
use crate::observe::apk::database;
use crate::observe::root::Root;
use crate::program::{Output, Program};
use rollout::plan::File;
use std::io;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

/// apk answers within a second; with indexes to fetch, within a minute.
const DEADLINE: Duration = Duration::from_secs(120);
/// A kernel's 100 MB at 500 KB/s.
const FILE_WITHIN: Duration = Duration::from_secs(240);
/// Settings and keys are some KiB; Alpine's largest index is 3 MB, packed: ten times that.
const SETTING_BYTES_MAX: u64 = 1 << 20;
const INDEX_BYTES_MAX: u64 = 32 << 20;
/// Files of settings, and directories of such.
const SETTINGS: [&str; 3] = ["/etc/apk/arch", "/etc/apk/world", "/etc/apk/repositories"];
const DIRECTORIES: [&str; 4] =
    ["/etc/apk/keys", "/lib/apk/keys", "/etc/apk/repositories.d", "/lib/apk/repositories.d"];
/// Where nobody listens.
const NOBODY: &str = "http://127.0.0.1:9";
/// What is asked of each package that a repository has.
const FIELDS: &str = "name,version,arch,origin,file-size,repositories";

/// A copy of apk's database and indexes. Gone with this.
#[derive(Debug)]
pub(super) struct Scratch {
    home: TempDir,
    network: Network,
}

impl Scratch {
    /// Errors, in words, if there is nothing to copy or no room for it.
    pub(super) fn lay_out(root: &Root, network: Network) -> Result<Self, String> {
        let home = tempfile::Builder::new().prefix("palisade-apk-").tempdir();
        let home = home.map_err(|error| format!("no place for a copy of its database: {error}"))?;
        let scratch = Self { home, network };
        scratch.copy(root).map_err(|error| format!("its database cannot be copied: {error}"))?;
        Ok(scratch)
    }

    fn copy(&self, root: &Root) -> io::Result<()> {
        let at = |path: &str| self.home.path().join(path.trim_start_matches('/'));
        // Newer versions look below /usr.
        for folder in ["usr/lib/apk/db", "etc/apk", "var/cache/apk", "out"] {
            std::fs::create_dir_all(at(folder))?;
        }
        std::os::unix::fs::symlink("usr/lib", at("lib"))?;
        let bytes = database(root).ok_or(io::ErrorKind::NotFound)??;
        std::fs::write(at("lib/apk/db/installed"), bytes)?;
        for path in SETTINGS {
            if let Ok(bytes) = root.read(path, SETTING_BYTES_MAX) {
                std::fs::write(at(path), bytes)?;
            }
        }
        for directory in DIRECTORIES {
            for name in root.list(directory).unwrap_or_default() {
                if let Ok(bytes) = root.read(Path::new(directory).join(&name), SETTING_BYTES_MAX) {
                    std::fs::create_dir_all(at(directory))?;
                    std::fs::write(at(directory).join(&name), bytes)?;
                }
            }
        }
        let indexes = indexes_kept(root).map(std::fs::read_dir);
        for entry in indexes.into_iter().flatten().flatten().flatten() {
            let is_small =
                entry.metadata().is_ok_and(|found| found.is_file() && found.len() <= INDEX_BYTES_MAX);
            if is_small && is_index(&entry.file_name()) {
                std::fs::copy(entry.path(), at("var/cache/apk").join(entry.file_name()))?;
            }
        }
        Ok(())
    }

    /// Fetches indexes anew, into the copy.
    pub(super) fn refresh(&self) -> Result<(), String> {
        let output = run(&self.apk().args(["--cache-max-age", "0", "update"]))?;
        refusal(&output).or_else(|| lost(&output)).map_or(Ok(()), Err)
    }

    /// What upgrading these would do.
    pub(super) fn would<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<Steps, String> {
        let program = self.apk().args(["upgrade", "--simulate", "--preupgrade=no", "--"]).args(names);
        let output = run(&program)?;
        match refusal(&output) {
            Some(reason) => Err(format!("apk cannot work it out: {reason}")),
            None => steps(&output.stdout),
        }
    }

    /// What would take the place of installed packages, by what repositories have; and of which of them nothing can be read.
    pub(super) fn upgrades(&self) -> Result<(Vec<Offered>, Option<String>), String> {
        self.query(&["--upgradable"], ["*"])
    }

    /// Every version that repositories have of these packages.
    pub(super) fn available<'a>(
        &self,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<Vec<Offered>, String> {
        self.query(&["--available", "--all-matches"], names).map(|(offered, _)| offered)
    }

    fn query<'a>(
        &self,
        which: &[&str],
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<(Vec<Offered>, Option<String>), String> {
        let program = self.apk().args(["query", "--format", "json", "--fields", FIELDS]);
        let output = run(&program.args(which.iter().copied()).arg("--").args(names))?;
        if let Some(reason) = refusal(&output) {
            return Err(format!("apk cannot say what repositories have: {reason}"));
        }
        Ok((offered(&output.stdout)?, lost(&output)))
    }

    /// The file of this version as a repository has it, with a signature that this host trusts. It is fetched, looked at and
    /// forgotten: indexes have another digest, of a part of it. apk fetches the newest version alone.
    pub(super) fn file(&self, name: &str, version: &str) -> Result<File, String> {
        let told = |error: io::Error| format!("{name} {version}: {error}");
        let out = self.home.path().join("out");
        let fetch = self.apk().args(["fetch", "--output"]).arg(&out).arg("--").arg(name);
        let output = run(&fetch.deadline(FILE_WITHIN))?;
        let path = out.join(format!("{name}-{version}.apk"));
        let verified = if path.is_file() { Some(run(&self.apk().arg("verify").arg(&path))?) } else { None };
        let found = sha256_of(&path);
        std::fs::remove_dir_all(&out).and_then(|()| std::fs::create_dir(&out)).map_err(told)?;
        match verified {
            None => {
                let said = refusal(&output).unwrap_or_else(|| "repositories have another version".to_owned());
                Err(format!("{name} {version} cannot be fetched: {said}"))
            }
            Some(verified) if verified.code != Some(0) => {
                let said = String::from_utf8_lossy(&verified.stdout).trim().to_owned();
                let said = said.rsplit(": ").next().map_or_else(|| verified.told(), str::to_owned);
                Err(format!("{name} {version} is not signed by a key of this host's: {said}"))
            }
            Some(_) => {
                let (sha256, size_bytes) = found.map_err(told)?;
                Ok(File { sha256, size_bytes })
            }
        }
    }

    fn apk(&self) -> Program {
        let program = Program::new("apk").arg("--root").arg(self.home.path()).arg("--interactive=no");
        let program = program.args(["--cache-max-age", AS_THEY_ARE]).deadline(DEADLINE);
        match self.network {
            Network::Archives => program,
            // Told to do without a network, it takes nothing for available that it would have to fetch.
            Network::None => ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"]
                .into_iter()
                .fold(program, |program, name| program.env(name, NOBODY)),
        }
    }
}

fn run(program: &Program) -> Result<Output, String> {
    program.run().map_err(|failure| failure.to_string())
}

/// What apk says of indexes that it could not read.
fn lost(output: &Output) -> Option<String> {
    let lines = output.stderr.lines().filter_map(|line| line.strip_prefix("WARNING: "));
    let lines: Vec<&str> = lines.collect();
    (!lines.is_empty()).then(|| lines.join("; "))
}
