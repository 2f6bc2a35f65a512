//! What an account is called and billed by, who wants its e-mails, and one more account.

use crate::{
    on_both_databases,
    support::{Place, TestApp},
};
use serde_json::{Value, json};

const RENAME: &str = "mutation($n: String!) { renameAccount(input: {name: $n}) { account { name } userErrors { code field } } }";
const BILL: &str = "mutation($i: UpdateBillingInput!) { updateBilling(input: $i) { account { billing { company email addressLines country taxId } } userErrors { code field } } }";
const BILLING: &str = "{ account { billing { company email addressLines country taxId } } }";
const OPT_IN: &str = "mutation($o: Boolean!) { setEmailOptIn(input: {optIn: $o}) { optIn userErrors { code } } }";
const CREATE: &str =
    "mutation($n: String!) { createAccount(input: {name: $n}) { account { id name plan } userErrors { code field } } }";

/// `CHANGE_ORGANIZATION_NAME`, E2: Managers rename too; the log has the names before and after, and agencies see the new one.
async fn an_account_is_renamed(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let manager = owner.colleague("mona@agency.example", "MANAGER").await;
    let client = app.person("carl@client.example").await;
    owner.connect(&client, "ADMIN").await;
    assert_eq!(manager.ask(RENAME, json!({ "n": " Bright Harbor " })).await.payload()["account"]["name"], "Bright Harbor");
    for wrong in ["", "  ", "a\u{202e}b", &"x".repeat(101)] {
        assert_eq!(manager.ask(RENAME, json!({ "n": wrong })).await.user_errors(), ["INVALID at name"]);
    }
    manager.ask(RENAME, json!({ "n": "Bright Harbor" })).await.ok();
    let log = owner.log("ACCOUNT_RENAMED").await;
    assert_eq!(log.len(), 1, "the same name is no change");
    assert_eq!(log[0]["summary"], "mona renamed the account from olga's account to Bright Harbor.");
    let seen = client.ask("{ account { agencyConnections { nodes { agency { name } } } } }", Value::Null).await;
    assert_eq!(seen.payload()["agencyConnections"]["nodes"][0]["agency"]["name"], "Bright Harbor");
    let found = owner.ask("{ viewer { accounts(search: \"bright\") { nodes { name } } } }", Value::Null).await;
    assert_eq!(found.payload()["accounts"]["nodes"], json!([{ "name": "Bright Harbor" }]));
}

/// `CHANGE_BILLING_INFORMATION`: a field that is not given stays, null is nothing, and what is wrong is told with its place.
async fn billing_is_changed_field_by_field(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let blank = json!({ "company": null, "email": null, "addressLines": [], "country": null, "taxId": null });
    assert_eq!(owner.ask(BILLING, Value::Null).await.payload()["billing"], blank);
    let all = json!({ "company": "Bright Harbor GmbH", "email": "bills@x.example", "addressLines": ["Kai 1", "20457 Hamburg"], "country": "de", "taxId": "DE123" });
    owner.ask(BILL, json!({ "i": all })).await.ok();
    let some = owner.ask(BILL, json!({ "i": { "taxId": null, "country": "AT" } })).await;
    let expected = json!({ "company": "Bright Harbor GmbH", "email": "bills@x.example", "addressLines": ["Kai 1", "20457 Hamburg"], "country": "AT", "taxId": null });
    assert_eq!(some.payload()["account"]["billing"], expected);
    let nine: Vec<_> = (0..9).map(|n| n.to_string()).collect();
    let wrong = [
        (json!({ "country": "Germany" }), "INVALID at country"),
        (json!({ "email": "nonsense" }), "INVALID at email"),
        (json!({ "company": "a\nb" }), "INVALID at company"),
        (json!({ "addressLines": ["fine", "not\u{0} fine"] }), "INVALID at addressLines.1"),
        (json!({ "addressLines": nine }), "INVALID at addressLines"),
    ];
    for (input, told) in wrong {
        assert_eq!(owner.ask(BILL, json!({ "i": input })).await.user_errors(), [told]);
    }
    assert_eq!(owner.ask(BILLING, Value::Null).await.payload()["billing"], expected, "nothing of it was written");
    owner.ask(BILL, json!({ "i": {} })).await.ok();
    let log = owner.log("BILLING_CHANGED").await;
    assert_eq!((log.len(), &log[0]["before"], &log[0]["after"]), (2, &Value::Null, &Value::Null), "the log tells no values");
    let manager = owner.colleague("mona@agency.example", "MANAGER").await;
    assert_eq!(manager.ask(BILLING, Value::Null).await.codes(), ["FORBIDDEN"]);
}

/// `OPT_IN_TO_EMAILS`, U8: each for themselves, in each account; it goes with the access.
async fn opting_in_to_emails(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let viewer = owner.colleague("vera@agency.example", "VIEWER").await;
    let client = app.person("carl@client.example").await;
    let connection = owner.connect(&client, "VIEWER").await;
    let there = owner.acting_in(&client.account).await;
    let opted = async |person: &crate::support::people::Person<'_>| {
        person.ask("{ viewer { emailOptIn } }", Value::Null).await.payload()["emailOptIn"].clone()
    };
    assert_eq!(opted(&viewer).await, false);
    for person in [&viewer, &there] {
        person.ask(OPT_IN, json!({ "o": true })).await.ok();
        person.ask(OPT_IN, json!({ "o": true })).await.ok();
        assert_eq!(opted(person).await, true);
    }
    assert_eq!((opted(&owner).await, opted(&client).await), (json!(false), json!(false)));
    client.end(&connection).await.ok();
    let connection = owner.connect(&client, "VIEWER").await;
    assert_eq!(opted(&there).await, false, "it went with the connection {connection}");
    // Whoever has another way in keeps what they chose: here by another agency that they are of.
    let other = app.agency("otto@other.example").await;
    other.invite(&[&owner.email], "ADMIN").await.ok();
    let invited = owner.ask("{ viewer { invitations { nodes { id } } } }", Value::Null).await.payload()["invitations"]["nodes"]
        [0]["id"]
        .clone();
    owner
        .ask(
            "mutation($i: ID!) { acceptInvitation(input: {invitationId: $i}) { level userErrors { code } } }",
            json!({ "i": invited }),
        )
        .await
        .ok();
    let elsewhere = owner.acting_in(&other.account).await;
    let second = elsewhere.request_one("carl@client.example").await;
    client.approve(&second, "VIEWER").await.ok();
    there.ask(OPT_IN, json!({ "o": true })).await.ok();
    client.end(&connection).await.ok();
    assert_eq!(opted(&owner.acting_in(&client.account).await).await, true);
    viewer.ask(OPT_IN, json!({ "o": false })).await.ok();
    assert_eq!(opted(&viewer).await, false);
}

/// One more account of one's own; the session stays where it is.
async fn one_more_account(place: Place) {
    let owned = TestApp::start(place, &[("accounts_per_user_per_day", "100")]).await;
    let app = &owned;
    let new = app.newcomer("nora@x.example").await;
    assert_eq!(new.ask(CREATE, json!({ "n": "Second" })).await.user_errors(), ["EMAIL_NOT_VERIFIED"]);
    let ann = app.person("ann@x.example").await;
    assert_eq!(ann.ask(CREATE, json!({ "n": "" })).await.user_errors(), ["INVALID at name"]);
    let made = ann.ask(CREATE, json!({ "n": "Second" })).await.payload()["account"].clone();
    assert_eq!((&made["name"], &made["plan"]), (&json!("Second"), &Value::Null), "the request acts elsewhere");
    let here = ann.ask("{ account { id } }", Value::Null).await;
    assert_eq!(here.payload()["id"], json!(ann.account));
    let there = ann.acting_in(made["id"].as_str().unwrap()).await;
    assert_eq!(there.level().await.as_deref(), Some("OWNER"));
    assert_eq!(there.ask("{ account { plan } }", Value::Null).await.payload()["plan"], "FREE");
    for n in 2..50 {
        ann.ask(CREATE, json!({ "n": format!("account {n}") })).await.ok();
    }
    assert_eq!(ann.ask(CREATE, json!({ "n": "one too many" })).await.user_errors(), ["INVALID"]);
    owned.finish().await;
}

on_both_databases!(an_account_is_renamed, billing_is_changed_field_by_field, opting_in_to_emails);
on_both_databases!(on_its_own_servers: one_more_account);
