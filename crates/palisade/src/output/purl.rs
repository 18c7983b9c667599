//! Package URLs (purl specification, types deb, rpm, apk and alpm).

use advisory::{Family, Release};
use exposure::inventory::{Manager, Package, System};
use std::fmt::Write;

/// The purl of an installed binary package.
pub(crate) fn of(package: &Package, system: &System) -> String {
    let kind = match system.manager {
        Manager::Dpkg => "deb",
        Manager::Rpm => "rpm",
        Manager::Apk => "apk",
        Manager::Pacman => "alpm",
        Manager::Unknown => "generic",
    };
    let namespace = namespace(&system.release);
    let (epoch, version) = match package.version.split_once(':') {
        // Only rpm's type carries the epoch apart.
        Some((epoch, rest)) if kind == "rpm" => (Some(epoch), rest),
        Some(_) | None => (None, package.version.as_str()),
    };
    let mut purl = format!(
        "pkg:{kind}/{namespace}/{}@{}?arch={}",
        encode(&package.name),
        encode(version),
        encode(&package.arch)
    );
    let _ = write!(purl, "&distro={namespace}-{}", encode(&system.version_id));
    if let Some(epoch) = epoch {
        let _ = write!(purl, "&epoch={}", encode(epoch));
    }
    purl
}

fn namespace(release: &Release) -> String {
    match &release.family {
        Family::Debian => "debian".to_owned(),
        Family::Ubuntu => "ubuntu".to_owned(),
        Family::AlmaLinux => "almalinux".to_owned(),
        Family::RockyLinux => "rocky".to_owned(),
        Family::RedHat => "redhat".to_owned(),
        Family::CentOs => "centos".to_owned(),
        Family::Fedora => "fedora".to_owned(),
        Family::OracleLinux => "oracle".to_owned(),
        Family::AmazonLinux => "amzn".to_owned(),
        Family::Suse => "suse".to_owned(),
        Family::OpenSuse => "opensuse".to_owned(),
        Family::AzureLinux => "azurelinux".to_owned(),
        Family::Alpine => "alpine".to_owned(),
        Family::PyPi | Family::Npm | Family::CratesIo => "language".to_owned(),
        Family::Other(name) => encode(name),
    }
}

/// Percent-encodes all but what the specification lets stand.
fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b".-_~:".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plus_in_a_version_is_encoded_and_a_colon_is_not() {
        assert_eq!(encode("1:9.2p1-2+deb12u6"), "1:9.2p1-2%2Bdeb12u6");
    }
}
