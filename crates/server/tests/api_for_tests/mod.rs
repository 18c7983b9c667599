//! The API over a store of its own, with a clock that tests turn: requests pass the whole router.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part")]
#![allow(clippy::unwrap_used, reason = "a test that panics fails")]

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::response::Response;
use http::{HeaderMap, Method, Request, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use server::api::{self, Clock};
use server::fleet::Fleet;
use server::identity::Authority;
use server::people::roles::Role;
use server::people::secrets;
use server::store::Store;
use server::store::audit::Actor;
use server::store::events::Event;
use server::store::people::{self, NewUser, User};
use server::store::tokens::{self, NewToken};
use server::{App, Config};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tokio::sync::{Notify, broadcast, mpsc};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// When tests begin: 2026-01-01.
pub const BEGIN: i64 = 1_767_225_600;

/// A server without its listeners.
pub struct Centre {
    pub store: Store,
    pub router: Router,
    pub events: broadcast::Sender<Event>,
    pub refresh: mpsc::Receiver<api::Refresh>,
    pub stopping: CancellationToken,
    seconds: Arc<AtomicI64>,
}

/// What came back.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("{} {}", self.status, String::from_utf8_lossy(&self.body)))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The value that a `Set-Cookie` gives.
    pub fn cookie(&self, name: &str) -> Option<String> {
        let lines = self.headers.get_all("set-cookie").into_iter().map(|line| line.to_str().unwrap());
        let mut pairs = lines.filter_map(|line| line.split(';').next()?.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
    }
}

impl Centre {
    pub async fn new(store: Store) -> Self {
        Self::with(store, Config::default()).await
    }

    pub async fn with(store: Store, config: Config) -> Self {
        let app = Arc::new(App { config, store: store.clone(), told: Arc::new(Notify::new()) });
        Authority::open(&store, Timestamp::from_second(BEGIN).unwrap()).await.unwrap();
        let fleet = Fleet::start(&app).await.unwrap();
        let (events, _) = broadcast::channel(16);
        let (ask, refresh) = mpsc::channel(2);
        let stopping = CancellationToken::new();
        let mut state = api::State::new(app, fleet, events.clone(), ask, stopping.clone()).unwrap();
        let seconds = Arc::new(AtomicI64::new(BEGIN));
        let clock = Arc::clone(&seconds);
        state.clock = Clock::new(move || Timestamp::from_second(clock.load(Ordering::Relaxed)).unwrap());
        Self { store, router: api::router(state), events, refresh, stopping, seconds }
    }

    pub fn now(&self) -> Timestamp {
        Timestamp::from_second(self.seconds.load(Ordering::Relaxed)).unwrap()
    }

    pub fn wait(&self, seconds: i64) {
        self.seconds.fetch_add(seconds, Ordering::Relaxed);
    }

    /// Makes a user of that role, named like it, with an API token; gives both.
    pub async fn user(&self, role: Role) -> (User, String) {
        self.named(role.word(), role).await
    }

    pub async fn named(&self, name: &str, role: Role) -> (User, String) {
        let new = NewUser { name, password: "", subject: None, role };
        let user = people::create(&self.store, self.now(), &Actor::Server, &new).await.unwrap().unwrap();
        let token = self.token(&user, role).await;
        (user, token)
    }

    pub async fn token(&self, user: &User, role: Role) -> String {
        let secret = secrets::secret("pal_").unwrap();
        let expires_at = self.now() + SignedDuration::from_hours(24);
        let new = NewToken { hash: &secrets::kept(&secret), owner: user, name: "test", role, expires_at };
        tokens::create(&self.store, self.now(), &Actor::Server, &new).await.unwrap();
        secret
    }

    /// Asks with these headers; a body is JSON.
    pub async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Answer {
        let mut request = Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap()).uri(path);
        request = request.header("host", "localhost:8470");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        self.send(request.body(body).unwrap()).await
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.stream(request).await;
        let (head, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 64 << 20).await.unwrap().to_vec();
        Answer { status: head.status, headers: head.headers, body }
    }

    pub async fn stream(&self, mut request: Request<Body>) -> Response {
        request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([192, 0, 2, 1], 1234))));
        self.router.clone().oneshot(request).await.unwrap()
    }

    pub async fn get(&self, token: &str, path: &str) -> Answer {
        self.ask("GET", path, &[("authorization", &format!("Bearer {token}"))], None).await
    }

    pub async fn post(&self, token: &str, path: &str, body: &Value) -> Answer {
        self.ask("POST", path, &[("authorization", &format!("Bearer {token}"))], Some(body)).await
    }

    pub async fn patch(&self, token: &str, path: &str, body: &Value) -> Answer {
        self.ask("PATCH", path, &[("authorization", &format!("Bearer {token}"))], Some(body)).await
    }

    /// Logs in by password; gives the answer, whose cookie is the session.
    pub async fn log_in(&self, name: &str, password: &str) -> Answer {
        let body = serde_json::json!({ "name": name, "password": password });
        self.ask("POST", "/api/v1/session", &[], Some(&body)).await
    }
}
