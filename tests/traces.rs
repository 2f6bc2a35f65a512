//! What is left of people who are gone, and of people who never came: SPEC U8; THREATS 57.

use crate::{
    on_both_databases,
    support::{TestApp, everything},
};
use chrono::TimeDelta;
use keyholder::sweeper::sweep;
use sea_orm::{ConnectionTrait, Statement};
use serde_json::{Value, json};

/// The lines of a table that have a text.
async fn traces(app: &TestApp, table: &str, text: &str) -> Vec<String> {
    let all = everything(app).await.to_lowercase();
    all.lines().filter(|line| line.starts_with(table) && line.contains(text)).map(str::to_owned).collect()
}

async fn create_key(person: &crate::support::people::Person<'_>, name: &str) -> String {
    let query = "mutation($n: String!) { createApiKey(input: {name: $n}) { apiKey { id } userErrors { code } } }";
    let made = person.ask(query, json!({ "n": name })).await;
    made.payload()["apiKey"]["id"].as_str().unwrap().to_owned()
}

/// U8, THREATS 57: the names of an erased user's API keys leave the events too, whoever deleted the keys; so does their name from what
/// others called the account. The log still says what happened.
async fn threat_57_names_of_keys_go_with_their_creator(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let vera = owner.colleague("vera@agency.example", "ADMIN").await;
    let (revoked, _) = (create_key(&vera, "Zebra's laptop").await, create_key(&vera, "Zebra's phone").await);
    create_key(&owner, "Olga's own").await;
    let revoke = "mutation($k: ID!) { revokeApiKey(input: {apiKeyId: $k}) { apiKeyId userErrors { code } } }";
    owner.ask(revoke, json!({ "k": revoked })).await.ok();
    for name in ["Vera and Friends", "Harbor"] {
        let rename = "mutation($n: String!) { renameAccount(input: {name: $n}) { userErrors { code } } }";
        owner.ask(rename, json!({ "n": name })).await.ok();
    }
    assert_eq!(traces(app, "events", "zebra").await.len(), 3);
    owner.assign(&vera.id, "MANAGER").await.ok();
    vera.ask("mutation { deleteUser { deleted userErrors { code } } }", Value::Null).await.ok();
    let all = everything(app).await.to_lowercase();
    for word in ["zebra", "vera"] {
        assert!(!all.contains(word), "{word} is still there");
    }
    let log = owner.log("API_KEY_CREATED, API_KEY_REVOKED").await;
    let told: Vec<_> = log.iter().map(|event| event["summary"].as_str().unwrap()).collect();
    let key = "Former user created an API key.";
    assert_eq!(told, ["olga deleted an API key.", "olga made the API key Olga's own.", key, key]);
}

/// THREATS 57: the address of somebody who never became a user leaves the outbox a week after the mail was sent or given up, and not
/// sooner; what became of the mail is still told, and a mail that waits keeps its address.
async fn threat_57_addresses_of_strangers_leave_the_outbox(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    owner.invite(&["zebra@never.example"], "VIEWER").await.ok();
    owner.request(&["zebra.client@never.example"]).await.ok();
    let change = "mutation { changeEmail(input: {email: \"zebra.typo@never.example\"}) { userErrors { code } } }";
    owner.ask(change, Value::Null).await.ok();
    let reset = "mutation { requestPasswordReset(input: {email: \"zebra.unknown@never.example\"}) { accepted } }";
    app.ask(reset, Value::Null).await.ok();
    app.mails_to("zebra@never.example").await;
    let db = app.reader();
    let run = async |sql: &str| db.execute_raw(Statement::from_string(db.get_database_backend(), sql)).await.unwrap();
    run("UPDATE mails SET status = 'failed', detail = '550 <zebra@never.example>: unknown' WHERE to_email = 'zebra@never.example'").await;
    app.advance(TimeDelta::days(7) - TimeDelta::minutes(1));
    sweep(app).await.unwrap();
    // An address and its key of each, and the answer of the mail server.
    assert_eq!(traces(app, "mails", "zebra").await.len(), 9, "not sooner");
    app.advance(TimeDelta::minutes(2));
    run("UPDATE mails SET status = 'queued', next_at = '2100-01-01 00:00:00+00:00' WHERE kind = 'access_request'").await;
    sweep(app).await.unwrap();
    let left = traces(app, "mails", "zebra").await;
    assert!(left.len() == 2 && left.iter().all(|line| line.contains("zebra.client@")), "{left:#?}");
    let owner = owner.sign_in().await;
    let query = "{ account { invitations { nodes { delivery { status attempts detail } } } } }";
    let delivery = owner.ask(query, Value::Null).await.payload()["invitations"]["nodes"][0]["delivery"].clone();
    assert_eq!((&delivery["status"], &delivery["attempts"]), (&json!("FAILED"), &json!(1)));
    assert!(delivery["detail"].as_str().unwrap().contains("7 days"), "{delivery}");
    run("UPDATE mails SET status = 'sent' WHERE kind = 'access_request'").await;
    sweep(app).await.unwrap();
    assert!(traces(app, "mails", "zebra").await.is_empty());
}

on_both_databases!(threat_57_names_of_keys_go_with_their_creator, threat_57_addresses_of_strangers_leave_the_outbox);
