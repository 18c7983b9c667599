//! What RPM vendors write into names, releases and summaries: module streams, flavours.

use crate::model::Module;

/// Streams read from one summary; two is usual for a module and its `-devel` sibling.
const STREAMS_MAX: usize = 8;

/// Whether an RPM version was built for a module: its release carries `.module_el8` (AlmaLinux) or `.module+el8`
/// (Red Hat, Rocky Linux).
pub fn is_modular(version: &str) -> bool {
    version.contains(".module_el") || version.contains(".module+el") || version.contains(".module_f")
}

/// The build flavour that an RPM version names: `ksplice` or `fips` (Oracle Linux).
pub fn flavour(version: &str) -> Option<&'static str> {
    if version.contains(".ksplice") {
        Some("ksplice")
    } else if version.contains("_fips") {
        Some("fips")
    } else {
        None
    }
}

/// The module of a modular build whose stream the vendor does not tell: name and stream are empty.
///
/// It matches no installed stream; matching must answer *undetermined*.
pub fn unknown_stream() -> Module {
    Module { name: String::new(), stream: String::new() }
}

/// The module streams that a summary names: `nodejs:18` in "Important: nodejs:18 security update".
///
/// AlmaLinux and Rocky Linux publish the stream nowhere else. A package of a bulletin that names two ("virt:rhel and
/// virt-devel:rhel") may belong to either, so a claim is made for each.
pub fn streams(summary: &str) -> Vec<Module> {
    let mut streams = Vec::new();
    for word in summary.split_whitespace() {
        let word = word.trim_start_matches('(').trim_end_matches([',', '.', ';', ')']);
        let Some((name, stream)) = word.split_once(':') else { continue };
        let is_token = |text: &str| {
            !text.is_empty()
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte))
        };
        let module = || Module { name: name.to_owned(), stream: stream.to_owned() };
        if is_token(name) && is_token(stream) && streams.len() < STREAMS_MAX && !streams.contains(&module()) {
            streams.push(module());
        }
    }
    streams
}

/// The severity in front of, or behind, a summary: "Important: …", "… (Important)".
pub fn severity(summary: &str) -> Option<&str> {
    let is_severity = |word: &&str| matches!(*word, "Low" | "Moderate" | "Important" | "Critical");
    let before = summary.split_once(": ").map(|(word, _)| word).filter(is_severity);
    let behind = summary.rsplit_once('(').and_then(|(_, word)| word.strip_suffix(')')).filter(is_severity);
    before.or(behind)
}
