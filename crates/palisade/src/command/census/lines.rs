//! Single lines: samples of a signature, and why a line is recognised.

use super::EXIT_INCOMPLETE;
use super::engine::{Chunk, Manner, Stream};
use super::inputs::Input;
use crate::EXIT_USAGE;
use crate::command::rule_files;
use agent::census::Ruleset;
use anyhow::{Context, Result};
use std::io::Write;
use std::process::ExitCode;
use traffic::census::attempts;
use traffic::format::{Scratch, Seen};

/// Prints lines that one signature recognises, in the order of inputs.
pub(super) fn sample(
    id: &str,
    wanted: usize,
    inputs: &[Input],
    manner: &Manner<'_>,
    rules: &Ruleset,
) -> Result<ExitCode> {
    let Some(rule) = rules.rules.find(id) else {
        let near = rule_files::nearest(&rules.rules, id);
        eprintln!(
            "palisade: census: --sample {id}: no signature is called that; {} may be meant",
            near.unwrap_or("none")
        );
        return Ok(ExitCode::from(EXIT_USAGE));
    };
    let mut out = std::io::stdout().lock();
    let mut left = wanted;
    let mut failed = false;
    let mut chunk = Chunk::default();
    for (number, input) in inputs.iter().enumerate() {
        let opened = Stream::open(number, input, manner);
        let mut stream = opened.with_context(|| format!("read {}", input.name()))?;
        while left > 0 && stream.next(&mut chunk) && !agent::program::is_stopped() {
            let mut written = Ok(());
            attempts(&rules.rules, chunk.state.clone(), chunk.lines(), &mut |line, _, hits| {
                if hits.contains(&rule) {
                    left -= 1;
                    written = out.write_all(&shown(line)).and_then(|()| out.write_all(b"\n"));
                }
                left > 0 && written.is_ok()
            });
            written.context("write lines")?;
        }
        for problem in stream.take_problems() {
            eprintln!("palisade: {problem}");
            failed = true;
        }
    }
    Ok(if failed { ExitCode::from(EXIT_INCOMPLETE) } else { ExitCode::SUCCESS })
}

/// A line as it is, but for bytes that would move a terminal's cursor.
fn shown(line: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(line.len());
    for byte in line {
        match byte {
            b'\t' | b' '..=b'~' | 0x80.. => out.push(*byte),
            _ => out.extend_from_slice(format!("\\x{byte:02X}").as_bytes()),
        }
    }
    out
}

/// Tells why rules recognise a line.
pub(super) fn explain(line: &str, manner: &Manner<'_>, rules: &Ruleset, json: bool) -> Result<ExitCode> {
    let mut state = manner.state();
    let line = line.trim_end_matches(['\r', '\n']).as_bytes();
    if !matches!(state.brief(line), Seen::Request(_)) {
        eprintln!(
            "palisade: census: --explain: the line is in no format that is known; give its format with --format"
        );
        return Ok(ExitCode::from(EXIT_INCOMPLETE));
    }
    let explained = state.read(line, &mut Scratch::default(), |request| rules.rules.explain(request));
    let Some(explanation) = explained else {
        eprintln!("palisade: census: --explain: the line has a time and a source, but no request");
        return Ok(ExitCode::from(EXIT_INCOMPLETE));
    };
    let text = if json { serde_json::to_string_pretty(&explanation)? } else { explanation.to_string() };
    writeln!(std::io::stdout().lock(), "{}", text.trim_end()).context("write the answer")?;
    Ok(ExitCode::SUCCESS)
}
