//! Which hosts need what is asked for, and what they have. Reads the fleet in memory, the hosts' rows, and the pieces of their
//! inventories, each distinct one once.

use super::asked::Asked;
use super::build::LeftOut;
use super::classes::{Host, Machine};
use super::{Error, Planning};
use crate::store::advisories;
use crate::store::host_list::{self, Host as Row, HostFilter};
use crate::store::inventories::{self, Contents};
use crate::store::{self, Store};
use crate::task::off_thread;
use exposure::inventory::{Action, Package, System};
use exposure::selector::{Facts, Selector, release_word};
use jiff::{SignedDuration, Timestamp};
use roaring::RoaringBitmap;
use rollout::plan::HostId;
use rollout::plan::check::agent::PACKAGE as AGENT;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use uuid::Uuid;
use wire::v1::Piece;

/// Hosts read at once.
const ROWS_AT_ONCE: i64 = 5_000;
/// Inventories read at once: 1,000 × some 30 pieces × 150 bytes = 5 MB of contents.
const INVENTORIES_AT_ONCE: usize = 1_000;
/// Labels that strata are made of.
const ROLE: &str = "role";
const REGION: &str = "region";

/// The hosts of a plan.
#[derive(Debug, Default)]
pub(super) struct Selection {
    pub(super) hosts: Vec<Host>,
    pub(super) machines: Vec<Machine>,
    pub(super) bulletins: BTreeSet<String>,
    /// CVEs that are closed, where something is to be replayed for them.
    pub(super) cves: BTreeSet<String>,
    pub(super) left_out: Vec<LeftOut>,
    /// Faults of what was asked for.
    pub(super) faults: Vec<String>,
}

/// What was asked to be fixed, as far as findings tell.
#[derive(Debug, Default)]
struct Wanted {
    /// Hosts' numbers by package: `source:openssl`, `binary:libssl3`.
    packages: BTreeMap<String, RoaringBitmap>,
    bulletins: BTreeSet<String>,
    /// Advisories that are closed: the bulletins, and those about source packages that are named.
    closed: BTreeSet<String>,
    /// Items that are no advisory and no CVE: source packages.
    sources: BTreeSet<String>,
}

/// A selector with what it asks looked up.
struct Selects {
    selector: Selector,
    lookup: crate::fleet::Lookup,
}

/// Hosts that have one inventory, and what that is.
struct Image {
    hosts: Vec<(String, u32)>,
    machine: Machine,
    /// Source packages for which its package manager has something newer.
    newer: BTreeSet<String>,
}

impl Planning {
    /// Finds the hosts that are selected and need it. `further`: source packages of which it matters, too, what is
    /// installed.
    pub(super) async fn select(
        &self,
        asked: &Asked,
        further: &BTreeSet<String>,
        now: Timestamp,
    ) -> Result<Selection, Error> {
        let mut faults = Vec::new();
        let select = self.selects(asked.select.as_deref().unwrap_or("all"), "select", &mut faults);
        let groups: Vec<(String, Option<Selects>)> = asked
            .groups
            .iter()
            .map(|group| {
                let selects = self.selects(&group.select, &format!("group {}", group.name), &mut faults);
                (group.name.clone(), selects)
            })
            .collect();
        if asked.everything != asked.fix.is_empty() {
            faults.push("fix: name what is to be fixed, or say \"everything\", and not both".to_owned());
        }
        let Some(select) = select.filter(|_| faults.is_empty()) else {
            return Ok(Selection { faults, ..Selection::default() });
        };
        let mut left_out = BTreeMap::new();
        let rows = self.rows(&select, &mut left_out, now).await?;
        let wanted = self.wanted(asked, rows.values().map(|(number, _)| *number).collect()).await;
        let letters = letters(&wanted, further);
        let images = images(&self.app.store, &rows, letters.as_ref()).await?;
        for name in wanted.sources.iter().filter(|_| !rows.is_empty()) {
            let has = |image: &Image| {
                image.newer.contains(name)
                    || image.machine.packages.iter().flat_map(|batch| batch.iter()).any(|p| p.source == *name)
            };
            if !wanted.packages.contains_key(&format!("source:{name}")) && !images.iter().any(has) {
                faults.push(format!(
                    "fix {name:?}: no selected host has a source package of that name, and no advisory or CVE is known by it"
                ));
            }
        }
        let cves = if asked.replays.is_empty() {
            BTreeSet::new()
        } else {
            advisories::cves_of(&self.app.store, &wanted.closed).await?
        };
        let bulletins = wanted.bulletins.clone();
        let mut selection = Selection { bulletins, cves, faults, ..Selection::default() };
        let seen: usize = images.iter().map(|image| image.hosts.len()).sum();
        note(&mut left_out, "they have reported no inventory yet", rows.len().saturating_sub(seen));
        for image in images {
            let at = selection.machines.len();
            for (id, number) in &image.hosts {
                let Some((_, row)) = rows.get(id) else { continue };
                let sources = needed(&wanted, *number, &image);
                let Some(id) = Uuid::parse_str(id).ok().filter(|_| !sources.is_empty()) else {
                    note(&mut left_out, "there is nothing of this to be fixed on them", 1);
                    continue;
                };
                selection.hosts.push(host(asked, &groups, HostId(id), *number, row, at, sources));
            }
            selection.machines.push(image.machine);
        }
        selection.hosts.sort_by_key(|host| host.id);
        own_package_alone(asked, &mut selection, &mut left_out);
        selection.left_out = left_out.into_iter().map(|(why, hosts)| LeftOut { why, hosts }).collect();
        if selection.hosts.is_empty() && selection.faults.is_empty() {
            let reasons: Vec<String> =
                selection.left_out.iter().map(|out| format!("{} hosts: {}", out.hosts, out.why)).collect();
            let reasons = if reasons.is_empty() { "it selects none".to_owned() } else { reasons.join("; ") };
            selection.faults.push(format!("select: no host is left to be planned for ({reasons})"));
        }
        Ok(selection)
    }

    fn selects(&self, text: &str, field: &str, faults: &mut Vec<String>) -> Option<Selects> {
        match Selector::parse(text) {
            Ok(selector) => {
                let lookup = self.fleet.lookup(&selector);
                Some(Selects { selector, lookup })
            }
            Err(problem) => {
                faults.push(format!("{field}: {problem}"));
                None
            }
        }
    }

    /// The active hosts that are selected and heard, by id, with their numbers.
    async fn rows(
        &self,
        select: &Selects,
        left_out: &mut BTreeMap<String, u64>,
        now: Timestamp,
    ) -> Result<HashMap<String, (u32, Row)>, store::Error> {
        let minutes = i64::from(self.app.config.agents.silent_minutes);
        let silent_since = now.checked_sub(SignedDuration::from_mins(minutes)).unwrap_or(Timestamp::MIN);
        let mut rows = HashMap::new();
        let mut filter = HostFilter::default();
        loop {
            let page = host_list::list(&self.app.store, &filter, ROWS_AT_ONCE).await?;
            let Some(last) = page.last() else { return Ok(rows) };
            filter.after = Some((last.name.clone(), last.id.clone()));
            for row in page {
                let is_silent = row.state == "active" && row.seen_at < silent_since;
                let Ok(number) = u32::try_from(row.number) else { continue };
                if !select.takes(&row, number, is_silent) {
                    continue;
                }
                match row.state.as_str() {
                    "active" if is_silent => note(left_out, "they are silent", 1),
                    "active" => _ = rows.insert(row.id.clone(), (number, row)),
                    state => note(left_out, &format!("they are {state}"), 1),
                }
            }
        }
    }

    async fn wanted(&self, asked: &Asked, among: RoaringBitmap) -> Wanted {
        let mut wanted = Wanted::default();
        if asked.everything {
            let found = self.fleet.affected_among(None, among).await;
            return Wanted {
                packages: found.packages,
                closed: found.advisories.clone(),
                bulletins: found.advisories,
                sources: BTreeSet::new(),
            };
        }
        for item in &asked.fix {
            let id = if item.to_ascii_uppercase().starts_with("CVE-") {
                item.to_ascii_uppercase()
            } else {
                item.clone()
            };
            let found = self.fleet.affected_among(Some(&id), among.clone()).await;
            if !found.known {
                wanted.sources.insert(item.clone());
            }
            wanted.bulletins.extend(found.advisories);
            for (package, hosts) in found.packages {
                *wanted.packages.entry(package).or_default() |= hosts;
            }
        }
        wanted.closed = wanted.bulletins.clone();
        if !wanted.sources.is_empty() {
            let mut all = self.fleet.affected_among(None, among).await;
            for (package, hosts) in all.packages {
                if package.strip_prefix("source:").is_some_and(|source| wanted.sources.contains(source)) {
                    wanted.closed.extend(all.of_package.remove(&package).unwrap_or_default());
                    *wanted.packages.entry(package).or_default() |= hosts;
                }
            }
        }
        wanted
    }
}

impl Selects {
    fn takes(&self, row: &Row, number: u32, is_silent: bool) -> bool {
        self.selector.matches(&Facts {
            name: &row.name,
            id: &row.id,
            group: &row.group,
            labels: &row.labels,
            release: &row.release,
            state: if is_silent { "silent" } else { &row.state },
            has_package: &|package| self.lookup.has_package(number, package),
            affected_by: &|id| self.lookup.affected_by(number, id),
        })
    }
}

/// The agents' own package is changed by a plan of its own, when everything else is done: what is planned together fails, and
/// is taken back, together.
fn own_package_alone(asked: &Asked, selection: &mut Selection, left_out: &mut BTreeMap<String, u64>) {
    let others = selection.hosts.iter().flat_map(|host| &host.sources).any(|source| source != AGENT);
    if !others || !selection.hosts.iter().any(|host| host.sources.contains(AGENT)) {
        return;
    }
    if !asked.everything {
        selection.faults.push(format!(
            "fix: {AGENT} is the agents' own package, which changes by itself and last: leave it out here, and plan it \
             when this rollout is complete"
        ));
        return;
    }
    let mut agents = 0;
    for host in &mut selection.hosts {
        agents += usize::from(host.sources.remove(AGENT));
    }
    selection.hosts.retain(|host| !host.sources.is_empty());
    let why = format!(
        "their agents are left out: they change by a plan of their own, fix {AGENT}, when this is complete"
    );
    note(left_out, &why, agents);
}

fn note(left_out: &mut BTreeMap<String, u64>, why: &str, hosts: usize) {
    if hosts > 0 {
        *left_out.entry(why.to_owned()).or_default() += u64::try_from(hosts).unwrap_or(u64::MAX);
    }
}

fn host(
    asked: &Asked,
    groups: &[(String, Option<Selects>)],
    id: HostId,
    number: u32,
    row: &Row,
    machine: usize,
    sources: BTreeSet<String>,
) -> Host {
    let label = |name: &str| row.labels.get(name).cloned().unwrap_or_default();
    let by_label = asked
        .services
        .iter()
        .filter_map(|service| Some(format!("{}={}", service.label, row.labels.get(&service.label)?)));
    let by_selector = groups.iter().filter_map(|(name, selects)| {
        selects.as_ref().filter(|selects| selects.takes(row, number, false)).map(|_| name.clone())
    });
    Host {
        id,
        name: row.name.clone(),
        seen_at: row.seen_at,
        machine,
        sources,
        role: label(ROLE),
        region: label(REGION),
        groups: by_label.chain(by_selector).collect::<BTreeSet<String>>().into_iter().collect(),
    }
}

/// The source packages that a host needs.
fn needed(wanted: &Wanted, number: u32, image: &Image) -> BTreeSet<String> {
    let hit = wanted.packages.iter().filter(|(_, hosts)| hosts.contains(number));
    let mut sources: BTreeSet<String> = hit
        .filter_map(|(package, _)| match package.split_once(':')? {
            ("source", source) => Some(source.to_owned()),
            (_, binary) => image.machine.source_of(binary).map(str::to_owned),
        })
        .collect();
    sources.extend(wanted.sources.intersection(&image.newer).cloned());
    sources
}

/// Parts of inventories that matter, `packages.o` and the like; `None`: all packages, because binary packages' sources are to
/// be found.
fn letters(wanted: &Wanted, further: &BTreeSet<String>) -> Option<BTreeSet<String>> {
    let of = wanted.packages.keys().map(|package| package.strip_prefix("source:"));
    let of: Option<Vec<&str>> = of.collect();
    let part = |source: &str| {
        // As Package::batch has it.
        let letter = source.chars().next().unwrap_or('_').to_ascii_lowercase();
        format!("packages.{letter}")
    };
    let named = wanted.sources.iter().chain(further).map(String::as_str);
    Some(of?.into_iter().chain(named).map(part).collect())
}

/// What the hosts have, each distinct inventory once.
async fn images(
    store: &Store,
    rows: &HashMap<String, (u32, Row)>,
    letters: Option<&BTreeSet<String>>,
) -> Result<Vec<Image>, store::Error> {
    let mut groups = inventories::alike(store).await?;
    for group in &mut groups {
        group.hosts.retain(|(host, _)| rows.contains_key(host));
    }
    groups.retain(|group| !group.hosts.is_empty());
    let mut pieces = Pieces::default();
    let mut images = Vec::new();
    while !groups.is_empty() {
        let some = groups.split_off(groups.len().saturating_sub(INVENTORIES_AT_ONCE));
        let (contents, again) = inventories::contents(store, some).await?;
        groups.extend(again);
        let matters = |part: &str| {
            matches!(part, "system" | "candidates")
                || letters.map_or(part.starts_with("packages."), |letters| letters.contains(part))
        };
        pieces.read(store, &contents, &matters).await?;
        images.extend(contents.into_iter().filter_map(|contents| pieces.image(contents, &matters)));
    }
    images.sort_by(|one, other| one.hosts.cmp(&other.hosts));
    Ok(images)
}

/// Pieces that were read, by their hashes.
#[derive(Default)]
struct Pieces {
    systems: HashMap<String, System>,
    packages: HashMap<String, Arc<Vec<Package>>>,
    newer: HashMap<String, BTreeSet<String>>,
}

impl Pieces {
    async fn read(
        &mut self,
        store: &Store,
        contents: &[Contents],
        matters: &impl Fn(&str) -> bool,
    ) -> Result<(), store::Error> {
        let mut wanted: BTreeMap<&str, &str> = BTreeMap::new();
        for (part, hash) in contents.iter().flat_map(|contents| &contents.parts) {
            let known = self.systems.contains_key(hash)
                || self.packages.contains_key(hash)
                || self.newer.contains_key(hash);
            if matters(part) && !known {
                wanted.insert(hash, part);
            }
        }
        let packed = inventories::packed(store, &wanted.keys().copied().collect()).await?;
        let kinds: HashMap<String, String> =
            wanted.into_iter().map(|(hash, part)| (hash.to_owned(), part.to_owned())).collect();
        let read = off_thread(move || {
            let read = |(hash, body): (String, Vec<u8>)| {
                let text = inventories::unpacked(&body)?;
                let piece = Piece::read(kinds.get(&hash)?, &text).ok()??;
                Some((hash, piece))
            };
            packed.into_iter().filter_map(read).collect::<Vec<_>>()
        })
        .await;
        for (hash, piece) in read {
            match piece {
                Piece::System(system) => _ = self.systems.insert(hash, system),
                Piece::Packages(packages) => _ = self.packages.insert(hash, Arc::new(packages)),
                Piece::Candidates(candidates) => {
                    let newer = candidates.into_iter().filter(|candidate| match candidate.action {
                        Action::Upgrade | Action::Install | Action::KeptBack(_) => true,
                        Action::Remove => false,
                    });
                    self.newer.insert(hash, newer.map(|candidate| candidate.source).collect());
                }
                Piece::Root(_)
                | Piece::Archives(_)
                | Piece::Kernel(_)
                | Piece::Processes(_)
                | Piece::Gaps(_)
                | Piece::Closes(_) => {}
            }
        }
        Ok(())
    }

    /// `None` if a piece that matters cannot be read: its hosts count as without an inventory.
    fn image(&self, contents: Contents, matters: &impl Fn(&str) -> bool) -> Option<Image> {
        let system = self.systems.get(contents.parts.get("system")?)?;
        let newer = self.newer.get(contents.parts.get("candidates")?)?.clone();
        let batches = contents
            .parts
            .iter()
            .filter(|(part, _)| part.starts_with("packages.") && matters(part))
            .map(|(_, hash)| self.packages.get(hash).cloned());
        let packages = batches.collect::<Option<Vec<_>>>()?;
        let machine = Machine {
            release: release_word(&system.release.to_string()),
            arch: system.arch.clone(),
            packages,
        };
        Some(Image { hosts: contents.hosts, machine, newer })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(number: u128, sources: &[&str]) -> Host {
        Host {
            id: HostId(Uuid::from_u128(number)),
            name: format!("host-{number}"),
            seen_at: Timestamp::UNIX_EPOCH,
            machine: 0,
            sources: sources.iter().map(|&source| source.to_owned()).collect(),
            role: String::new(),
            region: String::new(),
            groups: Vec::new(),
        }
    }

    #[test]
    fn the_agent_is_planned_by_itself_and_whoever_asks_for_everything_is_told_that_it_is_left_out() {
        let hosts =
            || vec![needs(1, &["openssl", "palisade"]), needs(2, &["palisade"]), needs(3, &["openssl"])];
        let ask = |asked: &Asked, hosts| {
            let (mut selection, mut left_out) =
                (Selection { hosts, ..Selection::default() }, BTreeMap::new());
            own_package_alone(asked, &mut selection, &mut left_out);
            let names: Vec<String> = selection.hosts.iter().map(|host| host.name.clone()).collect();
            (names, selection.faults, left_out.into_values().collect::<Vec<_>>())
        };
        let all = Asked { everything: true, ..Asked::default() };
        let both = Asked { fix: vec!["openssl".to_owned(), "palisade".to_owned()], ..Asked::default() };
        let (names, faults, left_out) = ask(&all, hosts());
        assert_eq!((names.join(" ").as_str(), faults.len(), left_out), ("host-1 host-3", 0, vec![2]));
        let (_, faults, _) = ask(&both, hosts());
        assert!(faults[0].contains("by itself and last"), "{faults:?}");
        for alone in [&all, &both] {
            let (names, faults, left_out) = ask(alone, vec![needs(2, &["palisade"])]);
            assert_eq!((names.len(), faults.len(), left_out.len()), (1, 0, 0));
        }
    }
}
