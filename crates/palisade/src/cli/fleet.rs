//! The command line's part that speaks with a server.

use clap::{Args, Subcommand, ValueEnum, ValueHint};
use std::path::PathBuf;

/// How to reach the server, and how to print its answer.
#[derive(Debug, Args)]
pub(crate) struct Asking {
    /// File that says where the server is and who we are there [default: ~/.config/palisade/access.toml]
    #[arg(long, value_name = "FILE", env = "PALISADE_ACCESS", global = true, value_hint = ValueHint::FilePath)]
    pub(crate) access: Option<PathBuf>,

    /// Print the server's answer as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[cfg(feature = "server")]
/// Starts the control plane on embedded SQLite, enrols this machine as its first host, and shows what the fleet lacks.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  palisade up                          this machine, until Ctrl-C
  palisade up --listen 192.0.2.10      further hosts can join
  palisade up --once                   show the findings and end

A second terminal can ask the running server: palisade host list, palisade finding list …")]
pub(crate) struct Up {
    /// Keep everything here [default: /var/lib/palisade for root, else ~/.local/share/palisade]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) data: Option<PathBuf>,

    /// Address on which people (port 8470) and agents (port 8471) are heard
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub(crate) listen: std::net::IpAddr,

    /// Feed of bulletins, read every hour: a path or an http(s) URL; may be given many times
    #[arg(long, value_name = "PATH|URL")]
    pub(crate) feed: Vec<String>,

    /// End after the findings were shown
    #[arg(long)]
    pub(crate) once: bool,

    /// Ask no package archive: use only what is on this machine
    #[arg(long)]
    pub(crate) offline: bool,

    /// Print the findings as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(feature = "server")]
/// Settings of the server, for the commands that work on its store.
#[derive(Debug, Args)]
pub(crate) struct Settings {
    /// The server's settings
    #[arg(long, value_name = "FILE", default_value = "/etc/palisade/server.toml", value_hint = ValueHint::FilePath)]
    pub(crate) config: PathBuf,
}

/// Logs in: keeps the address of a server, its authority and an API token in the access file.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  palisade login https://palisade.example:8470 --authority palisade-ca.pem < token")]
pub(crate) struct Login {
    /// The server
    pub(crate) server: String,

    /// The server's authority, PEM; without it the system's authorities are trusted
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) authority: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) asking: Asking,
}

#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  palisade host list --select 'group=web and state=silent'
  palisade host show web-01
  palisade host label web-01 role=web region=eu
  palisade host inventory web-01 --at 2026-11-01T00:00:00Z --json")]
pub(crate) enum Host {
    /// List hosts
    List {
        /// Only these, in the selector language: 'role=web and package=openssl<3.0.15'
        #[arg(long, short, value_name = "SELECTOR")]
        select: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 1_000)]
        most: usize,
    },
    /// Show one host: who it is, what it lacks
    Show {
        /// Its name or id
        host: String,
        /// What it saw of its jobs instead: versions, files, restarts, probes
        #[arg(long)]
        proof: bool,
    },
    /// Set labels and the group of a host; NAME= takes a label away
    Label {
        /// Its name or id
        host: String,
        /// Labels
        #[arg(value_name = "NAME=VALUE")]
        labels: Vec<String>,
        /// Its group
        #[arg(long)]
        group: Option<String>,
    },
    /// Show what a host has, or had
    Inventory {
        /// Its name or id
        host: String,
        /// At this time: 2026-11-01T00:00:00Z
        #[arg(long, value_name = "TIME")]
        at: Option<String>,
        /// By what the host told later, too, as one does that was cut off then
        #[arg(long, requires = "at")]
        hindsight: bool,
    },
    /// List when a host's inventory changed
    History {
        /// Its name or id
        host: String,
        /// At most so many, the newest first
        #[arg(long, default_value_t = 1_000)]
        most: usize,
    },
    /// Take a host's certificates away
    Revoke {
        /// Its name or id
        host: String,
        /// Why; it is recorded
        #[arg(long)]
        reason: String,
    },
    /// Let a quarantined host back in; the machine that checks in next is taken for it
    Release {
        /// Its name or id
        host: String,
        /// Why; it is recorded
        #[arg(long)]
        reason: String,
    },
    /// Forget a host; its history goes with it, the audit log stays
    Remove {
        /// Its name or id
        host: String,
        /// Why; it is recorded
        #[arg(long)]
        reason: String,
    },
}

#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  palisade finding summary                       one line per advisory, most hosts first
  palisade finding summary --select role=web     counts of these hosts only
  palisade finding list --select role=web
  palisade finding list --advisory CVE-2026-3497
  palisade finding list --host web-01 --at 2026-11-01T00:00:00Z")]
pub(crate) enum Finding {
    /// List findings
    List(Findings),
    /// Count hosts per advisory
    Summary {
        /// Only on these hosts
        #[arg(long, short, value_name = "SELECTOR")]
        select: Option<String>,
        /// Only about this package
        #[arg(long, value_name = "NAME")]
        package: Option<String>,
        /// As it stood then: 2026-11-01T00:00:00Z
        #[arg(long, value_name = "TIME")]
        at: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Findings {
    /// Only on these hosts
    #[arg(long, short, value_name = "SELECTOR")]
    pub(crate) select: Option<String>,
    /// Only on this host
    #[arg(long, value_name = "NAME")]
    pub(crate) host: Option<String>,
    /// Only of this advisory or CVE
    #[arg(long, value_name = "ID")]
    pub(crate) advisory: Option<String>,
    /// Only about this package
    #[arg(long, value_name = "NAME")]
    pub(crate) package: Option<String>,
    /// Only with this verdict
    #[arg(long, value_enum)]
    pub(crate) verdict: Option<Verdict>,
    /// Only those whose host is sent attempts for them
    #[arg(long, conflicts_with_all = ["host", "at"])]
    pub(crate) attacked: bool,
    /// As it stood then: 2026-11-01T00:00:00Z
    #[arg(long, value_name = "TIME", requires = "host")]
    pub(crate) at: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 1_000)]
    pub(crate) most: usize,
}

/// A finding's verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Verdict {
    /// Vulnerable code is installed
    Affected,
    /// Fixed on disk, still running
    FixedStillRunning,
    /// Could not be judged
    Undetermined,
}

#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  palisade advisory list --cve CVE-2026-3497
  palisade advisory show DSA-5800-1")]
pub(crate) enum Advisory {
    /// List advisories
    List {
        /// Only those that close this CVE
        #[arg(long)]
        cve: Option<String>,
        /// Only what this feed says
        #[arg(long, value_name = "NAME")]
        feed: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 100)]
        most: usize,
    },
    /// Show one advisory and the hosts it affects
    Show {
        /// Its id
        id: String,
    },
}

#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  palisade feed list
  palisade feed refresh debian
  palisade feed refresh debian --accept          take it although it shrank")]
pub(crate) enum Feed {
    /// List feeds and their alarms
    List,
    /// Read a feed now
    Refresh {
        /// Its name
        name: String,
        /// Take it although it shrank or went back in time
        #[arg(long)]
        accept: bool,
    },
}

#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  palisade user create ada --role operator --password-stdin < password
  palisade user set ada --role viewer
  palisade user set ada --disable")]
pub(crate) enum User {
    /// List people
    List,
    /// Make an account
    Create {
        /// Its name
        name: String,
        /// What it may do
        #[arg(long, value_enum)]
        role: Role,
        /// Read a password from standard input; without one the account can only be used with tokens or OIDC
        #[arg(long)]
        password_stdin: bool,
    },
    /// Change an account
    Set {
        /// Its name
        name: String,
        /// What it may do
        #[arg(long, value_enum)]
        role: Option<Role>,
        /// Read a new password from standard input
        #[arg(long)]
        password_stdin: bool,
        /// Let nobody in with it
        #[arg(long, conflicts_with = "enable")]
        disable: bool,
        /// Let it be used again
        #[arg(long)]
        enable: bool,
    },
}

/// What a person may do; each may what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// See
    Viewer,
    /// See, and be on watch
    Watch,
    /// Approve
    Approver,
    /// Enrol, label and revoke hosts, refresh feeds
    Operator,
    /// Manage people
    Admin,
}

#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  palisade token enroll --group web --label role=web      a host may join with it, once
  palisade token create --name ci --role viewer --days 90
  palisade token list
  palisade token revoke 0199…")]
pub(crate) enum Token {
    /// Make a token with which hosts join
    #[command(name = "enroll", alias = "enrol")]
    Enrol {
        /// The group they join
        #[arg(long, default_value = "default")]
        group: String,
        /// Labels they get
        #[arg(long, value_name = "NAME=VALUE")]
        label: Vec<String>,
        /// How many hosts may join with it
        #[arg(long, default_value_t = 1)]
        hosts: u32,
        /// How long it is good
        #[arg(long, default_value_t = 24)]
        hours: u32,
        /// The server as the host calls it [default: the address in the access file]
        #[arg(long, value_name = "HOST")]
        server: Option<String>,
        /// Print nothing but the line to run on the host
        #[arg(long)]
        line: bool,
    },
    /// Make a token for programs
    Create {
        /// What it is for
        #[arg(long)]
        name: String,
        /// What it may do; at most what you may
        #[arg(long, value_enum)]
        role: Role,
        /// How long it is good
        #[arg(long, default_value_t = 90)]
        days: u32,
    },
    /// List tokens, for hosts and for programs
    List,
    /// Take a token back
    Revoke {
        /// Its id
        id: String,
    },
}

#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  palisade audit list
  palisade audit export > audit.jsonl
  palisade audit verify audit.jsonl              offline; exit code 1 if one entry was changed")]
pub(crate) enum Audit {
    /// List the latest changes
    List {
        /// At most so many
        #[arg(long, default_value_t = 50)]
        most: usize,
    },
    /// Write the whole log, one JSON object a line
    Export,
    #[cfg(feature = "server")]
    /// Check an exported log, offline
    Verify {
        /// The export
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// The end must be this: NUMBER:HASH as an earlier verify told it, or anything after it
        #[arg(long, value_name = "NUMBER:HASH")]
        since: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  palisade authority rotate --config /etc/palisade/server.toml     on a server
  palisade authority show
  palisade authority trust                                         where people ask the server")]
pub(crate) enum Authority {
    /// Show the authority, and where its replacement stands
    Show(Asking),
    /// Trust what the server's authority is now and the one that follows it: puts both into the access file
    Trust(Asking),
    #[cfg(feature = "server")]
    /// Make the next authority; it takes over when every host has learned of it, within a month
    Rotate(Settings),
    #[cfg(feature = "server")]
    /// Let the next authority take over now: what the present one has signed is refused from here on
    Retire {
        #[command(flatten)]
        settings: Settings,
        /// Also while hosts depend on the present one: they have to be enrolled anew
        #[arg(long)]
        early: bool,
    },
}
