//! `palisade census`: read logs, count attempts, tell.

mod abuse;
mod ahead;
mod contacts;
mod copies;
mod engine;
mod evidence;
mod fleet;
mod follow;
mod inputs;
mod key;
mod lines;
mod origins;
mod own;
mod partials;
mod prefix;
mod progress;
mod rdap;
mod tables;

use crate::cli::census::{Census as Asking, Telling, What};
use crate::output::census::tables::Form;
use crate::output::census::{self as table, csv, page};
use crate::output::table::Look;
use crate::{EXIT_INTERRUPTED, EXIT_USAGE, terminal};
use advisory::Problem;
use agent::census::Ruleset;
use ahead::Ahead;
use anyhow::{Context, Result};
use copies::Copies;
use engine::Manner;
use jiff::tz::TimeZone;
use progress::Meter;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use traffic::census::report::{self, Asked};
use traffic::census::{Census, Counting, Key, Limits, Report, Zone};
use traffic::format::Custom;

/// One of our own hosts is among the sources.
const EXIT_OWN: u8 = 1;

/// Counted, but something could not be read.
const EXIT_INCOMPLETE: u8 = 2;

/// Sources and campaigns that are listed, unless all are wanted.
const SOURCES_LISTED: usize = 20;

pub(crate) fn run(asking: &Asking) -> Result<ExitCode> {
    match &asking.what {
        Some(What::Merge(merge)) => return partials::merge(merge),
        Some(What::Report(abuse)) => return abuse::run(abuse),
        None => {}
    }
    if fleet::is_asked(asking) {
        return fleet::run(asking);
    }
    if let Some(option) = fleet::of_the_fleet(asking) {
        let problem = Problem::new("count logs", option, "it is about the fleet's census")
            .remedy("leave it out, or name no log");
        return Ok(usage(&problem));
    }
    let zone = match zone(&asking.zone) {
        Ok(zone) => zone,
        Err(problem) => return Ok(usage(&problem)),
    };
    let manner = match manner(asking.format.as_deref(), asking.threads) {
        Ok(manner) => manner,
        Err(problem) => return Ok(usage(&problem)),
    };
    let (rules, mut problems) = Ruleset::read(&asking.telling.rules);
    if let Some(line) = &asking.explain {
        tell_problems(&problems);
        return lines::explain(line, &manner, &rules, asking.telling.json);
    }
    if asking.follow {
        return follow::follow(asking, &manner, &rules, &zone, problems);
    }
    let (inputs, missing) = inputs::expand(&asking.files, &asking.journal);
    problems.extend(missing);
    let mut notes = Vec::new();
    let inputs = engine::logs_only(inputs, &manner, &mut notes);
    if let Some(signature) = &asking.sample {
        tell_problems(&problems);
        return lines::sample(signature, asking.lines, &inputs, &manner, &rules);
    }
    // Before hours of counting, not after.
    let ahead = match ahead::asked(&asking.telling, &rules) {
        Ok(ahead) => ahead,
        Err(problem) => return Ok(usage(&problem)),
    };
    let key = key::key(asking.telling.key.as_deref())?;
    let counting = Counting::new(&rules.rules, &rules.digest, &zone, &key, Limits::default());
    let copies = Copies::look(&inputs, &manner);
    notes.extend_from_slice(&copies.notes);
    let bytes = if inputs.iter().all(|input| input.size_bytes > 0) {
        inputs.iter().map(|input| input.size_bytes).sum()
    } else {
        0
    };
    let meter = Meter::new(bytes, asking.telling.quiet);
    let read = engine::count(&inputs, &manner, &copies, &counting, &meter);
    drop(meter);
    problems.extend(read.problems);
    notes.extend(read.notes);
    if agent::program::is_stopped() {
        return Ok(ExitCode::from(EXIT_INTERRUPTED));
    }
    let census = counting.finish();
    if asking.partition {
        let census = if asking.telling.show_sources { census } else { census.with_pseudonyms(&key) };
        partials::print(&census)?;
        tell_problems(&problems);
        return Ok(ended(&problems));
    }
    let what = match read.logs {
        1 => "1 log".to_owned(),
        many => format!("{many} logs"),
    };
    let read = Read { census, rules: &rules, key: &key, what: &what, notes: &notes };
    tell(read, &asking.telling, ahead.as_ref(), &mut problems)
}

/// A census, and how it came about.
struct Read<'a> {
    census: Census,
    rules: &'a Ruleset,
    key: &'a Key,
    /// `3 logs`.
    what: &'a str,
    notes: &'a [String],
}

/// How logs are to be read.
fn manner(format: Option<&str>, threads: Option<std::num::NonZeroUsize>) -> Result<Manner<'_>, Problem> {
    // The beginning that a part of a W3C log lacks is no format of lines.
    let directive = format.filter(|format| format.starts_with("#Fields:"));
    let custom = format.filter(|_| directive.is_none()).map(Custom::parse).transpose()?;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = threads.map_or(cores, std::num::NonZero::get);
    Ok(Manner { custom: custom.map(Arc::new), directive, threads })
}

/// Tells a census as it was asked for, then what went wrong; how the program ends.
fn tell(
    read: Read<'_>,
    telling: &Telling,
    ahead: Option<&Ahead>,
    problems: &mut Vec<Problem>,
) -> Result<ExitCode> {
    let end = written(read, telling, ahead, problems)?;
    if end != Some(EXIT_INTERRUPTED) {
        tell_problems(problems);
    }
    Ok(end.map_or_else(|| ended(problems), ExitCode::from))
}

/// Tells a census as it was asked for; how the program ends, unless that is by what went wrong.
fn written(
    read: Read<'_>,
    telling: &Telling,
    ahead: Option<&Ahead>,
    problems: &mut Vec<Problem>,
) -> Result<Option<u8>> {
    let Read { census, rules, key, what, notes } = read;
    let (own, told) = own::Own::gather(&telling.own)?;
    problems.extend(told);
    let (own, unsure) = own.among(&census, &rules.rules, key);
    problems.extend(unsure);
    let origins = match &telling.mmdb {
        Some(path) if census.setup().pseudonyms => {
            let problem =
                Problem::new("look up origins", path.display().to_string(), "sources are pseudonyms already");
            problems.push(problem.remedy("look them up where the logs are counted"));
            Vec::new()
        }
        Some(path) => origins::look_up(path, &census)?,
        None => Vec::new(),
    };
    let census = if telling.show_sources { census } else { census.with_pseudonyms(key) };
    if let Some(path) = &telling.partial {
        partials::write(path, &census.to_bytes())?;
    }
    let mut report = reported(&census, rules, telling);
    report.origins = origins;
    report.own = own;
    if let Some(ahead) = ahead {
        ahead.look(&mut report, telling.quiet);
        if agent::program::is_stopped() {
            return Ok(Some(EXIT_INTERRUPTED));
        }
    }
    for (directory, form) in [(&telling.parquet, Form::Parquet), (&telling.csv_tables, Form::Csv)] {
        if let Some(directory) = directory {
            tables::write(directory, form, &census, &report, &rules.rules)?;
        }
    }
    if let Some(path) = &telling.html {
        std::fs::write(path, page::page(&report, what, notes))
            .with_context(|| format!("write the page {}", path.display()))?;
    }
    let text = if telling.json {
        serde_json::to_string_pretty(&report)? + "\n"
    } else if telling.csv {
        csv::rows(&report)
    } else {
        table::report(&report, what, notes, look(telling))
    };
    print(&text)?;
    Ok((!report.own.is_empty()).then_some(EXIT_OWN))
}

/// What a census comes to, without what lies ahead.
fn reported(census: &Census, rules: &Ruleset, telling: &Telling) -> Report {
    let sources_max = if telling.all { usize::MAX } else { SOURCES_LISTED };
    let exposure = telling.exposure.map(std::num::NonZeroU64::get);
    report::report(census, &rules.rules, Asked { exposure, sources_max })
}

/// How a table looks here.
fn look(telling: &Telling) -> Look {
    Look { width: terminal::width(), colours: terminal::colours(telling.color), all: telling.all }
}

/// Whoever reads no more has what they wanted.
fn print(text: &str) -> Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("write the answer"),
    }
}

fn zone(name: &str) -> Result<Zone, Problem> {
    match name {
        "UTC" | "utc" | "Z" => Ok(Zone::Utc),
        "log" => Ok(Zone::AsLogged),
        _ => TimeZone::get(name).map(Zone::Named).map_err(|error| {
            Problem::new("read zone", name, error).remedy("give UTC, log, or a name such as Europe/Berlin")
        }),
    }
}

fn usage(problem: &Problem) -> ExitCode {
    eprintln!("palisade: census: {problem}");
    ExitCode::from(EXIT_USAGE)
}

fn tell_problems(problems: &[Problem]) {
    for problem in problems {
        eprintln!("palisade: {problem}");
    }
}

fn ended(problems: &[Problem]) -> ExitCode {
    if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_INCOMPLETE) }
}
