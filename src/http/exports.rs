//! An account as a download: a zip of JSON Lines, one file for each sort of thing, which goes out as it is read.
//!
//! Each page is asked of the API itself, as whoever made the link, so that nothing is in the file that they could not read there; a file
//! of what they may not read is left out. Nothing is held meanwhile but a page: who reads slowly holds up their own download alone. What
//! changes meanwhile may or may not be in it. When the right to it ends, so does the download, short.

use super::Server;
use crate::{
    accounts::export,
    actor::Caller,
    error::{Denied, Error},
};
use async_graphql::{Request, ServerError, Value, Variables};
use axum::{
    body::{Body, Bytes},
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::stream;
use std::{
    io::{self, Write},
    mem,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::mpsc;
use zip::{ZipWriter, write::SimpleFileOptions, write::StreamWriter};

/// The parts of the download: a file's name, the list that it is made of, and what is asked of each entry.
const FILES: [(&str, &str, &str); 6] = [
    (
        "users.jsonl",
        "users(first: 100, after: $after)",
        "id level joinedAt suspended twoFactorEnabled user { id name username email }",
    ),
    (
        "invitations.jsonl",
        "invitations(first: 100, after: $after)",
        "id email level message status invitedBy { id name } acceptedBy { id name } createdAt sentAt expiresAt delivery { status at attempts detail }",
    ),
    ("client_connections.jsonl", "clientConnections(first: 20, after: $after)", CONNECTION),
    ("agency_connections.jsonl", "agencyConnections(first: 20, after: $after)", CONNECTION),
    (
        "api_keys.jsonl",
        "apiKeys(first: 100, after: $after)",
        "id name prefix level createdBy { id name } createdAt expiresAt lastUsedAt",
    ),
    (
        "audit_log.jsonl",
        "auditLog(first: 100, after: $after)",
        "id kind at actor { id name } byOperator via { id name } apiKey subject { __typename id } before after summary",
    ),
];
const CONNECTION: &str = "id status agency { id name } client { id name } clientEmail message requestedLevel level requestedBy { id name } \
     decidedBy { id name } createdAt expiresAt decidedAt endedAt users(first: 100) { nodes { level addedAt user { id name } } }";
const ACCOUNT: &str = "{ account { id name status plan createdAt twoFactorRequired partnerProgramJoinedAt clientAccessEnabled \
     owner { id name } billing { company email addressLines country taxId } } }";

/// The pieces that may wait for the reader.
const AHEAD: usize = 2;

/// Why a download ends short: the reader has gone, the right to it has, or something broke.
struct Short(String);

impl<E: std::error::Error> From<E> for Short {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// The download of a link, which is used up by it.
pub async fn download(State(server): State<Server>, Path(token): Path<String>) -> Response {
    // It takes its place among the operations until it ends.
    let Ok(place) = Arc::clone(&server.operations).try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], "The server is busy. Try again in a moment.\n")
            .into_response();
    };
    let (caller, account) = match export::redeem(&server.app, &token).await {
        Ok(Some(found)) => found,
        Ok(None) => return gone(),
        Err(error) => {
            tracing::error!(cause = %error.cause(), "a download could not begin");
            return (StatusCode::SERVICE_UNAVAILABLE, "The download could not begin. Ask for another link in a moment.\n")
                .into_response();
        }
    };
    let (pieces, queue) = mpsc::channel(AHEAD);
    tokio::spawn(async move {
        let _place = place;
        let mut export = Export { server, caller, pieces: pieces.clone(), zip: Zip::default() };
        if let Err(Short(why)) = export.run().await {
            tracing::info!(%why, "a download ended short");
            let _ = pieces.send(Err(io::Error::other("the download ended short"))).await;
        }
    });
    let body = stream::unfold(queue, async |mut queue| Some((queue.recv().await?, queue)));
    let name = format!("attachment; filename=\"{account}.zip\"");
    let headers =
        [(header::CONTENT_TYPE, "application/zip"), (header::CACHE_CONTROL, "no-store"), (header::CONTENT_DISPOSITION, &name)];
    (headers, Body::from_stream(body)).into_response()
}

/// Whoever only looks whether there is something uses nothing up, and learns nothing.
pub async fn looked_at() -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET")]).into_response()
}

fn gone() -> Response {
    (StatusCode::NOT_FOUND, "This link was used, is too old, or never was. Ask for another one with exportAccount.\n")
        .into_response()
}

/// One download under way.
struct Export {
    server: Server,
    caller: Caller,
    pieces: mpsc::Sender<io::Result<Bytes>>,
    zip: Zip,
}

impl Export {
    async fn run(&mut self) -> Result<(), Short> {
        let mut account = self.ask(ACCOUNT, None).await?;
        self.zip.begin("account.jsonl")?;
        self.zip.line(&take(&mut account.data, "account"))?;
        self.send().await?;
        for (name, list, fields) in FILES {
            let query = format!(
                "query($after: String) {{ account {{ page: {list} {{ nodes {{ {fields} }} pageInfo {{ hasNextPage endCursor }} }} }} }}"
            );
            self.file(name, &query).await?;
        }
        self.zip.end()?;
        self.send().await
    }

    async fn file(&mut self, name: &str, query: &str) -> Result<(), Short> {
        let (mut after, mut begun) = (None, false);
        loop {
            let answer = self.ask(query, after).await?;
            let denied = answer.errors.iter().any(is_denied);
            let mut data = answer.data;
            let mut page = take(&mut take(&mut data, "account"), "page");
            if page == Value::Null {
                // What they may not read is left out; a list that stops halfway is none.
                return if denied && !begun { Ok(()) } else { Err(Short(format!("{name} could not be read on"))) };
            }
            if !mem::replace(&mut begun, true) {
                self.zip.begin(name)?;
            }
            if let Value::List(nodes) = take(&mut page, "nodes") {
                nodes.iter().try_for_each(|node| self.zip.line(node))?;
            }
            self.send().await?;
            let mut info = take(&mut page, "pageInfo");
            after = Some(take(&mut info, "endCursor"));
            if take(&mut info, "hasNextPage") != Value::Boolean(true) {
                return Ok(());
            }
        }
    }

    /// Asks the API, as whoever made the link is at this moment. What is denied is null.
    async fn ask(&self, query: &str, after: Option<Value>) -> Result<async_graphql::Response, Short> {
        let variables = Variables::from_value(Value::Object(
            [(async_graphql::Name::new("after"), after.unwrap_or_default())].into_iter().collect(),
        ));
        let caller = self.caller.afresh();
        let may = caller.actor(&self.server.app).await.and_then(|actor| actor.may(export::EXPORT).map(drop));
        may.map_err(|error| Short(error.cause()))?;
        let response = self.server.schema.execute(Request::new(query).variables(variables).data(caller)).await;
        match &response.data {
            Value::Null => Err(Short(response.errors.first().map(|error| error.message.clone()).unwrap_or_default())),
            _ => Ok(response),
        }
    }

    /// Hands on what is finished, and waits while the reader has enough.
    async fn send(&mut self) -> Result<(), Short> {
        let piece = self.zip.finished();
        if piece.is_empty() {
            return Ok(());
        }
        self.pieces.send(Ok(piece.into())).await.map_err(|_| Short("the reader has gone".to_owned()))
    }
}

/// Whether an error says that the field is not for who asks.
fn is_denied(error: &ServerError) -> bool {
    matches!(error.source::<Error>(), Some(Error::Denied(Denied::Forbidden { .. })))
}

/// A field of an object, taken out of it.
fn take(value: &mut Value, field: &str) -> Value {
    match value {
        Value::Object(fields) => fields.get_mut(field).map(mem::take).unwrap_or_default(),
        _ => Value::Null,
    }
}

/// What is written and not yet handed on.
#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A zip that is written from its beginning to its end.
struct Zip {
    buffer: Buffer,
    writer: Option<ZipWriter<StreamWriter<Buffer>>>,
}

impl Default for Zip {
    fn default() -> Self {
        let buffer = Buffer::default();
        Self { writer: Some(ZipWriter::new_stream(buffer.clone())), buffer }
    }
}

impl Zip {
    fn writer(&mut self) -> io::Result<&mut ZipWriter<StreamWriter<Buffer>>> {
        self.writer.as_mut().ok_or_else(|| io::Error::other("the zip has ended"))
    }

    fn begin(&mut self, name: &str) -> Result<(), Short> {
        // However long it gets: what is behind it tells its length.
        Ok(self.writer()?.start_file(name, SimpleFileOptions::default().large_file(true))?)
    }

    fn line(&mut self, value: &Value) -> Result<(), Short> {
        let writer = self.writer()?;
        serde_json::to_writer(&mut *writer, value)?;
        Ok(writer.write_all(b"\n")?)
    }

    fn end(&mut self) -> Result<(), Short> {
        if let Some(writer) = self.writer.take() {
            writer.finish()?;
        }
        Ok(())
    }

    fn finished(&self) -> Vec<u8> {
        mem::take(&mut self.buffer.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
