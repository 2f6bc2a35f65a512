//! Subscriptions: SPEC E3–E5, L2, and THREATS 28, 30–32.

use crate::{
    on_both_databases,
    support::{
        Heard, Place, TestApp,
        socket::{CONNECTIONS, Change, OWN_REQUESTS},
    },
};
use serde_json::{Value, json};

async fn cursor(person: &crate::support::people::Person<'_>) -> Value {
    person.ask("{ account { activityCursor } }", Value::Null).await.payload()["activityCursor"].clone()
}

/// E3, THREATS 31: cut and re-opened with `after`, a listener gets exactly what it missed, in order, once; over a restart too.
async fn threat_31_a_listener_gets_what_it_missed(place: Place) {
    let app = TestApp::start(place, &[]).await;
    let owner = app.agency("olga@agency.example").await;
    let start = cursor(&owner).await;
    let mut connections = Vec::new();
    for n in 0..3 {
        connections.push(owner.request_one(&format!("c{n}@x.example")).await);
    }
    let mut socket = owner.socket().await;
    socket.subscribe("1", CONNECTIONS, json!({ "after": start })).await;
    let first = socket.change().await;
    assert_eq!((first.kind.as_str(), &first.connection), ("CLIENT_ACCESS_REQUESTED", &connections[0]));
    drop(socket);
    connections.push(owner.request_one("c3@x.example").await);
    app.mails_to("nobody@x.example").await;
    let app = app.restart(&[]).await;
    // The issuer is the server's own address, which is another one now.
    let owner = app.sign_in("olga@agency.example").await;
    let mut socket = owner.socket().await;
    socket.subscribe("1", CONNECTIONS, json!({ "after": first.cursor })).await;
    let heard: Vec<Change> = vec![socket.change().await, socket.change().await, socket.change().await];
    assert_eq!(heard.iter().map(|change| &change.connection).collect::<Vec<_>>(), connections[1..].iter().collect::<Vec<_>>());
    connections.push(owner.request_one("c4@x.example").await);
    assert_eq!(socket.change().await.connection, connections[4], "and then what comes, nothing twice");
    app.finish().await;
}

/// E3, E5, THREATS 30: a listener far behind is caught up from the log, whatever is kept in memory.
async fn threat_30_far_behind_is_caught_up(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let client = app.person("carl@client.example").await;
    let connection = owner.connect(&client, "ADMIN").await;
    let start = cursor(&client).await;
    let mut near = client.socket().await;
    near.subscribe("1", CONNECTIONS, json!({ "after": start })).await;
    let levels = ["VIEWER", "AUTHOR", "MANAGER", "ADMIN"];
    for n in 0..300 {
        client.set_level(&connection, levels[n % 4]).await.ok();
    }
    let mut far = client.socket().await;
    far.subscribe("1", CONNECTIONS, json!({ "after": start })).await;
    let (mut seen_near, mut seen_far) = (Vec::new(), Vec::new());
    for _ in 0..300 {
        seen_near.push(near.change().await.cursor);
        seen_far.push(far.change().await.cursor);
    }
    assert_eq!(seen_near, seen_far);
    assert_eq!(seen_near.iter().collect::<std::collections::BTreeSet<_>>().len(), 300);
}

/// E3, E5, THREATS 30: listeners at different places of a long log share what is kept of it, and each hears all, in order, once.
async fn threat_30_listeners_apart_share_a_feed(app: &TestApp) {
    use keyholder::app::Happening;
    let owner = app.agency("olga@agency.example").await;
    let start = cursor(&owner).await;
    let connection: entity::ConnectionId = owner.request_one("c@x.example").await.parse().unwrap();
    let (log, kind) =
        (owner.account.parse::<entity::AccountId>().unwrap().into(), entity::event::EventKind::ClientAccessRequested);
    let grow = async |count: usize| {
        app.tx(async |tx| {
            tx.hold(vec![log]).await?;
            for _ in 0..count {
                tx.append(Happening::by_itself(kind, connection.0), [log]);
            }
            Ok(())
        })
        .await
        .unwrap();
    };
    grow(700).await;
    let mut behind = owner.socket().await;
    behind.subscribe("1", CONNECTIONS, json!({ "after": start })).await;
    let first = behind.change().await.cursor;
    let mut ahead = owner.socket().await;
    ahead.subscribe("1", CONNECTIONS, json!({ "after": cursor(&owner).await })).await;
    let mut middle = owner.socket().await;
    middle.subscribe("1", CONNECTIONS, json!({ "after": first })).await;
    grow(5).await;
    for _ in 0..5 {
        ahead.change().await;
    }
    let (mut all, mut rest) = (vec![first], Vec::new());
    for _ in 0..705 {
        all.push(behind.change().await.cursor);
        rest.push(middle.change().await.cursor);
    }
    assert_eq!(all[1..], rest);
    assert_eq!(all.iter().collect::<std::collections::BTreeSet<_>>().len(), 706, "nothing twice, nothing left out");
}

async fn account_of(person: &crate::support::people::Person<'_>, connection: &str) -> String {
    let query = "query($c: ID!) { node(id: $c) { ... on ClientConnection { client { id } } } }";
    person.ask(query, json!({ "c": connection })).await.payload()["client"]["id"].as_str().unwrap().to_owned()
}

/// L2, E4: when access ends, the stream ends with an error. It is woken for that: a story waits for less than the poll takes.
async fn e4_the_stream_ends_with_the_access(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let manager = owner.colleague("mia@agency.example", "MANAGER").await;
    let client = app.agency("carl@client.example").await;
    let connection = manager.connect(&client, "ADMIN").await;
    // In the client's account through the connection nobody listens to connections: they are for direct users.
    let there = owner.acting_in(&client.account).await;
    let mut socket = there.socket().await;
    socket.subscribe("1", CONNECTIONS, Value::Null).await;
    let Heard::Message(refused) = socket.hear().await else { panic!() };
    assert_eq!(refused["payload"]["errors"][0]["extensions"]["code"], "FORBIDDEN", "{refused}");
    // Their own log they hear there, as long as they can act there: a stream ends with the access that it was opened with.
    socket.subscribe("2", OWN_REQUESTS, Value::Null).await;
    let ended = manager.connect(&app.person("dan@client.example").await, "VIEWER").await;
    let dan = manager.acting_in(&account_of(&manager, &ended).await).await;
    let mut there = dan.socket().await;
    there.subscribe("3", OWN_REQUESTS, Value::Null).await;
    there.subscribe("p", "{ viewer { level } }", Value::Null).await;
    let mut told = there.hear().await;
    manager.end(&ended).await.ok();
    while !matches!(&told, Heard::Message(message) if message["id"] == "3") {
        told = there.hear().await;
    }
    let Heard::Message(told) = told else { panic!() };
    assert_eq!(told["payload"]["errors"][0]["extensions"]["code"], "ACCOUNT_ACCESS_ENDED", "{told}");
    // And until the session ends.
    let mut own = manager.socket().await;
    own.subscribe("1", OWN_REQUESTS, Value::Null).await;
    own.subscribe("2", CONNECTIONS, json!({ "after": cursor(&owner).await })).await;
    client.set_level(&connection, "VIEWER").await.ok();
    let Heard::Message(heard) = own.hear().await else { panic!() };
    assert_eq!(
        (&heard["id"], &heard["payload"]["data"]["clientConnectionChanged"]["event"]["kind"]),
        (&json!("2"), &json!("CLIENT_ACCESS_LEVEL_CHANGED"))
    );
    manager.ask("mutation { signOut { signedOut } }", Value::Null).await.ok();
    let mut ended = std::collections::BTreeSet::new();
    while ended.len() < 2 {
        let Heard::Message(message) = own.hear().await else { panic!() };
        if message["type"] == "next" || message["type"] == "error" {
            assert!(message.to_string().contains("UNAUTHENTICATED"), "{message}");
            ended.insert(message["id"].to_string());
        }
    }
}

/// Who may listen: who may decide, who may ask, who has a place; each hears of what they could look up.
async fn who_hears_of_what(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let author = owner.colleague("art@agency.example", "AUTHOR").await;
    let mut socket = author.socket().await;
    socket.subscribe("1", CONNECTIONS, Value::Null).await;
    let Heard::Message(refused) = socket.hear().await else { panic!() };
    assert_eq!(refused["payload"]["errors"][0]["extensions"]["code"], "FORBIDDEN", "{refused}");
    // A request that is addressed to somebody reaches their own log, and nobody else's.
    let (carl, sam) = (app.person("carl@client.example").await, app.person("sam@else.example").await);
    let (mut carl_hears, mut sam_hears) = (carl.socket().await, sam.socket().await);
    let since = |person: Value| person["viewer"]["activityCursor"].clone();
    let query = "{ viewer { activityCursor } }";
    carl_hears.subscribe("1", OWN_REQUESTS, json!({ "after": since(carl.ask(query, Value::Null).await.ok().clone()) })).await;
    sam_hears.subscribe("1", OWN_REQUESTS, json!({ "after": since(sam.ask(query, Value::Null).await.ok().clone()) })).await;
    let first = owner.request_one("carl@client.example").await;
    let second = owner.request_one("sam@else.example").await;
    assert_eq!(carl_hears.change().await.connection, first);
    assert_eq!(sam_hears.change().await.connection, second);
}

/// E3: a cursor is good for the log that gave it, and for nothing ahead of it.
async fn e3_wrong_cursors(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let other = app.agency("otto@agency.example").await;
    let foreign = cursor(&other).await;
    // Of a log as it was before: a database that was set back must not be silently skipped over.
    let log = owner.account.parse::<entity::AccountId>().unwrap().into();
    let ahead = keyholder::events::feed::Cursor::new(log, 100).write(app);
    for after in [foreign, json!("nonsense"), json!(""), json!(ahead)] {
        let mut socket = owner.socket().await;
        socket.subscribe("1", CONNECTIONS, json!({ "after": after })).await;
        let Heard::Message(refused) = socket.hear().await else { panic!() };
        assert_eq!(refused["payload"]["errors"][0]["extensions"]["code"], "BAD_REQUEST", "{refused}");
    }
}

/// E3: the same over SSE.
async fn e3_over_sse(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let body = json!({ "query": CONNECTIONS, "variables": { "after": cursor(&owner).await } });
    let mut response = app
        .http
        .post(format!("{}/graphql", app.url))
        .bearer_auth(&owner.token)
        .header("accept", "text/event-stream")
        .json(&body)
        .send()
        .await
        .unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let connection = owner.request_one("c@x.example").await;
    let mut text = String::new();
    while !text.contains(&connection) {
        let chunk = tokio::time::timeout(crate::support::PATIENCE, response.chunk()).await.unwrap().unwrap().unwrap();
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    assert!(text.contains("event: next") && text.contains("CLIENT_ACCESS_REQUESTED"), "{text}");
}

on_both_databases!(
    threat_30_far_behind_is_caught_up,
    threat_30_listeners_apart_share_a_feed,
    e4_the_stream_ends_with_the_access,
    who_hears_of_what,
    e3_wrong_cursors,
    e3_over_sse
);
on_both_databases!(on_its_own_servers: threat_31_a_listener_gets_what_it_missed);
