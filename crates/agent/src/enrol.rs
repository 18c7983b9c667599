//! How a host becomes part of a fleet, once: token → key made here → request → certificate.

use crate::identity::{self, Identity, certificates_of_authority};
use crate::job::{self, Source};
use crate::link::{self, Body, Link};
use crate::pin;
use crate::state::{self, State};
use crate::token::{self, Token};
use advisory::digest::sha256;
use std::path::Path;
use std::sync::Arc;
use ureq::http::Uri;
use wire::v1::{ENROL_PATH, Enrol, Enrolled};

/// The port on which servers hear agents.
const PORT: u16 = 8471;
/// Bytes of the longest name of a host that is sent; the kernel's has 64.
const NAME_BYTES_MAX: usize = 253;

/// What enrolling needs.
#[derive(Clone, Copy, Debug)]
pub struct Enrolment<'a> {
    /// The server: `https://HOST`, or with `:PORT`.
    pub server: &'a str,
    /// The token, as the server printed it.
    pub token: &'a str,
    /// The certificates of the server's authority, PEM; needed where the token has no fingerprint.
    pub authority: Option<&'a str>,
    /// What the host calls itself; its host name if `None`.
    pub name: Option<&'a str>,
    /// The root directory of the host.
    pub root: &'a Path,
}

/// Why a host did not become part of the fleet.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server's address cannot be used.
    #[error("enrol at \"{server}\": {reason}; give it as https://HOST:{PORT}")]
    Server {
        /// As it was given.
        server: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The token cannot be read.
    #[error(transparent)]
    Token(#[from] token::Error),
    /// Neither the token nor a file names the authority.
    #[error(
        "the token names no authority, so the server could not be told from an impostor; copy the whole token, or \
         give the authority's certificate with --authority"
    )]
    NoAuthority,
    /// The file and the token name different ones.
    #[error(
        "the authority given is not the one that the token names; leave --authority out, or ask for a new token"
    )]
    OtherAuthority,
    /// What is used for identities does not work.
    #[error(transparent)]
    Identity(#[from] identity::Error),
    /// It is part of one already.
    #[error(
        "enrol this host: it is enrolled already; \"palisade agent status\" tells where, and \"palisade agent uninstall\" ends it"
    )]
    Already,
    /// The directory cannot be used.
    #[error(transparent)]
    State(#[from] state::Error),
    /// The server is not the token's.
    #[error("connect to {server}: {reason}")]
    Pin {
        /// The server.
        server: String,
        /// Why not.
        reason: pin::Error,
    },
    /// What it gave as the root of what approvers sign is none.
    #[error("enrol: {0}")]
    Root(String),
    /// The server does not answer, or refuses.
    #[error("enrol at {server}: {reason}")]
    Link {
        /// The server.
        server: String,
        /// What it said, or why it said nothing.
        reason: link::Error,
    },
}

/// What an enrolment gave.
#[derive(Debug)]
pub struct Joined {
    /// Who this host is from now on.
    pub identity: Identity,
    /// The root of what people sign, if the fleet had one already: pinned in the agent's directory, and to be pinned by
    /// whoever else is to verify orders here.
    pub trust_root: Option<String>,
}

/// Makes this host part of a fleet: its identity is kept in `state`.
///
/// The key is made here and stays here. Repeated after a failure, it asks with the same key.
pub fn enrol(state: &State, asked: &Enrolment<'_>) -> Result<Joined, Error> {
    let (server, host, port) = address(asked.server)?;
    let token = Token::parse(asked.token)?;
    let _lock = state.lock()?;
    if state.is_enrolled() {
        return Err(Error::Already);
    }
    let authority = match (asked.authority, &token.fingerprint) {
        (None, None) => return Err(Error::NoAuthority),
        (Some(given), print) => {
            let given_ones = certificates_of_authority(given)?;
            let is_named = |print: &String| given_ones.iter().any(|der| sha256(der) == *print);
            if given_ones.is_empty() {
                return Err(Error::NoAuthority);
            }
            if !print.as_ref().is_none_or(is_named) {
                return Err(Error::OtherAuthority);
            }
            given_ones
        }
        (None, Some(print)) => {
            let found = pin::authority(&host, port, print);
            let found = found.map_err(|reason| Error::Pin { server: server.clone(), reason })?;
            vec![found]
        }
    };
    let key = state.next_key(None)?;
    let request = Enrol {
        token: token.secret,
        csr: key.request()?,
        name: asked.name.map_or_else(|| host_name(asked.root), str::to_owned),
        machine: machine(asked.root, state)?,
        agent: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let failed = |reason| Error::Link { server: server.clone(), reason };
    let link = Link::unknown(&server, &authority);
    let answer: Enrolled = link.post(ENROL_PATH, &Body::new(&request)).map_err(failed)?;
    let mut identity = Identity::new(&server, answer.host, &key, answer.certificate, answer.authority)?;
    identity.group = answer.group;
    if let Some(root) = &answer.trust_root {
        state.forget_trust()?;
        let source = Arc::new(Source::new(Link::new(&identity).map_err(failed)?));
        job::pin(state, root.as_bytes(), source).map_err(Error::Root)?;
    }
    state.keep_identity(&identity)?;
    Ok(Joined { identity, trust_root: answer.trust_root })
}

/// A server's address as (URL, host, port).
fn address(given: &str) -> Result<(String, String, u16), Error> {
    let wrong = |reason| Error::Server { server: given.to_owned(), reason };
    let uri: Uri = given.trim().parse().map_err(|_| wrong("this is no address"))?;
    if uri.scheme_str() != Some("https") {
        return Err(wrong("servers are spoken to over https only"));
    }
    let authority = uri.authority().ok_or_else(|| wrong("it names no host"))?;
    if authority.as_str().contains('@') {
        return Err(wrong("it names a user, and hosts have keys instead"));
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(wrong("it has a path"));
    }
    let port = uri.port_u16().unwrap_or(PORT);
    let host = authority.host().to_owned();
    Ok((format!("https://{host}:{port}"), host, port))
}

fn host_name(root: &Path) -> String {
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    let own = || read(Path::new("/proc/sys/kernel/hostname")).filter(|_| root == Path::new("/"));
    let mut name = own().or_else(|| read(&root.join("etc/hostname"))).unwrap_or_default().trim().to_owned();
    while name.len() > NAME_BYTES_MAX {
        name.pop();
    }
    name
}

/// What tells this machine from others, without saying which it is: SHA-256 of its machine id (machine-id(5)), hex.
///
/// A machine without one gets a number of our own, in the agent's directory: then only a copy of that directory is
/// recognised as a copy.
pub(crate) fn machine(root: &Path, state: &State) -> Result<String, state::Error> {
    let read = |path| std::fs::read_to_string(root.join(path)).ok();
    let known = ["etc/machine-id", "var/lib/dbus/machine-id"].into_iter().find_map(read);
    // "uninitialized": an image that was never booted.
    match known.as_deref().map(str::trim) {
        Some(id) if !id.is_empty() && id != "uninitialized" => Ok(sha256(id.as_bytes())),
        Some(_) | None => Ok(sha256(&state.own_machine()?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_by_host_and_port_only() {
        let read = |given: &str| address(given).map(|(url, ..)| url).map_err(|error| error.to_string());
        assert_eq!(read("https://centre.example/").unwrap(), "https://centre.example:8471");
        assert_eq!(read("https://[2001:db8::1]:9000").unwrap(), "https://[2001:db8::1]:9000");
        for wrong in
            ["http://centre", "centre:8471", "https://me@centre", "https://centre/agent", "", "https://"]
        {
            assert!(read(wrong).unwrap_err().contains("give it as https://HOST:8471"), "{wrong}");
        }
    }
}
