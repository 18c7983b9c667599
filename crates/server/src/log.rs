//! What the server logs: to standard error, for people or as JSON. Traces are begun with it: they are told of by the same
//! spans' machinery.

use crate::config::{Log, LogFormat, Telemetry};
use crate::traces::{self, Traces};
use tracing_subscriber::filter::Directive;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

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
    /// `[telemetry]` cannot be used.
    #[error("send traces to telemetry.otlp \"{otlp}\": {reason}")]
    Traces {
        /// The collector.
        otlp: String,
        /// Why not.
        reason: String,
    },
}

/// Starts the log of this process, and its traces if they are wanted.
pub fn start(log: &Log, telemetry: Option<&Telemetry>) -> Result<Traces, Error> {
    let not_traces: Directive = format!("{}=off", traces::TARGET).parse().expect("it is a directive");
    let filter = EnvFilter::try_new(&log.filter)
        .map_err(|problem| Error::Filter { filter: log.filter.clone(), reason: problem.to_string() })?
        .add_directive(not_traces);
    let lines = fmt::layer().with_writer(std::io::stderr).with_target(false);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match log.format {
        LogFormat::Text => lines.with_filter(filter).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_filter(filter).boxed(),
    };
    let (mut layers, mut sent) = (vec![lines], Traces::none());
    if let Some(telemetry) = telemetry {
        let (layer, traces) = traces::layer(telemetry)
            .map_err(|reason| Error::Traces { otlp: telemetry.otlp.clone(), reason })?;
        layers.push(layer.boxed());
        sent = traces;
    }
    let started = tracing_subscriber::registry().with(layers).try_init();
    started.map_err(|problem| Error::Started(problem.to_string()))?;
    Ok(sent)
}
