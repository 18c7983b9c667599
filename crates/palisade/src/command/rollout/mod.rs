//! `palisade rollout`: plans under way.

mod make;
mod names;
mod policy;

pub(crate) use names::HostNames;

use super::plan::find;
use super::session::{Session, look, print};
use super::signing::offer;
use super::signing::purpose::Purpose;
use super::watch;
use crate::answers::{self, Rollout as Shown};
use crate::cli::fleet::Asking;
use crate::cli::rollout::{Order, Rollout, Word};
use crate::client::escaped;
use crate::output::rollout::status;
use crate::output::table::clean;
use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::process::ExitCode;
use uuid::Uuid;

const HOST_COLUMNS: [(&str, &str); 7] = [
    ("host", "/host/name"),
    ("wave", "/wave"),
    ("state", "/state"),
    ("counts as", "/counts"),
    ("heard", "/reported_at"),
    ("keeps its places", "/charged"),
    ("", "/text"),
];

pub(crate) fn run(command: &Rollout, asking: &Asking) -> Result<ExitCode> {
    let session = Session::open(asking)?;
    let client = &session.client;
    match command {
        Rollout::Plan(make) => make::run(&session, make),
        Rollout::List { state } => {
            let query: Vec<_> = state.iter().map(|state| ("state", state.as_str())).collect();
            // The last thousand, in one answer.
            let Value::Array(mut rollouts) = client.get("/rollouts", &query)?["items"].take() else {
                bail!("list rollouts: the server's answer has no items")
            };
            for rollout in &mut rollouts {
                rollout["done"] = format!("{} of {}", rollout["proven"], rollout["hosts"]).into();
            }
            let columns = [
                ("plan", "/plan"),
                ("title", "/title"),
                ("stands", "/state_text"),
                ("proven", "/done"),
                ("since", "/changed_at"),
            ];
            session.list(
                &rollouts,
                &columns,
                "there is no rollout; one begins when its plan is signed and started",
            )
        }
        Rollout::Start { plan } => {
            let plan = find(client, plan)?;
            show(&session, client.post(&format!("/rollouts/{plan}/start"), &json!({}))?)
        }
        Rollout::Status { plan } => {
            let plan = find(client, plan)?;
            show(&session, client.get(&format!("/rollouts/{plan}"), &[])?)
        }
        Rollout::Watch { plan, lines } => watch::run(&session, find(client, plan)?, *lines),
        Rollout::Pause(Order { plan, reason }) => order(&session, "pause", plan, reason),
        Rollout::Halt(Order { plan, reason }) => order(&session, "halt", plan, reason),
        Rollout::Abort(Order { plan, reason }) => order(&session, "abort", plan, reason),
        Rollout::Retract(Order { plan, reason }) => order(&session, "retract", plan, reason),
        Rollout::Resume(Word { plan, reason, hand }) => {
            let plan = find(client, plan)?;
            offer(&session, &ordered(&session, "resume", plan, reason)?, Purpose::Resume(plan), hand)
        }
        Rollout::Rollback(Word { plan, reason, hand }) => {
            let plan = find(client, plan)?;
            offer(&session, &ordered(&session, "back", plan, reason)?, Purpose::Back(plan), hand)
        }
        Rollout::Free { plan, host, reason } => {
            let (plan, host) = (find(client, plan)?, session.host(host)?);
            let path = format!("/rollouts/{plan}/hosts/{}/free", escaped(&host));
            let answer = client.post(&path, &json!({ "reason": reason }))?;
            if session.json {
                return print(&(serde_json::to_string_pretty(&answer)? + "\n"));
            }
            print("Its places are free; other hosts of the wave and of its services can go on.\n")
        }
        Rollout::Hosts { plan, host: Some(host), .. } => {
            let (plan, host) = (find(client, plan)?, session.host(host)?);
            one_host(&session, &client.get(&format!("/rollouts/{plan}/hosts/{}", escaped(&host)), &[])?)
        }
        Rollout::Hosts { plan, host: None, wave, state, counts, most } => {
            let plan = find(client, plan)?;
            let wave = wave.map(|wave| wave.to_string());
            let query: Vec<_> = [("wave", &wave), ("state", state), ("counts", counts)]
                .into_iter()
                .filter_map(|(name, value)| Some((name, value.as_deref()?)))
                .collect();
            let hosts = client.list(&format!("/rollouts/{plan}/hosts"), &query, *most)?;
            session.list(&hosts, &HOST_COLUMNS, "no host fits")
        }
    }
}

/// Orders something, and gives what the server answers.
pub(crate) fn ordered(session: &Session, what: &str, plan: Uuid, reason: &str) -> Result<Value> {
    if reason.trim().is_empty() {
        bail!("{what} the rollout of {plan}: its reason is empty; others will read it");
    }
    let path = format!("/rollouts/{plan}/{what}");
    session
        .client
        .post(&path, &json!({ "reason": reason }))
        .with_context(|| format!("{what} the rollout of {plan}"))
}

/// Orders something, and shows where the rollout stands then.
fn order(session: &Session, what: &str, plan: &str, reason: &str) -> Result<ExitCode> {
    let plan = find(&session.client, plan)?;
    show(session, ordered(session, what, plan, reason)?)
}

fn show(session: &Session, answer: Value) -> Result<ExitCode> {
    if session.json {
        return print(&(serde_json::to_string_pretty(&answer)? + "\n"));
    }
    let mut rollout: Shown = answers::read("a rollout", answer)?;
    HostNames::default().put(&session.client, &mut rollout);
    print(&status(&rollout, Timestamp::now(), look()))
}

fn one_host(session: &Session, answer: &Value) -> Result<ExitCode> {
    if session.json {
        return print(&(serde_json::to_string_pretty(answer)? + "\n"));
    }
    let rows = [
        ("host", "/host/name"),
        ("id", "/host/id"),
        ("wave", "/wave"),
        ("state", "/state"),
        ("counts as", "/counts"),
        ("direction", "/direction"),
        ("heard", "/reported_at"),
        ("until", "/until"),
        ("keeps its places", "/charged"),
        ("told", "/text"),
    ];
    session.card(answer, &rows)?;
    for why in answer["why"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        println!("why: {}", clean(why));
    }
    let reports = answer["reports"].as_array().map_or(&[][..], Vec::as_slice);
    println!();
    let columns = [
        ("grant", "/fence"),
        ("report", "/seq"),
        ("at", "/at"),
        ("says", "/report"),
        ("outcome", "/outcome"),
    ];
    session.list(reports, &columns, "it has reported nothing")
}
