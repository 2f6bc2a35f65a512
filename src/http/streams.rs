//! An operation's answers one after the other over plain HTTP: GraphQL over SSE in distinct-connections mode
//! (<https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md>), and the multipart protocol of Apollo's clients
//! (<https://www.apollographql.com/docs/graphos/routing/operations/subscriptions/multipart-protocol>).
//!
//! At shutdown a stream ends without its last word, so that the client comes back. Nothing holds a stream back: no buffer, no
//! compression.

use super::{RequestId, Server, execute, execute::Operation, execute::Wire, stopped};
use crate::actor::Caller;
use async_graphql::{Response as Answer, ServerError};
use axum::{
    body::Body,
    http::header,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::{Stream, StreamExt, stream};
use serde::Serialize;
use std::{convert::Infallible, time::Duration};
use tokio::time::sleep;

/// The time between two signs of life.
const ALIVE: Duration = Duration::from_secs(10);
/// What proxies have to be told, or they hold back what they should pass on; and nobody may keep an answer for another.
const UNHELD: [(&str, &str); 2] = [("x-accel-buffering", "no"), ("cache-control", "no-store")];

/// The answers until the server stops.
fn answers(server: &Server, caller: Caller, id: RequestId, operation: Operation) -> impl Stream<Item = Answer> + Send + 'static {
    execute::answers(server.clone(), caller, id, operation)
}

async fn stop(server: Server) {
    let mut shutdown = server.shutdown;
    stopped(&mut shutdown).await;
}

/// As events: a `next` for each answer, and `complete`.
pub fn events(server: &Server, caller: Caller, id: RequestId, operation: Operation) -> Response {
    let answers = answers(server, caller, id, operation).map(|answer| next(&answer));
    sse(answers.chain(stream::iter([complete()])).take_until(stop(server.clone())))
}

/// A refusal as events, since who listens for them can't see a status.
pub fn refusal(answer: &Answer) -> Response {
    sse(stream::iter([next(answer), complete()]))
}

fn sse(events: impl Stream<Item = Event> + Send + 'static) -> Response {
    let alive = KeepAlive::new().interval(ALIVE);
    (UNHELD, Sse::new(events.map(Ok::<_, Infallible>)).keep_alive(alive)).into_response()
}

fn next(answer: &Answer) -> Event {
    Event::default().event("next").data(serde_json::to_string(&Wire(answer)).unwrap_or_default())
}

fn complete() -> Event {
    Event::default().event("complete").data("")
}

/// What a part of a multipart body holds.
#[derive(Serialize)]
#[serde(untagged)]
enum Part<'a> {
    /// A sign of life.
    Alive {},
    /// An answer, with the errors of its fields in it.
    Next { payload: Wire<'a> },
    /// What ends the stream: `payload` is null.
    Refused { payload: (), errors: &'a [ServerError] },
}

impl Part<'_> {
    fn of(answer: &Answer) -> Part<'_> {
        if execute::is_request_error(answer) {
            return Part::Refused { payload: (), errors: &answer.errors };
        }
        Part::Next { payload: Wire(answer) }
    }

    /// The part with the delimiter behind it: the client takes it for whole only when that has come.
    fn text(&self) -> String {
        let json = serde_json::to_string(self).unwrap_or_default();
        format!("\r\ncontent-type: application/json\r\n\r\n{json}\r\n---")
    }
}

/// As the parts of a multipart body.
pub fn mixed(server: &Server, caller: Caller, id: RequestId, operation: Operation) -> Response {
    let answers = answers(server, caller, id, operation).map(|answer| Some(Part::of(&answer).text()));
    let alive = stream::repeat(()).then(|()| sleep(ALIVE)).map(|()| Some(Part::Alive {}.text()));
    // The first part at once tells the client, and whatever is between, that the stream has begun.
    let begin = stream::iter([Some(format!("\r\n---{}", Part::Alive {}.text()))]);
    // The signs of life would go on for ever: the end of the answers is theirs too.
    let parts = stream::select(answers.chain(stream::iter([None])), alive).take_while(|part| std::future::ready(part.is_some()));
    let parts = begin.chain(parts).chain(stream::iter([Some("--\r\n".to_owned())])).filter_map(std::future::ready);
    let body = Body::from_stream(parts.take_until(stop(server.clone())).map(Ok::<_, Infallible>));
    ([(header::CONTENT_TYPE, "multipart/mixed;boundary=\"-\";subscriptionSpec=1.0")], UNHELD, body).into_response()
}
