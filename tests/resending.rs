//! What becomes of an invitation until it is answered: sent again, taken back, declined, expired: SPEC U1–U5, THREATS 49, 52, 54.

use crate::{
    on_both_databases,
    support::{
        Place, Reply, TestApp, eventually,
        people::{PASSWORD, Person},
    },
};
use chrono::TimeDelta;
use futures_util::future::join_all;
use serde_json::{Value, json};

const RESEND: &str = "mutation($i: ID!, $e: String) { resendInvitation(input: {invitationId: $i, email: $e}) { invitation { id email status sentAt expiresAt invitedBy { name } } userErrors { code field retryAt } } }";
const CANCEL: &str =
    "mutation($i: ID!) { cancelInvitation(input: {invitationId: $i}) { invitation { status } userErrors { code field } } }";
const DECLINE: &str = "mutation($i: AnswerInvitationInput!) { declineInvitation(input: $i) { invitation { status email } userErrors { code field } } }";
const ACCEPT: &str = "mutation($i: AnswerInvitationInput!) { acceptInvitation(input: $i) { level userErrors { code field } } }";
const PREVIEW: &str = "query($t: String!) { invitationByToken(token: $t) { email } }";
const QUOTA: &str = "{ account { invitationQuota { used remaining resetsAt } seats { used reserved } } }";
const SIGN_UP: &str = "mutation($i: SignUpInput!) { signUp(input: $i) { user { id } userErrors { code field } } }";

/// An Owner on Premium.
async fn owner(app: &TestApp) -> Person<'_> {
    let owner = app.person("ann@acme.example").await;
    owner.plan("PREMIUM").await.ok();
    owner
}

async fn invite_one(owner: &Person<'_>, email: &str, level: &str) -> String {
    owner.invite(&[email], level).await.payload()["invitations"][0]["id"].as_str().unwrap().to_owned()
}

async fn quota(owner: &Person<'_>) -> (Value, Value) {
    let account = owner.ask(QUOTA, Value::Null).await.payload().clone();
    (account["invitationQuota"]["used"].clone(), account["seats"]["reserved"].clone())
}

/// U3: the same invitation with a new link and seven new days; the old link is dead; a minute between, five times in a day.
async fn u3_sent_again(app: &TestApp) {
    let owner = owner(app).await;
    let id = invite_one(&owner, "bob@x.example", "AUTHOR").await;
    let first = app.token_to("bob@x.example", "invitation").await;
    let soon = owner.ask(RESEND, json!({ "i": id })).await;
    assert_eq!(soon.user_errors(), ["RESEND_TOO_SOON at invitationId"], "the first e-mail counts for the minute");
    assert!(soon.0["data"]["resendInvitation"]["userErrors"][0]["retryAt"].is_string());
    for n in 1..=5 {
        app.advance(TimeDelta::minutes(1));
        let sent = owner.sign_in().await.ask(RESEND, json!({ "i": id })).await.payload()["invitation"].clone();
        assert_eq!(
            (&sent["id"], &sent["status"], &sent["invitedBy"]["name"]),
            (&json!(id), &json!("PENDING"), &json!("ann")),
            "{n}"
        );
        let until: chrono::DateTime<chrono::Utc> = sent["expiresAt"].as_str().unwrap().parse().unwrap();
        let from: chrono::DateTime<chrono::Utc> = sent["sentAt"].as_str().unwrap().parse().unwrap();
        assert_eq!(until - from, TimeDelta::days(7));
    }
    app.advance(TimeDelta::minutes(2));
    let owner = owner.sign_in().await;
    assert_eq!(
        owner.ask(RESEND, json!({ "i": id })).await.user_errors(),
        ["RESEND_TOO_SOON at invitationId"],
        "the sixth in a day"
    );
    let last = eventually("the last mail", async || {
        let mails = app.mails_to("bob@x.example").await;
        (mails.len() == 6).then(|| mails[0]["token"].as_str().unwrap().to_owned())
    })
    .await;
    assert_eq!(app.ask(PREVIEW, json!({ "t": first })).await.payload(), &Value::Null, "the old link is dead");
    assert_eq!(app.ask(PREVIEW, json!({ "t": last })).await.payload()["email"], "bob@x.example");
    assert_eq!(quota(&owner).await, (json!(1), json!(1)), "no second place of the day, and one seat");
    app.advance(TimeDelta::hours(24));
    let owner = owner.sign_in().await;
    owner.ask(RESEND, json!({ "i": id })).await.ok();
    assert_eq!(owner.log("INVITATION_RESENT").await.len(), 6);
}

/// U1, U3: to another address: one more place of the day, checked as an invitation to it; the Admin that it makes is that address.
async fn u3_to_another_address(place: Place) {
    let app = TestApp::start(place, &[("invitations_per_day", "3")]).await;
    let owner = owner(&app).await;
    let id = invite_one(&owner, "bbo@x.example", "ADMIN").await;
    let mistyped = app.token_to("bbo@x.example", "invitation").await;
    app.advance(TimeDelta::minutes(1));
    let wrong = owner.ask(RESEND, json!({ "i": id, "e": "nonsense" })).await;
    assert_eq!(wrong.user_errors(), ["INVALID at email"]);
    assert_eq!(owner.ask(RESEND, json!({ "i": id, "e": "ann@acme.example" })).await.user_errors(), ["ALREADY_A_USER at email"]);
    let other = invite_one(&owner, "cleo@x.example", "VIEWER").await;
    assert_eq!(owner.ask(RESEND, json!({ "i": id, "e": "CLEO@x.example" })).await.user_errors(), ["ALREADY_INVITED at email"]);
    let sent = owner.ask(RESEND, json!({ "i": id, "e": "bob@x.example" })).await;
    assert_eq!(sent.payload()["invitation"]["email"], "bob@x.example");
    assert_eq!(quota(&owner).await, (json!(3), json!(2)));
    assert_eq!(app.ask(PREVIEW, json!({ "t": mistyped })).await.payload(), &Value::Null);
    app.advance(TimeDelta::minutes(1));
    let full = owner.ask(RESEND, json!({ "i": other, "e": "dora@x.example" })).await;
    assert_eq!(full.user_errors(), ["DAILY_LIMIT_REACHED at email"]);
    assert!(full.0["data"]["resendInvitation"]["userErrors"][0]["retryAt"].is_string());
    owner.ask(RESEND, json!({ "i": other })).await.ok();
    let token = app.token_to("bob@x.example", "invitation").await;
    let sign_up = |email: &str| json!({ "i": { "email": email, "password": PASSWORD, "name": "x", "invitationToken": token } });
    assert_eq!(app.ask(SIGN_UP, sign_up("bbo@x.example")).await.user_errors(), ["INVITED_ADDRESS_REQUIRED at email"]);
    app.ask(SIGN_UP, sign_up("bob@x.example")).await.ok();
    app.finish().await;
}

/// U3, E6, THREATS 54: valid for seven days less a second, though nobody sweeps; an expired one lives again and is checked as a
/// new one: its seat, its twin, whoever is there by now.
async fn threat_54_an_expired_one_lives_again(app: &TestApp) {
    let owner = owner(app).await;
    let id = invite_one(&owner, "bob@x.example", "AUTHOR").await;
    let first = app.token_to("bob@x.example", "invitation").await;
    app.advance(TimeDelta::days(7) - TimeDelta::seconds(1));
    assert_eq!(app.ask(PREVIEW, json!({ "t": first })).await.payload()["email"], "bob@x.example");
    app.advance(TimeDelta::seconds(1));
    assert_eq!(app.ask(PREVIEW, json!({ "t": first })).await.payload(), &Value::Null);
    let sign_up = json!({ "i": { "email": "bob@x.example", "password": PASSWORD, "name": "bob", "invitationToken": first } });
    assert_eq!(app.ask(SIGN_UP, sign_up).await.user_errors(), ["EXPIRED at invitationToken"]);
    let owner = owner.sign_in().await;
    assert_eq!(owner.ask(CANCEL, json!({ "i": id })).await.user_errors(), ["EXPIRED at invitationId"]);
    // A newer twin is in the way.
    let twin = invite_one(&owner, "bob@x.example", "VIEWER").await;
    assert_eq!(owner.ask(RESEND, json!({ "i": id })).await.user_errors(), ["ALREADY_INVITED at invitationId"]);
    owner.ask(CANCEL, json!({ "i": twin })).await.ok();
    // Seats and levels are those of now.
    owner.plan("STANDARD").await.ok();
    let four = ["p1@x.example", "p2@x.example", "p3@x.example", "p4@x.example"];
    owner.invite(&four, "VIEWER").await.ok();
    assert_eq!(owner.ask(RESEND, json!({ "i": id })).await.user_errors(), ["NO_SEATS_LEFT at invitationId"]);
    owner.plan("PREMIUM").await.ok();
    assert_eq!(owner.ask(RESEND, json!({ "i": id })).await.payload()["invitation"]["status"], "PENDING");
    assert_eq!(owner.log("INVITATION_EXPIRED").await.len(), 1, "once");
    let token = app.token_to("bob@x.example", "invitation").await;
    let sign_up = json!({ "i": { "email": "bob@x.example", "password": PASSWORD, "name": "bob", "invitationToken": token } });
    app.ask(SIGN_UP, sign_up).await.ok();
    assert_eq!(owner.ask(RESEND, json!({ "i": id })).await.user_errors(), ["ALREADY_DECIDED at invitationId"]);
}

/// U1, U4: taken back: the link is dead, the seat is free, the place of the day is not; a mail that was not sent yet never is.
async fn u1_taken_back(app: &TestApp) {
    let owner = owner(app).await;
    owner.plan("STANDARD").await.ok();
    let id = invite_one(&owner, "bob@x.example", "VIEWER").await;
    let token = app.token_to("bob@x.example", "invitation").await;
    assert_eq!(quota(&owner).await, (json!(1), json!(1)));
    assert_eq!(owner.ask(CANCEL, json!({ "i": id })).await.payload()["invitation"]["status"], "CANCELED");
    assert_eq!(quota(&owner).await, (json!(1), json!(0)));
    assert_eq!(app.ask(PREVIEW, json!({ "t": token })).await.payload(), &Value::Null);
    for again in [CANCEL, RESEND] {
        assert_eq!(owner.ask(again, json!({ "i": id })).await.user_errors(), ["ALREADY_DECIDED at invitationId"]);
    }
    assert_eq!(app.ask(DECLINE, json!({ "i": { "token": token } })).await.user_errors(), ["ALREADY_DECIDED at token"]);
    assert_eq!(owner.log("INVITATION_CANCELED").await[0]["summary"], "ann took the invitation of bob@x.example back.");
}

/// U2: by the link, which needs no sign-in and ignores a stale one, or as the invited; the inviter is told, and the link is dead.
async fn u2_declined(app: &TestApp) {
    let owner = owner(app).await;
    owner.invite(&["bob@x.example"], "AUTHOR").await.ok();
    let token = app.token_to("bob@x.example", "invitation").await;
    for wrong in [json!({ "token": "nonsense" }), json!({ "token": format!("{token}x") })] {
        assert_eq!(app.ask(DECLINE, json!({ "i": wrong })).await.user_errors(), ["NOT_FOUND at token"]);
    }
    assert_eq!(app.ask(DECLINE, json!({ "i": {} })).await.codes(), ["UNAUTHENTICATED"]);
    let declined = app.ask_as(Some("stale"), DECLINE, json!({ "i": { "token": token } })).await;
    assert_eq!(declined.payload()["invitation"], json!({ "status": "DECLINED", "email": "bob@x.example" }));
    assert_eq!(app.ask(DECLINE, json!({ "i": { "token": token } })).await.user_errors(), ["ALREADY_DECIDED at token"]);
    let mail = app.mails_to("ann@acme.example").await[0].clone();
    assert_eq!(mail["kind"], "invitation_declined");
    assert!(mail["text"].as_str().unwrap().contains("bob@x.example declined your invitation to ann's account"), "{mail}");
    let cleo = app.person("cleo@x.example").await;
    let id = invite_one(&owner, "cleo@x.example", "VIEWER").await;
    let dora = app.person("dora@x.example").await;
    assert_eq!(dora.ask(DECLINE, json!({ "i": { "invitationId": id } })).await.user_errors(), ["NOT_FOUND at invitationId"]);
    assert_eq!(cleo.ask(DECLINE, json!({ "i": { "invitationId": id } })).await.payload()["invitation"]["status"], "DECLINED");
    assert_eq!(cleo.ask(ACCEPT, json!({ "i": { "invitationId": id } })).await.user_errors(), ["ALREADY_DECIDED at invitationId"]);
    assert_eq!(quota(&owner).await, (json!(2), json!(0)));
    let log = owner.log("INVITATION_DECLINED").await;
    assert_eq!((&log[0]["actor"]["id"], &log[1]["actor"]), (&json!(cleo.id), &Value::Null));
}

/// U5, THREATS 49: the inviter may be demoted or gone: the invitation stands, and the plan and seats are looked at when one joins.
async fn threat_49_the_inviter_is_gone(app: &TestApp) {
    let owner = owner(app).await;
    let [demoted, revoked] = [owner.colleague("d@acme.example", "ADMIN").await, owner.colleague("r@acme.example", "ADMIN").await];
    demoted.invite(&["bob@x.example"], "AUTHOR").await.ok();
    revoked.invite(&["cleo@x.example"], "VIEWER").await.ok();
    owner.assign(&demoted.id, "VIEWER").await.ok();
    owner.revoke(&revoked.id).await.ok();
    for email in ["bob@x.example", "cleo@x.example"] {
        let token = app.token_to(email, "invitation").await;
        let sign_up = json!({ "i": { "email": email, "password": PASSWORD, "name": "x", "invitationToken": token } });
        app.ask(SIGN_UP, sign_up).await.ok();
    }
    let users = owner.ask("{ account { users { totalCount } } }", Value::Null).await;
    assert_eq!(users.payload()["users"]["totalCount"], 4);
}

fn done(replies: &[Reply]) -> usize {
    let one = |reply: &&Reply| {
        let payload = reply.0["data"].as_object().unwrap().values().next().unwrap();
        payload["invitations"].as_array().is_some_and(|made| !made.is_empty())
    };
    replies.iter().filter(one).count()
}

/// U1, THREATS 52: ninety-nine at once with one place of the day left: one goes out. Canceled ones have used their places.
async fn threat_52_one_place_left(app: &TestApp) {
    let owner = owner(app).await;
    let emails: Vec<_> = (0..24).map(|n| format!("p{n}@x.example")).collect();
    let invited = owner.invite(&emails.iter().map(String::as_str).collect::<Vec<_>>(), "VIEWER").await;
    let first = invited.payload()["invitations"][0]["id"].clone();
    owner.ask(CANCEL, json!({ "i": first })).await.ok();
    let more: Vec<_> = (0..99).map(|n| format!("q{n}@x.example")).collect();
    let replies = join_all(more.iter().map(|email| async { owner.invite(&[email], "VIEWER").await })).await;
    assert_eq!(done(&replies), 1);
    let refused = replies.iter().filter(|reply| reply.user_errors() == ["DAILY_LIMIT_REACHED at emails.0"]).count();
    assert_eq!(refused, 98);
    let account = owner.ask(QUOTA, Value::Null).await.payload().clone();
    assert_eq!((&account["invitationQuota"]["used"], &account["invitationQuota"]["remaining"]), (&json!(25), &json!(0)));
    app.advance(TimeDelta::hours(24));
    owner.sign_in().await.invite(&["late@x.example"], "VIEWER").await.ok();
}

/// L3: ten at once for the last seat: one is invited.
async fn l3_ten_for_the_last_seat(app: &TestApp) {
    let owner = owner(app).await;
    owner.plan("STANDARD").await.ok();
    owner.invite(&["a@x.example", "b@x.example", "c@x.example"], "VIEWER").await.ok();
    let emails: Vec<_> = (0..10).map(|n| format!("q{n}@x.example")).collect();
    let replies = join_all(emails.iter().map(|email| async { owner.invite(&[email], "VIEWER").await })).await;
    assert_eq!(done(&replies), 1);
    assert_eq!(replies.iter().filter(|reply| reply.user_errors() == ["NO_SEATS_LEFT at emails.0"]).count(), 9);
}

/// U2, U3: sent again, taken back, accepted and declined at once: one outcome, and it is what the log says.
async fn u3_one_outcome_of_many_at_once(app: &TestApp) {
    let owner = owner(app).await;
    let cleo = app.person("cleo@x.example").await;
    for _ in 0..5 {
        let id = invite_one(&owner, "cleo@x.example", "VIEWER").await;
        let named = json!({ "i": { "invitationId": id } });
        let tries = join_all((0..8).map(|n| {
            let (owner, cleo, id, named) = (&owner, &cleo, &id, named.clone());
            async move {
                match n % 4 {
                    0 => owner.ask(CANCEL, json!({ "i": id })).await,
                    1 => cleo.ask(ACCEPT, named).await,
                    2 => cleo.ask(DECLINE, named).await,
                    _ => owner.ask(RESEND, json!({ "i": id, "e": "other@x.example" })).await,
                }
            }
        }))
        .await;
        let won = tries.iter().enumerate().filter(|(n, reply)| n % 4 != 3 && reply.user_errors().is_empty()).count();
        assert!(won <= 1, "{tries:?}");
        assert!(tries.iter().all(|reply| reply.codes().is_empty()), "{tries:?}");
        owner.ask(CANCEL, json!({ "i": id })).await;
        owner.revoke(&cleo.id).await;
    }
    crate::users::assert_gapless(app).await;
}

on_both_databases!(
    u3_sent_again,
    threat_54_an_expired_one_lives_again,
    u1_taken_back,
    u2_declined,
    threat_49_the_inviter_is_gone,
    threat_52_one_place_left,
    l3_ten_for_the_last_seat,
    u3_one_outcome_of_many_at_once,
);
on_both_databases!(on_its_own_servers: u3_to_another_address);
