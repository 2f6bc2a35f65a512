//! The listener: takes connections, and gives none of them more than its share of time.
//!
//! axum's own listener sets no timer, so a client that sends its headers a byte a minute, or takes an answer as slowly, keeps
//! a connection for as long as it likes. Here both have `client_timeout`, and so has a connection that is kept without a
//! request. Bodies are timed by who reads them. HTTP/1.1 alone: what is in front of the server speaks it, and HTTP/2 has
//! many more ways to keep a server busy.
//!
//! A connection beyond the limits (see [`super::connections`]) is accepted into a small reserve, so that health checks are
//! answered whatever others do. The reserve can't be held: its oldest connection makes room for a new one.

use super::{Server, client::Peer, connections::Slot, reserve, router, stopped};
use axum::{Extension, Router, middleware::AddExtension};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{AbortHandle, JoinSet},
    time::timeout,
};
use tokio_io_timeout::TimeoutStream;
use tower_layer::Layer;

/// How long to wait when the machine has no more file descriptors to give.
const PAUSE: Duration = Duration::from_millis(100);

/// What the machine may keep of an answer that is not under way yet, in bytes; by itself it would take megabytes for each reader
/// who is slow, which nobody counts. What is under way may be as much as the network takes. It asks for more when half of this has
/// gone, and the network fills its segments: a reader who takes less than some tens of KiB within `client_timeout` counts as one who
/// takes nothing.
#[cfg(target_os = "linux")]
const WAITING: u32 = 32 * 1024;

/// The longest head of a request, in bytes: its first line and its headers. Each connection may keep as much for an unfinished one.
const LONGEST_HEAD: usize = 16 * 1024;
/// The connections of the reserve.
const RESERVE: usize = 64;
/// The time that a connection of the reserve has for its headers, and altogether.
const RESERVE_TIME: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

/// Serves until the server stops, and then until the requests that are under way are answered.
pub async fn serve(listener: TcpListener, server: Server, mut shutdown: watch::Receiver<bool>) {
    let mut accepting = Accepting::new(&server, shutdown.clone());
    loop {
        let next = tokio::select! {
            next = listener.accept() => next,
            Some(_) = accepting.open.join_next() => continue,
            () = stopped(&mut shutdown) => break,
        };
        match next {
            Ok((stream, peer)) => match server.connections.open(peer.ip()) {
                Some(slot) => accepting.serve(stream, peer.ip(), slot),
                None => accepting.serve_from_reserve(stream, peer.ip()),
            },
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    while accepting.open.join_next().await.is_some() {}
}

/// What serves the connections that are accepted.
struct Accepting {
    http: http1::Builder,
    router: Router,
    reserve_http: http1::Builder,
    reserve_router: Router,
    client_timeout: Duration,
    open: JoinSet<()>,
    /// The connections of the reserve, the oldest first.
    reserve: VecDeque<AbortHandle>,
    shutdown: watch::Receiver<bool>,
}

impl Accepting {
    fn new(server: &Server, shutdown: watch::Receiver<bool>) -> Self {
        let client_timeout = server.app.config.limits.client_timeout;
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(client_timeout).max_buf_size(LONGEST_HEAD);
        let mut reserve_http = http.clone();
        reserve_http.header_read_timeout(RESERVE_TIME[0].min(client_timeout)).keep_alive(false);
        Self {
            http,
            router: router(server.clone()),
            reserve_http,
            reserve_router: reserve(server.clone()),
            client_timeout,
            open: JoinSet::new(),
            reserve: VecDeque::new(),
            shutdown,
        }
    }

    fn serve(&mut self, stream: TcpStream, peer: IpAddr, slot: Slot) {
        let received = Received::default();
        let service = service(&self.router, peer, &received);
        let stream = TokioIo::new(timed(stream, Some(slot), received, self.client_timeout));
        let connection = self.http.serve_connection(stream, service).with_upgrades();
        self.open.spawn(run(connection, self.shutdown.clone()));
    }

    fn serve_from_reserve(&mut self, stream: TcpStream, peer: IpAddr) {
        self.reserve.retain(|connection| !connection.is_finished());
        if self.reserve.len() >= RESERVE
            && let Some(oldest) = self.reserve.pop_front()
        {
            oldest.abort();
        }
        let received = Received::default();
        let service = service(&self.reserve_router, peer, &received);
        let stream = TokioIo::new(timed(stream, None, received, self.client_timeout));
        let connection = self.reserve_http.serve_connection(stream, service);
        self.reserve.push_back(self.open.spawn(async move {
            // Whatever comes of it: nobody waits for more than an answer.
            let _ = timeout(RESERVE_TIME[1], connection).await;
        }));
    }
}

fn service(router: &Router, peer: IpAddr, received: &Received) -> Service {
    TowerToHyperService::new(Extension(received.clone()).layer(Extension(Peer(peer)).layer(router.clone())))
}

type Service = TowerToHyperService<AddExtension<AddExtension<Router, Peer>, Received>>;
type Connection = http1::UpgradeableConnection<TokioIo<Pin<Box<TimeoutStream<Counted>>>>, Service>;

/// How many bytes a connection has received so far.
#[derive(Clone, Default)]
pub struct Received(Arc<AtomicUsize>);

impl Received {
    /// The number of bytes.
    pub fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Runs a connection to its end; when the server stops, to the end of the request that is under way.
async fn run(connection: Connection, mut shutdown: watch::Receiver<bool>) {
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped(&mut shutdown) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke off");
    }
}

/// A connection that fails when its peer takes nothing for so long.
fn timed(stream: TcpStream, slot: Option<Slot>, received: Received, time: Duration) -> Pin<Box<TimeoutStream<Counted>>> {
    // Small messages must not wait for each other: a subscription's are all small.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    #[cfg(target_os = "linux")]
    if let Err(error) = socket2::SockRef::from(&stream).set_tcp_notsent_lowat(WAITING) {
        tracing::debug!(%error, "TCP_NOTSENT_LOWAT");
    }
    let mut stream = TimeoutStream::new(Counted { stream, received, _slot: slot });
    stream.set_write_timeout(Some(time));
    Box::pin(stream)
}

/// A connection with its place among those that may be open, also after it became a socket. Those of the reserve have none.
struct Counted {
    stream: TcpStream,
    received: Received,
    _slot: Option<Slot>,
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.received.0.fetch_add(buffer.filled().len().saturating_sub(before), Ordering::Relaxed);
        read
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
