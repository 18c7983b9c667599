//! Facts about exploitation and severity of a CVE: KEV, EPSS, SSVC decision points, CVSS vectors.

use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is known about CVEs from signal feeds. `None` of a date means that feed was not given, so silence means nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Signals {
    /// Release time of the KEV catalogue that was read.
    pub kev_released: Option<Timestamp>,
    /// By CVE id: known to be exploited.
    pub kev: BTreeMap<String, KevEntry>,
    /// Date of the EPSS scores that were read.
    pub epss_date: Option<Date>,
    /// By CVE id: probability of exploitation.
    pub epss: BTreeMap<String, EpssScore>,
    /// By CVE id: decision points that somebody (CISA's Vulnrichment, an operator) has published.
    pub ssvc: BTreeMap<String, SsvcPoints>,
    /// By CVE id: CVSS vectors that came with advisories, each once.
    pub cvss: BTreeMap<String, Vec<String>>,
}

/// One entry of the KEV catalogue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KevEntry {
    /// When it was added.
    pub added: Date,
    /// By when US federal agencies must have acted.
    pub due: Date,
    /// Known to be used by ransomware.
    pub ransomware: bool,
    /// Vendor and product, for the reader.
    pub product: String,
}

/// One EPSS score.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpssScore {
    /// Probability of exploitation in the next 30 days, 0 to 1.
    pub probability: f64,
    /// Share of CVEs with a lower score, 0 to 1.
    pub percentile: f64,
}

/// SSVC decision points of a CVE; `None` where nobody has said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SsvcPoints {
    /// Evidence of exploitation.
    pub exploitation: Option<Exploitation>,
    /// Whether an attacker can automate reconnaissance, weaponisation, delivery and exploitation.
    pub automatable: Option<bool>,
}

/// SSVC "Exploitation".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exploitation {
    /// No evidence of exploitation.
    None,
    /// A public proof of concept.
    PublicPoc,
    /// Exploited in the wild.
    Active,
}
