//! Terms of plans in a file, in the same words as the options; what is said on the command line counts before them.

use crate::cli::rollout::Make;
use crate::terms;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::path::Path;

/// Bytes of the file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What a policy file may say.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Policy {
    fix: Vec<String>,
    everything: bool,
    select: Option<String>,
    canaries: Vec<String>,
    sample: Option<u32>,
    waves: Vec<String>,
    emergency: bool,
    at_once: Option<u32>,
    soak: Option<String>,
    failures: Option<u32>,
    services: Vec<String>,
    windows: Vec<String>,
    blackouts: Vec<String>,
    probes: Vec<String>,
    replays: Vec<String>,
    replay_signatures: Vec<String>,
    reboot: Option<String>,
    rollback: Option<bool>,
    expires: Option<String>,
    title: Option<String>,
}

/// Fills in what the command line does not say.
pub(super) fn filled(make: Make, path: &Path) -> Result<Make> {
    let doing = || format!("read the policy {}", path.display());
    let length = std::fs::metadata(path).with_context(doing)?.len();
    if length > FILE_BYTES_MAX {
        bail!("{}: it has {length} bytes, at most {FILE_BYTES_MAX}", doing());
    }
    let text = std::fs::read_to_string(path).with_context(doing)?;
    let policy: Policy =
        advisory::settings::parse(&text).map_err(|told| anyhow::anyhow!("{}: {told}", doing()))?;
    merged(make, policy).map_err(|told| anyhow::anyhow!("{}: {told}", doing()))
}

fn merged(make: Make, policy: Policy) -> Result<Make, String> {
    let haste = make.emergency;
    let Make {
        fix,
        everything,
        canary,
        waves,
        service,
        window,
        blackout,
        probe,
        replay,
        replay_signature,
        ..
    } = &make;
    Ok(Make {
        fix: or(fix, &policy.fix, "fix", |text| Ok(text.to_owned()))?,
        everything: *everything || policy.everything,
        canary: or(canary, &policy.canaries, "canaries", |text| Ok(text.to_owned()))?,
        waves: or(waves, &policy.waves, "waves", terms::wave)?,
        service: or(service, &policy.services, "services", terms::service)?,
        window: or(window, usual(&policy.windows, haste), "windows", terms::window)?,
        blackout: or(blackout, usual(&policy.blackouts, haste), "blackouts", terms::blackout)?,
        probe: or(probe, &policy.probes, "probes", terms::probe)?,
        replay: or(replay, &policy.replays, "replays", terms::replay)?,
        replay_signature: or(replay_signature, &policy.replay_signatures, "replay_signatures", |text| {
            Ok(text.to_owned())
        })?,
        select: make.select.or(policy.select),
        sample: make.sample.or(policy.sample),
        emergency: make.emergency || policy.emergency,
        at_once: make.at_once.or(policy.at_once),
        soak: either(make.soak, policy.soak.as_deref(), "soak", terms::duration)?,
        failures: make.failures.or(policy.failures),
        reboot: either(make.reboot, policy.reboot.as_deref(), "reboot", terms::reboot)?,
        no_rollback: make.no_rollback || policy.rollback == Some(false),
        expires: either(make.expires, policy.expires.as_deref(), "expires", terms::duration)?,
        title: make.title.or(policy.title),
        ..make
    })
}

/// Windows and blackouts of the file: in haste nobody waits for the usual hours. Those that are said all the same are meant.
fn usual(kept: &[String], haste: bool) -> &[String] {
    if haste { &[] } else { kept }
}

/// A list that was said, or the file's.
fn or<T: Clone>(
    said: &[T],
    kept: &[String],
    key: &str,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    if !said.is_empty() {
        return Ok(said.to_vec());
    }
    kept.iter().map(|text| read(text).map_err(|told| format!("{key}: {told}"))).collect()
}

/// A value that was said, or the file's.
fn either<T>(
    said: Option<T>,
    kept: Option<&str>,
    key: &str,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<T>, String> {
    match said {
        Some(said) => Ok(Some(said)),
        None => kept.map(|text| read(text).map_err(|told| format!("{key}: {told}"))).transpose(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rollout::waves::Size;

    fn read(text: &str, make: Make) -> Result<Make, String> {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("policy.toml");
        std::fs::write(&path, text).expect("it can be written");
        filled(make, &path).map_err(|problem| problem.to_string())
    }

    #[test]
    fn the_command_line_counts_before_the_policy() {
        let text = "select = \"all\"\nwaves = [\"10%\", \"5\"]\nsoak = \"1h\"\nwindows = [\"Sat 02:00+4h UTC\"]\n\
                    services = [\"role=1\"]\nprobes = [\"tcp:443\"]\nrollback = false\nreboot = \"never\"\n";
        let filled = read(text, Make::default()).expect("it is good");
        assert_eq!(filled.waves, [Size::Percent(10), Size::Count(5)]);
        assert_eq!(
            (filled.soak, filled.select.as_deref(), filled.no_rollback),
            (Some(3_600), Some("all"), true)
        );
        assert_eq!((filled.window.len(), filled.service.len(), filled.probe.len()), (1, 1, 1));
        let said = Make { waves: vec![Size::Percent(50)], soak: Some(60), ..Make::default() };
        let filled = read(text, said).expect("it is good");
        assert_eq!((filled.waves, filled.soak), (vec![Size::Percent(50)], Some(60)));
        // In haste the usual windows are left out, and those that are said are kept.
        let window = terms::window("daily 03:00+1h UTC").expect("it is good");
        for windows in [vec![], vec![window]] {
            let said = Make { emergency: true, window: windows.clone(), ..Make::default() };
            assert_eq!(read(text, said).expect("it is good").window, windows);
        }
    }

    #[test]
    fn a_wrong_policy_is_told_with_its_line_and_the_nearest_key() {
        for (text, told) in [
            ("select = \"all\"\nwindow = [\"x\"]", "line 2: unknown field `window`"),
            ("window = [\"x\"]", "did you mean \"windows\"?"),
            ("soak = \"1 hour\"", "soak: \"1 hour\" is no duration; write 90s"),
            ("windows = [\"Sat\"]", "windows: \"Sat\" is no window"),
            ("waves = \"10%\"", "line 1"),
        ] {
            let problem = read(text, Make::default()).expect_err(text);
            assert!(problem.contains(told), "{text}: {problem}");
        }
    }
}
