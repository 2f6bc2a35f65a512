//! What operators do by command line, beside a server that runs: SPEC I3, I4, L4, U5, U8, U9.

use crate::{
    identity::part,
    on_both_databases,
    process::{Process, keyholder, said},
    support::{Place, TestApp, eventually, people::PASSWORD},
    two_factor::code_at,
};
use chrono::TimeDelta;
use keyholder::keyring::{self, KeySource, Rotation};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const ME: &str = "{ viewer { user { id } } }";
const SIGN_IN: &str = "mutation($p: String!) { signIn(input: {login: \"ann@x.example\", password: $p}) { credentials { accessToken refreshToken } userErrors { code } } }";

fn kid(token: &str) -> String {
    part(token, 0)["kid"].as_str().unwrap().to_owned()
}

async fn jwks(http: &reqwest::Client, url: &str) -> (String, BTreeSet<String>) {
    let answer = http.get(format!("{url}/.well-known/jwks.json")).send().await.unwrap();
    let caching = answer.headers()["cache-control"].to_str().unwrap().to_owned();
    let keys: Value = answer.json().await.unwrap();
    (caching, keys["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect())
}

/// I3: the next key is public before it signs, for longer than anybody may keep the old set, and the last one's tokens hold.
async fn i3_the_next_key_signs_after_a_while(app: &TestApp) {
    let KeySource::Directory(directory) = app.config.key_source().unwrap() else { panic!("keys in a directory") };
    let ann = app.person("ann@x.example").await;
    let (caching, before) = jwks(&app.http, &app.url).await;
    assert_eq!((caching.as_str(), before), ("public, max-age=300", BTreeSet::from([kid(&ann.token)])));
    let (algorithm, token_ttl) = (app.config.token_algorithm, app.config.access_token_ttl);
    keyring::rotate(&directory, app.now(), Rotation { algorithm, token_ttl, at_once: false }).unwrap();
    assert!(app.keys.reload().unwrap() && !app.keys.reload().unwrap(), "it changed once");
    assert_eq!(jwks(&app.http, &app.url).await.1.len(), 2);
    app.advance(TimeDelta::minutes(9));
    let last = app.sign_in("ann@x.example").await;
    assert_eq!(kid(&last.token), kid(&ann.token));
    app.advance(TimeDelta::minutes(1));
    let next = app.sign_in("ann@x.example").await;
    assert_ne!(kid(&next.token), kid(&ann.token));
    for person in [&last, &next] {
        person.ask(ME, Value::Null).await.ok();
    }
}

/// I3: `keys rotate --now`, for a key that was lost: what it signed is worth nothing, and the sessions go on with the next one.
async fn i3_a_lost_key_is_replaced_at_once(place: Place) {
    let http = reqwest::Client::new();
    let server = Process::serve(&place, &[]);
    let lost = server.agency(&http).await;
    let signed_in = server.ask(&http, None, SIGN_IN, json!({ "p": PASSWORD })).await.unwrap();
    let run = |arguments: &[&str]| {
        let output = keyholder(&place).arg("keys").args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        said(&output)
    };
    assert_eq!(run(&["list"]).matches("signs now").count(), 1);
    assert!(run(&["rotate"]).starts_with("Made "));
    let listed = run(&["list"]);
    assert!(
        listed.lines().count() == 2
            && listed.contains(&format!("{}  EdDSA  from 1970-01-01 00:00:00 UTC  signs now", kid(&lost)))
    );
    let replaced = run(&["rotate", "--now"]);
    assert_eq!(replaced.matches("Removed ").count(), 2, "{replaced}");
    eventually("the server has read its keys again", async || {
        let answer = server.ask(&http, Some(&lost), ME, Value::Null).await.unwrap();
        (answer["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED").then_some(())
    })
    .await;
    let refresh = "mutation($r: String!) { refreshSession(input: {refreshToken: $r}) { credentials { accessToken } } }";
    let token = &signed_in["data"]["signIn"]["credentials"]["refreshToken"];
    let refreshed = server.ask(&http, None, refresh, json!({ "r": token })).await.unwrap();
    let token = refreshed["data"]["refreshSession"]["credentials"]["accessToken"].as_str().unwrap();
    assert_eq!(jwks(&http, &server.url).await.1, BTreeSet::from([kid(token)]));
    assert!(server.ask(&http, Some(token), ME, Value::Null).await.unwrap()["data"]["viewer"]["user"]["id"].is_string());
    drop(server);
    place.remove().await;
}

/// I4: `user reset-two-factor`, for who has lost the device and the codes.
async fn i4_reset_two_factor(place: Place) {
    let http = reqwest::Client::new();
    let server = Process::serve(&place, &[]);
    let token = server.agency(&http).await;
    let ask = async |query: &str, variables| server.ask(&http, Some(&token), query, variables).await.unwrap()["data"].clone();
    let begun = ask("mutation { beginTwoFactor { secret } }", Value::Null).await;
    let code = code_at(begun["beginTwoFactor"]["secret"].as_str().unwrap(), keyholder::clock::Clock::default().now().timestamp());
    let confirm = "mutation($c: String!) { confirmTwoFactor(input: {code: $c}) { recoveryCodes } }";
    assert!(ask(confirm, json!({ "c": code })).await["confirmTwoFactor"]["recoveryCodes"].is_array());
    let sign_in = async || server.ask(&http, None, SIGN_IN, json!({ "p": PASSWORD })).await.unwrap()["data"]["signIn"].clone();
    assert_eq!(sign_in().await["userErrors"][0]["code"], "TWO_FACTOR_CODE_REQUIRED");
    let reset = |login: &str| keyholder(&place).args(["user", "reset-two-factor", login]).output().unwrap();
    let nobody = reset("bob@x.example");
    assert!(!nobody.status.success() && said(&nobody).contains("there is no user \"bob@x.example\""), "{}", said(&nobody));
    let done = reset("ann@x.example");
    assert!(done.status.success() && said(&done).contains("Two-factor is off for"), "{}", said(&done));
    assert!(sign_in().await["credentials"]["accessToken"].is_string());
    assert!(said(&reset("ann")).contains("was off"), "by username too");
    eventually("the mail that tells of it", async || {
        let mails: Value = http.get(format!("{}/mailbox.json", server.url)).send().await.unwrap().json().await.unwrap();
        mails.as_array().unwrap().iter().filter(|mail| mail["kind"] == "two_factor_changed").nth(1).map(drop)
    })
    .await;
    drop(server);
    place.remove().await;
}

/// Runs a command beside the server, and answers whether it went well and what it said.
pub fn run(place: &Place, arguments: &[&str]) -> (bool, String) {
    let output = keyholder(place).args(arguments).output().unwrap();
    (output.status.success(), said(&output))
}

/// L4, U5, U9, U8: support work on an account, while a server runs: found, shown, its plan, its Owner; a user shown and erased. The log
/// says that the operator did it.
async fn l4_support_work(place: Place) {
    let http = reqwest::Client::new();
    let server = Process::serve(&place, &[("KEYHOLDER_PLAN_CHANGES", "operator")]);
    let token = server.agency(&http).await;
    let ask =
        async |query: &str, variables: Value| server.ask(&http, Some(&token), query, variables).await.unwrap()["data"].clone();
    let account = ask("{ account { id } }", Value::Null).await["account"]["id"].as_str().unwrap().to_owned();
    let (fine, listed) = run(&place, &["account", "list", "--search", "ann"]);
    assert!(fine && listed.contains(&account) && listed.contains("Free"), "{listed}");
    let (fine, told) = run(&place, &["account", "set-plan", &account, "standard"]);
    assert!(fine && told.contains("is on the Standard plan now; it was on Free"), "{told}");
    let invite = "mutation { inviteUsers(input: {emails: [\"bob@x.example\", \"cleo@x.example\"], level: ADMIN}) { userErrors { code } } }";
    assert_eq!(ask(invite, Value::Null).await["inviteUsers"]["userErrors"], json!([]), "it counts at once");
    // Signs up with the invitation and verifies the address: why the person did not join, if so.
    let join = async |email: &str| {
        let link = async |kind: &str| {
            eventually(kind, async || {
                let mails: Value = http.get(format!("{}/mailbox.json", server.url)).send().await.unwrap().json().await.unwrap();
                let mail = mails.as_array().unwrap().iter().find(|mail| mail["to"] == email && mail["kind"] == kind).cloned();
                mail.map(|mail| mail["token"].clone())
            })
            .await
        };
        let query = "mutation($e: String!, $p: String!, $t: String!) { signUp(input: {email: $e, password: $p, name: \"x\", invitationToken: $t}) { user { id } userErrors { code } } }";
        let variables = json!({ "e": email, "p": PASSWORD, "t": link("invitation").await });
        let signed_up = server.ask(&http, None, query, variables).await.unwrap();
        assert_eq!(signed_up["data"]["signUp"]["userErrors"], json!([]));
        let query = "mutation($t: String!, $p: String!) { verifyEmail(input: {token: $t, password: $p}) { joinError { code } userErrors { code } } }";
        let variables = json!({ "p": PASSWORD, "t": link("verify_email").await });
        server.ask(&http, None, query, variables).await.unwrap()["data"]["verifyEmail"]["joinError"].clone()
    };
    assert_eq!(join("bob@x.example").await, Value::Null);
    let (fine, told) = run(&place, &["account", "set-plan", &account, "Free"]);
    assert!(
        !fine && told.contains("too small") && told.contains("Admin") && told.contains("cleo@x.example, Admin, invited"),
        "{told}"
    );
    let (fine, told) = run(&place, &["account", "set-plan", &account, "Free", "--force"]);
    assert!(fine, "{told}");
    let seats = ask("{ account { plan seats { limit used reserved } } }", Value::Null).await;
    assert_eq!(
        seats["account"],
        json!({ "plan": "FREE", "seats": { "limit": 1, "used": 2, "reserved": 1 } }),
        "nobody is dropped"
    );
    assert_eq!(join("cleo@x.example").await, json!({ "code": "LEVEL_NOT_IN_PLAN" }), "nobody else joins (U5)");
    let (fine, told) = run(&place, &["account", "show", &account]);
    assert!(fine && told.contains("ann@x.example") && told.contains("Free") && told.contains("2, 0 of them suspended"), "{told}");
    for (arguments, why) in [
        (["account", "transfer", &account, "nobody"], "there is no user \"nobody\""),
        (["account", "transfer", &account, "ann"], "Ownership is given to somebody else"),
        (["user", "erase", "--log", "info"], "LOGIN"),
    ] {
        let (fine, told) = run(&place, &arguments);
        assert!(!fine && told.contains(why), "{told}");
    }
    let (fine, told) = run(&place, &["account", "show", "account_00000000000000000000000001"]);
    assert!(!fine && told.contains("there is no account"), "{told}");
    let (fine, told) = run(&place, &["account", "transfer", &account, "bob@x.example"]);
    assert!(fine && told.contains("owns"), "{told}");
    let log = ask("{ account { auditLog(kinds: [OWNERSHIP_TRANSFERRED, PLAN_CHANGED]) { nodes { kind byOperator actor { id } summary } } } viewer { level } }", Value::Null).await;
    assert_eq!(log["viewer"]["level"], "ADMIN");
    let nodes = log["account"]["auditLog"]["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 3);
    assert!(nodes.iter().all(|node| node["byOperator"] == true && node["actor"].is_null()), "{log}");
    assert_eq!(nodes[0]["summary"], "The operator transferred ownership from Ann to x.");
    assert_eq!(nodes[1]["summary"], "The operator changed the plan from Standard to Free.");
    let (fine, told) = run(&place, &["user", "show", "bob@x.example"]);
    assert!(fine && told.contains("bob@x.example, verified") && told.contains("Owner"), "{told}");
    let (fine, told) = run(&place, &["user", "erase", "bob@x.example"]);
    assert!(!fine && told.contains("owns an open account"), "{told}");
    let (fine, told) = run(&place, &["user", "erase", "ann@x.example"]);
    assert!(fine && told.contains("is erased"), "{told}");
    assert_eq!(
        server.ask(&http, Some(&token), ME, Value::Null).await.unwrap()["errors"][0]["extensions"]["code"],
        "UNAUTHENTICATED"
    );
    let elsewhere = keyholder(&place).env("DATABASE_URL", "sqlite://nowhere.db").args(["account", "list"]).output().unwrap();
    assert!(
        !elsewhere.status.success() && said(&elsewhere).contains("there is no database at nowhere.db"),
        "{}",
        said(&elsewhere)
    );
    assert!(!place.directory().join("nowhere.db").exists(), "nothing is made");
    drop(server);
    place.remove().await;
}

on_both_databases!(i3_the_next_key_signs_after_a_while);
on_both_databases!(on_its_own_servers: i3_a_lost_key_is_replaced_at_once, i4_reset_two_factor, l4_support_work);
