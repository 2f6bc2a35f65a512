//! An agency asks, a client approves, the agency steps in: SPEC C1–C9, and the races about them.

use crate::{
    on_both_databases,
    support::{TestApp, people::Person, socket::CONNECTIONS, socket::OWN_REQUESTS},
};
use chrono::TimeDelta;
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The main job: C1, C2, C3, C5, C6, C8, C9, C12, L6, L8.
async fn an_agency_asks_and_a_client_approves(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let manager = owner.colleague("mia@agency.example", "MANAGER").await;
    let client = app.person("carl@client.example").await;
    let mut agency_hears = owner.socket().await;
    agency_hears.subscribe("1", CONNECTIONS, Value::Null).await;
    let mut client_hears = client.socket().await;
    client_hears.subscribe("1", OWN_REQUESTS, Value::Null).await;
    // A listener hears from the moment that it is subscribed, and says nothing when it is: the log tells what it missed.
    let since = owner.ask("{ account { activityCursor } }", Value::Null).await.payload()["activityCursor"].clone();

    let connection = manager.request_one("Carl@Client.example").await;
    let token = app.token_to("carl@client.example", "access_request").await;
    let preview = app
        .ask(
            "query($t: String!) { accessRequestByToken(token: $t) { id agencyName requestedByName requestedLevel message } }",
            json!({ "t": token }),
        )
        .await;
    let seen = json!({ "id": connection, "agencyName": "olga's account", "requestedByName": "mia", "requestedLevel": "MANAGER", "message": "We run your newsletter." });
    assert_eq!(*preview.payload(), seen);
    let inbox = client
        .ask("{ viewer { accessRequests { totalCount nodes { id status agency { name plan } client { id } } } } }", Value::Null)
        .await;
    let expected = json!({ "totalCount": 1, "nodes": [{ "id": connection, "status": "PENDING", "agency": { "name": "olga's account", "plan": null }, "client": null }] });
    assert_eq!(inbox.payload()["accessRequests"], expected);

    let query = "mutation($t: String!) { approveClientRequest(input: {token: $t, level: AUTHOR}) \
                 { connection { status level client { id } decidedBy { name } users { nodes { level user { name } } } } userErrors { code } } }";
    let approved = client.ask(query, json!({ "t": token })).await;
    let expected = json!({ "status": "ACTIVE", "level": "AUTHOR", "client": { "id": client.account }, "decidedBy": { "name": "carl" },
        "users": { "nodes": [{ "level": "AUTHOR", "user": { "name": "mia" } }] } });
    assert_eq!(approved.payload()["connection"], expected);
    for address in ["olga@agency.example", "mia@agency.example"] {
        assert_eq!(app.mails_to(address).await[0]["kind"], "access_approved", "{address}");
    }
    drop(agency_hears);
    let mut agency_hears = owner.socket().await;
    agency_hears.subscribe("2", CONNECTIONS, json!({ "after": since })).await;
    for kind in ["CLIENT_ACCESS_REQUESTED", "CLIENT_ACCESS_APPROVED"] {
        let change = agency_hears.change().await;
        assert_eq!((change.kind.as_str(), &change.connection), (kind, &connection));
    }

    let mia = manager.acting_in(&client.account).await;
    let there = mia
        .ask("{ viewer { level via { id level } can(permission: CREATE_EMAILS) permissions } account { id plan } }", Value::Null)
        .await;
    assert_eq!(there.ok()["viewer"]["level"], "AUTHOR");
    assert_eq!(there.ok()["viewer"]["via"], json!({ "id": connection, "level": "AUTHOR" }));
    assert_eq!(there.ok()["account"], json!({ "id": client.account, "plan": "FREE" }));
    // The agency's Owner has no place there, and acts at the ceiling all the same.
    let olga = owner.acting_in(&client.account).await;
    assert_eq!(olga.level().await.as_deref(), Some("AUTHOR"));
    client.set_level(&connection, "VIEWER").await.ok();
    assert_eq!((mia.level().await.as_deref(), olga.level().await.as_deref()), (Some("VIEWER"), Some("VIEWER")));
    assert_eq!(agency_hears.change().await.kind, "CLIENT_ACCESS_LEVEL_CHANGED");

    let back = mia.acting_in(&owner.account).await;
    assert_eq!(back.level().await.as_deref(), Some("MANAGER"));
    client.end(&connection).await.ok();
    assert_eq!(agency_hears.change().await.kind, "CLIENT_ACCESS_ENDED");
    let ended = mia.ask("{ viewer { level accounts { nodes { name } } } account { id } }", Value::Null).await;
    assert_eq!(ended.codes(), ["ACCOUNT_ACCESS_ENDED"]);
    assert_eq!(
        ended.0["data"],
        json!({ "viewer": { "level": null, "accounts": { "nodes": [{ "name": "olga's account" }] } }, "account": null })
    );
    assert_eq!(app.mails_to("mia@agency.example").await[0]["kind"], "connection_ended");
    assert_eq!(mia.switch(&client.account).await.user_errors(), ["NOT_FOUND at accountId"]);
    mia.acting_in(&owner.account).await;
}

/// C1: the program first, then client access, then requests.
async fn c1_an_account_becomes_an_agency_in_order(app: &TestApp) {
    let owner = app.person("ann@agency.example").await;
    assert_eq!(owner.request(&["c@x.example"]).await.user_errors(), ["NOT_IN_PARTNER_PROGRAM"]);
    let enable = "mutation { enableClientAccess { account { clientAccessEnabled } userErrors { code message field } } }";
    assert_eq!(owner.ask(enable, Value::Null).await.user_errors(), ["NOT_IN_PARTNER_PROGRAM"]);
    let join = "mutation { joinPartnerProgram { account { partnerProgramJoinedAt } userErrors { code } } }";
    let first = owner.ask(join, Value::Null).await.payload().clone();
    assert_eq!(owner.request(&["c@x.example"]).await.user_errors(), ["CLIENT_ACCESS_DISABLED"]);
    assert_eq!(owner.ask(enable, Value::Null).await.payload()["account"]["clientAccessEnabled"], true);
    assert_eq!(*owner.ask(join, Value::Null).await.payload(), first, "joining again changes nothing");
    owner.request(&["c@x.example"]).await.ok();
    let log = owner.ask("{ account { auditLog { nodes { kind } } } }", Value::Null).await;
    let kinds: Vec<_> = log.payload()["auditLog"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| node["kind"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(kinds, ["CLIENT_ACCESS_REQUESTED", "CLIENT_ACCESS_ENABLED", "PARTNER_PROGRAM_JOINED", "ACCOUNT_OPENED"]);
}

/// C2: each address stands for itself, and what is wrong with one says where.
async fn c2_each_address_stands_for_itself(app: &TestApp) {
    let owner = app.agency("ann@agency.example").await;
    owner.request(&["known@x.example"]).await.ok();
    let reply =
        owner.request(&["a@x.example, b@x.example", "", "no address", "A@X.example", "known@x.example", "c@x.example,"]).await;
    let payload = &reply.0["data"]["requestClientAccess"];
    let asked: Vec<_> =
        payload["connections"].as_array().unwrap().iter().map(|row| row["clientEmail"].as_str().unwrap()).collect();
    assert_eq!(asked, ["a@x.example", "b@x.example", "c@x.example"]);
    let expected =
        ["INVALID at emails.1", "INVALID at emails.2", "ALREADY_REQUESTED at emails.3", "ALREADY_REQUESTED at emails.4"];
    assert_eq!(reply.user_errors(), expected);
    let values: Vec<_> = payload["userErrors"].as_array().unwrap().iter().map(|error| error["value"].as_str().unwrap()).collect();
    assert_eq!(values, ["", "no address", "A@X.example", "known@x.example"]);

    assert_eq!(owner.request(&[]).await.user_errors(), ["INVALID at emails"]);
    let many: Vec<_> = (0..201).map(|n| format!("a{n}@x.example")).collect();
    assert_eq!(owner.request(&many.iter().map(String::as_str).collect::<Vec<_>>()).await.user_errors(), ["INVALID at emails"]);
    let ask = async |input: Value| {
        let query = "mutation($i: RequestClientAccessInput!) { requestClientAccess(input: $i) { connections { id } userErrors { code message field } } }";
        owner.ask(query, json!({ "i": input })).await.user_errors()
    };
    assert_eq!(ask(json!({ "emails": ["d@x.example"], "level": "OWNER" })).await, ["LEVEL_NOT_ASSIGNABLE at level"]);
    assert_eq!(ask(json!({ "emails": ["d@x.example"], "message": "x".repeat(2_001) })).await, ["INVALID at message"]);
    assert_eq!(ask(json!({ "emails": ["d@x.example"], "message": "a\u{202e}b" })).await, ["INVALID at message"]);
}

/// C2: 35 in any 24 hours; the 36th is refused with the moment when it would be allowed, and the first 35 stand.
async fn c2_the_36th_address_of_a_day_is_refused(app: &TestApp) {
    let owner = app.agency("ann@agency.example").await;
    let addresses: Vec<_> = (0..36).map(|n| format!("a{n}@x.example")).collect();
    let reply = owner.request(&addresses.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert_eq!(reply.user_errors(), ["DAILY_LIMIT_REACHED at emails.35"]);
    assert_eq!(reply.0["data"]["requestClientAccess"]["connections"].as_array().unwrap().len(), 35);
    let quota = "{ account { clientRequestQuota { limit used remaining resetsAt } } }";
    let quota = owner.ask(quota, Value::Null).await.payload()["clientRequestQuota"].clone();
    assert_eq!((&quota["limit"], &quota["used"], &quota["remaining"]), (&json!(35), &json!(35), &json!(0)));
    let again = owner.request(&["late@x.example"]).await;
    assert_eq!(again.0["data"]["requestClientAccess"]["userErrors"][0]["retryAt"], quota["resetsAt"]);
    app.advance(TimeDelta::hours(24) - TimeDelta::minutes(1));
    let owner = owner.sign_in().await;
    assert_eq!(owner.request(&["late@x.example"]).await.user_errors(), ["DAILY_LIMIT_REACHED at emails.0"]);
    app.advance(TimeDelta::minutes(1));
    owner.sign_in().await.request(&["late@x.example"]).await.ok();
}

/// C2: exact when 100 requests race.
async fn threat_51_one_hundred_requests_race_for_the_last_place(app: &TestApp) {
    let owner = app.agency("ann@agency.example").await;
    let addresses: Vec<_> = (0..34).map(|n| format!("a{n}@x.example")).collect();
    owner.request(&addresses.iter().map(String::as_str).collect::<Vec<_>>()).await.ok();
    let replies = join_all((0..100).map(|n| {
        let owner = &owner;
        async move { owner.request(&[&format!("race{n}@x.example")]).await }
    }))
    .await;
    let asked = replies.iter().filter(|reply| reply.user_errors().is_empty()).count();
    let refused = replies.iter().filter(|reply| reply.user_errors() == ["DAILY_LIMIT_REACHED at emails.0"]).count();
    assert_eq!((asked, refused), (1, 99));
    let total = owner.ask("{ account { clientConnections { totalCount } } }", Value::Null).await;
    assert_eq!(total.payload()["clientConnections"]["totalCount"], 35);
}

/// C5: an approval counts once, under any concurrency.
async fn threat_53_an_approval_tried_50_times_at_once_counts_once(app: &TestApp) {
    let owner = app.agency("ann@agency.example").await;
    let client = app.person("carl@client.example").await;
    let connection = owner.request_one(&client.email).await;
    let replies = join_all((0..50).map(|_| client.approve(&connection, "ADMIN"))).await;
    let mut outcomes: BTreeMap<Vec<String>, usize> = BTreeMap::new();
    for reply in &replies {
        *outcomes.entry(reply.user_errors()).or_default() += 1;
    }
    assert_eq!(outcomes, BTreeMap::from([(vec![], 1), (vec!["ALREADY_DECIDED at connectionId".to_owned()], 49)]));
    for person in [&owner, &client] {
        let log = person.ask("{ account { auditLog(kinds: [CLIENT_ACCESS_APPROVED]) { totalCount } } }", Value::Null).await;
        assert_eq!(log.payload()["auditLog"]["totalCount"], 1);
    }
    let mails = app.mails_to("ann@agency.example").await;
    assert_eq!(mails.iter().filter(|mail| mail["kind"] == "access_approved").count(), 1);
}

/// C5, THREATS 53: approving and declining race, one outcome.
async fn threat_53_approving_and_declining_race(app: &TestApp) {
    let owner = app.agency("ann@agency.example").await;
    let client = app.person("carl@client.example").await;
    let decline = "mutation($c: ID!) { declineClientRequest(input: {connectionId: $c}) { connection { status } userErrors { code message field } } }";
    for round in 0..5 {
        let connection = owner.request_one(&client.email).await;
        let approvals = join_all((0..5).map(|_| client.approve(&connection, "ADMIN")));
        let declines = join_all((0..5).map(|_| client.ask(decline, json!({ "c": connection }))));
        let (approvals, declines) = futures_util::future::join(approvals, declines).await;
        let done = |replies: &[crate::support::Reply]| replies.iter().filter(|reply| reply.user_errors().is_empty()).count();
        assert_eq!(done(&approvals) + done(&declines), 1, "round {round}");
        if done(&approvals) == 1 {
            client.end(&connection).await.ok();
        }
    }
}

/// C3, C4: who may answer, and until when. A moment before 7 days is in time, 7 days are not, also with the sweeper asleep.
async fn threat_54_a_request_lives_seven_days(app: &TestApp) {
    let owner = app.agency("ann@agency.example").await;
    let client = app.person("carl@client.example").await;
    let stranger = app.person("sam@else.example").await;
    let connection = owner.request_one(&client.email).await;
    assert_eq!(stranger.approve(&connection, "ADMIN").await.user_errors(), ["NOT_FOUND at connectionId"]);
    app.advance(TimeDelta::days(7) - TimeDelta::seconds(30));
    let (owner, client) = (owner.sign_in().await, client.sign_in().await);
    let status = async || {
        let query = "query($c: ID!) { node(id: $c) { ... on ClientConnection { status } } }";
        owner.sign_in().await.ask(query, json!({ "c": connection })).await.payload()["status"].clone()
    };
    assert_eq!(status().await, "PENDING");
    app.advance(TimeDelta::seconds(30));
    assert_eq!(status().await, "EXPIRED");
    assert_eq!(client.sign_in().await.approve(&connection, "ADMIN").await.user_errors(), ["EXPIRED at connectionId"]);
    // E6: its event comes once, whoever writes it down first.
    for _ in 0..2 {
        keyholder::sweeper::sweep(&app.app).await.unwrap();
    }
    let owner = owner.sign_in().await;
    let log = owner
        .ask("{ account { auditLog(kinds: [CLIENT_ACCESS_EXPIRED]) { nodes { actor { id } summary } } } }", Value::Null)
        .await;
    let summary = "ann's account's request for access to carl@client.example expired.";
    assert_eq!(log.payload()["auditLog"]["nodes"], json!([{ "actor": null, "summary": summary }]));
    owner.request(&[&client.email]).await.ok();
}

/// C5: not twice the same agency, not oneself, not into another account than one believes.
async fn c5_what_an_approval_refuses(app: &TestApp) {
    let owner = app.agency("ann@agency.example").await;
    let client = app.person("carl@client.example").await;
    let connection = owner.connect(&client, "ADMIN").await;
    let second = owner.request_one(&client.email).await;
    assert_eq!(client.approve(&second, "ADMIN").await.user_errors(), ["ALREADY_CONNECTED at connectionId"]);
    assert_eq!(client.approve(&second, "OWNER").await.user_errors(), ["LEVEL_NOT_ASSIGNABLE at level"]);
    assert_eq!(client.approve(&connection, "ADMIN").await.user_errors(), ["ALREADY_DECIDED at connectionId"]);
    let own = owner.request_one(&owner.email).await;
    assert_eq!(owner.approve(&own, "ADMIN").await.user_errors(), ["OWN_ACCOUNT at connectionId"]);
    let query = "mutation($i: ApproveClientRequestInput!) { approveClientRequest(input: $i) { connection { id } userErrors { code message field } } }";
    let wrong = json!({ "i": { "connectionId": second, "level": "ADMIN", "accountId": owner.account } });
    assert_eq!(client.ask(query, wrong).await.user_errors(), ["WRONG_ACCOUNT at accountId"]);
    for input in [json!({ "level": "ADMIN" }), json!({ "level": "ADMIN", "token": "x", "connectionId": second })] {
        assert_eq!(client.ask(query, json!({ "i": input })).await.user_errors(), ["INVALID at token"]);
    }
    assert_eq!(
        client.ask(query, json!({ "i": { "level": "ADMIN", "token": "AAAA" } })).await.user_errors(),
        ["NOT_FOUND at token"]
    );
}

/// C9: who may end a connection, and that it ends once.
async fn c9_who_may_end_a_connection(app: &TestApp) {
    let owner = app.agency("ann@agency.example").await;
    let asker = owner.colleague("mia@agency.example", "MANAGER").await;
    let other = owner.colleague("max@agency.example", "MANAGER").await;
    let admin = owner.colleague("ada@agency.example", "ADMIN").await;
    let client = app.person("carl@client.example").await;
    let connect = async || asker.connect(&client, "ADMIN").await;
    let first = connect().await;
    assert_eq!(other.end(&first).await.codes(), ["FORBIDDEN"]);
    // Through the connection itself nobody decides on it (L6).
    assert_eq!(asker.acting_in(&client.account).await.end(&first).await.codes(), ["FORBIDDEN"]);
    asker.end(&first).await.ok();
    assert_eq!(asker.end(&first).await.user_errors(), ["NOT_ACTIVE at connectionId"]);
    assert_eq!(app.mails_to("carl@client.example").await[0]["kind"], "connection_ended");
    for person in [&owner, &admin, &client] {
        let connection = connect().await;
        person.end(&connection).await.ok();
    }
    let pending = owner.request_one("new@client.example").await;
    assert_eq!(owner.end(&pending).await.user_errors(), ["NOT_ACTIVE at connectionId"]);
    let stranger = app.person("sam@else.example").await;
    assert_eq!(stranger.end(&pending).await.user_errors(), ["NOT_FOUND at connectionId"]);
}

/// C12: of several ways into one account the direct one counts, unless a connection is named.
async fn c12_the_direct_way_counts(app: &TestApp) {
    let owner = app.agency("ann@agency.example").await;
    let client = app.agency("carl@client.example").await;
    let ann_there = client.invite(&["ann@agency.example"], "VIEWER").await;
    ann_there.ok();
    let token = app.token_to("ann@agency.example", "invitation").await;
    let accept = "mutation($t: String!) { acceptInvitation(input: {token: $t}) { account { name } level userErrors { code message field } } }";
    assert_eq!(owner.ask(accept, json!({ "t": token })).await.payload()["level"], "VIEWER");
    let connection = owner.connect(&client, "ADMIN").await;
    assert_eq!(owner.switch(&client.account).await.payload()["level"], "VIEWER");
    let query = "mutation($a: ID!, $c: ID) { switchAccount(input: {accountId: $a, connectionId: $c}) \
                 { level via { id } credentials { refreshToken } userErrors { code message field } } }";
    let through = owner.ask(query, json!({ "a": client.account, "c": connection })).await;
    assert_eq!(through.payload()["level"], "ADMIN");
    assert_eq!(through.payload()["via"]["id"], json!(connection));
    assert_eq!(through.payload()["credentials"]["refreshToken"], Value::Null);
    let ways = owner
        .ask("{ viewer { accounts(search: \"CARL\") { totalCount edges { level via { id } node { name } } } } }", Value::Null)
        .await;
    assert_eq!(ways.payload()["accounts"]["totalCount"], 2);
}

/// What a list of connections is asked for on a page: two sides, people, level, the mail's fate, the agency's people there.
const PAGE: &str = "{ account { clientConnections(first: 50) { totalCount pageInfo { hasNextPage } nodes { id status level agency { name } \
    client { name } requestedBy { name email } decidedBy { name } delivery { status } users(first: 5) { totalCount nodes { level user { name } } } } } } }";

/// A page of 50 connections costs as many statements as one of 5, and few.
async fn a_page_of_fifty_costs_a_fixed_number_of_statements(app: &TestApp) {
    let owner = app.agency("ann@agency.example").await;
    for n in 0..5 {
        owner.connect(&app.person(&format!("c{n}@client.example")).await, "ADMIN").await;
    }
    let (few, _) = app.count(async || owner.ask(PAGE, Value::Null).await).await;
    for n in 5..35 {
        owner.connect(&app.person(&format!("c{n}@client.example")).await, "ADMIN").await;
    }
    app.advance(TimeDelta::days(2));
    let owner = owner.sign_in().await;
    let more: Vec<_> = (0..15).map(|n| format!("p{n}@client.example")).collect();
    owner.request(&more.iter().map(String::as_str).collect::<Vec<_>>()).await.ok();
    let (many, page) = app.count(async || owner.ask(PAGE, Value::Null).await).await;
    let list = &page.payload()["clientConnections"];
    assert_eq!((list["nodes"].as_array().unwrap().len(), &list["totalCount"]), (50, &json!(50)));
    assert_eq!(list["nodes"][49]["users"]["nodes"][0]["user"]["name"], "ann");
    assert_eq!(few, many, "a longer page costs no more");
    assert!(many <= 8, "{many} statements");
}

/// Pages fit together forwards and backwards, filters hold, and a cursor is good for its own list alone.
async fn lists_are_paged(app: &TestApp) {
    let owner = app.agency("ann@agency.example").await;
    let addresses: Vec<_> = (0..7).map(|n| format!("c{n}@client.example")).collect();
    owner.request(&addresses.iter().map(String::as_str).collect::<Vec<_>>()).await.ok();
    let page = async |args: &str| {
        let query = format!(
            "{{ account {{ clientConnections({args}) {{ pageInfo {{ hasNextPage hasPreviousPage startCursor endCursor }} nodes {{ clientEmail }} }} }} }}"
        );
        let list = owner.ask(&query, Value::Null).await.payload()["clientConnections"].clone();
        let emails = list["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|node| node["clientEmail"].as_str().unwrap()[1..2].to_owned())
            .collect::<String>();
        (emails, list["pageInfo"].clone())
    };
    let (first, info) = page("first: 3").await;
    assert_eq!((first.as_str(), &info["hasNextPage"], &info["hasPreviousPage"]), ("654", &json!(true), &json!(false)));
    let (second, info) = page(&format!("first: 3, after: {}", info["endCursor"])).await;
    assert_eq!(second, "321");
    let (third, last) = page(&format!("first: 3, after: {}", info["endCursor"])).await;
    assert_eq!((third.as_str(), &last["hasNextPage"], &last["hasPreviousPage"]), ("0", &json!(false), &json!(true)));
    let (back, info) = page(&format!("last: 3, before: {}", last["startCursor"])).await;
    assert_eq!((back.as_str(), &info["hasNextPage"], &info["hasPreviousPage"]), ("321", &json!(true), &json!(true)));
    assert_eq!(page("search: \"C5@\"").await.0, "5");
    assert_eq!(page("search: \"%\"").await.0, "");
    assert_eq!(page("status: [ACTIVE]").await.0, "");
    assert_eq!(page("status: [PENDING, ACTIVE], first: 100").await.0.len(), 7);
    let wrong = format!("{{ account {{ users(after: {}) {{ totalCount }} name }} }}", last["startCursor"]);
    for query in [
        wrong.as_str(),
        "{ account { clientConnections(after: \"x\") { totalCount } name } }",
        "{ account { clientConnections(first: 0) { totalCount } name } }",
    ] {
        let reply = owner.ask(query, Value::Null).await;
        assert_eq!(
            (reply.codes(), &reply.0["data"]["account"]["name"]),
            (vec!["BAD_REQUEST"], &json!("ann's account")),
            "{query}"
        );
    }
}

/// A search finds a name however it is written, on either database.
async fn a_search_knows_more_than_ascii(app: &TestApp) {
    let query = "mutation($i: SignUpInput!) { signUp(input: $i) { user { id } account { id } credentials { accessToken refreshToken } userErrors { code } } }";
    let input = json!({ "email": "o@x.example", "password": crate::support::people::PASSWORD, "name": "Özgür Ökö", "accountName": "Ökologie GmbH" });
    let person = Person::of(app, "o@x.example", app.ask(query, json!({ "i": input })).await.payload());
    for search in ["özgür", "ÖZGÜR", "Ökö"] {
        let users =
            person.ask("query($s: String!) { account { users(search: $s) { totalCount } } }", json!({ "s": search })).await;
        assert_eq!(users.payload()["users"]["totalCount"], 1, "{search}");
    }
    let accounts = person.ask("{ viewer { accounts(search: \"ÖKOLOGIE\") { totalCount } } }", Value::Null).await;
    assert_eq!(accounts.payload()["accounts"]["totalCount"], 1);
}

/// C3: whoever has the link may answer for an account of theirs; the person who was asked then learns that it was answered,
/// not for which account, by whom, nor how far.
async fn c3_the_addressee_learns_no_more_than_that(app: &TestApp) {
    let owner = app.agency("ann@agency.example").await;
    let asked = app.person("carl@client.example").await;
    let other = app.person("dora@else.example").await;
    let since = asked.ask("{ viewer { activityCursor } }", Value::Null).await.payload()["activityCursor"].clone();
    let connection = owner.request_one(&asked.email).await;
    let token = app.token_to(&asked.email, "access_request").await;
    let query = "mutation($t: String!) { approveClientRequest(input: {token: $t, level: ADMIN}) { connection { client { id } } userErrors { code } } }";
    assert_eq!(other.ask(query, json!({ "t": token })).await.payload()["connection"]["client"]["id"], json!(other.account));
    let shape = "status level client { id } decidedBy { name } users { totalCount }";
    let seen = asked
        .ask(
            &format!("query($c: ID!) {{ node(id: $c) {{ ... on ClientConnection {{ {shape} }} }} }}"),
            json!({ "c": connection }),
        )
        .await;
    let told = json!({ "status": "ACTIVE", "level": null, "client": null, "decidedBy": null, "users": null });
    assert_eq!(*seen.payload(), told);
    let mut socket = asked.socket().await;
    let listen = format!(
        "subscription($a: String) {{ accessRequestChanged(after: $a) {{ event {{ summary actor {{ name }} }} connection {{ {shape} }} }} }}"
    );
    socket.subscribe("1", &listen, json!({ "a": since })).await;
    assert_eq!(socket.next().await["data"]["accessRequestChanged"]["event"]["actor"]["name"], "ann");
    let change = socket.next().await["data"]["accessRequestChanged"].clone();
    assert_eq!(change["connection"], told);
    assert_eq!(change["event"], json!({ "actor": null, "summary": "Somebody let ann's account into carl@client.example." }));
}

/// C6: the agency's Owner and the requester are told, each once.
async fn c6_one_mail_when_owner_and_requester_are_one(app: &TestApp) {
    let owner = app.agency("ann@agency.example").await;
    let client = app.person("carl@client.example").await;
    owner.connect(&client, "MANAGER").await;
    let mails = app.mails_to(&owner.email).await;
    assert_eq!(mails.iter().filter(|mail| mail["kind"] == "access_approved").count(), 1);
    let text = mails[0]["text"].as_str().unwrap();
    assert!(text.contains("carl's account") && text.contains("Manager"), "{text}");
}

/// Every pair of an agency and a client is connected once, however many approve at once.
async fn c5_one_active_connection_under_a_race(app: &TestApp) {
    let owner = app.agency("ann@agency.example").await;
    let client = app.person("carl@client.example").await;
    let colleagues: Vec<Person<'_>> = {
        client.plan("PREMIUM").await.ok();
        let mut all = vec![client.clone()];
        for n in 0..3 {
            all.push(client.colleague(&format!("d{n}@client.example"), "ADMIN").await);
        }
        all
    };
    let mut requests = Vec::new();
    for person in &colleagues {
        requests.push(owner.request_one(&person.email).await);
    }
    let replies = join_all(colleagues.iter().zip(&requests).map(|(person, request)| person.approve(request, "ADMIN"))).await;
    let done = replies.iter().filter(|reply| reply.user_errors().is_empty()).count();
    let refused = replies.iter().filter(|reply| reply.user_errors() == ["ALREADY_CONNECTED at connectionId"]).count();
    assert_eq!((done, refused), (1, 3));
}

on_both_databases!(
    an_agency_asks_and_a_client_approves,
    c1_an_account_becomes_an_agency_in_order,
    c2_each_address_stands_for_itself,
    c2_the_36th_address_of_a_day_is_refused,
    threat_51_one_hundred_requests_race_for_the_last_place,
    threat_53_an_approval_tried_50_times_at_once_counts_once,
    threat_53_approving_and_declining_race,
    threat_54_a_request_lives_seven_days,
    c5_what_an_approval_refuses,
    c5_one_active_connection_under_a_race,
    a_search_knows_more_than_ascii,
    c3_the_addressee_learns_no_more_than_that,
    c6_one_mail_when_owner_and_requester_are_one,
    c9_who_may_end_a_connection,
    c12_the_direct_way_counts,
    a_page_of_fifty_costs_a_fixed_number_of_statements,
    lists_are_paged,
);
