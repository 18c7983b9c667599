//! The command line's part about plans: what is signed.

use super::key::Hand;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
#[command(after_help = "\
A plan is named by its id, by a part of it that no other has, or by its title.

Exit codes: 0 done; 1 what is shown is blocked, or signers are missing still; 64 the command line is wrong; 70 it failed, or
what the server showed was refused

Examples:
  palisade plan list
  palisade plan show 7d1e7c3a
  palisade plan diff 7d1e7c3a                    against what is in force
  palisade plan diff 7d1e7c3a 9f603b1a           two plans
  palisade plan sign 7d1e7c3a                    with a key of yours that is asked for
  palisade plan sign 7d1e7c3a --key ada.key --key safe.key
  palisade plan sign 7d1e7c3a --agent --yes
  palisade plan withdraw 7d1e7c3a")]
pub(crate) enum Plan {
    /// List plans, and what is proposed about them
    List {
        /// At most so many
        #[arg(long, default_value_t = 100)]
        most: usize,
    },
    /// Show a plan: what changes on which hosts, waves, windows, gates, and what blocks it
    Show {
        /// The plan
        plan: String,
        /// Print every package of every class
        #[arg(long)]
        all: bool,
    },
    /// Tell what a plan's proposal would change, or in what two plans differ
    Diff {
        /// The plan, or a proposal
        plan: String,
        /// Another plan, to be compared with it
        other: Option<String>,
    },
    /// Sign a plan, or a word about one (resume, rollback), after it was verified on this machine
    Sign {
        /// The plan, or a proposal
        plan: String,
        #[command(flatten)]
        hand: Hand,
    },
    /// Propose a plan that was made with --draft
    Propose {
        /// The plan
        plan: String,
        #[command(flatten)]
        hand: Hand,
    },
    /// Drop a draft, withdraw a proposal, or propose to withdraw a plan in force
    Withdraw {
        /// The plan, or a proposal
        plan: String,
        /// Why; approvers read it
        #[arg(long, default_value = "not wanted any more")]
        reason: String,
        #[command(flatten)]
        hand: Hand,
    },
}
