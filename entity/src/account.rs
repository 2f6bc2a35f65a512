//! Accounts: the tenants.

use crate::{AccountId, Moment, UserId, UserLevel};
use sea_orm::entity::prelude::*;

/// A customer's tenant.
#[derive(Clone, Debug, DeriveEntityModel, Eq, PartialEq)]
#[sea_orm(table_name = "accounts")]
pub struct Model {
    /// The account.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: AccountId,
    /// The organisation's name.
    pub name: String,
    /// What a list is ordered and searched by: lower case, which one database's own functions know for ASCII alone.
    pub name_key: String,
    /// Whether it is still open.
    pub status: AccountStatus,
    /// Which levels and how many seats it has.
    pub plan: Plan,
    /// The one Owner: a foreign key to their place as Owner makes the database hold L5.
    pub owner_id: UserId,
    /// Always `Owner`: the other half of that key.
    pub owner_level: UserLevel,
    /// When it was opened.
    pub created_at: Moment,
    /// When it joined the partner program, if it has.
    pub partner_program_joined_at: Option<Moment>,
    /// Whether it may ask for access to clients' accounts.
    pub client_access_enabled: bool,
    /// Whether nobody can act in it without two-factor (U10).
    pub two_factor_required: bool,
    /// The user who opened it.
    pub opened_by: Option<UserId>,
}

/// None: joins are written where they are needed.
#[derive(Clone, Copy, Debug, DeriveRelation, EnumIter)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// Whether an account is open.
#[derive(async_graphql::Enum, Clone, Copy, Debug, DeriveActiveEnum, EnumIter, Eq, PartialEq)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
pub enum AccountStatus {
    /// Its users can act in it.
    Active,
    /// Nobody can act in it any more.
    Closed,
}

/// What the customer pays for: levels and seats (L3).
#[derive(async_graphql::Enum, Clone, Copy, Debug, DeriveActiveEnum, EnumIter, Eq, Hash, PartialEq)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
pub enum Plan {
    /// The Owner alone.
    Free,
    /// Owner and Admins, 3 seats.
    Essentials,
    /// All levels but Manager, 5 seats.
    Standard,
    /// All levels, no limit of seats.
    Premium,
}

impl Plan {
    /// Smallest first.
    pub const ALL: [Self; 4] = [Self::Free, Self::Essentials, Self::Standard, Self::Premium];

    /// The levels that the plan has, highest first (L3).
    pub fn levels(self) -> &'static [UserLevel] {
        use UserLevel::{Admin, Author, Owner, Viewer};
        match self {
            Self::Free => &[Owner],
            Self::Essentials => &[Owner, Admin],
            Self::Standard => &[Owner, Admin, Author, Viewer],
            Self::Premium => &UserLevel::ALL,
        }
    }

    /// How many users the account may have, the Owner included; `None` for any number (L3).
    pub fn seats(self) -> Option<u64> {
        match self {
            Self::Free => Some(1),
            Self::Essentials => Some(3),
            Self::Standard => Some(5),
            Self::Premium => None,
        }
    }

    /// The name as people read it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Free => "Free",
            Self::Essentials => "Essentials",
            Self::Standard => "Standard",
            Self::Premium => "Premium",
        }
    }
}
