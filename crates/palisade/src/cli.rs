//! The command line, defined once: parser, help, completions and man pages all come from here.

pub(crate) mod census;
pub(crate) mod fleet;
pub(crate) mod key;
pub(crate) mod plan;
pub(crate) mod rollout;
pub(crate) mod rules;

use crate::command::agent::AgentCommand;
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;
use exposure::report::Bar;
use exposure::ssvc::Mission;
use std::path::PathBuf;

/// From a security bulletin to a patched, proven and protected fleet.
#[derive(Debug, Parser)]
#[command(
    name = "palisade",
    version,
    max_term_width = 100,
    arg_required_else_help = true,
    propagate_version = true
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Tell which security fixes this host lacks, whether the holes are reachable, and what to do first
    Check(Check),
    /// Count attempts in web logs: which attacks, how many a day, from how many sources
    Census(Box<census::Census>),
    #[cfg(feature = "server")]
    /// Start a fleet of one on this machine: server, agent, findings
    Up(fleet::Up),
    #[cfg(feature = "server")]
    /// Run the server
    #[command(after_help = "Example:\n  palisade server --config /etc/palisade/server.toml")]
    Server(fleet::Settings),
    /// Keep access to a server
    Login(fleet::Login),
    /// Show what a server has: hosts, findings, feeds
    #[command(after_help = "Example:\n  palisade status --json")]
    Status(fleet::Asking),
    /// Look at hosts, label them, take them out
    Host(Ask<fleet::Host>),
    /// Look at what the fleet lacks
    Finding(Ask<fleet::Finding>),
    /// Look at what vendors say
    Advisory(Ask<fleet::Advisory>),
    /// Look at feeds, read one now
    Feed(Ask<fleet::Feed>),
    /// Make keys; who owns the fleet's trust and who approves
    Key(Ask<key::Key>),
    /// Look at plans, sign them
    Plan(Ask<plan::Plan>),
    /// Carry fixes out: plan, start, watch, stop, go back
    Rollout(Ask<rollout::Rollout>),
    /// What recognises an attempt: list rules, test them, explain what they recognise
    Rules(Rules),
    /// Look at alerts that hold gates, raise one, clear one
    Alert(Ask<rollout::Alert>),
    /// Manage people
    User(Ask<fleet::User>),
    /// Manage tokens: for hosts to join, for programs to ask
    Token(Ask<fleet::Token>),
    /// Look at the audit log, and check it
    Audit(Ask<fleet::Audit>),
    /// Look at the authority that signs servers' and hosts' certificates, replace it
    #[command(subcommand)]
    Authority(fleet::Authority),
    #[cfg(feature = "server")]
    /// Write everything that the server remembers into a file
    #[command(after_help = "Example:\n  palisade backup --config /etc/palisade/server.toml palisade.backup")]
    Backup {
        #[command(flatten)]
        settings: fleet::Settings,
        /// The file; it must not be there yet
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    #[cfg(feature = "server")]
    /// Fill an empty store from a backup, of either kind of database
    #[command(after_help = "Example:\n  palisade restore --config /etc/palisade/server.toml palisade.backup")]
    Restore {
        #[command(flatten)]
        settings: fleet::Settings,
        /// The backup
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// Start over with another authority, because the file with the key to the old one is lost: every host has to be
        /// enrolled anew
        #[arg(long)]
        new_authority: bool,
    },
    #[cfg(feature = "server")]
    /// Look whether all is well with the server's store; changes nothing
    #[command(after_help = "\
Exit codes: 0 all is well, 1 something is not

Example:
  palisade doctor --config /etc/palisade/server.toml --json")]
    Doctor {
        #[command(flatten)]
        settings: fleet::Settings,
        /// Print what was seen as JSON
        #[arg(long)]
        json: bool,
    },
    /// This host's part in a fleet: enroll, run, status, uninstall
    #[command(subcommand)]
    Agent(AgentCommand),
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  palisade completions bash > /etc/bash_completion.d/palisade")]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the man pages
    #[command(after_help = "Example:\n  palisade man /usr/local/share/man/man1")]
    Man {
        /// Directory to write them into
        #[arg(value_hint = ValueHint::DirPath)]
        directory: PathBuf,
    },
}

/// A command about rules.
#[derive(Debug, Args)]
pub(crate) struct Rules {
    #[command(subcommand)]
    pub(crate) what: rules::RulesCommand,
    #[command(flatten)]
    pub(crate) which: rules::Which,
}

/// A command that asks a server.
#[derive(Debug, Args)]
pub(crate) struct Ask<T: Subcommand> {
    #[command(subcommand)]
    pub(crate) what: T,
    #[command(flatten)]
    pub(crate) asking: fleet::Asking,
}

/// Reads what is installed, running and listening, asks the package manager what it could fix now and the changelogs
/// what those fixes close, matches the feeds given, and prints one entry per source package, most urgent first.
/// Nothing on the host is changed.
#[derive(Debug, Args)]
#[command(after_long_help = CHECK_AFTER)]
pub(crate) struct Check {
    /// Look at this root directory instead of the running system: a chroot, an image, a container's file system
    #[arg(long, value_name = "DIR", default_value = "/", value_hint = ValueHint::DirPath)]
    pub(crate) root: PathBuf,

    /// Read a feed: an OSV zip, directory or record, KEV JSON, EPSS CSV, updateinfo.xml; may be given many times
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) feed: Vec<PathBuf>,

    /// How to print the answer
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,

    /// Explain one CVE, bulletin, source or binary package: every verdict on it and how it was reached; the exit code
    /// stays that of the whole check
    #[arg(long, value_name = "ID")]
    pub(crate) explain: Option<String>,

    /// From which decision on the exit code is 1
    #[arg(long, value_enum, default_value_t = FailOn::Any)]
    pub(crate) fail_on: FailOn,

    /// What this host is for: how much people would suffer if it were lost
    #[arg(long, value_enum, default_value_t = MissionLabel::Medium)]
    pub(crate) mission: MissionLabel,

    /// Ask no archive: use only what is on this machine
    #[arg(long)]
    pub(crate) offline: bool,

    /// Keep fetched changelogs and extracts of feeds here [default: the user's cache directory]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) cache: Option<PathBuf>,

    /// Print every CVE, evidence and other pending update in the table
    #[arg(long)]
    pub(crate) all: bool,

    /// Print nothing but the exit code's reason on standard error
    #[arg(long, short, conflicts_with = "explain")]
    pub(crate) quiet: bool,

    /// Colour the table
    #[arg(long, value_enum, default_value_t = Colour::Auto)]
    pub(crate) color: Colour,
}

const CHECK_AFTER: &str = "\
Exit codes:
  0   everything was judged, nothing is at or over the bar
  1   something is at or over the bar (--fail-on)
  2   nothing is over the bar, but something could not be judged
  64  the command line is wrong
  70  the check itself failed
  130 interrupted

Examples:
  palisade check                                   this machine, from its own package archives
  sudo palisade check                              the same, seeing every process
  palisade check --feed osv/Debian.zip --feed kev.json --feed epss.csv.gz
  palisade check --explain CVE-2026-3497
  palisade check --root /srv/images/web --offline --format json
  palisade check --quiet --fail-on attend || page-somebody";

/// Formats of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// Everything, for programs
    Json,
    /// SARIF 2.1.0, for code scanning
    Sarif,
    /// OpenVEX 0.2.0 statements
    Openvex,
    /// CycloneDX 1.6 bill of materials with vulnerabilities
    Cyclonedx,
}

/// The bar for exit code 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FailOn {
    /// Only what must be fixed now
    Act,
    /// What must be fixed sooner than regular maintenance
    Attend,
    /// Everything
    Any,
}

impl From<FailOn> for Bar {
    fn from(bar: FailOn) -> Self {
        match bar {
            FailOn::Act => Self::Act,
            FailOn::Attend => Self::Attend,
            FailOn::Any => Self::Any,
        }
    }
}

/// A host's mission label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum MissionLabel {
    /// Nobody would notice
    Low,
    /// Work would be disturbed
    Medium,
    /// A mission-essential function would suffer
    High,
    /// The mission would fail, or people would be hurt
    VeryHigh,
}

impl From<MissionLabel> for Mission {
    fn from(label: MissionLabel) -> Self {
        match label {
            MissionLabel::Low => Self::Low,
            MissionLabel::Medium => Self::Medium,
            MissionLabel::High => Self::High,
            MissionLabel::VeryHigh => Self::VeryHigh,
        }
    }
}

/// When to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Colour {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}
