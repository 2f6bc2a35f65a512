//! Log entries: an event in one of the logs that it concerns, numbered without gaps (E1).

use crate::{EventId, LogId};
use sea_orm::entity::prelude::*;

/// One event in one log.
#[derive(Clone, Debug, DeriveEntityModel, Eq, PartialEq)]
#[sea_orm(table_name = "log_entries")]
pub struct Model {
    /// The log.
    #[sea_orm(primary_key, auto_increment = false)]
    pub log_id: LogId,
    /// Its number there, from 1.
    #[sea_orm(primary_key, auto_increment = false)]
    pub number: i64,
    /// The event.
    pub event_id: EventId,
}

/// None: joins are written where they are needed.
#[derive(Clone, Copy, Debug, DeriveRelation, EnumIter)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
