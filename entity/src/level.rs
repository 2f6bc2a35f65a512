//! The five levels, ordered: `Owner > Admin > … > Viewer`.

use sea_orm::entity::prelude::*;

/// What a user may do in an account, highest first.
#[derive(async_graphql::Enum, Clone, Copy, Debug, DeriveActiveEnum, EnumIter, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[sea_orm(rs_type = "i16", db_type = "SmallInteger")]
pub enum UserLevel {
    /// The account's one Owner, who may do everything.
    Owner = 5,
    /// May do what the Owner may.
    Admin = 4,
    /// Creates and sends, but governs neither people nor billing.
    Manager = 3,
    /// Writes and edits, and reads reports.
    Author = 2,
    /// Reads reports.
    Viewer = 1,
}

impl UserLevel {
    /// Highest first.
    pub const ALL: [Self; 5] = [Self::Owner, Self::Admin, Self::Manager, Self::Author, Self::Viewer];

    /// The name as people read it, such as `Admin`.
    pub fn title(self) -> &'static str {
        match self {
            Self::Owner => "Owner",
            Self::Admin => "Admin",
            Self::Manager => "Manager",
            Self::Author => "Author",
            Self::Viewer => "Viewer",
        }
    }
}
