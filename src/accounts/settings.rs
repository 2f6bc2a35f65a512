//! What an account is called and billed by, who wants its e-mails, and opening one more.

use super::ops::{find, open};
use crate::{
    actor::Caller,
    app::{App, Tx},
    db::{Sql, model, select},
    error::{Result, UserError, UserErrorCode},
    identity::rules::needs_verified_email,
    limits::{Counted, Rolling},
    permission::Permission,
    text,
};
use async_graphql::MaybeUndefined;
use entity::{AccountId, LogId, UserId, account, billing, event::EventKind};
use sea_orm::{EntityTrait, IntoActiveModel};

/// What [`rename_account`] asks for.
pub const RENAME: Permission = Permission::ChangeOrganizationName;
/// What [`update_billing`] asks for.
pub const BILLING: Permission = Permission::ChangeBillingInformation;
/// What [`set_email_opt_in`] asks for.
pub const OPT_IN: Permission = Permission::OptInToEmails;

/// How many open accounts one user may own: each costs the server something, and the user nothing.
const OWNED_MAX: u64 = 50;
/// How many lines an address has at most.
const ADDRESS_LINES: usize = 8;

/// Opens another account, owned by who asks; the session stays where it is.
pub async fn create_account(app: &App, caller: &Caller, name: &str) -> Result<account::Model> {
    app.tx(async |tx| {
        let actor = tx.person(caller, Vec::new()).await?;
        needs_verified_email(&actor.user)?;
        let name = text::name(name, "name")?;
        not_too_many(app, tx, actor.user.id).await?;
        let owned = Sql::new("SELECT count(*) FROM accounts WHERE status = 'active' AND owner_id = ").bind(actor.user.id);
        if owned.count(tx.db()).await? >= OWNED_MAX {
            let why = format!("You own {OWNED_MAX} accounts, which is as many as one user may. Close one, or transfer it.");
            return Err(UserError::new(UserErrorCode::Invalid, why).into());
        }
        Ok(open(tx, &actor.user, &name).await?.account)
    })
    .await
}

/// Refuses another account to a user who opened too many in the last 24 hours, closed ones included (I8).
async fn not_too_many(app: &App, tx: &Tx, user: UserId) -> Result<()> {
    let limit = app.config.accounts_per_user_per_day;
    let day = Rolling::read(tx.db(), Counted::Openings(user), limit, tx.now()).await?;
    if day.left() > 0 {
        return Ok(());
    }
    let why = format!("You opened {limit} accounts in the last 24 hours, which is the most that one user can. Try again later.");
    Err(UserError::new(UserErrorCode::DailyLimitReached, why).retry_at(day.next_free(tx.now())).into())
}

/// Gives the account another name.
pub async fn rename_account(app: &App, caller: &Caller, name: &str) -> Result<account::Model> {
    app.tx(async |tx| {
        let actor = tx.authorize(caller, RENAME, Vec::new()).await?;
        let account = &actor.seat()?.account;
        let name = text::name(name, "name")?;
        if name != account.name {
            let sql = Sql::new("UPDATE accounts SET name = ").bind(name.as_str()).push(", name_key = ").bind(name.to_lowercase());
            sql.push(" WHERE id = ").bind(account.id).run(tx.db()).await?;
            let renamed = actor.did(EventKind::AccountRenamed, account.id.0).from(account.name.as_str()).to(name);
            tx.append(renamed, [LogId::from(account.id)]);
        }
        find(tx, account.id).await
    })
    .await
}

/// What to bill by from now on: what is not given stays, and null is nothing.
#[derive(Clone)]
pub struct Billing {
    /// The company.
    pub company: MaybeUndefined<String>,
    /// Where invoices go.
    pub email: MaybeUndefined<String>,
    /// The address.
    pub address_lines: MaybeUndefined<Vec<String>>,
    /// The country.
    pub country: MaybeUndefined<String>,
    /// The number for taxes.
    pub tax_id: MaybeUndefined<String>,
}

impl Billing {
    fn over(&self, mut row: billing::Model) -> Result<billing::Model, UserError> {
        put(&mut row.company, &self.company, |text| text::name(text, "company"))?;
        put(&mut row.tax_id, &self.tax_id, |text| text::name(text, "taxId"))?;
        put(&mut row.email, &self.email, |email| {
            let wrong = |why| UserError::new(UserErrorCode::Invalid, why).at(["email"]);
            text::email(email).map(|email| email.address).map_err(wrong)
        })?;
        put(&mut row.country, &self.country, |country| {
            let country = country.trim().to_ascii_uppercase();
            let fits = country.len() == 2 && country.chars().all(|c| c.is_ascii_uppercase());
            let why = "A country is two letters of ISO 3166, such as DE.";
            if fits { Ok(country) } else { Err(UserError::new(UserErrorCode::Invalid, why).at(["country"])) }
        })?;
        put(&mut row.address_lines, &self.address_lines, |lines| address(lines))?;
        Ok(row)
    }
}

fn address(lines: &[String]) -> Result<String, UserError> {
    if lines.len() > ADDRESS_LINES {
        let why = format!("An address has {ADDRESS_LINES} lines at most; these are {}.", lines.len());
        return Err(UserError::new(UserErrorCode::Invalid, why).at(["addressLines"]));
    }
    let line = |(place, line): (usize, &String)| {
        text::name(line, "addressLines").map_err(|error| error.at(["addressLines".to_owned(), place.to_string()]))
    };
    Ok(lines.iter().enumerate().map(line).collect::<Result<Vec<_>, _>>()?.join("\n"))
}

fn put<T>(
    column: &mut Option<String>,
    given: &MaybeUndefined<T>,
    read: impl FnOnce(&T) -> Result<String, UserError>,
) -> Result<(), UserError> {
    match given {
        MaybeUndefined::Undefined => {}
        MaybeUndefined::Null => *column = None,
        MaybeUndefined::Value(value) => *column = Some(read(value)?),
    }
    Ok(())
}

/// Changes what the account is billed by. The log tells that it changed, and not to what.
pub async fn update_billing(app: &App, caller: &Caller, input: Billing) -> Result<account::Model> {
    app.tx(async |tx| {
        let actor = tx.authorize(caller, BILLING, Vec::new()).await?;
        let account = &actor.seat()?.account;
        let before = select::<billing::Entity>("b").push(" WHERE b.account_id = ").bind(account.id);
        let before: Option<billing::Model> = before.one(tx.db(), model("b")).await?;
        let before = before.unwrap_or_else(|| billing::Model::blank(account.id));
        let row = input.over(before.clone())?;
        if row != before {
            Sql::new("DELETE FROM billing WHERE account_id = ").bind(account.id).run(tx.db()).await?;
            billing::Entity::insert(row.into_active_model()).exec_without_returning(tx.db()).await?;
            tx.append(actor.did(EventKind::BillingChanged, account.id.0), [LogId::from(account.id)]);
        }
        find(tx, account.id).await
    })
    .await
}

/// Says whether one wants the account's e-mails. It is one's own affair, so one's own log tells of it and the account's does not.
pub async fn set_email_opt_in(app: &App, caller: &Caller, opt_in: bool) -> Result<bool> {
    app.tx(async |tx| {
        let actor = tx.authorize(caller, OPT_IN, Vec::new()).await?;
        let (account, user) = (actor.seat()?.account.id, actor.user.id);
        let before = forget_opt_in(tx, account, user).await?;
        if opt_in != before {
            tx.append(actor.did(EventKind::EmailOptInChanged, user.0), [user.into()]);
        }
        if opt_in {
            let sql =
                Sql::new("INSERT INTO email_opt_ins (account_id, user_id, at) VALUES (").bind(account).push(", ").bind(user);
            sql.push(", ").bind(tx.now()).push(")").run(tx.db()).await?;
        }
        Ok(opt_in)
    })
    .await
}

/// Answers whether they did want them.
async fn forget_opt_in(tx: &Tx, account: AccountId, user: UserId) -> Result<bool> {
    let sql = Sql::new("DELETE FROM email_opt_ins WHERE account_id = ").bind(account).push(" AND user_id = ").bind(user);
    Ok(sql.run(tx.db()).await? > 0)
}

/// Whether a user wants an account's e-mails.
pub async fn opted_in(app: &App, account: AccountId, user: UserId) -> Result<bool> {
    let sql = Sql::new("SELECT count(*) FROM email_opt_ins WHERE account_id = ").bind(account).push(" AND user_id = ").bind(user);
    Ok(sql.count(app.reader()).await? > 0)
}
