//! `/users`: who may log in, and as what.

use super::State;
use super::body::{Ask, Named, Strict};
use super::etag;
use super::guard::Caller;
use super::page::{self, Page};
use super::problem::{Kind, Problem};
use crate::people::roles::Role;
use crate::people::{NAME_MAX, is_name};
use crate::store::people::{self, Change, Changed, NewUser, User as Row};
use axum::Json;
use axum::extract::State as At;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, Uri, header};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// A user.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct User {
    /// The user's id.
    id: String,
    /// The name to log in with.
    name: String,
    /// What the user may do.
    role: Role,
    /// May not log in, and tokens and sessions are good for nothing.
    disabled: bool,
    /// Can log in by password.
    has_password: bool,
    /// Issuer and subject, of users who come from an identity provider.
    subject: Option<String>,
    /// When the account was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<Row> for User {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            name: row.name,
            role: row.role,
            disabled: row.disabled,
            has_password: row.has_password,
            subject: row.subject,
            created_at: row.created_at,
        }
    }
}

/// Which users.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct List {
    /// How many.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
    /// Only the user of this name.
    name: Option<String>,
}

/// A page, by a name: see [`Page`].
type UserPage = Page<User>;

/// List users, by name.
#[utoipa::path(get, path = "/api/v1/users", tag = "users", params(List), responses(
    (status = 200, description = "A page of users", body = UserPage)
))]
pub(super) async fn list(At(state): At<State>, uri: Uri, Ask(asked): Ask<List>) -> Result<Response, Problem> {
    let limit = page::limit(asked.limit)?;
    let after = page::parts::<1>(asked.after.as_deref())?.map(|[name]| name).unwrap_or_default();
    let most = i64::try_from(limit + 1).unwrap_or(i64::MAX);
    let rows = people::list(&state.app.store, asked.name.as_deref(), &after, most).await?;
    Ok(page::cut(rows, limit, |row| page::place(&[&row.name])).map(User::from).answer(&uri))
}

/// A user to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct New {
    /// Letters, digits and `.`, `_`, `-`, `@`.
    #[schema(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9._@-]+$")]
    name: String,
    /// What the user may do.
    role: Role,
    /// Absent: cannot log in by password.
    #[schema(min_length = 12, max_length = 256)]
    password: Option<String>,
}

/// Make a user.
#[utoipa::path(post, path = "/api/v1/users", tag = "users", request_body(content = inline(New)), responses(
    (status = 201, description = "The user", body = User)
))]
pub(super) async fn create(
    At(state): At<State>,
    caller: Caller,
    Strict(new): Strict<New>,
) -> Result<Response, Problem> {
    if !is_name(&new.name) {
        let reason = format!("it has 1 to {NAME_MAX} letters, digits, or . _ - @");
        return Err(Problem::malformed("name", reason).field("name"));
    }
    let password = match &new.password {
        Some(password) => state.people.passwords.hash(password).await?,
        None => String::new(),
    };
    let user = NewUser { name: &new.name, password: &password, subject: None, role: new.role };
    let made = people::create(&state.app.store, state.now(), &caller.actor(), &user).await?;
    let Some(made) = made else {
        let object = format!("user {}", new.name);
        return Err(
            Problem::new(Kind::Conflict, "make", object, "the name is taken", "take another").field("name")
        );
    };
    state.ring();
    let location = format!("/api/v1/users/{}", made.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(User::from(made))).into_response())
}

/// One user.
#[utoipa::path(get, path = "/api/v1/users/{id}", tag = "users", params(("id" = String, Path)), responses(
    (status = 200, description = "The user, with an ETag", body = User),
    (status = 304, description = "It is as If-None-Match has it")
))]
pub(super) async fn get(
    At(state): At<State>,
    Named(id): Named,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let row = people::get(&state.app.store, &id).await?.ok_or_else(|| Problem::not_found("user", &id))?;
    etag::tagged(&headers, row.revision, &User::from(row))
}

/// What is to change; what is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Edit {
    /// What the user may do.
    role: Option<Role>,
    /// Whether the user is shut out.
    disabled: Option<bool>,
    /// A new password; the user's sessions end.
    #[schema(min_length = 12, max_length = 256)]
    password: Option<String>,
}

/// Change a user.
#[utoipa::path(patch, path = "/api/v1/users/{id}", tag = "users", request_body = Edit,
    params(("id" = String, Path), ("If-Match" = Option<String>, Header, description = "The ETag it must have")),
    responses((status = 200, description = "The user as it is now", body = User)))]
pub(super) async fn change(
    At(state): At<State>,
    caller: Caller,
    Named(id): Named,
    headers: HeaderMap,
    Strict(edit): Strict<Edit>,
) -> Result<Response, Problem> {
    let password = match &edit.password {
        Some(password) => Some(state.people.passwords.hash(password).await?),
        None => None,
    };
    let change = Change { role: edit.role, disabled: edit.disabled, password };
    let row = apply(&state, &caller, &id, &headers, &change).await?;
    etag::tagged(&HeaderMap::new(), row.revision, &User::from(row))
}

/// Shut a user out. The account stays, as the audit log names it.
#[utoipa::path(delete, path = "/api/v1/users/{id}", tag = "users",
    params(("id" = String, Path), ("If-Match" = Option<String>, Header, description = "The ETag it must have")),
    responses((status = 204, description = "Shut out")))]
pub(super) async fn disable(
    At(state): At<State>,
    caller: Caller,
    Named(id): Named,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let change = Change { disabled: Some(true), ..Change::default() };
    apply(&state, &caller, &id, &headers, &change).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn apply(
    state: &State,
    caller: &Caller,
    id: &str,
    headers: &HeaderMap,
    change: &Change,
) -> Result<Row, Problem> {
    let expected = etag::expected(headers)?;
    let store = &state.app.store;
    match people::change(store, state.now(), &caller.actor(), id, change, expected).await? {
        Changed::Done(row) => {
            state.ring();
            Ok(row)
        }
        Changed::Missing => Err(Problem::not_found("user", id)),
        Changed::Stale => Err(Problem::stale("user", id)),
        Changed::LastAdmin => {
            let reason = "nobody would be left who may give roles";
            let remedy = "make somebody else an admin first";
            Err(Problem::new(Kind::Conflict, "change", format!("user {id}"), reason, remedy))
        }
    }
}
