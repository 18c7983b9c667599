//! pacman's settings, with the files that they include in their places, as pacman reads them.

use super::{CONFIG, CONFIG_BYTES_MAX};
use crate::observe::root::Root;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// Files within files; pacman goes as deep, and no deeper.
const DEPTH_MAX: usize = 10;
/// Files that are read; Arch's settings are two, one of them once for each repository.
const FILES_MAX: usize = 256;
/// Bytes of all of them.
const BYTES_MAX: usize = 8 << 20;

/// What is to be known of them.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    /// All lines, in their order; none of them includes another file.
    pub(crate) text: Vec<u8>,
    /// What of them could not be read, and why.
    pub(crate) unread: Vec<String>,
    files: usize,
}

/// Reads them in `root`, out of which no file that they include leads.
pub(crate) fn read(root: &Root) -> Settings {
    let mut settings = Settings::default();
    settings.take(root, Path::new(CONFIG), 1);
    settings
}

impl Settings {
    fn take(&mut self, root: &Root, path: &Path, depth: usize) {
        self.files += 1;
        if depth > DEPTH_MAX || self.files > FILES_MAX {
            let over =
                if depth > DEPTH_MAX { format!("{DEPTH_MAX} deep") } else { format!("{FILES_MAX} files") };
            // Once: whoever includes itself does so again and again.
            let reason = format!("more than {over} are included");
            if !self.unread.contains(&reason) {
                self.unread.push(reason);
            }
            return;
        }
        let bytes = match root.read(path, CONFIG_BYTES_MAX) {
            Ok(bytes) if self.text.len() + bytes.len() <= BYTES_MAX => bytes,
            Ok(_) => {
                return self.unread.push(format!("{}: more than {BYTES_MAX} bytes in all", path.display()));
            }
            Err(problem) => return self.unread.push(format!("{}: {problem}", path.display())),
        };
        for line in bytes.split(|byte| *byte == b'\n') {
            match included(line) {
                None => {
                    self.text.extend_from_slice(line);
                    self.text.push(b'\n');
                }
                Some(pattern) if !pattern.starts_with('/') => {
                    self.unread.push(format!("{pattern}: it is not said where that is"));
                }
                Some(pattern) => {
                    for path in matching(root, &pattern) {
                        self.take(root, &path, depth + 1);
                    }
                }
            }
        }
    }
}

/// `Include = /etc/pacman.d/mirrorlist`
fn included(line: &[u8]) -> Option<String> {
    let line = String::from_utf8_lossy(line);
    let (name, value) = line.trim().split_once('=')?;
    (name.trim() == "Include").then(|| value.trim().to_owned())
}

/// Paths that a pattern stands for, sorted; where it stands for none, itself, as glob(3) gives it with `GLOB_NOCHECK`.
fn matching(root: &Root, pattern: &str) -> Vec<PathBuf> {
    let options = glob::MatchOptions { require_literal_leading_dot: true, ..glob::MatchOptions::new() };
    let mut found = vec![PathBuf::from("/")];
    for part in Path::new(pattern).components() {
        let Component::Normal(part) = part else { continue };
        let part = part.to_string_lossy();
        if !part.contains(['*', '?', '[']) {
            for path in &mut found {
                path.push(&*part);
            }
            continue;
        }
        let Ok(pattern) = glob::Pattern::new(&part) else { return Vec::from([pattern.into()]) };
        let below = |path: &PathBuf| {
            let mut names = root.list(path).unwrap_or_default();
            names.retain(|name| pattern.matches_with(&String::from_utf8_lossy(name.as_bytes()), options));
            names.sort();
            names.into_iter().map(|name| path.join(name)).collect::<Vec<_>>()
        };
        // One more than are read, so that it is told.
        found = found.iter().flat_map(below).take(FILES_MAX + 1).collect();
    }
    if found.is_empty() { vec![pattern.into()] } else { found }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn read_in(files: &[(&str, &str)]) -> (String, Vec<String>) {
        let directory = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let read = read(&Root::open(directory.path()).unwrap());
        (String::from_utf8(read.text).unwrap(), read.unread)
    }

    #[test]
    fn what_is_included_stands_where_it_is_included_and_what_cannot_be_read_is_told() {
        let (text, unread) = read_in(&[
            (
                "etc/pacman.conf",
                "[options]\nInclude=/etc/pacman.d/opt*/*.conf\n[core]\n Include = /etc/pacman.d/mirrors\n#Include = /x",
            ),
            ("etc/pacman.d/opt.d/b.conf", "IgnorePkg = b"),
            ("etc/pacman.d/opt.d/a.conf", "IgnorePkg = a\n[early]\nInclude = /etc/pacman.d/mirrors"),
            ("etc/pacman.d/opt.d/.hidden.conf", "IgnorePkg = c"),
            ("etc/pacman.d/mirrors", "Server = x"),
        ]);
        let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
        assert_eq!(
            lines,
            [
                "[options]",
                "IgnorePkg = a",
                "[early]",
                "Server = x",
                "IgnorePkg = b",
                "[core]",
                "Server = x",
                "#Include = /x"
            ]
        );
        assert_eq!(unread, Vec::<String>::new());
        let (_, unread) = read_in(&[("etc/pacman.conf", "Include = /gone/*.conf\nInclude = near\n")]);
        assert!(unread[0].starts_with("/gone/*.conf: ") && unread[1].starts_with("near: "), "{unread:?}");
        assert!(read_in(&[]).1[0].starts_with("/etc/pacman.conf: "));
    }

    #[test]
    fn whoever_includes_itself_or_too_much_is_told_once_and_ends() {
        let (text, unread) =
            read_in(&[("etc/pacman.conf", "a\nInclude = /etc/pacman.conf\nInclude = /etc/pacman.conf\n")]);
        assert_eq!(unread.len(), 2, "{unread:?}");
        assert!(text.len() < 4 * FILES_MAX);
        let large = "#".repeat(1 << 20);
        let (text, unread) =
            read_in(&[("etc/pacman.conf", &"Include = /large\n".repeat(9)), ("large", &large)]);
        assert!(
            text.len() <= BYTES_MAX && unread.iter().all(|told| told.starts_with("/large: more than")),
            "{unread:?}"
        );
        assert!(!unread.is_empty());
    }
}
