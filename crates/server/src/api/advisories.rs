//! `/advisories`: what vendors say.

use super::State;
use super::body::{Ask, Named};
use super::etag;
use super::findings::{HostName, cve};
use super::page::{self, Page};
use super::problem::Problem;
use crate::store::advisory_list::{self, AdvisoryFilter};
use crate::store::finding_list::{self, FindingFilter};
use axum::extract::State as At;
use axum::response::Response;
use http::{HeaderMap, Uri};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Affected hosts that are named with an advisory; `/findings?advisory=ID` has them all.
const HOSTS_SHOWN: i64 = 100;

/// An advisory in a list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Line {
    /// The vendor's id.
    id: String,
    /// `security`, `regression`, `point-release`, `end-of-life`, `maintenance`.
    kind: String,
    /// One line; empty if nobody gives one.
    summary: String,
    /// When it was published.
    #[schema(value_type = Option<String>, format = DateTime)]
    published: Option<Timestamp>,
    /// When it was last changed.
    #[schema(value_type = Option<String>, format = DateTime)]
    modified: Option<Timestamp>,
    /// When it was taken back.
    #[schema(value_type = Option<String>, format = DateTime)]
    withdrawn: Option<Timestamp>,
    /// CVEs that it closes.
    cves: Vec<String>,
    /// How many feeds and hosts say it.
    documents: i64,
}

/// Which advisories.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct List {
    /// Whose id starts so.
    id: Option<String>,
    /// That close this CVE.
    #[param(pattern = "^CVE-[0-9]{4}-[0-9]{4,19}$")]
    cve: Option<String>,
    /// Of this feed only.
    feed: Option<String>,
    /// How many.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// A page, by a name: see [`Page`].
type LinePage = Page<Line>;

/// List advisories, by id.
#[utoipa::path(get, path = "/api/v1/advisories", tag = "advisories", params(List), responses(
    (status = 200, description = "A page of advisories", body = LinePage)
))]
pub(super) async fn list(At(state): At<State>, uri: Uri, Ask(asked): Ask<List>) -> Result<Response, Problem> {
    let limit = page::limit(asked.limit)?;
    let after = page::parts::<1>(asked.after.as_deref())?.map(|[id]| id).unwrap_or_default();
    let filter =
        AdvisoryFilter { id: asked.id, cve: asked.cve.as_deref().map(cve).transpose()?, feed: asked.feed };
    let most = i64::try_from(limit + 1).unwrap_or(i64::MAX);
    let rows = advisory_list::list(&state.app.store, &filter, &after, most).await?;
    let page = page::cut(rows, limit, |row| page::place(&[&row.id])).map(|row| Line {
        id: row.id,
        kind: row.kind,
        summary: row.summary,
        published: row.published,
        modified: row.modified,
        withdrawn: row.withdrawn,
        cves: row.cves,
        documents: row.documents,
    });
    Ok(page.answer(&uri))
}

/// An advisory, in the words of everybody who says something about it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Advisory {
    /// The vendor's id.
    id: String,
    /// What feeds say, at most the first twenty.
    documents: Vec<Document>,
    /// How many hosts have an open finding of it.
    hosts_open: i64,
    /// Of these, how many are affected.
    hosts_affected: i64,
    /// The first of them.
    hosts: Vec<HostName>,
}

/// What one feed says.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Document {
    /// The feed; `host:ID` for a host's own package manager.
    feed: String,
    /// Since when it says so, by our knowledge.
    #[schema(value_type = String, format = DateTime)]
    from: Timestamp,
    /// Claims, edges, severities, references.
    #[schema(value_type = Object)]
    advisory: advisory::Advisory,
}

/// One advisory with its claims, and the hosts that it is open on.
#[utoipa::path(get, path = "/api/v1/advisories/{id}", tag = "advisories", params(("id" = String, Path)), responses(
    (status = 200, description = "The advisory, with an ETag", body = Advisory),
    (status = 304, description = "It is as If-None-Match has it")
))]
pub(super) async fn get(
    At(state): At<State>,
    Named(id): Named,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let store = &state.app.store;
    let documents = advisory_list::documents(store, &id).await?;
    let Some(revision) = documents.iter().map(|document| document.from.as_microsecond()).max() else {
        return Err(Problem::not_found("advisory", &id));
    };
    let filter = FindingFilter { advisory: Some(id.clone()), ..FindingFilter::default() };
    let count = finding_list::counts(store, &filter, "", 1).await?.pop();
    let findings = finding_list::list(store, &filter, None, HOSTS_SHOWN).await?;
    let mut hosts: Vec<HostName> =
        findings.into_iter().map(|row| HostName { id: row.host.id, name: row.host.name }).collect();
    hosts.sort_by(|one, other| (&one.name, &one.id).cmp(&(&other.name, &other.id)));
    hosts.dedup_by(|one, other| one.id == other.id);
    let advisory = Advisory {
        id,
        documents: documents
            .into_iter()
            .map(|document| Document {
                feed: document.feed,
                from: document.from,
                advisory: document.advisory,
            })
            .collect(),
        hosts_open: count.as_ref().map_or(0, |count| count.hosts),
        hosts_affected: count.as_ref().map_or(0, |count| count.affected),
        hosts,
    };
    etag::tagged(&headers, revision, &advisory)
}
