//! Who may see and do what: SPEC L2, L5, L7, L8, E1, and THREATS 45.

use crate::{
    on_both_databases,
    support::{TestApp, people::Person},
};
use async_graphql_parser::{
    parse_schema,
    types::{TypeKind, TypeSystemDefinition},
};
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};

/// L7: not allowed is FORBIDDEN with permission and level; the field is there as null, and the rest of the answer stands.
async fn l7_a_denied_field_is_null_in_its_place(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let viewer = owner.colleague("vic@agency.example", "VIEWER").await;
    let query = "{ account { id auditLog { totalCount } name invitations { totalCount } users { totalCount } ...Again } viewer { level } } fragment Again on Account { plan audit: auditLog { totalCount } }";
    let reply = viewer.ask(query, Value::Null).await;
    let account = json!({ "id": owner.account, "auditLog": null, "name": "olga's account", "invitations": null, "users": { "totalCount": 2 }, "plan": "PREMIUM", "audit": null });
    assert_eq!(reply.0["data"], json!({ "account": account, "viewer": { "level": "VIEWER" } }));
    let errors = reply.0["errors"].as_array().unwrap();
    let told: Vec<_> = errors.iter().map(|error| (error["path"].clone(), error["extensions"]["permission"].clone())).collect();
    assert_eq!(
        told,
        [
            (json!(["account", "auditLog"]), json!("VIEW_AUDIT_LOG")),
            (json!(["account", "invitations"]), json!("INVITE_USERS")),
            (json!(["account", "audit"]), json!("VIEW_AUDIT_LOG")),
        ]
    );
    assert!(errors.iter().all(|error| error["extensions"]["code"] == "FORBIDDEN" && error["extensions"]["level"] == "VIEWER"));
}

/// Everything of an account that has an id, by the id's prefix.
async fn ids_of(owner: &Person<'_>, client: &Person<'_>) -> Vec<String> {
    owner.invite(&["guest@x.example"], "VIEWER").await.ok();
    let connection = owner.connect(client, "ADMIN").await;
    owner.api_key().await;
    let query = "query($c: ID!) { viewer { sessions { id } } account { id owner { id } users { nodes { id } } apiKeys { nodes { id } } invitations { nodes { id } } auditLog { nodes { id } } } \
                 node(id: $c) { ... on ClientConnection { id users { nodes { id } } } } }";
    let reply = owner.ask(query, json!({ "c": connection })).await;
    let mut ids = Vec::new();
    collect(reply.ok(), &mut ids);
    ids
}

fn collect(value: &Value, ids: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value.as_str() {
                    Some(id) if key == "id" => ids.push(id.to_owned()),
                    _ => collect(value, ids),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, ids)),
        _ => {}
    }
}

/// The mutations that take an id, each with the input's field.
fn mutations_that_take_ids() -> std::collections::BTreeSet<String> {
    let document = parse_schema(keyholder::schema::sdl()).unwrap();
    let types = document.definitions.into_iter().filter_map(|definition| match definition {
        TypeSystemDefinition::Type(ty) => Some(ty.node),
        _ => None,
    });
    let types: Vec<_> = types.collect();
    let inputs = |wanted: &str| match types.iter().find(|ty| ty.name.node == wanted).map(|ty| &ty.kind) {
        Some(TypeKind::InputObject(input)) => {
            input.fields.iter().map(|field| (field.node.name.node.to_string(), field.node.ty.node.to_string())).collect()
        }
        _ => Vec::new(),
    };
    let Some(TypeKind::Object(mutation)) = types.iter().find(|ty| ty.name.node == "Mutation").map(|ty| &ty.kind) else {
        panic!("no mutations")
    };
    let mut taken = std::collections::BTreeSet::new();
    for field in &mutation.fields {
        for argument in &field.node.arguments {
            let input = argument.node.ty.node.to_string();
            let ids = inputs(input.trim_end_matches('!')).into_iter().filter(|(_, ty)| ty.trim_end_matches('!') == "ID");
            taken.extend(ids.map(|(name, _)| format!("{}.{name}", field.node.name.node)));
        }
    }
    taken
}

/// THREATS 45: a foreign id is the same as one that is not there: null without an error in a query, `NOT_FOUND` in a mutation.
async fn threat_45_foreign_ids(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let client = app.person("carl@client.example").await;
    let stranger = app.agency("sam@else.example").await;
    let ids = ids_of(&owner, &client).await;
    let prefixes: std::collections::BTreeSet<_> = ids.iter().map(|id| id.split('_').next().unwrap()).collect();
    assert_eq!(
        prefixes.into_iter().collect::<Vec<_>>(),
        ["account", "apikey", "connection", "event", "invitation", "member", "place", "session", "user"]
    );
    let nodes = "query($i: [ID!]!) { nodes(ids: $i) { __typename id } }";
    let own = owner.ask(nodes, json!({ "i": ids })).await;
    let seen: Vec<_> =
        own.payload().as_array().unwrap().iter().map(|node| node["id"].as_str().unwrap_or("null").to_owned()).collect();
    assert_eq!(seen, ids, "one's own are all there, in their places");
    for id in &ids {
        let absent = format!("{}_00000000000000000000000000", id.split('_').next().unwrap());
        for id in [id, &absent] {
            let reply = stranger.ask("query($i: ID!) { node(id: $i) { id } }", json!({ "i": id })).await;
            assert_eq!(reply.0, json!({ "data": { "node": null } }), "{id}");
        }
    }
    let foreign = |prefix: &str| ids.iter().find(|id| id.starts_with(prefix)).unwrap().clone();
    // Each way in which a mutation takes an id, from the SDL: one without a row fails here.
    let rows = [
        ("acceptInvitation.invitationId", "acceptInvitation(input: {invitationId: $i})"),
        ("addClientUser.connectionId", "addClientUser(input: {connectionId: $i, username: \"sam\", level: VIEWER})"),
        ("approveClientRequest.connectionId", "approveClientRequest(input: {connectionId: $i, level: ADMIN})"),
        ("blockAgency.connectionId", "blockAgency(input: {connectionId: $i})"),
        ("cancelClientRequest.connectionId", "cancelClientRequest(input: {connectionId: $i})"),
        ("cancelInvitation.invitationId", "cancelInvitation(input: {invitationId: $i})"),
        ("declineClientRequest.connectionId", "declineClientRequest(input: {connectionId: $i})"),
        ("declineInvitation.invitationId", "declineInvitation(input: {invitationId: $i})"),
        ("endClientConnection.connectionId", "endClientConnection(input: {connectionId: $i})"),
        (
            "removeClientUser.connectionId",
            "removeClientUser(input: {connectionId: $i, userId: \"user_00000000000000000000000001\"})",
        ),
        ("resendClientRequest.connectionId", "resendClientRequest(input: {connectionId: $i})"),
        ("resendInvitation.invitationId", "resendInvitation(input: {invitationId: $i})"),
        ("reinstateUser.userId", "reinstateUser(input: {userId: $i})"),
        ("revokeApiKey.apiKeyId", "revokeApiKey(input: {apiKeyId: $i})"),
        ("revokeSession.sessionId", "revokeSession(input: {sessionId: $i})"),
        ("revokeUser.userId", "revokeUser(input: {userId: $i})"),
        ("setClientUserLevel.connectionId", "setClientUserLevel(input: {connectionId: $i, username: \"sam\", level: VIEWER})"),
        ("setConnectionLevel.connectionId", "setConnectionLevel(input: {connectionId: $i, level: ADMIN})"),
        ("setUserLevel.userId", "setUserLevel(input: {userId: $i, level: VIEWER})"),
        ("suspendUser.userId", "suspendUser(input: {userId: $i})"),
        ("switchAccount.accountId", "switchAccount(input: {accountId: $i})"),
        ("transferOwnership.userId", "transferOwnership(input: {userId: $i})"),
        ("unblockAgency.agencyId", "unblockAgency(input: {agencyId: $i})"),
    ];
    // What is only compared with where the request acts, or chooses among one's own ways in after a password or a token.
    // Of an agency's users, whoever is none is refused as nobody is: c7_a_colleague_is_added.
    let compared = [
        "addClientUser.userId",
        "approveClientRequest.accountId",
        "closeAccount.accountId",
        "refreshSession.accountId",
        "refreshSession.connectionId",
        "removeClientUser.userId",
        "setClientUserLevel.userId",
        "signIn.accountId",
        "signInWithLink.accountId",
        "switchAccount.connectionId",
        "transferOwnership.accountId",
    ];
    let taken = mutations_that_take_ids();
    let known: Vec<_> = rows.iter().map(|(name, _)| *name).chain(compared).collect();
    let without: Vec<_> = taken.iter().filter(|name| !known.contains(&name.as_str())).collect();
    assert!(without.is_empty(), "no row for {without:?}");
    let mutations = rows.iter().filter(|(name, _)| taken.contains(*name)).map(|(name, call)| {
        let thing = name.split('.').nth(1).unwrap().strip_suffix("Id").unwrap();
        let prefix = match thing {
            "apiKey" => "apikey",
            "agency" => "account",
            thing => thing,
        };
        (format!("{call} {{ userErrors {{ code }} }}"), foreign(prefix))
    });
    for (mutation, id) in mutations {
        let absent = format!("{}_00000000000000000000000000", id.split('_').next().unwrap());
        let ask = async |id: &str| stranger.ask(&format!("mutation($i: ID!) {{ {mutation} }}"), json!({ "i": id })).await;
        let (foreign, absent) = (ask(&id).await, ask(&absent).await);
        assert_eq!(foreign.user_errors(), ["NOT_FOUND"], "{mutation}");
        assert_eq!(foreign.0, absent.0, "{mutation}");
    }
}

/// An id or a cursor that is none is a bad request, and does not tear down what else was asked.
async fn what_is_no_id_is_a_bad_request(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    for id in ["", "x", "user_x", "session_00000000000000000000000000x", "account_8zzzzzzzzzzzzzzzzzzzzzzzzz"] {
        let reply = owner.ask("query($i: ID!) { node(id: $i) { id } viewer { level } }", json!({ "i": id })).await;
        assert_eq!(
            (reply.codes(), &reply.0["data"]),
            (vec!["BAD_REQUEST"], &json!({ "node": null, "viewer": { "level": "OWNER" } })),
            "{id}"
        );
        let reply = owner
            .ask(
                "mutation($i: ID!) { endClientConnection(input: {connectionId: $i}) { userErrors { code } } }",
                json!({ "i": id }),
            )
            .await;
        assert_eq!((reply.codes(), &reply.0["data"]), (vec!["BAD_REQUEST"], &json!({ "endClientConnection": null })), "{id}");
    }
    let many: Vec<_> = (0..101).map(|_| owner.account.clone()).collect();
    assert_eq!(owner.ask("query($i: [ID!]!) { nodes(ids: $i) { id } }", json!({ "i": many })).await.codes(), ["BAD_REQUEST"]);
}

/// Of an account that the request does not act in, only id and name are readable; the rest is null, without an error.
async fn another_account_shows_its_name_alone(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let client = app.person("carl@client.example").await;
    owner.connect(&client, "ADMIN").await;
    let query = "query($i: ID!) { node(id: $i) { ... on Account { id name status plan createdAt owner { id } users { totalCount } seats { used } \
                 auditLog { totalCount } clientConnections { totalCount } agencyConnections { totalCount } invitationQuota { used } activityCursor } } }";
    let reply = owner.ask(query, json!({ "i": client.account })).await;
    let seen = reply.payload().as_object().unwrap();
    assert_eq!((&seen["id"], &seen["name"]), (&json!(client.account), &json!("carl's account")));
    assert!(seen.iter().all(|(key, value)| key == "id" || key == "name" || value.is_null()), "{seen:?}");
}

/// L6: who reads a client's log through a connection reads nothing in it that is for direct users alone.
async fn l6_a_log_read_through_a_connection(app: &TestApp) {
    let (one, two) = (app.agency("olga@one.example").await, app.agency("otto@two.example").await);
    let client = app.person("carl@client.example").await;
    client.plan("PREMIUM").await.ok();
    client.invite(&["secret@client.example"], "VIEWER").await.ok();
    one.connect(&client, "ADMIN").await;
    let other = two.connect(&client, "MANAGER").await;
    client.set_level(&other, "VIEWER").await.ok();
    let query = "{ account { auditLog { nodes { kind summary actor { name } subject { __typename ... on Invitation { email } ... on ClientConnection { agency { name } } } } } } }";
    let own = client.ask(query, Value::Null).await.ok().to_string();
    assert!(own.contains("secret@client.example") && own.contains("otto's account"), "{own}");
    let there = one.acting_in(&client.account).await.ask(query, Value::Null).await;
    let text = there.ok().to_string();
    for secret in ["secret@client.example", "otto"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
    assert!(
        text.contains("olga's account")
            && text.contains("carl invited somebody.")
            && text.contains("Somebody let an agency into a client."),
        "{text}"
    );
}

/// L8: when access has ended, what is of the account says so, and the way on still works.
async fn l8_the_way_on(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let client = app.person("carl@client.example").await;
    let connection = owner.connect(&client, "ADMIN").await;
    let there = owner.acting_in(&client.account).await;
    client.end(&connection).await.ok();
    for query in [
        "{ account { id } }",
        "mutation { joinPartnerProgram { userErrors { code } } }",
        "mutation { requestClientAccess(input: {emails: []}) { userErrors { code } } }",
    ] {
        assert_eq!(there.ask(query, Value::Null).await.codes(), ["ACCOUNT_ACCESS_ENDED"], "{query}");
    }
    there.ask("{ viewer { level permissions accounts { nodes { id } } user { email } } }", Value::Null).await.ok();
    // A refresh says that it acts elsewhere now.
    let refresh = "mutation($r: String!) { refreshSession(input: {refreshToken: $r}) { account { id } switched credentials { accessToken } userErrors { code } } }";
    let refreshed = there.ask(refresh, json!({ "r": owner.refresh })).await;
    assert_eq!((&refreshed.payload()["account"]["id"], &refreshed.payload()["switched"]), (&json!(owner.account), &json!(true)));
    let home = there.acting_in(&owner.account).await;
    assert_eq!(home.level().await.as_deref(), Some("OWNER"));
    home.ask("mutation { signOut { signedOut } }", Value::Null).await.ok();
}

/// L5: the database itself lets no account be without its Owner, nor have two.
async fn l5_the_database_holds_one_owner(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    owner.colleague("ada@agency.example", "ADMIN").await;
    let db = app.db.writer();
    for sql in [
        "UPDATE members SET level = 4 WHERE level = 5",
        "UPDATE members SET level = 5 WHERE level = 4",
        "DELETE FROM members WHERE level = 5",
        "UPDATE accounts SET owner_id = (SELECT user_id FROM members WHERE level = 4)",
        "UPDATE accounts SET owner_level = 4",
    ] {
        assert!(db.execute_unprepared(sql).await.is_err(), "{sql}");
    }
    assert_eq!(owner.level().await.as_deref(), Some("OWNER"));
}

/// E1: each change is in the log of each account that it concerns, and the numbers have no gaps.
async fn e1_logs_have_no_gaps(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let client = app.person("carl@client.example").await;
    owner.connect(&client, "ADMIN").await;
    let addresses: Vec<_> = (0..10).map(|n| format!("a{n}@x.example")).collect();
    let ask = async |address: &String| owner.request(&[address]).await;
    futures_util::future::join_all(addresses.iter().map(ask)).await;
    let sql = "SELECT count(*) FROM logs l WHERE l.head <> (SELECT count(*) FROM log_entries e WHERE e.log_id = l.id) \
               OR l.head <> COALESCE((SELECT max(e.number) FROM log_entries e WHERE e.log_id = l.id), 0)";
    let gaps = keyholder::db::Sql::new(sql).count(app.reader()).await.unwrap();
    assert_eq!(gaps, 0);
    for person in [&owner, &client] {
        let query = "{ account { auditLog(kinds: [CLIENT_ACCESS_APPROVED]) { nodes { summary actor { name } subject { __typename } } } } }";
        let log = person.ask(query, Value::Null).await;
        let expected = json!([{ "summary": "carl let olga's account into carl's account.", "actor": { "name": "carl" }, "subject": { "__typename": "ClientConnection" } }]);
        assert_eq!(log.payload()["auditLog"]["nodes"], expected);
    }
    let filtered = owner
        .ask(
            "query($a: ID!) { account { auditLog(actor: $a, first: 100) { totalCount nodes { actor { id } } } } }",
            json!({ "a": client.id }),
        )
        .await;
    assert_eq!(filtered.payload()["auditLog"], json!({ "totalCount": 1, "nodes": [{ "actor": { "id": client.id } }] }));
}

on_both_databases!(
    l7_a_denied_field_is_null_in_its_place,
    threat_45_foreign_ids,
    what_is_no_id_is_a_bad_request,
    another_account_shows_its_name_alone,
    l6_a_log_read_through_a_connection,
    l8_the_way_on,
    l5_the_database_holds_one_owner,
    e1_logs_have_no_gaps,
);
