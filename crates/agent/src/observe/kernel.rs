//! Which kernel is booted, and which are installed.

use crate::observe::gaps;
use crate::observe::root::Root;
use exposure::inventory::{Gap, InstalledKernel, Package, Part};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Binary packages whose version, release and architecture are the kernel's release, on RPM systems. The others
/// (`kernel-modules`, meta packages) bring no kernel of their own.
const RPM_KERNELS: [&str; 3] = ["kernel-core", "kernel-uek-core", "kernel"];

/// The release of the booted kernel, if `root` is the running system and not just a directory on it.
pub(super) fn booted(proc: &Path, root: &Root, found: &mut Vec<Gap>) -> Option<String> {
    let first = rustix::fs::stat(proc.join("1/root"));
    let is_first = first.is_ok_and(|stat| crate::observe::root::of(&stat) == root.identity());
    if !is_first && !root.is_own() {
        return None;
    }
    let path = proc.join("sys/kernel/osrelease");
    match std::fs::read_to_string(&path) {
        Ok(release) => Some(release.trim().to_owned()),
        Err(error) => {
            found.push(gaps::new(Part::Kernel, path.display(), error, "mount proc there, then look again"));
            None
        }
    }
}

/// Releases of the kernels installed in `root`: images in `/boot`, and complete trees of modules.
pub(super) fn installed(root: &Root, found: &mut Vec<Gap>) -> Vec<String> {
    let mut releases = BTreeSet::new();
    for directory in ["/boot", "/usr/lib/modules", "/lib/modules"] {
        let names = match root.list(directory) {
            Ok(names) => names,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => {
                found.push(gaps::new(Part::Kernel, directory, error, "run as root"));
                continue;
            }
        };
        for name in names {
            let Ok(name) = std::str::from_utf8(name.as_bytes()) else { continue };
            let release = if directory == "/boot" {
                name.strip_prefix("vmlinuz-").filter(|release| is_kernel(release))
            } else {
                // A removed kernel can leave a directory behind, with what was built for it later.
                let builtin = format!("{directory}/{name}/modules.builtin");
                root.identity_of(builtin).is_ok().then_some(name)
            };
            releases.extend(release.map(str::to_owned));
        }
    }
    releases.into_iter().collect()
}

/// Rescue images and copies of the last image are no kernels of their own; a kernel's release begins with its version.
fn is_kernel(release: &str) -> bool {
    release.starts_with(|first: char| first.is_ascii_digit()) && !release.ends_with(".old")
}

/// Files by which the package of a kernel can be found.
pub(super) fn files(release: &str) -> [Vec<u8>; 3] {
    [
        format!("/boot/vmlinuz-{release}"),
        format!("/usr/lib/modules/{release}/vmlinuz"),
        format!("/usr/lib/modules/{release}/modules.builtin"),
    ]
    .map(String::into_bytes)
}

/// The package of kernel `release`, by its name or by who owns its files.
pub(super) fn with_package<'a>(
    release: String,
    packages: &[Package],
    owner: impl Fn(&[u8]) -> Option<&'a str>,
) -> InstalledKernel {
    let by_name = || packages.iter().find(|package| is_named_after(package, &release));
    let by_file = || {
        let owner = files(&release).iter().find_map(|file| owner(file))?;
        packages.iter().find(|package| package.name == owner)
    };
    let package = by_name().or_else(by_file);
    InstalledKernel {
        package: package.map(|package| package.name.clone()),
        version: package.map(|package| package.version.clone()),
        release,
    }
}

/// Debian and Ubuntu put the release in the name, RPM systems in the version.
fn is_named_after(package: &Package, release: &str) -> bool {
    let image = package.name.strip_prefix("linux-image-");
    let signed = image.map(|image| image.strip_prefix("unsigned-").unwrap_or(image));
    let is_rpm = || {
        let (version, arch) = (&package.version, &package.arch);
        RPM_KERNELS.contains(&package.name.as_str())
            && release.strip_suffix(arch.as_str()).and_then(|rest| rest.strip_suffix('.')) == Some(version)
    };
    signed == Some(release) || is_rpm()
}
