//! Logs: one per account and one per user. The row is the counter of its log and the lock of its owner:
//! whoever changes an account holds it, so numbers have no gaps and limits are exact under any concurrency.

use crate::LogId;
use sea_orm::entity::prelude::*;

/// Where one log stands.
#[derive(Clone, Debug, DeriveEntityModel, Eq, PartialEq)]
#[sea_orm(table_name = "logs")]
pub struct Model {
    /// The account or user whose log it is.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: LogId,
    /// The number of its latest entry; 0 when it is empty.
    pub head: i64,
}

/// None: joins are written where they are needed.
#[derive(Clone, Copy, Debug, DeriveRelation, EnumIter)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
