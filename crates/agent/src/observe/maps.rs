//! What a process maps: the text of `/proc/PID/maps`.

use std::borrow::Cow;

/// What the kernel appends to the path of a file that has lost its name.
const DELETED: &[u8] = b" (deleted)";

/// A file mapped with the right to execute it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping<'a> {
    /// Its path as the kernel writes it, ` (deleted)` included.
    pub path: Cow<'a, [u8]>,
    /// Device, major and minor.
    pub device: (u32, u32),
    /// Inode on that device.
    pub inode: u64,
}

impl Mapping<'_> {
    /// The path without ` (deleted)`, if it ends with that. A file may really be called so: only a look at the disk
    /// tells.
    pub fn deleted(&self) -> Option<&[u8]> {
        self.path.strip_suffix(DELETED)
    }
}

/// The mappings of files that may be executed, and how many lines could not be read.
///
/// Lines are `start-end perms offset major:minor inode   path` (proc_pid_maps(5)).
pub fn parse_maps(bytes: &[u8]) -> (Vec<Mapping<'_>>, usize) {
    let (mut mappings, mut unreadable) = (Vec::new(), 0);
    let mut rest = bytes;
    while !rest.is_empty() {
        let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        let line = &rest[..end];
        rest = rest.get(end + 1..).unwrap_or_default();
        match parse_line(line) {
            Some(Some(mapping)) => mappings.push(mapping),
            Some(None) => {}
            None => unreadable += 1,
        }
    }
    (mappings, unreadable)
}

/// `None` for a line that is none, `Some(None)` for a mapping that doesn't count.
fn parse_line(line: &[u8]) -> Option<Option<Mapping<'_>>> {
    let mut fields = line.splitn(6, |byte| *byte == b' ');
    let (_range, permissions) = (fields.next()?, fields.next()?);
    if permissions.len() != 4 {
        return None;
    }
    if permissions[2] != b'x' {
        return Some(None);
    }
    let (_offset, device, inode) = (fields.next()?, fields.next()?, number::<u64>(fields.next()?, 10)?);
    let colon = memchr::memchr(b':', device)?;
    let device = (number(&device[..colon], 16)?, number(&device[colon + 1..], 16)?);
    let path = fields.next().unwrap_or_default().trim_ascii_start();
    // Names such as [vdso] and anonymous memory have no slash; nor has anything else a file behind it.
    if !path.starts_with(b"/") {
        return Some(None);
    }
    Some(Some(Mapping { path: unescape(path), device, inode }))
}

fn number<T: TryFrom<u64>>(digits: &[u8], radix: u32) -> Option<T> {
    let digits = std::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'))?;
    T::try_from(u64::from_str_radix(digits, radix).ok()?).ok()
}

/// The kernel escapes nothing but the line break.
fn unescape(path: &[u8]) -> Cow<'_, [u8]> {
    const BREAK: &[u8] = b"\\012";
    let Some(first) = memchr::memmem::find(path, BREAK) else { return Cow::Borrowed(path) };
    let mut out = path[..first].to_vec();
    let mut rest = &path[first..];
    while let Some(at) = memchr::memmem::find(rest, BREAK) {
        out.extend_from_slice(&rest[..at]);
        out.push(b'\n');
        rest = &rest[at + BREAK.len()..];
    }
    out.extend_from_slice(rest);
    Cow::Owned(out)
}

/// Whether a file that is gone may have come from a package: not memory that only looks like a file, nor what programs
/// write and map at run time.
pub fn is_packageable(path: &[u8]) -> bool {
    const NOT: [&[u8]; 12] = [
        b"/memfd:",
        b"/dev/",
        b"/SYSV",
        b"/[",
        b"/drm",
        b"/i915",
        b"/anon_",
        b"/proc/",
        b"/run/",
        b"/var/run/",
        b"/tmp/",
        b"/var/tmp/",
    ];
    !NOT.iter().any(|start| path.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_mapped_for_execution_count() {
        let text = b"55d0-55d2 r--p 00000000 fe:00 24   /usr/bin/cat\n\
            55d2-55d7 r-xp 00002000 fe:1f 247030                     /usr/bin/cat\n\
            7f00-7f01 rwxp 00000000 00:00 0 \n7f01-7f02 r-xp 00000000 00:00 0                          [vdso]\n\
            7f02-7f03 r-xp 00000000 103:02 18446744073709551615 /opt/a b\\012c (deleted) (deleted)\n\
            ffff-0000 --xp 00000000 00:00 0                  [vsyscall]\n\
            7f04-7f05 r-xs 00000000 00:01 9 /memfd:jit (deleted)\nnoise\n1-2 r-xp 0 zz:0 1 /x\n1-2 r-xp 0 0:0";
        let (mappings, unreadable) = parse_maps(text);
        assert_eq!(unreadable, 3);
        let told = mappings.iter().map(|mapping| (mapping.path.as_ref(), mapping.device, mapping.inode));
        assert_eq!(
            told.collect::<Vec<_>>(),
            [
                (b"/usr/bin/cat".as_slice(), (0xfe, 0x1f), 247_030),
                (b"/opt/a b\nc (deleted) (deleted)", (0x103, 2), u64::MAX),
                (b"/memfd:jit (deleted)", (0, 1), 9),
            ]
        );
        assert_eq!(mappings[0].deleted(), None);
        assert_eq!(mappings[1].deleted(), Some(b"/opt/a b\nc (deleted)".as_slice()));
        assert!(!is_packageable(&mappings[2].path) && is_packageable(&mappings[1].path));
    }
}
