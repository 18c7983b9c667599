//! What keeps the house in order: each rule is a test that names the file and the remedy.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A file longer than this is split, or it is named in `LONG` with its reason.
const LINES_MAX: usize = 500;

/// Files that may be longer, each with its reason. Remove a line when it is not needed any more.
const LONG: [(&str, &str); 0] = [];

/// Crates in the order of the walk: each may use only crates named before it.
const WALK: [&str; 9] =
    ["advisory", "exposure", "rollout", "traffic", "wire", "trust", "agent", "server", "palisade"];

/// Words that say nothing about what a file is for.
const EMPTY_NAMES: [&str; 6] = ["utils", "util", "helpers", "helper", "common", "misc"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace is there")
}

/// Files under `directory` with one of `endings`, relative to the workspace.
fn files(directory: &str, endings: &[&str]) -> Vec<PathBuf> {
    fn walk(directory: &Path, into: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name();
            if name == ".git" || name == "target" || name == "corpus" || name == "artifacts" {
                continue;
            }
            if path.is_dir() { walk(&path, into) } else { into.push(path) }
        }
    }
    let mut found = Vec::new();
    walk(&root().join(directory), &mut found);
    found.retain(|path| endings.iter().any(|ending| path.to_string_lossy().ends_with(ending)));
    found.sort();
    found.into_iter().map(|path| path.strip_prefix(root()).expect("it was found there").to_owned()).collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_default()
}

#[test]
fn no_file_has_grown_past_its_limit() {
    let allowed: BTreeMap<&str, &str> = LONG.into_iter().collect();
    let long: Vec<String> = files("crates", &[".rs"])
        .into_iter()
        .chain(files("fuzz", &[".rs"]))
        .filter(|path| !allowed.contains_key(path.to_string_lossy().as_ref()))
        .filter_map(|path| {
            let lines = read(&path).lines().count();
            (lines > LINES_MAX).then(|| format!("{}: {lines} lines", path.display()))
        })
        .collect();
    assert!(long.is_empty(), "split these files, or give a reason in LONG:\n{}", long.join("\n"));
}

#[test]
fn every_source_file_belongs_to_a_module() {
    for krate in WALK {
        let sources = files(&format!("crates/{krate}/src"), &[".rs"]);
        let text: String = sources.iter().map(|path| read(path)).collect();
        for path in &sources {
            let stem = path.file_stem().expect("it ends in .rs").to_string_lossy().into_owned();
            let name = if stem == "mod" {
                path.parent()
                    .and_then(Path::file_name)
                    .expect("mod.rs lies in a folder")
                    .to_string_lossy()
                    .into_owned()
            } else {
                stem
            };
            if ["lib", "main", "src"].contains(&name.as_str()) {
                continue;
            }
            let declared = text.contains(&format!("mod {name};")) || text.contains(&format!("mod {name} {{"));
            assert!(declared, "{} is in no module: declare it or delete it", path.display());
        }
    }
}

#[test]
fn crates_are_used_one_way() {
    for (place, krate) in WALK.iter().enumerate() {
        let manifest = read(Path::new(&format!("crates/{krate}/Cargo.toml")));
        for later in &WALK[place..] {
            let uses = manifest.lines().any(|line| {
                line.starts_with(&format!("{later}.")) || line.starts_with(&format!("{later} ="))
            });
            assert!(
                !uses,
                "crates/{krate} uses {later}, which comes after it in the walk: turn the dependency round"
            );
        }
    }
    let crates: BTreeSet<String> = fs::read_dir(root().join("crates"))
        .expect("crates is there")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    let known: BTreeSet<String> = WALK.iter().map(|&krate| krate.to_owned()).collect();
    assert_eq!(crates, known, "name the crate's place in WALK");
}

#[test]
fn no_file_is_named_after_nothing() {
    for path in files("crates", &[".rs"]) {
        let stem = path.file_stem().expect("it ends in .rs").to_string_lossy().into_owned();
        assert!(!EMPTY_NAMES.contains(&stem.as_str()), "{}: name it after what it is for", path.display());
    }
}

#[test]
fn nothing_is_left_for_later_without_a_name() {
    let marks = ["TODO", "FIXME", "XXX"].map(|mark| format!("{mark}:"));
    for path in files("crates", &[".rs"]).into_iter().filter(|path| !path.ends_with("tests/tidy.rs")) {
        let text = read(&path);
        for mark in &marks {
            assert!(!text.contains(mark.as_str()), "{}: do it now, or write down who will", path.display());
        }
    }
}

#[test]
fn pure_crates_do_no_input_or_output() {
    for krate in ["advisory", "exposure", "rollout", "traffic"] {
        for path in files(&format!("crates/{krate}/src"), &[".rs"]) {
            for banned in [
                "std::fs",
                "std::net::Tcp",
                "std::net::Udp",
                "std::process",
                "std::thread",
                "println!",
                "eprintln!",
            ] {
                assert!(
                    !read(&path).contains(banned),
                    "{}: {banned} in a pure crate; take bytes and give values",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    for path in files(".", &[".md"]) {
        let text = read(&path);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = target.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let at = root().join(path.parent().unwrap_or(Path::new(""))).join(target);
            assert!(at.exists(), "{}: the link to {target} leads nowhere", path.display());
        }
    }
}

#[test]
fn every_option_that_the_documents_name_exists() {
    // The man pages name every option of every command.
    let pages = tempfile::tempdir().expect("a directory");
    let written =
        std::process::Command::new(env!("CARGO_BIN_EXE_palisade")).arg("man").arg(pages.path()).status();
    assert!(written.expect("the program starts").success());
    let page = |entry: fs::DirEntry| fs::read_to_string(entry.path()).expect("man pages are text");
    let pages: String = fs::read_dir(pages.path()).expect("it is there").flatten().map(page).collect();
    let help = pages.replace("\\-", "-");
    for path in files("docs", &[".md"]).into_iter().chain([PathBuf::from("README.md")]) {
        for line in read(&path).lines().filter(|line| line.contains("palisade ") && !line.contains("cargo "))
        {
            // Options of a palisade command: words after it, up to a pipe or the end of the code span.
            let Some((_, after)) = line.split_once("palisade ") else { continue };
            let command = after.split(['|', '`', ';', '&', '#']).next().unwrap_or_default();
            for word in command.split_whitespace().filter(|word| word.starts_with("--")) {
                let option = word.split('=').next().unwrap_or(word);
                assert!(help.contains(option), "{}: no command takes {option}", path.display());
            }
        }
    }
}

#[test]
fn every_fuzz_target_and_benchmark_is_listed_in_the_documents() {
    let documents: String = files("docs", &[".md"]).iter().map(|path| read(path)).collect();
    for path in
        files("crates", &[".rs"]).into_iter().filter(|path| path.to_string_lossy().contains("/benches/"))
    {
        // One in several files is named by its folder.
        let (_, name) =
            path.to_str().and_then(|path| path.split_once("/benches/")).expect("it is among them");
        let name = name.split('/').next().unwrap_or(name).trim_end_matches(".rs");
        assert!(documents.contains(name), "{}: docs/ says nothing about this benchmark", path.display());
    }
}
