//! Devices that have signed in, sign-in links and wrong codes: SPEC I5, THREATS 37, 38, 77.

use crate::{
    identity::part,
    on_both_databases,
    support::{
        Place, Reply, TestApp, everything,
        people::{PASSWORD, Person},
    },
    two_factor::protected,
};
use chrono::TimeDelta;
use futures_util::future::join_all;
use keyholder::db::Sql;
use serde_json::{Value, json};

const SIGN_IN: &str = "mutation($l: String!, $p: String!, $c: String, $d: String) { signIn(input: {login: $l, password: $p, code: $c, deviceToken: $d}) { user { id } deviceToken credentials { accessToken refreshToken } userErrors { code message field } } }";
const REQUEST_LINK: &str = "mutation($l: String!) { requestSignInLink(input: {login: $l}) { accepted } }";
const WITH_LINK: &str = "mutation($t: String!, $c: String, $d: String) { signInWithLink(input: {token: $t, code: $c, deviceToken: $d}) { user { id } account { id } deviceToken credentials { accessToken } userErrors { code field } } }";
const ME: &str = "{ viewer { user { id } } }";

/// What a sign-in answers: its code, or nothing when it went well.
fn outcome(reply: &Reply) -> Option<String> {
    let limited = reply.codes().first().map(|code| (*code).to_owned());
    let payload = reply.0["data"].as_object().and_then(|data| data.values().next());
    limited.or_else(|| payload?["userErrors"][0]["code"].as_str().map(str::to_owned))
}

async fn sign_in(app: &TestApp, device: Option<&str>) -> Reply {
    app.ask(SIGN_IN, json!({ "l": "ann@x.example", "p": PASSWORD, "d": device })).await
}

/// Tries a password from an address.
async fn from(app: &TestApp, address: &str, login: &str, password: &str, device: Option<&str>) -> Option<String> {
    let variables = json!({ "l": login, "p": password, "d": device });
    let request = app.http.post(format!("{}/graphql", app.url)).header("x-forwarded-for", address);
    let reply = request.json(&json!({ "query": SIGN_IN, "variables": variables })).send().await.unwrap();
    outcome(&Reply(reply.json().await.unwrap()))
}

/// Wrong passwords, each from another network, until the right one is refused too on an unknown device: a hundred are free, and
/// after some more the wait is longer than the slowest machine takes.
async fn attack(app: &TestApp, login: &str) {
    let wrong = async |n: usize| from(app, &format!("198.51.{}.{}", n / 200, n % 200), login, "not the password", None).await;
    for tens in 0..11 {
        // More at once would have to wait for their hashes.
        join_all((0..10).map(|n| wrong(10 * tens + n))).await;
    }
    for n in 110..150 {
        wrong(n).await;
        if from(app, "203.0.113.77", login, PASSWORD, None).await.as_deref() == Some("RATE_LIMITED") {
            return;
        }
    }
    panic!("an unknown device is not slowed down");
}

async fn mails_of(app: &TestApp, address: &str, kind: &str) -> usize {
    app.mails_to(address).await.iter().filter(|mail| mail["kind"] == kind).count()
}

/// THREATS 38, 77: with guesses from everywhere, a device that has signed in can sign in from any network, also after a restart; and
/// on a new device the user gets in by a link. Only a trusted proxy says where somebody is.
async fn threat_77_guesses_keep_nobody_out(place: Place) {
    let settings = [("trusted_proxies", "127.0.0.0/8")];
    let app = TestApp::start(place, &settings).await;
    let device = app.person("ann@x.example").await.device;
    attack(&app, "ann@x.example").await;
    assert_eq!(from(&app, "203.0.113.5", "ann@x.example", PASSWORD, Some(&device)).await, None, "wherever it is");
    for n in 0..8 {
        let expected = if n < 5 { "WRONG_CREDENTIALS" } else { "RATE_LIMITED" };
        let address = format!("192.0.2.{n}, 203.0.113.9");
        assert_eq!(from(&app, &address, "ann", "wrong", None).await.as_deref(), Some(expected), "only the proxy's word counts");
    }
    let app = app.restart(&settings).await;
    attack(&app, "ann@x.example").await;
    assert_eq!(from(&app, "203.0.113.6", "ann@x.example", PASSWORD, Some(&device)).await, None, "after a restart");
    app.ask(REQUEST_LINK, json!({ "l": "ann@x.example" })).await.ok();
    let link = app.token_to("ann@x.example", "sign_in_link").await;
    let signed_in = app.ask(WITH_LINK, json!({ "t": link })).await;
    let second = signed_in.payload()["deviceToken"].as_str().unwrap().to_owned();
    assert_eq!(from(&app, "203.0.113.7", "ann@x.example", PASSWORD, Some(&second)).await, None, "the new device is known now");
    app.finish().await;
}

/// I5: a token is given once for a device; with it no e-mail reports a new device, whatever program signs in; without it one does.
async fn i5_a_device_token_is_what_makes_a_device_known(app: &TestApp) {
    let ann = app.person("ann@x.example").await;
    assert!(ann.device.starts_with("khd_") && ann.device.len() == 47, "{}", ann.device);
    assert_eq!(sign_in(app, Some(&ann.device)).await.payload()["deviceToken"], Value::Null);
    let other_program = app.http.post(format!("{}/graphql", app.url)).header("user-agent", "Visit-evil.example/1.0");
    let variables = json!({ "l": "ann", "p": PASSWORD, "d": ann.device });
    other_program.json(&json!({ "query": SIGN_IN, "variables": variables })).send().await.unwrap();
    assert_eq!(mails_of(app, "ann@x.example", "new_sign_in").await, 0);
    let second = sign_in(app, None).await.payload()["deviceToken"].as_str().unwrap().to_owned();
    assert_ne!(second, ann.device);
    assert_eq!(mails_of(app, "ann@x.example", "new_sign_in").await, 1);
    let bob = app.person("bob@x.example").await;
    for wrong in [bob.device.as_str(), "", "khd_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", &second[..46]] {
        assert!(sign_in(app, Some(wrong)).await.payload()["deviceToken"].is_string(), "{wrong}");
    }
    assert_eq!(mails_of(app, "ann@x.example", "new_sign_in").await, 5);
    // No word of the program's own is in the e-mail.
    let agent = app.http.post(format!("{}/graphql", app.url)).header("user-agent", "Visit-evil.example/1.0");
    agent.json(&json!({ "query": SIGN_IN, "variables": { "l": "ann", "p": PASSWORD } })).send().await.unwrap();
    assert!(!app.mails_to("ann@x.example").await[0].to_string().contains("evil"));
    let text = everything(app).await;
    assert!(!text.contains(&ann.device) && !text.contains(&second) && !text.contains(&second[4..]), "only hashes are kept");
    let other = Sql::new("SELECT count(*) FROM devices WHERE user_id = ").bind(ann.id.parse::<entity::UserId>().unwrap());
    assert_eq!(other.count(app.reader()).await.unwrap(), 7);
}

/// I5: the fifty devices last used are known.
async fn i5_known_devices_are_bounded(place: Place) {
    let app = TestApp::start(place, &[("sign_in_throttle", "off")]).await;
    let ann = app.person("ann@x.example").await;
    let bob = app.person("bob@x.example").await;
    app.advance(TimeDelta::seconds(1));
    let latest = ann.sign_in().await;
    for _ in 0..6 {
        join_all((0..8).map(|_| sign_in(&app, None))).await;
    }
    let count = Sql::new("SELECT count(*) FROM devices WHERE user_id = ").bind(ann.id.parse::<entity::UserId>().unwrap());
    assert_eq!(count.count(app.reader()).await.unwrap(), 50);
    assert!(is_known(&app, &ann.device).await && is_known(&app, &latest.device).await);
    app.advance(TimeDelta::seconds(1));
    for _ in 0..6 {
        join_all((0..8).map(|_| sign_in(&app, None))).await;
    }
    join_all((0..2).map(|_| sign_in(&app, None))).await;
    assert!(!is_known(&app, &ann.device).await, "fifty were used since");
    let bobs = app.ask(SIGN_IN, json!({ "l": "bob", "p": PASSWORD, "d": bob.device })).await;
    assert_eq!(bobs.payload()["deviceToken"], Value::Null, "another user's are not touched");
    app.finish().await;
}

/// I5: whoever has stolen a device token has few tries with it, from anywhere, and needs the second factor as anybody does.
async fn i5_a_stolen_device_token_is_no_key(app: &TestApp) {
    let (ann, device, _) = protected(app, "ann@x.example").await;
    let with = async |password: &str, code: Option<&str>, device: &str| {
        outcome(&app.ask(SIGN_IN, json!({ "l": "ann", "p": password, "c": code, "d": device })).await)
    };
    assert_eq!(with(PASSWORD, None, &ann.device).await.as_deref(), Some("TWO_FACTOR_CODE_REQUIRED"));
    for n in 0..7 {
        let expected = if n < 5 { "WRONG_TWO_FACTOR_CODE" } else { "RATE_LIMITED" };
        assert_eq!(with(PASSWORD, Some("000000"), &ann.device).await.as_deref(), Some(expected), "{n}");
    }
    app.advance(TimeDelta::seconds(30));
    assert_eq!(with(PASSWORD, Some(&device.code_in(0)), "").await, None, "another device has tries of its own");
    for n in 0..7 {
        let expected = if n < 5 { "WRONG_CREDENTIALS" } else { "RATE_LIMITED" };
        assert_eq!(with("not the password", None, &ann.device).await.as_deref(), Some(expected), "{n}");
    }
}

/// I5, THREATS 37: with a device token or without, a login that is not there reads like a wrong password.
async fn threat_37_a_device_token_tells_nothing(app: &TestApp) {
    let ann = app.person("ann@x.example").await;
    let bob = app.person("bob@x.example").await;
    for device in [Value::Null, json!(bob.device), json!(ann.device), json!("nonsense")] {
        let ask = async |login: &str| app.ask(SIGN_IN, json!({ "l": login, "p": "not the password", "d": device })).await.0;
        let known = ask("ann@x.example").await;
        assert_eq!(known, ask("nobody@x.example").await, "{device}");
        assert_eq!(known["data"]["signIn"]["userErrors"][0]["code"], "WRONG_CREDENTIALS");
    }
    let statements = async |login: &str| {
        let tried = async || app.ask(SIGN_IN, json!({ "l": login, "p": "x".repeat(300), "d": bob.device })).await;
        app.count(tried).await.0
    };
    assert_eq!(statements("ann@x.example").await, statements("nobody@x.example").await, "the same work");
    let known = app.ask(REQUEST_LINK, json!({ "l": "ann" })).await.0;
    for other in ["nobody", "nobody@x.example", "", "ann@x.example"] {
        assert_eq!(app.ask(REQUEST_LINK, json!({ "l": other })).await.0, known, "{other}");
    }
}

/// Whether a device is still known.
async fn is_known(app: &TestApp, device: &str) -> bool {
    sign_in(app, Some(device)).await.payload()["deviceToken"].is_null()
}

/// I5: a reset voids all devices; a change of password, `revokeOtherSessions`, `revokeSession` and a copied refresh token those that
/// they are about; signing out voids none.
async fn i5_what_voids_device_tokens(app: &TestApp) {
    let ann = app.person("ann@x.example").await;
    let phone = ann.sign_in().await;
    phone.ask("mutation { signOut { signedOut } }", Value::Null).await.ok();
    assert!(is_known(app, &phone.device).await, "signed out");
    let sessions = "{ viewer { sessions { id current } } }";
    let revoke = "mutation($s: ID!) { revokeSession(input: {sessionId: $s}) { sessionId userErrors { code } } }";
    let lost = ann.sign_in().await;
    let id = lost.ask(sessions, Value::Null).await.payload()["sessions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["current"] == true)
        .unwrap()["id"]
        .clone();
    ann.ask(revoke, json!({ "s": id })).await.ok();
    assert!(!is_known(app, &lost.device).await && is_known(app, &ann.device).await, "revokeSession");
    let again = sign_in(app, Some(&ann.device)).await.payload()["credentials"]["accessToken"].as_str().unwrap().to_owned();
    let id = app.ask_as(Some(&again), sessions, Value::Null).await.payload()["sessions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["current"] == true)
        .unwrap()["id"]
        .clone();
    ann.ask(revoke, json!({ "s": id })).await.ok();
    assert!(is_known(app, &ann.device).await, "the device that asks keeps its token");
    ann.ask("mutation { revokeOtherSessions { revoked userErrors { code } } }", Value::Null).await.ok();
    assert!(!is_known(app, &phone.device).await && is_known(app, &ann.device).await, "revokeOtherSessions");
    let phone = ann.sign_in().await;
    let change = "mutation($p: String!) { changePassword(input: {currentPassword: $p, newPassword: $p}) { user { id } userErrors { code } } }";
    ann.ask(change, json!({ "p": PASSWORD })).await.ok();
    assert!(!is_known(app, &phone.device).await && is_known(app, &ann.device).await, "changePassword");
    let copied = ann.sign_in().await;
    let refresh = "mutation($r: String!) { refreshSession(input: {refreshToken: $r}) { credentials { refreshToken } userErrors { code } } }";
    let next = app.ask(refresh, json!({ "r": copied.refresh })).await.payload()["credentials"]["refreshToken"].clone();
    app.ask(refresh, json!({ "r": next })).await.ok();
    app.advance(TimeDelta::seconds(61));
    assert_eq!(app.ask(refresh, json!({ "r": copied.refresh })).await.codes(), ["UNAUTHENTICATED"]);
    assert!(!is_known(app, &copied.device).await, "a copied refresh token");
    app.ask("mutation { requestPasswordReset(input: {email: \"ann@x.example\"}) { accepted } }", Value::Null).await.ok();
    let token = app.token_to("ann@x.example", "reset_password").await;
    let reset = "mutation($t: String!, $p: String!) { resetPassword(input: {token: $t, password: $p}) { user { id } userErrors { code } } }";
    app.ask(reset, json!({ "t": token, "p": PASSWORD })).await.ok();
    assert!(!is_known(app, &ann.device).await, "a reset");
}

/// I5: a link signs in once, for a quarter of an hour, from a verified mailbox alone; opening its page changes nothing; the e-mail has
/// no words of the user's; a reset, and every use, kills those before, and another password does not.
async fn i5_a_sign_in_link(app: &TestApp) {
    let ann = app.person("ann@x.example").await;
    let newest = async || app.token_to("ann@x.example", "sign_in_link").await;
    let with = async |token: &str| app.ask(WITH_LINK, json!({ "t": token })).await;
    app.ask(REQUEST_LINK, json!({ "l": "ANN" })).await.ok();
    let link = newest().await;
    let mail = app.mails_to("ann@x.example").await[0].clone();
    assert!(mail["text"].as_str().unwrap().contains(&format!("/sign-in#token={link}")));
    assert!(!mail["text"].as_str().unwrap().replace("ann@x.example", "").contains("ann"), "{mail}");
    let page = app.http.get(format!("{}/sign-in", app.url)).send().await.unwrap();
    assert!(page.status().is_success() && page.text().await.unwrap().contains("enter"));
    for wrong in ["", "nonsense", &link.replace(&link[70..], "AAAAA"), &ann.refresh, &ann.device] {
        assert_eq!(with(wrong).await.user_errors(), ["NOT_FOUND at token"], "{wrong}");
    }
    let signed_in = with(&link).await;
    let payload = signed_in.payload();
    assert_eq!((&payload["user"]["id"], &payload["account"]["id"]), (&json!(ann.id), &json!(ann.account)));
    let token = payload["credentials"]["accessToken"].as_str().unwrap();
    assert_eq!(part(token, 1)["amr"], json!(["mca"]));
    app.ask_as(Some(token), ME, Value::Null).await.ok();
    assert!(is_known(app, payload["deviceToken"].as_str().unwrap()).await);
    assert_eq!(mails_of(app, "ann@x.example", "new_sign_in").await, 1);
    assert_eq!(with(&link).await.user_errors(), ["EXPIRED at token"], "it works once");
    let tries = {
        app.ask(REQUEST_LINK, json!({ "l": "ann" })).await.ok();
        let link = newest().await;
        join_all((0..10).map(|_| app.ask(WITH_LINK, json!({ "t": link })))).await
    };
    assert_eq!(tries.iter().filter(|reply| outcome(reply).is_none()).count(), 1, "also of ten at once");
    app.ask(REQUEST_LINK, json!({ "l": "ann" })).await.ok();
    let late = newest().await;
    app.advance(TimeDelta::minutes(15));
    assert_eq!(with(&late).await.user_errors(), ["EXPIRED at token"]);
    app.ask(REQUEST_LINK, json!({ "l": "ann" })).await.ok();
    let link = newest().await;
    let reset = app.ask("mutation($t: String!) { resetPassword(input: {token: $t, password: \"another long walk\"}) { user { id } userErrors { code field } } }", json!({ "t": link })).await;
    assert_eq!(reset.user_errors(), ["NOT_FOUND at token"], "it is for nothing else");
    let ann = app.sign_in("ann@x.example").await;
    let change = "mutation($p: String!) { changePassword(input: {currentPassword: $p, newPassword: $p}) { user { id } userErrors { code } } }";
    ann.ask(change, json!({ "p": PASSWORD })).await.ok();
    assert_eq!(with(&link).await.payload()["user"]["id"], json!(ann.id), "whoever changed the password may not be the user");
    app.newcomer("una@x.example").await;
    for login in ["una@x.example", "una"] {
        app.ask(REQUEST_LINK, json!({ "l": login })).await.ok();
    }
    assert_eq!(mails_of(app, "una@x.example", "sign_in_link").await, 0, "nobody has proved that mailbox");
    // The limit of a day's links is told alike, be there such a login or not.
    for login in ["ann", "nobody at all"] {
        let replies: Vec<_> = join_all((0..8).map(|_| app.ask(REQUEST_LINK, json!({ "l": login }))))
            .await
            .iter()
            .map(|reply| reply.codes().len())
            .collect();
        assert!(replies.contains(&1), "{login}");
    }
}

/// I5: a link asks for the second factor too, with tries of its own, which nobody without the mailbox can use up.
async fn i5_a_link_asks_for_a_code(app: &TestApp) {
    let (ann, device, recovery) = protected(app, "ann@x.example").await;
    for _ in 0..7 {
        app.ask(SIGN_IN, json!({ "l": "ann", "p": PASSWORD, "c": "000000" })).await;
    }
    let stranger = app.ask(SIGN_IN, json!({ "l": "ann", "p": PASSWORD, "c": recovery[0] })).await;
    assert_eq!(stranger.codes(), ["RATE_LIMITED"], "who has the password has no more tries");
    app.ask(REQUEST_LINK, json!({ "l": "ann" })).await.ok();
    let link = app.token_to("ann@x.example", "sign_in_link").await;
    let with = async |code: Option<&str>| app.ask(WITH_LINK, json!({ "t": link, "c": code })).await;
    assert_eq!(with(None).await.user_errors(), ["TWO_FACTOR_CODE_REQUIRED at code"]);
    assert_eq!(with(Some("000000")).await.user_errors(), ["WRONG_TWO_FACTOR_CODE at code"]);
    app.advance(TimeDelta::seconds(30));
    let signed_in = with(Some(&device.code_in(0))).await;
    assert_eq!(signed_in.payload()["user"]["id"], json!(ann.id), "a wrong code does not use it up");
    let token = signed_in.payload()["credentials"]["accessToken"].as_str().unwrap();
    assert_eq!(part(token, 1)["amr"], json!(["mca", "otp", "mfa"]));
}

/// I5: the user hears of ten wrong codes in a row, once, however they came; a right one begins to count anew.
async fn i5_ten_wrong_codes_are_told(place: Place) {
    let app = TestApp::start(place, &[("sign_in_throttle", "off")]).await;
    let (ann, device, recovery) = protected(&app, "ann@x.example").await;
    let told = async || mails_of(&app, "ann@x.example", "two_factor_codes_failed").await;
    let sign_in = async |code: &str| outcome(&app.ask(SIGN_IN, json!({ "l": "ann", "p": PASSWORD, "c": code })).await);
    let wrong = Some("WRONG_TWO_FACTOR_CODE".to_owned());
    for _ in 0..5 {
        assert_eq!(sign_in("000000").await, wrong);
    }
    // Wrong passwords and missing codes are none.
    app.ask(SIGN_IN, json!({ "l": "ann", "p": "not the password", "c": "000000" })).await;
    app.ask(SIGN_IN, json!({ "l": "ann", "p": PASSWORD })).await;
    for again in [
        "reauthenticate(input: {code: \"000000\"}) { userErrors { code } }",
        "disableTwoFactor(input: {code: \"000000\"}) { userErrors { code } }",
        "regenerateRecoveryCodes(input: {code: \"000000\"}) { userErrors { code } }",
    ] {
        let reply = ann.ask(&format!("mutation {{ done: {again} }}"), Value::Null).await;
        assert_eq!(outcome(&reply), wrong, "{again}");
    }
    assert_eq!(sign_in("000000").await, wrong);
    assert_eq!(told().await, 0, "nine");
    let app_after = join_all((0..8).map(|_| sign_in("000000"))).await;
    assert!(app_after.iter().all(|outcome| *outcome == wrong), "{app_after:?}");
    assert_eq!(told().await, 1, "once in a row");
    let log = ann.ask("{ viewer { activity(kinds: [TWO_FACTOR_CODES_FAILED]) { nodes { summary } } } }", Value::Null).await;
    assert_eq!(
        log.payload()["activity"]["nodes"],
        json!([{ "summary": "Ten wrong two-factor codes in a row were given for ann." }])
    );
    app.advance(TimeDelta::seconds(30));
    assert_eq!(sign_in(&device.code_in(0)).await, None);
    for _ in 0..9 {
        sign_in("000000").await;
    }
    assert_eq!((told().await, sign_in(&recovery[0]).await), (1, None), "nine, then a right one");
    for _ in 0..10 {
        sign_in("000000").await;
    }
    assert_eq!(told().await, 2);
    app.finish().await;
}

/// What a mail says of API keys, newest first.
async fn words(app: &TestApp, kind: &str) -> String {
    let mails = app.mails_to("olga@agency.example").await;
    mails.iter().find(|mail| mail["kind"] == kind).unwrap()["text"].as_str().unwrap().to_owned()
}

/// Somebody with a key in their own account and one in a client's: both keys.
async fn with_keys<'a>(owner: &Person<'a>, client: &Person<'a>) -> [String; 2] {
    let there = owner.acting_in(&client.account).await;
    [owner.api_key().await, there.api_key().await]
}

/// I6: a reset, a change of password and `revokeOtherSessions` delete the API keys everywhere when asked to, in their transaction and with
/// an event each; else the e-mail names those that are still valid.
async fn i6_api_keys_go_with_the_sessions(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let client = app.agency("carl@client.example").await;
    owner.connect(&client, "ADMIN").await;
    let keys = with_keys(&owner, &client).await;
    let alive = async |key: &str| app.ask_as(Some(key), "{ viewer { level } }", Value::Null).await.codes().is_empty();
    let change = "mutation($p: String!, $d: Boolean!) { changePassword(input: {currentPassword: $p, newPassword: $p, deleteApiKeys: $d}) { user { id } userErrors { code } } }";
    let others = "mutation($d: Boolean!) { revokeOtherSessions(input: {deleteApiKeys: $d}) { revoked userErrors { code } } }";
    owner.ask(change, json!({ "p": PASSWORD, "d": false })).await.ok();
    owner.ask("mutation { revokeOtherSessions { revoked userErrors { code } } }", Value::Null).await.ok();
    for kind in ["password_changed", "sessions_revoked"] {
        let text = words(app, kind).await;
        for key in &keys {
            assert!(alive(key).await && text.contains(&format!("\"import\" ({}…)", &key[..10])), "{text}");
        }
        assert!(text.contains("in olga's account") && text.contains("in carl's account"), "{text}");
    }
    let mut gone = Vec::new();
    for kind in ["password_changed", "sessions_revoked", "password_reset"] {
        let keys = with_keys(&owner, &client).await;
        match kind {
            "password_changed" => owner.ask(change, json!({ "p": PASSWORD, "d": true })).await.ok().clone(),
            "sessions_revoked" => owner.ask(others, json!({ "d": true })).await.ok().clone(),
            _ => {
                app.ask("mutation { requestPasswordReset(input: {email: \"olga@agency.example\"}) { accepted } }", Value::Null)
                    .await
                    .ok();
                let token = app.token_to("olga@agency.example", "reset_password").await;
                let reset = "mutation($t: String!, $p: String!) { resetPassword(input: {token: $t, password: $p, deleteApiKeys: true}) { user { id } userErrors { code } } }";
                app.ask(reset, json!({ "t": token, "p": PASSWORD })).await.ok().clone()
            }
        };
        for key in &keys {
            assert!(!alive(key).await, "{kind}");
        }
        let mail = if kind == "password_reset" { "password_changed" } else { kind };
        let count = if gone.is_empty() { 4 } else { 2 };
        assert!(words(app, mail).await.contains(&format!("API keys deleted: {count}.")), "{kind}: {}", words(app, mail).await);
        gone.extend(keys);
    }
    let owner = app.sign_in("olga@agency.example").await;
    let (own, theirs) = (owner.log("API_KEY_REVOKED").await, client.log("API_KEY_REVOKED").await);
    assert_eq!((own.len(), theirs.len()), (4, 4));
    assert_eq!((&own[0]["summary"], &own[0]["before"]), (&json!("olga deleted the API key import."), &json!("import")));
    assert_eq!(theirs[0]["summary"], "olga of olga's account deleted the API key import.");
    crate::users::assert_gapless(app).await;
    owner.ask("mutation { revokeOtherSessions(input: {}) { revoked userErrors { code } } }", Value::Null).await.ok();
    assert!(words(app, "sessions_revoked").await.contains("You have no API keys."));
}

on_both_databases!(
    i5_a_device_token_is_what_makes_a_device_known,
    i5_a_stolen_device_token_is_no_key,
    threat_37_a_device_token_tells_nothing,
    i5_what_voids_device_tokens,
    i5_a_sign_in_link,
    i5_a_link_asks_for_a_code,
    i6_api_keys_go_with_the_sessions,
);
on_both_databases!(on_its_own_servers: threat_77_guesses_keep_nobody_out, i5_known_devices_are_bounded, i5_ten_wrong_codes_are_told);
