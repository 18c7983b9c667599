//! Entity tags: `"REVISION-HASH"`. A reader is told "unchanged" only if every byte is; a writer is told "stale" only if
//! the revision moved: that a host was seen again does not undo a decision about its labels.

use super::problem::{Kind, Problem};
use advisory::digest::sha256;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;

/// Hex digits of the hash: 64 bits tell apart the states of one thing.
const HASH_DIGITS: usize = 16;

/// Answers with one thing and its tag, or that the client has it already.
pub(super) fn tagged<T: Serialize>(
    headers: &HeaderMap,
    revision: i64,
    thing: &T,
) -> Result<Response, Problem> {
    let body = serde_json::to_vec(thing).map_err(|problem| Problem::internal(&problem))?;
    let tag = format!("\"{revision}-{}\"", &sha256(&body)[..HASH_DIGITS]);
    let known = tags(headers, &header::IF_NONE_MATCH)
        .any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag);
    let tag = HeaderValue::from_str(&tag).expect("digits and quotes");
    let cache = HeaderValue::from_static("private, no-cache");
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
    };
    response.headers_mut().insert(header::ETAG, tag);
    response.headers_mut().insert(header::CACHE_CONTROL, cache);
    Ok(response)
}

/// The revision that a write is about, if it says so.
pub(super) fn expected(headers: &HeaderMap) -> Result<Option<i64>, Problem> {
    let mut given = tags(headers, &header::IF_MATCH);
    let Some(tag) = given.next() else { return Ok(None) };
    if tag == "*" {
        return Ok(None);
    }
    let revision = tag.strip_prefix('"').and_then(|tag| tag.split_once('-')).map(|(revision, _)| revision);
    revision.and_then(|revision| revision.parse().ok()).map(Some).ok_or_else(|| {
        let remedy = "send the ETag of a GET as it was";
        Problem::new(Kind::Stale, "compare", "If-Match", "it is no tag of ours", remedy).field("if-match")
    })
}

fn tags<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|tag| !tag.is_empty())
}
