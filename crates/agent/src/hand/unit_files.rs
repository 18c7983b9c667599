//! Units before and after a transaction: what a package's scripts have brought, enabled or taken away is told; and files are read
//! anew, where any changed.
//!
//! Looked up in the directories of systemd.unit(5) by ourselves: to list them systemd takes a third of a second of its own
//! first process (seen with 252 and 300 units), twice for each transaction.

use crate::program::Program;
use rollout::plan::Digest;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Units that are told by name; of more, how many.
const TOLD_MAX: usize = 8;
/// Where unit files lie, the strongest first; what systemd makes for itself (`generator*`, `transient`) is no package's.
const DIRECTORIES: [&str; 5] = [
    "etc/systemd/system",
    "run/systemd/system",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
];
/// Scripts of which systemd makes units, by what their first lines say.
const SCRIPTS: &str = "etc/init.d";
/// Directories of a person's or a package's that begin units, by their last word.
const BEGINNING: [&str; 3] = ["wants", "requires", "upholds"];
/// Bytes of a unit file that count; one has a thousand.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Files of one directory that are looked at.
const FILES_MAX: usize = 10_000;

/// Unit files of a host, as they lie there.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct UnitFiles {
    /// What each unit is: `enabled`, `disabled`, `static` (nothing in it says how to enable it), `alias`, `masked`.
    states: BTreeMap<String, &'static str>,
    /// What is in each file, and where each link leads.
    contents: BTreeMap<PathBuf, Digest>,
}

/// As they are now.
pub(super) fn now() -> UnitFiles {
    UnitFiles::of(Path::new("/"))
}

impl UnitFiles {
    /// Of the host in `root`. What cannot be read is not there.
    fn of(root: &Path) -> Self {
        let mut files = Self::default();
        let mut begun = Vec::new();
        let mut seen = Vec::new();
        for directory in DIRECTORIES {
            let directory = root.join(directory);
            // One of them is a link to another, as a rule.
            let Ok(real) = directory.canonicalize() else { continue };
            if seen.contains(&real) {
                continue;
            }
            for (name, path) in entries(&directory) {
                let Ok(found) = path.symlink_metadata() else { continue };
                if found.is_dir() {
                    for (inner, path) in entries(&path) {
                        files.take(path);
                        if name.rsplit('.').next().is_some_and(|word| BEGINNING.contains(&word)) {
                            begun.push(inner);
                        }
                    }
                    continue;
                }
                let state = files.take(path);
                files.states.entry(name).or_insert(state);
            }
            seen.push(real);
        }
        for (_, path) in entries(&root.join(SCRIPTS)) {
            files.take(path);
        }
        for name in begun {
            // `getty@tty1.service` is begun by the file of `getty@.service`.
            let template = name.split_once('@').zip(name.rsplit_once('.'));
            let template = template.map(|((name, _), (_, kind))| format!("{name}@.{kind}"));
            for name in template.into_iter().chain([name]) {
                if let Some(state @ &mut "disabled") = files.states.get_mut(&name) {
                    *state = "enabled";
                }
            }
        }
        files
    }

    /// Takes in what a file has in it, or where a link leads; gives what a unit is by its own file. A file that cannot be read, or is
    /// too large for a unit, is none.
    fn take(&mut self, path: PathBuf) -> &'static str {
        if let Ok(to) = fs::read_link(&path) {
            let is_masked = fs::canonicalize(&path).is_ok_and(|to| to == Path::new("/dev/null"));
            self.contents.insert(path, Digest::of(to.as_os_str().as_encoded_bytes()));
            return if is_masked { "masked" } else { "alias" };
        }
        let Some(bytes) = read(&path) else { return "static" };
        self.contents.insert(path, Digest::of(&bytes));
        let says_how = String::from_utf8_lossy(&bytes).lines().any(|line| line.trim() == "[Install]");
        if says_how { "disabled" } else { "static" }
    }

    /// Whether systemd has another file in its memory than lies there, if it had these.
    pub(super) fn differ(&self, after: &Self) -> bool {
        self.contents != after.contents
    }

    /// Tells what has come, gone, or is enabled otherwise.
    pub(super) fn tell(&self, after: &Self, told: &mut Vec<String>) {
        let (before, after) = (&self.states, &after.states);
        if before.is_empty() || after.is_empty() {
            return;
        }
        let mut lines: Vec<String> = Vec::new();
        for (unit, state) in after {
            match before.get(unit) {
                None => lines.push(format!("{unit} is new, {state}")),
                Some(was) if was != state => lines.push(format!("{unit} is {state}, and was {was}")),
                Some(_) => {}
            }
        }
        lines.extend(
            before.keys().filter(|unit| !after.contains_key(*unit)).map(|unit| format!("{unit} is gone")),
        );
        let more = lines.len().saturating_sub(TOLD_MAX);
        lines.truncate(TOLD_MAX);
        if more > 0 {
            lines.push(format!("{more} more"));
        }
        if !lines.is_empty() {
            told.push(format!("units: {}", lines.join("; ")));
        }
    }
}

fn entries(directory: &Path) -> Vec<(String, PathBuf)> {
    let all = fs::read_dir(directory).into_iter().flatten().flatten().take(FILES_MAX);
    all.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path())).collect()
}

/// `None`: no file, or one that is too large for a unit.
fn read(path: &Path) -> Option<Vec<u8>> {
    let found = fs::metadata(path).ok()?;
    (found.is_file() && found.len() <= FILE_BYTES_MAX).then(|| fs::read(path).ok())?
}

/// Has systemd read unit files anew. It says itself where that is needed, by the age of the files, and overlooks every one that
/// is older than what it took the place of: those of a way back.
pub(super) fn read_anew(told: &mut Vec<String>) {
    if let Err(problem) = Program::new("systemctl").arg("daemon-reload").run_ok() {
        told.push(format!("systemd could not read unit files anew: {problem}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    struct Scene(tempfile::TempDir);

    impl Scene {
        fn new() -> Self {
            let scene = Self(tempfile::tempdir().unwrap());
            fs::create_dir_all(scene.path("etc/systemd/system/multi-user.target.wants")).unwrap();
            fs::create_dir_all(scene.path("usr/lib/systemd/system")).unwrap();
            symlink("usr/lib", scene.path("lib")).unwrap();
            scene
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn unit(&self, name: &str, text: &str) {
            fs::write(self.path("usr/lib/systemd/system").join(name), text).unwrap();
        }

        fn enable(&self, name: &str) {
            let link = self.path("etc/systemd/system/multi-user.target.wants").join(name);
            symlink(format!("/lib/systemd/system/{name}"), link).unwrap();
        }

        fn now(&self) -> UnitFiles {
            UnitFiles::of(self.0.path())
        }
    }

    const INSTALLS: &str = "[Service]\nExecStart=/bin/a\n[Install]\nWantedBy=multi-user.target\n";

    #[test]
    fn units_that_a_package_brings_enables_masks_or_takes_away_are_told() {
        let scene = Scene::new();
        for name in ["a.service", "b.service", "e@.service", "m.service"] {
            scene.unit(name, INSTALLS);
        }
        scene.unit("c.timer", "[Timer]\n");
        scene.enable("a.service");
        let before = scene.now();
        let states: Vec<_> = before.states.iter().map(|(name, state)| (name.as_str(), *state)).collect();
        assert_eq!(
            states,
            [
                ("a.service", "enabled"),
                ("b.service", "disabled"),
                ("c.timer", "static"),
                ("e@.service", "disabled"),
                ("m.service", "disabled")
            ]
        );
        let mut told = Vec::new();
        before.tell(&scene.now(), &mut told);
        assert_eq!(told, Vec::<String>::new());
        scene.enable("b.service");
        scene.enable("e@x.service");
        scene.unit("d.socket", INSTALLS);
        symlink("/dev/null", scene.path("etc/systemd/system/m.service")).unwrap();
        fs::remove_file(scene.path("usr/lib/systemd/system/c.timer")).unwrap();
        before.tell(&scene.now(), &mut told);
        assert_eq!(
            told,
            [
                "units: b.service is enabled, and was disabled; d.socket is new, disabled; e@.service is enabled, and was \
              disabled; m.service is masked, and was disabled; c.timer is gone"
            ]
        );
        told.clear();
        before.tell(&UnitFiles::default(), &mut told);
        assert_eq!(told, Vec::<String>::new(), "what cannot be seen is not gone");
    }

    #[test]
    fn a_file_that_was_only_written_anew_is_the_same_and_another_text_or_addition_is_not() {
        let scene = Scene::new();
        scene.unit("a.service", INSTALLS);
        let before = scene.now();
        fs::remove_file(scene.path("usr/lib/systemd/system/a.service")).unwrap();
        scene.unit("a.service", INSTALLS);
        assert!(!before.differ(&scene.now()));
        fs::create_dir(scene.path("etc/systemd/system/a.service.d")).unwrap();
        fs::write(scene.path("etc/systemd/system/a.service.d/limits.conf"), "[Service]\n").unwrap();
        assert!(before.differ(&scene.now()));
        let with_addition = scene.now();
        scene.unit("a.service", "[Service]\nExecStart=/bin/b\n");
        assert!(with_addition.differ(&scene.now()));
    }
}
