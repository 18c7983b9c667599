//! One installed package as claims see it. Takes an inventory; gives what of it decides verdicts, and nothing else.
//!
//! [`judge`](super::judge()) and the fleet's index read packages only through this: what is equal here is judged equal.

use crate::inventory::{InstalledKernel, Inventory, Origin, Package, PackageState, Part, Process};
use advisory::{Module, NameKind, Order, Version};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};

/// Source packages of kernels. Those that own an installed kernel of the host are kernels too, whatever their name.
const KERNEL_SOURCES: [&str; 4] = ["linux", "kernel", "kernel-rt", "kernel-uek"];

/// One installed package under one of its names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Installed {
    /// Which of its names this is.
    pub name_kind: NameKind,
    /// Source or binary name.
    pub name: Box<str>,
    /// Architecture of the binary package.
    pub arch: Box<str>,
    /// The version that belongs to the name: source or binary version.
    pub version: Box<str>,
    /// The module stream it was built in.
    pub stream: Stream,
    /// `ksplice`, `fips` or `uek`.
    pub flavour: Option<Box<str>>,
    /// Whether the version on record says something about the files.
    pub condition: Condition,
    /// Other versions whose files are still mapped, sorted, each once; `None` is a version that is not known.
    pub running: Vec<Option<Box<str>>>,
    /// For kernels, where more than this package decides; boxed because most packages are none.
    pub kernel: Option<Box<KernelRow>>,
}

impl Installed {
    /// Whether a claim that says only in which version a hole is fixed is judged by [`Installed::version`] alone: no
    /// kernel, no flavour, no module, nothing older still mapped, and of the vendor's build.
    pub fn is_judged_by_version(&self) -> bool {
        let Self { name_kind: _, name: _, arch: _, version: _, stream, flavour, condition, running, kernel } =
            self;
        *stream == Stream::Plain
            && flavour.is_none()
            && *condition == Condition::Sound
            && running.is_empty()
            && kernel.is_none()
    }

    /// What verdicts by one claim are worded from.
    pub(super) fn worded(&self) -> impl PartialEq {
        let Self { name_kind: _, name: _, arch: _, version, stream, flavour, condition, running, kernel } =
            self;
        (version, stream, flavour, condition, running, kernel)
    }
}

/// A package under one of its names where its record alone decides; borrowed, so that it is looked up without being made.
#[derive(Debug)]
pub(crate) struct Plain<'p> {
    pub(crate) name_kind: NameKind,
    pub(crate) name: &'p str,
    pub(crate) arch: &'p str,
    pub(crate) version: &'p str,
    pub(crate) stream: Stream,
}

impl Plain<'_> {
    /// Whether [`Host::installed`] makes `installed` of it. Flavours are not compared: name and version tell them.
    pub(crate) fn is(&self, installed: &Installed) -> bool {
        self.name_kind == installed.name_kind
            && *self.version == *installed.version
            && *self.name == *installed.name
            && *self.arch == *installed.arch
            && self.stream == installed.stream
            && installed.condition == Condition::Sound
            && installed.running.is_empty()
            && installed.kernel.is_none()
    }
}

/// The module stream of a package or a claim.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stream {
    /// Not modular.
    #[default]
    Plain,
    /// Modular, but of which stream is not known.
    Unknown,
    /// Of this stream.
    Of(Module),
}

impl Stream {
    /// The stream that a label names. Without a label the version tells that a build is modular, not of which stream:
    /// modular builds carry `.module+` or `.module_` in their release.
    pub fn read<'a>(label: Option<&Module>, versions: impl IntoIterator<Item = &'a str>) -> Self {
        match label {
            Some(module) if module.name.is_empty() || module.stream.is_empty() => Self::Unknown,
            Some(module) => Self::Of(module.clone()),
            None if versions
                .into_iter()
                .any(|text| text.contains(".module+") || text.contains(".module_")) =>
            {
                Self::Unknown
            }
            None => Self::Plain,
        }
    }
}

/// Whether a version on record can be judged at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// It can.
    Sound,
    /// Files of two versions may lie side by side.
    HalfInstalled,
    /// Not the vendor's build.
    Foreign,
}

/// What decides about a kernel package besides its own version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KernelRow {
    /// The newest installed version of the same kernel, if that is not this package's.
    pub newest: Option<Box<str>>,
    /// What is booted.
    pub booted: Booted,
}

/// Which version of a kernel is booted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Booted {
    /// None of this source: the root is not the running system, or another kernel runs.
    Elsewhere,
    /// This version.
    At(Box<str>),
    /// A kernel that no installed package owns, or it could not be read.
    Unseen,
}

/// The versions of an [`Installed`], parsed; `None` where one does not parse.
#[derive(Clone, Debug)]
pub(crate) struct Parsed {
    pub(crate) own: Option<Version>,
    pub(crate) running: Vec<Option<Version>>,
    pub(crate) newest: Option<Version>,
    pub(crate) booted: Option<Version>,
}

impl Parsed {
    pub(crate) fn new(installed: &Installed, order: Option<Order>) -> Self {
        let parse = |text: &str| order.and_then(|order| order.parse(text).ok());
        let kernel = installed.kernel.as_deref();
        Self {
            own: parse(&installed.version),
            running: installed.running.iter().map(|text| text.as_deref().and_then(parse)).collect(),
            newest: kernel.and_then(|row| row.newest.as_deref()).and_then(parse),
            booted: kernel.and_then(|row| match &row.booted {
                Booted::At(text) => parse(text),
                Booted::Elsewhere | Booted::Unseen => None,
            }),
        }
    }
}

/// Flavours that versions and names of packages tell of; see [`flavour_in`].
pub(crate) const TOLD_FLAVOURS: [&str; 3] = ["ksplice", "fips", "uek"];

/// The flavour that a version or a name tells of: `ksplice`, `fips`, `uek`.
///
/// Flavoured builds carry epochs and releases of their own, so their versions do not compare with plain ones.
pub(crate) fn flavour_in(text: &str) -> Option<&'static str> {
    text.as_bytes().split(|byte| !byte.is_ascii_alphanumeric()).find_map(|word| {
        let starts =
            |prefix: &[u8]| word.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix));
        let ends = |suffix: &[u8]| {
            word.len().checked_sub(suffix.len()).is_some_and(|at| word[at..].eq_ignore_ascii_case(suffix))
        };
        if starts(b"ksplice") {
            Some("ksplice")
        } else if starts(b"fips") && word[b"fips".len()..].iter().all(u8::is_ascii_digit) {
            Some("fips")
        } else if ends(b"uek") {
            Some("uek")
        } else {
            None
        }
    })
}

/// One host, read for judging: its inventory and what every package's verdict needs of the rest of it.
#[derive(Debug)]
pub struct Host<'a> {
    pub(crate) inventory: &'a Inventory,
    order: Option<Order>,
    /// By binary name: processes that map stale files of it, and of which version.
    stale: HashMap<&'a str, Vec<(&'a Process, Option<&'a str>)>>,
    /// Sources that own an installed kernel, besides [`KERNEL_SOURCES`].
    kernel_sources: BTreeSet<String>,
    /// The newest of kernel packages that replace each other: by source, name without numbers, architecture.
    kernels: HashMap<(String, String, &'a str), Newest<'a>>,
    booted: BootedOwner<'a>,
}

/// The newest installed versions of one kernel, by kind of name.
#[derive(Debug, Default)]
struct Newest<'a> {
    source: Option<(Version, &'a str)>,
    binary: Option<(Version, &'a str)>,
}

impl<'a> Newest<'a> {
    fn of(&self, kind: NameKind) -> Option<&(Version, &'a str)> {
        match kind {
            NameKind::Source => self.source.as_ref(),
            NameKind::Binary => self.binary.as_ref(),
        }
    }
}

/// Who owns the booted kernel.
#[derive(Debug)]
enum BootedOwner<'a> {
    NotRunning,
    Package(&'a Package),
    Unseen,
}

impl<'a> Host<'a> {
    /// Reads an inventory once, so that its packages can be judged one by one.
    pub fn new(inventory: &'a Inventory) -> Self {
        let mut stale: HashMap<&str, Vec<_>> = HashMap::new();
        for process in &inventory.processes {
            for file in &process.stale {
                if let Some(package) = &file.package {
                    stale.entry(package).or_default().push((process, file.version.as_deref()));
                }
            }
        }
        let own_kernels: HashSet<&str> =
            inventory.kernel.installed.iter().filter_map(|kernel| kernel.package.as_deref()).collect();
        let mut by_name: HashMap<&str, Vec<&Package>> = HashMap::new();
        for package in inventory.packages.iter().filter(|package| own_kernels.contains(&*package.name)) {
            by_name.entry(&package.name).or_default().push(package);
        }
        let owner = |kernel: &InstalledKernel| {
            let mut named = by_name.get(kernel.package.as_deref()?)?.iter().copied();
            named.find(|package| kernel.version.as_deref().is_none_or(|version| version == package.version))
        };
        let owner_of = |release: &str| {
            inventory.kernel.installed.iter().find(|kernel| kernel.release == release).and_then(owner)
        };
        let booted = match inventory.kernel.booted.as_deref() {
            Some(release) => owner_of(release).map_or(BootedOwner::Unseen, BootedOwner::Package),
            None if inventory.gaps_in(Part::Kernel).next().is_some() => BootedOwner::Unseen,
            None => BootedOwner::NotRunning,
        };
        let kernel_sources = inventory
            .kernel
            .installed
            .iter()
            .filter_map(owner)
            .map(|package| main_source(package).into_owned())
            .collect();
        let order = inventory.system.release.family.order();
        let mut host = Self { inventory, order, stale, kernel_sources, kernels: HashMap::new(), booted };
        for package in &inventory.packages {
            let Some(source) = host.kernel_source(package) else { continue };
            let versions = [
                (NameKind::Binary, package.version.as_str()),
                (NameKind::Source, compared_version(package, NameKind::Source, &source).unwrap_or_default()),
            ];
            let row = (source.into_owned(), without_numbers(&package.name), package.arch.as_str());
            let newest = host.kernels.entry(row).or_default();
            for (kind, text) in versions {
                let Some(version) = order.and_then(|order| order.parse(text).ok()) else { continue };
                let slot = match kind {
                    NameKind::Source => &mut newest.source,
                    NameKind::Binary => &mut newest.binary,
                };
                if slot.as_ref().is_none_or(|(newest, _)| *newest < version) {
                    *slot = Some((version, text));
                }
            }
        }
        host
    }

    /// The order that compares versions of the host's release; `None` for a family we do not know.
    pub fn order(&self) -> Option<Order> {
        self.order
    }

    /// Every name of a package that claims may speak of.
    pub fn names(&self, package: &'a Package) -> impl Iterator<Item = Installed> + '_ {
        names(package).filter_map(|(kind, name)| self.installed(package, kind, &name))
    }

    /// The package under all its names; `None` where more than its record decides, so that [`Host::names`] must be asked.
    pub(crate) fn plain<'p>(&self, package: &'p Package) -> Option<[Plain<'p>; 2]> {
        let sound = package.state != PackageState::HalfInstalled
            && matches!(package.origin, Origin::Vendor | Origin::Unknown);
        let plain = sound
            && package.module.is_none()
            && (self.stale.is_empty() || !self.stale.contains_key(package.name.as_str()))
            && signed_kernel(&package.source, &package.arch).is_none()
            && self.kernel_source(package).is_none();
        let stream = || Stream::read(None, [package.version.as_str()]);
        let named = |name_kind, name, version| Plain {
            name_kind,
            name,
            arch: package.arch.as_str(),
            version,
            stream: stream(),
        };
        plain.then(|| {
            [
                named(NameKind::Binary, package.name.as_str(), package.version.as_str()),
                named(NameKind::Source, package.source.as_str(), package.source_version.as_str()),
            ]
        })
    }

    /// The package under one name; `None` if it does not bear it.
    pub fn installed(&self, package: &'a Package, name_kind: NameKind, name: &str) -> Option<Installed> {
        let version = compared_version(package, name_kind, name)?;
        let flavour = flavour_in(version).or_else(|| flavour_in(name));
        let condition = if package.state == PackageState::HalfInstalled {
            Condition::HalfInstalled
        } else {
            match package.origin {
                Origin::Foreign(_) | Origin::Local => Condition::Foreign,
                Origin::Vendor | Origin::Unknown => Condition::Sound,
            }
        };
        let running: BTreeSet<Option<Box<str>>> = self
            .stale_versions(package, name_kind, name)
            .map(|(_, running)| running)
            .filter(|running| *running != Some(version))
            .map(|running| running.map(Box::from))
            .collect();
        Some(Installed {
            name_kind,
            name: name.into(),
            arch: package.arch.as_str().into(),
            version: version.into(),
            stream: Stream::read(package.module.as_ref(), [package.version.as_str()]),
            flavour: flavour.map(Box::from),
            condition,
            running: running.into_iter().collect(),
            kernel: self.kernel_row(package, name_kind, name, version).map(Box::new),
        })
    }

    /// Processes that map files of another version of the package, with that version where it is known and
    /// compares with versions under this name.
    pub(crate) fn stale_versions<'s>(
        &'s self,
        package: &'s Package,
        name_kind: NameKind,
        name: &str,
    ) -> impl Iterator<Item = (&'a Process, Option<&'a str>)> + 's {
        // The log knows binary versions only; they say something about the source where both are the same now.
        let compared = compared_version(package, name_kind, name).unwrap_or_default();
        let comparable = package.version == compared || without_rebuild(&package.version) == compared;
        self.stale
            .get(package.name.as_str())
            .into_iter()
            .flatten()
            .filter(|(_, version)| *version != Some(package.version.as_str()))
            .map(move |&(process, version)| match (version, name_kind) {
                (None, _) => (process, None),
                (version, NameKind::Binary) => (process, version),
                (Some(version), NameKind::Source) => (process, comparable.then(|| without_rebuild(version))),
            })
    }

    /// The source of a kernel package: the one it is built from, not the one that signs it.
    pub(crate) fn kernel_source<'p>(&self, package: &'p Package) -> Option<Cow<'p, str>> {
        let source = main_source(package);
        (KERNEL_SOURCES.contains(&&*source) || self.kernel_sources.contains(&*source)).then_some(source)
    }

    fn kernel_row(&self, package: &Package, kind: NameKind, name: &str, own: &str) -> Option<KernelRow> {
        let source = self.kernel_source(package)?;
        if kind == NameKind::Source && *source != *name {
            return None;
        }
        let booted = match self.booted {
            BootedOwner::NotRunning => Booted::Elsewhere,
            BootedOwner::Unseen => Booted::Unseen,
            BootedOwner::Package(owner) if self.kernel_source(owner).as_deref() != Some(&*source) => {
                Booted::Elsewhere
            }
            BootedOwner::Package(owner) => Booted::At(match kind {
                NameKind::Source => compared_version(owner, kind, name).unwrap_or(&owner.version).into(),
                NameKind::Binary => owner.version.as_str().into(),
            }),
        };
        let row = (source.into_owned(), without_numbers(&package.name), package.arch.as_str());
        let parsed = self.order.and_then(|order| order.parse(own).ok());
        let newest = self
            .kernels
            .get(&row)
            .and_then(|newest| newest.of(kind))
            .filter(|(newest, _)| parsed.is_some_and(|own| own < *newest))
            .map(|(_, text)| Box::from(*text));
        let decided_by_own = match &booted {
            Booted::Elsewhere => true,
            Booted::At(version) => **version == *own,
            Booted::Unseen => false,
        };
        (newest.is_some() || !decided_by_own).then_some(KernelRow { newest, booted })
    }
}

/// The names under which claims may speak of a package: its own, its source's, and its kernel's.
pub fn names(package: &Package) -> impl Iterator<Item = (NameKind, Cow<'_, str>)> {
    let signed = signed_kernel(&package.source, &package.arch);
    [
        Some((NameKind::Binary, Cow::Borrowed(package.name.as_str()))),
        Some((NameKind::Source, Cow::Borrowed(package.source.as_str()))),
        signed.map(|name| (NameKind::Source, name)),
    ]
    .into_iter()
    .flatten()
}

/// The version that is compared when a claim names a package so; `None` if the package does not bear the name.
fn compared_version<'p>(package: &'p Package, kind: NameKind, name: &str) -> Option<&'p str> {
    match kind {
        NameKind::Binary => (package.name == name).then_some(&package.version),
        NameKind::Source => {
            compared(&package.source, &package.source_version, &package.version, &package.arch, name)
        }
    }
}

/// Of a package's source and binary version the one that is compared when a claim names the source `name`.
///
/// A signed kernel's binary version is the version of the source it was signed from (6.1.190-1), its own source's
/// is not (6.1.190+1).
pub(crate) fn compared<'p>(
    source: &str,
    source_version: &'p str,
    version: &'p str,
    arch: &str,
    name: &str,
) -> Option<&'p str> {
    if source == name {
        return Some(source_version);
    }
    (signed_kernel(source, arch).as_deref() == Some(name)).then_some(version)
}

/// The kernel's source behind a source that only signs it: Debian `linux-signed-amd64` and Ubuntu `linux-signed` are
/// `linux`, Ubuntu `linux-signed-hwe-6.8` is `linux-hwe-6.8`. Advisories name only those.
fn signed_kernel<'p>(source: &'p str, arch: &str) -> Option<Cow<'p, str>> {
    let rest = source.strip_prefix("linux-signed")?;
    match rest.strip_prefix('-') {
        None if rest.is_empty() => Some(Cow::Borrowed("linux")),
        None => None,
        Some(flavour) if flavour == arch => Some(Cow::Borrowed("linux")),
        Some(flavour) => Some(Cow::Owned(format!("linux-{flavour}"))),
    }
}

/// Whether a package is a kernel's on every host, whatever else is installed there.
pub(crate) fn is_kernel(package: &Package) -> bool {
    KERNEL_SOURCES.contains(&&*main_source(package))
}

/// The source that advisories name.
fn main_source(package: &Package) -> Cow<'_, str> {
    signed_kernel(&package.source, &package.arch).unwrap_or(Cow::Borrowed(&package.source))
}

/// A binary version without Debian's rebuild number: `1.2-3+b1` is built from source `1.2-3`.
pub(crate) fn without_rebuild(version: &str) -> &str {
    match version.rsplit_once("+b") {
        Some((source, number)) if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) => {
            source
        }
        _ => version,
    }
}

/// A kernel package's name without its release: `linux-image-6.1.0-37-amd64` and `linux-image-amd64` are
/// `linux-image-amd64`. Packages of one such name replace each other at boot.
pub(crate) fn without_numbers(name: &str) -> String {
    let words: Vec<&str> =
        name.split('-').filter(|word| !word.starts_with(|c: char| c.is_ascii_digit())).collect();
    words.join("-")
}
