//! The command line of the census.

use super::Colour;
use clap::{Args, Subcommand, ValueHint};
use std::path::PathBuf;

/// Days of the fleet that are told, if nobody asks for more or fewer.
pub(crate) const DAYS: u32 = 30;

/// Counts attempts in web logs: which attacks, how many a day, from how many sources. Reads common and combined logs of
/// nginx and Apache, IIS and other W3C logs, JSON of Caddy, Traefik and nginx, and AWS load balancers', told by their content;
/// plain or packed with gzip, zstd, xz or bzip2. Rotated copies of the same lines are counted once.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, after_long_help = CENSUS_AFTER)]
pub(crate) struct Census {
    #[command(subcommand)]
    pub(crate) what: Option<What>,

    /// Logs: files, patterns in quotes, directories; - reads standard input. Without any, what the hosts of the fleet counted
    /// is told
    #[arg(value_name = "FILE", value_hint = ValueHint::AnyPath)]
    pub(crate) files: Vec<PathBuf>,

    /// Read what this unit logged, from the system's journal; may be given many times
    #[arg(long, value_name = "UNIT")]
    pub(crate) journal: Vec<String>,

    /// The format of lines in the web server's own words (nginx's log_format, Apache's LogFormat), or the `#Fields:` of a
    /// W3C log whose beginning is missing
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,

    /// Whose days and hours are counted: UTC, log (the clock of each line), or a zone such as Europe/Berlin
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    pub(crate) zone: String,

    /// How many threads count [default: one for each core]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<std::num::NonZeroUsize>,

    /// Be one of many that count a part each: lines from standard input, one line of text to standard output for
    /// `palisade census merge`. For Spark's pipe
    #[arg(long, conflicts_with_all = ["files", "journal", "json", "csv", "partial", "sample", "explain"])]
    pub(crate) partition: bool,

    /// Go on when everything was counted: count what is written to the files, through rotation, until interrupted
    #[arg(long, conflicts_with_all = ["journal", "partition", "sample", "explain", "csv", "threads"], requires = "files")]
    pub(crate) follow: bool,

    /// Keep here how far --follow came and what it counted, and go on from there
    #[arg(long, value_name = "FILE", requires = "follow", value_hint = ValueHint::FilePath)]
    pub(crate) checkpoint: Option<PathBuf>,

    /// How often --follow tells and keeps what it counted [default: 5 on a terminal, otherwise 60]
    #[arg(long, value_name = "SECONDS", requires = "follow", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) every: Option<u32>,

    /// Print lines that this signature recognises instead of counting
    #[arg(long, value_name = "SIGNATURE", conflicts_with_all = ["explain", "partial", "csv", "json"])]
    pub(crate) sample: Option<String>,

    /// How many lines --sample prints
    #[arg(long, value_name = "N", default_value_t = 10, requires = "sample")]
    pub(crate) lines: usize,

    /// Explain why rules recognise this line, or that they do not
    #[arg(long, value_name = "LINE", conflicts_with_all = ["files", "journal", "partial", "csv", "json"])]
    pub(crate) explain: Option<String>,

    /// Of the fleet: tell so many days up to today
    #[arg(long, value_name = "DAYS", default_value_t = DAYS, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub(crate) days: u32,

    /// Of the fleet: tell of this signature which hosts saw it, and what comes of it
    #[arg(long, value_name = "SIGNATURE", conflicts_with = "csv")]
    pub(crate) signature: Option<String>,

    /// Of the fleet: file that says where the server is and who we are there [default: ~/.config/palisade/access.toml]
    #[arg(long, value_name = "FILE", env = "PALISADE_ACCESS", value_hint = ValueHint::FilePath)]
    pub(crate) access: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) telling: Telling,
}

#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// Add up partial censuses that were counted apart
    #[command(after_help = "\
Exit codes: 0 added up, 1 one of your own hosts is among the sources, 2 that could not be told, 64 the command line is wrong, 70 they do not fit each other

Example:
  palisade census merge web-*.census --partial fleet.census")]
    Merge(Merge),
    /// Draft reports for abuse desks, one for each network that attempts came from (X-ARF 4). Nothing is sent
    #[command(after_help = "\
Exit codes: 0 drafted, 1 one of your own hosts is among the sources, 2 drafted, but something could not be read,
64 the command line is wrong, 70 the command itself failed, 130 interrupted

Example:
  palisade census report access.log --to drafts --org 'Example Ltd' --contact abuse@example.net --contacts networks.txt")]
    Report(Abuse),
}

/// What is reported, by whom, to whom.
#[derive(Debug, Args)]
pub(crate) struct Abuse {
    /// Logs: files, patterns in quotes, directories; - reads standard input
    #[arg(value_name = "FILE", value_hint = ValueHint::AnyPath)]
    pub(crate) files: Vec<PathBuf>,

    /// Read what this unit logged, from the system's journal; may be given many times
    #[arg(long, value_name = "UNIT")]
    pub(crate) journal: Vec<String>,

    /// The format of lines, as for a census
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,

    /// Use the rules in this directory or file too; may be given many times
    #[arg(long, value_name = "DIR", value_hint = ValueHint::AnyPath)]
    pub(crate) rules: Vec<PathBuf>,

    /// Write the drafts into this directory
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) to: PathBuf,

    /// Who reports: the name of your organisation
    #[arg(long, value_name = "NAME")]
    pub(crate) org: String,

    /// Who reports: an address of mail that is read
    #[arg(long, value_name = "MAIL")]
    pub(crate) contact: String,

    /// Whom to write to: a network and an address of mail in each line, such as `192.0.2.0/24 abuse@example.net`
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) contacts: Option<PathBuf>,

    /// Ask registries about networks that the table does not have, beginning with this server (RDAP). They learn which
    /// addresses attacked you
    #[arg(long, value_name = "SERVER", num_args = 0..=1, default_missing_value = "https://rdap.org")]
    pub(crate) rdap: Option<String>,

    /// Networks and addresses of our own, as for a census
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) own: Vec<PathBuf>,

    /// Leave out sources with fewer attempts
    #[arg(long, value_name = "ATTEMPTS", default_value = "1")]
    pub(crate) at_least: std::num::NonZeroU64,

    /// Print what was drafted as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What is added up, and how it is told.
#[derive(Debug, Args)]
pub(crate) struct Merge {
    /// Files that --partial or --partition wrote; - reads standard input
    #[arg(value_name = "PARTIAL", required = true, value_hint = ValueHint::FilePath)]
    pub(crate) partials: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) telling: Telling,
}

/// With which rules, and how the outcome is told.
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the command line")]
#[derive(Debug, Args)]
pub(crate) struct Telling {
    /// Use the rules in this directory or file too; may be given many times
    #[arg(long, value_name = "DIR", value_hint = ValueHint::AnyPath)]
    pub(crate) rules: Vec<PathBuf>,

    /// Print everything as JSON
    #[arg(long, conflicts_with = "csv")]
    pub(crate) json: bool,

    /// Print attempts and sources by signature and day as CSV
    #[arg(long)]
    pub(crate) csv: bool,

    /// Write tables into this directory as Parquet: attempts by signature, day and source; attempts and sources by signature
    /// and day; days
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) parquet: Option<PathBuf>,

    /// Write the same tables as CSV
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) csv_tables: Option<PathBuf>,

    /// Write the counts here, to be added to others with `palisade census merge`
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) partial: Option<PathBuf>,

    /// Tell addresses instead of pseudonyms
    #[arg(long)]
    pub(crate) show_sources: bool,

    /// The key that makes pseudonyms, 32 bytes in a file; the same on every host whose counts are added up
    /// [default: census.key in the user's state directory, made when first needed]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) key: Option<PathBuf>,

    /// Networks and addresses of our own, one a line: one of them among the sources is an incident. This machine's own
    /// addresses and those of the fleet that you have access to are looked for as well
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) own: Vec<PathBuf>,

    /// Tell countries or networks of sources, from a database in MaxMind's format
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) mmdb: Option<PathBuf>,

    /// Tell of each signature when it will be over, or why that cannot be told, with --partial too; otherwise it is told anyway
    #[arg(long, conflicts_with_all = ["csv", "no_forecast"])]
    pub(crate) forecast: bool,

    /// Do not look ahead
    #[arg(long)]
    pub(crate) no_forecast: bool,

    /// When attacks sleep or end, in YAML: for a signature's id, or '*' for all others,
    /// {asleep: [sunday, 20-31, 2001-12-24..2002-01-01], until: 2002-01-31}
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "no_forecast")]
    pub(crate) calendar: Option<PathBuf>,

    /// Sources a day below which an attack counts as over
    #[arg(long, value_name = "SOURCES", default_value_t = 1.0)]
    pub(crate) over_below: f64,

    /// Days ahead that a forecast tells one by one
    #[arg(long, value_name = "DAYS", default_value_t = 28, value_parser = clap::value_parser!(u32).range(1..=366))]
    pub(crate) ahead: u32,

    /// Write everything as one page for browsers
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) html: Option<PathBuf>,

    /// How many addresses the logs cover: attempts per address and day are told
    #[arg(long, value_name = "ADDRESSES")]
    pub(crate) exposure: Option<std::num::NonZeroU64>,

    /// Print every signature, source and problem in the table
    #[arg(long)]
    pub(crate) all: bool,

    /// Colour the table
    #[arg(long, value_enum, default_value_t = Colour::Auto)]
    pub(crate) color: Colour,

    /// Show no progress
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

const CENSUS_AFTER: &str = "\
Exit codes:
  0   everything was read and counted
  1   one of your own hosts is among the sources
  2   counted, but something could not be read: it is told on standard error
  64  the command line is wrong
  70  the census itself failed
  130 interrupted

Examples:
  palisade census /var/log/nginx/access.log*
  palisade census --zone Europe/Berlin --json /var/log/apache2 > census.json
  zcat old/*.gz | palisade census -
  palisade census                                  what the hosts of the fleet counted
  palisade census --signature codered1             which hosts saw it, and what comes of it
  palisade census --journal caddy
  palisade census --follow --checkpoint web.checkpoint /var/log/nginx/access.log
  palisade census --format '$remote_addr [$time_local] \"$request\" $status' access.log
  palisade census --over-below 5 --calendar worms.yaml access.log*
  palisade census --sample zyxel-viewlog access.log
  palisade census --explain '192.0.2.1 - - [19/Jul/2001:00:05:46 -0700] \"GET /default.ida?NNNNNNNN HTTP/1.0\" 404 297'
  palisade census --partial web-1.census access.log && palisade census merge web-*.census";
