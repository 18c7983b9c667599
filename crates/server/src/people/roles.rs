//! Who may do what: the only place where that is decided.

use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;

/// What a person may do in the fleet. Each role may do all that those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Sees the fleet.
    Viewer,
    /// Is on watch: may have feeds read at once.
    Watch,
    /// Approves what others may not alone, and sees who changed what.
    Approver,
    /// Runs the fleet: enrols, groups, revokes and removes hosts.
    Operator,
    /// Gives and takes roles.
    Admin,
}

impl Role {
    /// All roles, the least first.
    pub const ALL: [Self; 5] = [Self::Viewer, Self::Watch, Self::Approver, Self::Operator, Self::Admin];

    /// Its word in the store, the API and the settings.
    pub fn word(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Watch => "watch",
            Self::Approver => "approver",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// The role of that word.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.word() == word)
    }

    /// Whether it is allowed to do that.
    pub fn may(self, permission: Permission) -> bool {
        self >= permission.least()
    }
}

impl fmt::Display for Role {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.word())
    }
}

/// One kind of action that people take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Permission {
    /// One's own session, password and API tokens.
    Own,
    /// See hosts, inventories, findings, advisories, feeds, events.
    ReadFleet,
    /// Have a feed read now.
    RefreshFeeds,
    /// Have a feed used although it was held back: it shrank, or went back in time.
    AcceptFeeds,
    /// Read and export the audit log.
    ReadAudit,
    /// Group and label hosts.
    ArrangeHosts,
    /// Revoke hosts, release them from quarantine, remove them.
    AdmitHosts,
    /// Make, see and revoke enrolment tokens.
    Enrol,
    /// See, create, change and disable users.
    ManageUsers,
    /// See and revoke other people's API tokens.
    ManageTokens,
    /// Pause and halt rollouts: to stop is always safe.
    StopRollouts,
    /// Sign what is proposed.
    Approve,
    /// Draft plans, start rollouts, propose that they go on or back, free hosts' places.
    RunRollouts,
    /// Say which alerts fire.
    RaiseAlerts,
    /// Propose other keys.
    ArrangeKeys,
}

impl Permission {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Own,
        Self::ReadFleet,
        Self::RefreshFeeds,
        Self::AcceptFeeds,
        Self::ReadAudit,
        Self::ArrangeHosts,
        Self::AdmitHosts,
        Self::Enrol,
        Self::ManageUsers,
        Self::ManageTokens,
        Self::StopRollouts,
        Self::Approve,
        Self::RunRollouts,
        Self::RaiseAlerts,
        Self::ArrangeKeys,
    ];

    /// The least role that has it.
    pub fn least(self) -> Role {
        match self {
            Self::Own | Self::ReadFleet => Role::Viewer,
            Self::RefreshFeeds | Self::StopRollouts => Role::Watch,
            Self::AcceptFeeds | Self::ReadAudit | Self::Approve => Role::Approver,
            Self::ArrangeHosts | Self::AdmitHosts | Self::Enrol | Self::RunRollouts | Self::RaiseAlerts => {
                Role::Operator
            }
            Self::ManageUsers | Self::ManageTokens | Self::ArrangeKeys => Role::Admin,
        }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Own => "use one's own account",
            Self::ReadFleet => "see the fleet",
            Self::RefreshFeeds => "have feeds read",
            Self::AcceptFeeds => "accept what was held back of feeds",
            Self::ReadAudit => "read the audit log",
            Self::ArrangeHosts => "group and label hosts",
            Self::AdmitHosts => "revoke, release and remove hosts",
            Self::Enrol => "handle enrolment tokens",
            Self::ManageUsers => "handle users",
            Self::ManageTokens => "handle other people's API tokens",
            Self::StopRollouts => "stop rollouts",
            Self::Approve => "sign what is proposed",
            Self::RunRollouts => "plan and run rollouts",
            Self::RaiseAlerts => "say which alerts fire",
            Self::ArrangeKeys => "propose other keys",
        })
    }
}
