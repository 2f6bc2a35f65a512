//! Clients who take more than their share of memory, connections or turns: THREATS 69 to 72, and E5.

use crate::{
    on_both_databases,
    support::{
        Heard, Place, TestApp, eventually,
        people::Person,
        raw::{Raw, UPGRADE, frame},
        socket::{OWN_REQUESTS, Socket},
    },
};
use entity::UserId;
use keyholder::{
    api_keys,
    network::Network,
    turns::{Taker, Turn, Who},
};
use serde_json::{Value, json};
use std::net::IpAddr;

/// More than this the machine itself may keep of what a peer sends and nobody takes.
const KEPT_BY_THE_MACHINE: usize = 8 * 1024 * 1024;

/// THREATS 69: whatever a socket is flooded with that asks for nothing, before or after `connection_init`, it is told and closed.
async fn threat_69_a_flood_without_effect_closes_the_socket(app: &TestApp) {
    let text = |message: &str| frame(0x81, message.as_bytes());
    let floods = [
        ("pings", frame(0x89, &[b'x'; 125])),
        ("empty pings", frame(0x89, &[])),
        ("pongs", frame(0x8a, b"x")),
        ("ping messages", text(r#"{"type":"ping"}"#)),
        ("pong messages", text(r#"{"type":"pong"}"#)),
        ("ends of what never began", text(r#"{"type":"complete","id":"x"}"#)),
    ];
    for (what, flood) in floods {
        for first in [Vec::new(), text(r#"{"type":"connection_init"}"#)] {
            let mut raw = Raw::open(&app.url).await;
            raw.send(UPGRADE).await;
            assert!(raw.head().await.starts_with("HTTP/1.1 101"), "{what}");
            raw.send([first, flood.repeat(150)].concat()).await;
            let told = raw.rest().await;
            assert!(told.contains("Too many pings"), "{what}: {told:?}");
        }
    }
}

/// THREATS 69: a peer who floods and never reads is cut off soon, and what it sent is not kept meanwhile.
async fn threat_69_a_flood_that_never_reads_is_cut_off(app: &TestApp) {
    let pieces = frame(0x00, &[]).repeat(100);
    for (what, first, flood) in
        [("pings", Vec::new(), frame(0x89, &[b'x'; 125]).repeat(100)), ("pieces of a message", frame(0x01, b"{"), pieces)]
    {
        let mut raw = Raw::open(&app.url).await;
        raw.send(UPGRADE).await;
        raw.send(frame(0x81, br#"{"type":"connection_init"}"#)).await;
        raw.send(first).await;
        let sent = raw.flood(&flood).await;
        assert!(sent < KEPT_BY_THE_MACHINE, "{what}: {sent} bytes were taken");
    }
}

/// THREATS 69: who pings as clients do gets a pong each time, with the payload.
async fn a_client_may_ping(app: &TestApp) {
    let mut socket = Socket::open(&app.url).await;
    socket.init(Value::Null).await;
    for n in 0..60 {
        let payload = json!({ "n": n, "list": [1, {}] });
        socket.send(json!({ "type": "ping", "payload": payload })).await;
        assert_eq!(socket.hear().await, Heard::Message(json!({ "type": "pong", "payload": payload })));
    }
}

/// THREATS 69: a long answer goes out in pieces, which a client gets as one message.
async fn a_long_answer_is_whole(app: &TestApp) {
    let fields: String = (0..20).map(|n| format!("a{n}: roleMatrix {{ action area permission levels }} ")).collect();
    let query = format!("{{ {fields} }}");
    let over_http = app.ask(&query, Value::Null).await;
    let length = over_http.ok().to_string().len();
    assert!(length > 100_000, "{length}");
    let mut socket = Socket::open(&app.url).await;
    socket.init(Value::Null).await;
    socket.subscribe("1", &query, Value::Null).await;
    assert_eq!(socket.next().await, over_http.0);
    assert_eq!(socket.hear().await, Heard::Message(json!({ "id": "1", "type": "complete" })));
}

/// The memory of this process, in bytes: each test has one of its own.
fn memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<usize>().unwrap() * 1024
}

/// A request whose variables have 240 KB that the operation doesn't declare.
fn with_junk(query: &str) -> Value {
    let junk: Vec<Value> = (0..80_000).map(|_| json!({})).collect();
    json!({ "query": query, "variables": { "after": null, "junk": junk }, "extensions": { "junk": [{}, {}] } })
}

/// THREATS 70: sixty streams, each begun with a body full of variables that nobody declares, keep none of it.
async fn threat_70_streams_keep_no_undeclared_variables(app: &TestApp) {
    if !cfg!(target_os = "linux") {
        return println!("skipped: no /proc");
    }
    let ann = app.person("ann@x.example").await;
    let body = with_junk(OWN_REQUESTS).to_string();
    let open = async || {
        let request = app.http.post(format!("{}/graphql", app.url)).bearer_auth(&ann.token).header("accept", "text/event-stream");
        let response = request.header("content-type", "application/json").body(body.clone()).send().await.unwrap();
        assert_eq!(response.status(), 200);
        response
    };
    let mut streams = vec![open().await];
    let before = memory();
    for _ in 0..60 {
        streams.push(open().await);
    }
    let grown = memory().saturating_sub(before);
    assert!(grown < 100 * 1024 * 1024, "{grown} bytes for {} streams", streams.len());
}

/// THREATS 70: what is not declared is passed over on every transport; what is declared and too much is refused by its name.
async fn threat_70_variables_on_every_transport(place: Place) {
    let app = TestApp::start(place, &[("max_document_values", "50")]).await;
    let list = "query($ids: [ID!]!) { nodes(ids: $ids) { id } }";
    let ask = |count: usize| json!({ "query": list, "variables": { "junk": vec![0; 1_000], "ids": vec!["a"; count] }, "extensions": { "a": vec![0; 1_000] } });
    let too_many = "The variable \"$ids\" is too large: values 61, at most 50.";
    for (count, expected) in [(5, None), (60, Some(too_many))] {
        let request = ask(count);
        let message = |answer: &Value| answer["errors"][0]["message"].as_str().map(str::to_owned);
        let posted: Value =
            app.http.post(format!("{}/graphql", app.url)).json(&request).send().await.unwrap().json().await.unwrap();
        let mut url = reqwest::Url::parse(&format!("{}/graphql", app.url)).unwrap();
        url.query_pairs_mut().append_pair("query", list).append_pair("variables", &request["variables"].to_string());
        let got: Value = app.http.get(url).send().await.unwrap().json().await.unwrap();
        let streamed = app.http.post(format!("{}/graphql", app.url)).header("accept", "text/event-stream").json(&request);
        let streamed = streamed.send().await.unwrap().text().await.unwrap();
        let streamed = streamed.lines().find_map(|line| line.strip_prefix("data: {")).unwrap();
        let streamed: Value = serde_json::from_str(&format!("{{{streamed}")).unwrap();
        let mut socket = Socket::open(&app.url).await;
        socket.init(json!({ "junk": vec![0; 1_000] })).await;
        socket.send(json!({ "id": "1", "type": "subscribe", "payload": request })).await;
        let Heard::Message(heard) = socket.hear().await else { panic!() };
        let heard = if heard["type"] == "next" { heard["payload"].clone() } else { json!({ "errors": heard["payload"] }) };
        for (transport, answer) in [("POST", &posted), ("GET", &got), ("SSE", &streamed), ("WS", &heard)] {
            // What is within the limit comes to the resolver, which has a refusal of its own.
            let wanted = expected.unwrap_or("\"a\" is no id: give one as the server gave it");
            assert_eq!(message(answer).as_deref(), Some(wanted), "{transport}, {count}");
        }
    }
    app.finish().await;
}

/// THREATS 70: bodies that are on their way share a room: what is long is refused when it is full, what is short is not.
async fn threat_70_long_bodies_share_a_room(place: Place) {
    let app = TestApp::start(place, &[("max_request_bytes", "1"), ("max_body_bytes", "100000")]).await;
    let junk = "x".repeat(60_000);
    let long = json!({ "query": "{ planTerms { plan } }", "variables": { "junk": junk } });
    let ask = async |body: &Value| app.http.post(format!("{}/graphql", app.url)).json(body).send().await.unwrap();
    assert_eq!(ask(&long).await.status(), 200, "alone, one of the longest has room");
    let half = "POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 90000\r\n\r\n";
    let mut slow = Raw::open(&app.url).await;
    slow.send(format!("{half}{{\"a\":\"{junk}")).await;
    let refused = eventually("the room is full", async || {
        let answer = ask(&long).await;
        (answer.status() == 503).then_some(answer)
    })
    .await;
    assert_eq!(refused.headers()["retry-after"], "1");
    let refused: Value = refused.json().await.unwrap();
    assert_eq!(refused["errors"][0]["extensions"]["code"], "OVERLOADED", "{refused}");
    assert_eq!(ask(&json!({ "query": "{ planTerms { plan } }" })).await.status(), 200);
    drop(slow);
    eventually("there is room again", async || (ask(&long).await.status() == 200).then_some(())).await;
    app.finish().await;
}

/// A socket on which nobody is signed in, from one of this machine's addresses.
async fn socket_from(client: &str, app: &TestApp) -> (Raw, String) {
    let mut raw = Raw::from(client, &app.url).await;
    raw.send(UPGRADE).await;
    let head = raw.head().await;
    (raw, head)
}

/// THREATS 71: one client network holds its part of the connections and no more; when all are taken, health checks are answered all
/// the same, and idle connections can't hold what is kept for them.
async fn threat_71_connections_are_shared(place: Place) {
    if !cfg!(target_os = "linux") {
        return println!("skipped: other systems have one loopback address");
    }
    let app = TestApp::start(place, &[("max_connections", "12"), ("max_connections_per_client", "4")]).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        let (raw, answer) = socket_from("127.0.0.2", &app).await;
        assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
        held.push(raw);
    }
    let (_, refused) = socket_from("127.0.0.2", &app).await;
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("\r\nconnection: close\r\n"), "{refused}");
    assert!(Raw::get("127.0.0.3", &app.url, "/").await.starts_with("HTTP/1.1 200"), "another network is served");
    for client in ["127.0.0.3", "127.0.0.4"] {
        for _ in 0..4 {
            let (raw, answer) = socket_from(client, &app).await;
            assert!(answer.starts_with("HTTP/1.1 101"), "{client}: {answer}");
            held.push(raw);
        }
    }
    let (_, full) = socket_from("127.0.0.5", &app).await;
    assert!(full.starts_with("HTTP/1.1 503"), "{full}");
    let mut idle = Vec::new();
    for _ in 0..100 {
        idle.push(Raw::from("127.0.0.6", &app.url).await);
    }
    for path in ["/healthz", "/readyz"] {
        for client in ["127.0.0.2", "127.0.0.5"] {
            let answer = Raw::get(client, &app.url, path).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        }
    }
    drop(held);
    eventually("a connection is free again", async || {
        Raw::get("127.0.0.5", &app.url, "/").await.starts_with("HTTP/1.1 200").then_some(())
    })
    .await;
    app.finish().await;
}

/// THREATS 71: behind a proxy, sockets and streams count for the client that the proxy names, and the proxy for nobody.
async fn threat_71_sockets_through_a_proxy_count_for_their_client(place: Place) {
    let app = TestApp::start(place, &[("max_connections_per_client", "1"), ("trusted_proxies", "127.0.0.0/8")]).await;
    let ann = app.person("ann@x.example").await;
    let socket = async |client: &str| {
        let mut raw = Raw::open(&app.url).await;
        raw.send(UPGRADE.replace("Host:", &format!("X-Forwarded-For: {client}\r\nHost:"))).await;
        let head = raw.head().await;
        (raw, head[9..12].to_owned())
    };
    let stream = async |client: &str| {
        let request = app.http.post(format!("{}/graphql", app.url)).header("x-forwarded-for", client).bearer_auth(&ann.token);
        request.header("accept", "text/event-stream").json(&json!({ "query": OWN_REQUESTS })).send().await.unwrap()
    };
    let first = socket("192.0.2.1").await;
    assert_eq!(
        (first.1.as_str(), socket("192.0.2.1").await.1.as_str(), socket("192.0.2.2").await.1.as_str()),
        ("101", "503", "101")
    );
    assert_eq!(stream("192.0.2.1").await.status(), 503);
    let streaming = stream("192.0.2.3").await;
    assert_eq!((streaming.status().as_u16(), stream("192.0.2.3").await.status().as_u16()), (200, 503));
    drop((first, streaming));
    for client in ["192.0.2.1", "192.0.2.3"] {
        eventually("its place is free again", async || (stream(client).await.status() == 200).then_some(())).await;
    }
    app.finish().await;
}

/// THREATS 71: a socket on which nobody is signed in and nothing is asked is closed; one with a signed-in user lives on.
async fn threat_71_an_idle_socket_of_nobody_is_closed(place: Place) {
    let app = TestApp::start(place, &[("idle_socket_timeout", "1s")]).await;
    let ann = app.person("ann@x.example").await;
    let mut own = ann.socket().await;
    let mut socket = Socket::open(&app.url).await;
    socket.init(Value::Null).await;
    socket.subscribe("1", "{ planTerms { plan } }", Value::Null).await;
    assert!(socket.next().await["data"]["planTerms"].is_array());
    assert_eq!(socket.hear().await, Heard::Message(json!({ "id": "1", "type": "complete" })));
    assert_eq!(socket.hear().await, Heard::Closed(1000));
    own.subscribe("1", "{ viewer { level } }", Value::Null).await;
    assert_eq!(own.next().await["data"]["viewer"]["level"], "OWNER");
    app.finish().await;
}

/// THREATS 72: the head of a request may be so long and no longer, finished or not.
async fn threat_72_a_long_head_is_refused(app: &TestApp) {
    for head in
        [format!("GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: {}", "x".repeat(20_000)), format!("GET /{}", "x".repeat(20_000))]
    {
        let mut raw = Raw::open(&app.url).await;
        raw.send(head).await;
        let answer = raw.rest().await;
        assert!(answer.starts_with("HTTP/1.1 431") || answer.starts_with("HTTP/1.1 414"), "{answer}");
    }
    let mut raw = Raw::open(&app.url).await;
    raw.send(format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nCookie: {}\r\n\r\n", "x".repeat(12_000)))
        .await;
    assert!(raw.rest().await.starts_with("HTTP/1.1 200"), "an ordinary one is not");
}

/// All turns that one may have, held.
fn hold(app: &TestApp, who: Who) -> Vec<Turn> {
    let taker = Taker { who, address: None };
    std::iter::from_fn(|| app.turns.try_take(&taker)).collect()
}

async fn status(app: &TestApp, token: Option<&str>) -> u16 {
    let request = app.http.post(format!("{}/graphql", app.url)).json(&json!({ "query": "{ planTerms { plan } }" }));
    let request = token.into_iter().fold(request, reqwest::RequestBuilder::bearer_auth);
    request.send().await.unwrap().status().as_u16()
}

/// THREATS 72: who has as many operations under way as one may, by session, by API key or signed out, waits alone.
async fn threat_72_turns_are_shared(place: Place) {
    let app = TestApp::start(place, &[("max_operations", "8")]).await;
    let (olga, ann) = (app.person("olga@agency.example").await, app.person("ann@x.example").await);
    let key = olga.api_key().await;
    let here: IpAddr = "127.0.0.1".parse().unwrap();
    let whos = [
        Who::User(olga.id.parse::<UserId>().unwrap()),
        Who::ApiKey(api_keys::hash(&key).into()),
        Who::SignedOut(Some(Network::containing(here))),
    ];
    let tokens = [Some(olga.token.as_str()), Some(key.as_str()), None];
    for (held, who) in whos.into_iter().enumerate() {
        let turns = hold(&app, who);
        assert_eq!(turns.len(), 2, "a quarter");
        for (n, token) in tokens.iter().enumerate() {
            assert_eq!(status(&app, *token).await, if n == held { 503 } else { 200 }, "{held} is held, {n} asks");
        }
        assert_eq!(status(&app, Some(&ann.token)).await, 200);
        drop(turns);
        assert_eq!(status(&app, tokens[held]).await, 200);
    }
    app.finish().await;
}

/// THREATS 72: events and a socket's operations have turns too: they wait for their own listener's, and for nobody else's.
async fn threat_72_events_and_sockets_take_turns(place: Place) {
    let app = TestApp::start(place, &[("max_operations", "8")]).await;
    let agency = app.agency("olga@agency.example").await;
    let (ann, ben) = (app.person("ann@x.example").await, app.person("ben@x.example").await);
    let listen = async |person: &Person<'_>| {
        let mut socket = person.socket().await;
        socket.subscribe("1", OWN_REQUESTS, Value::Null).await;
        // Behind this answer the subscription has begun.
        socket.subscribe("2", "{ viewer { level } }", Value::Null).await;
        assert_eq!(socket.next().await["data"]["viewer"]["level"], "OWNER");
        assert_eq!(socket.hear().await, Heard::Message(json!({ "id": "2", "type": "complete" })));
        socket
    };
    let (mut anns, mut bens) = (listen(&ann).await, listen(&ben).await);
    let user = || Who::User(ann.id.parse::<UserId>().unwrap());
    let turns =
        eventually("the subscription is at rest", async || Some(hold(&app, user())).filter(|turns| turns.len() == 2)).await;
    agency.request(&["ann@x.example", "ben@x.example"]).await.ok();
    bens.change().await;
    anns.subscribe("3", "{ viewer { level } }", Value::Null).await;
    let Heard::Message(refused) = anns.hear().await else { panic!() };
    assert_eq!(
        (&refused["type"], &refused["id"], &refused["payload"][0]["extensions"]["code"]),
        (&json!("error"), &json!("3"), &json!("OVERLOADED"))
    );
    anns.subscribe("4", OWN_REQUESTS, Value::Null).await;
    let Heard::Message(refused) = anns.hear().await else { panic!() };
    assert_eq!(
        (&refused["id"], &refused["payload"][0]["extensions"]["code"]),
        (&json!("4"), &json!("OVERLOADED")),
        "its event still waits"
    );
    drop(turns);
    anns.change().await;
    app.finish().await;
}

on_both_databases!(
    threat_69_a_flood_without_effect_closes_the_socket,
    threat_69_a_flood_that_never_reads_is_cut_off,
    a_client_may_ping,
    a_long_answer_is_whole,
    threat_70_streams_keep_no_undeclared_variables,
    threat_72_a_long_head_is_refused,
);
on_both_databases!(on_its_own_servers:
    threat_70_variables_on_every_transport,
    threat_70_long_bodies_share_a_room,
    threat_71_connections_are_shared,
    threat_71_sockets_through_a_proxy_count_for_their_client,
    threat_71_an_idle_socket_of_nobody_is_closed,
    threat_72_turns_are_shared,
    threat_72_events_and_sockets_take_turns,
);
