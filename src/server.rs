//! A server from its settings to its end: connects, migrates, listens, sends mail, sweeps, and stops when it is told to.

use crate::{
    app::{App, Parts},
    clock::Clock,
    config::Config,
    db::Db,
    events::{
        bus::InProcess,
        feed::Feeds,
        security::{self, SecurityLog},
    },
    http::{
        self, accept,
        connections::Connections,
        graphiql::Cast,
        graphql::BODY_COPIES,
        nulls::Nulls,
        trusted::{Documents, TrustedError},
        unsent::Unsent,
        weigh::Scales,
    },
    identity::{passwords::Hasher, throttle::Throttle},
    keys::{Keys, KeysError},
    mail::{Mailer, mailbox::Mailbox, outbox, transport::Transport},
    schema, sweeper,
    turns::Turns,
};
use futures_util::FutureExt;
use std::{net::SocketAddr, panic::AssertUnwindSafe, sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

/// How long requests that are under way have when the server stops.
const DRAIN: Duration = Duration::from_secs(10);

/// How long a task of the server's rests after a panic.
const AFTER_A_PANIC: Duration = Duration::from_secs(1);

/// Why a server could not start; the sentence names what to mend.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database can't be reached or migrated.
    #[error("DATABASE_URL: {0}")]
    Database(String),
    /// The keys can't be had.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The mail server's settings are wrong.
    #[error("{0}")]
    Mail(String),
    /// The address can't be listened on.
    #[error("KEYHOLDER_LISTEN: {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
    /// The trusted documents can't be taken.
    #[error("KEYHOLDER_TRUSTED_DOCUMENTS: {0}")]
    Trusted(#[from] TrustedError),
    /// The schema can't be read back.
    #[error("the schema: {0}")]
    Schema(String),
}

/// A server that listens.
pub struct Running {
    /// Its parts.
    pub app: App,
    /// Where it listens.
    pub address: SocketAddr,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

/// Binds the address first, so that the server knows its own when it writes links.
pub async fn listen(config: &Config) -> Result<TcpListener, StartError> {
    TcpListener::bind(config.listen).await.map_err(|error| StartError::Listen(config.listen, error))
}

/// Puts the parts together, on a database that is brought up to date.
pub async fn build(config: Config, clock: Clock, address: SocketAddr) -> Result<App, StartError> {
    let own_address = format!("http://{address}");
    let db = Db::connect(&config.database_url).await.map_err(|error| StartError::Database(error.cause()))?;
    let applied = db.migrate().await.map_err(|error| StartError::Database(error.to_string()))?;
    if !applied.is_empty() {
        tracing::info!(?applied, "migrated");
    }
    let transport = match (&config.smtp_url, &config.mail_from) {
        (Some(url), Some(from)) if !config.dev => Transport::smtp(url, from).map_err(StartError::Mail)?,
        _ => Transport::Memory(Mailbox::default()),
    };
    let now = clock.now();
    Ok(App::new(Parts {
        security: SecurityLog::new(clock.clone()),
        db,
        clock,
        keys: Keys::load(&config, &own_address, now)?,
        mailer: Mailer::new(transport),
        hasher: Hasher::default(),
        throttle: Throttle::new(config.sign_in_throttle),
        turns: Turns::new(config.limits.operations),
        bus: Box::<InProcess>::default(),
        feeds: Feeds::default(),
        own_url: config.own_url(&own_address),
        app_url: config.app_url.clone().unwrap_or(own_address),
        config,
    }))
}

/// Serves until [`Running::stop`]; in GraphiQL one can be anyone of the cast.
pub async fn start(app: App, listener: TcpListener, cast: Cast) -> Result<Running, StartError> {
    let address = listener.local_addr().map_err(|error| StartError::Listen(app.config.listen, error))?;
    let (stop, shutdown) = watch::channel(false);
    let server = edge(&app, cast, shutdown.clone()).await?;
    let serving = shutdown.clone();
    let tasks = vec![
        again_after_panics("the keyring", shutdown.clone(), &app, reload_keys),
        tokio::spawn(async move { accept::serve(listener, server, serving).await }),
        again_after_panics("the outbox", shutdown.clone(), &app, outbox::run),
        again_after_panics("the writer of security events", shutdown.clone(), &app, security::run),
        again_after_panics("the sweeper", shutdown, &app, sweeper::run),
    ];
    Ok(Running { app, address, stop, tasks })
}

/// Runs a task of the server's for as long as the server runs: one that panics has lost its turn, not its life.
fn again_after_panics<F: Future<Output = ()> + Send + 'static>(
    what: &'static str,
    shutdown: watch::Receiver<bool>,
    app: &App,
    task: fn(App, watch::Receiver<bool>) -> F,
) -> JoinHandle<()> {
    let app = app.clone();
    tokio::spawn(async move {
        while AssertUnwindSafe(task(app.clone(), shutdown.clone())).catch_unwind().await.is_err() {
            tracing::error!("{what} panicked and begins again");
            tokio::time::sleep(AFTER_A_PANIC).await;
        }
    })
}

/// How often the keys are read again, which somebody may have rotated.
const RELOAD: Duration = Duration::from_secs(5);

async fn reload_keys(app: App, mut shutdown: watch::Receiver<bool>) {
    while !*shutdown.borrow() {
        match app.keys.reload() {
            Ok(true) => tracing::info!("the keys that sign access tokens have changed"),
            Ok(false) => {}
            Err(error) => tracing::error!(%error, "the keys can't be read again; those that were read still serve"),
        }
        tokio::select! {
            () = tokio::time::sleep(RELOAD) => {}
            _ = shutdown.changed() => {}
        }
    }
}

/// What the requests' handlers share.
pub async fn edge(app: &App, cast: Cast, shutdown: watch::Receiver<bool>) -> Result<http::Server, StartError> {
    let limits = &app.config.limits;
    let documents = match &app.config.trusted_documents {
        Some(folder) => Documents::read(folder, limits).await?,
        None => Documents::Any,
    };
    Ok(http::Server {
        schema: schema::build(app),
        app: app.clone(),
        nulls: Arc::new(Nulls::new(&schema::sdl()).map_err(|error| StartError::Schema(error.to_string()))?),
        documents: Arc::new(documents),
        scales: Arc::new(Scales::new(limits)),
        connections: Arc::new(Connections::new(&app.config)),
        downloads: Arc::default(),
        unsent: Arc::new(Unsent::new(limits.unsent_bytes.max(limits.answer_bytes))),
        requests: Arc::new(Unsent::new(limits.request_bytes.max(BODY_COPIES.saturating_mul(limits.body_bytes)))),
        cast: Arc::new(cast),
        shutdown,
    })
}

impl Running {
    /// Takes no more requests, lets those under way end, tells listeners to come back (R3).
    pub async fn stop(self) {
        self.stop.send_replace(true);
        let aborts: Vec<_> = self.tasks.iter().map(JoinHandle::abort_handle).collect();
        let ended = async {
            futures_util::future::join_all(self.tasks).await;
            // Sockets and detached mutations hold on to the receiver until they are done.
            self.stop.closed().await;
        };
        if tokio::time::timeout(DRAIN, ended).await.is_err() {
            tracing::warn!("requests or sockets were still open after {DRAIN:?} and are cut off");
            aborts.iter().for_each(tokio::task::AbortHandle::abort);
        }
        if let Err(error) = self.app.security.flush(&self.app).await {
            tracing::warn!(cause = %error.cause(), "the latest security events could not be written");
        }
        self.app.db.close().await;
    }
}
