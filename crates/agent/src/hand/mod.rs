//! The half of the agent that is root: it takes typed orders over a socket, and believes none of them unseen.
//!
//! The half that speaks with the network has no rights. It names a plan and a deed; this half verifies by its own memory
//! of the root, in a directory of root's own (`place`), that approvers have signed that plan, that the host's owner
//! allows it, and, before what cannot be undone, that the server says it is not halted (`guard`). What it needs for that
//! it has the other half fetch: bytes that count only once they verify. Then it has systemd begin the `deed`, in a unit
//! of its own that neither half's end touches.

pub(crate) mod deed;
pub(crate) mod driver;
pub(crate) mod fit;
pub(crate) mod named;
pub(crate) mod order;
pub(crate) mod place;
pub(crate) mod units;
mod apk;
mod apt;
mod dnf;
mod grant;
mod guard;
mod kept;
mod awake;
mod nonces;
mod pacman;
mod owed;
mod restart;
mod rpm;
mod staged;
mod task;
mod trial;
mod zypper;
mod unit_files;
mod updaters;

pub use deed::carry_out;
pub use place::{DIRECTORY, Place, SOCKET};
pub(crate) use restart::{Service, services};
pub(crate) use trial::is_open as is_on_trial;
pub use trial::{restore, retire, watch};
pub use updaters::release as release_updaters;

use crate::job::clock;
use crate::program::Program;
use crate::settings::Settings;
use crate::user;
use advisory::Problem;
use driver::{driver, is_for_this_host};
use guard::Guard;
use jiff::Timestamp;
use order::{Ask, Line, Order, Reply};
use rustix::net::sockopt::socket_peercred;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The user that the other half runs as.
const USER: &str = "palisade-agent";
/// The unit that a deed runs in: one, so that there is never a second deed beside the first.
pub(crate) const DEED_UNIT: &str = "palisade-deed.service";
/// How long the other half may take for one message.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// After so long without a further order a connection ends: within a job one follows the other, and beginning a process in its
/// own sandbox costs more than most orders.
const SILENCE: Duration = Duration::from_secs(20);
/// And after so long altogether: systemd ends what runs for 300 s.
const CONNECTED: Duration = Duration::from_secs(120);

/// Answers one connection, which systemd gives as standard input, order by order, and ends.
///
/// Errors where the caller may not ask, or where nothing could be answered.
pub fn answer(connection: OwnedFd, settings: &Path) -> Result<(), Problem> {
    let broken = |problem: &dyn std::fmt::Display| {
        Problem::new("answer the agent on", SOCKET, problem.to_string()).remedy("it asks again")
    };
    let caller = socket_peercred(&connection).map_err(|problem| broken(&problem))?;
    let caller = caller.uid.as_raw();
    if caller != 0 && user::id(USER) != Some(caller) {
        let reason = format!("user {caller} may not ask; root and {USER} may");
        return Err(Problem::new("answer on", SOCKET, reason).remedy("see who opened the socket"));
    }
    let stream = UnixStream::from(connection);
    stream.set_read_timeout(Some(PATIENCE)).map_err(|problem| broken(&problem))?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(|problem| broken(&problem))?;
    let line = Arc::new(Line::new(stream).map_err(|problem| broken(&problem))?);
    let place = Place::open()?;
    let end = Instant::now() + CONNECTED;
    let mut asked = Some(line.hear::<Ask>().map_err(|problem| broken(&problem))?);
    while let Some(ask) = asked {
        let reply = reply(&place, ask, settings, &line);
        if let Reply::Refused(problem) = &reply {
            eprintln!("<4>palisade: hand: {}", problem.to_string().replace(char::is_control, " "));
        }
        line.say(&reply).map_err(|problem| broken(&problem))?;
        if Instant::now() >= end {
            break;
        }
        asked = line.hear_next(SILENCE).map_err(|problem| broken(&problem))?;
    }
    Ok(())
}

fn reply(place: &Place, ask: Ask, settings: &Path, line: &Arc<Line>) -> Reply {
    let done = match ask {
        Ask::Nonce => nonces::draw(place).map(Reply::Nonce),
        Ask::Begin(order) => begin(place, &order, settings, line).map(|()| Reply::Begun),
        Ask::GiveBack => give_back(place, settings).map(|()| Reply::Begun),
        Ask::Heard(word) => trial::heard(place, &word, line.clone(), Timestamp::now()).map(|()| Reply::Noted),
    };
    done.unwrap_or_else(Reply::Refused)
}

/// Verifies an order, and begins what it asks.
fn begin(place: &Place, order: &Order, file: &Path, line: &Arc<Line>) -> Result<(), Problem> {
    let settings = Settings::read(file)
        .map_err(|problem| order.refused(problem).remedy("repair the settings of this host's owner"))?;
    let _alone = place.lock(order)?;
    let guard = Guard { place, settings: &settings, source: line.clone(), now: Timestamp::now() };
    guard.admit(order)?;
    if let Some(driver) = driver(settings.agent.hand) {
        is_for_this_host(driver, Path::new("/"))?;
    }
    start(place, order, file)
}

/// Begins to give back what is owed, if anything is: nobody needs a word for that.
fn give_back(place: &Place, file: &Path) -> Result<(), Problem> {
    let Some(owed) = place.owed()? else { return Ok(()) };
    let order = owed.order();
    let _alone = place.lock(&order)?;
    start(place, &order, file)
}

/// Has systemd carry an order out.
fn start(place: &Place, order: &Order, file: &Path) -> Result<(), Problem> {
    place.keep_order(order)?;
    let program = std::env::current_exe().map_err(|problem| order.refused(problem))?;
    let run = deed_unit(&format!("Palisade: {} plan {}", order.deed, order.plan))
        .arg(program)
        .args(["agent", "deed", "--settings"])
        .arg(file);
    run.run_ok().map(|_| ()).map_err(|problem| {
        order.refused(problem).remedy(format!("see systemctl status {DEED_UNIT}; it is tried again"))
    })
}

/// Has systemd begin the program that is still to be named in the one unit for deeds.
fn deed_unit(description: &str) -> Program {
    Program::new("systemd-run")
        .args(["--quiet", "--collect", "--property=Type=exec"])
        // Whoever stops the unit does not stop the package manager: what it has begun it ends.
        .args(["--property=KillMode=process", "--property=TimeoutStopSec=infinity"])
        .arg(format!("--unit={DEED_UNIT}"))
        .arg(format!("--description={description}"))
}

/// This boot, as the journal and the clearances have it.
fn boot() -> u64 {
    clock::boot(Path::new("/proc"))
}
