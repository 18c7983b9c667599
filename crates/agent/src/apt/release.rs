//! An archive's Release file: who publishes it, what it is for, and how fresh it is.

use super::control;
use advisory::release::Family;
use exposure::inventory::{Archive, ArchiveClass, Gap, Part};
use jiff::fmt::rfc2822::DateTimeParser;
use jiff::{SignedDuration, Timestamp};

/// How much of a Release file is read: 64 KiB. Debian's own header has 500 bytes; after it come only checksums.
const HEADER_BYTES_MAX: usize = 64 << 10;

/// How far in the future an index may be dated before we doubt a clock: an hour.
const FUTURE_MAX: SignedDuration = SignedDuration::from_hours(1);

/// How old a security index without Valid-Until may be: Debian's carry Valid-Until a week ahead; twice that.
const SECURITY_AGE_MAX: SignedDuration = SignedDuration::from_hours(14 * 24);

/// The header of a Release or InRelease file. Fields that are missing are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Release {
    /// `Origin`.
    pub origin: String,
    /// `Label`.
    pub label: String,
    /// `Suite`.
    pub suite: String,
    /// `Codename`.
    pub codename: String,
    /// `Version`.
    pub version: String,
    /// `Date`.
    pub date: Option<Timestamp>,
    /// `Valid-Until`.
    pub valid_until: Option<Timestamp>,
    /// `NotAutomatic: yes`: apt installs from it only on demand (backports, experimental).
    pub not_automatic: bool,
}

/// Reads the header of a Release or InRelease file. What is not there stays empty.
pub fn parse(bytes: &[u8]) -> Release {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(HEADER_BYTES_MAX)]);
    let mut release = Release::default();
    for (name, value) in control::fields(&text) {
        match name.to_ascii_lowercase().as_str() {
            "origin" => value.clone_into(&mut release.origin),
            "label" => value.clone_into(&mut release.label),
            "suite" => value.clone_into(&mut release.suite),
            "codename" => value.clone_into(&mut release.codename),
            "version" => value.clone_into(&mut release.version),
            "date" => release.date = date_of(value),
            "valid-until" => release.valid_until = date_of(value),
            "notautomatic" => release.not_automatic = value.eq_ignore_ascii_case("yes"),
            // The checksums begin: nothing of ours follows.
            "md5sum" | "sha1" | "sha256" | "sha512" => break,
            _ => {}
        }
    }
    release
}

/// Dates are RFC 2822 with the zone `UTC`, which that standard does not know.
fn date_of(text: &str) -> Option<Timestamp> {
    let text = text.strip_suffix("UTC").map_or(text.to_owned(), |text| format!("{text}+0000"));
    DateTimeParser::new().relaxed_weekday(true).parse_timestamp(&text).ok()
}

/// What an archive is for, to a host of `family`.
///
/// Debian: deb.debian.org's own Release files. Ubuntu: pockets (`-security`, `-updates`), and ESM by its origin.
pub fn class_of(release: &Release, family: &Family) -> ArchiveClass {
    let origin = release.origin.as_str();
    if *family == Family::Ubuntu && matches!(origin, "UbuntuESM" | "UbuntuESMApps") {
        return ArchiveClass::Esm;
    }
    let ours = origin.eq_ignore_ascii_case(&family.to_string())
        || (*family == Family::Debian && origin == "Debian Backports");
    if !ours {
        return ArchiveClass::Foreign;
    }
    let pocket = |suffix: &str| release.suite.ends_with(suffix) || release.codename.ends_with(suffix);
    // Before Debian 11 the security suite was called `buster/updates`; its label is the same.
    if release.label == "Debian-Security" || pocket("-security") {
        ArchiveClass::Security
    } else if ["-updates", "-backports", "-backports-sloppy"].into_iter().any(pocket) {
        ArchiveClass::Updates
    } else {
        ArchiveClass::PointRelease
    }
}

/// What is wrong with an archive's freshness at `now`. apt itself may have been told not to look (`Check-Valid-Until`).
pub fn staleness(archive: &Archive, now: Timestamp) -> Option<Gap> {
    let days = |from: Timestamp, to: Timestamp| to.duration_since(from).as_hours() / 24;
    let reason = match (archive.date, archive.valid_until) {
        (None, _) => "its index has no date that can be read: it may be of any age".to_owned(),
        (Some(date), _) if date.duration_since(now) > FUTURE_MAX => {
            format!("its index is dated {date}, in the future: a clock is wrong, here or there")
        }
        (Some(date), Some(until)) if until < now => format!(
            "its index of {} expired {} days ago: newer fixes are not seen",
            date.strftime("%F"),
            days(until, now)
        ),
        (Some(date), None)
            if archive.class == ArchiveClass::Security && now.duration_since(date) > SECURITY_AGE_MAX =>
        {
            format!("its index is {} days old: newer fixes are not seen", days(date, now))
        }
        (Some(_), _) => return None,
    };
    Some(Gap { part: Part::Archives, object: name_of(archive), reason, remedy: "apt-get update".to_owned() })
}

/// `Debian-Security oldstable-security (http://…)`.
fn name_of(archive: &Archive) -> String {
    let suite = if archive.suite.is_empty() { &archive.codename } else { &archive.suite };
    [archive.label.as_str(), suite, &format!("({})", archive.address)]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECURITY: &str = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nOrigin: Debian\nLabel: Debian-Security\n\
        Suite: oldstable-security\nVersion: 12\nCodename: bookworm-security\nDate: Sat, 07 Nov 2026 00:00:00 UTC\n\
        Valid-Until: Sat, 14 Nov 2026 00:00:00 UTC\nSHA256:\n 00 0 x\nSuite: forged\n";

    fn archive(text: &str, now: &str) -> Option<String> {
        let release = parse(text.as_bytes());
        let archive = Archive {
            address: "http://archive.example".into(),
            suite: release.suite.clone(),
            codename: release.codename.clone(),
            origin: release.origin.clone(),
            label: release.label.clone(),
            class: class_of(&release, &Family::Debian),
            date: release.date,
            valid_until: release.valid_until,
            trusted: true,
        };
        staleness(&archive, now.parse().unwrap()).map(|gap| gap.reason)
    }

    #[test]
    fn only_the_header_before_the_checksums_counts() {
        let release = parse(SECURITY.as_bytes());
        assert_eq!((release.suite.as_str(), release.version.as_str()), ("oldstable-security", "12"));
        assert_eq!(release.date.unwrap().to_string(), "2026-11-07T00:00:00Z");
        assert_eq!(parse(b"\xff\xfe: \n\n:::"), Release::default());
    }

    #[test]
    fn an_expired_a_future_and_an_undated_index_are_told() {
        assert_eq!(archive(SECURITY, "2026-11-10T00:00:00Z"), None);
        assert!(archive(SECURITY, "2026-12-01T01:00:00Z").unwrap().contains("expired 17 days ago"));
        assert!(archive(SECURITY, "2026-11-01T00:00:00Z").unwrap().contains("in the future"));
        assert!(archive("Origin: Debian\n", "2026-11-01T00:00:00Z").unwrap().contains("no date"));
        let open = SECURITY.replace("Valid-Until", "X-Until");
        assert_eq!(archive(&open, "2026-11-20T00:00:00Z"), None);
        assert!(archive(&open, "2026-11-27T00:00:00Z").unwrap().contains("20 days old"));
    }

    #[test]
    fn archives_are_classed_by_who_publishes_them_for_whom() {
        use ArchiveClass::{Esm, Foreign, PointRelease, Security, Updates};
        let class = |origin: &str, label: &str, suite: &str, family: &Family| {
            let [origin, label, suite] = [origin, label, suite].map(str::to_owned);
            class_of(&Release { origin, label, suite, ..Release::default() }, family)
        };
        let (debian, ubuntu) = (&Family::Debian, &Family::Ubuntu);
        assert_eq!(class("Debian", "Debian-Security", "oldstable-security", debian), Security);
        assert_eq!(class("Debian", "Debian", "oldstable", debian), PointRelease);
        assert_eq!(class("Debian", "Debian", "oldstable-updates", debian), Updates);
        assert_eq!(class("Debian Backports", "Debian Backports", "stable-backports", debian), Updates);
        assert_eq!(class("Debian", "Debian", "stable", ubuntu), Foreign);
        assert_eq!(class("Ubuntu", "Ubuntu", "jammy-security", ubuntu), Security);
        assert_eq!(class("UbuntuESMApps", "UbuntuESMApps", "jammy-apps-security", ubuntu), Esm);
        assert_eq!(class("Somebody", "Debian-Security", "x-security", debian), Foreign);
    }
}
