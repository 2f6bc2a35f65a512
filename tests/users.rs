//! An account's users: levels, suspending, revoking, leaving, owning: SPEC L2, L5, L8, U6–U9, C11, THREATS 43, 48, 50.

use crate::{
    on_both_databases,
    support::{
        Heard, Place, Reply, TestApp, everything,
        people::{PASSWORD, Person},
        socket::{CONNECTIONS, Socket},
    },
};
use chrono::TimeDelta;
use futures_util::future::join_all;
use sea_orm::{ConnectionTrait, Statement};
use serde_json::{Value, json};

const ME: &str = "{ viewer { level user { id } accounts { nodes { id } } } }";
const SUSPEND: &str = "mutation($u: ID!, $d: Boolean) { suspendUser(input: {userId: $u, dryRun: $d}) { user { suspended level } consequences { kind total } userErrors { code field } } }";
const REINSTATE: &str =
    "mutation($u: ID!) { reinstateUser(input: {userId: $u}) { user { suspended level } userErrors { code field } } }";
const TRY_REVOKE: &str = "mutation($u: ID!) { revokeUser(input: {userId: $u, dryRun: true}) { userId consequences { kind total summary nodes { __typename ... on User { name } ... on ApiKey { name } ... on ClientConnection { id } } } userErrors { code field } } }";
const LEAVE: &str = "mutation { leaveAccount { accountId loginDeleted userErrors { code } } }";
const SIGN_IN: &str =
    "mutation($l: String!, $p: String!) { signIn(input: {login: $l, password: $p}) { user { id } userErrors { code } } }";

/// Waits until a socket is closed because of what just happened: it looks for itself after twenty seconds only.
async fn closes(mut socket: Socket) {
    loop {
        if let Heard::Closed(code) = socket.hear().await {
            assert_eq!(code, 4403);
            return;
        }
    }
}

/// An Owner on Premium with a colleague at each other level.
async fn team<'a>(app: &'a TestApp, email: &str) -> (Person<'a>, [Person<'a>; 4]) {
    let owner = app.agency(email).await;
    let host = email.split('@').nth(1).unwrap();
    let admin = owner.colleague(&format!("admin@{host}"), "ADMIN").await;
    let manager = owner.colleague(&format!("manager@{host}"), "MANAGER").await;
    let author = owner.colleague(&format!("author@{host}"), "AUTHOR").await;
    let viewer = owner.colleague(&format!("viewer@{host}"), "VIEWER").await;
    (owner, [admin, manager, author, viewer])
}

/// U6, L2, THREATS 48: a level that is changed counts from the very next request on; never to or from Owner, never one's own, and
/// only one that the plan has.
async fn u6_a_level_changes_at_once(app: &TestApp) {
    let (owner, [admin, manager, author, viewer]) = team(app, "olga@agency.example").await;
    assert_eq!(admin.assign(&manager.id, "VIEWER").await.payload()["user"]["level"], "VIEWER");
    assert_eq!(manager.level().await.as_deref(), Some("VIEWER"));
    assert_eq!(admin.assign(&viewer.id, "ADMIN").await.payload()["user"]["level"], "ADMIN");
    assert_eq!(viewer.assign(&author.id, "MANAGER").await.payload()["user"]["level"], "MANAGER", "Admin by now");
    for person in [&manager, &author] {
        assert_eq!(person.assign(&viewer.id, "VIEWER").await.codes(), ["FORBIDDEN"]);
    }
    assert_eq!(admin.assign(&author.id, "OWNER").await.user_errors(), ["LEVEL_NOT_ASSIGNABLE at level"]);
    assert_eq!(admin.assign(&owner.id, "ADMIN").await.user_errors(), ["OWNER_LEVEL_IS_FIXED at userId"]);
    assert_eq!(owner.assign(&owner.id, "ADMIN").await.user_errors(), ["OWNER_LEVEL_IS_FIXED at userId"]);
    assert_eq!(admin.assign(&admin.id, "VIEWER").await.user_errors(), ["CANNOT_CHANGE_OWN_LEVEL at userId"]);
    let stranger = app.person("sam@x.example").await;
    for id in [stranger.id.as_str(), "user_00000000000000000000000001"] {
        assert_eq!(admin.assign(id, "VIEWER").await.user_errors(), ["NOT_FOUND at userId"]);
    }
    let log = owner.log("USER_LEVEL_CHANGED").await;
    assert_eq!(log.len(), 3);
    assert_eq!(log[2]["summary"], "admin changed manager's level from Manager to Viewer.");
    assert_eq!((&log[2]["before"], &log[2]["after"]), (&json!("Manager"), &json!("Viewer")));
    // What would come of it, and nothing is changed.
    let would = "mutation($u: ID!) { setUserLevel(input: {userId: $u, level: VIEWER, dryRun: true}) { user { level } consequences { kind total } userErrors { code } } }";
    let would = owner.ask(would, json!({ "u": admin.id })).await;
    assert_eq!(would.payload()["consequences"], json!([{ "kind": "ACCESS_SHRINKS", "total": 1 }]));
    assert_eq!((admin.level().await.as_deref(), owner.log("USER_LEVEL_CHANGED").await.len()), (Some("ADMIN"), 3));
    // A plan without Managers: nobody is made one.
    for person in [&author, &manager, &viewer] {
        owner.assign(&person.id, "VIEWER").await.ok();
    }
    owner.plan("STANDARD").await.ok();
    assert_eq!(owner.assign(&author.id, "MANAGER").await.user_errors(), ["LEVEL_NOT_IN_PLAN at level"]);
}

/// U6, L8: a suspended user can't act there, nor through that agency; keys and places rest, and all comes back.
async fn u6_suspended_and_reinstated(app: &TestApp) {
    let (owner, [admin, manager, ..]) = team(app, "olga@agency.example").await;
    let client = app.person("carl@client.example").await;
    // Whoever asked gets a place.
    let connection = manager.request_one("carl@client.example").await;
    client.approve(&connection, "ADMIN").await.ok();
    let there = manager.acting_in(&client.account).await;
    let (here_key, there_key) = (manager.api_key().await, there.api_key().await);
    let mut socket = manager.socket().await;
    socket.subscribe("1", CONNECTIONS, Value::Null).await;
    let would = admin.ask(SUSPEND, json!({ "u": manager.id, "d": true })).await;
    assert_eq!(would.payload()["consequences"], json!([{ "kind": "ACCESS_ENDS", "total": 1 }]));
    assert_eq!(manager.level().await.as_deref(), Some("MANAGER"), "tried alone");
    let done = admin.ask(SUSPEND, json!({ "u": manager.id })).await;
    assert_eq!(done.payload()["user"], json!({ "suspended": true, "level": "MANAGER" }));
    closes(socket).await;
    for token in [&manager.token, &there.token] {
        let reply = app.ask_as(Some(token), "{ viewer { level accounts { nodes { id } } } account { id } }", Value::Null).await;
        assert_eq!(
            (reply.codes(), &reply.0["data"]["viewer"]),
            (vec!["ACCOUNT_ACCESS_ENDED"], &json!({ "level": null, "accounts": { "nodes": [] } }))
        );
    }
    for key in [&here_key, &there_key] {
        assert_eq!(app.ask_as(Some(key), "{ account { id } }", Value::Null).await.codes(), ["ACCOUNT_ACCESS_ENDED"]);
    }
    assert_eq!(manager.switch(&client.account).await.user_errors(), ["NOT_FOUND at accountId"]);
    app.ask(SIGN_IN, json!({ "l": manager.email, "p": PASSWORD })).await.ok();
    let seats = owner.ask("{ account { seats { used } users(search: \"manager\") { nodes { suspended } } } }", Value::Null).await;
    assert_eq!(seats.payload(), &json!({ "seats": { "used": 5 }, "users": { "nodes": [{ "suspended": true }] } }));
    // The bounds are those of revoking.
    assert_eq!(admin.ask(SUSPEND, json!({ "u": owner.id })).await.user_errors(), ["OWNER_CANNOT_BE_REVOKED at userId"]);
    assert_eq!(admin.ask(SUSPEND, json!({ "u": admin.id })).await.user_errors(), ["CANNOT_REVOKE_SELF at userId"]);
    assert_eq!(admin.ask(SUSPEND, json!({ "u": client.id })).await.user_errors(), ["NOT_FOUND at userId"]);
    admin.ask(SUSPEND, json!({ "u": manager.id })).await.ok();
    assert_eq!(owner.log("USER_SUSPENDED").await.len(), 1, "once");
    let back = admin.ask(REINSTATE, json!({ "u": manager.id })).await;
    assert_eq!(back.payload()["user"], json!({ "suspended": false, "level": "MANAGER" }));
    for token in [&manager.token, &here_key] {
        assert_eq!(app.ask_as(Some(token), "{ viewer { level } }", Value::Null).await.payload()["level"], "MANAGER");
    }
    for token in [&there.token, &there_key] {
        assert_eq!(app.ask_as(Some(token), "{ viewer { level } }", Value::Null).await.payload()["level"], "ADMIN");
    }
}

/// U7, C11, L8, THREATS 48: revoked at once: keys, sockets, places on clients and what was held there; the session goes on.
async fn u7_revoked_with_all_that_was_held(app: &TestApp) {
    let (owner, [admin, manager, ..]) = team(app, "olga@agency.example").await;
    let client = app.person("carl@client.example").await;
    let connection = manager.request_one("carl@client.example").await;
    client.approve(&connection, "ADMIN").await.ok();
    let there = manager.acting_in(&client.account).await;
    let (here_key, there_key, admins) = (manager.api_key().await, there.api_key().await, admin.api_key().await);
    manager.request(&["other@client.example"]).await.ok();
    let (mut socket, mut elsewhere) = (manager.socket().await, there.socket().await);
    socket.subscribe("1", CONNECTIONS, Value::Null).await;
    elsewhere.subscribe("1", "{ viewer { level } }", Value::Null).await;
    elsewhere.next().await;
    let would = owner.ask(TRY_REVOKE, json!({ "u": manager.id })).await;
    let told = would.payload();
    assert_eq!(told["userId"], Value::Null);
    assert_eq!(
        told["consequences"],
        json!([
            { "kind": "ACCESS_ENDS", "total": 1, "summary": "1 user can't act in the account any more.", "nodes": [{ "__typename": "User", "name": "manager" }] },
            // The key in the client's account is not the agency's to read.
            { "kind": "API_KEY_DELETED", "total": 2, "summary": "2 API keys will be deleted.", "nodes": [{ "__typename": "ApiKey", "name": "import" }] },
            { "kind": "CLIENT_ACCESS_ENDS", "total": 1, "summary": "1 client's account can't be acted in by this user any more.", "nodes": [{ "__typename": "ClientConnection", "id": connection }] },
        ])
    );
    assert_eq!(manager.level().await.as_deref(), Some("MANAGER"), "tried alone");
    assert_eq!(admin.revoke(&owner.id).await.user_errors(), ["OWNER_CANNOT_BE_REVOKED at userId"]);
    assert_eq!(owner.revoke(&owner.id).await.user_errors(), ["OWNER_CANNOT_BE_REVOKED at userId"]);
    assert_eq!(admin.revoke(&admin.id).await.user_errors(), ["CANNOT_REVOKE_SELF at userId"]);
    assert_eq!(admin.revoke(&client.id).await.user_errors(), ["NOT_FOUND at userId"]);
    assert_eq!(manager.revoke(&admin.id).await.codes(), ["FORBIDDEN"], "an Admin's access is for the Owner or another Admin");
    assert_eq!(admin.revoke(&manager.id).await.payload()["userId"], json!(manager.id));
    closes(socket).await;
    closes(elsewhere).await;
    for key in [&here_key, &there_key] {
        assert_eq!(app.ask_as(Some(key), "{ account { id } }", Value::Null).await.codes(), ["UNAUTHENTICATED"], "it is deleted");
    }
    assert_eq!(app.ask_as(Some(&admins), "{ viewer { level } }", Value::Null).await.payload()["level"], "ADMIN");
    for person in [&manager, &there] {
        assert_eq!(person.ask("{ account { id } }", Value::Null).await.codes(), ["ACCOUNT_ACCESS_ENDED"]);
        assert_eq!(
            person.ask(ME, Value::Null).await.payload(),
            &json!({ "level": null, "user": { "id": manager.id }, "accounts": { "nodes": [] } })
        );
    }
    let again = manager.sign_in().await;
    assert_eq!(again.account, "", "the login works, and acts nowhere");
    let users = client.ask("{ account { agencyConnections { nodes { users { nodes { user { id } } } } } } }", Value::Null).await;
    assert_eq!(users.payload()["agencyConnections"]["nodes"][0]["users"]["nodes"], json!([]));
    let requests = owner.ask("{ account { clientConnections(status: [PENDING]) { totalCount } } }", Value::Null).await;
    assert_eq!(requests.payload()["clientConnections"]["totalCount"], 1, "what they asked for stands");
    assert_eq!(owner.log("USER_REVOKED").await[0]["summary"], "admin revoked manager's access to olga's account.");
    let there = client.log("CLIENT_USER_REMOVED").await;
    assert_eq!(there[0]["summary"], "manager of olga's account can't act in carl's account any more.");
    assert!(app.mails_to(&manager.email).await.iter().any(|mail| mail["kind"] == "access_revoked"));
    assert_eq!(admin.revoke(&manager.id).await.user_errors(), ["NOT_FOUND at userId"], "they are gone");
    // Invited again, they come back as anyone.
    owner.invite(&[&manager.email], "VIEWER").await.ok();
}

/// U8, THREATS 48: Managers, Authors and Viewers leave; Owner and Admin can't; who has another account keeps the login.
async fn u8_leaving(app: &TestApp) {
    let (owner, [admin, manager, author, viewer]) = team(app, "olga@agency.example").await;
    for person in [&owner, &admin] {
        assert_eq!(person.ask(LEAVE, Value::Null).await.user_errors(), ["CANNOT_LEAVE"]);
    }
    let other = app.person("vera@x.example").await;
    other.plan("PREMIUM").await.ok();
    other.invite(&[&manager.email], "VIEWER").await.ok();
    let token = app.token_to(&manager.email, "invitation").await;
    let accept = "mutation($t: String!) { acceptInvitation(input: {token: $t}) { account { id } userErrors { code } } }";
    manager.ask(accept, json!({ "t": token })).await.ok();
    let key = manager.api_key().await;
    assert_eq!(app.ask_as(Some(&key), LEAVE, Value::Null).await.codes(), ["FORBIDDEN"], "no API key leaves (I6)");
    let left = manager.ask(LEAVE, Value::Null).await;
    assert_eq!(left.payload(), &json!({ "accountId": owner.account, "loginDeleted": false, "userErrors": [] }));
    assert_eq!(manager.ask("{ account { id } }", Value::Null).await.codes(), ["ACCOUNT_ACCESS_ENDED"]);
    assert_eq!(manager.sign_in().await.account, other.account);
    assert_eq!(app.ask_as(Some(&key), ME, Value::Null).await.codes(), ["UNAUTHENTICATED"]);
    // Author and Viewer have no other account: the login goes, and that asks who one is once more (I7).
    let would = author
        .ask(
            "mutation { leaveAccount(input: {dryRun: true}) { loginDeleted consequences { kind total } userErrors { code } } }",
            Value::Null,
        )
        .await;
    assert_eq!(
        (&would.payload()["loginDeleted"], &would.payload()["consequences"]),
        (&Value::Null, &json!([{ "kind": "ACCESS_ENDS", "total": 1 }, { "kind": "LOGIN_DELETED", "total": 1 }]))
    );
    assert_eq!(author.level().await.as_deref(), Some("AUTHOR"));
    let left = author.ask(LEAVE, Value::Null).await;
    assert_eq!(left.payload(), &json!({ "accountId": owner.account, "loginDeleted": true, "userErrors": [] }));
    assert_eq!(author.ask(ME, Value::Null).await.codes(), ["UNAUTHENTICATED"]);
    assert_eq!(app.ask(SIGN_IN, json!({ "l": author.email, "p": PASSWORD })).await.user_errors(), ["WRONG_CREDENTIALS"]);
    let log = owner.log("USER_LEFT, USER_ERASED").await;
    assert_eq!(log.len(), 2);
    assert_eq!((&log[0]["summary"], &log[0]["actor"]["id"]), (&json!("Former user left olga's account."), &json!(author.id)));
    app.advance(TimeDelta::minutes(11));
    let viewer = Person { token: app.ask("mutation($r: String!) { refreshSession(input: {refreshToken: $r}) { credentials { accessToken } userErrors { code } } }", json!({ "r": viewer.refresh })).await.payload()["credentials"]["accessToken"].as_str().unwrap().to_owned(), ..viewer };
    assert_eq!(viewer.ask(LEAVE, Value::Null).await.codes(), ["REAUTHENTICATION_REQUIRED"]);
    assert_eq!(viewer.level().await.as_deref(), Some("VIEWER"));
}

/// U8: an agency's user leaves no client's account this way, and takes their places along when they leave the agency.
async fn u8_leaving_an_agency(app: &TestApp) {
    let (_, [_, manager, ..]) = team(app, "olga@agency.example").await;
    let client = app.person("carl@client.example").await;
    let connection = manager.request_one("carl@client.example").await;
    client.approve(&connection, "ADMIN").await.ok();
    let there = manager.acting_in(&client.account).await;
    assert_eq!(there.ask(LEAVE, Value::Null).await.codes(), ["FORBIDDEN"]);
    let key = there.api_key().await;
    manager.ask(LEAVE, Value::Null).await.ok();
    assert_eq!(app.ask_as(Some(&key), ME, Value::Null).await.codes(), ["UNAUTHENTICATED"]);
    let users = client.ask("{ account { agencyConnections { nodes { users { totalCount } } } } }", Value::Null).await;
    assert_eq!(users.payload()["agencyConnections"]["nodes"][0]["users"]["totalCount"], 0);
    assert_eq!(client.log("CLIENT_USER_REMOVED").await.len(), 1);
}

/// U8, THREATS 57: whoever leaves their last account is nowhere any more: not in a table, a letter, the log of events, nor in the bytes
/// of SQLite's files.
async fn threat_57_nothing_is_left_of_who_left(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let sign_up = |email: &str| {
        format!(
            "mutation($p: String!, $t: String!) {{ signUp(input: {{email: \"{email}\", password: $p, name: \"Quentin Zebrowski\", username: \"qzebrowski\", invitationToken: $t}}) {{ user {{ id }} account {{ id }} credentials {{ accessToken refreshToken }} userErrors {{ code }} }} }}"
        )
    };
    let email = "quentin.z@private.example";
    let invite = "mutation($e: String!) { inviteUsers(input: {emails: [$e], level: MANAGER, message: \"Dear Quentin Zebrowski, join us\"}) { userErrors { code } } }";
    owner.ask(invite, json!({ "e": email })).await.ok();
    let invitation = app.token_to(email, "invitation").await;
    let signed_up = app.ask(&sign_up(email), json!({ "p": PASSWORD, "t": invitation })).await;
    let quentin = Person::of(app, email, signed_up.payload());
    quentin.verify().await.ok();
    crate::two_factor::protect(&quentin).await;
    quentin.api_key().await;
    quentin
        .ask("mutation { updateProfile(input: {name: \"Quentin Maria Zebrowski\"}) { userErrors { code } } }", Value::Null)
        .await
        .ok();
    quentin
        .ask("mutation { changeEmail(input: {email: \"other.q@private.example\"}) { userErrors { code } } }", Value::Null)
        .await
        .ok();
    let theirs = "mutation { requestClientAccess(input: {emails: [\"somebody@client.example\"], message: \"Quentin Maria Zebrowski here\"}) { userErrors { code } } }";
    quentin.ask(theirs, Value::Null).await.ok();
    // Somebody else asks them, and somebody asks for a new password of theirs.
    let other = app.agency("otto@other.example").await;
    other.ask("mutation { requestClientAccess(input: {emails: [\"quentin.z@private.example\"], message: \"Hello Quentin Zebrowski\"}) { userErrors { code } } }", Value::Null).await.ok();
    other.plan("PREMIUM").await;
    let invited = other
        .ask(
            &invite.replace("Dear Quentin Zebrowski", "Dear you").replace("userErrors", "invitations { id } userErrors"),
            json!({ "e": email }),
        )
        .await;
    let invited = invited.payload()["invitations"][0]["id"].clone();
    // Sent on to somebody else, it has left a mail to them all the same; and a mail server may quote whom it does not know.
    app.advance(TimeDelta::minutes(1));
    let resend =
        "mutation($i: ID!) { resendInvitation(input: {invitationId: $i, email: \"else@x.example\"}) { userErrors { code } } }";
    other.ask(resend, json!({ "i": invited })).await.ok();
    let quoted =
        "UPDATE mails SET detail = '550 <quentin.z@private.example>: unknown' WHERE to_email_key = 'quentin.z@private.example'";
    app.db.writer().execute_unprepared(quoted).await.unwrap();
    app.ask("mutation { requestPasswordReset(input: {email: \"quentin.z@private.example\"}) { accepted } }", Value::Null)
        .await
        .ok();
    app.mails_to(email).await;
    let row = app
        .reader()
        .query_one_raw(Statement::from_string(
            app.reader().get_database_backend(),
            "SELECT password_hash FROM users WHERE username_key = 'qzebrowski'",
        ))
        .await
        .unwrap()
        .unwrap();
    let hash: String = row.try_get_by_index(0).unwrap();
    let traces = ["zebrowski", "quentin", "private.example", &hash.split('$').next_back().unwrap().to_lowercase()];
    let before = everything(app).await.to_lowercase();
    assert!(traces.iter().all(|trace| before.contains(trace)), "they were there");
    let left = quentin.ask(LEAVE, Value::Null).await;
    assert_eq!(left.payload()["loginDeleted"], true);
    let after = everything(app).await.to_lowercase();
    for trace in traces {
        let found = after.lines().find(|text| text.contains(trace));
        assert_eq!(found, None, "{trace}");
    }
    let log = owner.log("USER_JOINED, USER_INVITED").await.iter().map(|event| event["summary"].to_string()).collect::<String>();
    assert!(!log.to_lowercase().contains("zebrowski"), "{log}");
    if app.place.database_url().starts_with("sqlite:") {
        // No checkpoint here: the server has emptied its log by itself.
        for file in
            std::fs::read_dir(app.place.directory()).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file())
        {
            let bytes = String::from_utf8_lossy(&std::fs::read(&file).unwrap()).to_lowercase();
            for trace in traces {
                assert!(!bytes.contains(trace), "{trace} in {}", file.display());
            }
        }
    }
    assert_gapless(app).await;
}

/// U8, I1: who has merely typed somebody's address takes nothing back that was sent there, and learns nothing of it.
async fn u8_an_address_that_was_typed_is_nobodys(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    owner.invite(&["victim@x.example"], "VIEWER").await.ok();
    owner.request(&["victim@x.example"]).await.ok();
    let typed = app.newcomer("victim@x.example").await;
    typed
        .ask("mutation { closeAccount(input: {confirmation: \"victim's account\"}) { userErrors { code } } }", Value::Null)
        .await
        .ok();
    let would = typed
        .ask("mutation { deleteUser(input: {dryRun: true}) { consequences { kind } userErrors { code } } }", Value::Null)
        .await;
    assert_eq!(would.payload()["consequences"], json!([{ "kind": "ACCESS_ENDS" }, { "kind": "LOGIN_DELETED" }]));
    typed.ask("mutation { deleteUser { deleted userErrors { code } } }", Value::Null).await.ok();
    let pending = owner.ask("{ account { invitations(status: [PENDING]) { nodes { email } } clientConnections(status: [PENDING]) { nodes { clientEmail } } } }", Value::Null).await;
    assert_eq!(
        pending.payload(),
        &json!({ "invitations": { "nodes": [{ "email": "victim@x.example" }] }, "clientConnections": { "nodes": [{ "clientEmail": "victim@x.example" }] } })
    );
    app.person("victim@x.example").await;
}

/// U7: whoever invited and is gone hears nothing more of the account; its Owner does.
async fn u7_the_gone_hear_nothing(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let admin = owner.colleague("adam@agency.example", "ADMIN").await;
    admin.invite(&["bob@x.example"], "VIEWER").await.ok();
    let token = app.token_to("bob@x.example", "invitation").await;
    owner.revoke(&admin.id).await.ok();
    let decline = "mutation($t: String!) { declineInvitation(input: {token: $t}) { userErrors { code } } }";
    app.ask(decline, json!({ "t": token })).await.ok();
    assert_eq!(app.mails_to("olga@agency.example").await[0]["kind"], "invitation_declined");
    assert_eq!(app.mails_to("adam@agency.example").await[0]["kind"], "access_revoked");
}

/// C6: the Owner's way into clients moves with ownership, and the former Owner's keys there go.
async fn c6_a_way_in_moves_with_ownership(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let admin = owner.colleague("adam@agency.example", "ADMIN").await;
    let client = app.person("carl@client.example").await;
    // Asked by the Admin, so that the Owner acts there without a place.
    let connection = admin.request_one("carl@client.example").await;
    client.approve(&connection, "MANAGER").await.ok();
    let there = owner.acting_in(&client.account).await;
    let key = there.api_key().await;
    owner.transfer(&admin.id).await.ok();
    assert_eq!(there.ask("{ account { id } }", Value::Null).await.codes(), ["ACCOUNT_ACCESS_ENDED"]);
    assert_eq!(app.ask_as(Some(&key), ME, Value::Null).await.codes(), ["UNAUTHENTICATED"]);
    assert_eq!(admin.acting_in(&client.account).await.level().await.as_deref(), Some("MANAGER"));
    admin.transfer(&owner.id).await.ok();
    assert_eq!(app.ask_as(Some(&key), ME, Value::Null).await.codes(), ["UNAUTHENTICATED"], "it comes back with nobody");
}

/// U9, L5, THREATS 48: by the Owner or an Admin, to an Admin; the former Owner is an Admin then, whom the new one can revoke.
async fn u9_ownership_is_transferred(app: &TestApp) {
    let (owner, [admin, manager, author, viewer]) = team(app, "olga@agency.example").await;
    for person in [&manager, &author, &viewer] {
        assert_eq!(person.transfer(&admin.id).await.codes(), ["FORBIDDEN"]);
        assert_eq!(owner.transfer(&person.id).await.user_errors(), ["NEW_OWNER_MUST_BE_ADMIN at userId"]);
    }
    let stranger = app.person("sam@x.example").await;
    assert_eq!(owner.transfer(&stranger.id).await.user_errors(), ["NOT_FOUND at userId"]);
    assert_eq!(admin.transfer(&admin.id).await.user_errors(), ["NEW_OWNER_MUST_BE_ADMIN at userId"], "not who asks");
    assert_eq!(owner.transfer(&owner.id).await.user_errors(), ["NEW_OWNER_MUST_BE_ADMIN at userId"]);
    owner.ask(SUSPEND, json!({ "u": admin.id })).await.ok();
    assert_eq!(owner.transfer(&admin.id).await.user_errors(), ["NEW_OWNER_MUST_BE_ADMIN at userId"], "who can't act there");
    owner.ask(REINSTATE, json!({ "u": admin.id })).await.ok();
    let elsewhere =
        "mutation($u: ID!, $a: ID!) { transferOwnership(input: {userId: $u, accountId: $a}) { userErrors { code field } } }";
    let wrong = owner.ask(elsewhere, json!({ "u": admin.id, "a": stranger.account })).await;
    assert_eq!(wrong.user_errors(), ["WRONG_ACCOUNT at accountId"]);
    owner.assign(&manager.id, "ADMIN").await.ok();
    let would = "mutation($u: ID!) { transferOwnership(input: {userId: $u, dryRun: true}) { account { id } consequences { kind nodes { ... on User { name } } } userErrors { code } } }";
    let would = owner.ask(would, json!({ "u": admin.id })).await;
    assert_eq!(would.payload()["consequences"], json!([{ "kind": "ACCESS_SHRINKS", "nodes": [{ "name": "olga" }] }]));
    // An Admin may ask, too.
    assert_eq!(manager.transfer(&admin.id).await.payload()["account"]["owner"]["id"], json!(admin.id));
    assert_eq!((admin.level().await.as_deref(), owner.level().await.as_deref()), (Some("OWNER"), Some("ADMIN")));
    for person in [&owner, &admin, &manager] {
        let mails = app.mails_to(&person.email).await;
        assert_eq!(mails[0]["kind"], "ownership_transferred", "{}", person.email);
        assert!(
            mails[0]["text"].as_str().unwrap().contains("admin is the Owner of olga's account now; olga is an Admin"),
            "{}",
            mails[0]
        );
    }
    for person in [&author, &viewer] {
        assert_ne!(app.mails_to(&person.email).await[0]["kind"], "ownership_transferred");
    }
    assert_eq!(admin.log("OWNERSHIP_TRANSFERRED").await[0]["summary"], "manager transferred ownership from olga to admin.");
    let own = "{ viewer { activity(kinds: [OWNERSHIP_TRANSFERRED]) { totalCount } } }";
    for person in [&owner, &admin] {
        assert_eq!(person.ask(own, Value::Null).await.payload()["activity"]["totalCount"], 1);
    }
    admin.revoke(&owner.id).await.ok();
    assert_eq!(owner.ask("{ account { id } }", Value::Null).await.codes(), ["ACCOUNT_ACCESS_ENDED"]);
}

/// L5, U9, THREATS 50: fifty transfers, revocations and changes of level at once: one Owner at every moment, no fault, no gap.
async fn threat_50_one_owner_at_every_moment(place: Place) {
    let app = TestApp::start(place, &[]).await;
    let owner = app.agency("olga@agency.example").await;
    let mut admins = vec![owner.clone()];
    for n in 0..5 {
        admins.push(owner.colleague(&format!("a{n}@agency.example"), "ADMIN").await);
    }
    let done = tokio::sync::watch::Sender::new(false);
    let reader = async {
        let (db, mut looks) = (app.reader(), 0);
        let account = owner.account.parse::<entity::AccountId>().unwrap().0;
        while !*done.borrow() {
            let text = "SELECT count(*), count(DISTINCT a.owner_id) FROM members m JOIN accounts a ON a.id = m.account_id AND a.owner_id = m.user_id WHERE m.level = 5 AND m.account_id = $1";
            let sql = Statement::from_sql_and_values(db.get_database_backend(), text, [account.into()]);
            let row = db.query_one_raw(sql).await.unwrap().unwrap();
            assert_eq!((row.try_get_by_index::<i64>(0).unwrap(), row.try_get_by_index::<i64>(1).unwrap()), (1, 1));
            looks += 1;
        }
        looks
    };
    let storm = async {
        let tries = (0..50).map(|n| {
            let (who, whom) = (&admins[n % 6], &admins[(n * 5 + n / 6 + 1) % 6].id);
            async move {
                match n % 5 {
                    0..=2 => who.transfer(whom).await,
                    3 => who.assign(whom, "ADMIN").await,
                    _ => who.revoke(whom).await,
                }
            }
        });
        let replies: Vec<Reply> = join_all(tries).await;
        done.send_replace(true);
        replies
    };
    let (looks, replies) = tokio::join!(reader, storm);
    assert!(looks > 3, "{looks}");
    let transferred =
        replies.iter().filter(|reply| reply.0["data"]["transferOwnership"]["account"]["owner"]["id"].is_string()).count();
    assert!(transferred > 0, "{replies:?}");
    for reply in &replies {
        let told = reply.codes();
        assert!(told.iter().all(|code| ["FORBIDDEN", "ACCOUNT_ACCESS_ENDED"].contains(code)), "{:?}", reply.0);
    }
    assert_gapless(&app).await;
    let mut owners = 0;
    for person in &admins {
        owners += usize::from(person.level().await.as_deref() == Some("OWNER"));
    }
    assert_eq!(owners, 1);
    app.finish().await;
}

/// E1: no log has a gap, and its head is its last number.
pub async fn assert_gapless(app: &TestApp) {
    let db = app.reader();
    let text = "SELECT count(*) FROM (SELECT g.id FROM logs g LEFT JOIN log_entries l ON l.log_id = g.id GROUP BY g.id, g.head \
                HAVING count(l.number) <> g.head OR coalesce(max(l.number), 0) <> g.head) AS gaps";
    let row = db.query_one_raw(Statement::from_string(db.get_database_backend(), text)).await.unwrap().unwrap();
    assert_eq!(row.try_get_by_index::<i64>(0).unwrap(), 0, "a log has a gap");
}

on_both_databases!(
    u6_a_level_changes_at_once,
    u6_suspended_and_reinstated,
    u7_revoked_with_all_that_was_held,
    u8_leaving,
    u8_leaving_an_agency,
    threat_57_nothing_is_left_of_who_left,
    u8_an_address_that_was_typed_is_nobodys,
    u7_the_gone_hear_nothing,
    c6_a_way_in_moves_with_ownership,
    u9_ownership_is_transferred,
);
on_both_databases!(on_its_own_servers: threat_50_one_owner_at_every_moment);
