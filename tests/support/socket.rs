//! A client of graphql-transport-ws that hides nothing: what was received is what is answered.

use super::PATIENCE;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{Message, client::IntoClientRequest},
};

/// What came out of a socket.
#[derive(Debug, PartialEq)]
pub enum Heard {
    /// A message of the protocol.
    Message(Value),
    /// The close code.
    Closed(u16),
}

/// An open socket.
pub struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    /// Opens a socket without saying anything.
    pub async fn open(url: &str) -> Self {
        let mut request = format!("{}/graphql", url.replace("http", "ws")).into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", "graphql-transport-ws".parse().unwrap());
        Self(timeout(PATIENCE, tokio_tungstenite::connect_async(request)).await.unwrap().unwrap().0)
    }

    pub async fn send(&mut self, message: Value) {
        self.0.send(Message::text(message.to_string())).await.unwrap();
    }

    /// What comes next, pings left out.
    pub async fn hear(&mut self) -> Heard {
        loop {
            match timeout(PATIENCE, self.0.next()).await.unwrap_or_else(|_| panic!("nothing was heard")) {
                Some(Ok(Message::Text(text))) => return Heard::Message(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(frame))) => return Heard::Closed(frame.map_or(1005, |frame| frame.code.into())),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Heard::Closed(1006),
            }
        }
    }

    /// Says `connection_init` and hears its answer.
    pub async fn init(&mut self, payload: Value) {
        self.send(json!({ "type": "connection_init", "payload": payload })).await;
        assert_eq!(self.hear().await, Heard::Message(json!({ "type": "connection_ack" })));
    }

    pub async fn subscribe(&mut self, id: &str, query: &str, variables: Value) {
        self.send(json!({ "id": id, "type": "subscribe", "payload": { "query": query, "variables": variables } })).await;
    }

    /// Whether the server has given the connection up, without reading from it.
    pub fn is_gone(&self) -> bool {
        let MaybeTlsStream::Plain(stream) = self.0.get_ref() else { return false };
        stream.try_write(b"x").is_err_and(|error| error.kind() != std::io::ErrorKind::WouldBlock)
    }

    /// The next payload; anything else is a failure.
    pub async fn next(&mut self) -> Value {
        match self.hear().await {
            Heard::Message(message) if message["type"] == "next" => message["payload"].clone(),
            other => panic!("{other:?}"),
        }
    }

    /// The next change of connections, with its cursor.
    pub async fn change(&mut self) -> Change {
        let payload = self.next().await;
        let change = payload["data"].as_object().and_then(|data| data.values().next()).unwrap_or_else(|| panic!("{payload:#}"));
        let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{payload:#}")).to_owned();
        Change {
            cursor: text(&change["cursor"]),
            kind: text(&change["event"]["kind"]),
            connection: text(&change["connection"]["id"]),
        }
    }
}

/// A change that was pushed.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub cursor: String,
    pub kind: String,
    pub connection: String,
}

/// Listens to an account's connections.
pub const CONNECTIONS: &str = "subscription($after: String) { clientConnectionChanged(after: $after) \
    { cursor event { kind summary actor { name } } connection { id status level } } }";
/// Listens to the requests that are addressed to oneself.
pub const OWN_REQUESTS: &str = "subscription($after: String) { accessRequestChanged(after: $after) \
    { cursor event { kind } connection { id status agency { name } } } }";
