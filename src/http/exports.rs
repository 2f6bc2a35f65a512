//! An account as a download: a zip of JSON Lines, one file for each sort of thing, which goes out as it is read.
//!
//! Each page is asked of the API itself, as whoever made the link, so that nothing is in the file that they could not read there; a file
//! of what they may not read is left out. Nothing is held meanwhile but a page: who reads slowly holds up their own download alone,
//! and who takes nothing for long, or too little over time, is cut off. What changes meanwhile may or may not be in it. When the right to it ends, or something
//! breaks, so does the download, short: what has ended well is complete.

mod limits;

pub use limits::Downloads;

use super::{Server, client};
use crate::{
    accounts::export,
    actor::Caller,
    error::{Denied, Error},
    events::security::NewSecurityEvent,
    network::Network,
};
use async_graphql::{Name, PathSegment, Request, ServerError, Value, Variables};
use axum::{
    body::{Body, Bytes},
    extract::{Path, State},
    http::{StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use entity::security_event::{SecurityEventKind, SecurityOutcome};
use futures_util::stream;
use limits::Pace;
use std::{
    io::{self, Write},
    mem,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{sync::mpsc, time::timeout};
use zip::{ZipWriter, write::SimpleFileOptions, write::StreamWriter};

/// The parts of the download: a file's name, the list that it is made of, and what is asked of each entry.
const FILES: [(&str, &str, &str); 6] = [
    ("users.jsonl", "users", "id level joinedAt suspended twoFactorEnabled user { id name username email }"),
    (
        "invitations.jsonl",
        "invitations",
        "id email level message status invitedBy { id name } acceptedBy { id name } createdAt sentAt expiresAt delivery { status at attempts detail }",
    ),
    ("client_connections.jsonl", "clientConnections", CONNECTION),
    ("agency_connections.jsonl", "agencyConnections", CONNECTION),
    ("api_keys.jsonl", "apiKeys", "id name prefix level createdBy { id name } createdAt expiresAt lastUsedAt"),
    (
        "audit_log.jsonl",
        "auditLog",
        "id kind at actor { id name } byOperator via { id name } apiKey subject { __typename id } before after summary",
    ),
];
const CONNECTION: &str = "id status agency { id name } client { id name } clientEmail message requestedLevel level requestedBy { id name } \
     decidedBy { id name } createdAt expiresAt decidedAt endedAt users { ...places }";
/// The people of a connection, of which there may be more than a page.
const PLACES: &str =
    "fragment places on ConnectionUserConnection { nodes { level addedAt user { id name } } pageInfo { hasNextPage endCursor } }";
const ACCOUNT: &str = "{ account { id name status plan createdAt twoFactorRequired partnerProgramJoinedAt clientAccessEnabled \
     owner { id name } billing { company email addressLines country taxId } } }";

/// The entries of a page, unless an operation may not cost as much: then fewer.
const PAGE: i32 = 100;
/// The pieces that may wait for the reader.
const AHEAD: usize = 2;
/// The longest that a reader may take nothing, or that a page may wait for its turn.
const PATIENCE: Duration = Duration::from_secs(30);
/// What goes to the body.
enum Piece {
    Bytes(Bytes),
    /// All of it was there. A body that ends without has ended short.
    End,
}

impl Piece {
    fn len(&self) -> usize {
        if let Self::Bytes(bytes) = self { bytes.len() } else { 0 }
    }
}

/// Why a download ends short: the reader has gone, the right to it has, or something broke.
struct Short(String);

impl<E: std::error::Error> From<E> for Short {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// The download of a link, which is used up by it.
pub async fn download(State(server): State<Server>, Path(token): Path<String>, parts: Parts) -> Response {
    let broken = |error: Error| {
        tracing::error!(cause = %error.cause(), "a download could not begin");
        busy("The download could not begin. Try again in a moment.\n")
    };
    let link = match export::find(&server.app, &token).await {
        Ok(Some(link)) => link,
        Ok(None) => return gone(),
        Err(error) => return broken(error),
    };
    let network = client::of(&server, &parts).address.map(Network::containing);
    let Some(running) = server.downloads.begin(link.account, link.user, network) else {
        return busy("As many downloads are under way as there may be. Try again when one has ended: the link still works.\n");
    };
    match link.use_up(&server.app).await {
        Ok(true) => {}
        Ok(false) => return gone(),
        Err(error) => return broken(error),
    }
    note_fetch(&server, &link, &parts);
    let name = format!("attachment; filename=\"{}.zip\"", link.account);
    let (pieces, queue) = mpsc::channel(AHEAD);
    tokio::spawn(async move {
        let _running = running;
        let pace = Pace::new(server.app.now());
        let mut export = Export { server, caller: link.caller, pieces, zip: Zip::default(), pace };
        if let Err(Short(why)) = export.run().await {
            tracing::info!(%why, "a download ended short");
        }
    });
    let body = stream::unfold(Some(queue), async |queue| {
        let mut queue = queue?;
        match queue.recv().await {
            Some(Piece::Bytes(bytes)) => Some((Ok(bytes), Some(queue))),
            Some(Piece::End) => None,
            None => Some((Err(io::Error::other("the download ended short")), None)),
        }
    });
    let headers =
        [(header::CONTENT_TYPE, "application/zip"), (header::CACHE_CONTROL, "no-store"), (header::CONTENT_DISPOSITION, &name)];
    (headers, Body::from_stream(body)).into_response()
}

/// Records who made the link, and from where the download is fetched: a link works for whoever has it.
fn note_fetch(server: &Server, link: &export::Link, request: &Parts) {
    if let Some(pass) = link.caller.known() {
        let fetched = NewSecurityEvent::new(SecurityEventKind::ExportDownloaded, SecurityOutcome::Success).by_pass(pass);
        server.app.security.record(fetched, &client::of(server, request));
    }
}

fn busy(why: &'static str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], why).into_response()
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
    pieces: mpsc::Sender<Piece>,
    zip: Zip,
    pace: Pace,
}

impl Export {
    async fn run(&mut self) -> Result<(), Short> {
        let mut account = self.ask(ACCOUNT, &[]).await?;
        self.zip.begin("account.jsonl")?;
        self.zip.line(&whole(take(&mut account.data, "account"), "account")?)?;
        self.send().await?;
        for (name, list, fields) in FILES {
            self.file(name, list, fields).await?;
        }
        self.zip.end()?;
        self.send().await?;
        self.hand_on(Piece::End).await
    }

    async fn file(&mut self, name: &str, list: &str, fields: &str) -> Result<(), Short> {
        let fragment = if fields.contains("...places") { PLACES } else { "" };
        let query = format!(
            "query($first: Int!, $after: String) {{ account {{ page: {list}(first: $first, after: $after) {{ nodes {{ {fields} }} pageInfo {{ hasNextPage endCursor }} }} }} }} {fragment}"
        );
        let (mut after, mut begun, mut first) = (Value::Null, false, PAGE);
        loop {
            let answer = match self.ask(&query, &[("first", first.into()), ("after", after.clone())]).await {
                // Smaller pages cost less.
                Err(_) if !begun && first > 1 => {
                    first /= 2;
                    continue;
                }
                answer => answer?,
            };
            let denied = answer.errors.iter().any(|error| error.path == [segment("account"), segment("page")]);
            let mut data = answer.data;
            let page = take(&mut take(&mut data, "account"), "page");
            if denied && !begun {
                return Ok(()); // What they may not read is left out; a list that stops halfway is none.
            }
            let mut page = whole(page, name)?;
            if !mem::replace(&mut begun, true) {
                self.zip.begin(name)?;
            }
            if let Value::List(nodes) = take(&mut page, "nodes") {
                for mut node in nodes {
                    self.complete(&mut node).await?;
                    self.zip.line(&node)?;
                }
            }
            self.send().await?;
            match next_page(&mut page) {
                Some(cursor) => after = cursor,
                None => return Ok(()),
            }
        }
    }

    /// Reads the rest of a connection's people, if they are more than a page.
    async fn complete(&self, connection: &mut Value) -> Result<(), Short> {
        const MORE: &str = "query($id: ID!, $after: String) { node(id: $id) { ... on ClientConnection { users(first: 100, after: $after) { ...places } } } }";
        let Value::Object(fields) = connection else { return Ok(()) };
        let (Some(id), Some(users)) = (fields.get("id").cloned(), fields.get_mut("users")) else { return Ok(()) };
        let mut cursor = next_page(users);
        while let Some(after) = cursor {
            let mut more = self.ask(&format!("{MORE} {PLACES}"), &[("id", id.clone()), ("after", after)]).await?;
            let mut page = whole(take(&mut take(&mut more.data, "node"), "users"), "a connection's users")?;
            if let (Value::Object(users), Value::List(more)) = (&mut *users, take(&mut page, "nodes"))
                && let Some(Value::List(nodes)) = users.get_mut("nodes")
            {
                nodes.extend(more);
            }
            cursor = next_page(&mut page);
        }
        if let Value::Object(users) = users {
            users.shift_remove("pageInfo");
        }
        Ok(())
    }

    /// Asks the API, as whoever made the link is at this moment. What is denied is null; whatever else goes wrong ends it.
    async fn ask(&self, query: &str, variables: &[(&str, Value)]) -> Result<async_graphql::Response, Short> {
        let variables = variables.iter().map(|(name, value)| (Name::new(name), value.clone())).collect();
        let caller = self.caller.afresh();
        let may = caller.actor(&self.server.app).await.and_then(|actor| actor.may(export::EXPORT).map(drop));
        may.map_err(|error| Short(error.cause()))?;
        let _turn = timeout(PATIENCE, self.server.app.turns.take(&caller.taker())).await?;
        let request = Request::new(query).variables(Variables::from_value(Value::Object(variables))).data(caller);
        let response = self.server.schema.execute(request).await;
        match response.errors.iter().find(|error| !is_denied(error)) {
            Some(error) => Err(Short(error.message.clone())),
            None => Ok(response),
        }
    }

    /// Hands on what is finished, and waits while the reader has enough.
    async fn send(&mut self) -> Result<(), Short> {
        let piece = self.zip.finished();
        if piece.is_empty() { Ok(()) } else { self.hand_on(Piece::Bytes(piece.into())).await }
    }

    async fn hand_on(&mut self, piece: Piece) -> Result<(), Short> {
        let (bytes, since) = (piece.len(), self.server.app.now());
        timeout(PATIENCE, self.pieces.send(piece)).await?.map_err(|_| Short("the reader has gone".to_owned()))?;
        let now = self.server.app.now();
        self.pace.note(bytes, now - since, now).map_err(|why| Short(why.to_owned()))
    }
}

/// Whether an error says that the field is not for who asks.
fn is_denied(error: &ServerError) -> bool {
    matches!(error.source::<Error>(), Some(Error::Denied(Denied::Forbidden { .. })))
}

fn segment(name: &str) -> PathSegment {
    PathSegment::Field(name.to_owned())
}

/// What has to be there.
fn whole(value: Value, what: &str) -> Result<Value, Short> {
    if value == Value::Null { Err(Short(format!("{what} could not be read"))) } else { Ok(value) }
}

/// The cursor of a page, if there is another one behind it.
fn next_page(page: &mut Value) -> Option<Value> {
    let mut info = take(page, "pageInfo");
    let more = take(&mut info, "hasNextPage") == Value::Boolean(true);
    more.then(|| take(&mut info, "endCursor"))
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
