//! The host's own census: follows its web logs, counts attempts by the hour, and has them ready for the server. Addresses stay
//! here; what leaves are numbers and sketches under the fleet's key ([`wire::v1::census`]).
//!
//! Off until the host's owner says otherwise. A thread of its own reads and counts; the agent's life sends what is due
//! (`check_in`). How far logs were read and what was counted of them lie in one file, so that a crash neither loses nor
//! repeats a line.

mod apache;
mod book;
mod found;
mod nginx;
pub mod rule_files;
mod ruleset;

pub use found::{Followed, Logs};
pub use ruleset::Ruleset;

use crate::follow::{self, Bell, Follower, Taken};
use crate::settings;
use advisory::Problem;
use book::Book;
pub(crate) use book::Due;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use traffic::census::hours::Hours;
use traffic::census::{Hasher, Key};
use wire::v1::census::Counted;

/// How often logs are looked at when nothing rings, where something would; and where nothing can.
const LOOK_MOST: Duration = Duration::from_secs(10);
const LOOK_WITHOUT: Duration = Duration::from_secs(2);
/// How long one look reads before it sees whether it is to stop.
const LOOK_FOR: Duration = Duration::from_secs(2);
/// How often what was counted is written to the disk.
const KEEP_EVERY: Duration = Duration::from_secs(30);
/// How often it is looked for logs that were not there before.
const FIND_EVERY: Duration = Duration::from_secs(600);
/// Signatures of hours that are counted before they are added up: 2,000 sketches of 4 KiB are 8 MiB.
const CELLS_MAX: usize = 2_000;
/// Problems that the server is told, and letters of each.
const PROBLEMS_TOLD: usize = 20;
const PROBLEM_LETTERS: usize = 300;
const HOUR_SECONDS: i64 = 3_600;
/// The thread steps back for whatever the host is for.
const NICE: i32 = 10;

/// How the census of a host stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CensusStatus {
    /// Whether the server's terms are here, without which nothing is counted.
    pub has_terms: bool,
    /// Logs that are followed.
    pub logs: usize,
    /// Hours that wait to be sent.
    pub waiting: usize,
    /// When the server last took some.
    pub told: Option<Timestamp>,
    /// Why something is not counted.
    pub problems: Vec<String>,
}

/// Counting, on a thread that ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Counter {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    rules: Ruleset,
    stop: AtomicBool,
    book: Mutex<Book>,
    seen: Mutex<Seen>,
}

/// What the thread has to say besides counts.
#[derive(Debug, Default)]
struct Seen {
    /// Whether there was a look yet.
    has_looked: bool,
    logs: usize,
    problems: Vec<String>,
    /// For the log; told once.
    news: Vec<Problem>,
}

impl Counter {
    /// Begins to count, or goes on where `kept` says. `None` if no thread can be had.
    pub(crate) fn start(kept: &Path, root: &Path, settings: &settings::Census, key: &Key) -> Option<Self> {
        let (rules, mut news) = Ruleset::read(&settings.rules);
        let logs = Logs::find(root, settings);
        let (follower, book) = begin(kept, &logs, key, &mut news);
        let shared = Arc::new(Shared {
            rules,
            stop: AtomicBool::new(false),
            book: Mutex::new(book),
            seen: Mutex::new(Seen { news, ..Seen::default() }),
        });
        let working = Working {
            shared: shared.clone(),
            kept: kept.to_owned(),
            root: root.to_owned(),
            settings: settings.clone(),
            follower,
            logs,
            unread: BTreeMap::new(),
            hour_of: BTreeMap::new(),
            unkept: None,
        };
        let hasher = Hasher::new(key);
        let thread = std::thread::Builder::new().name("census".to_owned());
        let thread = thread.spawn(move || working.work(hasher)).ok()?;
        Some(Self { shared, thread: Some(thread) })
    }

    /// What is to be told next; nothing where that is no hour, and all else is as it was `told` last.
    pub(crate) fn due(&self, told: Option<&Counted>) -> Option<(Counted, Due)> {
        let book = lock(&self.shared.book);
        let mut due = book.due(&self.shared.rules.rules);
        let hours = std::mem::take(&mut due.hours);
        let seen = lock(&self.shared.seen);
        let counted = Counted {
            key: book.key.clone(),
            logs: u32::try_from(seen.logs).unwrap_or(u32::MAX),
            problems: seen.problems.clone(),
            hours,
        };
        let is_news =
            told.is_none_or(|told| (told.logs, &told.problems) != (counted.logs, &counted.problems));
        (seen.has_looked && (is_news || !counted.hours.is_empty())).then_some((counted, due))
    }

    /// The server has these.
    pub(crate) fn told(&self, due: &Due) {
        lock(&self.shared.book).told(due);
    }

    /// What went wrong since this was last asked.
    pub(crate) fn news(&self) -> Vec<Problem> {
        std::mem::take(&mut lock(&self.shared.seen).news)
    }

    pub(crate) fn status(&self) -> CensusStatus {
        let seen = lock(&self.shared.seen);
        CensusStatus {
            has_terms: true,
            logs: seen.logs,
            waiting: lock(&self.shared.book).waiting(),
            told: None,
            problems: seen.problems.clone(),
        }
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Remembers which rotated files are older than our following, before there are terms to count under: what is written until
/// then waits in the logs, also if they are rotated.
pub(crate) fn note(kept: &Path, root: &Path, settings: &settings::Census) -> Option<Problem> {
    if kept.exists() {
        return None;
    }
    let mut follower = Follower::new(Logs::find(root, settings).wanted());
    follower.note();
    // No book: that begins with the terms.
    follow::write(kept, &follower.checkpoint(b"")).err().map(|error| unwritten(kept, &error))
}

fn unwritten(kept: &Path, error: &dyn std::fmt::Display) -> Problem {
    Problem::new("keep what was counted in", kept.display().to_string(), error)
        .remedy("free some space, and make the directory writable")
}

/// From what was kept, or from the beginning.
fn begin(kept: &Path, logs: &Logs, key: &Key, news: &mut Vec<Problem>) -> (Follower, Book) {
    let now = hour_now();
    let fresh = |anew: bool| {
        let book = if anew { Book::anew(key.id(), now) } else { Book::new(key.id(), now) };
        (Follower::new(logs.wanted()), book)
    };
    let bytes = match follow::read(kept) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return fresh(false),
        Err(problem) => {
            news.push(problem);
            return fresh(true);
        }
    };
    let resumed = Follower::resume(logs.wanted(), kept, &bytes).and_then(|(follower, book)| {
        if book.is_empty() {
            return Ok((follower, Book::new(key.id(), now)));
        }
        let book: Book = postcard::from_bytes(&book)
            .map_err(|error| Problem::new("read what was counted in", kept.display().to_string(), error))?;
        Ok((follower, book))
    });
    match resumed {
        Ok((follower, book)) if book.key == key.id() => (follower, book),
        // Sketches under another key cannot be united with these.
        Ok((follower, _)) => {
            let reason =
                "the fleet counts under another key now: hours before the next one are not told again";
            news.push(Problem::new("go on counting", kept.display().to_string(), reason));
            (follower, Book::anew(key.id(), now))
        }
        Err(problem) => {
            let aside = kept.with_added_extension("damaged");
            let _ = std::fs::rename(kept, &aside);
            let reason = format!("{}; set aside as {}", problem.reason, aside.display());
            news.push(
                Problem::new("read what was counted in", kept.display().to_string(), reason)
                    .remedy("counting begins anew with the next hour; check the disk"),
            );
            fresh(true)
        }
    }
}

struct Working {
    shared: Arc<Shared>,
    kept: PathBuf,
    root: PathBuf,
    settings: settings::Census,
    follower: Follower,
    logs: Logs,
    /// By log, lines in no known format.
    unread: BTreeMap<PathBuf, u64>,
    /// By log, the hour of its last request.
    hour_of: BTreeMap<PathBuf, i64>,
    /// Why the last file could not be written, so that it is told once.
    unkept: Option<String>,
}

impl Working {
    fn work(mut self, hasher: Hasher) {
        let _ = rustix::process::nice(NICE);
        let shared = self.shared.clone();
        let mut hours = Hours::new(&shared.rules.rules, hasher);
        let mut bell = Bell::new(&self.follower.directories());
        let (mut kept_at, mut found_at) = (Instant::now(), Instant::now());
        loop {
            let all_read = self.look(&mut hours);
            self.say(all_read);
            let stops = self.is_stopped();
            if stops || kept_at.elapsed() >= KEEP_EVERY {
                self.keep();
                kept_at = Instant::now();
            }
            if stops {
                return;
            }
            if found_at.elapsed() >= FIND_EVERY {
                self.logs = Logs::find(&self.root, &self.settings);
                self.follower.want(self.logs.wanted());
                bell = Bell::new(&self.follower.directories());
                found_at = Instant::now();
            }
            if all_read {
                self.wait(&bell);
            }
        }
    }

    /// Waits for writers; not longer than it may take to stop.
    fn wait(&self, bell: &Bell) {
        let until = Instant::now() + LOOK_MOST;
        let step = Duration::from_millis(500);
        while !self.is_stopped() && Instant::now() < until {
            if bell.wait(step, LOOK_WITHOUT) {
                return;
            }
        }
    }

    fn is_stopped(&self) -> bool {
        self.shared.stop.load(Ordering::Relaxed)
    }

    /// Counts what was written. Says whether that was all.
    fn look(&mut self, hours: &mut Hours<'_>) -> bool {
        let shared = self.shared.clone();
        let (unread, hour_of) = (&mut self.unread, &mut self.hour_of);
        let began = Instant::now();
        let mut all_read = true;
        let problems = self.follower.poll(|Taken { log, state, lines }| {
            if !hour_of.contains_key(log) {
                hour_of.insert(log.to_owned(), hour_now());
            }
            let hour = hour_of.get_mut(log).expect("it was put there");
            let many = hours.count(state.clone(), lines, hour);
            if many > 0 {
                *unread.entry(log.to_owned()).or_default() += many;
            }
            let cells: usize = hours.counted.values().map(|hour| hour.attempts.len()).sum();
            if cells > CELLS_MAX {
                add(&shared, hours);
            }
            all_read = began.elapsed() < LOOK_FOR && !shared.stop.load(Ordering::Relaxed);
            all_read
        });
        add(&shared, hours);
        lock(&shared.seen).news.extend(problems);
        all_read
    }

    /// Says how it stands.
    fn say(&mut self, all_read: bool) {
        let now = hour_now();
        let logs = self.follower.logs();
        let mut book = lock(&self.shared.book);
        if all_read {
            book.cover(now, logs > 0);
        }
        let dropped = book.shrink(now);
        let untold = book.untold_requests;
        drop(book);
        let unread = self
            .unread
            .iter()
            .map(|(log, many)| format!("{}: {many} lines are in no format that is known", log.display()));
        let untold = (untold > 0).then(|| {
            format!(
                "{untold} requests are of hours that are not told again, or dated ahead; they are not counted"
            )
        });
        let troubles = self.follower.troubles().chain(&self.logs.problems).map(ToString::to_string);
        let problems = troubles.chain(unread).chain(untold).take(PROBLEMS_TOLD);
        let problems = problems.map(|problem| problem.chars().take(PROBLEM_LETTERS).collect()).collect();
        let mut seen = lock(&self.shared.seen);
        (seen.has_looked, seen.logs, seen.problems) = (true, logs, problems);
        if dropped > 0 {
            let reason = format!("{dropped} hours dropped untold: the fleet's census will have a hole");
            let problem = Problem::new("keep what was counted in", self.kept.display().to_string(), reason);
            seen.news.push(problem.remedy("bring the server back within reach"));
        }
    }

    fn keep(&mut self) {
        let book = postcard::to_stdvec(&*lock(&self.shared.book)).expect("a vector takes every byte");
        let failed = follow::write(&self.kept, &self.follower.checkpoint(&book)).err();
        let failed = failed.map(|error| error.to_string());
        if let Some(reason) = failed.as_ref().filter(|_| failed != self.unkept) {
            lock(&self.shared.seen).news.push(unwritten(&self.kept, reason));
        }
        self.unkept = failed;
    }
}

fn add(shared: &Shared, hours: &mut Hours<'_>) {
    let counted = std::mem::take(&mut hours.counted);
    if !counted.is_empty() {
        lock(&shared.book).add(&shared.rules.rules, counted, hour_now());
    }
}

/// Hours since 1970, UTC.
fn hour_now() -> i64 {
    Timestamp::now().as_second().div_euclid(HOUR_SECONDS)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
