//! Passwords, sessions, addresses, and leaving for good: SPEC I1–I3, I5, I7, I8, U8, THREATS 37, 41, 43, 44.

use crate::{
    on_both_databases,
    support::{
        Heard, Place, TestApp, eventually,
        people::{PASSWORD, Person},
        socket::{OWN_REQUESTS, Socket},
    },
};
use chrono::TimeDelta;
use serde_json::{Value, json};

const ME: &str = "{ viewer { user { id email name username erased } pendingEmail emailVerified reauthenticatedUntil } }";
const SIGN_IN: &str =
    "mutation($l: String!, $p: String!) { signIn(input: {login: $l, password: $p}) { user { id } userErrors { code } } }";
const ASK_RESET: &str = "mutation($e: String!) { requestPasswordReset(input: {email: $e}) { accepted } }";
const RESET: &str = "mutation($t: String!, $p: String!) { resetPassword(input: {token: $t, password: $p}) { user { id } userErrors { code field } } }";
const CHANGE: &str = "mutation($c: String!, $n: String!) { changePassword(input: {currentPassword: $c, newPassword: $n}) { user { id } userErrors { code field } } }";
const AGAIN: &str =
    "mutation($p: String, $c: String) { reauthenticate(input: {password: $p, code: $c}) { until userErrors { code field } } }";
const CHANGE_EMAIL: &str =
    "mutation($e: String!) { changeEmail(input: {email: $e}) { user { email } userErrors { code field retryAt } } }";
const VERIFY: &str = "mutation($t: String!) { verifyEmail(input: {token: $t}) { user { email } userErrors { code } } }";
const SESSIONS: &str = "{ viewer { sessions { id client deviceName userAgent current } } }";
const REVOKE: &str = "mutation($s: ID!) { revokeSession(input: {sessionId: $s}) { sessionId userErrors { code field } } }";
const OTHER: &str = "another long walk by the sea";

/// The kinds of the mails that an address got, the latest last, but for those about sign-ins.
async fn kinds(app: &TestApp, address: &str) -> Vec<String> {
    let mails = app.mails_to(address).await;
    let kinds = mails.iter().rev().map(|mail| mail["kind"].as_str().unwrap().to_owned());
    kinds.filter(|kind| kind != "new_sign_in").collect()
}

async fn sessions(person: &Person<'_>) -> Vec<Value> {
    person.ask(SESSIONS, Value::Null).await.payload()["sessions"].as_array().unwrap().clone()
}

/// Waits until a socket is closed because of what just happened: it looks for itself after twenty seconds only.
async fn closes(mut socket: Socket) {
    loop {
        if let Heard::Closed(code) = socket.hear().await {
            assert_eq!(code, 4403);
            return;
        }
    }
}

/// I3: one's sessions, each with its device; ending one ends it for the next request and on an open socket, within a second.
async fn i3_sessions_are_listed_and_revoked(app: &TestApp) {
    let ann = app.person("ann@x.example").await;
    let phone = ann.sign_in().await;
    let bob = app.person("bob@x.example").await;
    let all = sessions(&ann).await;
    assert_eq!(all.len(), 2);
    assert_eq!(all.iter().filter(|session| session["current"] == true).count(), 1);
    let other = all.iter().find(|session| session["current"] == false).unwrap()["id"].clone();
    assert_eq!(bob.ask(REVOKE, json!({ "s": other })).await.user_errors(), ["NOT_FOUND at sessionId"], "somebody else's");
    let mut socket = phone.socket().await;
    socket.subscribe("1", OWN_REQUESTS, Value::Null).await;
    socket.subscribe("2", "{ planTerms { plan } }", Value::Null).await;
    socket.hear().await;
    assert_eq!(ann.ask(REVOKE, json!({ "s": other })).await.payload()["sessionId"], other);
    assert_eq!(phone.ask(ME, Value::Null).await.codes(), ["UNAUTHENTICATED"]);
    closes(socket).await;
    assert_eq!(sessions(&ann).await.len(), 1);
    assert_eq!(ann.ask(REVOKE, json!({ "s": other })).await.user_errors(), ["NOT_FOUND at sessionId"], "it has ended");
    ann.sign_in().await;
    ann.ask("mutation { revokeOtherSessions { revoked userErrors { code } } }", Value::Null).await.ok();
    assert_eq!(sessions(&ann).await.len(), 1);
    let node = "query($i: ID!) { node(id: $i) { __typename ... on Session { current } } }";
    let own = sessions(&ann).await[0]["id"].clone();
    assert_eq!(ann.ask(node, json!({ "i": own })).await.payload(), &json!({ "__typename": "Session", "current": true }));
    assert_eq!(bob.ask(node, json!({ "i": own })).await.payload(), &Value::Null);
    let log = ann
        .ask("{ viewer { activity(kinds: [SESSION_REVOKED, OTHER_SESSIONS_REVOKED]) { nodes { kind summary } } } }", Value::Null)
        .await;
    assert_eq!(log.payload()["activity"]["nodes"].as_array().unwrap().len(), 2, "{:?}", log.0);
}

/// I3: a session that nobody has used for thirty days has ended.
async fn i3_a_forgotten_session_ends(app: &TestApp) {
    let ann = app.person("ann@x.example").await;
    app.advance(TimeDelta::days(30));
    let refresh = "mutation($r: String!) { refreshSession(input: {refreshToken: $r}) { userErrors { code } } }";
    assert_eq!(app.ask(refresh, json!({ "r": ann.refresh })).await.codes(), ["UNAUTHENTICATED"]);
    assert_eq!(sessions(&ann.sign_in().await).await.len(), 1, "nor is it listed");
}

/// I3, I7, THREATS 43: another password needs the one until now and a fresh proof, and ends all other sessions and sockets.
async fn threat_43_another_password(app: &TestApp) {
    let ann = app.person("ann@x.example").await;
    let phone = ann.sign_in().await;
    let socket = phone.socket().await;
    let wrong = ann.ask(CHANGE, json!({ "c": "not it at all", "n": OTHER })).await;
    assert_eq!(wrong.user_errors(), ["WRONG_CREDENTIALS at currentPassword"]);
    for (new, code) in [("short", "INVALID at newPassword"), ("password1", "WEAK_PASSWORD at newPassword")] {
        assert_eq!(ann.ask(CHANGE, json!({ "c": PASSWORD, "n": new })).await.user_errors(), [code]);
    }
    ann.ask(CHANGE, json!({ "c": PASSWORD, "n": OTHER })).await.ok();
    assert_eq!(phone.ask(ME, Value::Null).await.codes(), ["UNAUTHENTICATED"]);
    closes(socket).await;
    ann.ask(ME, Value::Null).await.ok();
    assert_eq!(app.ask(SIGN_IN, json!({ "l": "ann", "p": PASSWORD })).await.user_errors(), ["WRONG_CREDENTIALS"]);
    app.ask(SIGN_IN, json!({ "l": "ann", "p": OTHER })).await.ok();
    assert_eq!(kinds(app, "ann@x.example").await, ["verify_email", "password_changed"]);
}

/// I7, THREATS 43, U8: ten minutes after the sign-in, what could take a login away asks who one is once more.
async fn threat_43_what_asks_again(app: &TestApp) {
    let ann = app.person("ann@x.example").await;
    app.advance(TimeDelta::minutes(10) + TimeDelta::seconds(1));
    let refresh = "mutation($r: String!) { refreshSession(input: {refreshToken: $r}) { credentials { accessToken refreshToken } userErrors { code } } }";
    let refreshed = app.ask(refresh, json!({ "r": ann.refresh })).await;
    let ann = Person { token: refreshed.payload()["credentials"]["accessToken"].as_str().unwrap().to_owned(), ..ann };
    assert_eq!(ann.ask(ME, Value::Null).await.payload()["reauthenticatedUntil"], Value::Null);
    let asks = [
        "changePassword(input: {currentPassword: \"a long walk by the sea\", newPassword: \"x\"}) { userErrors { code } }",
        "changeEmail(input: {email: \"b@x.example\"}) { userErrors { code } }",
        "beginTwoFactor { secret userErrors { code } }",
        "confirmTwoFactor(input: {code: \"123456\"}) { userErrors { code } }",
        "disableTwoFactor(input: {code: \"123456\"}) { userErrors { code } }",
        "regenerateRecoveryCodes(input: {code: \"123456\"}) { userErrors { code } }",
        "createApiKey(input: {name: \"x\"}) { userErrors { code } }",
        "deleteUser { userErrors { code } }",
        "deleteUser(input: {dryRun: true}) { userErrors { code } }",
        "transferOwnership(input: {userId: \"user_00000000000000000000000001\"}) { userErrors { code } }",
        "closeAccount(input: {confirmation: \"ann's account\"}) { userErrors { code } }",
    ];
    for ask in asks {
        let reply = ann.ask(&format!("mutation {{ done: {ask} }}"), Value::Null).await;
        assert_eq!((reply.codes(), &reply.0["data"]["done"]), (vec!["REAUTHENTICATION_REQUIRED"], &Value::Null), "{ask}");
    }
    assert_eq!(ann.ask(AGAIN, json!({})).await.user_errors(), ["INVALID at password"]);
    assert_eq!(ann.ask(AGAIN, json!({ "p": "not it at all" })).await.user_errors(), ["WRONG_CREDENTIALS at password"]);
    assert_eq!(ann.ask(AGAIN, json!({ "c": "123456" })).await.user_errors(), ["WRONG_TWO_FACTOR_CODE at code"]);
    let until = ann.ask(AGAIN, json!({ "p": PASSWORD })).await.payload()["until"].clone();
    assert_eq!(ann.ask(ME, Value::Null).await.payload()["reauthenticatedUntil"], until);
    ann.ask("mutation { beginTwoFactor { secret userErrors { code } } }", Value::Null).await.ok();
    // The proof is of that session alone.
    let phone = ann.sign_in().await;
    app.advance(TimeDelta::minutes(4));
    phone.ask("mutation { beginTwoFactor { secret userErrors { code } } }", Value::Null).await.ok();
}

/// I5, THREATS 37, 41: a link to another password, for who has the mailbox; it ends all sessions, gives none, and works once for an
/// hour. Nobody learns whether there is such a user.
async fn threat_41_a_password_that_was_lost(app: &TestApp) {
    let ann = app.person("ann@x.example").await;
    let known = app.ask(ASK_RESET, json!({ "e": "ANN@x.example" })).await.0;
    for other in ["nobody@x.example", "no address", ""] {
        assert_eq!(app.ask(ASK_RESET, json!({ "e": other })).await.0, known, "{other}");
    }
    let token = app.token_to("ann@x.example", "reset_password").await;
    assert!(kinds(app, "nobody@x.example").await.is_empty());
    for wrong in ["nonsense", "", &token.replace(&token[70..], "AAAAA"), &ann.refresh] {
        assert_eq!(app.ask(RESET, json!({ "t": wrong, "p": OTHER })).await.user_errors(), ["NOT_FOUND at token"], "{wrong}");
    }
    assert_eq!(app.ask(RESET, json!({ "t": token, "p": "short" })).await.user_errors(), ["INVALID at password"]);
    let reply = app.ask(RESET, json!({ "t": token, "p": OTHER })).await;
    assert_eq!(reply.payload()["user"]["id"], json!(ann.id));
    assert_eq!(ann.ask(ME, Value::Null).await.codes(), ["UNAUTHENTICATED"]);
    assert_eq!(app.ask(RESET, json!({ "t": token, "p": PASSWORD })).await.user_errors(), ["EXPIRED at token"], "it works once");
    app.ask(SIGN_IN, json!({ "l": "ann", "p": OTHER })).await.ok();
    app.ask(ASK_RESET, json!({ "e": "ann@x.example" })).await.ok();
    let late = eventually("the second link", async || {
        Some(app.token_to("ann@x.example", "reset_password").await).filter(|second| *second != token)
    })
    .await;
    app.advance(TimeDelta::hours(1));
    assert_eq!(app.ask(RESET, json!({ "t": late, "p": PASSWORD })).await.user_errors(), ["EXPIRED at token"]);
}

/// I1: who resets the password of an address that was not verified proves that it is theirs, and ends what others set up there.
async fn i1_a_reset_puts_a_squatter_out(app: &TestApp) {
    let squatter = app.newcomer("victim@x.example").await;
    squatter.plan("ESSENTIALS").await.ok();
    let key =
        squatter.ask("mutation { createApiKey(input: {name: \"mine\"}) { secret userErrors { code } } }", Value::Null).await;
    let key = key.payload()["secret"].as_str().unwrap().to_owned();
    app.ask_as(Some(&key), ME, Value::Null).await.ok();
    app.ask(ASK_RESET, json!({ "e": "victim@x.example" })).await.ok();
    let token = app.token_to("victim@x.example", "reset_password").await;
    app.ask(RESET, json!({ "t": token, "p": OTHER })).await.ok();
    for gone in [&squatter.token, &key] {
        assert_eq!(app.ask_as(Some(gone), ME, Value::Null).await.codes(), ["UNAUTHENTICATED"]);
    }
    let signed_in = app.ask("mutation($p: String!) { signIn(input: {login: \"victim\", password: $p}) { credentials { accessToken } userErrors { code } } }", json!({ "p": OTHER })).await;
    let victim = signed_in.payload()["credentials"]["accessToken"].as_str().unwrap();
    assert_eq!(app.ask_as(Some(victim), ME, Value::Null).await.payload()["emailVerified"], true);
}

/// I8: a client network can request so many e-mails, whatever addresses they are for.
async fn i8_mails_that_strangers_ask_for_are_few(place: Place) {
    let app = TestApp::start(place, &[]).await;
    let mut limited = 0;
    for n in 0..110 {
        limited += app.ask(ASK_RESET, json!({ "e": format!("n{n}@x.example") })).await.codes().len();
    }
    assert!((10..=20).contains(&limited), "{limited}");
    app.finish().await;
}

/// I1, THREATS 41, 43: whoever began to take a login to another address can't end it once its owner has proved the mailbox, or taken
/// another password; and links to a new password die with the address that they went to.
async fn threat_43_a_change_that_was_begun_ends(app: &TestApp) {
    let squatter = app.newcomer("victim@x.example").await;
    squatter.ask(CHANGE_EMAIL, json!({ "e": "evil@x.example" })).await.ok();
    let link = app.token_to("evil@x.example", "verify_email").await;
    app.ask(ASK_RESET, json!({ "e": "victim@x.example" })).await.ok();
    let token = app.token_to("victim@x.example", "reset_password").await;
    app.ask(RESET, json!({ "t": token, "p": OTHER })).await.ok();
    assert_eq!(app.ask(VERIFY, json!({ "t": link })).await.user_errors(), ["EXPIRED"]);
    // A thief of a session and a password.
    let ann = app.person("ann@x.example").await;
    let thief = ann.sign_in().await;
    thief.ask(CHANGE_EMAIL, json!({ "e": "evil2@x.example" })).await.ok();
    let link = app.token_to("evil2@x.example", "verify_email").await;
    ann.ask(CHANGE, json!({ "c": PASSWORD, "n": OTHER })).await.ok();
    assert_eq!(app.ask(VERIFY, json!({ "t": link })).await.user_errors(), ["EXPIRED"]);
    assert_eq!(ann.ask(ME, Value::Null).await.payload()["pendingEmail"], Value::Null);
    // Whoever has the former mailbox.
    app.ask(ASK_RESET, json!({ "e": "ann@x.example" })).await.ok();
    let former = app.token_to("ann@x.example", "reset_password").await;
    ann.ask(CHANGE_EMAIL, json!({ "e": "anna@x.example" })).await.ok();
    let link = app.token_to("anna@x.example", "verify_email").await;
    ann.ask(VERIFY, json!({ "t": link })).await.ok();
    assert_eq!(app.ask(RESET, json!({ "t": former, "p": PASSWORD })).await.user_errors(), ["EXPIRED at token"]);
}

/// I1: the link once more, not sooner than a minute after the last, and five in a day.
async fn i1_the_link_once_more(app: &TestApp) {
    let ann = app.newcomer("ann@x.example").await;
    let resend = "mutation { resendVerification { sent userErrors { code retryAt } } }";
    let soon = ann.ask(resend, Value::Null).await;
    assert_eq!(soon.user_errors(), ["RESEND_TOO_SOON"]);
    assert!(soon.0["data"]["resendVerification"]["userErrors"][0]["retryAt"].is_string());
    let first = app.token_to("ann@x.example", "verify_email").await;
    for n in 2..=5 {
        app.advance(TimeDelta::seconds(61));
        assert_eq!(ann.ask(resend, Value::Null).await.payload()["sent"], true, "{n}");
        if n == 3 {
            // Access tokens last five minutes.
            assert_eq!(ann.ask(ME, Value::Null).await.payload()["emailVerified"], false);
        }
    }
    app.advance(TimeDelta::hours(1));
    let ann = ann.sign_in().await;
    assert_eq!(ann.ask(resend, Value::Null).await.user_errors(), ["RESEND_TOO_SOON"], "the sixth in a day");
    ann.ask(VERIFY, json!({ "t": first })).await.ok();
    assert_eq!(ann.ask(resend, Value::Null).await.user_errors(), ["ALREADY_DECIDED"]);
}

/// I1: a link to verify an address works for seven days.
async fn i1_a_link_gets_too_old(app: &TestApp) {
    let ann = app.person("ann@x.example").await;
    ann.ask(CHANGE_EMAIL, json!({ "e": "anna@x.example" })).await.ok();
    let token = app.token_to("anna@x.example", "verify_email").await;
    app.advance(TimeDelta::days(7));
    assert_eq!(app.ask(VERIFY, json!({ "t": token })).await.user_errors(), ["EXPIRED"]);
}

/// I1: another address counts once its mailbox is proved; the former one is told, and nobody learns whether an address is taken.
async fn i1_another_address(app: &TestApp) {
    let ann = app.person("ann@x.example").await;
    app.person("bob@x.example").await;
    assert_eq!(ann.ask(CHANGE_EMAIL, json!({ "e": "nonsense" })).await.user_errors(), ["INVALID at email"]);
    assert_eq!(ann.ask(CHANGE_EMAIL, json!({ "e": "ANN@x.example" })).await.user_errors(), ["INVALID at email"]);
    let free = ann.ask(CHANGE_EMAIL, json!({ "e": "anna@x.example" })).await.payload().clone();
    let first = app.token_to("anna@x.example", "verify_email").await;
    let in_use = ann.ask(CHANGE_EMAIL, json!({ "e": "bob@x.example" })).await.payload().clone();
    assert_eq!(free, in_use, "both alike");
    assert_eq!(app.ask(VERIFY, json!({ "t": first })).await.user_errors(), ["EXPIRED"], "a later one takes its place");
    let to_bob = app.token_to("bob@x.example", "verify_email").await;
    assert_eq!(app.ask(VERIFY, json!({ "t": to_bob })).await.user_errors(), ["PASSWORD_REQUIRED"], "nobody else may know");
    assert_eq!(ann.ask(VERIFY, json!({ "t": to_bob })).await.user_errors(), ["TAKEN"], "the user who has the link may know");
    ann.ask(CHANGE_EMAIL, json!({ "e": "Anna@y.example" })).await.ok();
    let me = ann.ask(ME, Value::Null).await.payload().clone();
    assert_eq!((&me["user"]["email"], &me["pendingEmail"]), (&json!("ann@x.example"), &json!("Anna@y.example")));
    let token = app.token_to("anna@y.example", "verify_email").await;
    assert_eq!(ann.ask(VERIFY, json!({ "t": token })).await.payload()["user"]["email"], "Anna@y.example");
    let me = ann.ask(ME, Value::Null).await.payload().clone();
    assert_eq!((&me["user"]["email"], &me["pendingEmail"]), (&json!("Anna@y.example"), &Value::Null));
    let told = ["verify_email", "email_change_requested", "email_change_requested", "email_change_requested", "email_changed"];
    assert_eq!(kinds(app, "ann@x.example").await, told);
    assert_eq!(app.ask(SIGN_IN, json!({ "l": "ann@x.example", "p": PASSWORD })).await.user_errors(), ["WRONG_CREDENTIALS"]);
    app.ask(SIGN_IN, json!({ "l": "anna@Y.example", "p": PASSWORD })).await.ok();
    assert_eq!(app.ask(VERIFY, json!({ "t": token })).await.user_errors(), ["EXPIRED"], "it works once");
}

/// I1: a name and a username of one's own.
async fn i1_a_profile(app: &TestApp) {
    let ann = app.person("ann@x.example").await;
    app.person("bob@x.example").await;
    let update = "mutation($n: String, $u: String) { updateProfile(input: {name: $n, username: $u}) { user { name username } userErrors { code field } } }";
    let done = ann.ask(update, json!({ "n": " Ann Lee ", "u": "Ann.Lee" })).await;
    assert_eq!(done.payload()["user"], json!({ "name": "Ann Lee", "username": "Ann.Lee" }));
    assert_eq!(ann.ask(update, json!({ "u": "BOB" })).await.user_errors(), ["TAKEN at username"]);
    assert_eq!(ann.ask(update, json!({ "u": "a b" })).await.user_errors(), ["INVALID at username"]);
    assert_eq!(ann.ask(update, json!({ "n": "" })).await.user_errors(), ["INVALID at name"]);
    app.ask(SIGN_IN, json!({ "l": "ann.lee", "p": PASSWORD })).await.ok();
}

/// U8: who owns no account can erase themselves: name, username, address and secrets are gone from everywhere.
async fn u8_somebody_goes_for_good(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let vera = owner.colleague("vera.unmistakable@agency.example", "MANAGER").await;
    vera.ask("mutation { createApiKey(input: {name: \"x\"}) { secret userErrors { code } } }", Value::Null).await.ok();
    owner.plan("PREMIUM").await.ok();
    // She is asked and invited elsewhere.
    let other = app.agency("otto@other.example").await;
    other.invite(&["vera.unmistakable@agency.example"], "VIEWER").await.ok();
    other.request(&["vera.unmistakable@agency.example"]).await.ok();
    let socket = vera.socket().await;
    assert_eq!(
        owner.ask("mutation { deleteUser { deleted userErrors { code blockers { id } } } }", Value::Null).await.user_errors(),
        ["CANNOT_LEAVE"]
    );
    assert_eq!(vera.ask("mutation { deleteUser { deleted userErrors { code } } }", Value::Null).await.payload()["deleted"], true);
    assert_eq!(vera.ask(ME, Value::Null).await.codes(), ["UNAUTHENTICATED"]);
    closes(socket).await;
    for login in ["vera.unmistakable@agency.example", "vera.unmistakable"] {
        assert_eq!(app.ask(SIGN_IN, json!({ "l": login, "p": PASSWORD })).await.user_errors(), ["WRONG_CREDENTIALS"]);
    }
    let log = owner.ask("{ account { users { nodes { user { name } } } auditLog(kinds: [USER_LEFT, USER_JOINED]) { nodes { kind summary actor { name username email erased } } } } }", Value::Null).await;
    let nodes = log.payload()["auditLog"]["nodes"].as_array().unwrap();
    assert_eq!(nodes[0]["kind"], "USER_LEFT");
    assert_eq!(
        (&nodes[0]["actor"]["name"], &nodes[0]["actor"]["erased"], &nodes[0]["actor"]["email"]),
        (&json!("Former user"), &json!(true), &Value::Null)
    );
    assert_eq!(log.payload()["users"]["nodes"].as_array().unwrap().len(), 1);
    let there = other
        .ask("{ account { invitations { nodes { status } } clientConnections { nodes { status clientEmail } } } }", Value::Null)
        .await;
    assert_eq!(there.payload()["invitations"]["nodes"][0]["status"], "CANCELED");
    assert_eq!(there.payload()["clientConnections"]["nodes"][0]["status"], "CANCELED");
    let text = crate::support::everything(app).await;
    for part in ["vera", "unmistakable"] {
        assert!(!text.to_lowercase().contains(part), "{part} is still there");
    }
    // The address is free again.
    app.person("vera.unmistakable@agency.example").await;
}

/// I1: who has not verified an address for seven days is erased, with an account that holds nobody else.
async fn i1_unverified_users_go(app: &TestApp) {
    let squatter = app.newcomer("victim@x.example").await;
    let ann = app.person("ann@x.example").await;
    app.advance(TimeDelta::days(7) - TimeDelta::seconds(1));
    keyholder::sweeper::sweep(app).await.unwrap();
    assert_eq!(app.ask(SIGN_IN, json!({ "l": "victim", "p": PASSWORD })).await.user_errors(), [""; 0]);
    app.advance(TimeDelta::seconds(1));
    keyholder::sweeper::sweep(app).await.unwrap();
    assert_eq!(app.ask(SIGN_IN, json!({ "l": "victim", "p": PASSWORD })).await.user_errors(), ["WRONG_CREDENTIALS"]);
    assert!(!crate::support::everything(app).await.contains("victim"));
    let _ = squatter;
    assert_eq!(ann.sign_in().await.level().await.as_deref(), Some("OWNER"));
    app.person("victim@x.example").await;
}

on_both_databases!(
    i3_sessions_are_listed_and_revoked,
    i3_a_forgotten_session_ends,
    threat_43_another_password,
    threat_43_what_asks_again,
    threat_43_a_change_that_was_begun_ends,
    threat_41_a_password_that_was_lost,
    i1_a_reset_puts_a_squatter_out,
    i1_the_link_once_more,
    i1_a_link_gets_too_old,
    i1_another_address,
    i1_a_profile,
    u8_somebody_goes_for_good,
    i1_unverified_users_go,
);
on_both_databases!(on_its_own_servers: i8_mails_that_strangers_ask_for_are_few);
