//! What `apt-get -s dist-upgrade` prints, read.

use std::collections::BTreeSet;

/// What apt would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Simulation {
    /// Packages to install, upgrade or remove, in apt's order, each once.
    pub steps: Vec<Step>,
    /// Packages it keeps back, as printed: `name`, or `name:arch` for a foreign architecture.
    pub kept_back: BTreeSet<String>,
    /// Packages whose upgrade the vendor rolls out in phases and this host is not in yet (Ubuntu).
    pub phased: BTreeSet<String>,
    /// Lines that look like steps and could not be read.
    pub unread: Vec<String>,
}

/// One package that would change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Package.
    pub name: String,
    /// Architecture; empty where apt does not print it (removals of native packages).
    pub arch: String,
    /// Installed version.
    pub from: Option<String>,
    /// Version to be installed; `None` if it would be removed.
    pub to: Option<String>,
    /// Archives that offer it: `Debian-Security:12/oldstable-security`.
    pub archives: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    KeptBack,
    Phased,
    Other,
}

/// Reads what apt prints under `LC_ALL=C`.
pub fn parse(text: &str) -> Simulation {
    let mut simulation = Simulation::default();
    let mut seen = BTreeSet::new();
    let mut section = Section::Other;
    for line in text.lines() {
        if line.starts_with(' ') {
            let names = line.split_whitespace().map(str::to_owned);
            match section {
                Section::KeptBack => simulation.kept_back.extend(names),
                Section::Phased => simulation.phased.extend(names),
                Section::Other => {}
            }
            continue;
        }
        section = section_of(line);
        let step = match line.split_once(' ') {
            Some(("Inst", rest)) => install(rest),
            Some(("Remv" | "Purg", rest)) => removal(rest),
            Some(_) | None => continue,
        };
        match step {
            Some(step) if seen.insert((step.name.clone(), step.arch.clone())) => simulation.steps.push(step),
            Some(_) => {}
            None => simulation.unread.push(line.to_owned()),
        }
    }
    simulation
}

fn section_of(line: &str) -> Section {
    if line.starts_with("The following packages have been kept back") {
        Section::KeptBack
    } else if line.starts_with("The following upgrades have been deferred due to phasing") {
        Section::Phased
    } else {
        Section::Other
    }
}

/// `NAME [FROM] (TO ARCHIVE, ARCHIVE [ARCH]) …`; the rest of the line tells of packages that are broken meanwhile.
fn install(rest: &str) -> Option<Step> {
    let (head, tail) = rest.split_once('(')?;
    let (inside, _) = tail.split_once("])")?;
    let (offer, arch) = inside.rsplit_once('[')?;
    let (to, archives) = offer.trim_end().split_once(' ').unwrap_or((offer.trim_end(), ""));
    let mut step = removal(head)?;
    if to.is_empty() {
        return None;
    }
    step.to = Some(to.to_owned());
    step.archives =
        archives.split(", ").map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    arch.clone_into(&mut step.arch);
    Some(step)
}

/// `NAME [FROM] …`
fn removal(rest: &str) -> Option<Step> {
    let (name, rest) = rest.trim().split_once(' ').unwrap_or((rest.trim(), ""));
    let (name, arch) = name.split_once(':').unwrap_or((name, ""));
    let from = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|(from, _)| from.to_owned());
    let good = !name.is_empty() && !name.contains(['[', '(', ')', ']']);
    good.then(|| Step { name: name.to_owned(), arch: arch.to_owned(), from, ..Step::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(line: &str) -> Step {
        let simulation = parse(line);
        assert_eq!((simulation.steps.len(), &simulation.unread[..]), (1, &[][..]), "{line}");
        simulation.steps[0].clone()
    }

    #[test]
    fn an_upgrade_keeps_both_versions_its_archives_and_its_architecture() {
        let text = "Inst libx [1.0-1] (1.0-1+deb12u1 Debian:12.15/oldstable, Debian-Security:12/oldstable-security \
                    [amd64]) [other:amd64 on libx:amd64] [other:amd64 ]";
        let read = step(text);
        assert_eq!((read.name.as_str(), read.arch.as_str()), ("libx", "amd64"));
        assert_eq!((read.from.as_deref(), read.to.as_deref()), (Some("1.0-1"), Some("1.0-1+deb12u1")));
        assert_eq!(read.archives, ["Debian:12.15/oldstable", "Debian-Security:12/oldstable-security"]);
        assert_eq!(step("Inst perl [5] (6 Debian:12/x [amd64]) []").to.as_deref(), Some("6"));
        assert_eq!(step("Inst new (1 Some Label:1/x [all])").from, None);
        assert_eq!(step("Inst libc6:i386 [1] (2 Debian:12/x [i386])").arch, "i386");
        assert_eq!(step("Remv old [1.0]").to, None);
        assert_eq!(step("Purg old:i386 [1.0] [x:amd64 ]").arch, "i386");
    }

    #[test]
    fn kept_back_and_phased_packages_are_named() {
        let text = "The following packages have been kept back:\n  a b\n  c:i386\n\
                    The following upgrades have been deferred due to phasing:\n  d\n\
                    The following packages will be upgraded:\n  e\nInst e [1] (2 Debian:12/x [all])\nConf e (2)\n";
        let simulation = parse(text);
        assert_eq!(simulation.kept_back, ["a", "b", "c:i386"].map(str::to_owned).into());
        assert_eq!(simulation.phased, ["d"].map(str::to_owned).into());
        assert_eq!(simulation.steps.len(), 1);
    }

    #[test]
    fn a_step_that_cannot_be_read_is_told() {
        for line in ["Inst x", "Inst x (1", "Inst (1 [all])", "Inst x [1] ( [all])", "Remv "] {
            assert_eq!(parse(line).unread, [line], "{line}");
        }
    }
}
