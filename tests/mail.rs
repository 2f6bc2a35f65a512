//! Mail goes out through SMTP, after the commit, at least once: SPEC U4, E7, THREATS 58, 62.

use crate::{
    on_both_databases,
    support::{
        Place, TestApp, eventually,
        people::{PASSWORD, Person},
        smtp::SmtpServer,
    },
};
use chrono::TimeDelta;
use entity::{
    AccountId, ConnectionId, InvitationId, SessionId, UserId,
    event::{self, EventKind, Subject},
    mail::{self, DeliveryStatus, MailKind},
    user,
};
use sea_orm::{EntityTrait, IntoActiveModel, Iterable};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

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
    let input = json!({ "email": "ann@agency.example", "password": PASSWORD, "name": "Ann <b>Lee</b> & \"Co\"", "accountName": "A: b\u{a0}Bcc" });
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
    assert!(!body.contains("Lee") && !body.contains("Bcc"), "a name says nothing here: {body}");
    owner_invites(&app, &mail.data).await;
    let mail = eventually("the invitation", async || smtp.received().into_iter().find(|mail| mail.to == ["bob@x.example"])).await;
    let (_, html) = mail.data.split_once("text/html").unwrap();
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

/// The person of the story above verifies the address and invites somebody.
async fn owner_invites(app: &TestApp, mail: &str) {
    let owner = app.sign_in("ann@agency.example").await;
    let verify = "mutation($t: String!) { verifyEmail(input: {token: $t}) { user { id } userErrors { code } } }";
    owner.ask(verify, json!({ "t": token_in(mail) })).await.ok();
    owner.plan("PREMIUM").await.ok();
    owner.invite(&["bob@x.example"], "VIEWER").await.ok();
}

/// A text that a user chose: a name, an account's name, a key's, a program's.
const CHOSEN: &str = "zzurgentzz";

/// Signs up with the chosen text wherever a text can be chosen.
async fn phisher<'a>(app: &'a TestApp, email: &str) -> Person<'a> {
    let query = "mutation($i: SignUpInput!) { signUp(input: $i) { user { id } account { id } credentials { accessToken refreshToken } userErrors { code } } }";
    let name = format!("{CHOSEN} call us");
    let input = json!({ "email": email, "password": PASSWORD, "name": name, "accountName": name });
    let body = json!({ "query": query, "variables": { "i": input } });
    let agent = format!("{CHOSEN}/1.0 ({CHOSEN})");
    let reply = app.http.post(format!("{}/graphql", app.url)).header("user-agent", agent).json(&body).send().await.unwrap();
    Person::of(app, email, crate::support::Reply(reply.json().await.unwrap()).payload())
}

/// An event of every kind, with these values.
async fn every_event(app: &TestApp, actor: UserId, subjects: &[(Subject, Uuid)], values: &[String]) -> Vec<event::Model> {
    let at = app.now();
    let of = |kind: EventKind, value: &String| {
        let (_, subject_id) = *subjects.iter().find(|(subject, _)| *subject == kind.subject()).unwrap();
        let (id, before, after) = (app.clock.id(), Some(value.clone()), Some(value.clone()));
        let (actor_id, via_id, api_key_id) = (Some(actor), None, None);
        event::Model { id, kind, at, actor_id, via_id, api_key_id, by_operator: false, subject_id, before, after }
    };
    let events: Vec<_> = EventKind::iter()
        .flat_map(|kind| values.iter().map(move |value| (kind, value)))
        .map(|(kind, value)| of(kind, value))
        .collect();
    let rows = events.iter().cloned().map(IntoActiveModel::into_active_model);
    event::Entity::insert_many(rows).exec_without_returning(app.db.writer()).await.unwrap();
    events
}

/// Every mail to a user that there could be about these events: by kind of mail, whether it has the chosen text.
async fn every_mail(app: &TestApp, to: &Person<'_>, events: &[event::Model]) -> BTreeMap<String, bool> {
    let user = user::Entity::find_by_id(to.id.parse::<UserId>().unwrap()).one(app.reader()).await.unwrap().unwrap();
    let mut seen = BTreeMap::new();
    for event in events {
        for kind in MailKind::iter().filter(|kind| !matches!(kind, MailKind::Invitation | MailKind::AccessRequest)) {
            let version = if kind == MailKind::ResetPassword { user.reset_version } else { user.email_version };
            let mail = mail::Model {
                id: app.clock.id(),
                kind,
                event_id: event.id,
                subject_id: event.subject_id,
                version,
                to_email: user.email.clone(),
                to_email_key: user.email_key.clone(),
                user_id: Some(user.id),
                status: DeliveryStatus::Queued,
                attempts: 0,
                next_at: event.at,
                at: event.at,
                created_at: event.at,
                detail: None,
                mailbox: String::new(),
                sender: None,
            };
            if let Some((letter, _)) = keyholder::mail::compose::compose(app, &mail).await.unwrap() {
                let rendered = letter.render();
                let chosen = [rendered.subject, rendered.text, rendered.html].iter().any(|part| part.contains(CHOSEN));
                *seen.entry(kind.name()).or_default() |= chosen;
            }
        }
    }
    seen
}

/// THREATS 80, I1: no mail to an address that is not verified has a text that a user chose, whatever it tells. Only invitations and
/// requests have, whose sender is somebody else. A new kind of mail or event is tried too.
async fn threat_80_no_chosen_text_to_an_unverified_address(app: &TestApp) {
    let phisher_here = phisher(app, "victim@x.example").await;
    let agency = phisher(app, "agency@x.example").await;
    agency.verify().await.ok();
    agency.plan("PREMIUM").await.ok();
    agency
        .ask("mutation { joinPartnerProgram { userErrors { code } } enableClientAccess { userErrors { code } } }", Value::Null)
        .await
        .ok();
    let client = phisher(app, "client@x.example").await;
    client.verify().await.ok();
    let connection = agency.connect(&client, "VIEWER").await;
    let invitation =
        agency.invite(&["victim@x.example"], "VIEWER").await.payload()["invitations"][0]["id"].as_str().unwrap().to_owned();
    // A user of the agency hears of its connections.
    let join = "mutation($t: String!) { acceptInvitation(input: {token: $t}) { level userErrors { code } } }";
    phisher_here.ask(join, json!({ "t": app.token_to("victim@x.example", "invitation").await })).await.ok();
    let session = phisher_here.ask("{ viewer { sessions { id } } }", Value::Null).await.payload()["sessions"][0]["id"].clone();
    let account = phisher_here.account.parse::<AccountId>().unwrap();
    let user = phisher_here.id.parse::<UserId>().unwrap();
    let subjects = [
        (Subject::Account, account.0),
        (Subject::User, user.0),
        (Subject::Member, user.0),
        (Subject::ApiKey, user.0),
        (Subject::Invitation, invitation.parse::<InvitationId>().unwrap().0),
        (Subject::Connection, connection.parse::<ConnectionId>().unwrap().0),
        (Subject::Session, session.as_str().unwrap().parse::<SessionId>().unwrap().0),
    ];
    let values = [CHOSEN.to_owned(), account.to_string(), user.to_string()];
    let events = every_event(app, user, &subjects, &values).await;
    let unverified = every_mail(app, &phisher_here, &events).await;
    for kind in [
        "verify_email",
        "reset_password",
        "password_changed",
        "new_sign_in",
        "api_key_created",
        "access_revoked",
        "account_closed",
    ] {
        assert!(unverified.contains_key(kind), "{kind} was not written: {unverified:?}");
    }
    assert!(unverified.values().all(|chosen| !chosen), "{unverified:?}");
    // The same with a change of address, to another that is not verified either.
    phisher_here
        .ask("mutation { changeEmail(input: {email: \"other@x.example\"}) { userErrors { code } } }", Value::Null)
        .await
        .ok();
    let changing = every_mail(app, &phisher_here, &events).await;
    assert!(changing.contains_key("verify_email") && changing.values().all(|chosen| !chosen), "{changing:?}");
    // Once the address is verified, the same mails have it, where it helps.
    phisher_here.verify_at("other@x.example").await.ok();
    let verified = every_mail(app, &phisher_here, &events).await;
    for kind in ["access_revoked", "account_closed", "connection_ended", "api_key_created"] {
        assert_eq!(verified.get(kind), Some(&true), "{kind}: {verified:?}");
    }
}

/// THREATS 80, I1: what a stranger with the victim's address can have sent there has none of their words: by signing up, by asking for
/// links, by keys, by new programs, and by closing an account that is called so.
async fn threat_80_what_a_stranger_can_have_sent(app: &TestApp) {
    let stranger = phisher(app, "victim@x.example").await;
    stranger.api_key().await;
    crate::two_factor::protect(&stranger).await;
    app.ask("mutation { requestPasswordReset(input: {email: \"victim@x.example\"}) { accepted } }", Value::Null).await.ok();
    app.advance(TimeDelta::minutes(2));
    stranger.ask("mutation { resendVerification { sent userErrors { code } } }", Value::Null).await.ok();
    let close = "mutation($n: String!) { closeAccount(input: {confirmation: $n}) { accountId userErrors { code message } } }";
    stranger.ask(close, json!({ "n": format!("{CHOSEN} call us") })).await.ok();
    let mails = app.mails_to("victim@x.example").await;
    let kinds: BTreeSet<_> = mails.iter().map(|mail| mail["kind"].as_str().unwrap()).collect();
    for kind in ["verify_email", "api_key_created", "two_factor_changed", "reset_password", "account_closed"] {
        assert!(kinds.contains(kind), "{kind}: {kinds:?}");
    }
    for mail in &mails {
        assert!(!mail.to_string().contains(CHOSEN), "{mail}");
    }
}

on_both_databases!(threat_80_no_chosen_text_to_an_unverified_address, threat_80_what_a_stranger_can_have_sent);
on_both_databases!(on_its_own_servers: e7_through_a_real_mail_server, threat_62_a_stopped_server_loses_no_mail, threat_58_nothing_is_injected);
