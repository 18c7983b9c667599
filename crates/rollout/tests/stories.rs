//! Stories of a fleet: each `.story` is commands, the `.expected` beside it the same with what happened. To be read.
//! `UPDATE=1 cargo test -p rollout --test stories` writes them anew.

use rollout::sim::story;
use std::fs;
use std::path::Path;

#[test]
fn every_story_goes_as_it_is_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stories");
    let mut wrong = Vec::new();
    let mut stories: Vec<_> =
        fs::read_dir(&folder).expect("it is there").flatten().map(|entry| entry.path()).collect();
    stories.retain(|path| path.extension().is_some_and(|ending| ending == "story"));
    stories.sort();
    assert!(stories.len() >= 12, "stories are missing");
    for path in stories {
        let told = story::run(&fs::read_to_string(&path).expect("a text"))
            .unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        let beside = path.with_extension("expected");
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&beside, &told).expect("it can be written");
        }
        if fs::read_to_string(&beside).unwrap_or_default() != told {
            wrong.push(format!("{}:\n{told}", path.display()));
        }
        assert!(!told.contains("BROKEN"), "{}:\n{told}", path.display());
    }
    assert!(wrong.is_empty(), "not as written; if it is right, UPDATE=1:\n{}", wrong.join("\n"));
}
