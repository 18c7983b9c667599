//! Hosts that rpm and dnf keep: what is read of them, and what a change would do to them. By the real tools.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod observe;
mod rehearsal;

use std::process::Command;

/// Runs a tool; `false`, visibly, if this machine doesn't have it.
fn run(program: &str, arguments: &[&str]) -> bool {
    match Command::new(program).args(arguments).env("LC_ALL", "C").output() {
        Ok(output) => {
            assert!(
                output.status.success(),
                "{program} {arguments:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            true
        }
        Err(error) => {
            eprintln!("skipped: {program}: {error}");
            false
        }
    }
}

fn spec(name: &str, epoch: u32, version: &str, more: &str) -> String {
    format!(
        "Name: {name}\nEpoch: {epoch}\nVersion: {version}\nRelease: 1.el9\nSummary: a test\nLicense: MIT\n\
         BuildArch: noarch\nAutoReqProv: no\n{more}\n%description\nA test.\n%files\n"
    )
}
