//! One update of the file, gathered as its elements pass, then told as an advisory.

use super::super::intake::{self, Problems};
use super::super::rpm;
use super::{OPERATION, PACKAGES_MAX, REFERENCES_MAX, attribute};
use crate::model::{
    Advisory, Channel, Claim, Document, Edge, EdgeKind, Kind, Module, NameKind, Severity, State,
};
use crate::problem::Problem;
use crate::release::Release;
use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use quick_xml::events::BytesStart;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// The update being read.
#[derive(Default)]
pub(super) struct Update {
    pub(super) id: String,
    pub(super) kind: String,
    pub(super) status: String,
    pub(super) title: String,
    pub(super) summary: String,
    pub(super) severity: String,
    pub(super) issued: String,
    pub(super) updated: String,
    pub(super) reboot: bool,
    pub(super) edges: Vec<Edge>,
    pub(super) references: Vec<String>,
    pub(super) module: Option<Module>,
    pub(super) packages: Vec<Package>,
    pub(super) notes: Vec<String>,
    /// Over all that the update says, because a stream keeps no raw text.
    pub(super) digest: Sha256,
}

/// One package of it.
pub(super) struct Package {
    pub(super) name: String,
    pub(super) arch: String,
    pub(super) evr: Option<String>,
    pub(super) module: Option<Module>,
}

impl Update {
    pub(super) fn note(&mut self, reason: String) {
        // A hundred say enough about one update.
        if self.notes.len() < 100 {
            self.notes.push(reason);
        }
    }

    pub(super) fn reference(&mut self, tag: &BytesStart<'_>) {
        let value = |name| attribute(tag, name).ok().flatten().unwrap_or_default();
        let (kind, id, href, title) = (value("type"), value("id"), value("href"), value("title"));
        if self.references.len() == REFERENCES_MAX || self.edges.len() >= REFERENCES_MAX {
            return self.note(format!("more than {REFERENCES_MAX} references; the rest is left out"));
        }
        if !href.is_empty() {
            self.references.push(href);
        }
        let mut edge = |kind, id: &str| {
            let edge = Edge { kind, id: id.to_owned() };
            if !self.edges.contains(&edge) && self.edges.len() < 2_000 {
                self.edges.push(edge);
            }
        };
        // An update closes CVEs; it is no other name of one, so they are never aliases.
        if intake::is_cve(&id) {
            edge(EdgeKind::Related, &id);
        } else if ["rhsa", "rhba", "rhea"].contains(&kind.to_ascii_lowercase().as_str()) && !id.is_empty() {
            // A rebuild names the bulletin it follows.
            edge(EdgeKind::Upstream, &id);
        }
        // Fedora names its CVEs only in the titles of its bugs.
        let is_separator = |char: char| !char.is_ascii_alphanumeric() && char != '-';
        title
            .split(is_separator)
            .filter(|word| intake::is_cve(word))
            .for_each(|cve| edge(EdgeKind::Related, cve));
    }

    pub(super) fn module(&mut self, tag: &BytesStart<'_>) {
        let value = |name| attribute(tag, name).ok().flatten().unwrap_or_default();
        let (name, stream) = (value("name"), value("stream"));
        if name.is_empty() || stream.is_empty() {
            self.note("a module without name or stream; its packages are undetermined".to_owned());
            self.module = Some(rpm::unknown_stream());
        } else {
            self.module = Some(Module { name, stream });
        }
    }

    pub(super) fn package(&mut self, tag: &BytesStart<'_>) {
        if self.packages.len() == PACKAGES_MAX {
            return self.note(format!("more than {PACKAGES_MAX} packages; the rest is left out"));
        }
        let name = match attribute(tag, "name") {
            Ok(Some(name)) if !name.is_empty() => name,
            Ok(_) => return self.note("a package without a name; it is not judged".to_owned()),
            Err(reason) => return self.note(format!("a package's name cannot be read: {reason}")),
        };
        let value = |name| attribute(tag, name).ok().flatten().filter(|text| !text.is_empty());
        let evr = match (value("epoch"), value("version"), value("release")) {
            // "0" and no epoch are the same epoch; written without, as rpm does.
            (None, Some(version), Some(release)) => Some(format!("{version}-{release}")),
            (Some(epoch), Some(version), Some(release)) if epoch == "0" => {
                Some(format!("{version}-{release}"))
            }
            (Some(epoch), Some(version), Some(release)) => Some(format!("{epoch}:{version}-{release}")),
            (_, None, _) | (_, _, None) => None,
        };
        if evr.is_none() {
            self.note(format!("package {name:?} has no version or release; it shows as undetermined"));
        }
        let arch = value("arch").unwrap_or_default();
        self.packages.push(Package { name, arch, evr, module: self.module.clone() });
    }

    pub(super) fn deliver(
        self,
        feed: &str,
        release: &Release,
        out: &mut dyn FnMut(Advisory),
        problems: &mut Problems,
    ) {
        if self.id.is_empty() {
            let reason = "an update without an id; it is not used";
            return problems.push(Problem::new(OPERATION, feed, reason).remedy("ask its vendor"));
        }
        let mut notes = self.notes;
        let sha256 = crate::digest::hex(&self.digest.finalize());
        let document = Document { feed: feed.to_owned(), entry: self.id.clone(), sha256 };
        let mut advisory = Advisory::new(self.id, Kind::Security, Arc::new(document));
        advisory.kind = match self.kind.as_str() {
            "security" => Kind::Security,
            "bugfix" | "enhancement" | "recommended" | "optional" | "feature" | "newpackage" => {
                Kind::Maintenance
            }
            other => {
                notes.push(format!("its type is {:?}; taken for security", intake::one_line(other, 64)));
                Kind::Security
            }
        };
        advisory.published = time("issued", &self.issued, &mut notes);
        advisory.modified = time("updated", &self.updated, &mut notes);
        if self.status == "retracted" {
            advisory.withdrawn = advisory.modified.or(advisory.published);
            if advisory.withdrawn.is_none() {
                notes.push("retracted without a date, so it still counts".to_owned());
            }
        }
        let severity = Some(self.severity.as_str()).filter(|word| !word.is_empty() && *word != "None");
        advisory.severities = severity
            .or_else(|| rpm::severity(&self.title))
            .map(|word| Severity::Vendor(word.to_owned()))
            .into_iter()
            .collect();
        let streams = rpm::streams(&self.title);
        // Source packages stand beside their binaries; hosts install binaries. Where there are only sources, those.
        let only_sources = self.packages.iter().all(Package::is_source);
        for package in self.packages {
            if !package.is_source() || only_sources {
                package.claims(release, &streams, &mut advisory.claims);
            }
        }
        advisory.summary = if self.title.is_empty() { self.summary } else { self.title };
        advisory.edges = self.edges;
        advisory.references = self.references;
        advisory.reboot = self.reboot;
        for reason in notes {
            problems.push(
                Problem::new(OPERATION, format!("{feed}: {}", advisory.id), reason).remedy("ask its vendor"),
            );
        }
        out(advisory);
    }
}

impl Package {
    pub(super) fn is_source(&self) -> bool {
        self.arch == "src" || self.arch == "nosrc"
    }

    pub(super) fn claims(self, release: &Release, streams: &[Module], claims: &mut Vec<Claim>) {
        let name_kind = if self.is_source() { NameKind::Source } else { NameKind::Binary };
        let arch = (!self.arch.is_empty() && self.arch != "noarch" && !self.is_source()).then_some(self.arch);
        let evr = self.evr.as_deref().unwrap_or("");
        let modular = rpm::is_modular(evr);
        let claim = Claim {
            release: release.clone(),
            channel: Channel::Main,
            name_kind,
            name: self.name,
            module: self.module.or_else(|| modular.then(rpm::unknown_stream)),
            flavour: rpm::flavour(evr).map(str::to_owned),
            arch,
            introduced: None,
            state: if self.evr.is_some() { State::Fixed } else { State::Undetermined },
            reason: if self.evr.is_some() { String::new() } else { "the vendor gives no version".to_owned() },
            fixed: self.evr,
            last_affected: None,
            versions: Vec::new(),
        };
        // Where the collection has no module element the title may name the stream.
        if modular && claim.module == Some(rpm::unknown_stream()) && !streams.is_empty() {
            claims
                .extend(streams.iter().map(|stream| Claim { module: Some(stream.clone()), ..claim.clone() }));
        } else {
            claims.push(claim);
        }
    }
}

/// `2025-12-01 18:15:47` (UTC), `2025-12-01`, RFC 3339, or seconds since 1970 (SUSE). Empty is not given.
fn time(field: &str, text: &str, notes: &mut Vec<String>) -> Option<Timestamp> {
    let text = text.trim().trim_end_matches("UTC").trim_end();
    if text.is_empty() {
        return None;
    }
    let short = (text.len() <= 64).then_some(text);
    let utc = |time: DateTime| TimeZone::UTC.to_timestamp(time).ok();
    let parsed = short.and_then(|text| {
        if let Ok(seconds) = text.parse::<i64>() {
            return Timestamp::from_second(seconds).ok();
        }
        let date = || text.parse::<Date>().ok().map(|date| date.at(0, 0, 0, 0));
        text.parse().ok().or_else(|| text.parse().ok().or_else(date).and_then(utc))
    });
    if parsed.is_none() {
        notes.push(format!("{field} is no time: {:?}", intake::one_line(text, 64)));
    }
    parsed
}
