//! What a census says to people and programs. Takes a census and the rules it was counted with; gives tables.

use super::distinct::Count;
use super::ledger::ALL;
use super::tally::{Attempts, NO_STATUS, Span, sum};
use super::zone::Day;
use super::{Census, VisitKind};
use crate::forecast::{Bands, Calendar, Outlook};
use crate::format::Source;
use crate::request::Fields;
use crate::rules::{Rules, Signature};
use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// A source that sends so many signatures runs a list of attacks, and is one campaign.
const CAMPAIGN_SIGNATURES_MIN: usize = 3;
/// Days on each side that a trend compares.
const TREND_DAYS: u16 = 7;

/// What is asked of a report.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// How many addresses the logs cover.
    pub exposure: Option<u64>,
    /// How many sources and campaigns are listed.
    pub sources_max: usize,
}

/// The whole answer.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Report {
    /// `palisade.census/1`.
    pub schema: &'static str,
    /// Our own hosts among the sources: an incident.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub own: Vec<SourceRow>,
    /// Whose days and hours these are.
    pub zone: String,
    /// Whether sources are pseudonyms.
    pub pseudonyms: bool,
    /// All lines, whatever was in them.
    pub log: Log,
    /// Every day from the first to the last.
    pub days: Vec<DayRow>,
    /// The days after the last whole one, if that was asked and there were enough to learn from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attempts_ahead: Vec<AttemptsAhead>,
    /// Signatures that were seen, most sources first. Fragments are not among them.
    pub signatures: Vec<SignatureRow>,
    /// Pieces of bodies that were logged as requests: they belong to attempts that are counted already.
    pub fragments: Vec<SignatureRow>,
    /// Attacks that consist of several requests, each counted once.
    pub visits: Vec<VisitRow>,
    /// All sources of attempts.
    pub sources: Count,
    /// One source in so many is looked at one by one; more than 1 where there were too many to keep.
    pub one_source_in: u64,
    /// Sources that sent many signatures.
    pub campaigns: Campaigns,
    /// Sources with most attempts.
    pub top_sources: Vec<SourceRow>,
    /// Where attempts came from, if that was asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub origins: Vec<OriginRow>,
    /// How many addresses the logs cover, if that is known.
    pub exposure: Option<u64>,
    /// Rules that could not be judged on some lines, because the log has no place for what they look at.
    pub unjudged: Vec<Unjudged>,
}

/// All lines.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Log {
    /// Unpacked.
    pub bytes: u64,
    /// Lines that are requests.
    pub requests: u64,
    /// Lines that could not be read.
    pub unread: u64,
    /// Sources of all requests.
    pub sources: Count,
    /// The first moment.
    pub first: Option<Timestamp>,
    /// The last moment.
    pub last: Option<Timestamp>,
}

/// One day of all signatures, fragments left out.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct DayRow {
    /// The day.
    pub day: Day,
    /// All requests. None means that the log has a gap, not that nobody came.
    pub requests: u64,
    /// Sources of all requests.
    pub request_sources: Count,
    /// Attempts; of a request with several signatures, each counts.
    pub attempts: u64,
}

/// What is foretold of all signatures' attempts on a day to come.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct AttemptsAhead {
    /// The day.
    pub day: Date,
    /// Attempts.
    pub attempts: Bands,
}

/// One signature.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct SignatureRow {
    /// Its id.
    pub id: String,
    /// What else it is called.
    pub names: Vec<String>,
    /// CVEs it is an attempt on.
    pub cves: Vec<String>,
    /// The advisory that tells of it.
    pub advisory: Option<String>,
    /// The author of the rule, where its licence asks for the name.
    pub author: Option<String>,
    /// The year in which it was first seen anywhere.
    pub first_seen: Option<i16>,
    /// Requests.
    pub attempts: u64,
    /// Different senders.
    pub sources: Count,
    /// What its visits are called, where one attack consists of several requests.
    pub visit: Option<String>,
    /// Attempts that were answered with 2xx: look at these first.
    pub answered_ok: u64,
    /// By what was answered; `-` where the log does not tell.
    pub statuses: BTreeMap<String, u64>,
    /// By hour of the day.
    pub hours: [u64; 24],
    /// Days with attempts.
    pub days: Vec<SignatureDay>,
    /// The first attempt.
    pub first: Timestamp,
    /// The last attempt.
    pub last: Timestamp,
    /// The last seven whole days against the seven before.
    pub trend: Trend,
    /// Attempts a day on one address of ours, where the exposure is known.
    pub attempts_per_address_per_day: Option<f64>,
    /// When it is awake, where its rule tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calendar: Option<Calendar>,
    /// The days to come, if that was asked and there were whole days to learn from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outlook: Option<Outlook>,
}

/// One day of one signature.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct SignatureDay {
    /// The day.
    pub day: Day,
    /// Requests.
    pub attempts: u64,
    /// Different senders.
    pub sources: Count,
}

/// Attacks that consist of several requests.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct VisitRow {
    /// What they are called.
    pub name: String,
    /// How many; an estimate where not every source was kept.
    pub visits: u64,
    /// By the day that they began on.
    pub days: BTreeMap<Date, u64>,
}

/// Where sources of a signature are going.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Trend {
    /// The log is too short to tell: fewer than fourteen whole days.
    Unknown,
    /// First seen within the last seven days.
    New,
    /// More sources a day than before.
    Growing,
    /// No difference that chance would not make.
    Steady,
    /// Fewer than before.
    Fading,
    /// None in the last seven days.
    Gone,
}

/// Sources that sent many signatures.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Campaigns {
    /// Sources with three signatures or more; an estimate where not every source was kept.
    pub sources: u64,
    /// Attempts of theirs.
    pub attempts: u64,
    /// Those with most signatures.
    pub listed: Vec<SourceRow>,
}

/// One source.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct SourceRow {
    /// The address, or a pseudonym.
    pub source: String,
    /// All attempts.
    pub attempts: u64,
    /// Signatures sent.
    pub signatures: Vec<String>,
    /// The first day.
    pub first: Day,
    /// The last day.
    pub last: Day,
}

/// Where sources are.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct OriginRow {
    /// A country or a network.
    pub origin: String,
    /// Sources there.
    pub sources: u64,
    /// Their attempts.
    pub attempts: u64,
}

/// A rule that some lines could not be judged by.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Unjudged {
    /// Its id.
    pub id: String,
    /// What the log has no place for.
    pub missing: Vec<&'static str>,
    /// The share of lines, in percent, that lacked it; seen on a sample.
    pub percent_of_lines: u64,
}

/// The report on a census that was counted with `rules`.
pub fn report(census: &Census, rules: &Rules, asked: Asked) -> Report {
    let distinct = census.distinct_sources();
    let lines = &census.tally.lines;
    let span =
        lines.days.keys().next().zip(lines.days.keys().next_back()).map(|(first, last)| (*first, *last));
    let context = Context { distinct: &distinct, span, exposure: asked.exposure };
    let seen = || {
        census.tally.attempts.iter().zip(rules.signatures()).enumerate().filter(|(_, (of, _))| of.count > 0)
    };
    let mut signatures = Vec::new();
    let mut fragments = Vec::new();
    for (rule, (attempts, signature)) in seen() {
        let Some(row) = row(u16::try_from(rule).unwrap_or(ALL), attempts, signature, &context) else {
            continue;
        };
        if signature.fragment { fragments.push(row) } else { signatures.push(row) }
    }
    for rows in [&mut signatures, &mut fragments] {
        rows.sort_by(|one: &SignatureRow, other| {
            (other.sources.count, other.attempts, &one.id).cmp(&(one.sources.count, one.attempts, &other.id))
        });
    }
    let fragment =
        |rule: u16| rules.signatures().get(usize::from(rule)).is_some_and(|signature| signature.fragment);
    let days = span.map_or_else(Vec::new, |(first, last)| {
        (first..=last)
            .map(|day| {
                let of = lines.days.get(&day);
                let attempts = seen().filter(|(_, (_, signature))| !signature.fragment);
                DayRow {
                    day: Day(day),
                    requests: of.map_or(0, |of| of.lines),
                    request_sources: of.map(|of| of.sources.count()).unwrap_or_default(),
                    attempts: sum(attempts.filter_map(|(_, (of, _))| of.days.get(&day))),
                }
            })
            .collect()
    });
    let (campaigns, top_sources) = sources(census, rules, &fragment, asked.sources_max);
    Report {
        schema: "palisade.census/1",
        own: Vec::new(),
        zone: census.setup.zone.clone(),
        pseudonyms: census.setup.pseudonyms,
        log: Log {
            bytes: lines.bytes,
            requests: lines.requests,
            unread: lines.unread,
            sources: lines.sources(),
            first: lines.span.map(|span| time(span.first)),
            last: lines.span.map(|span| time(span.last)),
        },
        days,
        attempts_ahead: Vec::new(),
        signatures,
        fragments,
        visits: visits(census),
        sources: distinct.get(&(ALL, ALL)).copied().unwrap_or_default(),
        one_source_in: 1 << census.level,
        campaigns,
        top_sources,
        origins: Vec::new(),
        exposure: asked.exposure,
        unjudged: unjudged(census, rules),
    }
}

struct Context<'a> {
    distinct: &'a BTreeMap<(u16, u16), Count>,
    span: Option<(u16, u16)>,
    exposure: Option<u64>,
}

fn row(rule: u16, attempts: &Attempts, signature: &Signature, context: &Context<'_>) -> Option<SignatureRow> {
    let Span { first, last } = attempts.span?;
    let sources = |day| context.distinct.get(&(rule, day)).copied().unwrap_or_default();
    let days: Vec<SignatureDay> = attempts
        .days
        .iter()
        .map(|(day, count)| SignatureDay { day: Day(*day), attempts: *count, sources: sources(*day) })
        .collect();
    #[allow(clippy::cast_precision_loss)]
    let per_address = context.exposure.zip(context.span).map(|(addresses, (first, last))| {
        let each = attempts.count as f64 / addresses as f64 / f64::from(last - first + 1);
        (each * 1_000.0).round() / 1_000.0
    });
    Some(SignatureRow {
        id: signature.id.clone(),
        names: signature.names.clone(),
        cves: signature.cves.clone(),
        advisory: signature.advisory.clone(),
        author: signature.author.clone(),
        first_seen: signature.first_seen,
        calendar: signature.calendar.clone(),
        attempts: attempts.count,
        sources: sources(ALL),
        visit: signature.visit.as_ref().map(|visit| visit.name.clone()),
        answered_ok: sum(attempts.statuses.range(200..300).map(|(_, count)| count)),
        statuses: attempts.statuses.iter().map(|(status, count)| (status_name(*status), *count)).collect(),
        hours: attempts.hours,
        trend: trend(&days, context.span),
        days,
        first: time(first),
        last: time(last),
        attempts_per_address_per_day: per_address,
        outlook: None,
    })
}

/// The last day of a log is seldom whole, so it is left out.
fn trend(days: &[SignatureDay], span: Option<(u16, u16)>) -> Trend {
    let Some((first, last)) = span.filter(|(first, last)| last - first >= 2 * TREND_DAYS) else {
        return Trend::Unknown;
    };
    let sum = |from: u16, to: u16| -> u64 {
        sum(days.iter().filter(|day| (from..to).contains(&day.day.0)).map(|day| &day.sources.count))
    };
    let (recent, before) = (sum(last - TREND_DAYS, last), sum(last - 2 * TREND_DAYS, last - TREND_DAYS));
    if recent == 0 && days.last().is_none_or(|day| day.day.0 < last) {
        return Trend::Gone;
    }
    if days.first().is_some_and(|day| day.day.0 >= last - TREND_DAYS && day.day.0 > first) {
        return Trend::New;
    }
    // Twice the standard deviation of a difference of two Poisson counts: (r - b)² > 4 (r + b).
    let differs = recent.abs_diff(before).saturating_pow(2) > recent.saturating_add(before).saturating_mul(4);
    match (differs, recent > before) {
        (false, _) => Trend::Steady,
        (true, true) => Trend::Growing,
        (true, false) => Trend::Fading,
    }
}

/// Visits by kind; scaled up where not every source was kept.
fn visits(census: &Census) -> Vec<VisitRow> {
    let row = |kind: &VisitKind| VisitRow { name: kind.name.clone(), visits: 0, days: BTreeMap::new() };
    let mut rows: Vec<VisitRow> = census.kinds.iter().map(row).collect();
    for ((_, kind), visits) in &census.visits {
        let Some(row) = rows.get_mut(usize::from(*kind)) else { continue };
        for visit in visits {
            let of_day = row.days.entry(visit.day.date()).or_default();
            *of_day = of_day.saturating_add(1 << census.level);
            row.visits = row.visits.saturating_add(1 << census.level);
        }
    }
    rows.retain(|row| row.visits > 0);
    rows
}

fn sources(
    census: &Census,
    rules: &Rules,
    is_fragment: &impl Fn(u16) -> bool,
    max: usize,
) -> (Campaigns, Vec<SourceRow>) {
    let mut campaigns = Campaigns::default();
    // Places of the best so far, worst first.
    let mut widest: BTreeSet<(usize, u64, std::cmp::Reverse<Source>, usize)> = BTreeSet::new();
    let mut busiest: BTreeSet<(u64, std::cmp::Reverse<Source>, usize)> = BTreeSet::new();
    for (place, (_, source)) in census.sources.iter().enumerate() {
        let cells = census.cells_of(place);
        let counted = || cells.iter().filter(|cell| !is_fragment(cell.rule));
        let attempts: u64 = counted().map(|cell| u64::from(cell.attempts)).sum();
        let signatures = cells
            .chunk_by(|one, other| one.rule == other.rule)
            .filter(|run| !is_fragment(run[0].rule))
            .count();
        if signatures == 0 {
            continue;
        }
        if signatures >= CAMPAIGN_SIGNATURES_MIN {
            campaigns.sources = campaigns.sources.saturating_add(1 << census.level);
            campaigns.attempts =
                campaigns.attempts.saturating_add(attempts.saturating_mul(1 << census.level));
            widest.insert((signatures, attempts, std::cmp::Reverse(*source), place));
            if widest.len() > max {
                widest.pop_first();
            }
        }
        busiest.insert((attempts, std::cmp::Reverse(*source), place));
        if busiest.len() > max {
            busiest.pop_first();
        }
    }
    let row = |place| source_row(census, rules, is_fragment, place);
    campaigns.listed = widest.iter().rev().map(|(.., place)| row(*place)).collect();
    let top = busiest.iter().rev().map(|(.., place)| row(*place)).collect();
    (campaigns, top)
}

/// The sources that are wanted, in the order of their addresses. Fragments count too: whoever sends one sent an attempt.
pub fn sources_of(census: &Census, rules: &Rules, wanted: impl Fn(Source) -> bool) -> Vec<SourceRow> {
    let mut places: Vec<usize> =
        (0..census.sources.len()).filter(|place| wanted(census.sources[*place].1)).collect();
    places.sort_unstable_by_key(|place| census.sources[*place].1);
    places.into_iter().map(|place| source_row(census, rules, &|_| false, place)).collect()
}

fn source_row(census: &Census, rules: &Rules, is_fragment: &impl Fn(u16) -> bool, place: usize) -> SourceRow {
    let cells: Vec<_> = census.cells_of(place).iter().filter(|cell| !is_fragment(cell.rule)).collect();
    let ids: BTreeSet<u16> = cells.iter().map(|cell| cell.rule).collect();
    let days = || cells.iter().map(|cell| Day(cell.day));
    SourceRow {
        source: census.sources[place].1.to_string(),
        attempts: cells.iter().map(|cell| u64::from(cell.attempts)).sum(),
        signatures: ids
            .iter()
            .filter_map(|rule| rules.signatures().get(usize::from(*rule)))
            .map(|signature| signature.id.clone())
            .collect(),
        first: days().min().unwrap_or(Day(0)),
        last: days().max().unwrap_or(Day(0)),
    }
}

fn unjudged(census: &Census, rules: &Rules) -> Vec<Unjudged> {
    let fields = &census.tally.lines.fields;
    let looked = sum(fields.values());
    let mut lacking: BTreeMap<u16, (Fields, u64)> = BTreeMap::new();
    for (bits, lines) in fields {
        for (rule, missing) in rules.unjudged(Fields::from_bits(*bits)) {
            let entry = lacking.entry(rule.0).or_insert((Fields::NONE, 0));
            *entry = (entry.0.with(missing), entry.1.saturating_add(*lines));
        }
    }
    lacking
        .into_iter()
        .filter_map(|(rule, (missing, lines))| {
            Some(Unjudged {
                id: rules.signatures().get(usize::from(rule))?.id.clone(),
                missing: missing.names().collect(),
                percent_of_lines: lines.saturating_mul(100).div_ceil(looked.max(1)),
            })
        })
        .collect()
}

fn status_name(status: u16) -> String {
    if status == NO_STATUS { "-".to_owned() } else { status.to_string() }
}

fn time(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH)
}
