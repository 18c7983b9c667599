//! This very machine: what `palisade check` says is pending is what apt says, and what runs is what runs.

use serde_json::Value;
use std::collections::BTreeSet;
use std::net::TcpListener;
use std::process::Command;

/// Name, installed version, candidate.
type Upgrade = (String, String, String);

fn check() -> Option<Value> {
    if !std::path::Path::new("/var/lib/dpkg/status").exists() {
        eprintln!("SKIPPED: needs a machine that dpkg keeps");
        return None;
    }
    let output = Command::new(env!("CARGO_BIN_EXE_palisade"))
        .args(["check", "--offline", "--format", "json"])
        .output()
        .expect("palisade starts");
    Some(serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(&output.stderr));
    }))
}

#[test]
fn what_is_pending_is_what_apt_would_upgrade() {
    let Some(report) = check() else { return };
    let simulated = Command::new("apt-get")
        .args(["-s", "dist-upgrade"])
        .env("LC_ALL", "C")
        .output()
        .expect("apt-get starts");
    // Inst NAME [FROM] (TO ARCHIVE… [ARCH])
    let apts: BTreeSet<Upgrade> = String::from_utf8_lossy(&simulated.stdout)
        .lines()
        .filter_map(|line| {
            let (name, rest) = line.strip_prefix("Inst ")?.split_once(" [")?;
            let (from, rest) = rest.split_once("] (")?;
            let to = rest.split_whitespace().next()?;
            let name = name.split(':').next()?;
            Some((name.to_owned(), from.to_owned(), to.to_owned()))
        })
        .collect();
    // Updates of foreign archives are told as not judged; all others stand in entries and other updates.
    let mut ours = BTreeSet::new();
    for place in ["entries", "other"] {
        for entry in report[place].as_array().into_iter().flatten() {
            for change in entry["changes"].as_array().into_iter().flatten() {
                if let (Some(name), Some(from), Some(to)) =
                    (change["name"].as_str(), change["from"].as_str(), change["to"].as_str())
                {
                    ours.insert((name.to_owned(), from.to_owned(), to.to_owned()));
                }
            }
        }
    }
    let undetermined = report["undetermined"].to_string();
    let missing: Vec<_> = apts
        .difference(&ours)
        .filter(|(name, _, to)| {
            !undetermined.contains(&format!("{name} ")) || !undetermined.contains(to.as_str())
        })
        .collect();
    assert!(missing.is_empty(), "apt would upgrade these, and check does not say so: {missing:?}");
    let invented: Vec<_> = ours.difference(&apts).collect();
    assert!(invented.is_empty(), "check says that these are pending, and apt does not: {invented:?}");
}

/// apt needs seconds for one simulation, so the first commands are tried one by one and the rest in one go.
#[test]
fn printed_commands_work_in_apts_own_simulation() {
    let Some(report) = check() else { return };
    let entries = report["entries"].as_array().into_iter().flatten();
    let commands: Vec<&str> =
        entries.filter_map(|entry| entry["command"].as_str()?.strip_prefix("apt-get install ")).collect();
    let (first, rest) = commands.split_at(commands.len().min(3));
    let together = rest.join(" ");
    for arguments in first.iter().copied().chain(Some(together.as_str()).filter(|all| !all.is_empty())) {
        let simulated = Command::new("apt-get")
            .args(["-s", "install"])
            .args(arguments.split_whitespace())
            .output()
            .expect("apt-get starts");
        let complaint = String::from_utf8_lossy(&simulated.stderr).into_owned();
        assert!(simulated.status.success(), "apt-get -s install {arguments}: {complaint}");
    }
}

#[test]
fn a_listener_of_this_test_is_found_with_its_process() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let Ok(inventory) = serde_json::to_value(
        agent::observe(std::path::Path::new("/"), Some("test"), jiff::Timestamp::now(), &mut |_| {})
            .inventory,
    ) else {
        panic!("an inventory can be written down");
    };
    let own = inventory["processes"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|process| process["pid"] == std::process::id())
        .unwrap_or_else(|| panic!("this process is not in its own inventory"));
    let socket = &own["sockets"][0];
    assert_eq!((socket["address"].as_str(), socket["port"].as_u64()), (Some("127.0.0.1"), Some(port.into())));
}
