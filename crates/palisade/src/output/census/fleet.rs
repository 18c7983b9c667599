//! The fleet's census for people: first who is attacked and vulnerable, then what grows or is new, then the rest.

use super::csv::quoted;
use super::outlook::said;
use super::{REST_COLUMNS, SPARK_COLUMNS, aligned_right, count_of, number, plot};
use crate::output::lines::{aligned, count, some};
use crate::output::table::{Look, clean, wrapped};
use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use traffic::census::Count;
use traffic::forecast::Outlook;

/// Rows that are shown unless all are wanted.
const SHOWN: usize = 40;
const ATTACKED_SHOWN: usize = 20;
const PROBLEMS_SHOWN: usize = 5;

/// What the server tells of the fleet's census.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) days: Calendar,
    pub(crate) signatures: Vec<Seen>,
    pub(crate) attacked: Vec<Target>,
    pub(crate) hosts: Vec<Teller>,
}

/// The days that were asked for, and those that any host told of.
#[derive(Debug, Deserialize)]
pub(crate) struct Calendar {
    first: Date,
    last: Date,
    days: Vec<FleetDay>,
}

#[derive(Debug, Deserialize)]
struct FleetDay {
    day: Date,
    requests: u64,
}

/// A signature and its days.
#[derive(Debug, Deserialize)]
pub(crate) struct Seen {
    signature: String,
    #[serde(default)]
    cves: Vec<String>,
    attempts: u64,
    answered: u64,
    hosts: u64,
    hosts_attacked: u64,
    sources: Count,
    #[serde(default)]
    growing: Option<Timestamp>,
    #[serde(default)]
    new: bool,
    days: Vec<SeenDay>,
}

#[derive(Debug, Deserialize)]
struct SeenDay {
    day: Date,
    attempts: u64,
    answered: u64,
    hosts: u64,
    sources: Count,
}

/// A finding under attack.
#[derive(Debug, Deserialize)]
pub(crate) struct Target {
    advisory: String,
    package: String,
    host: Named,
    attacked: Attack,
}

#[derive(Debug, Deserialize)]
struct Attack {
    cves: Vec<String>,
    attempts: u64,
    last: Timestamp,
}

#[derive(Debug, Deserialize)]
struct Named {
    name: String,
}

/// A host that counts.
#[derive(Debug, Deserialize)]
pub(crate) struct Teller {
    host: Named,
    problems: Vec<String>,
}

/// A signature, host by host.
#[derive(Debug, Deserialize)]
pub(crate) struct Whole {
    #[serde(flatten)]
    seen: Seen,
    by_host: Vec<Share>,
    #[serde(default)]
    outlook: Option<Outlook>,
}

#[derive(Debug, Deserialize)]
struct Share {
    host: Named,
    first: Timestamp,
    last: Timestamp,
    days: Vec<HostDay>,
}

#[derive(Debug, Deserialize)]
struct HostDay {
    attempts: u64,
    answered: u64,
}

impl Fleet {
    /// What needs a look comes first.
    pub(crate) fn sort(&mut self) {
        let rank = |of: &Seen| match of {
            Seen { hosts_attacked: 1.., .. } => 0,
            Seen { growing: Some(_), .. } => 1,
            Seen { new: true, .. } => 2,
            Seen { .. } => 3,
        };
        self.signatures
            .sort_by_cached_key(|of| (rank(of), std::cmp::Reverse(of.attempts), of.signature.clone()));
        self.attacked.sort_by_key(|of| std::cmp::Reverse(of.attacked.attempts));
    }
}

/// The whole answer.
pub(crate) fn table(fleet: &Fleet, look: Look) -> String {
    let requests: u64 = fleet.days.days.iter().map(|day| day.requests).sum();
    let attempts: u64 = fleet.signatures.iter().map(|of| of.attempts).sum();
    let text = format!(
        "{} counted {}, {} to {}, days in UTC; {} with {}.",
        count(fleet.hosts.len() as u64, "host"),
        count_of(requests, "request"),
        fleet.days.first,
        fleet.days.last,
        count_of(attempts, "attempt"),
        count(fleet.signatures.len() as u64, "signature"),
    );
    let mut out = wrapped(&text, "", "", look);
    attacked(fleet, look, &mut out);
    if !fleet.signatures.is_empty() {
        out.push('\n');
        signatures(fleet, look, &mut out);
    }
    problems(fleet, look, &mut out);
    out
}

fn attacked(fleet: &Fleet, look: Look, out: &mut String) {
    if fleet.attacked.is_empty() {
        return;
    }
    out.push_str("\nAttacked and vulnerable: patch or shield these first\n");
    let shown = if look.all { fleet.attacked.len() } else { ATTACKED_SHOWN };
    let rows: Vec<[String; 5]> = fleet
        .attacked
        .iter()
        .take(shown)
        .map(|of| {
            [
                clean(&of.host.name),
                clean(&of.advisory),
                clean(&of.package),
                format!("{}, last {}", count_of(of.attacked.attempts, "attempt"), hour(of.attacked.last)),
                clean(&of.attacked.cves.join(" ")),
            ]
        })
        .collect();
    out.push_str(&aligned(&rows, 2));
    if shown < fleet.attacked.len() {
        let _ = writeln!(out, "  {} more with --all.", fleet.attacked.len() - shown);
    }
}

fn signatures(fleet: &Fleet, look: Look, out: &mut String) {
    let room = look.width.map_or(SPARK_COLUMNS, |width| {
        usize::from(width).saturating_sub(REST_COLUMNS).clamp(7, SPARK_COLUMNS)
    });
    let days = all_days(&fleet.days);
    let shown = if look.all { fleet.signatures.len() } else { SHOWN };
    let mut rows = vec![
        ["signature", "sources", "attempts", "2xx", "sources a day", "hosts", "last", ""].map(str::to_owned),
    ];
    rows.extend(fleet.signatures.iter().take(shown).map(|of| row(of, &days, room)));
    out.push_str(&aligned_right(&rows));
    if shown < fleet.signatures.len() {
        let _ = writeln!(out, "{} more with --all.", fleet.signatures.len() - shown);
    }
}

/// Every day that was asked for, and whether a host told of it.
fn all_days(days: &Calendar) -> Vec<(Date, bool)> {
    let told: BTreeMap<Date, u64> = days.days.iter().map(|day| (day.day, day.requests)).collect();
    days.first
        .series(1.day())
        .take_while(|day| *day <= days.last)
        .map(|day| (day, told.get(&day).is_some_and(|requests| *requests > 0)))
        .collect()
}

fn row(of: &Seen, days: &[(Date, bool)], room: usize) -> [String; 8] {
    let own: BTreeMap<Date, u64> = of.days.iter().map(|day| (day.day, day.sources.count)).collect();
    let sources: Vec<(u64, bool)> =
        days.iter().map(|(day, is_seen)| (own.get(day).copied().unwrap_or(0), *is_seen)).collect();
    let mut notes = Vec::new();
    if of.hosts_attacked > 0 {
        notes.push(format!("{} vulnerable", count(of.hosts_attacked, "host")));
    }
    if of.growing.is_some() {
        notes.push("growing".to_owned());
    }
    if of.new {
        notes.push("new".to_owned());
    }
    [
        clean(&of.signature),
        number(of.sources.count) + if of.sources.error_percent.is_some() { "~" } else { "" },
        number(of.attempts),
        if of.answered == 0 { String::new() } else { number(of.answered) },
        plot::spark(&sources, room),
        number(of.hosts),
        of.days.last().map(|day| day.day.to_string()).unwrap_or_default(),
        notes.join(", "),
    ]
}

fn problems(fleet: &Fleet, look: Look, out: &mut String) {
    let troubled: Vec<&Teller> = fleet.hosts.iter().filter(|host| !host.problems.is_empty()).collect();
    let shown = if look.all { troubled.len() } else { PROBLEMS_SHOWN };
    for host in troubled.iter().take(shown) {
        let text = format!("{}: {}", host.host.name, host.problems.join("; "));
        let _ = write!(out, "\n{}", wrapped(&clean(&text), "not counted: ", "  ", look));
    }
    if shown < troubled.len() {
        let names = some(troubled[shown..].iter().map(|host| &host.host.name), PROBLEMS_SHOWN);
        let _ = write!(out, "\n{}", wrapped(&format!("not all counted on {names}"), "", "  ", look));
    }
}

/// One signature: its figures, what comes of it, and its hosts.
pub(crate) fn by_host(of: &Whole) -> String {
    let own = &of.seen;
    let mut out = format!(
        "{}: {} from about {} on {}{}\n",
        clean(&own.signature),
        count_of(own.attempts, "attempt"),
        count_of(own.sources.count, "source"),
        count(own.hosts, "host"),
        if own.hosts_attacked > 0 {
            format!("; {} vulnerable to it", number(own.hosts_attacked))
        } else {
            String::new()
        },
    );
    if !own.cves.is_empty() {
        let _ = writeln!(out, "about {}", clean(&own.cves.join(" ")));
    }
    if let Some(growing) = own.growing {
        let _ = writeln!(out, "growing since {}", hour(growing));
    }
    if let Some(outlook) = &of.outlook {
        let _ = writeln!(out, "outlook (intervals hold 90 %): {}", said(outlook));
    }
    let mut rows = vec![["host", "attempts in a month", "2xx", "first", "last"].map(str::to_owned)];
    rows.extend(of.by_host.iter().map(|share| {
        let sum = |count: &dyn Fn(&HostDay) -> u64| number(share.days.iter().map(count).sum());
        [
            clean(&share.host.name),
            sum(&|day| day.attempts),
            sum(&|day| day.answered),
            hour(share.first),
            hour(share.last),
        ]
    }));
    out.push('\n');
    out + &aligned(&rows, 0)
}

/// One row for each signature and day with attempts.
pub(crate) fn rows(fleet: &Fleet) -> String {
    let mut out = String::from("signature,day,attempts,answered,hosts,sources,sources_error_percent\n");
    for of in &fleet.signatures {
        for SeenDay { day, attempts, answered, hosts, sources } in &of.days {
            let error = sources.error_percent.map(|error| error.to_string()).unwrap_or_default();
            let name = quoted(&of.signature);
            let _ = writeln!(out, "{name},{day},{attempts},{answered},{hosts},{},{error}", sources.count);
        }
    }
    out
}

/// The beginning of an hour: `2026-11-30 09:00 UTC`.
fn hour(at: Timestamp) -> String {
    crate::output::lines::moment(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn seen(signature: &str, attempts: u64, more: &Value) -> Value {
        let days = [("2026-11-28", 1), ("2026-11-30", 40)].map(|(day, sources)| {
            json!({ "day": day, "attempts": attempts / 2, "answered": 1, "hosts": 2,
                    "sources": { "count": sources, "error_percent": 1.6 } })
        });
        let mut seen = json!({
            "signature": signature, "cves": [], "attempts": attempts, "answered": 2, "hosts": 2, "hosts_attacked": 0,
            "sources": { "count": 41, "error_percent": 1.6 }, "first": "2026-11-28T10:00:00Z", "new": false, "days": days,
        });
        for (name, value) in more.as_object().unwrap() {
            seen[name] = value.clone();
        }
        seen
    }

    fn fleet() -> Fleet {
        let signatures = json!([
            seen("loud", 9_000, &json!({})),
            seen("grows", 80, &json!({ "growing": "2026-11-30T08:00:00Z" })),
            seen("=hits", 20, &json!({ "hosts_attacked": 1 })),
        ]);
        let host = json!({ "id": "1", "name": "web-01\u{1b}[2J" });
        Fleet {
            days: serde_json::from_value(json!({ "first": "2026-11-27", "last": "2026-11-30", "days": [
                { "day": "2026-11-28", "requests": 500, "unread": 0, "hosts": 2 },
                { "day": "2026-11-29", "requests": 500, "unread": 0, "hosts": 2 },
                { "day": "2026-11-30", "requests": 234, "unread": 0, "hosts": 2 },
            ]}))
            .unwrap(),
            signatures: serde_json::from_value(signatures).unwrap(),
            attacked: serde_json::from_value(json!([{
                "advisory": "DSA-1-1", "package": "source:tomcat", "host": host,
                "attacked": { "cves": ["CVE-2026-1"], "attempts": 20, "last": "2026-11-30T09:00:00Z" },
            }]))
            .unwrap(),
            hosts: serde_json::from_value(json!([
                { "host": host, "problems": ["/var/log/x: permission denied"] },
                { "host": { "id": "2", "name": "web-02" }, "problems": [] },
            ]))
            .unwrap(),
        }
    }

    #[test]
    fn who_is_attacked_and_vulnerable_comes_first_then_what_grows() {
        let mut fleet = fleet();
        fleet.sort();
        let look = Look { width: None, colours: false, all: false };
        let text = table(&fleet, look);
        assert!(!text.contains('\u{1b}'), "a host's name turns the terminal: {text:?}");
        let expected = "\
2 hosts counted 1,234 requests, 2026-11-27 to 2026-11-30, days in UTC; 9,100 attempts with 3 signatures.

Attacked and vulnerable: patch or shield these first
  web-01\u{fffd}[2J  DSA-1-1  source:tomcat  20 attempts, last 2026-11-30 09:00 UTC  CVE-2026-1

signature  sources  attempts  2xx  sources a day  hosts  last
=hits          41~        20    2  ·▁ █           2      2026-11-30  1 host vulnerable
grows          41~        80    2  ·▁ █           2      2026-11-30  growing
loud           41~     9,000    2  ·▁ █           2      2026-11-30

not counted: web-01\u{fffd}[2J: /var/log/x: permission denied
";
        assert_eq!(text, expected);
        let csv = rows(&fleet);
        assert_eq!(csv.lines().nth(1), Some("\"hits\",2026-11-28,10,1,2,1,1.6"));
    }
}
