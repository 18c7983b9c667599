//! When to look at the host. Files that change with what is installed are looked at before every check-in: a few dozen
//! calls of the system. A look itself costs seconds of a processor (apt's simulation), so it waits for a reason, or for
//! six hours.

use crate::pace::Pace;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// What changes when packages, archives, settings of the package manager, or kernels do; relative to the root.
/// `-wal` files of rpm's database are not among them: looking itself may write those.
const TRIGGERS: [&str; 42] = [
    "etc/os-release",
    "usr/lib/os-release",
    "boot",
    "usr/lib/modules",
    "lib/modules",
    "var/lib/dpkg/status",
    "var/lib/dpkg/arch",
    "var/lib/apt/lists",
    "var/lib/apt/extended_states",
    "etc/apt",
    "etc/apt/sources.list",
    "etc/apt/sources.list.d",
    "etc/apt/preferences",
    "etc/apt/preferences.d",
    "etc/apt/apt.conf.d",
    "etc/apt/trusted.gpg.d",
    "etc/apt/keyrings",
    "usr/share/keyrings",
    "var/lib/rpm/rpmdb.sqlite",
    "var/lib/rpm/Packages",
    "var/lib/rpm/Packages.db",
    "usr/lib/sysimage/rpm/rpmdb.sqlite",
    "usr/lib/sysimage/rpm/Packages.db",
    "etc/yum.repos.d",
    "etc/dnf/dnf.conf",
    "etc/dnf/vars",
    "etc/dnf/modules.d",
    "etc/dnf/plugins/versionlock.list",
    "etc/zypp/repos.d",
    "var/cache/dnf",
    "var/cache/libdnf5",
    "var/cache/zypp",
    "lib/apk/db/installed",
    "usr/lib/apk/db/installed",
    "var/cache/apk",
    "etc/apk/repositories",
    "etc/apk/repositories.d",
    "etc/apk/world",
    "var/lib/pacman/local",
    "var/lib/pacman/sync",
    "etc/pacman.conf",
    "etc/pacman.d",
];

/// How those files stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Triggers {
    /// Inode, size, time of change (which cannot be set back); `None` for what is not there.
    files: Vec<Option<[i64; 4]>>,
    /// The booted kernel.
    booted: Option<String>,
}

impl Triggers {
    pub(crate) fn read(root: &Path) -> Self {
        let stand = |path: &&str| {
            let found = std::fs::metadata(root.join(path)).ok()?;
            Some([found.ino().cast_signed(), found.size().cast_signed(), found.ctime(), found.ctime_nsec()])
        };
        let booted = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok();
        Self { files: TRIGGERS.iter().map(stand).collect(), booted }
    }
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Look at everything.
    Whole,
    /// Look at the processes.
    Processes,
    /// Something is changing: ask again in so long.
    Settling(Duration),
    /// Nothing changed.
    Rest,
}

/// What is known of earlier looks.
#[derive(Debug)]
pub(crate) struct Watch {
    pace: Pace,
    /// When everything was looked at, and how the triggers stood before.
    looked: Option<(Instant, Triggers)>,
    processes_at: Option<Instant>,
    changing: Option<Changing>,
}

/// Triggers that changed since the last look.
#[derive(Debug)]
struct Changing {
    since: Instant,
    now: Triggers,
    quiet_since: Instant,
}

impl Watch {
    pub(crate) fn new(pace: &Pace) -> Self {
        Self { pace: *pace, looked: None, processes_at: None, changing: None }
    }

    /// What to do at `now`, when the triggers stand like this.
    pub(crate) fn step(&mut self, now: Instant, triggers: Triggers) -> Step {
        let Some((looked_at, before)) = &self.looked else { return Step::Whole };
        if *before != triggers {
            let (since, quiet_since) = match &self.changing {
                Some(changing) if changing.now == triggers => (changing.since, changing.quiet_since),
                Some(changing) => (changing.since, now),
                None => (now, now),
            };
            self.changing = Some(Changing { since, now: triggers, quiet_since });
            let is_quiet = now - quiet_since >= self.pace.settling;
            if is_quiet || now - since >= self.pace.settling_max {
                return Step::Whole;
            }
            return Step::Settling(self.pace.settling);
        }
        self.changing = None;
        if now - *looked_at >= self.pace.full {
            return Step::Whole;
        }
        match self.processes_at {
            Some(at) if now - at < self.pace.processes => Step::Rest,
            Some(_) | None => Step::Processes,
        }
    }

    /// Everything was looked at; the triggers were read before.
    pub(crate) fn looked_at_everything(&mut self, now: Instant, triggers: Triggers) {
        self.looked = Some((now, triggers));
        self.processes_at = Some(now);
        self.changing = None;
    }

    /// The processes were looked at.
    pub(crate) fn looked_at_processes(&mut self, now: Instant) {
        self.processes_at = Some(now);
    }

    /// Everything is to be looked at, whatever the triggers say.
    pub(crate) fn forget(&mut self) {
        self.looked = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stand(number: i64) -> Triggers {
        Triggers { files: vec![Some([number; 4])], booted: None }
    }

    #[test]
    fn a_host_is_looked_at_when_it_has_become_quiet_or_after_hours() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut watch = Watch::new(&Pace::default());
        assert_eq!(watch.step(at(0), stand(1)), Step::Whole);
        watch.looked_at_everything(at(2), stand(1));
        assert_eq!(watch.step(at(60), stand(1)), Step::Rest);
        assert_eq!(watch.step(at(310), stand(1)), Step::Processes);
        watch.looked_at_processes(at(310));
        // An upgrade: every step changes something; the look waits for its end.
        let settling = Step::Settling(Duration::from_secs(5));
        assert_eq!(watch.step(at(400), stand(2)), settling);
        assert_eq!(watch.step(at(405), stand(3)), settling);
        assert_eq!(watch.step(at(409), stand(3)), settling);
        assert_eq!(watch.step(at(410), stand(3)), Step::Whole);
        watch.looked_at_everything(at(412), stand(3));
        // One that never ends is looked at all the same.
        for second in 0..120 {
            assert_eq!(watch.step(at(1000 + second), stand(10 + second.cast_signed())), settling);
        }
        assert_eq!(watch.step(at(1120), stand(1120)), Step::Whole);
        watch.looked_at_everything(at(1122), stand(1120));
        watch.looked_at_processes(at(22_700));
        assert_eq!(watch.step(at(22_721), stand(1120)), Step::Rest);
        assert_eq!(watch.step(at(22_722), stand(1120)), Step::Whole);
        watch.looked_at_everything(at(22_723), stand(1120));
        watch.forget();
        assert_eq!(watch.step(at(22_724), stand(1120)), Step::Whole);
    }
}
