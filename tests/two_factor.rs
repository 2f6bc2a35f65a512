//! Two-factor: SPEC I4, I5, I7, THREATS 8, 39–41.

use crate::{
    on_both_databases,
    support::{
        Reply, TestApp,
        people::{PASSWORD, Person},
    },
};
use chrono::TimeDelta;
use futures_util::future::join_all;
use serde_json::{Value, json};
use totp_rs::{Builder, Secret};

const SIGN_IN: &str = "mutation($l: String!, $p: String!, $c: String) { signIn(input: {login: $l, password: $p, code: $c}) { user { id } credentials { accessToken } userErrors { code field } } }";
const BEGIN: &str = "mutation { beginTwoFactor { secret otpauthUri qrCodeSvg userErrors { code } } }";
const CONFIRM: &str = "mutation($c: String!) { confirmTwoFactor(input: {code: $c}) { recoveryCodes userErrors { code field } } }";
const DISABLE: &str = "mutation($c: String!) { disableTwoFactor(input: {code: $c}) { disabled userErrors { code field } } }";
const RENEW: &str =
    "mutation($c: String!) { regenerateRecoveryCodes(input: {code: $c}) { recoveryCodes userErrors { code field } } }";
const AGAIN: &str = "mutation($c: String) { reauthenticate(input: {code: $c}) { until userErrors { code field } } }";
const ENABLED: &str = "{ viewer { twoFactorEnabled } }";

/// A device that holds a secret.
pub struct Device<'a> {
    app: &'a TestApp,
    secret: String,
}

impl Device<'_> {
    /// The code of this moment, or of so many steps later.
    pub fn code_in(&self, steps: i64) -> String {
        code_at(&self.secret, self.app.now().timestamp() + 30 * steps)
    }

    /// A code that was not used yet.
    fn next(&self) -> String {
        self.app.advance(TimeDelta::seconds(30));
        self.code_in(0)
    }
}

/// The code that a device with this secret shows at a second.
pub fn code_at(secret: &str, second: i64) -> String {
    let device = Builder::new().with_secret(Secret::try_from_base32(secret).unwrap()).with_account_name("x").build().unwrap();
    device.generate(u64::try_from(second).unwrap()).to_string()
}

fn codes(reply: &Value) -> Vec<String> {
    reply["recoveryCodes"].as_array().unwrap().iter().map(|code| code.as_str().unwrap().to_owned()).collect()
}

/// Somebody with two-factor on, their device and their recovery codes.
pub async fn protected<'a>(app: &'a TestApp, email: &str) -> (Person<'a>, Device<'a>, Vec<String>) {
    let person = app.person(email).await;
    let (device, recovery) = protect(&person).await;
    (person, device, recovery)
}

/// Switches somebody's two-factor on.
pub async fn protect<'a>(person: &Person<'a>) -> (Device<'a>, Vec<String>) {
    let secret = person.ask(BEGIN, Value::Null).await.payload()["secret"].as_str().unwrap().to_owned();
    let device = Device { app: person.app, secret };
    let recovery = codes(person.ask(CONFIRM, json!({ "c": device.code_in(0) })).await.payload());
    (device, recovery)
}

async fn sign_in(app: &TestApp, login: &str, code: Option<&str>) -> Vec<String> {
    app.ask(SIGN_IN, json!({ "l": login, "p": PASSWORD, "c": code })).await.user_errors()
}

/// I4: from the secret to the switch, and back.
async fn i4_on_and_off(app: &TestApp) {
    let ann = app.person("ann@x.example").await;
    assert_eq!(ann.ask(CONFIRM, json!({ "c": "123456" })).await.user_errors(), ["INVALID"], "nothing has begun");
    assert_eq!(ann.ask(DISABLE, json!({ "c": "123456" })).await.user_errors(), ["INVALID"]);
    let begun = ann.ask(BEGIN, Value::Null).await.payload().clone();
    let secret = begun["secret"].as_str().unwrap().to_owned();
    let uri = begun["otpauthUri"].as_str().unwrap();
    assert!(uri.starts_with("otpauth://totp/") && uri.contains(&secret) && uri.contains("ann%40x.example"), "{uri}");
    assert!(begun["qrCodeSvg"].as_str().unwrap().contains("<svg"));
    assert_eq!(sign_in(app, "ann", None).await, [""; 0], "nothing asks for codes yet");
    let again = ann.ask(BEGIN, Value::Null).await.payload()["secret"].as_str().unwrap().to_owned();
    assert_ne!(again, secret);
    let former = Device { app, secret };
    assert_eq!(ann.ask(CONFIRM, json!({ "c": former.code_in(0) })).await.user_errors(), ["WRONG_TWO_FACTOR_CODE at code"]);
    let device = Device { app, secret: again };
    let recovery = codes(ann.ask(CONFIRM, json!({ "c": device.code_in(0) })).await.payload());
    assert_eq!(recovery.len(), 10);
    assert_eq!(ann.ask(ENABLED, Value::Null).await.payload()["twoFactorEnabled"], true);
    assert_eq!(ann.ask(BEGIN, Value::Null).await.user_errors(), ["INVALID"]);
    assert_eq!(sign_in(app, "ann", None).await, ["TWO_FACTOR_CODE_REQUIRED at code"]);
    assert_eq!(sign_in(app, "ann", Some("000000")).await, ["WRONG_TWO_FACTOR_CODE at code"]);
    assert_eq!(sign_in(app, "ann", Some(&device.next())).await, [""; 0]);
    assert_eq!(ann.ask(DISABLE, json!({ "c": "000000" })).await.user_errors(), ["WRONG_TWO_FACTOR_CODE at code"]);
    assert_eq!(ann.ask(DISABLE, json!({ "c": device.next() })).await.payload()["disabled"], true);
    assert_eq!(sign_in(app, "ann", None).await, [""; 0]);
    let mails = app.mails_to("ann@x.example").await;
    let kinds: Vec<_> =
        mails.iter().filter(|mail| mail["kind"] == "two_factor_changed").map(|mail| mail["subject"].clone()).collect();
    assert_eq!(kinds[..2], [json!("Two-factor was switched off"), json!("Two-factor was switched on")]);
    // On again, at once: the codes are of another secret.
    let secret = ann.ask(BEGIN, Value::Null).await.payload()["secret"].as_str().unwrap().to_owned();
    let device = Device { app, secret };
    ann.ask(CONFIRM, json!({ "c": device.code_in(0) })).await.ok();
    assert_eq!(sign_in(app, "ann", Some(&recovery[0])).await, ["WRONG_TWO_FACTOR_CODE at code"], "codes of before");
}

/// THREATS 39: a code counts once, also of twenty tries at once, and none before it.
async fn threat_39_a_code_counts_once(app: &TestApp) {
    let (ann, device, _) = protected(app, "ann@x.example").await;
    assert_eq!(
        sign_in(app, "ann", Some(&device.code_in(0))).await,
        ["WRONG_TWO_FACTOR_CODE at code"],
        "it switched two-factor on"
    );
    let code = device.next();
    let tries = join_all((0..20).map(|_| app.ask(SIGN_IN, json!({ "l": "ann", "p": PASSWORD, "c": code })))).await;
    let counted = tries.iter().filter(|reply| reply.0["data"]["signIn"]["credentials"].is_object()).count();
    assert_eq!(counted, 1);
    let refused = |reply: &&Reply| {
        let wrong = &reply.0["data"]["signIn"]["userErrors"][0]["code"];
        reply.codes() == ["RATE_LIMITED"] || wrong == "WRONG_TWO_FACTOR_CODE"
    };
    assert_eq!(tries.iter().filter(refused).count(), 19);
    app.advance(TimeDelta::minutes(5));
    let (bob, device, _) = protected(app, "bob@x.example").await;
    let (early, late) = (device.code_in(0), device.code_in(1));
    assert_eq!(bob.ask(AGAIN, json!({ "c": late })).await.user_errors(), [""; 0], "half a minute early");
    for used in [early, late] {
        assert_eq!(bob.ask(AGAIN, json!({ "c": used })).await.user_errors(), ["WRONG_TWO_FACTOR_CODE at code"]);
    }
    drop(ann);
}

/// THREATS 40: a recovery code counts once, also of fifty tries at once; new ones end all before.
async fn threat_40_a_recovery_code_counts_once(place: crate::support::Place) {
    let app = TestApp::start(place, &[("sign_in_throttle", "off")]).await;
    let (ann, device, recovery) = protected(&app, "ann@x.example").await;
    let tries = join_all((0..50).map(|_| app.ask(SIGN_IN, json!({ "l": "ann", "p": PASSWORD, "c": recovery[0] })))).await;
    let counted = tries.iter().filter(|reply| reply.0["data"]["signIn"]["credentials"].is_object()).count();
    assert_eq!(counted, 1);
    assert_eq!(sign_in(&app, "ann", Some(&recovery[1].to_uppercase().replace('-', ""))).await, [""; 0], "as people type them");
    assert_eq!(ann.ask(AGAIN, json!({ "c": recovery[2] })).await.user_errors(), [""; 0]);
    let renewed = codes(ann.ask(RENEW, json!({ "c": device.next() })).await.payload());
    assert_eq!(sign_in(&app, "ann", Some(&recovery[3])).await, ["WRONG_TWO_FACTOR_CODE at code"]);
    assert_eq!(sign_in(&app, "ann", Some(&renewed[3])).await, [""; 0]);
    let log = ann.ask("{ viewer { activity(kinds: [RECOVERY_CODE_USED]) { totalCount } } }", Value::Null).await;
    assert_eq!(log.payload()["activity"]["totalCount"], 4);
    app.finish().await;
}

/// THREATS 8, 38: fifty codes in one document are fifty tries.
async fn threat_08_codes_can_not_be_guessed(app: &TestApp) {
    let ann = app.person("ann@x.example").await;
    ann.ask(BEGIN, Value::Null).await.ok();
    let many: String =
        (0..50).map(|n| format!("a{n}: confirmTwoFactor(input: {{code: \"{n:06}\"}}) {{ userErrors {{ code }} }} ")).collect();
    let reply = ann.ask(&format!("mutation {{ {many} }}"), Value::Null).await;
    assert_eq!(reply.codes(), ["RATE_LIMITED"; 45]);
}

/// I5, THREATS 8: a right password in between wipes out no wrong code.
async fn threat_08_a_password_buys_no_codes(app: &TestApp) {
    let (ann, ..) = protected(app, "ann@x.example").await;
    let again = "mutation($p: String) { reauthenticate(input: {password: $p}) { until userErrors { code } } }";
    let mut wrong = 0;
    for _ in 0..12 {
        wrong += usize::from(ann.ask(DISABLE, json!({ "c": "000000" })).await.codes().is_empty());
        ann.ask(again, json!({ "p": PASSWORD })).await.ok();
    }
    // Five are free. On a slow machine some seconds pass, after which one more may be tried, and again.
    assert!((5..=8).contains(&wrong), "{wrong}");
    let here = "mutation($p: String!, $d: String) { signIn(input: {login: \"ann\", password: $p, code: \"000000\", deviceToken: $d}) { userErrors { code } } }";
    assert_eq!(app.ask(here, json!({ "p": PASSWORD, "d": ann.device })).await.codes(), ["RATE_LIMITED"], "on the same device");
}

/// THREATS 41: another password by link leaves two-factor in the way.
async fn threat_41_a_reset_leaves_two_factor(app: &TestApp) {
    let (_, device, _) = protected(app, "ann@x.example").await;
    app.ask("mutation { requestPasswordReset(input: {email: \"ann@x.example\"}) { accepted } }", Value::Null).await.ok();
    let token = app.token_to("ann@x.example", "reset_password").await;
    let reset = "mutation($t: String!, $p: String!) { resetPassword(input: {token: $t, password: $p}) { user { id } userErrors { code } } }";
    app.ask(reset, json!({ "t": token, "p": PASSWORD })).await.ok();
    assert_eq!(sign_in(app, "ann", None).await, ["TWO_FACTOR_CODE_REQUIRED at code"]);
    assert_eq!(sign_in(app, "ann", Some(&device.next())).await, [""; 0]);
}

/// I4: an operator can switch somebody's two-factor off, and the user hears of it.
async fn i4_an_operator_can_reset_it(app: &TestApp) {
    let (ann, ..) = protected(app, "ann@x.example").await;
    let id = ann.id.parse().unwrap();
    assert!(keyholder::identity::two_factor::reset(app, id).await.unwrap());
    assert!(!keyholder::identity::two_factor::reset(app, id).await.unwrap(), "it is off");
    assert_eq!(sign_in(app, "ann", None).await, [""; 0]);
    let log = ann.ask("{ viewer { activity(first: 2) { nodes { kind actor { id } } } } }", Value::Null).await;
    assert_eq!(log.payload()["activity"]["nodes"][1], json!({ "kind": "TWO_FACTOR_RESET", "actor": null }));
    let told = app.mails_to("ann@x.example").await;
    assert!(told.iter().any(|mail| mail["text"].as_str().unwrap().contains("The operator did it.")), "{told:?}");
}

on_both_databases!(
    i4_on_and_off,
    threat_39_a_code_counts_once,
    threat_08_codes_can_not_be_guessed,
    threat_08_a_password_buys_no_codes,
    threat_41_a_reset_leaves_two_factor,
    i4_an_operator_can_reset_it,
);
on_both_databases!(on_its_own_servers: threat_40_a_recovery_code_counts_once);
