//! Sessions: one per sign-in. No secret is kept: a refresh token is an HMAC over the session and its generation (I3).

use crate::{AccountId, Moment, SessionId, UserId};
use chrono::TimeDelta;
use sea_orm::entity::prelude::*;

/// One sign-in of one user on one device.
#[derive(Clone, Debug, DeriveEntityModel, Eq, PartialEq)]
#[sea_orm(table_name = "sessions")]
pub struct Model {
    /// The session.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: SessionId,
    /// Whose it is.
    pub user_id: UserId,
    /// Which refresh token is the current one: each use raises it.
    pub generation: i64,
    /// When the generation was last raised.
    pub rotated_at: Moment,
    /// What kind of client signed in.
    pub client: SessionClient,
    /// As the client called itself.
    pub user_agent: Option<String>,
    /// The account last acted in through this session.
    pub account_id: Option<AccountId>,
    /// The agency through which, when that account is a client's.
    pub via_id: Option<AccountId>,
    /// When it began.
    pub created_at: Moment,
    /// When it was last used to get an access token.
    pub last_used_at: Moment,
    /// When it ended: signed out, revoked, or a used refresh token came back.
    pub ended_at: Option<Moment>,
    /// When the password or a code was last given again; none: when it began.
    pub authenticated_at: Option<Moment>,
    /// The latest generation that was followed by more than a minute without a rotation.
    pub settled_generation: i64,
    /// How the user last proved who they are: authentication methods of RFC 8176, with spaces between them.
    pub methods: String,
    /// The device that signed in. Its row may be gone.
    pub device_id: Option<Uuid>,
}

/// How long sessions last (I3).
#[derive(Clone, Copy, Debug)]
pub struct Lifetimes {
    /// From the last use on.
    pub idle: TimeDelta,
    /// From the sign-in on.
    pub total: TimeDelta,
}

impl Lifetimes {
    /// When a session ends unless it is used before.
    pub fn end_of(self, session: &Model) -> Moment {
        (session.last_used_at + self.idle).min(session.created_at + self.total)
    }
}

impl Model {
    /// When its user last proved who they are.
    pub fn proved_at(&self) -> Moment {
        self.authenticated_at.unwrap_or(self.created_at)
    }
}

/// None: joins are written where they are needed.
#[derive(Clone, Copy, Debug, DeriveRelation, EnumIter)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// What signed in.
#[derive(async_graphql::Enum, Clone, Copy, Debug, DeriveActiveEnum, EnumIter, Eq, PartialEq)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
pub enum SessionClient {
    /// A browser.
    Web,
    /// The app on iOS.
    Ios,
    /// The app on Android.
    Android,
    /// Anything else.
    Other,
}
