//! Connections: one agency's access to one client, from the request on.

use crate::{AccountId, ConnectionId, Moment, UserId, UserLevel};
use sea_orm::entity::prelude::*;

/// A request for access, and what became of it (C2–C9).
#[derive(Clone, Debug, DeriveEntityModel, Eq, PartialEq)]
#[sea_orm(table_name = "connections")]
pub struct Model {
    /// The connection.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: ConnectionId,
    /// The account that asks.
    pub agency_id: AccountId,
    /// The account that lets it in; unknown until the request is approved.
    pub client_id: Option<AccountId>,
    /// The address that was asked, as it was given.
    pub client_email: String,
    /// What makes that address one identity.
    pub client_email_key: String,
    /// What the agency wrote.
    pub message: Option<String>,
    /// The level that the agency asked for.
    pub requested_level: Option<UserLevel>,
    /// The ceiling: the highest level that the client allows; none until approved.
    pub level: Option<UserLevel>,
    /// As stored: a pending one may have expired, see [`Model::status_at`].
    pub status: ConnectionStatus,
    /// Who asked.
    pub requested_by: UserId,
    /// Who approved or declined.
    pub decided_by: Option<UserId>,
    /// Which link is the current one: a resend raises it.
    pub version: i64,
    /// When it was made: this is what the day's limit counts.
    pub created_at: Moment,
    /// When the latest e-mail was asked for.
    pub sent_at: Moment,
    /// Until when the request can be answered.
    pub expires_at: Moment,
    /// When it was approved, declined, canceled or expired.
    pub decided_at: Option<Moment>,
    /// When the access ended.
    pub ended_at: Option<Moment>,
    /// When it ends by itself; never, unless the client said so.
    pub ends_at: Option<Moment>,
    /// When both sides are to be reminded of that; none once they were.
    pub remind_at: Option<Moment>,
    /// Whether nothing of the request goes to whom it was addressed to, since the client blocks the agency.
    pub silenced: bool,
}

impl Model {
    /// The status as it is at `now`: expiry and an end that was agreed on are true from their moment on (E6).
    pub fn status_at(&self, now: Moment) -> ConnectionStatus {
        match self.status {
            ConnectionStatus::Pending if now >= self.expires_at => ConnectionStatus::Expired,
            ConnectionStatus::Active if self.ends_at.is_some_and(|ends_at| now >= ends_at) => ConnectionStatus::Ended,
            status => status,
        }
    }
}

/// On which side of a connection somebody stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    /// The side that asks.
    Agency,
    /// The side that lets in.
    Client,
}

impl Side {
    /// In lists' names and events.
    pub fn name(self) -> &'static str {
        match self {
            Self::Agency => "agency",
            Self::Client => "client",
        }
    }
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ended {
    /// One side ended it.
    By(Side),
    /// Its time was over.
    ByItself,
}

impl Ended {
    /// As the event keeps it.
    pub fn name(self) -> &'static str {
        match self {
            Self::By(side) => side.name(),
            Self::ByItself => "time",
        }
    }
}

/// None: joins are written where they are needed.
#[derive(Clone, Copy, Debug, DeriveRelation, EnumIter)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// What became of a request for access.
#[derive(async_graphql::Enum, Clone, Copy, Debug, DeriveActiveEnum, EnumIter, Eq, PartialEq)]
#[graphql(name = "ClientConnectionStatus")]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
pub enum ConnectionStatus {
    /// The client has not answered yet.
    Pending,
    /// The agency can act in the client's account.
    Active,
    /// The client said no.
    Declined,
    /// The agency took the request back.
    Canceled,
    /// Nobody answered in time.
    Expired,
    /// One side ended the access.
    Ended,
}
