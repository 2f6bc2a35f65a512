//! What somebody may not know of can't be counted or noticed either: SPEC E3, L6; THREATS 82.

use crate::{
    on_both_databases,
    support::{Heard, Place, TestApp, people::Person, socket::Socket},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use serde_json::{Value, json};

const ACTIVITY: &str = "subscription($a: String) { accountActivity(after: $a) { cursor node { kind } } }";
const LOG: &str = "query($f: Int!, $a: String) { account { auditLog(first: $f, after: $a) { totalCount edges { cursor node { kind } } pageInfo { hasNextPage endCursor } } } }";

async fn end_of_log(person: &Person<'_>) -> String {
    let account = person.ask("{ account { activityCursor } }", Value::Null).await;
    account.payload()["activityCursor"].as_str().unwrap().to_owned()
}

/// The next event that a socket hears of.
async fn heard(socket: &mut Socket) -> Value {
    loop {
        match socket.hear().await {
            Heard::Message(message) if message["type"] == "complete" => {}
            Heard::Message(message) => return message["payload"]["data"]["accountActivity"].clone(),
            Heard::Closed(code) => panic!("closed with {code}"),
        }
    }
}

fn bytes(cursor: &str) -> Vec<u8> {
    BASE64.decode(cursor).unwrap()
}

/// A client, an agency's Admin inside it, and a second agency whose request is pending there.
async fn with_a_guest(app: &TestApp) -> (Person<'_>, Person<'_>, String) {
    let owner = app.agency("olga@agency.example").await;
    let other = app.agency("otto@other.example").await;
    let client = app.person("carl@client.example").await;
    client.plan("ESSENTIALS").await.ok();
    owner.connect(&client, "ADMIN").await;
    let pending = other.request_one("carl@client.example").await;
    let guest = owner.acting_in(&client.account).await;
    (client, guest, pending)
}

async fn block(client: &Person<'_>, connection: &str) {
    let query = "mutation($c: ID!) { blockAgency(input: {connectionId: $c}) { agency { id } userErrors { code } } }";
    client.ask(query, json!({ "c": connection })).await.ok();
}

/// THREATS 82: an agency's Admin inside the client can't tell a moment in which an agency was blocked from one in which nothing was:
/// not by cursors, counts or pages, and not by a stream.
async fn threat_82_a_block_is_not_noticed(app: &TestApp) {
    let (client, guest, pending) = with_a_guest(app).await;
    let page = async || guest.ask(LOG, json!({ "f": 2 })).await.ok().clone();
    let mut stream = guest.socket().await;
    stream.subscribe("1", ACTIVITY, Value::Null).await;
    stream.subscribe("2", "{ viewer { level } }", Value::Null).await;
    stream.next().await;
    let nothing = (end_of_log(&guest).await, page().await, end_of_log(&guest).await);
    block(&client, &pending).await;
    let blocked = (nothing.2.clone(), page().await, end_of_log(&guest).await);
    assert_eq!(nothing.1, blocked.1, "totals, cursors and pages of the log");
    for (before, after) in [(nothing.0, nothing.2), (blocked.0.clone(), blocked.2)] {
        let (before, after) = (bytes(&before), bytes(&after));
        assert_eq!(before.len(), after.len());
        // Random bytes agree here and there; of a counter that stands or grows nearly all do.
        let equal = before.iter().zip(&after).filter(|(a, b)| a == b).count();
        assert!(equal <= 6, "{equal} equal bytes of {}", before.len());
    }
    // What comes next is heard at the same place, whichever cursor one comes back with; nothing was sent before it.
    client.plan("PREMIUM").await.ok();
    let next = heard(&mut stream).await;
    assert_eq!(next["node"]["kind"], "PLAN_CHANGED");
    let mut again = guest.socket().await;
    again.subscribe("1", ACTIVITY, json!({ "a": blocked.0 })).await;
    assert_eq!(heard(&mut again).await, next, "an event's cursor is always the same");
    let kinds = |log: &Value| {
        log["account"]["auditLog"]["edges"]
            .as_array()
            .unwrap()
            .iter()
            .map(|edge| edge["node"]["kind"].to_string())
            .collect::<Vec<_>>()
    };
    let own = client.ask(LOG, json!({ "f": 2 })).await.ok().clone();
    assert_eq!(kinds(&own), ["\"PLAN_CHANGED\"", "\"AGENCY_BLOCKED\""], "the client itself sees it");
    let theirs = page().await;
    assert_eq!(
        theirs["account"]["auditLog"]["edges"][0]["cursor"].as_str().unwrap().len(),
        own["account"]["auditLog"]["edges"][0]["cursor"].as_str().unwrap().len()
    );
}

/// THREATS 82: pages go on behind a cursor in every direction, though it says nothing; the client's log is whole.
async fn threat_82_pages_go_on_behind_opaque_cursors(app: &TestApp) {
    let (client, guest, pending) = with_a_guest(app).await;
    block(&client, &pending).await;
    let all = async |person: &Person<'_>| {
        let (mut after, mut kinds) = (Value::Null, Vec::new());
        loop {
            let log = person.ask(LOG, json!({ "f": 1, "a": after })).await.payload()["auditLog"].clone();
            kinds.extend(log["edges"].as_array().unwrap().iter().map(|edge| edge["node"]["kind"].as_str().unwrap().to_owned()));
            if log["pageInfo"]["hasNextPage"] == false {
                return (kinds, log["totalCount"].as_u64().unwrap());
            }
            after = log["pageInfo"]["endCursor"].clone();
        }
    };
    let (mut own, total) = all(&client).await;
    let (theirs, count) = all(&guest).await;
    assert_eq!((own.len() as u64, theirs.len() as u64), (total, count));
    own.retain(|kind| kind != "AGENCY_BLOCKED");
    assert_eq!(own, theirs);
}

/// E3: a cursor is good for its own list alone, and no cursor of any list says anything.
async fn threat_82_no_list_has_a_cursor_that_can_be_read(app: &TestApp) {
    let (client, guest, _) = with_a_guest(app).await;
    client.api_key().await;
    client.invite(&["zoe@x.example"], "ADMIN").await.ok();
    let lists = ["users", "invitations", "agencyConnections", "apiKeys", "agencyUsers", "auditLog"];
    let fields: String = lists.iter().map(|list| format!("{list}(first: 1) {{ edges {{ cursor }} }} ")).collect();
    let account = client.ask(&format!("{{ account {{ {fields} }} }}"), Value::Null).await.payload().clone();
    let ways = guest
        .ask("{ viewer { accounts(first: 1) { edges { cursor } } activity(first: 1) { edges { cursor } } } }", Value::Null)
        .await;
    let of = |owner: &Value, list: &str| {
        owner[list]["edges"][0]["cursor"].as_str().unwrap_or_else(|| panic!("{list}: {owner}")).to_owned()
    };
    let mut cursors: Vec<_> = lists.iter().map(|list| ((*list).to_owned(), of(&account, list))).collect();
    cursors.extend(["accounts", "activity"].map(|list| (list.to_owned(), of(ways.payload(), list))));
    for (list, cursor) in &cursors {
        // An id in clear is a long run of letters and digits, and a number in clear has a run of zeros. Encrypted bytes have
        // neither but once in some hundred thousand runs of this test.
        let bytes = bytes(cursor);
        let clear = |length, of: fn(&u8) -> bool| bytes.windows(length).any(|run| run.iter().all(of));
        let readable = clear(18, u8::is_ascii_graphic) || clear(6, |byte| *byte == 0);
        assert!(!readable, "{list}: {:?}", String::from_utf8_lossy(&bytes));
        for other in lists {
            let query = format!("query($a: String) {{ account {{ {other}(first: 1, after: $a) {{ totalCount }} }} }}");
            let reply = client.ask(&query, json!({ "a": cursor })).await;
            let refused = reply.codes() == ["BAD_REQUEST"];
            assert_eq!(refused, other != list, "{list} for {other}: {:?}", reply.0);
        }
        let mut socket = client.socket().await;
        socket.subscribe("1", ACTIVITY, json!({ "a": cursor })).await;
        let Heard::Message(refused) = socket.hear().await else { panic!("{list}") };
        assert_eq!(refused["payload"]["errors"][0]["extensions"]["code"], "BAD_REQUEST", "{list}: {refused}");
    }
}

/// E3: every replica reads a cursor, whichever wrote it; with another secret it is refused.
async fn e3_replicas_read_each_others_cursors(place: Place) {
    let app = TestApp::start(place, &[]).await;
    let owner = app.agency("olga@agency.example").await;
    let cursor = end_of_log(&owner).await;
    app.mails_to("nobody@x.example").await;
    let app = app.restart(&[]).await;
    let owner = app.sign_in("olga@agency.example").await;
    owner.request(&["a@x.example"]).await.ok();
    let mut socket = owner.socket().await;
    socket.subscribe("1", ACTIVITY, json!({ "a": cursor })).await;
    assert_eq!(heard(&mut socket).await["node"]["kind"], "CLIENT_ACCESS_REQUESTED");
    drop(socket);
    app.mails_to("nobody@x.example").await;
    let app = app.restart(&[("secret", "Tq8WnZ3rLx5VbK1mYc7JdPf2GhSu9EoA")]).await;
    let owner = app.sign_in("olga@agency.example").await;
    let mut socket = owner.socket().await;
    socket.subscribe("1", ACTIVITY, json!({ "a": cursor })).await;
    let Heard::Message(refused) = socket.hear().await else { panic!() };
    assert_eq!(refused["payload"]["errors"][0]["extensions"]["code"], "BAD_REQUEST", "{refused}");
    app.finish().await;
}

on_both_databases!(
    threat_82_a_block_is_not_noticed,
    threat_82_pages_go_on_behind_opaque_cursors,
    threat_82_no_list_has_a_cursor_that_can_be_read,
);
on_both_databases!(on_its_own_servers: e3_replicas_read_each_others_cursors);
