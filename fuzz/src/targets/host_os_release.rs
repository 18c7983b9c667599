//! os-release.

pub fn run(data: &[u8]) {
    for (name, value) in agent::observe::os_release::parse(data) {
        assert!(!name.is_empty() && !value.contains(|character: char| character < ' ' && character != '\t'));
    }
}
