//! A write sent twice with the same key is done once: the first answer is kept and given again. It may hold a secret that
//! is shown once, so it is kept sealed with the client's key, which the store never sees.

use super::State;
use super::body::BODY_BYTES_MAX;
use super::guard::Caller;
use super::problem::{Kind, Problem};
use crate::seal::Seal;
use crate::store::idempotency::{self, Place};
use advisory::digest::{hex, sha256};
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use http_body_util::LengthLimitError;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tracing::Instrument;

/// The header that carries the key.
pub(super) const HEADER: &str = "idempotency-key";
/// Says that an answer was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// The longest key, in characters.
const KEY_MAX: usize = 128;
/// The largest answer that is kept: as large as a request.
const ANSWER_BYTES_MAX: usize = BODY_BYTES_MAX;

/// Runs a request once for its key.
pub(super) async fn once(
    state: &State,
    now: Timestamp,
    caller: &Caller,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let key = key(&request)?;
    let (head, body) = request.into_parts();
    let body = read(body, BODY_BYTES_MAX).await?;
    let mut digest = Sha256::new();
    for part in [head.method.as_str().as_bytes(), head.uri.to_string().as_bytes(), &body] {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    let (asked, name) = (hex(&digest.finalize()), sha256(key.as_bytes()));
    let (store, actor) = (&state.app.store, caller.user.id.as_str());
    let conflict = |kind, reason, remedy| {
        Err(Problem::new(kind, "take", "the idempotency key", reason, remedy).field(HEADER))
    };
    match idempotency::take(store, now, actor, &name, &asked).await? {
        Place::Yours => {}
        Place::Other => {
            return conflict(Kind::KeyReused, "it was used for another request", "use a new one");
        }
        Place::UnderWay => {
            return conflict(Kind::UnderWay, "the same request is being answered", "come back later");
        }
        Place::Answered { status, body } => {
            let body = seal_of(actor, &key).open(&[], &body).ok_or_else(|| {
                Problem::internal(&"an answer kept for an idempotency key cannot be opened")
            })?;
            return Ok(replay(status, body));
        }
    }
    // Not cancelled with the client's connection: what was begun is finished, and its answer kept.
    let (state, actor) = (state.clone(), actor.to_owned());
    let request = Request::from_parts(head, Body::from(body));
    let answered = async move {
        let store = &state.app.store;
        let response = next.run(request).await;
        // A refusal leaves nothing done: the key stays free for the request put right.
        if !response.status().is_success() {
            idempotency::release(store, &actor, &name).await?;
            return Ok(response);
        }
        let (head, body) = response.into_parts();
        let body = read(body, ANSWER_BYTES_MAX).await?;
        let sealed =
            seal_of(&actor, &key).close(&[], &body).map_err(|problem| Problem::internal(&problem))?;
        let status = i64::from(head.status.as_u16());
        idempotency::keep(store, state.now(), &actor, &name, status, &sealed).await?;
        Ok(Response::from_parts(head, Body::from(body)))
    };
    tokio::spawn(answered.in_current_span()).await.map_err(|problem| Problem::internal(&problem))?
}

fn key(request: &Request) -> Result<String, Problem> {
    let key = request.headers().get(HEADER).and_then(|key| key.to_str().ok()).unwrap_or_default();
    if (1..=KEY_MAX).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(key.to_owned());
    }
    let reason = format!("it has 1 to {KEY_MAX} visible ASCII characters");
    Err(Problem::malformed("the idempotency key", reason).field(HEADER))
}

/// Reads a body of at most so many bytes.
pub(super) async fn read(body: Body, most: usize) -> Result<Bytes, Problem> {
    axum::body::to_bytes(body, most).await.map_err(|problem| {
        let too_large =
            std::error::Error::source(&problem).is_some_and(<dyn std::error::Error>::is::<LengthLimitError>);
        if too_large {
            let remedy = "send less";
            let reason = format!("it has more than {most} bytes");
            Problem::new(Kind::TooLarge, "read", "the body", reason, remedy)
        } else {
            Problem::malformed("the body", "it broke off")
        }
    })
}

fn replay(status: i64, body: Vec<u8>) -> Response {
    let status =
        u16::try_from(status).ok().and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or_default();
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

fn seal_of(actor: &str, key: &str) -> Seal {
    Seal::new(&Sha256::digest(format!("sealed answer {actor} {key}")).into())
}
