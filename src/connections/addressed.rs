//! Whom a request for access is addressed to, without a difference between addresses that are somebody's and those that are nobody's.

use crate::{
    app::Tx,
    db::{ROWS_PER_STATEMENT, Sql, hold_texts},
    error::Result,
};
use entity::{AccountId, LogId, UserId, connection, log};
use sea_orm::{ConnectionTrait, EntityTrait, IntoActiveModel, sea_query::OnConflict};
use std::collections::HashMap;
use uuid::Uuid;

/// The logs that hear of requests to these addresses: those of the users whose verified addresses they are (E1).
///
/// For an address that is nobody's, a log of the agency that nobody reads takes the user's place. So the same statements write as
/// many rows for every address, and the time of a response does not reveal whether a user has it (C3).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Addressed {
    users: HashMap<String, UserId>,
    decoys: HashMap<(AccountId, String), LogId>,
}

impl Addressed {
    /// Finds the users of these addresses, each with the agency that asks it.
    pub async fn find(db: &impl ConnectionTrait, asked: Vec<(AccountId, &str)>) -> Result<Self> {
        let mut users = HashMap::new();
        for asked in asked.chunks(ROWS_PER_STATEMENT) {
            let sql = Sql::new("SELECT email_key, id FROM users WHERE email_verified_at IS NOT NULL AND email_key IN ");
            let sql = sql.list(asked.iter().map(|(_, key)| *key));
            users.extend(sql.all(db, |row| Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?))).await?);
        }
        let decoys = asked.iter().zip(0_u32..).map(|((agency, key), n)| ((*agency, (*key).to_owned()), decoy(*agency, n)));
        Ok(Self { users, decoys: decoys.collect() })
    }

    /// Finds the users of these requests' addresses.
    pub async fn by(db: &impl ConnectionTrait, rows: &[connection::Model]) -> Result<Self> {
        Self::find(db, rows.iter().map(|row| (row.agency_id, row.client_email_key.as_str())).collect()).await
    }

    /// Locks the addresses, whether or not they are somebody's: a lock on a user's log alone would make others wait only where there
    /// is a user. Makes the logs that take the place of users. Call it once the agencies' logs are locked.
    pub async fn hold(&self, tx: &Tx) -> Result<()> {
        let mailboxes: Vec<_> = self.decoys.keys().map(|(_, key)| tx.mailbox(key)).collect();
        hold_texts(tx.db(), mailboxes.iter().map(String::as_str)).await?;
        self.make_decoys(tx).await
    }

    /// Makes the logs that take the place of users, where they are missing. The agencies' logs are locked.
    pub async fn make_decoys(&self, tx: &Tx) -> Result<()> {
        for decoys in self.decoys.values().copied().collect::<Vec<_>>().chunks(ROWS_PER_STATEMENT) {
            let rows = decoys.iter().map(|id| log::Model { id: *id, head: 0 }.into_active_model());
            let insert = log::Entity::insert_many(rows).on_conflict(OnConflict::column(log::Column::Id).do_nothing().to_owned());
            insert.exec_without_returning(tx.db()).await?;
        }
        Ok(())
    }

    /// The user who hears of a request: the owner of its address, unless the client blocks the agency.
    pub fn user(&self, row: &connection::Model) -> Option<UserId> {
        self.owner_of(&row.client_email_key).filter(|_| !row.silenced)
    }

    /// The user whose verified address it is.
    pub fn owner_of(&self, key: &str) -> Option<UserId> {
        self.users.get(key).copied()
    }

    /// The logs that hear of a request before it is approved: the agency's and the addressed user's, unless the client blocks it.
    pub fn hear_of(&self, row: &connection::Model) -> impl Iterator<Item = LogId> + use<> {
        let decoy = || self.decoys.get(&(row.agency_id, row.client_email_key.clone())).copied();
        [Some(row.agency_id.into()), self.user(row).map(LogId::from).or_else(decoy)].into_iter().flatten()
    }

    /// The logs to lock: as many as there are addresses.
    pub fn logs(&self) -> impl Iterator<Item = LogId> {
        self.decoys.iter().map(|((_, key), decoy)| self.users.get(key).map_or(*decoy, |user| LogId::from(*user)))
    }
}

/// The id of an agency's n-th log that nobody reads. It is no id that the clock makes: those have another version.
fn decoy(agency: AccountId, n: u32) -> LogId {
    const VERSION: u128 = 0xf << 76;
    LogId(Uuid::from_u128(agency.0.as_u128() ^ VERSION ^ u128::from(n)))
}
