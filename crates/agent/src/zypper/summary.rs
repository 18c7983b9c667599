//! What zypper says it would do, or what it has for whom: its answers as XML.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

/// What one command would do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// What comes; in place of what is installed, or new.
    pub(crate) installs: Vec<Step>,
    /// What goes, without anything in its place.
    pub(crate) removes: Vec<Step>,
    /// What it warns of or refuses, in its words.
    pub(crate) said: Vec<String>,
    /// Whether it told a summary; without one it had nothing to do, or would not.
    pub(crate) is_told: bool,
}

/// One package.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Step {
    pub(crate) name: String,
    pub(crate) arch: String,
    pub(crate) from: Option<String>,
    /// `epoch:version-release`, a zero epoch left out; what goes has the version that goes.
    pub(crate) version: String,
    /// Alias of its repository, where one is told.
    pub(crate) repository: String,
}

/// Reads an answer. Errors, in words, where it is no XML.
pub(crate) fn parse(bytes: &[u8]) -> Result<Summary, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "its answer is no text".to_owned())?;
    let mut reader = Reader::from_str(text);
    let mut summary = Summary::default();
    // Which list a package stands in; whether what follows is a message that matters.
    let (mut list, mut message, mut is_asking) = (String::new(), None::<String>, false);
    loop {
        let event = reader.read_event().map_err(|error| format!("its answer cannot be read: {error}"))?;
        match event {
            Event::Start(tag) | Event::Empty(tag) => match tag.local_name().as_ref() {
                "install-summary" => summary.is_told = true,
                "message" => {
                    let matters = matches!(attribute(&tag, "type").as_str(), "warning" | "error");
                    message = matters.then(String::new);
                }
                "prompt" => is_asking = true,
                // What it would have a person decide: the problem, and then ways out of it, which nobody takes here.
                "description" if is_asking => message = Some(String::new()),
                "solvable" if attribute(&tag, "type") == "package" => summary.take(&list, &tag),
                "update" if attribute(&tag, "kind") == "package" => summary.take("to-upgrade", &tag),
                "source" => {
                    if let Some(step) = summary.installs.last_mut().filter(|step| step.repository.is_empty())
                    {
                        step.repository = attribute(&tag, "alias");
                    }
                }
                name if name.starts_with("to-") => name.clone_into(&mut list),
                _ => {}
            },
            Event::Text(text) => {
                if let Some(message) = &mut message {
                    message.push_str(&text);
                }
            }
            Event::End(tag) if tag.local_name().as_ref() == "message" => {
                let said = message.take().unwrap_or_default();
                let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
                if !said.is_empty() {
                    summary.said.push(said);
                }
            }
            Event::End(tag) if tag.local_name().as_ref() == "prompt" => is_asking = false,
            Event::End(tag) if tag.local_name().as_ref() == "description" && is_asking => {
                let asked = message.take().unwrap_or_default();
                let problems = asked.lines().map(str::trim).filter(|line| line.starts_with("Problem:"));
                summary.said.extend(problems.map(str::to_owned));
            }
            Event::Eof => return Ok(summary),
            Event::End(_)
            | Event::CData(_)
            | Event::Comment(_)
            | Event::Decl(_)
            | Event::PI(_)
            | Event::DocType(_)
            | Event::GeneralRef(_) => {}
        }
    }
}

impl Summary {
    fn take(&mut self, list: &str, tag: &BytesStart<'_>) {
        let (arch, old_arch) = (attribute(tag, "arch"), attribute(tag, "arch-old"));
        let step = Step {
            name: attribute(tag, "name"),
            arch: arch.clone(),
            from: Some(attribute(tag, "edition-old")).filter(|from| !from.is_empty()),
            version: attribute(tag, "edition"),
            repository: attribute(tag, "repository"),
        };
        if list == "to-remove" {
            self.removes.push(step);
            return;
        }
        if let Some(from) = step.from.clone().filter(|_| !old_arch.is_empty() && old_arch != arch) {
            self.removes.push(Step { arch: old_arch, version: from, ..step.clone() });
        }
        self.installs.push(step);
    }
}

/// An attribute of a tag; empty where it has none.
pub(super) fn attribute(tag: &BytesStart<'_>, name: &str) -> String {
    tag.try_get_attribute(name).ok().flatten().map(|found| found.value.into_owned()).unwrap_or_default()
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
}
