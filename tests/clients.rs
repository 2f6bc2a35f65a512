//! What an agency's people live in all day: requests sent again and taken back, places on clients, ends that are set, agencies that
//! are blocked, leaving the program: SPEC C2–C12, E6, THREATS 45, 48, 53, 54.
//!
//! The guide that the rules come from, sentence by sentence, and where each is shown:
//!
//! - "you have to join", "should be enabled by the Owner or Admin" (C1): `connections::c1_an_account_becomes_an_agency_in_order`,
//!   and by whom: `matrix::threat_46_every_mutation_asks_what_the_sdl_shows`
//! - "the email address of the Owner or Admin" (C3): `connections::threat_54_a_request_lives_seven_days`,
//!   `connections::c3_the_addressee_learns_no_more_than_that`
//! - "up to 35 client accounts a day, individually or in batches", "place commas between email addresses" (C2):
//!   `connections::c2_the_36th_address_of_a_day_is_refused`, `connections::c2_each_address_stands_for_itself`,
//!   `connections::threat_51_one_hundred_requests_race_for_the_last_place`
//! - "a message that reminds them", "the user level you need", "We'll email your clients", "an email to the Owner of your account"
//!   (C2, C5, C6): `connections::an_agency_asks_and_a_client_approves`, `connections::c6_one_mail_when_owner_and_requester_are_one`
//! - "Requests will expire after 7 days. You can resend a request" (C4): `threat_54_expired_and_taken_back`, `c4_sent_again`
//! - "your colleague's name or their user name", "must already be a user on your account", "You cannot assign a role higher than your
//!   own" (C7): `c7_a_colleague_is_added`, `c7_a_place_is_taken`
//! - "move back and forth between them without logging in and out", "the account you want to return to" (C12):
//!   `connections::an_agency_asks_and_a_client_approves`, `connections::c12_the_direct_way_counts`, `c12_everywhere_that_one_can_switch_to`
//! - "you can remove access at any time", "You will no longer have access" (C9, C10): `connections::c9_who_may_end_a_connection`,
//!   `c10_client_access_is_disabled`

use crate::{
    on_both_databases,
    support::{
        Heard, Reply, TestApp, eventually,
        people::Person,
        socket::{CONNECTIONS, OWN_REQUESTS, Socket},
    },
};
use chrono::TimeDelta;
use futures_util::future::join_all;
use serde_json::{Value, json};

const RESEND: &str = "mutation($i: ClientConnectionIdInput!) { resendClientRequest(input: $i) { connection { id status expiresAt delivery { status } } consequences { kind } userErrors { code field retryAt } } }";
const CANCEL: &str = "mutation($i: ClientConnectionIdInput!) { cancelClientRequest(input: $i) { connection { status } consequences { kind total } userErrors { code field } } }";
const END: &str = "mutation($i: ClientConnectionIdInput!) { endClientConnection(input: $i) { connection { status } consequences { kind total nodes { id } } userErrors { code field } } }";
const DISABLE: &str = "mutation($d: Boolean) { disableClientAccess(input: {dryRun: $d}) { account { partnerProgramJoinedAt clientAccessEnabled } consequences { kind total } userErrors { code } } }";
const PREVIEW: &str = "query($t: String!) { accessRequestByToken(token: $t) { id agencyName agencyProfile { openedAt clientCount requesterEmail } } }";
const REMOVE: &str = "mutation($i: RemoveClientUserInput!) { removeClientUser(input: $i) { connection { users { nodes { user { name } } } } consequences { kind total } userErrors { code field } } }";
const APPROVE: &str = "mutation($i: ApproveClientRequestInput!) { approveClientRequest(input: $i) { connection { status level until } userErrors { code field } } }";
const SET: &str = "mutation($i: SetConnectionLevelInput!) { setConnectionLevel(input: $i) { connection { level until } userErrors { code field } } }";
const BLOCK: &str =
    "mutation($i: BlockAgencyInput!) { blockAgency(input: $i) { agency { id name plan } userErrors { code field } } }";
const AGENCY_USERS: &str = "{ account { agencyUsers { totalCount nodes { id level user { name } addedBy { name } connection { id status message agency { name } } } } } }";

/// `addClientUser` or `setClientUserLevel`.
async fn place(by: &Person<'_>, mutation: &str, connection: &str, whom: Value, level: &str) -> Reply {
    let query = format!(
        "mutation($i: ClientUserInput!) {{ {mutation}(input: $i) {{ connection {{ users {{ nodes {{ level user {{ name }} addedBy {{ name }} }} }} }} consequences {{ kind }} userErrors {{ code field }} }} }}"
    );
    let mut input = json!({ "connectionId": connection, "level": level });
    input.as_object_mut().unwrap().extend(whom.as_object().unwrap().clone());
    by.ask(&query, json!({ "i": input })).await
}

async fn remove(by: &Person<'_>, connection: &str, user: &Person<'_>) -> Reply {
    by.ask(REMOVE, json!({ "i": { "connectionId": connection, "userId": user.id } })).await
}

/// Listens from now on: a socket does not say from when on it does, so what it may miss is asked for.
async fn listen(person: &Person<'_>, subscription: &str) -> Socket {
    let stands = person.ask("{ account { activityCursor } viewer { activityCursor } }", Value::Null).await;
    let whose = if subscription == OWN_REQUESTS { "viewer" } else { "account" };
    let mut socket = person.socket().await;
    socket.subscribe("1", subscription, json!({ "after": stands.ok()[whose]["activityCursor"] })).await;
    socket
}

/// Whether a stream ends since the access has, be it as it begins.
fn is_end(heard: &Heard) -> bool {
    matches!(heard, Heard::Message(message) if message["payload"].to_string().contains("ACCOUNT_ACCESS_ENDED"))
}

async fn quota(owner: &Person<'_>) -> Value {
    owner.ask("{ account { clientRequestQuota { used } } }", Value::Null).await.payload()["clientRequestQuota"]["used"].clone()
}

async fn status(person: &Person<'_>, connection: &str) -> Value {
    let query = "query($c: ID!) { node(id: $c) { ... on ClientConnection { status } } }";
    person.ask(query, json!({ "c": connection })).await.payload()["status"].clone()
}

fn named(connection: &str) -> Value {
    json!({ "i": { "connectionId": connection } })
}

/// C4: "You can resend a request": the same one with a new link and seven new days; the old link is dead; as often as an invitation.
async fn c4_sent_again(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let client = app.person("carl@client.example").await;
    let mut hears = listen(&client, OWN_REQUESTS).await;
    let id = owner.request_one(&client.email).await;
    assert_eq!(hears.change().await.kind, "CLIENT_ACCESS_REQUESTED");
    let first = app.token_to(&client.email, "access_request").await;
    assert_eq!(owner.ask(RESEND, named(&id)).await.user_errors(), ["RESEND_TOO_SOON at connectionId"]);
    for n in 1..=5 {
        app.advance(TimeDelta::minutes(1));
        let would = owner.sign_in().await.ask(RESEND, json!({ "i": { "connectionId": id, "dryRun": true } })).await;
        assert_eq!(would.payload()["consequences"], json!([]));
        let sent = owner.sign_in().await.ask(RESEND, named(&id)).await.payload()["connection"].clone();
        assert_eq!((&sent["id"], &sent["status"]), (&json!(id), &json!("PENDING")), "{n}");
        let until: chrono::DateTime<chrono::Utc> = sent["expiresAt"].as_str().unwrap().parse().unwrap();
        assert!(app.now() + TimeDelta::days(7) - until < TimeDelta::seconds(1));
    }
    assert_eq!(hears.change().await.kind, "CLIENT_ACCESS_RESENT");
    app.advance(TimeDelta::minutes(2));
    let owner = owner.sign_in().await;
    let sixth = owner.ask(RESEND, named(&id)).await;
    assert_eq!(sixth.user_errors(), ["RESEND_TOO_SOON at connectionId"]);
    assert!(sixth.0["data"]["resendClientRequest"]["userErrors"][0]["retryAt"].is_string());
    assert_eq!(app.ask(PREVIEW, json!({ "t": first })).await.payload(), &Value::Null, "the old link is dead");
    let last = app.token_to(&client.email, "access_request").await;
    assert_eq!(app.ask(PREVIEW, json!({ "t": last })).await.payload()["id"], json!(id));
    assert_eq!(app.mails_to(&client.email).await.iter().filter(|mail| mail["kind"] == "access_request").count(), 6);
    assert_eq!(quota(&owner).await, json!(1), "no second place of the day");
    assert_eq!(
        owner.log("CLIENT_ACCESS_RESENT").await[0]["summary"],
        "olga asked carl@client.example again for access for olga's account."
    );
}

/// C2, C4, THREATS 54: "Requests will expire after 7 days": one lives again by a resend, unless a newer one is pending; one that was
/// answered or taken back does not. Taken back, it has used its place of the day.
async fn threat_54_expired_and_taken_back(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let client = app.person("carl@client.example").await;
    let id = owner.request_one(&client.email).await;
    app.advance(TimeDelta::days(7));
    let (owner, client) = (owner.sign_in().await, client.sign_in().await);
    assert_eq!(owner.ask(CANCEL, named(&id)).await.user_errors(), ["EXPIRED at connectionId"]);
    let twin = owner.request_one(&client.email).await;
    assert_eq!(owner.ask(RESEND, named(&id)).await.user_errors(), ["ALREADY_REQUESTED at connectionId"]);
    let would = owner.ask(CANCEL, json!({ "i": { "connectionId": twin, "dryRun": true } })).await;
    assert_eq!(would.payload()["consequences"], json!([{ "kind": "REQUEST_CANCELED", "total": 1 }]));
    assert_eq!(status(&owner, &twin).await, "PENDING");
    assert_eq!(owner.ask(CANCEL, named(&twin)).await.payload()["connection"]["status"], "CANCELED");
    assert_eq!(client.approve(&twin, "ADMIN").await.user_errors(), ["ALREADY_DECIDED at connectionId"]);
    assert_eq!(owner.ask(RESEND, named(&twin)).await.user_errors(), ["ALREADY_DECIDED at connectionId"]);
    assert_eq!(quota(&owner).await, json!(1), "it has used its place");
    owner.ask(RESEND, named(&id)).await.ok();
    assert_eq!((quota(&owner).await, status(&owner, &id).await), (json!(1), json!("PENDING")));
    assert_eq!(owner.log("CLIENT_ACCESS_EXPIRED").await.len(), 1, "once");
    client.approve(&id, "AUTHOR").await.ok();
    for again in [RESEND, CANCEL] {
        assert_eq!(owner.ask(again, named(&id)).await.user_errors(), ["ALREADY_DECIDED at connectionId"]);
    }
    // C1: who left the program asks nobody, nor again.
    let other = owner.request_one("other@x.example").await;
    owner.ask(DISABLE, Value::Null).await.ok();
    assert_eq!(owner.ask(RESEND, named(&other)).await.user_errors(), ["NOT_IN_PARTNER_PROGRAM"]);
    // THREATS 45: somebody else's is none.
    let stranger = app.agency("sam@else.example").await;
    for mutation in [RESEND, CANCEL, END] {
        assert_eq!(stranger.ask(mutation, named(&other)).await.user_errors(), ["NOT_FOUND at connectionId"]);
    }
}

/// C4, C5, THREATS 53: approved, canceled, sent again and expiring at once: one outcome, one event on each side, one mail.
async fn threat_53_approve_cancel_and_expire_race(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let client = app.person("carl@client.example").await;
    for round in 0..4 {
        let (owner, client) = (owner.sign_in().await, client.sign_in().await);
        let id = owner.request_one(&client.email).await;
        if round % 2 == 1 {
            // Some of them come before its time is over, and some after.
            app.advance(TimeDelta::days(7) - TimeDelta::milliseconds(30));
        }
        let (owner, client) = (owner.sign_in().await, client.sign_in().await);
        let decided = |mail: &&Value| mail["kind"] == "access_approved" || mail["kind"] == "access_declined";
        let before = app.mails_to(&owner.email).await.iter().filter(decided).count();
        let tries = join_all((0..24).map(|n| {
            let (owner, client, id) = (&owner, &client, &id);
            async move {
                match n % 3 {
                    0 => client.approve(id, "ADMIN").await,
                    1 => owner.ask(CANCEL, named(id)).await,
                    _ => {
                        keyholder::sweeper::sweep(&app.app).await.unwrap();
                        client.ask("mutation($c: ID!) { declineClientRequest(input: {connectionId: $c}) { userErrors { code field } } }", json!({ "c": id })).await
                    }
                }
            }
        }))
        .await;
        assert!(tries.iter().all(|reply| reply.codes().is_empty()), "{tries:?}");
        let won = tries.iter().filter(|reply| reply.user_errors().is_empty()).count();
        eventually("it is over", async || {
            keyholder::sweeper::sweep(&app.app).await.unwrap();
            (status(&owner, &id).await != "PENDING").then_some(())
        })
        .await;
        let outcome = status(&owner, &id).await;
        assert_eq!(won, usize::from(outcome != "EXPIRED"), "{outcome}");
        let kind = if outcome == "ACTIVE" { "APPROVED".to_owned() } else { outcome.as_str().unwrap().to_owned() };
        for kinds in ["APPROVED", "CANCELED", "DECLINED", "EXPIRED"] {
            let query = format!(
                "{{ account {{ auditLog(kinds: [CLIENT_ACCESS_{kinds}]) {{ nodes {{ subject {{ id }} }} }} }} viewer {{ activity(kinds: [CLIENT_ACCESS_{kinds}]) {{ nodes {{ subject {{ id }} }} }} }} }}"
            );
            let told = async |person: &Person<'_>, list: &[&str]| {
                let reply = person.ask(&query, Value::Null).await;
                let list = list.iter().fold(reply.ok(), |value, key| &value[*key]);
                list["nodes"].as_array().unwrap().iter().filter(|node| node["subject"]["id"] == json!(id)).count()
            };
            let expected = usize::from(kinds == kind);
            assert_eq!(told(&owner, &["account", "auditLog"]).await, expected, "{kinds} of {outcome}");
            assert_eq!(told(&client, &["viewer", "activity"]).await, expected, "{kinds} of {outcome}");
        }
        let mails = app.mails_to(&owner.email).await.iter().filter(decided).count() - before;
        assert_eq!(mails, usize::from(outcome == "ACTIVE" || outcome == "DECLINED"), "{outcome}");
        if outcome == "ACTIVE" {
            client.end(&id).await.ok();
        }
    }
    crate::users::assert_gapless(app).await;
}

/// C7: "Your colleague must already be a user on your account", "their name or user name", "You cannot assign a role higher than
/// your own": by whom, to whom, and up to which level.
async fn c7_a_colleague_is_added(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let [admin, mia, max, vic] = [
        owner.colleague("adam@agency.example", "ADMIN").await,
        owner.colleague("mia@agency.example", "MANAGER").await,
        owner.colleague("max@agency.example", "MANAGER").await,
        owner.colleague("vic@agency.example", "VIEWER").await,
    ];
    let client = app.person("carl@client.example").await;
    let stranger = app.person("sam@else.example").await;
    let id = mia.request_one(&client.email).await;
    let mut hears = listen(&client, CONNECTIONS).await;
    client.approve(&id, "MANAGER").await.ok();
    assert_eq!(hears.change().await.kind, "CLIENT_ACCESS_APPROVED");
    let add = async |by: &Person<'_>, whom: &Person<'_>, level: &str| {
        place(by, "addClientUser", &id, json!({ "userId": whom.id }), level).await
    };
    let set = async |by: &Person<'_>, whom: &Person<'_>, level: &str| {
        place(by, "setClientUserLevel", &id, json!({ "userId": whom.id }), level).await
    };
    // Whoever can act there, and the Owner and Admins, who need not.
    assert_eq!(add(&max, &vic, "VIEWER").await.codes(), ["FORBIDDEN"], "a Manager who may see it, and not act there");
    assert_eq!(add(&vic, &max, "VIEWER").await.user_errors(), ["NOT_FOUND at connectionId"], "who may not see it learns nothing");
    assert_eq!(add(&client, &vic, "VIEWER").await.user_errors(), ["NOT_FOUND at connectionId"], "asked in the agency");
    let there = mia.acting_in(&client.account).await;
    assert_eq!(add(&there, &vic, "VIEWER").await.user_errors(), ["NOT_FOUND at connectionId"], "asked in the agency");
    // To nobody but the agency's own, alike.
    let nobody = place(&mia, "addClientUser", &id, json!({ "userId": "user_00000000000000000000000001" }), "VIEWER").await;
    assert_eq!(nobody.user_errors(), ["NOT_AN_AGENCY_USER at userId"]);
    for whom in [&stranger, &client] {
        assert_eq!(add(&mia, whom, "VIEWER").await.user_errors(), ["NOT_AN_AGENCY_USER at userId"]);
    }
    let nobody = place(&mia, "addClientUser", &id, json!({ "username": "nobody-at-all" }), "VIEWER").await;
    assert_eq!(nobody.user_errors(), ["NOT_AN_AGENCY_USER at username"]);
    for wrong in [json!({}), json!({ "userId": vic.id, "username": "vic" })] {
        assert_eq!(place(&mia, "addClientUser", &id, wrong, "VIEWER").await.user_errors(), ["INVALID at userId"]);
    }
    // Up to the ceiling, and up to one's own level.
    assert_eq!(add(&admin, &vic, "OWNER").await.user_errors(), ["LEVEL_NOT_ASSIGNABLE at level"]);
    assert_eq!(add(&admin, &vic, "ADMIN").await.user_errors(), ["LEVEL_ABOVE_CONNECTION at level"]);
    set(&owner, &mia, "AUTHOR").await.ok();
    assert_eq!(there.level().await.as_deref(), Some("AUTHOR"), "on the very next request (L2)");
    assert_eq!(add(&mia, &vic, "MANAGER").await.user_errors(), ["LEVEL_ABOVE_OWN at level"]);
    let username = vic.ask("{ viewer { user { username } } }", Value::Null).await.payload()["user"]["username"].clone();
    let would = place(&mia, "addClientUser", &id, json!({ "username": username, "dryRun": true }), "AUTHOR").await;
    assert_eq!(would.payload()["consequences"], json!([]));
    let added =
        place(&mia, "addClientUser", &id, json!({ "username": username.as_str().unwrap().to_uppercase() }), "AUTHOR").await;
    let users = json!([{ "level": "AUTHOR", "user": { "name": "mia" }, "addedBy": null }, { "level": "AUTHOR", "user": { "name": "vic" }, "addedBy": { "name": "mia" } }]);
    assert_eq!(added.payload()["connection"]["users"]["nodes"], users);
    assert_eq!(vic.acting_in(&client.account).await.level().await.as_deref(), Some("AUTHOR"));
    assert_eq!(add(&mia, &vic, "VIEWER").await.user_errors(), ["ALREADY_A_USER at userId"]);
    // The same bounds for another level, for the one that there was as for the new one.
    assert_eq!(set(&vic, &mia, "MANAGER").await.user_errors(), ["LEVEL_ABOVE_OWN at level"]);
    set(&admin, &mia, "MANAGER").await.ok();
    assert_eq!(set(&vic, &mia, "VIEWER").await.user_errors(), ["LEVEL_ABOVE_OWN at userId"]);
    assert_eq!(set(&mia, &max, "VIEWER").await.user_errors(), ["NOT_FOUND at userId"]);
    assert_eq!(set(&mia, &stranger, "VIEWER").await.user_errors(), ["NOT_AN_AGENCY_USER at userId"]);
    let would = place(&mia, "setClientUserLevel", &id, json!({ "userId": vic.id, "dryRun": true }), "VIEWER").await;
    assert_eq!(would.payload()["consequences"], json!([{ "kind": "ACCESS_SHRINKS" }]));
    set(&vic, &vic, "VIEWER").await.ok();
    // C8: a lower ceiling lowers all at once; places keep their level, and may be touched by who stood as high.
    client.set_level(&id, "VIEWER").await.ok();
    assert_eq!(there.level().await.as_deref(), Some("VIEWER"));
    assert_eq!(
        set(&vic, &mia, "VIEWER").await.user_errors(),
        ["LEVEL_ABOVE_OWN at userId"],
        "which would last when the ceiling rises"
    );
    client.set_level(&id, "ADMIN").await.ok();
    assert_eq!(there.level().await.as_deref(), Some("MANAGER"));
    assert_eq!(
        client
            .log("CLIENT_USER_ADDED, CLIENT_USER_LEVEL_CHANGED")
            .await
            .iter()
            .map(|event| event["summary"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>(),
        [
            "mia changed vic (Author) in carl's account to vic (Viewer).".replace("mia", "vic"),
            "adam changed mia (Author) in carl's account to mia (Manager).".to_owned(),
            "mia let vic (Author) act in carl's account.".to_owned(),
            "olga changed mia (Manager) in carl's account to mia (Author).".to_owned(),
        ]
    );
    for kind in ["CLIENT_USER_LEVEL_CHANGED", "CLIENT_USER_ADDED"] {
        assert_eq!(hears.change().await.kind, kind, "both sides hear of it");
    }
    client.end(&id).await.ok();
    assert_eq!(add(&admin, &max, "VIEWER").await.user_errors(), ["NOT_ACTIVE at connectionId"]);
}

/// C7, C9, L8: a place is taken by the agency's Owner and Admins, by who stands at or above it, by oneself, and by the client. At
/// once: the next request there is refused, the subscription ends within a second, keys and links are gone.
async fn c7_a_place_is_taken(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let mia = owner.colleague("mia@agency.example", "MANAGER").await;
    let vic = owner.colleague("vic@agency.example", "VIEWER").await;
    let ann = owner.colleague("ann@agency.example", "AUTHOR").await;
    let client = app.person("carl@client.example").await;
    client.plan("PREMIUM").await.ok();
    let author = client.colleague("al@client.example", "AUTHOR").await;
    let id = mia.request_one(&client.email).await;
    client.approve(&id, "ADMIN").await.ok();
    let add = async |whom: &Person<'_>, level: &str| {
        place(&owner, "addClientUser", &id, json!({ "userId": whom.id }), level).await.ok().clone()
    };
    add(&vic, "ADMIN").await;
    add(&ann, "AUTHOR").await;
    assert_eq!(remove(&author, &id, &ann).await.codes(), ["FORBIDDEN"], "of the client, who may decide");
    assert_eq!(remove(&ann, &id, &vic).await.user_errors(), ["LEVEL_ABOVE_OWN at userId"]);
    assert_eq!(remove(&vic, &id, &client).await.user_errors(), ["NOT_FOUND at userId"]);
    // What somebody holds there goes with the place.
    let there = vic.acting_in(&client.account).await;
    let key = Person { token: there.api_key().await, ..there.clone() };
    let link = there.ask("mutation { exportAccount { url userErrors { code } } }", Value::Null).await.payload()["url"].clone();
    there.ask("mutation { setEmailOptIn(input: {optIn: true}) { userErrors { code } } }", Value::Null).await.ok();
    let mut socket = listen(&there, OWN_REQUESTS).await;
    let would = owner.ask(REMOVE, json!({ "i": { "connectionId": id, "userId": vic.id, "dryRun": true } })).await;
    assert_eq!(
        would.payload()["consequences"],
        json!([{ "kind": "CLIENT_ACCESS_ENDS", "total": 1 }, { "kind": "API_KEY_DELETED", "total": 1 }])
    );
    assert_eq!(key.level().await.as_deref(), Some("ADMIN"));
    remove(&client, &id, &vic).await.ok();
    let end = socket.hear().await;
    assert!(is_end(&end), "{end:?}");
    // E4: heard long before anybody would have looked without being woken.
    assert_eq!(there.ask("{ account { id } }", Value::Null).await.codes(), ["ACCOUNT_ACCESS_ENDED"]);
    assert_eq!(key.ask("{ account { id } }", Value::Null).await.codes(), ["UNAUTHENTICATED"]);
    assert_eq!(app.http.get(link.as_str().unwrap()).send().await.unwrap().status().as_u16(), 404);
    assert_eq!(app.mails_to("vic@agency.example").await[0]["kind"], "access_revoked");
    assert_eq!(
        owner.log("CLIENT_USER_REMOVED").await[0]["summary"],
        "vic of olga's account can't act in carl's account any more."
    );
    assert_eq!(there.switch(&client.account).await.user_errors(), ["NOT_FOUND at accountId"]);
    // Themselves, from the agency or from where they act; who stands above; the Owner.
    let ann_there = ann.acting_in(&client.account).await;
    remove(&ann_there, &id, &ann).await.ok();
    assert_eq!(ann_there.level().await, None);
    add(&ann, "AUTHOR").await;
    remove(&ann, &id, &ann).await.ok();
    add(&ann, "AUTHOR").await;
    remove(&mia, &id, &ann).await.ok();
    remove(&owner, &id, &mia).await.ok();
    assert_eq!(mia.switch(&client.account).await.user_errors(), ["NOT_FOUND at accountId"], "who asked for it needs a place too");
    // C6: the Owner acts there without a place, and loses nothing with one.
    add(&owner, "VIEWER").await;
    let there = owner.acting_in(&client.account).await;
    let key = Person { token: there.api_key().await, ..there.clone() };
    remove(&owner, &id, &owner).await.ok();
    assert_eq!((there.level().await.as_deref(), key.level().await.as_deref()), (Some("ADMIN"), Some("ADMIN")));
    assert_eq!(remove(&owner, &id, &owner).await.user_errors(), ["NOT_FOUND at userId"]);
}

/// C10: "If you no longer want to access your clients' accounts …, you can remove access at any time": one change ends all.
async fn c10_client_access_is_disabled(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let mia = owner.colleague("mia@agency.example", "MANAGER").await;
    let client = app.person("carl@client.example").await;
    let other = app.person("dora@client.example").await;
    let id = mia.connect(&client, "ADMIN").await;
    mia.connect(&other, "VIEWER").await;
    let pending = owner.request_one("who@x.example").await;
    let there = mia.acting_in(&client.account).await;
    there.api_key().await;
    let mut hears = listen(&client, CONNECTIONS).await;
    let would = owner.ask(DISABLE, json!({ "d": true })).await;
    let told = json!([{ "kind": "API_KEY_DELETED", "total": 1 }, { "kind": "CONNECTION_ENDS", "total": 2 }, { "kind": "REQUEST_CANCELED", "total": 1 }]);
    assert_eq!(would.payload()["consequences"], told);
    assert_eq!((status(&owner, &id).await, there.level().await.as_deref()), (json!("ACTIVE"), Some("ADMIN")));
    assert_eq!(mia.ask(DISABLE, Value::Null).await.codes(), ["FORBIDDEN"]);
    let done = owner.ask(DISABLE, Value::Null).await;
    assert_eq!(done.payload()["account"], json!({ "partnerProgramJoinedAt": null, "clientAccessEnabled": false }));
    assert_eq!((status(&owner, &id).await, status(&owner, &pending).await), (json!("ENDED"), json!("CANCELED")));
    assert_eq!(there.ask("{ account { id } }", Value::Null).await.codes(), ["ACCOUNT_ACCESS_ENDED"]);
    assert_eq!(hears.change().await.kind, "CLIENT_ACCESS_ENDED");
    for address in [&client.email, &other.email] {
        assert_eq!(app.mails_to(address).await[0]["kind"], "connection_ended");
    }
    assert_eq!(owner.request(&["new@x.example"]).await.user_errors(), ["NOT_IN_PARTNER_PROGRAM"]);
    owner.ask(DISABLE, Value::Null).await.ok();
    assert_eq!(owner.log("CLIENT_ACCESS_DISABLED").await.len(), 1, "doing it again changes nothing");
    let again = "mutation { joinPartnerProgram { userErrors { code } } enableClientAccess { userErrors { code } } }";
    owner.ask(again, Value::Null).await.ok();
    owner.connect(&client, "AUTHOR").await;
    crate::users::assert_gapless(app).await;
}

/// C9: what would end is told, and nothing is changed; then it is.
async fn c9_what_an_end_brings_with_it(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let mia = owner.colleague("mia@agency.example", "MANAGER").await;
    let client = app.person("carl@client.example").await;
    let id = mia.connect(&client, "ADMIN").await;
    let there = mia.acting_in(&client.account).await;
    let key = Person { token: there.api_key().await, ..there.clone() };
    for (whose, people) in [(&owner, 2), (&client, 2)] {
        let would =
            whose.ask(END, json!({ "i": { "connectionId": id, "dryRun": true } })).await.payload()["consequences"].clone();
        let told: Vec<_> =
            would.as_array().unwrap().iter().map(|one| (one["kind"].as_str().unwrap(), one["total"].as_i64().unwrap())).collect();
        assert_eq!(told, [("CONNECTION_ENDS", 1), ("ACCESS_ENDS", people), ("API_KEY_DELETED", 1)]);
        assert_eq!(would[0]["nodes"][0]["id"], json!(id));
    }
    assert_eq!(key.level().await.as_deref(), Some("ADMIN"));
    mia.ask(END, named(&id)).await.ok();
    assert_eq!(key.ask("{ account { id } }", Value::Null).await.codes(), ["UNAUTHENTICATED"]);
}

/// E6: an end that the client sets is true from its moment on, both sides hear of it once, and were reminded a week before.
async fn e6_a_connection_ends_by_itself(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let client = app.person("carl@client.example").await;
    let id = owner.request_one(&client.email).await;
    let until = app.now() + TimeDelta::days(10);
    let approve = |until: Value| json!({ "i": { "connectionId": id, "level": "ADMIN", "until": until } });
    for wrong in [json!(app.now()), json!("9999-12-31T23:59:59-01:00")] {
        assert_eq!(client.ask(APPROVE, approve(wrong)).await.user_errors(), ["INVALID at until"]);
    }
    let approved = client.ask(APPROVE, approve(json!(until))).await.payload()["connection"].clone();
    assert_eq!(
        approved["until"].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap().timestamp_millis(),
        until.timestamp_millis()
    );
    app.advance(TimeDelta::days(3) + TimeDelta::seconds(1));
    for _ in 0..2 {
        keyholder::sweeper::sweep(&app.app).await.unwrap();
    }
    for address in [&owner.email, &client.email] {
        let mails = app.mails_to(address).await;
        assert_eq!(mails.iter().filter(|mail| mail["kind"] == "connection_ending").count(), 1, "{mails:#?}");
        assert!(
            mails[0]["text"].as_str().unwrap().contains("olga's account to the account carl's account ends"),
            "{}",
            mails[0]["text"]
        );
    }
    // Put off, and put off for good; then set again.
    let client = client.sign_in().await;
    let set = |until: Value| json!({ "i": { "connectionId": id, "level": "ADMIN", "until": until } });
    assert_eq!(client.ask(SET, set(Value::Null)).await.payload()["connection"]["until"], Value::Null);
    let soon = app.now() + TimeDelta::days(2);
    client.ask(SET, set(json!(soon))).await.ok();
    let kept = client.set_level(&id, "MANAGER").await;
    assert_eq!(kept.payload()["connection"]["level"], "MANAGER");
    assert_eq!(client.log("CLIENT_ACCESS_UNTIL_CHANGED").await.len(), 2, "a level alone leaves the end as it is");
    let owner = owner.sign_in().await;
    let there = owner.acting_in(&client.account).await;
    there.ask("{ account { id } }", Value::Null).await.ok();
    app.advance(TimeDelta::days(2));
    let (owner, client) = (owner.sign_in().await, client.sign_in().await);
    assert_eq!(owner.switch(&client.account).await.user_errors(), ["NOT_FOUND at accountId"], "with the sweeper asleep");
    assert_eq!((status(&owner, &id).await, status(&client, &id).await), (json!("ENDED"), json!("ENDED")));
    let list = "{ account { clientConnections(status: [ENDED]) { totalCount nodes { endedAt } } active: clientConnections(status: [ACTIVE]) { totalCount } } viewer { accounts { totalCount } } }";
    let list = owner.ask(list, Value::Null).await;
    assert_eq!(list.ok()["account"]["clientConnections"]["totalCount"], 1);
    assert!(list.ok()["account"]["clientConnections"]["nodes"][0]["endedAt"].is_string());
    assert_eq!(
        (&list.ok()["account"]["active"]["totalCount"], &list.ok()["viewer"]["accounts"]["totalCount"]),
        (&json!(0), &json!(1))
    );
    assert_eq!(client.set_level(&id, "ADMIN").await.user_errors(), ["NOT_ACTIVE at connectionId"]);
    assert_eq!(client.end(&id).await.user_errors(), ["NOT_ACTIVE at connectionId"]);
    // Approved anew before anybody has written that down: nothing is lost.
    let again = owner.request_one(&client.email).await;
    client.approve(&again, "AUTHOR").await.ok();
    for _ in 0..2 {
        keyholder::sweeper::sweep(&app.app).await.unwrap();
    }
    for person in [&owner, &client] {
        let log = person.log("CLIENT_ACCESS_ENDED").await;
        assert_eq!((log.len(), &log[0]["actor"]), (1, &Value::Null));
        assert_eq!(log[0]["summary"], "olga's account's access to carl's account has ended.");
        let mails = app.mails_to(&person.email).await;
        assert_eq!(mails.iter().filter(|mail| mail["kind"] == "connection_ended").count(), 1);
    }
    assert_eq!(status(&owner, &again).await, "ACTIVE");
}

/// E4: at the moment of the end that was set, with nobody doing anything, what is listened to there ends: long before anybody would
/// have looked, which is every twenty seconds, and no sooner.
async fn e4_a_stream_ends_with_its_time(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let client = app.person("carl@client.example").await;
    let id = owner.connect(&client, "ADMIN").await;
    let there = owner.acting_in(&client.account).await;
    let mut socket = listen(&there, OWN_REQUESTS).await;
    let until = app.now() + TimeDelta::milliseconds(1_500);
    client.ask(SET, json!({ "i": { "connectionId": id, "level": "ADMIN", "until": until } })).await.ok();
    let end = socket.hear().await;
    let late = app.now() - until;
    assert!(is_end(&end), "{end:?}");
    assert!(late >= TimeDelta::zero(), "{late}");
}

/// A client is guarded from who only calls themselves so: age, clients and the verified address of who asks are told with the request.
async fn who_asks_is_told(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let client = app.person("carl@client.example").await;
    owner.connect(&app.person("first@client.example").await, "VIEWER").await;
    owner.request(&[&client.email]).await.ok();
    let token = app.token_to(&client.email, "access_request").await;
    let profile = app.ask(PREVIEW, json!({ "t": token })).await.payload()["agencyProfile"].clone();
    assert_eq!((&profile["clientCount"], &profile["requesterEmail"]), (&json!(1), &json!("olga@agency.example")));
    let opened = app.ask_as(Some(&owner.token), "{ account { createdAt } }", Value::Null).await.payload()["createdAt"].clone();
    assert_eq!(profile["openedAt"], opened);
    let inbox = "{ viewer { accessRequests { nodes { agencyProfile { openedAt clientCount requesterEmail } } } } }";
    assert_eq!(client.ask(inbox, Value::Null).await.payload()["accessRequests"]["nodes"][0]["agencyProfile"], profile);
    let mail = app.mails_to(&client.email).await[0]["text"].as_str().unwrap().to_owned();
    assert!(mail.contains("and acts for one client. The address of who asks is olga@agency.example."), "{mail}");
}

/// A client that blocks an agency hears nothing any more of what it asks, at any of its deciders' addresses; the agency sees no
/// difference, and what it has access to stays.
async fn a_blocked_agency_is_not_heard(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let client = app.person("carl@client.example").await;
    client.plan("PREMIUM").await.ok();
    let admin = client.colleague("ada@client.example", "ADMIN").await;
    let viewer = client.colleague("vera@client.example", "VIEWER").await;
    owner.request(&["info@client.example"]).await.ok();
    let token = app.token_to("info@client.example", "access_request").await;
    let pending = owner.request_one(&admin.email).await;
    app.mails_to(&admin.email).await;
    assert_eq!(viewer.ask(BLOCK, json!({ "i": { "token": token } })).await.codes(), ["FORBIDDEN"]);
    assert_eq!(
        client.ask(BLOCK, json!({ "i": { "connectionId": pending } })).await.user_errors(),
        ["NOT_FOUND at connectionId"],
        "it is Ada's"
    );
    client.ask(BLOCK, json!({ "i": { "token": token, "dryRun": true } })).await.ok();
    assert_eq!(client.log("AGENCY_BLOCKED").await.len(), 0);
    let blocked = client.ask(BLOCK, json!({ "i": { "token": token } })).await;
    assert_eq!(blocked.payload()["agency"], json!({ "id": owner.account, "name": "olga's account", "plan": null }));
    client.ask(BLOCK, json!({ "i": { "token": token } })).await.ok();
    assert_eq!(client.log("AGENCY_BLOCKED").await[0]["summary"], "carl blocked olga's account.");
    let list = "{ account { blockedAgencies { totalCount nodes { agency { name } blockedBy { name } } } } }";
    let listed =
        json!({ "totalCount": 1, "nodes": [{ "agency": { "name": "olga's account" }, "blockedBy": { "name": "carl" } }] });
    assert_eq!(client.ask(list, Value::Null).await.payload()["blockedAgencies"], listed);
    // What was asked already is gone from who decides.
    let inbox = "{ viewer { accessRequests { totalCount } } }";
    assert_eq!(admin.ask(inbox, Value::Null).await.payload()["accessRequests"]["totalCount"], 0);
    assert_eq!(admin.approve(&pending, "ADMIN").await.user_errors(), ["NOT_FOUND at connectionId"]);
    let node = "query($c: ID!) { node(id: $c) { id } }";
    assert_eq!(admin.ask(node, json!({ "c": pending })).await.0["data"]["node"], Value::Null);
    // Later ones go out as far as the agency sees.
    let mut hears = listen(&client, OWN_REQUESTS).await;
    let free = app.person("fred@else.example").await;
    let asked = owner.request(&[&client.email, &viewer.email, &free.email]).await;
    assert_eq!(asked.payload()["connections"].as_array().unwrap().len(), 3);
    for (address, heard) in [(&client.email, false), (&viewer.email, true), (&free.email, true)] {
        let mails = app.mails_to(address).await;
        assert_eq!(mails.iter().any(|mail| mail["kind"] == "access_request"), heard, "{address}");
    }
    let seen = "{ account { clientConnections(first: 3) { nodes { status delivery { status attempts detail } } } } }";
    let seen = owner.ask(seen, Value::Null).await.payload()["clientConnections"]["nodes"].clone();
    let expected = json!({ "status": "PENDING", "delivery": { "status": "SENT", "attempts": 1, "detail": null } });
    assert_eq!(seen, json!([expected, expected, expected]), "all alike");
    assert_eq!(client.ask(inbox, Value::Null).await.payload()["accessRequests"]["totalCount"], 0);
    let own = "{ viewer { activity(kinds: [CLIENT_ACCESS_REQUESTED]) { totalCount } } }";
    assert_eq!(client.ask(own, Value::Null).await.payload()["activity"]["totalCount"], 0);
    // The agency's log says nothing of it, and its other end of the matter goes on as ever.
    let log = owner.ask("{ account { auditLog(first: 50) { nodes { kind } } } }", Value::Null).await.0.to_string();
    assert!(!log.contains("BLOCK"), "{log}");
    let to_client = "{ account { clientConnections(search: \"carl@\") { nodes { id } } } }";
    let silenced =
        owner.ask(to_client, Value::Null).await.payload()["clientConnections"]["nodes"][0]["id"].as_str().unwrap().to_owned();
    owner.ask(CANCEL, named(&silenced)).await.ok();
    let unblock = "mutation($a: ID!) { unblockAgency(input: {agencyId: $a}) { agency { name } userErrors { code field } } }";
    client.ask(unblock, json!({ "a": owner.account })).await.ok();
    assert_eq!(client.ask(unblock, json!({ "a": owner.account })).await.user_errors(), ["NOT_FOUND at agencyId"]);
    let again = owner.request_one(&client.email).await;
    assert_eq!(hears.change().await.connection, again, "the first that is heard of since");
    client.approve(&again, "ADMIN").await.ok();
    let approved = client.log("CLIENT_ACCESS_APPROVED").await;
    assert_eq!(approved[0]["after"], "Admin", "what was agreed on stands in the log");
    // Of an agency that one has: what it can do already stays, and of the block its people read nothing there either.
    client.ask(BLOCK, json!({ "i": { "connectionId": again } })).await.ok();
    assert_eq!(owner.acting_in(&client.account).await.level().await.as_deref(), Some("ADMIN"));
    let there = owner.acting_in(&client.account).await;
    let everything =
        there.ask("{ account { auditLog(first: 100) { totalCount nodes { id kind summary } } } }", Value::Null).await;
    assert!(!everything.0.to_string().to_lowercase().contains("block"), "{:?}", everything.0);
    let blocks = "{ account { auditLog(kinds: [AGENCY_BLOCKED, AGENCY_UNBLOCKED]) { totalCount nodes { id } } } }";
    assert_eq!(there.ask(blocks, Value::Null).await.payload()["auditLog"]["totalCount"], 0);
    let events = client.ask(blocks, Value::Null).await.payload()["auditLog"].clone();
    assert_eq!(events["totalCount"], 3);
    assert_eq!(there.ask(node, json!({ "c": events["nodes"][0]["id"] })).await.0["data"]["node"], Value::Null);
    let itself = owner.ask(BLOCK, json!({ "i": { "connectionId": again } })).await;
    assert_eq!(itself.user_errors(), ["NOT_FOUND at connectionId"]);
}

/// Who merely bears a link, passed on to them, keeps nothing from whom it was meant for.
async fn a_block_is_ones_own(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let client = app.person("carl@client.example").await;
    let mallory = app.person("mal@else.example").await;
    let id = owner.request_one(&client.email).await;
    let token = app.token_to(&client.email, "access_request").await;
    mallory.ask(BLOCK, json!({ "i": { "token": token } })).await.ok();
    let inbox = "{ viewer { accessRequests { totalCount } } }";
    assert_eq!(client.ask(inbox, Value::Null).await.payload()["accessRequests"]["totalCount"], 1);
    client.approve(&id, "VIEWER").await.ok();
    client.end(&id).await.ok();
    owner.request(&[&client.email, &mallory.email]).await.ok();
    assert_eq!(client.ask(inbox, Value::Null).await.payload()["accessRequests"]["totalCount"], 1);
    assert_eq!(
        mallory.ask(inbox, Value::Null).await.payload()["accessRequests"]["totalCount"],
        0,
        "they hear nothing themselves"
    );
    let newcomer = app.newcomer("new@else.example").await;
    assert_eq!(newcomer.ask(BLOCK, json!({ "i": { "token": token } })).await.user_errors(), ["EMAIL_NOT_VERIFIED"]);
    // What a block takes no place of: the address gets what others send it.
    client.ask(BLOCK, json!({ "i": { "connectionId": id } })).await.ok();
    for _ in 0..11 {
        let last = "{ account { clientConnections(first: 1, search: \"carl@\", status: [PENDING]) { nodes { id } } } }";
        let last =
            owner.ask(last, Value::Null).await.payload()["clientConnections"]["nodes"][0]["id"].as_str().unwrap().to_owned();
        owner.ask(CANCEL, named(&last)).await.ok();
        owner.request(&[&client.email]).await.ok();
    }
    let other = app.agency("otto@other.example").await;
    other.request(&[&client.email]).await.ok();
    assert_eq!(app.mails_to(&client.email).await[0]["kind"], "access_request");
    assert_eq!(client.ask(inbox, Value::Null).await.payload()["accessRequests"]["totalCount"], 1);
}

/// C10, E6: what was over already when an agency leaves the program has ended by itself, at its time.
async fn e6_what_was_over_has_ended_by_itself(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let client = app.person("carl@client.example").await;
    let id = owner.connect(&client, "ADMIN").await;
    let until = app.now() + TimeDelta::minutes(1);
    client.ask(SET, json!({ "i": { "connectionId": id, "level": "ADMIN", "until": until } })).await.ok();
    app.advance(TimeDelta::minutes(2));
    owner.ask(DISABLE, Value::Null).await.ok();
    for person in [&owner, &client] {
        let log = person.log("CLIENT_ACCESS_ENDED").await;
        assert_eq!((log.len(), &log[0]["actor"], &log[0]["before"]), (1, &Value::Null, &json!("time")));
        let mails = app.mails_to(&person.email).await;
        assert!(mails[0]["text"].as_str().unwrap().contains("The time of the connection"), "{}", mails[0]["text"]);
    }
}

/// L6, THREATS 45, U10, I6: through one agency's connection, another's is not there; who could not act in a client's account for
/// want of two-factor manages no places on it; an API key ends nothing in its maker's name.
async fn l6_a_guest_knows_one_connection(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let mia = owner.colleague("mia@agency.example", "MANAGER").await;
    let vic = owner.colleague("vic@agency.example", "VIEWER").await;
    let rival = app.agency("rita@rival.example").await;
    let client = app.person("carl@client.example").await;
    let id = mia.connect(&client, "ADMIN").await;
    let other = rival.connect(&client, "ADMIN").await;
    let there = owner.acting_in(&client.account).await;
    assert_eq!(there.end(&other).await.user_errors(), ["NOT_FOUND at connectionId"]);
    assert_eq!(there.end("connection_00000000000000000000000001").await.user_errors(), ["NOT_FOUND at connectionId"]);
    assert_eq!(remove(&there, &other, &rival).await.user_errors(), ["NOT_FOUND at connectionId"]);
    let key = "mutation { createApiKey(input: {name: \"x\"}) { secret userErrors { code } } }";
    let secret = owner.ask(key, Value::Null).await.payload()["secret"].as_str().unwrap().to_owned();
    let by_key = Person { token: secret, ..owner.clone() };
    assert_eq!(by_key.end(&id).await.codes(), ["FORBIDDEN"]);
    place(&by_key, "addClientUser", &id, json!({ "userId": vic.id }), "VIEWER").await.ok();
    crate::two_factor::protect(&client).await;
    client.ask("mutation { requireTwoFactor(input: {required: true}) { userErrors { code } } }", Value::Null).await.ok();
    let without = place(&mia, "setClientUserLevel", &id, json!({ "userId": vic.id }), "AUTHOR").await;
    assert_eq!(without.codes(), ["TWO_FACTOR_REQUIRED"]);
    place(&owner, "setClientUserLevel", &id, json!({ "userId": vic.id }), "AUTHOR").await.ok();
}

/// L6, C6: a client sees everyone who can act in its account, an agency's Owner among them; an agency's people see their own.
async fn who_can_act_in_a_clients_account(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let mia = owner.colleague("mia@agency.example", "MANAGER").await;
    let rival = app.agency("rita@rival.example").await;
    let client = app.person("carl@client.example").await;
    client.plan("PREMIUM").await.ok();
    let author = client.colleague("al@client.example", "AUTHOR").await;
    let id = mia.connect(&client, "ADMIN").await;
    rival.connect(&client, "VIEWER").await;
    let names = |reply: &Reply| {
        let users = reply.payload()["agencyUsers"].clone();
        assert_eq!(users["totalCount"], json!(users["nodes"].as_array().unwrap().len()));
        let mut names: Vec<_> = users["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|node| format!("{} {}", node["user"]["name"].as_str().unwrap(), node["level"].as_str().unwrap()))
            .collect();
        names.sort();
        names
    };
    let all = client.ask(AGENCY_USERS, Value::Null).await;
    assert_eq!(names(&all), ["mia ADMIN", "olga ADMIN", "rita VIEWER"]);
    let nodes: Vec<_> = all.payload()["agencyUsers"]["nodes"].as_array().unwrap().iter().map(|node| node["id"].clone()).collect();
    let found = client
        .ask("query($i: [ID!]!) { nodes(ids: $i) { id ... on ConnectionUser { user { name } } } }", json!({ "i": nodes }))
        .await;
    assert_eq!(found.payload().as_array().unwrap().iter().map(|node| node["id"].clone()).collect::<Vec<_>>(), nodes);
    let seen = author.ask(AGENCY_USERS, Value::Null).await;
    assert_eq!(names(&seen).len(), 3, "whoever sees users sees these too");
    assert!(
        seen.payload()["agencyUsers"]["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .all(|node| node["connection"]["message"].is_null() && node["connection"]["agency"]["name"].is_string())
    );
    let there = mia.acting_in(&client.account).await;
    assert_eq!(names(&there.ask(AGENCY_USERS, Value::Null).await), ["mia ADMIN", "olga ADMIN"]);
    owner.keep_out("suspendUser", &mia.id).await.ok();
    assert_eq!(names(&client.ask(AGENCY_USERS, Value::Null).await), ["olga ADMIN", "rita VIEWER"]);
    client.end(&id).await.ok();
    assert_eq!(names(&client.ask(AGENCY_USERS, Value::Null).await), ["rita VIEWER"]);
}

/// C12: one list of all that one can switch to, by name: one's own, those of agencies that one owns, and those where one has a place.
async fn c12_everywhere_that_one_can_switch_to(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let mia = owner.colleague("mia@agency.example", "MANAGER").await;
    let other = app.agency("otto@other.example").await;
    let own = "mutation($n: String!) { createAccount(input: {name: $n}) { account { id } userErrors { code } } }";
    owner.ask(own, json!({ "n": "Bakery" })).await.ok();
    let mut ids = Vec::new();
    for (n, name) in ["Anchor", "Crane", "Dolphin", "Eagle"].into_iter().enumerate() {
        let client = app.person(&format!("c{n}@client.example")).await;
        client
            .ask("mutation($n: String!) { renameAccount(input: {name: $n}) { userErrors { code } } }", json!({ "n": name }))
            .await
            .ok();
        ids.push((mia.connect(&client, ["ADMIN", "MANAGER", "AUTHOR", "VIEWER"][n]).await, client));
    }
    // Otto's agency is also Crane's, with a place for nobody else.
    other.connect(&ids[1].1, "VIEWER").await;
    let list = "query($f: Int, $a: String, $l: Int, $b: String, $s: String, $v: [UserLevel!]) { viewer { accounts(first: $f, after: $a, last: $l, before: $b, search: $s, level: $v) \
                { totalCount pageInfo { hasNextPage hasPreviousPage endCursor startCursor } edges { level via { id } node { name } } } } }";
    let page = async |person: &Person<'_>, arguments: Value| person.ask(list, arguments).await.payload()["accounts"].clone();
    let names = |page: &Value| {
        page["edges"]
            .as_array()
            .unwrap()
            .iter()
            .map(|edge| format!("{} {}", edge["node"]["name"].as_str().unwrap(), edge["level"].as_str().unwrap()))
            .collect::<Vec<_>>()
    };
    let all = page(&owner, json!({})).await;
    let olgas = ["Anchor ADMIN", "Bakery OWNER", "Crane MANAGER", "Dolphin AUTHOR", "Eagle VIEWER", "olga's account OWNER"];
    assert_eq!((names(&all), &all["totalCount"]), (olgas.map(str::to_owned).to_vec(), &json!(6)));
    assert_eq!(
        names(&page(&mia, json!({})).await),
        ["Anchor ADMIN", "Crane MANAGER", "Dolphin AUTHOR", "Eagle VIEWER", "olga's account MANAGER"]
    );
    assert_eq!(names(&page(&other, json!({})).await), ["Crane VIEWER", "otto's account OWNER"]);
    // Page by page, there and back, nothing twice.
    for (forth, size) in [(true, 1), (true, 2), (true, 4), (false, 1), (false, 2), (false, 5)] {
        let (mut seen, mut cursor) = (Vec::new(), Value::Null);
        loop {
            let arguments = if forth { json!({ "f": size, "a": cursor }) } else { json!({ "l": size, "b": cursor }) };
            let one = page(&owner, arguments).await;
            let (part, info) = (names(&one), &one["pageInfo"]);
            seen = if forth { [seen, part].concat() } else { [part, seen].concat() };
            let more = if forth { "hasNextPage" } else { "hasPreviousPage" };
            if info[more] == false {
                break;
            }
            cursor = info[if forth { "endCursor" } else { "startCursor" }].clone();
        }
        assert_eq!(seen, olgas, "{size} {forth}");
    }
    assert_eq!(
        names(&page(&owner, json!({ "s": "AN" })).await),
        ["Anchor ADMIN", "Crane MANAGER"],
        "in the name, anywhere, small or large"
    );
    assert_eq!(names(&page(&owner, json!({ "s": "100%_" })).await), [""; 0]);
    let levels = page(&mia, json!({ "v": ["AUTHOR", "MANAGER"] })).await;
    assert_eq!(
        (names(&levels), &levels["totalCount"]),
        (vec!["Crane MANAGER".to_owned(), "Dolphin AUTHOR".into(), "olga's account MANAGER".into()], &json!(3))
    );
    assert_eq!(names(&page(&owner, json!({ "v": ["MANAGER"] })).await), ["Crane MANAGER"], "of the Owner, the connection's");
    // A place is worth the lower of the two, another name has another place in the list, and what has ended is gone.
    ids[0].1.set_level(&ids[0].0, "VIEWER").await.ok();
    ids[3].1.ask("mutation { renameAccount(input: {name: \"Albatross\"}) { userErrors { code } } }", Value::Null).await.ok();
    ids[2].1.end(&ids[2].0).await.ok();
    assert_eq!(
        names(&page(&mia, json!({})).await),
        ["Albatross VIEWER", "Anchor VIEWER", "Crane MANAGER", "olga's account MANAGER"]
    );
    assert_eq!(names(&page(&owner, json!({ "v": ["VIEWER"] })).await), ["Albatross VIEWER", "Anchor VIEWER"]);
}

on_both_databases!(
    c4_sent_again,
    threat_54_expired_and_taken_back,
    threat_53_approve_cancel_and_expire_race,
    c7_a_colleague_is_added,
    c7_a_place_is_taken,
    c10_client_access_is_disabled,
    c9_what_an_end_brings_with_it,
    e6_a_connection_ends_by_itself,
    e4_a_stream_ends_with_its_time,
    who_asks_is_told,
    a_blocked_agency_is_not_heard,
    a_block_is_ones_own,
    e6_what_was_over_has_ended_by_itself,
    l6_a_guest_knows_one_connection,
    who_can_act_in_a_clients_account,
    c12_everywhere_that_one_can_switch_to,
);
