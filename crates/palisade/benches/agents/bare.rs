//! The limit: a server with the same TLS and HTTP that answers every request with the same bytes.

use super::process::{Usage, usage};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use server::identity::Authority;
use server::store::Store;
use std::convert::Infallible;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A bare server in a process of its own; killed when dropped.
#[derive(Debug)]
pub(crate) struct Bare {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Bare {
    pub(crate) fn start(store: &str) -> Self {
        let own = std::env::current_exe().expect("we are a program");
        let mut child = Command::new(own)
            .args(["--serve-bare", store])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the bare server starts");
        let mut line = String::new();
        let out = child.stdout.take().expect("it is piped");
        BufReader::new(out).read_line(&mut line).expect("it tells its address");
        Self { child, address: line.trim().parse().expect("an address") }
    }

    pub(crate) fn usage(&self) -> Usage {
        usage(self.child.id())
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) async fn serve(store: &str) {
    let store = Store::open(store).await.expect("the store opens");
    let now = Timestamp::now();
    let authority = Arc::new(Authority::open(&store, now).await.expect("it has an authority"));
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let acceptor = TlsAcceptor::from(authority.agents_config(&names, now).expect("TLS is set up"));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!("{}", listener.local_addr().expect("it has an address"));
    loop {
        let Ok((socket, _)) = listener.accept().await else { continue };
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            let Ok(tls) = acceptor.accept(socket).await else { return };
            let answer = service_fn(async |request: Request<Incoming>| {
                let _ = request.into_body().collect().await;
                let bytes = Bytes::from_static(b"{\"next_seconds\":60,\"report\":false}");
                Ok::<_, Infallible>(Response::new(Full::new(bytes)))
            });
            let _ = http1::Builder::new().serve_connection(TokioIo::new(tls), answer).await;
        });
    }
}
