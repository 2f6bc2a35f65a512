//! The edge: routes, request ids, who may call from a browser. GraphQL itself is in [`graphql`], [`ws`] and [`execute`].
//!
//! Nothing here knows an account or a level.

pub mod accept;
pub mod client;
pub mod connections;
pub mod denials;
pub mod execute;
pub mod exports;
pub mod graphiql;
pub mod graphql;
pub mod hosts;
pub mod nulls;
pub mod origin;
pub mod pages;
pub mod params;
pub mod places;
pub mod prescan;
pub mod root;
pub mod seal;
pub mod streams;
pub mod trusted;
pub mod unsent;
pub mod variables;
pub mod weigh;
pub mod ws;

use crate::{app::App, keyring, schema::Api};
use async_graphql::ServerError;
use axum::{
    Json, Router,
    extract::{Query, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{Html, IntoResponse, Response},
    routing::{any, get},
};
use serde::Deserialize;
use std::{any::Any, sync::Arc};
use tokio::sync::watch;
use tower_http::{
    catch_panic::CatchPanicLayer,
    compression::{
        CompressionLayer,
        predicate::{NotForContentType, Predicate, SizeAbove},
    },
};

/// Names a request in the log and in what the client sees of a fault.
#[derive(Clone, Debug)]
pub struct RequestId(pub String);

/// What the handlers share.
#[derive(Clone)]
pub struct Server {
    /// The server's parts.
    pub app: App,
    /// The schema.
    pub schema: Api,
    /// The types of its fields, to put nulls where they belong.
    pub nulls: Arc<nulls::Nulls>,
    /// The documents that may be asked.
    pub documents: Arc<trusted::Documents>,
    /// What tells by how much a query is too large.
    pub scales: Arc<weigh::Scales>,
    /// The connections that are open.
    pub connections: Arc<connections::Connections>,
    /// The downloads under way.
    pub downloads: Arc<exports::Downloads>,
    /// The room for long answers on their way.
    pub unsent: Arc<unsent::Unsent>,
    /// The room for long requests until they are answered.
    pub requests: Arc<unsent::Unsent>,
    /// Who GraphiQL can be at a click.
    pub cast: Arc<graphiql::Cast>,
    /// Turns true when the server stops.
    pub shutdown: watch::Receiver<bool>,
}

impl Server {
    /// The operation that a client means, if it may be asked.
    fn operation(&self, params: params::Params<'_>) -> Result<execute::Operation, ServerError> {
        let config = &self.app.config;
        let operation = execute::Operation::new(params, &self.documents, &config.limits)?;
        if !config.introspection && operation.introspects() {
            return Err(execute::bad_request("This server does not tell its schema. See the setting introspection."));
        }
        operation.admitted_to(&self.requests)
    }
}

/// Waits until the server is told to stop.
pub async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    // Nobody left to tell means that it has stopped already.
    let _ = shutdown.wait_for(|stop| *stop).await;
}

const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What a response may do in a browser, unless it says more: nothing.
const NOTHING: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
/// What the smallest answers are not worth compressing under, in bytes.
const COMPRESSED_FROM: u16 = 1024;

/// Everything that is served.
pub fn router(server: Server) -> Router {
    let mut router = probes()
        .route("/verify-email", get(pages::verify_email))
        .route("/stop-change", get(pages::stop_change))
        .route("/reset-password", get(pages::reset_password))
        .route("/sign-in", get(pages::sign_in))
        .route("/invitation", get(pages::invitation))
        .route("/access-request", get(pages::access_request))
        .route("/undo-transfer", get(pages::undo_transfer))
        .route("/link.js", get(pages::script))
        .route("/page.css", get(pages::style))
        .route("/exports/{token}", get(exports::download).head(exports::looked_at))
        .route("/graphql", any(graphql::handle))
        .route("/.well-known/jwks.json", get(jwks));
    router = if server.app.config.graphiql {
        let settings = get(graphiql::settings);
        router
            .route("/", get(graphiql::page))
            .route("/graphiql/settings.json", settings)
            .route("/graphiql/{file}", get(graphiql::file))
    } else {
        router.route("/", get(pages::home))
    };
    if server.app.mailer.mailbox().is_some() {
        router = router.route("/mailbox", get(mailbox_page)).route("/mailbox.json", get(mailbox_json));
    }
    let around = middleware::from_fn_with_state(server.clone(), around);
    // Streams must go out as they come.
    let compressed = SizeAbove::new(COMPRESSED_FROM)
        .and(NotForContentType::new("application/zip"))
        .and(NotForContentType::new("text/event-stream"))
        .and(NotForContentType::new("multipart/mixed"));
    router
        .fallback(|| async { (StatusCode::NOT_FOUND, "There is nothing here. GraphQL is at /graphql.\n") })
        .layer(CompressionLayer::new().compress_when(compressed))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(around)
        .with_state(server)
}

/// What is served on connections beyond the limit: the probes of who watches the server, and to everybody else why not.
pub fn reserve(server: Server) -> Router {
    let around = middleware::from_fn_with_state(server.clone(), around);
    let full = "The server, or this client's network, has as many connections open as it may. Try again in a moment.\n";
    probes()
        .fallback(move || async move { (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], full) })
        .layer(CatchPanicLayer::custom(panicked))
        .layer(around)
        .with_state(server)
}

/// What those ask who watch the server.
fn probes() -> Router<Server> {
    Router::new().route("/healthz", get(|| async { "ok\n" })).route("/readyz", get(ready))
}

/// An operation's panic is answered where it runs; this is for all else.
fn panicked(_: Box<dyn Any + Send>) -> Response {
    tracing::error!("a request outside GraphQL panicked");
    (StatusCode::INTERNAL_SERVER_ERROR, "Something went wrong on our side.\n").into_response()
}

/// What every request gets: an id, the origins that may call, and headers that keep browsers careful.
async fn around(State(server): State<Server>, mut request: Request, next: Next) -> Response {
    let id = RequestId(server.app.clock.id::<uuid::Uuid>().simple().to_string());
    request.extensions_mut().insert(id.clone());
    let origin = request.headers().get(header::ORIGIN).cloned();
    let allowed = origin.as_ref().filter(|origin| origin::is_named(origin, &server.app.config.allowed_origins)).cloned();
    let preflight = request.method() == axum::http::Method::OPTIONS && origin.is_some();
    let config = &server.app.config;
    let host = hosts::check(request.uri(), request.headers(), config.dev.then_some(config.dev_hosts.as_slice()));
    let mut response = if let Err((status, why)) = host {
        match request.uri().path() {
            "/graphql" => graphql::Refusal(status, why.into()).into_response(),
            _ => (status, why + "\n").into_response(),
        }
    } else if preflight {
        StatusCode::NO_CONTENT.into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    if let Some(origin) = allowed {
        cross_origin(headers, origin, preflight);
    }
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(OPENER_POLICY, HeaderValue::from_static("same-origin"));
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(NOTHING);
    if let Ok(id) = HeaderValue::from_str(&id.0) {
        headers.insert(REQUEST_ID, id);
    }
    response
}

/// Lets pages of an origin that the settings name read the answer.
fn cross_origin(headers: &mut HeaderMap, origin: HeaderValue, preflight: bool) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("x-request-id, retry-after"));
    if preflight {
        // The latter two are Apollo's clients' own.
        let sent = "authorization, content-type, apollographql-client-name, apollographql-client-version";
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(sent));
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    }
}

/// Whether requests can be served: the database answers, and is up to date.
async fn ready(State(server): State<Server>) -> Response {
    match migration::missing(server.app.reader()).await {
        Ok(missing) if missing.is_empty() => "ready\n".into_response(),
        Ok(_) => (StatusCode::SERVICE_UNAVAILABLE, "the database is not migrated\n").into_response(),
        Err(error) => {
            tracing::warn!(%error, "not ready");
            (StatusCode::SERVICE_UNAVAILABLE, "the database does not answer\n").into_response()
        }
    }
}

async fn jwks(State(server): State<Server>) -> impl IntoResponse {
    ([(header::CACHE_CONTROL, format!("public, max-age={}", keyring::PUBLIC_FOR))], Json(server.app.keys.jwks()))
}

/// The mailbox's page has its style in it, and each mail in a frame that may run nothing and load nothing.
const MAILBOX_POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

#[derive(Deserialize)]
struct MailFilter {
    to: Option<String>,
}

async fn mailbox_page(State(server): State<Server>, Query(filter): Query<MailFilter>) -> Response {
    let page = server.app.mailer.mailbox().map(|mailbox| mailbox.page(filter.to.as_deref()));
    let policy = [(header::CONTENT_SECURITY_POLICY, MAILBOX_POLICY)];
    page.map_or_else(|| StatusCode::NOT_FOUND.into_response(), |page| (policy, Html(page)).into_response())
}

async fn mailbox_json(State(server): State<Server>, Query(filter): Query<MailFilter>) -> Response {
    let json = server.app.mailer.mailbox().map(|mailbox| mailbox.json(filter.to.as_deref()));
    json.map_or_else(
        || StatusCode::NOT_FOUND.into_response(),
        |json| ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
    )
}
