//! `/api-tokens`: what programs log in with.

use super::State;
use super::body::{Ask, Named, Strict, line};
use super::guard::{Caller, Via};
use super::page::{self, Page};
use super::problem::{Kind, Problem};
use crate::people::roles::{Permission, Role};
use crate::people::{secrets, tokens as people_tokens};
use crate::store::tokens::{self, NewToken, Token as Row};
use axum::Json;
use axum::extract::State as At;
use axum::response::Response;
use http::{StatusCode, Uri};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// The longest name of a token, in characters.
const NAME_MAX: usize = 128;

/// An API token.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ApiToken)]
pub(super) struct Token {
    /// Its id.
    id: String,
    /// Its owner's id.
    owner: String,
    /// Its owner's name.
    owner_name: String,
    /// What it is for.
    name: String,
    /// The most it may do; never more than its owner may.
    role: Role,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it ends.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// When it was last used, to the minute.
    #[schema(value_type = Option<String>, format = DateTime)]
    used_at: Option<Timestamp>,
    /// When it was revoked.
    #[schema(value_type = Option<String>, format = DateTime)]
    revoked_at: Option<Timestamp>,
}

impl From<Row> for Token {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            owner: row.owner,
            owner_name: row.owner_name,
            name: row.name,
            role: row.role,
            created_at: row.created_at,
            expires_at: row.expires_at,
            used_at: row.used_at,
            revoked_at: row.revoked_at,
        }
    }
}

/// Which tokens.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct List {
    /// Everybody's, not only one's own: for admins.
    #[serde(default)]
    #[param(required = false)]
    all: bool,
    /// How many.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// A page, by a name: see [`Page`].
type TokenPage = Page<Token>;

/// List one's own API tokens, in the order of their making.
#[utoipa::path(get, path = "/api/v1/api-tokens", tag = "users", params(List), responses(
    (status = 200, description = "A page of tokens, without their secrets", body = TokenPage)
))]
pub(super) async fn list(
    At(state): At<State>,
    caller: Caller,
    uri: Uri,
    Ask(asked): Ask<List>,
) -> Result<Response, Problem> {
    if asked.all {
        caller.needs(Permission::ManageTokens)?;
    }
    let limit = page::limit(asked.limit)?;
    let after = page::parts::<1>(asked.after.as_deref())?.map(|[id]| id).unwrap_or_default();
    let owner = (!asked.all).then_some(caller.user.id.as_str());
    let most = i64::try_from(limit + 1).unwrap_or(i64::MAX);
    let rows = tokens::list(&state.app.store, owner, &after, most).await?;
    Ok(page::cut(rows, limit, |row| page::place(&[&row.id])).map(Token::from).answer(&uri))
}

/// A token to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewApiToken)]
pub(super) struct New {
    /// What it is for.
    #[schema(min_length = 1, max_length = 128)]
    name: String,
    /// The most it may do; at most what the asker may.
    role: Role,
    /// When it ends: within a year. A token's token ends no later than itself.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// A token with its secret.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MadeApiToken)]
pub(super) struct Made {
    /// The token.
    token: Token,
    /// What to send as `Authorization: Bearer …`. Shown this once.
    secret: String,
}

/// Make an API token for oneself.
#[utoipa::path(post, path = "/api/v1/api-tokens", tag = "users", request_body = New, responses(
    (status = 201, description = "The token, with its secret", body = Made)
))]
pub(super) async fn create(
    At(state): At<State>,
    caller: Caller,
    Strict(new): Strict<New>,
) -> Result<(StatusCode, Json<Made>), Problem> {
    if new.name.trim().is_empty() {
        return Err(Problem::malformed("name", "it is empty").field("name"));
    }
    line("name", &new.name, NAME_MAX)?;
    if new.role > caller.role {
        let reason = format!("{} is more than {}", new.role, caller.role);
        let remedy = "ask for a token that may do at most what you may";
        return Err(Problem::new(Kind::Forbidden, "make", "the API token", reason, remedy).field("role"));
    }
    let now = state.now();
    let latest = now.checked_add(people_tokens::LIFE_MAX).unwrap_or(Timestamp::MAX);
    let latest = match &caller.via {
        Via::Token(token) => latest.min(token.expires_at),
        Via::Session { .. } => latest,
    };
    if new.expires_at <= now || new.expires_at > latest {
        let reason = format!("it is not between now and {latest}");
        return Err(Problem::malformed("expires_at", reason).field("expires_at"));
    }
    let secret = secrets::secret(people_tokens::PREFIX)?;
    let token = NewToken {
        hash: &secrets::kept(&secret),
        owner: &caller.user,
        name: &new.name,
        role: new.role,
        expires_at: new.expires_at,
    };
    let row = tokens::create(&state.app.store, now, &caller.actor(), &token).await?;
    state.ring();
    Ok((StatusCode::CREATED, Json(Made { token: row.into(), secret })))
}

/// Revoke an API token: one's own, or for admins anybody's.
#[utoipa::path(delete, path = "/api/v1/api-tokens/{id}", tag = "users", params(("id" = String, Path)),
    responses((status = 204, description = "Revoked")))]
pub(super) async fn revoke(
    At(state): At<State>,
    caller: Caller,
    Named(id): Named,
) -> Result<StatusCode, Problem> {
    let others = caller.role.may(Permission::ManageTokens);
    let owner = (!others).then_some(caller.user.id.as_str());
    if !tokens::revoke(&state.app.store, state.now(), &caller.actor(), &id, owner).await? {
        return Err(Problem::not_found("API token", &id));
    }
    state.ring();
    Ok(StatusCode::NO_CONTENT)
}
