//! Who an account belongs to, what it asks of everyone in it, and its end (U9–U11).

use super::{ops::find, rules, undo};
use crate::{
    actor::Caller,
    app::{App, Happening, Outgoing, Tx},
    connections::ending::{As, Ending, NO_OTHER_WAY},
    consequences::{ConsequenceKind, Consequences, Outcome},
    db::{Sql, columns, model, select},
    error::{Error, Fault, Result, UserError, UserErrorCode},
    identity::ops::find_user,
    invitations,
    permission::Permission,
    users::{ops::colleague, rules as users},
};
use entity::{
    AccountId, EventId, LogId, NodeId, UserId, UserLevel, account,
    event::EventKind,
    invitation::{self, InvitationStatus},
    mail::MailKind,
    member, user,
};
use uuid::Uuid;

/// What [`transfer_ownership`] asks for.
pub const TRANSFER_OWNERSHIP: Permission = Permission::TransferOwnership;
/// What [`require_two_factor`] asks for.
pub const REQUIRE_TWO_FACTOR: Permission = Permission::RequireTwoFactorAuthentication;
/// What [`close_account`] asks for.
pub const CLOSE_ACCOUNT: Permission = Permission::CloseAccount;

/// Makes an Admin the Owner, and the Owner an Admin, in one moment (U9, L5, I7).
pub async fn transfer_ownership(
    app: &App,
    caller: &Caller,
    user: UserId,
    account: Option<AccountId>,
    dry_run: bool,
) -> Result<Outcome<account::Model>> {
    let here = caller.actor(app).await?.standing()?.account.id;
    app.tx(async |tx| {
        let admins = admins(tx, here).await?;
        let logs = admins.iter().copied().map(LogId::from).chain([user.into()]);
        let actor = tx.authorize(caller, TRANSFER_OWNERSHIP, logs.collect()).await?;
        if !admins.contains(&actor.seat()?.account.owner_id) {
            return Err(Error::Contended(Fault::new("the account has another Owner by now")));
        }
        actor.proved_lately(tx.now())?;
        rules::right_account(&actor, account)?;
        let target = colleague(tx, &actor, user).await?;
        users::may_own(actor.user.id, &target)?;
        users::may_govern(&find_user(tx, user).await?, UserLevel::Owner)?;
        if dry_run {
            let shrinks = [NodeId::User(actor.seat()?.account.owner_id)];
            return Ok(Outcome::Would(Consequences::default().and(ConsequenceKind::AccessShrinks, shrinks)));
        }
        let account = &actor.seat()?.account;
        let former = account.owner_id;
        // What the Owner asks for is final. What an Admin asks for, the Owner can undo for a while (U9).
        let offered = undo::record(tx, account, user, actor.user.id).await?;
        let event = give(tx, account, user, |former| {
            actor.did(EventKind::OwnershipTransferred, user.0).from(former.to_string()).to(user.to_string())
        })
        .await?;
        let people = people_in_charge(tx, account.id).await?;
        let mails = people.iter().map(|person| match offered {
            Some(transfer) if person.id == former => Outgoing {
                version: undo::LINK_VERSION,
                ..Outgoing::to_user(person, MailKind::OwnershipTransferred, event, transfer.0)
            },
            _ => Outgoing::to_user(person, MailKind::OwnershipTransferred, event, account.id.0),
        });
        tx.mail(&mails.collect::<Vec<_>>()).await?;
        find(tx, account.id).await.map(Outcome::Done)
    })
    .await
}

/// The Owner and all Admins: whoever loses or gets the account hears of it in their own log, which has to be held.
pub(crate) async fn admins(tx: &Tx, account: AccountId) -> Result<Vec<UserId>> {
    let sql = Sql::new("SELECT user_id FROM members WHERE account_id = ").bind(account).push(" AND level >= ");
    sql.bind(UserLevel::Admin).all(tx.db(), |row| row.try_get_by_index(0)).await
}

/// Changes hands. The account's log is held, and those of both; the deferred key from the account to its Owner's place is checked at the end (L5).
pub(crate) async fn give(
    tx: &Tx,
    account: &account::Model,
    user: UserId,
    what: impl FnOnce(UserId) -> Happening,
) -> Result<EventId> {
    let former = account.owner_id;
    let level = |level: UserLevel, of: UserId| {
        let sql = Sql::new("UPDATE members SET level = ").bind(level).push(" WHERE account_id = ").bind(account.id);
        sql.push(" AND user_id = ").bind(of)
    };
    // There is never a second Owner, not for a statement.
    level(UserLevel::Admin, former).run(tx.db()).await?;
    level(UserLevel::Owner, user).run(tx.db()).await?;
    Sql::new("UPDATE accounts SET owner_id = ").bind(user).push(" WHERE id = ").bind(account.id).run(tx.db()).await?;
    // The Owner's way into each client moves with ownership, and what hangs on it does not stay behind (C6).
    for table in ["api_keys", "exports"] {
        let sql = Sql::new(format!("DELETE FROM {table} WHERE user_id = ")).bind(former).push(" AND via_id = ").bind(account.id);
        let sql =
            sql.push(" AND NOT EXISTS (SELECT 1 FROM places p JOIN connections c ON c.id = p.connection_id WHERE p.user_id = ");
        let sql = sql
            .bind(former)
            .push(" AND c.agency_id = ")
            .bind(account.id)
            .push(&format!(" AND c.client_id = {table}.account_id)"));
        sql.run(tx.db()).await?;
    }
    let sql = Sql::new("DELETE FROM email_opt_ins WHERE user_id = ").bind(former);
    sql.push(NO_OTHER_WAY).run(tx.db()).await?;
    undo::regained(tx, account.id, user).await?;
    Ok(tx.append(what(former), [account.id.into(), former.into(), user.into()]))
}

/// The Owner and all Admins who are not suspended.
pub(super) async fn people_in_charge(tx: &Tx, account: AccountId) -> Result<Vec<user::Model>> {
    let sql = Sql::new(format!("SELECT {} FROM members m JOIN users u ON u.id = m.user_id", columns::<user::Entity>("u")));
    let sql = sql.push(" WHERE m.account_id = ").bind(account).push(" AND m.level >= ").bind(UserLevel::Admin);
    let sql = sql.push(" AND m.suspended_at IS NULL");
    sql.push(" ORDER BY m.id").all(tx.db(), model("u")).await
}

/// E-mails the Owner and all Admins.
pub(crate) async fn tell_admins(tx: &Tx, account: AccountId, kind: MailKind, event: EventId) -> Result<()> {
    let people = people_in_charge(tx, account).await?;
    let mails: Vec<_> = people.iter().map(|user| Outgoing::to_user(user, kind, event, account.0)).collect();
    tx.mail(&mails).await
}

/// Asks two-factor of everyone who acts in the account, or no longer (U10).
pub async fn require_two_factor(app: &App, caller: &Caller, required: bool, dry_run: bool) -> Result<Outcome<account::Model>> {
    app.tx(async |tx| {
        let actor = tx.authorize(caller, REQUIRE_TWO_FACTOR, Vec::new()).await?;
        if !required {
            actor.proved_lately(tx.now())?;
        }
        let account = &actor.seat()?.account;
        if required && actor.user.two_factor_since.is_none() {
            let why = "Set two-factor up for yourself first: beginTwoFactor and confirmTwoFactor.";
            return Err(UserError::new(UserErrorCode::TwoFactorNotSetUp, why).into());
        }
        if dry_run {
            let without =
                if required && !account.two_factor_required { without_two_factor(tx, account.id).await? } else { Vec::new() };
            return Ok(Outcome::Would(Consequences::default().and(ConsequenceKind::AccessEnds, without)));
        }
        if required != account.two_factor_required {
            let sql = Sql::new("UPDATE accounts SET two_factor_required = ").bind(required);
            sql.push(" WHERE id = ").bind(account.id).run(tx.db()).await?;
            let words = |required| if required { "required" } else { "not required" };
            let what = actor.did(EventKind::TwoFactorRequirementChanged, account.id.0);
            let event = tx.append(what.from(words(!required)).to(words(required)), [LogId::from(account.id)]);
            if !required {
                tell_admins(tx, account.id, MailKind::TwoFactorRelaxed, event).await?;
            }
        }
        find(tx, account.id).await.map(Outcome::Done)
    })
    .await
}

/// Who acts there and would be kept out: the account's own users, the Owners of its agencies, and those who have a place on a
/// connection.
async fn without_two_factor(tx: &Tx, account: AccountId) -> Result<Vec<NodeId>> {
    let sql = Sql::new("SELECT u.id FROM users u WHERE u.two_factor_since IS NULL AND (u.id IN (SELECT m.user_id FROM members m");
    let sql = sql.push(" WHERE m.suspended_at IS NULL AND m.account_id = ").bind(account);
    let sql = sql.push(") OR u.id IN (SELECT m.user_id FROM connections c JOIN members m ON m.account_id = c.agency_id");
    let sql = sql.push(" LEFT JOIN places p ON p.connection_id = c.id AND p.user_id = m.user_id WHERE m.suspended_at IS NULL");
    let sql = sql.push(" AND (m.level = 5 OR p.id IS NOT NULL) AND c.status = 'active' AND c.client_id = ");
    let sql = sql.bind(account).push(")) ORDER BY u.id");
    sql.all(tx.db(), |row| Ok(NodeId::User(row.try_get_by_index(0)?))).await
}

/// What ends with an account.
struct Closing {
    ending: Ending,
    invitations: Vec<invitation::Model>,
    keys: Vec<NodeId>,
}

impl Closing {
    async fn read(tx: &Tx, account: AccountId, ending: Ending) -> Result<Self> {
        let pending = select::<invitation::Entity>("i").push(" WHERE i.status = 'pending' AND i.account_id = ").bind(account);
        let invitations = pending.push(" ORDER BY i.id").all(tx.db(), model("i")).await?;
        let keys = Sql::new("SELECT id FROM api_keys WHERE account_id = ").bind(account).push(" OR via_id = ").bind(account);
        let keys = keys.push(" ORDER BY id").all(tx.db(), |row| Ok(NodeId::ApiKey(row.try_get_by_index(0)?))).await?;
        Ok(Self { ending, invitations, keys })
    }

    async fn consequences(&self, tx: &Tx, account: AccountId) -> Result<Consequences> {
        let members = select::<member::Entity>("m").push(" WHERE m.account_id = ").bind(account);
        let members: Vec<member::Model> = members.push(" ORDER BY m.level DESC, m.id").all(tx.db(), model("m")).await?;
        let told = Consequences::default()
            .and(ConsequenceKind::AccessEnds, members.iter().map(|member| NodeId::User(member.user_id)))
            .and(ConsequenceKind::ApiKeyDeleted, self.keys.iter().copied())
            .and(ConsequenceKind::InvitationCanceled, self.invitations.iter().map(|row| NodeId::Invitation(row.id)));
        Ok(self.ending.consequences(told))
    }

    async fn carry_out(&self, tx: &Tx, account: AccountId, did: &impl Fn(EventKind, Uuid) -> Happening) -> Result<EventId> {
        self.ending.carry_out(tx, did).await?;
        let (expired, pending): (Vec<_>, Vec<_>) =
            self.invitations.iter().cloned().partition(|row| row.status_at(tx.now()) == InvitationStatus::Expired);
        invitations::ops::expire(tx, &expired).await?;
        invitations::ops::withdraw_all(tx, &pending, did).await?;
        for table in ["api_keys", "exports", "email_opt_ins"] {
            Sql::new(format!("DELETE FROM {table} WHERE account_id = ")).bind(account).run(tx.db()).await?;
        }
        let sql = Sql::new("UPDATE accounts SET status = ").bind(account::AccountStatus::Closed).push(" WHERE id = ");
        sql.bind(account).run(tx.db()).await?;
        Ok(tx.append(did(EventKind::AccountClosed, account.0), [LogId::from(account)]))
    }
}

/// Closes an account whose only user goes, with all that ends with it. Who calls holds its log and the ending's.
pub(crate) async fn close(tx: &Tx, ending: Ending, did: impl Fn(EventKind, Uuid) -> Happening) -> Result<()> {
    let account = ending.account;
    Closing::read(tx, account, ending).await?.carry_out(tx, account, &did).await.map(drop)
}

/// Closes the account that the request acts in, for good: nobody can act in it any more, nor through it (U11, I7).
pub async fn close_account(
    app: &App,
    caller: &Caller,
    confirmation: &str,
    named: Option<AccountId>,
    dry_run: bool,
) -> Result<Outcome<AccountId>> {
    let here = caller.actor(app).await?.standing()?.account.id;
    app.tx(async |tx| {
        let ending = Ending::find(tx, here, As::Both).await?;
        let actor = tx.authorize(caller, CLOSE_ACCOUNT, ending.logs()).await?;
        actor.proved_lately(tx.now())?;
        ending.is_still(tx).await?;
        rules::right_account(&actor, named)?;
        let account = &actor.seat()?.account;
        undo::needs_none_open(tx, account).await?;
        if confirmation.trim() != account.name {
            let why = format!("Type the account's name to close it: {}", account.name);
            return Err(UserError::new(UserErrorCode::Invalid, why).at(["confirmation"]).into());
        }
        let closing = Closing::read(tx, account.id, ending).await?;
        if dry_run {
            return closing.consequences(tx, account.id).await.map(Outcome::Would);
        }
        let event = closing.carry_out(tx, account.id, &|kind, subject| actor.did(kind, subject)).await?;
        tell_admins(tx, account.id, MailKind::AccountClosed, event).await?;
        Ok(Outcome::Done(account.id))
    })
    .await
}
