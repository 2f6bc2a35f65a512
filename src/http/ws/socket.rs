//! A WebSocket on the wire: its handshake (RFC 6455, section 4.2), and messages that go out in pieces.
//!
//! The library is used by itself rather than through axum, which sends each message as one frame: the buffer that a frame is
//! written to keeps its size for as long as the socket is open, so that one long answer would cost its length until then. A long
//! message goes out in pieces here, and the buffer has room for one of them.

use super::super::graphql::Refusal;
use crate::config::Limits;
use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::Response,
};
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use std::task::{Context, Poll};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Bytes, Error, Message,
        handshake::derive_accept_key,
        protocol::{
            Role, WebSocketConfig,
            frame::{
                Frame,
                coding::{Data, OpCode},
            },
        },
    },
};

const SUBPROTOCOL: &str = "graphql-transport-ws";
/// The bytes that a socket's buffers begin with; the library's default of 128 KiB is for few sockets, not for ten thousand.
const BUFFER: usize = 4 * 1024;
/// The longest piece of a message that goes out, in bytes.
const PIECE: usize = 16 * 1024;
/// The most bytes that wait to be written: a piece, and the answers to pings.
const UNWRITTEN: usize = 2 * PIECE;

/// A request for a socket that is in order.
pub struct Handshake {
    accept: HeaderValue,
    on_upgrade: OnUpgrade,
}

impl Handshake {
    /// Reads a request.
    pub fn read(parts: &mut Parts) -> Result<Self, Refusal> {
        let refused = |why: &'static str| Refusal(StatusCode::BAD_REQUEST, why.into());
        let headers = &parts.headers;
        if !lists(headers, &header::CONNECTION, "upgrade") {
            return Err(refused("Connection must be upgrade."));
        }
        if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
            return Err(refused("Sec-WebSocket-Version must be 13."));
        }
        let key = headers.get(header::SEC_WEBSOCKET_KEY).ok_or_else(|| refused("Sec-WebSocket-Key is missing."))?;
        let accept =
            HeaderValue::from_str(&derive_accept_key(key.as_bytes())).map_err(|_| refused("Sec-WebSocket-Key is no key."))?;
        if !lists(headers, &header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL) {
            return Err(Refusal(StatusCode::BAD_REQUEST, format!("Sec-WebSocket-Protocol must offer {SUBPROTOCOL}.").into()));
        }
        let on_upgrade = parts.extensions.remove().ok_or_else(|| refused("This connection can't become a WebSocket."))?;
        Ok(Self { accept, on_upgrade })
    }

    /// Answers the request, and runs the socket once the answer is out.
    pub fn run<F: Future<Output = ()> + Send + 'static>(
        self,
        limits: &Limits,
        run: impl FnOnce(Socket) -> F + Send + 'static,
    ) -> Response {
        let config = WebSocketConfig::default()
            .read_buffer_size(BUFFER)
            .write_buffer_size(BUFFER)
            .max_write_buffer_size(UNWRITTEN)
            .max_message_size(Some(limits.socket_message_bytes))
            .max_frame_size(Some(limits.socket_message_bytes));
        tokio::spawn(async move {
            // Without it the client has hung up.
            if let Ok(upgraded) = self.on_upgrade.await {
                let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
                run(Socket(socket)).await;
            }
        });
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, self.accept);
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
        response
    }
}

/// Whether a header's list has this item.
fn lists(headers: &HeaderMap, name: &header::HeaderName, item: &str) -> bool {
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|listed| listed.trim().eq_ignore_ascii_case(item))
}

/// An open socket.
pub struct Socket(WebSocketStream<TokioIo<Upgraded>>);

impl Socket {
    /// Sends a message, and waits until all of it has gone out.
    pub async fn send(&mut self, message: Message) -> Result<(), Error> {
        match message {
            Message::Text(text) if text.len() > PIECE => {
                let pieces = pieces(text.into());
                for piece in pieces {
                    self.0.send(Message::Frame(piece)).await?;
                }
                Ok(())
            }
            message => self.0.send(message).await,
        }
    }

    /// Waits until everything that was written has gone out, the library's own answers to pings too.
    pub async fn flush(&mut self) -> Result<(), Error> {
        self.0.flush().await
    }

    /// The next message, if there is one.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Message, Error>>> {
        self.0.poll_next_unpin(cx)
    }
}

/// A text in frames. They may end within a character: only the whole has to be text.
fn pieces(text: Bytes) -> impl Iterator<Item = Frame> {
    let length = text.len();
    (0..length).step_by(PIECE).map(move |from| {
        let kind = if from == 0 { Data::Text } else { Data::Continue };
        let to = length.min(from + PIECE);
        Frame::message(text.slice(from..to), OpCode::Data(kind), to == length)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threat_69_a_long_text_goes_out_in_pieces() {
        let text = "é".repeat(PIECE);
        let frames: Vec<_> = pieces(Bytes::from(text.clone())).collect();
        let heads: Vec<_> = frames.iter().map(|frame| (frame.header().opcode, frame.header().is_final)).collect();
        assert_eq!(heads, [(OpCode::Data(Data::Text), false), (OpCode::Data(Data::Continue), true)]);
        let whole: Vec<u8> = frames.iter().flat_map(|frame| frame.payload().to_vec()).collect();
        assert_eq!(whole, text.as_bytes());
    }

    #[test]
    fn a_list_is_read_whatever_its_form() {
        let headers: HeaderMap = [(header::CONNECTION, HeaderValue::from_static("keep-alive, Upgrade"))].into_iter().collect();
        assert!(lists(&headers, &header::CONNECTION, "upgrade") && !lists(&headers, &header::CONNECTION, "up"));
    }
}
