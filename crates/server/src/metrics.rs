//! What Prometheus and load balancers ask: counts, whether the server lives, whether it is ready. Plain HTTP on a listener
//! of its own, without a login, so it tells numbers only: no names of hosts.

use crate::app::App;
use crate::store::{Doing, Error, census};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use sqlx::Row;
use std::sync::Arc;

/// A number that another part of the server keeps: its name, its help, its value now.
pub type Number = (&'static str, &'static str, u64);

/// What the listener needs.
#[derive(Clone)]
pub struct Watched {
    /// The server.
    pub app: Arc<App>,
    /// Numbers kept in memory.
    pub numbers: Arc<dyn Fn() -> Vec<Number> + Send + Sync>,
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Watched").finish_non_exhaustive()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Word {
    word: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FeedName {
    feed: String,
}

/// `/metrics`, `/health/live`, `/health/ready`.
pub fn router(watched: Watched) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        // That it answers is the answer.
        .route("/health/live", get(|| async { "live\n" }))
        .route("/health/ready", get(ready))
        .with_state(watched)
}

async fn ready(State(watched): State<Watched>) -> Response {
    // A store that cannot be read is not ready; what it says belongs into the log, not to whoever asks.
    match crate::store::events::last(&watched.app.store).await {
        Ok(_) => "ready\n".into_response(),
        Err(problem) => {
            tracing::warn!("not ready: {problem}");
            (StatusCode::SERVICE_UNAVAILABLE, "the store does not answer\n").into_response()
        }
    }
}

async fn metrics(State(watched): State<Watched>) -> Response {
    match text(&watched).await {
        Ok(text) => ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
            .into_response(),
        Err(problem) => {
            tracing::warn!("metrics: {problem}");
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
    }
}

async fn text(watched: &Watched) -> Result<String, Error> {
    let mut registry = Registry::with_prefix("palisade");
    let mut words = |name: &str, help: &str, counts: Vec<(String, i64)>| {
        let family = Family::<Word, Gauge>::default();
        for (word, count) in counts {
            family.get_or_create(&Word { word }).set(count);
        }
        registry.register(name, help, family);
    };
    let reader = watched.app.store.reader();
    let counted =
        |rows: Vec<sqlx::any::AnyRow>| rows.iter().map(|row| (row.get(0), row.get(1))).collect::<Vec<_>>();
    let hosts = sqlx::query("SELECT state, COUNT(*) FROM hosts GROUP BY state").fetch_all(reader).await;
    words("hosts", "Hosts by state", counted(hosts.doing("count hosts")?));
    let findings =
        sqlx::query("SELECT verdict, COUNT(*) FROM findings WHERE until_at IS NULL GROUP BY verdict")
            .fetch_all(reader)
            .await;
    words("findings", "Open findings by verdict", counted(findings.doing("count findings")?));
    let rollouts = sqlx::query("SELECT word, COUNT(*) FROM rollouts GROUP BY word").fetch_all(reader).await;
    words("rollouts", "Rollouts by state", counted(rollouts.doing("count rollouts")?));
    let jobs = sqlx::query(
        "SELECT j.counts, COUNT(*) FROM rollouts r JOIN rollout_jobs j ON j.plan = r.plan WHERE r.active = 1 \
         GROUP BY j.counts",
    )
    .fetch_all(reader)
    .await;
    words("rollout_jobs", "Jobs of rollouts under way", counted(jobs.doing("count jobs")?));
    let now = Timestamp::now().as_microsecond();
    let silent_micros = i64::from(watched.app.config.agents.silent_minutes) * 60_000_000;
    let silent: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM hosts WHERE state = 'active' AND seen_at < $1")
            .bind(now - silent_micros)
            .fetch_one(reader)
            .await
            .doing("count silent hosts")?;
    gauge(&mut registry, "hosts_silent", "Active hosts not heard of for agents.silent_minutes", silent);

    let (findings, hosts) = census::count_attacked(&watched.app.store).await?;
    gauge(&mut registry, "findings_attacked", "Open findings whose host is sent attempts for them", findings);
    gauge(&mut registry, "hosts_attacked", "Hosts with such findings", hosts);
    let mut alarms = [(census::Kind::Growing, 0), (census::Kind::New, 0)];
    for alarm in census::alarms(&watched.app.store).await? {
        alarms.iter_mut().filter(|(kind, _)| *kind == alarm.kind).for_each(|(_, count)| *count += 1);
    }
    let [growing, new] = alarms.map(|(_, count)| count);
    gauge(&mut registry, "signatures_growing", "Signatures that start to grow in the fleet", growing);
    gauge(&mut registry, "signatures_new", "Signatures that are new in the fleet", new);

    let ages = Family::<FeedName, Gauge>::default();
    let alarms = Family::<FeedName, Gauge>::default();
    let feeds = sqlx::query("SELECT name, COALESCE(read_at, 0), alarm FROM feeds").fetch_all(reader).await;
    for row in feeds.doing("read feeds")? {
        let feed = FeedName { feed: row.get(0) };
        ages.get_or_create(&feed).set((now - row.get::<i64, _>(1)) / 1_000_000);
        alarms.get_or_create(&feed).set(i64::from(!row.get::<String, _>(2).is_empty()));
    }
    registry.register("feed_age_seconds", "Since a feed was last read whole", ages);
    registry.register("feed_alarm", "1 if a feed has an alarm", alarms);
    for (name, help, value) in (watched.numbers)() {
        gauge(&mut registry, name, help, i64::try_from(value).unwrap_or(i64::MAX));
    }
    let mut text = String::new();
    encode(&mut text, &registry).expect("a String takes all that is written to it");
    Ok(text)
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: i64) {
    let gauge = Gauge::<i64>::default();
    gauge.set(value);
    registry.register(name, help, gauge);
}
