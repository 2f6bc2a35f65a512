//! The role matrix, cell by cell (L1, L6), and that what the SDL shows is what the operations ask.

use crate::{
    on_both_databases,
    support::{Place, TestApp, people::Person},
};
use async_graphql_parser::{
    parse_schema,
    types::{TypeKind, TypeSystemDefinition},
};
use keyholder::permission::{MATRIX, Permission};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// One line of role-matrix.csv: the permission, its area, what it is in words, and a yes or no per level.
struct Line {
    permission: String,
    area: String,
    action: String,
    levels: Vec<&'static str>,
    direct_users_only: bool,
    note: String,
}

const LEVELS: [&str; 5] = ["OWNER", "ADMIN", "MANAGER", "AUTHOR", "VIEWER"];

fn lines() -> Vec<Line> {
    let text = include_str!("role-matrix.csv");
    let header = "permission,area,action,owner,admin,manager,author,viewer,source,direct_users_only,note";
    assert_eq!(text.lines().next().unwrap(), header);
    let lines = text.lines().skip(1).map(|line| {
        // The only quoted column is the action.
        let (head, action, rest) = if let Some((head, rest)) = line.split_once('"') {
            let (action, rest) = rest.split_once('"').unwrap();
            (head.trim_end_matches(',').to_owned(), action.to_owned(), rest.trim_start_matches(',').to_owned())
        } else {
            let cells: Vec<_> = line.splitn(4, ',').collect();
            (format!("{},{}", cells[0], cells[1]), cells[2].to_owned(), cells[3].to_owned())
        };
        let (permission, area) = head.split_once(',').unwrap();
        let cells: Vec<_> = rest.splitn(8, ',').collect();
        let levels = LEVELS.into_iter().zip(&cells).filter(|(_, cell)| **cell == "yes").map(|(level, _)| level).collect();
        Line {
            permission: permission.into(),
            area: area.into(),
            action,
            levels,
            direct_users_only: cells[6] == "yes",
            note: cells[7].into(),
        }
    });
    lines.collect()
}

/// L1: `roleMatrix` is the CSV, row by row.
async fn l1_the_matrix_is_the_csv(app: &TestApp) {
    let query = "{ roleMatrix { permission area action levels directUsersOnly note } }";
    let rows = app.ask(query, Value::Null).await.payload().as_array().unwrap().clone();
    let lines = lines();
    assert_eq!((rows.len(), lines.len(), MATRIX.len()), (74, 74, 74));
    for (row, line) in rows.iter().zip(lines) {
        let note = if line.note.is_empty() { Value::Null } else { json!(line.note) };
        let expected = json!({ "permission": line.permission, "area": line.area, "action": line.action, "levels": line.levels,
            "directUsersOnly": line.direct_users_only, "note": note });
        assert_eq!(*row, expected);
    }
    let sms = app.ask("{ roleMatrix(area: SMS) { permission } }", Value::Null).await;
    assert_eq!(sms.payload().as_array().unwrap().len(), 3);
}

/// What the API says of every permission to somebody, three ways, which must agree, and what decided.
async fn told(person: &Person<'_>) -> BTreeMap<String, (bool, String)> {
    let fields: String = MATRIX
        .iter()
        .map(|row| row.permission.name())
        .map(|name| {
            format!("c{name}: can(permission: {name}) e{name}: explain(permission: {name}) {{ allowed decidedBy reason }} ")
        })
        .collect();
    let reply = person.ask(&format!("{{ viewer {{ permissions {fields} }} }}"), Value::Null).await;
    let viewer = reply.payload();
    let permissions: BTreeSet<_> = viewer["permissions"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    let told = MATRIX.iter().map(|row| row.permission.name()).map(|name| {
        let can = viewer[format!("c{name}")].as_bool().unwrap();
        let explained = &viewer[format!("e{name}")];
        assert_eq!((can, explained["allowed"].as_bool().unwrap()), (permissions.contains(name.as_str()), can), "{name}");
        assert!(!explained["reason"].as_str().unwrap().is_empty());
        (name, (can, explained["decidedBy"].as_str().unwrap().to_owned()))
    });
    told.collect()
}

/// L1, L6, THREATS 46: every row at all five levels, directly and through a connection at every ceiling.
async fn threat_46_every_cell_at_every_level(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let client = app.person("carl@client.example").await;
    let mut people = vec![("OWNER", owner.clone())];
    for level in &LEVELS[1..] {
        people.push((level, owner.colleague(&format!("{}@agency.example", level.to_lowercase()), level).await));
    }
    for (level, person) in &people {
        let told = told(person).await;
        for line in lines() {
            assert_eq!(told[&line.permission], (line.levels.contains(level), "LEVEL".to_owned()), "{level} {}", line.permission);
        }
    }
    // Through a connection: the Owner at the ceiling, and somebody with a place at every level.
    let connection = owner.connect(&client, "ADMIN").await;
    let guest = people[1].1.clone();
    let give = async |mutation: &str, level: &str| {
        let query = format!(
            "mutation($c: ID!, $u: ID!, $l: UserLevel!) {{ {mutation}(input: {{connectionId: $c, userId: $u, level: $l}}) {{ userErrors {{ code }} }} }}"
        );
        owner.ask(&query, json!({ "c": connection, "u": guest.id, "l": level })).await.ok();
    };
    give("addClientUser", "ADMIN").await;
    let [owner_there, guest_there] = [owner.acting_in(&client.account).await, guest.acting_in(&client.account).await];
    for place in &LEVELS[1..] {
        client.set_level(&connection, "ADMIN").await.ok();
        give("setClientUserLevel", place).await;
        for ceiling in &LEVELS[1..] {
            client.set_level(&connection, ceiling).await.ok();
            for (there, own) in [(&owner_there, "OWNER"), (&guest_there, *place)] {
                let told = told(there).await;
                for line in lines() {
                    let has = |level: &str| line.levels.contains(&level);
                    let term = match () {
                        () if line.direct_users_only => "DIRECT_USERS_ONLY",
                        () if has(own) && !has(ceiling) => "CEILING",
                        () => "LEVEL",
                    };
                    let allowed = has(own) && has(ceiling) && !line.direct_users_only;
                    let what = format!("{own} through a connection up to {ceiling}: {}", line.permission);
                    assert_eq!(told[&line.permission], (allowed, term.to_owned()), "{what}");
                }
            }
        }
    }
    // By API key, and where two-factor is missing.
    client.set_level(&connection, "ADMIN").await.ok();
    let key = "mutation { createApiKey(input: {name: \"x\", level: VIEWER}) { secret userErrors { code } } }";
    let secret = owner.ask(key, Value::Null).await.payload()["secret"].as_str().unwrap().to_owned();
    let by_key = Person { token: secret, ..owner.clone() };
    for (permission, (allowed, term)) in told(&by_key).await {
        assert_eq!(term, if allowed { "LEVEL" } else { "API_KEY" }, "{permission}");
    }
    crate::two_factor::protect(&client).await;
    client.ask("mutation { requireTwoFactor(input: {required: true}) { userErrors { code } } }", Value::Null).await.ok();
    for (permission, told) in told(&owner_there).await {
        assert_eq!(told, (false, "TWO_FACTOR".to_owned()), "{permission}");
    }
}

/// The permission that the SDL shows on each field of a type.
fn shown(type_name: &str) -> BTreeMap<String, Option<String>> {
    let document = parse_schema(keyholder::schema::sdl()).unwrap();
    let fields = document.definitions.into_iter().find_map(|definition| match definition {
        TypeSystemDefinition::Type(ty) if ty.node.name.node == type_name => match ty.node.kind {
            TypeKind::Object(object) => Some(object.fields),
            _ => None,
        },
        _ => None,
    });
    let shown = fields.unwrap().into_iter().map(|field| {
        let needs = field.node.directives.iter().find(|directive| directive.node.name.node == "requiresPermission");
        let permission = needs.map(|directive| directive.node.arguments[0].1.node.to_string());
        if let Some(permission) = &permission {
            let description = field.node.description.as_ref().unwrap().node.clone();
            assert!(description.ends_with(&format!("Requires the permission {permission}.")), "{description}");
        }
        (field.node.name.node.to_string(), permission)
    });
    shown.collect()
}

/// How each mutation is called, with ids that name nothing. Public ones have no row; a new mutation without one fails the test.
#[expect(clippy::too_many_lines, reason = "it is a table, with a row for each mutation")]
fn calls() -> BTreeMap<&'static str, Option<&'static str>> {
    let (account, connection) = ("account_00000000000000000000000001", "connection_00000000000000000000000001");
    let user = "user_00000000000000000000000001";
    let text = |call: String| Some(&*Box::leak(call.into_boxed_str()));
    BTreeMap::from([
        ("signUp", None),
        ("undoTransfer", None),
        ("signIn", None),
        ("verifyEmail", None),
        ("stopEmailChange", None),
        ("refreshSession", None),
        ("requestSignInLink", None),
        ("signInWithLink", None),
        ("signOut", Some("signOut { signedOut }")),
        ("requestPasswordReset", None),
        ("resetPassword", None),
        (
            "revokeSession",
            Some("revokeSession(input: {sessionId: \"session_00000000000000000000000001\"}) { userErrors { code } }"),
        ),
        ("revokeOtherSessions", Some("revokeOtherSessions { userErrors { code } }")),
        (
            "changePassword",
            Some(
                "changePassword(input: {currentPassword: \"a long walk by the sea\", newPassword: \"short\"}) { userErrors { code } }",
            ),
        ),
        ("reauthenticate", Some("reauthenticate(input: {}) { userErrors { code } }")),
        ("beginTwoFactor", Some("beginTwoFactor { userErrors { code } }")),
        ("confirmTwoFactor", Some("confirmTwoFactor(input: {code: \"x\"}) { userErrors { code } }")),
        ("disableTwoFactor", Some("disableTwoFactor(input: {code: \"x\"}) { userErrors { code } }")),
        ("regenerateRecoveryCodes", Some("regenerateRecoveryCodes(input: {code: \"x\"}) { userErrors { code } }")),
        ("resendVerification", Some("resendVerification { userErrors { code } }")),
        ("changeEmail", Some("changeEmail(input: {email: \"x\"}) { userErrors { code } }")),
        ("updateProfile", Some("updateProfile(input: {}) { userErrors { code } }")),
        ("deleteUser", Some("deleteUser { userErrors { code } }")),
        ("createApiKey", Some("createApiKey(input: {name: \"\"}) { userErrors { code } }")),
        ("revokeApiKey", Some("revokeApiKey(input: {apiKeyId: \"apikey_00000000000000000000000001\"}) { userErrors { code } }")),
        ("switchAccount", text(format!("switchAccount(input: {{accountId: \"{account}\"}}) {{ userErrors {{ code }} }}"))),
        ("changePlan", Some("changePlan(input: {plan: PREMIUM}) { userErrors { code } }")),
        ("inviteUsers", Some("inviteUsers(input: {emails: [], level: VIEWER}) { userErrors { code } }")),
        ("acceptInvitation", Some("acceptInvitation(input: {token: \"x\"}) { userErrors { code } }")),
        ("setUserLevel", text(format!("setUserLevel(input: {{userId: \"{user}\", level: VIEWER}}) {{ userErrors {{ code }} }}"))),
        ("revokeUser", text(format!("revokeUser(input: {{userId: \"{user}\"}}) {{ userErrors {{ code }} }}"))),
        ("suspendUser", text(format!("suspendUser(input: {{userId: \"{user}\"}}) {{ userErrors {{ code }} }}"))),
        ("reinstateUser", text(format!("reinstateUser(input: {{userId: \"{user}\"}}) {{ userErrors {{ code }} }}"))),
        ("leaveAccount", Some("leaveAccount(input: {dryRun: true}) { userErrors { code } }")),
        ("transferOwnership", text(format!("transferOwnership(input: {{userId: \"{user}\"}}) {{ userErrors {{ code }} }}"))),
        ("requireTwoFactor", Some("requireTwoFactor(input: {required: false}) { userErrors { code } }")),
        ("closeAccount", Some("closeAccount(input: {confirmation: \"\"}) { userErrors { code } }")),
        (
            "declineInvitation",
            Some("declineInvitation(input: {invitationId: \"invitation_00000000000000000000000001\"}) { userErrors { code } }"),
        ),
        (
            "cancelInvitation",
            Some("cancelInvitation(input: {invitationId: \"invitation_00000000000000000000000001\"}) { userErrors { code } }"),
        ),
        (
            "resendInvitation",
            Some("resendInvitation(input: {invitationId: \"invitation_00000000000000000000000001\"}) { userErrors { code } }"),
        ),
        ("createAccount", Some("createAccount(input: {name: \"\"}) { userErrors { code } }")),
        ("renameAccount", Some("renameAccount(input: {name: \"\"}) { userErrors { code } }")),
        ("updateBilling", Some("updateBilling(input: {}) { userErrors { code } }")),
        ("setEmailOptIn", Some("setEmailOptIn(input: {optIn: false}) { userErrors { code } }")),
        ("exportAccount", Some("exportAccount { userErrors { code } }")),
        ("joinPartnerProgram", Some("joinPartnerProgram { userErrors { code } }")),
        ("enableClientAccess", Some("enableClientAccess { userErrors { code } }")),
        ("requestClientAccess", Some("requestClientAccess(input: {emails: []}) { userErrors { code } }")),
        ("approveClientRequest", Some("approveClientRequest(input: {token: \"x\", level: ADMIN}) { userErrors { code } }")),
        ("declineClientRequest", Some("declineClientRequest(input: {token: \"x\"}) { userErrors { code } }")),
        (
            "setConnectionLevel",
            text(format!(
                "setConnectionLevel(input: {{connectionId: \"{connection}\", level: ADMIN}}) {{ userErrors {{ code }} }}"
            )),
        ),
        (
            "endClientConnection",
            text(format!("endClientConnection(input: {{connectionId: \"{connection}\"}}) {{ userErrors {{ code }} }}")),
        ),
        ("disableClientAccess", Some("disableClientAccess(input: {dryRun: true}) { userErrors { code } }")),
        (
            "resendClientRequest",
            text(format!("resendClientRequest(input: {{connectionId: \"{connection}\"}}) {{ userErrors {{ code }} }}")),
        ),
        (
            "cancelClientRequest",
            text(format!("cancelClientRequest(input: {{connectionId: \"{connection}\"}}) {{ userErrors {{ code }} }}")),
        ),
        (
            "addClientUser",
            text(format!(
                "addClientUser(input: {{connectionId: \"{connection}\", username: \"x\", level: VIEWER}}) {{ userErrors {{ code }} }}"
            )),
        ),
        (
            "setClientUserLevel",
            text(format!(
                "setClientUserLevel(input: {{connectionId: \"{connection}\", username: \"x\", level: VIEWER}}) {{ userErrors {{ code }} }}"
            )),
        ),
        (
            "removeClientUser",
            text(format!(
                "removeClientUser(input: {{connectionId: \"{connection}\", userId: \"{user}\"}}) {{ userErrors {{ code }} }}"
            )),
        ),
        ("blockAgency", Some("blockAgency(input: {token: \"x\"}) { userErrors { code } }")),
        ("unblockAgency", text(format!("unblockAgency(input: {{agencyId: \"{account}\"}}) {{ userErrors {{ code }} }}"))),
    ])
}

/// What no row of the matrix stands for and is refused all the same: through a connection, or with an API key (I6). The two lists
/// may only shrink.
const NEVER_THROUGH: [&str; 1] = ["leaveAccount"];
const NEVER_BY_KEY: [&str; 18] = [
    "acceptInvitation",
    "beginTwoFactor",
    "changeEmail",
    "changePassword",
    "confirmTwoFactor",
    "createAccount",
    "declineInvitation",
    "deleteUser",
    "disableTwoFactor",
    "leaveAccount",
    "reauthenticate",
    "regenerateRecoveryCodes",
    "resendVerification",
    "revokeOtherSessions",
    "revokeSession",
    "signOut",
    "switchAccount",
    "updateProfile",
];
/// The rows that no API key has, whatever its level (I6).
const ROWS_NEVER_BY_KEY: [&str; 6] = [
    "ADD_OR_ACCESS_API_KEYS",
    "REQUIRE_TWO_FACTOR_AUTHENTICATION",
    "CLOSE_ACCOUNT",
    "TRANSFER_OWNERSHIP",
    "DECIDE_CLIENT_ACCESS",
    "EXPORT_ACCOUNT",
];

/// Somebody who asks, and how they came.
struct Asker<'a> {
    person: Person<'a>,
    level: &'static str,
    through: bool,
    by_key: bool,
}

impl Asker<'_> {
    /// What the matrix says of a row, or of what has none.
    fn may(&self, name: &str, needs: Option<&str>, rows: &BTreeMap<String, Line>) -> bool {
        match needs {
            Some(needs) => {
                let row = &rows[needs];
                let out_of_reach = self.through && row.direct_users_only || self.by_key && ROWS_NEVER_BY_KEY.contains(&needs);
                row.levels.contains(&self.level) && !out_of_reach
            }
            None => !(self.through && NEVER_THROUGH.contains(&name) || self.by_key && NEVER_BY_KEY.contains(&name)),
        }
    }
}

impl std::fmt::Display for Asker<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (through, key) =
            (if self.through { " through a connection" } else { "" }, if self.by_key { " by API key" } else { "" });
        write!(f, "{}{through}{key}", self.level)
    }
}

/// A key of this level, as somebody who asks with it.
async fn by_key<'a>(person: &Person<'a>, level: &'static str, through: bool) -> Asker<'a> {
    let query = "mutation($l: UserLevel) { createApiKey(input: {name: \"x\", level: $l}) { secret userErrors { code } } }";
    let made = person.ask(query, json!({ "l": level })).await;
    let person = Person { token: made.payload()["secret"].as_str().unwrap().to_owned(), ..person.clone() };
    Asker { person, level, through, by_key: true }
}

/// Everybody who can ask in an account: at all five levels by session and by API key, and through a connection at every ceiling
/// by session, and by API key where a ceiling lets one make them.
async fn askers<'a>(owner: &Person<'a>, client: &Person<'a>) -> Vec<Asker<'a>> {
    let mut askers = Vec::new();
    for level in LEVELS {
        let person = match level {
            "OWNER" => owner.clone(),
            _ => owner.colleague(&format!("{}@agency.example", level.to_lowercase()), level).await,
        };
        askers.push(Asker { person, level, through: false, by_key: false });
        askers.push(by_key(owner, level, false).await);
    }
    owner.connect(client, "ADMIN").await;
    let there = owner.acting_in(&client.account).await;
    for level in ["ADMIN", "MANAGER", "AUTHOR", "VIEWER"] {
        askers.push(by_key(&there, level, true).await);
    }
    // One agency has one connection to a client, so that other ceilings are other agencies'.
    askers.push(Asker { person: there, level: "ADMIN", through: true, by_key: false });
    for level in ["MANAGER", "AUTHOR", "VIEWER"] {
        let agency = owner.app.agency(&format!("owner@{}.example", level.to_lowercase())).await;
        agency.connect(client, level).await;
        let person = agency.acting_in(&client.account).await;
        askers.push(Asker { person, level, through: true, by_key: false });
    }
    askers
}

/// L1, L6, I6, THREATS 46, 56: every mutation of the SDL, as nobody, at all five levels by session and by API key, and through a
/// connection: what is allowed is what the SDL shows.
async fn threat_46_every_mutation_asks_what_the_sdl_shows(place: Place) {
    // So many tries from one address would be slowed down.
    let app = TestApp::start(place, &[("sign_in_throttle", "off")]).await;
    let shown = shown("Mutation");
    let calls = calls();
    assert_eq!(shown.keys().map(String::as_str).collect::<Vec<_>>(), calls.keys().copied().collect::<Vec<_>>());
    let owner = app.agency("olga@agency.example").await;
    let client = app.person("carl@client.example").await;
    let askers = askers(&owner, &client).await;
    let rows: BTreeMap<String, Line> = lines().into_iter().map(|line| (line.permission.clone(), line)).collect();
    for (name, call) in calls.into_iter().filter_map(|(name, call)| Some((name, call?))) {
        let call = format!("mutation {{ {call} }}");
        let nobody = app.ask(&call, Value::Null).await;
        assert_eq!((nobody.codes(), &nobody.0["data"][name]), (vec!["UNAUTHENTICATED"], &Value::Null), "{name}");
        for asker in &askers {
            // Who is gone can be asked nothing more.
            if !asker.by_key && matches!(name, "signOut" | "deleteUser") {
                continue;
            }
            let reply = asker.person.ask(&call, Value::Null).await;
            let allowed = asker.may(name, shown[name].as_deref(), &rows);
            let expected: &[&str] = if allowed { &[] } else { &["FORBIDDEN"] };
            assert_eq!(reply.codes(), expected, "{name} as {asker}: {:?}", reply.0);
            if !allowed {
                let extensions = &reply.0["errors"][0]["extensions"];
                assert_eq!(
                    (&extensions["permission"], &extensions["level"]),
                    (&json!(shown[name]), &json!(asker.level)),
                    "{name} as {asker}"
                );
                assert!(!extensions["reason"].as_str().unwrap().is_empty());
                assert_eq!((&reply.0["errors"][0]["path"], &reply.0["data"]), (&json!([name]), &json!({ name: null })));
            }
        }
    }
    app.finish().await;
}

/// The types whose fields the next story walks are all that have guarded ones.
#[test]
fn guarded_fields_are_an_accounts_and_mutations() {
    let document = parse_schema(keyholder::schema::sdl()).unwrap();
    let types = document.definitions.into_iter().filter_map(|definition| match definition {
        TypeSystemDefinition::Type(ty) if matches!(ty.node.kind, TypeKind::Object(_)) => Some(ty.node.name.node.to_string()),
        _ => None,
    });
    let guarded: Vec<_> = types.filter(|name| shown(name).values().any(Option::is_some)).collect();
    assert_eq!(guarded, ["Account", "Mutation", "Subscription"]);
}

/// L7, THREATS 46: every guarded field of an account, at every level by session and by API key, and through a connection: null in
/// its place with one error at its path, and the rest of the answer stands.
async fn threat_46_every_guarded_field_is_null_in_its_place(app: &TestApp) {
    let fields: Vec<_> = shown("Account").into_iter().filter_map(|(name, needs)| Some((name, needs?))).collect();
    assert!(fields.len() >= 9, "{fields:?}");
    let sub = |name: &str| match name {
        "owner" => "{ id }",
        "billing" => "{ company }",
        "seats" | "invitationQuota" | "clientRequestQuota" => "{ used }",
        _ => "{ totalCount }",
    };
    let owner = app.agency("olga@agency.example").await;
    let client = app.person("carl@client.example").await;
    let selection: String = fields.iter().map(|(name, _)| format!("{name} {} ", sub(name))).collect();
    let query = format!("{{ account {{ id {selection} name }} viewer {{ level }} }}");
    let rows: BTreeMap<String, Line> = lines().into_iter().map(|line| (line.permission.clone(), line)).collect();
    for asker in askers(&owner, &client).await {
        let reply = asker.person.ask(&query, Value::Null).await;
        let account = reply.0["data"]["account"].as_object().unwrap();
        assert_eq!(account.len(), fields.len() + 2, "every field is there");
        let name = if asker.through { "carl's account" } else { "olga's account" };
        assert_eq!((&account["name"], &reply.0["data"]["viewer"]["level"]), (&json!(name), &json!(asker.level)));
        let denied: BTreeSet<_> =
            fields.iter().filter(|(name, needs)| !asker.may(name, Some(needs), &rows)).map(|(name, _)| name.clone()).collect();
        let null: BTreeSet<_> = account.iter().filter(|(_, value)| value.is_null()).map(|(name, _)| name.clone()).collect();
        let errors = reply.0["errors"].as_array().cloned().unwrap_or_default();
        let told: BTreeSet<_> = errors.iter().map(|error| error["path"][1].as_str().unwrap().to_owned()).collect();
        assert_eq!((&null, &told, errors.len()), (&denied, &denied, denied.len()), "{asker}");
        assert!(reply.codes().iter().all(|code| *code == "FORBIDDEN"));
    }
}

/// The enum's names are the CSV's, and its variants stand in the same order.
#[test]
fn l1_permissions_are_named_as_in_the_csv() {
    let names: Vec<_> = MATRIX.iter().map(|row| Permission::name(row.permission)).collect();
    assert_eq!(names, lines().into_iter().map(|line| line.permission).collect::<Vec<_>>());
}

on_both_databases!(
    l1_the_matrix_is_the_csv,
    threat_46_every_cell_at_every_level,
    threat_46_every_guarded_field_is_null_in_its_place,
);
on_both_databases!(on_its_own_servers: threat_46_every_mutation_asks_what_the_sdl_shows);
