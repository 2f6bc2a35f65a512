//! What ends: one connection, by either side or by itself; one user's place on it; and all of an account's connections and pending
//! requests when it leaves the stage, in a number of statements that does not grow with each (C9, C10, U11).

use super::{
    addressed::Addressed,
    ops::{expire, withdraw_all},
};
use crate::{
    app::{Happening, Outgoing, Tx},
    consequences::{ConsequenceKind, Consequences},
    db::{ROWS_PER_STATEMENT, Sql, columns, model, select},
    error::{Error, Fault, Result},
};
use entity::{
    AccountId, ConnectionId, EventId, LogId, NodeId, UserId,
    connection::{self, ConnectionStatus, Ended, Side},
    event::EventKind,
    mail::MailKind,
    user,
};
use std::collections::HashMap;
use uuid::Uuid;

/// Ends one connection: nobody acts through it any more, and what the agency's users hold there goes (C9). Who calls holds both
/// sides' logs, and tells whom it concerns.
pub(super) async fn end_one(tx: &Tx, row: &connection::Model, ended: Happening) -> Result<EventId> {
    let at = row.ends_at.filter(|at| *at <= tx.now()).unwrap_or_else(|| tx.now());
    let sql = Sql::new("UPDATE connections SET status = 'ended', ended_at = ").bind(at).push(" WHERE id = ").bind(row.id);
    sql.run(tx.db()).await?;
    Sql::new("DELETE FROM places WHERE connection_id = ").bind(row.id).run(tx.db()).await?;
    if let Some(client) = row.client_id {
        for table in ["api_keys", "exports"] {
            let sql = Sql::new(format!("DELETE FROM {table} WHERE account_id = ")).bind(client).push(" AND via_id = ");
            sql.bind(row.agency_id).run(tx.db()).await?;
        }
        forget_opt_ins(tx, row.agency_id, &[client]).await?;
    }
    Ok(tx.append(ended, sides(row)))
}

/// Ends a connection whose time is over, and tells both sides (E6). Who calls holds their logs.
pub(super) async fn end_by_itself(tx: &Tx, row: &connection::Model) -> Result<()> {
    let ended = Happening::by_itself(EventKind::ClientAccessEnded, row.id.0).from(Ended::ByItself.name());
    let event = end_one(tx, row, ended).await?;
    mail_both(tx, row, MailKind::ConnectionEnded, event).await
}

/// Tells the agency's Owner and whoever asked for the access, if they are still there, and the client's Owner.
pub(super) async fn mail_both(tx: &Tx, row: &connection::Model, kind: MailKind, event: EventId) -> Result<()> {
    let sql = Sql::new(format!("SELECT DISTINCT {} FROM users u", columns::<user::Entity>("u")));
    let sql = sql.push(" JOIN members m ON m.user_id = u.id AND m.suspended_at IS NULL WHERE (m.level = 5 AND m.account_id IN ");
    let sql = sql.list([Some(row.agency_id), row.client_id].into_iter().flatten()).push(") OR (m.account_id = ");
    let sql = sql.bind(row.agency_id).push(" AND m.user_id = ").bind(row.requested_by).push(")");
    let people: Vec<user::Model> = sql.all(tx.db(), model("u")).await?;
    tx.mail(&people.iter().map(|user| Outgoing::to_user(user, kind, event, row.id.0)).collect::<Vec<_>>()).await
}

/// The accounts of both sides.
pub(super) fn sides(row: &connection::Model) -> impl Iterator<Item = LogId> + use<> {
    [Some(row.agency_id), row.client_id].into_iter().flatten().map(LogId::from)
}

/// What ends with one connection: who acts there through it, and their API keys.
pub(super) async fn consequences_of_one(tx: &Tx, row: &connection::Model) -> Result<Consequences> {
    let sql =
        Sql::new("SELECT u.id FROM users u WHERE u.id IN (SELECT p.user_id FROM places p WHERE p.connection_id = ").bind(row.id);
    let sql =
        sql.push(") OR u.id IN (SELECT a.owner_id FROM accounts a WHERE a.id = ").bind(row.agency_id).push(") ORDER BY u.id");
    let people = sql.all(tx.db(), |row| Ok(NodeId::User(row.try_get_by_index(0)?))).await?;
    let keys = Sql::new("SELECT id FROM api_keys WHERE account_id = ").bind(row.client_id).push(" AND via_id = ");
    let keys = keys_of(tx, keys.bind(row.agency_id)).await?;
    Ok(Consequences::default()
        .and(ConsequenceKind::ConnectionEnds, [NodeId::Connection(row.id)])
        .and(ConsequenceKind::AccessEnds, people)
        .and(ConsequenceKind::ApiKeyDeleted, keys))
}

async fn keys_of(tx: &Tx, sql: Sql) -> Result<Vec<NodeId>> {
    sql.push(" ORDER BY id").all(tx.db(), |row| Ok(NodeId::ApiKey(row.try_get_by_index(0)?))).await
}

/// One of an agency's users in a client's account.
pub(super) struct Guest {
    user: UserId,
    connection: ConnectionId,
    agency: AccountId,
    client: AccountId,
}

impl Guest {
    /// Of an active connection.
    pub(super) fn of(row: &connection::Model, user: UserId) -> Result<Self> {
        let client = row.client_id.ok_or_else(|| Fault::new(format!("{} is active without a client", row.id)))?;
        Ok(Self { user, connection: row.id, agency: row.agency_id, client })
    }

    /// The agency's Owner needs no place there (C6), so nothing ends with one.
    fn held(&self, sql: Sql) -> Sql {
        let sql = sql.push(" WHERE user_id = ").bind(self.user).push(" AND account_id = ").bind(self.client);
        let sql =
            sql.push(" AND via_id = ").bind(self.agency).push(" AND user_id NOT IN (SELECT owner_id FROM accounts WHERE id = ");
        sql.bind(self.agency).push(")")
    }

    /// What ends with their place.
    pub(super) async fn consequences(&self, tx: &Tx) -> Result<Consequences> {
        let keys = keys_of(tx, self.held(Sql::new("SELECT id FROM api_keys"))).await?;
        let ends = (!self.is_owner(tx).await?).then_some(NodeId::Connection(self.connection));
        Ok(Consequences::default().and(ConsequenceKind::ClientAccessEnds, ends).and(ConsequenceKind::ApiKeyDeleted, keys))
    }

    /// Whether they own the agency, so that they act there without a place too.
    pub(super) async fn is_owner(&self, tx: &Tx) -> Result<bool> {
        let sql =
            Sql::new("SELECT count(*) FROM accounts WHERE id = ").bind(self.agency).push(" AND owner_id = ").bind(self.user);
        Ok(sql.count(tx.db()).await? > 0)
    }

    /// Takes what they hold there, once their place is gone (C9).
    pub(super) async fn forget(&self, tx: &Tx) -> Result<()> {
        for table in ["api_keys", "exports"] {
            self.held(Sql::new(format!("DELETE FROM {table}"))).run(tx.db()).await?;
        }
        let sql =
            Sql::new("DELETE FROM email_opt_ins WHERE account_id = ").bind(self.client).push(" AND user_id = ").bind(self.user);
        sql.push(NO_OTHER_WAY).run(tx.db()).await.map(drop)
    }
}

/// As which of the two an account's connections end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum As {
    /// Its clients are let go.
    Agency,
    /// Its agencies are let go too.
    Both,
}

/// What ends.
#[derive(Debug, PartialEq)]
pub struct Ending {
    /// Whose.
    pub account: AccountId,
    sides: As,
    active: Vec<connection::Model>,
    pending: Vec<connection::Model>,
    /// The users whose verified addresses were asked.
    addressed: Addressed,
}

impl Ending {
    /// Of an account.
    pub async fn find(tx: &Tx, account: AccountId, sides: As) -> Result<Self> {
        let of = |status: ConnectionStatus| select::<connection::Entity>("c").push(" WHERE c.status = ").bind(status);
        let active = of(ConnectionStatus::Active).push(" AND (c.agency_id = ").bind(account);
        let active = match sides {
            As::Agency => active.push(")"),
            As::Both => active.push(" OR c.client_id = ").bind(account).push(")"),
        };
        let active = active.push(" ORDER BY c.id").all(tx.db(), model("c")).await?;
        let pending = of(ConnectionStatus::Pending).push(" AND c.agency_id = ").bind(account);
        let pending: Vec<connection::Model> = pending.push(" ORDER BY c.id").all(tx.db(), model("c")).await?;
        let addressed = Addressed::by(tx.db(), &pending).await?;
        Ok(Self { account, sides, active, pending, addressed })
    }

    /// The logs that hear of it: the other sides', and those of the users who were asked.
    pub fn logs(&self) -> Vec<LogId> {
        self.active.iter().flat_map(sides).chain(self.addressed.logs()).collect()
    }

    /// Has the work run again when something else ends by now, whose log is not held.
    pub async fn is_still(&self, tx: &Tx) -> Result<()> {
        if Self::find(tx, self.account, self.sides).await? == *self {
            return self.addressed.hold(tx).await;
        }
        Err(Error::Contended(Fault::new("an account's connections changed while they ended")))
    }

    /// The API keys that end with it, which its users have in clients' accounts.
    pub async fn keys(&self, tx: &Tx) -> Result<Consequences> {
        let keys = keys_of(tx, Sql::new("SELECT id FROM api_keys WHERE via_id = ").bind(self.account)).await?;
        Ok(Consequences::default().and(ConsequenceKind::ApiKeyDeleted, keys))
    }

    /// What ends, besides what is told already.
    pub fn consequences(&self, besides: Consequences) -> Consequences {
        let ids = |rows: &[connection::Model]| rows.iter().map(|row| NodeId::Connection(row.id)).collect::<Vec<_>>();
        besides.and(ConsequenceKind::ConnectionEnds, ids(&self.active)).and(ConsequenceKind::RequestCanceled, ids(&self.pending))
    }

    /// Ends it all: nobody acts through these connections any more, what agencies' users hold there goes, and the other sides
    /// are told. Who calls holds the logs.
    pub async fn carry_out(&self, tx: &Tx, did: &impl Fn(EventKind, Uuid) -> Happening) -> Result<()> {
        let (expired, pending): (Vec<_>, Vec<_>) =
            self.pending.iter().cloned().partition(|row| row.status_at(tx.now()) == ConnectionStatus::Expired);
        expire(tx, &expired).await?;
        withdraw_all(tx, &pending, did).await?;
        let (over, active): (Vec<_>, Vec<_>) =
            self.active.iter().cloned().partition(|row| row.status_at(tx.now()) == ConnectionStatus::Ended);
        // Few, since the sweeper looks often: their time was over before.
        for row in &over {
            end_by_itself(tx, row).await?;
        }
        for rows in active.chunks(ROWS_PER_STATEMENT) {
            let ids = || rows.iter().map(|row| row.id);
            let sql = Sql::new("UPDATE connections SET status = 'ended', ended_at = ").bind(tx.now()).push(" WHERE id IN ");
            sql.list(ids()).run(tx.db()).await?;
            Sql::new("DELETE FROM places WHERE connection_id IN ").list(ids()).run(tx.db()).await?;
        }
        for table in ["api_keys", "exports"] {
            let sql = Sql::new(format!("DELETE FROM {table} WHERE via_id = ")).bind(self.account);
            match self.sides {
                As::Agency => sql,
                As::Both => sql.push(" OR account_id = ").bind(self.account),
            }
            .run(tx.db())
            .await?;
        }
        self.forget_opt_ins(tx).await?;
        let ended = active.iter().map(|row| {
            let by = if row.agency_id == self.account { Side::Agency } else { Side::Client };
            (row, by, tx.append(did(EventKind::ClientAccessEnded, row.id.0).from(Ended::By(by).name()), sides(row)))
        });
        let ended: Vec<_> = ended.collect();
        self.tell(tx, &ended).await
    }

    /// What the agency's users chose in clients' accounts goes with the way there.
    async fn forget_opt_ins(&self, tx: &Tx) -> Result<()> {
        let clients: Vec<_> =
            self.active.iter().filter(|row| row.agency_id == self.account).filter_map(|row| row.client_id).collect();
        for clients in clients.chunks(ROWS_PER_STATEMENT) {
            forget_opt_ins(tx, self.account, clients).await?;
        }
        Ok(())
    }

    /// The other side's Owner is told, and of an agency whoever asked for the access, if they are still there.
    async fn tell(&self, tx: &Tx, ended: &[(&connection::Model, Side, EventId)]) -> Result<()> {
        let mut told: Vec<(ConnectionId, EventId, user::Model)> = Vec::new();
        for rows in ended.chunks(ROWS_PER_STATEMENT) {
            let sql = Sql::new(format!("SELECT c.id AS c_id, {} FROM users u", columns::<user::Entity>("u")));
            let sql = sql.push(" JOIN members m ON m.user_id = u.id JOIN connections c ON c.id IN ");
            let sql = sql.list(rows.iter().map(|(row, ..)| row.id)).push(" AND (c.agency_id = ").bind(self.account);
            let sql = sql.push(" AND m.account_id = c.client_id AND m.level = 5 OR c.client_id = ").bind(self.account);
            let sql = sql.push(
                " AND m.account_id = c.agency_id AND (m.level = 5 OR m.user_id = c.requested_by)) AND m.suspended_at IS NULL",
            );
            let found = sql.all(tx.db(), |row| Ok((row.try_get::<ConnectionId>("", "c_id")?, model("u")(row)?))).await?;
            let events: HashMap<_, _> = rows.iter().map(|(row, _, event)| (row.id, *event)).collect();
            told.extend(found.into_iter().filter_map(|(id, user)| Some((id, *events.get(&id)?, user))));
        }
        let mails = told.iter().map(|(id, event, user)| Outgoing::to_user(user, MailKind::ConnectionEnded, *event, id.0));
        tx.mail(&mails.collect::<Vec<_>>()).await
    }
}

/// What an agency's users chose in these clients' accounts goes, but for who has another way there: as a direct user, or by another
/// agency. The places that end are gone already.
pub(super) async fn forget_opt_ins(tx: &Tx, agency: AccountId, clients: &[AccountId]) -> Result<()> {
    let sql = Sql::new("DELETE FROM email_opt_ins WHERE account_id IN ").list(clients.iter().copied());
    let sql = sql.push(" AND user_id IN (SELECT m.user_id FROM members m WHERE m.account_id = ").bind(agency);
    sql.push(")").push(NO_OTHER_WAY).run(tx.db()).await.map(drop)
}

/// Of whom nothing else keeps an opt-in.
pub(crate) const NO_OTHER_WAY: &str = " AND NOT EXISTS (SELECT 1 FROM members m WHERE m.account_id = email_opt_ins.account_id \
     AND m.user_id = email_opt_ins.user_id) AND NOT EXISTS (SELECT 1 FROM places p JOIN connections c ON c.id = p.connection_id \
     WHERE c.client_id = email_opt_ins.account_id AND c.status = 'active' AND p.user_id = email_opt_ins.user_id) \
     AND NOT EXISTS (SELECT 1 FROM accounts g JOIN connections c ON c.agency_id = g.id WHERE g.owner_id = email_opt_ins.user_id \
     AND c.client_id = email_opt_ins.account_id AND c.status = 'active')";
