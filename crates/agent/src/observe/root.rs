//! Reads files of a root directory without ever leaving it.
//!
//! A foreign root (an image, a chroot, a container's file system) is hostile: its links may point anywhere, its files
//! may be devices, pipes or endless. Every path is resolved *inside* the root, as if it were `/`.

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// As many links as Linux follows in one path (`MAXSYMLINKS`).
const LINKS_MAX: usize = 40;

/// Entries read of one directory: dpkg keeps about five files per package, and no system has 200,000 packages.
const ENTRIES_MAX: usize = 5 * 200_000;

/// Which file it is, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// Device that holds it.
    pub device: u64,
    /// Inode on that device.
    pub inode: u64,
}

/// A root directory, held open.
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
    directory: OwnedFd,
    identity: Identity,
    kernel_resolves: bool,
}

impl Root {
    /// Opens the directory at `path`. Errors if there is none or it may not be entered.
    pub fn open(path: &Path) -> io::Result<Self> {
        let directory =
            rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let identity = identity(&directory)?;
        // Old kernels lack openat2, and some container runtimes forbid it.
        let kernel_resolves = openat2_inside(&directory, Path::new("."), OFlags::PATH).is_ok();
        Ok(Self { path: path.to_owned(), directory, identity, kernel_resolves })
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which directory it is.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Whether it is the root directory this process itself runs in.
    pub fn is_own(&self) -> bool {
        rustix::fs::stat("/").is_ok_and(|stat| of(&stat) == self.identity)
    }

    /// The regular file at `path`, opened for reading.
    pub fn file(&self, path: impl AsRef<Path>) -> io::Result<File> {
        Ok(self.file_and_size(path.as_ref())?.0)
    }

    /// The regular file at `path`, opened for reading, to its end. Errors if it has more than `bytes_max`; what is added
    /// to it later is not read beyond that.
    pub fn file_up_to(&self, path: impl AsRef<Path>, bytes_max: u64) -> io::Result<io::Take<File>> {
        let (file, size) = self.file_and_size(path.as_ref())?;
        if size > bytes_max { Err(larger_than(bytes_max)) } else { Ok(file.take(bytes_max)) }
    }

    fn file_and_size(&self, path: &Path) -> io::Result<(File, u64)> {
        // A first look without opening: merely opening a device or a pipe can block or have effects.
        size_of_regular(&self.resolve(path, OFlags::PATH)?)?;
        let file = self.resolve(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
        let size = size_of_regular(&file)?;
        Ok((File::from(file), size))
    }

    /// The bytes of the regular file at `path`. Errors if it has more than `bytes_max`.
    pub fn read(&self, path: impl AsRef<Path>, bytes_max: u64) -> io::Result<Vec<u8>> {
        let (mut file, size) = self.file_and_size(path.as_ref())?;
        if size > bytes_max {
            return Err(larger_than(bytes_max));
        }
        // One byte more than it has, so that its end is seen without more room.
        let room = usize::try_from(size).map_err(|_| larger_than(bytes_max))?.saturating_add(1);
        read_into(Vec::with_capacity(room), &mut file, bytes_max)
    }

    /// The names in the directory at `path`, sorted.
    pub fn list(&self, path: impl AsRef<Path>) -> io::Result<Vec<OsString>> {
        self.directory(path)?.names()
    }

    /// The directory at `path`, held open.
    pub fn directory(&self, path: impl AsRef<Path>) -> io::Result<Directory> {
        Ok(Directory(self.resolve(path.as_ref(), OFlags::RDONLY | OFlags::DIRECTORY)?))
    }

    /// Which file is at `path`.
    pub fn identity_of(&self, path: impl AsRef<Path>) -> io::Result<Identity> {
        Ok(identity(&self.resolve(path.as_ref(), OFlags::PATH)?)?)
    }

    /// Where `path` really lies, for a program that has to be given a path. Free of links when this returns.
    pub fn real_path(&self, path: impl AsRef<Path>) -> io::Result<PathBuf> {
        let file = self.resolve(path.as_ref(), OFlags::PATH)?;
        let link = format!("/proc/self/fd/{}", file.as_raw_fd());
        Ok(PathBuf::from(OsString::from_vec(rustix::fs::readlink(link, Vec::new())?.into_bytes())))
    }

    fn resolve(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let opened = if self.kernel_resolves {
            openat2_inside(&self.directory, path, flags)
        } else {
            self.resolve_by_hand(path, flags)
        };
        Ok(opened?)
    }

    /// What `openat2` with `RESOLVE_IN_ROOT` does, one component at a time. Holding each directory open makes `..`
    /// safe against renames.
    fn resolve_by_hand(&self, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let mut pending: Vec<OsString> = Vec::new();
        push_components(&mut pending, path.as_os_str());
        let mut above: Vec<OwnedFd> = Vec::new();
        let mut links = 0;
        while let Some(component) = pending.pop() {
            if component == ".." {
                above.pop();
                continue;
            }
            let parent = above.last().unwrap_or(&self.directory).as_fd();
            let look = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let here = rustix::fs::openat(parent, &component, look, Mode::empty())?;
            let stat = rustix::fs::fstat(&here)?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
                links += 1;
                if links > LINKS_MAX {
                    return Err(Errno::LOOP);
                }
                let target = rustix::fs::readlinkat(&here, "", Vec::new())?;
                if target.as_bytes().starts_with(b"/") {
                    above.clear();
                }
                push_components(&mut pending, OsStr::from_bytes(target.as_bytes()));
            } else if pending.is_empty() {
                let last = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                return rustix::fs::openat(parent, &component, last, Mode::empty());
            } else {
                above.push(here);
            }
        }
        let last = above.last().unwrap_or(&self.directory);
        rustix::fs::openat(last, ".", flags | OFlags::CLOEXEC, Mode::empty())
    }
}

/// A directory inside a root, held open.
#[derive(Debug)]
pub struct Directory(OwnedFd);

impl Directory {
    /// The names in it, sorted.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = self.entries(|_, _| true)?;
        names.sort_unstable();
        Ok(names)
    }

    /// The names of regular files in it that end with `suffix`, in no order. Links are not followed.
    pub fn files_ending(&self, suffix: &[u8]) -> io::Result<Vec<OsString>> {
        self.entries(|name, kind| {
            // Some file systems leave the kind to a look at the file.
            let looked_at = || {
                let stat = rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW);
                stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
            };
            name.ends_with(suffix)
                && (kind == FileType::RegularFile || (kind == FileType::Unknown && looked_at()))
        })
    }

    fn entries(&self, wanted: impl Fn(&[u8], FileType) -> bool) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for (count, entry) in Dir::read_from(&self.0)?.enumerate() {
            let entry = entry?;
            if count == ENTRIES_MAX {
                return Err(io::Error::other(format!("the directory has more than {ENTRIES_MAX} entries")));
            }
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." && wanted(name, entry.file_type()) {
                names.push(OsString::from_vec(name.to_vec()));
            }
        }
        Ok(names)
    }

    /// Reads the regular file `name` in it, one of [`Directory::files_ending`], over what `buffer` holds.
    pub fn read_over(&self, name: &OsStr, buffer: &mut Vec<u8>, bytes_max: u64) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.0, name, flags, Mode::empty())?;
        let size = size_of_regular(&file)?;
        if size > bytes_max {
            return Err(larger_than(bytes_max));
        }
        buffer.clear();
        // One byte more than it has, so that a single read tells its end; there are thousands of these files.
        let room = usize::try_from(size).map_err(|_| larger_than(bytes_max))?.saturating_add(1);
        buffer.reserve(room);
        while rustix::io::read(&file, rustix::buffer::spare_capacity(buffer))? > 0 {
            if buffer.len() < buffer.capacity() {
                return Ok(());
            }
            // It grows while it is read.
            if buffer.len() as u64 > bytes_max {
                return Err(larger_than(bytes_max));
            }
            buffer.reserve(room);
        }
        Ok(())
    }
}

/// The bytes of `reader`. Errors if it has more than `bytes_max`.
pub fn read_capped(reader: &mut impl Read, bytes_max: u64) -> io::Result<Vec<u8>> {
    read_into(Vec::new(), reader, bytes_max)
}

fn read_into(mut bytes: Vec<u8>, reader: &mut impl Read, bytes_max: u64) -> io::Result<Vec<u8>> {
    let read = reader.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if read as u64 > bytes_max { Err(larger_than(bytes_max)) } else { Ok(bytes) }
}

fn larger_than(bytes_max: u64) -> io::Error {
    io::Error::other(format!("larger than {bytes_max} bytes"))
}

fn push_components(pending: &mut Vec<OsString>, path: &OsStr) {
    let components = path.as_bytes().split(|byte| *byte == b'/').rev();
    pending.extend(
        components
            .filter(|name| !name.is_empty() && *name != b".")
            .map(|name| OsStr::from_bytes(name).into()),
    );
}

fn openat2_inside(root: &OwnedFd, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    // EAGAIN: something was renamed meanwhile, and the kernel could not be sure that `..` stayed inside.
    for _ in 0..LINKS_MAX {
        match rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN) => {}
            opened => return opened,
        }
    }
    Err(Errno::AGAIN)
}

/// The size of a regular file; anything else is refused.
fn size_of_regular(file: &OwnedFd) -> io::Result<u64> {
    let stat = rustix::fs::fstat(file)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
        Ok(u64::try_from(stat.st_size).unwrap_or(0))
    } else {
        Err(io::Error::other("not a regular file"))
    }
}

fn identity(file: &OwnedFd) -> rustix::io::Result<Identity> {
    Ok(of(&rustix::fs::fstat(file)?))
}

/// The identity a `stat` tells.
pub fn of(stat: &rustix::fs::Stat) -> Identity {
    Identity { device: stat.st_dev, inode: stat.st_ino }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A root with links of all kinds, beside a file that nobody inside may reach.
    fn trap() -> (tempfile::TempDir, Root, Root) {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "outside").unwrap();
        let path = outside.path().join("root");
        std::fs::create_dir_all(path.join("etc/deep")).unwrap();
        std::fs::write(path.join("etc/name"), "inside").unwrap();
        symlink("../../../secret", path.join("etc/deep/up")).unwrap();
        symlink(outside.path().join("secret"), path.join("absolute")).unwrap();
        symlink("/etc/name", path.join("etc/deep/name")).unwrap();
        symlink("loop", path.join("loop")).unwrap();
        symlink("/etc", path.join("config")).unwrap();
        let kernel = Root::open(&path).unwrap();
        let mut by_hand = Root::open(&path).unwrap();
        by_hand.kernel_resolves = false;
        (outside, kernel, by_hand)
    }

    #[test]
    fn a_link_does_not_lead_out_of_the_root() {
        let (_outside, kernel, by_hand) = trap();
        for root in [&kernel, &by_hand] {
            assert_eq!(root.read("/etc/deep/up", 99).unwrap_err().kind(), io::ErrorKind::NotFound);
            assert_eq!(root.read("../../secret", 99).unwrap_err().kind(), io::ErrorKind::NotFound);
            assert_eq!(root.read("/absolute", 99).unwrap_err().kind(), io::ErrorKind::NotFound);
            assert_eq!(root.read("/etc/deep/name", 99).unwrap(), b"inside");
            assert_eq!(root.read("config/deep/../name", 99).unwrap(), b"inside");
            assert_eq!(root.identity_of("../..").unwrap(), root.identity());
            assert!(root.read("/loop", 99).is_err());
        }
    }

    #[test]
    fn only_regular_files_of_bounded_size_are_read() {
        let (_outside, kernel, by_hand) = trap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            kernel.path().join("pipe"),
            FileType::Fifo,
            Mode::RUSR | Mode::WUSR,
            0,
        )
        .unwrap();
        for root in [&kernel, &by_hand] {
            assert!(root.read("/pipe", 99).unwrap_err().to_string().contains("regular"));
            assert!(root.read("/etc", 99).unwrap_err().to_string().contains("regular"));
            assert!(root.read("/etc/name", 5).unwrap_err().to_string().contains("larger"));
            assert_eq!(root.read("/etc/name", 6).unwrap(), b"inside");
        }
    }
}
