//! What goes into a census beside logs, and what comes out of it beside its table.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../census_for_tests/mod.rs"]
mod census_for_tests;
mod inputs;
mod mmdb;
mod sources;
mod spark;
mod tables;

use census_for_tests::palisade;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// An attempt of `host` on a day of July 2001.
fn attempt(host: &str, day: u32) -> String {
    format!(
        "{host} - - [{day:02}/Jul/2001:12:00:00 +0000] \"GET /scripts/root.exe?/c+dir HTTP/1.0\" 404 297\n"
    )
}

/// A visit that is no attempt.
fn visit(host: &str, day: u32) -> String {
    format!("{host} - - [{day:02}/Jul/2001:12:00:01 +0000] \"GET /index.html HTTP/1.0\" 200 297\n")
}

fn census(directory: &Path, words: &[&str], stdin: &str) -> Output {
    let mut command = palisade(directory, words);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Who does not read its input closes it.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap()
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", told(output)))
}

/// Everything that a program said.
fn told(output: &Output) -> String {
    [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat()
}

/// A Python that has the tools that people read tables with; `./test` makes one.
fn data_tools() -> Option<PathBuf> {
    let python = std::env::var_os("PALISADE_DATA_TOOLS").map(PathBuf::from);
    if python.is_none() {
        eprintln!("SKIPPED: PALISADE_DATA_TOOLS does not name a Python with pyarrow, xarf and pyspark");
    }
    python
}

/// What a script in Python says; it has to end well.
fn python(program: &Path, script: &str, words: &[&str]) -> String {
    let output = Command::new(program).arg("-c").arg(script).args(words).output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
    String::from_utf8(output.stdout).unwrap()
}
