//! People: who they are, how they prove it, and what they may do. Takes names, passwords, cookies, tokens and what an
//! identity provider says; gives a user of the store with a role.

pub mod back_off;
pub mod oidc;
pub mod passwords;
pub mod roles;
pub mod secrets;
pub mod sessions;
pub mod tokens;

use crate::store::Store;
use crate::store::people::{self, Guess, User};
use back_off::{BackOff, Guesser};
use jiff::{SignedDuration, Timestamp};
use std::net::IpAddr;

/// The first user's name.
pub const FIRST: &str = "admin";
/// How long the first token is good: as long as any may be, since nobody is there yet to make the next.
const FIRST_TOKEN_LIFE: SignedDuration = SignedDuration::from_hours(24 * 365);
/// The longest name of a user, in characters.
pub const NAME_MAX: usize = 64;

/// What logging in needs at hand.
#[derive(Debug, Default)]
pub struct People {
    /// Hashes passwords.
    pub passwords: passwords::Passwords,
    back_off: BackOff,
}

/// Why somebody was not let in.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Wrong name or wrong password; which, is not told.
    #[error("the name or the password is wrong")]
    Wrong,
    /// Too many wrong passwords; not before then.
    #[error("too many wrong passwords")]
    Wait(Timestamp),
    /// The password could not be compared.
    #[error(transparent)]
    Password(#[from] passwords::Error),
    /// The store could not be asked.
    #[error(transparent)]
    Store(#[from] crate::store::Error),
}

impl People {
    /// Lets in who gives the right password for a name. `address`: where from, as far as known.
    pub async fn log_in(
        &self,
        store: &Store,
        now: Timestamp,
        address: Option<IpAddr>,
        name: &str,
        password: &str,
    ) -> Result<User, Refused> {
        let address = address.map(Guesser::at);
        if let Some(address) = &address {
            self.back_off.count(address, now).map_err(Refused::Wait)?;
        }
        let (user, stored) = match people::guess(store, now, name).await? {
            Guess::Compare(user, stored) => (Some(user), stored),
            Guess::Wait(until) => return Err(Refused::Wait(until)),
            Guess::Nobody => {
                // Made to wait like everybody, so that waiting does not tell who exists.
                let nobody = Guesser::Name(secrets::kept(name));
                self.back_off.count(&nobody, now).map_err(Refused::Wait)?;
                (None, None)
            }
        };
        let right = self.passwords.matches(password, stored).await?;
        let Some(user) = user.filter(|_| right) else { return Err(Refused::Wrong) };
        people::forgive(store, &user.id).await?;
        if let Some(address) = &address {
            self.back_off.forgive(address);
        }
        Ok(user)
    }
}

/// Whether that can be a user's name: letters, digits and `.`, `_`, `-`, `@`, so that no log is misled by it.
pub fn is_name(name: &str) -> bool {
    (1..=NAME_MAX).contains(&name.len()) && name.chars().all(is_name_character)
}

fn is_name_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-' | '@')
}

/// The first user, who may do everything.
#[derive(Debug)]
pub struct FirstAdmin {
    /// `admin`.
    pub name: String,
    /// An API token; told once, kept nowhere.
    pub token: String,
}

/// Why there is no first user.
#[derive(Debug, thiserror::Error)]
pub enum FirstError {
    /// No secret could be made.
    #[error(transparent)]
    Secret(#[from] secrets::NoRandomness),
    /// It could not be stored.
    #[error(transparent)]
    Store(#[from] crate::store::Error),
}

/// Makes the first user, [`FIRST`], with an API token and no password, where there are no users; otherwise nothing.
pub async fn first_admin(store: &Store, now: Timestamp) -> Result<Option<FirstAdmin>, FirstError> {
    let token = secrets::secret(tokens::PREFIX)?;
    let expires = now.checked_add(FIRST_TOKEN_LIFE).unwrap_or(Timestamp::MAX);
    let user = people::first(store, now, FIRST, &secrets::kept(&token), expires).await?;
    Ok(user.map(|user| FirstAdmin { name: user.name, token }))
}
