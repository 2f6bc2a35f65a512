//! An agency with thousands of clients: SPEC C10–C12. What is asserted are statements and indexes; how long it took is printed
//! (`SCALE=50000 cargo nextest run --success-output immediate scale` for more of them), since time is the machine's.

use crate::{
    on_both_databases,
    support::{Place, TestApp, people::Person},
};
use entity::{
    AccountId, ConnectionId, LogId, Moment, UserLevel,
    account::{self, AccountStatus, Plan},
    connection::{self, ConnectionStatus},
    log, member, place,
};
use keyholder::{
    api::PageArgs,
    db::{Sql, insert_all},
    identity::ways::Ways,
};
use sea_orm::{ConnectionTrait, DbBackend, IntoActiveModel};
use serde_json::{Value, json};
use std::time::Instant;

/// How many clients the agency has.
fn scale() -> usize {
    std::env::var("SCALE").map_or(5_000, |scale| scale.parse().unwrap())
}

/// What a client is called: numbers, but for one in the middle.
fn name_of(n: usize, count: usize) -> String {
    if n == count / 2 { "Client Zq".into() } else { format!("Client {n:05}") }
}

/// Gives an agency many clients, all of one Owner, with a place for each of these people on all of them.
async fn give_clients(app: &TestApp, agency: &Person<'_>, owner: &Person<'_>, people: &[&Person<'_>], count: usize) {
    let (now, client_owner): (Moment, _) = (app.now(), owner.id.parse().unwrap());
    let ids: Vec<(AccountId, ConnectionId)> = (0..count).map(|_| (app.clock.id(), app.clock.id())).collect();
    let accounts = ids.iter().enumerate().map(|(n, (id, _))| account::Model {
        id: *id,
        name: name_of(n, count),
        name_key: name_of(n, count).to_lowercase(),
        status: AccountStatus::Active,
        plan: Plan::Free,
        owner_id: client_owner,
        owner_level: UserLevel::Owner,
        created_at: now,
        partner_program_joined_at: None,
        client_access_enabled: false,
        two_factor_required: false,
    });
    let members = ids.iter().map(|(id, _)| member::Model {
        id: app.clock.id(),
        account_id: *id,
        user_id: client_owner,
        level: UserLevel::Owner,
        joined_at: now,
        suspended_at: None,
    });
    let connections = ids.iter().enumerate().map(|(n, (id, connection))| connection::Model {
        id: *connection,
        agency_id: agency.account.parse().unwrap(),
        client_id: Some(*id),
        client_email: format!("c{n}@client.example"),
        client_email_key: format!("c{n}@client.example"),
        message: None,
        requested_level: None,
        level: Some(UserLevel::Admin),
        status: ConnectionStatus::Active,
        requested_by: agency.id.parse().unwrap(),
        decided_by: Some(client_owner),
        version: 1,
        created_at: now - chrono::TimeDelta::days(30),
        sent_at: now,
        expires_at: now,
        decided_at: Some(now),
        ended_at: None,
        ends_at: None,
        remind_at: None,
        silenced: false,
    });
    let places = ids.iter().flat_map(|(_, connection)| {
        people.iter().map(|person| place::Model {
            id: app.clock.id(),
            connection_id: *connection,
            user_id: person.id.parse().unwrap(),
            level: UserLevel::Author,
            added_by: None,
            added_at: now,
        })
    });
    app.app
        .tx(async |tx| {
            let logs = ids.iter().map(|(id, _)| log::Model { id: LogId::from(*id), head: 0 }.into_active_model());
            insert_all(tx.db(), logs).await?;
            insert_all(tx.db(), accounts.clone().map(IntoActiveModel::into_active_model)).await?;
            insert_all(tx.db(), members.clone().map(IntoActiveModel::into_active_model)).await?;
            insert_all(tx.db(), connections.clone().map(IntoActiveModel::into_active_model)).await?;
            insert_all(tx.db(), places.clone().map(IntoActiveModel::into_active_model)).await
        })
        .await
        .unwrap();
    app.db.writer().execute_unprepared("ANALYZE").await.unwrap();
}

/// Prints how long something took.
async fn timed<T>(what: &str, work: impl Future<Output = T>) -> T {
    let began = Instant::now();
    let done = work.await;
    println!("{what}: {:.1} ms", began.elapsed().as_secs_f64() * 1_000.0);
    done
}

const LIST: &str = "query($a: String, $s: String) { viewer { accounts(first: 20, after: $a, search: $s) { totalCount pageInfo { endCursor } edges { level via { id agency { name } } node { id name } } } } }";
const PAGE: &str = "query($a: String, $s: String) { viewer { accounts(first: 20, after: $a, search: $s) { pageInfo { endCursor } edges { level via { id agency { name } } node { id name } } } } }";

const PAGED: &str = "query($f: Int, $a: String) { viewer { accounts(first: $f, after: $a, search: \"a\") { pageInfo { endCursor hasNextPage } edges { node { name } via { id } } } } }";

async fn list_cursor(person: &Person<'_>) -> String {
    let list = person.ask(PAGE, Value::Null).await.payload()["accounts"].clone();
    list["pageInfo"]["endCursor"].as_str().unwrap().to_owned()
}

/// C12: everywhere that one can switch to, among thousands of clients: the same few statements as among fifty, by indexes.
async fn c12_a_list_of_thousands_stays_flat(app: &TestApp) {
    let few = app.agency("fay@few.example").await;
    let owner = app.agency("olga@agency.example").await;
    let mia = owner.colleague("mia@agency.example", "MANAGER").await;
    let clara = app.person("clara@client.example").await;
    give_clients(app, &few, &clara, &[], 50).await;
    give_clients(app, &owner, &clara, &[&mia], scale()).await;
    let (of_few, _) = app.count(async || few.ask(LIST, Value::Null).await).await;
    for person in [&owner, &mia] {
        let (statements, reply) = app.count(async || person.ask(LIST, Value::Null).await).await;
        let list = reply.payload()["accounts"].clone();
        assert_eq!(list["totalCount"], json!(scale() + 1));
        assert_eq!(
            (&list["edges"][0]["node"]["name"], &list["edges"][19]["node"]["name"]),
            (&json!("Client 00000"), &json!("Client 00019"))
        );
        assert_eq!(list["edges"][0]["level"], if person.id == owner.id { "ADMIN" } else { "AUTHOR" });
        assert_eq!(statements, of_few, "as many as among fifty");
        assert!(statements <= 8, "{statements}");
        let late = json!({ "s": format!("{:05}", scale() - 3) });
        let found = person.ask(LIST, late.clone()).await.payload()["accounts"].clone();
        assert_eq!(
            (&found["totalCount"], &found["edges"][0]["node"]["name"]),
            (&json!(1), &json!(format!("Client {:05}", scale() - 3)))
        );
        let second = json!({ "a": list["pageInfo"]["endCursor"] });
        assert_eq!(person.ask(PAGE, second.clone()).await.payload()["accounts"]["edges"][0]["node"]["name"], "Client 00020");
        for (what, arguments) in [("the first page", Value::Null), ("the second", second), ("a rare name", late)] {
            timed(&format!("{what} of {} clients", scale()), person.ask(PAGE, arguments.clone())).await.ok();
            timed("again", person.ask(PAGE, arguments)).await.ok();
        }
        timed("with the count", person.ask(LIST, Value::Null)).await.ok();
    }
    let rare = json!({ "s": "00042" });
    for (what, arguments) in [("the first page", Value::Null), ("a rare name", rare)] {
        timed(&format!("{what} of 50"), few.ask(PAGE, arguments.clone())).await.ok();
        timed("again", few.ask(PAGE, arguments)).await.ok();
    }
    for (person, index) in [(&owner, "connections_clients"), (&mia, "places_clients")] {
        let postgres = app.reader().get_database_backend() == DbBackend::Postgres;
        let rare = if postgres { "client_name_pieces_pkey" } else { "SEARCH n USING PRIMARY KEY" };
        for (search, index) in [(None, index), (Some("client 0"), index), (Some("00042"), rare), (Some("zq"), rare)] {
            let ways = Ways::of(app, person.id.parse().unwrap(), search, None).await.unwrap();
            let key =
                [Some(20), None].map(|first| PageArgs { first, last: first.is_none().then_some(20), ..PageArgs::default() });
            let after = PageArgs { after: Some(list_cursor(person).await), ..PageArgs::default() };
            for page in key.into_iter().chain([after]) {
                let plan = ways.page(&page.window("one's accounts").unwrap()).unwrap().plan(app.reader()).await.unwrap();
                let text = plan.join("\n");
                assert!(text.contains(index), "{text}");
                // SQLite says SCAN of what it reads from end to end, PostgreSQL Seq Scan; a page's own rows are such.
                let whole = |line: &&String| {
                    ["SCAN c", "SCAN p", "SCAN a", "Seq Scan on connections", "Seq Scan on places", "Seq Scan on accounts"]
                        .iter()
                        .any(|scan| line.trim().trim_start_matches("->").trim().starts_with(scan))
                };
                assert_eq!(plan.iter().find(whole), None, "{text}");
            }
        }
    }
}

/// C12: whatever part of a client's name one looks for, in whatever way one comes to it, after names have changed and connections
/// have ended, and among what was there before the pieces of names were kept.
async fn c12_any_part_of_a_name_is_found(place: Place) {
    let app = TestApp::start(place, &[]).await;
    let db = app.db.writer();
    let postgres = db.get_database_backend() == DbBackend::Postgres;
    let owner = app.agency("olga@agency.example").await;
    let mia = owner.colleague("mia@agency.example", "MANAGER").await;
    let clara = app.person("clara@client.example").await;
    give_clients(&app, &owner, &clara, &[&mia], 40).await;
    let edges = owner.ask("{ viewer { accounts(first: 100) { edges { node { id name } via { id } } } } }", Value::Null).await;
    let clients: Vec<(String, String)> = edges.payload()["accounts"]["edges"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|edge| Some((edge["node"]["id"].as_str()?.to_owned(), edge["via"]["id"].as_str()?.to_owned())))
        .collect();
    let letters: Vec<char> = "aAbß éÉ%_\\’漢🦀İ".chars().collect();
    let mut random = 7_usize;
    let mut any = |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    let mut text = |most: usize| -> String { (0..=any(most)).map(|_| letters[any(letters.len())]).collect() };
    let mut names = Vec::new();
    for (n, (account, connection)) in clients.iter().enumerate() {
        let there = clara.acting_in(account).await;
        let name = format!("a{}b", text(12));
        there
            .ask("mutation($n: String) { renameAccount(input: {name: $n}) { userErrors { code } } }", json!({ "n": name }))
            .await
            .ok();
        if n % 5 == 0 {
            there.end(connection).await.ok();
        } else {
            names.push(name.to_lowercase());
        }
    }
    let texts: Vec<String> =
        (0..40).map(|n| text(1 + n % 6)).chain([String::new(), "a".into(), "b".into(), names[3].clone()]).collect();
    let parts = names.iter().map(|name| name.chars().skip(name.len() % 3).take(2 + name.len() % 4).collect::<String>());
    let texts: Vec<String> = texts.into_iter().chain(parts).collect();
    let look = async || {
        for person in [&owner, &mia] {
            for text in &texts {
                let found = person.ask("query($s: String) { viewer { accounts(first: 100, search: $s) { totalCount edges { via { id } node { name } } } } }", json!({ "s": text })).await;
                let list = found.payload()["accounts"].clone();
                let found = list["edges"].as_array().unwrap().iter().filter(|edge| !edge["via"].is_null());
                let mut found: Vec<String> = found.map(|edge| edge["node"]["name"].as_str().unwrap().to_lowercase()).collect();
                let mut right: Vec<String> =
                    names.iter().filter(|name| name.contains(text.trim().to_lowercase().as_str())).cloned().collect();
                found.sort_unstable();
                right.sort_unstable();
                assert_eq!(found, right, "{text:?}");
                assert_eq!(list["totalCount"], json!(list["edges"].as_array().unwrap().len()));
            }
        }
    };
    look().await;
    // The pages of a search, one after the other, are the whole of it in its order.
    let whole = mia.ask(PAGED, json!({ "f": 100 })).await.payload()["accounts"]["edges"].clone();
    let (mut paged, mut after) = (Vec::new(), Value::Null);
    loop {
        let page = mia.ask(PAGED, json!({ "f": 3, "a": after })).await.payload()["accounts"].clone();
        paged.extend(page["edges"].as_array().unwrap().clone());
        after = page["pageInfo"]["endCursor"].clone();
        if page["pageInfo"]["hasNextPage"] == false {
            break;
        }
    }
    assert!(paged.len() >= names.len());
    assert_eq!(whole, Value::Array(paged));
    let left =
        "SELECT count(*) FROM client_name_pieces p JOIN connections c ON c.id = p.connection_id WHERE c.status <> 'active'";
    assert_eq!(Sql::new(left).count(db).await.unwrap(), 0, "what has ended is in no pieces");
    // A database of the version before: it is brought up to date, and the same is found.
    let drop = if postgres {
        "DROP FUNCTION keep_client_in_pieces() CASCADE; DROP FUNCTION pieces_of(text);"
    } else {
        "DROP TRIGGER connections_in_pieces;"
    };
    let again = "DROP TABLE client_name_pieces; DELETE FROM migrations WHERE name = '0005_names_in_pieces'";
    db.execute_unprepared(&format!("{drop} {again}")).await.unwrap();
    assert_eq!(migration::up(db).await.unwrap(), ["0005_names_in_pieces"]);
    look().await;
}

/// C10, C11: one who leaves the agency is out everywhere, and so is everybody when it leaves the program: each in one transaction, in
/// a number of statements that hardly grows.
async fn c10_thousands_end_at_once(place: Place) {
    let app = TestApp::start(place, &[]).await;
    let owner = app.agency("olga@agency.example").await;
    let mia = owner.colleague("mia@agency.example", "MANAGER").await;
    let clara = app.person("clara@client.example").await;
    give_clients(&app, &owner, &clara, &[&mia], scale()).await;
    let hundreds = u64::try_from(scale().div_ceil(500)).unwrap();
    app.mails_to("nobody@x.example").await;
    let disable = "mutation($d: Boolean) { disableClientAccess(input: {dryRun: $d}) { consequences { kind total nodes { id } } userErrors { code } } }";
    let would = timed("a dry run", owner.ask(disable, json!({ "d": true }))).await;
    assert_eq!(would.payload()["consequences"][0]["total"], json!(scale()));
    let before = app.db.statements();
    timed(&format!("revoking one with places on {} clients", scale()), owner.revoke(&mia.id)).await.ok();
    let statements = app.db.statements() - before;
    println!("{statements} statements");
    assert!(statements <= 40 + 8 * hundreds, "{statements} statements");
    let there = Person { account: owner.account.clone(), ..mia.clone() };
    let out = there.ask("{ viewer { level accounts { totalCount } } }", Value::Null).await;
    assert_eq!(out.payload(), &json!({ "level": null, "accounts": { "totalCount": 0 } }));
    let before = app.db.statements();
    timed(&format!("disabling client access with {} clients", scale()), owner.ask(disable, Value::Null)).await.ok();
    let statements = app.db.statements() - before;
    println!("{statements} statements");
    assert!(statements <= 60 + 12 * hundreds, "{statements} statements");
    let list = "{ account { ended: clientConnections(status: [ENDED]) { totalCount } active: clientConnections(status: [ACTIVE]) { totalCount } } }";
    let list = owner.ask(list, Value::Null).await;
    assert_eq!(*list.payload(), json!({ "ended": { "totalCount": scale() }, "active": { "totalCount": 0 } }));
    crate::users::assert_gapless(&app).await;
    // Thousands of mails are on their way: nobody waits for them here.
    app.stop().await.remove().await;
}

on_both_databases!(c12_a_list_of_thousands_stays_flat);
on_both_databases!(on_its_own_servers: c10_thousands_end_at_once, c12_any_part_of_a_name_is_found);
