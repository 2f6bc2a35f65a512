//! API keys: what a program acts with in one account, in the name of the user who made it (I6).

use crate::{AccountId, ApiKeyId, Moment, UserId, UserLevel};
use sea_orm::entity::prelude::*;

/// A key. The secret itself is nowhere.
#[derive(Clone, Debug, DeriveEntityModel, Eq, PartialEq)]
#[sea_orm(table_name = "api_keys")]
pub struct Model {
    /// The key.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: ApiKeyId,
    /// The account that it acts in.
    pub account_id: AccountId,
    /// Who made it: it acts at their present level there.
    pub user_id: UserId,
    /// The agency through whose connection, when that account is a client's.
    pub via_id: Option<AccountId>,
    /// What it is for.
    pub name: String,
    /// How the secret begins, for people.
    pub prefix: String,
    /// SHA-256 of the secret.
    pub hash: String,
    /// The highest level that it acts at.
    pub level: UserLevel,
    /// When it was made.
    pub created_at: Moment,
    /// Until when it works.
    pub expires_at: Option<Moment>,
    /// When it was last used, to the minute or so.
    pub last_used_at: Option<Moment>,
}

/// None: joins are written where they are needed.
#[derive(Clone, Copy, Debug, DeriveRelation, EnumIter)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
