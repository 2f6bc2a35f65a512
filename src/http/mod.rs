//! The edge: routes, request ids, who may call from a browser. GraphQL itself is in [`graphql`], [`ws`] and [`execute`].
//!
//! Nothing here knows an account or a level.

pub mod accept;
pub mod execute;
pub mod graphql;
pub mod nulls;
pub mod origin;
pub mod pages;
pub mod prescan;
pub mod root;
pub mod seal;
pub mod ws;

use crate::{app::App, schema::Api};
use axum::{
    Json, Router,
    extract::{Query, Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{Html, IntoResponse, Response},
    routing::{any, get},
};
use serde::Deserialize;
use std::sync::Arc;
use tokio::sync::watch;

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
    /// Turns true when the server stops.
    pub shutdown: watch::Receiver<bool>,
}

/// Waits until the server is told to stop.
pub async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    // Nobody left to tell means that it has stopped already.
    let _ = shutdown.wait_for(|stop| *stop).await;
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Everything that is served.
pub fn router(server: Server) -> Router {
    let mut router = Router::new()
        .route("/", get(pages::home))
        .route("/verify-email", get(pages::verify_email))
        .route("/invitation", get(pages::invitation))
        .route("/access-request", get(pages::access_request))
        .route("/link.js", get(pages::script))
        .route("/page.css", get(pages::style))
        .route("/graphql", any(graphql::handle))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/.well-known/jwks.json", get(jwks));
    if server.app.mailer.mailbox().is_some() {
        router = router.route("/mailbox", get(mailbox_page)).route("/mailbox.json", get(mailbox_json));
    }
    let layer = middleware::from_fn_with_state(server.clone(), around);
    router
        .fallback(|| async { (StatusCode::NOT_FOUND, "There is nothing here. GraphQL is at /graphql.\n") })
        .layer(layer)
        .with_state(server)
}

/// What every request gets: an id, the origins that may call, and headers that keep browsers careful.
async fn around(State(server): State<Server>, mut request: Request, next: Next) -> Response {
    let id = RequestId(server.app.clock.id::<uuid::Uuid>().simple().to_string());
    request.extensions_mut().insert(id.clone());
    let origin = request.headers().get(header::ORIGIN).cloned();
    let allowed = origin.as_ref().filter(|origin| origin::is_named(origin, &server.app.config.allowed_origins)).cloned();
    let preflight = request.method() == axum::http::Method::OPTIONS && origin.is_some();
    let mut response = if preflight { StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
    let headers = response.headers_mut();
    if let Some(origin) = allowed {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("x-request-id"));
        if preflight {
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("authorization, content-type"));
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
        }
    }
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    if let Ok(id) = HeaderValue::from_str(&id.0) {
        headers.insert(REQUEST_ID, id);
    }
    response
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
    ([(header::CACHE_CONTROL, "public, max-age=300")], Json(server.app.keys.jwks()))
}

#[derive(Deserialize)]
struct MailFilter {
    to: Option<String>,
}

async fn mailbox_page(State(server): State<Server>, Query(filter): Query<MailFilter>) -> Response {
    let page = server.app.mailer.mailbox().map(|mailbox| mailbox.page(filter.to.as_deref()));
    page.map_or_else(|| StatusCode::NOT_FOUND.into_response(), |page| Html(page).into_response())
}

async fn mailbox_json(State(server): State<Server>, Query(filter): Query<MailFilter>) -> Response {
    let json = server.app.mailer.mailbox().map(|mailbox| mailbox.json(filter.to.as_deref()));
    json.map_or_else(
        || StatusCode::NOT_FOUND.into_response(),
        |json| ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
    )
}
