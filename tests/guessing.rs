//! Who guesses is slowed down: SPEC I5, THREATS 8, 36.

use crate::{
    on_both_databases,
    support::{Place, TestApp, people::PASSWORD},
};
use futures_util::future::join_all;
use serde_json::{Value, json};

const SIGN_IN: &str =
    "mutation($l: String!, $p: String!) { signIn(input: {login: $l, password: $p}) { user { id } userErrors { code } } }";

const ON_DEVICE: &str = "mutation($l: String!, $p: String!, $d: String) { signIn(input: {login: $l, password: $p, deviceToken: $d}) { user { id } userErrors { code } } }";

fn codes(answer: &Value) -> Vec<String> {
    let errors = answer["errors"].as_array().cloned().unwrap_or_default();
    errors.iter().map(|error| error["extensions"]["code"].as_str().unwrap_or_default().to_owned()).collect()
}

/// THREATS 8: fifty tries in one document are fifty tries, on one person's password as on many's, and on links.
async fn threat_08_aliases_multiply_no_tries(app: &TestApp) {
    let ann = app.person("ann@x.example").await;
    let many = |field: &dyn Fn(usize) -> String| {
        let fields: String = (0..50).map(|n| format!("a{n}: {} ", field(n))).collect();
        format!("mutation {{ {fields} }}")
    };
    let one = many(&|_| r#"signIn(input: {login: "ann@x.example", password: "wrong"}) { userErrors { code } }"#.to_owned());
    let answer = app.ask(&one, Value::Null).await.0;
    assert_eq!(codes(&answer), ["RATE_LIMITED"; 45], "five are free");
    assert_eq!(answer["data"]["a4"]["userErrors"][0]["code"], "WRONG_CREDENTIALS");
    assert_eq!(answer["errors"][0]["extensions"]["retryAfter"], 1);
    // The right password has no more tries either. By the username it has: else it would tell that it is the same person's.
    assert_eq!(app.ask(SIGN_IN, json!({ "l": "ANN@x.example", "p": PASSWORD })).await.codes(), ["RATE_LIMITED"]);
    app.ask(SIGN_IN, json!({ "l": "ann", "p": PASSWORD })).await.ok();
    let others =
        many(&|n| format!(r#"signIn(input: {{login: "b{n}@x.example", password: "wrong"}}) {{ userErrors {{ code }} }}"#));
    let limited = codes(&app.ask(&others, Value::Null).await.0);
    assert_eq!(limited, ["RATE_LIMITED"; 25], "thirty wrong ones from one address");
    let links = many(&|n| format!(r#"acceptInvitation(input: {{token: "nonsense{n}"}}) {{ userErrors {{ code }} }}"#));
    assert_eq!(codes(&ann.ask(&links, Value::Null).await.0), ["RATE_LIMITED"; 30]);
}

/// I5: the setting turns it off.
async fn i5_throttling_can_be_off(place: Place) {
    let app = TestApp::start(place, &[("sign_in_throttle", "off")]).await;
    app.person("ann@x.example").await;
    for _ in 0..10 {
        assert_eq!(app.ask(SIGN_IN, json!({ "l": "ann", "p": "wrong" })).await.user_errors(), ["WRONG_CREDENTIALS"]);
    }
    app.ask(SIGN_IN, json!({ "l": "ann", "p": PASSWORD })).await.ok();
    app.finish().await;
}

/// I2, THREATS 36: of two hundred sign-ins at once those that can't wait are told to come again, and the rest are signed in.
async fn threat_36_two_hundred_sign_ins_at_once(place: Place) {
    let app = TestApp::start(place, &[("sign_in_throttle", "off")]).await;
    let device = app.person("ann@x.example").await.device;
    let replies = join_all((0..200).map(|_| app.ask(ON_DEVICE, json!({ "l": "ann", "p": PASSWORD, "d": device })))).await;
    let signed_in = replies.iter().filter(|reply| reply.0["data"]["signIn"]["user"]["id"].is_string()).count();
    let told: Vec<_> = replies.iter().flat_map(|reply| reply.codes()).collect();
    assert_eq!((signed_in + told.len(), told.iter().all(|code| *code == "RATE_LIMITED")), (200, true), "{told:?}");
    assert!(signed_in >= 64 && !told.is_empty(), "{signed_in}");
    let limited = replies.iter().find(|reply| !reply.codes().is_empty()).unwrap();
    assert_eq!(limited.0["errors"][0]["extensions"]["retryAfter"], 1);
    app.ask(SIGN_IN, json!({ "l": "ann", "p": PASSWORD })).await.ok();
    app.finish().await;
}

on_both_databases!(threat_08_aliases_multiply_no_tries);
on_both_databases!(on_its_own_servers: threat_36_two_hundred_sign_ins_at_once, i5_throttling_can_be_off);
