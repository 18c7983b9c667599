//! Our own rules, which lie in `rules/` at the root of the project.

use super::{Rule, read};

/// Name and text of each file.
const FILES: [(&str, &str); 11] = [
    ("rules/apache.yaml", include_str!("../../../../rules/apache.yaml")),
    ("rules/appliances.yaml", include_str!("../../../../rules/appliances.yaml")),
    ("rules/code-red.yaml", include_str!("../../../../rules/code-red.yaml")),
    ("rules/devices.yaml", include_str!("../../../../rules/devices.yaml")),
    ("rules/generic.yaml", include_str!("../../../../rules/generic.yaml")),
    ("rules/java.yaml", include_str!("../../../../rules/java.yaml")),
    ("rules/nimda.yaml", include_str!("../../../../rules/nimda.yaml")),
    ("rules/php.yaml", include_str!("../../../../rules/php.yaml")),
    ("rules/probes.yaml", include_str!("../../../../rules/probes.yaml")),
    ("rules/protocols.yaml", include_str!("../../../../rules/protocols.yaml")),
    ("rules/wordpress.yaml", include_str!("../../../../rules/wordpress.yaml")),
];

/// Our own rules: name and text of each file.
pub fn builtin() -> &'static [(&'static str, &'static str)] {
    &FILES
}

/// The same, read. What is wrong with any of them a test would tell.
pub fn own() -> Vec<Rule> {
    FILES.iter().flat_map(|(name, text)| read(name, text).0).collect()
}
