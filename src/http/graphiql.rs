//! GraphiQL, where the settings have it: the files that `graphiql/` builds, which are part of the binary and take nothing from
//! another host, and what the page has to know of this server.
//!
//! The files are kept compressed, as nearly every browser wants them. Their tags let a browser ask whether they changed.

use super::{Server, pages};
use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use flate2::read::GzDecoder;
use serde::Serialize;
use std::{io::Read, sync::LazyLock};

/// What the page may do: run its own scripts, ask this server, and nothing else. The editor writes its own styles.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; worker-src 'self'; \
     font-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'";

macro_rules! file {
    ($name:literal, $kind:literal) => {
        ($name, $kind, include_bytes!(concat!("../../graphiql/dist/", $name, ".gz")))
    };
}

/// What the build wrote: names, types and compressed bytes.
const BUILT: [(&str, &str, &[u8]); 6] = [
    file!("index.html", "text/html; charset=utf-8"),
    file!("graphiql.js", "text/javascript; charset=utf-8"),
    file!("graphiql.css", "text/css; charset=utf-8"),
    file!("worker.js", "text/javascript; charset=utf-8"),
    file!("codicon.ttf", "font/ttf"),
    file!("LICENSES.txt", "text/plain; charset=utf-8"),
];

struct File {
    name: &'static str,
    kind: &'static str,
    compressed: &'static [u8],
    tag: String,
}

static FILES: LazyLock<Vec<File>> = LazyLock::new(|| {
    let file = |(name, kind, compressed)| File { name, kind, compressed, tag: pages::tag(compressed) };
    BUILT.into_iter().map(file).collect()
});

/// Who the page can be at a click, in the demo.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Cast {
    /// The people.
    pub people: Vec<Person>,
    /// The password that they share.
    pub password: Option<&'static str>,
}

/// One of them.
#[derive(Clone, Debug, Serialize)]
pub struct Person {
    /// Their name.
    pub name: &'static str,
    /// Their address.
    pub login: &'static str,
    /// Their level, as the API names it.
    pub level: String,
    /// The account in which they have it.
    pub account: &'static str,
}

#[derive(Serialize)]
struct Settings<'a> {
    dev: bool,
    #[serde(flatten)]
    cast: &'a Cast,
}

/// What the page has to know of this server.
pub async fn settings(State(server): State<Server>) -> Response {
    let settings = Settings { dev: server.app.config.dev, cast: &server.cast };
    ([(header::CACHE_CONTROL, "no-store")], Json(settings)).into_response()
}

/// The page.
pub async fn page(headers: HeaderMap) -> Response {
    serve("index.html", &headers)
}

/// What the page loads.
pub async fn file(Path(name): Path<String>, headers: HeaderMap) -> Response {
    serve(&name, &headers)
}

fn serve(name: &str, headers: &HeaderMap) -> Response {
    let Some(file) = FILES.iter().find(|file| file.name == name) else { return StatusCode::NOT_FOUND.into_response() };
    let about = [
        (header::CONTENT_TYPE, file.kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-cache"),
        (header::VARY, "Accept-Encoding"),
        (header::ETAG, &file.tag),
    ];
    if pages::is_known(headers, &file.tag) {
        return (StatusCode::NOT_MODIFIED, about).into_response();
    }
    if takes_gzip(headers) {
        return (about, [(header::CONTENT_ENCODING, "gzip")], file.compressed).into_response();
    }
    let mut plain = Vec::new();
    match GzDecoder::new(file.compressed).read_to_end(&mut plain) {
        Ok(_) => (about, plain).into_response(),
        Err(error) => {
            tracing::error!(%error, name, "a built file is damaged");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|line: &HeaderValue| line.to_str().ok());
    lines.any(|line| {
        line.split(',').any(|range| {
            let mut parts = range.split(';').map(str::trim);
            let named = matches!(parts.next(), Some("gzip" | "*"));
            named && parts.next().is_none_or(|q| q.trim_start_matches("q=").parse::<f32>().is_ok_and(|q| q > 0.0))
        })
    })
}
