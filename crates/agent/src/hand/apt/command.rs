//! apt's and dpkg's command lines, each with the reason for its options. Seen with apt 2.6 and dpkg 1.21.

use crate::hand::staged::Staged;
use crate::program::{LOG_FD, Program};
use std::time::Duration;

/// One archive that hangs must not keep the others from being read.
const UPDATE_WITHIN: Duration = Duration::from_secs(300);
/// 2 GiB at 1 MiB/s.
const DOWNLOAD_WITHIN: Duration = Duration::from_secs(2_048);
const LOOK_WITHIN: Duration = Duration::from_secs(180);

/// By default a dead archive costs 37 s, and one that hangs more than 150 s.
const NETWORK: [&str; 4] = ["-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=10"];
/// Everything about questions: none is asked, and the host's own configuration files stay.
const QUIET: [(&str, &str); 6] = [
    ("DEBIAN_FRONTEND", "noninteractive"),
    ("DEBIAN_PRIORITY", "critical"),
    ("APT_LISTCHANGES_FRONTEND", "none"),
    // Restarts come later, together.
    ("NEEDRESTART_SUSPEND", "1"),
    ("UCF_FORCE_CONFFOLD", "1"),
    ("TERM", "dumb"),
];
/// Without the first dpkg asks about edited configuration files whatever the frontend is, and fails without an answer.
const CONFFILES: [&str; 2] = ["--force-confdef", "--force-confold"];

/// Which way a transaction goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// To the new versions.
    Forward,
    /// To the old ones: downgrades are meant, and a hold that was set since gives way (and is set again).
    Back,
    /// To a version that is written in the database already, with files that may be another's.
    Again,
}

/// Reads the archives' indexes. Without `Error-Mode` apt says 0 for an archive that could not be read.
pub(super) fn update() -> Program {
    apt_get().args(["update", "-o", "APT::Update::Error-Mode=any"]).args(NETWORK).deadline(UPDATE_WITHIN)
}

/// Downloads these, `name:arch=version`, into the program's directory.
pub(super) fn download(names: &[String]) -> Program {
    apt_get().args(["download"]).args(NETWORK).arg("--").args(names.iter().cloned()).deadline(DOWNLOAD_WITHIN)
}

/// What installing these files would do. Nothing is fetched for it; told not to, apt would only say that something is missing, and
/// not what.
pub(super) fn simulate(staged: &Staged, way: Way) -> Program {
    installing(quiet(Program::new("apt-get")).arg("-s"), staged, way).deadline(LOOK_WITHIN)
}

/// How far it is, it tells on a descriptor of its own: whichever it is told apt closes for dpkg, and scripts of packages that
/// write to a standard output that is closed fail.
fn carrying_out(program: Program) -> Program {
    program.arg("-y").arg("-o").arg(format!("APT::Status-Fd={LOG_FD}")).args([
        "-o",
        "Dpkg::Use-Pty=0",
        "-o",
        "DPkg::Lock::Timeout=120",
    ])
}

/// Installs these files. It tells how far it is among what it says.
pub(super) fn install(staged: &Staged, way: Way) -> Program {
    let conffiles =
        CONFFILES.iter().flat_map(|option| ["-o".to_owned(), format!("Dpkg::Options::={option}")]);
    // What is to be installed lies there, verified.
    let program = carrying_out(quiet(Program::new("apt-get"))).arg("--no-download");
    installing(program.args(conffiles), staged, way)
}

/// What removing these packages would do: what nobody needs any more besides is left alone.
pub(super) fn simulate_removal(names: &[String]) -> Program {
    removing(quiet(Program::new("apt-get")).arg("-s"), names).deadline(LOOK_WITHIN)
}

/// Removes these packages; their configuration files stay, as for everybody who removes one.
pub(super) fn remove(names: &[String]) -> Program {
    removing(carrying_out(quiet(Program::new("apt-get"))), names)
}

fn removing(program: Program, names: &[String]) -> Program {
    let alone = ["-q", "remove", "-o", "APT::Get::AutomaticRemove=false", "--"];
    program.args(alone).args(names.iter().cloned())
}

/// Ends what was interrupted before its configuration. Half-installed packages it passes over, with exit code 0.
pub(super) fn configure() -> Program {
    quiet(Program::new("dpkg")).args(CONFFILES).args(["--configure", "-a"])
}

/// Packages that are marked as installed automatically, of these; or marks them.
pub(super) fn marks(what: &str, names: &[String]) -> Program {
    Program::new("apt-mark").arg(what).arg("--").args(names.iter().cloned())
}

fn installing(program: Program, staged: &Staged, way: Way) -> Program {
    let more: &[&str] = match way {
        Way::Forward => &[],
        Way::Back => &["--allow-downgrades", "--allow-change-held-packages", "--reinstall"],
        Way::Again => &["--allow-downgrades", "--reinstall"],
    };
    program
        .arg("-o")
        .arg(format!("Dir::Cache::archives={}/", staged.directory().display()))
        .args(["-q", "install", "--no-remove", "--no-install-recommends"])
        .args(more.iter().copied())
        .arg("--")
        .args(staged.files())
}

fn apt_get() -> Program {
    quiet(Program::new("apt-get")).args(["-q", "-q"])
}

fn quiet(program: Program) -> Program {
    QUIET.into_iter().fold(program, |program, (name, value)| program.env(name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_those_that_were_seen_to_work() {
        let packages = tempfile::tempdir().unwrap();
        let mut staged = Staged::new(packages.path()).unwrap();
        std::fs::write(packages.path().join("kept"), "").unwrap();
        staged.link(&packages.path().join("kept"), "a_1_all.deb").unwrap();
        let line = |program: Program| program.line().replace(&staged.directory().display().to_string(), "/p");
        assert_eq!(
            line(update()),
            "apt-get -q -q update -o APT::Update::Error-Mode=any -o Acquire::Retries=1 -o Acquire::http::Timeout=10"
        );
        assert_eq!(
            line(install(&staged, Way::Forward)),
            "apt-get -y -o APT::Status-Fd={log} -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=120 --no-download \
             -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold -o Dir::Cache::archives=/p/ \
             -q install --no-remove --no-install-recommends -- /p/a_1_all.deb"
        );
        assert_eq!(
            line(simulate(&staged, Way::Back)),
            "apt-get -s -o Dir::Cache::archives=/p/ -q install --no-remove --no-install-recommends \
             --allow-downgrades --allow-change-held-packages --reinstall -- /p/a_1_all.deb"
        );
        assert_eq!(
            line(simulate_removal(&["a:amd64".to_owned()])),
            "apt-get -s -q remove -o APT::Get::AutomaticRemove=false -- a:amd64"
        );
        assert_eq!(line(configure()), "dpkg --force-confdef --force-confold --configure -a");
    }
}
