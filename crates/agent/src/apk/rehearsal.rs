//! What an upgrade of some packages would change on a host that apk keeps, file by file.

use super::scratch::Scratch;
use super::{Offered, Steps, cached, has_systemd, usable};
use crate::apt::{Network, Outlook};
use crate::job::sight::sha256_of;
use crate::observe::apk::{database, identity, owns_kernel};
use crate::observe::gaps;
use crate::observe::root::Root;
use crate::rehearse::closure;
use exposure::inventory::{Action, ArchiveClass, Candidate, Fetch, Gap, Package, Part};
use rollout::plan::{Change, File};
use std::collections::BTreeSet;

/// What apk would upgrade, by the indexes that root fetched last; sorted by name.
pub(crate) fn candidates(root: &Root, packages: &[Package], found: &mut Vec<Gap>) -> Vec<Candidate> {
    let mut gap = |reason: String, remedy: &str| {
        found.push(gaps::new(Part::Candidates, "apk", reason, remedy));
    };
    if let Err(reason) = usable() {
        gap(reason, "look where apk 3 is installed");
        return Vec::new();
    }
    let asked = Scratch::lay_out(root, Network::None).and_then(|scratch| scratch.upgrades());
    let (offered, lost) = asked.unwrap_or_else(|reason| (Vec::new(), Some(reason)));
    if let Some(reason) = lost {
        gap(reason, "have apk fetch its indexes: \"apk update\"");
    }
    let candidate = |it: &Offered| {
        let installed = packages.iter().find(|package| package.name == it.name)?;
        Some(Candidate {
            name: it.name.clone(),
            arch: it.arch.clone(),
            from: Some(installed.version.clone()),
            to: Some(it.version.clone()),
            source: it.origin.clone().unwrap_or_else(|| it.name.clone()),
            source_version: it.version.clone(),
            class: ArchiveClass::Updates,
            archives: vec![it.archive()],
            action: if installed.held {
                Action::KeptBack("held: world asks for this version".to_owned())
            } else {
                Action::Upgrade
            },
            size_bytes: it.size_bytes,
            fetch: Fetch::Unchecked("read from cached metadata".to_owned()),
        })
    };
    let mut candidates: Vec<Candidate> = offered.iter().filter_map(candidate).collect();
    candidates.sort_by(|one, other| one.name.cmp(&other.name));
    candidates
}

/// Works out what upgrading the installed packages of `sources` would do to the system in `root`. `packages`: everything
/// that is installed. With [`Network::Archives`] indexes are fetched anew, into a copy, and so is each new file: only whoever has it
/// knows its SHA-256. Errors tell, in words, why it cannot be worked out.
pub(crate) fn rehearse(
    root: &Root,
    sources: &[String],
    packages: &[Package],
    network: Network,
    outlook: &mut Outlook,
) -> Result<(), String> {
    has_systemd(root)?;
    usable()?;
    let scratch = Scratch::lay_out(root, network)?;
    if network == Network::Archives {
        scratch.refresh()?;
    }
    let (newer, lost) = scratch.upgrades()?;
    outlook.blocks.extend(lost.map(|what| format!("what repositories have cannot be read: {what}")));
    let is_newer = |name: &&str| newer.iter().any(|it| it.name == *name);
    let upgrade = |wanted: &[&Package], _: &mut Vec<String>| {
        let names: BTreeSet<&str> =
            wanted.iter().map(|package| package.name.as_str()).filter(is_newer).collect();
        if names.is_empty() { Ok(Steps::default()) } else { scratch.would(names) }
    };
    let installed = |name: &str| packages.iter().find(|package| package.name == name);
    let pulled = |would: &Steps| {
        would
            .installs
            .keys()
            .filter_map(|name| installed(name))
            .map(|package| package.source.as_str())
            .collect()
    };
    let Some(would) = closure(sources, packages, &mut outlook.blocks, upgrade, pulled)? else {
        return Ok(());
    };
    for (name, version) in &would.removes {
        let reason = "nothing would need it any more, and a plan removes nothing";
        outlook.blocks.push(format!("{name} {version} would be removed: {reason}"));
    }
    changes(root, &scratch, &would, packages, network, outlook)
}

/// What a transaction changes, with its files.
fn changes(
    root: &Root,
    scratch: &Scratch,
    would: &Steps,
    packages: &[Package],
    network: Network,
    outlook: &mut Outlook,
) -> Result<(), String> {
    if would.installs.is_empty() {
        return Ok(());
    }
    let database = database(root).and_then(Result::ok).unwrap_or_default();
    let offered = scratch.available(would.installs.keys().map(String::as_str))?;
    for (name, to) in &would.installs {
        let Some(it) = offered.iter().find(|it| it.name == *name && it.version == *to) else {
            outlook.blocks.push(format!("no repository's index tells of {name} {to}"));
            continue;
        };
        if network == Network::None {
            outlook.blocks.push(format!(
                "{name} {to}: its SHA-256 digest is known to whoever fetches it, and nobody may"
            ));
            continue;
        }
        let file = match scratch.file(name, to) {
            Ok(file) => file,
            Err(reason) => {
                outlook.blocks.push(reason);
                continue;
            }
        };
        if owns_kernel(&database, name) {
            outlook
                .blocks
                .push(format!("{name}: whether a new kernel is booted cannot be told on this host"));
        }
        let old = packages.iter().find(|package| package.name == *name);
        outlook.changes.push(Change {
            from: old.map(|package| package.version.clone()),
            back: old.and_then(|package| back(root, &database, package)),
            arch: it.arch.clone(),
            source: it.origin.clone().unwrap_or_else(|| name.clone()),
            archive: it.archive(),
            name: name.clone(),
            to: to.clone(),
            file,
        });
    }
    Ok(())
}

/// The file of what is installed, if its owner has apk keep such: repositories have the newest version alone.
fn back(root: &Root, database: &[u8], package: &Package) -> Option<File> {
    let own = identity(database, &package.name)?;
    let kept = cached(root, &package.name, &package.version);
    let (_, path) = kept.into_iter().find(|(digits, _)| own.starts_with(digits.as_str()))?;
    let (sha256, size_bytes) = sha256_of(&path).ok()?;
    Some(File { sha256, size_bytes })
}
