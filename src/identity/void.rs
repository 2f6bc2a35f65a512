//! What a password reset takes from a user who never verified their address (I1).
//!
//! The person who resets the password reads the mailbox. The person who set up the login may have been somebody else, so nothing
//! that could let them back in stays: no password, session, API key, download link, two-factor secret, recovery code, pending
//! change of address or claimed invitation.
//!
//! The memberships stay whose invitation was sent to the address: it is the person with the mailbox who was invited. The user
//! leaves the accounts that were joined with a link to another address, since nobody there invited this person. The accounts that
//! the user owns stay: they have no other users, because an unverified user can't invite.

use super::{address::forget_change, ops::end_sessions, two_factor};
use crate::{
    api_keys,
    app::{Happening, Tx},
    db::Sql,
    error::{Error, Fault, Result},
    users::departure::Departure,
};
use entity::{AccountId, LogId, UserId, event::EventKind, user};

/// What an unverified user has to give up.
pub(super) struct Setup {
    user: UserId,
    /// From the accounts that were joined with a link to another address.
    departures: Vec<Departure>,
}

impl Setup {
    /// Nothing to give up for a verified user.
    pub async fn find(tx: &Tx, user: &user::Model) -> Result<Self> {
        let mut departures = Vec::new();
        if user.email_verified_at.is_none() {
            for account in joined_by_links_to_others(tx, user).await? {
                departures.push(Departure::find(tx, user.id, Some(account)).await?);
            }
        }
        Ok(Self { user: user.id, departures })
    }

    /// The logs to hold before anything is voided.
    pub fn logs(&self) -> Vec<LogId> {
        self.departures.iter().flat_map(Departure::logs).chain([self.user.into()]).collect()
    }

    /// Voids it. Who calls holds the logs.
    pub async fn void(&self, tx: &Tx, user: &user::Model) -> Result<()> {
        if Self::find(tx, user).await?.departures != self.departures {
            return Err(Error::Contended(Fault::new("a user joined or left an account while their setup was voided")));
        }
        for departure in &self.departures {
            let did = |kind, subject| Happening::by(user.id, None, kind, subject);
            departure.carry_out(tx, EventKind::UserLeft, &did).await?;
        }
        end_sessions(tx, user.id, None).await?;
        api_keys::ops::delete_of_user(tx, user.id).await?;
        Sql::new("DELETE FROM exports WHERE user_id = ").bind(user.id).run(tx.db()).await?;
        two_factor::switch_off(tx, user.id).await?;
        forget_change(tx, user.id).await?;
        let sql = Sql::new("UPDATE users SET claimed_invitation_id = NULL, last_account_id = NULL WHERE id = ");
        sql.bind(user.id).run(tx.db()).await?;
        Ok(())
    }
}

/// The accounts that the user joined with an invitation that was sent to another address.
async fn joined_by_links_to_others(tx: &Tx, user: &user::Model) -> Result<Vec<AccountId>> {
    // The invitation that a membership began with was accepted at the same moment.
    let sql = Sql::new("SELECT m.account_id FROM members m JOIN accounts a ON a.id = m.account_id AND a.status = 'active'");
    let sql = sql.push(" JOIN invitations i ON i.account_id = m.account_id AND i.accepted_by = m.user_id");
    let sql = sql.push(" AND i.decided_at = m.joined_at WHERE m.user_id = ").bind(user.id);
    let sql = sql.push(" AND i.email_key <> ").bind(user.email_key.as_str()).push(" ORDER BY m.id");
    sql.all(tx.db(), |row| row.try_get_by_index(0)).await
}
