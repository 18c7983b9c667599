//! Where sources are, by a database in MaxMind's format that the user has: countries, or networks.

use anyhow::{Context, Result};
use maxminddb::{Reader, geoip2};
use std::collections::BTreeMap;
use std::path::Path;
use traffic::census::Census;
use traffic::census::report::OriginRow;

/// Every origin, most sources first. A source that the database does not know is told as `unknown`.
pub(super) fn look_up(path: &Path, census: &Census) -> Result<Vec<OriginRow>> {
    let reader = Reader::open_readfile(path).with_context(|| format!("read {}", path.display()))?;
    let is_networks = reader.metadata().database_type.contains("ASN");
    let mut origins: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for (source, attempts) in census.sources() {
        let found = source.ip().and_then(|address| reader.lookup(address).ok()).and_then(|found| {
            if is_networks {
                let network: geoip2::Asn<'_> = found.decode().ok()??;
                let name = network.autonomous_system_organization.unwrap_or_default();
                Some(format!("AS{} {name}", network.autonomous_system_number?).trim_end().to_owned())
            } else {
                let country: geoip2::Country<'_> = found.decode().ok()??;
                country.country.iso_code.map(str::to_owned)
            }
        });
        let entry = origins.entry(found.unwrap_or_else(|| "unknown".to_owned())).or_default();
        *entry = (entry.0 + 1, entry.1 + attempts);
    }
    let mut rows: Vec<OriginRow> = origins
        .into_iter()
        .map(|(origin, (sources, attempts))| OriginRow { origin, sources, attempts })
        .collect();
    rows.sort_by(|one, other| (other.sources, &one.origin).cmp(&(one.sources, &other.origin)));
    Ok(rows)
}
