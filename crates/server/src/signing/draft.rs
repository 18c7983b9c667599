//! The publisher's store: it reads what is there and keeps what it would write, so that one publishing is one transaction.
//! What a directory must do in a certain order, so that it can be finished after a crash, happens here at once or not.

use crate::store::{Store, plans, trust_files};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::runtime::Handle;
use trust::publisher;

/// Files to be written, in the order in which they were.
pub(super) type Written = Vec<(String, Vec<u8>)>;

/// Reads the store; writes into memory. Only on a thread that may wait.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    store: Store,
    runtime: Handle,
    written: Arc<Mutex<Written>>,
}

impl Draft {
    pub(super) fn new(store: Store) -> Self {
        Self { store, runtime: Handle::current(), written: Arc::default() }
    }

    /// What is to be written.
    pub(super) fn written(&self) -> Written {
        std::mem::take(&mut self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl publisher::Store for Draft {
    fn get(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let drafted =
            self.lock().iter().rev().find(|(known, _)| known == name).map(|(_, bytes)| bytes.clone());
        if drafted.is_some() {
            return Ok(drafted);
        }
        let read = async {
            if name.starts_with("plans/") {
                plans::file(&self.store, name).await
            } else {
                trust_files::get(&self.store, name).await
            }
        };
        self.runtime.block_on(read).map_err(io::Error::other)
    }

    fn put(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.lock().push((name.to_owned(), bytes.to_vec()));
        Ok(())
    }
}
