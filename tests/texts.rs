//! What people may write, and how it is shown: SPEC E7; THREATS 58, 59, 85.

use crate::{
    on_both_databases,
    support::{TestApp, people::PASSWORD},
};
use serde_json::{Value, json};

/// Every mutation that takes a name or a message, with `$t` where it goes.
const TEXTS: &[(&str, &str)] = &[
    ("updateProfile(input: {name: $t}) { userErrors { code message } }", "name"),
    ("createAccount(input: {name: $t}) { userErrors { code message } }", "name"),
    ("renameAccount(input: {name: $t}) { userErrors { code message } }", "name"),
    ("createApiKey(input: {name: $t}) { userErrors { code message } }", "name"),
    ("updateBilling(input: {company: $t}) { userErrors { code message } }", "name"),
    ("updateBilling(input: {taxId: $t}) { userErrors { code message } }", "name"),
    ("updateBilling(input: {addressLines: [$t]}) { userErrors { code message } }", "name"),
    ("inviteUsers(input: {emails: [\"zoe@x.example\"], level: VIEWER, message: $t}) { userErrors { code message } }", "message"),
    ("requestClientAccess(input: {emails: [\"zoe@x.example\"], message: $t}) { userErrors { code message } }", "message"),
];

/// THREATS 85: a name that shows nothing, or that piles up marks, is refused wherever a name or a message is taken, and the error
/// names the character; what people write in their languages is taken.
async fn threat_85_what_cannot_be_seen_is_refused(app: &TestApp) {
    let ann = app.agency("ann@x.example").await;
    let refused = async |mutation: &str, text: &str| {
        let reply = ann.ask(&format!("mutation($t: String!) {{ done: {mutation} }}"), json!({ "t": text })).await;
        let errors =
            reply.0["data"]["done"]["userErrors"].as_array().unwrap_or_else(|| panic!("{mutation}: {}", reply.0)).clone();
        errors.first().map(|error| format!("{}: {}", error["code"].as_str().unwrap(), error["message"].as_str().unwrap()))
    };
    for (mutation, kind) in TEXTS {
        for (text, character) in [
            ("Ann\u{3164}", "U+3164 (Hangul filler)"),
            ("Ann\u{e0041}\u{e0042}", "U+E0041 (a tag)"),
            ("Ann\u{fe0f}", "U+FE0F (variation selector)"),
            ("Ann\u{200d}Lee", "U+200D (zero-width joiner)"),
            ("Ann\u{202e}eeL", "U+202E (a mark of writing direction)"),
            (&format!("A{}nn", "\u{30d}".repeat(90)), "U+030D"),
        ] {
            let error = refused(mutation, text).await.unwrap_or_else(|| panic!("{mutation} takes {text:?}"));
            assert!(error.starts_with("INVALID: ") && error.contains(character), "{mutation}: {error}");
        }
        if *kind == "name" {
            for text in ["\u{2800}\u{2800}", "\u{3164}", "\u{a0}", "\u{301}\u{301}", "\u{1d159}"] {
                assert!(
                    refused(mutation, text).await.is_some_and(|error| error.starts_with("INVALID: ")),
                    "{mutation} takes {text:?}"
                );
            }
        }
        assert_eq!(refused(mutation, "Nguyễn ශ්\u{200d}රී می\u{200c}خواهم 👩🏽\u{200d}💻 สมชาย").await, None, "{mutation}");
    }
    let sign_up = "mutation($i: SignUpInput!) { signUp(input: $i) { userErrors { code field } } }";
    for (field, text) in [("name", "\u{3164}"), ("accountName", "\u{2800}")] {
        let mut input = json!({ "email": "bob@x.example", "password": PASSWORD, "name": "Bob" });
        input[field] = json!(text);
        assert_eq!(app.ask(sign_up, json!({ "i": input })).await.user_errors(), [format!("INVALID at {field}")]);
    }
    for email in ["\u{2800}@x.example", "a\u{3164}@x.example", "\u{301}@x.example"] {
        let input = json!({ "email": email, "password": PASSWORD, "name": "Bob" });
        assert_eq!(app.ask(sign_up, json!({ "i": input })).await.user_errors(), ["INVALID at email"], "{email:?}");
    }
}

/// THREATS 85, C3: the line that guards people from impostors shows a look-alike domain as what it is, in the mail and in the API;
/// letters beyond ASCII before the @ are pointed out.
async fn threat_85_a_look_alike_domain_is_shown_in_ascii(app: &TestApp) {
    // The first letter of the domain is Cyrillic.
    let agency = app.agency("grace@\u{430}pple.example").await;
    let client = app.person("carl@client.example").await;
    let connection = agency.request_one("carl@client.example").await;
    let mails = app.mails_to("carl@client.example").await;
    let mail = mails.iter().find(|mail| mail["kind"] == "access_request").unwrap();
    for part in ["text", "html"] {
        let part = mail[part].as_str().unwrap();
        assert!(part.contains("grace@xn--pple-43d.example") && !part.contains('\u{430}'), "{part}");
    }
    let profile = "query($c: ID!) { node(id: $c) { ... on ClientConnection { agencyProfile { requesterEmail } } } }";
    let shown = client.ask(profile, json!({ "c": connection })).await.payload()["agencyProfile"]["requesterEmail"].clone();
    assert_eq!(shown, "grace@xn--pple-43d.example");
    let other = app.agency("gr\u{430}ce@agency.example").await;
    other.request_one("carl@client.example").await;
    let mails = app.mails_to("carl@client.example").await;
    let mail = mails.iter().find(|mail| mail["kind"] == "access_request").unwrap()["text"].as_str().unwrap();
    assert!(mail.replace(['\n', '\r'], " ").contains("letters other than a to z"), "{mail}");
    // What is told to the former address of a login is such a guard too.
    let change = "mutation { changeEmail(input: {email: \"carl@\u{430}pple.example\"}) { userErrors { code } } }";
    client.ask(change, Value::Null).await.ok();
    let token = app.token_to("carl@\u{430}pple.example", "verify_email").await;
    let verify = "mutation($t: String!) { verifyEmail(input: {token: $t}) { userErrors { code } } }";
    client.ask(verify, json!({ "t": token })).await.ok();
    let mails = app.mails_to("carl@client.example").await;
    let mail = mails.iter().find(|mail| mail["kind"] == "email_changed").unwrap()["text"].as_str().unwrap();
    assert!(mail.contains("carl@xn--pple-43d.example"), "{mail}");
}

on_both_databases!(threat_85_what_cannot_be_seen_is_refused, threat_85_a_look_alike_domain_is_shown_in_ascii);
