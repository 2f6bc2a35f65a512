//! What an account asks of everyone in it, and its end: SPEC L8, U10, U11, THREATS 43.

use crate::{
    on_both_databases,
    support::{
        Heard, TestApp,
        people::PASSWORD,
        socket::{CONNECTIONS, OWN_REQUESTS},
    },
    two_factor::protect,
};
use serde_json::{Value, json};

const REQUIRE: &str = "mutation($r: Boolean!, $d: Boolean) { requireTwoFactor(input: {required: $r, dryRun: $d}) { account { twoFactorRequired } consequences { kind total } userErrors { code } } }";
const CLOSE: &str = "mutation($n: String!, $d: Boolean) { closeAccount(input: {confirmation: $n, dryRun: $d}) { accountId consequences { kind total } userErrors { code field } } }";
const LEAVE: &str = "mutation { leaveAccount { accountId userErrors { code } } }";

/// U10: from then on nobody without two-factor can do anything there but set it up, look who they are, switch, leave, sign out.
async fn u10_two_factor_is_required(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let viewer = owner.colleague("vera@agency.example", "VIEWER").await;
    let manager = owner.colleague("mona@agency.example", "MANAGER").await;
    let client = app.person("carl@client.example").await;
    client.plan("PREMIUM").await.ok();
    let connection = owner.connect(&client, "ADMIN").await;
    let there = owner.acting_in(&client.account).await;
    let (key, there_key) = (manager.api_key().await, there.api_key().await);
    assert_eq!(owner.ask(REQUIRE, json!({ "r": true })).await.user_errors(), ["TWO_FACTOR_NOT_SET_UP"]);
    protect(&client).await;
    let would = client.ask(REQUIRE, json!({ "r": true, "d": true })).await;
    assert_eq!(would.payload()["consequences"], json!([{ "kind": "ACCESS_ENDS", "total": 1 }]), "the agency's user");
    client.ask(REQUIRE, json!({ "r": true })).await.ok();
    // It binds agencies' users, and keys of users without it.
    for token in [&there.token, &there_key] {
        let reply = app.ask_as(Some(token), "{ account { id name twoFactorRequired plan users { totalCount } } viewer { level can(permission: VIEW_USERS) permissions explain(permission: VIEW_USERS) { allowed twoFactorMissing } } }", Value::Null).await;
        assert_eq!(reply.codes(), ["TWO_FACTOR_REQUIRED"], "{:?}", reply.0);
        let account =
            json!({ "id": client.account, "name": "carl's account", "twoFactorRequired": true, "plan": null, "users": null });
        assert_eq!(reply.0["data"]["account"], account);
        let viewer = json!({ "level": "ADMIN", "can": false, "permissions": [], "explain": { "allowed": false, "twoFactorMissing": true } });
        assert_eq!(reply.0["data"]["viewer"], viewer);
    }
    assert_eq!(there.end(&connection).await.codes(), ["TWO_FACTOR_REQUIRED"], "nor change anything");
    // Nor hear: a stream ends at once, and the socket stays for what is left.
    let mut socket = manager.socket().await;
    socket.subscribe("1", CONNECTIONS, Value::Null).await;
    socket.subscribe("2", OWN_REQUESTS, Value::Null).await;
    let (_, _) = protect(&owner).await;
    let would = owner.ask(REQUIRE, json!({ "r": true, "d": true })).await;
    assert_eq!(would.payload()["consequences"], json!([{ "kind": "ACCESS_ENDS", "total": 2 }]));
    assert_eq!(viewer.ask("{ account { plan } }", Value::Null).await.payload()["plan"], "PREMIUM", "tried alone");
    let done = owner.ask(REQUIRE, json!({ "r": true })).await;
    assert_eq!(done.payload()["account"]["twoFactorRequired"], true);
    let Heard::Message(end) = socket.hear().await else { panic!("the stream ends with an error") };
    assert!(end["id"] == "1" && end.to_string().contains("TWO_FACTOR_REQUIRED"), "{end}");
    for token in [&manager.token, &key, &viewer.token] {
        assert_eq!(
            app.ask_as(Some(token), "{ account { users { totalCount } } }", Value::Null).await.codes(),
            ["TWO_FACTOR_REQUIRED"]
        );
        let call = "mutation { renameNothing: joinPartnerProgram { userErrors { code } } }";
        assert_eq!(app.ask_as(Some(token), call, Value::Null).await.codes(), ["TWO_FACTOR_REQUIRED"], "before FORBIDDEN");
    }
    let node = "query($i: ID!) { node(id: $i) { __typename } }";
    for id in [&owner.id, &connection] {
        assert_eq!(manager.ask(node, json!({ "i": id })).await.payload(), &Value::Null);
    }
    // A new sign-in acts there, and sees as little.
    let again = viewer.sign_in().await;
    assert_eq!(again.account, owner.account);
    let signed_in = app.ask("mutation($p: String!) { signIn(input: {login: \"vera\", password: $p}) { account { id name twoFactorRequired plan } userErrors { code } } }", json!({ "p": PASSWORD })).await;
    assert_eq!(
        signed_in.payload()["account"],
        json!({ "id": owner.account, "name": "olga's account", "twoFactorRequired": true, "plan": null })
    );
    // Whoever sets it up goes on at once; the rest may leave.
    protect(&manager).await;
    for token in [&manager.token, &key] {
        app.ask_as(Some(token), "{ account { users { totalCount } } }", Value::Null).await.ok();
    }
    viewer.ask(LEAVE, Value::Null).await.ok();
    assert_eq!(owner.log("TWO_FACTOR_REQUIREMENT_CHANGED").await.len(), 1);
    owner.ask(REQUIRE, json!({ "r": false })).await.ok();
    assert_eq!(owner.ask("{ account { twoFactorRequired } }", Value::Null).await.payload()["twoFactorRequired"], false);
}

/// U11, L8: closed for good, with its connections to both sides, what is pending, and its keys; the name is asked for again.
async fn u11_an_account_is_closed(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let admin = owner.colleague("adam@agency.example", "ADMIN").await;
    let client = app.person("carl@client.example").await;
    let other = app.agency("otto@other.example").await;
    let as_agency = owner.connect(&client, "ADMIN").await;
    let as_client = other.request_one("olga@agency.example").await;
    owner.approve(&as_client, "MANAGER").await.ok();
    let (there, in_here) = (owner.acting_in(&client.account).await, other.acting_in(&owner.account).await);
    let keys = [owner.api_key().await, there.api_key().await, in_here.api_key().await];
    owner.invite(&["vera@agency.example"], "VIEWER").await.ok();
    let invitation = app.token_to("vera@agency.example", "invitation").await;
    owner.request(&["p1@x.example", "p2@x.example"]).await.ok();
    let request = app.token_to("p1@x.example", "access_request").await;
    let (mut agency, mut listener) = (other.socket().await, client.socket().await);
    agency.subscribe("1", CONNECTIONS, Value::Null).await;
    listener.subscribe("1", CONNECTIONS, Value::Null).await;
    for wrong in ["", "Olga's account", "carl's account"] {
        assert_eq!(owner.ask(CLOSE, json!({ "n": wrong })).await.user_errors(), ["INVALID at confirmation"]);
    }
    let elsewhere = "mutation($a: ID!) { closeAccount(input: {confirmation: \"olga's account\", accountId: $a}) { userErrors { code field } } }";
    assert_eq!(owner.ask(elsewhere, json!({ "a": client.account })).await.user_errors(), ["WRONG_ACCOUNT at accountId"]);
    let would = owner.ask(CLOSE, json!({ "n": "olga's account", "d": true })).await;
    let expected = json!([
        { "kind": "ACCESS_ENDS", "total": 2 },
        { "kind": "API_KEY_DELETED", "total": 3 },
        { "kind": "INVITATION_CANCELED", "total": 1 },
        { "kind": "CONNECTION_ENDS", "total": 2 },
        { "kind": "REQUEST_CANCELED", "total": 2 },
    ]);
    assert_eq!((&would.payload()["accountId"], &would.payload()["consequences"]), (&Value::Null, &expected));
    owner.ask("{ account { plan } }", Value::Null).await.ok();
    let closed = admin.ask(CLOSE, json!({ "n": "olga's account" })).await;
    assert_eq!(closed.payload()["accountId"], json!(owner.account));
    for person in [&owner, &admin, &there, &in_here] {
        assert_eq!(person.ask("{ account { id } }", Value::Null).await.codes(), ["ACCOUNT_ACCESS_ENDED"]);
        assert_eq!(person.switch(&owner.account).await.user_errors(), ["NOT_FOUND at accountId"]);
    }
    for key in &keys {
        assert_eq!(app.ask_as(Some(key), "{ viewer { level } }", Value::Null).await.codes(), ["UNAUTHENTICATED"]);
    }
    for (socket, connection) in [(&mut agency, &as_client), (&mut listener, &as_agency)] {
        let change = socket.change().await;
        assert_eq!((change.kind.as_str(), &change.connection), ("CLIENT_ACCESS_ENDED", connection));
    }
    let preview = "query($t: String!) { invitationByToken(token: $t) { id } accessRequestByToken(token: $t) { id } }";
    for token in [&invitation, &request] {
        let reply = app.ask(preview, json!({ "t": token })).await;
        assert_eq!(reply.ok(), &json!({ "invitationByToken": null, "accessRequestByToken": null }));
    }
    let kinds = async |email: &str| app.mails_to(email).await[0]["kind"].clone();
    assert_eq!(kinds("carl@client.example").await, "connection_ended");
    assert_eq!(kinds("otto@other.example").await, "connection_ended");
    assert_eq!(
        (kinds("olga@agency.example").await, kinds("adam@agency.example").await),
        (json!("account_closed"), json!("account_closed"))
    );
    let mail = &app.mails_to("carl@client.example").await[0];
    assert!(mail["text"].as_str().unwrap().contains("olga's account"), "{mail}");
    assert_eq!(
        client.ask("{ account { agencyConnections(status: [ENDED]) { totalCount } } }", Value::Null).await.payload()["agencyConnections"]
            ["totalCount"],
        1
    );
    crate::users::assert_gapless(app).await;
    // Whoever owned it may go for good now.
    let gone = owner.ask("mutation { deleteUser { deleted userErrors { code } } }", Value::Null).await;
    assert_eq!(gone.payload()["deleted"], true);
}

/// U11, C10: closing an agency costs no more statements with a dozen clients and requests than with two. The least of three, since
/// the mailer takes what is due while it is counted, now and then.
async fn u11_closing_costs_the_same_for_many(app: &TestApp) {
    let mut costs = Vec::new();
    for count in [2, 12] {
        let mut least = u64::MAX;
        for round in 0..3 {
            let name = format!("olga{count}{round}");
            let owner = app.agency(&format!("{name}@agency.example")).await;
            let emails: Vec<_> = (0..count).map(|n| format!("c{n}@{name}.example")).collect();
            for email in &emails[..count / 2] {
                owner.connect(&app.person(email).await, "ADMIN").await;
            }
            owner.request(&emails[count / 2..].iter().map(String::as_str).collect::<Vec<_>>()).await.ok();
            app.mails_to("nobody@x.example").await;
            let before = app.db.statements();
            owner.ask(CLOSE, json!({ "n": format!("{name}'s account") })).await.ok();
            least = least.min(app.db.statements() - before);
        }
        costs.push(least);
    }
    assert!(costs[1] <= costs[0] + 8, "{costs:?}");
}

on_both_databases!(u10_two_factor_is_required, u11_an_account_is_closed, u11_closing_costs_the_same_for_many);
