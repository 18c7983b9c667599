//! A key in a file: PKCS #8 in PEM, readable by its owner only, encrypted when there is a passphrase.

use super::{Error, PublicKey};
use ed25519_dalek::pkcs8::KeypairBytes;
use ed25519_dalek::{Signer as _, SigningKey};
use pkcs8::{DecodePrivateKey, EncodePrivateKey, LineEnding};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Bytes of a key's file: an encrypted one has some 300.
const FILE_BYTES_MAX: u64 = 16 << 10;

/// A key whose secret half is here. It is wiped when it is dropped.
pub struct FileKey {
    secret: SigningKey,
    public: PublicKey,
}

impl FileKey {
    /// Makes a new key. `name`: whose it is; no control characters.
    pub fn generate(name: &str) -> Result<Self, Error> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut()).map_err(|problem| Error::Chance(problem.to_string()))?;
        Self::of(&seed, name)
    }

    fn of(seed: &[u8; 32], name: &str) -> Result<Self, Error> {
        let secret = SigningKey::from_bytes(seed);
        let public = PublicKey::new(secret.verifying_key().to_bytes(), name)
            .ok_or(Error::NotPublic("its name must be plain text, at most 400 bytes"))?;
        Ok(Self { secret, public })
    }

    /// Its public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs.
    pub(crate) fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        self.secret.sign(bytes).to_bytes()
    }

    /// The key as PKCS #8 in PEM; encrypted (PBES2: scrypt, AES-256) when there is a passphrase.
    pub fn to_pem(&self, passphrase: Option<&str>) -> Result<Zeroizing<String>, Error> {
        // Without the public half: version 1 of the format, which every OpenSSL reads.
        let pair = KeypairBytes { secret_key: self.secret.to_bytes(), public_key: None };
        let pem = match passphrase {
            None => pair.to_pkcs8_pem(LineEnding::LF),
            Some(passphrase) => pair.to_pkcs8_encrypted_pem(passphrase, LineEnding::LF),
        };
        pem.map_err(|_| Error::NotAKey("it cannot be written"))
    }

    /// Reads what [`FileKey::to_pem`] wrote. `name`: whose it is; the format has no place for it.
    pub fn from_pem(pem: &str, passphrase: Option<&str>, name: &str) -> Result<Self, Error> {
        let pair = if pem.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") {
            KeypairBytes::from_pkcs8_encrypted_pem(pem, passphrase.ok_or(Error::Locked)?)
                .map_err(|_| Error::Passphrase)?
        } else {
            KeypairBytes::from_pkcs8_pem(pem).map_err(|_| Error::NotAKey("it cannot be read"))?
        };
        Self::of(&Zeroizing::new(pair.secret_key), name)
    }

    /// Writes the key to `path`, mode 0600, and its public half to `path.pub`. Neither may be there yet.
    pub fn write(&self, path: &Path, passphrase: Option<&str>) -> Result<(), Error> {
        let pem = self.to_pem(passphrase)?;
        let new = |path: &Path, mode: u32, text: &str| {
            OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(mode)
                .open(path)
                .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
                .map_err(|problem| Error::File { doing: "write the key", path: path.to_owned(), problem })
        };
        new(path, 0o600, &pem)?;
        new(&beside(path), 0o644, &format!("{}\n", self.public))
    }

    /// Reads a key from `path`; the name of its holder from `path.pub`, where that is there and fits.
    pub fn read(path: &Path, passphrase: Option<&str>) -> Result<Self, Error> {
        let (pem, mode) = small(path).map_err(|problem| Error::File {
            doing: "read the key",
            path: path.to_owned(),
            problem,
        })?;
        if mode & 0o077 != 0 {
            return Err(Error::Loose { path: path.to_owned(), mode: mode & 0o777 });
        }
        let mut key = Self::from_pem(&pem, passphrase, "")?;
        let line = small(&beside(path)).ok().and_then(|(line, _)| line.parse::<PublicKey>().ok());
        key.public = line.filter(|line| *line == key.public).unwrap_or(key.public);
        Ok(key)
    }
}

/// Not the secret.
impl fmt::Debug for FileKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("FileKey").field("public", &self.public).finish_non_exhaustive()
    }
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".pub");
    name.into()
}

/// A small file's text, and its mode as it was when it was opened.
fn small(path: &Path) -> io::Result<(Zeroizing<String>, u32)> {
    let file = File::open(path)?;
    let mode = file.metadata()?.mode();
    // Room for all at once: a string that grows would leave copies of the secret behind.
    let mut text = Zeroizing::new(String::with_capacity(16 << 10));
    file.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok((text, mode))
}
