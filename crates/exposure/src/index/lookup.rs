//! Which hosts have a package. Takes a test of names and versions; gives hosts.

use super::Index;
use advisory::{NameKind, Release};
use roaring::RoaringBitmap;

impl Index {
    /// The hosts that have a build whose name passes `named` and whose release, kind of name and version pass `versioned`.
    pub fn having(
        &self,
        named: impl Fn(&str) -> bool,
        versioned: impl Fn(&Release, NameKind, &str) -> bool,
    ) -> RoaringBitmap {
        let mut hosts = RoaringBitmap::new();
        for (_, topic) in self.topics.iter().filter(|(_, topic)| named(&topic.subject.name)) {
            for id in topic.row_ids() {
                let row = &self.rows[id as usize];
                if versioned(&topic.subject.release, topic.subject.name_kind, &row.installed.version) {
                    hosts |= &row.hosts;
                }
            }
        }
        hosts
    }
}
