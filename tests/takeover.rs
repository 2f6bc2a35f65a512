//! A login that somebody else set up, and a link that somebody else opens: SPEC I1, U2, THREATS 73, 74.
//!
//! Each story ends with the attacker outside. The honest story stands beside it.

use crate::{
    on_both_databases,
    support::{
        Reply, TestApp, everything,
        people::{PASSWORD, Person},
    },
    two_factor::protect,
};
use chrono::TimeDelta;
use futures_util::future::join_all;
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};

const ME: &str = "{ viewer { emailVerified pendingEmail level user { email } } }";
const VERIFY: &str = "mutation($t: String!, $p: String) { verifyEmail(input: {token: $t, password: $p}) \
                      { user { id email } joinedAccount { id name } joinError { code field message } userErrors { code message field } } }";
const RESET_BY_LINK: &str = "mutation($t: String!) { requestPasswordReset(input: {token: $t}) { accepted } }";
const RESET: &str = "mutation($t: String!, $p: String!) { resetPassword(input: {token: $t, password: $p}) { user { id } userErrors { code field } } }";
const CHANGE_EMAIL: &str =
    "mutation($e: String!) { changeEmail(input: {email: $e}) { user { email } userErrors { code field } } }";
const STOP: &str = "mutation($t: String!) { stopEmailChange(input: {token: $t}) { stopped userErrors { code message field } } }";
const SIGN_IN: &str = "mutation($l: String!, $p: String!) { signIn(input: {login: $l, password: $p}) \
                       { user { id } account { id } credentials { accessToken refreshToken } userErrors { code message field } } }";
const SIGN_UP: &str = "mutation($i: SignUpInput!) { signUp(input: $i) \
                       { user { id } account { id } credentials { accessToken refreshToken } userErrors { code message field } } }";
const ACCEPT: &str =
    "mutation($i: AnswerInvitationInput!) { acceptInvitation(input: $i) { level userErrors { code message field } } }";
const INVITED: &str = "{ viewer { invitations { nodes { id level } } } }";
const OTHER: &str = "another long walk by the sea";

/// Somebody who bears an invitation's link and signs up with this address.
async fn bear(app: &TestApp, email: &str, token: &str) -> Reply {
    let input = json!({ "email": email, "password": PASSWORD, "name": email.split('@').next(), "invitationToken": token });
    app.ask(SIGN_UP, json!({ "i": input })).await
}

/// Signs in with a password.
async fn sign_in<'a>(app: &'a TestApp, email: &str, password: &str) -> Person<'a> {
    Person::of(app, email, app.ask(SIGN_IN, json!({ "l": email, "p": password })).await.payload())
}

/// The person with the mailbox says that they chose no password, and chooses one by the link that is sent.
async fn take_back<'a>(app: &'a TestApp, email: &str) -> Person<'a> {
    let link = app.token_to(email, "verify_email").await;
    app.ask(RESET_BY_LINK, json!({ "t": link })).await.ok();
    let token = app.token_to(email, "reset_password").await;
    app.ask(RESET, json!({ "t": token, "p": OTHER })).await.ok();
    sign_in(app, email, OTHER).await
}

async fn verified(person: &Person<'_>) -> bool {
    person.ask(ME, Value::Null).await.payload()["emailVerified"] == true
}

/// An Owner with a plan for everyone.
async fn owner<'a>(app: &'a TestApp, email: &str) -> Person<'a> {
    let owner = app.person(email).await;
    owner.plan("PREMIUM").await.ok();
    owner
}

/// THREATS 73, I1: a stranger signs up with the victim's address and sets everything up. The victim opens the link, which verifies
/// nothing without the stranger's password, and takes the login by a reset: nothing of the stranger's works any more.
async fn threat_73_a_strangers_sign_up_is_voided(app: &TestApp) {
    let squatter = app.newcomer("victim@x.example").await;
    squatter.plan("PREMIUM").await.ok();
    let key = squatter.api_key().await;
    let export = squatter.ask("mutation { exportAccount { url userErrors { code } } }", Value::Null).await;
    let export = export.payload()["url"].as_str().unwrap().to_owned();
    let (_, codes) = protect(&squatter).await;
    let link = app.token_to("victim@x.example", "verify_email").await;
    let other = app.person("other@x.example").await;
    // The victim has no session, and the stranger sends the victim's link to anybody but themselves.
    for (who, token) in [("nobody", None), ("the key", Some(&key)), ("another user", Some(&other.token))] {
        let reply = app.ask_as(token.map(String::as_str), VERIFY, json!({ "t": link })).await;
        assert_eq!(reply.user_errors(), ["PASSWORD_REQUIRED at password"], "{who}");
        let message = reply.0["data"]["verifyEmail"]["userErrors"][0]["message"].as_str().unwrap();
        assert!(message.contains("request a password reset"), "{message}");
        assert_eq!(reply.0["data"]["verifyEmail"]["user"], Value::Null);
    }
    let wrong = app.ask(VERIFY, json!({ "t": link, "p": "a password of mine" })).await;
    assert_eq!(wrong.user_errors(), ["WRONG_CREDENTIALS at password"]);
    assert!(!verified(&squatter).await, "nothing has changed");
    squatter.ask(CHANGE_EMAIL, json!({ "e": "evil@x.example" })).await.ok();
    let change = app.token_to("evil@x.example", "verify_email").await;
    let victim = take_back(app, "victim@x.example").await;
    let me = victim.ask(ME, Value::Null).await;
    assert_eq!((&me.payload()["emailVerified"], &me.payload()["pendingEmail"]), (&json!(true), &Value::Null));
    assert_eq!(me.payload()["user"]["email"], "victim@x.example");
    for gone in [&squatter.token, &key] {
        assert_eq!(app.ask_as(Some(gone), ME, Value::Null).await.codes(), ["UNAUTHENTICATED"]);
    }
    let refresh = "mutation($r: String!) { refreshSession(input: {refreshToken: $r}) { userErrors { code } } }";
    assert_eq!(app.ask(refresh, json!({ "r": squatter.refresh })).await.codes(), ["UNAUTHENTICATED"]);
    assert_eq!(app.ask(SIGN_IN, json!({ "l": "victim", "p": PASSWORD })).await.user_errors(), ["WRONG_CREDENTIALS"]);
    assert_eq!(app.http.get(&export).send().await.unwrap().status(), 404);
    assert_eq!(app.ask(VERIFY, json!({ "t": change, "p": OTHER })).await.user_errors(), ["EXPIRED at token"]);
    let again = victim
        .ask(
            "mutation($c: String!) { reauthenticate(input: {code: $c}) { until userErrors { code } } }",
            json!({ "c": codes[0] }),
        )
        .await;
    assert_eq!(again.user_errors(), ["WRONG_TWO_FACTOR_CODE"], "no recovery code is left");
    // The account that was opened with the login is the victim's now.
    assert_eq!((victim.level().await.as_deref(), &victim.account), (Some("OWNER"), &squatter.account));
}

/// I1: the honest story. Who signed up on one device verifies on another, with the password. Nobody is signed out, and what was set
/// up stays.
async fn i1_verifying_on_another_device(app: &TestApp) {
    let laptop = app.newcomer("ann@x.example").await;
    let key = laptop.api_key().await;
    let link = app.token_to("ann@x.example", "verify_email").await;
    let done = app.ask(VERIFY, json!({ "t": link, "p": PASSWORD })).await;
    assert_eq!((&done.payload()["user"]["id"], &done.payload()["joinedAccount"]), (&json!(laptop.id), &Value::Null));
    assert!(verified(&laptop).await);
    app.ask_as(Some(&key), "{ account { id } }", Value::Null).await.ok();
    // Again, from the session: no mistake. From elsewhere: it was used.
    laptop.ask(VERIFY, json!({ "t": link })).await.ok();
    assert_eq!(app.ask(VERIFY, json!({ "t": link, "p": PASSWORD })).await.user_errors(), ["EXPIRED at token"]);
}

/// I1, I5: with the link alone nobody tries passwords without end, also together with other ways to try them.
async fn i5_passwords_beside_a_link_are_slowed_down(app: &TestApp) {
    app.newcomer("ann@x.example").await;
    let link = app.token_to("ann@x.example", "verify_email").await;
    let replies = join_all((0..20).map(|n| app.ask(VERIFY, json!({ "t": link, "p": format!("guess number {n}") })))).await;
    let limited = replies.iter().filter(|reply| reply.codes() == ["RATE_LIMITED"]).count();
    assert_eq!(limited, 15);
    assert_eq!(app.ask(VERIFY, json!({ "t": link, "p": PASSWORD })).await.codes(), ["RATE_LIMITED"]);
}

/// THREATS 73, I1: a user changes their address to the victim's. The link verifies nothing in the victim's hands, the e-mail says
/// which login asks, and the victim's address stays free.
async fn threat_73_a_change_to_the_victims_address(app: &TestApp) {
    let mallory = app.person("mallory@evil.example").await;
    mallory.ask(CHANGE_EMAIL, json!({ "e": "victim@x.example" })).await.ok();
    let mail = app.mails_to("victim@x.example").await[0].clone();
    let text = mail["text"].as_str().unwrap();
    assert!(text.contains("m***@evil.example") && text.contains("If you don't know that login"), "{text}");
    assert!(!text.to_lowercase().contains("mallory"), "{text}");
    let link = mail["token"].as_str().unwrap();
    assert_eq!(app.ask(VERIFY, json!({ "t": link })).await.user_errors(), ["PASSWORD_REQUIRED at password"]);
    // A reset by this link would go to nobody: it is not the login's address.
    app.ask(RESET_BY_LINK, json!({ "t": link })).await.ok();
    let victim = app.person("victim@x.example").await;
    assert_eq!(mallory.ask(VERIFY, json!({ "t": link })).await.user_errors(), ["TAKEN at token"], "the link may tell");
    assert_eq!(
        app.ask(VERIFY, json!({ "t": link, "p": "a guess of mine" })).await.user_errors(),
        ["WRONG_CREDENTIALS at password"]
    );
    for mailbox in ["victim@x.example", "mallory@evil.example"] {
        assert!(app.mails_to(mailbox).await.iter().all(|mail| mail["kind"] != "reset_password"), "{mailbox}");
    }
    assert!(verified(&victim).await);
    assert_eq!(mallory.ask(ME, Value::Null).await.payload()["user"]["email"], "mallory@evil.example");
}

/// I1: an honest change of address, with the session or with the password.
async fn i1_changing_the_address(app: &TestApp) {
    let ann = app.person("ann@x.example").await;
    ann.ask(CHANGE_EMAIL, json!({ "e": "anna@x.example" })).await.ok();
    let link = app.token_to("anna@x.example", "verify_email").await;
    assert_eq!(app.ask(VERIFY, json!({ "t": link, "p": PASSWORD })).await.payload()["user"]["email"], "anna@x.example");
    ann.ask(CHANGE_EMAIL, json!({ "e": "ann@y.example" })).await.ok();
    let link = app.token_to("ann@y.example", "verify_email").await;
    assert_eq!(ann.ask(VERIFY, json!({ "t": link })).await.payload()["user"]["email"], "ann@y.example");
}

/// I1: the e-mail to the present address stops a change, once, and leads to a new password.
async fn i1_a_change_can_be_stopped(app: &TestApp) {
    let ann = app.person("ann@x.example").await;
    let thief = ann.sign_in().await;
    thief.ask(CHANGE_EMAIL, json!({ "e": "evil@x.example" })).await.ok();
    let mail = app.mails_to("ann@x.example").await[0].clone();
    assert_eq!(mail["kind"], "email_change_requested");
    let text = mail["text"].as_str().unwrap();
    assert!(text.contains("/stop-change#token=") && text.contains("evil@x.example") && text.contains("new password"), "{text}");
    let (stop, link) = (mail["token"].as_str().unwrap(), app.token_to("evil@x.example", "verify_email").await);
    // Each link has one purpose.
    assert_eq!(app.ask(STOP, json!({ "t": link })).await.user_errors(), ["NOT_FOUND at token"]);
    assert_eq!(thief.ask(VERIFY, json!({ "t": stop })).await.user_errors(), ["NOT_FOUND at token"]);
    let stops = join_all((0..5).map(|_| app.ask(STOP, json!({ "t": stop })))).await;
    assert_eq!(stops.iter().filter(|reply| reply.user_errors().is_empty()).count(), 1);
    assert_eq!(stops.iter().filter(|reply| reply.user_errors() == ["EXPIRED at token"]).count(), 4, "it works once");
    assert_eq!(thief.ask(VERIFY, json!({ "t": link })).await.user_errors(), ["EXPIRED at token"]);
    assert_eq!(ann.ask(ME, Value::Null).await.payload()["pendingEmail"], Value::Null);
    let log = ann.ask("{ viewer { activity(kinds: [EMAIL_CHANGE_STOPPED]) { nodes { summary } } } }", Value::Null).await;
    assert_eq!(log.payload()["activity"]["nodes"][0]["summary"], "A change of the e-mail address of ann was stopped.");
    app.ask(RESET_BY_LINK, json!({ "t": stop })).await.ok();
    let reset = app.token_to("ann@x.example", "reset_password").await;
    app.ask(RESET, json!({ "t": reset, "p": OTHER })).await.ok();
    assert_eq!(thief.ask(ME, Value::Null).await.codes(), ["UNAUTHENTICATED"]);
    // A change that is complete is not undone, since the former mailbox may be the reason for it.
    let ann = sign_in(app, "ann@x.example", OTHER).await;
    ann.ask(CHANGE_EMAIL, json!({ "e": "anna@x.example" })).await.ok();
    let stop = app.token_to("ann@x.example", "email_change_requested").await;
    let link = app.token_to("anna@x.example", "verify_email").await;
    ann.ask(VERIFY, json!({ "t": link })).await.ok();
    let late = app.ask(STOP, json!({ "t": stop })).await;
    assert_eq!(late.user_errors(), ["ALREADY_DECIDED at token"]);
    assert!(late.0["data"]["stopEmailChange"]["userErrors"][0]["message"].as_str().unwrap().contains("operator"));
    app.ask(RESET_BY_LINK, json!({ "t": stop })).await.ok();
    assert!(app.mails_to("anna@x.example").await.iter().all(|mail| mail["kind"] != "reset_password"));
}

/// I1: an address that is not verified may be a stranger's. It gets no link that stops a change, and its domain is told to nobody.
async fn i1_an_unverified_address_stops_nothing(app: &TestApp) {
    let ann = app.newcomer("typo@urgent-call-us.example").await;
    ann.ask(CHANGE_EMAIL, json!({ "e": "ann@x.example" })).await.ok();
    assert!(app.mails_to("typo@urgent-call-us.example").await.iter().all(|mail| mail["kind"] == "verify_email"));
    let mail = app.mails_to("ann@x.example").await[0].clone();
    assert!(!mail["text"].as_str().unwrap().contains("urgent"), "{mail}");
    let done = app.ask(VERIFY, json!({ "t": mail["token"], "p": PASSWORD })).await;
    assert_eq!(done.payload()["user"]["email"], "ann@x.example");
    assert!(verified(&ann).await);
}

/// THREATS 74, U2: who was forwarded an invitation signs up as the invited address. They join at its level, and that is all: no
/// verified address, no other invitation, no Admin. The person with the mailbox then has the login, and what they were invited to.
async fn threat_74_a_forwarded_invitation(app: &TestApp) {
    let (acme, bank) = (owner(app, "ann@acme.example").await, owner(app, "otto@bank.example").await);
    acme.invite(&["bob@x.example"], "VIEWER").await.ok();
    let admin = bank.invite(&["bob@x.example"], "ADMIN").await.payload()["invitations"][0]["id"].clone();
    let mails = app.mails_to("bob@x.example").await;
    let forwarded = mails.iter().find(|mail| mail["subject"].as_str().unwrap().contains("ann")).unwrap();
    let joined = bear(app, "bob@x.example", forwarded["token"].as_str().unwrap()).await;
    let mallory = Person::of(app, "bob@x.example", joined.payload());
    assert_eq!((mallory.level().await.as_deref(), &mallory.account), (Some("VIEWER"), &acme.account));
    assert!(!verified(&mallory).await);
    assert_eq!(mallory.ask(INVITED, Value::Null).await.payload()["invitations"]["nodes"], json!([]));
    let reply = mallory.ask(ACCEPT, json!({ "i": { "invitationId": admin } })).await;
    assert_eq!(reply.user_errors(), ["NOT_FOUND at invitationId"]);
    let decline =
        "mutation($i: ID!) { declineInvitation(input: {invitationId: $i}) { invitation { id } userErrors { code field } } }";
    assert_eq!(mallory.ask(decline, json!({ "i": admin })).await.user_errors(), ["NOT_FOUND at invitationId"]);
    let node = mallory.ask("query($i: ID!) { node(id: $i) { id } }", json!({ "i": admin })).await;
    assert_eq!(node.payload(), &Value::Null);
    let raised = acme.assign(&mallory.id, "ADMIN").await;
    assert_eq!(raised.user_errors(), ["EMAIL_NOT_VERIFIED at userId"]);
    acme.assign(&mallory.id, "MANAGER").await.ok();
    let opened =
        mallory.ask("mutation { createAccount(input: {name: \"x\"}) { account { id } userErrors { code } } }", Value::Null).await;
    assert_eq!(opened.user_errors(), ["EMAIL_NOT_VERIFIED"]);
    let bob = take_back(app, "bob@x.example").await;
    assert_eq!(mallory.ask(ME, Value::Null).await.codes(), ["UNAUTHENTICATED"]);
    assert_eq!((bob.level().await.as_deref(), &bob.account), (Some("MANAGER"), &acme.account), "it is Bob who was invited");
    assert_eq!(bob.ask(INVITED, Value::Null).await.payload()["invitations"]["nodes"], json!([{ "id": admin, "level": "ADMIN" }]));
    assert_eq!(bob.ask(ACCEPT, json!({ "i": { "invitationId": admin } })).await.payload()["level"], "ADMIN");
    acme.assign(&bob.id, "ADMIN").await.ok();
}

/// U2: the honest story. Below Admin, who was forwarded the link joins with an address of their own, the inviter hears of it, and
/// the address is verified by its own e-mail.
async fn u2_joining_by_a_forwarded_link(app: &TestApp) {
    let acme = owner(app, "ann@acme.example").await;
    acme.invite(&["bob@acme.example"], "VIEWER").await.ok();
    let token = app.token_to("bob@acme.example", "invitation").await;
    let joined = bear(app, "cleo@else.example", &token).await;
    let cleo = Person::of(app, "cleo@else.example", joined.payload());
    assert_eq!(app.mails_to("ann@acme.example").await[0]["kind"], "invitation_accepted_by_another");
    assert!(!verified(&cleo).await);
    cleo.verify().await.ok();
    assert!(verified(&cleo).await && cleo.level().await.as_deref() == Some("VIEWER"));
    let accepted = acme.ask("{ account { invitations { nodes { acceptedBy { id } } } } }", Value::Null).await;
    assert_eq!(accepted.payload()["invitations"]["nodes"][0]["acceptedBy"]["id"], json!(cleo.id));
}

/// U2: an Admin invites an Admin. A new user joins at the moment of verification, on whatever device, and acts in no account before.
async fn u2_an_admin_joins_when_verified(app: &TestApp) {
    let acme = owner(app, "ann@acme.example").await;
    let adam = acme.colleague("adam@acme.example", "ADMIN").await;
    assert_eq!((adam.level().await.as_deref(), &adam.account), (Some("ADMIN"), &acme.account));
    adam.invite(&["eve@acme.example"], "ADMIN").await.ok();
    let token = app.token_to("eve@acme.example", "invitation").await;
    let signed_up = bear(app, "eve@acme.example", &token).await;
    assert_eq!(signed_up.payload()["account"], Value::Null);
    let eve = Person::of(app, "eve@acme.example", signed_up.payload());
    assert_eq!(eve.level().await, None);
    assert_eq!(eve.switch(&acme.account).await.user_errors(), ["NOT_FOUND at accountId"]);
    let count =
        async || acme.ask("{ account { users { totalCount } } }", Value::Null).await.payload()["users"]["totalCount"].clone();
    assert_eq!(count().await, 2);
    // A second try with the same link says what to do.
    let early = eve.ask(ACCEPT, json!({ "i": { "token": token } })).await;
    assert_eq!(early.user_errors(), ["EMAIL_NOT_VERIFIED at token"]);
    let link = app.token_to("eve@acme.example", "verify_email").await;
    let done = app.ask(VERIFY, json!({ "t": link, "p": PASSWORD })).await;
    assert_eq!((&done.payload()["joinedAccount"]["id"], &done.payload()["joinError"]), (&json!(acme.account), &Value::Null));
    assert_eq!(eve.acting_in(&acme.account).await.level().await.as_deref(), Some("ADMIN"));
    assert_eq!(sign_in(app, "eve@acme.example", PASSWORD).await.account, acme.account);
    assert_eq!(count().await, 3);
    let log = acme.log("USER_JOINED").await;
    assert_eq!(log[0]["actor"]["id"], json!(eve.id));
}

/// U2, THREATS 74: as Admin, nobody joins but the invited address, once it is verified. Each refusal leaves nothing behind.
async fn threat_74_only_the_invited_address_becomes_admin(app: &TestApp) {
    let acme = owner(app, "ann@acme.example").await;
    acme.invite(&["bob@acme.example"], "ADMIN").await.ok();
    let token = app.token_to("bob@acme.example", "invitation").await;
    let refused = bear(app, "mallory@evil.example", &token).await;
    assert_eq!(refused.user_errors(), ["INVITED_ADDRESS_REQUIRED at email"]);
    let message = refused.0["data"]["signUp"]["userErrors"][0]["message"].as_str().unwrap();
    assert!(message.contains("bob@acme.example") && message.contains("ask an Admin"), "{message}");
    assert!(!everything(app).await.contains("mallory"));
    let mallory = app.person("mallory@evil.example").await;
    assert_eq!(
        mallory.ask(ACCEPT, json!({ "i": { "token": token } })).await.user_errors(),
        ["INVITED_ADDRESS_REQUIRED at token"]
    );
    // Changing to the invited address is not enough either, before that is verified.
    mallory.ask(CHANGE_EMAIL, json!({ "e": "bob@acme.example" })).await.ok();
    assert_eq!(
        mallory.ask(ACCEPT, json!({ "i": { "token": token } })).await.user_errors(),
        ["INVITED_ADDRESS_REQUIRED at token"]
    );
    let bob = app.newcomer("bob@acme.example").await;
    assert_eq!(bob.ask(ACCEPT, json!({ "i": { "token": token } })).await.user_errors(), ["EMAIL_NOT_VERIFIED at token"]);
    bob.verify().await.ok();
    assert_eq!(bob.ask(ACCEPT, json!({ "i": { "token": token } })).await.payload()["level"], "ADMIN");
}

/// U2: a stranger who signs up with the invited address and a forwarded Admin link keeps the invited person from nothing.
async fn u2_a_claim_blocks_nobody(app: &TestApp) {
    let acme = owner(app, "ann@acme.example").await;
    let id = acme.invite(&["bob@acme.example"], "ADMIN").await.payload()["invitations"][0]["id"].clone();
    let token = app.token_to("bob@acme.example", "invitation").await;
    let squatter = Person::of(app, "bob@acme.example", bear(app, "bob@acme.example", &token).await.payload());
    // A second one with the same link has no other address to claim it with.
    assert_eq!(bear(app, "bob@acme.example", &token).await.user_errors(), ["TAKEN at email"]);
    let bob = take_back(app, "bob@acme.example").await;
    assert_eq!(bob.level().await, None, "what a stranger claimed is void: Bob decides");
    assert_eq!(bob.ask(ACCEPT, json!({ "i": { "invitationId": id } })).await.payload()["level"], "ADMIN");
    assert_eq!(squatter.ask(ME, Value::Null).await.codes(), ["UNAUTHENTICATED"]);
    // One who is never verified goes after seven days, and the address is free.
    acme.invite(&["eve@acme.example"], "ADMIN").await.ok();
    let token = app.token_to("eve@acme.example", "invitation").await;
    bear(app, "eve@acme.example", &token).await.ok();
    app.advance(TimeDelta::days(7));
    keyholder::sweeper::sweep(app).await.unwrap();
    let eve = app.person("eve@acme.example").await;
    assert_eq!(eve.level().await.as_deref(), Some("OWNER"), "of an account of her own");
}

/// U2, U5: what a claim leads to is checked again at the verification, which stands in any case and says what became of it.
async fn u5_a_claim_is_checked_again(app: &TestApp) {
    let acme = app.person("ann@acme.example").await;
    acme.plan("ESSENTIALS").await.ok();
    let claim = async |email: &str| {
        let id = acme.invite(&[email], "ADMIN").await.payload()["invitations"][0]["id"].clone();
        let token = app.token_to(email, "invitation").await;
        (id, Person::of(app, email, bear(app, email, &token).await.payload()))
    };
    let outcome = async |person: &Person<'_>| {
        let link = app.token_to(&person.email, "verify_email").await;
        let done = app.ask(VERIFY, json!({ "t": link, "p": PASSWORD })).await;
        assert_eq!((&done.payload()["user"]["id"], &done.payload()["joinedAccount"]), (&json!(person.id), &Value::Null));
        done.payload()["joinError"]["code"].clone()
    };
    let (id, canceled) = claim("c@acme.example").await;
    let cancel = "mutation($i: ID!) { cancelInvitation(input: {invitationId: $i}) { invitation { id } userErrors { code } } }";
    acme.ask(cancel, json!({ "i": id })).await.ok();
    assert_eq!(outcome(&canceled).await, "ALREADY_DECIDED");
    let (id, readdressed) = claim("r@acme.example").await;
    app.advance(TimeDelta::minutes(2));
    let resend = "mutation($i: ID!) { resendInvitation(input: {invitationId: $i, email: \"else@acme.example\"}) { invitation { id } userErrors { code } } }";
    acme.ask(resend, json!({ "i": id })).await.ok();
    assert_eq!(outcome(&readdressed).await, "INVITED_ADDRESS_REQUIRED");
    acme.ask(cancel, json!({ "i": id })).await.ok();
    // The operator may force a plan that is too small for a claimed invitation.
    let (_, crowded) = claim("l@acme.example").await;
    app.db.writer().execute_unprepared("UPDATE accounts SET plan = 'free' WHERE plan = 'essentials'").await.unwrap();
    assert_eq!(outcome(&crowded).await, "LEVEL_NOT_IN_PLAN");
    app.db.writer().execute_unprepared("UPDATE accounts SET plan = 'essentials' WHERE name = 'ann''s account'").await.unwrap();
    // The verification link is younger than the invitation, which expires first.
    let acme = acme.sign_in().await;
    let token = app.token_to("l@acme.example", "invitation").await;
    assert_eq!(crowded.ask(ACCEPT, json!({ "i": { "token": token } })).await.payload()["level"], "ADMIN");
    acme.invite(&["x@acme.example"], "ADMIN").await.ok();
    let token = app.token_to("x@acme.example", "invitation").await;
    app.advance(TimeDelta::days(6));
    let expired = Person::of(app, "x@acme.example", bear(app, "x@acme.example", &token).await.payload());
    app.advance(TimeDelta::days(2));
    assert_eq!(outcome(&expired).await, "EXPIRED");
}

/// U2, U5: the verification, the acceptance by id and the cancellation race. The user joins once or not at all.
async fn u5_a_claim_is_taken_once(app: &TestApp) {
    let acme = owner(app, "ann@acme.example").await;
    for n in 0..5 {
        let email = format!("eve{n}@acme.example");
        let id = acme.invite(&[&email], "ADMIN").await.payload()["invitations"][0]["id"].clone();
        let token = app.token_to(&email, "invitation").await;
        let eve = Person::of(app, &email, bear(app, &email, &token).await.payload());
        let link = app.token_to(&email, "verify_email").await;
        let cancel =
            "mutation($i: ID!) { cancelInvitation(input: {invitationId: $i}) { invitation { id } userErrors { code } } }";
        let verify = join_all((0..4).map(|_| eve.ask(VERIFY, json!({ "t": link }))));
        let (verified, canceled) = tokio::join!(verify, acme.ask(cancel, json!({ "i": id })));
        let joined = verified.iter().filter(|reply| reply.payload()["joinedAccount"]["id"] == json!(acme.account)).count();
        let users = acme
            .ask("query($s: String!) { account { users(search: $s) { totalCount } } }", json!({ "s": format!("eve{n}") }))
            .await;
        assert_eq!(users.payload()["users"]["totalCount"], joined);
        assert_eq!(joined == 1, canceled.user_errors() == ["ALREADY_DECIDED"]);
    }
}

/// I1: of an unverified user, a reset keeps the memberships that the address was invited to, and leaves those that a stranger
/// joined with a link to somebody else. Both accounts' logs say so.
async fn i1_a_reset_leaves_what_the_address_was_not_invited_to(app: &TestApp) {
    let (acme, bank) = (owner(app, "ann@acme.example").await, owner(app, "otto@bank.example").await);
    acme.invite(&["victim@x.example"], "AUTHOR").await.ok();
    bank.invite(&["mallory@evil.example"], "VIEWER").await.ok();
    let (invited, other) =
        (app.token_to("victim@x.example", "invitation").await, app.token_to("mallory@evil.example", "invitation").await);
    let squatter = Person::of(app, "victim@x.example", bear(app, "victim@x.example", &other).await.payload());
    squatter.ask(ACCEPT, json!({ "i": { "token": invited } })).await.ok();
    let victim = take_back(app, "victim@x.example").await;
    let accounts = victim.ask("{ viewer { accounts { edges { node { id } level } } } }", Value::Null).await;
    assert_eq!(accounts.payload()["accounts"]["edges"], json!([{ "node": { "id": acme.account }, "level": "AUTHOR" }]));
    assert_eq!((bank.log("USER_LEFT").await.len(), acme.log("USER_LEFT").await.len()), (1, 0));
}

/// I1: an unverified user goes after seven days, also from accounts of others, which stay with their Owner.
async fn i1_an_unverified_colleague_goes(app: &TestApp) {
    let acme = owner(app, "ann@acme.example").await;
    acme.invite(&["bob@acme.example"], "MANAGER").await.ok();
    let token = app.token_to("bob@acme.example", "invitation").await;
    let bob = Person::of(app, "bob@acme.example", bear(app, "bob@acme.example", &token).await.payload());
    assert_eq!(bob.level().await.as_deref(), Some("MANAGER"));
    app.advance(TimeDelta::days(7));
    keyholder::sweeper::sweep(app).await.unwrap();
    assert_eq!(app.ask(SIGN_IN, json!({ "l": "bob", "p": PASSWORD })).await.user_errors(), ["WRONG_CREDENTIALS"]);
    let acme = acme.sign_in().await;
    assert_eq!(acme.ask("{ account { users { totalCount } } }", Value::Null).await.payload()["users"]["totalCount"], 1);
}

/// I1, U9: nobody becomes Owner without a verified address. No request gets an unverified Admin there, so the row is written by hand.
async fn u9_an_unverified_admin_gets_no_account(app: &TestApp) {
    let acme = owner(app, "ann@acme.example").await;
    let adam = acme.colleague("adam@acme.example", "ADMIN").await;
    app.db
        .writer()
        .execute_unprepared("UPDATE users SET email_verified_at = NULL WHERE email_key = 'adam@acme.example'")
        .await
        .unwrap();
    assert_eq!(acme.transfer(&adam.id).await.user_errors(), ["EMAIL_NOT_VERIFIED at userId"]);
    let query = "query { viewer { level } }";
    assert_eq!(acme.ask(query, Value::Null).await.payload()["level"], "OWNER");
}

/// I1, R6: the pages that the links open. Opening one changes nothing.
async fn r6_the_pages_of_the_links(app: &TestApp) {
    for page in ["verify-email", "stop-change", "reset-password", "invitation"] {
        let response = app.http.get(format!("{}/{page}", app.url)).send().await.unwrap();
        assert_eq!(response.status(), 200, "{page}");
        assert!(response.text().await.unwrap().contains("<script src=\"/link.js\""), "{page}");
    }
}

/// I1: a stranger who sees that a reset was requested can't void its link with another password.
async fn i1_a_new_password_stops_no_reset(app: &TestApp) {
    const CHANGE: &str = "mutation($c: String!, $n: String!) { changePassword(input: {currentPassword: $c, newPassword: $n}) { user { id } userErrors { code } } }";
    let squatter = app.newcomer("victim@x.example").await;
    let link = app.token_to("victim@x.example", "verify_email").await;
    app.ask(RESET_BY_LINK, json!({ "t": link })).await.ok();
    let token = app.token_to("victim@x.example", "reset_password").await;
    squatter.ask(CHANGE, json!({ "c": PASSWORD, "n": "a password of the stranger" })).await.ok();
    app.ask(RESET, json!({ "t": token, "p": OTHER })).await.ok();
    assert_eq!(squatter.ask(ME, Value::Null).await.codes(), ["UNAUTHENTICATED"]);
    assert_eq!(app.ask(RESET, json!({ "t": token, "p": OTHER })).await.user_errors(), ["EXPIRED at token"], "it was used");
    sign_in(app, "victim@x.example", OTHER).await;
}

on_both_databases!(
    i1_a_new_password_stops_no_reset,
    threat_73_a_strangers_sign_up_is_voided,
    i1_verifying_on_another_device,
    i5_passwords_beside_a_link_are_slowed_down,
    threat_73_a_change_to_the_victims_address,
    i1_changing_the_address,
    i1_a_change_can_be_stopped,
    i1_an_unverified_address_stops_nothing,
    threat_74_a_forwarded_invitation,
    u2_joining_by_a_forwarded_link,
    u2_an_admin_joins_when_verified,
    threat_74_only_the_invited_address_becomes_admin,
    u2_a_claim_blocks_nobody,
    u5_a_claim_is_checked_again,
    u5_a_claim_is_taken_once,
    i1_a_reset_leaves_what_the_address_was_not_invited_to,
    i1_an_unverified_colleague_goes,
    u9_an_unverified_admin_gets_no_account,
    r6_the_pages_of_the_links,
);
