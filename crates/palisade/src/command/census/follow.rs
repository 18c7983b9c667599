//! `palisade census --follow`: count what is there, then go on.
//!
//! What was counted between two checkpoints is a census of its own, added to those before: the sum is what one run over all
//! lines would have counted, to the byte.

use super::engine::Manner;
use super::{Read, ended, key, look, partials, print, reported, tell_problems, usage, written};
use crate::cli::census::Census as Asking;
use crate::output::census as table;
use advisory::Problem;
use agent::census::Ruleset;
use agent::follow::{self, Bell, Follower, Wanted};
use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use traffic::census::{Census, Counter, Counting, Key, Limits, Report, Zone};

/// The longest wait for something to be written: files are looked at then, whether anybody told or not.
const LOOK_MOST: Duration = Duration::from_secs(5);
/// The same where the system does not tell.
const LOOK_WITHOUT: Duration = Duration::from_millis(500);
/// How often everything is told unless that is asked for, seconds.
const EVERY_ON_TERMINAL: u32 = 5;
const EVERY_IN_LINES: u32 = 60;

pub(super) fn follow(
    asking: &Asking,
    manner: &Manner<'_>,
    rules: &Ruleset,
    zone: &Zone,
    problems: Vec<Problem>,
) -> Result<ExitCode> {
    if let Some(named) = asking.files.iter().find(|path| *path == Path::new("-") || path.is_dir()) {
        let problem = Problem::new("follow", named.display().to_string(), "only files can be followed");
        return Ok(usage(&problem.remedy("name logs, or a pattern in quotes: '/var/log/nginx/*.log'")));
    }
    let key = key::key(asking.telling.key.as_deref())?;
    let wanted =
        asking.files.iter().map(|path| Wanted { path: path.clone(), state: manner.state() }).collect();
    let mut following = Following {
        asking,
        rules,
        zone,
        follower: Follower::new(Vec::new()),
        total: None,
        unread: BTreeMap::new(),
        problems,
        unkept: None,
        known: BTreeSet::new(),
        shown: Shown::of(asking),
        key,
    };
    tell_problems(&following.problems);
    following.begin(wanted)?;
    following.live()?;
    following.end()
}

/// How what was counted is shown while it goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Shown {
    /// The table, in place.
    Screen,
    /// A line for each signature that is new, and a summary.
    Lines,
    /// An object each time.
    Objects,
}

impl Shown {
    fn of(asking: &Asking) -> Self {
        match (asking.telling.json, std::io::stdout().is_terminal()) {
            (true, _) => Self::Objects,
            (false, true) => Self::Screen,
            (false, false) => Self::Lines,
        }
    }

    fn every_seconds(self) -> u32 {
        match self {
            Self::Screen => EVERY_ON_TERMINAL,
            Self::Lines | Self::Objects => EVERY_IN_LINES,
        }
    }
}

struct Following<'a> {
    asking: &'a Asking,
    rules: &'a Ruleset,
    zone: &'a Zone,
    key: Key,
    follower: Follower,
    /// Everything that was counted; with pseudonyms, unless sources are to be told: then no address is written anywhere.
    total: Option<Census>,
    /// By log, lines in no known format.
    unread: BTreeMap<PathBuf, u64>,
    problems: Vec<Problem>,
    /// Why the last checkpoint could not be written, so that it is told once.
    unkept: Option<String>,
    /// Signatures that were told.
    known: BTreeSet<String>,
    shown: Shown,
}

impl<'a> Following<'a> {
    /// Goes on where it was, if there is a checkpoint.
    fn begin(&mut self, wanted: Vec<Wanted>) -> Result<()> {
        self.follower = Follower::new(wanted.clone());
        let Some(path) = &self.asking.checkpoint else { return Ok(()) };
        let Some(bytes) = follow::read(path).map_err(|problem| anyhow::anyhow!("{problem}"))? else {
            return Ok(());
        };
        let resumed = Follower::resume(wanted, path, &bytes).and_then(|(follower, kept)| {
            let census = Census::from_bytes(&path.display().to_string(), &kept)?;
            Ok((follower, census))
        });
        match resumed {
            Ok((follower, census)) => {
                let none = self.sealed(self.counting().finish());
                if none.setup() != census.setup() {
                    bail!(
                        "{}",
                        Problem::new(
                            "go on from checkpoint",
                            path.display().to_string(),
                            "it was counted with other rules, or another --zone, --key or --show-sources"
                        )
                        .remedy("give the same as before, or another --checkpoint")
                    );
                }
                self.follower = follower;
                self.total = Some(census);
                Ok(())
            }
            // Only what is surely ours is replaced: a mistyped name must cost nobody a file.
            Err(problem) if bytes.starts_with(b"PALFOLL") => {
                let aside = path.with_added_extension("damaged");
                std::fs::rename(path, &aside).with_context(|| format!("set {} aside", path.display()))?;
                let reason = format!("{}; set aside as {}", problem.reason, aside.display());
                self.trouble(
                    Problem::new("read checkpoint", path.display().to_string(), reason)
                        .remedy("everything that is there is counted anew"),
                );
                Ok(())
            }
            Err(problem) => bail!("{problem}"),
        }
    }

    fn counting(&self) -> Counting<'a> {
        Counting::new(&self.rules.rules, &self.rules.digest, self.zone, &self.key, Limits::default())
    }

    /// As it is kept and added up.
    fn sealed(&self, census: Census) -> Census {
        if self.asking.telling.show_sources { census } else { census.with_pseudonyms(&self.key) }
    }

    /// Counts, tells and keeps, until it is told to stop.
    fn live(&mut self) -> Result<()> {
        let seconds = self.asking.every.unwrap_or(self.shown.every_seconds());
        let every = Duration::from_secs(seconds.into());
        // What is there already is told first.
        self.count(None)?;
        self.tell_so_far()?;
        let bell = Bell::new(&self.follower.directories());
        while !agent::program::is_stopped() {
            self.count(Some((&bell, Instant::now() + every)))?;
            if !agent::program::is_stopped() {
                self.tell_so_far()?;
            }
        }
        Ok(())
    }

    /// Counts what is written, until a moment, or once; then adds it up and keeps it.
    fn count(&mut self, until: Option<(&Bell, Instant)>) -> Result<()> {
        let counting = self.counting();
        let mut counter = counting.counter();
        let mut is_more = false;
        loop {
            is_more |= self.look(&mut counter);
            let Some((bell, until)) = until else { break };
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || agent::program::is_stopped() {
                break;
            }
            bell.wait(left.min(LOOK_MOST), left.min(LOOK_WITHOUT));
        }
        drop(counter);
        let census = self.sealed(counting.finish());
        self.total = Some(match self.total.take() {
            None => census,
            // A quiet log is no reason to add everything up anew, nor to write what is written already.
            Some(total) if !is_more => {
                self.total = Some(total);
                if self.unkept.is_some() {
                    self.keep();
                }
                return Ok(());
            }
            Some(total) => {
                let parts = vec![("before".to_owned(), total), ("now".to_owned(), census)];
                Census::unite(parts, Limits::default()).map_err(|problem| anyhow::anyhow!("{problem}"))?
            }
        });
        self.keep();
        Ok(())
    }

    /// Counts what was written; whether anything was.
    fn look(&mut self, counter: &mut Counter<'_>) -> bool {
        let unread = &mut self.unread;
        let mut is_any = false;
        let problems = self.follower.poll(|taken| {
            is_any = true;
            if let Some((_, many)) = counter.count(taken.state.clone(), taken.lines) {
                *unread.entry(taken.log.to_owned()).or_default() += many;
            }
            !agent::program::is_stopped()
        });
        for problem in problems {
            self.trouble(problem);
        }
        is_any
    }

    fn trouble(&mut self, problem: Problem) {
        tell_problems(std::slice::from_ref(&problem));
        self.problems.push(problem);
    }

    /// Writes the checkpoint and the partial. A full disk is told, and tried again.
    fn keep(&mut self) {
        let Some(total) = &self.total else { return };
        let bytes = total.to_bytes();
        let checkpoint = self.asking.checkpoint.as_deref().map(|path| {
            let written = follow::write(path, &self.follower.checkpoint(&bytes));
            written.with_context(|| format!("write {}", path.display()))
        });
        let partial = self.asking.telling.partial.as_deref().map(|path| partials::write(path, &bytes));
        let failed = [checkpoint, partial].into_iter().flatten().find_map(Result::err);
        let failed = failed.map(|error| format!("{error:#}"));
        if let Some(reason) = failed.clone().filter(|_| failed != self.unkept) {
            self.trouble(
                Problem::new("keep", "what was counted", reason)
                    .remedy("it is tried again; make room, or stop"),
            );
        }
        self.unkept = failed;
    }

    /// Shows what has been counted up to now.
    fn tell_so_far(&mut self) -> Result<()> {
        let Some(total) = &self.total else { return Ok(()) };
        let report = reported(total, self.rules, &self.asking.telling);
        match self.shown {
            Shown::Screen => {
                print(&screen(&table::report(&report, &self.what(), &[], look(&self.asking.telling))))
            }
            Shown::Objects => print(&(serde_json::to_string(&report)? + "\n")),
            Shown::Lines => print(&self.lines(&report)),
        }
    }

    fn lines(&mut self, report: &Report) -> String {
        let now = Timestamp::now();
        let mut text = String::new();
        for row in &report.signatures {
            if self.known.insert(row.id.clone()) {
                let _ = writeln!(
                    text,
                    "{now:.0} new: {}, {} attempts from {} sources, {} answered with 2xx",
                    row.id, row.attempts, row.sources.count, row.answered_ok
                );
            }
        }
        let attempts: u64 = report.signatures.iter().map(|row| row.attempts).sum();
        let _ = writeln!(
            text,
            "{now:.0} {} requests; attempts: {attempts}, signatures: {}, sources: {}",
            report.log.requests,
            report.signatures.len(),
            report.sources.count
        );
        text
    }

    fn what(&self) -> String {
        match self.follower.logs() {
            1 => "1 log, followed".to_owned(),
            many => format!("{many} logs, followed"),
        }
    }

    /// The final table.
    fn end(mut self) -> Result<ExitCode> {
        let what = self.what();
        for (log, many) in std::mem::take(&mut self.unread) {
            let reason = format!("{many} lines are in no format that is known");
            self.trouble(
                Problem::new("read log", log.display().to_string(), reason)
                    .remedy("give its format with --format, if these are requests"),
            );
        }
        let (mut told, mut end) = (Vec::new(), None);
        match self.total.take() {
            Some(census) if self.shown == Shown::Objects => {
                print(
                    &(serde_json::to_string(&reported(&census, self.rules, &self.asking.telling))? + "\n"),
                )?;
            }
            Some(census) => {
                let read = Read { census, rules: self.rules, key: &self.key, what: &what, notes: &[] };
                // Whoever stops it does not wait for what lies ahead.
                end = written(read, &self.asking.telling, None, &mut told)?;
            }
            None => {}
        }
        tell_problems(&told);
        self.problems.extend(told);
        Ok(end.map_or_else(|| ended(&self.problems), ExitCode::from))
    }
}

/// A screenful of text in the place of the last one.
fn screen(text: &str) -> String {
    let rows = rustix::termios::tcgetwinsize(std::io::stdout()).map_or(0, |size| usize::from(size.ws_row));
    // What does not say how high it is is taken for what terminals were once.
    let rows = if rows == 0 { 24 } else { rows.max(3) } - 2;
    let mut shown = "\x1b[H\x1b[2J".to_owned();
    for line in text.lines().take(rows) {
        shown += line;
        shown.push('\n');
    }
    if text.lines().count() > rows {
        shown += "… everything is shown when this is interrupted (Ctrl-C)";
    }
    shown
}
