//! What hosts have in common. Takes the rows of a host in lists, one for each letter of their sources; keeps each distinct
//! list once, and each distinct set of lists once, for as long as a host has them.
//!
//! Ten thousand hosts have ten million rows, but some sixteen thousand distinct lists: a host costs four bytes for each of
//! some thirty lists instead of four for each of 1,200 rows, and nothing where its image is that of another host.

use super::number;
use slab::Slab;
use std::collections::HashMap;
use std::sync::Arc;

/// Distinct lists, each with how many have it.
#[derive(Debug, Default)]
pub(super) struct Lists {
    kept: Slab<(Arc<[u32]>, usize)>,
    ids: HashMap<Arc<[u32]>, u32>,
}

impl Lists {
    /// The id of a list; a new one is kept, and nobody has it yet.
    pub(super) fn id(&mut self, list: &[u32]) -> u32 {
        if let Some(&id) = self.ids.get(list) {
            return id;
        }
        let list: Arc<[u32]> = list.into();
        let id = number(self.kept.insert((Arc::clone(&list), 0)));
        self.ids.insert(list, id);
        id
    }

    pub(super) fn get(&self, id: u32) -> &Arc<[u32]> {
        &self.kept[id as usize].0
    }

    /// All with their ids, by id.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Arc<[u32]>)> {
        self.kept.iter().map(|(id, (list, _))| (id, list))
    }

    /// One more has the list; whether it is the first.
    fn take(&mut self, id: u32) -> bool {
        let count = &mut self.kept[id as usize].1;
        *count += 1;
        *count == 1
    }

    /// One has the list no longer; gives it if that was the last.
    fn leave(&mut self, id: u32) -> Option<Arc<[u32]>> {
        let count = &mut self.kept[id as usize].1;
        *count -= 1;
        if *count > 0 {
            return None;
        }
        let (list, _) = self.kept.remove(id as usize);
        self.ids.remove(&list);
        Some(list)
    }
}

/// Lists of rows, and sets of such lists: a host has one set.
#[derive(Debug, Default)]
pub(super) struct Shares {
    pub(super) lists: Lists,
    sets: Lists,
}

impl Shares {
    /// One more host has these lists of rows, each sorted; the id of their set.
    pub(super) fn take(&mut self, lists: &[Vec<u32>]) -> u32 {
        let ids = lists.iter().map(|list| self.lists.id(list)).collect();
        self.take_ids(ids)
    }

    /// The same with lists that are here.
    pub(super) fn take_ids(&mut self, mut ids: Vec<u32>) -> u32 {
        ids.sort_unstable();
        ids.dedup();
        let set = self.sets.id(&ids);
        if self.sets.take(set) {
            for id in ids {
                self.lists.take(id);
            }
        }
        set
    }

    /// One more host has a set that is here.
    pub(super) fn take_again(&mut self, set: u32) {
        self.sets.take(set);
    }

    /// A host has this set no longer.
    pub(super) fn leave(&mut self, set: u32) {
        for &list in self.sets.leave(set).iter().flat_map(|lists| &**lists) {
            self.lists.leave(list);
        }
    }

    /// Which lists a set has, sorted.
    pub(super) fn set(&self, set: u32) -> &Arc<[u32]> {
        self.sets.get(set)
    }

    /// The rows of a set, sorted, each once.
    pub(super) fn rows(&self, set: u32) -> Vec<u32> {
        flat(self.set(set).iter().map(|&list| &**self.lists.get(list)))
    }
}

/// What is in any of the lists; sorted, each once.
pub(super) fn flat<'l>(lists: impl Iterator<Item = &'l [u32]>) -> Vec<u32> {
    let mut flat: Vec<u32> = lists.flatten().copied().collect();
    flat.sort_unstable();
    flat.dedup();
    flat
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn years_of_patching_leave_nothing_behind() {
        let mut shares = Shares::default();
        // Thirty lists a host; every day each tenth host gets another third list, alike where the image is.
        let lists_of = |host: u32, day: u32| -> Vec<Vec<u32>> {
            let image = host % 5;
            let list = |list: u32| {
                let version = if list.is_multiple_of(3) { (day + host) / 10 } else { 0 };
                vec![list * 1_000, list * 1_000 + 1 + image, list * 1_000 + 500 + version % 400]
            };
            (0..30).map(list).collect()
        };
        let mut hosts: Vec<u32> = (0..50).map(|host| shares.take(&lists_of(host, 0))).collect();
        for day in 1..1_000 {
            for (host, set) in (0..).zip(&mut hosts) {
                let new = shares.take(&lists_of(host, day));
                shares.leave(std::mem::replace(set, new));
                assert_eq!(shares.rows(new), flat(lists_of(host, day).iter().map(Vec::as_slice)));
            }
            // Five images, of the third part of them six versions at once.
            assert!(shares.sets.kept.len() <= 5 * 6, "{} sets", shares.sets.kept.len());
            assert!(shares.lists.kept.len() <= 5 * (20 + 10 * 6), "{} lists", shares.lists.kept.len());
            assert_eq!(shares.lists.kept.len(), shares.lists.ids.len());
            assert_eq!(shares.sets.kept.len(), shares.sets.ids.len());
        }
        for set in hosts {
            shares.leave(set);
        }
        assert!(shares.lists.kept.is_empty() && shares.sets.kept.is_empty());
    }
}
