//! What people and programs ask, over HTTP and JSON. Takes requests; gives what the store holds, and writes what people
//! decide.
//!
//! A request passes the `frame`, then, unless its endpoint is public, the `guard`: who asks, and whether they may.
//! `endpoints` names every endpoint with the permission that it needs; there is no other way to add one.
#![allow(unused_qualifications, reason = "utoipa's macros write paths out")]

mod advisories;
mod alerts;
mod api_tokens;
mod audit;
mod authority;
pub mod body;
mod census;
mod enrolment;
mod etag;
mod events;
mod evidence;
mod feeds;
mod findings;
mod frame;
mod guard;
mod hosts;
mod idempotent;
mod inventories;
mod oidc;
mod page;
mod plans;
pub mod problem;
mod proposals;
mod rollout_acts;
mod rollouts;
mod select;
mod session;
mod status;
mod trust;
mod users;

use crate::app::App;
use crate::fleet::Fleet;
use crate::people::People;
use crate::people::oidc::{Error as OidcError, Oidc};
use crate::people::roles::Permission;
use crate::planning::Planning;
use crate::signing::Signing;
use crate::store::audit::Actor;
use crate::store::events::Event;
use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use jiff::Timestamp;
use problem::{Kind, Problem};
use std::fmt;
use std::sync::Arc;
use tokio::sync::{Semaphore, broadcast, mpsc};
use tokio_util::sync::CancellationToken;
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    Components, Content, InfoBuilder, ObjectBuilder, OpenApi, OpenApiBuilder, Ref, Required, ResponseBuilder,
    SecurityRequirement, Type,
};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};
use utoipa_axum::routes;

/// Streams of events at once. Each costs a task and some kilobytes; more are told to come back.
const STREAMS_MAX: usize = 1024;

/// Tells the time.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// A clock of one's own.
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new(Timestamp::now)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Clock")
    }
}

/// A feed that is to be read now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refresh {
    /// Its name; it is in the settings.
    pub feed: String,
    /// Who has looked at what was held back of it, and wants it used.
    pub accept: Option<Actor>,
}

/// What endpoints have at hand. Cheap to clone.
#[derive(Clone, Debug)]
pub struct State {
    /// The running server.
    pub app: Arc<App>,
    /// The fleet in memory, for what selectors ask.
    pub fleet: Arc<Fleet>,
    /// What approvers have signed.
    pub signing: Arc<Signing>,
    /// Who makes plans.
    pub planning: Arc<Planning>,
    /// For logging in by password.
    pub people: Arc<People>,
    /// For logging in through an identity provider, if there is one.
    pub oidc: Option<Oidc>,
    /// Events as they happen, in order; what a slow follower missed it reads from the store.
    pub events: broadcast::Sender<Event>,
    /// Feeds that are to be read now.
    pub refresh: mpsc::Sender<Refresh>,
    /// Cancelled when the server stops: streams end.
    pub stopping: CancellationToken,
    /// What time it is.
    pub clock: Clock,
    streams: Arc<Semaphore>,
}

impl State {
    /// For a running server; fails if `oidc` in its settings cannot be used.
    pub fn new(
        app: Arc<App>,
        planning: Arc<Planning>,
        events: broadcast::Sender<Event>,
        refresh: mpsc::Sender<Refresh>,
        stopping: CancellationToken,
    ) -> Result<Self, OidcError> {
        let oidc = app.config.oidc.as_ref().map(Oidc::new).transpose()?;
        Ok(Self {
            app,
            fleet: Arc::clone(planning.fleet()),
            signing: Arc::clone(planning.signing()),
            planning,
            people: Arc::default(),
            oidc,
            events,
            refresh,
            stopping,
            clock: Clock::default(),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
        })
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Rings for those who follow events, after a commit that told of one.
    fn ring(&self) {
        self.app.told.notify_waiters();
    }
}

/// The router for people's listener. That one puts a `ConnectInfo<SocketAddr>` into each request's extensions, so that
/// addresses that guess passwords can be slowed down.
pub fn router(state: State) -> Router {
    let (router, _) = endpoints().split_for_parts();
    router
        .fallback(async |request: Request| Problem::not_found("address", request.uri().path()))
        .method_not_allowed_fallback(async |request: Request| {
            let remedy = "see /api/v1/openapi.json for what may be done";
            let reason = format!("it does not know {}", request.method());
            Problem::new(Kind::MethodNotAllowed, "answer at", request.uri().path(), reason, remedy)
        })
        .layer(from_fn_with_state(state.clone(), frame::frame))
        .with_state(state)
}

/// The OpenAPI document, JSON.
pub fn openapi() -> String {
    let (_, document) = endpoints().split_for_parts();
    document.to_json().expect("the document has text keys only")
}

/// Every endpoint and what it needs.
fn endpoints() -> OpenApiRouter<State> {
    use Permission as P;
    OpenApiRouter::with_openapi(document())
        .routes(public(routes!(openapi_json)))
        .routes(public(routes!(session::log_in)))
        .routes(public(routes!(oidc::depart)))
        .routes(public(routes!(oidc::arrive)))
        .routes(needs(P::Own, routes!(session::who)))
        .routes(needs(P::Own, routes!(session::log_out)))
        .routes(needs(P::Own, routes!(session::set_password)))
        .routes(needs(P::ReadFleet, routes!(hosts::list)))
        .routes(needs(P::ReadFleet, routes!(hosts::get)))
        .routes(needs(P::ArrangeHosts, routes!(hosts::arrange)))
        .routes(needs(P::AdmitHosts, routes!(hosts::remove)))
        .routes(needs(P::AdmitHosts, routes!(hosts::revoke)))
        .routes(needs(P::AdmitHosts, routes!(hosts::release)))
        .routes(needs(P::ReadFleet, routes!(inventories::get)))
        .routes(needs(P::ReadFleet, routes!(inventories::history)))
        .routes(needs(P::ReadFleet, routes!(evidence::list)))
        .routes(needs(P::ReadFleet, routes!(findings::of_host)))
        .routes(needs(P::ReadFleet, routes!(findings::list)))
        .routes(needs(P::ReadFleet, routes!(findings::summary)))
        .routes(needs(P::ReadFleet, routes!(advisories::list)))
        .routes(needs(P::ReadFleet, routes!(advisories::get)))
        .routes(needs(P::ReadFleet, routes!(feeds::list)))
        .routes(needs(P::ReadFleet, routes!(feeds::get)))
        .routes(needs(P::RefreshFeeds, routes!(feeds::refresh)))
        .routes(needs(P::Enrol, routes!(enrolment::list)))
        .routes(needs(P::Enrol, routes!(enrolment::create)))
        .routes(needs(P::Enrol, routes!(enrolment::revoke)))
        .routes(needs(P::ManageUsers, routes!(users::list)))
        .routes(needs(P::ManageUsers, routes!(users::create)))
        .routes(needs(P::ManageUsers, routes!(users::get)))
        .routes(needs(P::ManageUsers, routes!(users::change)))
        .routes(needs(P::ManageUsers, routes!(users::disable)))
        .routes(needs(P::Own, routes!(api_tokens::list)))
        .routes(needs(P::Own, routes!(api_tokens::create)))
        .routes(needs(P::Own, routes!(api_tokens::revoke)))
        .routes(needs(P::ReadAudit, routes!(audit::list)))
        .routes(needs(P::ReadAudit, routes!(audit::export)))
        .routes(needs(P::ReadFleet, routes!(trust::get)))
        .routes(needs(P::ReadFleet, routes!(trust::root)))
        .routes(needs(P::ReadFleet, routes!(trust::standing)))
        .routes(needs(P::ArrangeKeys, routes!(trust::found)))
        .routes(needs(P::ArrangeKeys, routes!(trust::change)))
        .routes(needs(P::ReadFleet, routes!(proposals::list)))
        .routes(needs(P::ReadFleet, routes!(proposals::get)))
        .routes(needs(P::RunRollouts, routes!(proposals::withdraw)))
        .routes(needs(P::Approve, routes!(proposals::add)))
        .routes(needs(P::Approve, routes!(proposals::sign)))
        .routes(needs(P::ReadFleet, routes!(plans::list)))
        .routes(needs(P::RunRollouts, routes!(plans::create)))
        .routes(needs(P::ReadFleet, routes!(plans::get)))
        .routes(needs(P::ReadFleet, routes!(plans::bytes)))
        .routes(needs(P::RunRollouts, routes!(plans::propose)))
        .routes(needs(P::RunRollouts, routes!(plans::remove)))
        .routes(needs(P::ReadFleet, routes!(rollouts::list)))
        .routes(needs(P::ReadFleet, routes!(rollouts::get)))
        .routes(needs(P::ReadFleet, routes!(rollouts::jobs)))
        .routes(needs(P::ReadFleet, routes!(rollouts::job)))
        .routes(needs(P::RunRollouts, routes!(rollout_acts::start)))
        .routes(needs(P::StopRollouts, routes!(rollout_acts::pause)))
        .routes(needs(P::StopRollouts, routes!(rollout_acts::halt)))
        .routes(needs(P::RunRollouts, routes!(rollout_acts::resume)))
        .routes(needs(P::RunRollouts, routes!(rollout_acts::back)))
        .routes(needs(P::RunRollouts, routes!(rollout_acts::abort)))
        .routes(needs(P::RunRollouts, routes!(rollout_acts::retract)))
        .routes(needs(P::RunRollouts, routes!(rollout_acts::free)))
        .routes(needs(P::ReadFleet, routes!(alerts::list)))
        .routes(needs(P::RaiseAlerts, routes!(alerts::raise)))
        .routes(needs(P::RaiseAlerts, routes!(alerts::remove)))
        .routes(needs(P::ReadFleet, routes!(census::list)))
        .routes(needs(P::ReadFleet, routes!(census::get)))
        .routes(needs(P::ReadFleet, routes!(census::fleet_days)))
        .routes(needs(P::ReadFleet, routes!(census::tellers)))
        .routes(needs(P::ReadFleet, routes!(events::stream)))
        .routes(needs(P::ReadFleet, routes!(authority::get)))
        .routes(needs(P::ReadFleet, routes!(status::status)))
}

/// An endpoint that anybody may ask.
fn public((schemas, mut paths, router): UtoipaMethodRouter<State>) -> UtoipaMethodRouter<State> {
    each_operation(&mut paths.paths, |_, operation| {
        operation.security = Some(Vec::new());
        describe(operation, "public");
    });
    (schemas, paths, router)
}

/// An endpoint behind the guard.
fn needs(
    permission: Permission,
    (schemas, mut paths, router): UtoipaMethodRouter<State>,
) -> UtoipaMethodRouter<State> {
    each_operation(&mut paths.paths, |method, operation| {
        let either = ["token", "session"].map(|scheme| SecurityRequirement::new(scheme, [""; 0]));
        operation.security = Some(either.into());
        describe(operation, permission.least().word());
        let text = || ObjectBuilder::new().schema_type(Type::String);
        let header = |name, description, schema: ObjectBuilder| {
            ParameterBuilder::new()
                .name(name)
                .parameter_in(ParameterIn::Header)
                .required(Required::False)
                .description(Some(description))
                .schema(Some(schema))
                .build()
                .into()
        };
        if method == "post" {
            let key = text().min_length(Some(1)).max_length(Some(128)).pattern(Some("^[!-~]+$"));
            let description = "A write sent twice with the same key is done once";
            operation.parameters.get_or_insert_default().push(header("Idempotency-Key", description, key));
        }
        if method != "get" {
            let description = "Needed with a session's cookie: the csrf_token of GET /api/v1/session";
            operation.parameters.get_or_insert_default().push(header("X-CSRF-Token", description, text()));
        }
    });
    let guarded = router
        .route_layer(from_fn(move |request: Request, next: Next| guard::guard(permission, request, next)));
    (schemas, paths, guarded)
}

fn each_operation(
    paths: &mut std::collections::BTreeMap<String, PathItem>,
    mut each: impl FnMut(&str, &mut Operation),
) {
    for item in paths.values_mut() {
        let operations = [
            ("get", &mut item.get),
            ("post", &mut item.post),
            ("patch", &mut item.patch),
            ("delete", &mut item.delete),
            ("put", &mut item.put),
        ];
        for (method, operation) in operations {
            if let Some(operation) = operation {
                each(method, operation);
            }
        }
    }
}

/// Adds what every operation has: the least role, and problems.
fn describe(operation: &mut Operation, role: &str) {
    operation
        .extensions
        .get_or_insert_with(Extensions::default)
        .insert("x-least-role".to_owned(), role.into());
    for (range, description) in [("4XX", "The request is refused"), ("5XX", "The server could not do it")] {
        let content = Content::new(Some(Ref::from_schema_name("Problem")));
        let response = ResponseBuilder::new().description(description).content(problem::MEDIA_TYPE, content);
        operation.responses.responses.insert(range.to_owned(), response.build().into());
    }
}

fn document() -> OpenApi {
    let info = InfoBuilder::new()
        .title("Palisade")
        .version("1")
        .description(Some(
            "The fleet: hosts, findings, advisories, and who may change what. See docs/api.md.",
        ))
        .build();
    let mut components = Components::new();
    components.schemas.insert(problem::Body::name().into_owned(), problem::Body::schema());
    let bearer =
        HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("An API token: pal_…")).build();
    components.add_security_scheme("token", SecurityScheme::Http(bearer));
    let cookie = ApiKey::Cookie(ApiKeyValue::new(crate::people::sessions::COOKIE));
    components.add_security_scheme("session", SecurityScheme::ApiKey(cookie));
    OpenApiBuilder::new().info(info).components(Some(components)).build()
}

/// This document.
#[utoipa::path(get, path = "/api/v1/openapi.json", tag = "status", responses(
    (status = 200, description = "The OpenAPI document", body = serde_json::Value)
))]
async fn openapi_json() -> impl axum::response::IntoResponse {
    static DOCUMENT: std::sync::LazyLock<String> = std::sync::LazyLock::new(openapi);
    ([(http::header::CONTENT_TYPE, "application/json")], DOCUMENT.as_str())
}
