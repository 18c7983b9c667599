//! Traces for an OpenTelemetry collector: what a request, a report, the reading of a feed or the matching took, and where.
//!
//! Spans of traces have a target of their own, which the log leaves out. Without `[telemetry]` nobody wants them, and a span
//! costs the look at one number. They are sent from a thread of their own, and dropped if the collector does not keep up.

use crate::config::Telemetry;
use http::HeaderMap;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::{Bytes, HeaderExtractor, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;
use ureq::tls::{RootCerts, TlsConfig};

/// The target of spans that are traces.
pub(crate) const TARGET: &str = "traces";
/// How long the collector may take for one batch.
const SENDING: Duration = Duration::from_secs(5);
/// How long the last batch may take when the server stops.
const STOPPING: Duration = Duration::from_secs(5);
/// Bytes of a collector's answer; a real one has some ten.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// Traces that are being sent, if they are wanted.
#[derive(Debug)]
#[must_use = "the last traces are sent when it is stopped"]
pub struct Traces(Option<SdkTracerProvider>);

impl Traces {
    /// Nothing is sent.
    pub fn none() -> Self {
        Self(None)
    }

    /// Sends what is left; waits for five seconds at most. Not to be called on a thread that answers.
    pub fn stop(self) {
        if let Some(provider) = self.0
            && let Err(problem) = provider.shutdown_with_timeout(STOPPING)
        {
            tracing::warn!("send the last traces: {problem}; they are lost");
        }
    }
}

/// What takes spans to the collector, for the log's subscriber.
pub(crate) fn layer<S>(telemetry: &Telemetry) -> Result<(impl Layer<S> + use<S>, Traces), String>
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Client::new())
        .with_endpoint(format!("{}/v1/traces", telemetry.otlp.trim_end_matches('/')))
        .with_timeout(SENDING)
        .build()
        .map_err(|problem| problem.to_string())?;
    let about = Resource::builder()
        .with_service_name(telemetry.service.clone())
        .with_attribute(opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(telemetry.sampled))))
        .with_resource(about)
        .build();
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("palisade"))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_filter(filter_fn(|about| about.target() == TARGET));
    Ok((layer, Traces(Some(provider))))
}

/// Makes `span` part of the caller's trace, if these headers of a request name one (W3C `traceparent`).
pub(crate) fn belongs_to(span: &Span, headers: &HeaderMap) {
    if !span.is_disabled() && headers.contains_key("traceparent") {
        let caller = TraceContextPropagator::new().extract(&HeaderExtractor(headers));
        // It fails only where there is no layer for traces, and then no span either.
        let _ = span.set_parent(caller);
    }
}

/// Sends batches. Called by the exporter's own thread only, so it may wait.
#[derive(Debug)]
struct Client {
    agent: ureq::Agent,
    /// Whether the last batch failed: told when that changes, not with each batch.
    failing: AtomicBool,
}

impl Client {
    fn new() -> Self {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(SENDING))
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("palisade/", env!("CARGO_PKG_VERSION")))
            .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
            .build()
            .new_agent();
        Self { agent, failing: AtomicBool::new(false) }
    }

    fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, ureq::Error> {
        let response = self.agent.run(request.map(|body| body.to_vec()))?;
        let (head, mut body) = response.into_parts();
        let body = body.with_config().limit(ANSWER_BYTES_MAX).read_to_vec()?;
        Ok(Response::from_parts(head, Bytes::from(body)))
    }

    fn tell(&self, failure: Option<String>) {
        let was_failing = self.failing.swap(failure.is_some(), Ordering::Relaxed);
        match failure {
            Some(reason) if !was_failing => {
                tracing::warn!("send traces: {reason}; those of now are lost, further failures are not told");
            }
            None if was_failing => tracing::info!("traces are sent again"),
            Some(_) | None => {}
        }
    }
}

impl HttpClient for Client {
    fn send_bytes<'client, 'sending>(
        &'client self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'sending>>
    where
        'client: 'sending,
        Self: 'sending,
    {
        Box::pin(async move {
            let sent = self.send(request);
            self.tell(match &sent {
                Ok(response) if response.status().is_success() => None,
                Ok(response) => Some(format!("the collector answers {}", response.status())),
                Err(problem) => Some(problem.to_string()),
            });
            Ok(sent?)
        })
    }
}
