//! Downloading an account: `exportAccount`, SPEC I6, L2, L6, L8, U7, C9.

use crate::{
    on_both_databases,
    support::{TestApp, people::Person},
};
use chrono::TimeDelta;
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::{collections::BTreeMap, io::Read};

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
    let bytes = answer.bytes().await.unwrap();
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
    assert_eq!(
        (tries.iter().filter(|status| **status == 200).count(), tries.iter().filter(|status| **status == 404).count()),
        (1, 19)
    );
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
    // By API key, which sees no more keys than it may; deleted, its links are worth nothing.
    let key = owner.api_key().await;
    let by_key = Person { token: key.clone(), ..owner.clone() };
    let (_, files) = files(app, &link(&by_key).await).await;
    assert!(
        files.contains_key("users.jsonl")
            && !files.contains_key("api_keys.jsonl")
            && !files.contains_key("agency_connections.jsonl")
    );
    let unused = link(&by_key).await;
    let id =
        owner.ask("{ account { apiKeys { nodes { id } } } }", Value::Null).await.payload()["apiKeys"]["nodes"][0]["id"].clone();
    owner.ask("mutation($k: ID!) { revokeApiKey(input: {apiKeyId: $k}) { userErrors { code } } }", json!({ "k": id })).await.ok();
    assert_eq!(status(app, &unused).await, 404);
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

on_both_databases!(an_account_is_downloaded_once, a_link_is_worth_what_its_maker_may, an_agency_downloads_what_it_may_read);
