//! The messages of `graphql-transport-ws`, read and written.
//!
//! A message is read in two steps, its type first: what a message doesn't need is checked to be JSON and never built, however
//! large it is.

use super::super::{
    execute::Wire,
    params::{Params, object},
};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error as _, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;
use std::fmt;
use tokio_tungstenite::tungstenite::Message;

/// A message from a client.
pub enum Incoming<'a> {
    /// `connection_init`, with its `authorization`.
    Init(Option<String>),
    /// `ping`, with its payload.
    Ping(Option<&'a RawValue>),
    /// `pong`.
    Pong,
    /// `subscribe`.
    Subscribe {
        /// The client's id for the operation.
        id: String,
        /// The operation.
        params: Params<'a>,
    },
    /// `complete`.
    Complete {
        /// The client's id for the operation.
        id: String,
    },
}

#[derive(Deserialize)]
#[serde(expecting = "an object with a type")]
struct Envelope<'a> {
    #[serde(rename = "type")]
    kind: Kind,
    id: Option<String>,
    #[serde(borrow, default)]
    payload: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    ConnectionInit,
    Ping,
    Pong,
    Subscribe,
    Complete,
}

/// How deep objects and lists can nest in a payload.
const DEEPEST_PAYLOAD: usize = 128;

/// How deep objects and lists nest in a JSON text.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

impl<'a> Incoming<'a> {
    /// Reads a message.
    pub fn read(text: &'a str) -> serde_json::Result<Self> {
        let Envelope { kind, id, payload } = object(text.as_bytes())?;
        let id = || id.ok_or_else(|| serde_json::Error::missing_field("id"));
        if payload.is_some_and(|payload| !payload.get().starts_with('{')) {
            return Err(serde_json::Error::custom("payload must be an object"));
        }
        // A ping's payload is returned as it came, and a client that reads it must not overflow its stack.
        if payload.is_some_and(|payload| depth(payload.get()) > DEEPEST_PAYLOAD) {
            return Err(serde_json::Error::custom(format!("payload nests deeper than {DEEPEST_PAYLOAD}")));
        }
        Ok(match kind {
            Kind::ConnectionInit => {
                let init = payload.map(|payload| serde_json::from_str::<Init>(payload.get())).transpose()?;
                Self::Init(init.and_then(|init| init.0))
            }
            Kind::Ping => Self::Ping(payload),
            Kind::Pong => Self::Pong,
            Kind::Subscribe => {
                let payload = payload.ok_or_else(|| serde_json::Error::missing_field("payload"))?;
                Self::Subscribe { id: id()?, params: object(payload.get().as_bytes())? }
            }
            Kind::Complete => Self::Complete { id: id()? },
        })
    }
}

/// The payload of `connection_init`: of all that a client puts there, its `authorization`.
struct Init(Option<String>);

impl<'de> Deserialize<'de> for Init {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Init;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Init, A::Error> {
                let mut authorization = None;
                while let Some(key) = map.next_key::<String>()? {
                    if key.eq_ignore_ascii_case("authorization") {
                        let wrong = |_| A::Error::custom("authorization must be a string");
                        authorization = map.next_value::<Option<String>>().map_err(wrong)?;
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(Init(authorization))
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

/// A message to a client.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Outgoing<'a> {
    /// The answer to `connection_init`.
    ConnectionAck,
    /// The answer to `ping`.
    Pong {
        /// As the client sent it.
        #[serde(skip_serializing_if = "Option::is_none")]
        payload: Option<&'a RawValue>,
    },
    /// An answer of an operation.
    Next {
        /// The client's id for the operation.
        id: &'a str,
        /// The answer.
        payload: Wire<'a>,
    },
    /// The errors that an operation is refused with.
    Error {
        /// The client's id for the operation.
        id: &'a str,
        /// The errors.
        payload: &'a [async_graphql::ServerError],
    },
    /// The end of an operation.
    Complete {
        /// The client's id for the operation.
        id: &'a str,
    },
}

impl Outgoing<'_> {
    /// As a message of the socket.
    pub fn message(&self) -> Message {
        // Nothing in these types can fail to be JSON.
        Message::Text(serde_json::to_string(self).unwrap_or_default().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_by_its_type() {
        let authorization = |text: &str| match Incoming::read(text) {
            Ok(Incoming::Init(authorization)) => authorization,
            _ => panic!("{text}"),
        };
        assert_eq!(authorization(r#"{"type":"connection_init"}"#), None);
        assert_eq!(
            authorization(r#"{"payload":{"x":[[]],"Authorization":"Bearer a"},"type":"connection_init"}"#).as_deref(),
            Some("Bearer a")
        );
        assert_eq!(authorization(r#"{"type":"connection_init","payload":{"authorization":null}}"#), None);
        for wrong in [
            r#"{"type":"connection_init","payload":{"authorization":1}}"#,
            r#"{"type":"connection_init","payload":[]}"#,
            r#"{"type":"subscribe","payload":{"query":"{ a }"}}"#,
            r#"{"type":"subscribe","id":"1","payload":["{ a }"]}"#,
            r#"{"type":"subscribe","id":"1","payload":{"query":"{ a }","variables":[]}}"#,
            r#"{"type":"complete"}"#,
            r#"["ping"]"#,
        ] {
            assert!(Incoming::read(wrong).is_err(), "{wrong}");
        }
    }

    /// THREATS 1: a payload that nests too deep is refused, braces in its strings aside.
    #[test]
    fn threat_01_how_deep_a_payload_nests() {
        assert_eq!(depth(r#"{"a":"[[{\\\"[","b":[{}]}"#), 3);
        let ping = |deep: usize| format!(r#"{{"type":"ping","payload":{}1{}}}"#, r#"{"a":"#.repeat(deep), "}".repeat(deep));
        assert!(Incoming::read(&ping(DEEPEST_PAYLOAD)).is_ok() && Incoming::read(&ping(DEEPEST_PAYLOAD + 1)).is_err());
    }

    #[test]
    fn a_pong_repeats_the_payload_of_its_ping() {
        let Ok(Incoming::Ping(payload)) = Incoming::read(r#"{"type":"ping","payload":{"a": [1, 2]}}"#) else { panic!() };
        assert_eq!(Outgoing::Pong { payload }.message(), Message::Text(r#"{"type":"pong","payload":{"a": [1, 2]}}"#.into()));
        assert_eq!(Outgoing::Pong { payload: None }.message(), Message::Text(r#"{"type":"pong"}"#.into()));
    }
}
