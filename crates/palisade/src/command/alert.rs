//! `palisade alert`: what holds the gates.

use super::session::{Session, pairs, print};
use crate::cli::fleet::Asking;
use crate::cli::rollout::Alert;
use crate::client::escaped;
use anyhow::Result;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::process::ExitCode;

pub(crate) fn run(command: &Alert, asking: &Asking) -> Result<ExitCode> {
    let session = Session::open(asking)?;
    match command {
        Alert::List => {
            let columns = [
                ("alert", "/name"),
                ("since", "/since"),
                ("holds gates", "/holds"),
                ("labels", "/labels"),
                ("note", "/annotations"),
            ];
            session.list(&session.client.list("/alerts", &[], 10_000)?, &columns, "no alert is firing")
        }
        Alert::Raise { name, label, note } => {
            let mut labels: Map<String, Value> =
                pairs(label)?.into_iter().map(|(name, value)| (name, value.into())).collect();
            labels.insert("alertname".to_owned(), name.as_str().into());
            // As Alertmanager sends it.
            let alert = json!({
                "status": "firing", "labels": labels, "annotations": { "summary": note },
                "fingerprint": name, "startsAt": Timestamp::now(),
            });
            let answer = session.client.post("/alerts", &json!({ "alerts": [alert] }))?;
            told(&session, &answer, "Raised: gates hold until it is cleared.\n")
        }
        Alert::Clear { name } => {
            let answer = session.client.delete(&format!("/alerts/{}", escaped(name)), &[])?;
            told(&session, &answer, "Cleared.\n")
        }
    }
}

fn told(session: &Session, answer: &Value, text: &str) -> Result<ExitCode> {
    if session.json { print(&(serde_json::to_string_pretty(answer)? + "\n")) } else { print(text) }
}
