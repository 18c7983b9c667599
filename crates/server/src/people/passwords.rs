//! Passwords: argon2id, a few at a time, and as slow for those who do not exist as for those who do.

use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use std::sync::OnceLock;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Memory of one hash, KiB: 19 MiB, the least that OWASP's cheat sheet gives for two passes.
const MEMORY_KIB: u32 = 19 * 1024;
/// Passes over it.
const PASSES: u32 = 2;
/// Lanes: one, as hashes run beside each other anyway.
const LANES: u32 = 1;
/// Hashes at once: 2 × 19 MiB = 38 MiB, and never more than two cores.
const AT_ONCE_MAX: usize = 2;
/// How long a log-in waits for its turn before it is told to come back.
const TURN_TIMEOUT: Duration = Duration::from_secs(5);

/// The shortest password, in characters.
pub const LENGTH_MIN: usize = 12;
/// The longest, in characters. Argon2 would take more, at our cost.
pub const LENGTH_MAX: usize = 256;
/// The longest that is looked at, in bytes: 256 characters × 4 bytes = 1,024.
const BYTES_MAX: usize = LENGTH_MAX * 4;

/// Why a password could not be hashed or compared.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Too many at once.
    #[error("too many people log in at once")]
    Busy,
    /// Too short or too long.
    #[error("a password has {LENGTH_MIN} to {LENGTH_MAX} characters")]
    Length,
    /// The hash itself failed: no memory, no random numbers, or a stored one that cannot be read.
    #[error("argon2: {0}")]
    Hash(String),
}

/// Hashes and compares passwords.
#[derive(Debug)]
pub struct Passwords {
    turns: Semaphore,
}

impl Default for Passwords {
    fn default() -> Self {
        Self { turns: Semaphore::new(AT_ONCE_MAX) }
    }
}

impl Passwords {
    /// Hashes a new password into a PHC string.
    pub async fn hash(&self, password: &str) -> Result<String, Error> {
        if !(LENGTH_MIN..=LENGTH_MAX).contains(&password.chars().count()) {
            return Err(Error::Length);
        }
        let password = password.to_owned();
        self.in_turn(move || hash(&password)).await
    }

    /// Whether `password` is the one that `stored` (a PHC string) was made of. `None`: there is nobody of that name, or
    /// nobody with a password; takes the same time and is never so.
    pub async fn matches(&self, password: &str, stored: Option<String>) -> Result<bool, Error> {
        if password.len() > BYTES_MAX {
            return Ok(false);
        }
        let password = password.to_owned();
        self.in_turn(move || {
            let known = stored.is_some();
            let stored = match stored {
                Some(stored) => stored,
                None => nobodys()?,
            };
            match argon2().verify_password(password.as_bytes(), stored.as_str()) {
                Ok(()) => Ok(known),
                Err(argon2::password_hash::Error::PasswordInvalid) => Ok(false),
                Err(problem) => Err(Error::Hash(problem.to_string())),
            }
        })
        .await
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let turn = tokio::time::timeout(TURN_TIMEOUT, self.turns.acquire()).await;
        let _turn = turn.map_err(|_| Error::Busy)?.expect("the semaphore is never closed");
        tokio::task::spawn_blocking(work).await.map_err(|problem| Error::Hash(problem.to_string()))?
    }
}

fn argon2() -> Argon2<'static> {
    let params =
        Params::new(MEMORY_KIB, PASSES, LANES, None).expect("the parameters above are within bounds");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

fn hash(password: &str) -> Result<String, Error> {
    argon2()
        .hash_password(password.as_bytes())
        .map(|hash| hash.to_string())
        .map_err(|problem| Error::Hash(problem.to_string()))
}

/// A hash with the same parameters, of a password that nobody has.
fn nobodys() -> Result<String, Error> {
    static NOBODYS: OnceLock<String> = OnceLock::new();
    if let Some(hash) = NOBODYS.get() {
        return Ok(hash.clone());
    }
    let secret = super::secrets::secret("").map_err(|problem| Error::Hash(problem.to_string()))?;
    let made = hash(&secret)?;
    Ok(NOBODYS.get_or_init(|| made).clone())
}
