//! A client by hand, which can do what no library lets a client do.

use super::PATIENCE;
use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

/// The request that opens a WebSocket.
pub const UPGRADE: &str = "GET /graphql HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n";

/// A connection.
pub struct Raw(TcpStream);

impl Raw {
    /// Connects from any of this machine's own addresses, such as 127.0.0.2.
    pub async fn from(client: &str, url: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(client.parse().unwrap(), 0)).unwrap();
        Self::connect(socket, url).await
    }

    /// Connects, with small buffers of its own.
    pub async fn open(url: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        socket.set_send_buffer_size(64 * 1024).unwrap();
        Self::connect(socket, url).await
    }

    async fn connect(socket: TcpSocket, url: &str) -> Self {
        Self(socket.connect(url.trim_start_matches("http://").parse().unwrap()).await.unwrap())
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // The server may have closed the connection meanwhile: what comes back tells.
        let _ = timeout(PATIENCE, self.0.write_all(bytes.as_ref())).await.unwrap();
    }

    /// Sends this again and again and reads nothing, until the server gives up: how many bytes it was sent until then.
    pub async fn flood(&mut self, bytes: &[u8]) -> usize {
        let mut sent = 0;
        let flood = async {
            while self.0.write_all(bytes).await.is_ok() {
                sent += bytes.len();
            }
        };
        timeout(PATIENCE * 3, flood).await.unwrap();
        sent
    }

    /// What comes next, up to the end of an HTTP head.
    pub async fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match timeout(PATIENCE, self.0.read_u8()).await.unwrap() {
                Ok(byte) => head.push(byte),
                Err(_) => break,
            }
        }
        String::from_utf8(head).unwrap()
    }

    /// All that comes until the server closes the connection.
    pub async fn rest(mut self) -> String {
        let mut rest = Vec::new();
        // With an end, or with a reset behind what was on its way.
        let _ = timeout(PATIENCE, self.0.read_to_end(&mut rest)).await.unwrap();
        String::from_utf8_lossy(&rest).into_owned()
    }

    /// Asks for a page on a connection that is closed behind it, and answers all that comes back.
    pub async fn get(client: &str, url: &str, path: &str) -> String {
        let mut raw = Self::from(client, url).await;
        raw.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")).await;
        raw.rest().await
    }
}

/// A frame of a WebSocket, masked with zeros, which leaves the content as it is.
pub fn frame(first: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).unwrap();
    assert!(length <= 125, "a short frame");
    [&[first, 0x80 | length, 0, 0, 0, 0], content].concat()
}
