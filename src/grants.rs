//! Recent authentication, and granting a level to another user: the one check that every grant passes (I7).

use crate::{
    accounts::rules::assignable,
    actor::Actor,
    error::{Denied, Result},
};
use chrono::TimeDelta;
use entity::{Moment, UserLevel, session};
use sea_orm::Value;

/// How long an authentication counts as recent.
pub const FRESH: TimeDelta = TimeDelta::minutes(10);

/// Whether a session's user authenticated recently.
pub fn is_fresh(session: &session::Model, now: Moment) -> bool {
    // A clock that was set back makes nothing fresh.
    (TimeDelta::zero()..=FRESH).contains(&(now - session.proved_at()))
}

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
    /// Fails unless the user signed in or reauthenticated in the last minutes (I7). An API key never did.
    pub fn proved_lately(&self, now: Moment) -> Result<()> {
        if is_fresh(self.session()?, now) { Ok(()) } else { Err(Denied::ReauthenticationRequired.into()) }
    }

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
