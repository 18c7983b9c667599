//! Any text as a public key or a private key's file: no panic; a public key that is read is written so that it is read again.

use trust::keys::{FileKey, PublicKey};

pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(key) = text.parse::<PublicKey>() {
        let line = key.to_string();
        assert!(!line.chars().any(char::is_control), "{line:?}");
        let again: PublicKey = line.parse().expect("what we write, we read");
        assert_eq!((again.id(), again.name()), (key.id(), key.name()));
    }
    // Without a passphrase: what it costs to try one, the file's owner chose.
    let _ = FileKey::from_pem(text, None, "fuzz");
}
