//! A draft for an abuse desk in X-ARF, version 4 (xarf.org): one report about one network.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::Serialize;

/// The version of the schema that drafts are written in.
const VERSION: &str = "4.2.0";
/// Longest description that the schema allows.
const DESCRIPTION_CHARACTERS_MAX: usize = 1_000;

/// Who writes.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Party {
    pub(crate) org: String,
    pub(crate) contact: String,
    pub(crate) domain: String,
}

/// One source of the network.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Source {
    pub(crate) address: String,
    pub(crate) attempts: u64,
    pub(crate) signatures: Vec<String>,
    pub(crate) first_seen: Timestamp,
    pub(crate) last_seen: Timestamp,
}

/// Lines of one source.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    pub(crate) address: String,
    pub(crate) text: Vec<u8>,
}

/// What a draft says.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) id: uuid::Uuid,
    pub(crate) party: Party,
    pub(crate) network: String,
    pub(crate) contact: Option<String>,
    pub(crate) sources: Vec<Source>,
    /// CVEs and names of what was tried.
    pub(crate) probed: Vec<String>,
    pub(crate) evidence: Vec<Lines>,
}

#[derive(Serialize)]
struct Report<'a> {
    xarf_version: &'static str,
    #[serde(rename = "report_id")]
    id: String,
    timestamp: Timestamp,
    reporter: &'a Party,
    sender: &'a Party,
    source_identifier: &'a str,
    category: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    evidence_source: &'static str,
    scan_type: &'static str,
    protocol: &'static str,
    first_seen: Timestamp,
    last_seen: Timestamp,
    total_requests: u64,
    vulnerabilities_probed: &'a [String],
    description: String,
    evidence: Vec<Evidence>,
    /// Not of the schema, which allows more: each address of the network.
    sources: &'a [Source],
    /// What the schema keeps for oneself: it is taken out before a report is sent.
    #[serde(rename = "_internal")]
    internal: Internal<'a>,
}

#[derive(Serialize)]
struct Evidence {
    content_type: &'static str,
    description: String,
    payload: String,
    hash: String,
    size: usize,
}

#[derive(Serialize)]
struct Internal<'a> {
    draft: bool,
    contact: Option<&'a str>,
    network: &'a str,
}

impl Draft {
    /// The draft as JSON. It has one source at least.
    pub(crate) fn json(&self) -> serde_json::Result<String> {
        let times = |time: fn(&Source) -> Timestamp| self.sources.iter().map(time);
        let first = times(|source| source.first_seen).min().unwrap_or_default();
        let last = times(|source| source.last_seen).max().unwrap_or_default();
        let attempts = self.sources.iter().map(|source| source.attempts).sum();
        let report = Report {
            xarf_version: VERSION,
            id: self.id.to_string(),
            timestamp: last,
            reporter: &self.party,
            sender: &self.party,
            source_identifier: match &self.sources[..] {
                [only] => &only.address,
                _ => &self.network,
            },
            category: "connection",
            kind: "vulnerability_scan",
            evidence_source: "ids_detection",
            scan_type: "web_vuln_scan",
            protocol: "tcp",
            first_seen: first,
            last_seen: last,
            total_requests: attempts,
            vulnerabilities_probed: &self.probed,
            description: self.description(attempts, first, last),
            evidence: self.evidence.iter().map(evidence).collect(),
            sources: &self.sources,
            internal: Internal { draft: true, contact: self.contact.as_deref(), network: &self.network },
        };
        serde_json::to_string_pretty(&report)
    }

    fn description(&self, attempts: u64, first: Timestamp, last: Timestamp) -> String {
        let addresses: Vec<&str> = self.sources.iter().map(|source| source.address.as_str()).collect();
        let time = |at: Timestamp| at.strftime("%Y-%m-%d %H:%M:%S").to_string();
        let text = format!(
            "{attempts} attacks on our web servers from {} to {} (UTC), from {} of {}: {}. Please look whether it \
             is taken over. The lines are those of the servers' logs; their times carry their distance from UTC, or are UTC. What was tried: {}.",
            time(first),
            time(last),
            if addresses.len() == 1 {
                "1 address".to_owned()
            } else {
                format!("{} addresses", addresses.len())
            },
            self.network,
            addresses.join(", "),
            self.probed.join(", "),
        );
        match text.char_indices().nth(DESCRIPTION_CHARACTERS_MAX - 1) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text,
        }
    }
}

fn evidence(lines: &Lines) -> Evidence {
    Evidence {
        content_type: "text/plain",
        description: format!("Lines of a web server's log with requests from {}", lines.address),
        payload: STANDARD.encode(&lines.text),
        hash: format!("sha256:{}", advisory::digest::sha256(&lines.text)),
        size: lines.text.len(),
    }
}
