//! The edge: endpoints, GraphQL over HTTP and the socket's close codes: SPEC R3, R6, THREATS 5–7, 9–13, 15, 21–29.

use crate::{
    on_both_databases,
    support::{Heard, TestApp, socket::Socket},
};
use serde_json::{Value, json};

/// R3, R6: what there is besides GraphQL.
async fn r6_the_endpoints(app: &TestApp) {
    for (path, part) in [
        ("/healthz", "ok"),
        ("/readyz", "ready"),
        ("/", "/graphql"),
        ("/mailbox", "<html"),
        ("/mailbox.json", "["),
        ("/.well-known/jwks.json", "\"keys\""),
    ] {
        let response = app.http.get(format!("{}{path}", app.url)).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        assert!(response.headers().contains_key("x-request-id"), "{path}");
        let body = response.text().await.unwrap();
        assert!(body.contains(part), "{path}: {body}");
    }
    assert_eq!(app.http.get(format!("{}/nothing", app.url)).send().await.unwrap().status(), 404);
}

async fn post(app: &TestApp, body: &str) -> (u16, Value) {
    let response = app
        .http
        .post(format!("{}/graphql", app.url))
        .header("content-type", "application/json")
        .body(body.to_owned())
        .send()
        .await
        .unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

fn query(query: &str) -> String {
    json!({ "query": query }).to_string()
}

/// Each body is refused as a whole: with one of the codes that a request can have, and few words.
async fn refused(app: &TestApp, bodies: &[String]) {
    for body in bodies {
        let (status, answer) = post(app, body).await;
        let case = &body[..body.len().min(100)];
        assert!(status == 400 || status == 200, "{case}: {status}");
        let code = &answer["errors"][0]["extensions"]["code"];
        assert!(answer.get("data").is_none() && (code == "QUERY_TOO_LARGE" || code == "BAD_REQUEST"), "{case}: {answer}");
        assert!(answer["errors"].as_array().unwrap().len() <= 10 && answer.to_string().len() < 5_000, "{case}");
    }
}

/// THREATS 5: directives without end, wherever they may stand, get a short refusal.
async fn threat_05_endless_directives(app: &TestApp) {
    let many = "@skip(if: false) ".repeat(10_000);
    let documents = [
        format!("query {many} {{ planTerms {{ plan }} }}"),
        format!("{{ planTerms {many} {{ plan }} }}"),
        format!("{{ ... {many} {{ planTerms {{ plan }} }} }}"),
        format!("{{ ...F {many} }} fragment F on Query {{ planTerms {{ plan }} }}"),
        format!("{{ planTerms {} {{ plan }} }}", "@a".repeat(500)),
    ];
    refused(app, &documents.map(|document| query(&document))).await;
}

/// THREATS 6: thousands of mistakes are told by ten errors at most.
async fn threat_06_thousands_of_mistakes(app: &TestApp) {
    let unknown: String = (0..900).map(|n| format!("x{n} ")).collect();
    let unused: String = (0..200).map(|n| format!(" fragment F{n} on Query {{ x }}")).collect();
    refused(app, &[query(&format!("{{ {unknown} }}")), query(&format!("{{ planTerms {{ plan }} }}{unused}"))]).await;
    let far = query(&format!("{{ {} }}", (0..5_000).map(|n| format!("x{n} ")).collect::<String>()));
    refused(app, &[far]).await;
}

/// THREATS 7: a thousand aliases, and ten thousand times one field.
async fn threat_07_aliases_and_repeated_fields(app: &TestApp) {
    let aliases: String = (0..1_000).map(|n| format!("a{n}: planTerms {{ plan }} ")).collect();
    let fragment: String = (0..400).map(|n| format!("a{n}: plan ")).collect();
    let documents = [
        format!("{{ {aliases} }}"),
        format!("{{ {} }}", "planTerms { plan } ".repeat(10_000)),
        format!(
            "{{ planTerms {{ ...F }} b: planTerms {{ ...F }} c: planTerms {{ ...F }} }} fragment F on PlanTerms {{ {fragment} }}"
        ),
    ];
    refused(app, &documents.map(|document| query(&document))).await;
}

/// THREATS 9: a batch is no request; nor is what is no JSON, no document, or of no type.
async fn threat_09_batches_and_other_nonsense(app: &TestApp) {
    let cases = [
        "[{\"query\":\"{ planTerms { plan } }\"}]",
        "[\"{ planTerms { plan } }\", null, null, null, null]",
        "[]",
        "{",
        "{}",
        "null",
        "{\"query\":1}",
        "{\"query\":\"\"}",
        "{\"query\":\"{ planTerms { plan } }\",\"variables\":[]}",
    ];
    for body in cases {
        let (status, answer) = post(app, body).await;
        assert_eq!((status, &answer["errors"][0]["extensions"]["code"]), (400, &json!("BAD_REQUEST")), "{body}: {answer}");
    }
    let documents = [
        "{ nothing }",
        "query ($v: [Nothing!] = [A]) { __typename }",
        "query ($v: Nothing = A) { __typename }",
        "query ($v: [Account] = [{a: 1}]) { __typename }",
    ];
    refused(app, &documents.map(query)).await;
}

/// THREATS 10: a mutation by GET is refused, and changes nothing; a query is answered.
async fn threat_10_a_mutation_by_get(app: &TestApp) {
    let owner = app.person("olga@agency.example").await;
    let graphql = format!("{}/graphql", app.url);
    let get =
        async |query: &str| app.http.get(format!("{graphql}?query={query}")).bearer_auth(&owner.token).send().await.unwrap();
    let mutation = get("mutation%7BsignOut%7BsignedOut%7D%7D").await;
    assert_eq!((mutation.status().as_u16(), &mutation.headers()["allow"]), (405, &"POST".parse().unwrap()));
    let query = get("%7Bviewer%7Blevel%7D%7D").await;
    assert_eq!(query.json::<Value>().await.unwrap()["data"]["viewer"]["level"], "OWNER", "still signed in");
}

/// THREATS 11: what a browser sends across sites without asking first is no request.
async fn threat_11_other_content_types(app: &TestApp) {
    let graphql = format!("{}/graphql", app.url);
    let types = [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=latin1",
    ];
    for media in types.map(Some).into_iter().chain([None]) {
        let request = app.http.post(&graphql).body(query("{ planTerms { plan } }"));
        let request = media.into_iter().fold(request, |request, media| request.header("content-type", media));
        assert_eq!(request.send().await.unwrap().status(), 415, "{media:?}");
    }
}

/// What async-graphql-axum's own service would answer, had it our schema and callers.
async fn stock(app: &TestApp) -> String {
    use async_graphql_axum::{GraphQLRequest, GraphQLResponse};
    use axum::{Router, http::HeaderMap, routing::post};
    let (schema, parts) = (keyholder::schema::build(&app.app), app.app.clone());
    let handle = async move |headers: HeaderMap, request: GraphQLRequest| {
        let authorization = headers.get("authorization").and_then(|value| value.to_str().ok());
        let request = request.into_inner().data(keyholder::actor::Caller::of(&parts, authorization));
        GraphQLResponse::from(schema.execute(request).await)
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/graphql", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, Router::new().route("/graphql", post(handle))).into_future());
    url
}

/// Our own edge answers a plain question as the library's service does.
async fn plain_questions_are_answered_as_by_the_stock_service(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    owner.request(&["a@x.example"]).await.ok();
    let stock = stock(app).await;
    let questions = [
        json!({ "query": "{ planTerms { plan levels seats } roleMatrix(area: SMS) { permission levels } }" }),
        json!({ "query": "query A { viewer { level } } query B { account { name } }", "operationName": "B" }),
        json!({ "query": "query($n: Int = 5, $with: Boolean!) { account { clientConnections(first: $n) { totalCount nodes { clientEmail @include(if: $with) __typename } } } }", "variables": { "with": true } }),
        json!({ "query": "mutation { joinPartnerProgram { account { name } userErrors { code } } }", "extensions": {} }),
    ];
    for question in questions {
        let ask = async |url: &str| {
            app.http.post(url).bearer_auth(&owner.token).json(&question).send().await.unwrap().text().await.unwrap()
        };
        let (ours, theirs) = (ask(&format!("{}/graphql", app.url)).await, ask(&stock).await);
        assert_eq!(ours, theirs);
    }
}

/// The keys of an answer stand in the order of the query, whatever is ready first.
async fn keys_stand_in_the_order_of_the_query(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let body = json!({ "query": "{ viewer { activityCursor user { name id } level } planTerms { seats plan } account { users { totalCount } name id } }" });
    for _ in 0..20 {
        let text = app
            .http
            .post(format!("{}/graphql", app.url))
            .bearer_auth(&owner.token)
            .json(&body)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        let places: Vec<_> =
            ["viewer", "activityCursor", "user", "level", "planTerms", "seats", "account", "users", "totalCount"]
                .iter()
                .map(|key| text.find(&format!("\"{key}\"")).unwrap())
                .collect();
        assert!(places.is_sorted(), "{text}");
    }
}

/// Pitfall of the executor: a mutation that names a key twice would run twice.
async fn a_mutation_never_runs_twice(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let call = "requestClientAccess(input: {emails: [\"a@x.example\"]}) { userErrors { code } }";
    let reply = owner.ask(&format!("mutation {{ a: {call} ...F }} fragment F on Mutation {{ a: {call} }}"), Value::Null).await;
    assert_eq!(reply.codes(), ["BAD_REQUEST"]);
    assert_eq!(
        owner.ask("{ account { clientConnections { totalCount } } }", Value::Null).await.payload()["clientConnections"]["totalCount"],
        0
    );
}

/// What a socket is closed with after these messages; until then it may only acknowledge.
async fn closed_after(app: &TestApp, messages: &[Value]) -> u16 {
    let mut socket = Socket::open(&app.url).await;
    for message in messages {
        socket.send(message.clone()).await;
    }
    loop {
        match socket.hear().await {
            Heard::Message(message) => assert_eq!(message["type"], "connection_ack"),
            Heard::Closed(code) => return code,
        }
    }
}

fn init(authorization: &str) -> Value {
    json!({ "type": "connection_init", "payload": { "authorization": authorization } })
}

/// THREATS 21: a page of a foreign site can't open a socket.
async fn threat_21_a_socket_of_a_foreign_page(app: &TestApp) {
    for (origin, status) in [("https://evil.example", 403), ("null", 403), (app.url.as_str(), 101)] {
        let request = app.http.get(format!("{}/graphql", app.url)).header("origin", origin);
        let request = request.header("upgrade", "websocket").header("connection", "upgrade");
        let request = request.header("sec-websocket-version", "13").header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        let response = request.header("sec-websocket-protocol", "graphql-transport-ws").send().await.unwrap();
        assert_eq!(response.status(), status, "{origin}");
    }
}

/// THREATS 23: the protocol's own codes for what is out of order.
async fn threat_23_the_protocols_own_codes(app: &TestApp) {
    let start = json!({ "type": "connection_init" });
    let subscribe = json!({ "id": "1", "type": "subscribe", "payload": { "query": "{ planTerms { plan } }" } });
    assert_eq!(closed_after(app, &[subscribe]).await, 4401);
    assert_eq!(closed_after(app, &[start.clone(), start.clone()]).await, 4429);
    let listen = json!({ "id": "1", "type": "subscribe", "payload": { "query": crate::support::socket::OWN_REQUESTS } });
    let ann = app.person("ann@x.example").await;
    assert_eq!(closed_after(app, &[init(&format!("Bearer {}", ann.token)), listen.clone(), listen]).await, 4409);
    for malformed in [
        json!({ "type": "nonsense" }),
        json!([]),
        json!({}),
        json!({ "type": "subscribe", "id": "1" }),
        json!({ "type": "pong", "payload": 1 }),
        json!(1),
    ] {
        assert_eq!(closed_after(app, &[start.clone(), malformed.clone()]).await, 4400, "{malformed}");
    }
}

/// THREATS 24: credentials that are none open nothing.
async fn threat_24_a_bad_token(app: &TestApp) {
    for authorization in ["Bearer nonsense", "Basic YTpi", "", "Bearer "] {
        let mut socket = Socket::open(&app.url).await;
        socket.send(init(authorization)).await;
        assert_eq!(socket.hear().await, Heard::Closed(4403), "{authorization}: never acknowledged");
    }
}

/// THREATS 25: a query or mutation over a socket passes the same checks as over HTTP.
async fn threat_25_queries_over_a_socket(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let viewer = owner.colleague("vera@agency.example", "VIEWER").await;
    let invite = "mutation { inviteUsers(input: {emails: [\"a@x.example\"], level: AUTHOR}) { userErrors { code } } }";
    let deep = "{ account { clientConnections(first: 100) { nodes { users(first: 100) { nodes { user { name } addedBy { name } } } } } } }";
    let twice = "mutation { a: joinPartnerProgram { userErrors { code } } a: joinPartnerProgram { userErrors { code } } }";
    let mut socket = viewer.socket().await;
    for (query, code) in [(invite, "FORBIDDEN"), (deep, "QUERY_TOO_LARGE"), (twice, "BAD_REQUEST")] {
        let over_http = viewer.ask(query, Value::Null).await;
        assert_eq!(over_http.codes(), [code]);
        socket.subscribe("1", query, Value::Null).await;
        let Heard::Message(answer) = socket.hear().await else { panic!("{query}") };
        let error = if answer["type"] == "next" { &answer["payload"]["errors"][0] } else { &answer["payload"][0] };
        assert_eq!(error, &over_http.0["errors"][0], "{answer}");
        if answer["type"] == "next" {
            assert_eq!(socket.hear().await, Heard::Message(json!({ "id": "1", "type": "complete" })));
        }
    }
    let mut socket = Socket::open(&app.url).await;
    socket.init(Value::Null).await;
    socket.subscribe("1", "{ viewer { level } }", Value::Null).await;
    assert_eq!(socket.next().await["data"]["viewer"], Value::Null);
}

/// THREATS 12: a page of a foreign site can't use anybody's credentials.
async fn threat_12_a_foreign_origin_with_credentials(app: &TestApp) {
    let owner = app.person("olga@agency.example").await;
    for (origin, status) in [("https://evil.example", 403), ("null", 403), (app.url.as_str(), 200)] {
        let body = json!({ "query": "{ viewer { level } }" });
        let request =
            app.http.post(format!("{}/graphql", app.url)).header("origin", origin).bearer_auth(&owner.token).json(&body);
        assert_eq!(request.send().await.unwrap().status(), status, "{origin}");
    }
}

/// A text that PostgreSQL can't hold is no fault of the server's, wherever it comes in.
async fn no_text_is_a_fault(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let nul = "a\u{0}b";
    let sign_in = "mutation($l: String!) { signIn(input: {login: $l, password: \"xxxxxxxxxx\"}) { userErrors { code } } }";
    assert_eq!(app.ask(sign_in, json!({ "l": nul })).await.user_errors(), ["WRONG_CREDENTIALS"]);
    for list in [
        "account { clientConnections(search: $s) { totalCount } }",
        "account { users(search: $s) { totalCount } }",
        "viewer { accounts(search: $s) { totalCount } }",
    ] {
        let reply = owner.ask(&format!("query($s: String!) {{ {list} }}"), json!({ "s": nul })).await;
        assert!(reply.ok().to_string().contains("\"totalCount\":0"), "{}", reply.0);
    }
    // Nor is there too much of anything: what may be repeated counts once, what may be long has a length.
    let many = |name: &str| json!({ "l": vec![name; 9_000] });
    owner.ask("query($l: [UserLevel!]) { account { users(level: $l) { totalCount } } }", many("VIEWER")).await.ok();
    owner.ask("query($l: [EventKind!]) { account { auditLog(kinds: $l) { totalCount } } }", many("USER_INVITED")).await.ok();
    owner
        .ask("query($l: [ClientConnectionStatus!]) { account { clientConnections(status: $l) { totalCount } } }", many("ACTIVE"))
        .await
        .ok();
    owner
        .ask("query($l: [InvitationStatus!]) { account { invitations(status: $l) { totalCount } } }", many("PENDING"))
        .await
        .ok();
    let long = owner
        .ask("query($s: String!) { account { users(search: $s) { totalCount } } }", json!({ "s": "x".repeat(60_000) }))
        .await;
    assert_eq!(long.codes(), ["BAD_REQUEST"]);
    let forged = base64::Engine::encode(
        &base64::engine::general_purpose::URL_SAFE_NO_PAD,
        "one's accounts\u{1f}a\u{0}b\u{1f}01a2054e-2e8b-7139-9e40-ff89d1a8b2e6",
    );
    let reply = owner.ask("query($a: String!) { viewer { accounts(after: $a) { totalCount } } }", json!({ "a": forged })).await;
    assert!(reply.codes().iter().all(|code| *code == "BAD_REQUEST"), "{}", reply.0);
    let deep = "{ account { clientConnections(first: 100) { nodes { users(first: 100) { nodes { user { name } addedBy { name } } } } } } }";
    let error = owner.ask(deep, Value::Null).await.0["errors"][0]["extensions"].clone();
    assert_eq!(error, json!({ "code": "QUERY_TOO_LARGE", "what": "cost", "limit": 20_000, "found": 50_606 }));
    let mut socket = owner.socket().await;
    socket
        .subscribe("1", "subscription { accessRequestChanged { cursor } clientConnectionChanged { cursor } }", Value::Null)
        .await;
    let Heard::Message(refused) = socket.hear().await else { panic!() };
    assert_eq!((&refused["type"], &refused["payload"][0]["extensions"]["code"]), (&json!("error"), &json!("BAD_REQUEST")));
}

/// R3: a server that stops tells its listeners to come back.
async fn r3_a_stopping_server_closes_its_sockets(place: crate::support::Place) {
    let app = TestApp::start(place, &[]).await;
    let ann = app.person("ann@x.example").await;
    let mut socket = ann.socket().await;
    socket.subscribe("1", crate::support::socket::OWN_REQUESTS, Value::Null).await;
    let stop = app.finish();
    let heard = async { socket.hear().await };
    let ((), heard) = futures_util::future::join(stop, heard).await;
    assert_eq!(heard, Heard::Closed(1001));
}

/// Opens a connection, sends this, and answers all that comes back before the server closes it.
async fn until_closed(app: &TestApp, bytes: &[u8]) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(app.url.trim_start_matches("http://")).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(crate::support::PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    String::from_utf8(answer).unwrap()
}

/// THREATS 15: slow headers, a slow body, a connection that is kept for nothing: each is closed when its time is over.
async fn threat_15_who_is_slow_is_cut_off(place: crate::support::Place) {
    let app = TestApp::start(place, &[("client_timeout", "1s")]).await;
    let cut = futures_util::future::join_all([
        until_closed(&app, b""),
        until_closed(&app, b"POST /graphql HTTP/1.1\r\nHost: localhost\r\n"),
        until_closed(
            &app,
            b"POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
        ),
        until_closed(&app, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    ])
    .await;
    assert_eq!(cut[0], "");
    assert!(cut[1].is_empty() || cut[1].starts_with("HTTP/1.1 4"), "{}", cut[1]);
    assert!(cut[2].starts_with("HTTP/1.1 408"), "{}", cut[2]);
    assert!(cut[3].starts_with("HTTP/1.1 200"), "{}", cut[3]);
    app.finish().await;
}

/// A log with thousands of events about one request, and a subscription to them of some 20 KB each, so that what the machine
/// itself holds back between the two is full soon: the question, and the cursor before them.
async fn a_flood(app: &TestApp, owner: &crate::support::people::Person<'_>) -> (String, Value) {
    use keyholder::app::Happening;
    let ask = "mutation($m: String!) { requestClientAccess(input: {emails: [\"c@x.example\"], message: $m}) { connections { id } userErrors { code } } }";
    let asked = owner.ask(ask, json!({ "m": "x".repeat(2_000) })).await;
    let connection: entity::ConnectionId = asked.payload()["connections"][0]["id"].as_str().unwrap().parse().unwrap();
    let (log, kind) =
        (owner.account.parse::<entity::AccountId>().unwrap().into(), entity::event::EventKind::ClientAccessRequested);
    let since = owner.ask("{ account { activityCursor } }", Value::Null).await.payload()["activityCursor"].clone();
    let grown = app.tx(async |tx| {
        tx.hold(vec![log]).await?;
        for _ in 0..FLOOD {
            tx.append(Happening::by_itself(kind, connection.0), [log]);
        }
        Ok(())
    });
    grown.await.unwrap();
    let message: String = (0..10).map(|n| format!("m{n}: message ")).collect();
    (format!("subscription($after: String) {{ clientConnectionChanged(after: $after) {{ connection {{ {message} }} }} }}"), since)
}

const FLOOD: usize = 3_000;

/// THREATS 27: a reader of events who takes nothing is cut off, and what waits for it does not pile up.
async fn threat_27_who_takes_nothing_is_cut_off(place: crate::support::Place) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let app = TestApp::start(place, &[("client_timeout", "1s")]).await;
    let owner = app.agency("olga@agency.example").await;
    let (query, since) = a_flood(&app, &owner).await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut stream = socket.connect(app.url.trim_start_matches("http://").parse().unwrap()).await.unwrap();
    let body = json!({ "query": query, "variables": { "after": since } }).to_string();
    let head = format!(
        "POST /graphql HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nAccept: text/event-stream\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        owner.token,
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    // It takes nothing until the server has lost its patience: then what is left is what had been under way, and an end.
    crate::support::eventually("the server gives up", async || stream.try_write(b"x").is_err().then_some(())).await;
    let mut taken = Vec::new();
    // With what had been under way, or with a reset: either is an end.
    let _ = tokio::time::timeout(crate::support::PATIENCE, stream.read_to_end(&mut taken)).await.unwrap();
    let told = String::from_utf8_lossy(&taken).matches("event: next").count();
    assert!(told < FLOOD, "{told}");
    app.finish().await;
}

/// THREATS 27: nor does it pile up in the machine, where the server could not count it.
async fn threat_27_little_waits_for_who_takes_nothing(app: &TestApp) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    if !cfg!(target_os = "linux") {
        return println!("skipped: no table of connections in /proc");
    }
    let owner = app.agency("olga@agency.example").await;
    let ask =
        "mutation($e: [String!]!, $m: String!) { requestClientAccess(input: {emails: $e, message: $m}) { userErrors { code } } }";
    let emails: Vec<String> = (0..10).map(|n| format!("c{n}@x.example")).collect();
    owner.ask(ask, json!({ "e": emails, "m": "x".repeat(2_000) })).await.ok();
    let messages: String = (0..90).map(|n| format!("m{n}: message ")).collect();
    let body =
        json!({ "query": format!("{{ account {{ clientConnections(first: 10) {{ nodes {{ {messages} }} }} }} }}") }).to_string();
    let (server, token) = (app.url.trim_start_matches("http://"), &owner.token);
    let head = "Content-Type: application/json\r\nHost: localhost\r\nContent-Length:";
    let request = format!("POST /graphql HTTP/1.1\r\nAuthorization: Bearer {token}\r\n{head} {}\r\n\r\n{body}", body.len());
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut stream = socket.connect(server.parse().unwrap()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let [here, there] = [stream.peer_addr().unwrap().port(), stream.local_addr().unwrap().port()];
    let looks = std::cell::Cell::new((0, 0));
    crate::support::eventually("many looks find that nothing more is taken from the server", async || {
        let (before, same) = looks.get();
        let now = waiting(here, there);
        looks.set((now, if now > 0 && now == before { same + 1 } else { 0 }));
        (same > 40).then_some(())
    })
    .await;
    let (waits, _) = looks.get();
    assert!(waits < 500_000, "{waits} bytes of 1.8 MB wait");
    let mut answer = vec![0; 1_500_000];
    tokio::time::timeout(crate::support::PATIENCE, stream.read_exact(&mut answer)).await.unwrap().unwrap();
}

/// What the machine keeps for the other side of a connection, in bytes.
fn waiting(here: u16, there: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let ours = |line: &&str| {
        let mut columns = line.split_whitespace().skip(1);
        [here, there].iter().all(|port| columns.next().is_some_and(|address| address.ends_with(&format!(":{port:04X}"))))
    };
    let queues = table.lines().find(ours).and_then(|line| line.split_whitespace().nth(4)).unwrap_or("0:0");
    usize::from_str_radix(&queues[..queues.find(':').unwrap()], 16).unwrap()
}

/// THREATS 28, THREATS 29: a socket outlives its token, and never its session or its access: with a stalled reader too, it ends well
/// before the server would have lost patience.
async fn threat_28_and_29_a_socket_ends_with_its_access(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let client = app.person("carl@client.example").await;
    let connection = owner.connect(&client, "ADMIN").await;
    let there = owner.acting_in(&client.account).await;
    let mut quiet = there.socket().await;
    let mut own = owner.socket().await;
    app.advance(chrono::TimeDelta::minutes(10));
    own.subscribe("1", "{ viewer { level } }", Value::Null).await;
    assert_eq!(own.next().await["data"]["viewer"]["level"], "OWNER", "the token has expired, the session has not");
    assert_eq!(own.hear().await, Heard::Message(json!({ "id": "1", "type": "complete" })));
    client.sign_in().await.end(&connection).await.ok();
    assert_eq!(quiet.hear().await, Heard::Closed(4403), "nothing was subscribed, and it ends all the same");

    let stalled = owner.sign_in().await;
    let (query, since) = a_flood(app, &stalled).await;
    let mut socket = stalled.socket().await;
    socket.subscribe("1", &query, json!({ "after": since })).await;
    let still = std::cell::Cell::new((0, 0));
    crate::support::eventually("the server is stuck with what is not taken: many looks find it asking nothing", async || {
        let (before, looks) = still.get();
        let now = app.db.statements();
        still.set((now, if now == before { looks + 1 } else { 0 }));
        (looks > 40).then_some(())
    })
    .await;
    stalled.ask("mutation { signOut { signedOut } }", Value::Null).await.ok();
    let gone = crate::support::eventually("the server gives up", async || socket.is_gone().then_some(()));
    tokio::time::timeout(crate::support::PATIENCE / 2, gone).await.unwrap();
}

/// THREATS 13: an origin is told that it may call only when the settings name it.
async fn threat_13_cors_by_list(place: crate::support::Place) {
    let app = TestApp::start(place, &[("allowed_origins", "https://app.example.com")]).await;
    for (origin, allowed) in [("https://app.example.com", true), ("https://evil.example", false)] {
        let graphql = format!("{}/graphql", app.url);
        let preflight = app
            .http
            .request(reqwest::Method::OPTIONS, &graphql)
            .header("origin", origin)
            .header("access-control-request-method", "POST");
        for response in [preflight.send().await.unwrap(), app.http.get(&graphql).header("origin", origin).send().await.unwrap()] {
            let told = response.headers().get("access-control-allow-origin").map(|value| value.to_str().unwrap().to_owned());
            assert_eq!(told.as_deref(), allowed.then_some(origin));
        }
    }
    app.finish().await;
}

on_both_databases!(
    threat_27_little_waits_for_who_takes_nothing,
    threat_28_and_29_a_socket_ends_with_its_access,
    threat_12_a_foreign_origin_with_credentials,
    no_text_is_a_fault,
    r6_the_endpoints,
    threat_05_endless_directives,
    threat_06_thousands_of_mistakes,
    threat_07_aliases_and_repeated_fields,
    threat_09_batches_and_other_nonsense,
    threat_10_a_mutation_by_get,
    threat_11_other_content_types,
    a_mutation_never_runs_twice,
    plain_questions_are_answered_as_by_the_stock_service,
    keys_stand_in_the_order_of_the_query,
    threat_21_a_socket_of_a_foreign_page,
    threat_23_the_protocols_own_codes,
    threat_24_a_bad_token,
    threat_25_queries_over_a_socket,
);
on_both_databases!(on_its_own_servers:
    r3_a_stopping_server_closes_its_sockets,
    threat_13_cors_by_list,
    threat_15_who_is_slow_is_cut_off,
    threat_27_who_takes_nothing_is_cut_off,
);
