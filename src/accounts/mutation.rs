//! What accounts can be told to do, in the API.

use super::{api::Account, export, ops, ownership, settings, undo};
use crate::{
    api::{Answer, Ask, Url, answer, by_link},
    consequences::{Consequence, Outcome},
};
use async_graphql::{Context, InputObject, MaybeUndefined, Object, SimpleObject};
use entity::{
    AccountId, UserId,
    account::{self, Plan},
};
use guarded::guarded;

/// Another plan.
#[derive(InputObject)]
pub struct ChangePlanInput {
    /// The plan to take.
    plan: Plan,
}

/// To whom ownership goes.
#[derive(InputObject)]
pub struct TransferOwnershipInput {
    /// An Admin of the account's own.
    user_id: UserId,
    /// Refused with `WRONG_ACCOUNT` unless the request acts in it.
    account_id: Option<AccountId>,
    /// Make the same checks, change nothing, and tell what would end.
    #[graphql(default_with = "Some(false)")]
    dry_run: Option<bool>,
}

/// The input of `undoTransfer`.
#[derive(InputObject)]
pub struct UndoTransferInput {
    /// The token of the link in the e-mail to the former Owner.
    #[graphql(secret)]
    token: String,
}

/// Whether two-factor is asked of everyone.
#[derive(InputObject)]
pub struct RequireTwoFactorInput {
    /// Whether it is.
    required: bool,
    /// Make the same checks, change nothing, and tell what would end.
    #[graphql(default_with = "Some(false)")]
    dry_run: Option<bool>,
}

/// Which account is closed.
#[derive(InputObject)]
pub struct CloseAccountInput {
    /// The account's name, typed again.
    confirmation: String,
    /// Refused with `WRONG_ACCOUNT` unless the request acts in it.
    account_id: Option<AccountId>,
    /// Make the same checks, change nothing, and tell what would end.
    #[graphql(default_with = "Some(false)")]
    dry_run: Option<bool>,
}

/// One more account.
#[derive(InputObject)]
pub struct CreateAccountInput {
    /// What it is called.
    name: String,
}

/// Another name.
#[derive(InputObject)]
pub struct RenameAccountInput {
    /// What it is called from now on.
    name: String,
}

/// What to bill by: a field that is not given stays as it is, and null is nothing.
#[derive(InputObject)]
pub struct UpdateBillingInput {
    /// The company.
    company: MaybeUndefined<String>,
    /// Where invoices go.
    email: MaybeUndefined<String>,
    /// The address, line by line.
    address_lines: MaybeUndefined<Vec<String>>,
    /// The country, as two letters of ISO 3166.
    country: MaybeUndefined<String>,
    /// The company's number for taxes.
    tax_id: MaybeUndefined<String>,
}

/// Whether one wants the account's e-mails.
#[derive(InputObject)]
pub struct SetEmailOptInInput {
    /// Whether one does.
    opt_in: bool,
}

/// What `exportAccount` gives.
#[derive(Default, SimpleObject)]
#[graphql(serial)]
pub struct ExportAccount {
    /// Works once, for 10 minutes.
    url: Option<Url>,
}

macro_rules! account_alone {
    ($($name:ident $doc:literal)*) => { $(
        #[doc = $doc]
        #[derive(Default, SimpleObject)]
        #[graphql(serial)]
        pub struct $name {
            /// The account as it is now.
            account: Option<Account>,
        }
    )* };
}

account_alone! {
    ChangePlan "What `changePlan` changed."
    CreateAccount "What `createAccount` opened. Act in it with `switchAccount`."
    RenameAccount "What `renameAccount` changed."
    UpdateBilling "What `updateBilling` changed."
}

/// What `setEmailOptIn` changed.
#[derive(Default, SimpleObject)]
#[graphql(serial)]
pub struct SetEmailOptIn {
    /// Whether the viewer gets the account's e-mails now.
    opt_in: Option<bool>,
}

macro_rules! with_account {
    ($($name:ident $doc:literal)*) => { $(
        #[doc = $doc]
        #[derive(Default, SimpleObject)]
        #[graphql(serial)]
        pub struct $name {
            /// The account as it is now.
            account: Option<Account>,
            /// What would end; null unless it was a dry run.
            consequences: Option<Vec<Consequence>>,
        }

        impl From<Outcome<account::Model>> for $name {
            fn from(outcome: Outcome<account::Model>) -> Self {
                let (account, consequences) = outcome.split();
                Self { account: account.map(Account::changed), consequences }
            }
        }
    )* };
}

with_account! {
    TransferOwnership "What `transferOwnership` changed."
    RequireTwoFactor "What `requireTwoFactor` changed."
}

/// The result of `undoTransfer`.
#[derive(Default, SimpleObject)]
#[graphql(serial)]
pub struct UndoTransfer {
    /// The account. Null when the transfer was not undone. Of its fields, only `id` and `name` are readable unless the request acts
    /// in it.
    account: Option<Account>,
}

/// What `closeAccount` changed.
#[derive(Default, SimpleObject)]
#[graphql(serial)]
pub struct CloseAccount {
    /// The account that is closed.
    account_id: Option<AccountId>,
    /// What would end; null unless it was a dry run.
    consequences: Option<Vec<Consequence>>,
}

/// What accounts can be told to do.
#[derive(Default)]
pub struct AccountsMutation;

#[guarded(elsewhere)]
#[Object(serial)]
impl AccountsMutation {
    /// Take another plan. Refused with `PLAN_TOO_SMALL`, naming who is in the way, when the users and pending invitations don't fit it.
    #[needs(ops::CHANGE_PLAN)]
    async fn change_plan(&self, ctx: &Context<'_>, input: ChangePlanInput) -> Answer<ChangePlan> {
        let changed = ops::change_plan(ctx.app(), ctx.caller(), input.plan).await;
        answer(changed.map(|account| ChangePlan { account: Some(Account::changed(account)) }))
    }

    /// Opens another account on the Free plan, owned by the user. The session stays in its account; see `switchAccount`.
    ///
    /// A user can open 5 accounts in any 24 hours; closed accounts and the one of the sign-up count. Requires a verified address.
    ///
    /// Errors: `INVALID`, `EMAIL_NOT_VERIFIED`, `DAILY_LIMIT_REACHED` with `retryAt`.
    async fn create_account(&self, ctx: &Context<'_>, input: CreateAccountInput) -> Answer<CreateAccount> {
        let opened = settings::create_account(ctx.app(), ctx.caller(), &input.name).await;
        let actor = ctx.actor_if_any().await.ok().flatten();
        answer(opened.map(|account| CreateAccount { account: Some(Account::seen(account, actor.as_deref())) }))
    }

    /// Give the account another name.
    #[needs(settings::RENAME)]
    async fn rename_account(&self, ctx: &Context<'_>, input: RenameAccountInput) -> Answer<RenameAccount> {
        let renamed = settings::rename_account(ctx.app(), ctx.caller(), &input.name).await;
        answer(renamed.map(|account| RenameAccount { account: Some(Account::changed(account)) }))
    }

    /// Change what the account is billed by.
    #[needs(settings::BILLING)]
    async fn update_billing(&self, ctx: &Context<'_>, input: UpdateBillingInput) -> Answer<UpdateBilling> {
        let UpdateBillingInput { company, email, address_lines, country, tax_id } = input;
        let billing = settings::Billing { company, email, address_lines, country, tax_id };
        let changed = settings::update_billing(ctx.app(), ctx.caller(), billing).await;
        answer(changed.map(|account| UpdateBilling { account: Some(Account::changed(account)) }))
    }

    /// Creates a link to download everything that the viewer may read of the account, as JSON Lines in a zip. Requires recent
    /// authentication (`reauthenticate`), and is never possible with an API key.
    #[needs(export::EXPORT)]
    async fn export_account(&self, ctx: &Context<'_>) -> Answer<ExportAccount> {
        let url = export::export_account(ctx.app(), ctx.caller()).await;
        answer(url.map(|url| ExportAccount { url: Some(Url(url)) }))
    }

    /// Say whether one wants the account's e-mails.
    #[needs(settings::OPT_IN)]
    async fn set_email_opt_in(&self, ctx: &Context<'_>, input: SetEmailOptInInput) -> Answer<SetEmailOptIn> {
        let set = settings::set_email_opt_in(ctx.app(), ctx.caller(), input.opt_in).await;
        answer(set.map(|opt_in| SetEmailOptIn { opt_in: Some(opt_in) }))
    }

    /// Transfers the ownership of the account to an Admin who is a direct user and not the caller. The former Owner becomes Admin.
    /// Requires recent authentication (`reauthenticate`); an API key can't transfer. The former Owner, the new Owner and all Admins
    /// are e-mailed. A transfer by the Owner is final. A transfer by an Admin can be undone by the former Owner for 72 hours, with
    /// the link in their e-mail (`undoTransfer`). Errors: `NOT_FOUND`, `WRONG_ACCOUNT`, `NEW_OWNER_MUST_BE_ADMIN`.
    #[needs(ownership::TRANSFER_OWNERSHIP)]
    async fn transfer_ownership(&self, ctx: &Context<'_>, input: TransferOwnershipInput) -> Answer<TransferOwnership> {
        let TransferOwnershipInput { user_id, account_id, dry_run } = input;
        let done = ownership::transfer_ownership(ctx.app(), ctx.caller(), user_id, account_id, dry_run.unwrap_or_default()).await;
        answer(done.map(TransferOwnership::from))
    }

    /// Sets whether everyone who acts in the account, agency users and API keys included, must use two-factor authentication. No
    /// longer requiring it needs recent authentication (`reauthenticate`) and is e-mailed to the Owner and all Admins. An API key
    /// can't change it. Errors: `TWO_FACTOR_NOT_SET_UP`.
    #[needs(ownership::REQUIRE_TWO_FACTOR)]
    async fn require_two_factor(&self, ctx: &Context<'_>, input: RequireTwoFactorInput) -> Answer<RequireTwoFactor> {
        let done =
            ownership::require_two_factor(ctx.app(), ctx.caller(), input.required, input.dry_run.unwrap_or_default()).await;
        answer(done.map(RequireTwoFactor::from))
    }

    /// Undoes a transfer of ownership that an Admin asked for, with the token from the former Owner's e-mail, within 72 hours.
    /// Public. The former Owner is the Owner again, even if their access was ended or suspended, and whatever the plan's seats. The
    /// present Owner becomes Admin. The Admin who asked for the transfer gets the highest level below Admin that the plan has, and
    /// stays Admin if it has none. All of them and all Admins are e-mailed. Errors: `NOT_FOUND`, `EXPIRED`, `ALREADY_DECIDED`,
    /// `NOT_ACTIVE`.
    async fn undo_transfer(&self, ctx: &Context<'_>, input: UndoTransferInput) -> Answer<UndoTransfer> {
        let undone = by_link(ctx, true, Box::pin(undo::undo_transfer(ctx.app(), &input.token))).await;
        // A stale Authorization header does not matter here (I3).
        let actor = ctx.actor_if_any().await.ok().flatten();
        answer(undone.map(|account| UndoTransfer { account: Some(Account::seen(account, actor.as_deref())) }))
    }

    /// Closes the account for good, with its connections, invitations and API keys. Requires recent authentication
    /// (`reauthenticate`); an API key can't close an account. The Owner and all Admins are e-mailed. Errors: `WRONG_ACCOUNT`,
    /// `INVALID`, and `TRANSFER_CAN_BE_UNDONE` for 72 hours after an Admin transferred the ownership (`retryAt` says until when).
    #[needs(ownership::CLOSE_ACCOUNT)]
    async fn close_account(&self, ctx: &Context<'_>, input: CloseAccountInput) -> Answer<CloseAccount> {
        let CloseAccountInput { confirmation, account_id, dry_run } = input;
        let done =
            ownership::close_account(ctx.app(), ctx.caller(), &confirmation, account_id, dry_run.unwrap_or_default()).await;
        answer(done.map(|done| {
            let (account_id, consequences) = done.split();
            CloseAccount { account_id, consequences }
        }))
    }
}
