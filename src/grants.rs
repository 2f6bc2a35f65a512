//! Granting a level to another user: the one check that every grant passes (I7).

use crate::{accounts::rules::assignable, actor::Actor, error::Result};
use entity::{Moment, UserLevel};
use sea_orm::Value;

/// A level that the actor may grant at this moment. Code that writes a level for another user takes one of these instead of a
/// `UserLevel`, so that a new way of granting Admin can't miss the check.
#[derive(Clone, Copy, Debug)]
pub struct Grant(UserLevel);

impl Grant {
    /// The level.
    pub fn level(self) -> UserLevel {
        self.0
    }

    /// Whether it grants Admin, which the account's Owner and Admins are e-mailed about.
    pub fn is_admin(self) -> bool {
        self.0 == UserLevel::Admin
    }
}

impl From<Grant> for Value {
    fn from(grant: Grant) -> Self {
        grant.0.into()
    }
}

impl Actor {
    /// Checks that the actor may grant a level. Owner is never granted. Admin requires a session with recent authentication, never
    /// an API key. Whether the actor may grant levels at all is the operation's own check.
    pub fn grant(&self, level: UserLevel, now: Moment) -> Result<Grant> {
        assignable(level)?;
        if level == UserLevel::Admin {
            self.proved_lately(now)?;
        }
        Ok(Grant(level))
    }
}
