//! An operation's answers one after the other over plain HTTP: GraphQL over SSE in distinct-connections mode
//! (<https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md>), and the multipart protocol of Apollo's clients
//! (<https://www.apollographql.com/docs/graphos/routing/operations/subscriptions/multipart-protocol>).
//!
//! At shutdown a stream ends without its last word, so that the client comes back. Nothing holds a stream back: no buffer, no
//! compression.

use super::{
    Server,
    connections::NetworkSlot,
    execute::{self, Answer, Wire},
    stopped,
};
use async_graphql::{Response as Told, ServerError};
use axum::{
    body::{Body, Bytes},
    http::header,
    response::{IntoResponse, Response},
};
use futures_util::{Stream, StreamExt, stream};
use serde::Serialize;
use std::{convert::Infallible, future::ready, time::Duration};
use tokio::time::sleep;

/// The time between two signs of life.
const ALIVE: Duration = Duration::from_secs(10);
/// What proxies have to be told, or they hold back what they should pass on; and nobody may keep an answer for another.
const UNHELD: [(&str, &str); 2] = [("x-accel-buffering", "no"), ("cache-control", "no-store")];

/// A way to write answers one after the other.
pub struct Form {
    media: &'static str,
    begin: &'static str,
    each: fn(&Told) -> String,
    alive: &'static str,
    end: &'static str,
}

/// A `next` for each answer, and `complete`.
pub const EVENTS: Form = Form {
    media: "text/event-stream",
    // A comment, so that the client, and whatever is between, sees that the stream has begun.
    begin: ":\n\n",
    each: |answer| format!("event: next\ndata: {}\n\n", json(&Wire(answer))),
    alive: ":\n\n",
    end: "event: complete\ndata: \n\n",
};

/// A part for each answer, with the delimiter behind it: the client takes it for whole only when that has come.
pub const MIXED: Form = Form {
    media: "multipart/mixed;boundary=\"-\";subscriptionSpec=1.0",
    begin: "\r\n---\r\ncontent-type: application/json\r\n\r\n{}\r\n---",
    each: |answer| format!("\r\ncontent-type: application/json\r\n\r\n{}\r\n---", json(&Part::of(answer))),
    alive: "\r\ncontent-type: application/json\r\n\r\n{}\r\n---",
    end: "--\r\n",
};

fn json(value: &impl Serialize) -> String {
    // Nothing that is told can fail to be JSON.
    serde_json::to_string(value).unwrap_or_default()
}

/// What a part of a multipart body holds, unless it is a sign of life.
#[derive(Serialize)]
#[serde(untagged)]
enum Part<'a> {
    /// An answer, with the errors of its fields in it.
    Next { payload: Wire<'a> },
    /// What ends the stream: `payload` is null.
    Refused { payload: (), errors: &'a [ServerError] },
}

impl Part<'_> {
    fn of(answer: &Told) -> Part<'_> {
        if execute::is_request_error(answer) {
            return Part::Refused { payload: (), errors: &answer.errors };
        }
        Part::Next { payload: Wire(answer) }
    }
}

impl Form {
    fn write(self, server: &Server, answers: impl Stream<Item = Answer> + Send + 'static) -> Response {
        let text = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
        let answers = answers.map(move |answer| Some(answer.share.with((self.each)(&answer.response).into_bytes())));
        let alive = stream::repeat(()).then(|()| sleep(ALIVE)).map(move |()| text(self.alive));
        // The signs of life would go on for ever: the end of the answers is theirs too.
        let parts = stream::select(answers.chain(stream::iter([None])), alive).take_while(|part| ready(part.is_some()));
        let parts = stream::iter([text(self.begin)]).chain(parts).chain(stream::iter([text(self.end)])).filter_map(ready);
        let mut shutdown = server.shutdown.clone();
        let parts = parts.take_until(async move { stopped(&mut shutdown).await }).map(Ok::<_, Infallible>);
        ([(header::CONTENT_TYPE, self.media)], UNHELD, Body::from_stream(parts)).into_response()
    }

    /// Answers with a stream, which keeps its client's place among the connections until it ends.
    pub fn run(self, server: &Server, slot: NetworkSlot, answers: impl Stream<Item = Answer> + Send + 'static) -> Response {
        self.write(
            server,
            answers.map(move |answer| {
                let _kept = &slot;
                answer
            }),
        )
    }
}

/// A refusal as events, since who listens for them can't see a status.
pub fn refusal(server: &Server, answer: Answer) -> Response {
    EVENTS.write(server, stream::iter([answer]))
}
