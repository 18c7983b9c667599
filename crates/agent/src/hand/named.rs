//! What a host has of the packages that a class names.

pub(crate) use exposure::inventory::lies_beside;
use exposure::inventory::{Package, PackageState};
use rollout::plan::HostClass;

/// Of `packages`, those that the class names. A package of which two versions are installed is half installed, except for
/// those that lie side by side as they should: of them the version that the plan names counts.
pub(crate) fn named(class: &HostClass, mut packages: Vec<Package>) -> Vec<Package> {
    packages.retain(|package| class.changes.iter().any(|change| change.name == package.name));
    let others: Vec<(String, String, String)> = packages
        .iter()
        .map(|package| (package.name.clone(), package.arch.clone(), package.version.clone()))
        .collect();
    packages.retain(|package| {
        let is_it = |name: &str, arch: &str| name == package.name && arch == package.arch;
        let beside = class.changes.iter().find(|change| {
            change.from.is_none() && is_it(&change.name, &change.arch) && lies_beside(&change.name)
        });
        beside.is_none_or(|change| change.to == package.version)
    });
    for package in &mut packages {
        let is_double = others.iter().any(|(name, arch, version)| {
            *name == package.name && *arch == package.arch && *version != package.version
        });
        if is_double && !lies_beside(&package.name) {
            package.state = PackageState::HalfInstalled;
        }
    }
    packages
}

#[cfg(test)]
mod tests {
    use super::*;
    use exposure::inventory::Origin;
    use rollout::plan::{Change, Digest, File};

    fn package(name: &str, version: &str) -> Package {
        Package {
            name: name.into(),
            arch: "x86_64".into(),
            version: version.into(),
            source: name.into(),
            source_version: version.into(),
            state: PackageState::Installed,
            held: false,
            essential: false,
            module: None,
            vendor: String::new(),
            origin: Origin::Unknown,
        }
    }

    #[test]
    fn two_versions_of_a_package_are_half_of_one_and_kernels_lie_side_by_side() {
        let change = |name: &str, from: Option<&str>| Change {
            name: name.into(),
            arch: "x86_64".into(),
            source: name.into(),
            from: from.map(str::to_owned),
            to: "2-1".into(),
            archive: "bed".into(),
            file: File { sha256: Digest::of(b"new"), size_bytes: 3 },
            back: None,
        };
        let class = HostClass {
            name: "c".into(),
            release: "almalinux:9".into(),
            arch: "x86_64".into(),
            changes: vec![change("lamp", Some("1-1")), change("kernel-core", None)],
        };
        let seen = |packages: &[Package]| {
            let found = named(&class, packages.to_vec());
            let plain = |package: Package| (package.name, package.version, package.state);
            found.into_iter().map(plain).collect::<Vec<_>>()
        };
        let one = |name: &str, version: &str, state| (name.to_owned(), version.to_owned(), state);
        let (whole, half) = (PackageState::Installed, PackageState::HalfInstalled);
        let before = [package("kernel-core", "1-1"), package("lamp", "1-1"), package("other", "1-1")];
        assert_eq!(seen(&before), [one("lamp", "1-1", whole)], "the old kernel is none of the plan's");
        let within = [
            package("kernel-core", "1-1"),
            package("kernel-core", "2-1"),
            package("lamp", "1-1"),
            package("lamp", "2-1"),
        ];
        let expected = [one("kernel-core", "2-1", whole), one("lamp", "1-1", half), one("lamp", "2-1", half)];
        assert_eq!(seen(&within), expected);
    }
}
