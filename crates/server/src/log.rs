//! What the server logs: to standard error, for people or as JSON.

use crate::config::{Log, LogFormat};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

/// The log cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `log.filter` is wrong.
    #[error("read log.filter \"{filter}\": {reason}; \"info\" or \"server=debug,info\" are of its kind")]
    Filter {
        /// The filter.
        filter: String,
        /// Why not.
        reason: String,
    },
    /// There is a log already.
    #[error("start the log: {0}")]
    Started(String),
}

/// Starts the log of this process.
pub fn start(log: &Log) -> Result<(), Error> {
    let filter = EnvFilter::try_new(&log.filter)
        .map_err(|problem| Error::Filter { filter: log.filter.clone(), reason: problem.to_string() })?;
    let lines = fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let started = match log.format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    started.map_err(|problem| Error::Started(problem.to_string()))
}
