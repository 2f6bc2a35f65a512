//! For which host a request is: THREATS 81, and RFC 9112, section 3.2.

use crate::{
    on_both_databases,
    support::{Place, TestApp, raw::Raw, raw::UPGRADE},
};

/// Sends the head of a request, and answers the status.
async fn status(app: &TestApp, head: &str) -> String {
    let mut raw = Raw::open(&app.url).await;
    raw.send(format!("{head}\r\n\r\n")).await;
    let answer = raw.head().await;
    assert!(answer.starts_with("HTTP/1.") && answer.to_lowercase().contains("\r\nx-request-id:"), "{head}: {answer}");
    answer[9..12].to_owned()
}

/// THREATS 81: a site that points a name of its own at this machine reads nothing of a server to develop against, whatever its page
/// asks for, and whether or not a browser says that a page asks.
async fn threat_81_a_name_that_was_pointed_here_reads_nothing(app: &TestApp) {
    app.person("ann@x.example").await;
    for path in [
        "/mailbox.json",
        "/mailbox",
        "/",
        "/graphql?query=%7B__typename%7D",
        "/healthz",
        "/readyz",
        "/graphiql/settings.json",
        "/nothing",
    ] {
        for more in ["", "\r\nOrigin: http://evil.example", "\r\nSec-Fetch-Site: same-origin", "\r\nX-Forwarded-Host: localhost"]
        {
            let head = format!("GET {path} HTTP/1.1\r\nHost: evil.example:8080{more}");
            assert_eq!(status(app, &head).await, "421", "{head}");
        }
    }
    for head in [
        "POST /graphql HTTP/1.1\r\nHost: evil.example\r\nContent-Type: application/json\r\nContent-Length: 0",
        "OPTIONS /graphql HTTP/1.1\r\nHost: evil.example\r\nOrigin: http://evil.example",
        "GET http://evil.example/mailbox.json HTTP/1.1\r\nHost: evil.example",
        "GET /mailbox.json HTTP/1.0\r\nHost: evil.example",
        "GET /mailbox.json HTTP/1.1\r\nHost: localhost.evil.example",
        "GET /mailbox.json HTTP/1.1\r\nHost: 127.0.0.1.evil.example",
        UPGRADE.replace("localhost", "evil.example").trim_end(),
    ] {
        assert_eq!(status(app, head).await, "421", "{head}");
    }
    for host in ["localhost", "LOCALHOST:80", "keyholder.localhost", "127.0.0.1:1", "[::1]"] {
        assert_eq!(status(app, &format!("GET /mailbox.json HTTP/1.1\r\nHost: {host}")).await, "200", "{host}");
    }
    assert_eq!(status(app, UPGRADE.trim_end()).await, "101");
}

/// R5: names that the settings have are this server's own.
async fn r5_dev_hosts_are_answered_to(place: Place) {
    let app = TestApp::start(place, &[("dev_hosts", "Keyholder.test, other.test")]).await;
    for (host, wanted) in [("keyholder.test:8080", "200"), ("OTHER.test", "200"), ("test", "421"), ("a.keyholder.test", "421")] {
        assert_eq!(status(&app, &format!("GET /mailbox.json HTTP/1.1\r\nHost: {host}")).await, wanted, "{host}");
    }
    app.finish().await;
}

/// In every mode a request has one host, and a server for others answers to any.
async fn a_request_without_one_host_is_refused(place: Place) {
    let mail = [("dev", "off"), ("smtp_url", "smtp://127.0.0.1:1"), ("mail_from", "a@x.example")];
    let mut app = TestApp::start(place, &mail).await;
    for (settings, elsewhere) in [(&[][..], "421"), (&mail, "200")] {
        app = app.restart(settings).await;
        for head in [
            "GET /healthz HTTP/1.1",
            "GET /healthz HTTP/1.0",
            "GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost",
            "GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example",
            "GET /healthz HTTP/1.1\r\nHost:",
            "GET /healthz HTTP/1.1\r\nHost: local host",
            "GET /healthz HTTP/1.1\r\nHost: user@localhost",
            "GET /healthz HTTP/1.1\r\nHost: localhost:99999",
            "GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost",
            "GET http://localhost/healthz HTTP/1.1\r\nHost: evil.example",
        ] {
            assert_eq!(status(&app, head).await, "400", "{head}");
        }
        assert_eq!(status(&app, "GET /healthz HTTP/1.1\r\nHost: app.example").await, elsewhere);
        assert_eq!(status(&app, "GET /healthz HTTP/1.0\r\nHost: localhost").await, "200");
    }
    app.finish().await;
}

on_both_databases!(threat_81_a_name_that_was_pointed_here_reads_nothing);
on_both_databases!(on_its_own_servers: r5_dev_hosts_are_answered_to, a_request_without_one_host_is_refused);
