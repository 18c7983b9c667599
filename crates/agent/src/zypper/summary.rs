//! What zypper says it would do, or what it has for whom: its answers as XML.

use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

/// Elements within elements; zypper needs six.
const DEPTH_MAX: usize = 32;
/// Messages that are kept, and bytes of each: what is the matter is among the first.
const SAID_MAX: usize = 16;
const SAID_BYTES_MAX: usize = 1_024;

/// What one command would do.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// What comes; in place of what is installed, or new.
    pub installs: Vec<Step>,
    /// What goes, without anything in its place.
    pub removes: Vec<Step>,
    /// What it warns of or refuses, in its words.
    pub said: Vec<String>,
    /// Whether it told what it would do, or has; without that it had nothing to do, or would not.
    pub is_told: bool,
}

/// One package.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// Its architecture.
    pub arch: String,
    /// The version that is replaced.
    pub from: Option<String>,
    /// `epoch:version-release`, a zero epoch left out; what goes has the version that goes.
    pub version: String,
    /// Alias of its repository, where one is told.
    pub repository: String,
}

/// Reads an answer. Errors, in words, where it is no XML, breaks off, or names a package without a version: half an answer is none.
pub fn parse(bytes: &[u8]) -> Result<Summary, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "its answer is no text".to_owned())?;
    let mut reader = Reader::from_str(text);
    let mut summary = Summary::default();
    // Which list a package stands in; whether what follows is a message that matters.
    let (mut list, mut message, mut is_asking) = (String::new(), None::<String>, false);
    let (mut depth, mut is_closed) = (0_usize, false);
    loop {
        let event = reader.read_event().map_err(|error| format!("its answer cannot be read: {error}"))?;
        match event {
            Event::Start(tag) => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return Err(format!("its answer has more than {DEPTH_MAX} elements within each other"));
                }
                summary.start(&tag, &mut list)?;
                let has_room = summary.said.len() < SAID_MAX;
                match tag.local_name().as_ref() {
                    "message" => {
                        let matters = matches!(attribute(&tag, "type").as_str(), "warning" | "error");
                        message = (matters && has_room).then(String::new);
                    }
                    "prompt" => is_asking = true,
                    // What it would have a person decide: the problem, and then ways out of it, which nobody takes here.
                    "description" if is_asking => message = has_room.then(String::new),
                    _ => {}
                }
            }
            Event::Empty(tag) => summary.start(&tag, &mut list)?,
            Event::Text(text) => add(message.as_mut(), &text),
            Event::CData(text) => add(message.as_mut(), &text),
            Event::GeneralRef(name) => add(message.as_mut(), &reference(&name)),
            Event::End(tag) => {
                depth = depth.saturating_sub(1);
                is_closed |= depth == 0;
                match tag.local_name().as_ref() {
                    "message" => {
                        let said = words(&message.take().unwrap_or_default());
                        summary.said.extend(Some(said).filter(|said| !said.is_empty()));
                    }
                    "prompt" => is_asking = false,
                    "description" if is_asking => {
                        let asked = message.take().unwrap_or_default();
                        let problems = asked.lines().map(words).filter(|line| line.starts_with("Problem:"));
                        summary.said.extend(problems);
                        summary.said.truncate(SAID_MAX);
                    }
                    _ => {}
                }
            }
            Event::Eof if is_closed && depth == 0 => return Ok(summary),
            Event::Eof => return Err("its answer breaks off".to_owned()),
            Event::DocType(_) => {
                return Err("its answer declares a document type, which is not accepted".to_owned());
            }
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
        }
    }
}

/// Adds to a message what there is room for.
fn add(message: Option<&mut String>, text: &str) {
    let Some(message) = message else { return };
    for letter in text.chars() {
        if message.len() + letter.len_utf8() > SAID_BYTES_MAX {
            return;
        }
        message.push(letter);
    }
}

/// On one line, and nothing that a terminal would take for more than text.
fn words(said: &str) -> String {
    said.replace(char::is_control, " ").split_whitespace().collect::<Vec<_>>().join(" ")
}

impl Summary {
    fn start(&mut self, tag: &BytesStart<'_>, list: &mut String) -> Result<(), String> {
        match tag.local_name().as_ref() {
            "install-summary" | "update-status" => self.is_told = true,
            "solvable" if attribute(tag, "type") == "package" => self.take(list, tag)?,
            "update" if attribute(tag, "kind") == "package" => self.take("to-upgrade", tag)?,
            "source" => {
                if let Some(step) = self.installs.last_mut().filter(|step| step.repository.is_empty()) {
                    step.repository = attribute(tag, "alias");
                }
            }
            name if name.starts_with("to-") => name.clone_into(list),
            _ => {}
        }
        Ok(())
    }

    fn take(&mut self, list: &str, tag: &BytesStart<'_>) -> Result<(), String> {
        let (arch, old_arch) = (attribute(tag, "arch"), attribute(tag, "arch-old"));
        let step = Step {
            name: attribute(tag, "name"),
            arch: arch.clone(),
            from: Some(attribute(tag, "edition-old")).filter(|from| !from.is_empty()),
            version: attribute(tag, "edition"),
            repository: attribute(tag, "repository"),
        };
        if step.name.is_empty() || step.version.is_empty() {
            return Err(format!("its answer names a package without name or version: {:?}", step.name));
        }
        if list == "to-remove" {
            self.removes.push(step);
            return Ok(());
        }
        if let Some(from) = step.from.clone().filter(|_| !old_arch.is_empty() && old_arch != arch) {
            self.removes.push(Step { arch: old_arch, version: from, ..step.clone() });
        }
        self.installs.push(step);
        Ok(())
    }
}

/// An attribute of a tag; empty where it has none, or none that can be read.
pub(super) fn attribute(tag: &BytesStart<'_>, name: &str) -> String {
    let found = tag.try_get_attribute(name).ok().flatten();
    let value = found.and_then(|found| found.normalized_value(XmlVersion::Implicit1_0).ok());
    value.map(std::borrow::Cow::into_owned).unwrap_or_default()
}

/// `&amp;`, `&#x2014;`. An entity of somebody's own is never looked up: it stays as it is written.
pub(super) fn reference(name: &BytesRef<'_>) -> String {
    match name.resolve_char_ref() {
        Ok(Some(one)) => one.to_string(),
        Ok(None) | Err(_) => quick_xml::escape::resolve_predefined_entity(name)
            .map_or_else(|| format!("&{};", &**name), str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As zypper 1.14.42 said it.
    const SAID: &[u8] = br#"<?xml version='1.0'?>
<stream>
<message type="info">Resolving package dependencies...</message>
<message type="warning">No update candidate for 'shade'.</message>
<install-summary download-size="35598" space-usage-diff="0" packages-to-change="3">
<to-upgrade>
<solvable type="package" name="bed-lamp" edition="1:1.0-2" arch="noarch" edition-old="1:1.0-1" arch-old="noarch" summary="A package">
<description>A package.</description></solvable>
</to-upgrade>
<to-install>
<solvable type="package" name="bed-base" edition="1-1" arch="noarch" summary="A package"><description>There.</description></solvable>
<solvable type="patch" name="fix" edition="1" arch="noarch"/>
</to-install>
<to-remove><solvable type="package" name="bed-oil" edition="1.0-1" arch="x86_64" summary="A package"/></to-remove>
</install-summary>
<prompt id="0"><text>Continue?</text></prompt></stream>"#;

    #[test]
    fn what_would_come_and_go_is_read_and_patches_are_no_packages() {
        let summary = parse(SAID).unwrap();
        let installs: Vec<_> = summary
            .installs
            .iter()
            .map(|s| (s.name.as_str(), s.from.as_deref(), s.version.as_str()))
            .collect();
        assert_eq!(installs, [("bed-lamp", Some("1:1.0-1"), "1:1.0-2"), ("bed-base", None, "1-1")]);
        assert_eq!(summary.removes[0].name, "bed-oil");
        assert!(summary.is_told && summary.said == ["No update candidate for 'shade'."]);
        assert!(!parse(b"<stream></stream>").unwrap().is_told);
        assert!(parse(b"<stream><a></b>").is_err());
    }

    #[test]
    fn updates_are_told_with_their_repository() {
        let said = br#"<stream><update-status version="0.6"><update-list><update kind="package" name="lamp" edition="2-1" arch="noarch"
            edition-old="1-1"><summary>x</summary><source url="http://hub/rpm" alias="bed"/></update></update-list></update-status></stream>"#;
        let step = &parse(said).unwrap().installs[0];
        assert_eq!(
            (step.from.as_deref(), step.version.as_str(), step.repository.as_str()),
            (Some("1-1"), "2-1", "bed")
        );
    }

    #[test]
    fn a_problem_that_it_would_have_a_person_decide_is_said_and_ways_out_of_it_are_not() {
        let asked = br#"<stream><prompt id="1">
<description>Problem: bed-fence-1-1.noarch conflicts with bed-lamp = 1.0-2 provided by bed-lamp-1.0-2.noarch
 Solution 1: deinstallation of bed-fence-1-1.noarch
 Solution 2: do not install bed-lamp-1.0-2.noarch
</description><text>Choose from above solutions by number or cancel</text>
<option value="1" desc="Choose solution 1"/></prompt></stream>"#;
        let summary = parse(asked).unwrap();
        let problem =
            "Problem: bed-fence-1-1.noarch conflicts with bed-lamp = 1.0-2 provided by bed-lamp-1.0-2.noarch";
        assert_eq!((summary.is_told, summary.said), (false, vec![problem.to_owned()]));
    }

    #[test]
    fn an_answer_that_breaks_off_or_is_no_answer_is_none() {
        for end in 1..SAID.len() {
            assert!(parse(&SAID[..end]).is_err(), "{}", String::from_utf8_lossy(&SAID[..end]));
        }
        assert!(parse(b"").is_err() && parse(b"nothing to do").is_err());
        let nameless =
            br#"<stream><to-upgrade><solvable type="package" name="lamp" arch="any"/></to-upgrade></stream>"#;
        assert!(parse(nameless).unwrap_err().contains("without name or version"));
    }

    #[test]
    fn what_it_says_is_read_as_it_was_meant_and_no_more_of_it_than_people_read() {
        let message = |text: &str| format!("<message type=\"error\">{text}</message>");
        let said = |text: &str| parse(format!("<stream>{text}</stream>").as_bytes()).unwrap().said;
        assert_eq!(said(&message("a &amp; b &#x27;c&#27;[1m&mine;")), ["a & b 'c [1m&mine;"]);
        assert_eq!(said(&message(&"x".repeat(9_000)))[0].len(), SAID_BYTES_MAX);
        assert_eq!(said(&message("x").repeat(99)).len(), SAID_MAX);
    }
}
