//! The keys at hand: files and an ssh-agent's; and their passphrases, which come from a terminal without echo or from a file,
//! never from the command line.

use crate::cli::key::Hand;
use crate::client::access_path;
use crate::terminal;
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use trust::keys::{self, AgentKey, FileKey, PublicKey, Signer, agent_keys};
use zeroize::Zeroizing;

/// Bytes of a passphrase.
const PASSPHRASE_BYTES_MAX: u64 = 4_096;

/// Where a person's own key lies, unless it is said.
pub(crate) fn own_key() -> Result<PathBuf> {
    Ok(access_path(None)?.with_file_name("approver.key"))
}

/// The signers to sign with, all of them among `asked`. Without a word about keys: those at hand that are asked for, which
/// may be none.
pub(crate) fn signers(hand: &Hand, asked: &[PublicKey]) -> Result<Vec<Signer>> {
    if hand.key.is_empty() && hand.agent.is_empty() {
        return at_hand(hand, asked);
    }
    let mut signers = Vec::new();
    for path in &hand.key {
        let signer = Signer::File(file_key(path, hand)?);
        if !asked.contains(signer.public()) {
            bail!("sign with {}: {}", path.display(), not_asked(signer.public(), asked));
        }
        signers.push(signer);
    }
    for named in &hand.agent {
        let held = agent()?;
        if named.is_empty() {
            let fitting: Vec<_> = held.into_iter().filter(|key| asked.contains(key.public())).collect();
            if fitting.is_empty() {
                bail!(
                    "sign with the ssh-agent: it holds none of the keys that are asked for: {}",
                    listed(asked)
                );
            }
            signers.extend(fitting.into_iter().map(Signer::Agent));
            continue;
        }
        let mut fitting = held.into_iter().filter(|key| is_named(key.public(), named));
        let key = match (fitting.next(), fitting.next()) {
            (Some(key), None) => key,
            (None, _) => {
                bail!("sign with the ssh-agent: it holds no ed25519 key \"{named}\"; see \"ssh-add -l\"")
            }
            (Some(_), Some(_)) => {
                bail!("sign with the ssh-agent: \"{named}\" names several of its keys; use an id")
            }
        };
        if !asked.contains(key.public()) {
            bail!("sign with the ssh-agent: {}", not_asked(key.public(), asked));
        }
        signers.push(Signer::Agent(key));
    }
    // A key that is named in two ways signs once.
    let mut seen: Vec<PublicKey> = Vec::new();
    signers.retain(|signer| {
        let new = !seen.contains(signer.public());
        seen.push(signer.public().clone());
        new
    });
    Ok(signers)
}

/// The public half of a key: a file, or the line itself.
pub(crate) fn public(text: &str) -> Result<PublicKey> {
    let doing = || format!("read the public key {text}");
    if text.starts_with("ssh-") {
        return text.parse().with_context(doing);
    }
    let mut line = String::new();
    File::open(text)
        .and_then(|file| file.take(PASSPHRASE_BYTES_MAX).read_to_string(&mut line))
        .with_context(|| format!("{}: give a .pub file, or its line in quotes", doing()))?;
    if line.contains("PRIVATE KEY") {
        bail!("{}: it is the secret half; give {text}.pub", doing());
    }
    line.parse().with_context(doing)
}

/// Whether a person means this key: by its id or how that begins, or its name.
pub(crate) fn is_named(key: &PublicKey, named: &str) -> bool {
    (named.len() >= 4 && key.id().as_str().starts_with(named)) || key.name() == named
}

/// A key as people are told of it.
pub(crate) fn told(key: &PublicKey) -> String {
    let id = key.id();
    if key.name().is_empty() { id.short().to_owned() } else { format!("{} ({})", key.name(), id.short()) }
}

/// Keys as people are told of them.
pub(crate) fn listed(keys: &[PublicKey]) -> String {
    keys.iter().map(told).collect::<Vec<_>>().join(", ")
}

/// A new passphrase: from a file, or asked for twice.
pub(crate) fn new_passphrase(file: Option<&Path>) -> Result<Zeroizing<String>> {
    let passphrase = if let Some(file) = file {
        from_file(file)?
    } else {
        let once = terminal::passphrase("Passphrase: ")?;
        if terminal::passphrase("Once more: ")? != once {
            bail!("make a key: the two passphrases differ");
        }
        once
    };
    if passphrase.is_empty() {
        bail!(
            "make a key: the passphrase is empty; say --no-passphrase if the key is to lie there unencrypted"
        );
    }
    Ok(passphrase)
}

fn file_key(path: &Path, hand: &Hand) -> Result<FileKey> {
    let locked = match FileKey::read(path, None) {
        Err(problem @ keys::Error::Locked) => problem,
        read => return Ok(read?),
    };
    let passphrase = match &hand.passphrase_file {
        Some(file) => from_file(file)?,
        None => terminal::passphrase(&format!("Passphrase of {}: ", path.display())).context(locked)?,
    };
    FileKey::read(path, Some(&passphrase)).with_context(|| path.display().to_string())
}

/// Whether a key that is asked for is there without being named.
pub(crate) fn is_at_hand(asked: &[PublicKey]) -> Result<bool> {
    let held = agent().unwrap_or_default();
    let own = own_public(&own_key()?);
    Ok(held.iter().map(AgentKey::public).chain(&own).any(|public| asked.contains(public)))
}

/// Keys that are asked for and need not be named: the ssh-agent's, and the person's own file.
fn at_hand(hand: &Hand, asked: &[PublicKey]) -> Result<Vec<Signer>> {
    // No agent, or one that does not answer, is no key at hand.
    let held = agent().unwrap_or_default();
    let mut signers: Vec<Signer> =
        held.into_iter().filter(|key| asked.contains(key.public())).map(Signer::Agent).collect();
    let own = own_key()?;
    if let Some(public) = own_public(&own)
        && asked.contains(&public)
        && !signers.iter().any(|signer| *signer.public() == public)
    {
        signers.push(Signer::File(file_key(&own, hand)?));
    }
    Ok(signers)
}

/// The public half beside a key's file.
fn own_public(path: &Path) -> Option<PublicKey> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".pub");
    fs::read_to_string(beside).ok()?.parse().ok()
}

fn agent() -> Result<Vec<AgentKey>> {
    let socket = std::env::var_os("SSH_AUTH_SOCK").filter(|socket| !socket.is_empty());
    let socket = socket.context("sign with the ssh-agent: SSH_AUTH_SOCK is not set; is one running?")?;
    Ok(agent_keys(Path::new(&socket))?)
}

fn not_asked(key: &PublicKey, asked: &[PublicKey]) -> String {
    format!("key {} is not asked for, or has signed already; asked are {}", told(key), listed(asked))
}

/// The first line of a file; `-` is standard input.
fn from_file(path: &Path) -> Result<Zeroizing<String>> {
    let doing = || format!("read the passphrase from {}", path.display());
    // Room for all at once: a string that grows would leave copies behind.
    let mut text = Zeroizing::new(String::with_capacity(8_192));
    if path == Path::new("-") {
        std::io::stdin().take(PASSPHRASE_BYTES_MAX).read_to_string(&mut text).with_context(doing)?;
    } else {
        let file = File::open(path).with_context(doing)?;
        file.take(PASSPHRASE_BYTES_MAX).read_to_string(&mut text).with_context(doing)?;
    }
    Ok(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()))
}
