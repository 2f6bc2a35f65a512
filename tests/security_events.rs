//! Security events: SPEC E1a, with what they show of I5, I6, I7, C3 and U8.

use crate::{
    on_both_databases,
    process::{Process, keyholder, said},
    support::{
        Heard, Place, Reply, TestApp, everything,
        people::{PASSWORD, Person},
    },
    two_factor::{protect, protected},
};
use chrono::TimeDelta;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const AGENT: &str = "Testbrowser/7 (quiet)";
const FIELDS: &str = "kind outcome count code permission operation byOperator address userAgent user { id } actor { id } account { id } via { id } apiKey session";
const SIGN_IN: &str = "mutation($l: String!, $p: String!, $c: String, $a: ID) { signIn(input: {login: $l, password: $p, code: $c, accountId: $a}) { user { id } account { id } credentials { accessToken refreshToken } userErrors { code } } }";

/// A server that believes the test which address a request comes from.
async fn behind_a_proxy(place: Place, settings: &[(&str, &str)]) -> TestApp {
    TestApp::start(place, &[settings, &[("trusted_proxies", "127.0.0.1")]].concat()).await
}

/// Asks from an address, with a user agent.
async fn from(app: &TestApp, address: &str, token: Option<&str>, query: &str, variables: Value) -> Reply {
    let request = app.http.post(format!("{}/graphql", app.url)).json(&json!({ "query": query, "variables": variables }));
    let request = request.header("x-forwarded-for", address).header("user-agent", AGENT);
    let request = if let Some(token) = token { request.bearer_auth(token) } else { request };
    Reply(request.send().await.unwrap().json().await.unwrap())
}

async fn sign_in(app: &TestApp, address: &str, login: &str, password: &str, code: Option<&str>) -> Reply {
    from(app, address, None, SIGN_IN, json!({ "l": login, "p": password, "c": code })).await
}

/// The viewer's security events, newest first.
async fn own(person: &Person<'_>, arguments: &str) -> Vec<Value> {
    person.app.security.flush(&person.app.app).await.unwrap();
    let query = format!("{{ viewer {{ securityEvents{arguments} {{ nodes {{ {FIELDS} }} }} }} }}");
    person.ask(&query, Value::Null).await.payload()["securityEvents"]["nodes"].as_array().unwrap().clone()
}

/// Those of the account that a person acts in.
async fn of_account(person: &Person<'_>, arguments: &str) -> Vec<Value> {
    person.app.security.flush(&person.app.app).await.unwrap();
    let query = format!("{{ account {{ securityEvents{arguments} {{ nodes {{ {FIELDS} }} }} }} }}");
    person.ask(&query, Value::Null).await.payload()["securityEvents"]["nodes"].as_array().unwrap().clone()
}

/// Some fields of each event.
fn some(events: &[Value], fields: &[&str]) -> Value {
    events.iter().map(|event| fields.iter().map(|field| event[*field].clone()).collect::<Value>()).collect()
}

/// E1a, I5: sign-ins that succeed, fail or are slowed down, wrong codes and wrong passwords concern the user whose login it is, with
/// where they came from. An unknown login leaves nothing.
async fn e1a_sign_ins_and_failures(place: Place) {
    let app = behind_a_proxy(place, &[]).await;
    let (ann, device, _) = protected(&app, "ann@x.example").await;
    let bob = app.person("bob@x.example").await;
    sign_in(&app, "203.0.113.1", "nobody@x.example", "not the password", None).await;
    for _ in 0..3 {
        assert_eq!(sign_in(&app, "203.0.113.7", "ann", "not the password", None).await.user_errors(), ["WRONG_CREDENTIALS"]);
    }
    assert_eq!(sign_in(&app, "203.0.113.8", "ann", PASSWORD, None).await.user_errors(), ["TWO_FACTOR_CODE_REQUIRED"]);
    assert_eq!(sign_in(&app, "203.0.113.9", "ann", PASSWORD, Some("000000")).await.user_errors(), ["WRONG_TWO_FACTOR_CODE"]);
    sign_in(&app, "203.0.113.10", "ann", PASSWORD, Some(&device.code_in(1))).await.ok();
    for _ in 0..5 {
        sign_in(&app, "203.0.113.7", "ann@x.example", "not the password", None).await;
    }
    assert_eq!(sign_in(&app, "203.0.113.7", "ann@x.example", PASSWORD, None).await.codes(), ["RATE_LIMITED"]);
    let again = "mutation($p: String) { reauthenticate(input: {password: $p}) { userErrors { code } } }";
    from(&app, "203.0.113.11", Some(&ann.token), again, json!({ "p": "not the password" })).await;
    let events = own(&ann, "(outcomes: [FAILURE, THROTTLED])").await;
    let told = some(&events, &["kind", "outcome", "code", "address", "count"]);
    let expected = json!([
        ["PASSWORD_CHECK", "FAILURE", "WRONG_CREDENTIALS", "203.0.113.11", 1],
        ["SIGN_IN", "THROTTLED", "RATE_LIMITED", "203.0.113.7", 1],
        ["TWO_FACTOR_CODE", "FAILURE", "WRONG_TWO_FACTOR_CODE", "203.0.113.9", 1],
        ["SIGN_IN", "FAILURE", "TWO_FACTOR_CODE_REQUIRED", "203.0.113.8", 1],
        ["SIGN_IN", "FAILURE", "WRONG_CREDENTIALS", "203.0.113.7", 8],
    ]);
    assert_eq!(told, expected);
    for event in &events {
        assert_eq!((&event["user"]["id"], &event["userAgent"], &event["account"]), (&json!(ann.id), &json!(AGENT), &Value::Null));
        assert!(event["actor"].is_null(), "who tried it is not known: {event}");
    }
    let success = &own(&ann, "(kinds: [SIGN_IN], outcomes: [SUCCESS], first: 1)").await[0];
    assert_eq!(
        (&success["address"], &success["actor"]["id"], &success["code"]),
        (&json!("203.0.113.10"), &json!(ann.id), &Value::Null)
    );
    assert!(success["session"].as_str().unwrap().starts_with("session_"));
    assert_eq!(own(&bob, "(outcomes: [FAILURE, THROTTLED, DENIED])").await, [Value::Null; 0]);
    assert_eq!(of_account(&ann, "").await, [Value::Null; 0], "they concern the user alone");
    assert!(!everything(&app).await.contains("203.0.113.1\n"), "an unknown login concerns nobody");
    app.finish().await;
}

/// E1a: how sessions end, and resets, with where they were asked for.
async fn e1a_sessions_and_resets(place: Place) {
    let app = behind_a_proxy(place, &[]).await;
    let ann = app.person("ann@x.example").await;
    let ask = async |token: &str, query: &str, variables: Value| from(&app, "203.0.113.7", Some(token), query, variables).await;
    let (other, third) = (ann.sign_in().await, ann.sign_in().await);
    ask(&other.token, "mutation { signOut { signedOut } }", Value::Null).await.ok();
    ask(&ann.token, "mutation { revokeOtherSessions { userErrors { code } } }", Value::Null).await.ok();
    drop(third);
    let refresh = "mutation($t: String!) { refreshSession(input: {refreshToken: $t}) { credentials { refreshToken } userErrors { code } } }";
    let other = ann.sign_in().await;
    let mut token = other.refresh.clone();
    for _ in 0..2 {
        let next = app.ask(refresh, json!({ "t": token })).await;
        next.payload()["credentials"]["refreshToken"].as_str().unwrap().clone_into(&mut token);
    }
    app.advance(TimeDelta::minutes(2));
    let stolen = from(&app, "203.0.113.66", None, refresh, json!({ "t": other.refresh })).await;
    assert_eq!(stolen.codes(), ["UNAUTHENTICATED"]);
    let reset = "mutation($e: String!) { requestPasswordReset(input: {email: $e}) { accepted } }";
    for email in ["ann@x.example", "nobody@x.example"] {
        from(&app, "203.0.113.8", None, reset, json!({ "e": email })).await.ok();
    }
    let link = app.token_to("ann@x.example", "reset_password").await;
    let reset = "mutation($t: String!, $p: String!) { resetPassword(input: {token: $t, password: $p}) { userErrors { code } } }";
    from(&app, "203.0.113.9", None, reset, json!({ "t": link, "p": PASSWORD })).await.ok();
    let ann = app.sign_in("ann@x.example").await;
    let kinds = "(kinds: [SESSION_ENDED, OTHER_SESSIONS_ENDED, REFRESH_TOKEN_REUSED, PASSWORD_RESET_REQUESTED, PASSWORD_RESET])";
    let told = some(&own(&ann, kinds).await, &["kind", "outcome", "address"]);
    let expected = json!([
        ["PASSWORD_RESET", "SUCCESS", "203.0.113.9"],
        ["PASSWORD_RESET_REQUESTED", "SUCCESS", "203.0.113.8"],
        ["REFRESH_TOKEN_REUSED", "DENIED", "203.0.113.66"],
        ["OTHER_SESSIONS_ENDED", "SUCCESS", "203.0.113.7"],
        ["SESSION_ENDED", "SUCCESS", "203.0.113.7"],
    ]);
    assert_eq!(told, expected);
    app.finish().await;
}

/// E1a, I6: an API key from its creation to its deletion, and each new network that it is used from, also after a restart. The key
/// sees the account's events and none of its creator's own.
async fn e1a_api_keys(place: Place) {
    let app = behind_a_proxy(place, &[]).await;
    let (email, kinds) = ("ann@x.example", "(kinds: [API_KEY_CREATED, API_KEY_USED, API_KEY_DELETED])");
    let ann = app.person(email).await;
    let secret = ann.api_key().await;
    let used = async |app: &TestApp, addresses: &[&str]| {
        for address in addresses {
            from(app, address, Some(&secret), "{ account { id } }", Value::Null).await.ok();
        }
    };
    used(&app, &["203.0.113.7", "203.0.113.7", "2001:db8::1", "2001:db8::2", "203.0.113.8"]).await;
    // A mutation that is denied was sent with the key all the same.
    let require = "mutation { requireTwoFactor(input: {required: true}) { userErrors { code } } }";
    assert_eq!(from(&app, "203.0.113.9", Some(&secret), require, Value::Null).await.codes(), ["FORBIDDEN"]);
    let expected = ["203.0.113.9", "203.0.113.8", "2001:db8::1", "203.0.113.7"];
    assert_eq!(some(&own(&ann, "(kinds: [API_KEY_USED])").await, &["address"]), json!(expected.map(|address| [address])));
    let app = behind_a_proxy(app.stop().await, &[]).await;
    used(&app, &["203.0.113.7", "2001:db8::3", "203.0.113.10"]).await;
    let ann = app.sign_in(email).await;
    let used: Vec<_> = of_account(&ann, kinds).await;
    assert_eq!(
        some(&used[..2], &["kind", "address"]),
        json!([["API_KEY_USED", "203.0.113.10"], ["API_KEY_USED", "203.0.113.9"]])
    );
    assert_eq!((used.len(), &used[5]["kind"]), (6, &json!("API_KEY_CREATED")));
    assert!(used.iter().all(|event| event["apiKey"] == used[0]["apiKey"] && event["account"]["id"] == json!(ann.account)));
    let wrong = from(&app, "203.0.113.99", Some(&format!("{secret}x")), "{ viewer { level } }", Value::Null).await;
    assert_eq!(wrong.codes(), ["UNAUTHENTICATED"]);
    let by_key = Person { token: secret.clone(), ..ann.clone() };
    assert_eq!(own(&by_key, "").await, [Value::Null; 0]);
    assert!(of_account(&by_key, kinds).await.len() >= 6, "an Owner's key may view the audit log");
    let revoke = "mutation($k: ID!) { revokeApiKey(input: {apiKeyId: $k}) { userErrors { code } } }";
    from(&app, "203.0.113.12", Some(&ann.token), revoke, json!({ "k": used[0]["apiKey"] })).await.ok();
    let deleted = &of_account(&ann, "(kinds: [API_KEY_DELETED])").await[0];
    assert_eq!((&deleted["address"], &deleted["actor"]["id"]), (&json!("203.0.113.12"), &json!(ann.id)));
    assert!(!everything(&app).await.contains("203.0.113.99"), "a key that is none");
    app.finish().await;
}

/// E1a, L7, I6, I7, U10: what guards deny, of fields, mutations and subscriptions, by HTTP and WebSocket, to sessions and keys; with the
/// field's name and the permission, and nothing that the client wrote.
async fn e1a_denials(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let viewer = owner.colleague("vera@agency.example", "VIEWER").await;
    let query = "{ mine: account { chosen: auditLog { totalCount } ...More } } fragment More on Account { again: billing { company } plan }";
    assert_eq!(viewer.ask(query, Value::Null).await.codes(), ["FORBIDDEN", "FORBIDDEN"]);
    let invite = "mutation { chosen: inviteUsers(input: {emails: [\"x@x.example\"], level: VIEWER}) { userErrors { code } } }";
    for _ in 0..3 {
        assert_eq!(viewer.ask(invite, Value::Null).await.codes(), ["FORBIDDEN"]);
    }
    let mut socket = viewer.socket().await;
    socket.subscribe("1", "subscription { chosen: accountActivity { cursor } }", Value::Null).await;
    let Heard::Message(refused) = socket.hear().await else { panic!("it is refused") };
    assert!(refused.to_string().contains("FORBIDDEN"), "{refused}");
    let denials = some(&of_account(&owner, "(kinds: [ACCESS_DENIED])").await, &["code", "permission", "operation", "count"]);
    let expected = json!([
        ["FORBIDDEN", "VIEW_AUDIT_LOG", "accountActivity", 1],
        ["FORBIDDEN", "INVITE_USERS", "inviteUsers", 3],
        ["FORBIDDEN", "CHANGE_BILLING_INFORMATION", "billing", 1],
        ["FORBIDDEN", "VIEW_AUDIT_LOG", "auditLog", 1],
    ]);
    assert_eq!(denials, expected);
    assert_eq!(own(&viewer, "(kinds: [ACCESS_DENIED])").await.len(), 4, "they see it too");
    assert!(!everything(app).await.contains("chosen"), "an alias is the client's own text");
    // A key, by I6; and a session that has to authenticate again, by I7.
    let by_key = Person { token: owner.api_key().await, ..owner.clone() };
    let out = "mutation { signOut { signedOut } }";
    assert_eq!(by_key.ask(out, Value::Null).await.codes(), ["FORBIDDEN"]);
    app.advance(TimeDelta::minutes(11));
    let owner = owner.sign_in().await;
    app.advance(TimeDelta::minutes(11));
    let owner = Person { token: refreshed(app, &owner).await, ..owner };
    assert_eq!(owner.transfer(&viewer.id).await.codes(), ["REAUTHENTICATION_REQUIRED"]);
    let change = "mutation { changeEmail(input: {email: \"new@x.example\"}) { userErrors { code } } }";
    assert_eq!(owner.ask(change, Value::Null).await.codes(), ["REAUTHENTICATION_REQUIRED"]);
    let mine = some(&own(&owner, "(kinds: [ACCESS_DENIED], first: 3)").await, &["operation", "permission", "account"]);
    let account = json!({ "id": owner.account });
    let expected =
        json!([["changeEmail", null, null], ["transferOwnership", "TRANSFER_OWNERSHIP", account], ["signOut", null, account]]);
    assert_eq!(mine, expected, "what concerns the login alone is not shown to the account");
    let key = &of_account(&owner, "(kinds: [ACCESS_DENIED])").await[1];
    assert!(key["operation"] == "signOut" && key["apiKey"].as_str().unwrap().starts_with("apikey_"), "{key}");
    // Two-factor that the account requires.
    let viewer = viewer.sign_in().await;
    let owner = owner.sign_in().await;
    protect(&owner).await;
    owner.ask("mutation { requireTwoFactor(input: {required: true}) { userErrors { code } } }", Value::Null).await.ok();
    assert_eq!(viewer.ask(invite, Value::Null).await.codes(), ["TWO_FACTOR_REQUIRED"]);
    let last = some(&of_account(&owner, "(kinds: [ACCESS_DENIED], first: 1)").await, &["code", "permission", "operation"]);
    assert_eq!(last, json!([["TWO_FACTOR_REQUIRED", "INVITE_USERS", "inviteUsers"]]));
}

async fn refreshed(app: &TestApp, person: &Person<'_>) -> String {
    let refresh =
        "mutation($t: String!) { refreshSession(input: {refreshToken: $t}) { credentials { accessToken } userErrors { code } } }";
    let reply = app.ask(refresh, json!({ "t": person.refresh })).await;
    reply.payload()["credentials"]["accessToken"].as_str().unwrap().to_owned()
}

/// E1a, C3: an agency user who enters a client's account is seen there, by `switchAccount`, `signIn` and `refreshSession`, with where
/// they came from. Those of another agency see nothing of it, and of the client's own users not where they are.
async fn e1a_agency_users_enter(place: Place) {
    let app = behind_a_proxy(place, &[]).await;
    let owner = app.agency("olga@agency.example").await;
    let rival = app.agency("rita@rival.example").await;
    let client = app.person("carl@client.example").await;
    owner.connect(&client, "ADMIN").await;
    rival.connect(&client, "ADMIN").await;
    let switch =
        "mutation($a: ID!) { switchAccount(input: {accountId: $a}) { credentials { accessToken } userErrors { code } } }";
    let entered = from(&app, "203.0.113.7", Some(&owner.token), switch, json!({ "a": client.account })).await;
    let token = entered.payload()["credentials"]["accessToken"].as_str().unwrap().to_owned();
    let there = Person { token, account: client.account.clone(), ..owner.clone() };
    let input = json!({ "l": "rita@rival.example", "p": PASSWORD, "a": client.account });
    let rival_there = Person::of(&app, "rita@rival.example", from(&app, "203.0.113.8", None, SIGN_IN, input).await.payload());
    let refresh = "mutation($t: String!, $a: ID) { refreshSession(input: {refreshToken: $t, accountId: $a}) { account { id } userErrors { code } } }";
    let fresh = owner.sign_in().await;
    from(&app, "203.0.113.9", None, refresh, json!({ "t": fresh.refresh, "a": owner.account })).await.ok();
    let fresh = owner.sign_in().await;
    from(&app, "203.0.113.9", None, refresh, json!({ "t": fresh.refresh, "a": client.account })).await.ok();
    let secret = client.api_key().await;
    from(&app, "203.0.113.20", Some(&secret), "{ account { id } }", Value::Null).await.ok();
    // Each is denied something.
    let invite = "mutation { inviteUsers(input: {emails: [\"x@x.example\"], level: VIEWER}) { userErrors { code } } }";
    for person in [&there, &rival_there] {
        assert_eq!(person.ask(invite, Value::Null).await.codes(), ["FORBIDDEN"]);
    }
    let kinds = "(kinds: [CLIENT_ACCOUNT_ENTERED, ACCESS_DENIED, API_KEY_USED])";
    let who = |events: &[Value]| {
        let told = events.iter().map(|event| {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            (text(&event["kind"]), text(&event["actor"]["id"]), text(&event["via"]["id"]), text(&event["address"]))
        });
        told.collect::<BTreeSet<_>>()
    };
    let entry = |person: &Person<'_>, address: &str| {
        ("CLIENT_ACCOUNT_ENTERED".to_owned(), person.id.clone(), person.account.clone(), address.to_owned())
    };
    let denial =
        |person: &Person<'_>| ("ACCESS_DENIED".to_owned(), person.id.clone(), person.account.clone(), "127.0.0.1".to_owned());
    let key = |address: &str| ("API_KEY_USED".to_owned(), client.id.clone(), String::new(), address.to_owned());
    let owners = [entry(&owner, "203.0.113.7"), entry(&owner, "203.0.113.9"), denial(&owner)];
    let rivals = [entry(&rival, "203.0.113.8"), denial(&rival)];
    let all = [owners.as_slice(), &rivals, &[key("203.0.113.20")]].concat();
    assert_eq!(who(&of_account(&client, kinds).await), all.into_iter().collect());
    assert_eq!(who(&of_account(&there, kinds).await), [owners.as_slice(), &[key("")]].concat().into_iter().collect());
    assert_eq!(who(&of_account(&rival_there, kinds).await), [rivals.as_slice(), &[key("")]].concat().into_iter().collect());
    let total = "{ account { securityEvents { totalCount } } }";
    let count =
        async |person: &Person<'_>| person.ask(total, Value::Null).await.payload()["securityEvents"]["totalCount"].clone();
    assert!(count(&there).await.as_i64() < count(&client).await.as_i64(), "nor can they be counted");
    // One id has one value for one viewer, and what is not in the list is not found by its id.
    let ids = "{ account { securityEvents(first: 100) { nodes { id address } } } }";
    let listed = client.ask(ids, Value::Null).await.payload()["securityEvents"]["nodes"].clone();
    let node = "query($i: [ID!]!) { nodes(ids: $i) { ... on SecurityEvent { id address } } }";
    let wanted: Vec<_> = listed.as_array().unwrap().iter().map(|event| event["id"].clone()).collect();
    assert_eq!(client.ask(node, json!({ "i": wanted })).await.payload(), &listed);
    let found = there.ask(node, json!({ "i": wanted })).await.payload().clone();
    let found: BTreeSet<_> = found.as_array().unwrap().iter().filter(|node| !node.is_null()).map(Value::to_string).collect();
    let listed = there.ask(ids, Value::Null).await.payload()["securityEvents"]["nodes"].clone();
    assert_eq!(found, listed.as_array().unwrap().iter().map(Value::to_string).collect());
    app.finish().await;
}

/// E1a: the fetch of a download, from wherever the link was opened.
async fn e1a_downloads(place: Place) {
    let app = behind_a_proxy(place, &[]).await;
    let ann = app.person("ann@x.example").await;
    let link = ann.ask("mutation { exportAccount { url userErrors { code } } }", Value::Null).await;
    let url = link.payload()["url"].as_str().unwrap().to_owned();
    assert_eq!(of_account(&ann, "(kinds: [EXPORT_DOWNLOADED])").await, [Value::Null; 0]);
    for status in [200, 404] {
        let fetched =
            app.http.get(&url).header("x-forwarded-for", "203.0.113.7").header("user-agent", AGENT).send().await.unwrap();
        assert_eq!(fetched.status(), status);
        fetched.bytes().await.unwrap();
    }
    let events = of_account(&ann, "(kinds: [EXPORT_DOWNLOADED])").await;
    assert_eq!(some(&events, &["outcome", "address", "userAgent", "count"]), json!([["SUCCESS", "203.0.113.7", AGENT, 1]]));
    assert_eq!(events[0]["actor"]["id"], json!(ann.id));
    app.finish().await;
}

/// E1a: a page is stable while equal events are counted and others come; filters; who may not view an account's.
async fn e1a_pages_are_stable(place: Place) {
    let app = behind_a_proxy(place, &[("access_token_ttl", "1d")]).await;
    let owner = app.agency("olga@agency.example").await;
    let viewer = owner.colleague("vera@agency.example", "VIEWER").await;
    let fail = async |n: usize| sign_in(&app, &format!("203.0.113.{n}"), "olga", "not the password", None).await;
    for n in 0..6 {
        fail(n).await;
        app.advance(TimeDelta::minutes(1));
    }
    let query = "query($f: Int, $a: String, $l: Int, $b: String, $from: DateTime, $until: DateTime) { viewer { securityEvents(kinds: [SIGN_IN], outcomes: [FAILURE], first: $f, after: $a, last: $l, before: $b, from: $from, until: $until) { totalCount nodes { address at lastAt } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } } }";
    let page = async |arguments: Value| {
        app.security.flush(&app).await.unwrap();
        owner.ask(query, arguments).await.payload()["securityEvents"].clone()
    };
    let addresses = |page: &Value| {
        let nodes = page["nodes"].as_array().unwrap().iter();
        nodes.map(|node| node["address"].as_str().unwrap().rsplit('.').next().unwrap().parse().unwrap()).collect::<Vec<usize>>()
    };
    let first = page(json!({ "f": 2 })).await;
    assert_eq!(
        (addresses(&first), &first["totalCount"], &first["pageInfo"]["hasNextPage"]),
        (vec![5, 4], &json!(6), &json!(true))
    );
    fail(0).await;
    fail(9).await;
    let second = page(json!({ "f": 10, "a": first["pageInfo"]["endCursor"] })).await;
    assert_eq!((addresses(&second), &second["pageInfo"]["hasNextPage"]), (vec![3, 2, 1, 0], &json!(false)));
    let counted = &second["nodes"][3];
    assert_ne!(counted["at"], counted["lastAt"]);
    assert_eq!(addresses(&page(json!({ "b": first["pageInfo"]["startCursor"], "l": 5 })).await), [9]);
    assert_eq!(addresses(&page(json!({ "l": 2 })).await), [1, 0]);
    let moment = second["nodes"][1]["at"].clone();
    assert_eq!(addresses(&page(json!({ "from": moment, "until": first["nodes"][0]["at"] })).await), [4, 3, 2, 0]);
    let wrong = owner.ask(query, json!({ "from": app.now(), "until": moment })).await;
    assert_eq!(wrong.codes(), ["BAD_REQUEST"]);
    assert_eq!(viewer.ask("{ account { securityEvents { totalCount } } }", Value::Null).await.codes(), ["FORBIDDEN"]);
    let theirs = format!("(actor: {:?})", viewer.id);
    assert_eq!(some(&of_account(&owner, &theirs).await, &["operation"]), json!([["securityEvents"]]));
    app.finish().await;
}

/// E1a: a flood against one login is one row, and is not lost with a graceful stop.
async fn e1a_a_flood_is_one_row(place: Place) {
    let app = behind_a_proxy(place, &[("sign_in_throttle", "off")]).await;
    app.person("ann@x.example").await;
    for n in 0..60 {
        sign_in(&app, &format!("2001:db8::{n:x}"), "ann", "not the password", None).await;
    }
    let app = behind_a_proxy(app.stop().await, &[]).await;
    let ann = app.sign_in("ann@x.example").await;
    let rows = own(&ann, "(outcomes: [FAILURE])").await;
    assert_eq!(rows.iter().map(|row| row["count"].as_i64().unwrap()).sum::<i64>(), 60);
    assert_eq!(rows.len(), 1, "{rows:?}");
    app.finish().await;
}

/// E1a, U8: when a user is erased, so is where they were, also of what is still in memory.
async fn e1a_erased_with_their_user(place: Place) {
    let app = behind_a_proxy(place, &[]).await;
    let owner = app.agency("olga@agency.example").await;
    let vera = owner.colleague("vera@agency.example", "VIEWER").await;
    sign_in(&app, "203.0.113.7", "vera", PASSWORD, None).await.ok();
    let invite = "mutation { inviteUsers(input: {emails: [\"x@x.example\"], level: VIEWER}) { userErrors { code } } }";
    assert_eq!(from(&app, "203.0.113.7", Some(&vera.token), invite, Value::Null).await.codes(), ["FORBIDDEN"]);
    app.security.flush(&app).await.unwrap();
    let before = everything(&app).await;
    assert!(before.contains("203.0.113.7") && before.contains(AGENT), "they were there");
    // These may be in memory still when the user is erased.
    let export = "mutation { exportAccount { url userErrors { code } } }";
    assert_eq!(from(&app, "203.0.113.8", Some(&vera.token), export, Value::Null).await.codes(), ["FORBIDDEN"]);
    sign_in(&app, "203.0.113.8", "vera", "not the password", None).await;
    let delete = "mutation { deleteUser { deleted userErrors { code } } }";
    from(&app, "203.0.113.7", Some(&vera.token), delete, Value::Null).await.ok();
    app.security.flush(&app).await.unwrap();
    let after = everything(&app).await;
    let found: Vec<_> = after.lines().filter(|line| line.contains("203.0.113.") || line.contains(AGENT)).collect();
    assert_eq!(found, [""; 0]);
    let kept = of_account(&owner, &format!("(actor: {:?})", vera.id)).await;
    assert_eq!(
        some(&kept, &["kind", "operation"]),
        json!([["ACCESS_DENIED", "exportAccount"], ["ACCESS_DENIED", "inviteUsers"]])
    );
    app.finish().await;
}

/// E1a: they are kept as long as the settings say.
async fn e1a_retention_is_a_setting(place: Place) {
    let app = TestApp::start(place, &[("security_events_ttl", "3d"), ("access_token_ttl", "30d")]).await;
    let ann = app.person("ann@x.example").await;
    app.advance(TimeDelta::days(2));
    app.sign_in("ann@x.example").await;
    let count = async || {
        keyholder::sweeper::sweep(&app).await.unwrap();
        own(&ann, "(kinds: [SIGN_IN])").await.len()
    };
    assert_eq!(count().await, 2);
    app.advance(TimeDelta::hours(25));
    assert_eq!(count().await, 1);
    app.advance(TimeDelta::hours(48));
    assert_eq!(count().await, 0);
    app.finish().await;
}

/// E1a: what an operator reads or changes leaves a trace with the user or the account that it concerns.
async fn e1a_operators_leave_traces(place: Place) {
    let http = reqwest::Client::new();
    let server = Process::serve(&place, &[]);
    let token = server.agency(&http).await;
    let ask = async |query: &str| server.ask(&http, Some(&token), query, Value::Null).await.unwrap()["data"].clone();
    let account = ask("{ account { id } }").await["account"]["id"].as_str().unwrap().to_owned();
    let run = |arguments: &[&str]| {
        let output = keyholder(&place).args(arguments).output().unwrap();
        (output.status.success(), said(&output))
    };
    assert!(run(&["user", "show", "ann"]).0 && run(&["account", "list"]).0 && run(&["account", "show", &account]).0);
    assert!(run(&["account", "set-plan", &account, "premium"]).0);
    assert!(!run(&["user", "erase", "ann"]).0, "she owns an account");
    assert!(!run(&["account", "show", "account_00000000000000000000000000"]).0);
    let query = |of: &str| {
        format!(
            "{{ {of} {{ securityEvents(kinds: [OPERATOR_COMMAND]) {{ nodes {{ operation outcome byOperator address actor {{ id }} }} }} }} }}"
        )
    };
    let told = |nodes: &Value| {
        some(nodes["securityEvents"]["nodes"].as_array().unwrap(), &["operation", "outcome", "byOperator", "address", "actor"])
    };
    let viewer = told(&ask(&query("viewer")).await["viewer"]);
    assert_eq!(viewer, json!([["user erase", "FAILURE", true, null, null], ["user show", "SUCCESS", true, null, null]]));
    let account = told(&ask(&query("account")).await["account"]);
    let commands = ["account set-plan", "account show", "account list"];
    assert_eq!(account, json!(commands.map(|command| json!([command, "SUCCESS", true, null, null]))));
    drop(server);
    place.remove().await;
}

/// E1a: a batch that the database refuses is tried again, and nobody waits for it meanwhile.
async fn e1a_a_batch_is_tried_again(app: &TestApp) {
    let ann = app.person("ann@x.example").await;
    app.security.flush(app).await.unwrap();
    let run = async |sql: &str| sea_orm::ConnectionTrait::execute_unprepared(app.db.writer(), sql).await.unwrap();
    run("ALTER TABLE security_events RENAME TO elsewhere").await;
    let started = app.sign_in("ann@x.example").await;
    assert!(app.security.flush(app).await.is_err());
    run("ALTER TABLE elsewhere RENAME TO security_events").await;
    assert_eq!(own(&started, "(kinds: [SIGN_IN])").await.len(), 2);
    assert_eq!(own(&ann, "(kinds: [SIGN_IN])").await.len(), 2);
}

on_both_databases!(e1a_denials, e1a_a_batch_is_tried_again);
on_both_databases!(
    on_its_own_servers: e1a_sign_ins_and_failures,
    e1a_sessions_and_resets,
    e1a_api_keys,
    e1a_agency_users_enter,
    e1a_downloads,
    e1a_pages_are_stable,
    e1a_a_flood_is_one_row,
    e1a_erased_with_their_user,
    e1a_retention_is_a_setting,
    e1a_operators_leave_traces,
);
