//! What `palisade agent status` says of rollouts: the plan at hand, why it waits, who may sign.

use agent::{JobStatus, TrustStatus};

/// Stages that are shown; all are in the JSON.
const RECEIPTS_SHOWN: usize = 6;

/// Name and value of each line.
pub(super) fn rows(job: &JobStatus) -> Vec<(&'static str, String)> {
    let mut rows = vec![("hand", job.hand.to_string()), ("allows", allowed(job))];
    rows.extend(trust(&job.trust));
    if let Some(blocked) = &job.blocked {
        rows.push(("stopped", blocked.to_string()));
    }
    if let Some(plan) = &job.plan {
        let title = job.title.as_ref().map(|title| format!(": {title}")).unwrap_or_default();
        let back = if job.back { ", back" } else { "" };
        let fence = job.fence.unwrap_or_default();
        rows.push(("plan", format!("{plan}{title} (grant {fence}{back})")));
        let since = job.since.map(|at| format!(" since {at:.0}")).unwrap_or_default();
        rows.push(("stage", format!("{}{since}", job.stage.as_deref().unwrap_or_default())));
    } else {
        rows.push(("plan", "none yet".to_owned()));
    }
    if let Some(rests) = &job.rests {
        rows.push(("waits", rests.clone()));
    }
    let hidden = job.receipts.len().saturating_sub(RECEIPTS_SHOWN);
    for receipt in job.receipts.iter().skip(hidden) {
        rows.push(("", format!("{:.0} grant {}: {}", receipt.at, receipt.fence, receipt.stage)));
    }
    rows
}

fn allowed(job: &JobStatus) -> String {
    if job.never {
        return "no plan at all, says its owner".to_owned();
    }
    let mut told = vec!["what approvers sign".to_owned()];
    if !job.excluded.is_empty() {
        told.push(format!("nothing of {}", job.excluded.join(", ")));
    }
    if job.windows > 0 {
        told.push(format!("in {} windows of its owner's", job.windows));
    }
    told.join("; ")
}

fn trust(trust: &TrustStatus) -> Vec<(&'static str, String)> {
    let mut rows = Vec::new();
    let who = match (trust.root_version, trust.updated) {
        (None, _) => "nobody yet: no root was given".to_owned(),
        (Some(root), None) => format!("root {root}; not verified since the agent started"),
        (Some(root), Some(at)) if trust.one_key => {
            format!(
                "THE SERVER ALONE (one-key mode): whoever captures it installs what they like; root {root}, {at:.0}"
            )
        }
        (Some(root), Some(at)) => format!(
            "{} of {} approvers ({}); root {root}, verified {at:.0}",
            trust.threshold,
            trust.approvers.len(),
            trust.approvers.join(", ")
        ),
    };
    rows.push(("approved by", who));
    if let Some((what, at)) = trust.expires.iter().min_by_key(|(_, at)| *at) {
        rows.push(("expires", format!("{what} at {at:.0}, unless signed anew")));
    }
    if let Some(problem) = &trust.problem {
        rows.push(("not believed", problem.clone()));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn who_holds_the_keys_what_is_pretended_and_why_it_waits_are_said_aloud() {
        let told = |one_key: bool, hand: &str| {
            let job = json!({
                "hand": hand, "never": false, "excluded": ["linux"], "windows": 2, "plan": "0192", "title": "oil",
                "fence": 3, "back": false, "stage": "fetched", "since": "2026-11-30T00:00:00Z",
                "rests": "waits for the centre's word", "blocked": null,
                "trust": {
                    "root_version": 4, "one_key": one_key, "threshold": 2, "approvers": ["ada", "ben", "cleo"],
                    "expires": [["root", "2027-11-30T00:00:00Z"], ["plans", "2026-12-30T00:00:00Z"]],
                    "updated": "2026-11-30T00:00:00Z", "plans": 1, "problem": null,
                },
                "receipts": [],
            });
            let rows = rows(&serde_json::from_value(job).unwrap());
            rows.into_iter().map(|(name, value)| format!("{name}={value}\n")).collect::<Vec<_>>().concat()
        };
        let people = told(false, "eyes");
        assert!(people.contains("approved by=2 of 3 approvers (ada, ben, cleo); root 4"), "{people}");
        assert!(people.contains("expires=plans at 2026-12-30"), "{people}");
        assert!(people.contains("allows=what approvers sign; nothing of linux; in 2 windows"), "{people}");
        assert!(
            people.contains("plan=0192: oil (grant 3)") && people.contains("waits=waits for"),
            "{people}"
        );
        let alone = told(true, "dry");
        assert!(alone.contains("THE SERVER ALONE") && alone.contains("hand=DRY: pretends"), "{alone}");
    }
}
