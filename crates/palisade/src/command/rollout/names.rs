//! Hosts' names in the place of their ids: the engine's words have ids, people know names.

use crate::answers::Rollout;
use crate::client::Client;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use uuid::Uuid;

/// Hosts that are looked up for one answer.
const LOOKED_UP_MAX: usize = 20;

/// Names that were looked up; a host that is not known has none, and is not asked for again.
#[derive(Debug, Default)]
pub(crate) struct HostNames(BTreeMap<Uuid, Option<String>>);

impl HostNames {
    /// Puts names where a rollout has ids.
    pub(crate) fn put(&mut self, client: &Client, rollout: &mut Rollout) {
        let mut left = LOOKED_UP_MAX;
        let holders = rollout.services.iter_mut().flat_map(|service| &mut service.holders);
        for text in rollout.waits.iter_mut().chain(holders.map(|holder| &mut holder.host)) {
            for host in ids(text) {
                if let Entry::Vacant(unknown) = self.0.entry(host) {
                    if left == 0 {
                        continue;
                    }
                    left -= 1;
                    let shown = client.get(&format!("/hosts/{host}"), &[]).ok();
                    unknown.insert(shown.and_then(|shown| Some(shown["name"].as_str()?.to_owned())));
                }
                if let Some(Some(name)) = self.0.get(&host) {
                    *text = text.replace(&host.to_string(), name);
                }
            }
        }
    }
}

/// The ids in a text.
fn ids(text: &str) -> Vec<Uuid> {
    let words = text.split(|letter: char| !letter.is_ascii_hexdigit() && letter != '-');
    // As they are written, with hyphens: other words of hex digits are none.
    words.filter(|word| word.len() == 36).filter_map(|word| Uuid::try_parse(word).ok()).collect()
}
