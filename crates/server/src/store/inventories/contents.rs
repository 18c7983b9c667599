//! Which pieces hosts have now, for a server that starts: tables of contents in pages, and the pieces that are asked for.

use super::{compressed, inflate};
use crate::store::{Doing, Error, Store};
use sqlx::Row;
use std::collections::{BTreeSet, HashMap};

/// What one host's inventory consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// The host's id.
    pub host: String,
    /// Its number.
    pub number: u32,
    /// Hash of the whole.
    pub hash: String,
    /// Part and hash of its piece.
    pub parts: Vec<(String, String)>,
}

/// Tables of contents in pages, by host's id.
#[derive(Debug)]
pub struct ContentsPages {
    store: Store,
    page: i64,
    after: String,
}

/// What the hosts have that are not revoked, `page` hosts at a time.
pub fn contents(store: &Store, page: i64) -> ContentsPages {
    ContentsPages { store: store.clone(), page, after: String::new() }
}

impl ContentsPages {
    /// The next hosts; none: these were all. A host that changes meanwhile comes as it was or as it is, and its event
    /// comes after.
    pub async fn next(&mut self) -> Result<Vec<Contents>, Error> {
        // One statement, so that a host's hash and its parts are of one moment. Neither parts nor hashes have blanks or
        // slashes.
        let rows = sqlx::query(
            "SELECT i.host, h.number, i.hash, (SELECT string_agg(p.part || ' ' || p.hash, '/') FROM parts p \
             WHERE p.host = i.host AND p.until_at IS NULL) \
             FROM inventories i JOIN hosts h ON h.id = i.host \
             WHERE i.until_at IS NULL AND i.host > $1 AND h.state <> 'revoked' ORDER BY i.host LIMIT $2",
        )
        .bind(self.after.clone())
        .bind(self.page)
        .fetch_all(self.store.reader())
        .await
        .doing("read what hosts have")?;
        let page: Vec<Contents> = rows
            .iter()
            .map(|row| Contents {
                host: row.get(0),
                number: u32::try_from(row.get::<i64, _>(1)).unwrap_or(u32::MAX),
                hash: row.get(2),
                parts: row
                    .get::<Option<&str>, _>(3)
                    .unwrap_or_default()
                    .split('/')
                    .filter_map(|pair| pair.split_once(' '))
                    .map(|(part, hash)| (part.to_owned(), hash.to_owned()))
                    .collect(),
            })
            .collect();
        if let Some(last) = page.last() {
            self.after.clone_from(&last.host);
        }
        Ok(page)
    }
}

/// Pieces as they lie in the store, by hash; those that are not there are left out.
pub async fn packed(store: &Store, hashes: &BTreeSet<&str>) -> Result<HashMap<String, Vec<u8>>, Error> {
    let hashes: Vec<String> = hashes.iter().map(|hash| (*hash).to_owned()).collect();
    let hashes: Vec<&String> = hashes.iter().collect();
    Ok(compressed(store, &hashes).await?.into_iter().collect())
}

/// The text of a piece; `None` if it is damaged.
pub fn unpacked(packed: &[u8]) -> Option<String> {
    inflate(packed).ok()
}
