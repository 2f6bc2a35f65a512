//! Places: which users of an agency may act in a client's account, and at which level.

use crate::{ConnectionId, Moment, PlaceId, UserId, UserLevel};
use sea_orm::entity::prelude::*;

/// An agency user's place on a connection; what counts is the lower of its level and the connection's (L6).
#[derive(Clone, Debug, DeriveEntityModel, Eq, PartialEq)]
#[sea_orm(table_name = "places")]
pub struct Model {
    /// The place.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: PlaceId,
    /// The connection.
    pub connection_id: ConnectionId,
    /// The agency's user.
    pub user_id: UserId,
    /// Their level, which the connection's may lower.
    pub level: UserLevel,
    /// Who gave it; none when it came with the approval.
    pub added_by: Option<UserId>,
    /// Since when.
    pub added_at: Moment,
}

/// None: joins are written where they are needed.
#[derive(Clone, Copy, Debug, DeriveRelation, EnumIter)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
