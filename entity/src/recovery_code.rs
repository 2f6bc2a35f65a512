//! Recovery codes: what a user signs in with who has lost the device that makes codes. One that was used is gone.

use crate::UserId;
use sea_orm::entity::prelude::*;

/// A code that was not used yet.
#[derive(Clone, Debug, DeriveEntityModel, Eq, PartialEq)]
#[sea_orm(table_name = "recovery_codes")]
pub struct Model {
    /// Whose it is.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: UserId,
    /// SHA-256 of the code and the user.
    #[sea_orm(primary_key, auto_increment = false)]
    pub hash: String,
}

/// None: joins are written where they are needed.
#[derive(Clone, Copy, Debug, DeriveRelation, EnumIter)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
