//! API keys: SPEC I6, I7, C9, L2, THREATS 46, 55, 56.

use crate::{
    on_both_databases,
    support::{Heard, TestApp, eventually, everything, people::Person, socket::Socket},
};
use chrono::TimeDelta;
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};

const CREATE: &str = "mutation($i: CreateApiKeyInput!) { createApiKey(input: $i) { apiKey { id name prefix level expiresAt createdBy { id } } secret userErrors { code field } } }";
const REVOKE: &str = "mutation($k: ID!) { revokeApiKey(input: {apiKeyId: $k}) { apiKeyId userErrors { code field } } }";
const LIST: &str = "{ account { apiKeys { totalCount nodes { id name prefix level lastUsedAt } } } }";
const LEVEL: &str = "{ viewer { level user { id } sessions { id } } account { id } }";

/// A key of somebody's, and its secret.
async fn key(person: &Person<'_>, level: Option<&str>) -> (String, String) {
    let made = person.ask(CREATE, json!({ "i": { "name": "nightly import", "level": level } })).await;
    let made = made.payload();
    (made["apiKey"]["id"].as_str().unwrap().to_owned(), made["secret"].as_str().unwrap().to_owned())
}

async fn level(app: &TestApp, secret: &str) -> Option<String> {
    let reply = app.ask_as(Some(secret), "{ viewer { level } }", Value::Null).await;
    reply.payload()["level"].as_str().map(str::to_owned)
}

/// I6, THREATS 56: made, shown once, listed, used, and deleted: the very next request with it is refused, and its socket ends.
async fn threat_56_a_key_from_its_making_to_its_end(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let made = owner.ask(CREATE, json!({ "i": { "name": " nightly import " } })).await.payload().clone();
    let secret = made["secret"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("kh_") && secret.len() == 46 && secret.starts_with(made["apiKey"]["prefix"].as_str().unwrap()));
    assert_eq!((&made["apiKey"]["name"], &made["apiKey"]["level"]), (&json!("nightly import"), &json!("OWNER")));
    let text = everything(app).await;
    assert!(!text.contains(&secret[10..]) && text.contains(&secret[..10]), "only how it begins is kept");
    let seen = app.ask_as(Some(&secret), LEVEL, Value::Null).await;
    let data = seen.ok();
    assert_eq!(
        (&data["viewer"]["level"], &data["viewer"]["sessions"], &data["account"]["id"]),
        (&json!("OWNER"), &json!([]), &json!(owner.account))
    );
    eventually("its last use", async || {
        let list = owner.ask(LIST, Value::Null).await.payload()["apiKeys"]["nodes"][0]["lastUsedAt"].clone();
        list.is_string().then_some(())
    })
    .await;
    let mut socket = Socket::open(&app.url).await;
    socket.init(json!({ "authorization": format!("Bearer {secret}") })).await;
    socket.subscribe("1", "{ viewer { level } }", Value::Null).await;
    assert_eq!(socket.next().await["data"]["viewer"]["level"], "OWNER");
    assert_eq!(owner.ask(REVOKE, json!({ "k": made["apiKey"]["id"] })).await.payload()["apiKeyId"], made["apiKey"]["id"]);
    assert_eq!(app.ask_as(Some(&secret), LEVEL, Value::Null).await.codes(), ["UNAUTHENTICATED"; 2]);
    loop {
        if let Heard::Closed(code) = socket.hear().await {
            assert_eq!(code, 4403);
            break;
        }
    }
    assert_eq!(owner.ask(REVOKE, json!({ "k": made["apiKey"]["id"] })).await.user_errors(), ["NOT_FOUND at apiKeyId"]);
    assert_eq!(owner.ask(LIST, Value::Null).await.payload()["apiKeys"]["totalCount"], 0);
    let log =
        owner.ask("{ account { auditLog(kinds: [API_KEY_CREATED, API_KEY_REVOKED]) { nodes { summary } } } }", Value::Null).await;
    let nodes = &log.payload()["auditLog"]["nodes"];
    assert_eq!(nodes[0]["summary"], "olga deleted the API key nightly import.");
    assert_eq!(nodes[1]["summary"], "olga made the API key nightly import.");
    let mails = app.mails_to("olga@agency.example").await;
    assert_eq!(mails[0]["kind"], "api_key_created");
    for wrong in ["kh_", "kh_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", &secret[..45]] {
        assert_eq!(app.ask_as(Some(wrong), "{ viewer { level } }", Value::Null).await.codes(), ["UNAUTHENTICATED"], "{wrong}");
    }
}

/// I6, THREATS 46, 56: a key has its creator's present level, and at most its own; what it was made with is at most its maker's.
async fn threat_56_a_keys_level(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let admin = owner.colleague("adam@agency.example", "ADMIN").await;
    let author = owner.colleague("arno@agency.example", "AUTHOR").await;
    assert_eq!(author.ask(CREATE, json!({ "i": { "name": "x" } })).await.codes(), ["FORBIDDEN"]);
    assert_eq!(
        admin.ask(CREATE, json!({ "i": { "name": "x", "level": "OWNER" } })).await.user_errors(),
        ["LEVEL_ABOVE_OWN at level"]
    );
    assert_eq!(admin.ask(CREATE, json!({ "i": { "name": "" } })).await.user_errors(), ["INVALID at name"]);
    let past = json!({ "i": { "name": "x", "expiresAt": "2020-01-01T00:00:00Z" } });
    assert_eq!(admin.ask(CREATE, past).await.user_errors(), ["INVALID at expiresAt"]);
    let (_, viewers) = key(&admin, Some("VIEWER")).await;
    let (id, admins) = key(&admin, None).await;
    assert_eq!((level(app, &viewers).await.as_deref(), level(app, &admins).await.as_deref()), (Some("VIEWER"), Some("ADMIN")));
    // The creator's level falls, and the key's with it, at once.
    app.db.writer().execute_unprepared("UPDATE members SET level = 1 WHERE level = 4").await.unwrap();
    assert_eq!(level(app, &admins).await.as_deref(), Some("VIEWER"));
    assert_eq!(owner.ask(LIST, Value::Null).await.payload()["apiKeys"]["totalCount"], 2);
    let stranger = app.person("sam@x.example").await;
    assert_eq!(stranger.ask(REVOKE, json!({ "k": id })).await.user_errors(), ["NOT_FOUND at apiKeyId"], "of another account");
    let node = "query($i: ID!) { node(id: $i) { ... on ApiKey { name } } }";
    assert_eq!(owner.ask(node, json!({ "i": id })).await.payload(), &json!({ "name": "nightly import" }));
    assert_eq!(stranger.ask(node, json!({ "i": id })).await.payload(), &Value::Null);
}

/// I6, THREATS 56: what a key can't do, whatever its level.
async fn threat_56_what_a_key_can_not_do(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let (id, secret) = key(&owner, None).await;
    let calls = [
        "createApiKey(input: {name: \"x\"}) { userErrors { code } }".to_owned(),
        format!("revokeApiKey(input: {{apiKeyId: \"{id}\"}}) {{ userErrors {{ code }} }}"),
        "changePassword(input: {currentPassword: \"a long walk by the sea\", newPassword: \"another long walk\"}) { userErrors { code } }".to_owned(),
        "changeEmail(input: {email: \"b@x.example\"}) { userErrors { code } }".to_owned(),
        "updateProfile(input: {name: \"b\"}) { userErrors { code } }".to_owned(),
        "reauthenticate(input: {password: \"a long walk by the sea\"}) { until }".to_owned(),
        "beginTwoFactor { secret }".to_owned(),
        "confirmTwoFactor(input: {code: \"123456\"}) { recoveryCodes }".to_owned(),
        "disableTwoFactor(input: {code: \"123456\"}) { disabled }".to_owned(),
        "regenerateRecoveryCodes(input: {code: \"123456\"}) { recoveryCodes }".to_owned(),
        "resendVerification { sent }".to_owned(),
        "revokeSession(input: {sessionId: \"session_00000000000000000000000001\"}) { sessionId }".to_owned(),
        "revokeOtherSessions { revoked }".to_owned(),
        "signOut { signedOut }".to_owned(),
        "deleteUser { deleted }".to_owned(),
        "leaveAccount { accountId userErrors { code } }".to_owned(),
        format!("transferOwnership(input: {{userId: \"{}\"}}) {{ userErrors {{ code }} }}", owner.id),
        "closeAccount(input: {confirmation: \"olga's account\"}) { accountId userErrors { code } }".to_owned(),
        "requireTwoFactor(input: {required: true}) { userErrors { code } }".to_owned(),
        format!("switchAccount(input: {{accountId: \"{}\"}}) {{ level }}", owner.account),
        "acceptInvitation(input: {token: \"x\"}) { level }".to_owned(),
        "approveClientRequest(input: {token: \"x\", level: ADMIN}) { userErrors { code } }".to_owned(),
        "declineClientRequest(input: {token: \"x\"}) { userErrors { code } }".to_owned(),
        "setConnectionLevel(input: {connectionId: \"connection_00000000000000000000000001\", level: ADMIN}) { userErrors { code } }".to_owned(),
    ];
    for call in calls {
        let reply = app.ask_as(Some(&secret), &format!("mutation {{ done: {call} }}"), Value::Null).await;
        assert_eq!((reply.codes(), &reply.0["data"]["done"]), (vec!["FORBIDDEN"], &Value::Null), "{call}: {:?}", reply.0);
    }
    let told = app.ask_as(Some(&secret), "{ viewer { permissions can(permission: ADD_OR_ACCESS_API_KEYS) explain(permission: TRANSFER_OWNERSHIP) { allowed reason } } account { apiKeys { totalCount } } }", Value::Null).await;
    assert_eq!(told.codes(), ["FORBIDDEN"], "the list of keys");
    let viewer = &told.0["data"]["viewer"];
    assert_eq!(
        (viewer["permissions"].as_array().unwrap().len(), &viewer["can"], &viewer["explain"]["allowed"]),
        (68, &json!(false), &json!(false))
    );
    // All else it does, and the log says with what.
    let invite = "mutation { inviteUsers(input: {emails: [\"vera@agency.example\"], level: VIEWER}) { invitations { id } userErrors { code } } }";
    app.ask_as(Some(&secret), invite, Value::Null).await.ok();
    let log = owner.ask("{ account { auditLog(kinds: [USER_INVITED]) { nodes { apiKey actor { id } } } } }", Value::Null).await;
    assert_eq!(log.payload()["auditLog"]["nodes"][0], json!({ "apiKey": id, "actor": { "id": owner.id } }));
}

/// I6: a key's end comes by itself.
async fn i6_a_key_expires(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let until = (app.now() + TimeDelta::minutes(3)).to_rfc3339();
    let made = owner.ask(CREATE, json!({ "i": { "name": "x", "expiresAt": until } })).await;
    let secret = made.payload()["secret"].as_str().unwrap().to_owned();
    assert_eq!(level(app, &secret).await.as_deref(), Some("OWNER"));
    app.advance(TimeDelta::minutes(3));
    assert_eq!(app.ask_as(Some(&secret), "{ viewer { level } }", Value::Null).await.codes(), ["UNAUTHENTICATED"]);
}

/// C9: what an agency's user made in a client's account ends with the connection.
async fn c9_a_key_in_a_clients_account(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let client = app.person("carl@client.example").await;
    let connection = owner.connect(&client, "MANAGER").await;
    let there = owner.acting_in(&client.account).await;
    let (_, secret) = key(&there, None).await;
    let seen = app.ask_as(Some(&secret), "{ viewer { level via { id } } account { id } }", Value::Null).await;
    assert_eq!(
        seen.ok(),
        &json!({ "viewer": { "level": "MANAGER", "via": { "id": connection } }, "account": { "id": client.account } })
    );
    client.set_level(&connection, "VIEWER").await.ok();
    assert_eq!(level(app, &secret).await.as_deref(), Some("VIEWER"), "the ceiling binds it");
    assert_eq!(client.ask(LIST, Value::Null).await.payload()["apiKeys"]["totalCount"], 1);
    client.end(&connection).await.ok();
    assert_eq!(app.ask_as(Some(&secret), "{ viewer { level } }", Value::Null).await.codes(), ["UNAUTHENTICATED"]);
    assert_eq!(client.ask(LIST, Value::Null).await.payload()["apiKeys"]["totalCount"], 0);
}

on_both_databases!(
    threat_56_a_key_from_its_making_to_its_end,
    threat_56_a_keys_level,
    threat_56_what_a_key_can_not_do,
    i6_a_key_expires,
    c9_a_key_in_a_clients_account,
);
