//! What a proposal is for, told from what was verified. One proposal does one thing: nobody is to sign a second with it unseen.

use super::hand::told;
use super::home::Content;
use rollout::word::{Says, Word};
use std::collections::BTreeMap;
use std::fmt;
use trust::PlanName;
use trust::proposal::{Difference, Document};
use uuid::Uuid;

/// The one thing that a proposal does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Changes keys, or signs everything anew.
    Keys,
    /// Puts this plan in force.
    Plan(Uuid),
    /// Says that this plan's rollout goes on.
    Resume(Uuid),
    /// Says that this plan's hosts go back.
    Back(Uuid),
    /// Withdraws this plan, and the words about it.
    Withdrawal(Uuid),
}

/// What a person means to sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meant {
    /// Whatever the proposal of that id is for, after looking at it.
    Shown,
    /// Something about this plan, after looking at it.
    About(Uuid),
    /// Exactly this.
    Exactly(Purpose),
}

impl Purpose {
    /// The plan that it is about.
    fn plan(self) -> Option<Uuid> {
        match self {
            Self::Keys => None,
            Self::Plan(plan) | Self::Resume(plan) | Self::Back(plan) | Self::Withdrawal(plan) => Some(plan),
        }
    }

    /// Whether the server calls it by this kind.
    fn is_called(self, kind: &str) -> bool {
        match self {
            Self::Keys => kind == "keys" || kind == "founding",
            Self::Plan(_) => kind == "plan",
            Self::Resume(_) | Self::Back(_) => kind == "word",
            Self::Withdrawal(_) => kind == "withdraw",
        }
    }

    /// Refused, with the reason, unless it is what the person means and what the server calls it.
    pub(super) fn check(self, meant: Meant, kind: &str) -> Result<(), String> {
        if !self.is_called(kind) {
            return Err(format!("the server calls this a proposal of kind {kind:?}, but it {self}"));
        }
        match meant {
            Meant::Shown => Ok(()),
            Meant::About(plan) if self.plan() == Some(plan) => Ok(()),
            Meant::Exactly(meant) if meant == self => Ok(()),
            Meant::About(plan) => Err(format!("you asked for plan {plan}, but this {self}")),
            Meant::Exactly(meant) => Err(format!("you asked for something that {meant}, but this {self}")),
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keys => out.write_str("changes or renews keys"),
            Self::Plan(plan) => write!(out, "puts plan {plan} in force"),
            Self::Resume(plan) => write!(out, "lets the rollout of plan {plan} go on"),
            Self::Back(plan) => write!(out, "takes the hosts of plan {plan} back to the old versions"),
            Self::Withdrawal(plan) => write!(out, "withdraws plan {plan}"),
        }
    }
}

/// Something that goes from the list of plans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Gone {
    /// A word; its digest was verified.
    Word(Word),
    /// A plan, and where the server says that its rollout stands.
    Plan {
        /// The state's word.
        state: String,
    },
}

impl Gone {
    /// Whether nothing is lost with it. What is over leaves the list with the next proposal, whatever that is for: a plan
    /// whose rollout has ended, a word that a rollout goes on (it serves once), a word about a plan that goes, too.
    ///
    /// That a rollout has ended is the server's word. By lying it gains nothing: it could withhold the plan as well.
    fn is_over(&self, subject: Option<Uuid>, gone: &BTreeMap<PlanName, Self>) -> bool {
        match self {
            Self::Plan { state } => {
                ["complete", "rolled-back", "aborted", "superseded", "retracted"].contains(&state.as_str())
            }
            Self::Word(word) => match word.says {
                Says::Resume { .. } => true,
                Says::Back => subject == Some(word.plan.0) || gone.contains_key(&PlanName(word.plan.0)),
            },
        }
    }
}

/// What a proposal is for, from its differences, from what comes into the list of plans, and from what goes; refused when
/// that is more than one thing. `object`: the plan that is withdrawn, if one is.
pub(super) fn purpose(
    differences: &[Difference],
    contents: &[Content],
    gone: &BTreeMap<PlanName, Gone>,
    object: Option<Uuid>,
) -> Result<Purpose, String> {
    let about_keys: Vec<String> = differences.iter().filter_map(about_keys).collect();
    let purpose = match contents {
        [first, ..] if !about_keys.is_empty() => {
            let keys = about_keys.join(", ");
            return Err(format!(
                "it changes keys and plans at once: it {keys}, and it changes {}",
                first.told()
            ));
        }
        [] if !about_keys.is_empty() => Purpose::Keys,
        [Content::Plan(plan)] => Purpose::Plan(plan.id.0),
        [Content::Word(word)] => match word.says {
            Says::Resume { .. } => Purpose::Resume(word.plan.0),
            Says::Back => Purpose::Back(word.plan.0),
        },
        [] => match object.filter(|object| gone.contains_key(&PlanName(*object))) {
            Some(object) => Purpose::Withdrawal(object),
            None => Purpose::Keys,
        },
        several => {
            let told: Vec<String> = several.iter().map(Content::told).collect();
            return Err(format!("it puts several things in force at once: {}", told.join(", ")));
        }
    };
    let subject = purpose.plan();
    let meant = |name: &PlanName| purpose == Purpose::Withdrawal(name.0);
    let lost = gone.iter().find(|(name, what)| !meant(name) && !what.is_over(subject, gone));
    match lost {
        None => Ok(purpose),
        Some((name, Gone::Plan { state })) => Err(format!(
            "it {purpose}, and also withdraws plan {}, whose rollout is not over ({state:?})",
            name.0
        )),
        Some((_, Gone::Word(word))) => {
            Err(format!("it {purpose}, and also withdraws the word that plan {} goes back", word.plan))
        }
    }
}

/// What a difference changes about keys.
fn about_keys(difference: &Difference) -> Option<String> {
    match difference {
        Difference::PlanAdded(_)
        | Difference::PlanChanged(..)
        | Difference::PlanWithdrawn(_)
        | Difference::Expires(Document::Plans, _) => None,
        Difference::KeyAdded(document, key) => Some(format!("lets key {} sign the {document}", told(key))),
        Difference::KeyRemoved(document, key) => {
            Some(format!("takes key {} from the signers of the {document}", told(key)))
        }
        Difference::Threshold(document, _, after) => Some(format!("lets {after} sign the {document}")),
        Difference::Online(..) => Some("changes the server's key".to_owned()),
        Difference::Custody(..) => Some("changes who holds the keys".to_owned()),
        Difference::Expires(document, _) => Some(format!("signs the {document} anew")),
    }
}
