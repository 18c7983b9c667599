//! Looks at made-up roots, and at the machine the test runs on.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use agent::apt::Network;
use agent::observe::{Observation, observe};
use agent::rehearse;
use exposure::inventory::{Gap, Inventory, Manager, PackageState, Part};
use jiff::Timestamp;
use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command};
use tempfile::TempDir;
use uuid::Uuid;
use wire::v1::Rehearse;

fn look(root: &Path) -> Observation {
    observe(root, Some("host"), Timestamp::now(), &mut |_| ())
}

/// A root directory with these files in it.
fn root(files: &[(&str, &str)]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

fn names(inventory: &Inventory) -> Vec<&str> {
    inventory.packages.iter().map(|package| package.name.as_str()).collect()
}

fn gap<'a>(inventory: &'a Inventory, part: Part, words: &str) -> &'a Gap {
    let gap = inventory.gaps_in(part).find(|gap| gap.reason.contains(words));
    gap.unwrap_or_else(|| panic!("no gap \"{words}\" in {:#?}", inventory.gaps))
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

const DEBIAN: (&str, &str) = ("etc/os-release", "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n");
const GOOD: &str = "Package: good\nStatus: hold ok installed\nArchitecture: amd64\nVersion: 1-2\n\n";

#[test]
fn a_half_written_status_keeps_the_good_entries_and_names_the_lost() {
    let cut = format!("{GOOD}Package: cut\nStatus: install ok inst");
    let root = root(&[
        DEBIAN,
        ("var/lib/dpkg/status", &cut),
        ("var/lib/dpkg/info/good.list", "/usr/bin/good\n"),
        ("var/lib/dpkg/info/cut.list", "/usr/bin/cut\n"),
        ("var/lib/dpkg/info/beyond:amd64.list", "/usr/bin/beyond\n"),
    ]);
    let inventory = look(root.path()).inventory;
    assert_eq!((names(&inventory), inventory.packages[0].held), (vec!["good"], true));
    gap(&inventory, Part::Packages, "cut (the file is cut off in its entry)");
    gap(&inventory, Part::Packages, "2 packages have files but no entry: beyond, cut");
    assert_eq!((inventory.system.manager, inventory.system.arch.as_str()), (Manager::Dpkg, "amd64"));
    assert_eq!(inventory.kernel.booted, None);
}

#[test]
fn an_interrupted_dpkg_is_told_and_its_last_changes_count() {
    let update = GOOD.replace("hold ok installed", "install reinstreq half-installed");
    let root = root(&[DEBIAN, ("var/lib/dpkg/status", GOOD), ("var/lib/dpkg/updates/0001", &update)]);
    let inventory = look(root.path()).inventory;
    assert_eq!(inventory.packages[0].state, PackageState::HalfInstalled);
    assert!(gap(&inventory, Part::Packages, "dpkg was interrupted").remedy.contains("--configure"));
}

#[test]
fn an_empty_or_missing_database_is_a_gap_and_never_a_clean_list() {
    let empty = look(root(&[DEBIAN, ("var/lib/dpkg/status", "")]).path()).inventory;
    gap(&empty, Part::Packages, "names no installed package");
    let gone = look(root(&[DEBIAN, ("var/lib/dpkg/info/a.list", "/a\n")]).path()).inventory;
    gap(&gone, Part::Packages, "No such file");
    gap(&gone, Part::Packages, "1 packages have files but no entry: a");
    let none = look(root(&[]).path()).inventory;
    gap(&none, Part::Packages, "no package database");
    gap(&none, Part::System, "missing or empty");
    assert_eq!(none.system.manager, Manager::Unknown);
    let nowhere = look(Path::new("/nowhere/at/all")).inventory;
    assert!(
        [Part::System, Part::Packages, Part::Processes].iter().all(|part| nowhere.gaps_in(*part).count() > 0)
    );
}

#[test]
fn an_image_without_dpkg_is_read_from_its_parts() {
    let root = root(&[
        ("usr/lib/os-release", "ID=debian\nVERSION_ID=12\n"),
        ("var/lib/dpkg/status.d/base", "Package: base-files\nVersion: 12.4\nArchitecture: amd64"),
        ("var/lib/dpkg/status.d/base.md5sums", "0123  usr/bin/x\n"),
        ("etc/hostname", "image\n"),
    ]);
    symlink("../usr/lib/os-release", root.path().join("etc/os-release")).unwrap();
    let inventory = observe(root.path(), None, Timestamp::now(), &mut |_| ()).inventory;
    assert_eq!((names(&inventory), inventory.host.as_str()), (vec!["base-files"], "image"));
    assert_eq!(inventory.system.release.to_string(), "Debian 12");
    assert_eq!(inventory.gaps_in(Part::Packages).count(), 0, "{:#?}", inventory.gaps);
}

#[test]
fn links_out_of_a_foreign_root_and_nuls_are_gaps() {
    let outside = root(&[("status", GOOD), ("os-release", "ID=debian\nVERSION_ID=12\n")]);
    let nuls = format!("{GOOD}{}\n\n{}", "\0".repeat(4096), GOOD.replace("good", "later"));
    let inside = root(&[("var/lib/dpkg/status", &nuls), ("etc/x", "")]);
    symlink(outside.path().join("os-release"), inside.path().join("etc/os-release")).unwrap();
    let inventory = look(inside.path()).inventory;
    assert_eq!(names(&inventory), ["good", "later"]);
    gap(&inventory, Part::Packages, "line 6 is no field");
    gap(&inventory, Part::System, "missing or empty");
    let status = inside.path().join("var/lib/dpkg/status");
    fs::remove_file(&status).unwrap();
    symlink(outside.path().join("status"), &status).unwrap();
    fs::create_dir_all(inside.path().join("var/lib/dpkg/info")).unwrap();
    let inventory = look(inside.path()).inventory;
    assert_eq!(names(&inventory), [""; 0]);
    gap(&inventory, Part::Packages, "No such file");
}

#[test]
fn an_alpine_root_gives_packages_and_its_kernel() {
    let installed = "P:linux-lts\nV:6.6.30-r0\nA:x86_64\nF:boot\nR:vmlinuz-lts\nF:lib/modules/6.6.30-0-lts\n\
                     R:modules.builtin\n\nP:libtls\nV:3.1-r0\nA:x86_64\no:tls\n\n";
    let root = root(&[
        ("etc/os-release", "ID=alpine\nVERSION_ID=3.20.3\n"),
        ("lib/apk/db/installed", installed),
        ("lib/modules/6.6.30-0-lts/modules.builtin", ""),
        ("lib/modules/6.1.0-left-behind/extra", ""),
    ]);
    let inventory = look(root.path()).inventory;
    assert_eq!(names(&inventory), ["libtls", "linux-lts"]);
    assert_eq!(inventory.system.release.to_string(), "Alpine 3.20");
    let kernels = &inventory.kernel.installed;
    assert_eq!(kernels.len(), 1, "{kernels:?}");
    assert_eq!(
        (kernels[0].release.as_str(), kernels[0].package.as_deref()),
        ("6.6.30-0-lts", Some("linux-lts"))
    );
}

#[test]
fn a_host_with_apk_and_without_systemd_rehearses_nothing_and_says_why() {
    let root = root(&[
        ("etc/os-release", "ID=alpine\nVERSION_ID=3.23.6\n"),
        ("lib/apk/db/installed", "P:libtls\nV:3.1-r0\nA:x86_64\nf:s\n\nP:zlib\nV:1-r0\nA:x86_64\n\n"),
        ("etc/apk/world", "libtls\nzlib=1-r0\n"),
        ("var/x", ""),
    ]);
    let packages = look(root.path()).inventory.packages;
    let told: Vec<_> =
        packages.iter().map(|package| (package.name.as_str(), package.state, package.held)).collect();
    assert_eq!(told, [("libtls", PackageState::Unpacked, false), ("zlib", PackageState::Installed, true)]);
    let asked = Rehearse { id: Uuid::now_v7(), sources: vec!["libtls".to_owned()] };
    let found = rehearse(&asked, root.path(), root.path(), Network::None);
    assert_eq!(found.changes, []);
    assert!(
        found.blocks.iter().any(|reason| reason.contains("not booted with systemd")),
        "{:?}",
        found.blocks
    );
}

/// What a program prints; `None`, visibly, if this machine doesn't have it.
fn told(program: &str, arguments: &[&str]) -> Option<String> {
    match Command::new(program).args(arguments).env("LC_ALL", "C").output() {
        Ok(output) => {
            assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
            Some(String::from_utf8(output.stdout).unwrap())
        }
        Err(error) => {
            eprintln!("skipped: {program}: {error}");
            None
        }
    }
}

fn sorted(text: &str) -> Vec<String> {
    let mut lines = text.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>();
    lines.sort();
    lines
}

#[test]
fn this_machine_has_exactly_the_packages_that_dpkg_query_lists() {
    let format = "${db:Status-Abbrev}\t${Package}\t${Architecture}\t${Version}\t${source:Package}\t\
                  ${source:Version}\t${Essential}\n";
    let Some(listed) = told("dpkg-query", &["-W", "-f", format]) else { return };
    let inventory = look(Path::new("/")).inventory;
    let ours = inventory.packages.iter().map(|package| {
        let status = match (package.state, package.held) {
            (PackageState::Installed, false) => "ii",
            (PackageState::Installed, true) => "hi",
            (PackageState::Unpacked, _) => "iU",
            (PackageState::HalfInstalled, _) => "iH",
        };
        let essential = if package.essential { "yes" } else { "no" };
        let (name, arch, version) = (&package.name, &package.arch, &package.version);
        format!(
            "{status} \t{name}\t{arch}\t{version}\t{}\t{}\t{essential}\n",
            package.source, package.source_version
        )
    });
    let installed = listed.lines().filter(|line| !matches!(line.as_bytes()[1], b'c' | b'n'));
    assert_eq!(sorted(&ours.collect::<String>()), sorted(&installed.collect::<Vec<_>>().join("\n")));
    assert_eq!(inventory.gaps_in(Part::Packages).count(), 0, "{:#?}", inventory.gaps);
    assert_eq!(inventory.kernel.booted, told("uname", &["-r"]).map(|release| release.trim().to_owned()));
}

#[test]
fn sockets_this_test_opens_are_seen_as_ss_sees_them() {
    let tcp = ["127.0.0.1:0", "[::1]:0"].map(|address| TcpListener::bind(address).ok());
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let connected = UdpSocket::bind("127.0.0.1:0").unwrap();
    connected.connect(udp.local_addr().unwrap()).unwrap();
    let inventory = look(Path::new("/")).inventory;
    let me = inventory
        .processes
        .iter()
        .find(|process| process.pid == std::process::id())
        .expect("this test listens");
    let mut expected =
        tcp.iter().flatten().map(|tcp| format!("tcp/{}", tcp.local_addr().unwrap())).collect::<Vec<_>>();
    expected.push(format!("udp/{}", udp.local_addr().unwrap()));
    let ours = me.sockets.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(sorted(&ours.join("\n")), sorted(&expected.join("\n")));
    assert!(me.sockets.iter().all(exposure::inventory::Socket::is_local));
    assert!(me.packages.contains(&"libc6".to_owned()) || inventory.system.manager != Manager::Dpkg, "{me:?}");
    let age = Timestamp::now().duration_since(me.started.unwrap());
    assert!(age.as_secs() < 600 && age.as_secs() > -3, "{age:?}");
    let Some(listed) = told("ss", &["-H", "-lntu"]) else { return };
    let ss = listed.lines().map(|line| {
        let words = line.split_ascii_whitespace().collect::<Vec<_>>();
        format!("{}/{}", words[0], words[4])
    });
    let ss = ss.collect::<Vec<_>>();
    for socket in &expected {
        assert!(ss.contains(socket), "{socket} is not in {ss:?}");
    }
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `/bin/sleep` with what it needs, running inside a root of its own.
fn chroot_with_sleep() -> Option<(TempDir, Running)> {
    if !is_root() {
        eprintln!("skipped: only root may change the root directory of a process");
        return None;
    }
    let libraries = told("ldd", &["/bin/sleep"])?;
    let root = root(&[
        DEBIAN,
        ("var/lib/dpkg/status", &GOOD.replace("good", "sleeper")),
        (
            "var/lib/dpkg/info/sleeper.list",
            "/bin\n/bin/sleep (deleted)\n/bin/sleep\n/bin/libx.so.4\n/bin/libx.so.4.9.1\n",
        ),
        (
            "var/log/dpkg.log",
            "2000-01-01 00:00:00 install sleeper:amd64 <none> 0.9\n\
                              2099-01-01 00:00:00 upgrade sleeper:amd64 1-1 1-2\n",
        ),
    ]);
    let paths = libraries.split_ascii_whitespace().filter(|word| word.starts_with('/')).chain(["/bin/sleep"]);
    for path in paths {
        let copy = root.path().join(&path[1..]);
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(path, copy).unwrap();
    }
    // A file may really be called so.
    fs::copy("/bin/sleep", root.path().join("bin/sleep (deleted)")).unwrap();
    fs::copy("/bin/sleep", root.path().join("bin/libx.so.4.8.0")).unwrap();
    let program = sleeping(root.path(), "/bin/sleep");
    Some((root, program))
}

/// The copy of `sleep` at `program`, asleep inside `root`.
fn sleeping(root: &Path, program: &str) -> Running {
    let program = Running(Command::new("chroot").arg(root).args([program, "300"]).spawn().unwrap());
    let exe = format!("/proc/{}/exe", program.0.id());
    while !fs::read_link(&exe).unwrap().starts_with(root) {
        std::thread::yield_now();
    }
    // Its libraries are mapped once it sleeps.
    let wait = format!("/proc/{}/wchan", program.0.id());
    while fs::read_to_string(&wait).is_ok_and(|wait| !wait.contains("nanosleep")) {
        std::thread::yield_now();
    }
    program
}

#[test]
fn a_replaced_program_is_stale_with_its_package_and_old_version() {
    let Some((root, program)) = chroot_with_sleep() else { return };
    let before = look(root.path()).inventory;
    assert_eq!(before.processes.len(), 1, "{:?}", before.processes);
    let process = &before.processes[0];
    assert_eq!((process.pid, process.name.as_str()), (program.0.id(), "sleep"));
    assert_eq!((process.executable.as_deref(), process.stale.len()), (Some("sleeper"), 0));

    let path = root.path().join("bin/sleep");
    fs::copy("/bin/sleep", root.path().join("bin/new")).unwrap();
    fs::rename(root.path().join("bin/new"), &path).unwrap();
    let after = look(root.path()).inventory;
    let process = &after.processes[0];
    assert_eq!(process.executable.as_deref(), Some("sleeper"));
    let stale = process
        .stale
        .iter()
        .map(|file| (file.path.as_str(), file.package.as_deref(), file.version.as_deref()));
    assert_eq!(stale.collect::<Vec<_>>(), [("/bin/sleep", Some("sleeper"), Some("1-1"))]);
}

#[test]
fn a_file_really_called_deleted_is_not_stale() {
    let Some((root, _program)) = chroot_with_sleep() else { return };
    let odd = sleeping(root.path(), "/bin/sleep (deleted)");
    let inventory = look(root.path()).inventory;
    let process = inventory.processes.iter().find(|process| process.pid == odd.0.id()).unwrap();
    assert_eq!((process.executable.as_deref(), process.stale.len()), (Some("sleeper"), 0), "{process:?}");
    fs::remove_file(root.path().join("bin/sleep (deleted)")).unwrap();
    let inventory = look(root.path()).inventory;
    let process = inventory.processes.iter().find(|process| process.pid == odd.0.id()).unwrap();
    assert_eq!(process.stale[0].path, "/bin/sleep (deleted)");
}

#[test]
fn a_library_that_an_upgrade_renamed_keeps_its_package() {
    let Some((root, _program)) = chroot_with_sleep() else { return };
    let library = sleeping(root.path(), "/bin/libx.so.4.8.0");
    fs::remove_file(root.path().join("bin/libx.so.4.8.0")).unwrap();
    let inventory = look(root.path()).inventory;
    let process = inventory.processes.iter().find(|process| process.pid == library.0.id()).unwrap();
    assert_eq!(process.stale[0].package.as_deref(), Some("sleeper"), "{process:?}");
}

/// Runs itself again as an ordinary user.
#[test]
fn an_ordinary_user_is_told_once_what_stays_hidden() {
    if !is_root() {
        let inventory = look(Path::new("/")).inventory;
        let hidden = inventory.gaps_in(Part::Processes).collect::<Vec<_>>();
        assert_eq!(hidden.len(), 1, "{hidden:#?}");
        assert_eq!(hidden[0].remedy, "run as root");
        assert_eq!(inventory.gaps_in(Part::Sockets).count(), 1);
        gap(&inventory, Part::Sockets, "could not be inspected");
        assert!(inventory.gaps_in(Part::Packages).next().is_none() && !inventory.packages.is_empty());
        return;
    }
    // The test program must lie where everybody may read it.
    let directory =
        tempfile::Builder::new().permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755)).tempdir();
    let program = directory.as_ref().unwrap().path().join("observe");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let me = "an_ordinary_user_is_told_once_what_stays_hidden";
    let program = program.to_str().unwrap();
    let Some(told) = told("setpriv", &["--reuid=65534", "--clear-groups", program, "--exact", me]) else {
        return;
    };
    assert!(told.contains("1 passed"), "{told}");
}
