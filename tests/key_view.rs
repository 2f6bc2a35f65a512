//! What an API key sees: its account, and nothing of its creator's: SPEC I6, THREATS 56, 76.

use crate::{
    on_both_databases,
    support::{Heard, Place, TestApp, eventually, people::Person, socket::Socket},
    two_factor::protect,
};
use async_graphql_parser::{
    parse_schema,
    types::{FieldDefinition, TypeKind, TypeSystemDefinition},
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The fields of an object type of the SDL.
fn fields_of(name: &str) -> Vec<FieldDefinition> {
    let document = parse_schema(keyholder::schema::sdl()).unwrap();
    let fields = document.definitions.into_iter().find_map(|definition| match definition {
        TypeSystemDefinition::Type(ty) if ty.node.name.node == name => match ty.node.kind {
            TypeKind::Object(object) => Some(object.fields),
            _ => None,
        },
        _ => None,
    });
    fields.unwrap().into_iter().map(|field| field.node).collect()
}

/// A creator of keys with a life beside the account: other accounts, a client's account, invitations and requests to their address, a
/// change of address, two-factor, several sessions.
struct Stage<'a> {
    creator: Person<'a>,
    /// Things of the creator's, by what they are.
    own: BTreeMap<&'static str, String>,
}

impl<'a> Stage<'a> {
    async fn set(app: &'a TestApp) -> Self {
        let creator = app.agency("olga@agency.example").await;
        let second = creator
            .ask("mutation { createAccount(input: {name: \"Private\"}) { account { id } userErrors { code } } }", Value::Null);
        let second = second.await.payload()["account"]["id"].as_str().unwrap().to_owned();
        let client = app.person("carl@client.example").await;
        creator.connect(&client, "ADMIN").await;
        let other = app.agency("otto@other.example").await;
        let invited = other.invite(&["olga@agency.example"], "VIEWER").await;
        let invitation = invited.payload()["invitations"][0]["id"].as_str().unwrap().to_owned();
        let request = other.request_one("olga@agency.example").await;
        protect(&creator).await;
        let change = "mutation { changeEmail(input: {email: \"olga@new.example\"}) { user { id } userErrors { code } } }";
        creator.ask(change, Value::Null).await.ok();
        let own = "{ viewer { sessions { id } activity { nodes { id } } } }";
        let own = creator.ask(own, Value::Null).await.payload().clone();
        let session = own["sessions"][0]["id"].as_str().unwrap().to_owned();
        // An event of the own log alone.
        let nodes = own["activity"]["nodes"].as_array().unwrap();
        let event = nodes[0]["id"].as_str().unwrap().to_owned();
        let own = [
            ("their second account", second),
            ("an invitation to them", invitation),
            ("a request to them", request),
            ("a session", session),
            ("an event of their own log", event),
        ];
        Self { creator, own: BTreeMap::from(own) }
    }
}

/// THREATS 76, I6: every field of the viewer, with a key of the Owner's: a list that a new field without a row does not match.
async fn threat_76_the_viewer_of_a_key(app: &TestApp) {
    let Stage { creator, .. } = Stage::set(app).await;
    let key = creator.api_key().await;
    let account = json!({ "id": creator.account });
    let rows: BTreeMap<&str, (&str, Value)> = BTreeMap::from([
        ("accessRequests", ("{ totalCount nodes { id } }", json!({ "totalCount": 0, "nodes": [] }))),
        (
            "accounts",
            (
                "{ totalCount edges { level via { id } node { id } } }",
                json!({ "totalCount": 1, "edges": [{ "level": "OWNER", "via": null, "node": account }] }),
            ),
        ),
        ("activity", ("{ totalCount nodes { id } }", json!({ "totalCount": 0, "nodes": [] }))),
        ("activityCursor", ("", Value::Null)),
        ("can", ("(permission: VIEW_USERS)", json!(true))),
        ("emailOptIn", ("", json!(false))),
        ("emailVerified", ("", Value::Null)),
        ("explain", ("(permission: EXPORT_ACCOUNT) { allowed decidedBy }", json!({ "allowed": false, "decidedBy": "API_KEY" }))),
        ("invitations", ("{ totalCount nodes { id } }", json!({ "totalCount": 0, "nodes": [] }))),
        ("level", ("", json!("OWNER"))),
        ("pendingEmail", ("", Value::Null)),
        ("permissions", ("", json!(keyholder::permission::MATRIX.len() - 6))),
        ("reauthenticatedUntil", ("", Value::Null)),
        ("securityEvents", ("{ totalCount nodes { id } }", json!({ "totalCount": 0, "nodes": [] }))),
        ("sessions", ("{ id }", json!([]))),
        ("twoFactorEnabled", ("", Value::Null)),
        (
            "user",
            (
                "{ id name username email erased }",
                json!({ "id": creator.id, "name": "olga", "username": "olga", "email": null, "erased": false }),
            ),
        ),
        ("via", ("{ id }", Value::Null)),
    ]);
    let names: Vec<_> = fields_of("Viewer").into_iter().map(|field| field.name.node.to_string()).collect();
    let without: Vec<_> = names.iter().filter(|name| !rows.contains_key(name.as_str())).collect();
    assert!(without.is_empty(), "say what an API key sees of {without:?}");
    for (name, (selection, expected)) in rows.into_iter().filter(|(name, _)| names.iter().any(|known| known == name)) {
        let seen = app.ask_as(Some(&key), &format!("{{ viewer {{ {name}{selection} }} }}"), Value::Null).await;
        let mut seen = seen.payload()[name].clone();
        if name == "permissions" {
            seen = json!(seen.as_array().unwrap().len());
        }
        assert_eq!(seen, expected, "{name}");
        // The creator's own session does see it, where there is anything to hide.
        let hidden = expected.is_null() && name != "via" || expected["totalCount"] == 0 || expected == json!([]);
        eventually(name, async || {
            let theirs = creator.ask(&format!("{{ viewer {{ {name}{selection} }} }}"), Value::Null).await;
            (!hidden || theirs.payload()[name] != expected).then_some(())
        })
        .await;
    }
}

/// I6: the one account of a key: of a lower level, in a client's account, searched, paged, and after the creator's access ended.
async fn threat_76_the_accounts_of_a_key(app: &TestApp) {
    let Stage { creator, .. } = Stage::set(app).await;
    let make = "mutation($l: UserLevel) { createApiKey(input: {name: \"x\", level: $l}) { secret userErrors { code } } }";
    let key = async |person: &Person<'_>, level: &str| {
        person.ask(make, json!({ "l": level })).await.payload()["secret"].as_str().unwrap().to_owned()
    };
    let list = "query($s: String, $l: [UserLevel!], $f: Int, $a: String, $b: String, $n: Int) { viewer { accounts(search: $s, level: $l, first: $f, last: $n, after: $a, before: $b) { totalCount pageInfo { endCursor hasNextPage } edges { level via { id } node { id name } } } } }";
    let viewers = key(&creator, "VIEWER").await;
    let ask = async |key: &str, variables: Value| app.ask_as(Some(key), list, variables).await.payload()["accounts"].clone();
    let all = ask(&viewers, json!({})).await;
    assert_eq!(
        (&all["totalCount"], &all["edges"][0]["level"], &all["edges"][0]["node"]["id"]),
        (&json!(1), &json!("VIEWER"), &json!(creator.account))
    );
    for (variables, count) in [
        (json!({ "s": "OLGA" }), 1),
        (json!({ "s": "priv" }), 0),
        (json!({ "l": ["VIEWER"] }), 1),
        (json!({ "l": ["OWNER"] }), 0),
        (json!({ "n": 1 }), 1),
        (json!({ "f": 1, "a": all["pageInfo"]["endCursor"] }), 0),
        (json!({ "n": 1, "b": all["pageInfo"]["endCursor"] }), 0),
    ] {
        assert_eq!(ask(&viewers, variables.clone()).await["edges"].as_array().unwrap().len(), count, "{variables}");
    }
    let clients = creator.ask("{ viewer { accounts { edges { via { id } node { id } } } } }", Value::Null).await;
    let edges = clients.payload()["accounts"]["edges"].as_array().unwrap().clone();
    assert_eq!(edges.len(), 3, "the creator has three");
    let there = edges.iter().find(|edge| !edge["via"].is_null()).unwrap();
    let there_key = key(&creator.acting_in(there["node"]["id"].as_str().unwrap()).await, "MANAGER").await;
    let seen = ask(&there_key, json!({})).await;
    assert_eq!(
        (&seen["totalCount"], &seen["edges"][0]["via"], &seen["edges"][0]["node"]["id"]),
        (&json!(1), &there["via"], &there["node"]["id"])
    );
    let admin = creator.colleague("adam@agency.example", "ADMIN").await;
    let admins = admin.api_key().await;
    creator.keep_out("suspendUser", &admin.id).await.ok();
    assert_eq!(ask(&admins, json!({})).await["totalCount"], 0);
}

/// I6: `node` finds nothing of the creator's, and what is the account's.
async fn threat_76_a_key_finds_nothing_of_its_creators(app: &TestApp) {
    let Stage { creator, own } = Stage::set(app).await;
    let key = creator.api_key().await;
    let node = "query($i: ID!) { node(id: $i) { __typename id } }";
    for (what, id) in &own {
        assert_eq!(creator.ask(node, json!({ "i": id })).await.payload()["id"], json!(id), "{what}: the creator finds it");
        let found = app.ask_as(Some(&key), node, json!({ "i": id })).await;
        assert_eq!(found.0, json!({ "data": { "node": null } }), "{what}");
    }
    let vera = creator.colleague("vera@agency.example", "VIEWER").await;
    let users = "query($i: [ID!]!) { nodes(ids: $i) { id ... on User { email } } account { owner { email } users { nodes { twoFactorEnabled user { name email } } } } }";
    let seen = app.ask_as(Some(&key), users, json!({ "i": [vera.id, creator.id, creator.account] })).await;
    let data = seen.ok();
    // The creator's address has one value wherever a key looks: none.
    assert_eq!(
        data["nodes"],
        json!([{ "id": vera.id, "email": "vera@agency.example" }, { "id": creator.id, "email": null }, { "id": creator.account }])
    );
    assert_eq!(data["account"]["owner"]["email"], Value::Null);
    let listed = json!([
        { "twoFactorEnabled": null, "user": { "name": "olga", "email": null } },
        { "twoFactorEnabled": false, "user": { "name": "vera", "email": "vera@agency.example" } },
    ]);
    assert_eq!(data["account"]["users"]["nodes"], listed);
    // Nor does it go on as the creator.
    let refresh =
        "mutation($r: String!) { refreshSession(input: {refreshToken: $r}) { credentials { accessToken } userErrors { code } } }";
    assert_eq!(app.ask_as(Some(&key), refresh, json!({ "r": key })).await.codes(), ["UNAUTHENTICATED"]);
    let switch = "mutation($a: ID!) { switchAccount(input: {accountId: $a}) { level userErrors { code } } }";
    for account in [&own["their second account"], &creator.account] {
        assert_eq!(app.ask_as(Some(&key), switch, json!({ "a": account })).await.codes(), ["FORBIDDEN"]);
    }
}

/// I6: each subscription of the SDL with a key: to its account alone.
async fn threat_76_what_a_key_subscribes_to(place: Place) {
    let app = TestApp::start(place, &[]).await;
    let Stage { creator, .. } = Stage::set(&app).await;
    let key = creator.api_key().await;
    let rows = BTreeMap::from([
        ("accessRequestChanged", None),
        ("accountActivity", Some("subscription { accountActivity { node { kind } } }")),
        ("clientConnectionChanged", Some("subscription { clientConnectionChanged { event { kind } } }")),
    ]);
    let names: Vec<_> = fields_of("Subscription").into_iter().map(|field| field.name.node.to_string()).collect();
    assert_eq!(names.iter().map(String::as_str).collect::<std::collections::BTreeSet<_>>(), rows.keys().copied().collect());
    let mut socket = Socket::open(&app.url).await;
    socket.init(json!({ "authorization": format!("Bearer {key}") })).await;
    socket.subscribe("own", "subscription { accessRequestChanged { cursor } }", Value::Null).await;
    let Heard::Message(refused) = socket.hear().await else { panic!("it is refused") };
    assert!(refused["id"] == "own" && refused.to_string().contains("FORBIDDEN"), "{refused}");
    for (name, query) in rows.iter().filter_map(|(name, query)| Some((name, query.as_ref()?))) {
        socket.subscribe(name, query, Value::Null).await;
    }
    // A round trip, so that both listen before anything happens.
    socket.subscribe("level", "{ viewer { level } }", Value::Null).await;
    let mut answered = false;
    while !answered {
        let Heard::Message(message) = socket.hear().await else { panic!("the socket lives") };
        answered = message["id"] == "level" && message["type"] == "complete";
    }
    // One request to the creator's address, which is not the account's, and one of the account's own.
    let stranger = app.agency("sam@else.example").await;
    stranger.request(&["olga@agency.example"]).await.ok();
    creator.request(&["somebody@client.example"]).await.ok();
    let mut heard = BTreeMap::new();
    while heard.len() < 2 {
        let Heard::Message(message) = socket.hear().await else { panic!("the socket lives") };
        if message["type"] == "next" && message["id"] != "level" {
            heard.insert(message["id"].as_str().unwrap().to_owned(), message["payload"]["data"].clone());
        }
    }
    assert_eq!(heard["accountActivity"], json!({ "accountActivity": { "node": { "kind": "CLIENT_ACCESS_REQUESTED" } } }));
    assert_eq!(
        heard["clientConnectionChanged"],
        json!({ "clientConnectionChanged": { "event": { "kind": "CLIENT_ACCESS_REQUESTED" } } })
    );
    app.finish().await;
}

on_both_databases!(threat_76_the_viewer_of_a_key, threat_76_the_accounts_of_a_key, threat_76_a_key_finds_nothing_of_its_creators,);
on_both_databases!(on_its_own_servers: threat_76_what_a_key_subscribes_to);
