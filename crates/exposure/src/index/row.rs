//! Rows of the index: what is installed, each distinct one once, with the hosts that have it.

use crate::judge::{Condition, Installed, Parsed};
use advisory::{Order, Version};
use roaring::RoaringBitmap;
use slab::Slab;
use std::sync::Arc;

/// Rows by id. Ids are reused when the last host that had a row loses it.
pub(super) type Rows = Slab<Row>;

/// One distinct installed build under one name, and the hosts that have it.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) installed: Arc<Installed>,
    pub(super) parsed: Parsed,
    pub(super) topic: u32,
    /// Whether it was read from a package here, so that its flavour is what its name and version tell to this program.
    pub(super) read_here: bool,
    pub(super) hosts: RoaringBitmap,
}

impl Row {
    pub(super) fn new(installed: Arc<Installed>, topic: u32, order: Option<Order>) -> Self {
        let parsed = Parsed::new(&installed, order);
        Self { installed, parsed, topic, read_here: false, hosts: RoaringBitmap::new() }
    }

    /// The version by which alone the row is judged; `None` where other facts matter, so that it is judged by itself.
    pub(super) fn plain_version(&self) -> Option<&Version> {
        let Installed { condition, running, kernel, .. } = &*self.installed;
        let plain = *condition == Condition::Sound && running.is_empty() && kernel.is_none();
        self.parsed.own.as_ref().filter(|_| plain)
    }
}
