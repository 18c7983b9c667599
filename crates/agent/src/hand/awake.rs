//! Nobody shuts the host down in the middle of a deed: a lock of the login manager's is held while it lasts. And before a
//! reboot of ours, others' locks are named and waited for.

use super::order::Order;
use crate::program::{Held, Program, is_stopped};
use advisory::Problem;
use serde_json::Value;
use std::time::{Duration, Instant};

/// How long a reboot waits for others each time it is asked for: a quarter of an hour, a backup's last part.
const OTHERS_WITHIN: Duration = Duration::from_secs(900);
/// Between two looks.
const AGAIN: Duration = Duration::from_secs(2);

/// Holds the host up until it is dropped. `None`, and told: there is no login manager, or it would not.
pub(super) fn hold(order: &Order, told: &mut Vec<String>) -> Option<Held> {
    let why = format!("Palisade: {} plan {}", order.deed, order.plan);
    let inhibit = Program::new("systemd-inhibit")
        .args(["--what=shutdown:sleep", "--mode=block", "--who=Palisade"])
        .arg(format!("--why={why}"))
        // Ends when we do, whatever ends us: nothing comes any more.
        .arg("cat");
    match inhibit.hold() {
        Ok(held) => Some(held),
        Err(problem) => {
            told.push(format!("a shutdown meanwhile would not have waited: {problem}"));
            None
        }
    }
}

/// Waits until nobody blocks a shutdown any more; tells at once whom it waits for. Errors name who still does.
pub(super) fn wait_for_others(
    order: &Order,
    mut tell: impl FnMut(String) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let end = Instant::now() + OTHERS_WITHIN;
    let mut waited = false;
    loop {
        let blocking = blocking();
        let Some(first) = blocking.first() else { return Ok(()) };
        if !waited {
            tell(format!("waits to reboot for {}", blocking.join(", ")))?;
            waited = true;
        }
        if is_stopped() {
            return Ok(());
        }
        if Instant::now() >= end {
            let seconds = OTHERS_WITHIN.as_secs();
            let reason = format!("a shutdown is blocked for {seconds} s by {first}");
            return Err(order.refused(reason).remedy("see systemd-inhibit --list; it is tried again"));
        }
        std::thread::sleep(AGAIN);
    }
}

/// Who blocks a shutdown, and why; empty where there is no login manager to ask.
fn blocking() -> Vec<String> {
    let asked = Program::new("busctl")
        .args(["--json=short", "call", "org.freedesktop.login1", "/org/freedesktop/login1"])
        .args(["org.freedesktop.login1.Manager", "ListInhibitors"])
        .run_ok();
    asked.map(|output| blockers(&output.stdout)).unwrap_or_default()
}

/// Of `{"type":"a(ssssuu)","data":[[[WHAT, WHO, WHY, MODE, UID, PID], …]]}` those that block a shutdown.
fn blockers(json: &[u8]) -> Vec<String> {
    let Ok(told) = serde_json::from_slice::<Value>(json) else { return Vec::new() };
    let all = told["data"][0].as_array().cloned().unwrap_or_default();
    let word = |lock: &Value, at: usize| lock[at].as_str().unwrap_or_default().replace(char::is_control, " ");
    let is_blocking = |lock: &&Value| {
        word(lock, 0).split(':').any(|what| what == "shutdown") && word(lock, 3).starts_with("block")
    };
    let name = |lock: &Value| format!("{} ({}, process {})", word(lock, 1), word(lock, 2), lock[5]);
    all.iter().filter(is_blocking).map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_blocks_a_shutdown_is_named_and_who_only_delays_it_or_blocks_something_else_is_not() {
        let json = br#"{"type":"a(ssssuu)","data":[[
            ["shutdown:sleep","backup","writes the last tape","block",0,4711],
            ["shutdown","Unattended Upgrades Shutdown","Stop ongoing upgrades","delay",0,1],
            ["sleep:idle","player","plays","block",1000,2]]]}"#;
        assert_eq!(blockers(json), ["backup (writes the last tape, process 4711)"]);
        for odd in [&b"{"[..], b"[]", br#"{"data":[[[1]]]}"#, br#"{"data":5}"#] {
            assert_eq!(blockers(odd), Vec::<String>::new());
        }
    }
}
