//! KEV: CISA's catalogue of known exploited vulnerabilities, in JSON. Gives signals.
//!
//! Source of the shape: the catalogue's published JSON schema.

use super::intake::{self, Problems};
use crate::problem::Problem;
use crate::signal::{KevEntry, Signals};
use jiff::Timestamp;
use jiff::civil::Date;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Bytes of the catalogue. It has some 1.3 MB (1,404 entries, 2025); fifty times that.
pub const CATALOGUE_BYTES_MAX: u64 = 64 << 20;

/// Bytes of "vendor product".
const PRODUCT_BYTES_MAX: usize = 256;

const OPERATION: &str = "read KEV catalogue";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Catalogue<'a> {
    #[serde(borrow)]
    date_released: Cow<'a, str>,
    #[serde(default)]
    count: Option<u64>,
    #[serde(borrow)]
    vulnerabilities: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    #[serde(rename = "cveID", borrow)]
    cve_id: Cow<'a, str>,
    #[serde(borrow, default)]
    vendor_project: Cow<'a, str>,
    #[serde(borrow, default)]
    product: Cow<'a, str>,
    #[serde(borrow)]
    date_added: Cow<'a, str>,
    #[serde(borrow)]
    due_date: Cow<'a, str>,
    #[serde(borrow, default)]
    known_ransomware_campaign_use: Cow<'a, str>,
}

/// The catalogue as signals. One that is not whole JSON gives nothing: what it leaves out would look unexploited.
pub fn read(feed: &str, json: &[u8], signals: &mut Signals) -> Vec<Problem> {
    let mut problems = Problems::new(feed);
    read_into(feed, json, signals, &mut problems);
    problems.finish()
}

pub(super) fn read_into(feed: &str, json: &[u8], signals: &mut Signals, problems: &mut Problems) {
    let json = json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json);
    let catalogue: Catalogue<'_> = match serde_json::from_slice(json) {
        Ok(catalogue) => catalogue,
        Err(error) if error.is_data() => {
            let reason = format!("it is no KEV catalogue: {error}");
            return problems.refuse(
                OPERATION,
                reason,
                "CISA's known_exploited_vulnerabilities.json is accepted",
            );
        }
        Err(error) => return problems.cut(OPERATION, format_args!("{error}; no entry is used")),
    };
    let Ok(released) = catalogue.date_released.parse::<Timestamp>() else {
        let shown = intake::one_line(&catalogue.date_released, 64);
        return problems
            .cut(OPERATION, format_args!("\"dateReleased\" is no time: {shown:?}; no entry is used"));
    };
    let found = catalogue.vulnerabilities.len() as u64;
    if let Some(count) = catalogue.count.filter(|&count| count != found) {
        problems.cut(OPERATION, format_args!("it promises {count} entries and has {found}"));
    }
    signals.kev_released = signals.kev_released.max(Some(released));
    for (number, raw) in (1..).zip(&catalogue.vulnerabilities) {
        match entry(raw) {
            Ok((cve, entry)) => {
                signals.kev.insert(cve, entry);
            }
            Err(reason) => {
                let object = format!("{feed}: entry {number}");
                problems.push(Problem::new("read KEV entry", object, reason).remedy("the entry is not used"));
            }
        }
    }
}

fn entry(raw: &RawValue) -> Result<(String, KevEntry), String> {
    let entry: Entry<'_> = serde_json::from_str(raw.get()).map_err(|error| error.to_string())?;
    let cve = entry.cve_id.trim();
    if !intake::is_cve(cve) {
        return Err(format!("no CVE id: {:?}", intake::one_line(cve, 64)));
    }
    let date = |text: &str| {
        text.parse::<Date>().map_err(|_| format!("{cve}: no date: {:?}", intake::one_line(text, 64)))
    };
    let product = format!("{} {}", entry.vendor_project.trim(), entry.product.trim());
    Ok((
        cve.to_owned(),
        KevEntry {
            added: date(&entry.date_added)?,
            due: date(&entry.due_date)?,
            ransomware: entry.known_ransomware_campaign_use.eq_ignore_ascii_case("known"),
            product: intake::one_line(&product, PRODUCT_BYTES_MAX),
        },
    ))
}
