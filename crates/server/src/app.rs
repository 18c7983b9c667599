//! What every part of a running server has at hand.

use crate::config::Config;
use crate::store::Store;
use std::sync::Arc;
use tokio::sync::Notify;

/// A running server. Shared by all its tasks.
#[derive(Debug)]
pub struct App {
    /// What it was told.
    pub config: Config,
    /// What it remembers.
    pub store: Store,
    /// Rung after a commit that told of an event, so that followers need not wait for their next look.
    pub told: Arc<Notify>,
}
