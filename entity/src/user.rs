//! Users: the people with a login.

use crate::{AccountId, Moment, UserId};
use sea_orm::entity::prelude::*;

/// A person with a login.
#[derive(Clone, Debug, DeriveEntityModel, Eq, PartialEq)]
#[sea_orm(table_name = "users")]
pub struct Model {
    /// The user.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: UserId,
    /// As they call themselves.
    pub name: String,
    /// What a list is ordered and searched by: lower case, which one database's own functions know for ASCII alone.
    pub name_key: String,
    /// As they wrote it.
    pub username: String,
    /// What makes the username unique: lower case.
    pub username_key: String,
    /// As they wrote it; mail goes there.
    pub email: String,
    /// What makes the address one identity: lower case, the domain in ASCII.
    pub email_key: String,
    /// When they proved that the mailbox is theirs.
    pub email_verified_at: Option<Moment>,
    /// Argon2id, in the PHC format.
    pub password_hash: String,
    /// The account that they last acted in.
    pub last_account_id: Option<AccountId>,
    /// When they signed up.
    pub created_at: Moment,
}

/// None: joins are written where they are needed.
#[derive(Clone, Copy, Debug, DeriveRelation, EnumIter)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
