//! Which repositories an RPM system uses, and what their cached metadata is.

use crate::observe::gaps;
use crate::observe::root::Root;
use exposure::inventory::{Archive, ArchiveClass, Gap, Part};
use jiff::{SignedDuration, Timestamp};
use quick_xml::Reader;
use quick_xml::events::Event;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

/// A `.repo` file is a few lines per repository.
pub(super) const CONFIG_BYTES_MAX: u64 = 1024 * 1024;

/// repomd.xml is some 3 KB.
const REPOMD_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// dnf's own default (`metadata_expire`): older metadata it would fetch anew.
const FRESH: SignedDuration = SignedDuration::from_hours(48);

/// Where dnf's repositories are.
const REPOSITORIES: &str = "/etc/yum.repos.d";

/// Caches of dnf 4 and dnf 5, laid out alike.
const CACHES: [&str; 2] = ["/var/cache/dnf", "/var/cache/libdnf5"];

/// Where zypper's repositories are, and its cache: a directory for each, by its alias.
pub(super) const ZYPP_REPOSITORIES: &str = "/etc/zypp/repos.d";
pub(super) const ZYPP_CACHE: &str = "/var/cache/zypp/raw";

/// One enabled repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repository {
    /// Its id.
    pub id: String,
    /// Its options, by lower-case name.
    pub options: BTreeMap<String, String>,
    /// The directory of its cached `repodata`, inside the root; `None` if nothing is cached.
    pub repodata: Option<String>,
    /// The cached `updateinfo`, inside the root.
    pub updateinfo: Option<String>,
}

impl Repository {
    /// An option's value; empty if it is not set.
    pub fn option(&self, name: &str) -> &str {
        self.options.get(name).map(String::as_str).unwrap_or_default()
    }
}

/// The enabled repositories of `root` with their archives, in dnf's order.
pub(super) fn read(root: &Root, now: Timestamp, found: &mut Vec<Gap>) -> (Vec<Repository>, Vec<Archive>) {
    let main = root.read("/etc/dnf/dnf.conf", CONFIG_BYTES_MAX).map(|bytes| parse_config(&bytes));
    let main = main.unwrap_or_default();
    let gpgcheck =
        main.iter().find(|(id, _)| id == "main").map(|(_, options)| is_on(options.get("gpgcheck")));
    let mut sections = main;
    let directory = if is_zypps(root) { ZYPP_REPOSITORIES } else { REPOSITORIES };
    for name in root.list(directory).unwrap_or_default() {
        if !name.as_bytes().ends_with(b".repo") {
            continue;
        }
        let path = format!("{directory}/{}", name.display());
        match root.read(&path, CONFIG_BYTES_MAX) {
            Ok(bytes) => sections.extend(parse_config(&bytes)),
            Err(error) => found.push(gaps::new(Part::Archives, path, error, "")),
        }
    }
    let (mut repositories, mut archives) = (Vec::new(), Vec::new());
    for (id, options) in sections {
        // Enabled unless it says otherwise (dnf.conf(5)).
        if id == "main" || options.get("enabled").is_some_and(|_| !is_on(options.get("enabled"))) {
            continue;
        }
        let mut repository = Repository { id, options, repodata: None, updateinfo: None };
        let date = find_cache(root, now, &mut repository, found);
        archives.push(archive(&repository, gpgcheck.unwrap_or(false), date));
        repositories.push(repository);
    }
    if repositories.is_empty() {
        let reason = "no repository is enabled";
        found.push(gaps::new(Part::Archives, directory, reason, "enable the distribution's repositories"));
    }
    (repositories, archives)
}

/// Whether zypper keeps the repositories, not dnf; also where there is none just now.
pub(crate) fn is_zypps(root: &Root) -> bool {
    let names = root.list(REPOSITORIES).unwrap_or_default();
    root.identity_of(ZYPP_REPOSITORIES).is_ok()
        && !names.iter().any(|name| name.as_bytes().ends_with(b".repo"))
}

/// How metadata is fetched anew.
pub(super) fn refresh(root: &Root) -> &'static str {
    if is_zypps(root) {
        "run \"zypper refresh\", then look again"
    } else {
        "run \"dnf makecache\", then look again"
    }
}

/// The options of the main section.
pub(super) fn main_options(root: &Root) -> BTreeMap<String, String> {
    let main = root.read("/etc/dnf/dnf.conf", CONFIG_BYTES_MAX).map(|bytes| parse_config(&bytes));
    let section = main.unwrap_or_default().into_iter().find(|(id, _)| id == "main");
    section.map(|(_, options)| options).unwrap_or_default()
}

fn is_on(value: Option<&String>) -> bool {
    value.is_some_and(|value| ["1", "yes", "true", "on"].contains(&value.to_lowercase().as_str()))
}

fn archive(repository: &Repository, gpgcheck: bool, date: Option<Timestamp>) -> Archive {
    let address = ["metalink", "mirrorlist", "baseurl"].map(|name| repository.option(name));
    let address = address.into_iter().find(|address| !address.is_empty()).unwrap_or_default();
    let first = address.split([' ', ',', '\n']).find(|word| !word.is_empty()).unwrap_or_default();
    let trusted = match repository.options.get("gpgcheck") {
        Some(value) => is_on(Some(value)),
        None => gpgcheck,
    };
    Archive {
        address: without_password(first),
        suite: repository.id.clone(),
        codename: String::new(),
        origin: String::new(),
        label: repository.option("name").to_owned(),
        // RPM repositories do not split security from other updates; who built a package its vendor tag tells.
        class: ArchiveClass::Updates,
        date,
        valid_until: None,
        trusted,
    }
}

/// `address` without `user:password@`.
fn without_password(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

/// Finds the cached metadata of a repository; returns the date of its index.
fn find_cache(
    root: &Root,
    now: Timestamp,
    repository: &mut Repository,
    found: &mut Vec<Gap>,
) -> Option<Timestamp> {
    let refresh = refresh(root);
    let mut newest: Option<(i64, String, Vec<u8>)> = None;
    let mut look = |repodata: String, found: &mut Vec<Gap>| {
        let path = format!("{repodata}/repomd.xml");
        let fetched = root.file(&path).and_then(|file| file.metadata()).map(|metadata| metadata.mtime());
        match fetched.and_then(|fetched| Ok((fetched, root.read(&path, REPOMD_BYTES_MAX)?))) {
            Ok((fetched, bytes)) if newest.as_ref().is_none_or(|(newest, ..)| fetched > *newest) => {
                newest = Some((fetched, repodata, bytes));
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => found.push(gaps::new(Part::Archives, path, error, refresh)),
        }
    };
    if is_zypps(root) && !repository.id.contains('/') {
        look(format!("{ZYPP_CACHE}/{}/repodata", repository.id), found);
    }
    for cache in CACHES {
        for name in root.list(cache).unwrap_or_default() {
            // `id-` and a hash of the address, in hexadecimal.
            let hash = name.to_str().and_then(|name| name.strip_prefix(&repository.id)?.strip_prefix('-'));
            if !hash.is_some_and(|hash| hash.len() >= 8 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
            {
                continue;
            }
            look(format!("{cache}/{}/repodata", name.display()), found);
        }
    }
    let Some((fetched, repodata, bytes)) = newest else {
        found.push(gaps::new(Part::Archives, &repository.id, "its metadata was never fetched", refresh));
        return None;
    };
    let age =
        Timestamp::from_second(fetched).map_or(SignedDuration::MAX, |fetched| now.duration_since(fetched));
    if age > FRESH {
        let reason = format!("its metadata was fetched {} hours ago", age.as_hours());
        found.push(gaps::new(Part::Archives, &repository.id, reason, refresh));
    }
    let repomd = parse_repomd(&bytes);
    if repomd.is_none() {
        let reason = "its repomd.xml cannot be read";
        found.push(gaps::new(Part::Archives, format!("{repodata}/repomd.xml"), reason, refresh));
    }
    let repomd = repomd.unwrap_or_default();
    repository.updateinfo = repomd.updateinfo.map(|name| format!("{repodata}/{name}"));
    repository.repodata = Some(repodata);
    repomd.date
}

/// Sections of a dnf configuration, in order, each with its options. A line that begins with a blank continues the
/// option before it.
pub fn parse_config(bytes: &[u8]) -> Vec<(String, BTreeMap<String, String>)> {
    let mut sections: Vec<(String, BTreeMap<String, String>)> = Vec::new();
    let mut last = String::new();
    for line in String::from_utf8_lossy(bytes).lines() {
        let text = line.trim();
        if text.is_empty() || text.starts_with(['#', ';']) {
            continue;
        }
        let continues = line.starts_with([' ', '\t']);
        if let Some(id) =
            text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).filter(|_| !continues)
        {
            sections.push((id.trim().to_owned(), BTreeMap::new()));
            last.clear();
        } else if let Some((_, options)) = sections.last_mut() {
            if continues {
                if let Some(value) = options.get_mut(&last) {
                    value.push(' ');
                    value.push_str(text);
                }
            } else if let Some((name, value)) = text.split_once('=') {
                last = name.trim().to_lowercase();
                options.insert(last.clone(), value.trim().to_owned());
            }
        }
    }
    sections
}

/// What repomd.xml says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repomd {
    /// The latest date of the data it lists.
    pub date: Option<Timestamp>,
    /// File name of the updateinfo, if there is one.
    pub updateinfo: Option<String>,
}

/// Parses repomd.xml; `None` if it is no XML in UTF-8.
pub fn parse_repomd(bytes: &[u8]) -> Option<Repomd> {
    let mut reader = Reader::from_str(std::str::from_utf8(bytes).ok()?);
    let (mut repomd, mut kind, mut in_timestamp) = (Repomd::default(), String::new(), false);
    loop {
        match reader.read_event().ok()? {
            Event::Start(tag) | Event::Empty(tag) => {
                let attribute = |name: &str| {
                    tag.try_get_attribute(name).ok().flatten().map(|attribute| attribute.value.into_owned())
                };
                match tag.local_name().as_ref() {
                    "data" => kind = attribute("type").unwrap_or_default(),
                    "timestamp" => in_timestamp = true,
                    "location" if kind == "updateinfo" => {
                        let href = attribute("href");
                        // The cache holds all files in one directory, whatever the repository's layout.
                        let name = href.as_deref().and_then(|href| href.rsplit('/').next());
                        repomd.updateinfo =
                            name.filter(|name| !["", ".", ".."].contains(name)).map(str::to_owned);
                    }
                    _ => {}
                }
            }
            Event::Text(text) if in_timestamp => {
                // Seconds; some writers add a fraction.
                let seconds = text.trim().split('.').next().and_then(|seconds| seconds.parse().ok());
                let date = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
                repomd.date = repomd.date.max(date);
            }
            Event::End(_) => in_timestamp = false,
            Event::Eof => return Some(repomd),
            Event::Text(_)
            | Event::CData(_)
            | Event::Comment(_)
            | Event::Decl(_)
            | Event::PI(_)
            | Event::DocType(_)
            | Event::GeneralRef(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_gives_sections_in_order_with_continued_values() {
        let text = b"[main]\ngpgcheck=1\n# note\n[two]\nName = Two\nbaseurl=http://a:b@h/x\n  http://i/y\n\
                     enabled=0\n;x\nnoise\n[one]\nenabled=1\n";
        let sections = parse_config(text);
        assert_eq!(sections.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["main", "two", "one"]);
        assert_eq!(sections[1].1["baseurl"], "http://a:b@h/x http://i/y");
        assert_eq!(without_password("http://a:b@c@h/x@y"), "http://h/x@y");
    }

    #[test]
    fn repomd_names_its_date_and_the_updateinfo() {
        let text = b"<?xml version=\"1.0\"?><repomd><revision>9</revision>\
            <data type=\"primary\"><location href=\"repodata/p.xml.gz\"/><timestamp>200</timestamp></data>\
            <data type=\"updateinfo\"><location href=\"repodata/../u.xml.zst\"/><timestamp>100.5</timestamp></data></repomd>";
        let repomd = parse_repomd(text).unwrap();
        assert_eq!(repomd.date, Timestamp::from_second(200).ok());
        assert_eq!(repomd.updateinfo.as_deref(), Some("u.xml.zst"));
        assert_eq!(parse_repomd(b"<repomd><data"), None);
    }
}
