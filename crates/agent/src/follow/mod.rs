//! Follows logs as `tail -F` does, and goes on after a restart where it was. Takes names; gives whole lines, each once.
//!
//! What counts is content, not names: a file is known again after it was renamed, copied, packed, or moved to another inode,
//! by the bytes that were read of it. So a log that was rotated is read to its end wherever that is, one that was emptied
//! after it was copied is read on in the copy, and an inode that was used again is another log. Looking at files is what
//! tells ([`Follower::poll`]); a [`Bell`] only says that it may be worth while.
//!
//! What cannot be seen: lines that are written between the moment when rotation copies a log and the one when it empties it; files
//! that are removed before they were looked at; and two files that begin with the same kilobyte and have the same at the place
//! where one was read are taken for one.

mod bell;
mod checkpoint;
mod family;
mod place;
#[cfg(test)]
mod tests;

pub use bell::Bell;
pub use checkpoint::{read, write};

use advisory::Problem;
use checkpoint::V1;
use family::{Directories, Found};
use place::{Id, MARK_BYTES, Place, Stand, Take, Went, Whereabouts, head, id, unpacked};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use traffic::format::State;

/// A file of fewer lines is not taken for a copy of one that is still there: a flood sends the same lines into both.
const COPY_LINES_MIN: u64 = 8;
/// Files that are gone are remembered, so that what holds the same is not read again.
const GONE_MAX: usize = 64;
/// Rotation may take so long to pack a file before it is told that the rest of it was not found.
const LOST_AFTER: Duration = Duration::from_secs(60);

/// A log, or a pattern for logs, and what is known of them before their first lines.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Its name, or a pattern.
    pub path: PathBuf,
    /// The format, where it is not told by lines.
    pub state: State,
}

/// Whole lines that stand after each other.
#[derive(Clone, Copy, Debug)]
pub struct Taken<'a> {
    /// The log, by the name it is written under.
    pub log: &'a Path,
    /// What the log had said before them.
    pub state: &'a State,
    /// The lines.
    pub lines: &'a [u8],
}

/// Follows logs.
#[derive(Debug)]
pub struct Follower {
    wanted: Vec<Wanted>,
    places: Vec<Place>,
    /// By log: rotated files that were not written to after this are older than our following.
    floors: BTreeMap<PathBuf, i64>,
    /// Files that nothing is to be read of as long as they stand like this.
    settled: HashMap<Id, Stand>,
    directories: Directories,
    room: Vec<u8>,
    /// What is wrong with each log now.
    troubles: BTreeMap<PathBuf, Problem>,
}

impl Follower {
    /// From the beginning: what is there is given out by the first [`Follower::poll`].
    pub fn new(wanted: Vec<Wanted>) -> Self {
        Self {
            wanted: wanted.into_iter().map(absolute).collect(),
            places: Vec::new(),
            floors: BTreeMap::new(),
            settled: HashMap::new(),
            directories: Directories::default(),
            room: Vec::new(),
            troubles: BTreeMap::new(),
        }
    }

    /// From a checkpoint. Gives what was kept with it; errors where it is damaged, or none of ours.
    pub fn resume(wanted: Vec<Wanted>, name: &Path, bytes: &[u8]) -> Result<(Self, Vec<u8>), Problem> {
        let mut follower = Self::new(wanted);
        let Some(v1) = V1::from_bytes(bytes) else {
            let problem = Problem::new(
                "read checkpoint",
                name.display().to_string(),
                "it is no checkpoint, or a damaged one",
            );
            return Err(problem.remedy("remove it, or name another; everything that is there is read anew"));
        };
        follower.places = v1.places(|log| follower.fresh(log));
        let floors = v1.floors.iter().map(|(log, floor)| (checkpoint::path(log), *floor));
        follower.floors = floors.filter(|(log, _)| follower.fresh(log).is_some()).collect();
        Ok((follower, v1.kept))
    }

    /// How far everything was read, with what is to be kept with it.
    pub fn checkpoint(&self, kept: &[u8]) -> Vec<u8> {
        // A place of which nothing was taken says nothing.
        let places = self.places.iter().filter(|place| place.mark.offset > 0);
        V1::of(self.floors.iter(), places, kept).to_bytes()
    }

    /// Takes every whole line that was written since. `take` says whether to go on; where it does not, the rest comes next time.
    /// Gives what has gone wrong since the last time.
    pub fn poll(&mut self, mut take: impl FnMut(Taken<'_>) -> bool) -> Vec<Problem> {
        let mut looking = Looking { take: &mut take, goes_on: true, problems: Vec::new() };
        self.look(&mut looking);
        looking.problems
    }

    /// Follows these from now on; what was read of others is forgotten.
    pub fn want(&mut self, wanted: Vec<Wanted>) {
        self.wanted = wanted.into_iter().map(absolute).collect();
        let is_wanted = |log: &Path| self.fresh(log).is_some();
        let logs: BTreeSet<PathBuf> = self.floors.keys().filter(|log| is_wanted(log)).cloned().collect();
        let places = std::mem::take(&mut self.places);
        self.places = places.into_iter().filter(|place| self.fresh(&place.log).is_some()).collect();
        self.floors.retain(|log, _| logs.contains(log));
        self.troubles.retain(|log, _| logs.contains(log));
        self.settled.clear();
    }

    /// Notes which rotated files are older than our following, without reading anything.
    pub fn note(&mut self) {
        let logs = self.named();
        let found = self.directories.find(&logs);
        self.set_floors(&logs, &found);
    }

    fn set_floors(&mut self, logs: &BTreeSet<PathBuf>, found: &[Found]) {
        for log in logs {
            if !self.floors.contains_key(log) {
                let siblings = found.iter().filter(|found| !found.is_named && found.log == *log);
                let newest = siblings.map(|found| found.stand.written).max().unwrap_or(i64::MIN);
                self.floors.insert(log.clone(), newest);
            }
        }
    }

    /// Logs that are there and can be read.
    pub fn logs(&self) -> usize {
        self.named().iter().filter(|log| log.is_file() && !self.troubles.contains_key(*log)).count()
    }

    /// What is wrong now.
    pub fn troubles(&self) -> impl Iterator<Item = &Problem> {
        self.troubles.values()
    }

    /// Directories in which something may happen.
    pub fn directories(&self) -> BTreeSet<PathBuf> {
        self.named().iter().filter_map(|log| log.parent()).map(Path::to_owned).collect()
    }

    fn look(&mut self, looking: &mut Looking<'_>) {
        for place in 0..self.places.len() {
            self.read_on(place, looking);
        }
        let logs = self.named();
        let found = self.directories.find(&logs);
        self.note_missing(&logs, looking);
        self.set_floors(&logs, &found);
        for file in &found {
            self.find_again(file, looking);
        }
        let ids: BTreeSet<Id> = found.iter().map(|file| file.id).collect();
        for place in &mut self.places {
            place.let_go(&ids);
        }
        let here = |place: &Place| (place.whereabouts == Whereabouts::Here).then_some(place.id);
        let known: BTreeSet<Id> = self.places.iter().filter_map(here).collect();
        let mut strangers: Vec<&Found> = found.iter().filter(|file| !known.contains(&file.id)).collect();
        strangers.sort_by_key(|file| (file.stand.written, &file.path));
        for stranger in strangers {
            if looking.goes_on && self.settled.get(&stranger.id) != Some(&stranger.stand) {
                self.meet(stranger, looking);
            }
        }
        self.settled.retain(|id, _| ids.contains(id));
        self.tell_lost(looking);
        self.forget();
    }

    /// Logs by their names: those that were named, those that patterns find, those that were there.
    fn named(&self) -> BTreeSet<PathBuf> {
        let mut logs: BTreeSet<PathBuf> = self.floors.keys().cloned().collect();
        for wanted in &self.wanted {
            if is_pattern(&wanted.path) {
                logs.extend(glob::glob(&wanted.path.to_string_lossy()).into_iter().flatten().flatten());
            } else {
                logs.insert(wanted.path.clone());
            }
        }
        logs
    }

    fn note_missing(&mut self, logs: &BTreeSet<PathBuf>, looking: &mut Looking<'_>) {
        for log in logs {
            let is_wanted = self.wanted.iter().any(|wanted| wanted.path == *log);
            match std::fs::metadata(log) {
                Ok(found) if found.is_file() => {}
                Ok(_) => self.trouble(log, "it is no file", "name a file that is written to", looking),
                Err(error) if is_wanted => {
                    self.trouble(log, error, "it is read as soon as it can be", looking);
                }
                Err(_) => {}
            }
        }
    }

    /// What is known of a log before its first line; `None` for a log that nobody wants.
    fn fresh(&self, log: &Path) -> Option<State> {
        let is_it = |wanted: &&Wanted| {
            wanted.path == log
                || is_pattern(&wanted.path)
                    && glob::Pattern::new(&wanted.path.to_string_lossy())
                        .is_ok_and(|glob| glob.matches_path(log))
        };
        self.wanted.iter().find(is_it).map(|wanted| wanted.state.clone())
    }

    /// Reads on what is open.
    fn read_on(&mut self, place: usize, looking: &mut Looking<'_>) {
        if !looking.goes_on {
            return;
        }
        let place = &mut self.places[place];
        match place.read_on(&mut self.room, looking.take) {
            Ok(Went::ToTheEnd) => {}
            Ok(Went::Stopped) => looking.goes_on = false,
            Ok(Went::Astray) => {
                place.file = None;
                place.whereabouts = Whereabouts::Lost(Instant::now());
            }
            Err(error) => {
                place.file = None;
                let log = place.log.clone();
                self.trouble(&log, error, "look at the disk", looking);
            }
        }
    }

    /// A file whose id is remembered: held open again, and read on where it holds what was read of it.
    fn find_again(&mut self, found: &Found, looking: &mut Looking<'_>) {
        let is_it = |place: &Place| place.id == found.id && place.whereabouts == Whereabouts::Here;
        let Some(number) = self.places.iter().position(is_it) else { return };
        let place = &mut self.places[number];
        let is_unchanged = place.stand == Some(found.stand);
        // A log is held open, so that what is written to it is read also when it is removed.
        place.is_current = found.is_current;
        if place.file.is_some() || is_unchanged && (place.is_packed || !found.is_named) {
            self.troubles.remove(&found.path);
            return;
        }
        let opened = open(found).and_then(|file| {
            let Some(file) = file else { return Ok(None) };
            if place.is_packed {
                return Ok(place.mark.is_in_packed(&mut unpacked(&file)?)?.map(|_| file));
            }
            Ok(place.mark.is_in(&file)?.then_some(file))
        });
        match opened {
            Ok(Some(file)) if place.is_packed => self.read_packed(number, &file, found.stand, looking),
            Ok(Some(file)) => {
                place.file = Some(file);
                place.quiet = Instant::now();
                self.troubles.remove(&found.path);
                self.read_on(number, looking);
            }
            Ok(None) => place.whereabouts = Whereabouts::Lost(Instant::now()),
            Err(error) => self.trouble(&found.path, error, REMEDY, looking),
        }
    }

    /// A file that is not remembered by its id.
    fn meet(&mut self, found: &Found, looking: &mut Looking<'_>) {
        let floor = self.floors.get(&found.log).copied().unwrap_or(i64::MIN);
        let is_old = !found.is_named && found.stand.written <= floor;
        let is_sought = self.places.iter().any(|place| place.whereabouts != Whereabouts::Here);
        if is_old && !is_sought {
            self.settled.insert(found.id, found.stand);
            return;
        }
        let head = open(found).and_then(|file| file.map(|file| Ok((head(&file)?, file))).transpose());
        let ((head, is_packed), file) = match head {
            Ok(Some(opened)) => opened,
            Ok(None) => return,
            // Rotation may be packing it; a log that cannot be read is told.
            Err(error) => {
                if found.is_named || error.kind() == io::ErrorKind::PermissionDenied {
                    self.trouble(&found.path, error, REMEDY, looking);
                }
                return;
            }
        };
        self.troubles.remove(&found.path);
        match self.whose(found, &file, &head, is_packed) {
            Ok(Whose::Unknown) => {}
            Ok(Whose::Continued(number)) => {
                let place = &mut self.places[number];
                (place.id, place.log) = (found.id, found.log.clone());
                (place.is_packed, place.is_current, place.stand) = (is_packed, found.is_current, None);
                place.whereabouts = Whereabouts::Here;
                return self.begin(number, file, found.stand, looking);
            }
            // What cannot be unpacked is being packed: it stands otherwise when it is whole.
            Ok(Whose::Copy) | Err(_) => {
                self.settled.insert(found.id, found.stand);
                return;
            }
        }
        if is_old {
            self.settled.insert(found.id, found.stand);
            return;
        }
        let Some(state) = self.fresh(&found.log) else { return };
        let mut place = Place::new(found.id, &found.log, state);
        (place.is_packed, place.is_current) = (is_packed, found.is_current);
        self.places.push(place);
        self.begin(self.places.len() - 1, file, found.stand, looking);
    }

    fn begin(&mut self, number: usize, file: File, stand: Stand, looking: &mut Looking<'_>) {
        if self.places[number].is_packed {
            return self.read_packed(number, &file, stand, looking);
        }
        self.places[number].file = Some(file);
        self.read_on(number, looking);
    }

    fn read_packed(&mut self, number: usize, file: &File, stand: Stand, looking: &mut Looking<'_>) {
        let place = &mut self.places[number];
        let mut read = || {
            let mut packed = unpacked(file)?;
            let known = place.mark.is_in_packed(&mut packed)?.unwrap_or_default();
            place.read_packed(&mut packed, known, looking.take)
        };
        match read() {
            Ok(Went::Stopped) => looking.goes_on = false,
            Ok(Went::ToTheEnd | Went::Astray) => place.stand = Some(stand),
            // What was there is taken; more may come, if it is being written.
            Err(error) => {
                place.stand = Some(stand);
                let log = place.log.clone();
                let reason = format!("{error}; what came before is read");
                self.trouble(&log, reason, "look whether the file is whole", looking);
            }
        }
    }

    /// Which place a file goes on with, if any. An error is that of a packed file that is not whole, and begins like one.
    fn whose(&self, found: &Found, file: &File, head: &[u8], is_packed: bool) -> io::Result<Whose> {
        let alike = || {
            let places = self.places.iter().enumerate();
            places.filter(|(_, place)| place.mark.offset > 0 && place.mark.may_begin(head))
        };
        let holds = |place: &Place| {
            if is_packed {
                return Ok(place.mark.is_in_packed(&mut unpacked(file)?)?.is_some());
            }
            place.mark.is_in(file)
        };
        for (number, place) in alike().filter(|(_, place)| place.whereabouts != Whereabouts::Here) {
            if holds(place)? {
                return Ok(Whose::Continued(number));
            }
        }
        for (_, place) in alike().filter(|(_, place)| place.whereabouts == Whereabouts::Here) {
            if (is_packed || place.lines >= COPY_LINES_MIN || place.is_removed()) && holds(place)? {
                return Ok(Whose::Copy);
            }
        }
        let is_short = !is_packed && head.len() == MARK_BYTES;
        for place in self.places.iter().filter(|place| is_short && found.stand.size < place.mark.offset) {
            if place.begins_with(file, head, found.stand.size)? {
                return Ok(Whose::Copy);
            }
        }
        Ok(Whose::Unknown)
    }

    fn tell_lost(&mut self, looking: &mut Looking<'_>) {
        for place in &mut self.places {
            if let Whereabouts::Lost(since) = place.whereabouts
                && since.elapsed() >= LOST_AFTER
            {
                place.whereabouts = Whereabouts::Gone(since);
                let reason = format!(
                    "it was emptied, replaced or removed after its byte {}, and no file holds what it had then",
                    place.mark.offset
                );
                let problem = Problem::new("follow log", place.log.display().to_string(), reason);
                looking
                    .problems
                    .push(problem.remedy(
                        "what was written between that and its end, if anything was, is not counted",
                    ));
            }
        }
    }

    /// Forgets the oldest of those that are gone; what is not remembered is older than our following.
    fn forget(&mut self) {
        let is_gone = |place: &Place| matches!(place.whereabouts, Whereabouts::Gone(_));
        // Nothing was taken of it, so there is nothing to know again.
        self.places.retain(|place| place.whereabouts == Whereabouts::Here || place.mark.offset > 0);
        while self.places.iter().filter(|place| is_gone(place)).count() > GONE_MAX {
            let gone = self.places.iter().enumerate().filter(|(_, place)| is_gone(place));
            let Some((oldest, _)) = gone.min_by_key(|(_, place)| place.written()) else { break };
            let place = self.places.remove(oldest);
            let floor = self.floors.entry(place.log.clone()).or_insert(i64::MIN);
            *floor = place.written().max(*floor);
        }
    }

    fn trouble(
        &mut self,
        log: &Path,
        reason: impl std::fmt::Display,
        remedy: &str,
        looking: &mut Looking<'_>,
    ) {
        let problem = Problem::new("follow log", log.display().to_string(), reason).remedy(remedy);
        if self.troubles.get(log) != Some(&problem) {
            self.troubles.insert(log.to_owned(), problem.clone());
            looking.problems.push(problem);
        }
    }
}

const REMEDY: &str = "let whoever follows it read it";

/// One look at everything.
struct Looking<'t> {
    take: Take<'t>,
    goes_on: bool,
    problems: Vec<Problem>,
}

/// What a file is to what was read.
enum Whose {
    /// Nothing that was read.
    Unknown,
    /// It holds what was read, and that is elsewhere too.
    Copy,
    /// What was read, which is nowhere else.
    Continued(usize),
}

/// Opens a file, if it is still the one that was found.
fn open(found: &Found) -> io::Result<Option<File>> {
    // What has become a pipe since it was found must not keep us waiting for a writer.
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = OpenOptions::new().read(true).custom_flags(flags).open(&found.path)?;
    Ok((id(&file.metadata()?) == found.id).then_some(file))
}

fn is_pattern(path: &Path) -> bool {
    path.to_string_lossy().contains(['*', '?', '['])
}

fn absolute(wanted: Wanted) -> Wanted {
    let path = std::path::absolute(&wanted.path).unwrap_or(wanted.path);
    Wanted { path, state: wanted.state }
}
