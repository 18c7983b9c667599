//! `palisade rollout plan`: asks for a plan, waits while hosts rehearse it, shows it, and how it is signed.

use super::policy;
use crate::answers::{self, Made};
use crate::cli::rollout::Make;
use crate::command::plan::{find, show};
use crate::command::session::Session;
use crate::command::signing::purpose::{Meant, Purpose};
use crate::command::signing::{EXIT_OPEN, hand, sign};
use crate::terminal::{self, Progress};
use crate::terms;
use crate::terms::AskedReplay;
use agent::program::is_stopped;
use anyhow::{Context, Result, bail};
use jiff::{SignedDuration, Timestamp};
use rollout::plan::Rollback;
use serde_json::{Map, Value, json};
use std::io::IsTerminal;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

/// How often it is looked what hosts have answered.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long it is waited for them: agents ask once a minute, and a rehearsal fetches nothing but lists.
const WAIT: Duration = Duration::from_secs(15 * 60);
/// The plan is being made as long as its state is this.
const REHEARSING: &str = "rehearsing";

pub(super) fn run(session: &Session, asked: &Make) -> Result<ExitCode> {
    let filled;
    let asked = match &asked.policy {
        Some(path) => {
            filled = policy::filled(asked.clone(), path)?;
            &filled
        }
        None => asked,
    };
    let body = wanted(session, asked, Timestamp::now())?;
    let made: Made = answers::read("a plan", session.client.post("/plans", &body)?)?;
    let made = wait(session, made)?;
    let shown = show(session, made.id, false)?;
    if !made.blocks.is_empty() {
        if !session.json {
            eprintln!("palisade: it is blocked; change what is asked for, or the hosts, and plan again");
        }
        return Ok(ExitCode::from(EXIT_OPEN));
    }
    if asked.dry_run {
        if !session.json {
            eprintln!("palisade: nothing is proposed; \"palisade plan propose {}\" does that", made.id);
        }
        return Ok(shown);
    }
    let Some(proposal) = made.proposal else { return Ok(shown) };
    let named = !(asked.hand.key.is_empty() && asked.hand.agent.is_empty());
    if named || asked.hand.yes {
        return sign(session, proposal, Meant::Exactly(Purpose::Plan(made.id)), &asked.hand);
    }
    if !session.json {
        let own = if std::io::stdin().is_terminal() {
            hand::own_key().ok().filter(|own| own.exists())
        } else {
            None
        };
        let with = own.map(|_| ", with your own key").unwrap_or_default();
        eprintln!("palisade: approvers sign it with \"palisade plan sign {}\"{with}", made.id);
    }
    Ok(shown)
}

/// What is asked for, as the API takes it. What is not said is left out: the server has a default for it.
fn wanted(session: &Session, make: &Make, now: Timestamp) -> Result<Value> {
    let Some(select) = &make.select else {
        bail!(
            "make a plan: say on which hosts, with --select or in the policy; --select all takes every host"
        );
    };
    if make.fix.is_empty() && !make.everything {
        bail!("make a plan: say what to fix, with --fix, or --everything");
    }
    let mut body = Map::new();
    let mut say = |name: &str, value: Value| _ = body.insert(name.to_owned(), value);
    say("fix", json!(make.fix));
    say("select", json!(select));
    if make.everything {
        say("everything", json!(true));
    }
    let lists = [
        ("canaries", json!(make.canary)),
        ("waves", json!(make.waves.iter().map(|size| terms::size(*size)).collect::<Vec<_>>())),
        ("windows", json!(make.window)),
        ("blackouts", json!(make.blackout)),
        ("probes", json!(make.probe)),
        ("replays", json!(replays(make)?)),
        (
            "services",
            make.service.iter().map(|of| json!({ "label": of.label, "away_max": of.away_max })).collect(),
        ),
    ];
    for (name, list) in lists {
        if list.as_array().is_some_and(|list| !list.is_empty()) {
            say(name, list);
        }
    }
    let mut gate = Map::new();
    gate.extend(make.soak.map(|soak| ("soak_seconds".to_owned(), json!(soak))));
    gate.extend(make.failures.map(|failures| ("bad_max".to_owned(), json!(failures))));
    if !gate.is_empty() {
        say("gate", gate.into());
    }
    if make.emergency {
        say("track", json!("emergency"));
    }
    if make.no_rollback {
        say("rollback", json!(Rollback::Never));
    }
    if let Some(seconds) = make.expires {
        let expires = now.saturating_add(SignedDuration::from_secs(seconds.into()));
        say("expires", json!(expires.unwrap_or(Timestamp::MAX)));
    }
    if let Some(plan) = &make.supersedes {
        say("supersedes", json!(find(&session.client, plan)?));
    }
    if make.dry_run {
        say("propose", json!(false));
    }
    for (name, value) in [
        ("sample", make.sample.map(|sample| json!(sample))),
        ("at_once", make.at_once.map(|hosts| json!(hosts))),
        ("reboot", make.reboot.map(|reboot| json!(reboot))),
        ("not_before", make.not_before.map(|at| json!(at))),
        ("title", make.title.as_ref().map(|title| json!(title))),
    ] {
        if let Some(value) = value {
            say(name, value);
        }
    }
    Ok(body.into())
}

/// What is replayed, each with the signatures that are named for all.
fn replays(make: &Make) -> Result<Vec<AskedReplay>> {
    if make.replay.is_empty() && !make.replay_signature.is_empty() {
        bail!(
            "make a plan: say which service the signatures are replayed to, with --replay or in the policy"
        );
    }
    let signatures = &make.replay_signature;
    let with = |replay: &AskedReplay| AskedReplay { signatures: signatures.clone(), ..replay.clone() };
    Ok(make.replay.iter().map(with).collect())
}

/// Waits while hosts rehearse; on a terminal, tells which have answered.
fn wait(session: &Session, mut made: Made) -> Result<Made> {
    let progress = Progress::new(session.json);
    let begun = Instant::now();
    while made.state == REHEARSING {
        let answered = made.rehearsals.iter().filter(|rehearsal| rehearsal.state != "asked").count();
        let asked: Vec<String> = made
            .rehearsals
            .iter()
            .filter(|rehearsal| rehearsal.state == "asked")
            .map(|rehearsal| rehearsal.host.name.clone())
            .collect();
        progress.tell(&format!(
            "{answered} of {} kinds of hosts have rehearsed it; waiting for {}",
            made.rehearsals.len(),
            crate::output::lines::some(asked, 4)
        ));
        if is_stopped() {
            let told = format!("the plan goes on being made: \"palisade plan show {}\"", made.id);
            return Err(terminal::Interrupted).context(told);
        }
        if begun.elapsed() > WAIT {
            bail!(
                "wait for the rehearsals of plan {}: not all have answered within {} minutes; \"palisade plan show {0}\" \
                 tells which",
                made.id,
                WAIT.as_secs() / 60
            );
        }
        thread::sleep(LOOK_EVERY);
        made = answers::read("a plan", session.client.get(&format!("/plans/{}", made.id), &[])?)?;
    }
    Ok(made)
}
