//! The forms in which the edge answers: GraphiQL, multipart, trusted documents, limits, headers: SPEC R3, THREATS 1–4, 14, 16, 17, 22, 26.

use crate::{
    on_both_databases,
    support::{Heard, Place, TestApp, socket::Socket},
};
use serde_json::{Value, json};

const PLANS: &str = "{ planTerms { plan } }";

/// Sends a body to `/graphql` and answers status, headers and text.
async fn post(app: &TestApp, token: Option<&str>, accept: &str, body: &Value) -> reqwest::Response {
    let mut request = app.http.post(format!("{}/graphql", app.url)).header("accept", accept).json(body);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    request.send().await.unwrap()
}

async fn get(app: &TestApp, path: &str, headers: &[(&str, &str)]) -> reqwest::Response {
    let mut request = app.http.get(format!("{}{path}", app.url));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

/// R3, THREATS 16: GraphiQL, introspection and suggestions are there for development, and elsewhere as the settings say.
async fn threat_16_what_is_for_development(place: Place) {
    let schema = json!({ "query": "{ __schema { types { name } } }" });
    let typo = json!({ "query": "{ planTermz { plan } }" });
    let mail = [("dev", "off"), ("smtp_url", "smtp://127.0.0.1:1"), ("mail_from", "a@x.example")];
    let mut place = place;
    for (explicit, there) in [(None, false), (Some("on"), true)] {
        let mut settings = mail.to_vec();
        settings.extend(explicit.into_iter().flat_map(|on| [("graphiql", on), ("introspection", on)]));
        let app = TestApp::start(place, &settings).await;
        let page = get(&app, "/", &[]).await.text().await.unwrap();
        assert_eq!(page.contains("graphiql.js"), there);
        assert_eq!(get(&app, "/graphiql/graphiql.js", &[]).await.status() == 200, there);
        let types = post(&app, None, "application/json", &schema).await.text().await.unwrap();
        assert_eq!(types.contains("\"AccountUser\""), there, "{types}");
        assert_eq!(types.contains("This server does not tell its schema."), !there, "{types}");
        let error = post(&app, None, "application/json", &typo).await.text().await.unwrap();
        assert_eq!(error.contains("Did you mean"), there, "{error}");
        assert_eq!(get(&app, "/mailbox", &[]).await.status(), 404);
        place = app.stop().await;
    }
    place.remove().await;
}

/// R3: GraphiQL comes from this server alone, compressed for who takes that, and not again to who has it.
async fn r3_graphiql_is_part_of_the_server(app: &TestApp) {
    let page = get(app, "/", &[("accept-encoding", "gzip")]).await;
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.contains("script-src 'self';") && policy.starts_with("default-src 'none';"), "{policy}");
    assert_eq!(page.headers()["content-encoding"], "gzip");
    let tag = page.headers()["etag"].to_str().unwrap().to_owned();
    let again = get(app, "/", &[("if-none-match", &format!("\"other\", {tag}"))]).await;
    assert_eq!((again.status().as_u16(), again.bytes().await.unwrap().len()), (304, 0));
    assert_eq!(get(app, "/", &[("if-none-match", "*")]).await.status(), 304);
    let plain = get(app, "/", &[]).await;
    assert!(!plain.headers().contains_key("content-encoding"));
    let html = plain.text().await.unwrap();
    let loaded: Vec<&str> = html.split('"').filter(|part| part.starts_with("/graphiql/")).collect();
    assert!(loaded.len() >= 2 && !html.contains("=\"http") && !html.contains("=\"//"), "{html}");
    for file in loaded {
        let (small, whole) = (get(app, file, &[("accept-encoding", "br, gzip;q=0.5")]).await, get(app, file, &[]).await);
        assert_eq!(small.headers()["content-type"], whole.headers()["content-type"]);
        assert!(small.bytes().await.unwrap().len() * 2 < whole.bytes().await.unwrap().len(), "{file}");
    }
    assert_eq!(get(app, "/graphiql/../Cargo.toml", &[]).await.status(), 404);
    assert_eq!(
        get(app, "/graphiql/settings.json", &[]).await.text().await.unwrap(),
        r#"{"dev":true,"people":[],"password":null}"#
    );
}

/// With `--dev` anyone's mails can be read: a page of a foreign site that points its own name at this machine gets nothing.
async fn a_name_that_is_led_here(app: &TestApp) {
    for (host, of_a_page, status) in [
        ("evil.example", true, 421),
        ("localhost:8080", true, 200),
        ("127.0.0.1", true, 200),
        ("[::1]:8080", true, 200),
        ("evil.example", false, 421),
    ] {
        for path in ["/mailbox.json", "/", "/graphql?query=%7B__typename%7D"] {
            let mut headers = vec![("host", host)];
            headers.extend(of_a_page.then_some(("sec-fetch-site", "same-origin")));
            assert_eq!(get(app, path, &headers).await.status(), status, "{host} {path}");
        }
    }
}

/// Every response tells browsers to be careful with it, and a large one is compressed.
async fn every_response_has_its_headers(app: &TestApp) {
    for path in ["/", "/healthz", "/nothing", "/mailbox", "/verify-email", "/graphql"] {
        let response = get(app, path, &[]).await;
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(header("x-frame-options"), "DENY", "{path}");
        assert_eq!(header("referrer-policy"), "no-referrer", "{path}");
        assert!(header("content-security-policy").starts_with("default-src 'none'"), "{path}");
        assert_eq!(header("x-request-id").len(), 32, "{path}");
    }
    let query = "query=%7BroleMatrix%7Baction%20area%20permission%20levels%7D%7D";
    let small = get(app, &format!("/graphql?{query}"), &[("accept-encoding", "gzip")]).await;
    assert_eq!(small.headers()["content-encoding"], "gzip");
    let head = app.http.head(format!("{}/graphql?{query}", app.url)).send().await.unwrap();
    assert_eq!((head.status().as_u16(), head.bytes().await.unwrap().len()), (200, 0));
    let whole = get(app, &format!("/graphql?{query}"), &[]).await.bytes().await.unwrap();
    assert!(small.bytes().await.unwrap().len() * 3 < whole.len());
}

/// A subscription over Apollo's multipart protocol hears an approval, and its refusals.
async fn a_subscription_in_parts(app: &TestApp) {
    const ACCEPT: &str =
        "multipart/mixed;boundary=graphql;subscriptionSpec=1.0,application/graphql-response+json,application/json;q=0.9";
    let owner = app.agency("olga@agency.example").await;
    let client = app.person("carl@client.example").await;
    let body = json!({ "query": crate::support::socket::CONNECTIONS });
    let mut response = post(app, Some(&owner.token), ACCEPT, &body).await;
    assert_eq!(response.headers()["content-type"], "multipart/mixed;boundary=\"-\";subscriptionSpec=1.0");
    let mut heard = String::from_utf8(response.chunk().await.unwrap().unwrap().to_vec()).unwrap();
    assert_eq!(heard, "\r\n---\r\ncontent-type: application/json\r\n\r\n{}\r\n---", "the stream has begun");
    owner.request_one(&client.email).await;
    heard = String::from_utf8(response.chunk().await.unwrap().unwrap().to_vec()).unwrap();
    let (top, rest) = heard.split_once("\r\n\r\n").unwrap();
    assert_eq!(top, "\r\ncontent-type: application/json");
    let first: Value = serde_json::from_str(rest.strip_suffix("\r\n---").unwrap()).unwrap();
    assert_eq!(first["payload"]["data"]["clientConnectionChanged"]["event"]["kind"], "CLIENT_ACCESS_REQUESTED");

    let refused = post(app, None, ACCEPT, &body).await.text().await.unwrap();
    assert!(refused.contains("\"code\":\"UNAUTHENTICATED\"") && refused.ends_with("}\r\n-----\r\n"), "{refused}");
    let invalid = post(app, None, ACCEPT, &json!({ "query": "subscription { nothing }" })).await;
    assert!(invalid.text().await.unwrap().contains("Unknown field"));
    // A query is one answer, also for who would take parts.
    let query = post(app, None, ACCEPT, &json!({ "query": PLANS })).await;
    assert_eq!(query.headers()["content-type"], "application/graphql-response+json; charset=utf-8");
    let alone = post(app, None, "multipart/mixed;subscriptionSpec=\"1.0\"", &json!({ "query": PLANS })).await;
    assert!(alone.text().await.unwrap().contains(r#"{"payload":{"data":{"planTerms":"#));
    assert_eq!(post(app, None, "multipart/mixed", &json!({ "query": PLANS })).await.status(), 406);
}

/// A server that takes trusted documents alone, by every form of id and in every form of folder.
async fn trusted_documents_alone(place: Place) {
    let folder = place.directory().join("documents");
    std::fs::create_dir(&folder).unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    std::fs::create_dir(folder.join("pages")).unwrap();
    write("pages/Plans.graphql", PLANS);
    write("apollo.json", &json!({ "format": "apollo-persisted-query-manifest", "version": 1, "operations":
        [{ "id": "one", "name": "Q", "type": "query", "body": "query Q($area: PermissionArea!) { roleMatrix(area: $area) { action } }" }] }).to_string());
    write(
        "relay.json",
        &json!({ "two": "subscription { clientConnectionChanged { cursor } }", "three": "mutation { signOut { signedOut } }" })
            .to_string(),
    );
    write("README.md", "no document");
    let app = TestApp::start(place, &[("trusted_documents", folder.to_str().unwrap())]).await;
    let hash = "b2fb64e0dc0d8ca41cbe1b51a1d9ee7b2d0e7b4ad44a5ba6f9a2f6d5d8b6ec5a";
    let ask = async |body: Value| -> Value { post(&app, None, "application/json", &body).await.json().await.unwrap() };
    let plan = json!("FREE");
    assert_eq!(ask(json!({ "documentId": "Plans" })).await["data"]["planTerms"][0]["plan"], plan);
    let by_hash = keyholder_hash(PLANS);
    for id in [by_hash.clone(), format!("sha256:{by_hash}")] {
        assert_eq!(ask(json!({ "documentId": id })).await["data"]["planTerms"][0]["plan"], plan, "{id}");
    }
    let persisted = json!({ "extensions": { "persistedQuery": { "version": 1, "sha256Hash": by_hash } } });
    assert_eq!(ask(persisted).await["data"]["planTerms"][0]["plan"], plan);
    let action = ask(json!({ "documentId": "one", "variables": { "area": "ACCOUNT" } })).await;
    assert!(action["data"]["roleMatrix"][0]["action"].is_string(), "{action}");
    let query = get(&app, "/graphql?documentId=Plans", &[]).await.json::<Value>().await.unwrap();
    assert_eq!(query["data"]["planTerms"][0]["plan"], plan);
    assert_eq!(get(&app, "/graphql?documentId=three", &[]).await.status(), 405, "a mutation by GET stays one");
    for refused in [json!({ "query": PLANS }), json!({ "query": PLANS, "documentId": "four" }), json!({ "documentId": hash })] {
        let answer = ask(refused.clone()).await;
        assert!(
            answer.get("data").is_none() && answer["errors"][0]["message"].as_str().unwrap().contains("trusted document"),
            "{answer}"
        );
    }
    let ann = {
        let mut socket = Socket::open(&app.url).await;
        socket.init(Value::Null).await;
        socket.send(json!({ "id": "1", "type": "subscribe", "payload": { "documentId": "Plans" } })).await;
        assert_eq!(socket.next().await["data"]["planTerms"][0]["plan"], plan);
        assert_eq!(socket.hear().await, Heard::Message(json!({ "id": "1", "type": "complete" })));
        socket.subscribe("2", PLANS, Value::Null).await;
        socket.hear().await
    };
    assert!(matches!(ann, Heard::Message(refused) if refused["type"] == "error"));
    let place = app.stop().await;
    // A server that could answer none of them would be found out by its clients; the start says so instead.
    for (text, complaint) in [
        ("{ planTermz { plan } }", "bad would be refused: Unknown field"),
        ("{ planTerms { plan }", "bad.graphql: "),
        (&format!("{{ a(x: {}) }}", "[".repeat(40)), "bad would be refused: The document is too large: nesting 42, at most 30."),
    ] {
        write("bad.graphql", text);
        let error = place.refusal(&[("trusted_documents", folder.to_str().unwrap())]).await;
        assert!(error.starts_with("KEYHOLDER_TRUSTED_DOCUMENTS: ") && error.contains(complaint), "{error}");
    }
    std::fs::remove_file(folder.join("bad.graphql")).unwrap();
    write("z.json", &json!({ "one": PLANS }).to_string());
    assert!(
        place
            .refusal(&[("trusted_documents", folder.to_str().unwrap())])
            .await
            .contains("z.json: the id one stands for another document too")
    );
    write("z.json", "[1]");
    assert!(place.refusal(&[("trusted_documents", folder.to_str().unwrap())]).await.contains("is no manifest"));
    let empty = place.directory().join("empty");
    std::fs::create_dir(&empty).unwrap();
    assert!(place.refusal(&[("trusted_documents", empty.to_str().unwrap())]).await.contains("has no .graphql"));
    assert!(place.refusal(&[("trusted_documents", "/nowhere")]).await.contains("/nowhere"));
    place.remove().await;
}

/// The SHA-256 of a text in hexadecimal digits, by the program that everybody has.
fn keyholder_hash(text: &str) -> String {
    use std::io::Write;
    let mut sum = std::process::Command::new("sha256sum");
    let mut sum = sum.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn().unwrap();
    sum.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    String::from_utf8(sum.wait_with_output().unwrap().stdout).unwrap()[..64].to_owned()
}

/// THREATS 2, 5, 7, 17: every limit is a setting, and what is past it is told by name, limit and finding, over each transport.
async fn threat_17_every_limit_is_a_setting(place: Place) {
    let settings = [
        ("max_document_bytes", "300"),
        ("max_document_tokens", "60"),
        ("max_document_nesting", "12"),
        ("max_document_fields", "20"),
        ("max_document_values", "30"),
        ("max_query_depth", "6"),
        ("max_query_cost", "230"),
        ("max_body_bytes", "5000"),
        ("max_answer_bytes", "1000"),
    ];
    let app = TestApp::start(place, &settings).await;
    let owner = app.agency("olga@agency.example").await;
    let pages = "query($n: Int) { account { users(first: $n) { nodes { user { name } } } } }";
    let deep = "{ account { users { nodes { user { connections: name } } } } viewer { via { client { users { nodes { user { id } } } } } } }";
    let cases = [
        ("bytes", 300, 316, "{ planTerms { plan } } #".to_owned() + &"x".repeat(292), json!({})),
        ("tokens", 60, 64, format!("{{ {} }}", "a: b ".repeat(20) + "a b"), json!({})),
        ("nesting", 12, 13, format!("{{ a(x: {}{}) }}", "[".repeat(11), "]".repeat(11)), json!({})),
        ("fields", 20, 22, format!("{{ {} }}", "planTerms { plan } ".repeat(11)), json!({})),
        ("values", 30, 31, "query($i: [ID!]!) { nodes(ids: $i) { id } }".to_owned(), json!({ "i": vec!["a"; 30] })),
        ("cost", 230, 237, pages.to_owned(), json!({ "n": 77 })),
        (
            "cost",
            230,
            242,
            "query($i: [ID!]!) { nodes(ids: $i) { id } account { users(first: 77) { nodes { user { name } } } } }".to_owned(),
            json!({ "i": [] }),
        ),
        ("depth", 6, 7, deep.to_owned(), json!({})),
    ];
    for (what, limit, found, query, variables) in cases {
        let refusal = owner.ask(&query, variables.clone()).await.0;
        let told = json!({ "code": "QUERY_TOO_LARGE", "what": what, "limit": limit, "found": found });
        assert_eq!(refusal["errors"][0]["extensions"], told, "{query}: {refusal}");
        assert!(refusal.get("data").is_none());
        let mut socket = owner.socket().await;
        socket.subscribe("1", &query, variables).await;
        let Heard::Message(message) = socket.hear().await else { panic!("{what}") };
        assert_eq!((&message["type"], &message["payload"][0]["extensions"]), (&json!("error"), &told));
    }
    owner.ask(pages, json!({ "n": 60 })).await.ok();
    let long = owner.ask("{ roleMatrix(area: ACCOUNT) { action note levels } }", Value::Null).await.0;
    assert_eq!((&long["errors"][0]["extensions"]["what"], long.get("data")), (&json!("bytes"), None), "{long}");
    let long = post(&app, None, "application/json", &json!({ "query": PLANS, "x": "x".repeat(6_000) })).await;
    assert_eq!(long.status(), 413, "threat 14");
    app.finish().await;
}

/// THREATS 27: readers who take nothing of long answers can take so much memory and no more; short answers don't notice.
async fn threat_27_slow_readers_share_a_room(place: Place) {
    use tokio::io::AsyncWriteExt;
    let app = TestApp::start(place, &[("max_unsent_bytes", "1"), ("max_query_cost", "100000")]).await;
    let owner = app.agency("olga@agency.example").await;
    let ask = "mutation($m: String!) { requestClientAccess(input: {emails: [\"a@x.example\", \"b@x.example\", \"c@x.example\", \"d@x.example\"], message: $m}) { connections { id } userErrors { code } } }";
    owner.ask(ask, json!({ "m": "x".repeat(2_000) })).await.ok();
    let messages: String = (0..450).map(|n| format!("m{n}: message ")).collect();
    let long = format!("{{ account {{ clientConnections(first: 4) {{ nodes {{ {messages} }} }} }} }}");
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut reader = socket.connect(app.url.trim_start_matches("http://").parse().unwrap()).await.unwrap();
    let body = json!({ "query": long }).to_string();
    let request = format!(
        "POST /graphql HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        owner.token,
        body.len()
    );
    // The machine itself takes one or two of the answers from the server, never all of them.
    reader.write_all(request.repeat(8).as_bytes()).await.unwrap();
    let ask = async || post(&app, Some(&owner.token), "application/json", &json!({ "query": long })).await;
    let refused = crate::support::eventually("there is no room", async || {
        let response = ask().await;
        (response.status() == 503).then_some(response)
    });
    let refused = refused.await;
    assert_eq!(refused.headers()["retry-after"], "1");
    let refused: Value = refused.json().await.unwrap();
    assert_eq!(refused["errors"][0]["extensions"]["code"], "OVERLOADED", "{refused}");
    owner.ask("{ viewer { level } }", Value::Null).await.ok();
    drop(reader);
    crate::support::eventually("there is room again", async || (ask().await.status() == 200).then_some(())).await;
    app.finish().await;
}

/// What a client accepts decides the form of the answer; what it refuses, it does not get.
async fn the_form_of_an_answer(app: &TestApp) {
    const JSON: &str = "application/json; charset=utf-8";
    const GRAPHQL: &str = "application/graphql-response+json; charset=utf-8";
    let cases = [
        ("", JSON),
        ("*/*", JSON),
        ("application/*;q=0.5", JSON),
        ("application/graphql-response+json, application/json;q=0.9", GRAPHQL),
        ("application/graphql-response+json;q=0.1, application/json;q=0.9", JSON),
        ("APPLICATION/JSON ; Q=0.9", JSON),
        ("application/json;q=0, */*", GRAPHQL),
        ("text/html, application/xhtml+xml, */*;q=0.8", JSON),
        ("text/event-stream", "text/event-stream"),
        ("text/event-stream, application/json;q=0.9", "text/event-stream"),
        ("text/event-stream;q=0.5, application/json", JSON),
    ];
    for (accept, media) in cases {
        let response = post(app, None, accept, &json!({ "query": PLANS })).await;
        assert_eq!((response.status().as_u16(), response.headers()["content-type"].to_str().unwrap()), (200, media), "{accept}");
    }
    for accept in ["text/html", "application/json;q=0", "multipart/mixed"] {
        assert_eq!(post(app, None, accept, &json!({ "query": PLANS })).await.status(), 406, "{accept}");
    }
}

/// THREATS 14: a body of 30 MB, and one that grows when it is unpacked, are refused with an answer that arrives.
async fn threat_14_endless_bodies(app: &TestApp) {
    let graphql = format!("{}/graphql", app.url);
    let send = async |encoding: &str, body: Vec<u8>| {
        let request = app.http.post(&graphql).header("content-type", "application/json").header("content-encoding", encoding);
        request.body(body).send().await.unwrap().status().as_u16()
    };
    // Who goes on sending after the answer may find the connection gone before they read it; whoever reads hears 413.
    let heard = crate::support::eventually("the answer to an endless body is read", async || {
        let request = app.http.post(&graphql).header("content-type", "application/json").body(vec![b' '; 30_000_000]);
        request.send().await.ok().map(|answer| answer.status().as_u16())
    });
    assert_eq!(heard.await, 413);
    let asks_first = app.http.post(&graphql).header("content-type", "application/json").header("expect", "100-continue");
    assert_eq!(asks_first.body(vec![b' '; 2_000_000]).send().await.unwrap().status(), 413);
    assert_eq!(send("gzip", vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0]).await, 415);
    assert_eq!(app.ask(PLANS, Value::Null).await.payload()[0]["plan"], "FREE", "the connection is as good as before");
}

/// THREATS 1, THREATS 2, THREATS 3, THREATS 4, 9, 10: what kills a server that parses first is refused by GET, over SSE, in parts and over a socket.
async fn threats_01_to_04_over_every_transport(app: &TestApp) {
    let nested = format!("{{ node(id: {}1{}) {{ id }} }}", "[".repeat(2_000), "]".repeat(2_000));
    let default = format!("query($x: [ID!] = {}{}) {{ planTerms {{ plan }} }}", "[".repeat(2_000), "]".repeat(2_000));
    let directive = format!("{{ planTerms @skip(if: {}{}) {{ plan }} }}", "{a:".repeat(1_500), "}".repeat(1_500));
    let doubling = |levels: usize, times: usize| {
        let fragment = |n: usize| format!(" fragment F{n} on Query {{ {}}}", format!("...F{} ", n + 1).repeat(times));
        let fragments: Vec<_> = (0..levels).map(fragment).collect();
        format!("{{ ...F0 }}{} fragment F{levels} on Query {{ planTerms {{ plan }} }}", fragments.concat())
    };
    let cycle = "{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }".to_owned();
    // Few enough tokens, so that nothing but how deep they nest is against them.
    for open in ["[", "{a:"] {
        let close = if open == "[" { "]" } else { "}" };
        let deep = format!("{{ node(id: {}1{}) {{ id }} }}", open.repeat(300), close.repeat(300));
        let refusal = app.ask(&deep, Value::Null).await.0;
        assert_eq!(refusal["errors"][0]["extensions"]["what"], "nesting", "{refusal}");
    }
    for query in [nested, default, directive, doubling(22, 2), doubling(26, 2), doubling(6, 12), cycle] {
        let body = json!({ "query": query });
        for accept in ["application/json", "text/event-stream", "multipart/mixed;subscriptionSpec=1.0"] {
            let answer = post(app, None, accept, &body).await.text().await.unwrap();
            assert!(answer.contains("QUERY_TOO_LARGE") || answer.contains("contains itself"), "{accept}: {answer}");
        }
        // The head of a request has 16 KiB, so what needs no escape has none.
        let escaped = |byte: u8| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") };
        let encoded: String = query.bytes().map(escaped).collect();
        let get = get(app, &format!("/graphql?query={encoded}"), &[]).await;
        assert!(get.text().await.unwrap().contains("\"errors\""));
        let mut socket = Socket::open(&app.url).await;
        socket.init(Value::Null).await;
        socket.subscribe("1", &query, Value::Null).await;
        assert!(matches!(socket.hear().await, Heard::Message(message) if message["type"] == "error"));
    }
}

/// THREATS 22: who opens a socket and says nothing is told why it is closed.
async fn threat_22_a_socket_without_init(app: &TestApp) {
    assert_eq!(Socket::open(&app.url).await.hear().await, Heard::Closed(4408));
}

/// THREATS 26: a socket has so many operations and no more.
async fn threat_26_too_many_operations(place: Place) {
    let app = TestApp::start(place, &[("max_socket_operations", "3"), ("max_socket_message_bytes", "2000")]).await;
    let ann = app.person("ann@x.example").await;
    let mut socket = ann.socket().await;
    for id in ["1", "2", "3", "4"] {
        socket.subscribe(id, crate::support::socket::OWN_REQUESTS, Value::Null).await;
    }
    assert_eq!(socket.hear().await, Heard::Closed(1008));
    let mut socket = ann.socket().await;
    socket.send(json!({ "type": "ping", "payload": { "x": "x".repeat(2_000) } })).await;
    assert_eq!(socket.hear().await, Heard::Closed(1009));
    app.finish().await;
}

on_both_databases!(
    r3_graphiql_is_part_of_the_server,
    a_name_that_is_led_here,
    every_response_has_its_headers,
    a_subscription_in_parts,
    the_form_of_an_answer,
    threat_14_endless_bodies,
    threats_01_to_04_over_every_transport,
    threat_22_a_socket_without_init,
);
on_both_databases!(on_its_own_servers:
    threat_16_what_is_for_development,
    trusted_documents_alone,
    threat_17_every_limit_is_a_setting,
    threat_27_slow_readers_share_a_room,
    threat_26_too_many_operations,
);
