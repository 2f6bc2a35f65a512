//! The audit log and listening to it: SPEC E1–E3, L2, L7, U6, THREATS 28, 32.

use crate::{
    on_both_databases,
    support::{Heard, TestApp, people::Person, socket::Socket},
};
use chrono::TimeDelta;
use serde_json::{Value, json};

const ACTIVITY: &str = "subscription($a: String) { accountActivity(after: $a) { cursor node { kind summary } } }";
const LOG: &str = "query($k: [EventKind!], $a: ID, $f: DateTime, $u: DateTime) { account { auditLog(kinds: $k, actor: $a, from: $f, until: $u) { totalCount nodes { kind before after actor { name } via { name } subject { __typename } summary } } } }";

async fn kinds(person: &Person<'_>, filter: Value) -> Vec<String> {
    let log = person.ask(LOG, filter).await.payload()["auditLog"].clone();
    let kinds: Vec<_> = log["nodes"].as_array().unwrap().iter().map(|node| node["kind"].as_str().unwrap().to_owned()).collect();
    assert_eq!(log["totalCount"], json!(kinds.len()), "the count is of what was asked for");
    kinds
}

/// E2: filtered by kind, by who did it and by time, each alone and together; read and told, with what was before and after.
async fn e2_the_log_is_filtered(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let admin = owner.colleague("adam@agency.example", "ADMIN").await;
    let viewer = owner.colleague("vera@agency.example", "VIEWER").await;
    app.advance(TimeDelta::minutes(1));
    let between = app.now();
    app.advance(TimeDelta::minutes(1));
    admin.assign(&viewer.id, "AUTHOR").await.ok();
    owner.assign(&viewer.id, "MANAGER").await.ok();
    let levels = json!({ "k": ["USER_LEVEL_CHANGED"] });
    assert_eq!(kinds(&owner, levels).await.len(), 2);
    assert_eq!(kinds(&owner, json!({ "a": admin.id })).await, ["USER_LEVEL_CHANGED", "USER_JOINED"]);
    assert_eq!(kinds(&owner, json!({ "a": admin.id, "f": between })).await, ["USER_LEVEL_CHANGED"]);
    assert_eq!(kinds(&owner, json!({ "a": admin.id, "u": between })).await, ["USER_JOINED"]);
    assert_eq!(kinds(&owner, json!({ "f": between, "u": between })).await, [""; 0]);
    assert_eq!(kinds(&owner, json!({ "k": ["ACCOUNT_CLOSED"] })).await, [""; 0]);
    let wrong = owner.ask(LOG, json!({ "f": app.now(), "u": between })).await;
    assert_eq!(wrong.codes(), ["BAD_REQUEST"]);
    let own = "query($f: DateTime) { viewer { activity(from: $f) { nodes { kind } } } }";
    let own = viewer.ask(own, json!({ "f": between })).await;
    assert_eq!(own.payload()["activity"]["nodes"], json!([{ "kind": "USER_LEVEL_CHANGED" }, { "kind": "USER_LEVEL_CHANGED" }]));
    let log = owner.ask(LOG, json!({ "k": ["USER_LEVEL_CHANGED"], "a": admin.id })).await;
    let expected = json!({ "kind": "USER_LEVEL_CHANGED", "before": "Viewer", "after": "Author", "actor": { "name": "adam" }, "via": null,
        "subject": { "__typename": "AccountUser" }, "summary": "adam changed vera's level from Viewer to Author." });
    assert_eq!(log.payload()["auditLog"]["nodes"][0], expected);
}

/// THREATS 45: what people write themselves names nobody, though it be an id: a new name of an account is told as it is.
async fn threat_45_a_name_that_is_an_id(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let other = app.person("secretive@other.example").await;
    for id in [&other.id, &other.account] {
        owner
            .ask("mutation($n: String!) { renameAccount(input: {name: $n}) { userErrors { code } } }", json!({ "n": id }))
            .await
            .ok();
        let told = owner.log("ACCOUNT_RENAMED").await[0]["summary"].as_str().unwrap().to_owned();
        assert!(told.ends_with(&format!(" to {id}.")), "{told}");
    }
}

/// L6, E2: by whom a connection was made that one may not see is not told, nor to be found out by asking for what somebody did.
async fn l6_a_filter_tells_no_more_than_the_log(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let rival = app.agency("rita@rival.example").await;
    let client = app.person("carl@client.example").await;
    owner.connect(&client, "ADMIN").await;
    rival.connect(&client, "ADMIN").await;
    let there = owner.acting_in(&client.account).await;
    let approvals = json!({ "k": ["CLIENT_ACCESS_APPROVED"] });
    assert_eq!(kinds(&there, approvals).await.len(), 2, "that it happened is told");
    let by_carl = json!({ "k": ["CLIENT_ACCESS_APPROVED"], "a": client.id });
    assert_eq!(kinds(&there, by_carl.clone()).await.len(), 1, "their own");
    assert_eq!(kinds(&client, by_carl).await.len(), 2);
}

async fn next(socket: &mut Socket) -> (String, String) {
    let payload = loop {
        match socket.hear().await {
            // What was asked to know that the socket listens.
            Heard::Message(message) if message["id"] == "2" => {}
            Heard::Message(message) if message["type"] == "next" => break message["payload"].clone(),
            other => panic!("{other:?}"),
        }
    };
    let edge = &payload["data"]["accountActivity"];
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{payload}")).to_owned();
    (text(&edge["cursor"]), text(&edge["node"]["kind"]))
}

/// E3, L7: everything that happens, in order; after a cut, what was missed, once; through an agency's connection too.
async fn e3_the_accounts_activity(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let viewer = owner.colleague("vera@agency.example", "VIEWER").await;
    let client = app.person("carl@client.example").await;
    owner.connect(&client, "ADMIN").await;
    let there = owner.acting_in(&client.account).await;
    let start = owner.ask("{ account { activityCursor } }", Value::Null).await.payload()["activityCursor"].clone();
    let (mut socket, mut guest) = (owner.socket().await, there.socket().await);
    socket.subscribe("1", ACTIVITY, json!({ "a": start })).await;
    guest.subscribe("1", ACTIVITY, Value::Null).await;
    guest.subscribe("2", "{ viewer { level } }", Value::Null).await;
    guest.next().await;
    owner.assign(&viewer.id, "AUTHOR").await.ok();
    owner.invite(&["x@x.example"], "VIEWER").await.ok();
    let (first, kind) = next(&mut socket).await;
    assert_eq!((kind.as_str(), next(&mut socket).await.1.as_str()), ("USER_LEVEL_CHANGED", "USER_INVITED"));
    drop(socket);
    owner.assign(&viewer.id, "VIEWER").await.ok();
    let mut socket = owner.socket().await;
    socket.subscribe("1", ACTIVITY, json!({ "a": first })).await;
    assert_eq!((next(&mut socket).await.1.as_str(), next(&mut socket).await.1.as_str()), ("USER_INVITED", "USER_LEVEL_CHANGED"));
    let mut refused = viewer.socket().await;
    refused.subscribe("1", ACTIVITY, Value::Null).await;
    let Heard::Message(error) = refused.hear().await else { panic!("it is refused") };
    assert!(error["payload"]["data"].is_null() && error.to_string().contains("VIEW_AUDIT_LOG"), "{error}");
    client.plan("PREMIUM").await.ok();
    assert_eq!(next(&mut guest).await.1, "PLAN_CHANGED");
}

/// L2, THREATS 28, 32: a level that falls ends the stream before the next event is told, and lost access closes the socket.
async fn threat_32_activity_ends_with_the_right(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let admin = owner.colleague("adam@agency.example", "ADMIN").await;
    let other = owner.colleague("anna@agency.example", "ADMIN").await;
    let mut sockets = Vec::new();
    for person in [&admin, &other] {
        let mut socket = person.socket().await;
        socket.subscribe("1", ACTIVITY, Value::Null).await;
        socket.subscribe("2", "{ viewer { level } }", Value::Null).await;
        socket.next().await;
        sockets.push(socket);
    }
    owner.assign(&admin.id, "VIEWER").await.ok();
    let ended = async |socket: &mut Socket, code: &str| loop {
        match socket.hear().await {
            Heard::Message(message) if message["type"] == "complete" => {}
            Heard::Message(message) => {
                assert!(!message.to_string().contains("USER_LEVEL_CHANGED") || code.is_empty(), "told to who may not: {message}");
                if message.to_string().contains(code) {
                    return;
                }
            }
            Heard::Closed(closed) => panic!("closed with {closed}, without {code}"),
        }
    };
    ended(&mut sockets[0], "FORBIDDEN").await;
    assert_eq!(next(&mut sockets[1]).await.1, "USER_LEVEL_CHANGED");
    owner.revoke(&other.id).await.ok();
    ended(&mut sockets[1], "ACCOUNT_ACCESS_ENDED").await;
    assert_eq!(sockets[1].hear().await, Heard::Message(json!({ "id": "1", "type": "complete" })));
    assert_eq!(sockets[1].hear().await, Heard::Closed(4403));
}

on_both_databases!(
    e2_the_log_is_filtered,
    threat_45_a_name_that_is_an_id,
    l6_a_filter_tells_no_more_than_the_log,
    e3_the_accounts_activity,
    threat_32_activity_ends_with_the_right
);
