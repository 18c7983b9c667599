//! Tables in a directory: each file appears whole, or not at all.

use super::partials::write_whole;
use crate::output::census::tables::{self, Form};
use anyhow::{Context, Result};
use std::io::{BufWriter, Write};
use std::path::Path;
use traffic::census::{Census, Report};
use traffic::rules::Rules;

/// Writes `attempts`, `signatures` and `days` into the directory, which is made where it is missing.
pub(super) fn write(
    directory: &Path,
    form: Form,
    census: &Census,
    report: &Report,
    rules: &Rules,
) -> Result<()> {
    std::fs::create_dir_all(directory).with_context(|| format!("make directory {}", directory.display()))?;
    let notes = [
        ("palisade.zone", report.zone.clone()),
        ("palisade.pseudonyms", report.pseudonyms.to_string()),
        ("palisade.key", census.setup().key.clone()),
        ("palisade.one_source_in", report.one_source_in.to_string()),
    ];
    let ending = match form {
        Form::Parquet => "parquet",
        Form::Csv => "csv",
    };
    let path = |name: &str| directory.join(format!("{name}.{ending}"));
    write_whole(&path("attempts"), |file| {
        let mut to = BufWriter::new(file);
        tables::write(&mut to, form, &tables::ATTEMPTS, &notes, tables::attempts(census, report, rules))?;
        Ok(to.flush()?)
    })?;
    write_whole(&path("signatures"), |file| {
        let mut to = BufWriter::new(file);
        tables::write(&mut to, form, &tables::SIGNATURES, &notes, tables::signatures(report))?;
        Ok(to.flush()?)
    })?;
    write_whole(&path("days"), |file| {
        let mut to = BufWriter::new(file);
        tables::write(&mut to, form, &tables::DAYS, &notes, tables::days(report))?;
        Ok(to.flush()?)
    })
}
