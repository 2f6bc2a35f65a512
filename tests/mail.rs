//! Mail goes out through SMTP, after the commit, at least once: SPEC U4, E7, THREATS 58, 62.

use crate::{
    on_both_databases,
    support::{Place, TestApp, eventually, people::PASSWORD, smtp::SmtpServer},
};
use chrono::TimeDelta;
use serde_json::{Value, json};

async fn with_smtp(place: Place, smtp: &SmtpServer) -> TestApp {
    let settings = [
        ("dev", "off"),
        ("smtp_url", &*smtp.url()),
        ("mail_from", "Keyholder <no-reply@keyholder.example>"),
        ("plan_changes", "self"),
    ];
    TestApp::start(place, &settings).await
}

/// The token in a mail's text, as a person would find it.
fn token_in(data: &str) -> String {
    let text = data.replace("=\r\n", "").replace("=3D", "=");
    text.split_once("#token=").unwrap().1.chars().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).collect()
}

/// E7, U4: what was asked for is sent; a refusal for now is tried again, one for good is told to who asked.
async fn e7_through_a_real_mail_server(place: Place) {
    let smtp = SmtpServer::start().await;
    let app = with_smtp(place, &smtp).await;
    let owner = app.newcomer("ann@agency.example").await;
    let mail = eventually("the first mail", async || smtp.received().into_iter().next()).await;
    assert_eq!((mail.from.as_str(), mail.to.as_slice()), ("no-reply@keyholder.example", &["ann@agency.example".to_owned()][..]));
    let verify = "mutation($t: String!) { verifyEmail(input: {token: $t}) { user { id } userErrors { code } } }";
    owner.ask(verify, json!({ "t": token_in(&mail.data) })).await.ok();
    owner.plan("PREMIUM").await.ok();
    smtp.refuse("later@x.example", 450, 2);
    smtp.refuse("never@x.example", 550, usize::MAX);
    owner.invite(&["now@x.example", "later@x.example", "never@x.example"], "VIEWER").await.ok();
    let delivery = async |address: &str| {
        let query = "{ account { invitations { nodes { email delivery { status attempts detail } } } } }";
        let list = owner.ask(query, Value::Null).await.payload()["invitations"]["nodes"].clone();
        list.as_array().unwrap().iter().find(|node| node["email"] == address).unwrap()["delivery"].clone()
    };
    let becomes = async |address: &str, status: &str, attempts: i32| {
        eventually(&format!("{address} {status}"), async || {
            let delivery = delivery(address).await;
            (delivery["status"] == status && delivery["attempts"] == attempts).then_some(delivery)
        })
        .await
    };
    assert_eq!(becomes("now@x.example", "SENT", 1).await["detail"], Value::Null);
    assert!(becomes("never@x.example", "FAILED", 1).await["detail"].as_str().unwrap().contains("550"));
    assert!(becomes("later@x.example", "QUEUED", 1).await["detail"].as_str().unwrap().contains("450"));
    // Half a minute later it is tried again, and a minute after that.
    let third = eventually("the third try succeeds", async || {
        app.advance(TimeDelta::seconds(10));
        let delivery = delivery("later@x.example").await;
        (delivery["status"] == "SENT").then_some(delivery)
    })
    .await;
    assert_eq!((&third["attempts"], &third["detail"]), (&json!(3), &Value::Null));
    let sent = smtp.received().iter().filter(|mail| mail.to == ["later@x.example"]).count();
    assert_eq!(sent, 1);
    // Without --dev there is no mailbox, and nothing to look around in.
    assert_eq!(app.http.get(format!("{}/mailbox.json", app.url)).send().await.unwrap().status(), 404);
    assert_eq!(app.ask("{ __schema { types { name } } }", Value::Null).await.0["data"]["__schema"], Value::Null);
    app.finish().await;
}

/// E7, THREATS 62: mail that was committed and not sent when the server stopped goes out from the next one.
async fn threat_62_a_stopped_server_loses_no_mail(place: Place) {
    let smtp = SmtpServer::start().await;
    smtp.refuse("ann@agency.example", 421, 1);
    let app = with_smtp(place, &smtp).await;
    app.newcomer("ann@agency.example").await;
    eventually("it was tried", async || {
        let sql = keyholder::db::Sql::new("SELECT count(*) FROM mails WHERE attempts > 0 AND detail IS NOT NULL");
        (sql.count(app.reader()).await.unwrap() == 1).then_some(())
    })
    .await;
    let settings = [("dev", "off"), ("smtp_url", &*smtp.url()), ("mail_from", "no-reply@keyholder.example")];
    let app = app.restart(&settings).await;
    assert!(smtp.received().is_empty());
    app.advance(TimeDelta::seconds(31));
    eventually("it arrives", async || smtp.received().into_iter().next()).await;
    app.finish().await;
}

/// THREATS 58: nothing that people write injects a header or markup.
async fn threat_58_nothing_is_injected(place: Place) {
    let smtp = SmtpServer::start().await;
    let app = with_smtp(place, &smtp).await;
    let input = json!({ "email": "ann@agency.example", "password": PASSWORD, "name": "Ann <b>Lee</b> & \"Co\"", "accountName": "A: b\u{a0}\u{fe0f}Bcc" });
    let query = "mutation($i: SignUpInput!) { signUp(input: $i) { user { id } account { id } credentials { accessToken refreshToken } userErrors { code } } }";
    app.ask(query, json!({ "i": input })).await.ok();
    let mail = eventually("the mail", async || smtp.received().into_iter().next()).await;
    let (head, body) = mail.data.split_once("\r\n\r\n").unwrap();
    let names: Vec<_> = head
        .lines()
        .filter(|line| !line.starts_with([' ', '\t']))
        .map(|line| line.split(':').next().unwrap().to_ascii_lowercase())
        .collect();
    assert!(!names.contains(&"bcc".to_owned()) && names.contains(&"message-id".to_owned()), "{names:?}");
    let (_, html) = body.split_once("text/html").unwrap();
    assert!(!html.contains("<b>Lee") && html.contains("&lt;b&gt;Lee"), "{html}");
    for name in ["a\r\nBcc: x@x.example", "a\u{0}b", "a\u{2028}b"] {
        let mut input = input.clone();
        input["name"] = json!(name);
        assert_eq!(
            app.ask(query, json!({ "i": input })).await.0["data"]["signUp"]["userErrors"][0]["code"],
            "INVALID",
            "{name:?}"
        );
    }
    app.finish().await;
}

on_both_databases!(on_its_own_servers: e7_through_a_real_mail_server, threat_62_a_stopped_server_loses_no_mail, threat_58_nothing_is_injected);
