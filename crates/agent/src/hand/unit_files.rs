//! Units before and after a transaction: what a package's scripts have brought, enabled or taken away is told; and files are read
//! anew.

use crate::program::Program;
use std::collections::BTreeMap;

/// Units that are told by name; of more, how many.
const TOLD_MAX: usize = 8;

/// Each unit file and whether it is enabled, as `systemctl list-unit-files` tells.
pub(super) type UnitFiles = BTreeMap<String, String>;

/// As they are now; empty where systemd cannot be asked.
pub(super) fn now() -> UnitFiles {
    let listed = Program::new("systemctl").args(["list-unit-files", "--no-legend", "--no-pager"]).run_ok();
    listed.map(|output| parse(&String::from_utf8_lossy(&output.stdout))).unwrap_or_default()
}

fn parse(text: &str) -> UnitFiles {
    let pair = |line: &str| {
        let mut words = line.split_whitespace();
        Some((words.next()?.to_owned(), words.next()?.to_owned()))
    };
    text.lines().filter_map(pair).collect()
}

/// What has come, gone, or is enabled otherwise.
pub(super) fn tell(before: &UnitFiles, after: &UnitFiles, told: &mut Vec<String>) {
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

    #[test]
    fn units_that_a_package_brings_enables_or_takes_away_are_told() {
        let before = parse("a.service enabled enabled\nb.service disabled enabled\nc.timer static -\n");
        let after = parse("a.service enabled enabled\nb.service enabled enabled\nd.socket enabled enabled\n");
        let mut told = Vec::new();
        tell(&before, &after, &mut told);
        assert_eq!(
            told,
            ["units: b.service is enabled, and was disabled; d.socket is new, enabled; c.timer is gone"]
        );
        told.clear();
        tell(&before, &before, &mut told);
        tell(&before, &UnitFiles::new(), &mut told);
        assert_eq!(told, Vec::<String>::new(), "what cannot be seen is not gone");
    }
}
