//! Users: the people with a login.

use crate::{AccountId, InvitationId, Moment, UserId};
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
    /// Which link verifies the address: each change of it raises this.
    pub email_version: i64,
    /// The address that they change to, until they have proved that it is theirs.
    pub pending_email: Option<String>,
    /// What makes that one one identity.
    pub pending_email_key: Option<String>,
    /// Which links reset the password: each use of one raises this.
    pub reset_version: i64,
    /// Since when a sign-in asks for a code.
    pub two_factor_since: Option<Moment>,
    /// Which secret the codes are made of: each beginning raises this.
    pub two_factor_version: i64,
    /// The time step of the last code that was taken: none counts twice.
    pub two_factor_step: i64,
    /// The Admin invitation that an unverified user signed up with. They join when they verify their address (U2).
    pub claimed_invitation_id: Option<InvitationId>,
    /// Which sign-in links work: each use of one raises this.
    pub sign_in_version: i64,
    /// When they were erased: what is left is an id that names nobody.
    pub erased_at: Option<Moment>,
}

/// None: joins are written where they are needed.
#[derive(Clone, Copy, Debug, DeriveRelation, EnumIter)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
