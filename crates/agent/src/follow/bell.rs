//! Rings when something is written in the directories of logs, so that an idle host is not looked at again and again. Nothing
//! depends on it: whoever waits looks after some time all the same.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Between two looks at least: a busy log rings all the time.
const BETWEEN: Duration = Duration::from_millis(250);

/// Waits for writers.
#[derive(Debug)]
pub struct Bell(Option<OwnedFd>);

impl Bell {
    /// For these directories. Where the system cannot watch, time alone rings.
    pub fn new(directories: &BTreeSet<PathBuf>) -> Self {
        let Ok(watch) = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK) else { return Self(None) };
        let flags = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::DELETE;
        let mut watched = 0;
        for directory in directories {
            watched += usize::from(add_watch(&watch, directory, flags).is_ok());
        }
        Self((watched > 0 && watched == directories.len()).then_some(watch))
    }

    /// Waits until something was written, at most so long; or so short that a person does not wait, where nothing rings. Says
    /// whether it is worth while to look.
    pub fn wait(&self, most: Duration, without: Duration) -> bool {
        let Some(watch) = &self.0 else {
            std::thread::sleep(without);
            return true;
        };
        let began = Instant::now();
        let seconds = i64::try_from(most.as_secs()).unwrap_or(i64::MAX);
        let until = Timespec { tv_sec: seconds, tv_nsec: most.subsec_nanos().into() };
        // A signal ends the wait: whoever waits looks whether to stop.
        let rang = poll(&mut [PollFd::new(watch, PollFlags::IN)], Some(&until));
        let rang = rang.is_ok_and(|rang| rang > 0);
        if rang {
            std::thread::sleep(BETWEEN.saturating_sub(began.elapsed()));
            let mut room = [0; 4096];
            while rustix::io::read(watch, &mut room).is_ok_and(|read| read > 0) {}
        }
        rang
    }
}
