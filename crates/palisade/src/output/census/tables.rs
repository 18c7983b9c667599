//! The census as tables for people who work with data: rows, the same for Parquet and for CSV.
//!
//! A day on which the log has requests and a signature has no attempts is a row with 0. A day on which the log has no
//! request at all is a gap: its counts are null (empty in CSV), for nobody knows what came.

use super::csv::quoted;
use super::parquet;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;
use traffic::census::report::{Report, SignatureRow};
use traffic::census::{Census, Count, Day};
use traffic::rules::Rules;

/// What a column holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Text,
    Day,
    Count,
    Share,
    Flag,
}

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// Whether a value may be missing.
    pub(crate) optional: bool,
}

/// One value of a row.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Text(Arc<str>),
    /// Days since 1970.
    Day(u16),
    Count(u64),
    Share(f64),
    Flag(bool),
    Nothing,
}

/// As many values as the table has columns.
pub(crate) type Row = Vec<Value>;

/// What tables are written as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    Parquet,
    Csv,
}

const fn column(name: &'static str, kind: Kind) -> Column {
    Column { name, kind, optional: false }
}

const fn maybe(name: &'static str, kind: Kind) -> Column {
    Column { name, kind, optional: true }
}

/// A row for each source, signature and day with attempts.
pub(crate) const ATTEMPTS: [Column; 6] = [
    column("signature", Kind::Text),
    column("fragment", Kind::Flag),
    column("day", Kind::Day),
    column("source", Kind::Text),
    column("attempts", Kind::Count),
    column("one_source_in", Kind::Count),
];

/// A row for each signature that was seen and each day of the log: the columns of `--csv`.
pub(crate) const SIGNATURES: [Column; 6] = [
    column("signature", Kind::Text),
    column("fragment", Kind::Flag),
    column("day", Kind::Day),
    maybe("attempts", Kind::Count),
    maybe("sources", Kind::Count),
    maybe("sources_error_percent", Kind::Share),
];

/// A row for each day of the log.
pub(crate) const DAYS: [Column; 5] = [
    column("day", Kind::Day),
    maybe("requests", Kind::Count),
    maybe("request_sources", Kind::Count),
    maybe("request_sources_error_percent", Kind::Share),
    maybe("attempts", Kind::Count),
];

impl Value {
    pub(crate) fn is_there(&self) -> bool {
        !matches!(self, Self::Nothing)
    }

    /// As a field of CSV; a value that is missing is empty.
    fn field(&self) -> String {
        match self {
            Self::Text(text) => quoted(text),
            Self::Day(day) => Day(*day).date().to_string(),
            Self::Count(count) => count.to_string(),
            Self::Share(share) => share.to_string(),
            Self::Flag(flag) => if *flag { "yes" } else { "no" }.to_owned(),
            Self::Nothing => String::new(),
        }
    }
}

/// Rows of [`ATTEMPTS`].
pub(crate) fn attempts<'a>(
    census: &'a Census,
    report: &Report,
    rules: &Rules,
) -> impl Iterator<Item = Row> + 'a {
    let names: Vec<(Arc<str>, bool)> =
        rules.signatures().iter().map(|of| (of.id.as_str().into(), of.fragment)).collect();
    let one_in = report.one_source_in;
    census.attempts().filter_map(move |(source, rule, day, attempts)| {
        let (name, fragment) = names.get(usize::from(rule.0))?;
        Some(vec![
            Value::Text(name.clone()),
            Value::Flag(*fragment),
            Value::Day(day.0),
            Value::Text(source.to_string().into()),
            Value::Count(attempts.into()),
            Value::Count(one_in),
        ])
    })
}

/// Rows of [`SIGNATURES`].
pub(crate) fn signatures(report: &Report) -> impl Iterator<Item = Row> + '_ {
    let all = report.signatures.iter().map(|row| (row, false));
    all.chain(report.fragments.iter().map(|row| (row, true))).flat_map(|(row, fragment)| {
        let name: Arc<str> = row.id.as_str().into();
        let own: BTreeMap<u16, (u64, Count)> = days_of(row);
        report.days.iter().map(move |day| {
            let known = day.requests > 0;
            let (attempts, sources) = own.get(&day.day.0).copied().unwrap_or_default();
            vec![
                Value::Text(name.clone()),
                Value::Flag(fragment),
                Value::Day(day.day.0),
                if known { Value::Count(attempts) } else { Value::Nothing },
                if known { Value::Count(sources.count) } else { Value::Nothing },
                sources.error_percent.map_or(Value::Nothing, Value::Share),
            ]
        })
    })
}

fn days_of(row: &SignatureRow) -> BTreeMap<u16, (u64, Count)> {
    row.days.iter().map(|day| (day.day.0, (day.attempts, day.sources))).collect()
}

/// Rows of [`DAYS`].
pub(crate) fn days(report: &Report) -> impl Iterator<Item = Row> + '_ {
    report.days.iter().map(|day| {
        let count = |count| if day.requests > 0 { Value::Count(count) } else { Value::Nothing };
        vec![
            Value::Day(day.day.0),
            count(day.requests),
            count(day.request_sources.count),
            day.request_sources.error_percent.map_or(Value::Nothing, Value::Share),
            count(day.attempts),
        ]
    })
}

/// Writes rows; `notes` say how they were counted, where the form has a place for that.
pub(crate) fn write(
    to: &mut dyn Write,
    form: Form,
    columns: &[Column],
    notes: &[(&str, String)],
    rows: impl Iterator<Item = Row>,
) -> io::Result<()> {
    if form == Form::Parquet {
        return parquet::write(to, columns, notes, rows);
    }
    let names: Vec<&str> = columns.iter().map(|column| column.name).collect();
    writeln!(to, "{}", names.join(","))?;
    for row in rows {
        let fields: Vec<String> = row.iter().map(Value::field).collect();
        writeln!(to, "{}", fields.join(","))?;
    }
    Ok(())
}
