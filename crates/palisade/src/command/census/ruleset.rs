//! The rules that a census counts with: ours, and those of the user.

use advisory::Problem;
use advisory::digest::sha256;
use std::fs;
use std::path::{Path, PathBuf};
use traffic::rules::{Rules, builtin, read};

/// Rules, and what tells them from others.
#[derive(Debug)]
pub(super) struct Ruleset {
    pub(super) rules: Rules,
    /// Of every file's name and text.
    pub(super) digest: String,
}

impl Ruleset {
    /// Ours, and those in files and directories. What cannot be read is told, and the others are used.
    pub(super) fn read(named: &[PathBuf]) -> (Self, Vec<Problem>) {
        let mut problems = Vec::new();
        let mut files: Vec<(String, String)> =
            builtin().iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        for path in named {
            gather(path, &mut files, &mut problems);
        }
        let mut rules = Vec::new();
        let mut texts = Vec::new();
        for (name, text) in &files {
            let (read, told) = read(name, text);
            rules.extend(read);
            problems.extend(told);
            // Directories have other names on other hosts; what is in the files counts.
            texts.push(sha256(text.as_bytes()));
        }
        let (rules, told) = Rules::compile(rules);
        problems.extend(told);
        texts.sort();
        (Self { rules, digest: sha256(texts.concat().as_bytes()) }, problems)
    }
}

fn gather(path: &Path, files: &mut Vec<(String, String)>, problems: &mut Vec<Problem>) {
    let refused = |error: std::io::Error| {
        Problem::new("read rules", path.display().to_string(), error)
            .remedy("name a file or a directory of rules")
    };
    if path.is_dir() {
        match fs::read_dir(path) {
            Ok(entries) => {
                let mut members: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
                members.sort();
                let is_rules = |path: &PathBuf| {
                    path.is_dir()
                        || path.extension().is_some_and(|ending| {
                            ["yaml", "yml", "conf"].iter().any(|known| ending == *known)
                        })
                };
                members.iter().filter(|path| is_rules(path)).for_each(|path| gather(path, files, problems));
            }
            Err(error) => problems.push(refused(error)),
        }
        return;
    }
    match fs::read_to_string(path) {
        Ok(text) => files.push((path.display().to_string(), text)),
        Err(error) => problems.push(refused(error)),
    }
}
