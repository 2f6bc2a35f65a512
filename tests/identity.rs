//! Signing up and in, sessions and their tokens: SPEC I1–I3, I5, THREATS 33, 34, 37, 44, 55.

use crate::{
    on_both_databases,
    support::{Heard, TestApp, eventually, everything, people::PASSWORD, socket::Socket},
    two_factor::code_at,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use chrono::TimeDelta;
use futures_util::future::join_all;
use keyholder::keyring::KeySource;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const SIGN_UP: &str = "mutation($i: SignUpInput!) { signUp(input: $i) { user { id username } account { name plan } credentials { accessToken } userErrors { code message field } } }";
const SIGN_IN: &str = "mutation($l: String!, $p: String!) { signIn(input: {login: $l, password: $p}) { account { id } credentials { accessToken } userErrors { code message field } } }";
const REFRESH: &str = "mutation($r: String!) { refreshSession(input: {refreshToken: $r}) { account { id } credentials { accessToken refreshToken } userErrors { code } } }";
const ME: &str = "{ viewer { user { id email } } }";

/// I1: what a sign-up says, and refuses with its place.
async fn i1_signing_up(app: &TestApp) {
    let input = |email: &str, username: Value| json!({ "i": { "email": email, "password": PASSWORD, "name": "Ann Lee", "username": username } });
    let first = app.ask(SIGN_UP, input("Ann@X.example", Value::Null)).await;
    assert_eq!(first.payload()["account"], json!({ "name": "Ann Lee", "plan": "FREE" }));
    assert_eq!(first.payload()["user"]["username"], "ann.lee");
    assert_eq!(app.ask(SIGN_UP, input("ann@x.EXAMPLE", Value::Null)).await.user_errors(), ["TAKEN at email"]);
    assert_eq!(app.ask(SIGN_UP, input("b@x.example", json!("Ann.Lee"))).await.user_errors(), ["TAKEN at username"]);
    assert_ne!(app.ask(SIGN_UP, input("c@x.example", Value::Null)).await.payload()["user"]["username"], "ann.lee");
    let refused = async |field: &str, value: &str| {
        let mut input = json!({ "email": "d@x.example", "password": PASSWORD, "name": "D", "accountName": "D" });
        input[field] = json!(value);
        app.ask(SIGN_UP, json!({ "i": input })).await.user_errors()
    };
    assert_eq!(refused("email", "nonsense").await, ["INVALID at email"]);
    assert_eq!(refused("name", " ").await, ["INVALID at name"]);
    assert_eq!(refused("accountName", "a\nb").await, ["INVALID at accountName"]);
    assert_eq!(refused("username", "a b").await, ["INVALID at username"]);
    assert_eq!(refused("password", "short").await, ["INVALID at password"]);
    assert_eq!(refused("password", "password1").await, ["WEAK_PASSWORD at password"]);
    assert_eq!(refused("invitationToken", "nonsense").await, ["NOT_FOUND at invitationToken"]);
}

/// I1: of two who sign up at once with one address, one does.
async fn i1_one_address_one_user(app: &TestApp) {
    let replies = join_all((0..5).map(|n| {
        let input = json!({ "i": { "email": "same@x.example", "password": PASSWORD, "name": format!("Same {n}") } });
        app.ask(SIGN_UP, input)
    }))
    .await;
    assert_eq!(replies.iter().filter(|reply| reply.user_errors().is_empty()).count(), 1);
    assert!(replies.iter().flat_map(|reply| reply.user_errors()).all(|error| error == "TAKEN at email"));
}

/// I1: people of one name who sign up at once each get a username of their own.
async fn i1_one_name_many_usernames(app: &TestApp) {
    let replies = join_all((0..8).map(|n| {
        let input = json!({ "i": { "email": format!("ann{n}@x.example"), "password": PASSWORD, "name": "Ann Lee" } });
        app.ask(SIGN_UP, input)
    }))
    .await;
    let names: BTreeSet<_> = replies.iter().map(|reply| reply.payload()["user"]["username"].to_string()).collect();
    assert_eq!(names.len(), 8);
}

/// I1: a reset by the person with the mailbox ends the sessions and sockets that a squatter began there.
async fn i1_a_squatter_is_put_out(app: &TestApp) {
    let squatter = app.newcomer("victim@x.example").await;
    let mut socket = squatter.socket().await;
    socket.subscribe("1", crate::support::socket::OWN_REQUESTS, Value::Null).await;
    let verify = "mutation($t: String!) { verifyEmail(input: {token: $t}) { user { email } userErrors { code field message } } }";
    assert_eq!(squatter.ask(verify, json!({ "t": "nonsense" })).await.user_errors(), ["NOT_FOUND at token"]);
    let reset =
        "mutation($t: String!) { resetPassword(input: {token: $t, password: \"another long walk\"}) { userErrors { code } } }";
    app.ask("mutation { requestPasswordReset(input: {email: \"victim@x.example\"}) { accepted } }", Value::Null).await.ok();
    let token = app.token_to("victim@x.example", "reset_password").await;
    app.ask(reset, json!({ "t": token })).await.ok();
    assert_eq!(squatter.ask(ME, Value::Null).await.codes(), ["UNAUTHENTICATED"]);
    let Heard::Message(end) = socket.hear().await else { panic!("the stream ends with an error first") };
    assert_eq!(end["payload"]["errors"][0]["extensions"]["code"], "UNAUTHENTICATED", "{end}");
}

/// I5, THREATS 37: a login that is not there and a password that is wrong read the same.
async fn threat_37_a_wrong_login_and_a_wrong_password_read_the_same(app: &TestApp) {
    let ann = app.person("ann@x.example").await;
    let wrong = app.ask(SIGN_IN, json!({ "l": "ann@x.example", "p": "not the password" })).await.0;
    let unknown = app.ask(SIGN_IN, json!({ "l": "nobody@x.example", "p": "not the password" })).await.0;
    assert_eq!(wrong, unknown);
    assert_eq!(wrong["data"]["signIn"]["userErrors"][0]["code"], "WRONG_CREDENTIALS");
    let by_username = app.ask(SIGN_IN, json!({ "l": " ANN ", "p": PASSWORD })).await;
    assert_eq!(by_username.payload()["account"]["id"], json!(ann.account));
    let long = "x".repeat(200_000);
    assert_eq!(app.ask(SIGN_IN, json!({ "l": "ann@x.example", "p": long })).await.user_errors(), ["WRONG_CREDENTIALS"]);
}

/// I3: a stale or wrong Authorization is told where an actor is needed, and ignored by what is public.
async fn i3_a_stale_token_is_told(app: &TestApp) {
    let ann = app.person("ann@x.example").await;
    app.advance(TimeDelta::minutes(5));
    for token in [ann.token.as_str(), "nonsense", ""] {
        let reply = app.ask_as(Some(token), "{ viewer { level } planTerms { plan } }", Value::Null).await;
        assert_eq!(reply.codes(), ["UNAUTHENTICATED"], "{token}");
        assert_eq!((&reply.0["data"]["viewer"], reply.0["data"]["planTerms"].as_array().unwrap().len()), (&Value::Null, 4));
        app.ask_as(Some(token), SIGN_IN, json!({ "l": "ann@x.example", "p": PASSWORD })).await.ok();
    }
    let again = app.ask(REFRESH, json!({ "r": ann.refresh })).await;
    let token = again.payload()["credentials"]["accessToken"].as_str().unwrap();
    app.ask_as(Some(token), ME, Value::Null).await.ok();
}

pub fn part(token: &str, place: usize) -> Value {
    serde_json::from_slice(&BASE64.decode(token.split('.').nth(place).unwrap()).unwrap()).unwrap()
}

/// THREATS 33, 34: what a forger may try.
async fn threat_33_and_34_forged_tokens(app: &TestApp) {
    let ann = app.person("ann@x.example").await;
    let [header, claims, signature] = <[&str; 3]>::try_from(ann.token.split('.').collect::<Vec<_>>()).unwrap();
    let kid = part(&ann.token, 0)["kid"].clone();
    let jwks: Value = app.http.get(format!("{}/.well-known/jwks.json", app.url)).send().await.unwrap().json().await.unwrap();
    assert_eq!((&jwks["keys"][0]["kid"], &jwks["keys"][0]["crv"]), (&kid, &json!("Ed25519")));
    let write = |value: Value| BASE64.encode(value.to_string());
    let mut forged = vec![
        format!("{}.{claims}.", write(json!({ "alg": "none", "typ": "at+jwt", "kid": kid }))),
        format!("{}.{claims}.{signature}", write(json!({ "alg": "HS256", "typ": "at+jwt", "kid": kid }))),
        format!("{}.{claims}.{signature}", write(json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": "another" }))),
        format!(
            "{}.{claims}.{signature}",
            write(json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": kid, "jku": "https://evil.example" }))
        ),
        format!("{header}.{claims}.{}", BASE64.encode([0; 64])),
        ann.refresh.clone(),
    ];
    let mut other = part(&ann.token, 1);
    other["sub"] = json!("user_00000000000000000000000001");
    forged.push(format!("{header}.{}.{signature}", write(other)));
    // Signed with the HMAC of the public key, as some libraries once took for EdDSA's.
    let x = BASE64.decode(jwks["keys"][0]["x"].as_str().unwrap()).unwrap();
    let confused = jsonwebtoken::encode(
        &jsonwebtoken::Header {
            kid: kid.as_str().map(str::to_owned),
            typ: Some("at+jwt".to_owned()),
            ..jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256)
        },
        &part(&ann.token, 1),
        &jsonwebtoken::EncodingKey::from_secret(&x),
    );
    forged.push(confused.unwrap());
    for token in forged {
        assert_eq!(app.ask_as(Some(&token), ME, Value::Null).await.codes(), ["UNAUTHENTICATED"], "{token}");
        let mut socket = Socket::open(&app.url).await;
        socket.send(json!({ "type": "connection_init", "payload": { "authorization": format!("Bearer {token}") } })).await;
        assert_eq!(socket.hear().await, Heard::Closed(4403));
    }
}

/// I3, THREATS 34: claims that are missing, of another type, or another's, though well signed.
async fn threat_34_signed_but_wrong(app: &TestApp) {
    let ann = app.person("ann@x.example").await;
    let KeySource::Directory(keys) = app.config.key_source().unwrap() else { panic!("keys in a directory") };
    let der = std::fs::read_dir(keys).unwrap().next().unwrap().unwrap().path();
    let key = jsonwebtoken::EncodingKey::from_ed_der(&std::fs::read(der).unwrap());
    let kid = part(&ann.token, 0)["kid"].as_str().map(str::to_owned);
    let header =
        jsonwebtoken::Header { kid, typ: Some("at+jwt".to_owned()), ..jsonwebtoken::Header::new(jsonwebtoken::Algorithm::EdDSA) };
    let good = part(&ann.token, 1);
    let ask_with = async |header: &jsonwebtoken::Header, claims: &Value| {
        let token = jsonwebtoken::encode(header, claims, &key).unwrap();
        app.ask_as(Some(&token), ME, Value::Null).await.codes().first().map(|code| (*code).to_owned())
    };
    let ask = async |claims: &Value| ask_with(&header, claims).await;
    assert_eq!(ask(&good).await, None, "the key is the right one");
    for typ in [None, Some("JWT"), Some("logout+jwt"), Some("at+JWT"), Some("")] {
        let header = jsonwebtoken::Header { typ: typ.map(str::to_owned), ..header.clone() };
        assert_eq!(ask_with(&header, &good).await.as_deref(), Some("UNAUTHENTICATED"), "a JWT of another type: {typ:?}");
    }
    for claim in ["iss", "aud", "sub", "sid", "exp", "auth_time", "amr"] {
        for wrong in [Value::Null, json!("another"), json!([1]), json!({ "a": 1 }), json!(-1.5)] {
            let mut claims = good.clone();
            claims[claim] = wrong;
            assert_eq!(ask(&claims).await.as_deref(), Some("UNAUTHENTICATED"), "{claims}");
        }
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(claim);
        assert_eq!(ask(&claims).await.as_deref(), Some("UNAUTHENTICATED"), "without {claim}");
    }
    for nbf in [json!(app.now().timestamp() + 3_600), json!("soon")] {
        let mut claims = good.clone();
        claims["nbf"] = nbf;
        assert_eq!(ask(&claims).await.as_deref(), Some("UNAUTHENTICATED"), "{claims}");
    }
}

/// I3: signing out ends the session for every later request and open socket, whatever time its token has left.
async fn i3_signing_out_ends_the_session(app: &TestApp) {
    let ann = app.person("ann@x.example").await;
    let phone = ann.sign_in().await;
    let mut socket = ann.socket().await;
    socket.subscribe("1", crate::support::socket::OWN_REQUESTS, Value::Null).await;
    // Subscribed for certain before the session ends.
    eventually("the socket listens", async || {
        let mut probe = ann.socket().await;
        probe.subscribe("p", "{ planTerms { plan } }", Value::Null).await;
        (probe.next().await["data"]["planTerms"][0]["plan"] == "FREE").then_some(())
    })
    .await;
    let out = ann.ask("mutation { signOut { signedOut } }", Value::Null).await;
    assert_eq!(out.payload()["signedOut"], true);
    assert_eq!(ann.ask(ME, Value::Null).await.codes(), ["UNAUTHENTICATED"]);
    assert_eq!(app.ask(REFRESH, json!({ "r": ann.refresh })).await.codes(), ["UNAUTHENTICATED"]);
    let Heard::Message(end) = socket.hear().await else { panic!("the stream ends with an error first") };
    assert!(end.to_string().contains("UNAUTHENTICATED"), "{end}");
    phone.ask(ME, Value::Null).await.ok();
}

/// THREATS 44: a sign-in raises nothing that was there before: not the session that it is sent with, nor another's.
async fn threat_44_nothing_from_before_is_raised(app: &TestApp) {
    let (mallory, ann) = (app.person("mallory@x.example").await, app.person("ann@x.example").await);
    let sign_in = json!({ "l": "ann@x.example", "p": PASSWORD });
    let signed_in = app.ask_as(Some(&mallory.token), SIGN_IN, sign_in).await.payload()["credentials"].clone();
    let token = signed_in["accessToken"].as_str().unwrap();
    let (before, new) = (part(&mallory.token, 1), part(token, 1));
    assert!(new["sid"] != before["sid"] && new["sub"] == json!(ann.id) && new["sid"] != part(&ann.token, 1)["sid"]);
    let who = async |token: &str| app.ask_as(Some(token), ME, Value::Null).await.payload()["user"]["id"].clone();
    assert_eq!((who(&mallory.token).await, who(token).await), (json!(mallory.id), json!(ann.id)));
    let refreshed = app.ask(REFRESH, json!({ "r": mallory.refresh })).await.payload()["credentials"]["accessToken"].clone();
    assert_eq!(who(refreshed.as_str().unwrap()).await, json!(mallory.id));
    // What one session proves again (I7) is its own.
    app.advance(TimeDelta::minutes(11));
    let again = ann.sign_in().await;
    let reauthenticated = "mutation($p: String!) { reauthenticate(input: {password: $p}) { until userErrors { code } } }";
    again.ask(reauthenticated, json!({ "p": PASSWORD })).await.ok();
    let old = app.ask(REFRESH, json!({ "r": ann.refresh })).await.payload()["credentials"]["accessToken"].clone();
    let asks = app.ask_as(old.as_str(), "mutation { beginTwoFactor { secret } }", Value::Null).await;
    assert_eq!(asks.codes(), ["REAUTHENTICATION_REQUIRED"]);
}

/// No password, token, code or key is in the database as it is, nor in an error.
async fn threat_55_nothing_secret_is_at_rest(app: &TestApp) {
    let owner = app.agency("ann@x.example").await;
    owner.request(&["carl@client.example"]).await.ok();
    let mut secrets = vec![PASSWORD.to_owned(), owner.refresh.clone(), owner.token.clone()];
    secrets.push(app.token_to("carl@client.example", "access_request").await);
    app.ask("mutation { requestPasswordReset(input: {email: \"ann@x.example\"}) { accepted } }", Value::Null).await.ok();
    secrets.push(app.token_to("ann@x.example", "reset_password").await);
    secrets.push(app.token_to("ann@x.example", "verify_email").await);
    let made = owner.ask("mutation { createApiKey(input: {name: \"x\"}) { secret userErrors { code } } }", Value::Null).await;
    secrets.push(made.payload()["secret"].as_str().unwrap().to_owned());
    let begun = owner.ask("mutation { beginTwoFactor { secret userErrors { code } } }", Value::Null).await;
    let device = begun.payload()["secret"].as_str().unwrap().to_owned();
    let confirm = "mutation($c: String!) { confirmTwoFactor(input: {code: $c}) { recoveryCodes userErrors { code } } }";
    let code = code_at(&device, app.now().timestamp());
    let confirmed = owner.ask(confirm, json!({ "c": code })).await;
    let recovery = confirmed.payload()["recoveryCodes"].as_array().unwrap().clone();
    secrets.extend(recovery.iter().flat_map(|code| [code.as_str().unwrap().to_owned(), code.as_str().unwrap().replace('-', "")]));
    secrets.extend([device, code]);
    assert_eq!(secrets.len(), 29);
    let text = everything(app).await;
    assert!(text.contains("$argon2id$"), "the tables were read");
    for secret in &secrets {
        assert!(!text.contains(secret.as_str()), "{secret}");
    }
    // Each where it is wrong: as a login, a password, a token, a name too long, and a list where a text belongs.
    for secret in &secrets {
        let asks = [
            (SIGN_IN, json!({ "l": secret, "p": secret })),
            (REFRESH, json!({ "r": secret })),
            (
                "mutation($i: SignUpInput!) { signUp(input: $i) { userErrors { code message value } } }",
                json!({ "i": { "email": secret, "password": secret, "name": secret.repeat(9) } }),
            ),
            (
                "mutation($i: SignUpInput!) { signUp(input: $i) { userErrors { code message value } } }",
                json!({ "i": { "email": "b@x.example", "password": [secret], "name": "b" } }),
            ),
            (
                "mutation($t: String!) { resetPassword(input: {token: $t, password: $t}) { userErrors { code message value } } }",
                json!({ "t": secret }),
            ),
        ];
        for (query, variables) in asks {
            let reply = app.ask(query, variables).await.0.to_string();
            assert!(!reply.contains(secret.as_str()), "{query}: {reply}");
        }
    }
}

on_both_databases!(
    i1_signing_up,
    i1_one_address_one_user,
    i1_one_name_many_usernames,
    i1_a_squatter_is_put_out,
    threat_37_a_wrong_login_and_a_wrong_password_read_the_same,
    i3_a_stale_token_is_told,
    threat_33_and_34_forged_tokens,
    threat_34_signed_but_wrong,
    i3_signing_out_ends_the_session,
    threat_44_nothing_from_before_is_raised,
    threat_55_nothing_secret_is_at_rest,
);
