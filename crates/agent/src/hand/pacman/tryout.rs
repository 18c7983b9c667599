//! What pacman tells only when it installs: packages that are in conflict, and files that stand in the way. So it is had to install,
//! by a copy of its database, to an empty directory that has what the host has of the packages' paths and nothing else; and a hook of
//! ours ends it when it has looked, before it unpacks anything. Seen with pacman 6.0.

use crate::hand::fit::{self, Fit};
use crate::hand::staged::Staged;
use crate::hand::task::Task;
use crate::observe::pacman::LOCAL;
use crate::program::Program;
use advisory::Problem;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// It reads every package to its end: 2 GiB at 10 MiB/s.
const WITHIN: Duration = Duration::from_secs(205);
/// Paths of all packages of a plan that are looked at; the largest package of Arch's has 100,000.
const PATHS_MAX: usize = 1_000_000;
/// Lines that are told.
const NAMED_MAX: usize = 4;
/// Ends pacman when it has looked at everything. Its name comes before those of the host's own; nothing can be run in an empty
/// directory, so that none of them could do anything, nor a package's script.
const HOOK: &str = "[Trigger]\nOperation = Install\nOperation = Upgrade\nType = Package\nTarget = *\n\
                    [Action]\nDescription = Ends here\nWhen = PreTransaction\nExec = /ends-here\nAbortOnFail\n";
const HOOK_NAME: &str = "!ends-here.hook";
/// What pacman says of that.
const LOOKED: &str = "(failed to run transaction hooks)";
/// What it says where it would not.
const REFUSED: [&str; 2] = ["(conflicting dependencies)", "(conflicting files)"];
/// Settings that are for the host's own root, and where nobody is to read of what was not done.
const OTHERS: [&str; 7] = ["RootDir", "DBPath", "CacheDir", "LogFile", "HookDir", "CheckSpace", "UseSyslog"];

/// Whether anything that pacman tells only when it installs stands in the way of these files. `config`: its settings. Errors where it
/// does not answer.
pub(super) fn in_the_way(task: &Task<'_>, staged: &Staged, config: &Path) -> Result<Fit, Problem> {
    let unasked = |problem: &dyn std::fmt::Display| fit::unasked(task.order, problem.to_string());
    let listed =
        Program::new("pacman").arg("--config").arg(config).args(["-Qlqp", "--"]).args(staged.files());
    let listed = listed.deadline(WITHIN).run_ok().map_err(|problem| unasked(&problem))?;
    let paths: BTreeSet<&[u8]> =
        listed.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    if paths.len() > PATHS_MAX {
        return Err(unasked(&format!("its packages have more than {PATHS_MAX} files")));
    }
    let at = |name: &str| staged.directory().join("tryout").join(name);
    let laid =
        lay_out(Path::new(LOCAL), config, &at).and_then(|()| mirror(Path::new("/"), &at("root"), &paths));
    laid.map_err(|problem| unasked(&format!("no place to try it: {problem}")))?;
    let tried = Program::new("pacman")
        .args(["-U", "--noconfirm", "--noprogressbar", "--config"])
        .arg(at("pacman.conf"))
        .arg("--root")
        .arg(at("root"))
        .arg("--dbpath")
        .arg(at("db"))
        .arg("--cachedir")
        .arg(at("cache"))
        .arg("--logfile")
        .arg(at("log"))
        .arg("--hookdir")
        .arg(at("hooks"))
        .args(staged.files())
        .deadline(WITHIN)
        .run()
        .map_err(|problem| unasked(&problem))?;
    let said = format!("{}\n{}", String::from_utf8_lossy(&tried.stdout), tried.stderr);
    // Its words have the paths that it was given.
    let said = said.replace(&*at("root").to_string_lossy(), "");
    read(&said).ok_or_else(|| unasked(&format!("pacman was had to try it: {}", tried.told())))
}

/// What pacman said: `None` where it did not come to an answer.
fn read(said: &str) -> Option<Fit> {
    if REFUSED.iter().any(|mark| said.contains(mark)) {
        let named: Vec<&str> =
            said.lines().map(str::trim).filter(|line| is_named(line)).take(NAMED_MAX).collect();
        return Some(Fit::Unfit(format!("pacman would not: {}", named.join("; "))));
    }
    said.contains(LOOKED).then_some(Fit::Fits)
}

/// `:: bed-lamp and bed-fence are in conflict`, `bed-lamp: /usr/lib/x exists in filesystem`, `... exists in both 'a' and 'b'`.
fn is_named(line: &str) -> bool {
    line.contains(" are in conflict") || line.contains(" exists in ")
}

/// A copy of the database, a hook, settings; empty directories. Of packages' descriptions and lists of files there are links.
fn lay_out(local: &Path, config: &Path, at: &dyn Fn(&str) -> PathBuf) -> io::Result<()> {
    for directory in ["root", "db/local", "db/sync", "cache", "hooks"] {
        std::fs::create_dir_all(at(directory))?;
    }
    std::fs::write(at("hooks").join(HOOK_NAME), HOOK)?;
    std::fs::write(at("pacman.conf"), for_another_root(&std::fs::read(config)?))?;
    for entry in std::fs::read_dir(local)? {
        let entry = entry?;
        let copy = at("db/local").join(entry.file_name());
        if entry.file_type()?.is_dir() {
            std::fs::create_dir(&copy)?;
            for name in ["desc", "files"] {
                symlink(entry.path().join(name), copy.join(name))?;
            }
        } else {
            std::fs::copy(entry.path(), copy)?;
        }
    }
    Ok(())
}

fn for_another_root(settings: &[u8]) -> Vec<u8> {
    let is_kept = |line: &&[u8]| {
        let name = line.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii();
        !OTHERS.iter().any(|other| other.as_bytes() == name)
    };
    let lines: Vec<&[u8]> = settings.split(|byte| *byte == b'\n').filter(is_kept).collect();
    lines.join(&b'\n')
}

/// Has in `to` what there is in `from` of these paths: directories, links to directories, and files, all empty.
///
/// Nothing is written through a link: each path is made below the real path of the directory that it lies in.
fn mirror(from: &Path, to: &Path, paths: &BTreeSet<&[u8]>) -> io::Result<()> {
    // Real paths of directories, without the first slash; `None`: there is none.
    let mut known: BTreeMap<OsString, Option<PathBuf>> = BTreeMap::new();
    for path in paths {
        let path = OsStr::from_bytes(path.trim_ascii_end());
        let path = Path::new(path).strip_prefix("/").unwrap_or(Path::new(path));
        let (Some(name), Some(parent)) = (path.file_name(), path.parent()) else { continue };
        let key = OsString::from_vec(parent.as_os_str().as_bytes().to_vec());
        let parent = known.entry(key).or_insert_with(|| real(from, parent));
        let Some(parent) = parent else { continue };
        let there = from.join(&*parent).join(name);
        let kind = match std::fs::symlink_metadata(&there) {
            Ok(found) => found.file_type(),
            Err(problem) if matches!(problem.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                continue;
            }
            Err(problem) => return Err(problem),
        };
        let here = to.join(&*parent);
        std::fs::create_dir_all(&here)?;
        let here = here.join(name);
        let made = if kind.is_dir() {
            std::fs::create_dir_all(&here)
        } else if kind.is_symlink() && there.is_dir() {
            let leads = real(from, &parent.join(name)).unwrap_or_default();
            std::fs::create_dir_all(to.join(&leads)).and_then(|()| symlink(to.join(&leads), &here))
        } else {
            std::fs::File::create_new(&here).map(|_| ())
        };
        match made {
            // By another path, in another package.
            Err(problem) if problem.kind() == ErrorKind::AlreadyExists => {}
            made => made?,
        }
    }
    Ok(())
}

/// The real path of a directory below `root`, relative to it; `None` where there is none, or it leads elsewhere.
fn real(root: &Path, path: &Path) -> Option<PathBuf> {
    let (root, real) = (root.canonicalize().ok()?, root.join(path).canonicalize().ok()?);
    real.is_dir().then(|| real.strip_prefix(root).ok().map(Path::to_owned))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_pacman_says_is_a_conflict_a_file_in_the_way_or_that_it_has_looked() {
        let conflict = "resolving dependencies...\nlooking for conflicting packages...\n:: bed-lamp and bed-fence are in conflict\n\
                        error: unresolvable package conflicts detected\nerror: failed to prepare transaction (conflicting dependencies)\n";
        let told = |said: &str| match read(said) {
            Some(Fit::Unfit(why)) => why,
            other => format!("{other:?}"),
        };
        assert_eq!(told(conflict), "pacman would not: :: bed-lamp and bed-fence are in conflict");
        let file = "error: failed to commit transaction (conflicting files)\nbed-lamp: /usr/lib/x exists in filesystem (owned by bed-fence)\n\
                    Errors occurred, no packages were upgraded.\n";
        assert_eq!(
            told(file),
            "pacman would not: bed-lamp: /usr/lib/x exists in filesystem (owned by bed-fence)"
        );
        assert_eq!(
            told("error: failed to commit transaction (failed to run transaction hooks)\n"),
            "Some(Fits)"
        );
        assert_eq!(told("error: failed to prepare transaction (invalid or corrupted package)\n"), "None");
    }

    #[test]
    fn what_there_is_of_a_package_s_paths_is_mirrored_and_nothing_is_written_through_a_link() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        fs::create_dir_all(from.join("usr/lib/lamp")).unwrap();
        fs::create_dir_all(from.join("srv/elsewhere")).unwrap();
        fs::create_dir(&to).unwrap();
        fs::write(from.join("usr/lib/lamp/version"), "of the host").unwrap();
        fs::write(from.join("srv/elsewhere/oil"), "of the host").unwrap();
        symlink("usr/lib", from.join("lib")).unwrap();
        symlink(from.join("srv/elsewhere"), from.join("usr/lib/oil")).unwrap();
        symlink("nowhere", from.join("usr/lib/dangling")).unwrap();
        let outside = directory.path().join("outside");
        fs::create_dir(&outside).unwrap();
        symlink(&outside, from.join("out")).unwrap();
        let paths = [
            "/lib/",
            "/lib/lamp/",
            "/lib/lamp/version",
            "/lib/lamp/new",
            "/usr/lib/oil/",
            "/usr/lib/oil/oil",
            "/usr/lib/dangling",
            "/out/",
            "/out/x",
            "/usr/lib/lamp/version",
            "/gone/",
            "/gone/x",
        ];
        mirror(&from, &to, &paths.iter().map(|path| path.as_bytes()).collect()).unwrap();
        let is_empty = |path: &str| fs::read(to.join(path)).is_ok_and(|text| text.is_empty());
        assert!(
            is_empty("usr/lib/lamp/version") && is_empty("lib/lamp/version") && is_empty("usr/lib/oil/oil")
        );
        assert!(
            is_empty("usr/lib/dangling")
                && !to.join("usr/lib/lamp/new").exists()
                && !to.join("gone").exists()
        );
        assert_eq!(fs::read_to_string(from.join("usr/lib/lamp/version")).unwrap(), "of the host");
        assert_eq!(fs::read_to_string(from.join("srv/elsewhere/oil")).unwrap(), "of the host");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
        let settings = b"[options]\nCheckSpace\n UseSyslog \nHookDir = /x\n NoUpgrade = etc/y\n";
        assert_eq!(for_another_root(settings), b"[options]\n NoUpgrade = etc/y\n");
    }
}
