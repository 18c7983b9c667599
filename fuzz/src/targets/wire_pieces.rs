//! Any JSON as the pieces of a host's inventory: no panic; what makes an inventory makes the same one after it was taken
//! into pieces again; and a body under another hash makes none.

use advisory::digest::sha256;
use jiff::Timestamp;
use std::collections::BTreeMap;
use wire::v1::{Broken, Pieces, join, split};

pub fn run(bytes: &[u8]) {
    // Bodies by part. Hashes cannot be guessed, so they are right here.
    let Ok(bodies) = serde_json::from_slice::<BTreeMap<String, String>>(bytes) else { return };
    let mut pieces = Pieces::default();
    for (part, body) in bodies {
        let hash = sha256(body.as_bytes());
        pieces.parts.insert(part, hash.clone());
        pieces.bodies.insert(hash, body);
    }
    let Ok((inventory, closes)) = join("host", Timestamp::UNIX_EPOCH, &pieces) else { return };
    let again = join("host", Timestamp::UNIX_EPOCH, &split(&inventory, &closes));
    assert_eq!(again, Ok((inventory, closes)));
    for body in pieces.bodies.values_mut() {
        body.push(' ');
    }
    assert!(matches!(join("host", Timestamp::UNIX_EPOCH, &pieces), Err(Broken::Hash(_))));
}
