//! Hosts for which the same packages change in the same way. Takes what hosts have and what those that were asked said; gives
//! whom to ask next, what stands in the way, or every host's class. Reads nothing, and no clock.

use crate::store::rehearsals::Rehearsal;
use exposure::inventory::{Package, lies_beside};
use jiff::{SignedDuration, Timestamp};
use rollout::plan::{CLASSES_MAX, Change, HostClass, HostId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use wire::v1::Rehearsed;

/// Hosts of one class that are asked before it is given up.
pub const ASKED_MAX: usize = 3;

/// What hosts with one inventory have, as far as it matters.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// `debian:12`.
    pub release: String,
    /// Native architecture.
    pub arch: String,
    /// Packages, by batches that machines share.
    pub packages: Vec<Arc<Vec<Package>>>,
}

/// A host that is to be patched.
#[derive(Clone, Debug)]
pub struct Host {
    /// Its id.
    pub id: HostId,
    /// Its name.
    pub name: String,
    /// When it was last heard.
    pub seen_at: Timestamp,
    /// What it has: a place among the machines.
    pub machine: usize,
    /// Source packages that it needs upgraded.
    pub sources: BTreeSet<String>,
    /// What it is for, by its label `role`.
    pub role: String,
    /// Where it is, by its label `region`.
    pub region: String,
    /// Its service groups.
    pub groups: Vec<String>,
}

/// Somebody to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The class it is asked for.
    pub class: String,
    /// Who.
    pub host: HostId,
    /// For how many.
    pub hosts: usize,
    /// What it is asked about.
    pub sources: Vec<String>,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Whoever was asked has not answered yet.
    Wait,
    /// Ask these.
    Ask(Vec<Ask>),
    /// It cannot become a plan, for these reasons.
    Blocked(Vec<String>),
    /// The classes, and each host's, by number.
    Known(Vec<HostClass>, Vec<usize>),
}

/// A package as it is installed: its version and whether it is held; `None`: not at all.
type Installed = Option<(String, bool)>;

/// What decides who is asked together: release, architecture, what is to be upgraded, and what is installed of it; and of what
/// those that were asked for the same said would change.
type Kind<'a> = (&'a str, &'a str, &'a BTreeSet<String>, BTreeMap<(String, String), Installed>);

impl Machine {
    fn installed(&self, name: &str, arch: &str) -> Installed {
        let all = self.packages.iter().flat_map(|batch| batch.iter());
        let found = all.filter(|package| package.name == name).find(|package| package.arch == arch);
        found.map(|package| (package.version.clone(), package.held))
    }

    /// The source package of an installed binary package.
    pub fn source_of(&self, binary: &str) -> Option<&str> {
        let mut all = self.packages.iter().flat_map(|batch| batch.iter());
        all.find(|package| package.name == binary).map(|package| package.source.as_str())
    }

    /// Whether exactly that would change here, too.
    fn takes(&self, changes: &[Change]) -> bool {
        changes.iter().all(|change| match &change.from {
            // Beside whatever older ones there are.
            None if lies_beside(&change.name) => !self.has(&change.name, &change.arch, &change.to),
            from => {
                let before = from.clone().map(|version| (version, false));
                self.installed(&change.name, &change.arch) == before
            }
        })
    }

    fn has(&self, name: &str, arch: &str, version: &str) -> bool {
        let mut all = self.packages.iter().flat_map(|batch| batch.iter());
        all.any(|package| (&*package.name, &*package.arch, &*package.version) == (name, arch, version))
    }

    fn of_sources(&self, sources: &BTreeSet<String>) -> BTreeMap<(String, String), Installed> {
        let all = self.packages.iter().flat_map(|batch| batch.iter());
        all.filter(|package| sources.contains(&package.source))
            .map(|package| {
                let key = (package.name.clone(), package.arch.clone());
                (key, Some((package.version.clone(), package.held)))
            })
            .collect()
    }
}

/// Decides what comes next. `rehearsals` in the order of asking; a host that was asked is not asked again.
pub fn next(
    hosts: &[Host],
    machines: &[Machine],
    rehearsals: &[Rehearsal],
    now: Timestamp,
    silent_after: SignedDuration,
) -> Next {
    let place: BTreeMap<String, usize> =
        hosts.iter().enumerate().map(|(at, host)| (host.id.to_string(), at)).collect();
    // Hosts that have the same and need the same are one here: a fleet has few of these.
    let mut looks: BTreeMap<(usize, &BTreeSet<String>), Vec<usize>> = BTreeMap::new();
    for (at, host) in hosts.iter().enumerate() {
        looks.entry((host.machine, &host.sources)).or_default().push(at);
    }
    let base: BTreeMap<_, Kind<'_>> =
        looks.keys().map(|look| (*look, kind(&machines[look.0], look.1))).collect();
    let asked: Vec<Option<&Kind<'_>>> = rehearsals
        .iter()
        .map(|rehearsal| {
            let host = &hosts[*place.get(&rehearsal.host)?];
            let same = rehearsal.sources.iter().eq(host.sources.iter());
            base.get(&(host.machine, &host.sources)).filter(|_| same)
        })
        .collect();
    let mut of_host: Vec<Option<usize>> = vec![None; hosts.len()];
    let mut open: BTreeMap<Kind<'_>, Vec<usize>> = BTreeMap::new();
    for (look, members) in &looks {
        let (machine, kind) = (&machines[look.0], &base[look]);
        let related = |number: usize| {
            asked[number].is_some_and(|asked| (asked.0, asked.1, asked.2) == (kind.0, kind.1, kind.2))
        };
        let said = rehearsals.iter().enumerate().filter(|(number, _)| related(*number));
        let said: Vec<_> =
            said.filter_map(|(number, rehearsal)| Some((number, &rehearsal.answer.as_ref()?.1))).collect();
        // What was said by one that looks like it, or the first that says exactly what would happen here: another may have what this
        // one said that it lacks. What stands in one host's way does in all that look like it.
        let fits = |(number, answer): &&(usize, &Rehearsed)| {
            if answer.blocks.is_empty() && !answer.changes.is_empty() {
                machine.takes(&answer.changes)
            } else {
                asked[*number] == Some(kind)
            }
        };
        let own = said.iter().find(|one| asked[one.0] == Some(kind) && fits(one));
        if let Some((number, _)) = own.or_else(|| said.iter().find(|one| fits(one))) {
            for &at in members {
                of_host[at] = Some(*number);
            }
            continue;
        }
        let mut full = kind.clone();
        for change in said.iter().flat_map(|(_, answer)| &answer.changes) {
            let installed = machine.installed(&change.name, &change.arch);
            full.3.entry((change.name.clone(), change.arch.clone())).or_insert(installed);
        }
        open.entry(full).or_default().extend(members);
    }
    let asked_of: BTreeMap<usize, &Rehearsal> =
        rehearsals.iter().filter_map(|rehearsal| Some((*place.get(&rehearsal.host)?, rehearsal))).collect();
    let names = rehearsals.iter().map(|rehearsal| rehearsal.class.clone()).collect();
    let asking = ask(hosts, &asked_of, names, &open, now, silent_after);
    if !asking.asks.is_empty() && rehearsals.len() + asking.asks.len() > CLASSES_MAX * ASKED_MAX
        || open.len() > CLASSES_MAX
    {
        let reason = format!(
            "there are more than {CLASSES_MAX} kinds of hosts: narrow the selector, or plan for each kind"
        );
        return Next::Blocked(vec![reason]);
    }
    if !asking.asks.is_empty() {
        return Next::Ask(asking.asks);
    }
    if asking.waits {
        return Next::Wait;
    }
    let mut blocks = asking.given_up;
    blocks.extend(blocked(hosts, &place, rehearsals, &of_host));
    blocks.extend(disagreements(hosts, &place, rehearsals));
    if !blocks.is_empty() {
        return Next::Blocked(blocks);
    }
    known(hosts, machines, rehearsals, &of_host)
}

fn kind<'a>(machine: &'a Machine, sources: &'a BTreeSet<String>) -> Kind<'a> {
    (&machine.release, &machine.arch, sources, machine.of_sources(sources))
}

/// Whom to ask for hosts of which nothing is known.
struct Asking {
    asks: Vec<Ask>,
    waits: bool,
    given_up: Vec<String>,
}

fn ask(
    hosts: &[Host],
    asked_of: &BTreeMap<usize, &Rehearsal>,
    mut names: BTreeSet<String>,
    open: &BTreeMap<Kind<'_>, Vec<usize>>,
    now: Timestamp,
    silent_after: SignedDuration,
) -> Asking {
    let mut asking = Asking { asks: Vec::new(), waits: false, given_up: Vec::new() };
    for ((release, arch, sources, _), members) in open {
        let asked: Vec<(usize, &Rehearsal)> =
            members.iter().filter_map(|&at| asked_of.get(&at).map(|rehearsal| (at, *rehearsal))).collect();
        let waits = |(_, rehearsal): &&(usize, &Rehearsal)| {
            rehearsal.answer.is_none() && now.duration_since(rehearsal.asked_at) <= silent_after
        };
        if asked.iter().any(|one| waits(&one)) {
            asking.waits = true;
            continue;
        }
        let fresh = members.iter().copied().filter(|at| !asked_of.contains_key(at));
        let next = fresh.max_by_key(|&at| (hosts[at].seen_at, std::cmp::Reverse(hosts[at].id)));
        if let Some(at) = next.filter(|_| asked.len() < ASKED_MAX) {
            let class = asked.first().map(|(_, rehearsal)| rehearsal.class.clone());
            let class = class.unwrap_or_else(|| name(release, arch, &names));
            names.insert(class.clone());
            let sources = sources.iter().cloned().collect();
            asking.asks.push(Ask { class, host: hosts[at].id, hosts: members.len(), sources });
        } else {
            let (silent, differ): (Vec<_>, Vec<_>) =
                asked.iter().partition(|(_, rehearsal)| rehearsal.answer.is_none());
            let list = |some: &[&(usize, &Rehearsal)]| {
                some.iter().map(|(at, _)| hosts[*at].name.as_str()).collect::<Vec<_>>().join(", ")
            };
            if !silent.is_empty() {
                asking.given_up.push(format!(
                        "{}: asked what it would do and silent for {} minutes; see whether its agent runs, or leave it out",
                        list(&silent),
                        silent_after.as_mins()
                    ));
            }
            if !differ.is_empty() {
                asking.given_up.push(format!(
                        "{}: what it said does not fit its last inventory; wait until it has reported, and ask again",
                        list(&differ)
                    ));
            }
        }
    }
    asking
}

/// `debian-12-amd64`, or with a number if there is one of that name.
fn name(release: &str, arch: &str, taken: &BTreeSet<String>) -> String {
    let plain = format!("{}-{arch}", release.replace([':', ' ', '/'], "-"));
    let mut name = plain.clone();
    let mut number = 2_usize;
    while taken.contains(&name) {
        name = format!("{plain}-{number}");
        number += 1;
    }
    name
}

fn blocked(
    hosts: &[Host],
    place: &BTreeMap<String, usize>,
    rehearsals: &[Rehearsal],
    of_host: &[Option<usize>],
) -> Vec<String> {
    let mut blocks = Vec::new();
    for (number, rehearsal) in rehearsals.iter().enumerate() {
        let Some((_, answer)) = &rehearsal.answer else { continue };
        let concerned = of_host.iter().filter(|of| **of == Some(number)).count();
        if concerned == 0 {
            continue;
        }
        let host = place.get(&rehearsal.host).map_or(rehearsal.host.as_str(), |&at| &hosts[at].name);
        let like = if concerned > 1 { format!(" (and {} like it)", concerned - 1) } else { String::new() };
        blocks.extend(answer.blocks.iter().map(|reason| format!("{host}{like}: {reason}")));
        if answer.blocks.is_empty() && answer.changes.is_empty() {
            blocks.push(format!(
                "{host}{like}: nothing newer of {} can be had there; see its archives, or leave it out",
                rehearsal.sources.join(", ")
            ));
        }
    }
    blocks
}

/// One version of a package is one file: hosts that say otherwise are not planned for before somebody has looked.
fn disagreements(hosts: &[Host], place: &BTreeMap<String, usize>, rehearsals: &[Rehearsal]) -> Vec<String> {
    let mut files: BTreeMap<(&str, &str, &str, &str), (&str, &rollout::plan::File)> = BTreeMap::new();
    let mut blocks = Vec::new();
    for rehearsal in rehearsals {
        let host = place.get(&rehearsal.host).map_or(rehearsal.host.as_str(), |&at| &hosts[at].name);
        for change in rehearsal.answer.iter().flat_map(|(_, answer)| &answer.changes) {
            let key =
                (change.archive.as_str(), change.name.as_str(), change.arch.as_str(), change.to.as_str());
            let (other, file) = *files.entry(key).or_insert((host, &change.file));
            if *file != change.file {
                blocks.push(format!(
                    "{other} and {host} name different files for {} {} of {}: find out which archive is wrong",
                    change.name, change.to, change.archive
                ));
            }
        }
    }
    blocks
}

fn known(hosts: &[Host], machines: &[Machine], rehearsals: &[Rehearsal], of_host: &[Option<usize>]) -> Next {
    let (mut classes, mut numbers) = (Vec::<HostClass>::new(), BTreeMap::new());
    let mut of = Vec::with_capacity(hosts.len());
    for (host, number) in hosts.iter().zip(of_host) {
        let answered = number.and_then(|number| Some((number, rehearsals[number].answer.as_ref()?)));
        let Some((number, (_, answer))) = answered else { return Next::Wait };
        let machine = &machines[host.machine];
        let class = *numbers.entry(number).or_insert_with(|| {
            let mut changes = answer.changes.clone();
            changes.sort_by(|one, other| (&one.name, &one.arch).cmp(&(&other.name, &other.arch)));
            let same = classes.iter().position(|class| {
                (&class.release, &class.arch, &class.changes) == (&machine.release, &machine.arch, &changes)
            });
            same.unwrap_or_else(|| {
                classes.push(HostClass {
                    name: rehearsals[number].class.clone(),
                    release: machine.release.clone(),
                    arch: machine.arch.clone(),
                    changes,
                });
                classes.len() - 1
            })
        });
        of.push(class);
    }
    Next::Known(classes, of)
}
