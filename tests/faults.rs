//! When something breaks: the database is busy, full, gone or slow, an operation panics, a client hangs up, the clock jumps:
//! THREATS 18, 19, 32, 63–67.

use crate::{
    on_both_databases,
    support::{Kind, Place, TestApp, eventually, run_on_place, socket::CONNECTIONS},
};
use chrono::TimeDelta;
use entity::UserLevel;
use sea_orm::{ConnectionTrait, Database, DatabaseConnection};
use serde_json::{Value, json};

const JOIN: &str = "mutation { joinPartnerProgram { userErrors { code } } }";
const LEVEL: &str = "{ viewer { level } }";

/// Asks, and answers the status, whether there is a Retry-After, and the answer.
async fn ask(app: &TestApp, token: &str, query: &str) -> (u16, bool, Value) {
    let request = app.http.post(format!("{}/graphql", app.url)).bearer_auth(token).json(&json!({ "query": query }));
    let response = request.send().await.unwrap();
    let (status, later) = (response.status().as_u16(), response.headers().contains_key("retry-after"));
    (status, later, response.json().await.unwrap())
}

fn code(answer: &Value) -> &str {
    answer["errors"][0]["extensions"]["code"].as_str().unwrap_or_default()
}

/// Another program that holds what writers need, until it is let go.
struct Holder(DatabaseConnection);

impl Holder {
    async fn of_writers(place: &Place) -> Self {
        Self::hold(place, "BEGIN IMMEDIATE", "LOCK TABLE logs IN ACCESS EXCLUSIVE MODE").await
    }

    async fn hold(place: &Place, sqlite: &str, postgres: &str) -> Self {
        let mut options = sea_orm::ConnectOptions::new(place.database_url());
        options.max_connections(1);
        let db = Database::connect(options).await.unwrap();
        if place.database_url().starts_with("sqlite") {
            db.execute_unprepared(sqlite).await.unwrap();
        } else {
            db.execute_unprepared("BEGIN").await.unwrap();
            db.execute_unprepared(postgres).await.unwrap();
        }
        Self(db)
    }

    async fn let_go(self) {
        self.0.execute_unprepared("ROLLBACK").await.unwrap();
        self.0.close().await.unwrap();
    }
}

/// THREATS 64, 65: while another program holds the database, who can't be served is told so soon, and by when to come back;
/// nothing is acknowledged; and then all is well again.
async fn threat_64_a_database_that_is_held(place: Place) {
    let app = TestApp::start(place, &[("operation_timeout", "2s")]).await;
    let owner = app.person("olga@agency.example").await;
    let holder = Holder::of_writers(&app.place).await;
    let answers = futures_util::future::join_all((0..30).map(|_| ask(&app, &owner.token, JOIN))).await;
    for (status, later, answer) in &answers {
        assert!(*status == 503 && answer["data"]["joinPartnerProgram"].is_null(), "{answer}");
        assert!(*later && matches!(code(answer), "OVERLOADED" | "TIMEOUT"), "{answer}");
    }
    assert!(answers.iter().filter(|(.., answer)| code(answer) == "OVERLOADED").count() >= 20, "in a queue that does not move");
    assert_eq!(app.http.get(format!("{}/healthz", app.url)).send().await.unwrap().status(), 200);
    assert_eq!(owner.ask(LEVEL, Value::Null).await.payload()["level"], "OWNER", "who only reads is served");
    holder.let_go().await;
    eventually("it is there again", async || (ask(&app, &owner.token, JOIN).await.0 == 200).then_some(())).await;
    let joined = owner.ask("{ account { auditLog(kinds: [PARTNER_PROGRAM_JOINED]) { totalCount } } }", Value::Null).await;
    assert_eq!(joined.payload()["auditLog"]["totalCount"], 1, "once");
    app.finish().await;
}

/// THREATS 64: the same when readers have taken every connection.
#[test]
fn threat_64_no_connection_left_to_read() {
    run_on_place(Kind::Postgres, async |place| {
        let app = TestApp::start(place, &[("operation_timeout", "2s")]).await;
        let owner = app.person("olga@agency.example").await;
        let holder = Holder::hold(&app.place, "", "LOCK TABLE users IN ACCESS EXCLUSIVE MODE").await;
        let answers = futures_util::future::join_all((0..40).map(|_| ask(&app, &owner.token, LEVEL))).await;
        assert!(answers.iter().all(|(status, later, _)| *status == 503 && *later), "{answers:?}");
        assert!(answers.iter().any(|(.., answer)| code(answer) == "OVERLOADED"));
        assert!(answers.iter().any(|(.., answer)| code(answer) == "TIMEOUT"), "those who had a connection");
        assert_eq!(app.http.get(format!("{}/healthz", app.url)).send().await.unwrap().status(), 200);
        holder.let_go().await;
        eventually("it is there again", async || (ask(&app, &owner.token, LEVEL).await.0 == 200).then_some(())).await;
        app.finish().await;
    });
}

/// More operations than may be under way at once are turned away at once, and served when there is room.
async fn too_many_operations_are_turned_away(place: Place) {
    let app = TestApp::start(place, &[("max_operations", "2"), ("operation_timeout", "2s")]).await;
    let owner = app.person("olga@agency.example").await;
    let holder = Holder::of_writers(&app.place).await;
    // These wait for the writer; what asks the database nothing shows that it is the number that is against it.
    let stuck = futures_util::future::join_all((0..10).map(|_| ask(&app, &owner.token, JOIN)));
    let turned_away = eventually("there is no room", async || {
        let (status, later, answer) = ask(&app, &owner.token, "{ planTerms { plan } }").await;
        (status == 503).then_some((later, answer))
    });
    let (answers, (later, answer)) = futures_util::future::join(stuck, turned_away).await;
    assert!(later && answer.get("data").is_none() && code(&answer) == "OVERLOADED", "{answer}");
    assert!(answers.iter().all(|(status, later, _)| *status == 503 && *later), "{answers:?}");
    let mut socket = owner.socket().await;
    holder.let_go().await;
    eventually("there is room again", async || (ask(&app, &owner.token, LEVEL).await.0 == 200).then_some(())).await;
    socket.subscribe("1", LEVEL, Value::Null).await;
    assert_eq!(socket.next().await["data"]["viewer"]["level"], "OWNER");
    app.finish().await;
}

/// THREATS 65: a full disk is a fault that is told, nothing of what failed is there, and what was acknowledged is.
#[test]
fn threat_65_a_full_disk() {
    run_on_place(Kind::Sqlite, async |place| {
        let app = TestApp::start(place, &[]).await;
        let owner = app.agency("olga@agency.example").await;
        let limit = async |pages: &str| {
            let pragma = format!("PRAGMA max_page_count = {pages}");
            app.db.writer().execute_unprepared(&pragma).await.unwrap();
        };
        limit("1").await; // no less than there are
        let mut acknowledged = 0;
        let failed = loop {
            let query = format!(
                "mutation {{ requestClientAccess(input: {{emails: [\"a{acknowledged}@x.example\"], message: \"{}\"}}) {{ connections {{ id }} userErrors {{ code }} }} }}",
                "x".repeat(2_000)
            );
            let (_, _, answer) = ask(&app, &owner.token, &query).await;
            if answer.get("errors").is_some() {
                break answer;
            }
            acknowledged += 1;
            assert!(acknowledged < 34, "the disk is never full");
        };
        assert_eq!((code(&failed), failed["errors"][0]["extensions"]["requestId"].is_string()), ("INTERNAL", true), "{failed}");
        limit("1000000").await;
        let counts = "{ account { clientConnections { totalCount } auditLog(kinds: [CLIENT_ACCESS_REQUESTED]) { totalCount } } }";
        let account = owner.ask(counts, Value::Null).await.payload().clone();
        let both = (&account["clientConnections"]["totalCount"], &account["auditLog"]["totalCount"]);
        assert_eq!(both, (&json!(acknowledged), &json!(acknowledged)));
        owner.request_one("late@x.example").await;
        app.finish().await;
    });
}

/// THREATS 66: a PostgreSQL that restarts is missed politely, and found again without a word.
#[test]
fn threat_66_postgresql_is_restarted() {
    run_on_place(Kind::Postgres, async |place| {
        let line = Line::to(&place.database_url()).await;
        let app = TestApp::start(place, &[("database_url", &line.url)]).await;
        let owner = app.person("olga@agency.example").await;
        for round in 0..3 {
            line.cut();
            for query in [LEVEL, JOIN, LEVEL] {
                let (status, _, answer) = ask(&app, &owner.token, query).await;
                assert_eq!((status, code(&answer)), (503, "OVERLOADED"), "round {round}: {answer}");
            }
            let ready = app.http.get(format!("{}/readyz", app.url)).send().await.unwrap();
            assert_eq!(ready.status(), 503);
            line.mend();
            for query in [LEVEL, JOIN] {
                eventually("it is there again", async || {
                    let (status, _, answer) = ask(&app, &owner.token, query).await;
                    assert!(status == 200 || status == 503, "{answer}");
                    (status == 200 && answer.get("errors").is_none()).then_some(())
                })
                .await;
            }
        }
        app.finish().await;
    });
}

/// A line to PostgreSQL that can be cut.
struct Line {
    url: String,
    up: tokio::sync::watch::Sender<bool>,
}

impl Line {
    async fn to(url: &str) -> Self {
        let (credentials, rest) = url.split_once('@').unwrap();
        let (address, database) = rest.split_once('/').unwrap();
        let address = address.to_owned();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("{credentials}@{}/{database}", listener.local_addr().unwrap());
        let up = tokio::sync::watch::Sender::new(true);
        let is_up = up.subscribe();
        tokio::spawn(async move {
            loop {
                let (mut here, _) = listener.accept().await.unwrap();
                let (mut is_up, address) = (is_up.clone(), address.clone());
                tokio::spawn(async move {
                    if !*is_up.borrow() {
                        return;
                    }
                    let mut there = tokio::net::TcpStream::connect(address).await.unwrap();
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut here, &mut there) => {}
                        _ = is_up.wait_for(|up| !up) => {}
                    }
                });
            }
        });
        Self { url, up }
    }

    fn cut(&self) {
        self.up.send_replace(false);
    }

    fn mend(&self) {
        self.up.send_replace(true);
    }
}

/// THREATS 18: a panic costs its operation, which is told by its request's id, and not the connection.
async fn threat_18_a_panic(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    // No time is left for a request to expire in.
    let to_the_end = chrono::DateTime::<chrono::Utc>::MAX_UTC - app.now() - TimeDelta::hours(1);
    app.advance(to_the_end);
    let late = owner.sign_in().await;
    let query = "mutation { requestClientAccess(input: {emails: [\"a@x.example\"]}) { userErrors { code } } }";
    let request = app.http.post(format!("{}/graphql", app.url)).bearer_auth(&late.token);
    let response = request.json(&json!({ "query": query })).send().await.unwrap();
    let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    let answer: Value = response.json().await.unwrap();
    app.advance(-to_the_end);
    assert_eq!((code(&answer), &answer["errors"][0]["extensions"]["requestId"]), ("INTERNAL", &json!(id)), "{answer}");
    assert!(!answer.to_string().contains("overflow"), "{answer}");
    // A query too, which has no task of its own that would catch it: the day's limit asks for a day before the first one.
    let to_the_beginning = chrono::DateTime::<chrono::Utc>::MIN_UTC - app.now() + TimeDelta::hours(1);
    app.advance(to_the_beginning);
    let (_, _, answer) = ask(app, &late.token, "{ planTerms { plan } account { clientRequestQuota { used } } }").await;
    app.advance(-to_the_beginning);
    assert_eq!(code(&answer), "INTERNAL", "{answer}");
    owner.request_one("a@x.example").await;
}

/// THREATS 19: what broke is for the log; the client sees an id.
async fn threat_19_no_words_of_the_database(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let rename = async |from: &str, to: &str| {
        app.db.writer().execute_unprepared(&format!("ALTER TABLE {from} RENAME TO {to}")).await.unwrap();
    };
    rename("connections", "elsewhere").await;
    let queries = [
        "{ account { clientConnections { totalCount } } }",
        "mutation { requestClientAccess(input: {emails: [\"a@x.example\"]}) { userErrors { code } } }",
        "{ node(id: \"conn_01a2054e2e8b71399e40ff89d1\") { id } }",
    ];
    for query in queries {
        let (_, _, answer) = ask(app, &owner.token, query).await;
        let text = answer.to_string().to_lowercase();
        for word in ["connections\"", "table", "relation", "sql", "column", "select", ".rs", "/"] {
            let told = text.replace("clientconnections\"", "").replace("\"column\":", "");
            assert!(!told.contains(word), "{word}: {text}");
        }
        assert!(matches!(code(&answer), "INTERNAL" | "BAD_REQUEST"), "{answer}");
    }
    rename("elsewhere", "connections").await;
    owner.request_one("a@x.example").await;
}

/// THREATS 63: clients that hang up at any moment leave no transaction open, and nothing half done.
async fn threat_63_clients_that_hang_up(place: Place) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let app = TestApp::start(place, &[("client_requests_per_day", "1000"), ("mails_per_user_per_day", "10000")]).await;
    let owner = app.agency("olga@agency.example").await;
    let address = app.url.trim_start_matches("http://").to_owned();
    let hang_up = async |n: usize| {
        let query =
            format!("mutation {{ requestClientAccess(input: {{emails: [\"a{n}@x.example\"]}}) {{ userErrors {{ code }} }} }}");
        let body = json!({ "query": query }).to_string();
        let head = format!(
            "POST /graphql HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            owner.token,
            body.len()
        );
        let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
        let whole = format!("{head}{body}");
        // Before the end of the request, right behind it, some turns of the scheduler later, or with the answer's first byte.
        let sent = if n.is_multiple_of(4) { whole.len() - 1 } else { whole.len() };
        stream.write_all(&whole.as_bytes()[..sent]).await.unwrap();
        match n % 4 {
            2 => {
                for _ in 0..n * 10 {
                    tokio::task::yield_now().await;
                }
            }
            3 => drop(stream.read_u8().await),
            _ => {}
        }
    };
    futures_util::future::join_all((0..80).map(hang_up)).await;
    if !app.place.database_url().starts_with("sqlite") {
        eventually("no transaction is open", async || {
            let open = keyholder::db::Sql::new(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'",
            );
            (open.count(app.reader()).await.unwrap() == 0).then_some(())
        })
        .await;
    }
    owner.request_one("last@x.example").await;
    // One that was begun is done, though nobody waits for it any more: held up here, so that its client is gone before.
    let done = async |n: usize| {
        let email = format!("gone{n}@x.example");
        let holder = Holder::of_writers(&app.place).await;
        let request = format!("mutation {{ requestClientAccess(input: {{emails: [\"{email}\"]}}) {{ userErrors {{ code }} }} }}");
        // Some of these are cut off before they began; that is no fault.
        let answered = tokio::time::timeout(std::time::Duration::from_millis(100), ask(&app, &owner.token, &request)).await;
        assert!(answered.is_err(), "it was not held up");
        holder.let_go().await;
        let query = format!("{{ account {{ clientConnections(search: \"{email}\") {{ totalCount }} }} }}");
        let seen = async { while owner.ask(&query, Value::Null).await.payload()["clientConnections"]["totalCount"] != 1 {} };
        tokio::time::timeout(std::time::Duration::from_secs(1), seen).await.is_ok()
    };
    let tries = std::cell::Cell::new(0);
    eventually("one that was begun is done", async || {
        tries.set(tries.get() + 1);
        let n = tries.get();
        done(n).await.then_some(())
    })
    .await;
    // What had answered is there; of the others all or nothing, whatever is still under way.
    eventually("all that was begun is whole", async || {
        let counts = "{ account { clientConnections { totalCount } auditLog(kinds: [CLIENT_ACCESS_REQUESTED]) { totalCount } } }";
        let account = owner.ask(counts, Value::Null).await.payload().clone();
        let (requests, events) = (&account["clientConnections"]["totalCount"], &account["auditLog"]["totalCount"]);
        (requests == events && requests.as_u64() > Some(20)).then_some(())
    })
    .await;
    app.finish().await;
}

/// R4: a migration while others work: who has locked what it waits for, and waits for what it has locked, goes on, and the migration
/// is tried again.
async fn r4_a_migration_that_loses_its_turn(app: &TestApp) {
    if app.place.database_url().starts_with("sqlite") {
        return println!("skipped: SQLite has one writer at a time");
    }
    crate::scale::forget_tails(app.db.writer()).await;
    let holder = Holder::hold(&app.place, "", "DELETE FROM places WHERE false").await;
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'places'::regclass";
    let others = async {
        eventually("the migration waits", async || {
            (keyholder::db::Sql::new(waits).count(app.db.reader()).await.unwrap() > 0).then_some(())
        })
        .await;
        // On a machine that stalls, it is this one that loses: whoever waited for less than a second when both did.
        let _ = holder.0.execute_unprepared("UPDATE connections SET status = status WHERE false").await;
        holder.let_go().await;
    };
    let (migrated, ()) = futures_util::join!(app.db.migrate(), others);
    assert_eq!(migrated.unwrap(), ["0005_tails_of_names"]);
}

/// THREATS 67: a clock that jumps, forth or back, revives no token, and resets no day's limit early.
async fn threat_67_a_clock_that_jumps(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let addresses: Vec<String> = (0..35).map(|n| format!("a{n}@x.example")).collect();
    owner.request(&addresses.iter().map(String::as_str).collect::<Vec<_>>()).await.ok();
    let signed_out = owner.sign_in().await;
    signed_out.ask("mutation { signOut { signedOut } }", Value::Null).await.ok();
    let expired = app.person("carl@client.example").await;
    let jump = async |by: TimeDelta| {
        app.advance(by);
        for dead in [&signed_out.token, &signed_out.refresh] {
            let (_, _, answer) = ask(app, dead, LEVEL).await;
            assert_eq!(code(&answer), "UNAUTHENTICATED", "{by}: {answer}");
        }
        let refresh = "mutation($t: String!) { refreshSession(input: {refreshToken: $t}) { credentials { accessToken } userErrors { code } } }";
        let refreshed = app.ask(refresh, json!({ "t": signed_out.refresh })).await.0.to_string();
        assert!(!refreshed.contains("accessToken\":\""), "{by}: {refreshed}");
    };
    for by in [TimeDelta::hours(1), TimeDelta::hours(-2), TimeDelta::days(-8), TimeDelta::days(8), TimeDelta::hours(1)] {
        jump(by).await;
        let again = owner.sign_in().await;
        let refused = again.request(&["late@x.example"]).await;
        assert_eq!(refused.user_errors(), ["DAILY_LIMIT_REACHED at emails.0"], "{by}");
    }
    // A link that was seen to have expired stays so, though the clock is set back to before.
    let connection = owner.sign_in().await;
    app.advance(TimeDelta::days(8));
    eventually("its expiry is written down", async || {
        keyholder::sweeper::sweep(&app.app).await.unwrap();
        let expired = connection
            .sign_in()
            .await
            .ask("{ account { clientConnections(status: [EXPIRED]) { totalCount } } }", Value::Null)
            .await;
        (expired.payload()["clientConnections"]["totalCount"] == 35).then_some(())
    })
    .await;
    app.advance(TimeDelta::days(-8));
    let pending =
        owner.sign_in().await.ask("{ account { clientConnections(status: [PENDING]) { totalCount } } }", Value::Null).await;
    assert_eq!(pending.payload()["clientConnections"]["totalCount"], 0);
    drop(expired);
}

/// THREATS 32, L2: a level that changes in the middle of a stream is obeyed from the next event on.
async fn threat_32_a_level_that_changes_in_a_stream(app: &TestApp) {
    let owner = app.agency("olga@agency.example").await;
    let admin = owner.colleague("adam@agency.example", "ADMIN").await;
    let mut socket = admin.socket().await;
    let query = CONNECTIONS.replace("status level", "status level agency { auditLog(first: 1) { totalCount } }");
    socket.subscribe("1", &query, Value::Null).await;
    let next = async |socket: &mut crate::support::socket::Socket, email: &str| {
        owner.request_one(email).await;
        socket.next().await
    };
    let seen = next(&mut socket, "a@x.example").await;
    assert!(seen["data"]["clientConnectionChanged"]["connection"]["agency"]["auditLog"]["totalCount"].is_u64(), "{seen}");
    let lower = async |level: UserLevel| {
        let (level, owner) = (level as i16, UserLevel::Owner as i16);
        let change = format!("UPDATE members SET level = {level} WHERE level <> {owner}");
        assert_eq!(app.db.writer().execute_unprepared(&change).await.unwrap().rows_affected(), 1, "{level}");
    };
    lower(UserLevel::Manager).await;
    let seen = next(&mut socket, "b@x.example").await;
    assert_eq!(code(&seen), "FORBIDDEN", "{seen}");
    lower(UserLevel::Viewer).await;
    let ended = next(&mut socket, "c@x.example").await;
    assert_eq!((code(&ended), &ended["data"]), ("FORBIDDEN", &Value::Null), "{ended}");
}

on_both_databases!(
    threat_18_a_panic,
    threat_19_no_words_of_the_database,
    threat_32_a_level_that_changes_in_a_stream,
    r4_a_migration_that_loses_its_turn,
    threat_67_a_clock_that_jumps,
);
on_both_databases!(on_its_own_servers:
    threat_63_clients_that_hang_up,
    threat_64_a_database_that_is_held,
    too_many_operations_are_turned_away,
);
