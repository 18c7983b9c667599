//! `/proposals`: what people are asked to sign, and who has.

use super::State;
use super::body::{Ask, List as BodyList, Named};
use super::guard::Caller;
use super::page::{self, Page};
use super::problem::Problem;
use super::trust::Key;
use crate::signing::{self, SignedBy};
use crate::store::proposals::{self, Proposal as Row, ProposalFilter};
use axum::Json;
use axum::extract::State as At;
use axum::response::Response;
use http::{HeaderMap, StatusCode, Uri};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use trust::proposal::Countersigned;
use trust::standing::Standing;
use utoipa::{IntoParams, ToSchema};

/// Signers in one request: both roles of every key there can be.
const SIGNERS_MAX: usize = 384;

/// Something to be signed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Proposal {
    /// Its id, UUIDv7.
    id: String,
    /// What it is about.
    #[schema(value_type = ProposalKind)]
    kind: String,
    /// The plan's or the word's id; empty for keys.
    object: String,
    /// For people, one line.
    title: String,
    /// Where it stands.
    #[schema(value_type = ProposalState)]
    state: String,
    /// Why it was withdrawn, or made again so that those who had signed must sign anew; empty: neither.
    why: String,
    /// Who asked for it.
    created_by: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When its documents were made; later than `created_at` if they were made again.
    #[schema(value_type = String, format = DateTime)]
    made_at: Timestamp,
    /// When it was published or withdrawn.
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
    /// SHA-256 of what is to be signed, hex: what two people compare.
    digest: String,
    /// What it would change.
    differences: Vec<String>,
    /// Who is missing; empty when it has ended.
    missing: Vec<Missing>,
    /// Who has signed.
    signed: Vec<Signed>,
    /// The documents and who has signed them, as `palisade key sign` reads them; left out of lists and of answers to writes.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Value>,
}

/// What a proposal is about.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[expect(dead_code, reason = "for the document only")]
pub(super) enum ProposalKind {
    /// How the trust begins.
    Founding,
    /// A plan comes into force.
    Plan,
    /// A rollout goes on, or back.
    Word,
    /// A plan is withdrawn.
    Withdraw,
    /// Other keys, or everything signed anew.
    Keys,
}

/// Where a proposal stands.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ProposalState {
    /// It waits for signers.
    Open,
    /// It is in force, or was.
    Published,
    /// It never will be.
    Withdrawn,
}

impl ProposalState {
    fn word(self) -> String {
        match self {
            Self::Open => "open",
            Self::Published => "published",
            Self::Withdrawn => "withdrawn",
        }
        .to_owned()
    }
}

/// Signers that a document lacks.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ProposalMissing)]
pub(super) struct Missing {
    /// `root`, `targets`, `plans`.
    document: String,
    /// How many more.
    count: usize,
    /// Whose keys would count.
    may_sign: Vec<Key>,
}

/// Who has signed a document.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ProposalSigned)]
pub(super) struct Signed {
    /// `root`, `targets`, `plans`.
    document: String,
    /// Their keys.
    keys: Vec<Signer>,
}

/// A key that has signed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ProposalSigner)]
pub(super) struct Signer {
    /// Its id.
    id: String,
    /// Whose it is.
    name: String,
}

/// A proposal as it is shown. `row` has its documents; `body`: show them, too.
pub(super) fn shown(state: &State, row: Row, body: bool) -> Result<Proposal, Problem> {
    let standing = state.signing.standing();
    let internal = |problem: &dyn std::fmt::Display| Problem::internal(problem);
    let (missing, signed) = if row.state == "open" && !row.body.is_empty() {
        open(&row, standing.as_ref())?
    } else {
        (Vec::new(), serde_json::from_str(&row.signed).map_err(|problem| internal(&problem))?)
    };
    let body =
        body.then(|| serde_json::from_slice(&row.body)).transpose().map_err(|problem| internal(&problem))?;
    Ok(Proposal {
        id: row.id,
        kind: row.kind,
        object: row.object,
        title: row.title,
        state: row.state,
        why: row.why,
        created_by: row.created_by,
        created_at: row.created_at,
        made_at: row.made_at,
        ended_at: row.ended_at,
        digest: row.digest,
        differences: row.differences,
        missing,
        signed: signed.into_iter().map(Signed::from).collect(),
        body,
    })
}

/// Who is missing and who has signed; nobody where it was overtaken a moment ago and is about to be made again.
fn open(row: &Row, standing: Option<&Standing>) -> Result<(Vec<Missing>, Vec<SignedBy>), Problem> {
    let proposal =
        trust::proposal::Proposal::read(&row.body).map_err(|problem| Problem::internal(&problem))?;
    let Ok(missing) = proposal.missing(standing) else { return Ok((Vec::new(), Vec::new())) };
    let names = signing::names_in(&proposal, standing);
    let missing = missing.into_iter().map(|missing| Missing {
        document: missing.document.to_string(),
        count: missing.count,
        may_sign: missing.may_sign.iter().map(Key::from).collect(),
    });
    Ok((missing.collect(), signing::signed_by(&proposal, standing, &names)?))
}

impl From<SignedBy> for Signed {
    fn from(by: SignedBy) -> Self {
        let keys = by.keys.into_iter().map(|(id, name)| Signer { id, name });
        Self { document: by.document.to_string(), keys: keys.collect() }
    }
}

/// Which proposals.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct List {
    /// Only those in that state.
    #[param(inline)]
    state: Option<ProposalState>,
    /// How many.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// A page, by a name: see [`Page`].
type ProposalPage = Page<Proposal>;

/// List proposals, in the order of their making.
#[utoipa::path(get, path = "/api/v1/proposals", tag = "trust", params(List), responses(
    (status = 200, description = "A page of proposals, without their documents", body = ProposalPage)
))]
pub(super) async fn list(At(state): At<State>, uri: Uri, Ask(asked): Ask<List>) -> Result<Response, Problem> {
    let limit = page::limit(asked.limit)?;
    let after = page::parts::<1>(asked.after.as_deref())?.map(|[id]| id).unwrap_or_default();
    let filter =
        ProposalFilter { state: asked.state.map(ProposalState::word), after, ..ProposalFilter::default() };
    let store = &state.app.store;
    let rows = proposals::list(store, &filter, i64::try_from(limit + 1).unwrap_or(i64::MAX)).await?;
    let page = page::cut(rows, limit, |row| page::place(&[&row.id]));
    let mut items = Vec::with_capacity(page.items.len());
    for row in page.items {
        // Who is missing is in the documents: one after the other, they may be megabytes each.
        let row =
            if row.state == "open" { proposals::get(store, &row.id).await?.unwrap_or(row) } else { row };
        items.push(shown(&state, row, false)?);
    }
    Ok(Page { items, next: page.next }.answer(&uri))
}

/// One proposal with its documents.
#[utoipa::path(get, path = "/api/v1/proposals/{id}", tag = "trust", params(("id" = String, Path)), responses(
    (status = 200, description = "The proposal, with an ETag", body = Proposal),
    (status = 304, description = "It is as If-None-Match has it")
))]
pub(super) async fn get(
    At(state): At<State>,
    Named(id): Named,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let row = find(&state, &id).await?;
    let revision = row.revision;
    super::etag::tagged(&headers, revision, &shown(&state, row, true)?)
}

async fn find(state: &State, id: &str) -> Result<Row, Problem> {
    proposals::get(&state.app.store, id).await?.ok_or_else(|| Problem::not_found("proposal", id))
}

/// Add signers. It is published at once when it lacks none; what follows for a rollout follows then.
#[utoipa::path(post, path = "/api/v1/proposals/{id}/signatures", tag = "trust", params(("id" = String, Path)),
    request_body(content = Vec<Object>, description = "What `palisade key sign` gives: document, keyid, sig"),
    responses((status = 200, description = "The proposal as it is now", body = Proposal)))]
pub(super) async fn add(
    At(state): At<State>,
    caller: Caller,
    Named(id): Named,
    BodyList(signed): BodyList<Countersigned>,
) -> Result<Json<Proposal>, Problem> {
    if signed.is_empty() || signed.len() > SIGNERS_MAX {
        return Err(Problem::malformed("the body", format!("it has 1 to {SIGNERS_MAX} entries")));
    }
    find(&state, &id).await?;
    state.signing.sign(&id, &signed, &caller.actor(), state.now()).await?;
    after(&state, &id).await
}

/// In one-key mode: have the server sign.
#[utoipa::path(post, path = "/api/v1/proposals/{id}/sign", tag = "trust", params(("id" = String, Path)),
    responses((status = 200, description = "The proposal as it is now", body = Proposal)))]
pub(super) async fn sign(
    At(state): At<State>,
    caller: Caller,
    Named(id): Named,
) -> Result<Json<Proposal>, Problem> {
    find(&state, &id).await?;
    state.signing.sign_alone(&id, &caller.actor(), state.now()).await?;
    after(&state, &id).await
}

/// Withdraw a proposal that is open.
#[utoipa::path(delete, path = "/api/v1/proposals/{id}", tag = "trust", params(("id" = String, Path)),
    responses((status = 204, description = "Withdrawn")))]
pub(super) async fn withdraw(
    At(state): At<State>,
    caller: Caller,
    Named(id): Named,
) -> Result<StatusCode, Problem> {
    let why = format!("withdrawn by {}", caller.user.name);
    state.signing.withdraw(&id, &why, &caller.actor(), state.now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The proposal after somebody signed; what follows from its publishing is done first.
async fn after(state: &State, id: &str) -> Result<Json<Proposal>, Problem> {
    state.ring();
    state.signing.settle(&state.app, state.now()).await?;
    Ok(Json(shown(state, find(state, id).await?, false)?))
}
