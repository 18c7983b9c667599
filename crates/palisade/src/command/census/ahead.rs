//! What is asked of the days to come, and the work of telling them.

use super::progress::Meter;

use crate::cli::census::Telling;
use advisory::Problem;
use agent::census::Ruleset;
use traffic::census::outlook;
use traffic::census::report::Report;
use traffic::forecast::{Asked, Calendar, Calendars};

/// A forecast that is wanted.
#[derive(Debug)]
pub(super) struct Ahead {
    asked: Asked,
    calendars: Calendars,
}

/// What the command line asks; nothing where only counts are told. Errors when the calendar cannot be read, or names a signature
/// that no rule has.
pub(super) fn asked(telling: &Telling, rules: &Ruleset) -> Result<Option<Ahead>, Problem> {
    if !(telling.over_below > 0.0 && telling.over_below.is_finite()) {
        let problem = Problem::new("look ahead", "--over-below", "it has to be more than 0");
        return Err(problem.remedy("give sources a day below which an attack counts as over, such as 1"));
    }
    let calendars = match &telling.calendar {
        None => Calendars::default(),
        Some(path) => {
            let name = path.display().to_string();
            let text = std::fs::read_to_string(path)
                .map_err(|error| Problem::new("read calendar", name.as_str(), error))?;
            Calendars::read(&name, &text)?
        }
    };
    if let Some(unknown) = calendars.named().find(|id| rules.rules.find(id).is_none()) {
        let near = crate::command::rule_files::nearest(&rules.rules, unknown);
        let problem = Problem::new("read calendar", unknown, "no rule is called so");
        return Err(problem.remedy(format!("the nearest is {}", near.unwrap_or("none"))));
    }
    // Who counts a part, or wants rows of counts, does not wait for what only the whole can tell.
    let counts_only = telling.csv || telling.partial.is_some();
    let wanted = !telling.no_forecast && (telling.forecast || telling.html.is_some() || !counts_only);
    let asked =
        Asked { below: telling.over_below, horizon_days: telling.ahead, calendar: Calendar::default() };
    Ok(wanted.then_some(Ahead { asked, calendars }))
}

impl Ahead {
    /// Puts what can be told into the report. An interrupt leaves the rest out: the command ends then.
    pub(super) fn look(&self, report: &mut Report, quiet: bool) {
        let meter = Meter::of_forecasts(report.signatures.len(), quiet);
        outlook::look_ahead(report, &self.asked, &self.calendars, &|| {
            meter.add(1);
            !agent::program::is_stopped()
        });
    }
}
