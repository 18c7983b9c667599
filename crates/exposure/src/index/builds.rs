//! Which row an installed build has. Takes a build, or a package that none need be made of; gives the row's id.

use crate::judge::{Condition, Installed, Plain, Stream};
use advisory::NameKind;
use hashbrown::HashTable;
use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};

/// The rows of one release by what is installed. Only hashes are kept here; the caller compares, it has the rows.
#[derive(Debug, Default)]
pub(super) struct Builds {
    rows: HashTable<(u64, u32)>,
    /// Keyed: what a host reports must not choose where it is put.
    random: RandomState,
}

impl Builds {
    pub(super) fn hash(&self, build: &Installed) -> u64 {
        let Installed { name_kind, name, arch, version, stream, flavour: _, condition, running, kernel } =
            build;
        let mut hash = self.hash_record(*name_kind, [name, arch, version], stream, *condition);
        if !running.is_empty() || kernel.is_some() {
            (running, kernel).hash(&mut hash);
        }
        hash.finish()
    }

    /// The hash of what [`Plain::is`].
    pub(super) fn hash_plain(&self, plain: &Plain<'_>) -> u64 {
        let Plain { name_kind, name, arch, version, stream } = plain;
        self.hash_record(*name_kind, [name, arch, version], stream, Condition::Sound).finish()
    }

    fn hash_record(
        &self,
        kind: NameKind,
        texts: [&str; 3],
        stream: &Stream,
        condition: Condition,
    ) -> DefaultHasher {
        let mut hash = self.random.build_hasher();
        for text in texts {
            hash.write(text.as_bytes());
            // In no UTF-8 text; it keeps "ab" "c" from "a" "bc".
            hash.write_u8(0xFF);
        }
        // One byte for what nearly all have: this is asked for millions of packages.
        hash.write_u8(match kind {
            NameKind::Source => 0,
            NameKind::Binary => 1,
        });
        if (stream, condition) != (&Stream::Plain, Condition::Sound) {
            (stream, condition).hash(&mut hash);
        }
        hash
    }

    pub(super) fn find(&self, hash: u64, is: impl Fn(u32) -> bool) -> Option<u32> {
        self.rows.find(hash, |&(other, row)| other == hash && is(row)).map(|&(_, row)| row)
    }

    /// Takes a row that is not here yet.
    pub(super) fn insert(&mut self, hash: u64, row: u32) {
        self.rows.insert_unique(hash, (hash, row), |&(hash, _)| hash);
    }

    pub(super) fn remove(&mut self, hash: u64, row: u32) {
        if let Ok(entry) = self.rows.find_entry(hash, |&(_, other)| other == row) {
            entry.remove();
        }
    }
}
