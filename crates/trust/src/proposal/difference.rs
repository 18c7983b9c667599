//! What a proposal would change, for people to read before they sign.

use super::{Document, Error, Proposal};
use crate::keys::PublicKey;
use crate::metadata::from_tough;
use crate::plan::{PlanName, PlanTarget};
use crate::standing::{Custody, Standing};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// What a proposal would change, to be read before it is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// A plan comes into force.
    PlanAdded(PlanTarget),
    /// A plan's content changes: before, after.
    PlanChanged(PlanTarget, PlanTarget),
    /// A plan is withdrawn.
    PlanWithdrawn(PlanName),
    /// A key may sign this document from now on.
    KeyAdded(Document, PublicKey),
    /// A key may sign this document no longer.
    KeyRemoved(Document, PublicKey),
    /// Another number of signers: before, after.
    Threshold(Document, u64, u64),
    /// The server's key: before, after.
    Online(Vec<PublicKey>, Vec<PublicKey>),
    /// Who must be captured: before (where there was a before), after.
    Custody(Option<Custody>, Custody),
    /// Until when this document is good.
    Expires(Document, Timestamp),
}

impl Proposal {
    /// What would change, in the order in which people should look at it.
    pub fn differences(&self, standing: Option<&Standing>) -> Result<Vec<Difference>, Error> {
        // Refuses what does not follow, and what delegates to nobody.
        self.roles(standing)?;
        let mut found = Vec::new();
        let would_be = self.would_be(standing);
        if let Some(would_be) = &would_be {
            let before = standing.map(Standing::custody);
            if before != Some(would_be.custody()) {
                found.push(Difference::Custody(before, would_be.custody()));
            }
            let quorums =
                |of: &Standing| [(Document::Root, of.owners()), (Document::Plans, of.approvers())].map(Some);
            let old = standing.map_or([None, None], quorums);
            for (old, (document, new)) in old.into_iter().zip(quorums(would_be).into_iter().flatten()) {
                let (old_keys, old_threshold) =
                    old.map_or((Vec::new(), 0), |(_, old)| (old.keys().to_vec(), old.threshold()));
                let added = new.keys().iter().filter(|key| !old_keys.contains(key));
                found.extend(added.map(|key| Difference::KeyAdded(document, key.clone())));
                let removed = old_keys.iter().filter(|key| !new.keys().contains(key));
                found.extend(removed.map(|key| Difference::KeyRemoved(document, key.clone())));
                if old_threshold != new.threshold() {
                    let (old, new) = (u64::from(old_threshold), u64::from(new.threshold()));
                    found.push(Difference::Threshold(document, old, new));
                }
            }
            let online = standing.map(Standing::online).unwrap_or_default();
            if online != would_be.online() {
                found.push(Difference::Online(online, would_be.online()));
            }
        }
        if let Some(new) = self.plans() {
            let by_name = |plans: Vec<PlanTarget>| -> BTreeMap<PlanName, PlanTarget> {
                plans.into_iter().map(|plan| (plan.name, plan)).collect()
            };
            let mut old = by_name(standing.map(Standing::plans).unwrap_or_default());
            for plan in new {
                match old.remove(&plan.name) {
                    None => found.push(Difference::PlanAdded(plan)),
                    Some(before) if before != plan => found.push(Difference::PlanChanged(before, plan)),
                    Some(_) => {}
                }
            }
            found.extend(old.into_keys().map(Difference::PlanWithdrawn));
        }
        let expiries = [
            (Document::Root, self.root.as_ref().map(|root| root.signed.expires)),
            (Document::Targets, self.targets.as_ref().map(|targets| targets.signed.expires)),
            (Document::Plans, self.plans.as_ref().map(|plans| plans.signed.expires)),
        ];
        found.extend(
            expiries
                .into_iter()
                .filter_map(|(document, at)| Some(Difference::Expires(document, from_tough(at?)))),
        );
        Ok(found)
    }

    /// The standing as it would be, unsigned: only to be looked at.
    fn would_be(&self, standing: Option<&Standing>) -> Option<Standing> {
        Some(Standing {
            root: self.root.clone().or_else(|| Some(standing?.root.clone()))?,
            targets: self.targets.clone().or_else(|| Some(standing?.targets.clone()))?,
            plans: self.plans.clone().or_else(|| Some(standing?.plans.clone()))?,
        })
    }
}
