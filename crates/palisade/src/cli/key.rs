//! The command line's part about keys: who owns, who approves, and with which key one signs.

use clap::{Args, Subcommand, ValueHint};
use std::path::PathBuf;

/// With which keys to sign.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Hand {
    /// Sign with the key in this file; may be given many times
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) key: Vec<PathBuf>,

    /// Sign with a key that the ssh-agent holds: its id, how that begins, or its name; without one, each that is asked for
    #[arg(long, value_name = "KEY", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub(crate) agent: Vec<String>,

    /// Read the passphrase of the key's file from this file; - is standard input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) passphrase_file: Option<PathBuf>,

    /// Sign without asking, for scripts
    #[arg(long, short)]
    pub(crate) yes: bool,
}

/// Who is to own, or to approve.
#[derive(Debug, Args)]
pub(crate) struct People {
    /// How many of them must sign
    #[arg(value_name = "K")]
    pub(crate) threshold: u32,
    /// Their public keys: .pub files, or lines
    #[arg(value_name = "PUB", required = true)]
    pub(crate) public: Vec<String>,
    #[command(flatten)]
    pub(crate) hand: Hand,
}

#[derive(Debug, Subcommand)]
#[command(after_help = "\
Exit codes: 0 done, and in force; 1 proposed, and signers are missing still; 64 the command line is wrong; 70 it failed, or
what the server showed was refused

Examples:
  palisade key new                               a key of your own, with a passphrase
  palisade key new safe.key --name safe --passphrase-file passphrase
  palisade key list
  palisade key found --owners 2 --approvers 2 --owner ada.pub --owner bob.pub --owner eve.pub \\
      --approver ada.pub --approver bob.pub --approver eve.pub
  palisade key approvers 2 ada.pub bob.pub eve.pub dan.pub
  palisade key rotate ada ada-new.pub
  palisade key revoke 3f2a91c0
  palisade key sign                              what is proposed about keys")]
pub(crate) enum Key {
    /// Make a key of your own, on this machine
    New {
        /// The file; its public half goes beside it, with .pub [default: ~/.config/palisade/approver.key]
        #[arg(value_hint = ValueHint::FilePath)]
        file: Option<PathBuf>,
        /// Whose it is, for the others to read [default: you, at this machine]
        #[arg(long)]
        name: Option<String>,
        /// Read its passphrase from this file; - is standard input. Without this, it is asked for on the terminal
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        passphrase_file: Option<PathBuf>,
        /// Leave it unencrypted: for a key on a token or an encrypted disk only
        #[arg(long, conflicts_with = "passphrase_file")]
        no_passphrase: bool,
    },
    /// Show who owns, who approves, which key is the server's, and what expires
    List,
    /// Propose how the fleet's trust begins: who owns it, who approves plans
    Found {
        /// How many owners must sign who approves
        #[arg(long, value_name = "K", default_value_t = 1)]
        owners: u32,
        /// How many approvers must sign a plan
        #[arg(long, value_name = "K", default_value_t = 1)]
        approvers: u32,
        /// An owner's public key: a .pub file, or its line; may be given many times
        #[arg(long, value_name = "PUB", required = true)]
        owner: Vec<String>,
        /// An approver's public key; may be given many times [default: the owners]
        #[arg(long, value_name = "PUB")]
        approver: Vec<String>,
        #[command(flatten)]
        hand: Hand,
    },
    /// Propose other approvers, all of them; also the way out of one-key mode
    Approvers(People),
    /// Propose other owners, all of them
    Owners(People),
    /// Propose a new key in the place of an old one
    Rotate {
        /// The old key: its id, how that begins, or its name; server for the server's
        old: String,
        /// The new public key: a .pub file, or its line; none when the old one is the server's, which makes its own
        #[arg(value_name = "NEWPUB")]
        new: Option<String>,
        #[command(flatten)]
        hand: Hand,
    },
    /// Propose to take a key out, wherever it is
    Revoke {
        /// The key: its id, how that begins, or its name
        #[arg(value_name = "KEY")]
        old: String,
        #[command(flatten)]
        hand: Hand,
    },
    /// Propose to sign everything anew before it expires
    Renew {
        #[command(flatten)]
        hand: Hand,
    },
    /// Sign what is proposed about keys, after it was verified on this machine
    Sign {
        /// The proposal [default: the only open one about keys]
        proposal: Option<String>,
        #[command(flatten)]
        hand: Hand,
    },
}
