//! `palisade census` without a log: what the hosts of the fleet counted, as the server adds it up.

use super::usage;
use crate::answers;
use crate::cli::census::{Census as Asking, DAYS};
use crate::cli::fleet::Asking as Reaching;
use crate::client::{Problem as Refused, escaped};
use crate::command::session::{Session, print};
use crate::output::census::fleet::{self as table, Calendar, Fleet, Seen, Target, Teller};
use crate::output::table::Look;
use crate::terminal;
use advisory::Problem;
use anyhow::{Result, bail};
use serde_json::json;
use std::io::IsTerminal;
use std::os::unix::fs::FileTypeExt;
use std::process::ExitCode;

/// Findings under attack that are read; more are told as a number.
const ATTACKED_MAX: usize = 1_000;
/// Signatures and hosts that are read.
const ROWS_MAX: usize = 40_000;

/// Whether the fleet is asked about: no log is named, and nothing that only a log has is wanted.
pub(super) fn is_asked(asking: &Asking) -> bool {
    let of_logs = asking.partition || asking.sample.is_some() || asking.explain.is_some();
    asking.files.is_empty() && asking.journal.is_empty() && !of_logs
}

pub(super) fn run(asking: &Asking) -> Result<ExitCode> {
    if let Some(option) = of_logs(asking) {
        let problem = Problem::new("tell the fleet's census", option, "it is about logs, and none is named")
            .remedy("name the logs, or - for standard input");
        return Ok(usage(&problem));
    }
    if is_fed() {
        eprintln!("palisade: standard input is not read; \"palisade census -\" counts it");
    }
    let telling = &asking.telling;
    let session =
        Session::open(&Reaching { access: asking.access.clone(), json: telling.json }).inspect_err(|_| {
            eprintln!("palisade: no log is named, so the fleet's census is asked for; \"palisade census LOG …\" counts logs");
        })?;
    let days = asking.days.to_string();
    let query = [("days", days.as_str())];
    if let Some(name) = &asking.signature {
        return signature(&session, name, &query, telling.json);
    }
    let client = &session.client;
    let told = client.get("/census-days", &query).map_err(named)?;
    let signatures = client.list("/census", &query, ROWS_MAX)?;
    let attacked = client.list("/findings", &[("attacked", "true")], ATTACKED_MAX)?;
    let hosts = client.list("/census-hosts", &[], ROWS_MAX)?;
    if telling.json {
        let all = json!({ "days": told, "signatures": signatures, "attacked": attacked, "hosts": hosts });
        return print(&(serde_json::to_string_pretty(&all)? + "\n"));
    }
    let mut fleet = Fleet {
        days: answers::read::<Calendar>("the fleet's days", told)?,
        signatures: answers::read::<Vec<Seen>>("the fleet's signatures", signatures.into())?,
        attacked: answers::read::<Vec<Target>>("findings under attack", attacked.into())?,
        hosts: answers::read::<Vec<Teller>>("hosts that count", hosts.into())?,
    };
    if telling.csv {
        return print(&table::rows(&fleet));
    }
    if fleet.hosts.is_empty() && fleet.signatures.is_empty() {
        eprintln!(
            "palisade: no host counts yet; \"[census] on = true\" in a host's agent.toml lets it, see docs/census.md"
        );
        return Ok(ExitCode::SUCCESS);
    }
    fleet.sort();
    let look = Look { width: terminal::width(), colours: terminal::colours(telling.color), all: telling.all };
    print(&table::table(&fleet, look))
}

fn signature(session: &Session, name: &str, query: &[(&str, &str)], json: bool) -> Result<ExitCode> {
    let whole = match session.client.get(&format!("/census/{}", escaped(name)), query) {
        Err(problem) if is_missing(&problem) => {
            bail!("no host of the fleet saw \"{name}\" in these days; see \"palisade census\"")
        }
        whole => whole.map_err(named)?,
    };
    if json {
        return print(&(serde_json::to_string_pretty(&whole)? + "\n"));
    }
    print(&table::by_host(&answers::read("the signature", whole)?))
}

/// An option that only concerns logs.
fn of_logs(asking: &Asking) -> Option<&'static str> {
    let telling = &asking.telling;
    [
        ("--format", asking.format.is_some()),
        ("--zone", asking.zone != "UTC"),
        ("--threads", asking.threads.is_some()),
        ("--rules", !telling.rules.is_empty()),
        ("--partial", telling.partial.is_some()),
        ("--show-sources", telling.show_sources),
        ("--key", telling.key.is_some()),
        ("--mmdb", telling.mmdb.is_some()),
        ("--html", telling.html.is_some()),
        ("--exposure", telling.exposure.is_some()),
        ("--forecast", telling.forecast),
    ]
    .into_iter()
    .find_map(|(name, is_given)| is_given.then_some(name))
}

/// An option that only concerns the fleet.
pub(super) fn of_the_fleet(asking: &Asking) -> Option<&'static str> {
    [("--signature", asking.signature.is_some()), ("--days", asking.days != DAYS)]
        .into_iter()
        .find_map(|(name, is_given)| is_given.then_some(name))
}

/// Whether somebody feeds us lines: a pipe or a file, of which nothing would be told.
fn is_fed() -> bool {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        return false;
    }
    let kind = std::fs::metadata("/dev/stdin").map(|stdin| stdin.file_type());
    kind.is_ok_and(|kind| kind.is_fifo() || kind.is_file())
}

fn is_missing(problem: &anyhow::Error) -> bool {
    problem.downcast_ref::<Refused>().is_some_and(|refused| refused.status == 404)
}

/// A server that knows no census is an older one.
fn named(problem: anyhow::Error) -> anyhow::Error {
    if is_missing(&problem) {
        return problem.context("ask for the fleet's census: the server knows none; it is an older palisade");
    }
    problem
}
