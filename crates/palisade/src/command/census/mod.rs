//! `palisade census`: read logs, count attempts, tell.

mod copies;
mod engine;
mod fleet;
mod inputs;
mod key;
mod lines;
mod origins;
mod partials;
mod progress;
mod ruleset;
mod unpack;

use crate::cli::census::{Census as Asking, Telling, What};
use crate::output::census::{self as table, csv, page};
use crate::output::table::Look;
use crate::{EXIT_INTERRUPTED, EXIT_USAGE, terminal};
use advisory::Problem;
use anyhow::{Context, Result};
use copies::Copies;
use engine::Manner;
use jiff::tz::TimeZone;
use progress::Meter;
use ruleset::Ruleset;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use traffic::census::report::{self, Asked};
use traffic::census::{Census, Counting, Key, Limits, Zone, outlook};
use traffic::forecast;
use traffic::format::Custom;

/// Counted, but something could not be read.
const EXIT_INCOMPLETE: u8 = 2;

/// Sources and campaigns that are listed, unless all are wanted.
const SOURCES_LISTED: usize = 20;

pub(crate) fn run(asking: &Asking) -> Result<ExitCode> {
    if let Some(What::Merge(merge)) = &asking.what {
        return partials::merge(merge);
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
    // The beginning that a part of a W3C log lacks is no format of lines.
    let directive = asking.format.as_deref().filter(|format| format.starts_with("#Fields:"));
    let custom = match asking.format.as_deref().filter(|_| directive.is_none()).map(Custom::parse).transpose()
    {
        Ok(custom) => custom.map(Arc::new),
        Err(problem) => return Ok(usage(&problem)),
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let manner = Manner { custom, directive, threads: asking.threads.map_or(cores, std::num::NonZero::get) };
    let (rules, mut problems) = Ruleset::read(&asking.telling.rules);
    if let Some(line) = &asking.explain {
        tell_problems(&problems);
        return lines::explain(line, &manner, &rules, asking.telling.json);
    }
    let (inputs, missing) = inputs::expand(&asking.files, &asking.journal);
    problems.extend(missing);
    let mut notes = Vec::new();
    let inputs = engine::logs_only(inputs, &manner, &mut notes);
    if let Some(signature) = &asking.sample {
        tell_problems(&problems);
        return lines::sample(signature, asking.lines, &inputs, &manner, &rules);
    }
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
    tell(census, &rules, &key, &asking.telling, &what, &notes, &mut problems)?;
    tell_problems(&problems);
    Ok(ended(&problems))
}

/// Tells a census as it was asked for.
fn tell(
    census: Census,
    rules: &Ruleset,
    key: &Key,
    telling: &Telling,
    what: &str,
    notes: &[String],
    problems: &mut Vec<Problem>,
) -> Result<()> {
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
    let sources_max = if telling.all { usize::MAX } else { SOURCES_LISTED };
    let exposure = telling.exposure.map(std::num::NonZeroU64::get);
    let mut report = report::report(&census, &rules.rules, Asked { exposure, sources_max });
    report.origins = origins;
    if telling.forecast || telling.html.is_some() {
        let asked = forecast::Asked {
            below: telling.over_below,
            horizon_days: telling.ahead,
            calendar: forecast::Calendar::default(),
        };
        outlook::look_ahead(&mut report, &asked);
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
        let look =
            Look { width: terminal::width(), colours: terminal::colours(telling.color), all: telling.all };
        table::report(&report, what, notes, look)
    };
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
