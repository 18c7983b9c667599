//! Written histories: a small language, one command a line, and what the fleet did beneath each.
//!
//! ```text
//! fleet 5                        machines host-0 … host-4 (first line)
//! plan waves 1,4 proven 80 …     the plan: waves, proven, bad, skipped, at-once, away, late, windows, reboot, rollback,
//!                                deadline, silence, lease, clearance, soak-host (seconds)
//! host 3 unhealthy               what is wrong with a machine: unhealthy, reboots, bricks, drifted, held, never,
//!                                keeps-stale, full-disk, mute, unfit, halves N, fails N, fetch-fails N, unasked N, no-repair,
//!                                no-revert
//! start                          a person starts the plan; `start 2` the second
//! run 10m                        time passes: s, m, h, d
//! part 3 20m                     no message to or from a machine
//! cut 3 / cut 3 for ever         a machine loses power; it comes back after 45 seconds, or never
//! crash 3 at 4                   a machine loses power at the fourth point of its journal from now on
//! clone 3 / jump 3 -2h / lock 3 5m / kill 1 10m / alerts 2 / alerts unknown
//! pause | resume N | resume N unsigned | free 3 | reboot 3 | rollback | retract | abort
//! supersede waves 1,4 …          a second plan that replaces the first, signed and armed
//! capture                        the server is taken over
//! show                           where everything stands, and what it waits for
//! ```

use super::chance::Chance;
use super::fleet::Shape;
use super::host::Version;
use super::world::{Fate, World};
use crate::plan::{Day, Reboot, Recurrence, Rollback, Window};
use crate::rollout::Event;
use std::collections::BTreeSet;
use std::fmt::Write;

/// Runs a story. Gives its commands with what happened beneath each.
pub fn run(text: &str) -> Result<String, String> {
    let mut story = Story { hosts: 0, seed: 7, world: None };
    let mut out = String::new();
    for (number, line) in text.lines().enumerate() {
        let _ = writeln!(out, "{line}");
        let command = line.split('#').next().unwrap_or_default();
        let words: Vec<&str> = command.split_whitespace().collect();
        if words.is_empty() {
            continue;
        }
        let told = story.obey(&words).map_err(|why| format!("line {}: {line}: {why}", number + 1))?;
        for line in told {
            let _ = writeln!(out, "> {line}");
        }
        if let Some((kind, how)) = story.world.as_ref().and_then(|world| world.oath.broken.clone()) {
            let _ = writeln!(out, "> BROKEN {kind:?}: {how}");
        }
    }
    Ok(out)
}

/// A story under way.
struct Story {
    hosts: usize,
    seed: u64,
    world: Option<World>,
}

impl Story {
    fn obey(&mut self, words: &[&str]) -> Result<Vec<String>, String> {
        match words {
            ["fleet", hosts] => {
                self.hosts = number(hosts)?;
                return Ok(Vec::new());
            }
            ["fleet", hosts, "seed", seed] => {
                (self.hosts, self.seed) = (number(hosts)?, number(seed)?);
                return Ok(Vec::new());
            }
            ["plan", rest @ ..] => {
                let shape = shape(Shape::default(), rest)?;
                let mut world = World::new(&Chance::of(self.seed), self.hosts, &shape);
                world.told = Some(Vec::new());
                self.world = Some(world);
                return Ok(Vec::new());
            }
            _ => {}
        }
        let world = self.world.as_mut().ok_or("the story has no plan yet")?;
        let mut shown = Vec::new();
        act(world, words, &mut shown)?;
        world.run_until(world.now_ms + 1);
        let mut told: Vec<String> = std::mem::take(world.told.get_or_insert_default());
        told.extend(shown);
        Ok(told)
    }
}

fn act(world: &mut World, words: &[&str], shown: &mut Vec<String>) -> Result<(), String> {
    let signers = || -> BTreeSet<String> { ["1".to_owned(), "2".to_owned()].into() };
    let by = || "anna".to_owned();
    let last = world.centre.books.len() - 1;
    let fate = match *words {
        ["host", host, ref flaw @ ..] => return flawed(world, index(world, host)?, flaw),
        ["run", time] => {
            let until = world.now_ms + u64::try_from(millis(time)?).map_err(|_| "time runs forward")?;
            world.run_until(until);
            return Ok(());
        }
        ["show"] => {
            show(world, shown);
            return Ok(());
        }
        ["crash", host, "at", point] => {
            world.crash_at = Some((index(world, host)?, number(point)?));
            return Ok(());
        }
        ["alerts", "unknown"] => {
            world.centre.alerts = None;
            return Ok(());
        }
        ["alerts", firing] => {
            world.centre.alerts = Some(number(firing)?);
            return Ok(());
        }
        ["supersede", ref rest @ ..] => return supersede(world, rest),
        ["start"] => Fate::Order(0, Event::Started),
        ["start", "2"] => {
            // The plan that is replaced stops in the same transaction.
            let by = world.centre.books[1].sealed.plan.id;
            world.fate(0, Fate::Order(0, Event::Superseded { by }));
            Fate::Order(1, Event::Started)
        }
        ["part", host, time] => {
            Fate::Part(index(world, host)?, u64::try_from(millis(time)?).map_err(|_| "time runs forward")?)
        }
        ["cut", host] => Fate::PowerCut(index(world, host)?, Some(45_000)),
        ["cut", host, "for", "ever"] => Fate::PowerCut(index(world, host)?, None),
        ["clone", host] => Fate::Clone(index(world, host)?),
        ["jump", host, by] => Fate::Jump(index(world, host)?, millis(by)?),
        ["lock", host, time] => {
            Fate::Lock(index(world, host)?, u64::try_from(millis(time)?).map_err(|_| "time runs forward")?)
        }
        ["kill", server, time] => {
            let server: usize = number(server)?;
            Fate::Kill(server.min(1), u64::try_from(millis(time)?).map_err(|_| "time runs forward")?)
        }
        ["reboot", host] => Fate::RebootByHand(index(world, host)?),
        ["pause"] => Fate::Order(last, Event::Paused { by: by() }),
        ["resume", generation] => {
            Fate::Order(last, Event::Resumed { generation: number(generation)?, signers: signers() })
        }
        ["resume", generation, "unsigned"] => {
            Fate::Order(last, Event::Resumed { generation: number(generation)?, signers: BTreeSet::new() })
        }
        ["free", host] => Fate::Free(last, index(world, host)?),
        ["rollback"] => Fate::Order(last, Event::BackOrdered { by: by(), signers: signers() }),
        ["retract"] => Fate::Order(last, Event::Retracted { why: "DSA-0000-1 was withdrawn".to_owned() }),
        ["abort"] => Fate::Order(last, Event::Aborted { by: by() }),
        ["capture"] => Fate::Capture,
        _ => return Err("no such command".to_owned()),
    };
    world.fate(0, fate);
    Ok(())
}

fn show(world: &mut World, shown: &mut Vec<String>) {
    let now = world.now();
    for at in 0..world.centre.books.len() {
        let ids = world.ids.clone();
        let waits = world.centre.waits(at, &ids, now);
        let book = &world.centre.books[at];
        shown.push(format!("{now} plan {}: {}", at + 1, book.rollout.state));
        for (number, row) in book.rows.iter().enumerate() {
            shown.push(format!(
                "  wave {number}: {} of {} proven, {} bad ({} borne), {} skipped, {} under change",
                row.proven,
                row.hosts,
                row.bad(),
                row.bad_max,
                row.skipped,
                row.inflight
            ));
        }
        let open = book.jobs.iter().enumerate().filter_map(|(number, job)| Some((number, job.as_ref()?)));
        for (number, job) in open.filter(|(_, job)| job.state != crate::job::State::Proven) {
            let version = match world.hosts[number].packages[0] {
                Version::Old => "the old version",
                Version::New => "the new version",
                Version::Half => "it half installed",
                Version::Third => "another version",
            };
            shown.push(format!("  host-{number}: {}, has {version}", job.state));
        }
        // Ids mean nothing to a reader of stories.
        let named = |text: String| {
            ids.iter()
                .enumerate()
                .fold(text, |text, (number, id)| text.replace(&id.to_string(), &format!("host-{number}")))
        };
        shown.extend(waits.into_iter().map(|wait| format!("  waits: {}", named(wait))));
    }
}

fn supersede(world: &mut World, words: &[&str]) -> Result<(), String> {
    let old = world.centre.books[0].sealed.plan.id;
    world.arm(&shape(Shape { number: 2, supersedes: Some(old), ..Shape::default() }, words)?);
    Ok(())
}

fn flawed(world: &mut World, at: usize, words: &[&str]) -> Result<(), String> {
    let host = &mut world.hosts[at];
    let nature = &mut host.nature;
    match words {
        ["unhealthy"] => nature.unhealthy = true,
        ["healthy"] => nature.unhealthy = false,
        ["reboots"] => nature.reboots = true,
        ["bricks"] => (nature.reboots, nature.bricks) = (true, true),
        ["drifted"] => host.packages[0] = Version::Third,
        ["held"] => nature.held = true,
        ["never"] => nature.never = true,
        ["keeps-stale"] => nature.keeps_stale = true,
        ["full-disk"] => nature.full_disk = true,
        ["mute"] => nature.mute = true,
        ["unfit"] => nature.unfit = true,
        ["fit"] => nature.unfit = false,
        ["no-repair"] => nature.repair_fails = true,
        ["no-revert"] => nature.revert_fails = true,
        ["halves", times] => nature.apply_halves = number(times)?,
        ["fails", times] => nature.apply_fails = number(times)?,
        ["unasked", times] => nature.unasked = number(times)?,
        ["fetch-fails", times] => nature.fetch_fails = number(times)?,
        _ => return Err("no such flaw".to_owned()),
    }
    Ok(())
}

fn shape(mut shape: Shape, words: &[&str]) -> Result<Shape, String> {
    for pair in words.chunks(2) {
        let [name, value] = pair else { return Err("each name has a value".to_owned()) };
        match *name {
            "waves" => shape.waves = value.split(',').map(number).collect::<Result<_, _>>()?,
            "proven" => shape.proven_percent_min = number(value)?,
            "bad" => shape.bad_max = number(value)?,
            "skipped" => shape.skipped_max = number(value)?,
            "at-once" => shape.hosts_at_once_max = number(value)?,
            "away" => shape.away_max = value.split(',').map(number).collect::<Result<_, _>>()?,
            "late" => shape.late_max = number(value)?,
            "control" => shape.control = *value == "yes",
            "reboot" => shape.reboot = reboot(value)?,
            "rollback" if *value == "never" => shape.rollback = Rollback::Never,
            "rollback" => shape.rollback = Rollback::OnFailure,
            "deadline" => shape.timing.deadline_seconds = number(value)?,
            "silence" => shape.timing.silence_seconds = number(value)?,
            "lease" => shape.timing.lease_seconds = number(value)?,
            "clearance" => shape.timing.clearance_seconds = number(value)?,
            "window" => shape.windows.push(window(value)?),
            _ => return Err(format!("a plan has no {name}")),
        }
    }
    Ok(shape)
}

fn reboot(value: &str) -> Result<Reboot, String> {
    match value {
        "never" => Ok(Reboot::Never),
        times => Ok(Reboot::IfNeeded { reboots_max: number(times)? }),
    }
}

/// `Sunday@01:30+120@Europe/Zurich`: day, local time, minutes, zone.
fn window(text: &str) -> Result<Window, String> {
    let wrong = || format!("{text} is not DAY@HH:MM+MINUTES@ZONE");
    let mut parts = text.splitn(3, '@');
    let (Some(day), Some(time), Some(zone)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(wrong());
    };
    let (opens, minutes) = time.split_once('+').ok_or_else(wrong)?;
    let day = match day {
        "Sunday" => Day::Sunday,
        "Monday" => Day::Monday,
        "Tuesday" => Day::Tuesday,
        _ => return Err(wrong()),
    };
    Ok(Window {
        zone: zone.to_owned(),
        every: Recurrence::Weekly(vec![day]),
        opens: opens.parse().map_err(|_| wrong())?,
        minutes: number(minutes)?,
    })
}

fn index(world: &World, text: &str) -> Result<usize, String> {
    let at: usize = number(text)?;
    if at < world.hosts.len() { Ok(at) } else { Err(format!("there is no host {at}")) }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text} is no number"))
}

/// `90s`, `10m`, `-2h`, `3d`, in milliseconds.
fn millis(text: &str) -> Result<i64, String> {
    let unit = match text.chars().last() {
        Some('s') => 1_000,
        Some('m') => 60_000,
        Some('h') => 3_600_000,
        Some('d') => 86_400_000,
        Some(_) | None => return Err(format!("{text} has no unit: s, m, h, d")),
    };
    Ok(number::<i64>(&text[..text.len() - 1])? * unit)
}
