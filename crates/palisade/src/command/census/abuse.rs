//! `palisade census report`: drafts for abuse desks, one for each network. Nothing is sent, by nobody but the user.

use super::contacts::{Contact, Contacts, mail};
use super::evidence::{Sender, gather};
use super::inputs::{self, Origin};
use super::own::Own;
use super::partials;
use super::rdap::Rdap;

use super::{EXIT_INCOMPLETE, EXIT_OWN, engine, manner, tell_problems, usage};
use crate::EXIT_INTERRUPTED;
use crate::cli::census::Abuse;
use crate::output::census::own as incident;
use crate::output::census::xarf::{Draft, Lines, Party, Source};
use crate::output::lines::{aligned, count};
use advisory::Problem;
use agent::census::Ruleset;
use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use traffic::census::Day;
use traffic::census::report::SourceRow;

/// Sources of a network whose lines are in its report.
const EVIDENCE_MAX: usize = 5;

/// A draft that was written.
#[derive(Serialize)]
struct Written {
    network: String,
    contact: Option<String>,
    sources: usize,
    attempts: u64,
    file: PathBuf,
}

/// What was done, for programs.
#[derive(Serialize)]
struct Answer<'a> {
    schema: &'static str,
    #[serde(skip_serializing_if = "<[SourceRow]>::is_empty")]
    own: &'a [SourceRow],
    drafts: &'a [Written],
    /// Sources whose addresses belong to nobody outside.
    private: usize,
}

pub(super) fn run(asking: &Abuse) -> Result<ExitCode> {
    let manner = match manner(asking.format.as_deref(), None) {
        Ok(manner) => manner,
        Err(problem) => return Ok(usage(&problem)),
    };
    let party = match party(asking) {
        Ok(party) => party,
        Err(problem) => return Ok(usage(&problem)),
    };
    let rdap = asking.rdap.as_ref().map(|server| Rdap::new(server));
    let mut contacts = Contacts::new(asking.contacts.as_deref(), rdap)?;
    let (own, mut problems) = Own::gather(&asking.own)?;
    let (rules, unread) = Ruleset::read(&asking.rules);
    problems.extend(unread);
    let (inputs, missing) = inputs::expand(&asking.files, &asking.journal);
    problems.extend(missing);
    let inputs = engine::logs_only(inputs, &manner, &mut Vec::new());
    if inputs.is_empty()
        || inputs.iter().all(|input| input.origin == Origin::Stdin) && asking.files.is_empty()
    {
        let problem = Problem::new("draft reports", "no logs", "none was named");
        return Ok(usage(&problem.remedy("name logs, or - for standard input")));
    }
    let senders = gather(&inputs, &manner, &rules, &mut problems);
    if agent::program::is_stopped() {
        return Ok(ExitCode::from(EXIT_INTERRUPTED));
    }
    let mut ours = Vec::new();
    let mut private = 0;
    let mut networks: BTreeMap<_, (Contact, Vec<(IpAddr, Sender)>)> = BTreeMap::new();
    for (address, sender) in senders {
        if own.has(address) {
            ours.push(row(address, &sender, &rules));
        } else if !is_outside(address) {
            private += 1;
        } else if sender.attempts >= asking.at_least.get() {
            let contact = contacts.of(address);
            let network = networks.entry(contact.network).or_insert((contact, Vec::new()));
            network.1.push((address, sender));
        }
    }
    problems.append(&mut contacts.problems);
    std::fs::create_dir_all(&asking.to).with_context(|| format!("make directory {}", asking.to.display()))?;
    let mut drafts = Vec::new();
    for (contact, senders) in networks.into_values() {
        drafts.push(write(asking, &party, contact, senders, &rules)?);
    }
    let text = if asking.json {
        let answer = Answer { schema: "palisade.census.report/1", own: &ours, drafts: &drafts, private };
        serde_json::to_string_pretty(&answer)? + "\n"
    } else {
        told(&ours, &drafts, private)
    };
    std::io::stdout().lock().write_all(text.as_bytes()).context("write the answer")?;
    tell_problems(&problems);
    Ok(match (ours.is_empty(), problems.is_empty()) {
        (false, _) => ExitCode::from(EXIT_OWN),
        (true, false) => ExitCode::from(EXIT_INCOMPLETE),
        (true, true) => ExitCode::SUCCESS,
    })
}

fn party(asking: &Abuse) -> Result<Party, Problem> {
    let refused = |reason: &str| Problem::new("draft reports", "who writes", reason);
    let contact = mail(&asking.contact).ok_or_else(|| {
        refused("--contact is no address of mail").remedy("give one like abuse@example.net")
    })?;
    let domain = contact.rsplit('@').next().unwrap_or_default().to_owned();
    if asking.org.is_empty() || asking.org.chars().count() > 200 {
        return Err(refused("--org has no letter, or more than 200").remedy("give your organisation's name"));
    }
    Ok(Party { org: asking.org.clone(), contact, domain })
}

fn write(
    asking: &Abuse,
    party: &Party,
    contact: Contact,
    mut senders: Vec<(IpAddr, Sender)>,
    rules: &Ruleset,
) -> Result<Written> {
    // Who sent most stands first, and has its lines in the report.
    senders.sort_by_key(|(address, sender)| (std::cmp::Reverse(sender.attempts), *address));
    let signature = |rule: usize| &rules.rules.signatures()[rule];
    let mut probed = BTreeSet::new();
    for rule in senders.iter().flat_map(|(_, sender)| sender.rules.keys()) {
        let signature = signature(usize::from(rule.0));
        if signature.cves.is_empty() {
            probed.insert(signature.id.clone());
        }
        probed.extend(signature.cves.iter().cloned());
    }
    let mut random = [0; 16];
    getrandom::fill(&mut random)?;
    let network = contact.network.to_string();
    let draft = Draft {
        id: uuid::Builder::from_random_bytes(random).into_uuid(),
        party: party.clone(),
        network: network.clone(),
        contact: contact.mail.clone(),
        probed: probed.into_iter().collect(),
        evidence: senders
            .iter()
            .take(EVIDENCE_MAX)
            .map(|(address, sender)| Lines {
                address: address.to_string(),
                text: [sender.lines.join(&b'\n'), b"\n".to_vec()].concat(),
            })
            .collect(),
        sources: senders
            .iter()
            .map(|(address, sender)| Source {
                address: address.to_string(),
                attempts: sender.attempts,
                signatures: ids(sender, rules),
                first_seen: time(sender.first),
                last_seen: time(sender.last),
            })
            .collect(),
    };
    let name: String =
        network.chars().map(|letter| if matches!(letter, '/' | ':') { '_' } else { letter }).collect();
    let file = asking.to.join(format!("{name}.json"));
    partials::write(&file, (draft.json()? + "\n").as_bytes())?;
    let attempts = senders.iter().map(|(_, sender)| sender.attempts).sum();
    Ok(Written { network, contact: contact.mail, sources: senders.len(), attempts, file })
}

fn told(ours: &[SourceRow], drafts: &[Written], private: usize) -> String {
    let mut out = incident::told(ours);
    let row = |draft: &Written| {
        [
            draft.network.clone(),
            count(draft.sources as u64, "source"),
            count(draft.attempts, "attempt"),
            draft.contact.clone().unwrap_or_else(|| "no contact known".to_owned()),
            draft.file.display().to_string(),
        ]
    };
    out.push_str(&aligned(&drafts.iter().map(row).collect::<Vec<_>>(), 0));
    if private > 0 {
        let sources = count(private as u64, "source");
        let _ = writeln!(out, "{sources} with addresses that are nobody's outside: no report.");
    }
    out.push_str(match drafts.len() {
        0 => "No draft: no attempts from outside.\n",
        _ => "Nothing was sent. Read each draft, take \"_internal\" out, and send it yourself.\n",
    });
    out
}

fn row(address: IpAddr, sender: &Sender, rules: &Ruleset) -> SourceRow {
    SourceRow {
        source: address.to_string(),
        attempts: sender.attempts,
        signatures: ids(sender, rules),
        first: Day::utc(sender.first),
        last: Day::utc(sender.last),
    }
}

fn ids(sender: &Sender, rules: &Ruleset) -> Vec<String> {
    sender.rules.keys().map(|rule| rules.rules.signatures()[usize::from(rule.0)].id.clone()).collect()
}

fn time(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap_or_default()
}

/// Whether an address is somebody's outside, who could be written to.
fn is_outside(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [first, second, ..] = address.octets();
            // Between a provider and its customers (RFC 6598): 100.64.0.0/10.
            let shared = first == 100 && second & 0xc0 == 64;
            !(address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || address.is_unspecified()
                || shared)
        }
        IpAddr::V6(address) => {
            !(address.is_unique_local()
                || address.is_loopback()
                || address.is_unicast_link_local()
                || address.is_unspecified())
        }
    }
}
