//! The listener: takes connections, and gives none of them more than its share of time.
//!
//! axum's own listener sets no timer, so a client that sends its headers a byte a minute, or takes an answer as slowly, keeps
//! a connection for as long as it likes. Here both have `client_timeout`, and so has a connection that is kept without a
//! request. Bodies are timed by who reads them. HTTP/1.1 alone: what is in front of the server speaks it, and HTTP/2 has
//! many more ways to keep a server busy.

use super::{client::Peer, stopped};
use crate::config::Limits;
use axum::{Extension, Router, middleware::AddExtension};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
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

/// Serves until the server stops, and then until the requests that are under way are answered.
pub async fn serve(listener: TcpListener, router: Router, limits: &Limits, mut shutdown: watch::Receiver<bool>) {
    let slots = Arc::new(Semaphore::new(limits.connections));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.client_timeout);
    let mut open = JoinSet::new();
    loop {
        let next = tokio::select! {
            next = accept(&listener, &slots) => next,
            Some(_) = open.join_next() => continue,
            () = stopped(&mut shutdown) => break,
        };
        match next {
            Ok((stream, peer, slot)) => {
                let stream = TokioIo::new(timed(stream, slot, limits.client_timeout));
                let service = TowerToHyperService::new(Extension(peer).layer(router.clone()));
                let connection = http.serve_connection(stream, service).with_upgrades();
                open.spawn(run(connection, shutdown.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    while open.join_next().await.is_some() {}
}

async fn accept(listener: &TcpListener, slots: &Arc<Semaphore>) -> io::Result<(TcpStream, Peer, OwnedSemaphorePermit)> {
    let slot = slots.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, Peer(peer.ip()), slot))
}

type Connection =
    http1::UpgradeableConnection<TokioIo<Pin<Box<TimeoutStream<Counted>>>>, TowerToHyperService<AddExtension<Router, Peer>>>;

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
fn timed(stream: TcpStream, slot: OwnedSemaphorePermit, time: Duration) -> Pin<Box<TimeoutStream<Counted>>> {
    // Small messages must not wait for each other: a subscription's are all small.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    #[cfg(target_os = "linux")]
    if let Err(error) = socket2::SockRef::from(&stream).set_tcp_notsent_lowat(WAITING) {
        tracing::debug!(%error, "TCP_NOTSENT_LOWAT");
    }
    let mut stream = TimeoutStream::new(Counted { stream, _slot: slot });
    stream.set_write_timeout(Some(time));
    Box::pin(stream)
}

/// A connection with its place among those that may be open, also after it became a socket.
struct Counted {
    stream: TcpStream,
    _slot: OwnedSemaphorePermit,
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
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
