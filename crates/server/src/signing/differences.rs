//! What a proposal would change, in words, for people who are asked to sign it.

use super::Error;
use crate::store::{Store, plans, words};
use rollout::word::{Says, Word};
use std::collections::BTreeMap;
use trust::keys::PublicKey;
use trust::proposal::{Difference, Document, Proposal};
use trust::standing::{Custody, Standing};
use trust::{PlanName, PlanTarget};

/// The differences, in the order in which people should look at them. `new`: a word that is not in the store yet.
pub(super) async fn told(
    store: &Store,
    proposal: &Proposal,
    standing: Option<&Standing>,
    new: Option<&Word>,
) -> Result<Vec<String>, Error> {
    let found = proposal.differences(standing)?;
    let mut names = names(store, &found).await?;
    names.extend(new.map(|word| (PlanName(word.id), said(word))));
    Ok(found.iter().map(|difference| line(difference, &names)).collect())
}

/// Titles of plans, and what words say.
async fn names(store: &Store, found: &[Difference]) -> Result<BTreeMap<PlanName, String>, Error> {
    let mut names = BTreeMap::new();
    let mut others = Vec::new();
    for difference in found {
        let name = match difference {
            Difference::PlanAdded(plan) | Difference::PlanChanged(plan, _) => plan.name,
            Difference::PlanWithdrawn(name) => *name,
            Difference::KeyAdded(..)
            | Difference::KeyRemoved(..)
            | Difference::Threshold(..)
            | Difference::Online(..)
            | Difference::Custody(..)
            | Difference::Expires(..) => continue,
        };
        match plans::get(store, &name.0.to_string()).await? {
            Some(plan) => _ = names.insert(name, format!("plan \"{}\"", plan.title)),
            None => others.push(name.0.to_string()),
        }
    }
    for word in words::among(store, &others).await? {
        names.insert(PlanName(word.id), said(&word));
    }
    Ok(names)
}

fn said(word: &Word) -> String {
    match word.says {
        Says::Resume { generation } => {
            format!("word that plan {} goes on ({generation}): {}", word.plan, word.reason)
        }
        Says::Back => format!("word that plan {} goes back: {}", word.plan, word.reason),
    }
}

fn line(difference: &Difference, names: &BTreeMap<PlanName, String>) -> String {
    let name = |name: PlanName| match names.get(&name) {
        Some(known) => format!("{known} ({})", name.0),
        None => format!("{} (not known to this server)", name.0),
    };
    let digest = |plan: &PlanTarget| rollout::plan::Digest(plan.sha256);
    match difference {
        Difference::PlanAdded(plan) => {
            format!("{} comes into force, SHA-256 {}", name(plan.name), digest(plan))
        }
        Difference::PlanChanged(_, plan) => {
            format!("{} gets another content, SHA-256 {}", name(plan.name), digest(plan))
        }
        Difference::PlanWithdrawn(plan) => format!("{} is withdrawn", name(*plan)),
        Difference::KeyAdded(document, key) => {
            format!("{} may sign {} from now on", shown(key), role(*document))
        }
        Difference::KeyRemoved(document, key) => {
            format!("{} may sign {} no longer", shown(key), role(*document))
        }
        Difference::Threshold(document, 0, after) => format!("{after} must sign {}", role(*document)),
        Difference::Threshold(document, before, after) => {
            format!("{after} must sign {} instead of {before}", role(*document))
        }
        Difference::Online(_, keys) => {
            format!("the server's own key is {}", keys.iter().map(shown).collect::<Vec<_>>().join(", "))
        }
        Difference::Custody(_, Custody::Server) => {
            "ONE-KEY MODE: the server approves by itself; whoever captures it can install what they like"
                .to_owned()
        }
        Difference::Custody(_, Custody::People { threshold, keys }) => {
            format!("people approve: {threshold} of {keys} keys")
        }
        Difference::Expires(document, at) => format!("{} is good until {at}", role_alone(*document)),
    }
}

fn shown(key: &PublicKey) -> String {
    match key.name() {
        "" => format!("key {}", key.id().short()),
        name => format!("key {} ({name})", key.id().short()),
    }
}

fn role(document: Document) -> &'static str {
    match document {
        Document::Root | Document::Targets => "for the owners",
        Document::Plans => "for the approvers",
    }
}

fn role_alone(document: Document) -> &'static str {
    match document {
        Document::Root => "the root",
        Document::Targets => "the targets (who approves)",
        Document::Plans => "the list of plans",
    }
}
