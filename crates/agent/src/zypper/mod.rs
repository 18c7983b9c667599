//! What an upgrade of some source packages would change on this host, closed under dependencies, file by file; by the zypper
//! that is installed here. It works on a scratch root: nothing of the host is changed, and no right is needed.

pub mod primary;
pub mod summary;

use crate::apt::{Network, Outlook};
use crate::observe::root::Root;
use crate::observe::zypp::Scratch;
use crate::rehearse::closure;
use exposure::inventory::Package;
use jiff::Timestamp;
use primary::Offered;
use rollout::plan::Change;
use std::collections::BTreeSet;
use summary::{Step, Summary};

/// Works out what upgrading the installed binaries of `sources` would do to the system in `root`. `packages`: everything
/// that is installed. With [`Network::Archives`] the repositories' metadata is fetched anew, into the scratch root. Errors tell, in
/// words, why it cannot be worked out.
pub(crate) fn rehearse(
    root: &Root,
    sources: &[String],
    packages: &[Package],
    network: Network,
    now: Timestamp,
    outlook: &mut Outlook,
) -> Result<(), String> {
    let scratch = Scratch::lay_out(root, now)?;
    if network == Network::Archives {
        scratch.refresh()?;
    }
    let upgrade = |wanted: &[&Package], _: &mut Vec<String>| {
        let names: BTreeSet<&str> = wanted.iter().map(|package| package.name.as_str()).collect();
        scratch.would(&["update", "--dry-run", "--no-recommends", "--"], names)
    };
    let pulled = |summary: &Summary| {
        let is_it = |step: &Step, package: &&Package| package.name == step.name && package.arch == step.arch;
        let installed = |step| packages.iter().find(|package| is_it(step, package));
        summary.installs.iter().filter_map(installed).map(|package| package.source.as_str()).collect()
    };
    let found = closure(sources, packages, &mut outlook.blocks, upgrade, pulled)?;
    let Some(summary) = found.filter(|summary| !summary.installs.is_empty()) else { return Ok(()) };
    let exact: Vec<String> =
        summary.installs.iter().map(|step| format!("{}={}", step.name, step.version)).collect();
    let closed = scratch
        .would(&["install", "--dry-run", "--no-recommends", "--"], exact.iter().map(String::as_str))?;
    let plain = |steps: &[Step]| {
        steps.iter().map(|s| (s.name.clone(), s.arch.clone(), s.version.clone())).collect::<BTreeSet<_>>()
    };
    if let Some((name, ..)) = plain(&summary.installs).symmetric_difference(&plain(&closed.installs)).next() {
        outlook.blocks.push(format!("named with exact versions, zypper does something else to {name}"));
    }
    let names = closed.installs.iter().map(|step| step.name.as_str()).collect();
    let offered = scratch.offered(&names)?;
    changes(&closed, &offered, outlook);
    Ok(())
}

/// What a transaction changes, with its files.
fn changes(summary: &Summary, offered: &[(String, Offered)], outlook: &mut Outlook) {
    let file_of = |name: &str, arch: &str, version: &str| {
        offered.iter().find(|(_, it)| it.name == name && it.arch == arch && it.version == version)
    };
    for step in &summary.installs {
        let found = file_of(&step.name, &step.arch, &step.version);
        let Some((repository, it)) = found.filter(|(_, it)| it.file.is_some()) else {
            outlook
                .blocks
                .push(format!("no metadata tells the SHA-256 digest of {} {}", step.name, step.version));
            continue;
        };
        let back = |from: &String| file_of(&step.name, &step.arch, from).and_then(|(_, it)| it.file.clone());
        outlook.changes.push(Change {
            name: step.name.clone(),
            arch: step.arch.clone(),
            source: it.source.clone(),
            from: step.from.clone(),
            to: step.version.clone(),
            archive: repository.clone(),
            file: it.file.clone().expect("looked at above"),
            back: step.from.as_ref().and_then(back),
        });
    }
    outlook.blocks.extend(summary.removes.iter().map(|step| format!("{} would be removed", step.name)));
}
