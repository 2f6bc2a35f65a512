//! GraphQL over HTTP (<https://graphql.github.io/graphql-over-http/draft/>): from a request to an operation, and which of its
//! forms the answer takes. Those that go on are in [`streams`].
//!
//! A handler of our own over the executor, since async-graphql's service answers a quarter of the specification's audits
//! wrongly. No batches, no uploads, no compressed bodies. CORS and the time that a client has for its headers are the router's
//! and the listener's.

use super::{
    RequestId, Server,
    client::{self, Peer},
    execute::{self, Answer, Operation, Wire},
    origin,
    params::{Params, object},
    seal::RETRY_AFTER,
    streams,
    unsent::Share,
    ws,
};
use crate::actor::Caller;
use async_graphql::{Response as Told, ServerError, parser::types::OperationType};
use axum::{
    body::{Body, Bytes},
    extract::{Query, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use tokio::time::timeout;

/// How much of a body that is too long is still taken, in bytes.
const MAX_LET_GO: usize = 32 * 1024 * 1024;
/// How often a body is in memory while it is read: once more as it grows, or as the text of its document.
pub const BODY_COPIES: usize = 2;
/// Why a client gets no WebSocket or stream.
pub const NETWORK_FULL: &str = "This client's network has as many connections open as it may. Close some, or try again later.";
const NEEDS_A_STREAM: &str = "A subscription needs Accept: text/event-stream or multipart/mixed;subscriptionSpec=1.0, or a \
                              WebSocket (graphql-transport-ws).";

/// Answers `/graphql`: POST, GET for what changes nothing, and a GET that asks for a WebSocket.
pub async fn handle(State(server): State<Server>, request: Request) -> Response {
    let upgrades = request.headers().get(header::UPGRADE).is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"));
    if upgrades && request.method() == Method::GET {
        return ws::upgrade(server, request).unwrap_or_else(IntoResponse::into_response);
    }
    let (parts, body) = request.into_parts();
    let Some(accept) = Accept::of(&parts.headers) else {
        let types = "Accept must allow application/graphql-response+json, application/json, text/event-stream or \
                     multipart/mixed;subscriptionSpec=1.0.";
        return Refusal(StatusCode::NOT_ACCEPTABLE, types.into()).into_response();
    };
    let has_body = !hyper::body::Body::is_end_stream(&body);
    let mut response = match respond(&server, accept, &parts, body).await {
        Ok(response) => response,
        Err(refusal) => refusal.answer(accept.for_one()),
    };
    // What was refused before its body was read leaves the connection of no more use, as its client has to know.
    if has_body && matches!(response.status().as_u16(), 403 | 405 | 413 | 415) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// A request that can't be understood as one of GraphQL: its status says so, whatever the client accepts.
pub struct Refusal(pub StatusCode, pub Cow<'static, str>);

impl Refusal {
    fn answer(self, media: Media) -> Response {
        let code = if self.0 == StatusCode::SERVICE_UNAVAILABLE { "OVERLOADED" } else { "BAD_REQUEST" };
        write(media, self.0, Told::from_errors(vec![execute::refused(code, self.1)]).into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        self.answer(Media::Json)
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
    let operation = match parts.method {
        // What HEAD answers is what GET would, less the body, which the listener leaves out.
        Method::GET | Method::HEAD => operation(server, QueryString::of(parts)?.params()?)?,
        Method::POST => {
            let body = Received::from(server, &parts.headers, body).await?;
            operation(server, body.params()?)?
        }
        _ => return Ok(not_allowed(accept.for_one(), "Use POST, or GET for a query.", "GET, POST")),
    };
    let operation = match operation {
        Ok(operation) => operation,
        Err(error) => return Ok(refuse(server, accept, error)),
    };
    if parts.method != Method::POST && operation.kind == Some(OperationType::Mutation) {
        return Ok(not_allowed(accept.for_one(), "A mutation needs POST.", "POST"));
    }
    let caller = Caller::of(&server.app, authorization(&parts.headers)).from(client::of(server, parts));
    let id = request_id(parts);
    let media = match (operation.kind, accept.stream) {
        (Some(OperationType::Subscription), None) => return Err(bad_request(NEEDS_A_STREAM)),
        (Some(OperationType::Subscription), Some((_, stream))) => stream,
        // Who asks for events alone gets the one answer as an event.
        _ if accept.one.is_none() || accept.best() == Media::Events => accept.best(),
        _ => accept.for_one(),
    };
    match media {
        Media::Events | Media::Mixed => {
            let slot = server.connections.keep(parts.extensions.get::<Peer>().map(|peer| peer.0), caller.address());
            let slot = slot.ok_or(Refusal(StatusCode::SERVICE_UNAVAILABLE, NETWORK_FULL.into()))?;
            let form = if media == Media::Events { streams::EVENTS } else { streams::MIXED };
            return Ok(form.run(server, slot, execute::answers(server.clone(), caller, id, operation)));
        }
        Media::Json | Media::GraphQl => {}
    }
    let mut answer = execute::answer(server, caller, id, operation).await;
    let headers = std::mem::take(&mut answer.response.http_headers);
    let status = status(media, &answer);
    let mut response = write(media, status, answer);
    response.headers_mut().extend(headers);
    Ok(response)
}

/// The operation that is asked for, or why it is refused.
fn operation(server: &Server, params: Params<'_>) -> Result<Result<Operation, ServerError>, Refusal> {
    if !params.names_a_document() {
        return Err(bad_request("\"query\" must be a document, as a string."));
    }
    Ok(server.operation(params))
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
    /// `multipart/mixed` with `subscriptionSpec=1.0`.
    Mixed,
}

/// What a client accepts: of each sort what it likes best, with its weight; of equals, what it names first.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Accept {
    /// For one answer.
    one: Option<(f32, Media)>,
    /// For answers that follow each other.
    stream: Option<(f32, Media)>,
}

impl Accept {
    /// Reads the header `Accept`; a request without it takes JSON.
    fn of(headers: &HeaderMap) -> Option<Self> {
        if headers.get_all(header::ACCEPT).iter().all(HeaderValue::is_empty) {
            return Some(Self { one: Some((1.0, Media::Json)), stream: None });
        }
        let lines = headers.get_all(header::ACCEPT).iter().filter_map(|line| line.to_str().ok());
        let mut accept = Self::default();
        let ranges: Vec<_> = lines.flat_map(|line| line.split(',')).filter_map(range).collect();
        let refused = |media| ranges.iter().any(|(weight, range)| *range == Range::Of(media) && *weight == 0.0);
        for (weight, range) in &ranges {
            let (weight, media) = match range {
                Range::Of(media) => (*weight, *media),
                Range::Any if refused(Media::Json) => (*weight, Media::GraphQl),
                Range::Any => (*weight, Media::Json),
            };
            let best = if matches!(media, Media::Events | Media::Mixed) { &mut accept.stream } else { &mut accept.one };
            if weight > best.map_or(0.0, |(best, _)| best) {
                *best = Some((weight, media));
            }
        }
        (accept != Self::default()).then_some(accept)
    }

    fn best(self) -> Media {
        match (self.one, self.stream) {
            (Some((one, media)), Some((stream, _))) if one >= stream => media,
            (_, Some((_, media))) | (Some((_, media)), None) => media,
            (None, None) => Media::Json,
        }
    }

    /// What a single answer is written as.
    fn for_one(self) -> Media {
        self.one.map_or(Media::Json, |(_, media)| media)
    }
}

/// What a range of the header names.
#[derive(Clone, Copy, PartialEq)]
enum Range {
    Of(Media),
    Any,
}

/// A range of the header with its weight, if it is of our types.
fn range(text: &str) -> Option<(f32, Range)> {
    let text = text.to_ascii_lowercase();
    let mut parts = text.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default();
    let parameters: Vec<_> = parts.filter_map(|part| part.split_once('=')).collect();
    let parameter = |name| parameters.iter().find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().trim_matches('"'));
    let media = match media {
        "application/*" | "*/*" => Range::Any,
        "application/json" => Range::Of(Media::Json),
        "application/graphql-response+json" => Range::Of(Media::GraphQl),
        "text/event-stream" => Range::Of(Media::Events),
        "multipart/mixed" if parameter("subscriptionspec") == Some("1.0") => Range::Of(Media::Mixed),
        _ => return None,
    };
    Some((parameter("q").map_or(1.0, |q| q.parse().unwrap_or(0.0)), media))
}

/// The same as [`Params`], but for a query string, in which the maps are JSON.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct QueryString {
    query: Option<String>,
    document_id: Option<String>,
    operation_name: Option<String>,
    variables: Option<String>,
    extensions: Option<String>,
}

impl QueryString {
    fn of(parts: &Parts) -> Result<Self, Refusal> {
        let Query(query) = Query::try_from_uri(&parts.uri).map_err(|error| bad_request(error.body_text()))?;
        Ok(query)
    }

    fn params(&self) -> Result<Params<'_>, Refusal> {
        fn json<'a, T: Deserialize<'a>>(name: &str, text: Option<&'a String>) -> Result<Option<T>, Refusal> {
            let parsed = text.map_or(Ok(None), |text| serde_json::from_str::<Option<T>>(text));
            parsed.map_err(|error| bad_request(format!("\"{name}\" must be a JSON object: {error}.")))
        }
        let variables: Option<&RawValue> = json("variables", self.variables.as_ref())?;
        if variables.is_some_and(|variables| !variables.get().starts_with('{')) {
            return Err(bad_request("\"variables\" must be a JSON object."));
        }
        Ok(Params {
            query: self.query.clone(),
            document_id: self.document_id.clone(),
            operation_name: self.operation_name.clone(),
            variables,
            extensions: json("extensions", self.extensions.as_ref())?,
        })
    }
}

/// A body that was received, with its share of the room for requests.
struct Received {
    bytes: Vec<u8>,
    _share: Share,
}

impl Received {
    async fn from(server: &Server, headers: &HeaderMap, body: Body) -> Result<Self, Refusal> {
        if !is_json(headers) {
            let message = "Content-Type must be application/json, in UTF-8 and not compressed.";
            return Err(Refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, message.into()));
        }
        let limits = &server.app.config.limits;
        // Who asks before they send a body, or never sends it, is told as well.
        let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        let too_long = announced.is_some_and(|length| length > limits.body_bytes);
        if too_long && headers.contains_key(header::EXPECT) {
            return Err(longer_than(limits.body_bytes));
        }
        let late = Refusal(StatusCode::REQUEST_TIMEOUT, "The body did not arrive in time.".into());
        let slow = |_| if too_long { longer_than(limits.body_bytes) } else { late };
        timeout(limits.client_timeout, Self::read(server, body)).await.map_err(slow)?
    }

    fn params(&self) -> Result<Params<'_>, Refusal> {
        object(&self.bytes).map_err(|error| bad_request(format!("The body is not a GraphQL request in JSON: {error}.")))
    }

    async fn read(server: &Server, body: Body) -> Result<Self, Refusal> {
        let limit = server.app.config.limits.body_bytes;
        let mut stream = body.into_data_stream();
        let mut share = Share::default();
        let (mut bytes, mut length, mut no_room) = (Vec::new(), 0, false);
        while let Some(chunk) = stream.next().await {
            let chunk: Bytes = chunk.map_err(|_| bad_request("The body broke off."))?;
            length += chunk.len();
            // A connection that is closed while its client still sends would lose the answer; so what is too long, or has no room,
            // is let go by, up to a point.
            if length > limit + MAX_LET_GO {
                break;
            }
            no_room = no_room || !server.requests.grow(&mut share, BODY_COPIES.saturating_mul(length.min(limit)));
            if length > limit || no_room {
                (bytes, share) = Default::default();
            } else {
                bytes.extend_from_slice(&chunk);
            }
        }
        match () {
            () if length > limit => Err(longer_than(limit)),
            () if no_room => Err(Refusal(StatusCode::SERVICE_UNAVAILABLE, execute::overload().message.into())),
            () => Ok(Self { bytes, _share: share }),
        }
    }
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

fn longer_than(limit: usize) -> Refusal {
    Refusal(StatusCode::PAYLOAD_TOO_LARGE, format!("The body has more than {limit} bytes.").into())
}

/// Answers for a document that did not pass.
fn refuse(server: &Server, accept: Accept, error: ServerError) -> Response {
    let answer = Answer::from(Told::from_errors(vec![error]));
    match accept.best() {
        Media::Events => streams::refusal(server, answer),
        _ => write(accept.for_one(), status(accept.for_one(), &answer), answer),
    }
}

fn status(media: Media, answer: &Answer) -> StatusCode {
    if execute::has_code(answer, "OVERLOADED") || execute::has_code(answer, "TIMEOUT") {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    match execute::is_request_error(answer) {
        true if execute::has_code(answer, "INTERNAL") => StatusCode::INTERNAL_SERVER_ERROR,
        true if media == Media::GraphQl => StatusCode::BAD_REQUEST,
        _ => StatusCode::OK,
    }
}

fn write(media: Media, status: StatusCode, answer: Answer) -> Response {
    let media = match media {
        Media::GraphQl => "application/graphql-response+json; charset=utf-8",
        _ => "application/json; charset=utf-8",
    };
    // An answer is one caller's, at one moment: nobody may keep it for another.
    let headers = [(header::CONTENT_TYPE, media), (header::VARY, "Accept"), (header::CACHE_CONTROL, "no-store")];
    match serde_json::to_vec(&Wire(&answer.response)) {
        Ok(body) => {
            let mut response = (status, headers, answer.share.with(body)).into_response();
            if status == StatusCode::SERVICE_UNAVAILABLE {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER));
            }
            response
        }
        Err(error) => {
            tracing::error!(%error, "an answer can't be written as JSON");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
