//! The one line that a person carries from the server to a new host: `SECRET.FINGERPRINT`. The secret lets the host in;
//! the fingerprint lets it know the server, so that not even the first connection trusts anybody.

use std::fmt;

/// An enrolment token.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// What the server is shown. Good once.
    pub secret: String,
    /// SHA-256 of the certificate (DER) of the server's authority, lower-case hex. `None`: the authority comes in a file.
    pub fingerprint: Option<String>,
}

impl fmt::Debug for Token {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Token").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

/// Not a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing before the last dot, or nothing at all.
    #[error("the token is empty; copy the whole line that the server printed")]
    Empty,
    /// What comes after the last dot is not 64 hexadecimal digits.
    #[error(
        "the token does not end in a fingerprint (64 hexadecimal digits); copy the whole line that the server printed"
    )]
    Fingerprint,
}

impl Token {
    /// Reads a token; blanks around it are a terminal's.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        let Some((secret, fingerprint)) = text.rsplit_once('.') else {
            return match text {
                "" => Err(Error::Empty),
                secret => Ok(Self { secret: secret.to_owned(), fingerprint: None }),
            };
        };
        if secret.is_empty() {
            return Err(Error::Empty);
        }
        if fingerprint.len() != 64 || !fingerprint.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Error::Fingerprint);
        }
        Ok(Self { secret: secret.to_owned(), fingerprint: Some(fingerprint.to_ascii_lowercase()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_comes_after_the_last_dot() {
        let print = "0123456789ABCDEF".repeat(4);
        let token = Token::parse(&format!(" se.cret.{print}\n")).unwrap();
        assert_eq!((token.secret.as_str(), token.fingerprint), ("se.cret", Some(print.to_ascii_lowercase())));
        assert_eq!(Token::parse("secret").unwrap().fingerprint, None);
        assert_eq!(Token::parse(&format!(".{print}")), Err(Error::Empty));
        assert_eq!(Token::parse(&format!("secret.{}", &print[1..])), Err(Error::Fingerprint));
        assert_eq!(Token::parse("secret.not-a-fingerprint"), Err(Error::Fingerprint));
    }
}
