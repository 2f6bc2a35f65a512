//! Members: who is a direct user of which account, and at which level.

use crate::{AccountId, MemberId, Moment, UserId, UserLevel};
use sea_orm::entity::prelude::*;

/// A direct user's place in an account.
#[derive(Clone, Debug, DeriveEntityModel, Eq, PartialEq)]
#[sea_orm(table_name = "members")]
pub struct Model {
    /// The place.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: MemberId,
    /// The account.
    pub account_id: AccountId,
    /// The user.
    pub user_id: UserId,
    /// What they may do there.
    pub level: UserLevel,
    /// Since when.
    pub joined_at: Moment,
    /// Since when they can't act there, while their level and seat are kept (U6).
    pub suspended_at: Option<Moment>,
}

/// None: joins are written where they are needed.
#[derive(Clone, Copy, Debug, DeriveRelation, EnumIter)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
