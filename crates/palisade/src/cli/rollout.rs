//! The command line's part about rollouts: plans under way.

use super::key::Hand;
use crate::terms::AskedReplay;
use crate::terms::{self, Service};
use clap::{Args, Subcommand, ValueHint};
use jiff::Timestamp;
use rollout::plan::{Blackout, Probe, Reboot, Window};
use rollout::waves::Size;
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
#[command(after_help = "\
A rollout is named by its plan: its id, a part of it that no other has, or its title.

Exit codes: 0 done; 1 proposed, and signers are missing still; 64 the command line is wrong; 70 it failed. plan and watch
have their own.

Examples:
  palisade rollout plan --fix openssl --select group=web --canary web-01 --waves 10%,50%
  palisade rollout start 7d1e7c3a
  palisade rollout watch 7d1e7c3a
  palisade rollout halt 7d1e7c3a --reason 'checkout answers 500'
  palisade rollout resume 7d1e7c3a --reason 'was a cable'
  palisade rollout hosts 7d1e7c3a --counts failed")]
pub(crate) enum Rollout {
    /// Make a plan: choose what to fix and where, have hosts rehearse it, propose it
    Plan(Box<Make>),
    /// List rollouts
    List {
        /// Only in this state: armed, wave, paused, halted, complete …
        #[arg(long, value_name = "STATE")]
        state: Option<String>,
    },
    /// Start a rollout whose plan is signed
    Start {
        /// The plan
        plan: String,
    },
    /// Show where a rollout stands: waves, gates, and every wait
    #[command(after_help = "Example:\n  palisade rollout status 7d1e7c3a --json")]
    Status {
        /// The plan
        plan: String,
    },
    /// Follow a rollout until it ends
    #[command(after_help = WATCH_AFTER)]
    Watch {
        /// The plan
        plan: String,
        /// Print lines as it changes, also on a terminal
        #[arg(long)]
        lines: bool,
    },
    /// Let no more hosts begin; whoever has begun finishes. It goes on when approvers sign that
    Pause(Order),
    /// The same, because something is wrong
    Halt(Order),
    /// Propose that it goes on
    Resume(Word),
    /// Propose that its hosts go back to the old versions
    Rollback(Word),
    /// Give it up; whoever has begun finishes
    Abort(Order),
    /// Give it up because what it installs was withdrawn
    Retract(Order),
    /// Free the places that a host keeps, after somebody has looked at it
    Free {
        /// The plan
        plan: String,
        /// The host's name or id
        host: String,
        /// What was found; it is recorded
        #[arg(long)]
        reason: String,
    },
    /// List a rollout's hosts and where each stands; with a host, its reports
    Hosts {
        /// The plan
        plan: String,
        /// Only this host, with every report
        host: Option<String>,
        /// Only of this wave; the canaries are 0
        #[arg(long)]
        wave: Option<u32>,
        /// Only in this state: applying, failed, lost …
        #[arg(long, value_name = "STATE")]
        state: Option<String>,
        /// Only those that count as this: under-change, proven, skipped, failed, lost
        #[arg(long, value_name = "COUNTS")]
        counts: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 1_000)]
        most: usize,
    },
}

const WATCH_AFTER: &str = "\
On a terminal it draws a screen: q leaves, p pauses, h halts (both ask first). Elsewhere it prints a line for each change.

Exit codes:
  0   complete
  1   halted, aborted, rolled back, superseded or retracted
  2   left before it ended
  70  it failed
  130 interrupted

Example:
  palisade rollout watch 7d1e7c3a && palisade host list --select 'package=openssl<3.0.15'";

/// An order about a rollout that needs no approvers.
#[derive(Debug, Args)]
pub(crate) struct Order {
    /// The plan
    pub(crate) plan: String,
    /// Why; it is recorded
    #[arg(long)]
    pub(crate) reason: String,
}

/// A word about a rollout that approvers sign.
#[derive(Debug, Args)]
pub(crate) struct Word {
    /// The plan
    pub(crate) plan: String,
    /// Why; approvers read it
    #[arg(long)]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) hand: Hand,
}

/// Makes a plan: hosts of each kind rehearse what would change, without changing anything; then it is proposed, shown, and
/// blocked with reasons where it cannot be carried out.
#[derive(Clone, Debug, Default, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
#[command(after_help = "\
Terms that serve for many plans can stand in a policy file; what is said here counts before what stands there:
  select = \"group=web\"
  waves = [\"10%\", \"50%\"]
  windows = [\"Sat,Sun 02:00+4h Europe/Zurich\"]
  services = [\"role=1\"]
  probes = [\"http:80/health on web\"]
  replays = [\"http:80/ of nginx.service on web\"]

Exit codes: 0 proposed; 1 made, but blocked; 64 the command line is wrong; 70 it failed

Examples:
  palisade rollout plan --fix openssl --select group=web
  palisade rollout plan --fix DSA-5800-1 --select all --policy production.toml --canary web-01
  palisade rollout plan --fix CVE-2026-3497 --select all --emergency --soak 5m --dry-run")]
pub(crate) struct Make {
    /// What to fix: a source package, a CVE or a bulletin; may be given many times
    #[arg(long, value_name = "PACKAGE|CVE|BULLETIN", required_unless_present_any = ["everything", "policy"])]
    pub(crate) fix: Vec<String>,
    /// Fix everything that is open, not only what is named
    #[arg(long)]
    pub(crate) everything: bool,
    /// On which hosts, in the selector language
    #[arg(long, short, value_name = "SELECTOR", required_unless_present = "policy")]
    pub(crate) select: Option<String>,
    /// A host that goes first, by name or id; may be given many times
    #[arg(long, value_name = "HOST")]
    pub(crate) canary: Vec<String>,
    /// So many hosts that go first with the canaries, drawn by lot
    #[arg(long, value_name = "N")]
    pub(crate) sample: Option<u32>,
    /// Sizes of the waves after the canaries'; whoever is left forms the last
    #[arg(long, value_name = "SIZE", value_delimiter = ',', value_parser = terms::wave)]
    pub(crate) waves: Vec<Size>,
    /// In haste: a sixth of the soak, without the policy's windows; canaries all the same
    #[arg(long)]
    pub(crate) emergency: bool,
    /// Hosts under change at once
    #[arg(long, value_name = "N")]
    pub(crate) at_once: Option<u32>,
    /// How long each wave is watched before the next begins
    #[arg(long, value_name = "TIME", value_parser = terms::duration)]
    pub(crate) soak: Option<u32>,
    /// Failed or lost hosts of a wave that are borne; one more halts
    #[arg(long, value_name = "N")]
    pub(crate) failures: Option<u32>,
    /// Hosts of each value of this label are a service: so many may be away at once; may be given many times
    #[arg(long, value_name = "LABEL=MAX", value_parser = terms::service)]
    pub(crate) service: Vec<Service>,
    /// When hosts may begin: 'Sat,Sun 02:00+4h Europe/Zurich'; may be given many times
    #[arg(long, value_name = "WINDOW", value_parser = terms::window)]
    pub(crate) window: Vec<Window>,
    /// Days on which nobody begins: '2026-12-20..2027-01-04 Europe/Zurich year-end closing'
    #[arg(long, value_name = "DAYS", value_parser = terms::blackout)]
    pub(crate) blackout: Vec<Blackout>,
    /// What must answer afterwards: unit:nginx.service, tcp:443, http:80/path, https:443/path, command:NAME; may be given
    /// many times
    #[arg(long, value_name = "PROBE", value_parser = terms::probe)]
    pub(crate) probe: Vec<Probe>,
    /// A service that known attempts are replayed to once it is patched: 'http:80/ of nginx.service'; may be given many times
    #[arg(long, value_name = "REPLAY", value_parser = terms::replay)]
    pub(crate) replay: Vec<AskedReplay>,
    /// What is replayed, instead of what is known of the CVEs that are fixed: an id of "palisade rules list"; may be given
    /// many times
    #[arg(long, value_name = "ID")]
    pub(crate) replay_signature: Vec<String>,
    /// Whether a host may reboot: never, or how often
    #[arg(long, value_name = "never|N", value_parser = terms::reboot)]
    pub(crate) reboot: Option<Reboot>,
    /// Hosts that fail stay as they are, and the rollout has no way back
    #[arg(long)]
    pub(crate) no_rollback: bool,
    /// No host begins before this: 2026-12-01T02:00:00Z
    #[arg(long, value_name = "TIME")]
    pub(crate) not_before: Option<Timestamp>,
    /// After so long no host begins any more
    #[arg(long, value_name = "TIME", value_parser = terms::duration)]
    pub(crate) expires: Option<u32>,
    /// The plan that this one replaces
    #[arg(long, value_name = "PLAN")]
    pub(crate) supersedes: Option<String>,
    /// Terms in a file, for all plans of a kind
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) policy: Option<PathBuf>,
    /// One line for people
    #[arg(long)]
    pub(crate) title: Option<String>,
    /// Make it, show it, and stop before it is proposed
    #[arg(long, visible_alias = "draft")]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) hand: Hand,
}

#[derive(Debug, Subcommand)]
#[command(after_help = "\
A gate opens only while no alert is firing, and it is known that none is. Alertmanager's webhook goes to POST /api/v1/alerts.

Examples:
  palisade alert list
  palisade alert raise checkout-slow --label severity=page --note 'p99 over 2 s'
  palisade alert clear checkout-slow")]
pub(crate) enum Alert {
    /// List alerts that are firing
    List,
    /// Raise an alert by hand: gates hold while it is there
    Raise {
        /// Its name
        name: String,
        /// Labels
        #[arg(long, value_name = "NAME=VALUE")]
        label: Vec<String>,
        /// What was seen
        #[arg(long, default_value = "raised by hand")]
        note: String,
    },
    /// Take an alert away
    Clear {
        /// Its name
        name: String,
    },
}
