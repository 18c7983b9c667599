//! `palisade plan`: what is signed.

use super::session::{Session, look, print};
use super::signing::home::{self, canary_names};
use super::signing::purpose::{Meant, Purpose};
use super::signing::{EXIT_OPEN, offer, sign};
use crate::answers::{self, Made, Proposal};
use crate::cli::fleet::Asking;
use crate::cli::plan::Plan;
use crate::client::{Client, Problem};
use crate::output::table::{Look, clean};
use crate::output::{plan as shown, proposal, rehearsal};
use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use rollout::word::Word;
use serde_json::{Value, json};
use std::process::ExitCode;
use uuid::Uuid;

/// The shortest part of an id that names something.
const PART_MIN: usize = 4;
/// Plans that are looked through for a name.
const PLANS_MAX: usize = 10_000;

pub(crate) fn run(command: &Plan, asking: &Asking) -> Result<ExitCode> {
    let session = Session::open(asking)?;
    let client = &session.client;
    match command {
        Plan::List { most } => list(&session, *most),
        Plan::Show { plan, all } => show(&session, find(client, plan)?, *all),
        Plan::Diff { plan, other: None } => {
            let id = open_about(client, plan)?.0;
            let looked = home::look(client, id, Meant::Shown)?;
            if session.json {
                let told = proposal::differences(&looked);
                return print(&(serde_json::to_string_pretty(&told)? + "\n"));
            }
            print(&proposal::looked(&looked, Timestamp::now(), look()))
        }
        Plan::Diff { plan, other: Some(other) } => {
            let plans = [plan, other].map(|plan| text(client, find(client, plan)?));
            let [one, other] = plans;
            let (one, other) = (one?, other?);
            if session.json {
                return print(
                    &(serde_json::to_string_pretty(&json!({ "first": one, "second": other }))? + "\n"),
                );
            }
            print(&shown::differences(&one, &other, Timestamp::now(), look()))
        }
        Plan::Sign { plan, hand } => {
            let (proposal, about) = open_about(client, plan)?;
            let meant = match about {
                None => Meant::Shown,
                // Nobody looks: then it is the plan itself or nothing.
                Some(plan) if hand.yes => Meant::Exactly(Purpose::Plan(plan)),
                Some(plan) => Meant::About(plan),
            };
            sign(&session, proposal, meant, hand)
        }
        Plan::Propose { plan, hand } => {
            let id = find(client, plan)?;
            offer(
                &session,
                &client.post(&format!("/plans/{id}/propose"), &json!({}))?,
                Purpose::Plan(id),
                hand,
            )
        }
        Plan::Withdraw { plan, reason, hand } => {
            let id = find(client, plan)?;
            let answer = match client.delete(&format!("/plans/{id}"), &[("reason", reason)]) {
                Err(problem) if is_absent(&problem) => client.delete(&format!("/proposals/{id}"), &[])?,
                answer => answer?,
            };
            // What is in force is withdrawn by those who put it in force.
            if answer.get("missing").is_some() {
                return offer(&session, &answer, Purpose::Withdrawal(id), hand);
            }
            if session.json {
                return print(&(serde_json::to_string_pretty(&answer)? + "\n"));
            }
            print("It is dropped; nothing of it was in force.\n")
        }
    }
}

fn list(session: &Session, most: usize) -> Result<ExitCode> {
    let mut plans = session.client.list("/plans", &[], most)?;
    if session.json {
        return print(&(serde_json::to_string_pretty(&plans)? + "\n"));
    }
    let open = session.client.list("/proposals", &[("state", "open")], 1_000)?;
    for plan in &mut plans {
        let of_it = open.iter().find(|proposal| proposal["object"] == plan["id"]);
        let missing = of_it.and_then(|proposal| proposal["missing"].as_array());
        let signers: u64 =
            missing.into_iter().flatten().filter_map(|missing| missing["count"].as_u64()).sum();
        if of_it.is_some() {
            plan["lacks"] = format!("{signers} to sign").into();
        }
        let blocks = plan["blocks"].as_array().map_or(0, Vec::len);
        if blocks > 0 {
            plan["lacks"] = format!("{blocks} in its way").into();
        }
    }
    let columns = [
        ("plan", "/id"),
        ("title", "/title"),
        ("state", "/state"),
        ("hosts", "/hosts"),
        ("lacks", "/lacks"),
        ("made by", "/created_by"),
        ("made", "/created_at"),
    ];
    session.list(&plans, &columns, "there is no plan; \"palisade rollout plan --fix …\" makes one")?;
    for proposal in
        open.iter().filter(|proposal| proposal["kind"] == "word" || proposal["kind"] == "withdraw")
    {
        let text = |name: &str| clean(proposal[name].as_str().unwrap_or_default());
        print(&format!("\nproposed: {}\n  palisade plan sign {}\n", text("title"), text("id")))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows a plan, made or in the making.
pub(crate) fn show(session: &Session, id: Uuid, all: bool) -> Result<ExitCode> {
    let answer = session.client.get(&format!("/plans/{id}"), &[("body", "true")])?;
    let made: Made = answers::read("a plan", answer.clone())?;
    let blocked = !made.blocks.is_empty();
    if session.json {
        print(&(serde_json::to_string_pretty(&answer)? + "\n"))?;
    } else {
        print(&told(&session.client, &made, Look { all, ..look() }))?;
    }
    Ok(if blocked { ExitCode::from(EXIT_OPEN) } else { ExitCode::SUCCESS })
}

/// A plan as it is shown: its text where there is one, its rehearsals, what blocks.
fn told(client: &Client, made: &Made, look: Look) -> String {
    let mut out = match &made.plan {
        Some(plan) => shown::plan(plan, &canary_names(client, plan), Timestamp::now(), look),
        None => format!("{}\n\nplan   {}\nhosts  {}\n", clean(&made.title), made.id, made.hosts),
    };
    out.push_str(&rehearsal::told(made));
    out
}

/// The plan that a person names: by its id, a part of it that no other has, or its title.
pub(crate) fn find(client: &Client, named: &str) -> Result<Uuid> {
    if let Ok(id) = Uuid::try_parse(named) {
        return Ok(id);
    }
    let fits = |plan: &Value| {
        let text = |name: &str| plan[name].as_str().unwrap_or_default().to_owned();
        let part = named.len() >= PART_MIN && text("id").contains(&named.to_ascii_lowercase());
        part || text("title") == named
    };
    let plans = client.list("/plans", &[], PLANS_MAX)?;
    let fitting: Vec<&Value> = plans.iter().filter(|plan| fits(plan)).collect();
    match fitting.as_slice() {
        [plan] => {
            let id = plan["id"].as_str().and_then(|id| Uuid::try_parse(id).ok());
            id.context("the server's answer has no id")
        }
        [] => bail!("find plan \"{named}\": no plan has that id or title; see \"palisade plan list\""),
        several => {
            let ids: Vec<&str> = several.iter().filter_map(|plan| plan["id"].as_str()).take(5).collect();
            bail!("find plan \"{named}\": it may be {}", ids.join(", "))
        }
    }
}

/// The plan's text.
fn text(client: &Client, plan: Uuid) -> Result<rollout::plan::Plan> {
    let bytes = client.bytes(&format!("/plans/{plan}/bytes"), &[])?;
    rollout::plan::Plan::read(&bytes).map_err(|problem| anyhow::anyhow!("plan {plan}: {problem}"))
}

/// The open proposal that a person means, and the plan that it must be about where a plan was named.
fn open_about(client: &Client, named: &str) -> Result<(Uuid, Option<Uuid>)> {
    let id = find(client, named)?;
    let made = match client.get(&format!("/plans/{id}"), &[]) {
        // No plan: then it is a proposal's id.
        Err(problem) if is_absent(&problem) => return Ok((id, None)),
        made => answers::read::<Made>("a plan", made?)?,
    };
    let open = client.list("/proposals", &[("state", "open")], 1_000)?;
    let mut about = Vec::new();
    for item in open {
        let proposal: Proposal = answers::read("a proposal", item)?;
        if is_about(client, &proposal, id)? {
            about.push(proposal.id);
        }
    }
    match about.as_slice() {
        [proposal] => Ok((*proposal, Some(id))),
        [] if made.blocks.is_empty() => bail!(
            "nothing about plan {id} is to be signed: it is {}; \"palisade plan propose {id}\" proposes a draft",
            made.state
        ),
        [] => {
            bail!("nothing about plan {id} is to be signed: it is blocked; see \"palisade plan show {id}\"")
        }
        several => {
            let ids: Vec<String> = several.iter().map(Uuid::to_string).collect();
            bail!("several things about plan {id} are to be signed; name one: {}", ids.join(", "))
        }
    }
}

/// Whether a proposal is about this plan. Only to find it: what is signed is verified later.
fn is_about(client: &Client, proposal: &Proposal, plan: Uuid) -> Result<bool> {
    let object = proposal.object.as_deref().unwrap_or_default();
    if proposal.kind != "word" {
        return Ok(object == plan.to_string());
    }
    let Ok(word) = Uuid::try_parse(object) else { return Ok(false) };
    if word == plan {
        return Ok(true);
    }
    let bytes = client.bytes(&format!("/plans/{word}/bytes"), &[])?;
    Ok(Word::read(&bytes).is_ok_and(|word| word.plan.0 == plan))
}

fn is_absent(problem: &anyhow::Error) -> bool {
    problem.downcast_ref::<Problem>().is_some_and(|problem| problem.status == 404)
}
