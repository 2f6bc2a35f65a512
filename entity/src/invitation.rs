//! Invitations: a seat offered by e-mail.

use crate::{AccountId, InvitationId, Moment, UserId, UserLevel};
use sea_orm::entity::prelude::*;

/// An offer to join an account at a level, to one address (U2).
#[derive(Clone, Debug, DeriveEntityModel, Eq, PartialEq)]
#[sea_orm(table_name = "invitations")]
pub struct Model {
    /// The invitation.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: InvitationId,
    /// The account.
    pub account_id: AccountId,
    /// The address, as it was given.
    pub email: String,
    /// What makes the address one identity.
    pub email_key: String,
    /// The level that the bearer joins at.
    pub level: UserLevel,
    /// What the inviter wrote.
    pub message: Option<String>,
    /// As stored: a pending one may have expired, see [`Model::status_at`].
    pub status: InvitationStatus,
    /// Who invited.
    pub invited_by: UserId,
    /// Who sent the latest e-mail; none for the inviter.
    pub sent_by: Option<UserId>,
    /// Who joined.
    pub accepted_by: Option<UserId>,
    /// Which link is the current one: a resend raises it.
    pub version: i64,
    /// When it was made: this is what the day's limit counts.
    pub created_at: Moment,
    /// When the latest e-mail was asked for.
    pub sent_at: Moment,
    /// Until when the link works.
    pub expires_at: Moment,
    /// When it was accepted, declined, canceled or expired.
    pub decided_at: Option<Moment>,
}

impl Model {
    /// The status as it is at `now`: expiry is true from its moment on (E6).
    pub fn status_at(&self, now: Moment) -> InvitationStatus {
        match self.status {
            InvitationStatus::Pending if now >= self.expires_at => InvitationStatus::Expired,
            status => status,
        }
    }
}

/// None: joins are written where they are needed.
#[derive(Clone, Copy, Debug, DeriveRelation, EnumIter)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// What became of an invitation.
#[derive(async_graphql::Enum, Clone, Copy, Debug, DeriveActiveEnum, EnumIter, Eq, PartialEq)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
pub enum InvitationStatus {
    /// It waits for an answer and holds a seat.
    Pending,
    /// Its bearer joined.
    Accepted,
    /// Its bearer said no.
    Declined,
    /// The account took it back.
    Canceled,
    /// Nobody answered in time.
    Expired,
}
