//! What apk says that it does or would do, and what repositories have; and by it, on a copy of its database, what an upgrade of
//! some packages would change on a host. Seen with apk-tools 3.0.

mod rehearsal;
mod scratch;

pub(crate) use rehearsal::{candidates, rehearse};

use crate::observe::root::Root;
use crate::program::{Output, Program, find};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Indexes are not to be read anew: they are ten years young enough. Minutes.
pub(crate) const AS_THEY_ARE: &str = "5256000";
/// Where apk keeps what it downloads: files of packages in the first alone, which its owner makes.
const CACHES: [&str; 2] = ["/etc/apk/cache", "/var/cache/apk"];
/// apk-tools before this cannot be asked what an upgrade brings, or take an index of ours.
const MAJOR_MIN: u32 = 3;
/// What hands stand on; systemd makes it when it has booted.
const SYSTEMD: &str = "/run/systemd/system";
/// Lines of a refusal that are told.
const LINES_MAX: usize = 6;
/// What it says of each package as its turn comes, where a version is there afterwards.
const INSTALLS: [&str; 5] = ["Installing", "Upgrading", "Downgrading", "Replacing", "Reinstalling"];

/// What apk does, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    /// Versions that are there afterwards, by name.
    pub installs: BTreeMap<String, String>,
    /// Versions that are taken away, by name.
    pub removes: BTreeMap<String, String>,
}

/// Reads what apk prints of a transaction to its end. Errors, in words, where a step cannot be read, one tells of a name again, or
/// some are missing: apk counts them.
pub fn steps(text: &[u8]) -> Result<Steps, String> {
    let text = String::from_utf8_lossy(text);
    let (mut steps, mut count, mut is_over) = (Steps::default(), None, false);
    let mut seen = 0;
    for line in text.lines() {
        is_over = line.starts_with("OK: ") || line.contains(" error") && line.contains("; ");
        let Some((number, total, said)) = numbered(line) else { continue };
        seen += 1;
        if number != seen || count.is_some_and(|count| count != total) {
            return Err(format!("apk's steps do not follow each other: {line:?}"));
        }
        count = Some(total);
        let unread = || format!("what apk prints cannot be read: {line:?}");
        if said.starts_with("Updating pinning ") {
            continue;
        }
        let (verb, name, version) = step(said).ok_or_else(unread)?;
        let into = if verb == "Purging" { &mut steps.removes } else { &mut steps.installs };
        if into.insert(name.to_owned(), version.to_owned()).is_some() {
            return Err(format!("apk prints two versions of {name}"));
        }
    }
    if !is_over || count.unwrap_or_default() != seen {
        return Err("what apk prints is cut off".to_owned());
    }
    Ok(steps)
}

/// `( 1/12) Upgrading lamp (1.0-r1 -> 1.0-r2)`: which of how many, and what.
fn numbered(line: &str) -> Option<(usize, usize, &str)> {
    let (number, rest) = line.strip_prefix('(')?.split_once('/')?;
    let (total, said) = rest.split_once(") ")?;
    Some((number.trim().parse().ok()?, total.parse().ok()?, said))
}

/// `Upgrading lamp@edge (1.0-r1 -> 1.0-r2)`: what is done, to which package, and the version that it is about.
fn step(said: &str) -> Option<(&str, &str, &str)> {
    let (head, versions) = said.strip_suffix(')')?.split_once(" (")?;
    let (verb, name) = head.split_once(' ')?;
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    let version = versions.rsplit_once(" -> ").map_or(versions, |(_, version)| version);
    let is_word = |word: &str| !word.is_empty() && !word.contains([' ', '(']);
    let is_known = verb == "Purging" || INSTALLS.contains(&verb);
    (is_known && is_word(name) && is_word(version)).then_some((verb, name, version))
}

/// The last step in what apk says: what it is at.
pub(crate) fn progress(lines: &[String]) -> Option<String> {
    lines.iter().rev().find_map(|line| {
        let (verb, name, _) = step(numbered(line)?.2)?;
        Some(format!("{} {name}", verb.to_lowercase()))
    })
}

/// Why apk would not, by its messages; `None`: it answered. Its exit code tells nothing: it counts what was broken before, too.
pub(crate) fn refusal(output: &Output) -> Option<String> {
    if output.code.is_none() {
        return Some(output.told());
    }
    let told = refused(&output.stderr);
    (!told.is_empty()).then(|| told.join("; "))
}

/// apk's errors among its messages, each with the lines below it that say why.
pub(crate) fn refused(messages: &str) -> Vec<String> {
    let mut is_error = false;
    let mut told = Vec::new();
    for line in messages.lines() {
        is_error = line.starts_with("ERROR: ") || is_error && line.starts_with(' ');
        if is_error && told.len() < LINES_MAX {
            told.push(line.trim().to_owned());
        }
    }
    told
}

/// One package that a repository has.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Offered {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture.
    #[serde(default)]
    pub arch: String,
    /// Name of what it was built from; `None`: its own.
    #[serde(default)]
    pub origin: Option<String>,
    /// Bytes of its file; 0 where it is not told.
    #[serde(default, rename = "file-size")]
    pub size_bytes: u64,
    /// Addresses of the repositories that have it; where it is installed, the database, too.
    #[serde(default)]
    pub repositories: Vec<String>,
}

impl Offered {
    /// Where it comes from, without what its owner's address says of who asks.
    pub fn archive(&self) -> String {
        let address = self.repositories.iter().find(|address| !address.ends_with("/db/installed"));
        let Some((scheme, rest)) = address.and_then(|address| address.split_once("://")) else {
            return address.cloned().unwrap_or_default();
        };
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        format!("{scheme}://{host}/{path}").trim_end_matches('/').to_owned()
    }
}

/// Reads what `apk query --format json` prints. Errors, in words, where that is not to be read.
pub fn offered(text: &[u8]) -> Result<Vec<Offered>, String> {
    serde_json::from_slice(text).map_err(|error| format!("what apk prints cannot be read: {error}"))
}

/// Whether there is an apk that can be asked. Errors, in words, where there is none.
pub(crate) fn usable() -> Result<(), String> {
    find("apk").ok_or("apk is not installed here")?;
    let output = Program::new("apk").arg("--version").run_ok().map_err(|failure| failure.to_string())?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    match major(&said) {
        Some(major) if major >= MAJOR_MIN => Ok(()),
        Some(major) => Err(format!("apk-tools {major} is too old for this version, which asks {MAJOR_MIN}")),
        None => Err(format!("apk does not say its version: {said:?}")),
    }
}

/// `apk-tools 3.0.8-r0, compiled for x86_64.`
fn major(said: &str) -> Option<u32> {
    said.strip_prefix("apk-tools ")?.split('.').next()?.parse().ok()
}

/// Whether hands can stand on this host. Errors, in words, where it was not booted with systemd.
pub(crate) fn has_systemd(root: &Root) -> Result<(), String> {
    let missing = "this host was not booted with systemd, on which whatever installs stands: its hand can be \"eyes\" or \"dry\"";
    root.identity_of(SYSTEMD).map(drop).map_err(|_| missing.to_owned())
}

/// Where apk keeps the files of packages, if its owner wants that.
pub(crate) fn files_kept(root: &Root) -> Option<PathBuf> {
    root.real_path(CACHES[0]).ok().filter(|path| path.is_dir())
}

/// Where apk keeps indexes.
pub(crate) fn indexes_kept(root: &Root) -> Option<PathBuf> {
    let real = |path| root.real_path(path).ok();
    CACHES.into_iter().filter_map(real).find(|path| path.is_dir())
}

/// Whether a file in a directory of apk's is an index.
pub(crate) fn is_index(name: &std::ffi::OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b"APKINDEX.")
}

/// Files that apk has kept of this version: `lamp-1.0-r2.7cc90828.apk`, with the first of its identity's digits.
pub(crate) fn cached(root: &Root, name: &str, version: &str) -> Vec<(String, PathBuf)> {
    let Some(directory) = files_kept(root) else { return Vec::new() };
    let digits = |file: &str| {
        let digits = file.strip_prefix(&format!("{name}-{version}."))?.strip_suffix(".apk")?;
        let is_it = digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_it.then(|| digits.to_owned())
    };
    let files = std::fs::read_dir(directory).into_iter().flatten().flatten();
    files.filter_map(|entry| Some((digits(entry.file_name().to_str()?)?, entry.path()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(versions: &BTreeMap<String, String>) -> Vec<String> {
        versions.iter().map(|(name, version)| format!("{name} {version}")).collect()
    }

    #[test]
    fn steps_are_read_as_apk_says_them_and_half_an_answer_is_none() {
        let said = "( 1/10) Installing bed-trellis (1.0-r1)\n( 2/10) Upgrading bed-vine@edge (1.0-r1 -> 1.0-r2)\n\
                    ( 3/10) Purging bed-stake (1.0-r1)\n( 4/10) Downgrading d (2 -> 1)\n( 5/10) Replacing e (1 -> 1)\n\
                    ( 6/10) Reinstalling f (1)\n( 7/10) Updating pinning g@edge (1)\n( 8/10) Upgrading h (1 -> 2)\n  \
                    Executing h-2.post-upgrade\n( 9/10) Upgrading i (1 -> 2)\n(10/10) Upgrading j (1 -> 2)\n";
        let whole = steps(format!("{said}1 error; 171 KiB in 4 packages\n").as_bytes()).unwrap();
        let installs = ["bed-trellis 1.0-r1", "bed-vine 1.0-r2", "d 1", "e 1", "f 1", "h 2", "i 2", "j 2"];
        assert_eq!(words(&whole.installs), installs);
        assert_eq!(words(&whole.removes), ["bed-stake 1.0-r1"]);
        assert_eq!(steps(b"OK: 58.8 MiB in 5 packages\n"), Ok(Steps::default()));
        assert!(steps(b"").is_err() && steps(said.as_bytes()).is_err());
        let short = said.replace("(10/10) Upgrading j (1 -> 2)\n", "OK: 1 KiB in 1 packages\n");
        assert!(steps(short.as_bytes()).unwrap_err().contains("cut off"));
        let skipped =
            "(1/1) [APK unavailable, skipped] Reinstalling bed-tank (1.0-r2)\nOK: 1 MiB in 5 packages\n";
        assert!(steps(skipped.as_bytes()).unwrap_err().contains("cannot be read"));
        assert_eq!(
            progress(&["(1/1) Upgrading bed-oil (1 -> 2)".to_owned(), "x".to_owned()]).unwrap(),
            "upgrading bed-oil"
        );
    }

    #[test]
    fn what_apk_refuses_is_told_with_its_reasons_and_a_number_of_errors_is_no_refusal() {
        let output = |stderr: &str| Output { code: Some(1), stdout: Vec::new(), stderr: stderr.to_owned() };
        let said = "WARNING: x\nERROR: unable to select packages:\n  bed-lamp-1.0-r2:\n    breaks: \
                    bed-fence-1.0-r1[bed-lamp=1.0-r1]\nother\n  more\n";
        let told =
            "ERROR: unable to select packages:; bed-lamp-1.0-r2:; breaks: bed-fence-1.0-r1[bed-lamp=1.0-r1]";
        assert_eq!(refusal(&output(said)).as_deref(), Some(told));
        assert_eq!(refusal(&output("WARNING: x\n")), None, "something else was broken before");
        assert_eq!(major("apk-tools 3.0.8-r0, compiled for x86_64.\n"), Some(3));
        assert_eq!((major("apk-tools 2.14.4, compiled"), major("apk")), (Some(2), None));
    }

    #[test]
    fn repositories_tell_what_they_have_and_not_who_asks() {
        let text = r#"[ { "name": "bed-lamp", "version": "1.0-r2", "arch": "x86_64", "file-size": 18411, "new": 1,
            "repositories": [ "lib/apk/db/installed", "http://ada:secret@hub:81/apk/" ] }, { "name": "b", "version": "1" } ]"#;
        let found = offered(text.as_bytes()).unwrap();
        assert_eq!((found[0].archive().as_str(), found[0].size_bytes), ("http://hub:81/apk", 18_411));
        assert_eq!((found[1].archive().as_str(), &found[1].origin), ("", &None));
        assert!(offered(&text.as_bytes()[..text.len() - 1]).is_err());
    }

    #[test]
    fn files_that_apk_kept_are_those_of_the_version_alone() {
        let directory = tempfile::tempdir().unwrap();
        let cache = directory.path().join("etc/apk/cache");
        std::fs::create_dir_all(&cache).unwrap();
        for name in [
            "lamp-1.0-r1.7cc90828.apk",
            "lamp-1.0-r10.7cc90828.apk",
            "lamp-1.0-r1.7cc9.apk",
            "APKINDEX.1.tar.gz",
        ] {
            std::fs::write(cache.join(name), "").unwrap();
        }
        let found = cached(&Root::open(directory.path()).unwrap(), "lamp", "1.0-r1");
        assert_eq!(found.iter().map(|(digits, _)| digits.as_str()).collect::<Vec<_>>(), ["7cc90828"]);
    }
}
