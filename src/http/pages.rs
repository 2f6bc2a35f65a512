//! The few pages that people open in a browser: what this server is, and what the links in its mails lead to.
//!
//! The link pages are the same for everyone. A link's token stands in the fragment, which no server sees; their script sends it
//! with a mutation, once a button is pressed, so that a mail scanner that opens a link changes nothing. Nothing is taken from
//! another host. Absent: sessions and cookies; what the script gets to know is gone when the page is closed.

use super::Server;
use aws_lc_rs::digest;
use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, Uri, header, uri::Authority},
    response::{Html, IntoResponse},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

/// What a page may do: run its own script, ask this server, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'none'; \
     base-uri 'none'; frame-ancestors 'none'";
const SHELL: &str = include_str!("pages/shell.html");
const HOME: &str = include_str!("pages/home.html");
const LINK: &str = include_str!("pages/link.html");
const VERIFY_EMAIL: &str = include_str!("pages/verify-email.html");
const STOP_CHANGE: &str = include_str!("pages/stop-change.html");
const RESET_PASSWORD: &str = include_str!("pages/reset-password.html");
const SIGN_IN: &str = include_str!("pages/sign-in.html");
const INVITATION: &str = include_str!("pages/invitation.html");
const ACCESS_REQUEST: &str = include_str!("pages/access-request.html");
const UNDO_TRANSFER: &str = include_str!("pages/undo-transfer.html");
const MAILBOX_LINK: &str = "<li><a href=\"/mailbox\">/mailbox</a>: the mails that were kept instead of sent</li>";

/// What this server is and how to ask it.
pub async fn home(State(server): State<Server>, uri: Uri, headers: HeaderMap) -> impl IntoResponse {
    let asked = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = asked.or(uri.authority().map(Authority::as_str)).filter(|host| is_plain(host));
    let listen = server.app.config.listen.to_string();
    let secure = headers.get("x-forwarded-proto").is_some_and(|scheme| scheme == "https");
    let mailbox = server.app.mailer.mailbox().map_or("", |_| MAILBOX_LINK);
    let main = HOME.replace("{{host}}", host.unwrap_or(&listen)).replace("{{mailbox}}", mailbox);
    page("Keyholder", &main.replace("{{s}}", if secure { "s" } else { "" }))
}

/// Where a mail to a new address leads.
pub async fn verify_email() -> impl IntoResponse {
    page("Verify your e-mail address", &LINK.replace("{{forms}}", VERIFY_EMAIL))
}

/// The page of the link that stops a change of address.
pub async fn stop_change() -> impl IntoResponse {
    page("Stop a change of your e-mail address", &LINK.replace("{{forms}}", STOP_CHANGE))
}

/// Where a link to a new password leads.
pub async fn reset_password() -> impl IntoResponse {
    page("Take a new password", &LINK.replace("{{forms}}", RESET_PASSWORD))
}

/// The page of a sign-in link.
pub async fn sign_in() -> impl IntoResponse {
    page("Sign in", &LINK.replace("{{forms}}", SIGN_IN))
}

/// Where an invitation leads.
pub async fn invitation() -> impl IntoResponse {
    page("Invitation", &LINK.replace("{{forms}}", INVITATION))
}

/// Where an agency's request for access leads.
pub async fn access_request() -> impl IntoResponse {
    page("Request for access", &LINK.replace("{{forms}}", ACCESS_REQUEST))
}

/// The page to undo a transfer of ownership.
pub async fn undo_transfer() -> impl IntoResponse {
    page("Undo a transfer of ownership", &LINK.replace("{{forms}}", UNDO_TRANSFER))
}

/// What makes the link pages work.
pub async fn script() -> impl IntoResponse {
    file("text/javascript; charset=utf-8", include_str!("pages/link.js"))
}

/// What all pages look like.
pub async fn style() -> impl IntoResponse {
    file("text/css; charset=utf-8", include_str!("pages/page.css"))
}

/// Whether a host is nothing but a name or an IP address with a port, and so as safe in HTML and in a shell as it is long: it
/// comes from the request, and is pasted into both.
fn is_plain(host: &str) -> bool {
    !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte))
}

/// What names a content, compressed or not, so that who has it need not be sent it again.
pub fn tag(content: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA256, content);
    format!("W/\"{}\"", URL_SAFE_NO_PAD.encode(&digest.as_ref()[..12]))
}

/// Whether who asks has a content of this tag.
pub fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let mut lines = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|line: &HeaderValue| line.to_str().ok());
    lines.any(|line| {
        line.split(',').map(str::trim).any(|known| known == tag || known == "*" || tag.strip_prefix("W/") == Some(known))
    })
}

fn page(title: &str, main: &str) -> impl IntoResponse + use<> {
    let html = SHELL.replace("{{title}}", title).replace("{{main}}", main);
    ([(header::CONTENT_SECURITY_POLICY, POLICY), (header::CACHE_CONTROL, "no-cache")], Html(html))
}

fn file(kind: &'static str, text: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")], text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_shown_only_when_it_is_plain() {
        assert!(["127.0.0.1:8080", "[::1]:8080", "keys.example.com"].into_iter().all(is_plain));
        assert!(!["", "a\"b", "<b>", "a'b", "$(id)", "a b", "user@a"].into_iter().any(is_plain));
    }
}
