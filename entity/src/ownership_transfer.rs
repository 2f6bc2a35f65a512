//! Transfers of ownership that an Admin asked for: the former Owner can undo each for a while (I7).

use crate::{AccountId, Moment, TransferId, UserId};
use sea_orm::entity::prelude::*;

/// One transfer.
#[derive(Clone, Debug, DeriveEntityModel, Eq, PartialEq)]
#[sea_orm(table_name = "ownership_transfers")]
pub struct Model {
    /// The transfer. The link to undo it is made of this id.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: TransferId,
    /// The account.
    pub account_id: AccountId,
    /// The Owner before.
    pub former_owner_id: UserId,
    /// The Owner after.
    pub new_owner_id: UserId,
    /// The Admin who asked for it.
    pub asked_by: UserId,
    /// When.
    pub at: Moment,
    /// When it was undone, or became final before its time. Null while it is neither.
    pub settled_at: Option<Moment>,
}

/// None: joins are written where they are needed.
#[derive(Clone, Copy, Debug, DeriveRelation, EnumIter)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
