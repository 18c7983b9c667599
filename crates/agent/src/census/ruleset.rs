//! The rules that a census counts with: ours, and those of the user.

use super::rule_files;
use advisory::Problem;
use advisory::digest::sha256;
use std::path::PathBuf;
use traffic::rules::{Rules, builtin, read};

/// Rules, and what tells them from others.
#[derive(Debug)]
pub struct Ruleset {
    /// Made ready.
    pub rules: Rules,
    /// Of every file's name and text.
    pub digest: String,
}

impl Ruleset {
    /// Ours, and those in files and directories. What cannot be read is told, and the others are used.
    pub fn read(named: &[PathBuf]) -> (Self, Vec<Problem>) {
        let mut files: Vec<(String, String)> =
            builtin().iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        let (theirs, mut problems) = rule_files::read(named);
        for (name, bytes) in theirs {
            match String::from_utf8(bytes) {
                Ok(text) => files.push((name, text)),
                Err(error) => problems.push(Problem::new("read rules", name, error)),
            }
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
