//! Undoing a transfer of ownership that an Admin asked for: SPEC I7, U9, L5, THREATS 50, 75; and the Admin invitations of a user
//! whose access is revoked.

use crate::{
    on_both_databases,
    support::{
        Place, Reply, TestApp,
        people::{PASSWORD, Person},
    },
    users::assert_gapless,
};
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::join_all;
use sea_orm::{ConnectionTrait, Statement};
use serde_json::{Value, json};

const CLOSE: &str = "mutation($n: String!, $d: Boolean) { closeAccount(input: {confirmation: $n, dryRun: $d}) { accountId userErrors { code message retryAt } } }";

/// Undoes a transfer by the link's token, signed in as nobody.
async fn undo(app: &TestApp, token: &str) -> Reply {
    let query = "mutation($t: String!) { undoTransfer(input: {token: $t}) { account { id name plan } userErrors { code message field } } }";
    app.ask(query, json!({ "t": token })).await
}

/// The link's token in the latest e-mail about a transfer to an address.
async fn link_to(app: &TestApp, address: &str) -> String {
    app.token_to(address, "ownership_transferred").await
}

/// An Owner and three Admins.
async fn team<'a>(app: &'a TestApp, host: &str) -> (Person<'a>, [Person<'a>; 3]) {
    let owner = app.agency(&format!("olga@{host}")).await;
    let admin = async |name: &str| owner.colleague(&format!("{name}@{host}"), "ADMIN").await;
    let admins = [admin("adam").await, admin("bert").await, admin("cora").await];
    (owner, admins)
}

async fn level(person: &Person<'_>) -> Option<String> {
    person.level().await
}

async fn levels(people: &[&Person<'_>]) -> Vec<String> {
    let mut all = Vec::new();
    for person in people {
        all.push(person.level().await.unwrap_or_else(|| "none".to_owned()));
    }
    all
}

/// THREATS 75, the story of the attack: an Admin gives the account to another one and removes the Owner, who undoes it. Beside it the
/// honest one: who agrees does nothing.
async fn threat_75_the_owner_takes_the_account_back(app: &TestApp) {
    let (owner, people) = team(app, "agency.example").await;
    let [adam, bert, _] = &people;
    adam.transfer(&bert.id).await.ok();
    assert_eq!(levels(&[&owner, adam, bert]).await, ["ADMIN", "ADMIN", "OWNER"]);
    let mail = &app.mails_to("olga@agency.example").await[0];
    assert_eq!(
        (&mail["kind"], &mail["subject"]),
        (&json!("ownership_transferred"), &json!("adam transferred the ownership of olga's account to bert"))
    );
    let (text, token) = (mail["text"].as_str().unwrap(), mail["token"].as_str().unwrap());
    assert!(text.contains(&format!("/undo-transfer#token={token}")) && text.contains("The link works until"), "{text}");
    for other in ["adam@agency.example", "bert@agency.example", "cora@agency.example"] {
        let mail = &app.mails_to(other).await[0];
        assert_eq!(
            (&mail["kind"], &mail["token"]),
            (&json!("ownership_transferred"), &Value::Null),
            "{other}: the link is the Owner's"
        );
    }
    // Access that has ended and a smaller plan are no obstacle.
    bert.revoke(&owner.id).await.ok();
    assert_eq!(levels(&[&owner]).await, ["none"]);
    let undone = undo(app, token).await;
    assert_eq!(undone.payload()["account"], json!({ "id": owner.account, "name": "olga's account", "plan": null }), "as nobody");
    assert_eq!(levels(&[&owner, adam, bert]).await, ["OWNER", "MANAGER", "ADMIN"]);
    assert_eq!(undo(app, token).await.user_errors(), ["ALREADY_DECIDED at token"]);
    for person in [&owner, adam, bert] {
        let mail = &app.mails_to(&person.email).await[0];
        assert_eq!(
            (&mail["kind"], &mail["subject"]),
            (&json!("ownership_transfer_undone"), &json!("olga is the Owner of olga's account again"))
        );
        assert!(mail["text"].as_str().unwrap().contains("instead of bert. adam asked for the transfer."), "{mail}");
    }
    let log = owner.log("OWNERSHIP_TRANSFER_UNDONE, USER_LEVEL_CHANGED").await;
    let said: Vec<_> = log.iter().map(|event| event["summary"].as_str().unwrap()).collect();
    let undone = "olga undid a transfer of ownership: olga owns the account again instead of bert.";
    assert!(said.contains(&undone) && said.contains(&"olga changed adam's level from Admin to Manager."), "{said:?}");
    assert_eq!(adam.transfer(&bert.id).await.codes(), ["FORBIDDEN"]);
    // The honest story: cora asks for it, olga agrees by doing nothing, and bert is the Owner.
    let cora = people[2].clone();
    cora.transfer(&bert.id).await.ok();
    assert_eq!(levels(&[&owner, bert, &cora]).await, ["ADMIN", "OWNER", "ADMIN"]);
    assert_gapless(app).await;
}

/// U9: what the Owner asks for is final: no link, and the account can be closed.
async fn u9_the_owners_own_transfer_is_final(app: &TestApp) {
    let (owner, [adam, ..]) = team(app, "agency.example").await;
    owner.transfer(&adam.id).await.ok();
    for person in [&owner, &adam] {
        let mail = &app.mails_to(&person.email).await[0];
        assert_eq!((&mail["kind"], &mail["token"]), (&json!("ownership_transferred"), &Value::Null));
    }
    assert!(adam.ask(CLOSE, json!({ "n": "olga's account", "d": true })).await.user_errors().is_empty());
}

/// I7: for 72 hours, or until it is undone, nobody closes the account, and the refusal says until when.
async fn i7_the_account_stays_open(place: Place) {
    let app = TestApp::start(place, &[("access_token_ttl", "200h")]).await;
    let (owner, [adam, bert, cora]) = team(&app, "agency.example").await;
    adam.transfer(&bert.id).await.ok();
    let begun = app.now();
    for person in [&bert, &adam, &owner] {
        for dry_run in [true, false] {
            let refused = person.ask(CLOSE, json!({ "n": "olga's account", "d": dry_run })).await;
            assert_eq!(refused.user_errors(), ["TRANSFER_CAN_BE_UNDONE"]);
            let error = &refused.0["data"]["closeAccount"]["userErrors"][0];
            let until: DateTime<Utc> = error["retryAt"].as_str().unwrap().parse().unwrap();
            assert!(until <= begun + TimeDelta::hours(72) && until > begun + TimeDelta::hours(71), "{until}");
            assert!(error["message"].as_str().unwrap().contains("Close the account after that."), "{error}");
        }
    }
    let late = link_to(&app, "olga@agency.example").await;
    let again = async |person: &Person<'_>| {
        let query = "mutation($p: String!) { reauthenticate(input: {password: $p}) { until userErrors { code } } }";
        person.ask(query, json!({ "p": PASSWORD })).await.ok();
    };
    app.advance(TimeDelta::hours(72));
    assert_eq!(undo(&app, &late).await.user_errors(), ["EXPIRED at token"]);
    assert_eq!(level(&bert).await.as_deref(), Some("OWNER"), "it is final");
    again(&bert).await;
    assert!(bert.ask(CLOSE, json!({ "n": "olga's account", "d": true })).await.user_errors().is_empty());
    // Undone, it can be closed at once.
    again(&cora).await;
    cora.transfer(&adam.id).await.ok();
    let token = link_to(&app, "bert@agency.example").await;
    undo(&app, &token).await.ok();
    assert_eq!(bert.ask(CLOSE, json!({ "n": "olga's account" })).await.payload()["accountId"], json!(owner.account));
    assert_eq!(undo(&app, &late).await.user_errors(), ["NOT_ACTIVE at token"]);
    app.finish().await;
}

/// I7: what could defeat an undo, and does not: suspending, lowering, another transfer by the new Owner or by an Admin, both of them
/// leaving; a transfer back by consent makes it final.
async fn i7_what_does_not_defeat_the_undo(app: &TestApp) {
    // Suspended and lowered; then the new Owner passes it on, which is final for the new Owner alone.
    let (owner, [adam, bert, cora]) = team(app, "one.example").await;
    adam.transfer(&bert.id).await.ok();
    let token = link_to(app, "olga@one.example").await;
    bert.assign(&owner.id, "VIEWER").await.ok();
    bert.keep_out("suspendUser", &owner.id).await.ok();
    bert.transfer(&cora.id).await.ok();
    cora.revoke(&bert.id).await.ok();
    cora.revoke(&adam.id).await.ok();
    undo(app, &token).await.ok();
    assert_eq!(levels(&[&owner, &adam, &bert, &cora]).await, ["OWNER", "none", "none", "ADMIN"]);
    // The user who asked owns it by now: they get what an Admin who asked gets.
    let (owner, [adam, bert, cora]) = team(app, "two.example").await;
    adam.transfer(&bert.id).await.ok();
    let token = link_to(app, "olga@two.example").await;
    bert.transfer(&adam.id).await.ok();
    undo(app, &token).await.ok();
    assert_eq!(levels(&[&owner, &adam, &bert, &cora]).await, ["OWNER", "MANAGER", "ADMIN", "ADMIN"]);
    // Two undoable ones: the second Owner takes it back from the third, and the first from the second; not the other way round.
    let (owner, [adam, bert, cora]) = team(app, "three.example").await;
    adam.transfer(&bert.id).await.ok();
    let first = link_to(app, "olga@three.example").await;
    adam.transfer(&cora.id).await.ok();
    let second = link_to(app, "bert@three.example").await;
    undo(app, &second).await.ok();
    assert_eq!(levels(&[&owner, &adam, &bert, &cora]).await, ["ADMIN", "MANAGER", "OWNER", "ADMIN"]);
    undo(app, &first).await.ok();
    assert_eq!(levels(&[&owner, &adam, &bert, &cora]).await, ["OWNER", "MANAGER", "ADMIN", "ADMIN"]);
    // Given back by an Admin, it can't be taken away again by the user who had it meanwhile.
    cora.transfer(&bert.id).await.ok();
    let first = link_to(app, "olga@three.example").await;
    cora.transfer(&owner.id).await.ok();
    assert_eq!(app.mails_to("bert@three.example").await[0]["token"], Value::Null);
    undo(app, &first).await.ok();
    assert_eq!(levels(&[&owner, &bert, &cora]).await, ["OWNER", "ADMIN", "MANAGER"]);
    // Nor when the one who has it at last gives it back.
    let (owner, [adam, bert, cora]) = team(app, "six.example").await;
    adam.transfer(&bert.id).await.ok();
    adam.transfer(&cora.id).await.ok();
    let second = link_to(app, "bert@six.example").await;
    cora.transfer(&owner.id).await.ok();
    assert_eq!(undo(app, &second).await.user_errors(), ["ALREADY_DECIDED at token"]);
    assert_eq!(level(&owner).await.as_deref(), Some("OWNER"));
    // Giving it back for a moment does not take the first Owner's undo away.
    let (owner, [adam, bert, cora]) = team(app, "seven.example").await;
    adam.transfer(&bert.id).await.ok();
    let first = link_to(app, "olga@seven.example").await;
    bert.transfer(&owner.id).await.ok();
    cora.transfer(&bert.id).await.ok();
    undo(app, &first).await.ok();
    assert_eq!(levels(&[&owner, &adam, &bert, &cora]).await, ["OWNER", "MANAGER", "ADMIN", "ADMIN"]);
    // What the first Owner takes back, the second can't.
    let (owner, [adam, bert, cora]) = team(app, "four.example").await;
    adam.transfer(&bert.id).await.ok();
    let first = link_to(app, "olga@four.example").await;
    adam.transfer(&cora.id).await.ok();
    let second = link_to(app, "bert@four.example").await;
    undo(app, &first).await.ok();
    assert_eq!(undo(app, &second).await.user_errors(), ["ALREADY_DECIDED at token"]);
    assert_eq!(level(&owner).await.as_deref(), Some("OWNER"));
    // Given back by consent and passed on by the Owner herself, it is final.
    let (owner, [adam, bert, cora]) = team(app, "five.example").await;
    adam.transfer(&bert.id).await.ok();
    let token = link_to(app, "olga@five.example").await;
    bert.transfer(&owner.id).await.ok();
    owner.transfer(&cora.id).await.ok();
    assert_eq!(undo(app, &token).await.user_errors(), ["ALREADY_DECIDED at token"]);
    assert_eq!(level(&cora).await.as_deref(), Some("OWNER"));
    for wrong in ["", "x", &token[..40], &app.token_to("bert@five.example", "invitation").await] {
        assert_eq!(undo(app, wrong).await.user_errors(), ["NOT_FOUND at token"], "{wrong}");
    }
    assert_gapless(app).await;
}

/// I7: by plan: without a seat, without a level below Admin, and for a former Owner who is gone.
async fn i7_whatever_the_plan(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    owner.plan("ESSENTIALS").await.ok();
    let adam = owner.colleague("adam@agency.example", "ADMIN").await;
    let bert = owner.colleague("bert@agency.example", "ADMIN").await;
    adam.transfer(&bert.id).await.ok();
    let token = link_to(app, "olga@agency.example").await;
    bert.revoke(&owner.id).await.ok();
    bert.colleague("cora@agency.example", "ADMIN").await;
    assert_eq!(bert.invite(&["dora@agency.example"], "ADMIN").await.user_errors(), ["NO_SEATS_LEFT at emails.0"]);
    undo(app, &token).await.ok();
    assert_eq!(levels(&[&owner, &adam, &bert]).await, ["OWNER", "ADMIN", "ADMIN"], "the plan has no level below Admin");
    // The former Owner's login is their own to delete, and the link with it.
    let (owner, [adam, bert, _]) = team(app, "gone.example").await;
    adam.transfer(&bert.id).await.ok();
    let token = link_to(app, "olga@gone.example").await;
    let deleted = owner.ask("mutation { deleteUser { deleted userErrors { code } } }", Value::Null).await;
    assert_eq!(deleted.payload()["deleted"], true);
    assert_eq!(undo(app, &token).await.user_errors(), ["NOT_FOUND at token"]);
}

/// L5, I7, THREATS 50: fifty undoings, transfers and revocations at once: one Owner at every moment, and the undoing is done once.
async fn threat_50_one_owner_while_a_transfer_is_undone(place: Place) {
    let app = TestApp::start(place, &[("sign_in_throttle", "off")]).await;
    let (owner, [adam, bert, cora]) = team(&app, "agency.example").await;
    adam.transfer(&bert.id).await.ok();
    let token = link_to(&app, "olga@agency.example").await;
    let done = tokio::sync::watch::Sender::new(false);
    let reader = async {
        let (db, mut looks) = (app.reader(), 0);
        let account = owner.account.parse::<entity::AccountId>().unwrap().0;
        while !*done.borrow() {
            let text = "SELECT count(*) FROM members m JOIN accounts a ON a.id = m.account_id AND a.owner_id = m.user_id WHERE m.level = 5 AND m.account_id = $1";
            let sql = Statement::from_sql_and_values(db.get_database_backend(), text, [account.into()]);
            let row = db.query_one_raw(sql).await.unwrap().unwrap();
            assert_eq!(row.try_get_by_index::<i64>(0).unwrap(), 1);
            looks += 1;
        }
        looks
    };
    let storm = async {
        let people = [&bert, &cora, &adam];
        let tries = (0..50).map(|n| {
            let (who, whom) = (people[n % 3], people[(n + 1) % 3]);
            let (app, owner, token) = (&app, &owner, token.as_str());
            async move {
                match n % 5 {
                    0 | 1 => undo(app, token).await,
                    2 => who.transfer(&whom.id).await,
                    3 => who.revoke(&owner.id).await,
                    _ => who.revoke(&whom.id).await,
                }
            }
        });
        let replies: Vec<Reply> = join_all(tries).await;
        done.send_replace(true);
        replies
    };
    let (looks, replies) = tokio::join!(reader, storm);
    assert!(looks > 3, "{looks}");
    let undone = replies.iter().filter(|reply| reply.0["data"]["undoTransfer"]["account"]["id"].is_string()).count();
    assert_eq!(undone, 1, "{replies:?}");
    for reply in &replies {
        assert!(reply.codes().iter().all(|code| ["FORBIDDEN", "ACCOUNT_ACCESS_ENDED"].contains(code)), "{:?}", reply.0);
    }
    assert_eq!(
        app.mails_to("cora@agency.example").await.iter().filter(|mail| mail["kind"] == "ownership_transfer_undone").count(),
        1
    );
    assert_gapless(&app).await;
    app.finish().await;
}

/// THREATS 75: the pending Admin invitations of a user who is revoked, suspended or lowered: listed, and canceled when asked.
async fn threat_75_admin_invitations_of_a_revoked_user(app: &TestApp) {
    let (owner, [adam, bert, _]) = team(app, "agency.example").await;
    adam.invite(&["one@x.example"], "ADMIN").await.ok();
    adam.invite(&["low@x.example"], "VIEWER").await.ok();
    // Resent by adam to an address of his: bert's in name only.
    let berts = bert.invite(&["honest@x.example"], "ADMIN").await;
    let id = berts.payload()["invitations"][0]["id"].as_str().unwrap().to_owned();
    app.advance(TimeDelta::minutes(1));
    let resend =
        "mutation($i: ID!) { resendInvitation(input: {invitationId: $i, email: \"evil@x.example\"}) { userErrors { code } } }";
    adam.ask(resend, json!({ "i": id })).await.ok();
    bert.invite(&["other@x.example"], "ADMIN").await.ok();
    let consequences = "consequences { kind total summary nodes { ... on Invitation { email } } } userErrors { code }";
    let dry = async |call: &str| {
        let query = format!("mutation($u: ID!) {{ {call} {{ {consequences} }} }}");
        let reply = owner.ask(&query, json!({ "u": adam.id })).await;
        reply.payload()["consequences"].as_array().unwrap().last().unwrap().clone()
    };
    let expected = |kind: &str, summary: &str| json!({ "kind": kind, "total": 2, "summary": summary, "nodes": [{ "email": "one@x.example" }, { "email": "evil@x.example" }] });
    let remains = expected("ADMIN_INVITATION_REMAINS", "2 pending Admin invitations sent by this user can still be accepted.");
    for call in [
        "revokeUser(input: {userId: $u, dryRun: true})",
        "suspendUser(input: {userId: $u, dryRun: true})",
        "setUserLevel(input: {userId: $u, level: VIEWER, dryRun: true})",
    ] {
        assert_eq!(dry(call).await, remains, "{call}");
    }
    let canceled = dry("revokeUser(input: {userId: $u, dryRun: true, cancelInvitations: true})").await;
    assert_eq!(canceled, expected("INVITATION_CANCELED", "2 pending invitations will be taken back."));
    let pending = async || {
        let query = "{ account { invitations(status: [PENDING]) { nodes { email } } } }";
        let nodes = owner.ask(query, Value::Null).await.payload()["invitations"]["nodes"].clone();
        let mut emails: Vec<_> =
            nodes.as_array().unwrap().iter().map(|node| node["email"].as_str().unwrap().to_owned()).collect();
        emails.sort();
        emails
    };
    assert_eq!(pending().await.len(), 4, "tried alone");
    let revoke = "mutation($u: ID!) { revokeUser(input: {userId: $u, cancelInvitations: true}) { userId userErrors { code } } }";
    owner.ask(revoke, json!({ "u": adam.id })).await.ok();
    assert_eq!(pending().await, ["low@x.example", "other@x.example"]);
    assert_eq!(owner.log("INVITATION_CANCELED").await.len(), 2);
    // Without it, they stay (U7).
    owner.revoke(&bert.id).await.ok();
    assert_eq!(pending().await, ["low@x.example", "other@x.example"]);
}

/// I7, I1: nobody whom an undoable transfer concerns is erased for not having verified their address, nor is the account closed with them.
async fn i7_the_unverified_stay_for_the_undo(place: Place) {
    let app = TestApp::start(place, &[("access_token_ttl", "400h")]).await;
    let (owner, [adam, bert, cora]) = team(&app, "agency.example").await;
    app.advance(TimeDelta::days(8));
    for person in [&adam, &bert] {
        let query = "mutation($p: String!) { reauthenticate(input: {password: $p}) { until userErrors { code } } }";
        person.ask(query, json!({ "p": PASSWORD })).await.ok();
    }
    adam.transfer(&bert.id).await.ok();
    let token = link_to(&app, "olga@agency.example").await;
    for person in [&owner, &adam, &cora] {
        bert.revoke(&person.id).await.ok();
    }
    let unverify = "UPDATE users SET email_verified_at = NULL WHERE email_key IN ('olga@agency.example', 'bert@agency.example')";
    app.db.writer().execute_unprepared(unverify).await.unwrap();
    keyholder::sweeper::sweep(&app).await.unwrap();
    undo(&app, &token).await.ok();
    assert_eq!(levels(&[&owner, &bert]).await, ["OWNER", "ADMIN"]);
    app.finish().await;
}

/// U9: the operator's transfer is final, whatever an Admin asked for before.
async fn u9_the_operators_transfer_is_final(app: &TestApp) {
    let (owner, [adam, bert, cora]) = team(app, "agency.example").await;
    adam.transfer(&bert.id).await.ok();
    let token = link_to(app, "olga@agency.example").await;
    let (fine, said) = crate::operators::run(&app.place, &["account", "transfer", &owner.account, "cora@agency.example"]);
    assert!(fine, "{said}");
    assert_eq!(undo(app, &token).await.user_errors(), ["ALREADY_DECIDED at token"]);
    assert_eq!(level(&cora).await.as_deref(), Some("OWNER"));
}

on_both_databases!(
    threat_75_the_owner_takes_the_account_back,
    u9_the_owners_own_transfer_is_final,
    u9_the_operators_transfer_is_final,
    i7_what_does_not_defeat_the_undo,
    i7_whatever_the_plan,
    threat_75_admin_invitations_of_a_revoked_user,
);
on_both_databases!(on_its_own_servers:
    i7_the_account_stays_open,
    i7_the_unverified_stay_for_the_undo,
    threat_50_one_owner_while_a_transfer_is_undone,
);
