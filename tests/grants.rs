//! Actions that need recent authentication, and what grants Admin: SPEC I6, I7, THREATS 43, 75.

use crate::{
    on_both_databases,
    support::{
        Place, Reply, TestApp,
        people::{PASSWORD, Person},
    },
    two_factor::protect,
};
use async_graphql_parser::{
    parse_schema,
    types::{TypeKind, TypeSystemDefinition},
};
use chrono::TimeDelta;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// A server whose access tokens outlive recent authentication.
async fn start(place: Place) -> TestApp {
    TestApp::start(place, &[("access_token_ttl", "10h")]).await
}

/// Authenticates again, so that the next ten minutes count as recent.
async fn reauthenticate(person: &Person<'_>) {
    let query = "mutation($p: String!) { reauthenticate(input: {password: $p}) { until userErrors { code } } }";
    person.ask(query, json!({ "p": PASSWORD })).await.ok();
}

/// The mutations whose input contains a user level.
fn mutations_with_a_level() -> BTreeSet<String> {
    let document = parse_schema(keyholder::schema::sdl()).unwrap();
    let types: Vec<_> = document
        .definitions
        .into_iter()
        .filter_map(|definition| match definition {
            TypeSystemDefinition::Type(ty) => Some(ty.node),
            _ => None,
        })
        .collect();
    let has_level = |input: &str| {
        types.iter().any(|ty| {
            let TypeKind::InputObject(object) = &ty.kind else { return false };
            ty.name.node == input
                && object.fields.iter().any(|field| field.node.ty.node.to_string().replace(['!', '[', ']'], "") == "UserLevel")
        })
    };
    let mutation = types.iter().find(|ty| ty.name.node == "Mutation").unwrap();
    let TypeKind::Object(mutation) = &mutation.kind else { panic!("no mutations") };
    let takes = mutation.fields.iter().filter(|field| {
        let mut inputs = field.node.arguments.iter().map(|argument| argument.node.ty.node.to_string().replace('!', ""));
        inputs.any(|input| input == "UserLevel" || has_level(&input))
    });
    takes.map(|field| field.node.name.node.to_string()).collect()
}

/// What a story about granting needs: an agency with a client, a pending request, a colleague, and an Admin invitation.
struct Stage<'a> {
    owner: Person<'a>,
    admin: Person<'a>,
    viewer: Person<'a>,
    client: Person<'a>,
    connection: String,
    request: String,
    invitation: String,
}

impl<'a> Stage<'a> {
    async fn set(app: &'a TestApp) -> Self {
        let owner = app.agency("olga@agency.example").await;
        let admin = owner.colleague("adam@agency.example", "ADMIN").await;
        let viewer = owner.colleague("vera@agency.example", "VIEWER").await;
        let client = app.person("carl@client.example").await;
        let connection = owner.connect(&client, "ADMIN").await;
        let other = app.agency("otto@other.example").await;
        let request = other.request_one("olga@agency.example").await;
        let invited = owner.invite(&["anna@agency.example"], "ADMIN").await;
        let invitation = invited.payload()["invitations"][0]["id"].as_str().unwrap().to_owned();
        Self { owner, admin, viewer, client, connection, request, invitation }
    }

    /// The mutations that take a level, each as it is called for a level; `None` where the level grants nothing to anybody.
    fn grants(&self, level: &str) -> Vec<(&'static str, &Person<'a>, Option<String>)> {
        let Self { owner, viewer, client, connection, request, .. } = self;
        let errors = "{ userErrors { code } }";
        let place = format!("connectionId: \"{connection}\", userId: \"{}\", level: {level}", viewer.id);
        vec![
            ("addClientUser", owner, Some(format!("addClientUser(input: {{{place}}}) {errors}"))),
            (
                "approveClientRequest",
                owner,
                Some(format!("approveClientRequest(input: {{connectionId: \"{request}\", level: {level}}}) {errors}")),
            ),
            ("createApiKey", owner, Some(format!("createApiKey(input: {{name: \"x\", level: {level}}}) {errors}"))),
            (
                "inviteUsers",
                owner,
                Some(format!("inviteUsers(input: {{emails: [\"{level}@x.example\"], level: {level}}}) {errors}")),
            ),
            // It asks for a level. The client decides.
            ("requestClientAccess", owner, None),
            ("setClientUserLevel", owner, Some(format!("setClientUserLevel(input: {{{place}}}) {errors}"))),
            (
                "setConnectionLevel",
                client,
                Some(format!("setConnectionLevel(input: {{connectionId: \"{connection}\", level: {level}}}) {errors}")),
            ),
            ("setUserLevel", owner, Some(format!("setUserLevel(input: {{userId: \"{}\", level: {level}}}) {errors}", viewer.id))),
        ]
    }
}

async fn call(person: &Person<'_>, call: &str) -> Reply {
    person.ask(&format!("mutation {{ {call} }}"), Value::Null).await
}

/// I7, THREATS 75: every mutation of the SDL that takes a level refuses Admin from a stale session and from an Admin's API key. A new
/// mutation with a level and without a row here fails.
async fn threat_75_every_grant_of_admin_needs_recent_authentication(place: Place) {
    let app = start(place).await;
    let stage = Stage::set(&app).await;
    let rows = stage.grants("ADMIN");
    assert_eq!(mutations_with_a_level(), rows.iter().map(|(name, ..)| (*name).to_owned()).collect());
    let keys = [(&stage.owner, stage.owner.api_key().await), (&stage.client, stage.client.api_key().await)];
    app.advance(TimeDelta::minutes(11));
    for (name, person, grant) in rows.iter().filter_map(|(name, person, grant)| Some((name, *person, grant.as_ref()?))) {
        let reply = call(person, grant).await;
        assert_eq!((reply.codes(), &reply.0["data"][name]), (vec!["REAUTHENTICATION_REQUIRED"], &Value::Null), "{name}");
        let key = &keys.iter().find(|(of, _)| of.id == person.id).unwrap().1;
        let by_key = app.ask_as(Some(key), &format!("mutation {{ {grant} }}"), Value::Null).await;
        assert_eq!((by_key.codes(), &by_key.0["data"][name]), (vec!["FORBIDDEN"], &Value::Null), "{name}");
    }
    // Levels below Admin need none of it, except that API keys are always made with it.
    for (name, person, grant) in
        stage.grants("VIEWER").into_iter().filter_map(|(name, person, grant)| Some((name, person, grant?)))
    {
        let expected: &[&str] = if name == "createApiKey" { &["REAUTHENTICATION_REQUIRED"] } else { &[] };
        assert_eq!(call(person, &grant).await.codes(), expected, "{name}");
    }
    // After authenticating again, each of them grants Admin.
    reauthenticate(&stage.owner).await;
    reauthenticate(&stage.client).await;
    call(
        &stage.client,
        &format!(
            "setConnectionLevel(input: {{connectionId: \"{}\", level: ADMIN}}) {{ userErrors {{ code }} }}",
            stage.connection
        ),
    )
    .await
    .ok();
    for (name, person, grant) in
        stage.grants("ADMIN").into_iter().filter_map(|(name, person, grant)| Some((name, person, grant?)))
    {
        if matches!(name, "addClientUser" | "approveClientRequest") {
            // Done at a lower level above.
            continue;
        }
        call(person, &grant).await.ok();
    }
    app.finish().await;
}

/// I7, THREATS 43, 75: everything else that I7 names, and its siblings: what a stale session and an API key can't do.
async fn threat_43_what_needs_recent_authentication(place: Place) {
    let app = start(place).await;
    let stage = Stage::set(&app).await;
    let Stage { owner, admin, viewer, connection, invitation, .. } = &stage;
    protect(owner).await;
    let agent = owner.colleague("aron@agency.example", "AUTHOR").await;
    let place = format!("connectionId: \"{connection}\", userId: \"{}\", level: ADMIN", agent.id);
    call(owner, &format!("addClientUser(input: {{{place}}}) {{ userErrors {{ code }} }}")).await.ok();
    call(owner, "requireTwoFactor(input: {required: true}) { userErrors { code } }").await.ok();
    let spare = owner.colleague("arno@agency.example", "ADMIN").await;
    for person in [&spare, &agent, viewer] {
        owner.keep_out("suspendUser", &person.id).await.ok();
    }
    let key = owner.api_key().await;
    app.advance(TimeDelta::minutes(11));
    let reinstate = |user: &Person<'_>| format!("reinstateUser(input: {{userId: \"{}\"}}) {{ userErrors {{ code }} }}", user.id);
    let calls = [
        format!("resendInvitation(input: {{invitationId: \"{invitation}\"}}) {{ userErrors {{ code }} }}"),
        reinstate(&spare),
        // An Author in the agency, and Admin of a client's account.
        reinstate(&agent),
        "requireTwoFactor(input: {required: false}) { userErrors { code } }".to_owned(),
        "requireTwoFactor(input: {required: false, dryRun: true}) { userErrors { code } }".to_owned(),
        "exportAccount { userErrors { code } }".to_owned(),
        format!("transferOwnership(input: {{userId: \"{}\"}}) {{ userErrors {{ code }} }}", admin.id),
        "closeAccount(input: {confirmation: \"olga's account\"}) { userErrors { code } }".to_owned(),
        format!(
            "changePassword(input: {{currentPassword: \"{PASSWORD}\", newPassword: \"another long walk\"}}) {{ userErrors {{ code }} }}"
        ),
        "changeEmail(input: {email: \"other@x.example\"}) { userErrors { code } }".to_owned(),
        "beginTwoFactor { userErrors { code } }".to_owned(),
        "confirmTwoFactor(input: {code: \"123456\"}) { userErrors { code } }".to_owned(),
        "disableTwoFactor(input: {code: \"123456\"}) { userErrors { code } }".to_owned(),
        "regenerateRecoveryCodes(input: {code: \"123456\"}) { userErrors { code } }".to_owned(),
        "createApiKey(input: {name: \"x\"}) { userErrors { code } }".to_owned(),
        "deleteUser { userErrors { code } }".to_owned(),
    ];
    for text in &calls {
        assert_eq!(call(owner, text).await.codes(), ["REAUTHENTICATION_REQUIRED"], "{text}");
        let by_key = app.ask_as(Some(&key), &format!("mutation {{ {text} }}"), Value::Null).await;
        assert_eq!(by_key.codes(), ["FORBIDDEN"], "{text}");
    }
    // A Viewer who has no more anywhere is reinstated without it.
    call(owner, &reinstate(viewer)).await.ok();
    reauthenticate(owner).await;
    for text in &calls[..6] {
        call(owner, text).await.ok();
    }
    app.finish().await;
}

/// The subjects of the e-mails of a kind to each of these people.
async fn subjects(app: &TestApp, people: &[&str], kind: &str) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for person in people {
        let mails = app.mails_to(person).await;
        let of_kind = mails.iter().filter(|mail| mail["kind"] == kind);
        all.push(of_kind.map(|mail| mail["subject"].as_str().unwrap().to_owned()).collect());
    }
    all
}

/// I7: the Owner and all Admins hear of each new direct Admin, of each agency that becomes Admin, and of relaxed two-factor, whoever did
/// it; nobody else does.
async fn i7_the_owner_and_all_admins_are_told(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let admin = owner.colleague("adam@agency.example", "ADMIN").await;
    let viewer = owner.colleague("vera@agency.example", "VIEWER").await;
    let people = ["olga@agency.example", "adam@agency.example", "vera@agency.example"];
    let joined = "adam is now an Admin of olga's account".to_owned();
    assert_eq!(subjects(app, &people, "admin_added").await, [vec![joined.clone()], vec![joined.clone()], vec![]]);
    let mail = app.mails_to("olga@agency.example").await.into_iter().find(|mail| mail["kind"] == "admin_added").unwrap();
    let text = mail["text"].as_str().unwrap();
    assert!(text.contains("adam accepted an invitation and is now an Admin of olga's account. olga invited them."), "{text}");
    assert!(text.starts_with("Hello olga,\n\n") && text.contains("If this was not intended, revoke"), "{text}");
    // By another Admin, who is told as well.
    admin.assign(&viewer.id, "ADMIN").await.ok();
    admin.assign(&viewer.id, "ADMIN").await.ok();
    let raised = "vera is now an Admin of olga's account".to_owned();
    let told = subjects(app, &people, "admin_added").await;
    assert_eq!(told, [vec![raised.clone(), joined.clone()], vec![raised.clone(), joined], vec![raised]], "once");
    owner.keep_out("suspendUser", &viewer.id).await.ok();
    owner.keep_out("reinstateUser", &viewer.id).await.ok();
    let mail = &app.mails_to("adam@agency.example").await[0];
    assert_eq!((&mail["kind"], &mail["subject"]), (&json!("admin_added"), &json!("vera is an Admin of olga's account again")));
    // The mail about a user who is gone when it is written is sent all the same.
    admin.assign(&viewer.id, "VIEWER").await.ok();
    // Agencies.
    let agency = app.agency("otto@other.example").await;
    let connection = agency.request_one("olga@agency.example").await;
    owner.approve(&connection, "MANAGER").await.ok();
    assert_eq!(subjects(app, &people[..2], "agency_admin_added").await, [Vec::<String>::new(), vec![]]);
    admin.set_level(&connection, "ADMIN").await.ok();
    let expected = "otto's account can act in olga's account as Admin".to_owned();
    let told = subjects(app, &people, "agency_admin_added").await;
    assert_eq!(told, [vec![expected.clone()], vec![expected.clone()], vec![]]);
    assert!(subjects(app, &["otto@other.example"], "agency_admin_added").await[0].is_empty());
    agency.end(&connection).await.ok();
    let connection = agency.request_one("olga@agency.example").await;
    owner.approve(&connection, "ADMIN").await.ok();
    assert_eq!(subjects(app, &people[1..2], "agency_admin_added").await, [vec![expected.clone(), expected]]);
    // Two-factor.
    protect(&owner).await;
    let require = async |required| {
        let query = "mutation($r: Boolean!) { requireTwoFactor(input: {required: $r}) { account { id } userErrors { code } } }";
        owner.ask(query, json!({ "r": required })).await.ok();
    };
    require(false).await;
    require(true).await;
    assert_eq!(subjects(app, &people[..2], "two_factor_relaxed").await, [Vec::<String>::new(), vec![]], "nothing was relaxed");
    require(false).await;
    let expected = "olga's account no longer requires two-factor authentication".to_owned();
    assert_eq!(subjects(app, &people, "two_factor_relaxed").await, [vec![expected.clone()], vec![expected], vec![]]);
}

/// THREATS 75, the story of the attack: a stale session and an Admin's API key make no Admins, and the Owner stays. Beside it the honest
/// one: an Admin who authenticates again invites an Admin.
async fn threat_75_a_stolen_session_makes_no_admins(place: Place) {
    let app = start(place).await;
    let owner = app.agency("olga@agency.example").await;
    let admin = owner.colleague("adam@agency.example", "ADMIN").await;
    let key = admin.api_key().await;
    app.advance(TimeDelta::hours(1));
    // The thief has Adam's session and his API key.
    let invite = "mutation { inviteUsers(input: {emails: [\"evil1@x.example\", \"evil2@x.example\"], level: ADMIN}) { invitations { id } userErrors { code } } }";
    let stale = admin.ask(invite, Value::Null).await;
    assert_eq!(stale.codes(), ["REAUTHENTICATION_REQUIRED"]);
    let told = stale.0["errors"][0]["message"].as_str().unwrap();
    assert!(told.contains("reauthenticate"), "it says what to do next: {told}");
    let by_key = app.ask_as(Some(&key), invite, Value::Null).await;
    assert_eq!(by_key.codes(), ["FORBIDDEN"]);
    assert!(by_key.0["errors"][0]["message"].as_str().unwrap().contains("sign in"), "{:?}", by_key.0);
    // At a lower level, and then raised.
    let low = "mutation { inviteUsers(input: {emails: [\"evil3@x.example\"], level: VIEWER}) { invitations { id } userErrors { code } } }";
    app.ask_as(Some(&key), low, Value::Null).await.ok();
    let token = app.token_to("evil3@x.example", "invitation").await;
    let evil = app.person("evil3@x.example").await;
    let accept = "mutation($t: String!) { acceptInvitation(input: {token: $t}) { account { id } userErrors { code } } }";
    evil.ask(accept, json!({ "t": token })).await.ok();
    let raise =
        format!("mutation {{ setUserLevel(input: {{userId: \"{}\", level: ADMIN}}) {{ userErrors {{ code }} }} }}", evil.id);
    assert_eq!(admin.ask(&raise, Value::Null).await.codes(), ["REAUTHENTICATION_REQUIRED"]);
    assert_eq!(app.ask_as(Some(&key), &raise, Value::Null).await.codes(), ["FORBIDDEN"]);
    // Guessing the password is slowed down as ever, and the account is whole.
    assert!(app.mails_to("evil1@x.example").await.is_empty());
    let users = "{ account { owner { id } users(level: [ADMIN]) { nodes { user { id } } } } }";
    let users = owner.ask(users, Value::Null).await;
    assert_eq!(users.payload(), &json!({ "owner": { "id": owner.id }, "users": { "nodes": [{ "user": { "id": admin.id } }] } }));
    // The honest Admin.
    reauthenticate(&admin).await;
    admin.invite(&["anna@agency.example"], "ADMIN").await.ok();
    let token = app.token_to("anna@agency.example", "invitation").await;
    assert!(!token.is_empty());
    app.finish().await;
}

on_both_databases!(i7_the_owner_and_all_admins_are_told);
on_both_databases!(on_its_own_servers:
    threat_75_every_grant_of_admin_needs_recent_authentication,
    threat_43_what_needs_recent_authentication,
    threat_75_a_stolen_session_makes_no_admins,
);
