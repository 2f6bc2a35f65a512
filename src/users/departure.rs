//! What goes with a user's access to accounts, in one transaction: API keys, opt-ins, links to exports, places on the accounts'
//! client connections and what they hold there (U7, U8, C9, C11).

use crate::{
    app::{Happening, Tx},
    connections::ending::NO_OTHER_WAY,
    consequences::{ConsequenceKind, Consequences},
    db::{ROWS_PER_STATEMENT, Sql},
    error::{Error, Fault, Result},
};
use entity::{AccountId, ApiKeyId, ConnectionId, EventId, LogId, MemberId, NodeId, UserId, event::EventKind};
use sea_orm::QueryResult;
use uuid::Uuid;

/// A user's place in an account that is open.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Membership {
    id: MemberId,
    /// The account.
    pub account: AccountId,
    /// Whether they own it.
    pub owns: bool,
    /// Whether others are there too.
    pub shared: bool,
}

/// A user's place on a connection of such an account's clients.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Place {
    connection: ConnectionId,
    agency: AccountId,
    client: AccountId,
}

/// What a user has of one account, or of all.
#[derive(Debug, Eq, PartialEq)]
pub struct Departure {
    /// Whose.
    pub user: UserId,
    /// Of this one alone.
    from: Option<AccountId>,
    /// Where they are a direct user.
    pub memberships: Vec<Membership>,
    places: Vec<Place>,
    keys: Vec<ApiKeyId>,
}

impl Departure {
    /// From one account, or from all that are open.
    pub async fn find(tx: &Tx, user: UserId, from: Option<AccountId>) -> Result<Self> {
        let of = |sql: Sql, column: &str| match from {
            Some(account) => sql.push(&format!(" AND {column} = ")).bind(account),
            None => sql,
        };
        let sql = Sql::new(
            "SELECT m.id, m.account_id, a.owner_id, EXISTS (SELECT 1 FROM members o WHERE o.account_id = m.account_id AND o.user_id <> m.user_id) \
             FROM members m JOIN accounts a ON a.id = m.account_id AND a.status = 'active' WHERE m.user_id = ",
        );
        let read = |row: &QueryResult| {
            let owner: UserId = row.try_get_by_index(2)?;
            let (id, account, shared) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?, row.try_get_by_index(3)?);
            Ok(Membership { id, account, owns: owner == user, shared })
        };
        let memberships = of(sql.bind(user), "m.account_id").push(" ORDER BY m.id").all(tx.db(), read).await?;
        let sql = Sql::new("SELECT c.id, c.agency_id, c.client_id FROM places p JOIN connections c ON c.id = p.connection_id");
        let sql = sql.push(" WHERE c.client_id IS NOT NULL AND p.user_id = ").bind(user);
        let read = |row: &QueryResult| {
            let (connection, agency) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
            Ok(Place { connection, agency, client: row.try_get_by_index(2)? })
        };
        let places = of(sql, "c.agency_id").push(" ORDER BY p.id").all(tx.db(), read).await?;
        let keys = held(Sql::new("SELECT id"), "api_keys", user, from).push(" ORDER BY id");
        let keys = keys.all(tx.db(), |row| row.try_get_by_index(0)).await?;
        Ok(Self { user, from, memberships, places, keys })
    }

    /// The logs that hear of it.
    pub fn logs(&self) -> Vec<LogId> {
        let accounts = self.memberships.iter().map(|place| place.account);
        let sides = self.places.iter().flat_map(|place| [place.agency, place.client]);
        accounts.chain(sides).map(LogId::from).chain([self.user.into()]).collect()
    }

    /// Has the work run again when it is another by now, whose logs are not held.
    pub async fn is_still(&self, tx: &Tx) -> Result<()> {
        if Self::find(tx, self.user, self.from).await? == *self {
            return Ok(());
        }
        Err(Error::Contended(Fault::new("what a user holds changed while it was taken from them")))
    }

    /// What goes.
    pub fn consequences(&self) -> Consequences {
        let places = self.places.iter().map(|place| NodeId::Connection(place.connection));
        Consequences::default()
            .and(ConsequenceKind::AccessEnds, [NodeId::User(self.user)])
            .and(ConsequenceKind::ApiKeyDeleted, self.keys.iter().copied().map(NodeId::ApiKey))
            .and(ConsequenceKind::ClientAccessEnds, places)
    }

    /// Takes it all from them but the accounts that they own, and tells each account's log. Who calls holds the logs. Answers the
    /// events that tell of each account.
    pub async fn carry_out(&self, tx: &Tx, kind: EventKind, did: &impl Fn(EventKind, Uuid) -> Happening) -> Result<Vec<EventId>> {
        for table in ["api_keys", "exports"] {
            held(Sql::new("DELETE"), table, self.user, self.from).run(tx.db()).await?;
        }
        let places = Sql::new("DELETE FROM places WHERE user_id = ").bind(self.user);
        let places = match self.from {
            Some(agency) => {
                places.push(" AND connection_id IN (SELECT id FROM connections WHERE agency_id = ").bind(agency).push(")")
            }
            None => places,
        };
        places.run(tx.db()).await?;
        for place in &self.places {
            let removed = did(EventKind::ClientUserRemoved, place.connection.0).from(self.user.to_string());
            tx.append(removed, [place.agency.into(), place.client.into()]);
        }
        let left: Vec<_> = self.memberships.iter().filter(|place| !place.owns).collect();
        for left in left.chunks(ROWS_PER_STATEMENT) {
            Sql::new("DELETE FROM members WHERE id IN ").list(left.iter().map(|place| place.id)).run(tx.db()).await?;
        }
        // With no way left into an account, what they chose there goes.
        Sql::new("DELETE FROM email_opt_ins WHERE user_id = ").bind(self.user).push(NO_OTHER_WAY).run(tx.db()).await?;
        let told = left.into_iter().map(|place| {
            let gone = did(kind, self.user.0).from(place.account.to_string());
            tx.append(gone, [place.account.into(), self.user.into()])
        });
        Ok(told.collect())
    }
}

/// The rows that a user has in an account and, through it, in its clients' accounts; in all if none is named.
fn held(sql: Sql, table: &str, user: UserId, from: Option<AccountId>) -> Sql {
    let sql = sql.push(&format!(" FROM {table} WHERE user_id = ")).bind(user);
    let Some(account) = from else { return sql };
    let sql = sql.push(" AND (account_id = ").bind(account);
    sql.push(" OR via_id = ").bind(account).push(")")
}
