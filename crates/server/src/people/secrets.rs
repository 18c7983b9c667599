//! Secrets that we give out: 256 random bits, of which the store keeps only a hash.

use advisory::digest::{hex, sha256};
use subtle::ConstantTimeEq;

/// Bytes of a secret: 256 bits cannot be guessed, so that a fast hash is enough to keep it.
const SECRET_BYTES: usize = 32;

/// The system has no random numbers to give.
#[derive(Debug, thiserror::Error)]
#[error("make a secret: the system gives no random numbers: {0}")]
pub struct NoRandomness(getrandom::Error);

/// A new secret: `prefix` and 64 hex digits.
pub fn secret(prefix: &str) -> Result<String, NoRandomness> {
    let mut bytes = [0; SECRET_BYTES];
    getrandom::fill(&mut bytes).map_err(NoRandomness)?;
    Ok(format!("{prefix}{}", hex(&bytes)))
}

/// What the store keeps of a secret: its SHA-256, hex.
pub fn kept(secret: &str) -> String {
    sha256(secret.as_bytes())
}

/// Whether two texts are the same, in a time that does not tell where they differ.
pub fn same(one: &str, other: &str) -> bool {
    one.as_bytes().ct_eq(other.as_bytes()).into()
}
