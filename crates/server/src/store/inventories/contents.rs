//! Which pieces hosts have now, for a server that starts: hosts whose inventories are the same, what these consist of, and
//! the pieces that are asked for.

use super::{compressed, inflate};
use crate::store::{Doing, Error, Store};
use serde_json::json;
use sqlx::{AssertSqlSafe, Row};
use std::collections::{BTreeSet, HashMap};
use wire::v1::Parts;

/// Hosts in one statement: 10,000 × some 200 bytes = 2 MB.
const HOSTS_AT_ONCE: i64 = 10_000;

/// Hosts that have the same inventory, by its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alike {
    /// Hash of the whole.
    pub hash: String,
    /// The hosts' ids and numbers.
    pub hosts: Vec<(String, u32)>,
    /// Of which host the parts are asked next; those before it are damaged.
    next: usize,
}

/// What one inventory consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// Hash of the whole.
    pub hash: String,
    /// Ids and numbers of the hosts that have it.
    pub hosts: Vec<(String, u32)>,
    /// Part and hash of its piece. None at all if what is stored is damaged.
    pub parts: Parts,
}

/// The hosts that are not revoked and have an inventory.
pub async fn alike(store: &Store) -> Result<Vec<Alike>, Error> {
    let (mut groups, mut places) = (Vec::<Alike>::new(), HashMap::<String, usize>::new());
    let mut after = String::new();
    loop {
        let rows = sqlx::query(
            "SELECT i.host, h.number, i.hash FROM inventories i JOIN hosts h ON h.id = i.host \
             WHERE i.until_at IS NULL AND i.host > $1 AND h.state <> 'revoked' ORDER BY i.host LIMIT $2",
        )
        .bind(after)
        .bind(HOSTS_AT_ONCE)
        .fetch_all(store.reader())
        .await
        .doing("read what hosts have")?;
        let Some(last) = rows.last() else { return Ok(groups) };
        after = last.get(0);
        for row in &rows {
            let hash: &str = row.get(2);
            let place = places.get(hash).copied().unwrap_or_else(|| {
                places.insert(hash.to_owned(), groups.len());
                groups.push(Alike { hash: hash.to_owned(), hosts: Vec::new(), next: 0 });
                groups.len() - 1
            });
            groups[place].hosts.push((row.get(0), u32::try_from(row.get::<i64, _>(1)).unwrap_or(u32::MAX)));
        }
    }
}

/// What inventories consist of: for each the parts of one of its hosts. Also those to be asked for again, because that
/// host's parts changed meanwhile (it is left out then: its event comes after) or are damaged.
pub async fn contents(store: &Store, groups: Vec<Alike>) -> Result<(Vec<Contents>, Vec<Alike>), Error> {
    let asked: Vec<&str> = groups.iter().filter_map(|group| Some(&*group.hosts.get(group.next)?.0)).collect();
    // One statement, so that a host's hash and its parts are of one moment. Neither parts nor hashes have blanks or slashes.
    let text = format!(
        "SELECT i.host, i.hash, (SELECT string_agg(p.part || ' ' || p.hash, '/') FROM parts p \
         WHERE p.host = i.host AND p.until_at IS NULL) \
         FROM inventories i WHERE i.until_at IS NULL AND i.host IN (SELECT value FROM {})",
        store.dialect().scalars("$1")
    );
    let rows = sqlx::query(AssertSqlSafe(text))
        .bind(json!(asked).to_string())
        .fetch_all(store.reader())
        .await
        .doing("read what inventories consist of")?;
    let mut found: HashMap<String, (String, Parts)> = rows
        .iter()
        .map(|row| {
            let parts = row.get::<Option<&str>, _>(2).unwrap_or_default().split('/');
            let parts = parts.filter_map(|pair| pair.split_once(' '));
            let parts = parts.map(|(part, hash)| (part.to_owned(), hash.to_owned())).collect();
            (row.get(0), (row.get(1), parts))
        })
        .collect();
    let (mut contents, mut again) = (Vec::with_capacity(groups.len()), Vec::new());
    for mut group in groups {
        let of_host = group.hosts.get(group.next).and_then(|(host, _)| found.remove(host));
        match of_host.filter(|(hash, _)| *hash == group.hash) {
            Some((hash, parts)) if wire::v1::hash(&parts) == hash => {
                contents.push(Contents { hash, hosts: group.hosts, parts });
                continue;
            }
            Some(_) => group.next += 1,
            None => _ = group.hosts.remove(group.next),
        }
        if group.next < group.hosts.len() {
            again.push(group);
        } else if !group.hosts.is_empty() {
            contents.push(Contents { hash: group.hash, hosts: group.hosts, parts: Parts::new() });
        }
    }
    Ok((contents, again))
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
