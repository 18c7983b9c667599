//! A proposal for the eyes of who is to sign it, and how it stands.

use super::lines::moment;
use super::plan;
use super::table::{Look, clean};
use crate::answers::{Key, Missing, Proposal as Answer};
use crate::command::signing::hand::{listed, told};
use crate::command::signing::home::{Content, Looked};
use crate::command::signing::memory::Acquaintance;
use crate::command::signing::purpose::Gone;
use jiff::Timestamp;
use rollout::word::{Says, Word};
use std::fmt::Write as _;
use trust::proposal::{Difference, Document};
use trust::standing::{Custody, Standing};

/// What is to be signed, all of it verified.
pub(crate) fn looked(looked: &Looked, now: Timestamp, look: Look) -> String {
    let mut out = String::new();
    if let Some(standing) = &looked.standing {
        out.push_str(&acquaintance(standing, looked.acquaintance));
        if standing.custody() == Custody::Server {
            out.push_str(ONE_KEY);
        }
        out.push('\n');
    }
    for content in &looked.contents {
        match content {
            Content::Plan(shown) => out.push_str(&plan::plan(shown, &looked.names, now, look)),
            Content::Word(said) => out.push_str(&word(said)),
        }
        out.push('\n');
    }
    out.push_str("to be signed\n");
    for line in differences(looked) {
        let _ = writeln!(out, "  {line}");
    }
    let _ = writeln!(out, "  digest {}", looked.proposal.digest());
    out
}

/// Said wherever the server alone can approve.
pub(crate) const ONE_KEY: &str = "\
ONE-KEY MODE: the server holds the approvers' key. Whoever captures the server can install what they like.
The way out is to name approvers: palisade key approvers K PUB…
";

fn acquaintance(standing: &Standing, acquaintance: Acquaintance) -> String {
    let root = format!("root version {}, fingerprint {}", standing.versions()[0], standing.fingerprint());
    match acquaintance {
        Acquaintance::First => format!(
            "This fleet is new to this machine: {root}.\nCompare the fingerprint with what the other approvers see \
             (\"palisade key list\"). It is remembered now.\n"
        ),
        Acquaintance::Known => format!("As remembered: {root}.\n"),
        Acquaintance::Followed(roots) => {
            format!(
                "New since it was last seen, signed by the owners of before ({roots} in a row): {root}.\n"
            )
        }
    }
}

/// Approvers' word about a plan.
fn word(word: &Word) -> String {
    let says = match word.says {
        Says::Resume { generation } => format!("goes on, for the {} time", ordinal(generation)),
        Says::Back => "goes back: its hosts take the old versions again".to_owned(),
    };
    format!(
        "The rollout of plan {} {says}.\n\nreason   {}\ncontent  SHA-256 {}\nmade     {}\n",
        word.plan,
        clean(&word.reason),
        word.digest,
        moment(word.created)
    )
}

fn ordinal(number: u32) -> String {
    match number {
        1 => "first".to_owned(),
        2 => "second".to_owned(),
        3 => "third".to_owned(),
        more => format!("{more}th"),
    }
}

/// What a proposal would change, in words.
pub(crate) fn differences(looked: &Looked) -> Vec<String> {
    let mut contents = looked.contents.iter();
    let line = |difference: &Difference| {
        let told = self::difference(difference);
        match difference {
            // Words lie in the list of plans, too; they are called what they are.
            Difference::PlanAdded(_) | Difference::PlanChanged(..) => match contents.next() {
                Some(Content::Word(said)) => {
                    format!(
                        "{} (the word that plan {} {})",
                        told.replacen("plan", "word", 1),
                        said.plan,
                        says(said)
                    )
                }
                Some(Content::Plan(_)) | None => told,
            },
            Difference::PlanWithdrawn(name) => match looked.gone.get(name) {
                Some(Gone::Word(said)) => {
                    format!(
                        "{} (the word that plan {} {})",
                        told.replacen("plan", "word", 1),
                        said.plan,
                        says(said)
                    )
                }
                Some(Gone::Plan { state }) => format!("{told} (its rollout is {state}, says the server)"),
                None => told,
            },
            Difference::KeyAdded(..)
            | Difference::KeyRemoved(..)
            | Difference::Threshold(..)
            | Difference::Online(..)
            | Difference::Custody(..)
            | Difference::Expires(..) => told,
        }
    };
    looked.differences.iter().map(line).collect()
}

fn says(word: &Word) -> &'static str {
    match word.says {
        Says::Resume { .. } => "goes on",
        Says::Back => "goes back",
    }
}

/// One difference, in words.
fn difference(difference: &Difference) -> String {
    match difference {
        Difference::PlanAdded(plan) => {
            format!("+ plan {}, {} bytes, SHA-256 {}", plan.name.0, plan.length, hex(&plan.sha256))
        }
        Difference::PlanChanged(before, after) => {
            format!("~ plan {}: SHA-256 {} becomes {}", after.name.0, hex(&before.sha256), hex(&after.sha256))
        }
        Difference::PlanWithdrawn(name) => format!("- plan {}", name.0),
        Difference::KeyAdded(document, key) => format!("+ {} {}", holder(*document), told(key)),
        Difference::KeyRemoved(document, key) => format!("- {} {}", holder(*document), told(key)),
        Difference::Threshold(document, 0, after) => {
            format!("+ {after} of the {}s must sign", holder(*document))
        }
        Difference::Threshold(document, before, after) => {
            format!("~ of the {}s {after} must sign instead of {before}", holder(*document))
        }
        Difference::Online(before, after) if before.is_empty() => {
            format!("+ the server's key {}", listed(after))
        }
        Difference::Online(before, after) => {
            format!("~ the server's key {} instead of {}", listed(after), listed(before))
        }
        Difference::Custody(_, Custody::Server) => "! ONE-KEY MODE: the server alone approves".to_owned(),
        Difference::Custody(_, Custody::People { threshold, keys }) => {
            format!("~ people approve: {threshold} of {keys} keys")
        }
        Difference::Expires(document, at) => format!("  the {} until {}", titled(*document), moment(*at)),
    }
}

/// Who signs a document.
fn holder(document: Document) -> &'static str {
    match document {
        Document::Root => "owner",
        Document::Targets | Document::Plans => "approver",
    }
}

fn titled(document: Document) -> &'static str {
    match document {
        Document::Root => "root is good",
        Document::Targets => "list of approvers is good",
        Document::Plans => "list of plans is good",
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// How a proposal stands, and what to do next.
pub(crate) fn stands(answer: &Answer) -> String {
    let id = answer.id;
    let mut out = String::new();
    match answer.state.as_str() {
        "open" => {
            let _ = writeln!(out, "Proposal {id} ({}) lacks", clean(&answer.title));
            // Documents mostly lack the same.
            let mut told: Vec<(&Missing, Vec<&str>)> = Vec::new();
            for missing in &answer.missing {
                let same = told
                    .iter_mut()
                    .find(|(known, _)| known.count == missing.count && known.may_sign == missing.may_sign);
                match same {
                    Some((_, documents)) => documents.push(&missing.document),
                    None => told.push((missing, vec![&missing.document])),
                }
            }
            for (missing, documents) in told {
                let names: Vec<String> = missing.may_sign.iter().map(key).collect();
                let _ = writeln!(
                    out,
                    "  {} for {}, of {}",
                    super::lines::count(missing.count as u64, "signer"),
                    clean(&documents.join(", ")),
                    names.join(", ")
                );
            }
            let command = if matches!(answer.kind.as_str(), "keys" | "founding") { "key" } else { "plan" };
            let _ = writeln!(out, "They sign with: palisade {command} sign {id}");
        }
        "published" => {
            let _ = writeln!(out, "In force: {}.", clean(&answer.title));
            if answer.kind == "plan"
                && let Some(plan) = &answer.object
            {
                let _ = writeln!(out, "It begins with: palisade rollout start {}", clean(plan));
            }
        }
        other => _ = writeln!(out, "Proposal {id} ({}) is {}.", clean(&answer.title), clean(other)),
    }
    out
}

/// A key as the server names it.
fn key(key: &Key) -> String {
    let short = clean(key.id.get(..8).unwrap_or(&key.id));
    if key.name.is_empty() { short } else { format!("{} ({short})", clean(&key.name)) }
}
