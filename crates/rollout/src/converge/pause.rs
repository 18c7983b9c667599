//! Why a host does not go on right now, in the operator's words.

use jiff::Timestamp;
use std::fmt;

/// Why a host rests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pause {
    /// There is nothing to do.
    Idle,
    /// The order names a plan that it does not have, or that is not signed as it must be.
    Plan,
    /// Its lease ran out, or was never given in this boot.
    Lease,
    /// It waits for the centre's word.
    Clearance,
    /// The plan's window or its owner's is closed, or too short.
    Window {
        /// When it opens.
        opens: Option<Timestamp>,
    },
    /// By its clock the plan has not begun yet.
    NotBefore(Timestamp),
    /// By its clock the plan has expired.
    Expired,
    /// Another program holds the package manager's lock.
    Locked {
        /// Which.
        by: String,
    },
    /// What was begun is not done.
    Working,
    /// A person must reboot it.
    Person,
    /// It measures how its services do before the change.
    Measuring,
    /// It watches itself.
    Watching,
    /// Its journal was begun on another machine: its disk is a copy.
    OtherMachine,
}

impl fmt::Display for Pause {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Idle => out.write_str("nothing to do"),
            Self::Plan => out.write_str("the plan is missing, or not signed as it must be"),
            Self::Lease => out.write_str("no living lease; asks the centre"),
            Self::Clearance => out.write_str("waits for the centre's word that nothing is halted"),
            Self::Window { opens: Some(at) } => write!(out, "no window; next at {at}"),
            Self::Window { opens: None } => out.write_str("no window within a year"),
            Self::NotBefore(at) => write!(out, "by its clock the plan begins at {at}"),
            Self::Expired => out.write_str("by its clock the plan has expired"),
            Self::Locked { by } => write!(out, "{by} holds the package manager's lock"),
            Self::Working => out.write_str("what was begun is not done"),
            Self::Person => out.write_str("a person must reboot it"),
            Self::Measuring => out.write_str("measures how its services do before the change"),
            Self::Watching => out.write_str("watches itself"),
            Self::OtherMachine => {
                out.write_str("its disk is a copy of another machine's that is under change")
            }
        }
    }
}
