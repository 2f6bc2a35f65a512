//! Agencies that a client wants to hear nothing of any more: what they ask is not delivered, and they don't learn that.
//!
//! A request goes to an address, not to an account. Blocked are the verified addresses of the account's Owner and Admins, as they are
//! when the agency asks, and the address that was asked when it was blocked, as long as that is nobody's own: nobody is cut off from
//! what they are asked by somebody else, who merely bears a link.

use super::decide::{DECIDE_CLIENT_ACCESS, no_such, peek};
use crate::{
    accounts::ops::find,
    actor::{Actor, Caller},
    app::{App, Tx},
    consequences::{Consequences, Outcome},
    db::{ROWS_PER_STATEMENT, Sql},
    error::{Result, UserError, UserErrorCode},
    identity::rules::needs_verified_email,
    keys::LinkOrId,
};
use entity::{AccountId, ConnectionId, LogId, account, event::EventKind};
use std::collections::HashSet;
use uuid::Uuid;

/// Who decides for a blocking account: its Owner and Admins, by their verified addresses.
/// Of an address that no user has proved to be theirs.
const NOBODYS: &str =
    " AND NOT EXISTS (SELECT 1 FROM users o WHERE o.email_key = b.email_key AND o.email_verified_at IS NOT NULL)";

const DECIDERS: &str = " JOIN accounts a ON a.id = b.account_id AND a.status = 'active' \
     JOIN members m ON m.account_id = a.id AND m.level >= 4 AND m.suspended_at IS NULL \
     JOIN users u ON u.id = m.user_id AND u.email_verified_at IS NOT NULL";

/// Of these addresses, those at which an agency is blocked. The agency's log is held, so none is blocked meanwhile.
///
/// Reads all addresses that block the agency, so that its time depends on them and not on the addresses in question (C3).
pub async fn silenced(tx: &Tx, agency: AccountId, keys: Vec<&str>) -> Result<HashSet<String>> {
    let sql = Sql::new("SELECT b.email_key FROM blocks b JOIN accounts a ON a.id = b.account_id AND a.status = 'active'");
    let sql = sql.push(" WHERE b.email_key IS NOT NULL AND b.agency_id = ").bind(agency).push(NOBODYS);
    let sql = sql.push(" UNION SELECT u.email_key FROM blocks b").push(DECIDERS).push(" WHERE b.agency_id = ").bind(agency);
    let silenced: HashSet<String> = sql.all(tx.db(), |row| row.try_get_by_index(0)).await?.into_iter().collect();
    Ok(keys.into_iter().filter(|key| silenced.contains(*key)).map(str::to_owned).collect())
}

/// Hears nothing any more of what an agency asks: the one of a request to oneself, or of a connection of the account.
pub async fn block_agency(
    app: &App,
    caller: &Caller,
    named: LinkOrId<ConnectionId>,
    dry_run: bool,
) -> Result<Outcome<account::Model>> {
    app.tx(async |tx| {
        let peeked = peek(app, tx, &named).await?;
        // The agency's log is held so that it asks before or after, not meanwhile; it hears nothing.
        let agency = peeked.as_ref().map(|row| LogId::from(row.agency_id));
        let actor = tx.authorize(caller, DECIDE_CLIENT_ACCESS, agency.into_iter().collect()).await?;
        needs_verified_email(&actor.user)?;
        let field = named.field("connectionId");
        let here = actor.seat()?.account.id;
        let addressed = actor.verified_email_key();
        let row = peek(app, tx, &named)
            .await?
            .filter(|row| named.is_token() || row.client_id == Some(here) || addressed == Some(row.client_email_key.as_str()));
        let row = row.ok_or_else(|| no_such(field))?;
        if row.agency_id == here {
            let why = "An account can't block itself: act in the account that was asked.";
            return Err(UserError::new(UserErrorCode::OwnAccount, why).at([field]).into());
        }
        if !dry_run {
            block(tx, &actor, (here, row.agency_id), &row.client_email_key).await?;
        }
        let agency = find(tx, row.agency_id).await?;
        Ok(if dry_run { Outcome::Would(Consequences::default()) } else { Outcome::Done(agency) })
    })
    .await
}

async fn block(tx: &Tx, actor: &Actor, (account, agency): (AccountId, AccountId), email_key: &str) -> Result<()> {
    let there =
        || Sql::new("SELECT count(*) FROM blocks WHERE account_id = ").bind(account).push(" AND agency_id = ").bind(agency);
    let blocked = there().count(tx.db()).await? > 0;
    if there().push(" AND email_key = ").bind(email_key).count(tx.db()).await? == 0 {
        let sql = Sql::new("INSERT INTO blocks (id, account_id, agency_id, email_key, blocked_by, blocked_at) VALUES (");
        let sql = sql.bind(tx.id::<Uuid>()).push(", ").bind(account).push(", ").bind(agency).push(", ").bind(email_key);
        let sql = sql.push(", ").bind(actor.user.id).push(", ").bind(tx.now()).push(")");
        sql.run(tx.db()).await?;
    }
    if !blocked {
        tx.append(actor.did(EventKind::AgencyBlocked, agency.0), [LogId::from(account)]);
    }
    // What it has asked already is not seen any more either.
    let pending = Sql::new("SELECT client_email_key FROM connections WHERE status = 'pending' AND agency_id = ").bind(agency);
    let pending: Vec<String> = pending.all(tx.db(), |row| row.try_get_by_index(0)).await?;
    let silenced: Vec<_> = silenced(tx, agency, pending.iter().map(String::as_str).collect()).await?.into_iter().collect();
    for keys in silenced.chunks(ROWS_PER_STATEMENT) {
        let sql = Sql::new("UPDATE connections SET silenced = ").bind(true).push(" WHERE status = 'pending' AND agency_id = ");
        sql.bind(agency).push(" AND client_email_key IN ").list(keys.iter().map(String::as_str)).run(tx.db()).await?;
    }
    Ok(())
}

/// Hears again of what an agency asks from now on.
pub async fn unblock_agency(app: &App, caller: &Caller, agency: AccountId) -> Result<account::Model> {
    let here = caller.actor(app).await?.seat()?.account.id;
    app.tx(async |tx| {
        let blocked =
            Sql::new("SELECT count(*) FROM blocks WHERE account_id = ").bind(here).push(" AND agency_id = ").bind(agency);
        // Only who is blocked is held up.
        let also = if blocked.count(tx.db()).await? > 0 { vec![agency.into()] } else { Vec::new() };
        let actor = tx.authorize(caller, DECIDE_CLIENT_ACCESS, also).await?;
        let here = actor.seat()?.account.id;
        let sql = Sql::new("DELETE FROM blocks WHERE account_id = ").bind(here).push(" AND agency_id = ").bind(agency);
        if sql.run(tx.db()).await? == 0 {
            let why = "This account does not block such an agency.";
            return Err(UserError::new(UserErrorCode::NotFound, why).at(["agencyId"]).into());
        }
        tx.append(actor.did(EventKind::AgencyUnblocked, agency.0), [LogId::from(here)]);
        find(tx, agency).await
    })
    .await
}
