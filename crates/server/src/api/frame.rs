//! Around every endpoint: the request's id, its time limit, headers that keep browsers out of harm, problems in their
//! form, and panics as problems.

use super::State;
use super::problem::{Kind, Problem};
use crate::traces;
use axum::extract::{MatchedPath, Request, State as At};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http::{HeaderName, HeaderValue, header};
use std::panic::AssertUnwindSafe;
use std::time::Duration;
use tracing::field::Empty;
use tracing::{Instrument, Span};

/// How long an answer may take to begin. A streamed body may take longer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest request id that is taken from the client.
const REQUEST_ID_MAX: usize = 64;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// No Strict-Transport-Security: nothing answers over plain HTTP here, and on `localhost` it would shut out all other
/// programs' pages.
const HEADERS: [(HeaderName, &str); 6] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (header::X_FRAME_OPTIONS, "DENY"),
];

/// Runs one request inside the frame.
pub(super) async fn frame(At(state): At<State>, mut request: Request, next: Next) -> Response {
    let id = request_id(&request);
    let span = tracing::info_span!("request", id, method = %request.method(), path = request.uri().path());
    let trace = trace(&request, &id);
    request.extensions_mut().insert(state);
    let answered = async {
        // PostgreSQL's texts hold no NUL, and no name of ours does.
        if request.uri().to_string().contains("%00") {
            return Problem::malformed("the address", "it has a NUL character").into_response();
        }
        let running = AssertUnwindSafe(next.run(request)).catch_unwind();
        match tokio::time::timeout(ANSWER_TIMEOUT, running).await {
            Ok(Ok(response)) => response,
            Ok(Err(_)) => Problem::internal(&"an endpoint panicked").into_response(),
            Err(_) => {
                let reason = format!("no answer within {} s", ANSWER_TIMEOUT.as_secs());
                Problem::new(Kind::TooSlow, "answer", "the request", reason, "ask for less, or later")
                    .into_response()
            }
        }
    };
    let mut response = answered.instrument(span).instrument(trace.clone()).await;
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        let cookies = response.headers_mut().remove(header::SET_COOKIE);
        response = problem.answer(&id);
        if let Some(cookie) = cookies {
            response.headers_mut().insert(header::SET_COOKIE, cookie);
        }
    }
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(REQUEST_ID, HeaderValue::from_str(&id).expect("letters, digits and dashes"));
    trace.record("http.response.status_code", response.status().as_u16());
    if response.status().is_server_error() {
        trace.record("otel.status_code", "ERROR");
    }
    response
}

/// The request as a trace, or as a part of its caller's. Queries are left out: they are people's.
fn trace(request: &Request, id: &str) -> Span {
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let span = tracing::info_span!(
        target: traces::TARGET,
        "request",
        otel.name = format!("{} {route}", request.method()),
        otel.kind = "server",
        otel.status_code = Empty,
        request.id = id,
        http.request.method = %request.method(),
        http.route = route,
        url.path = request.uri().path(),
        http.response.status_code = Empty,
    );
    traces::belongs_to(&span, request.headers());
    span
}

/// The client's id for the request, if it is harmless in logs; else a new one.
fn request_id(request: &Request) -> String {
    let harmless = |id: &&str| {
        (1..=REQUEST_ID_MAX).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let given = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok()).filter(harmless);
    given.map_or_else(|| uuid::Uuid::now_v7().to_string(), str::to_owned)
}
