//! Findings as people list and count them.

use super::census::Attacked;
use super::filter::Select;
use super::host_list::{Host, host_of};
use super::{Dialect, Error, Store};
use jiff::Timestamp;
use roaring::RoaringBitmap;
use sqlx::Row;
use sqlx::any::AnyRow;

/// A finding with its host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The advisory's id.
    pub advisory: String,
    /// `source:openssl` or `binary:libssl3`.
    pub package: String,
    /// `affected`, `fixed-still-running`, `undetermined`.
    pub verdict: String,
    /// Since when.
    pub from: Timestamp,
    /// Until when; `None`: still so.
    pub until: Option<Timestamp>,
    /// In words.
    pub evidence: String,
    /// On which host.
    pub host: Host,
    /// What comes for it, if it is under attack.
    pub attacked: Option<Attacked>,
}

/// Where a list goes on: those under attack first; then advisory, package, verdict, host's number, since when. In this order
/// they lie in the store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Whether it is not under attack.
    pub calm: bool,
    /// See [`Finding::advisory`].
    pub advisory: String,
    /// See [`Finding::package`].
    pub package: String,
    /// See [`Finding::verdict`].
    pub verdict: String,
    /// The host's number.
    pub host: i64,
    /// See [`Finding::from`], microseconds.
    pub from: i64,
}

impl Finding {
    /// Its place in the list.
    pub fn place(&self) -> Place {
        Place {
            calm: self.attacked.is_none(),
            advisory: self.advisory.clone(),
            package: self.package.clone(),
            host: self.host.number,
            verdict: self.verdict.clone(),
            from: self.from.as_microsecond(),
        }
    }
}

/// Which findings to list.
#[derive(Clone, Debug, Default)]
pub struct FindingFilter {
    /// Those that stood at that time; `None`: those that stand.
    pub at: Option<Timestamp>,
    /// On this host's number only.
    pub host: Option<i64>,
    /// On hosts of these numbers only.
    pub hosts: Option<RoaringBitmap>,
    /// Of this advisory only.
    pub advisory: Option<String>,
    /// Of advisories that close this CVE only; a whole CVE id.
    pub cve: Option<String>,
    /// Of this package only: a name, or `source:NAME`, `binary:NAME`.
    pub package: Option<String>,
    /// Of this verdict only.
    pub verdict: Option<String>,
    /// Those first that were under attack at this moment, microseconds; the same for all pages of a list, so that none is told
    /// twice or left out when an attack begins between two of them. `None`: attacks are not looked at.
    pub attacked_at: Option<i64>,
    /// Only those.
    pub only_attacked: bool,
}

impl FindingFilter {
    fn apply(&self, select: &mut Select, dialect: Dialect) {
        match self.at {
            None => select.only("f.until_at IS NULL", []),
            Some(at) => {
                let at = at.as_microsecond();
                select.only("f.from_at <= ?", [at.into()]);
                select.only("(f.until_at IS NULL OR f.until_at > ?)", [at.into()]);
            }
        }
        if let Some(host) = self.host {
            select.only("f.host = ?", [host.into()]);
        }
        if let Some(hosts) = &self.hosts {
            select.among("f.host", hosts, dialect);
        }
        if let Some(advisory) = &self.advisory {
            select.only("f.advisory = ?", [advisory.as_str().into()]);
        }
        if let Some(cve) = &self.cve {
            select.only(
                "f.advisory IN (SELECT c.advisory FROM advisory_cves c WHERE c.cve = ?)",
                [cve.as_str().into()],
            );
        }
        if let Some(package) = &self.package {
            if package.starts_with("source:") || package.starts_with("binary:") {
                select.only("f.package = ?", [package.as_str().into()]);
            } else {
                let (source, binary) = (format!("source:{package}"), format!("binary:{package}"));
                select.only("f.package IN (?, ?)", [source.as_str().into(), binary.as_str().into()]);
            }
        }
        if let Some(verdict) = &self.verdict {
            select.only("f.verdict = ?", [verdict.as_str().into()]);
        }
    }
}

/// The columns of a finding and its host, as [`finding`] reads them.
macro_rules! columns {
    ($attacked:literal, $from:literal) => {
        concat!(
            "SELECT f.advisory, f.package, f.verdict, f.from_at, f.until_at, f.evidence, \
             h.id, h.number, h.name, h.state, h.reason, h.host_group, h.labels, h.release, h.agent, h.address, \
             h.enrolled_at, h.seen_at, h.revision, h.clock_ahead_seconds",
            $attacked,
            " FROM findings f JOIN hosts h ON h.number = f.host",
            $from
        )
    };
}

/// Up to `most` findings after a place: those under attack, if they are asked for, then the others; each in order of advisory,
/// package, verdict, host and time.
pub async fn list(
    store: &Store,
    filter: &FindingFilter,
    after: Option<&Place>,
    most: i64,
) -> Result<Vec<Finding>, Error> {
    let mut found = Vec::new();
    if let Some(moment) = filter.attacked_at
        && after.is_none_or(|after| !after.calm)
    {
        let mut select = Select::new(columns!(
            ", a.cves, a.attempts, a.last_hour",
            " JOIN census_attacked a ON a.topic = f.topic AND a.host = f.host"
        ));
        filter.apply(&mut select, store.dialect());
        let moment = [moment.into(), moment.into()];
        select.only("a.since_at <= ? AND (a.until_at IS NULL OR a.until_at > ?)", moment);
        found = page(store, select, after, most, true).await?;
    }
    let left = most - i64::try_from(found.len()).unwrap_or(most);
    if left <= 0 || filter.only_attacked {
        return Ok(found);
    }
    let mut select = Select::new(columns!("", ""));
    filter.apply(&mut select, store.dialect());
    if let Some(moment) = filter.attacked_at {
        select.only(
            "NOT EXISTS (SELECT 1 FROM census_attacked a WHERE a.topic = f.topic AND a.host = f.host AND a.since_at <= ? \
             AND (a.until_at IS NULL OR a.until_at > ?))",
            [moment.into(), moment.into()],
        );
    }
    found.extend(page(store, select, after.filter(|after| after.calm), left, false).await?);
    Ok(found)
}

async fn page(
    store: &Store,
    mut select: Select,
    after: Option<&Place>,
    most: i64,
    is_attacked: bool,
) -> Result<Vec<Finding>, Error> {
    if let Some(after) = after {
        let topic = || {
            let (advisory, package) = (after.advisory.as_str(), after.package.as_str());
            [advisory.into(), package.into(), after.verdict.as_str().into()]
        };
        // The first lets the database seek the topic; the second is exact.
        select.only("(f.advisory, f.package, f.verdict) >= (?, ?, ?)", topic());
        select.only(
            "(f.advisory, f.package, f.verdict, f.host, f.from_at) > (?, ?, ?, ?, ?)",
            topic().into_iter().chain([after.host.into(), after.from.into()]),
        );
    }
    select.push("ORDER BY f.advisory, f.package, f.verdict, f.host, f.from_at LIMIT ?", [most.into()]);
    let rows = select.fetch(store, "list findings").await?;
    rows.iter().map(|row| finding(row, is_attacked)).collect()
}

fn finding(row: &AnyRow, is_attacked: bool) -> Result<Finding, Error> {
    /// Columns of the finding and of its host.
    const BEFORE_ATTACKED: usize = 20;
    let advisory: String = row.get(0);
    let time = |microseconds| {
        Timestamp::from_microsecond(microseconds).map_err(|_| Error::Damaged {
            object: format!("a finding of {advisory}"),
            reason: "a time is out of range".to_owned(),
        })
    };
    let attacked = || Attacked {
        cves: words(row.get(BEFORE_ATTACKED)).into_iter().collect(),
        attempts: row.get(BEFORE_ATTACKED + 1),
        last_hour: row.get(BEFORE_ATTACKED + 2),
    };
    Ok(Finding {
        package: row.get(1),
        verdict: row.get(2),
        from: time(row.get(3))?,
        until: row.get::<Option<i64>, _>(4).map(time).transpose()?,
        evidence: row.get(5),
        host: host_of(row, 6)?,
        attacked: is_attacked.then(attacked),
        advisory,
    })
}

/// How many hosts one advisory's open findings are on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// The advisory's id.
    pub advisory: String,
    /// Its summary, as far as known.
    pub summary: String,
    /// CVE ids that it closes.
    pub cves: Vec<String>,
    /// Hosts with any open finding of it.
    pub hosts: i64,
    /// Hosts that are affected.
    pub affected: i64,
    /// Hosts where the fix is installed and old code runs.
    pub fixed_still_running: i64,
    /// Hosts that could not be judged.
    pub undetermined: i64,
    /// Since when the oldest of them stands.
    pub since: Option<Timestamp>,
}

/// Counts findings by advisory: up to `most` advisories after that id, in order of ids.
pub async fn counts(
    store: &Store,
    filter: &FindingFilter,
    after: &str,
    most: i64,
) -> Result<Vec<Count>, Error> {
    let mut select = Select::new(
        "SELECT f.advisory, COUNT(DISTINCT f.host),
                COUNT(DISTINCT CASE WHEN f.verdict = 'affected' THEN f.host END),
                COUNT(DISTINCT CASE WHEN f.verdict = 'fixed-still-running' THEN f.host END),
                COUNT(DISTINCT CASE WHEN f.verdict = 'undetermined' THEN f.host END),
                MIN(f.from_at),
                (SELECT MAX(a.summary) FROM advisories a WHERE a.id = f.advisory AND a.until_at IS NULL),
                (SELECT MAX(a.cves) FROM advisories a WHERE a.id = f.advisory AND a.until_at IS NULL)
         FROM findings f",
    );
    filter.apply(&mut select, store.dialect());
    select.only("f.advisory > ?", [after.into()]);
    select.push("GROUP BY f.advisory ORDER BY f.advisory LIMIT ?", [most.into()]);
    let rows = select.fetch(store, "count findings").await?;
    Ok(rows
        .iter()
        .map(|row| Count {
            advisory: row.get(0),
            hosts: row.get(1),
            affected: row.get(2),
            fixed_still_running: row.get(3),
            undetermined: row.get(4),
            since: Timestamp::from_microsecond(row.get(5)).ok(),
            summary: row.get::<Option<String>, _>(6).unwrap_or_default(),
            cves: words(&row.get::<Option<String>, _>(7).unwrap_or_default()),
        })
        .collect())
}

/// The words of a column like ` CVE-1 CVE-2 `.
pub(super) fn words(text: &str) -> Vec<String> {
    text.split_ascii_whitespace().map(str::to_owned).collect()
}
