//! `/census`: which attempts hosts counted in their web logs, and what comes of them.

use super::State;
use super::body::{Ask, Named};
use super::etag;
use super::findings::HostName;
use super::page::{self, Page};
use super::problem::Problem;
use crate::census::{date_of, hour_of, moment_of};
use crate::store::census::{self, Alarm, DAY_HOURS, Kind, Signature as Row};
use axum::extract::State as At;
use axum::response::Response;
use http::{HeaderMap, Uri};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use traffic::census::Count;
use utoipa::{IntoParams, ToSchema};

/// Days that are told, if nobody asks for more or fewer.
const DAYS: u32 = 30;
/// Hosts that are told of one signature.
const HOSTS_MAX: i64 = 1_000;

/// A number of distinct sources: an estimate, unless it is none.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CensusSources)]
pub(super) struct Sources {
    /// How many.
    count: u64,
    /// Standard error in percent; absent: the number is exact.
    #[serde(skip_serializing_if = "Option::is_none")]
    error_percent: Option<f64>,
}

impl From<Count> for Sources {
    fn from(count: Count) -> Self {
        Self { count: count.count, error_percent: count.error_percent }
    }
}

/// A signature's day.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CensusDay)]
pub(super) struct SignatureDay {
    /// The day, UTC.
    #[schema(value_type = String, format = Date)]
    day: jiff::civil::Date,
    /// Attempts.
    attempts: i64,
    /// How many of them were answered with 2xx.
    answered: i64,
    /// Hosts that saw one.
    hosts: i64,
    /// Distinct sources, each once, however many hosts it came to.
    sources: Sources,
}

/// A signature in the fleet.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CensusSignature)]
pub(super) struct Counted {
    /// The rule's id.
    signature: String,
    /// What it is about.
    cves: Vec<String>,
    /// Attempts of these days.
    attempts: i64,
    /// How many of them were answered with 2xx.
    answered: i64,
    /// Hosts that saw one in these days.
    hosts: i64,
    /// Hosts that it reaches and that are vulnerable to what it is about, now.
    hosts_attacked: i64,
    /// Distinct sources of all these days together.
    sources: Sources,
    /// The hour that the fleet first saw it.
    #[schema(value_type = String, format = DateTime)]
    first: Timestamp,
    /// The last hour that a host of the fleet saw it; absent: these hosts are gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    last: Option<Timestamp>,
    /// Since when it grows; absent: it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    growing: Option<Timestamp>,
    /// It is new in the fleet.
    new: bool,
    /// Days with attempts, in order.
    days: Vec<SignatureDay>,
}

/// Which days.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct List {
    /// How many days up to today; 30 if absent.
    #[param(minimum = 1, maximum = 3650)]
    days: Option<u32>,
    /// How many signatures.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// A page, by a name: see [`Page`].
type SignaturePage = Page<Counted>;

/// List the signatures that hosts saw, by id, each with its days.
#[utoipa::path(get, path = "/api/v1/census", tag = "census", params(List), responses(
    (status = 200, description = "A page of signatures", body = SignaturePage)
))]
pub(super) async fn list(At(state): At<State>, uri: Uri, Ask(asked): Ask<List>) -> Result<Response, Problem> {
    let days = days(&state, asked.days)?;
    let limit = page::limit(asked.limit)?;
    let after = page::parts::<1>(asked.after.as_deref())?.map(|[id]| id).unwrap_or_default();
    let most = i64::try_from(limit + 1).unwrap_or(i64::MAX);
    let rows = census::signatures(&state.app.store, days, &after, most).await?;
    let page = page::cut(rows, limit, |row| page::place(&[&row.signature]));
    let standing = Standing::of(&state, &page.items).await?;
    Ok(page.map(|row| standing.counted(row)).answer(&uri))
}

/// A host's day of one signature.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CensusHostDay)]
pub(super) struct HostDay {
    /// The day, UTC.
    #[schema(value_type = String, format = Date)]
    day: jiff::civil::Date,
    /// Attempts.
    attempts: i64,
    /// How many of them were answered with 2xx.
    answered: i64,
}

/// A host that saw a signature.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CensusHost)]
pub(super) struct HostShare {
    /// Which.
    host: HostName,
    /// The first hour that it saw it.
    #[schema(value_type = String, format = DateTime)]
    first: Timestamp,
    /// The last one.
    #[schema(value_type = String, format = DateTime)]
    last: Timestamp,
    /// Days of the last month with attempts, in order.
    days: Vec<HostDay>,
}

/// A signature, host by host.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CensusSignatureByHost)]
pub(super) struct Whole {
    #[serde(flatten)]
    counted: Counted,
    /// Hosts that saw it in these days, the one that saw it last first; at most 1,000.
    by_host: Vec<HostShare>,
    /// What comes of it, as `palisade census --forecast` tells it; made once a day, absent before the first time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    outlook: Option<Value>,
}

/// Which days of one signature.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct One {
    /// How many days up to today; 30 if absent.
    #[param(minimum = 1, maximum = 3650)]
    days: Option<u32>,
}

/// Get a signature with its hosts and its outlook.
#[utoipa::path(get, path = "/api/v1/census/{signature}", tag = "census",
    params(("signature" = String, Path), One),
    responses((status = 200, description = "The signature", body = Whole)))]
pub(super) async fn get(
    At(state): At<State>,
    headers: HeaderMap,
    Named(name): Named,
    Ask(asked): Ask<One>,
) -> Result<Response, Problem> {
    let days = days(&state, asked.days)?;
    let store = &state.app.store;
    let revision = census::revision(store).await?;
    let Some((row, outlook)) = census::signature(store, days, &name).await? else {
        return Err(Problem::not_found("signature", &name));
    };
    let standing = Standing::of(&state, std::slice::from_ref(&row)).await?;
    let by_host = census::hosts_of(store, &name, days.0 * DAY_HOURS, HOSTS_MAX).await?;
    let host_day = |(day, attempts, answered)| HostDay { day: date_of(day), attempts, answered };
    let by_host = by_host.into_iter().map(|share| HostShare {
        host: HostName { id: share.id, name: share.name },
        first: moment_of(share.first_hour),
        last: moment_of(share.last_hour),
        days: share.days.into_iter().map(host_day).collect(),
    });
    let told = Whole {
        counted: standing.counted(row),
        by_host: by_host.collect(),
        outlook: outlook.filter(|outlook| !outlook.is_null()),
    };
    etag::tagged(&headers, revision, &told)
}

/// The fleet's day.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CensusFleetDay)]
pub(super) struct FleetDay {
    /// The day, UTC.
    #[schema(value_type = String, format = Date)]
    day: jiff::civil::Date,
    /// Requests of all kinds.
    requests: i64,
    /// Lines that could not be read.
    unread: i64,
    /// Hosts that had a log.
    hosts: i64,
}

/// The fleet's days.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CensusFleetDays)]
pub(super) struct FleetDays {
    /// The first day that was asked for, UTC.
    #[schema(value_type = String, format = Date)]
    first: jiff::civil::Date,
    /// Today.
    #[schema(value_type = String, format = Date)]
    last: jiff::civil::Date,
    /// Those of which a host told something: others are gaps, not quiet days.
    days: Vec<FleetDay>,
}

/// Get the fleet's days: requests, and how many hosts had a log.
#[utoipa::path(get, path = "/api/v1/census-days", tag = "census", params(One), responses(
    (status = 200, description = "The days", body = FleetDays)
))]
pub(super) async fn fleet_days(
    At(state): At<State>,
    headers: HeaderMap,
    Ask(asked): Ask<One>,
) -> Result<Response, Problem> {
    let (first, last) = days(&state, asked.days)?;
    let revision = census::revision(&state.app.store).await?;
    let rows = census::requests(&state.app.store, first, last).await?;
    let day = |row: census::Requests| FleetDay {
        day: date_of(row.day),
        requests: row.requests,
        unread: row.unread,
        hosts: row.hosts,
    };
    let told =
        FleetDays { first: date_of(first), last: date_of(last), days: rows.into_iter().map(day).collect() };
    etag::tagged(&headers, revision, &told)
}

/// How a host counts.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CensusTeller)]
pub(super) struct Teller {
    /// Which.
    host: HostName,
    /// The last hour that it told.
    #[schema(value_type = String, format = DateTime)]
    last: Timestamp,
    /// How many logs it follows.
    logs: i64,
    /// What it cannot count.
    problems: Vec<String>,
}

/// Which hosts.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Tellers {
    /// How many.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// A page, by a name: see [`Page`].
type TellerPage = Page<Teller>;

/// List the hosts that count, by name, and what they cannot count.
#[utoipa::path(get, path = "/api/v1/census-hosts", tag = "census", params(Tellers), responses(
    (status = 200, description = "A page of hosts", body = TellerPage)
))]
pub(super) async fn tellers(
    At(state): At<State>,
    uri: Uri,
    Ask(asked): Ask<Tellers>,
) -> Result<Response, Problem> {
    let limit = page::limit(asked.limit)?;
    let after = page::parts::<2>(asked.after.as_deref())?.unwrap_or_default();
    let most = i64::try_from(limit + 1).unwrap_or(i64::MAX);
    let rows = census::tellers(&state.app.store, (&after[0], &after[1]), most).await?;
    let page = page::cut(rows, limit, |row| page::place(&[&row.name, &row.id]));
    let told = page.map(|row| Teller {
        host: HostName { id: row.id, name: row.name },
        last: moment_of(row.last_hour),
        logs: row.logs,
        problems: row.problems,
    });
    Ok(told.answer(&uri))
}

/// The first and the last day that are asked for.
fn days(state: &State, asked: Option<u32>) -> Result<(i64, i64), Problem> {
    let most = state.app.config.census.days;
    let today = hour_of(state.now()).div_euclid(DAY_HOURS);
    match asked.unwrap_or(DAYS.min(most)) {
        days if (1..=most).contains(&days) => Ok((today - i64::from(days) + 1, today)),
        days => Err(Problem::malformed("days", format!("{days} is not from 1 to {most}")).field("days")),
    }
}

/// What stands about signatures beside their counts.
struct Standing {
    attacked: BTreeMap<String, i64>,
    alarms: Vec<Alarm>,
}

impl Standing {
    async fn of(state: &State, rows: &[Row]) -> Result<Self, Problem> {
        let store = &state.app.store;
        let names: Vec<String> = rows.iter().map(|row| row.signature.clone()).collect();
        Ok(Self {
            attacked: census::attacked_by_signature(store, &names).await?,
            alarms: census::alarms(store).await?,
        })
    }

    fn counted(&self, row: Row) -> Counted {
        let alarm =
            |kind| self.alarms.iter().find(|alarm| alarm.kind == kind && alarm.signature == row.signature);
        let error_percent = |count| if count == 0 { None } else { row.sources.error_percent };
        Counted {
            attempts: row.days.iter().map(|day| day.attempts).sum(),
            answered: row.days.iter().map(|day| day.answered).sum(),
            hosts: row.hosts,
            hosts_attacked: self.attacked.get(&row.signature).copied().unwrap_or(0),
            sources: row.sources.into(),
            first: moment_of(row.first_hour),
            last: row.last_hour.map(moment_of),
            growing: alarm(Kind::Growing).map(|alarm| alarm.since),
            new: alarm(Kind::New).is_some(),
            days: row
                .days
                .iter()
                .map(|day| SignatureDay {
                    day: date_of(day.day),
                    attempts: day.attempts,
                    answered: day.answered,
                    hosts: day.hosts,
                    sources: Sources { count: day.sources, error_percent: error_percent(day.sources) },
                })
                .collect(),
            cves: row.cves,
            signature: row.signature,
        }
    }
}
