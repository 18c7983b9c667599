//! `/events`: what happens, as it happens (server-sent events). A client that comes back says what it saw last, and
//! misses nothing that is still kept.

use super::State;
use super::guard::Caller;
use super::problem::{Kind, Problem};
use crate::people::roles::Permission;
use crate::store::events::{self, Event, Kind as About};
use axum::extract::State as At;
use axum::response::sse::{Event as Sent, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http::HeaderMap;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

/// A comment is sent after so long without an event, so that the connection stays open; then it is also looked whether
/// the client may still listen.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Events read from the store at once. All that waits for a client in memory.
const CHUNK: i64 = 256;
/// How long a client is to wait before it comes back, as it is told.
const COME_BACK: Duration = Duration::from_secs(3);

/// One client's stream.
#[derive(Debug)]
struct Follower {
    state: State,
    caller: Caller,
    live: Receiver<Event>,
    /// The last event that was sent or passed over.
    seen: i64,
    /// Read from the store, to be sent.
    waiting: VecDeque<Event>,
    /// There may be events after `seen` in the store that do not come live.
    behind: bool,
    _place: OwnedSemaphorePermit,
}

/// Follow what happens. Each event has an id; send the last one seen as `Last-Event-ID` to go on after it, 0 for all that
/// is kept. An event `reset` says that some before it are not kept any more: read anew what you hold.
#[utoipa::path(get, path = "/api/v1/events", tag = "events",
    params(("Last-Event-ID" = Option<String>, Header, description = "The last event seen")),
    responses((status = 200, description = "A stream of events", body = String, content_type = "text/event-stream")))]
pub(super) async fn stream(
    At(state): At<State>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let place = state.streams.clone().try_acquire_owned().map_err(|_| {
        Problem::new(Kind::Busy, "follow", "events", "too many clients follow them", "come back later")
    })?;
    // Before looking at the store, or what happens in between would be lost.
    let live = state.events.subscribe();
    let last = events::last(&state.app.store).await?;
    let seen = match headers.get("last-event-id") {
        None => last,
        // One from the future is of another store: from now on, then.
        Some(id) => {
            let id = id.to_str().ok().and_then(|id| id.parse::<i64>().ok()).filter(|id| *id >= 0);
            id.ok_or_else(|| {
                Problem::malformed("Last-Event-ID", "it is not an event's id").field("last-event-id")
            })?
            .min(last)
        }
    };
    let waiting = VecDeque::new();
    let follower = Follower { state, caller, live, seen, waiting, behind: true, _place: place };
    let hello = Sent::default().comment("hello").retry(COME_BACK);
    let events = stream::unfold((Some(hello), follower), |(hello, mut follower)| async move {
        let sent = match hello {
            Some(hello) => Some(hello),
            None => follower.next().await,
        };
        sent.map(|sent| (Ok::<_, Infallible>(sent), (None, follower)))
    });
    Ok(Sse::new(events).into_response())
}

impl Follower {
    /// The next thing to send; `None`: the stream ends.
    async fn next(&mut self) -> Option<Sent> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                if let Some(sent) = self.send(&event) {
                    return Some(sent);
                }
                continue;
            }
            if self.behind {
                match events::after(&self.state.app.store, self.seen, CHUNK).await {
                    Ok(events) => {
                        self.behind = i64::try_from(events.len()) == Ok(CHUNK);
                        let first = events.first().map(|event| event.seq);
                        self.waiting = events.into();
                        if first.is_some_and(|first| first > self.seen + 1) {
                            let reset = Sent::default().event("reset").data("{}");
                            return Some(reset.id(self.seen.to_string()));
                        }
                    }
                    Err(problem) => {
                        tracing::error!("follow events: {problem}");
                        return None;
                    }
                }
                continue;
            }
            tokio::select! {
                () = self.state.stopping.cancelled() => return None,
                event = self.live.recv() => match event {
                    Ok(event) if event.seq <= self.seen => {}
                    Ok(event) if event.seq == self.seen + 1 => self.waiting.push_back(event),
                    Ok(_) | Err(RecvError::Lagged(_)) => self.behind = true,
                    Err(RecvError::Closed) => return None,
                },
                () = tokio::time::sleep(HEARTBEAT) => {
                    if !self.caller.is_still_in(&self.state, Permission::ReadFleet).await {
                        return None;
                    }
                    return Some(Sent::default().comment("still here"));
                }
            }
        }
    }

    /// An event as it is sent; `None`: not for this client.
    fn send(&mut self, event: &Event) -> Option<Sent> {
        self.seen = event.seq;
        if event.kind == About::Access && !self.caller.role.may(Permission::ManageUsers) {
            return None;
        }
        let sent = Sent::default().id(event.seq.to_string()).event(event.kind.word());
        Some(sent.json_data(event).unwrap_or_else(|_| Sent::default().comment("unreadable")))
    }
}
