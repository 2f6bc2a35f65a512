//! GraphQL over HTTP (<https://graphql.github.io/graphql-over-http/draft/>) and, for `Accept: text/event-stream`,
//! GraphQL over SSE in distinct-connections mode (<https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md>).
//!
//! A handler of our own over the executor, since async-graphql's service answers a quarter of the specification's audits
//! wrongly. No batches, no uploads, no multipart/mixed, no persisted documents, no compressed bodies. CORS and the time
//! that a client has for its headers are the router's and the listener's.

use super::{
    RequestId, Server,
    execute::{self, Operation, Params, Wire},
    origin,
    seal::RETRY_AFTER,
    ws,
};
use crate::actor::Caller;
use async_graphql::{Response as Answer, ServerError, parser::types::OperationType};
use axum::{
    body::{Body, Bytes},
    extract::{Query, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::{Stream, StreamExt, stream};
use serde::Deserialize;
use std::{borrow::Cow, convert::Infallible};
use tokio::time::timeout;

/// The longest body that is read.
const MAX_BODY: usize = 1024 * 1024;

/// Answers `/graphql`: POST, GET for what changes nothing, and a GET that asks for a WebSocket.
pub async fn handle(State(server): State<Server>, request: Request) -> Response {
    let upgrades = request.headers().get(header::UPGRADE).is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"));
    if upgrades && request.method() == Method::GET {
        return ws::upgrade(server, request).await.unwrap_or_else(|refusal| refusal.answer(Media::Json));
    }
    let (parts, body) = request.into_parts();
    let Some(accept) = Accept::of(&parts.headers) else {
        let types = "Accept must allow application/graphql-response+json, application/json or text/event-stream.";
        return Refusal(StatusCode::NOT_ACCEPTABLE, types.into()).answer(Media::Json);
    };
    match respond(&server, accept, &parts, body).await {
        Ok(response) => response,
        Err(refusal) => refusal.answer(accept.media),
    }
}

/// A request that can't be understood as one of GraphQL: its status says so, whatever the client accepts.
pub struct Refusal(pub StatusCode, pub Cow<'static, str>);

impl Refusal {
    fn answer(self, media: Media) -> Response {
        write(media, self.0, &Answer::from_errors(vec![execute::bad_request(self.1)]))
    }
}

fn bad_request(message: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, message.into())
}

async fn respond(server: &Server, accept: Accept, parts: &Parts, body: Body) -> Result<Response, Refusal> {
    // A page of a foreign site can send credentials only if its person's browser holds them; no such page may use them.
    if origin::has_credentials(&parts.headers) && !origin::is_allowed(parts, &server.app.config.allowed_origins) {
        return Err(Refusal(StatusCode::FORBIDDEN, "This origin may not call. See the setting allowed_origins.".into()));
    }
    let params = match parts.method {
        Method::GET => from_query_string(parts)?,
        Method::POST => from_body(server, &parts.headers, body).await?,
        _ => return Ok(not_allowed(accept.media, "Use POST, or GET for a query.", "GET, POST")),
    };
    if params.query.as_ref().is_none_or(String::is_empty) {
        return Err(bad_request("\"query\" must be a document, as a string."));
    }
    let operation = match Operation::new(params) {
        Ok(operation) => operation,
        Err(error) => return Ok(refuse(accept, error)),
    };
    if parts.method == Method::GET && operation.kind == Some(OperationType::Mutation) {
        return Ok(not_allowed(accept.media, "A mutation needs POST.", "POST"));
    }
    let device = parts.headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
    let caller = Caller::of(&server.app, authorization(&parts.headers)).on(device);
    let id = request_id(parts);
    let subscription = operation.kind == Some(OperationType::Subscription);
    if accept.media == Media::Events || (accept.events && subscription) {
        return Ok(events(server.clone(), caller, id, operation));
    }
    if subscription {
        return Err(bad_request("A subscription needs Accept: text/event-stream, or a WebSocket (graphql-transport-ws)."));
    }
    let mut answer = execute::answer(server, caller, id, operation).await;
    let headers = std::mem::take(&mut answer.http_headers);
    let status = status(accept.media, &answer);
    let mut response = write(accept.media, status, &answer);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER));
    }
    response.headers_mut().extend(headers);
    Ok(response)
}

fn not_allowed(media: Media, message: &'static str, allowed: &'static str) -> Response {
    ([(header::ALLOW, allowed)], Refusal(StatusCode::METHOD_NOT_ALLOWED, message.into()).answer(media)).into_response()
}

/// The id that a layer gave the request.
pub fn request_id(parts: &Parts) -> RequestId {
    parts.extensions.get().cloned().unwrap_or_else(|| RequestId(String::new()))
}

/// The credentials of a request; what is not text can't be any that were given out, but must not pass for none.
fn authorization(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap_or("not text"))
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Media {
    /// `application/json`: 200 whatever happened to a well-formed request.
    Json,
    /// `application/graphql-response+json`: 400 when the request as a whole was refused.
    GraphQl,
    /// `text/event-stream`.
    Events,
}

/// What a client accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Accept {
    /// What it likes best; of equals, what it names first.
    media: Media,
    /// Whether a stream of events is among it, so that a subscription can be answered.
    events: bool,
}

impl Accept {
    /// Reads the header `Accept`; a request without it takes JSON.
    fn of(headers: &HeaderMap) -> Option<Self> {
        if !headers.contains_key(header::ACCEPT) {
            return Some(Self { media: Media::Json, events: false });
        }
        let mut best: Option<(f32, Media)> = None;
        let mut events = false;
        for range in headers.get_all(header::ACCEPT).iter().filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(','))
        {
            let mut parts = range.split(';').map(str::trim);
            let media = match parts.next().unwrap_or_default().to_ascii_lowercase().as_str() {
                "application/json" | "application/*" | "*/*" => Media::Json,
                "application/graphql-response+json" => Media::GraphQl,
                "text/event-stream" => Media::Events,
                _ => continue,
            };
            let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(1.0, |q| q.parse().unwrap_or(0.0));
            events |= media == Media::Events && weight > 0.0;
            if weight > best.map_or(0.0, |(best, _)| best) {
                best = Some((weight, media));
            }
        }
        best.map(|(_, media)| Self { media, events })
    }
}

/// The same as [`Params`], but for a query string, in which the maps are JSON.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct QueryString {
    query: Option<String>,
    operation_name: Option<String>,
    variables: Option<String>,
    extensions: Option<String>,
}

fn from_query_string(parts: &Parts) -> Result<Params, Refusal> {
    fn json<T: for<'de> Deserialize<'de>>(name: &str, text: Option<String>) -> Result<Option<T>, Refusal> {
        let parsed = text.map_or(Ok(None), |text| serde_json::from_str::<Option<T>>(&text));
        parsed.map_err(|error| bad_request(format!("\"{name}\" must be a JSON object: {error}.")))
    }
    let Query(query) = Query::<QueryString>::try_from_uri(&parts.uri).map_err(|error| bad_request(error.body_text()))?;
    Ok(Params {
        query: query.query,
        operation_name: query.operation_name,
        variables: json("variables", query.variables)?,
        extensions: json("extensions", query.extensions)?,
    })
}

async fn from_body(server: &Server, headers: &HeaderMap, body: Body) -> Result<Params, Refusal> {
    if !is_json(headers) {
        let message = "Content-Type must be application/json, in UTF-8 and not compressed.";
        return Err(Refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, message.into()));
    }
    let slow = |_| Refusal(StatusCode::REQUEST_TIMEOUT, "The body did not arrive in time.".into());
    let time = server.app.config.client_timeout.to_std().unwrap_or_default();
    let body = timeout(time, read(body)).await.map_err(slow)??;
    execute::object(&body).map_err(|error| bad_request(format!("The body is not a GraphQL request in JSON: {error}.")))
}

/// Whether the body is plain JSON. No other type will do: a browser sends some of them across sites without asking first.
fn is_json(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map_or(Ok(""), HeaderValue::to_str).unwrap_or("not text").to_ascii_lowercase();
    let content_type = text(header::CONTENT_TYPE);
    let mut parts = content_type.split(';').map(str::trim);
    let json = parts.next() == Some("application/json");
    let utf8 = parts.filter_map(|part| part.strip_prefix("charset=")).all(|charset| charset.trim_matches('"') == "utf-8");
    json && utf8 && matches!(text(header::CONTENT_ENCODING).as_str(), "" | "identity")
}

async fn read(body: Body) -> Result<Vec<u8>, Refusal> {
    let mut stream = body.into_data_stream();
    let mut read = Vec::new();
    while let Some(chunk) = stream.next().await {
        let chunk: Bytes = chunk.map_err(|_| bad_request("The body broke off."))?;
        if read.len() + chunk.len() > MAX_BODY {
            return Err(Refusal(StatusCode::PAYLOAD_TOO_LARGE, format!("The body has more than {MAX_BODY} bytes.").into()));
        }
        read.extend_from_slice(&chunk);
    }
    Ok(read)
}

/// Answers for a document that did not pass: a listener for events gets it as an event, since it can't see a status.
fn refuse(accept: Accept, error: ServerError) -> Response {
    let answer = Answer::from_errors(vec![error]);
    match accept.media {
        Media::Events => sse(stream::iter([next(&answer), complete()])),
        media => write(media, status(media, &answer), &answer),
    }
}

fn status(media: Media, answer: &Answer) -> StatusCode {
    if execute::has_code(answer, "OVERLOADED") {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    match execute::is_request_error(answer) {
        true if execute::has_code(answer, "INTERNAL") => StatusCode::INTERNAL_SERVER_ERROR,
        true if media == Media::GraphQl => StatusCode::BAD_REQUEST,
        _ => StatusCode::OK,
    }
}

fn write(media: Media, status: StatusCode, answer: &Answer) -> Response {
    let media = match media {
        Media::GraphQl => "application/graphql-response+json; charset=utf-8",
        Media::Json | Media::Events => "application/json; charset=utf-8",
    };
    // An answer is one caller's, at one moment: nobody may keep it for another.
    let headers = [(header::CONTENT_TYPE, media), (header::VARY, "Accept"), (header::CACHE_CONTROL, "no-store")];
    match serde_json::to_vec(&Wire(answer)) {
        Ok(body) => (status, headers, body).into_response(),
        Err(error) => {
            tracing::error!(%error, "an answer can't be written as JSON");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// An operation's answers as events. At shutdown they end without `complete`, so that the client comes back.
fn events(server: Server, caller: Caller, id: RequestId, operation: Operation) -> Response {
    let mut shutdown = server.shutdown.clone();
    let stopped = async move { super::stopped(&mut shutdown).await };
    let answers = execute::answers(server, caller, id, operation).map(|answer| next(&answer));
    sse(answers.chain(stream::iter([complete()])).take_until(stopped))
}

fn sse(events: impl Stream<Item = Event> + Send + 'static) -> Response {
    // Proxies hold back what they are not told to pass on.
    ([("x-accel-buffering", "no")], Sse::new(events.map(Ok::<_, Infallible>)).keep_alive(KeepAlive::default())).into_response()
}

fn next(answer: &Answer) -> Event {
    Event::default().event("next").data(serde_json::to_string(&Wire(answer)).unwrap_or_default())
}

fn complete() -> Event {
    Event::default().event("complete").data("")
}
