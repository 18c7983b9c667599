//! Which system a root holds, by its os-release.

use crate::observe::gaps;
use crate::observe::root::Root;
use advisory::{Family, Release};
use exposure::inventory::{Gap, Manager, Part, System};
use std::collections::BTreeMap;
use std::io::ErrorKind;

/// os-release is a dozen lines; 64 KiB is a hundred times the largest seen.
const BYTES_MAX: u64 = 64 * 1024;

/// Reads the system's name; architecture and package manager are left for whoever reads the packages.
pub fn read(root: &Root, found: &mut Vec<Gap>) -> System {
    let mut fields = BTreeMap::new();
    // The order of os-release(5).
    for path in ["/etc/os-release", "/usr/lib/os-release"] {
        match root.read(path, BYTES_MAX) {
            Ok(bytes) => {
                fields = parse(&bytes);
                break;
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => found.push(gaps::new(Part::System, path, error, "")),
        }
    }
    let field = |name: &str| fields.get(name).cloned().unwrap_or_default();
    let (id, version_id) = (field("ID"), field("VERSION_ID"));
    // An empty ID is "linux" by os-release(5).
    let id = if id.is_empty() { "linux".to_owned() } else { id };
    let release = Release::from_os_release(&id, &version_id);
    if fields.is_empty() {
        let reason = "missing or empty: which release this is, is not known";
        let remedy = "check that this is the root directory of a system";
        found.push(gaps::new(Part::System, "/etc/os-release", reason, remedy));
    } else if release.version.is_empty() && release.family.order().is_some() {
        let reason = format!("names no VERSION_ID: {} without a release cannot be matched", release.family);
        found.push(gaps::new(Part::System, "/etc/os-release", reason, ""));
    } else if matches!(release.family, Family::Other(_)) {
        let reason = format!("no advisories are known for \"{id}\"");
        found.push(gaps::new(Part::System, "/etc/os-release", reason, ""));
    }
    System {
        release,
        version_id,
        codename: field("VERSION_CODENAME"),
        pretty: field("PRETTY_NAME"),
        arch: String::new(),
        manager: Manager::Unknown,
    }
}

/// The assignments in an os-release, by name; the last one counts, as in the shell. Lines that assign nothing are
/// comments or noise, and carry no meaning in this format.
pub fn parse(bytes: &[u8]) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        let Ok(line) = std::str::from_utf8(line) else { continue };
        let Some((name, value)) = line.trim().split_once('=') else { continue };
        let is_name =
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if is_name && let Some(value) = unquote(value) {
            fields.insert(name.to_owned(), value);
        }
    }
    fields
}

/// What the shell makes of `value`; `None` if a quote is not closed or there is a control character.
fn unquote(value: &str) -> Option<String> {
    let mut out = String::new();
    let mut quote = None;
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        match (character, quote) {
            ('\0'..='\u{8}' | '\u{a}'..='\u{1f}' | '\u{7f}', _) => return None,
            ('\'' | '"', None) => quote = Some(character),
            (_, Some(open)) if character == open => quote = None,
            ('\\', None) => out.push(characters.next()?),
            // Between double quotes a backslash is kept unless what follows is special.
            ('\\', Some('"')) => match characters.next()? {
                special @ ('"' | '\\' | '$' | '`') => out.push(special),
                plain => out.extend(['\\', plain]),
            },
            // An unquoted blank ends the word; what follows is not part of the value.
            (' ' | '\t', None) => break,
            (_, _) => out.push(character),
        }
    }
    quote.is_none().then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_unquoted_as_the_shell_does() {
        let fields = parse(
            b"# comment\nID=debian\nPRETTY_NAME=\"A \\\"fine\\\" \\x \\$5 system\"\nVERSION_ID='1 2'\nNAME=a\\ b c\n\
              ID=ubuntu\r\nBAD=\"open\nNUL=\"a\0b\"\n\xff=1\nodd key=1\nEMPTY=\n",
        );
        let expected = [
            ("EMPTY", ""),
            ("ID", "ubuntu"),
            ("NAME", "a b"),
            ("PRETTY_NAME", "A \"fine\" \\x $5 system"),
            ("VERSION_ID", "1 2"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(fields, BTreeMap::from(expected));
    }
}
