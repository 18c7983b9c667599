//! A key that an ssh-agent holds. The secret stays there; the agent may ask its holder before it signs (`ssh-add -c`).

use super::{Error, PublicKey};
use ssh_agent_client_rs::{Client, Identity};
use std::path::{Path, PathBuf};

/// A key that the agent behind a socket holds.
#[derive(Clone, Debug)]
pub struct AgentKey {
    socket: PathBuf,
    public: PublicKey,
}

/// The ed25519 keys of the agent behind `socket` (the value of `SSH_AUTH_SOCK`), in the agent's order. Other keys and
/// certificates are left out: TUF could not verify what they sign.
pub fn agent_keys(socket: &Path) -> Result<Vec<AgentKey>, Error> {
    let identities = connect(socket)?
        .list_all_identities()
        .map_err(|problem| Error::Agent { doing: "list its keys", problem: problem.to_string() })?;
    let keys = identities.into_iter().filter_map(|identity| {
        let Identity::PublicKey(key) = identity else { return None };
        let public = PublicKey::new(key.key_data().ed25519()?.0, key.comment())?;
        Some(AgentKey { socket: socket.to_owned(), public })
    });
    Ok(keys.collect())
}

impl AgentKey {
    /// Its public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Has the agent sign. What it gives back is verified: an agent that signs with another key must not be believed.
    pub(crate) fn sign(&self, bytes: &[u8]) -> Result<[u8; 64], Error> {
        let refused = |problem: String| Error::Agent { doing: "sign", problem };
        let key = ssh_key::public::Ed25519PublicKey(*self.public.bytes());
        let signed = connect(&self.socket)?
            .sign(ssh_key::PublicKey::new(key.into(), ""), bytes)
            .map_err(|problem| refused(problem.to_string()))?;
        <[u8; 64]>::try_from(signed.as_bytes())
            .ok()
            .filter(|signed| self.public.verifies(bytes, signed))
            .ok_or_else(|| refused("what it gave is not that key's".to_owned()))
    }
}

fn connect(socket: &Path) -> Result<Client, Error> {
    Client::connect(socket).map_err(|problem| Error::Agent {
        doing: "listen",
        problem: format!("{}: {problem}", socket.display()),
    })
}
