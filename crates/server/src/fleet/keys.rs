//! Who says what. Feeds speak about every host; a host's own package manager about that host only, so that a host can lie
//! about nobody but itself. The index knows each distinct text once, by a key of its id and its content.

use crate::feeds::RESERVED;
use advisory::Advisory;
use roaring::RoaringBitmap;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Hexadecimal digits of the content's hash in a key: 128 bits.
const HASH_DIGITS: usize = 32;
/// Digits of the hash in such a provenance: 64 bits, for people to tell texts apart.
const PROVENANCE_DIGITS: usize = 16;

/// An advisory's id and the hash of what it says: `DSA-1@0123…`.
pub(super) type Key = Arc<str>;

/// The key of an advisory whose content has this hash.
pub(super) fn key(id: &str, hash: &str) -> Key {
    Arc::from(format!("{id}@{}", hash.get(..HASH_DIGITS).unwrap_or(hash)))
}

/// Under which provenance a text that hosts say is stored.
pub(super) fn provenance(key: &str) -> String {
    let hash = key.rsplit_once('@').map_or("", |(_, hash)| hash);
    format!("{RESERVED}{}", hash.get(..PROVENANCE_DIGITS).unwrap_or(hash))
}

/// One text, and who says it.
#[derive(Debug)]
struct Said {
    id: Arc<str>,
    feeds: BTreeSet<Arc<str>>,
    hosts: RoaringBitmap,
    /// Kept where hosts say it: there are few such texts, and no feed to look them up in.
    text: Option<Arc<Advisory>>,
}

/// Whether the index must hear of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Nobody said it before.
    Begun(Key),
    /// Nobody says it any more.
    Ended(Key),
    /// Others say it now, too or instead.
    Shifted(Key),
}

/// All texts.
#[derive(Debug, Default)]
pub(super) struct Keys {
    said: HashMap<Key, Said>,
    of_id: HashMap<Arc<str>, Vec<Key>>,
    of_feed: HashMap<Arc<str>, HashMap<Arc<str>, Key>>,
    of_host: HashMap<u32, Box<[Key]>>,
    of_cve: HashMap<Box<str>, BTreeSet<Arc<str>>>,
}

impl Keys {
    /// A feed says this under an id now, or nothing any more.
    pub(super) fn feed_says(&mut self, feed: &str, id: &str, now: Option<(&str, &Advisory)>) -> Vec<News> {
        let feed: Arc<str> = match self.of_feed.get_key_value(feed) {
            Some((feed, _)) => Arc::clone(feed),
            None => Arc::from(feed),
        };
        let new = now.map(|(hash, _)| key(id, hash));
        let texts = self.of_feed.entry(Arc::clone(&feed)).or_default();
        let old = match &new {
            Some(key) => texts.insert(Arc::from(id), Arc::clone(key)),
            None => texts.remove(id),
        };
        if old == new {
            return Vec::new();
        }
        let mut news = Vec::new();
        if let (Some(key), Some((_, advisory))) = (new, now) {
            news.push(self.say(&key, advisory, |said| _ = said.feeds.insert(feed.clone())));
        }
        if let Some(key) = old {
            news.push(self.unsay(&key, |said| _ = said.feeds.remove(&feed)));
        }
        news
    }

    /// A host's package manager says these now, each with the hash of its content.
    pub(super) fn host_says(&mut self, host: u32, now: &[(String, Advisory)]) -> Vec<News> {
        let new: Vec<Key> = now.iter().map(|(hash, advisory)| key(&advisory.id, hash)).collect();
        let old = self.of_host.remove(&host).unwrap_or_default();
        let mut news = Vec::new();
        for (key, (_, advisory)) in new.iter().zip(now) {
            if !old.contains(key) {
                news.push(self.say(key, advisory, |said| {
                    said.hosts.insert(host);
                    said.text.get_or_insert_with(|| Arc::new(advisory.clone()));
                }));
            }
        }
        for key in old.iter().filter(|key| !new.contains(*key)) {
            news.push(self.unsay(key, |said| {
                said.hosts.remove(host);
                if said.hosts.is_empty() {
                    said.text = None;
                }
            }));
        }
        if !new.is_empty() {
            self.of_host.insert(host, new.into());
        }
        news
    }

    fn say(&mut self, key: &Key, advisory: &Advisory, change: impl FnOnce(&mut Said)) -> News {
        if let Some(said) = self.said.get_mut(key) {
            change(said);
            return News::Shifted(Arc::clone(key));
        }
        let id: Arc<str> = match self.of_id.get_key_value(advisory.id.as_str()) {
            Some((id, _)) => Arc::clone(id),
            None => Arc::from(advisory.id.as_str()),
        };
        for cve in advisory.cves() {
            self.of_cve.entry(cve.into()).or_default().insert(Arc::clone(&id));
        }
        self.of_id.entry(Arc::clone(&id)).or_default().push(Arc::clone(key));
        let mut said = Said { id, feeds: BTreeSet::new(), hosts: RoaringBitmap::new(), text: None };
        change(&mut said);
        self.said.insert(Arc::clone(key), said);
        News::Begun(Arc::clone(key))
    }

    fn unsay(&mut self, key: &Key, change: impl FnOnce(&mut Said)) -> News {
        let Some(said) = self.said.get_mut(key) else { return News::Ended(Arc::clone(key)) };
        change(said);
        if !said.feeds.is_empty() || !said.hosts.is_empty() {
            return News::Shifted(Arc::clone(key));
        }
        let id = Arc::clone(&said.id);
        self.said.remove(key);
        if let Some(keys) = self.of_id.get_mut(&id) {
            keys.retain(|other| other != key);
            if keys.is_empty() {
                self.of_id.remove(&id);
            }
        }
        News::Ended(Arc::clone(key))
    }

    /// The id that a key is of.
    pub(super) fn id(&self, key: &str) -> Option<&Arc<str>> {
        self.said.get(key).map(|said| &said.id)
    }

    /// The texts under an id.
    pub(super) fn of_id(&self, id: &str) -> &[Key] {
        self.of_id.get(id).map_or(&[], Vec::as_slice)
    }

    /// All ids.
    pub(super) fn ids(&self) -> impl Iterator<Item = &Arc<str>> {
        self.of_id.keys()
    }

    /// The advisories that this is: an id, or those that close this CVE.
    pub(super) fn meant(&self, id: &str) -> BTreeSet<Arc<str>> {
        let mut ids = self.of_cve.get(id).cloned().unwrap_or_default();
        ids.retain(|id| self.of_id.contains_key(id));
        ids.extend(self.of_id.get_key_value(id).map(|(id, _)| Arc::clone(id)));
        ids
    }

    /// The hosts that a text speaks about; `None`: all.
    pub(super) fn speaks_about(&self, key: &str) -> Option<&RoaringBitmap> {
        self.said.get(key).filter(|said| said.feeds.is_empty()).map(|said| &said.hosts)
    }

    /// The text, where hosts say it.
    pub(super) fn text(&self, key: &str) -> Option<&Arc<Advisory>> {
        self.said.get(key)?.text.as_ref()
    }

    /// A feed that says it.
    pub(super) fn feed(&self, key: &str) -> Option<&Arc<str>> {
        self.said.get(key)?.feeds.first()
    }

    /// Every text that hosts say.
    pub(super) fn said_by_hosts(&self) -> impl Iterator<Item = &Key> {
        self.said.iter().filter(|(_, said)| said.text.is_some()).map(|(key, _)| key)
    }
}
