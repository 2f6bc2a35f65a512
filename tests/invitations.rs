//! People are invited and join: SPEC U1, U2, U5, L3, L4.

use crate::{
    on_both_databases,
    support::{TestApp, people::PASSWORD},
};
use chrono::TimeDelta;
use futures_util::future::join_all;
use serde_json::{Value, json};

const ACCEPT: &str = "mutation($i: AnswerInvitationInput!) { acceptInvitation(input: $i) { account { id name } level userErrors { code message field } } }";

/// U2: the bearer of the link joins, as a new user or as the one who is signed in.
async fn u2_an_invited_person_joins(app: &TestApp) {
    let owner = app.person("ann@acme.example").await;
    owner.plan("PREMIUM").await.ok();
    let new = owner.colleague("bob@acme.example", "AUTHOR").await;
    assert_eq!((new.level().await.as_deref(), new.account == owner.account), (Some("AUTHOR"), true));
    // The link proves nothing of the address, so another e-mail verifies it (I1).
    assert_eq!(app.mails_to("bob@acme.example").await.len(), 2);

    let other = app.person("cleo@else.example").await;
    let id = owner.invite(&["cleo@else.example"], "MANAGER").await.payload()["invitations"][0]["id"].clone();
    let waiting =
        other.ask("{ viewer { invitations { nodes { id level account { name } invitedBy { name } } } } }", Value::Null).await;
    let expected =
        json!([{ "id": id, "level": "MANAGER", "account": { "name": "ann's account" }, "invitedBy": { "name": "ann" } }]);
    assert_eq!(waiting.payload()["invitations"]["nodes"], expected);
    let joined = other.ask(ACCEPT, json!({ "i": { "invitationId": id } })).await;
    assert_eq!((&joined.payload()["level"], &joined.payload()["account"]["id"]), (&json!("MANAGER"), &json!(owner.account)));
    assert_eq!(
        other.ask(ACCEPT, json!({ "i": { "invitationId": id } })).await.user_errors(),
        ["ALREADY_DECIDED at invitationId"]
    );
    let list = "{ account { users { totalCount nodes { level user { name email } } } invitations(status: [ACCEPTED]) { nodes { acceptedBy { name } } } } }";
    let users = owner.ask(list, Value::Null).await;
    let expected = json!({ "totalCount": 3, "nodes": [
        { "level": "OWNER", "user": { "name": "ann", "email": "ann@acme.example" } },
        { "level": "MANAGER", "user": { "name": "cleo", "email": "cleo@else.example" } },
        { "level": "AUTHOR", "user": { "name": "bob", "email": "bob@acme.example" } },
    ] });
    assert_eq!(users.payload()["users"], expected);
    assert_eq!(
        users.payload()["invitations"]["nodes"],
        json!([{ "acceptedBy": { "name": "cleo" } }, { "acceptedBy": { "name": "bob" } }])
    );
    let seen = new.ask("{ account { users { nodes { user { name email } } } } }", Value::Null).await;
    assert_eq!(
        seen.payload()["users"]["nodes"][0]["user"],
        json!({ "name": "ann", "email": null }),
        "addresses are for who invites"
    );
}

/// U2: another bearer may join, which the inviter is told, but not as Admin; a link works once.
async fn u2_another_bearer(app: &TestApp) {
    let owner = app.person("ann@acme.example").await;
    owner.plan("PREMIUM").await.ok();
    let other = app.person("cleo@else.example").await;
    owner.invite(&["bob@acme.example"], "ADMIN").await.ok();
    let token = app.token_to("bob@acme.example", "invitation").await;
    assert_eq!(other.ask(ACCEPT, json!({ "i": { "token": token } })).await.user_errors(), ["INVITED_ADDRESS_REQUIRED at token"]);
    owner.invite(&["dora@acme.example"], "VIEWER").await.ok();
    let token = app.token_to("dora@acme.example", "invitation").await;
    let preview = app
        .ask(
            "query($t: String!) { invitationByToken(token: $t) { accountName email level invitedByName } }",
            json!({ "t": token }),
        )
        .await;
    assert_eq!(
        *preview.payload(),
        json!({ "accountName": "ann's account", "email": "dora@acme.example", "level": "VIEWER", "invitedByName": "ann" })
    );
    other.ask(ACCEPT, json!({ "i": { "token": token } })).await.ok();
    assert_eq!(app.mails_to("ann@acme.example").await[0]["kind"], "invitation_accepted_by_another");
    let third = app.person("eve@else.example").await;
    assert_eq!(third.ask(ACCEPT, json!({ "i": { "token": token } })).await.user_errors(), ["ALREADY_DECIDED at token"]);
    let gone = app.ask("query($t: String!) { invitationByToken(token: $t) { id } }", json!({ "t": token })).await;
    assert_eq!(*gone.payload(), Value::Null);
    assert_eq!(third.ask(ACCEPT, json!({ "i": { "token": "nonsense" } })).await.user_errors(), ["NOT_FOUND at token"]);
    assert_eq!(third.ask(ACCEPT, json!({ "i": {} })).await.user_errors(), ["INVALID at token"]);
}

/// U1, THREATS 47: what an invitation refuses, with its place.
async fn threat_47_what_an_invitation_refuses(app: &TestApp) {
    let owner = app.person("ann@acme.example").await;
    assert_eq!(owner.invite(&["b@x.example"], "ADMIN").await.user_errors(), ["LEVEL_NOT_IN_PLAN at level"]);
    owner.plan("PREMIUM").await.ok();
    assert_eq!(owner.invite(&["b@x.example"], "OWNER").await.user_errors(), ["LEVEL_NOT_ASSIGNABLE at level"]);
    assert_eq!(owner.invite(&[], "ADMIN").await.user_errors(), ["INVALID at emails"]);
    owner.invite(&["b@x.example"], "ADMIN").await.ok();
    let reply = owner.invite(&["nonsense", "c@x.example", "C@x.example,b@x.example", "ann@acme.example"], "VIEWER").await;
    let expected =
        ["INVALID at emails.0", "ALREADY_INVITED at emails.2", "ALREADY_INVITED at emails.2", "ALREADY_A_USER at emails.3"];
    assert_eq!(reply.user_errors(), expected);
    assert_eq!(reply.0["data"]["inviteUsers"]["invitations"].as_array().unwrap().len(), 1);
    let newcomer = app.newcomer("new@x.example").await;
    newcomer.plan("PREMIUM").await.ok();
    assert_eq!(newcomer.invite(&["b@x.example"], "ADMIN").await.user_errors(), ["EMAIL_NOT_VERIFIED"]);
}

/// U1, THREATS 52: 25 in any 24 hours, exact under a race.
async fn threat_52_the_26th_of_a_day_is_refused(app: &TestApp) {
    let owner = app.person("ann@acme.example").await;
    owner.plan("PREMIUM").await.ok();
    let addresses: Vec<_> = (0..24).map(|n| format!("a{n}@x.example")).collect();
    owner.invite(&addresses.iter().map(String::as_str).collect::<Vec<_>>(), "VIEWER").await.ok();
    let replies = join_all((0..30).map(|n| {
        let owner = &owner;
        async move { owner.invite(&[&format!("race{n}@x.example")], "VIEWER").await.user_errors() }
    }))
    .await;
    assert_eq!(replies.iter().filter(|errors| errors.is_empty()).count(), 1);
    assert_eq!(replies.iter().filter(|errors| **errors == ["DAILY_LIMIT_REACHED at emails.0"]).count(), 29);
    app.advance(TimeDelta::hours(24));
    owner.sign_in().await.invite(&["next@x.example"], "VIEWER").await.ok();
}

/// L3, L4, U5: pending invitations hold seats, and are in the way of a smaller plan.
async fn l3_pending_invitations_hold_seats(app: &TestApp) {
    let owner = app.person("ann@acme.example").await;
    owner.plan("ESSENTIALS").await.ok();
    let seats = async || owner.ask("{ account { seats { limit used reserved } } }", Value::Null).await.payload()["seats"].clone();
    assert_eq!(
        owner.invite(&["b@x.example", "c@x.example", "d@x.example"], "ADMIN").await.user_errors(),
        ["NO_SEATS_LEFT at emails.2"]
    );
    assert_eq!(seats().await, json!({ "limit": 3, "used": 1, "reserved": 2 }));
    // L4: the pending ones are in the way of a smaller plan, and are named.
    let small = owner.plan("FREE").await;
    assert_eq!(small.user_errors(), ["PLAN_TOO_SMALL at plan"]);
    assert_eq!(small.0["data"]["changePlan"]["userErrors"][0]["blockers"].as_array().unwrap().len(), 2);
    // Expired, they hold none any more.
    app.advance(TimeDelta::days(7));
    let owner = owner.sign_in().await;
    let now = owner.ask("{ account { seats { used reserved } } }", Value::Null).await;
    assert_eq!(now.payload()["seats"], json!({ "used": 1, "reserved": 0 }));
    owner.plan("FREE").await.ok();
}

/// U2, U5: ten bearers of one link join at once, and one does; the link works once and its one seat is taken once.
async fn u5_ten_bearers_of_one_link(app: &TestApp) {
    let owner = app.person("ann@acme.example").await;
    owner.plan("STANDARD").await.ok();
    owner.invite(&["e@x.example"], "VIEWER").await.ok();
    let token = app.token_to("e@x.example", "invitation").await;
    let sign_up = async |n: usize| {
        let query = "mutation($i: SignUpInput!) { signUp(input: $i) { account { name } userErrors { code message field } } }";
        let input =
            json!({ "email": format!("taker{n}@x.example"), "password": PASSWORD, "name": "Taker", "invitationToken": token });
        app.ask(query, json!({ "i": input })).await.user_errors()
    };
    let replies = join_all((0..10).map(sign_up)).await;
    assert_eq!(replies.iter().filter(|errors| errors.is_empty()).count(), 1);
    assert_eq!(replies.iter().filter(|errors| **errors == ["ALREADY_DECIDED at invitationToken"]).count(), 9);
    let seats = owner.ask("{ account { seats { limit used reserved } } }", Value::Null).await;
    assert_eq!(seats.payload()["seats"], json!({ "limit": 5, "used": 2, "reserved": 0 }));
    // As Admin only the invited address (U2).
    owner.invite(&["f@x.example"], "ADMIN").await.ok();
    let token = app.token_to("f@x.example", "invitation").await;
    let query = "mutation($i: SignUpInput!) { signUp(input: $i) { account { name } userErrors { code message field } } }";
    let input = json!({ "email": "other@x.example", "password": PASSWORD, "name": "Other", "invitationToken": token });
    assert_eq!(app.ask(query, json!({ "i": input })).await.user_errors(), ["INVITED_ADDRESS_REQUIRED at email"]);
}

/// L4: on a server where the platform changes plans, its users can't.
async fn l4_plans_are_the_operators(place: crate::support::Place) {
    let app = TestApp::start(place, &[("plan_changes", "operator")]).await;
    let owner = app.person("ann@acme.example").await;
    let reply = owner.plan("PREMIUM").await;
    assert_eq!(reply.codes(), ["FORBIDDEN"]);
    assert!(reply.0["errors"][0]["extensions"]["reason"].as_str().unwrap().contains("billing"));
    app.finish().await;
}

on_both_databases!(
    u2_an_invited_person_joins,
    u2_another_bearer,
    threat_47_what_an_invitation_refuses,
    threat_52_the_26th_of_a_day_is_refused,
    l3_pending_invitations_hold_seats,
    u5_ten_bearers_of_one_link,
);
on_both_databases!(on_its_own_servers: l4_plans_are_the_operators);
