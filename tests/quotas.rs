//! What one user can cause, and what nobody can use up for others: SPEC C2, I8, THREATS 51, 78, 79, 83.

use crate::{
    on_both_databases,
    support::{
        Place, Reply, TestApp,
        people::{PASSWORD, Person},
    },
};
use chrono::TimeDelta;
use futures_util::future::join_all;
use keyholder::db::Sql;
use serde_json::{Value, json};

const CREATE: &str = "mutation($n: String!) { createAccount(input: {name: $n}) { account { id } userErrors { code retryAt } } }";
const CLOSE: &str = "mutation($n: String!) { closeAccount(input: {confirmation: $n}) { accountId userErrors { code } } }";
const BECOME_AGENCY: &str = "mutation { joinPartnerProgram { userErrors { code } } enableClientAccess { userErrors { code } } }";
const CANCEL: &str = "mutation($c: ID!) { cancelClientRequest(input: {connectionId: $c}) { userErrors { code } } }";
const DELIVERIES: &str = "{ account { invitations(first: 50) { nodes { email delivery { status detail } } } } }";
const RESET: &str = "mutation($e: String!) { requestPasswordReset(input: {email: $e}) { accepted } }";
const SIGN_UP: &str =
    "mutation($i: SignUpInput!) { signUp(input: $i) { credentials { accessToken } userErrors { code field } } }";

fn addresses(name: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{name}{n}@x.example")).collect()
}

async fn request_all(person: &Person<'_>, addresses: &[String]) -> Reply {
    person.request(&addresses.iter().map(String::as_str).collect::<Vec<_>>()).await
}

/// Another account of this person, which acts as an agency.
async fn next_agency<'a>(person: &Person<'a>, name: &str) -> Person<'a> {
    let id = person.ask(CREATE, json!({ "n": name })).await.payload()["account"]["id"].as_str().unwrap().to_owned();
    let agency = person.acting_in(&id).await;
    agency.ask(BECOME_AGENCY, Value::Null).await.ok();
    agency
}

async fn requests_sent(app: &TestApp, addresses: &[String]) -> usize {
    let mut sent = 0;
    for address in addresses {
        sent += app.mails_to(address).await.len();
    }
    sent
}

/// C2, I8, THREATS 79: a user who opens one agency after the other gets no more requests, and no more accounts.
async fn c2_threat_79_many_agencies_of_one_user(app: &TestApp) {
    let person = app.person("spam@x.example").await;
    let (mut opened, mut victims) = (0, Vec::new());
    let refused = loop {
        let name = format!("Agency {opened}");
        let reply = person.ask(CREATE, json!({ "n": name })).await;
        if !reply.user_errors().is_empty() {
            break reply;
        }
        let id = reply.payload()["account"]["id"].as_str().unwrap().to_owned();
        let agency = person.acting_in(&id).await;
        agency.ask(BECOME_AGENCY, Value::Null).await.ok();
        let list = addresses(&format!("victim{opened}-"), 35);
        let errors = request_all(&agency, &list).await.user_errors();
        assert_eq!(errors.len(), if opened == 0 { 0 } else { 35 }, "agency {opened}");
        assert!(errors.iter().all(|error| error.starts_with("DAILY_LIMIT_REACHED")), "{errors:?}");
        app.mails_to(&list[0]).await;
        agency.ask(CLOSE, json!({ "n": name })).await.ok();
        victims.extend(list);
        opened += 1;
    };
    assert_eq!((opened, refused.user_errors()), (4, vec!["DAILY_LIMIT_REACHED".to_owned()]), "the sign-up opened one too");
    assert!(refused.0["data"]["createAccount"]["userErrors"][0]["retryAt"].is_string());
    assert_eq!(requests_sent(app, &victims).await, 35);
    app.advance(TimeDelta::hours(24));
    let agency = next_agency(&person.sign_in().await, "Tomorrow").await;
    request_all(&agency, &addresses("tomorrow", 35)).await.ok();
}

/// C2, THREATS 51: the last place of the day goes once, also over two agencies at once.
async fn c2_threat_51_the_35th_over_two_agencies(app: &TestApp) {
    let person = app.person("ann@x.example").await;
    let agencies = [next_agency(&person, "One").await, next_agency(&person, "Two").await];
    request_all(&agencies[0], &addresses("a", 17)).await.ok();
    request_all(&agencies[1], &addresses("b", 17)).await.ok();
    let addresses = addresses("last", 20);
    let race = addresses.iter().enumerate().map(|(n, address)| request_all(&agencies[n % 2], std::slice::from_ref(address)));
    let replies = join_all(race).await;
    assert_eq!(replies.iter().filter(|reply| reply.user_errors().is_empty()).count(), 1);
    // Another user of the same agency has a limit of their own, and the agency's.
    let limits = agencies[0].ask("{ account { clientRequestQuota { used remaining } } }", Value::Null).await;
    assert!(limits.payload()["clientRequestQuota"]["used"].as_u64().unwrap() <= 18);
}

/// I8, THREATS 83: requests and cancels of one sender leave the place of another's invitation.
async fn i8_threat_83_an_employers_invitation_arrives(app: &TestApp) {
    let stranger = app.agency("sam@agency.example").await;
    for _ in 0..10 {
        let id = stranger.request_one("kim@x.example").await;
        app.mails_to("kim@x.example").await;
        stranger.ask(CANCEL, json!({ "c": id })).await.ok();
    }
    assert_eq!(app.mails_to("kim@x.example").await.len(), 6);
    let employer = app.person("eve@employer.example").await;
    employer.plan("PREMIUM").await.ok();
    employer.invite(&["kim@x.example"], "VIEWER").await.ok();
    let mails = app.mails_to("kim@x.example").await;
    assert_eq!((mails.len(), &mails[0]["kind"]), (7, &json!("invitation")));
    let list = employer.ask(DELIVERIES, Value::Null).await;
    assert_eq!(list.payload()["invitations"]["nodes"][0]["delivery"]["status"], "SENT");
}

async fn inviter<'a>(app: &'a TestApp, name: &str) -> Person<'a> {
    let person = app.person(&format!("{name}@x.example")).await;
    person.plan("PREMIUM").await.ok();
    person
}

async fn mails_with_tags(app: &TestApp, name: &str, count: usize) -> usize {
    let mut sent = 0;
    for n in 0..count {
        sent += app.mails_to(&format!("{name}+{n}@x.example")).await.len();
    }
    sent
}

/// I8: a mailbox gets six from one user, whatever tags its address has; the others are recorded and say why they failed.
async fn i8_tags_share_a_mailbox(app: &TestApp) {
    let ann = inviter(app, "ann").await;
    let list: Vec<_> = (0..10).map(|n| format!("bob+{n}@x.example")).collect();
    ann.invite(&list.iter().map(String::as_str).collect::<Vec<_>>(), "VIEWER").await.ok();
    assert_eq!(mails_with_tags(app, "bob", 10).await, 6);
    let list = ann.ask(DELIVERIES, Value::Null).await.payload()["invitations"]["nodes"].clone();
    let failed: Vec<_> = list.as_array().unwrap().iter().filter(|node| node["delivery"]["status"] == "FAILED").collect();
    assert_eq!(failed.len(), 4);
    let why = "Not sent: one user can send at most 6 invitations and requests to an address in 24 hours. Resend it later.";
    assert!(failed.iter().all(|node| node["delivery"]["detail"] == why), "{failed:?}");
    app.advance(TimeDelta::hours(24));
    ann.sign_in().await.invite(&["bob+x@x.example"], "VIEWER").await.ok();
    assert_eq!(app.mails_to("bob+x@x.example").await.len(), 1);
}

/// I8: a mailbox gets twenty from all, exactly also at once; a user's first one arrives even then, and the next one does not.
async fn i8_twenty_from_all_and_a_first_one(app: &TestApp) {
    let list: Vec<_> = (0..6).map(|n| format!("bob+{n}@x.example")).collect();
    let list: Vec<_> = list.iter().map(String::as_str).collect();
    let mut senders = Vec::new();
    for name in ["ann", "ben", "cyd", "dan"] {
        senders.push(inviter(app, name).await);
    }
    for reply in join_all(senders.iter().map(|sender| sender.invite(&list, "VIEWER"))).await {
        reply.ok();
    }
    assert_eq!(mails_with_tags(app, "bob", 6).await, 20);
    let eve = inviter(app, "eve").await;
    eve.invite(&["bob@x.example", "bob+last@x.example"], "VIEWER").await.ok();
    assert_eq!((app.mails_to("bob@x.example").await.len(), app.mails_to("bob+last@x.example").await.len()), (1, 0));
}

/// I8: a user's e-mails to others are counted over all their accounts. Those past the limit are recorded and fail; a notice about
/// access is sent all the same, and others can go on.
async fn i8_the_days_mails_of_a_user(place: Place) {
    let app = TestApp::start(place, &[("mails_per_user_per_day", "5")]).await;
    let ann = inviter(&app, "ann").await;
    let bob = ann.colleague("bob@x.example", "ADMIN").await;
    ann.invite(&["c1@x.example", "c2@x.example"], "VIEWER").await.ok();
    let agency = next_agency(&ann, "Second").await;
    agency.request(&["c3@x.example", "c4@x.example", "c5@x.example"]).await.ok();
    let query = "{ account { clientConnections { nodes { clientEmail delivery { status detail } } } } }";
    let list = agency.ask(query, Value::Null).await.payload()["clientConnections"]["nodes"].clone();
    let failed: Vec<_> = list.as_array().unwrap().iter().filter(|node| node["delivery"]["status"] == "FAILED").collect();
    assert_eq!(failed.len(), 1);
    let why = failed[0]["delivery"]["detail"].as_str().unwrap();
    assert!(why.starts_with("Not sent: the sender caused as many e-mails to others as one user can"), "{why}");
    assert_eq!(requests_sent(&app, &addresses("c", 6)).await, 4);
    agency.ask(CLOSE, json!({ "n": "Second" })).await.ok();
    ann.invite(&["c6@x.example"], "VIEWER").await.ok();
    assert_eq!(app.mails_to("c6@x.example").await.len(), 0, "a closed account's e-mails still count");
    // Another user of the same account is not held back.
    bob.invite(&["c7@x.example"], "VIEWER").await.ok();
    assert_eq!(app.mails_to("c7@x.example").await.len(), 1);
    ann.revoke(&bob.id).await.ok();
    assert_eq!(app.mails_to("bob@x.example").await[0]["kind"], "access_revoked", "whoever is concerned hears of it");
    app.advance(TimeDelta::hours(24));
    ann.sign_in().await.invite(&["c8@x.example"], "VIEWER").await.ok();
    assert_eq!(app.mails_to("c8@x.example").await.len(), 1);
    app.finish().await;
}

/// As a client of this address, through a proxy that the server trusts.
async fn ask_from(app: &TestApp, address: &str, query: &str, variables: Value) -> Reply {
    let request = app.http.post(format!("{}/graphql", app.url)).header("x-forwarded-for", address);
    Reply(request.json(&json!({ "query": query, "variables": variables })).send().await.unwrap().json().await.unwrap())
}

async fn reset_from(app: &TestApp, address: &str, email: &str) -> Vec<String> {
    ask_from(app, address, RESET, json!({ "e": email })).await.codes().into_iter().map(str::to_owned).collect()
}

/// I8, I5, THREATS 37, 83: one network gets six links a day to a mailbox, known or not, and is told so; another network still gets
/// its own, and the plain address one an hour in any case.
async fn i8_threat_83_a_reset_cannot_be_used_up(place: Place) {
    let app = TestApp::start(place, &[("trusted_proxies", "127.0.0.1")]).await;
    app.person("ann@x.example").await;
    for known in ["ann@x.example", "nobody@x.example"] {
        for n in 0..6 {
            assert_eq!(reset_from(&app, "2001:db8:1::1", known).await, [""; 0], "{known} {n}");
        }
        // Another network of the same customer.
        let refused = ask_from(&app, "2001:db8:1:ff::2", RESET, json!({ "e": known })).await;
        assert_eq!(refused.codes(), ["RATE_LIMITED"], "{known}");
        let wait = refused.0["errors"][0]["extensions"]["retryAfter"].as_u64().unwrap();
        assert!((3_500..=3_600).contains(&wait), "{known} {wait}");
        assert_eq!(reset_from(&app, "2001:db8:2::1", known).await, [""; 0], "{known}, from elsewhere");
        assert_eq!(reset_from(&app, "2001:db8:1::1", &known.replace('@', "+tag@")).await, ["RATE_LIMITED"], "{known}");
    }
    assert_eq!(app.mails_to("ann@x.example").await.iter().filter(|mail| mail["kind"] == "reset_password").count(), 7);
    app.advance(TimeDelta::hours(1));
    for known in ["ann@x.example", "nobody@x.example"] {
        assert_eq!(reset_from(&app, "2001:db8:1::1", known).await, [""; 0], "{known}, an hour later");
        assert_eq!(reset_from(&app, "2001:db8:1::1", known).await, ["RATE_LIMITED"], "{known}");
    }
    app.finish().await;
}

/// I8: sign-ups with tags fill nobody's mailbox, and don't keep its owner from signing up.
async fn i8_sign_ups_do_not_fill_a_mailbox(place: Place) {
    let app = TestApp::start(place, &[("trusted_proxies", "127.0.0.1")]).await;
    let sign_up = async |address: &str, email: &str| {
        let input = json!({ "email": email, "password": PASSWORD, "name": "bob" });
        ask_from(&app, address, SIGN_UP, json!({ "i": input })).await
    };
    let mut refused = 0;
    for n in 0..12 {
        refused += sign_up("192.0.2.1", &format!("bob+{n}@x.example")).await.codes().len();
    }
    assert_eq!((refused, mails_with_tags(&app, "bob", 12).await), (6, 6));
    sign_up("192.0.2.2", "bob+x@x.example").await.ok();
    sign_up("192.0.2.1", "bob@x.example").await.ok();
    assert_eq!((app.mails_to("bob+x@x.example").await.len(), app.mails_to("bob@x.example").await.len()), (1, 1));
    // Who was refused is no user, and can try again later.
    app.advance(TimeDelta::hours(24));
    sign_up("192.0.2.1", "bob+11@x.example").await.ok();
    app.finish().await;
}

/// C6: a requester who is suspended in the agency gets no e-mail about the client; the Owner gets it.
async fn c6_a_suspended_requester_gets_no_mail(app: &TestApp) {
    let owner = app.agency("ann@agency.example").await;
    let admin = owner.colleague("bob@agency.example", "ADMIN").await;
    let client = app.person("carl@client.example").await;
    let other = app.person("dora@client.example").await;
    let approved = admin.request_one(&client.email).await;
    let declined = admin.request_one(&other.email).await;
    owner.keep_out("suspendUser", &admin.id).await.ok();
    client.approve(&approved, "MANAGER").await.ok();
    let decline = "mutation($c: ID!) { declineClientRequest(input: {connectionId: $c}) { userErrors { code } } }";
    other.ask(decline, json!({ "c": declined })).await.ok();
    client.end(&approved).await.ok();
    let kinds = async |email: &str| -> Vec<String> {
        let mails = app.mails_to(email).await;
        mails.iter().rev().map(|mail| mail["kind"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(
        kinds(&admin.email).await.iter().filter(|kind| kind.starts_with("access") || kind.starts_with("connection")).count(),
        0
    );
    assert!(kinds(&owner.email).await.ends_with(&["access_approved", "access_declined", "connection_ended"].map(str::to_owned)));
}

/// Every path that takes an address, each asked about addresses that are somebody's and addresses that are nobody's.
struct Even<'a> {
    app: &'a TestApp,
    known: Vec<String>,
    unknown: Vec<String>,
}

impl Even<'_> {
    /// A question must cost as many statements for every address. The least of some tries counts, since the sweeper asks in between.
    async fn costs_the_same(&self, path: &str, question: impl AsyncFn(usize, &str) -> Reply) {
        let mut least = [u64::MAX; 2];
        let mut words = [const { Vec::new() }; 2];
        for n in 0..self.known.len() {
            for (kind, list) in [&self.known, &self.unknown].into_iter().enumerate() {
                let before = self.app.app.db.statements();
                let reply = question(2 * n + kind, &list[n]).await;
                least[kind] = least[kind].min(self.app.app.db.statements() - before);
                let errors = reply.0["data"].as_object().and_then(|data| data.values().next());
                let codes = errors.and_then(|payload| payload["userErrors"].as_array()).into_iter().flatten();
                words[kind].push((reply.codes().len(), codes.map(|error| error["code"].clone()).collect::<Vec<_>>()));
            }
        }
        assert_eq!(least[0], least[1], "{path}: statements for known and unknown addresses");
        assert_eq!(words[0], words[1], "{path}: answers for known and unknown addresses");
        assert!(least[0] > 0, "{path}");
    }
}

/// A mail server that takes connections and says nothing: the outbox waits for it, and its statements don't disturb the count.
async fn silent_mail_server() -> (String, tokio::task::JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("smtp://{}", listener.local_addr().unwrap());
    let silence = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((socket, _)) = listener.accept().await {
            held.push(socket);
        }
    });
    (url, silence)
}

/// C3, THREATS 37, 78: the same statements run whether or not an address is somebody's, within a quota and past it.
async fn c3_threat_78_the_same_statements_for_every_address(place: Place) {
    let (smtp, silence) = silent_mail_server().await;
    let settings = [
        ("dev", "off"),
        ("smtp_url", &*smtp),
        ("mail_from", "no-reply@keyholder.example"),
        ("plan_changes", "self"),
        ("client_requests_per_day", "8"),
    ];
    let app = TestApp::start(place, &settings).await;
    let mut people = Vec::new();
    for name in ["k0", "k1", "k2", "ann", "ben"] {
        people.push(app.newcomer(&format!("{name}@x.example")).await);
    }
    Sql::new("UPDATE users SET email_verified_at = created_at").run(app.app.db.writer()).await.unwrap();
    let (ann, ben) = (&people[3], &people[4]);
    for person in [ann, ben] {
        person.plan("PREMIUM").await.ok();
        person.ask(BECOME_AGENCY, Value::Null).await.ok();
    }
    let even = Even { app: &app, known: addresses("k", 3), unknown: addresses("u", 3) };
    let sign_in = "mutation($e: String!) { signIn(input: {login: $e, password: \"not it at all\"}) { userErrors { code } } }";
    even.costs_the_same("signIn", async |_, email| app.ask(sign_in, json!({ "e": email })).await).await;
    even.costs_the_same("requestPasswordReset", async |_, email| app.ask(RESET, json!({ "e": email })).await).await;
    even.costs_the_same("inviteUsers", async |_, email| ann.invite(&[email], "VIEWER").await).await;
    even.costs_the_same("requestClientAccess", async |_, email| ann.request(&[email]).await).await;
    let list = ann
        .ask("{ account { clientConnections { nodes { id clientEmail } } invitations { nodes { id email } } } }", Value::Null)
        .await;
    let id_of = |list: &Value, field: &str, email: &str| {
        let node = list["nodes"].as_array().unwrap().iter().find(|node| node[field] == email).unwrap().clone();
        node["id"].as_str().unwrap().to_owned()
    };
    let (requests, invitations) = (&list.payload()["clientConnections"], &list.payload()["invitations"]);
    app.advance(TimeDelta::minutes(2));
    let resend = "mutation($c: ID!) { resendClientRequest(input: {connectionId: $c}) { userErrors { code } } }";
    even.costs_the_same("resendClientRequest", async |_, email| {
        ann.ask(resend, json!({ "c": id_of(requests, "clientEmail", email) })).await
    })
    .await;
    even.costs_the_same("cancelClientRequest", async |_, email| {
        ann.ask(CANCEL, json!({ "c": id_of(requests, "clientEmail", email) })).await
    })
    .await;
    let resend =
        "mutation($i: ID!, $e: String!) { resendInvitation(input: {invitationId: $i, email: $e}) { userErrors { code } } }";
    let cancel = "mutation($i: ID!) { cancelInvitation(input: {invitationId: $i}) { userErrors { code } } }";
    for email in &even.known {
        ann.ask(cancel, json!({ "i": id_of(invitations, "email", email) })).await.ok();
    }
    let others: Vec<_> = addresses("other", 6);
    let invited = ann.invite(&others.iter().map(String::as_str).collect::<Vec<_>>(), "VIEWER").await;
    let invited = invited.payload()["invitations"].clone();
    for email in &even.unknown {
        ann.ask(cancel, json!({ "i": id_of(invitations, "email", email) })).await.ok();
    }
    app.advance(TimeDelta::minutes(2));
    even.costs_the_same("resendInvitation to another address", async |n, email| {
        ann.ask(resend, json!({ "i": invited[n]["id"], "e": email })).await
    })
    .await;
    request_all(ben, &addresses("junk", 8)).await.ok();
    even.costs_the_same("requestClientAccess past the quota", async |_, email| ben.request(&[email]).await).await;
    let change = "mutation($e: String!) { changeEmail(input: {email: $e}) { userErrors { code } } }";
    let few = Even { app: &app, known: addresses("k", 2), unknown: addresses("u", 2) };
    few.costs_the_same("changeEmail", async |_, email| ann.ask(change, json!({ "e": email })).await).await;
    silence.abort();
    app.stop().await.remove().await;
}

on_both_databases!(
    c2_threat_79_many_agencies_of_one_user,
    c2_threat_51_the_35th_over_two_agencies,
    i8_threat_83_an_employers_invitation_arrives,
    i8_tags_share_a_mailbox,
    i8_twenty_from_all_and_a_first_one,
    c6_a_suspended_requester_gets_no_mail,
);
on_both_databases!(on_its_own_servers:
    i8_the_days_mails_of_a_user,
    c3_threat_78_the_same_statements_for_every_address,
    i8_threat_83_a_reset_cannot_be_used_up,
    i8_sign_ups_do_not_fill_a_mailbox,
);
