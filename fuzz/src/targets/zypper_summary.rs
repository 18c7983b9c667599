//! What zypper prints: nothing that breaks off is read as an answer, no package comes without a name and a version, what it says
//! is as short as people read; and an answer written of what was read reads the same.

use super::escaped;
use agent::zypper::summary::{Step, Summary, parse};
use std::fmt::Write as _;

pub fn run(bytes: &[u8]) {
    // Few inputs find a root element by themselves.
    let framed = [b"<stream>".as_slice(), bytes, b"</stream>"].concat();
    for text in [bytes, &framed] {
        let Ok(summary) = parse(text) else { continue };
        for step in summary.installs.iter().chain(&summary.removes) {
            assert!(!step.name.is_empty() && !step.version.is_empty());
        }
        assert!(summary.said.len() <= 16);
        for said in &summary.said {
            assert!(!said.is_empty() && said.len() <= 1_024 && !said.contains(char::is_control), "{said:?}");
        }
        let written = written(&summary);
        assert_eq!(parse(written.as_bytes()).as_ref(), Ok(&summary), "{written}");
        // Cut off anywhere it is no answer, least of all that nothing would change.
        let cut = usize::from(*bytes.first().unwrap_or(&0)) * (written.len() - 1) / 255;
        assert!(parse(&written.as_bytes()[..cut.min(written.len() - 2)]).is_err(), "{written} cut at {cut}");
    }
}

fn written(summary: &Summary) -> String {
    let mut text = "<stream>".to_owned();
    for said in &summary.said {
        let _ = write!(text, "<message type=\"error\">{}</message>", escaped(said));
    }
    if summary.is_told {
        text.push_str("<install-summary/>");
    }
    for (list, steps) in [("to-install", &summary.installs), ("to-remove", &summary.removes)] {
        let _ = write!(text, "<{list}>");
        for step in steps {
            tag(&mut text, step);
        }
        let _ = write!(text, "</{list}>");
    }
    text + "</stream>"
}

fn tag(text: &mut String, step: &Step) {
    let Step { name, arch, from, version, repository } = step;
    text.push_str("<solvable type=\"package\"");
    let from = from.as_deref().unwrap_or_default();
    for (key, value) in [
        ("name", name.as_str()),
        ("arch", arch),
        ("edition-old", from),
        ("edition", version),
        ("repository", repository),
    ] {
        let _ = write!(text, " {key}=\"{}\"", escaped(value));
    }
    text.push_str("/>");
}
