//! People's door: HTTPS for the API, with bounds on connections and on the time that a handshake or a head may take.

use super::Failed;
use axum::Router;
use axum::extract::ConnectInfo;
use hyper::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// Connections at once; more wait outside.
const CONNECTIONS_MAX: u32 = 2_048;
/// From the connection to the end of the handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// From one request to the end of the next one's head.
const HEAD: Duration = Duration::from_secs(60);
/// Until the next try when the system gives no connection.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// What is under way when we stop may take so long.
const STOPPING: Duration = Duration::from_secs(10);

/// Serves `router` until `stop`.
pub(super) async fn serve(
    router: Router,
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    stop: CancellationToken,
) -> Result<(), Failed> {
    let acceptor = TlsAcceptor::from(tls);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX as usize));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { break };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (socket, address) = match accepted {
            Ok(accepted) => accepted,
            Err(problem) => {
                tracing::warn!("accept a connection: {problem}");
                sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        let (acceptor, router, stop) = (acceptor.clone(), router.clone(), stop.clone());
        tokio::spawn(async move {
            connection(acceptor, router, socket, address, stop).await;
            drop(place);
        });
    }
    drop(listener);
    // All places free: all connections ended.
    let _ = timeout(STOPPING, places.acquire_many(CONNECTIONS_MAX)).await;
    Ok(())
}

async fn connection(
    acceptor: TlsAcceptor,
    router: Router,
    socket: TcpStream,
    address: SocketAddr,
    stop: CancellationToken,
) {
    let _ = socket.set_nodelay(true);
    let Ok(Ok(tls)) = timeout(HANDSHAKE, acceptor.accept(socket)).await else { return };
    let service = router.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(address));
        request.map(axum::body::Body::new)
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(HEAD).max_concurrent_streams(64);
    let mut served = pin!(builder.serve_connection(TokioIo::new(tls), TowerToHyperService::new(service)));
    // How a connection ends is the other side's business.
    tokio::select! {
        _ = served.as_mut() => {}
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            let _ = timeout(STOPPING, served).await;
        }
    }
}
