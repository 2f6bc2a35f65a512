//! Security events (E1a): who tried what, from where, and with which outcome. They are kept apart from the gapless log, for a limited
//! time. A row contains ids, never names, and no text that a user chose, except the client's own `User-Agent`.

use crate::{AccountId, ApiKeyId, Moment, SecurityEventId, SessionId, UserId};
use sea_orm::entity::prelude::*;

/// One security event, or several equal ones within a window.
#[derive(Clone, Debug, DeriveEntityModel, Eq, PartialEq)]
#[sea_orm(table_name = "security_events")]
pub struct Model {
    /// The event.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: SecurityEventId,
    /// What was tried.
    pub kind: SecurityEventKind,
    /// How it ended.
    pub outcome: SecurityOutcome,
    /// When it occurred first.
    pub at: Moment,
    /// When it occurred last.
    pub last_at: Moment,
    /// How often it occurred from `at` to `last_at`.
    pub count: i64,
    /// The user whose login, session, API key or access it concerns.
    pub user_id: Option<UserId>,
    /// The user who did it, where that is known.
    pub actor_id: Option<UserId>,
    /// Whether the operator did it, by command line.
    pub by_operator: bool,
    /// The account that it concerns. None: it concerns the user alone.
    pub account_id: Option<AccountId>,
    /// The agency, when the actor acted through a connection.
    pub via_id: Option<AccountId>,
    /// The API key that was used, created or deleted.
    pub api_key_id: Option<ApiKeyId>,
    /// The session that began or ended.
    pub session_id: Option<SessionId>,
    /// The IP address of the first occurrence.
    pub address: Option<String>,
    /// The `User-Agent` header of the first occurrence, shortened.
    pub user_agent: Option<String>,
    /// The code of the error that was returned.
    pub code: Option<String>,
    /// The name of the permission that was required.
    pub permission: Option<String>,
    /// The GraphQL field, or the operator's command.
    pub operation: Option<String>,
}

/// None: joins are written where they are needed.
#[derive(Clone, Copy, Debug, DeriveRelation, EnumIter)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// What was tried.
#[derive(async_graphql::Enum, Clone, Copy, Debug, DeriveActiveEnum, EnumIter, Eq, Hash, PartialEq)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
pub enum SecurityEventKind {
    /// A sign-in, by `signIn` or another mutation that begins a session. A failed one has the code `WRONG_CREDENTIALS`, or
    /// `TWO_FACTOR_CODE_REQUIRED` if the password was right and no two-factor code was sent. A wrong code is a `TWO_FACTOR_CODE`
    /// event. A sign-in with an unknown login concerns nobody and is not recorded.
    SignIn,
    /// A password that a mutation required besides a sign-in, such as `reauthenticate` or `changePassword`. Recorded only when the
    /// password was wrong or the request was throttled.
    PasswordCheck,
    /// A two-factor code or a recovery code. Recorded only when the code was wrong or the request was throttled.
    TwoFactorCode,
    /// A request for an e-mail with a link to reset the password.
    PasswordResetRequested,
    /// A password that was reset with the link from an e-mail. It ended every session of the user.
    PasswordReset,
    /// A session that ended by `signOut` or `revokeSession`.
    SessionEnded,
    /// All sessions of the user except the calling one, ended by `revokeOtherSessions` or `changePassword`.
    OtherSessionsEnded,
    /// A replaced refresh token that was used again. Its session ended.
    RefreshTokenReused,
    /// An API key that was created.
    ApiKeyCreated,
    /// An API key that was deleted.
    ApiKeyDeleted,
    /// An API key that was used from an address that it was not used from before, as far back as security events are kept. IPv6
    /// addresses of the same /64 network count as one.
    ApiKeyUsed,
    /// A field, mutation or subscription that was denied. `code` is `FORBIDDEN`, `TWO_FACTOR_REQUIRED` or
    /// `REAUTHENTICATION_REQUIRED`.
    AccessDenied,
    /// An agency user who began to act in a client's account, by `switchAccount`, `signIn` or `refreshSession`.
    ClientAccountEntered,
    /// A download of an account that was fetched with the link from `exportAccount`.
    ExportDownloaded,
    /// A command of the server's operator that read or changed the user or the account. `operation` is the command.
    OperatorCommand,
}

/// How it ended.
#[derive(async_graphql::Enum, Clone, Copy, Debug, DeriveActiveEnum, EnumIter, Eq, Hash, PartialEq)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
#[graphql(name = "SecurityEventOutcome")]
pub enum SecurityOutcome {
    /// It was done.
    Success,
    /// The password or the code was wrong or missing, or the operator's command failed.
    Failure,
    /// The request was refused because there were too many before it (`RATE_LIMITED`).
    Throttled,
    /// A guard refused it.
    Denied,
}
