//! The agents' door: accepts connections, bounds how many there are and how long they may take, and shows out.

use super::requests::Desk;
use super::{Roster, add};
use crate::App;
use crate::identity::{AgentsTls, Authority, Error, Peer};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::Timestamp;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::yield_now;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// Bytes of a request's head, and of what is read ahead of its body.
const BUFFER_BYTES: usize = 16 << 10;
/// Fields in a request's head; agents send six.
const HEADERS_MAX: usize = 32;
/// Until the next try when the system gives no connection: too many open files.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// What a connection may take. [`Limits::default`] is what is served with; tests are in more of a hurry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once: 4,096, some 30 KiB each. More wait outside.
    pub connections: usize,
    /// Connections at once from one address (of IPv6: one /64) that have not shown a host's certificate.
    pub strangers: u32,
    /// From the connection to the end of the handshake.
    pub handshake: Duration,
    /// From the end of one request, or of the handshake, to the end of the next request's head. Agents come once a
    /// minute and resume: a connection kept open meanwhile would cost more than it saves.
    pub head: Duration,
    /// Before a body has to keep up with [`Limits::body_rate`].
    pub body_grace: Duration,
    /// How fast a body must come, bytes a second.
    pub body_rate: u64,
    /// A connection is ended after so long.
    pub connection: Duration,
    /// What is under way when we stop may take so long.
    pub stopping: Duration,
    /// How often it is written who was heard. A host lies in a page with a dozen others: the less often, the more of them
    /// are written at once.
    pub flushed: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4_096,
            strangers: 512,
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(10),
            body_grace: Duration::from_secs(10),
            body_rate: 64 << 10,
            connection: Duration::from_secs(600),
            stopping: Duration::from_secs(10),
            flushed: Duration::from_secs(30),
        }
    }
}

/// Listens to agents until `stop`; then lets what is under way end, and writes who was heard.
pub async fn serve(
    app: Arc<App>,
    authority: Arc<Authority>,
    roster: Arc<Roster>,
    listener: TcpListener,
    stop: CancellationToken,
) -> Result<(), Error> {
    serve_within(Limits::default(), app, authority, roster, listener, stop).await
}

/// [`serve`] with other limits.
pub async fn serve_within(
    limits: Limits,
    app: Arc<App>,
    authority: Arc<Authority>,
    roster: Arc<Roster>,
    listener: TcpListener,
    stop: CancellationToken,
) -> Result<(), Error> {
    let tls = AgentsTls::start(&authority, &app.config.server.names, Timestamp::now())?;
    let connections = u32::try_from(limits.connections).unwrap_or(u32::MAX);
    let places = Arc::new(Semaphore::new(limits.connections));
    let strangers = Arc::new(Strangers::default());
    let desk = Arc::new(Desk::new(Arc::clone(&app), authority, Arc::clone(&roster), limits));
    let writer = tokio::spawn(flush(Arc::clone(&desk), stop.clone()));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((socket, address, place)) = accepted else {
            sleep(ACCEPT_AGAIN).await;
            continue;
        };
        let Some(stranger) = Strangers::enter(&strangers, address, desk.limits.strangers) else {
            add(&roster.counters.turned_away);
            continue;
        };
        let acceptor = TlsAcceptor::from(tls.config(Timestamp::now()));
        let (desk, stop) = (Arc::clone(&desk), stop.clone());
        tokio::spawn(async move {
            desk.roster.counters.connections.fetch_add(1, Ordering::Relaxed);
            connection(&acceptor, &desk, socket, address, stranger, stop).await;
            desk.roster.counters.connections.fetch_sub(1, Ordering::Relaxed);
            drop(place);
        });
        // Whatever can go on goes first: while all agents come at once, those beyond our strength wait in the system's
        // queue, not in ours, where the store's tasks and handshakes under way would wait behind them.
        yield_now().await;
    }
    drop(listener);
    // All places free: all connections ended.
    let _ = timeout(desk.limits.stopping, places.acquire_many(connections)).await;
    let _ = writer.await;
    Ok(())
}

type Accepted = (TcpStream, IpAddr, tokio::sync::OwnedSemaphorePermit);

/// Waits for a place, then for a connection; `None`: the system gave none.
async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> Option<Accepted> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((socket, address)) => Some((socket, address.ip().to_canonical(), place)),
        Err(problem) => {
            tracing::warn!("accept an agent's connection: {problem}");
            None
        }
    }
}

async fn connection(
    acceptor: &TlsAcceptor,
    desk: &Arc<Desk>,
    socket: TcpStream,
    address: IpAddr,
    stranger: Stranger,
    stop: CancellationToken,
) {
    // Answers are one packet; one that cannot be hurried is still an answer.
    let _ = socket.set_nodelay(true);
    let limits = &desk.limits;
    let Ok(Ok(tls)) = timeout(limits.handshake, acceptor.accept(socket)).await else {
        add(&desk.roster.counters.handshakes_failed);
        return;
    };
    let peer = match tls.get_ref().1.peer_certificates() {
        None | Some([]) => None,
        Some([certificate, ..]) => match Peer::of(certificate) {
            Some(peer) => Some(peer),
            // Ours, and no host's: there is nothing to say.
            None => return,
        },
    };
    let stranger = peer.is_none().then_some(stranger);
    let service = service_fn(|request| {
        let desk = Arc::clone(desk);
        async move { Ok::<_, std::convert::Infallible>(desk.answer(request, peer, address).await) }
    });
    let http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(BUFFER_BYTES)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(tls), service);
    let mut http = pin!(http);
    // How a connection ends is the other side's business; what mattered was answered and counted.
    tokio::select! {
        _ = timeout(limits.connection, http.as_mut()) => {}
        () = stop.cancelled() => {
            http.as_mut().graceful_shutdown();
            let _ = timeout(limits.stopping, http).await;
        }
    }
    drop(stranger);
}

/// Writes who was heard, until the end and at the end.
async fn flush(desk: Arc<Desk>, stop: CancellationToken) {
    let mut tick = interval(desk.limits.flushed);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let stopped = tokio::select! {
            () = stop.cancelled() => true,
            _ = tick.tick() => false,
        };
        if let Err(problem) = desk.flush(Timestamp::now(), &stop).await {
            // The next time is the retry.
            tracing::warn!("{problem}");
        }
        if stopped {
            return;
        }
    }
}

/// Connections by address that have not shown a host's certificate.
#[derive(Debug, Default)]
struct Strangers(Mutex<HashMap<IpAddr, u32>>);

/// One of them; leaves when dropped.
#[derive(Debug)]
struct Stranger {
    among: Arc<Strangers>,
    network: IpAddr,
}

impl Strangers {
    fn enter(among: &Arc<Self>, address: IpAddr, most: u32) -> Option<Stranger> {
        let network = network(address);
        let mut count = among.0.lock().unwrap_or_else(PoisonError::into_inner);
        let here = count.entry(network).or_default();
        if *here >= most {
            return None;
        }
        *here += 1;
        drop(count);
        Some(Stranger { among: Arc::clone(among), network })
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let mut count = self.among.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(here) = count.get_mut(&self.network) {
            *here -= 1;
            if *here == 0 {
                count.remove(&self.network);
            }
        }
    }
}

/// What one sender can have: an address, or an IPv6 network of 2⁶⁴.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}
