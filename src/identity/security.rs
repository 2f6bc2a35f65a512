//! Passwords, two-factor, sessions and addresses in the API.

use super::{
    address, erasure, ops, profile,
    recovery::{self, NewPassword, ResetFor},
    rules::device_name,
    two_factor,
};
use crate::{
    api::{Answer, Ask, answer, by_link},
    consequences::Consequence,
    error::{Denied, Error, Result},
    users::User,
};
use async_graphql::{Context, InputObject, Object, SimpleObject};
use entity::{
    Moment, SessionId,
    session::{self, Lifetimes, SessionClient},
};

/// One sign-in of the viewer, on one device.
#[derive(Clone, Debug, SimpleObject)]
#[graphql(serial)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// What kind of client signed in.
    client: SessionClient,
    /// What people know the device by, such as "Firefox on Linux".
    device_name: String,
    /// As the client called itself.
    user_agent: Option<String>,
    /// When it began.
    created_at: Moment,
    /// When it was last used to get an access token.
    last_used_at: Moment,
    /// When the session ends unless it is used before.
    ends_at: Moment,
    /// Whether it is the one that asks.
    current: bool,
}

impl Session {
    fn seen(row: session::Model, current: SessionId, lifetimes: Lifetimes) -> Self {
        let (device_name, ends_at) = (device_name(row.client, row.user_agent.as_deref()), lifetimes.end_of(&row));
        let session::Model { id, client, user_agent, created_at, last_used_at, .. } = row;
        Self { id, client, device_name, user_agent, created_at, last_used_at, ends_at, current: current == id }
    }
}

/// The viewer's sessions that have not ended, the one last used first. An API key sees none (I6).
pub async fn sessions(ctx: &Context<'_>) -> Result<Vec<Session>> {
    let actor = ctx.actor().await?;
    let Ok(current) = actor.session() else { return Ok(Vec::new()) };
    let rows = ops::live_sessions(ctx.app(), actor.user.id).await?;
    Ok(rows.into_iter().map(|row| Session::seen(row, current.id, ctx.app().config.session_lifetimes)).collect())
}

/// Which session.
#[derive(InputObject)]
pub struct RevokeSessionInput {
    /// The session.
    session_id: SessionId,
}

/// The input of `requestPasswordReset`: one of the two.
#[derive(InputObject)]
pub struct RequestPasswordResetInput {
    /// The address of the login. The link is sent there.
    email: Option<String>,
    /// The token of the link in a verification e-mail, or in an e-mail that offers to stop a change of address. The link is sent to
    /// the address of that login.
    #[graphql(secret)]
    token: Option<String>,
}

/// A new password, by link.
#[derive(InputObject)]
pub struct ResetPasswordInput {
    /// The link's token.
    #[graphql(secret)]
    token: String,
    /// The new password.
    #[graphql(secret)]
    password: String,
    /// Whether to delete the user's API keys in all accounts too. Otherwise they stay valid.
    #[graphql(default)]
    delete_api_keys: bool,
}

/// A new password.
#[derive(InputObject)]
pub struct ChangePasswordInput {
    /// The one until now.
    #[graphql(secret)]
    current_password: String,
    /// The one from now on.
    #[graphql(secret)]
    new_password: String,
    /// Whether to delete the user's API keys in all accounts too. Otherwise they stay valid.
    #[graphql(default)]
    delete_api_keys: bool,
}

/// What to end besides the sessions.
#[derive(Default, InputObject)]
pub struct RevokeOtherSessionsInput {
    /// Whether to delete the user's API keys in all accounts too. Otherwise they stay valid.
    #[graphql(default)]
    delete_api_keys: bool,
}

/// A code.
#[derive(InputObject)]
pub struct TwoFactorCodeInput {
    /// A one-time code of the device, or (but to confirm) a recovery code.
    #[graphql(secret)]
    code: String,
}

/// Who one is, once more.
#[derive(InputObject)]
pub struct ReauthenticateInput {
    /// The password.
    #[graphql(secret)]
    password: Option<String>,
    /// A one-time code, or a recovery code.
    #[graphql(secret)]
    code: Option<String>,
}

/// The input of `changeEmail`.
#[derive(InputObject)]
pub struct ChangeEmailInput {
    /// The new address. A link that verifies it is sent there.
    email: String,
}

/// The input of `stopEmailChange`.
#[derive(InputObject)]
pub struct StopEmailChangeInput {
    /// The token of the link in the e-mail to the present address.
    #[graphql(secret)]
    token: String,
}

/// What one is called.
#[derive(InputObject)]
pub struct UpdateProfileInput {
    /// The name; unchanged if not given.
    name: Option<String>,
    /// The username; unchanged if not given.
    username: Option<String>,
}

/// What `revokeSession` ended.
#[derive(Default, SimpleObject)]
#[graphql(serial)]
pub struct RevokeSession {
    /// The session that has ended.
    session_id: Option<SessionId>,
}

/// What `revokeOtherSessions` ended.
#[derive(Default, SimpleObject)]
#[graphql(serial)]
pub struct RevokeOtherSessions {
    /// Whether all but the one that asks have ended.
    revoked: bool,
}

/// What `requestPasswordReset` answers, whoever is asked for.
#[derive(SimpleObject)]
#[graphql(serial)]
pub struct RequestPasswordResetPayload {
    /// Always true: it never tells whether the address is known.
    accepted: bool,
}

/// What `beginTwoFactor` gives.
#[derive(Default, SimpleObject)]
#[graphql(serial)]
pub struct BeginTwoFactor {
    /// To be typed into the device. Shown this once.
    secret: Option<String>,
    /// The same, as devices read it.
    otpauth_uri: Option<String>,
    /// The same, for a camera.
    qr_code_svg: Option<String>,
}

/// What `disableTwoFactor` did.
#[derive(Default, SimpleObject)]
#[graphql(serial)]
pub struct DisableTwoFactor {
    /// Whether it is off now.
    disabled: bool,
}

/// What `reauthenticate` gives.
#[derive(Default, SimpleObject)]
#[graphql(serial)]
pub struct Reauthenticate {
    /// Until when it counts.
    until: Option<Moment>,
}

/// What `resendVerification` did.
#[derive(Default, SimpleObject)]
#[graphql(serial)]
pub struct ResendVerification {
    /// Whether another link is on its way.
    sent: Option<bool>,
}

/// The payload of `stopEmailChange`.
#[derive(Default, SimpleObject)]
#[graphql(serial)]
pub struct StopEmailChange {
    /// True when the change is stopped. Null when nothing changed.
    stopped: Option<bool>,
}

/// What `deleteUser` did.
#[derive(Default, SimpleObject)]
#[graphql(serial)]
pub struct DeleteUser {
    /// Whether the user is erased.
    deleted: Option<bool>,
    /// What would end; null unless it was a dry run.
    consequences: Option<Vec<Consequence>>,
}

/// How to go.
#[derive(InputObject)]
pub struct DeleteUserInput {
    /// Make the same checks, change nothing, and tell what would end.
    #[graphql(default_with = "Some(false)")]
    dry_run: Option<bool>,
}

macro_rules! with_recovery_codes {
    ($($name:ident $doc:literal)*) => { $(
        #[doc = $doc]
        #[derive(Default, SimpleObject)]
        #[graphql(serial)]
        pub struct $name {
            /// Each signs in once in the place of a one-time code. Shown this once.
            recovery_codes: Option<Vec<String>>,
        }

        impl From<Vec<String>> for $name {
            fn from(codes: Vec<String>) -> Self {
                Self { recovery_codes: Some(codes) }
            }
        }
    )* };
}

with_recovery_codes! {
    ConfirmTwoFactor "What `confirmTwoFactor` gives."
    RegenerateRecoveryCodes "What `regenerateRecoveryCodes` gives."
}

macro_rules! with_user {
    ($($name:ident $doc:literal)*) => { $(
        #[doc = $doc]
        #[derive(Default, SimpleObject)]
        #[graphql(serial)]
        pub struct $name {
            /// Whose it is.
            user: Option<User>,
        }

        impl From<entity::user::Model> for $name {
            fn from(user: entity::user::Model) -> Self {
                Self { user: Some(User::oneself(user)) }
            }
        }
    )* };
}

with_user! {
    ResetPassword "What `resetPassword` changed."
    ChangePassword "What `changePassword` changed."
    ChangeEmail "The payload of `changeEmail`."
    UpdateProfile "What `updateProfile` changed."
}

/// What the viewer's own security can be told to do.
#[derive(Default)]
pub struct SecurityMutation;

#[Object(serial)]
impl SecurityMutation {
    /// Ends one of the viewer's sessions for every later request and open socket, and voids the device token of its device, unless the
    /// calling session is on the same device. Errors: `NOT_FOUND`.
    async fn revoke_session(&self, ctx: &Context<'_>, input: RevokeSessionInput) -> Answer<RevokeSession> {
        let revoked = ops::revoke_session(ctx.app(), ctx.caller(), input.session_id).await;
        answer(revoked.map(|id| RevokeSession { session_id: Some(id) }))
    }

    /// Ends all of the viewer's sessions but the calling one, and voids the device tokens of all other devices. The e-mail about it lists
    /// the API keys that are still valid. With `deleteApiKeys` the viewer's API keys are deleted in the same transaction.
    async fn revoke_other_sessions(
        &self,
        ctx: &Context<'_>,
        input: Option<RevokeOtherSessionsInput>,
    ) -> Answer<RevokeOtherSessions> {
        let RevokeOtherSessionsInput { delete_api_keys } = input.unwrap_or_default();
        let revoked = recovery::revoke_other_sessions(ctx.app(), ctx.caller(), delete_api_keys).await;
        answer(revoked.map(|()| RevokeOtherSessions { revoked: true }))
    }

    /// Sends a link to choose a new password. Public. The response and its time are the same whether or not the address belongs to a
    /// user.
    ///
    /// For a user who never verified the address, the reset also removes everything that was set up before; see `resetPassword`.
    ///
    /// Errors: `BAD_REQUEST` unless exactly one of `email` and `token` is given; `RATE_LIMITED` with `retryAfter` when this mailbox got
    /// too many links, or this client network requested too many.
    async fn request_password_reset(
        &self,
        ctx: &Context<'_>,
        input: RequestPasswordResetInput,
    ) -> Option<async_graphql::Result<RequestPasswordResetPayload>> {
        let named = match (&input.email, &input.token) {
            (Some(address), None) => ResetFor::Address(address),
            (None, Some(token)) => ResetFor::Link(token),
            _ => return Some(Err(Error::from(Denied::BadRequest("Give `email` or `token`, one of the two.".to_owned())).into())),
        };
        let done = recovery::request_reset(ctx.app(), ctx.caller(), named).await;
        Some(done.map(|()| RequestPasswordResetPayload { accepted: true }).map_err(|error: Error| error.into()))
    }

    /// Sets a new password with the token from a reset e-mail. Public. Ends all sessions of the user, begins none, and voids the
    /// device tokens of all devices; two-factor authentication stays on. The e-mail about it lists the API keys that are still valid.
    /// With `deleteApiKeys` the user's API keys are deleted in the same transaction.
    ///
    /// For a user who never verified the address, this verifies it and removes what a stranger may have set up before: sessions, API
    /// keys, download links, two-factor authentication with its recovery codes, a pending change of address, a claimed Admin
    /// invitation, and the memberships that were joined with an invitation to another address.
    ///
    /// Errors: `NOT_FOUND`, `EXPIRED`, `INVALID`, `WEAK_PASSWORD`.
    async fn reset_password(&self, ctx: &Context<'_>, input: ResetPasswordInput) -> Answer<ResetPassword> {
        let work = Box::pin(recovery::reset(ctx.app(), &input.token, &input.password, input.delete_api_keys));
        answer(by_link(ctx, true, work).await.map(ResetPassword::from))
    }

    /// Changes the viewer's password. Requires recent authentication; otherwise it fails with `REAUTHENTICATION_REQUIRED`. Ends all other
    /// sessions of the viewer and voids the device tokens of all other devices. The e-mail about it lists the API keys that are still
    /// valid. With `deleteApiKeys` the viewer's API keys are deleted in the same transaction. Errors: `WRONG_CREDENTIALS`, `INVALID`,
    /// `WEAK_PASSWORD`.
    async fn change_password(&self, ctx: &Context<'_>, input: ChangePasswordInput) -> Answer<ChangePassword> {
        let ChangePasswordInput { current_password, new_password, delete_api_keys } = input;
        let input = NewPassword { current: &current_password, new: &new_password, delete_api_keys };
        let changed = recovery::change_password(ctx.app(), ctx.caller(), input).await;
        answer(changed.map(ChangePassword::from))
    }

    /// Prove again who one is, for what asks for it.
    async fn reauthenticate(&self, ctx: &Context<'_>, input: ReauthenticateInput) -> Answer<Reauthenticate> {
        let ReauthenticateInput { password, code } = input;
        let until = recovery::reauthenticate(ctx.app(), ctx.caller(), password.as_deref(), code.as_deref()).await;
        answer(until.map(|until| Reauthenticate { until: Some(until) }))
    }

    /// Make the secret that a device makes codes of. Nothing asks for them before `confirmTwoFactor`. Asks who one is again.
    async fn begin_two_factor(&self, ctx: &Context<'_>) -> Answer<BeginTwoFactor> {
        let begun = two_factor::begin(ctx.app(), ctx.caller()).await;
        answer(begun.map(|enrolment| BeginTwoFactor {
            secret: Some(enrolment.secret),
            otpauth_uri: Some(enrolment.uri),
            qr_code_svg: Some(enrolment.qr_code),
        }))
    }

    /// Switch two-factor on, with a code that shows that the device works. Asks who one is again.
    async fn confirm_two_factor(&self, ctx: &Context<'_>, input: TwoFactorCodeInput) -> Answer<ConfirmTwoFactor> {
        answer(two_factor::confirm(ctx.app(), ctx.caller(), &input.code).await.map(ConfirmTwoFactor::from))
    }

    /// Switch two-factor off. Asks who one is again.
    async fn disable_two_factor(&self, ctx: &Context<'_>, input: TwoFactorCodeInput) -> Answer<DisableTwoFactor> {
        let done = two_factor::disable(ctx.app(), ctx.caller(), &input.code).await;
        answer(done.map(|()| DisableTwoFactor { disabled: true }))
    }

    /// Make new recovery codes in the place of all before. Asks who one is again.
    async fn regenerate_recovery_codes(&self, ctx: &Context<'_>, input: TwoFactorCodeInput) -> Answer<RegenerateRecoveryCodes> {
        answer(two_factor::regenerate(ctx.app(), ctx.caller(), &input.code).await.map(RegenerateRecoveryCodes::from))
    }

    /// Have the link that verifies one's address sent again.
    async fn resend_verification(&self, ctx: &Context<'_>) -> Answer<ResendVerification> {
        let sent = address::resend_verification(ctx.app(), ctx.caller()).await;
        answer(sent.map(|()| ResendVerification { sent: Some(true) }))
    }

    /// Stops a pending change of address with the token from the e-mail to the present address. Public.
    ///
    /// A change that is complete can't be stopped (`ALREADY_DECIDED`). The user who did not request the change chooses a new password:
    /// `requestPasswordReset` takes the same token.
    ///
    /// Errors: `NOT_FOUND`, `EXPIRED`, `ALREADY_DECIDED`.
    async fn stop_email_change(&self, ctx: &Context<'_>, input: StopEmailChangeInput) -> Answer<StopEmailChange> {
        let stopped = by_link(ctx, true, Box::pin(address::stop_change(ctx.app(), &input.token))).await;
        answer(stopped.map(|()| StopEmailChange { stopped: Some(true) }))
    }

    /// Requests a change of the user's address. Requires recent authentication; otherwise fails with `REAUTHENTICATION_REQUIRED`.
    ///
    /// Sends a link to the new address. The change is complete when the user calls `verifyEmail` with it. Also sends an e-mail to the
    /// present address, if it is verified, with a link that stops the change; see `stopEmailChange`. The response is the same whether
    /// or not the new address belongs to a user.
    ///
    /// Errors: `INVALID`, `RESEND_TOO_SOON`.
    async fn change_email(&self, ctx: &Context<'_>, input: ChangeEmailInput) -> Answer<ChangeEmail> {
        answer(address::change_email(ctx.app(), ctx.caller(), &input.email).await.map(ChangeEmail::from))
    }

    /// Changes the user's name or username. Requires a session, not an API key. Attempts to take another username are throttled per
    /// user and client network: past the limit the mutation fails with `RATE_LIMITED` and `retryAfter`. Errors: `INVALID`, `TAKEN`.
    async fn update_profile(&self, ctx: &Context<'_>, input: UpdateProfileInput) -> Answer<UpdateProfile> {
        let UpdateProfileInput { name, username } = input;
        let changed = profile::update(ctx.app(), ctx.caller(), name.as_deref(), username.as_deref()).await;
        answer(changed.map(UpdateProfile::from))
    }

    /// Erase oneself; an Owner transfers or closes first. Asks who one is again.
    async fn delete_user(&self, ctx: &Context<'_>, input: Option<DeleteUserInput>) -> Answer<DeleteUser> {
        let dry_run = input.and_then(|input| input.dry_run).unwrap_or_default();
        answer(erasure::delete_user(ctx.app(), ctx.caller(), dry_run).await.map(|done| {
            let (deleted, consequences) = done.split();
            DeleteUser { deleted: deleted.map(|()| true), consequences }
        }))
    }
}
