//! The real apt on real and made-up roots. Where there is no apt, there is nothing to test: every test says so and
//! passes.

#![allow(clippy::unwrap_used)] // the rule leaves tests out, but not their helpers

mod machine;
#[cfg(reference_data)]
mod oracle;
mod rehearsal;
mod roots;

use exposure::inventory::{Manager, Package, PackageState, System};

/// Whether this machine has apt; says so if not.
fn apt_is_here() -> bool {
    let here = agent::program::is_installed("apt-get");
    if !here {
        eprintln!("no apt on this machine: nothing tested");
    }
    here
}

fn debian_12() -> System {
    System {
        release: advisory::Release::new(advisory::Family::Debian, "12"),
        version_id: "12".into(),
        codename: "bookworm".into(),
        pretty: "Debian GNU/Linux 12 (bookworm)".into(),
        arch: "amd64".into(),
        manager: Manager::Dpkg,
    }
}

/// Installed packages of a dpkg status file. As much of it as these tests need.
fn installed(status: &str) -> Vec<Package> {
    let field = |stanza: &str, name: &str| {
        stanza.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(": ")?.to_owned()))
    };
    status
        .split("\n\n")
        .filter(|stanza| stanza.contains(" ok installed"))
        .map(|stanza| {
            let [name, arch, version] =
                ["Package", "Architecture", "Version"].map(|name| field(stanza, name).unwrap());
            let source = field(stanza, "Source").unwrap_or_else(|| name.clone());
            let (source, source_version) = match source.split_once(" (") {
                Some((source, version)) => (source.to_owned(), version.trim_end_matches(')').to_owned()),
                None => (source, version.clone()),
            };
            Package {
                name,
                arch,
                version,
                source,
                source_version,
                state: PackageState::Installed,
                held: stanza.contains("Status: hold"),
                essential: false,
                module: None,
                vendor: String::new(),
                origin: exposure::inventory::Origin::Unknown,
            }
        })
        .collect()
}
