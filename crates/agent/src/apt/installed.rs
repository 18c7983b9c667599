//! The changelog that an installed package brought along.

use advisory::changelog::{CHANGELOG_BYTES_MAX, Entry, read};
use flate2::read::MultiGzDecoder;
use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Longest packed changelog that is read, bytes: 8 MiB; the longest in Debian 12 has under 1 MB.
pub(super) const PACKED_BYTES_MAX: u64 = 8 << 20;

/// Names of a package's Debian changelog, in the order of trust; `changelog.gz` is upstream's unless the package is
/// native to Debian (Debian policy 12.7).
pub(super) const NAMES: [&str; 3] = ["changelog.Debian.gz", "changelog.Debian", "changelog.gz"];

/// The changelog of an installed package under `root`, newest entry first. `None` if there is none: minimal images
/// leave `/usr/share/doc` out.
///
/// Links are followed inside the root only: an image's `/usr/share/doc/x -> ../../../../home/you` stays in the image.
pub fn installed_changelog(root: &Path, package: &str) -> Option<Vec<Entry>> {
    if package.is_empty() || package.starts_with('.') || package.contains('/') {
        return None;
    }
    let inside = open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    NAMES.iter().find_map(|name| {
        let path = format!("usr/share/doc/{package}/{name}");
        // NONBLOCK: a named pipe in the place of a file must not stop us.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file: File = openat2(&inside, path, flags, Mode::empty(), ResolveFlags::IN_ROOT).ok()?.into();
        let bytes = file.metadata().ok()?.is_file().then(|| unpack(name, file).ok())??;
        let (entries, _) = read(&bytes, name);
        (!entries.is_empty()).then_some(entries)
    })
}

/// A changelog's bytes, unpacked if its name says so; at most one byte more than [`CHANGELOG_BYTES_MAX`], by which
/// its reader tells that it was cut.
pub(super) fn unpack(name: &str, packed: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = CHANGELOG_BYTES_MAX as u64 + 1;
    if Path::new(name).extension().is_some_and(|ending| ending == "gz") {
        MultiGzDecoder::new(packed.take(PACKED_BYTES_MAX)).take(limit).read_to_end(&mut bytes)?;
    } else {
        packed.take(limit).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}
