//! `/findings`: what applies to which host, now or at a time.

use super::State;
use super::body::{Ask, Named};
use super::hosts::find;
use super::page::{self, Page};
use super::problem::Problem;
use super::select;
use crate::census::moment_of;
use crate::store::census::{self, Attacked as Seen};
use crate::store::finding_list::{self, Finding as Row, FindingFilter, Place};
use crate::store::findings::Finding as Stored;
use axum::extract::State as At;
use axum::response::Response;
use http::Uri;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// One advisory applies to one package on one host.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Finding {
    /// The advisory's id.
    advisory: String,
    /// `source:openssl` or `binary:libssl3`.
    package: String,
    /// What it means for the host.
    verdict: String,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    from: Timestamp,
    /// Until when; absent: still.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// Why: the rule, both versions, the document.
    evidence: String,
    /// On which host.
    host: HostName,
    /// What comes for it; absent: it is not under attack.
    #[serde(skip_serializing_if = "Option::is_none")]
    attacked: Option<Attacked>,
}

/// A host is sent attempts for a CVE to which it is vulnerable.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Attacked {
    /// CVEs that attempts are about.
    cves: Vec<String>,
    /// Attempts within a month.
    attempts: i64,
    /// The hour of the last one.
    #[schema(value_type = String, format = DateTime)]
    last: Timestamp,
}

impl From<Seen> for Attacked {
    fn from(seen: Seen) -> Self {
        let last = moment_of(seen.last_hour);
        Self { cves: seen.cves.into_iter().collect(), attempts: seen.attempts, last }
    }
}

/// A host, named.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HostName {
    /// Its id.
    pub(super) id: String,
    /// Its name.
    pub(super) name: String,
}

impl From<Row> for Finding {
    fn from(row: Row) -> Self {
        Self {
            advisory: row.advisory,
            package: row.package,
            verdict: row.verdict,
            from: row.from,
            until: row.until,
            evidence: row.evidence,
            host: HostName { id: row.host.id, name: row.host.name },
            attacked: row.attacked.map(Attacked::from),
        }
    }
}

/// What a finding says.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Verdict {
    /// Vulnerable code is installed.
    Affected,
    /// The fix is installed, but old code runs.
    FixedStillRunning,
    /// It could not be judged.
    Undetermined,
}

impl Verdict {
    fn word(self) -> String {
        match self {
            Self::Affected => "affected",
            Self::FixedStillRunning => "fixed-still-running",
            Self::Undetermined => "undetermined",
        }
        .to_owned()
    }
}

/// A CVE id in capitals, or that it is none: it goes into a pattern, and a part of one would match too much.
pub(super) fn cve(text: &str) -> Result<String, Problem> {
    let id = text.to_ascii_uppercase();
    let digits =
        |text: &str| text.len() >= 4 && text.len() <= 19 && text.bytes().all(|byte| byte.is_ascii_digit());
    let whole = id
        .strip_prefix("CVE-")
        .and_then(|rest| rest.split_once('-'))
        .is_some_and(|(year, number)| year.len() == 4 && digits(year) && digits(number));
    if whole {
        Ok(id)
    } else {
        Err(Problem::malformed("cve", "it is not an id like CVE-2026-1234").field("cve"))
    }
}

/// Which findings.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct List {
    /// Of this advisory only.
    advisory: Option<String>,
    /// Of advisories that close this CVE only.
    #[param(pattern = "^CVE-[0-9]{4}-[0-9]{4,19}$")]
    cve: Option<String>,
    /// Of this package only: a name, or `source:NAME`, `binary:NAME`.
    package: Option<String>,
    /// With this verdict only.
    #[param(inline)]
    verdict: Option<Verdict>,
    /// On hosts that it selects only.
    selector: Option<String>,
    /// Only those under attack; not with `at`.
    #[serde(default)]
    attacked: bool,
    /// As it was then; now if absent.
    #[param(value_type = Option<String>, format = DateTime)]
    at: Option<Timestamp>,
    /// How many.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// A page, by a name: see [`Page`].
type FindingPage = Page<Finding>;

/// List findings: first those under attack, then the others; each by advisory, package, verdict and host. With `at` attacks are
/// not told.
#[utoipa::path(get, path = "/api/v1/findings", tag = "findings", params(List), responses(
    (status = 200, description = "A page of findings", body = FindingPage)
))]
pub(super) async fn list(At(state): At<State>, uri: Uri, Ask(asked): Ask<List>) -> Result<Response, Problem> {
    let filter = FindingFilter {
        at: asked.at,
        host: None,
        hosts: None,
        advisory: asked.advisory,
        cve: asked.cve.as_deref().map(cve).transpose()?,
        package: asked.package,
        verdict: asked.verdict.map(Verdict::word),
        attacked_at: None,
        only_attacked: asked.attacked,
    };
    if asked.attacked && asked.at.is_some() {
        let reason = "what was under attack at a time is not told; leave out one of attacked and at";
        return Err(Problem::malformed("attacked", reason).field("attacked"));
    }
    let selector = asked.selector.as_deref();
    page(&state, &uri, filter, selector, asked.limit, asked.after.as_deref()).await
}

/// Which findings of a host.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct OfHost {
    /// As it was then; now if absent.
    #[param(value_type = Option<String>, format = DateTime)]
    at: Option<Timestamp>,
    /// How many.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// List a host's findings, by advisory and package. Those of now are looked up by what the fleet in memory knows: in the
/// store they lie by advisory, and all would have to be looked at for one host.
#[utoipa::path(get, path = "/api/v1/hosts/{id}/findings", tag = "findings",
    params(("id" = String, Path), OfHost),
    responses((status = 200, description = "A page of findings", body = FindingPage)))]
pub(super) async fn of_host(
    At(state): At<State>,
    Named(id): Named,
    uri: Uri,
    Ask(asked): Ask<OfHost>,
) -> Result<Response, Problem> {
    let host = find(&state, &id).await?;
    let after = asked.after.as_deref();
    if asked.at.is_some() {
        let filter = FindingFilter { at: asked.at, host: Some(host.number), ..FindingFilter::default() };
        return page(&state, &uri, filter, None, asked.limit, after).await;
    }
    let (limit, after) = (page::limit(asked.limit)?, place(after)?);
    let moment = after.as_ref().map_or(state.now().as_microsecond(), |(moment, _)| *moment);
    let after = after.map(|(_, after)| after);
    let attacked = census::attacked_of_host(&state.app.store, host.number, moment).await?;
    let of = |found: &Stored| {
        attacked.get(&(found.advisory.clone(), found.package.clone(), found.verdict.clone())).cloned()
    };
    let mut found = match u32::try_from(host.number) {
        Ok(number) => state.fleet.stored_findings_of(number).await?,
        Err(_) => Vec::new(),
    };
    let key = |found: &Stored| Place {
        calm: of(found).is_none(),
        advisory: found.advisory.clone(),
        package: found.package.clone(),
        verdict: found.verdict.clone(),
        host: host.number,
        from: found.from.as_microsecond(),
    };
    found.sort_by_cached_key(key);
    found.retain(|found| after.as_ref().is_none_or(|after| key(found) > *after));
    let finding = |found: Stored| Finding {
        attacked: of(&found).map(Attacked::from),
        advisory: found.advisory,
        package: found.package,
        verdict: found.verdict,
        from: found.from,
        until: found.until,
        evidence: found.evidence,
        host: HostName { id: host.id.clone(), name: host.name.clone() },
    };
    Ok(page::cut(found, limit, |found| told(moment, &key(found))).map(finding).answer(&uri))
}

/// A place as it was told, and at which moment attacks were looked at.
fn place(after: Option<&str>) -> Result<Option<(i64, Place)>, Problem> {
    let Some([moment, calm, advisory, package, verdict, host, from]) = page::parts::<7>(after)? else {
        return Ok(None);
    };
    let number = |text: String| text.parse().map_err(|_| page::wrong());
    let calm = match calm.as_str() {
        "calm" => true,
        "attacked" => false,
        _ => return Err(page::wrong()),
    };
    let place = Place { calm, advisory, package, verdict, host: number(host)?, from: number(from)? };
    Ok(Some((number(moment)?, place)))
}

/// A place as it is told.
fn told(moment: i64, place: &Place) -> String {
    let (host, from) = (place.host.to_string(), place.from.to_string());
    let calm = if place.calm { "calm" } else { "attacked" };
    page::place(&[&moment.to_string(), calm, &place.advisory, &place.package, &place.verdict, &host, &from])
}

async fn page(
    state: &State,
    uri: &Uri,
    mut filter: FindingFilter,
    selector: Option<&str>,
    limit: Option<u32>,
    after: Option<&str>,
) -> Result<Response, Problem> {
    let limit = page::limit(limit)?;
    let selector = select::parse(state, selector)?;
    let after = place(after)?;
    let moment = after.as_ref().map_or(state.now().as_microsecond(), |(moment, _)| *moment);
    let after = after.map(|(_, after)| after);
    filter.attacked_at = filter.at.is_none().then_some(moment);
    let store = &state.app.store;
    let filter = &filter;
    let fetch = |after: Option<Place>, most| async move {
        finding_list::list(store, filter, after.as_ref(), most).await
    };
    let (rows, next) =
        select::scan(limit, after, selector.as_ref(), fetch, |row| &row.host, Row::place).await?;
    let next = next.map(|place| told(moment, &place));
    Ok(Page { items: rows.into_iter().map(Finding::from).collect(), next }.answer(uri))
}

/// How many hosts an advisory is open on.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Count {
    /// The advisory's id.
    advisory: String,
    /// One line; empty if nobody gives one.
    summary: String,
    /// CVEs that it closes.
    cves: Vec<String>,
    /// Hosts with any finding of it.
    hosts: i64,
    /// Hosts that are affected.
    affected: i64,
    /// Hosts where the fix is installed, but old code runs.
    fixed_still_running: i64,
    /// Hosts that could not be judged.
    undetermined: i64,
    /// Since when the oldest finding stands.
    #[schema(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
}

/// Which findings to count.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Summary {
    /// On hosts that it selects only.
    selector: Option<String>,
    /// Of advisories that close this CVE only.
    #[param(pattern = "^CVE-[0-9]{4}-[0-9]{4,19}$")]
    cve: Option<String>,
    /// Of this package only: a name, or `source:NAME`, `binary:NAME`.
    package: Option<String>,
    /// With this verdict only.
    #[param(inline)]
    verdict: Option<Verdict>,
    /// As it was then; now if absent.
    #[param(value_type = Option<String>, format = DateTime)]
    at: Option<Timestamp>,
    /// How many advisories.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// A page, by a name: see [`Page`].
type CountPage = Page<Count>;

/// Count findings by advisory.
#[utoipa::path(get, path = "/api/v1/findings/summary", tag = "findings", params(Summary), responses(
    (status = 200, description = "A page of advisories with counts of hosts", body = CountPage)
))]
pub(super) async fn summary(
    At(state): At<State>,
    uri: Uri,
    Ask(asked): Ask<Summary>,
) -> Result<Response, Problem> {
    let hosts = match select::parse(&state, asked.selector.as_deref())? {
        None => None,
        Some(selected) => Some(select::numbers(&state, &selected).await?),
    };
    let filter = FindingFilter {
        at: asked.at,
        hosts,
        cve: asked.cve.as_deref().map(cve).transpose()?,
        package: asked.package,
        verdict: asked.verdict.map(Verdict::word),
        ..FindingFilter::default()
    };
    let limit = page::limit(asked.limit)?;
    let after = page::parts::<1>(asked.after.as_deref())?.map(|[id]| id).unwrap_or_default();
    let most = i64::try_from(limit + 1).unwrap_or(i64::MAX);
    let rows = finding_list::counts(&state.app.store, &filter, &after, most).await?;
    let page = page::cut(rows, limit, |row| page::place(&[&row.advisory])).map(|row| Count {
        advisory: row.advisory,
        summary: row.summary,
        cves: row.cves,
        hosts: row.hosts,
        affected: row.affected,
        fixed_still_running: row.fixed_still_running,
        undetermined: row.undetermined,
        since: row.since,
    });
    Ok(page.answer(&uri))
}
