//! OSV's ecosystem text to release, channel, flavour and kind of name.
//!
//! Source of the forms: the OSV schema's list of defined ecosystems, and records of each family.

use crate::model::{Channel, NameKind};
use crate::release::{Family, Release};

/// Where a package of one ecosystem stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Release of it.
    pub release: Release,
    /// Channel through which its fixes come.
    pub channel: Channel,
    /// Build flavour with its own versions.
    pub flavour: Option<String>,
    /// What package names of this ecosystem name.
    pub name_kind: NameKind,
}

/// The place that `ecosystem` names. Every text names one: what we do not know is kept as [`Family::Other`].
pub fn place(ecosystem: &str) -> Place {
    let (family, rest) = ecosystem.split_once(':').unwrap_or((ecosystem, ""));
    match family {
        "Debian" => plain(Family::Debian, rest, NameKind::Source),
        "Alpine" => plain(Family::Alpine, rest.trim_start_matches('v'), NameKind::Source),
        "Ubuntu" => ubuntu(rest),
        "AlmaLinux" => plain(Family::AlmaLinux, rest, NameKind::Binary),
        // Rocky Linux and SUSE name the source package (`maven2`, `libqt4`); the others of this list every binary one.
        "Rocky Linux" => plain(Family::RockyLinux, rest, NameKind::Source),
        "SUSE" => suse(ecosystem, rest),
        "openSUSE" => plain(Family::OpenSuse, opensuse(rest), NameKind::Source),
        "Red Hat" => red_hat(ecosystem, rest),
        "Azure Linux" => plain(Family::AzureLinux, rest, NameKind::Binary),
        "PyPI" => plain(Family::PyPi, "", NameKind::Binary),
        "npm" => plain(Family::Npm, "", NameKind::Binary),
        "crates.io" => plain(Family::CratesIo, "", NameKind::Binary),
        other => plain(Family::Other(other.to_owned()), rest, NameKind::Binary),
    }
}

/// Whether releases of this family are numbered, so that an ecosystem without a release matches no host.
pub(super) fn needs_release(family: &Family) -> bool {
    match family {
        Family::Debian
        | Family::Ubuntu
        | Family::AlmaLinux
        | Family::RockyLinux
        | Family::RedHat
        | Family::CentOs
        | Family::Fedora
        | Family::OracleLinux
        | Family::AmazonLinux
        | Family::Suse
        | Family::AzureLinux
        | Family::Alpine => true,
        // Tumbleweed has no number.
        Family::OpenSuse | Family::PyPi | Family::Npm | Family::CratesIo | Family::Other(_) => false,
    }
}

fn plain(family: Family, version: &str, name_kind: NameKind) -> Place {
    Place { release: Release::new(family, version), channel: Channel::Main, flavour: None, name_kind }
}

/// `22.04:LTS`, `24.10`, `Pro:18.04:LTS`, `Pro:FIPS-updates:22.04:LTS`.
fn ubuntu(rest: &str) -> Place {
    let mut place = plain(Family::Ubuntu, "", NameKind::Source);
    for part in rest.split(':') {
        match part {
            "Pro" => place.channel = Channel::Esm,
            "LTS" | "" => {}
            number if number.starts_with(|char: char| char.is_ascii_digit()) => {
                number.clone_into(&mut place.release.version);
            }
            // FIPS, FIPS-preview, FIPS-updates, Realtime: builds with versions of their own.
            flavour => place.flavour = Some(flavour.to_ascii_lowercase()),
        }
    }
    if place.flavour.as_deref().is_some_and(|flavour| flavour.starts_with("fips")) {
        place.flavour = Some("fips".to_owned());
    }
    place
}

/// What follows `cpe:/o:redhat:`: `enterprise_linux:9::baseos`, `rhel_eus:9.4::appstream`.
fn red_hat(ecosystem: &str, rest: &str) -> Place {
    let mut parts = rest.split(':');
    let (product, version) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    let major = version.split('.').next().unwrap_or("");
    match product {
        "enterprise_linux" => plain(Family::RedHat, major, NameKind::Binary),
        // AUS, E4S and TUS are extended updates of a minor release too, for longer and for fewer.
        "rhel_eus" | "rhel_aus" | "rhel_e4s" | "rhel_tus" => {
            let channel = Channel::Eus(version.to_owned());
            Place { channel, ..plain(Family::RedHat, major, NameKind::Binary) }
        }
        _ => plain(Family::Other(ecosystem.to_owned()), "", NameKind::Binary),
    }
}

/// `Linux Enterprise Server 15 SP5`, `Linux Enterprise Module for Basesystem 15 SP5`: release `15.5`.
fn suse(ecosystem: &str, rest: &str) -> Place {
    let number = |word: &&str| word.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let mut words = rest.split_whitespace().skip_while(|word| !number(word));
    let version = words.next().unwrap_or("");
    if !rest.starts_with("Linux ") || version.is_empty() {
        return plain(Family::Other(ecosystem.to_owned()), "", NameKind::Source);
    }
    let mut next = words.next().unwrap_or("");
    let pack = next.strip_prefix("SP").filter(number);
    let version = pack.map_or_else(|| version.to_owned(), |pack| format!("{version}.{pack}"));
    if pack.is_some() {
        next = words.next().unwrap_or("");
    }
    let mut place = plain(Family::Suse, &version, NameKind::Source);
    // `15 SP3-LTSS`, `12 SP5 LTSS`: long term support that has to be bought.
    if next.contains("LTSS") || rest.contains("-LTSS") || rest.contains("ESPOS") {
        place.channel = Channel::Esm;
        if let Some(pack) = rest.split("SP").nth(1).and_then(|pack| pack.split('-').next())
            && place.release.version == version
            && !version.contains('.')
            && number(&pack)
        {
            place.release.version = format!("{version}.{pack}");
        }
    }
    place
}

/// `Leap 15.6` is release `15.6`; Tumbleweed rolls and has none.
fn opensuse(rest: &str) -> &str {
    match rest {
        "Tumbleweed" => "",
        _ => rest.strip_prefix("Leap ").unwrap_or(rest),
    }
}
