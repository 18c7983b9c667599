//! Facts about exploitation and severity of a CVE: KEV, EPSS, SSVC decision points, CVSS vectors.

use crate::problem::Problem;
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

impl Signals {
    /// Adds what `other` knows. Of two catalogues or score files the later dated counts as a whole, so that an entry
    /// taken back does not survive; with equal dates they are joined.
    pub fn merge(&mut self, other: Self) {
        newer(&mut self.kev_released, &mut self.kev, other.kev_released, other.kev);
        newer(&mut self.epss_date, &mut self.epss, other.epss_date, other.epss);
        self.ssvc.extend(other.ssvc);
        for (cve, vectors) in other.cvss {
            let known = self.cvss.entry(cve).or_default();
            for vector in vectors {
                if !known.contains(&vector) {
                    known.push(vector);
                }
            }
        }
    }
}

fn newer<D: PartialOrd, T>(
    date: &mut Option<D>,
    known: &mut BTreeMap<String, T>,
    other_date: Option<D>,
    mut other: BTreeMap<String, T>,
) {
    match other_date.partial_cmp(date) {
        Some(std::cmp::Ordering::Greater) if date.is_some() => (*date, *known) = (other_date, other),
        Some(std::cmp::Ordering::Less) if other_date.is_some() => {}
        _ => {
            known.append(&mut other);
            if other_date > *date {
                *date = other_date;
            }
        }
    }
}

/// What a CVSS vector says about urgency.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cvss {
    /// Base score, 0 to 10.
    pub base_score: f64,
    /// SSVC "Automatable", guessed from the vector; see [`cvss()`].
    pub automatable: bool,
}

/// Metrics of one CVSS version: those the base score needs, and what each must be for an attack to be automatable.
struct Scheme {
    prefix: &'static str,
    base: &'static [&'static str],
    automatable: &'static [(&'static str, &'static str)],
}

const V2: Scheme = Scheme {
    prefix: "",
    base: &["AV", "AC", "Au", "C", "I", "A"],
    automatable: &[("AV", "N"), ("AC", "L"), ("Au", "N")],
};
const V3_BASE: &[&str] = &["AV", "AC", "PR", "UI", "S", "C", "I", "A"];
const V3_AUTOMATABLE: &[(&str, &str)] = &[("AV", "N"), ("AC", "L"), ("PR", "N"), ("UI", "N")];
const V30: Scheme = Scheme { prefix: "CVSS:3.0", base: V3_BASE, automatable: V3_AUTOMATABLE };
const V31: Scheme = Scheme { prefix: "CVSS:3.1", base: V3_BASE, automatable: V3_AUTOMATABLE };
const V40: Scheme = Scheme {
    prefix: "CVSS:4.0",
    base: &["AV", "AC", "AT", "PR", "UI", "VC", "VI", "VA", "SC", "SI", "SA"],
    automatable: &[("AV", "N"), ("AC", "L"), ("AT", "N"), ("PR", "N"), ("UI", "N")],
};

/// Bytes of a vector. Version 4.0 with every metric has some 220.
const VECTOR_BYTES_MAX: usize = 512;

/// Base score and automatability of a CVSS vector of version 2, 3.0, 3.1 or 4.0.
///
/// Automatable, after CERT/CC's SSVC guidance on deriving decision points from CVSS: the attack goes over the network,
/// is of low complexity, and needs neither privileges nor anybody's help (version 2 does not tell of help; 4.0 must
/// also have no attack requirements). 4.0's own metric `AU`, where given, decides instead. Anything less is *not*
/// automatable. An unparsable vector says neither: it is a problem.
pub fn cvss(vector: &str) -> Result<Cvss, Problem> {
    let shown: String = vector.chars().take(VECTOR_BYTES_MAX).filter(|char| !char.is_control()).collect();
    let bad = |reason: String| {
        Problem::new("read CVSS vector", shown.clone(), reason)
            .remedy("severity and automatability are taken as not given")
    };
    if vector.len() > VECTOR_BYTES_MAX {
        return Err(bad(format!("longer than {VECTOR_BYTES_MAX} bytes")));
    }
    let scheme =
        [&V40, &V31, &V30].into_iter().find(|scheme| vector.starts_with(scheme.prefix)).unwrap_or(&V2);
    if scheme.prefix.is_empty() && vector.starts_with("CVSS:") {
        return Err(bad("a version other than 2, 3.0, 3.1 and 4.0".to_owned()));
    }
    let mut metrics = BTreeMap::new();
    for part in vector[scheme.prefix.len()..].split('/').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once(':').ok_or_else(|| bad(format!("{part:?} is no metric")))?;
        if metrics.insert(name, value).is_some() {
            return Err(bad(format!("metric {name} stands twice")));
        }
    }
    // Only base metrics are scored: threat and environment would make scores of two scorers incomparable. The order is
    // the specification's, whatever the vector's.
    let mut base = scheme.prefix.to_owned();
    for name in scheme.base {
        let value = metrics.get(name).ok_or_else(|| bad(format!("metric {name} is missing")))?;
        if !base.is_empty() {
            base.push('/');
        }
        base.extend([name, ":", value]);
    }
    let parsed: cvss::Cvss = base.parse().map_err(|error: cvss::Error| bad(error.to_string()))?;
    let derived = scheme.automatable.iter().all(|(name, value)| metrics.get(name) == Some(value));
    let automatable = match metrics.get("AU").copied() {
        Some("Y") if scheme.prefix == V40.prefix => true,
        Some("N") if scheme.prefix == V40.prefix => false,
        _ => derived,
    };
    Ok(Cvss { base_score: parsed.score(), automatable })
}

/// Whether an attack can be automated, as far as a vector tells: `None` where it does not parse. The rule is at [`cvss()`],
/// which also says what is wrong with it.
pub fn automatable(vector: &str) -> Option<bool> {
    cvss(vector).ok().map(|cvss| cvss.automatable)
}
