//! Watching where nobody looks at a screen: a line for each change, or with --json an object.

use super::End;
use super::follow::News;
use super::scene::Scene;
use crate::answers::Rollout;
use crate::command::session::print;
use crate::output::rollout::{clock, failures, opening};
use agent::program::is_stopped;
use anyhow::Result;
use jiff::Timestamp;
use serde_json::json;
use std::fmt::Write as _;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

/// How often it is looked whether somebody wants us to stop.
const LOOK_EVERY: Duration = Duration::from_millis(200);

pub(super) fn run(mut scene: Scene, news: &Receiver<News>, json: bool) -> Result<(End, Rollout)> {
    if json {
        object(&scene, &[], Timestamp::now())?;
    } else {
        print(&begun(&scene.rollout, Timestamp::now()))?;
    }
    loop {
        if scene.is_told(Timestamp::now()) {
            return Ok((End::Over, scene.rollout));
        }
        if is_stopped() {
            return Ok((End::Interrupted, scene.rollout));
        }
        let now = Timestamp::now();
        let changed = match news.recv_timeout(LOOK_EVERY) {
            Ok(News::Seen(rollout, jobs)) => scene.seen(*rollout, jobs, now),
            Ok(News::Silent(why)) => scene.silent(&why, now),
            Ok(News::Refused(problem)) => return Err(problem),
            Ok(News::Ordered(_)) | Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => {
                anyhow::bail!("watch: nobody follows the rollout any more")
            }
        };
        if json && !changed.is_empty() {
            object(&scene, &changed, now)?;
        } else if !json {
            for text in &changed {
                print(&format!("{} {text}\n", clock(now)))?;
            }
        }
    }
}

/// What is printed first: where it stands, and why hosts failed before it was watched.
fn begun(rollout: &Rollout, now: Timestamp) -> String {
    let mut text = format!("{}\n", opening(rollout, now));
    for line in failures(rollout) {
        let _ = writeln!(text, "{} why it failed: {line}", clock(now));
    }
    text
}

/// Where it stands and what changed, in a line of JSON.
fn object(scene: &Scene, changed: &[String], now: Timestamp) -> Result<()> {
    let rollout = &scene.rollout;
    let line = json!({
        "at": now, "state": rollout.state, "state_text": rollout.state_text, "proven": rollout.proven,
        "hosts": rollout.hosts, "waits": rollout.waits, "failures": rollout.failures,
        "failures_unheard": rollout.failures_unheard, "changed": changed,
    });
    print(&format!("{line}\n")).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answers::{Failure, Job};
    use crate::golden;
    use serde_json::json;

    fn job(name: &str, state: &str) -> Job {
        let host = json!({ "id": "0199c4f8-0000-7000-8000-000000000005", "name": name });
        serde_json::from_value(json!({ "host": host, "state": state, "text": format!("{state}, and why") }))
            .unwrap()
    }

    #[test]
    fn a_line_is_printed_for_each_change_and_for_nothing_else() {
        let now = golden::at("2027-03-06T03:25:00Z");
        let mut scene = Scene::new(golden::rollout(), Vec::new());
        let mut out = begun(&scene.rollout, now);
        let mut tell = |changed: Vec<String>| {
            for text in changed {
                let _ = writeln!(out, "{} {text}", clock(now));
            }
            out.push_str("--\n");
        };
        tell(scene.seen(golden::rollout(), Vec::new(), now));
        // A number that counts up is no change; that the gate opens is one.
        let mut later = golden::rollout();
        later.waves[1].gate[3].have = Some(3_760);
        later.waves[1].gate[3].text = "seconds soaked 3760, at least 3600".to_owned();
        later.waits[0] = later.waits[0].replace("firing 1", "firing 2");
        tell(scene.seen(later.clone(), Vec::new(), now));
        later.waves[1].gate[5].says = "open".to_owned();
        later.waves[1].gate[5].text = "alerts firing 0, at most 0".to_owned();
        tell(scene.seen(later.clone(), vec![job("web-05", "verifying")], now));
        tell(scene.silent("nobody answers; is the server running?", now));
        tell(scene.silent("nobody answers; is the server running?", now));
        later.waves[1].proven = 4;
        later.waves[1].lost = 0;
        later.state_text = "wave 2, open".to_owned();
        later.waits = vec!["6 hosts have not asked yet".to_owned()];
        tell(scene.seen(later.clone(), Vec::new(), now));
        // Why a host failed it says after the rollout has halted.
        later.waves[2].failed = 1;
        (later.state, later.state_text) = ("halted".to_owned(), "halted in wave 2: 1 host failed".to_owned());
        later.failures_unheard = 1;
        tell(scene.seen(later.clone(), Vec::new(), now));
        assert!(!scene.is_told(now), "it is waited for");
        assert!(scene.is_told(golden::at("2027-03-06T03:26:30Z")), "and not for ever");
        let why = vec!["http:80/ of nginx.service: 7 of 8 failed under replayed attempts\u{7}".to_owned()];
        later.failures = vec![Failure { host: "0199".to_owned(), name: "web-09".to_owned(), why }];
        later.failures_unheard = 0;
        tell(scene.seen(later.clone(), Vec::new(), now));
        assert!(scene.is_told(now));
        out.push_str(&begun(&later, now));
        golden::same("watch-lines", &out);
        later.failures_unheard = 1;
        assert!(Scene::new(later, Vec::new()).is_told(now), "what was over before is not waited for");
    }
}
