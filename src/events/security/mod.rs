//! Security events (E1a): who tried what, from where, and with which outcome. They are apart from the gapless log.
//!
//! An event is recorded in memory ([`SecurityLog::record`]) after its transaction has committed, never within it, and waits there for
//! the next batch. Recording never blocks and never fails: without room the event is dropped, and counted. What memory contains
//! when the process is killed is lost; a graceful stop writes it.
//!
//! A request runs [`within`] its origin, so that whatever happens in it is recorded with its address and user agent. Most events come
//! from two places that no operation can forget: the commit of a transaction ([`of_change`]) and the response ([`crate::http::denials`]).

pub mod api;
mod pending;
pub mod store;

use crate::{
    actor::{Client, Pass, ProofId},
    app::App,
    clock::Clock,
    error::{Denied, Error, Result, UserErrorCode},
    permission::Permission,
};
use entity::{
    AccountId, ApiKeyId, LogId, SessionId, UserId,
    event::{self, EventKind},
    security_event::{SecurityEventKind, SecurityOutcome},
};
use pending::{Batch, Pending};
use std::{
    borrow::Cow,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::watch;

/// How often a batch is written.
const EVERY: Duration = Duration::from_millis(250);
/// How long the writer waits after the database refused a batch.
const AFTER_A_FAULT: Duration = Duration::from_secs(5);
/// The rows of a batch.
const BATCH: usize = 500;

/// A security event to record. Equal ones are counted as one.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct NewSecurityEvent {
    /// What was tried.
    pub kind: SecurityEventKind,
    /// How it ended.
    pub outcome: SecurityOutcome,
    /// The user whom it concerns.
    pub user: Option<UserId>,
    /// The user who did it, where that is known.
    pub actor: Option<UserId>,
    /// Whether the operator did it.
    pub by_operator: bool,
    /// The account that it concerns.
    pub account: Option<AccountId>,
    /// The agency through whose connection it was done.
    pub via: Option<AccountId>,
    /// The API key that was used, created or deleted.
    pub api_key: Option<ApiKeyId>,
    /// The session that began or ended.
    pub session: Option<SessionId>,
    /// The code of the error that was returned.
    pub code: Option<&'static str>,
    /// The permission that was required.
    pub permission: Option<Permission>,
    /// The GraphQL field or the operator's command. Never text that a user chose.
    pub operation: Option<Cow<'static, str>>,
}

impl NewSecurityEvent {
    /// One that concerns nobody yet.
    pub fn new(kind: SecurityEventKind, outcome: SecurityOutcome) -> Self {
        Self {
            kind,
            outcome,
            user: None,
            actor: None,
            by_operator: false,
            account: None,
            via: None,
            api_key: None,
            session: None,
            code: None,
            permission: None,
            operation: None,
        }
    }

    /// Concerns this user; who did it is not known.
    #[must_use]
    pub fn of_user(self, user: UserId) -> Self {
        Self { user: Some(user), ..self }
    }

    /// Done by a user to what is theirs.
    #[must_use]
    pub fn by(self, user: UserId) -> Self {
        Self { user: Some(user), actor: Some(user), ..self }
    }

    /// Done with these credentials, in the account that they name.
    #[must_use]
    pub fn by_pass(self, pass: &Pass) -> Self {
        let api_key = if let ProofId::ApiKey(id) = pass.proof { Some(id) } else { None };
        Self { account: pass.account, via: pass.via, api_key, ..self.by(pass.user) }
    }

    /// About this session.
    #[must_use]
    pub fn session(self, session: SessionId) -> Self {
        Self { session: Some(session), ..self }
    }

    /// Refused with this code.
    #[must_use]
    pub fn code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }
}

/// Records security events and writes them in batches.
pub struct SecurityLog {
    clock: Clock,
    pending: Mutex<Pending>,
    /// Held while a batch is written, so that one flush returns only after another's batch.
    writing: tokio::sync::Mutex<()>,
    /// Events for which there was no room, since the log last told of it.
    dropped: AtomicU64,
    /// Failed sign-ins with an unknown login, since then. They concern nobody, so there is nothing to store.
    unknown_logins: AtomicU64,
}

impl SecurityLog {
    /// An empty one.
    pub fn new(clock: Clock) -> Self {
        let (dropped, unknown_logins) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { clock, pending: Mutex::default(), writing: tokio::sync::Mutex::default(), dropped, unknown_logins }
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records an event. It is in the database about a quarter of a second later.
    pub fn record(&self, event: NewSecurityEvent, client: &Client) {
        if event.user.is_none() && event.account.is_none() {
            self.unknown_logins.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if !self.pending().add(event, client, self.clock.now(), || self.clock.id()) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Records the use of an API key, if it was not used from this network before. Costs a look-up in memory otherwise.
    pub fn api_key_used(&self, pass: &Pass, client: &Client) {
        let (ProofId::ApiKey(key), Some(address)) = (pass.proof, client.address) else { return };
        if self.pending().is_first_use(key, address) {
            self.record(NewSecurityEvent::new(SecurityEventKind::ApiKeyUsed, SecurityOutcome::Success).by_pass(pass), client);
        }
    }

    /// Writes what was recorded before. What the database refuses is kept for the next time.
    pub async fn flush(&self, app: &App) -> Result<()> {
        let _writing = self.writing.lock().await;
        self.tell();
        loop {
            let Batch { keys, rows } = self.pending().take(BATCH, self.clock.now());
            if rows.is_empty() {
                return Ok(());
            }
            if let Err(error) = store::write(app, &rows).await {
                self.pending().restore(keys);
                return Err(error);
            }
        }
    }

    /// Tells the operator what is not in the table.
    fn tell(&self) {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            tracing::warn!(dropped, "security events were dropped: more happened than could be written");
        }
        let unknown_logins = self.unknown_logins.swap(0, Ordering::Relaxed);
        if unknown_logins > 0 {
            tracing::info!(unknown_logins, "sign-ins failed because no user has such a login");
        }
    }
}

/// Writes security events until the server stops. What is recorded after that is written by [`SecurityLog::flush`].
pub async fn run(app: App, mut shutdown: watch::Receiver<bool>) {
    while !*shutdown.borrow() {
        let pause = match app.security.flush(&app).await {
            Ok(()) => EVERY,
            Err(error) => {
                tracing::warn!(cause = %error.cause(), "security events could not be written; they are tried again");
                AFTER_A_FAULT
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = shutdown.changed() => {}
        }
    }
}

tokio::task_local! {
    static ORIGIN: (App, Client);
}

/// Does the work of a request from this client.
pub async fn within<T>(app: &App, client: &Client, work: impl Future<Output = T>) -> T {
    ORIGIN.scope((app.clone(), client.clone()), work).await
}

/// The client whose request is being worked on. Outside of a request it has neither address nor user agent.
pub fn client() -> Client {
    ORIGIN.try_with(|(_, client)| client.clone()).unwrap_or_default()
}

/// Records what happens in the request that is being worked on. Not for use in a transaction, which may run again.
pub fn note(event: NewSecurityEvent) {
    // Outside of a request there is no client to tell of.
    let _ = ORIGIN.try_with(|(app, client)| app.security.record(event, client));
}

/// Records that a user's secret was refused, or was not even looked at because of the requests before it.
pub fn note_refusal<T>(kind: SecurityEventKind, user: Option<UserId>, outcome: &Result<T>) {
    let refused = match outcome {
        Err(Error::Denied(denied @ Denied::RateLimited(_))) => {
            NewSecurityEvent::new(kind, SecurityOutcome::Throttled).code(denied.code())
        }
        Err(Error::User(error)) => match error.code {
            UserErrorCode::WrongCredentials => NewSecurityEvent::new(kind, SecurityOutcome::Failure).code("WRONG_CREDENTIALS"),
            UserErrorCode::WrongTwoFactorCode => {
                NewSecurityEvent::new(kind, SecurityOutcome::Failure).code("WRONG_TWO_FACTOR_CODE")
            }
            UserErrorCode::TwoFactorCodeRequired => {
                NewSecurityEvent::new(kind, SecurityOutcome::Failure).code("TWO_FACTOR_CODE_REQUIRED")
            }
            _ => return,
        },
        _ => return,
    };
    note(NewSecurityEvent { user, ..refused });
}

/// The security event that a change is besides, if it is one. A change by the operator is recorded with its command instead, and
/// one of an API key by the operation, which knows whose key it is.
pub fn of_change(event: &event::Model, logs: impl Iterator<Item = LogId>) -> Option<NewSecurityEvent> {
    use SecurityEventKind as Kind;
    let (kind, session) = match event.kind {
        _ if event.by_operator => return None,
        EventKind::SignedIn => (Kind::SignIn, true),
        EventKind::SignedOut | EventKind::SessionRevoked => (Kind::SessionEnded, true),
        EventKind::OtherSessionsRevoked | EventKind::PasswordChanged => (Kind::OtherSessionsEnded, false),
        EventKind::RefreshTokenReused => (Kind::RefreshTokenReused, true),
        EventKind::PasswordReset => (Kind::PasswordReset, false),
        _ => return None,
    };
    // All of these are in the log of one user.
    let user = logs.last().map(|log| UserId(log.0))?;
    let outcome = if kind == Kind::RefreshTokenReused { SecurityOutcome::Denied } else { SecurityOutcome::Success };
    let session = session.then_some(SessionId(event.subject_id));
    Some(NewSecurityEvent { actor: event.actor_id, session, ..NewSecurityEvent::new(kind, outcome).of_user(user) })
}
