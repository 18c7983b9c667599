//! What all hosts have now, for a server that starts: pages of hosts, each distinct piece read once.

use super::{Stored, blocking, compressed, damaged, inflate, moment};
use crate::store::{Doing, Error, Store};
use rayon::prelude::*;
use sqlx::Row;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use wire::v1::{Broken, Piece, assemble};

/// What one host has now.
#[derive(Debug)]
pub struct Current {
    /// Its id.
    pub host: String,
    /// Its number.
    pub number: u32,
    /// What it has; one that is damaged does not hide the others.
    pub stored: Result<Stored, Error>,
}

/// Kind of part and hash: the same bytes may be different things.
type Key = (String, String);

/// Hosts in pages, by id.
#[derive(Debug)]
pub struct AllCurrent {
    store: Store,
    page: i64,
    after: String,
    /// Pieces of the last page: the next one mostly has the same. Not all, for a fleet's pieces may not fit.
    read: HashMap<Key, Arc<Piece>>,
}

/// What all hosts have now, `page` hosts at a time.
pub fn all_current(store: &Store, page: i64) -> AllCurrent {
    AllCurrent { store: store.clone(), page, after: String::new(), read: HashMap::new() }
}

/// A host's row, and its parts: name and hash.
struct Listed {
    host: String,
    number: i64,
    name: String,
    from: i64,
    observed: i64,
    hash: String,
    parts: Vec<(String, String)>,
}

impl AllCurrent {
    /// The next hosts; none: these were all. A host that changes meanwhile comes as it was or as it is, and its event
    /// comes after.
    pub async fn next(&mut self) -> Result<Vec<Current>, Error> {
        // One statement, so that a host's hash and its parts are of one moment.
        let rows = sqlx::query(
            "SELECT i.host, h.number, h.name, i.from_at, i.observed_at, i.hash, \
             (SELECT string_agg(p.part || ' ' || p.hash, '\n') FROM parts p \
              WHERE p.host = i.host AND p.until_at IS NULL) \
             FROM inventories i JOIN hosts h ON h.id = i.host \
             WHERE i.until_at IS NULL AND i.host > $1 ORDER BY i.host LIMIT $2",
        )
        .bind(self.after.clone())
        .bind(self.page)
        .fetch_all(self.store.reader())
        .await
        .doing("read inventories")?;
        let listed: Vec<Listed> = rows
            .iter()
            .map(|row| Listed {
                host: row.get(0),
                number: row.get(1),
                name: row.get(2),
                from: row.get(3),
                observed: row.get(4),
                hash: row.get(5),
                parts: contents(&row.get::<Option<String>, _>(6).unwrap_or_default()),
            })
            .collect();
        let Some(last) = listed.last() else { return Ok(Vec::new()) };
        self.after.clone_from(&last.host);

        let keys: BTreeSet<Key> = listed
            .iter()
            .flat_map(|host| &host.parts)
            .map(|(part, hash)| (Piece::kind(part).to_owned(), hash.clone()))
            .collect();
        let mut read = std::mem::take(&mut self.read);
        read.retain(|key, _| keys.contains(key));
        let unread: BTreeSet<&String> =
            keys.iter().filter(|key| !read.contains_key(*key)).map(|(_, hash)| hash).collect();
        let unread: Vec<&String> = unread.into_iter().collect();
        let bodies: HashMap<String, Vec<u8>> = compressed(&self.store, &unread).await?.into_iter().collect();
        let (read, page) = blocking(move || Ok(join_all(read, keys, &bodies, listed))).await?;
        self.read = read;
        Ok(page)
    }
}

/// `PART HASH`, a line each, as the statement puts it; a part's name has no control characters.
fn contents(text: &str) -> Vec<(String, String)> {
    let pairs = text.lines().filter_map(|pair| pair.rsplit_once(' '));
    pairs.map(|(part, hash)| (part.to_owned(), hash.to_owned())).collect()
}

fn join_all(
    mut read: HashMap<Key, Arc<Piece>>,
    keys: BTreeSet<Key>,
    bodies: &HashMap<String, Vec<u8>>,
    listed: Vec<Listed>,
) -> (HashMap<Key, Arc<Piece>>, Vec<Current>) {
    let wanted: Vec<Key> = keys.into_iter().filter(|key| !read.contains_key(key)).collect();
    let fresh: Vec<(Key, Arc<Piece>)> = wanted
        .into_par_iter()
        .filter_map(|key| {
            let body = inflate(bodies.get(&key.1)?).ok()?;
            // One that cannot be read is missing from its hosts' inventories, which tells.
            let piece = Piece::read(&key.0, &body).ok()??;
            Some((key, Arc::new(piece)))
        })
        .collect();
    read.extend(fresh);
    let page = listed
        .into_par_iter()
        .map(|listed| {
            let stored = stored(&read, &listed)
                .map_err(|broken| damaged(&format!("inventory of host {}", listed.host), broken.to_string()));
            Current { number: u32::try_from(listed.number).unwrap_or(u32::MAX), host: listed.host, stored }
        })
        .collect();
    (read, page)
}

fn stored(read: &HashMap<Key, Arc<Piece>>, listed: &Listed) -> Result<Stored, Broken> {
    let mut pieces = Vec::with_capacity(listed.parts.len());
    for (part, hash) in &listed.parts {
        let kind = Piece::kind(part);
        match read.get(&(kind.to_owned(), hash.clone())) {
            Some(piece) => pieces.push(piece.as_ref()),
            None if kind == "packages" => return Err(Broken::Bodiless(part.clone())),
            // A part of a newer version; a part that every inventory has is missed by `assemble`.
            None => {}
        }
    }
    let (inventory, closes) = assemble(&listed.name, moment(listed.observed), pieces)?;
    Ok(Stored { from: moment(listed.from), hash: listed.hash.clone(), inventory, closes })
}
