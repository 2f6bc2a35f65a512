//! A server for one test, and the people who use it.
//!
//! `on_both_databases!(story)` makes two tests of a story. Without `KEYHOLDER_TEST_POSTGRES` the second one says that it is
//! skipped. A story that leaves mail undelivered has failed.

pub mod people;
pub mod raw;
pub mod smtp;
pub mod socket;

pub use socket::Heard;

use keyholder::{
    app::App,
    clock::Clock,
    config::Config,
    http::graphiql::Cast,
    mail::outbox,
    server::{self, Running},
};
use sea_orm::{ConnectionTrait, Database, DbBackend, Statement};
use serde_json::{Value, json};
use std::{
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

/// The secret of every server.
pub const SECRET: &str = "hV3kT9wQ2mZ8xR5cL1nB7pD4sF6gJ0yA";

/// How long a story waits for anything before it has failed.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Makes two tests of a story.
#[macro_export]
macro_rules! on_both_databases {
    (on_its_own_servers: $($story:ident),* $(,)?) => { $(
        mod $story {
            #[test]
            fn sqlite() {
                $crate::support::run_on_place($crate::support::Kind::Sqlite, super::$story);
            }
            #[test]
            fn postgres() {
                $crate::support::run_on_place($crate::support::Kind::Postgres, super::$story);
            }
        }
    )* };
    ($($story:ident),* $(,)?) => { $(
        mod $story {
            #[test]
            fn sqlite() {
                $crate::support::run($crate::support::Kind::Sqlite, super::$story);
            }
            #[test]
            fn postgres() {
                $crate::support::run($crate::support::Kind::Postgres, super::$story);
            }
        }
    )* };
}

/// Which database a story runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Sqlite,
    Postgres,
}

/// Runs a story on a server of its own.
pub fn run(kind: Kind, story: impl AsyncFnOnce(&TestApp)) {
    run_on_place(kind, async |place| {
        let app = TestApp::start(place, &[]).await;
        story(&app).await;
        app.finish().await;
    });
}

/// Runs a story that starts its servers itself: with settings of its own, or one after another.
pub fn run_on_place(kind: Kind, story: impl AsyncFnOnce(Place)) {
    let Some(place) = Place::new(kind) else {
        println!("skipped: no PostgreSQL");
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        place.make().await;
        story(place).await;
    });
}

/// Where a test keeps its database, keys and secret.
pub struct Place {
    directory: PathBuf,
    postgres: Option<(String, String)>,
}

impl Place {
    pub fn new(kind: Kind) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("keyholder_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let postgres = match kind {
            Kind::Sqlite => None,
            Kind::Postgres => Some((std::env::var("KEYHOLDER_TEST_POSTGRES").ok()?, name.clone())),
        };
        let directory = std::env::temp_dir().join(name);
        // Process ids come again, and one whose tests failed has left its files behind.
        drop(std::fs::remove_dir_all(&directory));
        std::fs::create_dir_all(&directory).unwrap();
        Some(Self { directory, postgres })
    }

    async fn make(&self) {
        let Some((server, name)) = &self.postgres else { return };
        let db = Database::connect(format!("{server}/postgres")).await.unwrap();
        db.execute_unprepared(&format!("CREATE DATABASE {name}")).await.unwrap();
        db.close().await.unwrap();
    }

    pub fn directory(&self) -> &std::path::Path {
        &self.directory
    }

    pub fn database_url(&self) -> String {
        match &self.postgres {
            Some((server, name)) => format!("{server}/{name}"),
            None => format!("sqlite://{}", self.directory.join("keyholder.db").display()),
        }
    }

    fn config(&self, settings: &[(&str, &str)]) -> Config {
        let (url, keys) = (self.database_url(), self.directory.join("keys").display().to_string());
        let mut all = vec![("listen", "127.0.0.1:0"), ("database_url", &url), ("keys", &keys), ("secret", SECRET)];
        all.extend(settings.iter().filter(|(key, _)| *key != "dev"));
        let dev = !settings.contains(&("dev", "off"));
        Config::from_pairs(dev, &all).unwrap()
    }

    /// Why a server with these settings does not start.
    pub async fn refusal(&self, settings: &[(&str, &str)]) -> String {
        let config = self.config(settings);
        let listener = server::listen(&config).await.unwrap();
        let app = server::build(config, Clock::default(), listener.local_addr().unwrap()).await.unwrap();
        let Err(error) = server::start(app.clone(), listener, Cast::default()).await else { panic!("it started") };
        app.db.close().await;
        error.to_string()
    }

    pub async fn remove(&self) {
        if let Some((server, name)) = &self.postgres {
            let db = Database::connect(format!("{server}/postgres")).await.unwrap();
            db.execute_unprepared(&format!("DROP DATABASE {name} WITH (FORCE)")).await.unwrap();
        }
        std::fs::remove_dir_all(&self.directory).unwrap();
    }
}

/// A server on a loopback port, and a client for it.
pub struct TestApp {
    pub app: App,
    pub url: String,
    pub http: reqwest::Client,
    pub place: Place,
    running: Running,
}

impl std::ops::Deref for TestApp {
    type Target = App;
    fn deref(&self) -> &App {
        &self.app
    }
}

impl TestApp {
    /// Starts a server on a place, with these settings.
    pub async fn start(place: Place, settings: &[(&str, &str)]) -> Self {
        let config = place.config(settings);
        let listener = server::listen(&config).await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = server::build(config, Clock::default(), address).await.unwrap();
        let running = server::start(app.clone(), listener, Cast::default()).await.unwrap();
        Self { app, url: format!("http://{address}"), http: reqwest::Client::new(), place, running }
    }

    /// Stops the server, whatever mail it still has.
    pub async fn stop(self) -> Place {
        let Self { place, running, .. } = self;
        running.stop().await;
        place
    }

    /// Stops the server and starts another one on the same database.
    pub async fn restart(self, settings: &[(&str, &str)]) -> Self {
        Self::start(self.stop().await, settings).await
    }

    /// Lets time pass.
    pub fn advance(&self, by: chrono::TimeDelta) {
        self.app.clock.advance(by);
        self.app.mailer.wake();
    }

    /// Asks a document as somebody, or as nobody.
    pub async fn ask_as(&self, token: Option<&str>, query: &str, variables: Value) -> Reply {
        let mut request =
            self.http.post(format!("{}/graphql", self.url)).json(&json!({ "query": query, "variables": variables }));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.unwrap();
        let status = response.status();
        assert!(!status.is_server_error(), "{status} for {query}");
        Reply(response.json().await.unwrap())
    }

    /// Asks a document as nobody.
    pub async fn ask(&self, query: &str, variables: Value) -> Reply {
        self.ask_as(None, query, variables).await
    }

    /// How many statements a question costs: the least of some tries, since the mailer and the sweeper ask in between.
    pub async fn count<T>(&self, question: impl AsyncFn() -> T) -> (u64, T) {
        self.delivered().await;
        let mut least = u64::MAX;
        loop {
            let before = self.app.db.statements();
            let answer = question().await;
            let cost = self.app.db.statements() - before;
            if cost >= least {
                return (least, answer);
            }
            least = cost;
        }
    }

    /// The mails to an address, newest first, once nothing is queued any more.
    pub async fn mails_to(&self, address: &str) -> Vec<Value> {
        self.delivered().await;
        let mails: Vec<Value> = self.http.get(format!("{}/mailbox.json", self.url)).send().await.unwrap().json().await.unwrap();
        mails.into_iter().filter(|mail| mail["to"].as_str().unwrap().eq_ignore_ascii_case(address)).collect()
    }

    /// The token in the latest mail of a kind to an address.
    pub async fn token_to(&self, address: &str, kind: &str) -> String {
        let mails = self.mails_to(address).await;
        let mail = mails.iter().find(|mail| mail["kind"] == kind).unwrap_or_else(|| panic!("no {kind} to {address}: {mails:#?}"));
        mail["token"].as_str().unwrap().to_owned()
    }

    async fn delivered(&self) {
        eventually("the outbox is empty", async || {
            outbox::send_due(&self.app).await.unwrap();
            outbox::queued(&self.app).await.unwrap().is_empty().then_some(())
        })
        .await;
    }

    /// Stops the server, with all its mail delivered, and leaves nothing behind.
    pub async fn finish(self) {
        self.delivered().await;
        let Self { place, running, app, .. } = self;
        running.stop().await;
        drop(app);
        place.remove().await;
    }
}

/// Waits for something, with a limit.
pub async fn eventually<T>(what: &str, probe: impl AsyncFn() -> Option<T>) -> T {
    let start = std::time::Instant::now();
    loop {
        if let Some(value) = probe().await {
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What a GraphQL server answered.
#[derive(Clone, Debug)]
pub struct Reply(pub Value);

impl Reply {
    /// The data, of an answer without errors of either sort.
    #[track_caller]
    pub fn ok(&self) -> &Value {
        assert!(self.0.get("errors").is_none(), "{:#}", self.0);
        let data = self.0["data"].as_object().unwrap_or_else(|| panic!("{:#}", self.0));
        for payload in data.values() {
            assert!(payload["userErrors"].as_array().is_none_or(Vec::is_empty), "{:#}", self.0);
        }
        &self.0["data"]
    }

    /// The data's first field, of an answer without errors of either sort.
    #[track_caller]
    pub fn payload(&self) -> &Value {
        self.ok().as_object().unwrap().values().next().unwrap()
    }

    /// The `userErrors` of the data's first field, each as `CODE at path`.
    #[track_caller]
    pub fn user_errors(&self) -> Vec<String> {
        let payload = self.0["data"].as_object().and_then(|data| data.values().next()).unwrap_or_else(|| panic!("{:#}", self.0));
        let errors = payload["userErrors"].as_array().unwrap_or_else(|| panic!("{:#}", self.0));
        errors.iter().map(told).collect()
    }

    /// The codes of the GraphQL errors.
    pub fn codes(&self) -> Vec<&str> {
        let errors = self.0["errors"].as_array().map_or(&[][..], Vec::as_slice);
        errors.iter().map(|error| error["extensions"]["code"].as_str().unwrap_or("none")).collect()
    }
}

fn told(error: &Value) -> String {
    assert!(error.get("message").is_none_or(|message| !message.as_str().unwrap().is_empty()));
    let code = error["code"].as_str().unwrap();
    match error["field"].as_array() {
        Some(path) => format!("{code} at {}", path.iter().map(|part| part.as_str().unwrap()).collect::<Vec<_>>().join(".")),
        None => code.to_owned(),
    }
}

/// All texts in all tables, one a line.
pub async fn everything(app: &App) -> String {
    let db = app.reader();
    let backend = db.get_database_backend();
    let tables = match backend {
        DbBackend::Sqlite => "SELECT name FROM sqlite_master WHERE type = 'table'",
        _ => "SELECT tablename::text AS name FROM pg_tables WHERE schemaname = 'public'",
    };
    let mut text = String::new();
    for table in db.query_all_raw(Statement::from_string(backend, tables)).await.unwrap() {
        let table: String = table.try_get("", "name").unwrap();
        for row in db.query_all_raw(Statement::from_string(backend, format!("SELECT * FROM {table}"))).await.unwrap() {
            let values = row.column_names().into_iter().filter_map(|column| row.try_get::<Option<String>>("", &column).ok()?);
            text.extend(values.map(|value| format!("{table}: {value}\n")));
        }
    }
    text
}
