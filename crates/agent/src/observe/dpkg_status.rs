//! dpkg's status file: bytes in, packages out.

use exposure::inventory::{Origin, Package, PackageState};
use memchr::{memchr, memmem};
use std::io::{self, ErrorKind, Read};

/// Bytes of a status file that are held at once, as far as no entry is larger.
const BLOCK_BYTES: usize = 64 * 1024;

/// What a status file says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Packages, installed or only known, in the order of the file.
    pub entries: Vec<Entry>,
    /// What could not be read, in words: `libfoo (no Version)`.
    pub lost: Vec<String>,
}

/// One package of a status file.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its architecture; empty if the entry names none, as entries of packages that are gone may.
    pub arch: String,
    /// The package, if any of its files are installed.
    pub installed: Option<Package>,
}

/// How a status file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// By dpkg: every entry has a status, and ends with an empty line.
    Database,
    /// One entry on its own, of an image: all of it is installed, and the last empty line may be missing.
    Part,
    /// One entry on its own, by dpkg: it has a status, and no empty line after it. dpkg gives it its name when it is whole.
    Update,
}

/// Reads a status file: `/var/lib/dpkg/status`, one of `updates`, or one of `status.d`.
///
/// Entries that can be read are kept whatever stands around them; what can't is named in [`Status::lost`]. Errors only
/// where `file` does.
pub fn read_status(mut file: impl Read, layout: Layout) -> io::Result<Status> {
    let (mut status, mut lines) = (Status::default(), 0);
    let (mut block, mut filled) = (vec![0; BLOCK_BYTES], 0);
    loop {
        let read = match file.read(&mut block[filled..]) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            read => read?,
        };
        filled += read;
        // An empty line ends an entry, whatever state it is in.
        let whole = match memmem::rfind(&block[..filled], b"\n\n") {
            _ if read == 0 => filled,
            Some(last) => last + 2,
            None => 0,
        };
        lines = parse_entries(&block[..whole], layout, lines, &mut status);
        if read == 0 {
            return Ok(status);
        }
        block.copy_within(whole..filled, 0);
        filled -= whole;
        if filled == block.len() {
            block.resize(2 * filled, 0);
        }
    }
}

/// Parses whole entries, the first of which begins after line `line_number` of its file; gives the number of the last
/// line. Only at the end of the file may `bytes` end within an entry.
fn parse_entries(bytes: &[u8], layout: Layout, mut line_number: usize, status: &mut Status) -> usize {
    let mut stanza = Stanza::default();
    let mut rest = bytes;
    while !rest.is_empty() {
        line_number += 1;
        let end = memchr(b'\n', rest);
        let line = &rest[..end.unwrap_or(rest.len())];
        rest = &rest[end.map_or(rest.len(), |end| end + 1)..];
        if line.is_empty() {
            stanza.close(layout, status);
        } else if !stanza.take(line, line_number) {
            // A second Package: what stood between the two, the end of the first entry included, is gone.
            stanza.damage("runs into the next entry");
            stanza.close(layout, status);
            stanza.take(line, line_number);
        }
    }
    let whole_line = bytes.is_empty() || bytes.ends_with(b"\n");
    if layout != Layout::Part && stanza.line_first.is_some() {
        if whole_line && layout == Layout::Update {
            stanza.close(layout, status);
        } else if whole_line {
            let last = stanza.name();
            stanza.close(layout, status);
            status
                .lost
                .push(format!("the file ends without an empty line after {last}, so it may be cut short"));
        } else {
            stanza.damage("the file is cut off in its entry");
            stanza.close(layout, status);
        }
    } else {
        stanza.close(layout, status);
    }
    line_number
}

/// The fields that count, of the entry being read.
#[derive(Default)]
struct Stanza<'a> {
    line_first: Option<usize>,
    damage: Option<String>,
    package: Option<&'a [u8]>,
    status: Option<&'a [u8]>,
    version: Option<&'a [u8]>,
    source: Option<&'a [u8]>,
    arch: Option<&'a [u8]>,
    essential: Option<&'a [u8]>,
}

impl<'a> Stanza<'a> {
    /// Takes one line; `false` if it begins another entry.
    fn take(&mut self, line: &'a [u8], line_number: usize) -> bool {
        if self.line_first.is_none() && line.iter().all(u8::is_ascii_whitespace) {
            return true;
        }
        let line_first = *self.line_first.get_or_insert(line_number);
        if line[0] == b' ' || line[0] == b'\t' {
            if line_number == line_first {
                self.damage(&format!("line {line_number} continues nothing"));
            }
            return true;
        }
        let Some((name, value)) = field(line) else {
            self.damage(&format!("line {line_number} is no field"));
            return true;
        };
        // dpkg reads names of fields in any case.
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        let slot = match name.len() {
            7 if is(b"package") && self.package.is_some() => return false,
            7 if is(b"package") => &mut self.package,
            6 if is(b"status") => &mut self.status,
            7 if is(b"version") => &mut self.version,
            6 if is(b"source") => &mut self.source,
            12 if is(b"architecture") => &mut self.arch,
            9 if is(b"essential") => &mut self.essential,
            _ => return true,
        };
        if slot.replace(value.trim_ascii()).is_some() {
            self.damage(&format!("line {line_number} repeats {}", String::from_utf8_lossy(name)));
        }
        true
    }

    fn damage(&mut self, what: &str) {
        self.damage.get_or_insert_with(|| what.to_owned());
    }

    fn name(&self) -> String {
        match self.package.and_then(word) {
            Some(name) => name.to_owned(),
            None => format!("line {}", self.line_first.unwrap_or_default()),
        }
    }

    /// Ends the entry, and begins the next.
    fn close(&mut self, layout: Layout, into: &mut Status) {
        let stanza = std::mem::take(self);
        if stanza.line_first.is_none() {
            return;
        }
        match stanza.entry(layout) {
            Ok(entry) => into.entries.push(entry),
            Err(why) => into.lost.push(format!("{} ({why})", stanza.name())),
        }
    }

    fn entry(&self, layout: Layout) -> Result<Entry, String> {
        if let Some(damage) = &self.damage {
            return Err(damage.clone());
        }
        let required = |value: Option<&'a [u8]>, name: &str| match value {
            None => Err(format!("no {name}")),
            Some(value) => word(value).ok_or_else(|| format!("{name} is garbled")),
        };
        let name = required(self.package, "Package")?;
        let arch = self.arch.map_or(Ok(""), |arch| required(Some(arch), "Architecture"))?;
        let (state, held) = match (self.status, layout) {
            (None, Layout::Part) => (Some(PackageState::Installed), false),
            (None, Layout::Database | Layout::Update) => return Err("no Status".to_owned()),
            (Some(status), _) => state(status).ok_or("Status is garbled")?,
        };
        let Some(state) = state else {
            return Ok(Entry { name: name.to_owned(), arch: arch.to_owned(), installed: None });
        };
        let version = required(self.version, "Version")?;
        required(self.arch, "Architecture")?;
        let (source, source_version) = match self.source {
            None => (name, version),
            Some(source) => parse_source(source, version).ok_or("Source is garbled")?,
        };
        let package = Package {
            name: name.to_owned(),
            arch: arch.to_owned(),
            version: version.to_owned(),
            source: source.to_owned(),
            source_version: source_version.to_owned(),
            state,
            held,
            essential: self.essential.is_some_and(|essential| essential.eq_ignore_ascii_case(b"yes")),
            module: None,
            vendor: String::new(),
            origin: Origin::Unknown,
        };
        Ok(Entry { name: name.to_owned(), arch: arch.to_owned(), installed: Some(package) })
    }
}

/// `Name: value`, the value with the blanks around it.
fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    // Names of fields are printable, without blanks (deb822).
    let end = line.iter().position(|byte| *byte == b':' || !byte.is_ascii_graphic())?;
    (end > 0 && line[end] == b':').then(|| (&line[..end], &line[end + 1..]))
}

/// `bytes` if they are one printable word, as names, versions and architectures are.
fn word(bytes: &[u8]) -> Option<&str> {
    let is_word = !bytes.is_empty() && bytes.iter().all(u8::is_ascii_graphic);
    if is_word { std::str::from_utf8(bytes).ok() } else { None }
}

/// `source` or `source (version)`; the version is the binary's where none is given.
fn parse_source<'a>(source: &'a [u8], binary_version: &'a str) -> Option<(&'a str, &'a str)> {
    let Some(space) = source.iter().position(u8::is_ascii_whitespace) else {
        return Some((word(source)?, binary_version));
    };
    let version = source[space..].trim_ascii().strip_prefix(b"(")?.strip_suffix(b")")?;
    Some((word(&source[..space])?, word(version.trim_ascii())?))
}

/// State and hold of a `Status` field, "want flag status"; the state is `None` if no files are installed. `None` if the
/// field is none of dpkg's.
fn state(status: &[u8]) -> Option<(Option<PackageState>, bool)> {
    let words = status.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect::<Vec<_>>();
    let [want, flag, status] = words.as_slice() else { return None };
    let held = match *want {
        b"hold" => true,
        b"unknown" | b"install" | b"deinstall" | b"purge" => false,
        _ => return None,
    };
    let reinstall = match *flag {
        b"ok" => false,
        b"reinstreq" => true,
        _ => return None,
    };
    let state = match *status {
        b"not-installed" | b"config-files" => return Some((None, held)),
        b"half-installed" => PackageState::HalfInstalled,
        b"unpacked" | b"half-configured" | b"triggers-awaited" | b"triggers-pending" => {
            PackageState::Unpacked
        }
        b"installed" => PackageState::Installed,
        _ => return None,
    };
    Some((Some(if reinstall { PackageState::HalfInstalled } else { state }), held))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_status(text: &[u8], layout: Layout) -> Status {
        read_status(text, layout).unwrap()
    }

    const GOOD: &str = "Package: first\nStatus: install ok installed\nArchitecture: amd64\nSource: one (1:2-3)\n\
                        Version: 1:2-3+b1\nEssential: yes\nDescription: a\n text\n .\n more: text\n\n";

    fn names(status: &Status) -> Vec<&str> {
        status.entries.iter().map(|entry| entry.name.as_str()).collect()
    }

    fn entry(name: &str, status: &str) -> String {
        format!("Package: {name}\nStatus: {status}\nArchitecture: all\nVersion: 1\n\n")
    }

    #[test]
    fn an_entry_gives_name_source_and_state() {
        let status = parse_status(GOOD.as_bytes(), Layout::Database);
        assert_eq!(status.lost, Vec::<String>::new());
        let package = status.entries[0].installed.as_ref().unwrap();
        assert_eq!(
            (package.name.as_str(), package.version.as_str(), package.essential),
            ("first", "1:2-3+b1", true)
        );
        assert_eq!((package.source.as_str(), package.source_version.as_str()), ("one", "1:2-3"));
    }

    #[test]
    fn every_status_of_dpkg_has_its_state() {
        let cases = [
            ("install ok installed", Some(PackageState::Installed), false),
            ("hold ok installed", Some(PackageState::Installed), true),
            ("install ok unpacked", Some(PackageState::Unpacked), false),
            ("install ok half-configured", Some(PackageState::Unpacked), false),
            ("install ok triggers-awaited", Some(PackageState::Unpacked), false),
            ("install ok triggers-pending", Some(PackageState::Unpacked), false),
            ("install ok half-installed", Some(PackageState::HalfInstalled), false),
            ("hold reinstreq half-installed", Some(PackageState::HalfInstalled), true),
            ("install reinstreq unpacked", Some(PackageState::HalfInstalled), false),
            ("deinstall ok config-files", None, false),
            ("purge ok not-installed", None, false),
        ];
        for (text, state, held) in cases {
            let status = parse_status(entry("p", text).as_bytes(), Layout::Database);
            let package = status.entries[0].installed.as_ref();
            assert_eq!(package.map(|package| package.state), state, "{text}");
            assert_eq!(package.is_some_and(|package| package.held), held && state.is_some(), "{text}");
        }
        for text in ["install ok", "install ok broken", "yes ok installed", "install ok installed now"] {
            let status = parse_status(entry("p", text).as_bytes(), Layout::Database);
            assert_eq!(status.lost, ["p (Status is garbled)"], "{text}");
        }
    }

    #[test]
    fn a_cut_status_keeps_the_entries_before_the_cut_and_names_the_lost_one() {
        let whole = format!("{GOOD}{}", entry("second", "install ok installed"));
        for cut in GOOD.len() + "Package: second".len()..whole.len() - 2 {
            let status = parse_status(&whole.as_bytes()[..cut], Layout::Database);
            assert_eq!(names(&status), ["first"], "{cut}");
            assert!(status.lost[0].starts_with("second ("), "{cut}: {:?}", status.lost);
        }
        // All of the last entry is there, but not the empty line: kept, and said.
        let status = parse_status(&whole.as_bytes()[..whole.len() - 1], Layout::Database);
        assert_eq!(names(&status), ["first", "second"]);
        assert!(status.lost[0].contains("may be cut short"), "{:?}", status.lost);
    }

    #[test]
    fn damage_in_one_entry_spares_its_neighbours() {
        let neighbours = (entry("a", "install ok installed"), entry("z", "install ok installed"));
        let damaged = [
            ("\0\0\0\0\0\0\n\n", "line 6 (line 6 is no field)"),
            (
                "Package: m\nStatus: install ok installed\nVersion: 1\nVersion: 2\nArchitecture: all\n\n",
                "repeats",
            ),
            ("Package: m\nStatus: install ok installed\nVersion: 1\0\nArchitecture: all\n\n", "garbled"),
            ("Package: m\nStatus: install ok installed\nArchitecture: all\n\n", "m (no Version)"),
            ("Package: m\nVersion: 1\nArchitecture: all\n\n", "m (no Status)"),
            ("Package: m\nStatus: install ok instal", "runs into"),
            (" text\n\n", "continues nothing"),
        ];
        for (damage, why) in damaged {
            let damage = if damage.ends_with('\n') { damage.to_owned() } else { format!("{damage}\n") };
            let text = format!("{}{damage}{}", neighbours.0, neighbours.1);
            let status = parse_status(text.as_bytes(), Layout::Database);
            assert_eq!(names(&status), ["a", "z"], "{damage}");
            assert!(status.lost.len() == 1 && status.lost[0].contains(why), "{damage}: {:?}", status.lost);
        }
        let latin1 = b"Package: m\nStatus: install ok installed\nVersion: 1\nArchitecture: all\nMaintainer: J\xf6rg\n\n";
        assert_eq!(names(&parse_status(latin1, Layout::Database)), ["m"]);
    }

    /// Gives a few bytes at a time.
    struct Trickle<'a>(&'a [u8], usize);

    impl Read for Trickle<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let bytes = self.1.min(into.len());
            self.0.read(&mut into[..bytes])
        }
    }

    #[test]
    fn what_dpkg_has_not_merged_yet_ends_without_an_empty_line_and_is_whole() {
        let update = entry("half", "install ok half-configured");
        let status = parse_status(update.trim_end().as_bytes(), Layout::Update);
        assert_eq!(status.lost, ["half (the file is cut off in its entry)"]);
        let status = parse_status(format!("{}\n", update.trim_end()).as_bytes(), Layout::Update);
        assert_eq!((names(&status), &status.lost[..]), (vec!["half"], &[][..]));
    }

    #[test]
    fn how_a_file_comes_does_not_change_what_it_says() {
        let long = entry("long", "install ok installed").replace("Version", &" x\n".repeat(BLOCK_BYTES));
        let text = format!("{GOOD}\n\n{GOOD}\0\n\n{}Version: 2\nPackage", entry("next", "install ok broken"));
        let whole = parse_status(text.as_bytes(), Layout::Database);
        assert_eq!((whole.entries.len(), whole.lost.len()), (2, 3), "{:?}", whole.lost);
        for bytes in 1..text.len() {
            assert_eq!(
                read_status(Trickle(text.as_bytes(), bytes), Layout::Database).unwrap(),
                whole,
                "{bytes}"
            );
        }
        // Larger than a block, and the lines after it keep their numbers.
        let text = format!("{long}{text}");
        let status = parse_status(text.as_bytes(), Layout::Database);
        assert_eq!(names(&status), ["first", "first"]);
        let lines = BLOCK_BYTES + 8 + 2 * GOOD.lines().count();
        assert!(status.lost[1].contains(&format!("line {lines} is no field")), "{:?} {lines}", status.lost);
    }

    #[test]
    fn a_part_needs_neither_status_nor_last_line() {
        let status = parse_status(b"Package: base\nVersion: 12\nArchitecture: all", Layout::Part);
        assert_eq!(names(&status), ["base"]);
        assert!(status.entries[0].installed.is_some() && status.lost.is_empty());
    }
}
