//! dnf's library: what it says about files, and what it fetches. No repository is asked where files are at hand.

use crate::dnf::interpreter;
use crate::hand::rpm::transaction::{Answer, Exact, Would};
use crate::program::Program;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The program that asks what installing files would do.
const LOOK: &str = include_str!("look.py");
/// The program that fetches.
const FETCH: &str = include_str!("fetch.py");
/// It loads rpm's database, and some files.
const LOOK_WITHIN: Duration = Duration::from_secs(180);
/// 2 GiB at 1 MiB/s.
const FETCH_WITHIN: Duration = Duration::from_secs(2_048);

/// What dnf says to installing these files.
pub(super) fn says(files: &[PathBuf], is_back: bool) -> Result<Answer, String> {
    #[derive(Serialize)]
    struct Question<'a> {
        files: &'a [PathBuf],
        back: bool,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Said {
        Refused { error: String },
        Would(Would),
    }
    Ok(match ask(LOOK, &Question { files, back: is_back }, LOOK_WITHIN)? {
        Said::Would(would) => Answer::Would(would),
        Said::Refused { error } => Answer::Refuses(error.split_whitespace().collect::<Vec<_>>().join(" ")),
    })
}

/// Fetches files into a directory; gives what could not be had, in words.
pub(super) fn fetch(wanted: &[Exact], into: &Path, is_refreshed: bool) -> Result<Vec<String>, String> {
    #[derive(Serialize)]
    struct Question<'a> {
        wanted: &'a [Exact],
        into: &'a Path,
        refresh: bool,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Answer {
        problems: Vec<String>,
    }
    let answer: Answer = ask(FETCH, &Question { wanted, into, refresh: is_refreshed }, FETCH_WITHIN)?;
    Ok(answer.problems)
}

fn ask<T: DeserializeOwned>(program: &str, question: &impl Serialize, within: Duration) -> Result<T, String> {
    let mut file = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
    let bytes = serde_json::to_vec(question).map_err(|error| error.to_string())?;
    file.write_all(&bytes).map_err(|error| error.to_string())?;
    let output = Program::new(interpreter()?)
        // -I: nothing of the caller's environment or directory is loaded; -B: nothing is written beside the library.
        .args(["-I", "-B", "-c", program])
        .arg(file.path())
        .deadline(within)
        .run_ok()
        .map_err(|problem| format!("dnf's library cannot be asked: {problem}"))?;
    serde_json::from_slice(&output.stdout).map_err(|error| format!("its answer cannot be read: {error}"))
}
