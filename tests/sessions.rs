//! How sessions go on and end, and what their tokens say: SPEC I3, R5, THREATS 29, 33, 34, 42, 67.

use crate::{
    identity::part,
    on_both_databases,
    support::{
        Heard, Place, Reply, TestApp,
        people::{PASSWORD, Person},
        socket::OWN_REQUESTS,
    },
    two_factor::protect,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use chrono::TimeDelta;
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const REFRESH: &str = "mutation($r: String!, $a: ID, $c: ID) { refreshSession(input: {refreshToken: $r, accountId: $a, connectionId: $c}) { account { id } switched credentials { accessToken refreshToken } userErrors { code field } } }";
const ME: &str = "{ viewer { user { id } level via { id } } account { id } }";

async fn refresh(app: &TestApp, token: &str) -> Reply {
    app.ask(REFRESH, json!({ "r": token })).await
}

fn next(reply: &Reply) -> String {
    reply.payload()["credentials"]["refreshToken"].as_str().unwrap().to_owned()
}

async fn mails_of(app: &TestApp, address: &str, kind: &str) -> usize {
    app.mails_to(address).await.iter().filter(|mail| mail["kind"] == kind).count()
}

/// I3, THREATS 42: twenty uses give one successor, and so does one after weeks; a straggler is refused without effect for a minute
/// after that was used; later, a use ends the session, and the user is e-mailed.
async fn threat_42_a_refresh_token_has_one_successor(app: &TestApp) {
    let ann = app.person("ann@x.example").await;
    let replies = join_all((0..20).map(|_| refresh(app, &ann.refresh))).await;
    let successors: BTreeSet<_> = replies.iter().map(next).collect();
    assert_eq!(successors.len(), 1);
    app.advance(TimeDelta::days(20));
    let successor = next(&refresh(app, &ann.refresh).await);
    assert_eq!(successors, BTreeSet::from([successor.clone()]), "the answer may have been lost for long");
    let latest = refresh(app, &successor).await;
    let token = latest.payload()["credentials"]["accessToken"].as_str().unwrap().to_owned();
    let me = async || app.ask_as(Some(&token), ME, Value::Null).await;
    let stragglers = join_all((0..5).map(|_| refresh(app, &ann.refresh))).await;
    assert!(stragglers.iter().all(|reply| reply.user_errors() == ["REFRESH_TOKEN_REPLACED at refreshToken"]), "{stragglers:?}");
    me().await.ok();
    app.advance(TimeDelta::seconds(58));
    assert_eq!(refresh(app, &ann.refresh).await.user_errors(), ["REFRESH_TOKEN_REPLACED at refreshToken"]);
    assert_eq!(mails_of(app, "ann@x.example", "refresh_token_reused").await, 0);
    app.advance(TimeDelta::seconds(3));
    assert_eq!(refresh(app, &ann.refresh).await.codes(), ["UNAUTHENTICATED"]);
    assert_eq!(me().await.codes(), ["UNAUTHENTICATED"; 2], "the session has ended");
    for ended in [&successor, &next(&latest)] {
        assert_eq!(refresh(app, ended).await.codes(), ["UNAUTHENTICATED"]);
    }
    assert_eq!(mails_of(app, "ann@x.example", "refresh_token_reused").await, 1);
    for nonsense in ["", "nonsense", "a.b", "AAAA.1"] {
        assert_eq!(refresh(app, nonsense).await.codes(), ["UNAUTHENTICATED"], "{nonsense}");
    }
}

/// I3, THREATS 67: a clock that is set back brings no replaced token to life, nor a session that has ended by itself.
async fn threat_67_a_clock_set_back_revives_no_session(app: &TestApp) {
    let ann = app.person("ann@x.example").await;
    let second = next(&refresh(app, &ann.refresh).await);
    app.advance(TimeDelta::minutes(10));
    let third = next(&refresh(app, &second).await);
    app.advance(TimeDelta::minutes(-10));
    assert_eq!(refresh(app, &ann.refresh).await.codes(), ["UNAUTHENTICATED"], "as if the minute were still to come");
    assert_eq!(refresh(app, &third).await.codes(), ["UNAUTHENTICATED"]);
    let bob = app.person("bob@x.example").await;
    app.advance(TimeDelta::days(30));
    keyholder::sweeper::sweep(app).await.unwrap();
    app.advance(TimeDelta::days(-8));
    assert_eq!(refresh(app, &bob.refresh).await.codes(), ["UNAUTHENTICATED"]);
}

/// Somebody of two agencies that both act in one client's account: they, the client, and each agency's connection.
async fn of_two_agencies(app: &TestApp) -> (Person<'_>, Person<'_>, [String; 2]) {
    let (one, two) = (app.agency("olga@one.example").await, app.agency("otto@two.example").await);
    let client = app.person("carl@client.example").await;
    let vera = one.colleague("vera@one.example", "MANAGER").await;
    two.invite(&["vera@one.example"], "MANAGER").await.ok();
    let link = app.token_to("vera@one.example", "invitation").await;
    let accept = "mutation($t: String!) { acceptInvitation(input: {token: $t}) { userErrors { code } } }";
    vera.ask(accept, json!({ "t": link })).await.ok();
    let connections = [one.connect(&client, "ADMIN").await, two.connect(&client, "AUTHOR").await];
    let add = "mutation($c: ID!, $u: ID!, $l: UserLevel!) { addClientUser(input: {connectionId: $c, userId: $u, level: $l}) { userErrors { code } } }";
    for (owner, connection, level) in [(&one, &connections[0], "AUTHOR"), (&two, &connections[1], "VIEWER")] {
        owner.ask(add, json!({ "c": connection, "u": vera.id, "l": level })).await.ok();
    }
    (vera, client, connections)
}

/// Switches through a connection; answers the person there.
async fn through<'a>(person: &Person<'a>, account: &str, connection: &str) -> Person<'a> {
    let switch = "mutation($a: ID!, $c: ID) { switchAccount(input: {accountId: $a, connectionId: $c}) { credentials { accessToken } userErrors { code } } }";
    let reply = person.ask(switch, json!({ "a": account, "c": connection })).await;
    let token = reply.payload()["credentials"]["accessToken"].as_str().unwrap().to_owned();
    Person { token, account: account.to_owned(), ..person.clone() }
}

/// Where an access token acts: the account and the connection.
async fn place_of(app: &TestApp, reply: &Reply) -> (Value, Value) {
    let token = reply.payload()["credentials"]["accessToken"].as_str().unwrap();
    let me = app.ask_as(Some(token), ME, Value::Null).await.0;
    (me["data"]["account"]["id"].clone(), me["data"]["viewer"]["via"]["id"].clone())
}

/// I3: a refresh keeps the account and the connection of the access token that it is sent with, expired or not, though another tab
/// of the session acts elsewhere; nothing of a foreign, forged or stale token counts.
async fn i3_a_refresh_keeps_the_account_and_the_connection(app: &TestApp) {
    let (vera, client, connections) = of_two_agencies(app).await;
    let tabs = [through(&vera, &client.account, &connections[0]).await, through(&vera, &client.account, &connections[1]).await];
    let stranger = app.person("sam@x.example").await;
    let other_session = through(&vera.sign_in().await, &client.account, &connections[1]).await;
    let home = vera.acting_in(&vera.account).await;
    app.advance(TimeDelta::minutes(6));
    let mut latest = vera.refresh.clone();
    for (tab, connection) in tabs.iter().zip(&connections).chain(tabs.iter().zip(&connections)) {
        assert_eq!(tab.ask(ME, Value::Null).await.codes()[0], "UNAUTHENTICATED", "it has expired");
        let reply = tab.ask(REFRESH, json!({ "r": latest })).await;
        assert_eq!(
            (&reply.payload()["switched"], place_of(app, &reply).await),
            (&json!(false), (json!(client.account), json!(connection)))
        );
        latest = next(&reply);
    }
    let reply = home.ask(REFRESH, json!({ "r": latest })).await;
    assert_eq!(place_of(app, &reply).await, (json!(vera.account), Value::Null));
    latest = next(&reply);
    // Somebody else's token, one of another session, one that was changed, and one of another type.
    let changed = format!("{}x", tabs[0].token);
    let claims: Vec<_> = tabs[0].token.split('.').collect();
    let forged = format!("{}.{}.{}", claims[0], claims[1].replace('a', "b"), claims[2]);
    let refresh_token = latest.clone();
    for ignored in [&stranger.token, &other_session.token, &changed, &forged, &refresh_token] {
        let reply = app.ask_as(Some(ignored), REFRESH, json!({ "r": latest })).await;
        assert_eq!(place_of(app, &reply).await, (json!(vera.account), Value::Null), "where the session acted last");
        latest = next(&reply);
    }
    // The input counts before the token: with a connection, through that one; with the token's account alone, as the token.
    for (tab, input, expected) in [
        (&tabs[0], json!({ "a": client.account, "c": connections[1] }), &connections[1]),
        (&tabs[1], json!({ "a": client.account }), &connections[1]),
        (&tabs[0], json!({ "a": client.account }), &connections[0]),
        (&home, json!({ "a": client.account }), &connections[0]),
    ] {
        let reply = tab.ask(REFRESH, json!({ "r": latest, "a": input["a"], "c": input["c"] })).await;
        assert_eq!(place_of(app, &reply).await, (json!(client.account), json!(expected)), "{input}");
        latest = next(&reply);
    }
    let alone = app.ask(REFRESH, json!({ "r": latest, "c": connections[0] })).await;
    assert_eq!(alone.user_errors(), ["INVALID at connectionId"]);
}

/// I3, L8: a refresh whose access is gone says so and where it acts now: through the other connection, at home, or nowhere. An account
/// that one never had access to and one that does not exist are answered alike.
async fn i3_a_refresh_says_that_it_acts_elsewhere(app: &TestApp) {
    let (vera, client, connections) = of_two_agencies(app).await;
    let there = through(&vera, &client.account, &connections[1]).await;
    client.end(&connections[1]).await.ok();
    let reply = there.ask(REFRESH, json!({ "r": vera.refresh })).await;
    assert_eq!(
        (&reply.payload()["switched"], place_of(app, &reply).await),
        (&json!(true), (json!(client.account), json!(connections[0])))
    );
    client.end(&connections[0]).await.ok();
    let reply = there.ask(REFRESH, json!({ "r": next(&reply) })).await;
    assert_eq!((&reply.payload()["switched"], place_of(app, &reply).await.1), (&json!(true), Value::Null));
    assert_ne!(reply.payload()["account"]["id"], json!(client.account));
    let mut latest = next(&reply);
    for account in [client.account.as_str(), "account_00000000000000000000000001"] {
        let reply = vera.ask(REFRESH, json!({ "r": latest, "a": account })).await;
        assert_eq!((&reply.payload()["switched"], &reply.payload()["account"]["id"]), (&json!(true), &json!(vera.account)));
        latest = next(&reply);
    }
    // Nowhere to go: their only account is closed.
    let sam = app.person("sam@x.example").await;
    sam.ask("mutation { closeAccount(input: {confirmation: \"sam's account\"}) { userErrors { code } } }", Value::Null)
        .await
        .ok();
    let reply = sam.ask(REFRESH, json!({ "r": sam.refresh })).await;
    assert_eq!((&reply.payload()["switched"], &reply.payload()["account"]), (&json!(true), &Value::Null));
}

/// I3: however it is used, a session ends 90 days after the sign-in.
async fn i3_a_session_has_an_absolute_age(app: &TestApp) {
    let ann = app.person("ann@x.example").await;
    let sessions = "{ viewer { sessions { endsAt current } } }";
    let ends_at = ann.ask(sessions, Value::Null).await.payload()["sessions"][0]["endsAt"].as_str().unwrap().to_owned();
    let left = ends_at.parse::<chrono::DateTime<chrono::Utc>>().unwrap() - app.now();
    assert_eq!(left.num_hours(), 30 * 24 - 1);
    let mut latest = ann.refresh.clone();
    for _ in 0..8 {
        app.advance(TimeDelta::days(11));
        latest = next(&refresh(app, &latest).await);
    }
    app.advance(TimeDelta::days(2) - TimeDelta::minutes(2));
    let last = refresh(app, &latest).await;
    let token = last.payload()["credentials"]["accessToken"].as_str().unwrap().to_owned();
    app.ask_as(Some(&token), ME, Value::Null).await.ok();
    app.advance(TimeDelta::minutes(2));
    assert_eq!(app.ask_as(Some(&token), ME, Value::Null).await.codes(), ["UNAUTHENTICATED"; 2], "whatever its token has left");
    assert_eq!(refresh(app, &next(&last)).await.codes(), ["UNAUTHENTICATED"]);
}

/// I3, R5, THREATS 29: the settings count, and an open socket closes at the very moment that its session ends.
async fn threat_29_a_socket_ends_with_its_session(place: Place) {
    let app = TestApp::start(place, &[("session_ttl", "2d"), ("session_idle_ttl", "1d"), ("access_token_ttl", "3d")]).await;
    let ann = app.person("ann@x.example").await;
    app.advance(TimeDelta::days(1) - TimeDelta::seconds(5));
    // Sooner than anybody looks again by themselves.
    let mut socket = ann.socket().await;
    socket.subscribe("1", OWN_REQUESTS, Value::Null).await;
    let Heard::Message(end) = socket.hear().await else { panic!("the stream ends with an error first") };
    assert!(end.to_string().contains("UNAUTHENTICATED"), "{end}");
    loop {
        if let Heard::Closed(code) = socket.hear().await {
            assert_eq!(code, 4403);
            break;
        }
    }
    assert_eq!(refresh(&app, &ann.refresh).await.codes(), ["UNAUTHENTICATED"]);
    app.finish().await;
}

/// RFC 9068: the type, when the user last proved who they are, and how.
async fn i3_an_access_token_says_how_and_when(app: &TestApp) {
    let ann = app.person("ann@x.example").await;
    assert_eq!(part(&ann.token, 0)["typ"], "at+jwt");
    let claims = part(&ann.token, 1);
    assert_eq!((&claims["amr"], &claims["auth_time"]), (&json!(["pwd"]), &claims["iat"]));
    let (device, recovery) = protect(&ann).await;
    app.advance(TimeDelta::minutes(2));
    let sign_in = "mutation($c: String!) { signIn(input: {login: \"ann\", password: \"a long walk by the sea\", code: $c}) { credentials { accessToken refreshToken } userErrors { code } } }";
    for code in [&device.code_in(0), &recovery[0]] {
        let signed_in = app.ask(sign_in, json!({ "c": code })).await.payload()["credentials"].clone();
        assert_eq!(part(signed_in["accessToken"].as_str().unwrap(), 1)["amr"], json!(["pwd", "otp", "mfa"]));
    }
    app.advance(TimeDelta::minutes(2));
    let claims_of = |reply: &Reply| part(reply.payload()["credentials"]["accessToken"].as_str().unwrap(), 1);
    let later = refresh(app, &ann.refresh).await;
    assert_eq!(claims_of(&later)["auth_time"], claims["auth_time"], "a refresh proves nothing");
    let again =
        "mutation($p: String, $c: String) { reauthenticate(input: {password: $p, code: $c}) { until userErrors { code } } }";
    let ann = Person { token: later.payload()["credentials"]["accessToken"].as_str().unwrap().to_owned(), ..ann };
    for (given, amr) in [
        (json!({ "c": device.code_in(0) }), json!(["otp"])),
        (json!({ "p": PASSWORD, "c": recovery[1] }), json!(["pwd", "otp", "mfa"])),
        (json!({ "p": PASSWORD }), json!(["pwd"])),
    ] {
        ann.ask(again, given).await.ok();
        let claims = claims_of(
            &ann.ask(
                "mutation($a: ID!) { switchAccount(input: {accountId: $a}) { credentials { accessToken } userErrors { code } } }",
                json!({ "a": ann.account }),
            )
            .await,
        );
        assert_eq!(claims["amr"], amr, "as of the last proof");
        assert!(app.now().timestamp() - claims["auth_time"].as_i64().unwrap() <= 10, "{claims}");
    }
}

/// I3, R5, THREATS 33: tokens by ES256 where the setting says so; each key verifies by its own algorithm alone, and sessions and
/// tokens of before go on.
async fn i3_the_algorithm_is_a_setting(place: Place) {
    let app = TestApp::start(place, &[("token_algorithm", "ES256")]).await;
    let ann = app.person("ann@x.example").await;
    assert_eq!(part(&ann.token, 0)["alg"], "ES256");
    let jwks = async |app: &TestApp| -> Value {
        app.http.get(format!("{}/.well-known/jwks.json", app.url)).send().await.unwrap().json().await.unwrap()
    };
    let keys = jwks(&app).await["keys"].clone();
    assert_eq!(
        (&keys[0]["kid"], &keys[0]["kty"], &keys[0]["crv"], &keys[0]["alg"]),
        (&part(&ann.token, 0)["kid"], &json!("EC"), &json!("P-256"), &json!("ES256"))
    );
    let [_, claims, signature] = <[&str; 3]>::try_from(ann.token.split('.').collect::<Vec<_>>()).unwrap();
    for alg in ["EdDSA", "ES384", "HS256", "RS256", "none"] {
        let mut other = part(&ann.token, 0);
        other["alg"] = json!(alg);
        let other = BASE64.encode(other.to_string());
        let token = format!("{other}.{claims}.{signature}");
        assert_eq!(app.ask_as(Some(&token), ME, Value::Null).await.codes()[0], "UNAUTHENTICATED", "{alg}");
    }
    let url = app.url.clone();
    let settings = [("token_algorithm", "EdDSA"), ("issuer", url.as_str())];
    let (token, refresh_token) = (ann.token.clone(), ann.refresh.clone());
    let app = app.restart(&settings).await;
    app.ask_as(Some(&token), ME, Value::Null).await.ok();
    let refreshed = refresh(&app, &refresh_token).await;
    let token = refreshed.payload()["credentials"]["accessToken"].as_str().unwrap();
    assert_eq!(part(token, 0)["alg"], "ES256", "until the new key is known everywhere");
    assert_eq!(jwks(&app).await["keys"].as_array().unwrap().len(), 2);
    app.advance(TimeDelta::minutes(11));
    let refreshed = refresh(&app, &next(&refreshed)).await;
    let token = refreshed.payload()["credentials"]["accessToken"].as_str().unwrap();
    assert_eq!(part(token, 0)["alg"], "EdDSA");
    app.ask_as(Some(token), ME, Value::Null).await.ok();
    app.finish().await;
}

on_both_databases!(
    threat_42_a_refresh_token_has_one_successor,
    threat_67_a_clock_set_back_revives_no_session,
    i3_a_refresh_keeps_the_account_and_the_connection,
    i3_a_refresh_says_that_it_acts_elsewhere,
    i3_a_session_has_an_absolute_age,
    i3_an_access_token_says_how_and_when,
);
on_both_databases!(on_its_own_servers: threat_29_a_socket_ends_with_its_session, i3_the_algorithm_is_a_setting);
