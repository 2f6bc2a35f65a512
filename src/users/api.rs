//! What can be done about an account's users, in the API.

use super::{
    ops,
    view::{AccountUser, load_places},
};
use crate::{
    api::{Answer, Ask, answer},
    consequences::{Consequence, Outcome},
    error::Result,
};
use async_graphql::{Context, InputObject, Object, SimpleObject};
use entity::{AccountId, UserId, UserLevel, member};
use guarded::guarded;

/// Another level for a user.
#[derive(InputObject)]
pub struct SetUserLevelInput {
    /// The user.
    user_id: UserId,
    /// Any but Owner, which is transferred.
    level: UserLevel,
    /// Make the same checks, change nothing, and tell what would end.
    #[graphql(default_with = "Some(false)")]
    dry_run: Option<bool>,
}

/// The input of `revokeUser`.
#[derive(InputObject)]
pub struct RevokeUserInput {
    /// The user.
    user_id: UserId,
    /// Also cancel the pending Admin invitations that the user sent or resent.
    #[graphql(default_with = "Some(false)")]
    cancel_invitations: Option<bool>,
    /// Make the same checks, change nothing, and tell what would end.
    #[graphql(default_with = "Some(false)")]
    dry_run: Option<bool>,
}

/// Who is kept out, or let in again.
#[derive(InputObject)]
pub struct SuspendUserInput {
    /// The user.
    user_id: UserId,
    /// Make the same checks, change nothing, and tell what would end.
    #[graphql(default_with = "Some(false)")]
    dry_run: Option<bool>,
}

/// How to leave.
#[derive(InputObject)]
pub struct LeaveAccountInput {
    /// Make the same checks, change nothing, and tell what would end.
    #[graphql(default_with = "Some(false)")]
    dry_run: Option<bool>,
}

macro_rules! with_user {
    ($($name:ident $doc:literal)*) => { $(
        #[doc = $doc]
        #[derive(Default, SimpleObject)]
        #[graphql(serial)]
        pub struct $name {
            /// The user's place as it is now.
            user: Option<AccountUser>,
            /// What would end; null unless it was a dry run.
            consequences: Option<Vec<Consequence>>,
        }
    )* };
}

with_user! {
    SetUserLevel "What `setUserLevel` changed."
    SuspendUser "What `suspendUser` changed."
    ReinstateUser "What `reinstateUser` changed."
}

/// What `revokeUser` changed.
#[derive(Default, SimpleObject)]
#[graphql(serial)]
pub struct RevokeUser {
    /// Whose access has ended.
    user_id: Option<UserId>,
    /// What would end; null unless it was a dry run.
    consequences: Option<Vec<Consequence>>,
}

/// What `leaveAccount` changed.
#[derive(Default, SimpleObject)]
#[graphql(serial)]
pub struct LeaveAccount {
    /// The account that was left.
    account_id: Option<AccountId>,
    /// It was the last account: the login no longer works.
    login_deleted: Option<bool>,
    /// What would end; null unless it was a dry run.
    consequences: Option<Vec<Consequence>>,
}

/// What users can be told to do.
#[derive(Default)]
pub struct UsersMutation;

#[guarded(elsewhere)]
#[Object(serial)]
impl UsersMutation {
    /// Sets the level of a direct user of the account. It takes effect on the user's next request. Setting Admin requires recent
    /// authentication (`reauthenticate`), is never possible with an API key, and is e-mailed to the Owner and all Admins. Errors:
    /// `NOT_FOUND`, `LEVEL_NOT_ASSIGNABLE`, `OWNER_LEVEL_IS_FIXED`, `CANNOT_CHANGE_OWN_LEVEL`, `LEVEL_NOT_IN_PLAN`.
    #[needs(ops::SET_LEVEL)]
    async fn set_user_level(&self, ctx: &Context<'_>, input: SetUserLevelInput) -> Answer<SetUserLevel> {
        let SetUserLevelInput { user_id, level, dry_run } = input;
        let done = ops::set_user_level(ctx.app(), ctx.caller(), user_id, level, dry_run.unwrap_or_default()).await;
        answer(seen(ctx, done).await.map(|(user, consequences)| SetUserLevel { user, consequences }))
    }

    /// Revokes a user's access to the account at once, with everything that they own through it: API keys, connection memberships,
    /// open sockets. The user is e-mailed. Invitations that the user sent stay valid; a dry run lists the pending Admin invitations
    /// (`ADMIN_INVITATION_REMAINS`), and `cancelInvitations` cancels them in the same step. Errors: `NOT_FOUND`,
    /// `OWNER_CANNOT_BE_REVOKED`, `CANNOT_REVOKE_SELF`.
    #[needs(ops::REVOKE)]
    async fn revoke_user(&self, ctx: &Context<'_>, input: RevokeUserInput) -> Answer<RevokeUser> {
        let RevokeUserInput { user_id: user, cancel_invitations, dry_run } = input;
        let (cancel_invitations, dry_run) = (cancel_invitations.unwrap_or_default(), dry_run.unwrap_or_default());
        let done = ops::revoke_user(ctx.app(), ctx.caller(), ops::Revoke { user, cancel_invitations, dry_run }).await;
        answer(done.map(|done| {
            let (user_id, consequences) = done.split();
            RevokeUser { user_id, consequences }
        }))
    }

    /// Keep a user out of the account until they are reinstated; their level, seat, keys and places rest.
    #[needs(ops::REVOKE)]
    async fn suspend_user(&self, ctx: &Context<'_>, input: SuspendUserInput) -> Answer<SuspendUser> {
        let done = ops::suspend_user(ctx.app(), ctx.caller(), input.user_id, input.dry_run.unwrap_or_default()).await;
        answer(seen(ctx, done).await.map(|(user, consequences)| SuspendUser { user, consequences }))
    }

    /// Reinstates a suspended user, with their level, API keys and connection memberships. A user who is Admin here, or on a
    /// client's connection, is reinstated only with recent authentication (`reauthenticate`), never with an API key. A reinstated
    /// Admin is e-mailed to the Owner and all Admins. Errors: `NOT_FOUND`, `OWNER_CANNOT_BE_REVOKED`, `CANNOT_REVOKE_SELF`.
    #[needs(ops::REVOKE)]
    async fn reinstate_user(&self, ctx: &Context<'_>, input: SuspendUserInput) -> Answer<ReinstateUser> {
        let done = ops::reinstate_user(ctx.app(), ctx.caller(), input.user_id, input.dry_run.unwrap_or_default()).await;
        answer(seen(ctx, done).await.map(|(user, consequences)| ReinstateUser { user, consequences }))
    }

    /// Give up one's own access to the account that this request acts in: for Managers, Authors and Viewers. Whoever is a direct
    /// user of no other account is erased, which asks who one is again.
    async fn leave_account(&self, ctx: &Context<'_>, input: Option<LeaveAccountInput>) -> Answer<LeaveAccount> {
        let dry_run = input.and_then(|input| input.dry_run).unwrap_or_default();
        answer(ops::leave_account(ctx.app(), ctx.caller(), dry_run).await.map(|done| {
            let (left, consequences) = done.split();
            let (account_id, login_deleted) = (left.map(|left| left.account), left.map(|left| left.login_deleted));
            LeaveAccount { account_id, login_deleted, consequences }
        }))
    }
}

type Seen = (Option<AccountUser>, Option<Vec<Consequence>>);

async fn seen(ctx: &Context<'_>, done: Result<Outcome<member::Model>>) -> Result<Seen> {
    let (member, consequences) = done?.split();
    let user = match member {
        Some(member) => load_places(ctx.app().reader(), &*ctx.actor().await?, &[member.id]).await?.pop(),
        None => None,
    };
    Ok((user, consequences))
}
