//! `/trust`: who owns and who approves, and how that is changed.

use super::State;
use super::body::{Ask, Strict};
use super::guard::Caller;
use super::problem::{Kind, Problem};
use super::proposals::{self, Proposal};
use crate::signing::{self, Change, Lines};
use axum::Json;
use axum::extract::State as At;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use trust::keys::PublicKey;
use trust::standing::{Custody, Quorum};
use utoipa::{IntoParams, ToSchema};

/// Keys of one role; as many as a role takes.
const KEYS_MAX: usize = 64;

/// Who may tell hosts what to install.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Trust {
    /// Whether anybody has said so yet.
    founded: bool,
    /// The server approves by itself: whoever captures it can install what they like.
    one_key: bool,
    /// The version of the root in force; 0: none.
    root_version: u64,
    /// Who say who owns and who approves.
    owners: Keys,
    /// Who approve plans.
    approvers: Keys,
    /// The server's own key: what is newest, and that a rollout is not halted.
    online: Vec<Key>,
    /// What people must sign anew, and by when.
    expires: Vec<Expiry>,
    /// What is wrong, or soon will be, and what to do about it.
    alarms: Vec<String>,
}

/// Keys, so many of which must sign.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = TrustKeys)]
pub(super) struct Keys {
    /// How many must sign.
    threshold: u32,
    /// The keys.
    keys: Vec<Key>,
}

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = TrustKey)]
pub(super) struct Key {
    /// SHA-256 of its public half as TUF writes it, hex.
    pub(super) id: String,
    /// Whose it is.
    pub(super) name: String,
    /// As OpenSSH writes it.
    pub(super) line: String,
}

/// When a document expires.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TrustExpiry)]
pub(super) struct Expiry {
    /// `root`, `targets`, `plans`.
    document: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
}

impl From<&PublicKey> for Key {
    fn from(key: &PublicKey) -> Self {
        Self { id: key.id().to_string(), name: key.name().to_owned(), line: key.to_string() }
    }
}

impl From<&Quorum> for Keys {
    fn from(quorum: &Quorum) -> Self {
        Self { threshold: quorum.threshold(), keys: quorum.keys().iter().map(Key::from).collect() }
    }
}

/// Who may tell hosts what to install.
#[utoipa::path(get, path = "/api/v1/trust", tag = "trust", responses(
    (status = 200, description = "Owners, approvers, the server's key, and what expires", body = Trust)
))]
pub(super) async fn get(At(state): At<State>) -> Json<Trust> {
    let alarms = state.signing.alarms(state.now());
    let Some(standing) = state.signing.standing() else {
        return Json(Trust {
            founded: false,
            one_key: false,
            root_version: 0,
            owners: Keys::default(),
            approvers: Keys::default(),
            online: Vec::new(),
            expires: Vec::new(),
            alarms,
        });
    };
    let expires = standing.expiries().into_iter();
    Json(Trust {
        founded: true,
        one_key: standing.custody() == Custody::Server,
        root_version: standing.versions()[0],
        owners: Keys::from(&standing.owners()),
        approvers: Keys::from(&standing.approvers()),
        online: standing.online().iter().map(Key::from).collect(),
        expires: expires.map(|(document, at)| Expiry { document: document.to_owned(), at }).collect(),
        alarms,
    })
}

/// Which root.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// Its version; the one in force if absent.
    #[param(minimum = 1)]
    version: Option<u64>,
}

/// The root in force, as hosts pin it; or one of before, so that a signer follows the chain from the one that they remember.
#[utoipa::path(get, path = "/api/v1/trust/root", tag = "trust", params(Which), responses(
    (status = 200, description = "The document's bytes", body = serde_json::Value)
))]
pub(super) async fn root(At(state): At<State>, Ask(which): Ask<Which>) -> Result<Response, Problem> {
    let root = match which.version {
        None => state.signing.root().ok_or_else(not_founded)?,
        Some(version) => {
            let file = state.signing.file(&format!("metadata/{version}.root.json")).await?;
            file.ok_or_else(|| Problem::not_found("root of version", &version.to_string()))?.to_vec()
        }
    };
    Ok(([(header::CONTENT_TYPE, "application/json")], root).into_response())
}

/// The three documents that people sign, so that a signer verifies at home what a proposal would change.
#[utoipa::path(get, path = "/api/v1/trust/standing", tag = "trust", responses(
    (status = 200, description = "Root, targets and the list of plans", body = serde_json::Value)
))]
pub(super) async fn standing(At(state): At<State>) -> Result<Response, Problem> {
    let standing = state.signing.standing().ok_or_else(not_founded)?;
    let body = serde_json::to_vec(&standing).map_err(|problem| Problem::internal(&problem))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

fn not_founded() -> Problem {
    let remedy = "found the trust first (POST /api/v1/trust/founding)";
    Problem::new(Kind::NotFound, "find", "the root", "nobody has founded the trust", remedy)
}

/// Keys, so many of which must sign.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewTrustKeys)]
pub(super) struct Wanted {
    /// How many must sign.
    #[schema(minimum = 1, maximum = 64)]
    threshold: u32,
    /// Public keys as OpenSSH writes them: `ssh-ed25519 AAAA… ada`.
    #[schema(min_items = 1, max_items = 64)]
    keys: Vec<String>,
}

impl Wanted {
    fn lines(self, field: &str) -> Result<Lines, Problem> {
        let refused = |problem: signing::Error| Problem::from(problem).field(field);
        if self.keys.len() > KEYS_MAX {
            return Err(Problem::malformed(field, format!("it has more than {KEYS_MAX} keys")).field(field));
        }
        let lines = Lines { threshold: self.threshold, keys: self.keys };
        lines.quorum().map_err(refused)?;
        Ok(lines)
    }
}

/// How the trust begins.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Founding {
    /// Who own: say who owns and who approves.
    owners: Wanted,
    /// Who approve plans.
    approvers: Wanted,
}

/// Propose how the trust begins. It is founded once owners and approvers have signed.
#[utoipa::path(post, path = "/api/v1/trust/founding", tag = "trust", request_body = Founding, responses(
    (status = 201, description = "The proposal, to be signed", body = Proposal)
))]
pub(super) async fn found(
    At(state): At<State>,
    caller: Caller,
    Strict(asked): Strict<Founding>,
) -> Result<(StatusCode, Json<Proposal>), Problem> {
    let (owners, approvers) = (asked.owners.lines("owners")?, asked.approvers.lines("approvers")?);
    let online = state.signing.own_key(state.now()).await?.to_string();
    let title = format!(
        "Found the trust: {} of {} own, {} of {} approve",
        owners.threshold,
        owners.keys.len(),
        approvers.threshold,
        approvers.keys.len()
    );
    let change = Change::Found { owners, approvers, online, one_key: false };
    proposed(&state, &caller, &change, &title).await
}

/// One change of keys; exactly one field.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) enum TrustChange {
    /// A key takes another one's place, wherever that is.
    Rotate(Rotate),
    /// A key is taken out, wherever it is: its id, or the first eight digits or more.
    Revoke(String),
    /// Other approvers. In one-key mode they become the owners as well: it is over then.
    Approvers(Wanted),
    /// Other owners.
    Owners(Wanted),
    /// Everything is signed anew, as it is.
    Renew(bool),
    /// A new key of the server takes the present one's place.
    Online(bool),
}

/// A key in the place of another.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Rotate {
    /// The old key's id, or the first eight digits or more.
    old: String,
    /// The new key as OpenSSH writes it.
    new: String,
}

/// Propose other keys, or that everything is signed anew.
#[utoipa::path(post, path = "/api/v1/trust/changes", tag = "trust", request_body = TrustChange, responses(
    (status = 201, description = "The proposal, to be signed", body = Proposal)
))]
pub(super) async fn change(
    At(state): At<State>,
    caller: Caller,
    Strict(asked): Strict<TrustChange>,
) -> Result<(StatusCode, Json<Proposal>), Problem> {
    let said = |field: &str| Problem::malformed(field, "leave it out, or say true").field(field);
    let alone = state.signing.custody() == Some(Custody::Server);
    let (change, title) = match asked {
        TrustChange::Rotate(Rotate { old, new }) => {
            let key: PublicKey =
                new.parse().map_err(|problem| Problem::from(signing::Error::Key(problem)).field("new"))?;
            let title = format!("Put key {} ({}) in the place of {old}", key.id().short(), key.name());
            (Change::Rotate { old, new }, title)
        }
        TrustChange::Revoke(id) => {
            let title = format!("Revoke key {id}");
            (Change::Revoke(id), title)
        }
        TrustChange::Approvers(wanted) if alone => {
            let lines = wanted.lines("approvers")?;
            let title =
                format!("Out of one-key mode: {} of {} own and approve", lines.threshold, lines.keys.len());
            (Change::People(lines), title)
        }
        TrustChange::Owners(_) if alone => {
            let reason = "the server approves by itself, whoever owns";
            let remedy = "name approvers; they become the owners as well";
            return Err(Problem::new(Kind::Conflict, "change", "the owners", reason, remedy).field("owners"));
        }
        TrustChange::Approvers(wanted) => {
            let lines = wanted.lines("approvers")?;
            let title = format!("{} of {} approve", lines.threshold, lines.keys.len());
            (Change::Approvers(lines), title)
        }
        TrustChange::Owners(wanted) => {
            let lines = wanted.lines("owners")?;
            let title = format!("{} of {} own", lines.threshold, lines.keys.len());
            (Change::Owners(lines), title)
        }
        TrustChange::Renew(true) => (Change::Renew, "Sign everything anew".to_owned()),
        TrustChange::Online(true) => {
            let key = state.signing.other_key(state.now()).await?;
            (Change::Online(key.to_string()), format!("The server's key is {}", key.id().short()))
        }
        TrustChange::Renew(false) => return Err(said("renew")),
        TrustChange::Online(false) => return Err(said("online")),
    };
    proposed(&state, &caller, &change, &title).await
}

async fn proposed(
    state: &State,
    caller: &Caller,
    change: &Change,
    title: &str,
) -> Result<(StatusCode, Json<Proposal>), Problem> {
    let title: String = title.chars().filter(|letter| !letter.is_control()).take(200).collect();
    let row = state.signing.propose(change, &title, &caller.actor(), state.now()).await?;
    Ok((StatusCode::CREATED, Json(proposals::shown(state, row, false)?)))
}
