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
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, IntoActiveModel};
use serde_json::{Value, json};
use std::time::Instant;

/// How many clients the agency has.
fn scale() -> usize {
    std::env::var("SCALE").map_or(5_000, |scale| scale.parse().unwrap())
}

/// What a client is called: numbers, two words that are in many names and together in one, a word that many of the last begin with,
/// and one name of its own in the middle.
fn name_of(n: usize, count: usize) -> String {
    match n {
        _ if n == count / 2 => "Client Zq".into(),
        _ if n == count / 3 => format!("Client {n:05} Hans Müller"),
        _ if n > count * 3 / 5 => format!("Praxis {n:05}"),
        // A text of it is at its beginning and further on.
        _ if n % 400 == 3 => format!("Client {n:05} Client"),
        // A language would have them in other places than their characters do.
        _ if n % 400 == 7 => format!("client-{n:05}"),
        _ if n % 400 == 11 => format!("Élient {n:05}"),
        _ if n % 4 == 1 => format!("Client {n:05} Hans"),
        _ if n % 4 == 2 => format!("Client {n:05} Müller"),
        _ => format!("Client {n:05}"),
    }
}

/// The clients whose names have a text, as they are listed.
fn with_text(text: &str, count: usize) -> Vec<String> {
    let mut names: Vec<String> = (0..count).map(|n| name_of(n, count)).collect();
    names.retain(|name| name.to_lowercase().contains(text));
    names.sort_unstable_by_key(|name| name.to_lowercase());
    names
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
        opened_by: Some(client_owner),
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
const PAGE: &str = "query($f: Int, $a: String, $l: Int, $b: String, $s: String, $v: [UserLevel!]) { viewer { accounts(first: $f, after: $a, last: $l, before: $b, search: $s, level: $v) { pageInfo { startCursor endCursor hasNextPage hasPreviousPage } edges { level via { id agency { name } } node { id name } } } } }";

/// The clients' names on a page.
fn names(list: &Value) -> Vec<String> {
    let edges = list["edges"].as_array().unwrap().iter().filter(|edge| !edge["via"].is_null());
    edges.map(|edge| edge["node"]["name"].as_str().unwrap().to_owned()).collect()
}

async fn list_cursor(person: &Person<'_>) -> String {
    let list = person.ask(PAGE, json!({ "f": 20 })).await.payload()["accounts"].clone();
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
    let number = format!("{:05}", scale() - 3);
    let texts = [
        None,
        Some(number.as_str()),
        Some("hans müller"),
        Some("zq"),
        Some("praxis"),
        Some("client"),
        Some("üll"),
        Some("raxis"),
    ];
    for person in [&owner, &mia] {
        for text in texts {
            let (statements, reply) = app.count(async || person.ask(LIST, json!({ "s": text })).await).await;
            let (list, right) = (reply.payload()["accounts"].clone(), with_text(text.unwrap_or_default(), scale()));
            let own = usize::from(text.is_none());
            assert_eq!(list["totalCount"], json!(right.len() + own), "{text:?}");
            assert_eq!(names(&list), right[..right.len().min(20)], "{text:?}");
            assert_eq!(list["edges"][0]["level"], if person.id == owner.id { "ADMIN" } else { "AUTHOR" });
            assert_eq!(statements, of_few, "as many as among fifty");
            assert!(statements <= 8, "{statements}");
            let first = json!({ "f": 20, "s": text });
            let page = person.ask(PAGE, first.clone()).await.payload()["accounts"].clone();
            let second = json!({ "f": 20, "s": text, "a": page["pageInfo"]["endCursor"] });
            let found = names(&person.ask(PAGE, second.clone()).await.payload()["accounts"]);
            assert_eq!(found, right.iter().skip(20).take(20).cloned().collect::<Vec<_>>(), "{text:?}");
            for (what, arguments) in [("first page", first), ("second", second)] {
                let title = format!("{text:?} among {} clients, {what}", scale());
                timed(&title, person.ask(PAGE, arguments)).await.ok();
            }
            timed("with the count", person.ask(LIST, json!({ "s": text }))).await.ok();
        }
    }
    for text in texts {
        timed(&format!("{text:?} among 50"), few.ask(PAGE, json!({ "f": 20, "s": text }))).await.ok();
    }
    let postgres = app.reader().get_database_backend() == DbBackend::Postgres;
    let names = if postgres { ["connections_in_order", "places_in_order"] } else { ["connections_clients", "places_clients"] };
    for (person, index) in [&owner, &mia].into_iter().zip(names) {
        let rare = if postgres { "client_name_tails_pkey" } else { "SEARCH n USING PRIMARY KEY" };
        for (search, index) in [
            (None, index),
            (Some("client"), index),
            (Some("lient"), index),
            (Some("00042"), rare),
            (Some("zq"), rare),
            (Some("hans müller"), rare),
        ] {
            let ways = Ways::of(app, person.id.parse().unwrap(), search, None).await.unwrap();
            let key =
                [Some(20), None].map(|first| PageArgs { first, last: first.is_none().then_some(20), ..PageArgs::default() });
            let after = PageArgs { after: Some(list_cursor(person).await), ..PageArgs::default() };
            for page in key.into_iter().chain([after]) {
                let plan = ways.page(&page.window(app, "one's accounts").unwrap()).unwrap().plan(app.reader()).await.unwrap();
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

/// As the version before has left the database: the latest migration is missing.
pub async fn forget_tails(db: &DatabaseConnection) {
    let drop = if db.get_database_backend() == DbBackend::Postgres {
        "DROP INDEX connections_in_order; DROP INDEX places_in_order; DROP FUNCTION keep_tails_of_client() CASCADE; DROP FUNCTION tails_of(text);"
    } else {
        "DROP TRIGGER connections_tails;"
    };
    let again = "DROP TABLE client_name_tails; DELETE FROM migrations WHERE name = '0005_tails_of_names'";
    db.execute_unprepared(&format!("{drop} {again}")).await.unwrap();
}

/// C12: whatever part of a client's name one looks for, in whatever way one comes to it, after names have changed and connections
/// have ended, and among what was there before the tails of names were kept.
async fn c12_any_part_of_a_name_is_found(place: Place) {
    let app = TestApp::start(place, &[]).await;
    let db = app.db.writer();
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
    let left = "SELECT count(*) FROM client_name_tails t JOIN connections c ON c.id = t.connection_id WHERE c.status <> 'active'";
    assert_eq!(Sql::new(left).count(db).await.unwrap(), 0, "what has ended has no tails");
    let tails = async || {
        let sql = Sql::new("SELECT tail, connection_id FROM client_name_tails ORDER BY connection_id, tail");
        let read = |row: &sea_orm::QueryResult| Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?));
        sql.all::<(String, ConnectionId)>(db, read).await.unwrap()
    };
    let kept = tails().await;
    assert_eq!(kept.len(), names.iter().map(|name| name.chars().count() - 1).sum::<usize>());
    // A database of the version before: it is brought up to date, and the same is found.
    forget_tails(db).await;
    assert_eq!(app.db.migrate().await.unwrap(), ["0005_tails_of_names"]);
    assert!(tails().await == kept, "those that the migration finds are those that the triggers kept");
    look().await;
}

/// C12: pages of a search through agencies that are looked up in different ways, forth and back, and to one level.
async fn c12_a_search_through_several_agencies(app: &TestApp) {
    const MANY: usize = 2_000;
    let fay = app.agency("fay@few.example").await;
    let owner = app.agency("olga@agency.example").await;
    let clara = app.person("clara@client.example").await;
    give_clients(app, &fay, &clara, &[], 50).await;
    give_clients(app, &owner, &clara, &[&fay], MANY).await;
    let joined = member::Model {
        id: app.clock.id(),
        account_id: owner.account.parse().unwrap(),
        user_id: fay.id.parse().unwrap(),
        level: UserLevel::Manager,
        joined_at: app.now(),
        suspended_at: None,
    };
    app.app.tx(async |tx| insert_all(tx.db(), [joined.clone().into_active_model()]).await).await.unwrap();
    // At the beginning and further on; in few names of the one agency and in many of the other; in few of both; in none of the other.
    for text in ["client", "lient", "müller", "hans", "01999", "zq"] {
        let mut right = [with_text(text, 50), with_text(text, MANY)].concat();
        right.sort_by_key(|name| name.to_lowercase());
        let page = async |arguments: Value| fay.ask(PAGE, arguments).await.payload()["accounts"].clone();
        let (mut forth, mut after) = (Vec::new(), Value::Null);
        while forth.len() < right.len().min(200) {
            let list = page(json!({ "s": text, "f": 33, "a": after })).await;
            assert_ne!(list["edges"], json!([]), "{text}");
            forth.extend(names(&list));
            after = list["pageInfo"]["endCursor"].clone();
            assert_eq!(list["pageInfo"]["hasNextPage"], json!(forth.len() < right.len()), "{text}");
        }
        assert_eq!(forth, right[..forth.len()], "{text}");
        let (mut back, mut before) = (Vec::new(), Value::Null);
        while back.len() < right.len().min(200) {
            let list = page(json!({ "s": text, "l": 33, "b": before })).await;
            assert_ne!(list["edges"], json!([]), "{text}");
            back.splice(0..0, names(&list));
            before = list["pageInfo"]["startCursor"].clone();
            assert_eq!(list["pageInfo"]["hasPreviousPage"], json!(back.len() < right.len()), "{text}");
        }
        assert_eq!(back, right[right.len() - back.len()..], "{text}");
        for (level, right) in [("ADMIN", with_text(text, 50)), ("AUTHOR", with_text(text, MANY)), ("OWNER", Vec::new())] {
            let list = page(json!({ "s": text, "f": 50, "v": [level] })).await;
            assert_eq!(names(&list), right[..right.len().min(50)], "{text} as {level}");
        }
    }
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

on_both_databases!(c12_a_list_of_thousands_stays_flat, c12_a_search_through_several_agencies);
on_both_databases!(on_its_own_servers: c10_thousands_end_at_once, c12_any_part_of_a_name_is_found);
