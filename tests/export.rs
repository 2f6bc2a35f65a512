//! Downloading an account: `exportAccount`, SPEC I6, L2, L6, L8, U7, C9.

use crate::{
    on_both_databases,
    support::{Place, TestApp, eventually, people::Person},
};
use chrono::TimeDelta;
use entity::{LogId, event, log_entry};
use futures_util::future::join_all;
use keyholder::db::insert_all;
use sea_orm::{ConnectionTrait, IntoActiveModel, Statement};
use serde_json::{Value, json};
use std::{cell::Cell, collections::BTreeMap, io::Read};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
};
use uuid::Uuid;

const EXPORT: &str = "mutation { exportAccount { url userErrors { code } } }";

async fn link(person: &Person<'_>) -> String {
    person.ask(EXPORT, Value::Null).await.payload()["url"].as_str().unwrap().to_owned()
}

async fn status(app: &TestApp, url: &str) -> u16 {
    app.http.get(url).send().await.unwrap().status().as_u16()
}

/// The files of a download, each with its lines.
async fn files(app: &TestApp, url: &str) -> (String, BTreeMap<String, Vec<Value>>) {
    let answer = app.http.get(url).send().await.unwrap();
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(
        (answer.status().as_u16(), header("content-type"), header("cache-control")),
        (200, "application/zip".into(), "no-store".into())
    );
    assert!(header("content-disposition").starts_with("attachment; filename=\"account_"), "{:?}", answer.headers());
    unzipped(&answer.bytes().await.unwrap())
}

fn unzipped(bytes: &[u8]) -> (String, BTreeMap<String, Vec<Value>>) {
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(bytes)).unwrap();
    let (mut all, mut files) = (String::new(), BTreeMap::new());
    for place in 0..archive.len() {
        let mut file = archive.by_index(place).unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        files.insert(file.name().unwrap().into_owned(), text.lines().map(|line| serde_json::from_str(line).unwrap()).collect());
        all += &text;
    }
    (all, files)
}

/// All that the viewer may read of the account, page by page, and nothing secret or of others; once, for ten minutes.
async fn an_account_is_downloaded_once(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let admin = owner.colleague("adam@agency.example", "ADMIN").await;
    let client = app.person("carl@client.example").await;
    let stranger = app.agency("sam@else.example").await;
    stranger.request(&["other@x.example"]).await.ok();
    owner.connect(&client, "ADMIN").await;
    owner.invite(&["vera@agency.example"], "VIEWER").await.ok();
    let secret = admin.api_key().await;
    // More than a page of events.
    for n in 0..130 {
        owner.assign(&admin.id, if n % 2 == 0 { "MANAGER" } else { "ADMIN" }).await.ok();
    }
    let url = link(&admin).await;
    assert!(url.starts_with(&format!("{}/exports/", app.url)), "{url}");
    assert_eq!(app.http.head(&url).send().await.unwrap().status().as_u16(), 405, "looking uses nothing up");
    let (all, files) = files(app, &url).await;
    assert_eq!(
        files.keys().collect::<Vec<_>>(),
        [
            "account.jsonl",
            "agency_connections.jsonl",
            "api_keys.jsonl",
            "audit_log.jsonl",
            "client_connections.jsonl",
            "invitations.jsonl",
            "users.jsonl"
        ]
    );
    assert_eq!(files["account.jsonl"][0]["name"], "olga's account");
    let users: Vec<_> = files["users.jsonl"].iter().map(|line| line["user"]["email"].clone()).collect();
    assert_eq!(users, ["olga@agency.example", "adam@agency.example"]);
    assert_eq!(
        (files["invitations.jsonl"].len(), files["api_keys.jsonl"].len(), files["agency_connections.jsonl"].len()),
        (2, 1, 0)
    );
    assert_eq!(files["client_connections.jsonl"][0]["users"]["nodes"][0]["user"]["name"], "olga");
    let count =
        owner.ask("{ account { auditLog { totalCount } } }", Value::Null).await.payload()["auditLog"]["totalCount"].clone();
    assert_eq!(json!(files["audit_log.jsonl"].len()), count);
    assert_eq!(files["audit_log.jsonl"][0]["kind"], "ACCOUNT_EXPORTED");
    let ids: std::collections::BTreeSet<_> = files["audit_log.jsonl"].iter().map(|line| line["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), files["audit_log.jsonl"].len(), "each once");
    for other in [&secret[10..], "else.example", "argon2", "sam's", "other@x.example"] {
        assert!(!all.contains(other), "{other}");
    }
    assert_eq!(status(app, &url).await, 404, "it works once");
    let many = link(&owner).await;
    let tries = join_all((0..20).map(|_| status(app, &many))).await;
    // Some may be told to come back, since an account has few downloads at once.
    assert_eq!(tries.iter().filter(|status| **status == 200).count(), 1, "{tries:?}");
    assert!(tries.iter().all(|status| [200, 404, 503].contains(status)), "{tries:?}");
    assert_eq!(status(app, &many).await, 404);
    let late = link(&owner).await;
    app.advance(TimeDelta::minutes(10));
    assert_eq!(status(app, &late).await, 404);
    for wrong in ["", "nonsense", &late[late.len() - 64..]] {
        assert_eq!(status(app, &format!("{}/exports/{wrong}", app.url)).await, 404, "{wrong}");
    }
}

/// L2, L8, U7, C9: a link is worth what whoever made it may do when it is used, with what they made it with.
async fn a_link_is_worth_what_its_maker_may(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let people = ["a@agency.example", "b@agency.example", "c@agency.example", "d@agency.example"];
    let mut links = Vec::new();
    let mut admins = Vec::new();
    for email in people {
        let admin = owner.colleague(email, "ADMIN").await;
        links.push(link(&admin).await);
        admins.push(admin);
    }
    owner.assign(&admins[0].id, "MANAGER").await.ok();
    owner.revoke(&admins[1].id).await.ok();
    owner.keep_out("suspendUser", &admins[2].id).await.ok();
    admins[3].ask("mutation { signOut { signedOut } }", Value::Null).await.ok();
    for link in &links {
        assert_eq!(status(app, link).await, 404);
    }
    // An API key exports nothing (I6).
    let by_key = Person { token: owner.api_key().await, ..owner.clone() };
    assert_eq!(by_key.ask(EXPORT, Value::Null).await.codes(), ["FORBIDDEN"]);
}

/// L6, C9: through a connection, what the account's own users alone may read is left out; its end takes the links along.
async fn an_agency_downloads_what_it_may_read(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let client = app.person("carl@client.example").await;
    client.plan("PREMIUM").await.ok();
    client.invite(&["secret@client.example"], "VIEWER").await.ok();
    let connection = owner.connect(&client, "ADMIN").await;
    let there = owner.acting_in(&client.account).await;
    let (all, files) = files(app, &link(&there).await).await;
    assert!(
        files.contains_key("users.jsonl") && files.contains_key("audit_log.jsonl") && !files.contains_key("invitations.jsonl"),
        "{:?}",
        files.keys()
    );
    assert!(!all.contains("secret@client.example") && !all.contains("carl@client.example"), "addresses are for who invites");
    let unused = link(&there).await;
    client.end(&connection).await.ok();
    assert_eq!(status(app, &unused).await, 404);
    assert_eq!(there.ask(EXPORT, Value::Null).await.codes(), ["ACCOUNT_ACCESS_ENDED"]);
}

/// Many more events in an account's log, of words that can't be made shorter.
async fn fill_log(app: &TestApp, person: &Person<'_>, count: i64) {
    let account: entity::AccountId = person.account.parse().unwrap();
    let mut seed = 88_172_645_463_325_252_u64;
    let mut noise = || {
        let words = (0..128).map(|_| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            format!("{seed:016x}")
        });
        words.collect::<String>()
    };
    let happened = |_| event::Model {
        id: app.clock.id(),
        kind: event::EventKind::AccountRenamed,
        at: app.now(),
        actor_id: Some(person.id.parse().unwrap()),
        via_id: None,
        api_key_id: None,
        by_operator: false,
        subject_id: account.0,
        before: Some(noise()),
        after: Some(noise()),
    };
    let events: Vec<_> = (0..count).map(happened).collect();
    let (db, log) = (app.db.writer(), LogId::from(account));
    let sql = |text: String| Statement::from_string(db.get_database_backend(), text);
    let head =
        db.query_one_raw(sql(format!("SELECT max(head) FROM logs WHERE id = {}", hex(app, log.0)))).await.unwrap().unwrap();
    let head: i64 = head.try_get_by_index(0).unwrap();
    insert_all(db, events.iter().cloned().map(IntoActiveModel::into_active_model)).await.unwrap();
    let entries =
        events.iter().zip(head + 1..).map(|(event, number)| log_entry::Model { log_id: log, number, event_id: event.id });
    insert_all(db, entries.map(IntoActiveModel::into_active_model)).await.unwrap();
    db.execute_raw(sql(format!("UPDATE logs SET head = head + {count} WHERE id = {}", hex(app, log.0)))).await.unwrap();
}

/// An id as a literal.
pub fn hex(app: &TestApp, id: Uuid) -> String {
    if app.place.database_url().starts_with("sqlite:") { format!("x'{}'", id.simple()) } else { format!("'{id}'") }
}

/// Whatever its size: it goes out as it is read, and while its reader takes nothing, nothing more is read.
async fn a_large_account_streams(app: &TestApp) {
    const EVENTS: i64 = 6_000;
    let owner = app.person("olga@agency.example").await;
    fill_log(app, &owner, EVENTS).await;
    let url = link(&owner).await;
    let address: std::net::SocketAddr = app.url.trim_start_matches("http://").parse().unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let begun = app.db.statements();
    let request = format!("GET {} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n", url.trim_start_matches(&app.url));
    stream.write_all(request.as_bytes()).await.unwrap();
    let (last, looks) = (Cell::new(0), Cell::new(0));
    eventually("the download waits for its reader", async || {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        let (before, now) = (last.replace(app.db.statements()), last.get());
        looks.set(if before == now && now > begun { looks.get() + 1 } else { 0 });
        (looks.get() == 50).then_some(())
    })
    .await;
    let waiting = app.db.statements() - begun;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let all = app.db.statements() - begun;
    assert!(waiting * 2 < all, "{waiting} of {all} statements had run before the reader took anything");
    let head = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    assert!(answer[..head].windows(7).any(|seven| seven == b"chunked"));
    let (_, files) = unzipped(&unchunked(&answer[head..]));
    assert_eq!(i64::try_from(files["audit_log.jsonl"].len()).unwrap(), EVENTS + 2, "and those of opening and exporting");
}

fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let end = body.windows(2).position(|two| two == b"\r\n").unwrap();
        let length = usize::from_str_radix(std::str::from_utf8(&body[..end]).unwrap(), 16).unwrap();
        if length == 0 {
            return whole;
        }
        whole.extend_from_slice(&body[end + 2..end + 2 + length]);
        body = &body[end + 4 + length..];
    }
}

/// All of a connection's people, however many, and under a limit that a page of a hundred is too much for.
async fn all_people_of_a_connection_are_in_it(place: Place) {
    let app = TestApp::start(place, &[("max_query_cost", "2000")]).await;
    let owner = app.agency("olga@agency.example").await;
    let client = app.person("carl@client.example").await;
    let connection = owner.connect(&client, "ADMIN").await;
    let db = app.db.writer();
    let connection: entity::ConnectionId = connection.parse().unwrap();
    // Whoever they are: what counts is how many.
    for n in 0..250 {
        let (user, place) = (app.clock.id::<Uuid>(), app.clock.id::<Uuid>());
        let columns = "id, email, email_key, name, name_key, username, username_key, password_hash, created_at";
        let rows = format!(
            "INSERT INTO logs (id, head) VALUES ({}, 0); INSERT INTO users ({columns}, email_version, reset_version) SELECT {}, '', 'p{n}', 'p{n}', 'p{n}', 'p{n}', 'p{n}', '', created_at, 0, 0 FROM users WHERE email_key = 'olga@agency.example'; \
             INSERT INTO places (id, connection_id, user_id, level, added_at) SELECT {}, {}, {}, 1, created_at FROM users WHERE username_key = 'p{n}'",
            hex(&app, user),
            hex(&app, user),
            hex(&app, place),
            hex(&app, connection.0),
            hex(&app, user)
        );
        db.execute_unprepared(&rows).await.unwrap();
    }
    for (whose, file) in [(&owner, "client_connections.jsonl"), (&client, "agency_connections.jsonl")] {
        let (_, files) = files(&app, &link(whose).await).await;
        let users = files[file][0]["users"].clone();
        let names: std::collections::BTreeSet<_> =
            users["nodes"].as_array().unwrap().iter().map(|node| node["user"]["name"].to_string()).collect();
        assert_eq!((names.len(), users.get("pageInfo")), (251, None), "{file}");
    }
    app.finish().await;
}

/// A database that breaks meanwhile is no reason to leave something out: the download ends short, and says so.
async fn what_breaks_ends_short(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    owner.invite(&["vera@agency.example"], "VIEWER").await.ok();
    app.mails_to("vera@agency.example").await;
    app.db.writer().execute_unprepared("ALTER TABLE billing RENAME TO lost").await.unwrap();
    let answer = app.http.get(link(&owner).await).send().await.unwrap();
    assert!(answer.bytes().await.is_err(), "an account without its billing is not the account");
    app.db.writer().execute_unprepared("ALTER TABLE lost RENAME TO billing").await.unwrap();
    app.db.writer().execute_unprepared("ALTER TABLE mails RENAME TO lost").await.unwrap();
    let answer = app.http.get(link(&owner).await).send().await.unwrap();
    assert!(answer.bytes().await.is_err());
    app.db.writer().execute_unprepared("ALTER TABLE lost RENAME TO mails").await.unwrap();
    files(app, &link(&owner).await).await;
}

/// A download that its reader has begun and takes nothing of.
async fn stalled(app: &TestApp, url: &str) -> tokio::net::TcpStream {
    let address: std::net::SocketAddr = app.url.trim_start_matches("http://").parse().unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let request = format!("GET {} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n", url.trim_start_matches(&app.url));
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// THREATS 72: one user has two downloads at once, however many accounts they have, and others have theirs.
async fn threat_72_downloads_of_one_user_over_all_accounts(app: &TestApp) {
    let owner = app.person("olga@agency.example").await;
    let other = app.person("sam@else.example").await;
    let mut places = vec![owner.clone()];
    for n in 0..2 {
        let query = "mutation($n: String!) { createAccount(input: {name: $n}) { account { id } userErrors { code } } }";
        let made = owner.ask(query, json!({ "n": format!("Account {n}") })).await;
        places.push(owner.acting_in(made.payload()["account"]["id"].as_str().unwrap()).await);
    }
    let mut held = Vec::new();
    for place in &places[..2] {
        fill_log(app, place, 3_000).await;
        let mut stream = stalled(app, &link(place).await).await;
        let mut status = [0; 12];
        stream.read_exact(&mut status).await.unwrap();
        assert_eq!(&status, b"HTTP/1.1 200");
        held.push(stream);
    }
    let third = link(&places[2]).await;
    assert_eq!((status(app, &third).await, status(app, &link(&other).await).await), (503, 200));
    drop(held);
    eventually("the link works once the others have ended", async || (status(app, &third).await == 200).then_some(())).await;
}

/// THREATS 72: who reads at a trickle is cut off, and the download ends short.
async fn threat_72_a_trickle_is_cut_off(app: &TestApp) {
    let owner = app.person("olga@agency.example").await;
    fill_log(app, &owner, 6_000).await;
    let mut stream = stalled(app, &link(&owner).await).await;
    let (last, looks) = (Cell::new(0), Cell::new(0));
    eventually("the download waits for its reader", async || {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        let (before, now) = (last.replace(app.db.statements()), last.get());
        looks.set(if before == now { looks.get() + 1 } else { 0 });
        (looks.get() == 50).then_some(())
    })
    .await;
    app.advance(TimeDelta::minutes(1));
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200") && !answer.ends_with(b"\r\n0\r\n\r\n"), "{} bytes", answer.len());
}

on_both_databases!(
    threat_72_downloads_of_one_user_over_all_accounts,
    threat_72_a_trickle_is_cut_off,
    an_account_is_downloaded_once,
    a_link_is_worth_what_its_maker_may,
    an_agency_downloads_what_it_may_read,
    a_large_account_streams,
    what_breaks_ends_short,
);
on_both_databases!(on_its_own_servers: all_people_of_a_connection_are_in_it);
