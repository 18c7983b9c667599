//! Looks at a proposal at home: everything that is shown before signing comes from bytes that were verified here. The server's
//! own words about a proposal are held against them, and are never shown in their place.

use super::memory::{Acquaintance, Memory};
use super::purpose::{Gone, Meant, purpose};
use crate::answers::{self, Proposal as Answer};
use crate::client::{Client, escaped};
use crate::output::plan::{NAMES_MAX, Names};
use crate::output::table::clean;
use anyhow::{Context, Result, bail};
use rollout::plan::Plan;
use rollout::word::{self, Word};
use std::collections::BTreeMap;
use trust::keys::PublicKey;
use trust::proposal::{Difference, Proposal};
use trust::standing::Standing;
use trust::{PlanName, PlanTarget};
use uuid::Uuid;

/// Bytes of a word.
const WORD_BYTES_MAX: u64 = word::BYTES_MAX as u64;

/// A proposal that was looked at.
#[derive(Debug)]
pub(crate) struct Looked {
    /// As the server told it.
    pub(crate) answer: Answer,
    /// The documents.
    pub(crate) proposal: Proposal,
    /// What stands; nothing when a fleet is founded.
    pub(crate) standing: Option<Standing>,
    /// What it would change.
    pub(crate) differences: Vec<Difference>,
    /// What comes into the list of plans, each with its digest verified.
    pub(crate) contents: Vec<Content>,
    /// What goes from the list.
    pub(crate) gone: BTreeMap<PlanName, Gone>,
    /// Names of the canaries, as the server has them: a plan has ids only.
    pub(crate) names: Names,
    /// How the fleet was known.
    pub(crate) acquaintance: Acquaintance,
    memory: Memory,
}

/// Something that comes into the list of plans.
#[derive(Debug)]
pub(crate) enum Content {
    /// A plan.
    Plan(Box<Plan>),
    /// Approvers' word about a plan.
    Word(Word),
}

impl Content {
    /// What it is, for people.
    pub(super) fn told(&self) -> String {
        match self {
            Self::Plan(plan) => format!("plan {}", plan.id),
            Self::Word(word) => format!("a word about plan {}", word.plan),
        }
    }
}

/// Fetches and verifies a proposal, and what it is made on. `meant`: what the signer means; a proposal that does anything else
/// is refused.
pub(crate) fn look(client: &Client, proposal: Uuid, meant: Meant) -> Result<Looked> {
    let answer: Answer = answers::read("a proposal", client.get(&format!("/proposals/{proposal}"), &[])?)?;
    let proposal = Proposal::read(&serde_json::to_vec(&answer.body)?)?;
    if proposal.digest() != answer.digest {
        bail!(
            "refused: the server calls this proposal {}, and its documents have the digest {}",
            clean(&answer.digest),
            proposal.digest()
        );
    }
    let mut memory = Memory::open(client)?;
    let founded = answers::read::<answers::Trust>("the trust", client.get("/trust", &[])?)?.founded;
    let (standing, acquaintance) = if founded {
        let (standing, acquaintance) = standing(client, &mut memory)?;
        (Some(standing), acquaintance)
    } else {
        memory.expect_nothing()?;
        (None, Acquaintance::First)
    };
    let differences = proposal.differences(standing.as_ref())?;
    let contents: Vec<Content> =
        differences.iter().filter_map(coming).map(|plan| content(client, plan)).collect::<Result<_>>()?;
    let gone = gone(client, standing.as_ref(), &differences)?;
    let object = answer.object.as_deref().and_then(|object| Uuid::try_parse(object).ok());
    let purpose = purpose(&differences, &contents, &gone, object);
    let checked = purpose.and_then(|purpose| purpose.check(meant, &answer.kind));
    if let Err(told) = checked {
        bail!("refused: {told}; tell the other approvers");
    }
    let mut names = Names::new();
    for content in &contents {
        if let Content::Plan(plan) = content {
            names.extend(canary_names(client, plan));
        }
    }
    Ok(Looked { answer, proposal, standing, differences, contents, gone, names, acquaintance, memory })
}

/// The names of a plan's canaries, as the server has them. A host that it does not know has none.
pub(crate) fn canary_names(client: &Client, plan: &Plan) -> Names {
    let canaries = plan.waves.iter().flat_map(|wave| &wave.cohorts).filter(|cohort| cohort.canary);
    let hosts = canaries.flat_map(|cohort| &cohort.hosts).take(NAMES_MAX);
    hosts
        .filter_map(|host| {
            let shown = client.get(&format!("/hosts/{host}"), &[]).ok()?;
            Some((*host, shown["name"].as_str()?.to_owned()))
        })
        .collect()
}

/// What stands, verified from what is remembered at home.
pub(crate) fn standing(client: &Client, memory: &mut Memory) -> Result<(Standing, Acquaintance)> {
    let bytes = client.bytes("/trust/standing", &[])?;
    let standing: Standing = serde_json::from_slice(&bytes)
        .context("refused: what stands does not verify by its own root; the server is broken, or lies")?;
    let acquaintance = memory.believe(client, &standing)?;
    Ok((standing, acquaintance))
}

impl Looked {
    /// The keys that may still sign.
    pub(crate) fn may_sign(&self) -> Result<Vec<PublicKey>> {
        let mut keys: Vec<PublicKey> = Vec::new();
        for missing in self.proposal.missing(self.standing.as_ref())? {
            for key in missing.may_sign {
                if !keys.contains(&key) {
                    keys.push(key);
                }
            }
        }
        Ok(keys)
    }

    /// Remembers what was signed, where it founds a fleet.
    pub(crate) fn signed(&mut self) -> Result<()> {
        if self.standing.is_none() { self.memory.founding(&self.proposal) } else { Ok(()) }
    }
}

/// What comes into the list by this difference.
fn coming(difference: &Difference) -> Option<&PlanTarget> {
    if let Difference::PlanAdded(plan) | Difference::PlanChanged(_, plan) = difference {
        Some(plan)
    } else {
        None
    }
}

/// What goes from the list by this difference.
pub(super) fn going(difference: &Difference) -> Option<PlanName> {
    if let Difference::PlanWithdrawn(name) = difference { Some(*name) } else { None }
}

/// What goes: words, by their bytes; and plans, by where their rollouts stand.
fn gone(
    client: &Client,
    standing: Option<&Standing>,
    differences: &[Difference],
) -> Result<BTreeMap<PlanName, Gone>> {
    let listed = standing.map(Standing::plans).unwrap_or_default();
    let mut gone = BTreeMap::new();
    for name in differences.iter().filter_map(going) {
        // A plan is longer than any word.
        let short = listed.iter().find(|target| target.name == name && target.length <= WORD_BYTES_MAX);
        let word = short.map(|target| verified(client, target)).transpose()?;
        let what = if let Some(word) = word.and_then(|bytes| Word::read(&bytes).ok()) {
            Gone::Word(word)
        } else {
            let rollout = client.get(&format!("/rollouts/{}", name.0), &[]);
            let state = rollout.ok().and_then(|rollout| rollout["state"].as_str().map(clean));
            Gone::Plan { state: state.unwrap_or_else(|| "not known".to_owned()) }
        };
        gone.insert(name, what);
    }
    Ok(gone)
}

/// The bytes behind an entry of the list, if they are what the list names.
fn verified(client: &Client, target: &PlanTarget) -> Result<Vec<u8>> {
    let PlanName(id) = target.name;
    let bytes = client.bytes(&format!("/plans/{}/bytes", escaped(&id.to_string())), &[])?;
    if !target.is(&bytes) {
        bail!(
            "refused: the server shows other bytes for plan {id} than the list of plans names; tell the other approvers"
        );
    }
    Ok(bytes)
}

/// What comes into the list.
fn content(client: &Client, target: &PlanTarget) -> Result<Content> {
    let PlanName(id) = target.name;
    let bytes = verified(client, target)?;
    match Word::read(&bytes) {
        Ok(word) if word.id == id => return Ok(Content::Word(word)),
        Ok(word) => bail!("refused: the list names {id}, and its bytes are word {}", word.id),
        Err(_) => {}
    }
    let plan = Plan::read(&bytes).map_err(|problem| anyhow::anyhow!("refused: plan {id}: {problem}"))?;
    if plan.id.0 != id {
        bail!("refused: the list names plan {id}, and its bytes are plan {}", plan.id);
    }
    let faults = plan.check(jiff::tz::db());
    if let Some(fault) = faults.first() {
        bail!("refused: plan {id} cannot be carried out: {fault}");
    }
    Ok(Content::Plan(Box::new(plan)))
}
