//! The exact command that carries a remedy out, in the host's own package manager.

use super::{Change, Remedy};
use crate::inventory::{Inventory, Manager};

/// The command for `remedy` on this host; `None` where no single command does it.
///
/// Exact versions are named, so that what runs is what was read; nothing is removed.
pub(super) fn command(inventory: &Inventory, remedy: &Remedy, changes: &[Change]) -> Option<String> {
    match remedy {
        Remedy::Upgrade => upgrade(inventory, changes),
        Remedy::Restart { by } => {
            // `named` puts the unit first: "nginx.service (pid 812)".
            let mut units: Vec<&str> = by
                .iter()
                .filter_map(|who| who.split(' ').next())
                .filter(|unit| unit.ends_with(".service"))
                .collect();
            units.sort_unstable();
            units.dedup();
            let safe = units.iter().all(|unit| is_plain(unit));
            (!units.is_empty() && safe).then(|| format!("systemctl restart {}", units.join(" ")))
        }
        Remedy::Reboot { .. } => Some("systemctl reboot".to_owned()),
        Remedy::Blocked { .. } | Remedy::None { .. } => None,
    }
}

fn upgrade(inventory: &Inventory, changes: &[Change]) -> Option<String> {
    let upgrades: Vec<(&Change, &str)> =
        changes.iter().filter_map(|change| Some((change, change.to.as_deref()?))).collect();
    // Names come from package databases; one that a shell would read differently is not put into a command.
    if upgrades.is_empty() || !upgrades.iter().all(|(change, to)| is_plain(&change.name) && is_plain(to)) {
        return None;
    }
    let native = &inventory.system.arch;
    let words: Vec<String> = match inventory.system.manager {
        Manager::Dpkg => upgrades
            .iter()
            .map(|(change, to)| {
                if change.arch == *native || change.arch == "all" {
                    format!("{}={to}", change.name)
                } else {
                    format!("{}:{}={to}", change.name, change.arch)
                }
            })
            .collect(),
        Manager::Rpm => upgrades
            .iter()
            .map(|(change, to)| match to.split_once(':') {
                Some((epoch, rest)) => format!("{}-{epoch}:{rest}.{}", change.name, change.arch),
                None => format!("{}-{to}.{}", change.name, change.arch),
            })
            .collect(),
        // With a version it would be wanted for ever: apk writes that down in what the owner wants installed.
        Manager::Apk => upgrades.iter().map(|(change, _)| change.name.clone()).collect(),
        // It takes no version, and part of an upgrade is none that Arch supports.
        Manager::Pacman | Manager::Unknown => return None,
    };
    let root = &inventory.root;
    let foreign = root != "/";
    if foreign && !is_plain(root) {
        return None;
    }
    let words = words.join(" ");
    Some(match inventory.system.manager {
        Manager::Dpkg if foreign => {
            format!("chroot {root} apt-get install --only-upgrade --no-remove {words}")
        }
        Manager::Dpkg => format!("apt-get install --only-upgrade --no-remove {words}"),
        Manager::Rpm if foreign => format!("dnf --installroot {root} upgrade --best {words}"),
        Manager::Rpm => format!("dnf upgrade --best {words}"),
        Manager::Apk if foreign => format!("apk --root {root} fix --upgrade {words}"),
        Manager::Apk => format!("apk fix --upgrade {words}"),
        Manager::Pacman | Manager::Unknown => return None,
    })
}

/// Whether a shell reads the word as it stands.
fn is_plain(word: &str) -> bool {
    !word.is_empty()
        && !word.starts_with(['-', '~'])
        // Some shells expand a tilde behind these.
        && !word.contains(":~")
        && !word.contains("=~")
        && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-._~^:@/=".contains(&byte))
}
