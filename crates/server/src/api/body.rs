//! Reads what a request brings, strictly: an unknown field is refused with its path, not ignored.

use super::idempotent::read;
use super::problem::{Kind, Problem};
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use http::header;
use http::request::Parts;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The largest body of a request: 1 MiB. The largest that is needed is some labels.
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// A JSON body.
#[derive(Debug)]
pub struct Strict<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Strict<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let bytes = json_bytes(request).await?;
        let plain: Value =
            serde_json::from_slice(&bytes).map_err(|problem| Problem::malformed("the body", problem))?;
        // Serde would read an array as the fields in their order.
        if !plain.is_object() {
            return Err(Problem::malformed("the body", "it is not an object"));
        }
        if has_nul(&plain) {
            return Err(Problem::malformed("the body", "a text has a NUL character"));
        }
        // From the text, not from `plain`, which has lost a field that is there twice.
        let mut reader = serde_json::Deserializer::from_slice(&bytes);
        serde_path_to_error::deserialize(&mut reader).map(Self).map_err(|problem| {
            let path = problem.path().to_string();
            Problem::malformed("the body", problem.inner()).field(path)
        })
    }
}

/// A JSON array as the body, of at most so many bytes as any body.
#[derive(Debug)]
pub struct List<T>(pub Vec<T>);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for List<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let bytes = json_bytes(request).await?;
        let mut reader = serde_json::Deserializer::from_slice(&bytes);
        let read: Vec<T> = serde_path_to_error::deserialize(&mut reader).map_err(|problem| {
            let path = problem.path().to_string();
            Problem::malformed("the body", problem.inner()).field(path)
        })?;
        reader.end().map_err(|problem| Problem::malformed("the body", problem))?;
        Ok(Self(read))
    }
}

async fn json_bytes(request: Request) -> Result<Bytes, Problem> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let essence = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        let reason = "its Content-Type is not application/json";
        return Err(Problem::new(Kind::NotJson, "read", "the body", reason, "send JSON, and say so"));
    }
    read(request.into_body(), BODY_BYTES_MAX).await
}

/// PostgreSQL's texts hold no NUL. No recursion bomb: serde_json refuses more than 128 levels.
fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(values) => values.iter().any(has_nul),
        Value::Object(fields) => fields.iter().any(|(key, value)| key.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// What follows the `?`.
#[derive(Debug)]
pub struct Ask<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Ask<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = Query::try_from_uri(&parts.uri);
        query
            .map(|Query(asked)| Self(asked))
            .map_err(|problem| Problem::malformed("the query", problem.body_text()))
    }
}

/// Two ids in the path, the outer one first.
#[derive(Debug)]
pub struct Both(pub String, pub String);

impl<S: Send + Sync> FromRequestParts<S> for Both {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        path.map(|Path((outer, inner))| Self(outer, inner))
            .map_err(|problem| Problem::malformed("the address", problem.body_text()))
    }
}

/// The id or name in the path.
#[derive(Debug)]
pub struct Named(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        path.map(|Path(name)| Self(name))
            .map_err(|problem| Problem::malformed("the address", problem.body_text()))
    }
}

/// Refuses a text that is longer than so many characters, or has control characters: it would end in somebody's log.
pub(super) fn line(field: &str, text: &str, most: usize) -> Result<(), Problem> {
    if text.chars().count() > most {
        return Err(Problem::malformed(field, format!("it has more than {most} characters")).field(field));
    }
    if text.chars().any(char::is_control) {
        return Err(Problem::malformed(field, "it has a control character").field(field));
    }
    Ok(())
}
