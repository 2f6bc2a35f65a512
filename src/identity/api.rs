//! Identity in the API: who the viewer is and where they can act, and the mutations of signing up and in.

use super::{
    address::{self, Verified},
    ops::{self, Credentials, Device, SignIn, SignedIn},
    sign_up::{self, SignUp},
    viewer::Viewer,
};
use crate::{
    accounts::api::Account,
    api::{Answer, Ask, UserErrorView, answer, by_link},
    connections::view::{ClientConnection, Wants, view_ways},
    error::{Error, Result},
    users::User,
};
use async_graphql::{Context, InputObject, Object, SimpleObject};
use entity::{AccountId, ConnectionId, Moment, UserLevel, session::SessionClient};

/// What is asked of identity.
#[derive(Default)]
pub struct IdentityQuery;

#[Object(serial)]
impl IdentityQuery {
    /// Who this request acts as; null when signed out.
    async fn viewer(&self, ctx: &Context<'_>) -> Option<async_graphql::Result<Viewer>> {
        ctx.actor_if_any().await.map(|actor| actor.map(Viewer)).map_err(Into::into).transpose()
    }
}

/// Who signs up.
#[derive(InputObject)]
pub struct SignUpInput {
    /// Their address; a link to verify it is sent there.
    email: String,
    /// 8 to 256 characters, and not one of the commonest.
    #[graphql(secret)]
    password: String,
    /// As they call themselves.
    name: String,
    /// What to sign in with besides the address; made of the name when there is none.
    username: Option<String>,
    /// What the new account is called; their own name when nothing is said.
    account_name: Option<String>,
    /// The token of an invitation's link. The user joins that account instead of opening one of their own. An Admin invitation
    /// works only with the invited address, and the user joins when they verify it.
    #[graphql(secret)]
    invitation_token: Option<String>,
    /// What kind of client this is.
    client: Option<SessionClient>,
}

/// The input of `verifyEmail`.
#[derive(InputObject)]
pub struct VerifyEmailInput {
    /// The token of the link in the verification e-mail.
    #[graphql(secret)]
    token: String,
    /// The password of the login. Required unless the request is sent with the user's own session.
    #[graphql(secret)]
    password: Option<String>,
}

/// Who signs in.
#[derive(InputObject)]
pub struct SignInInput {
    /// E-mail address or username.
    login: String,
    /// The password.
    #[graphql(secret)]
    password: String,
    /// A one-time code, or a recovery code.
    #[graphql(secret)]
    code: Option<String>,
    /// What kind of client this is.
    client: Option<SessionClient>,
    /// Act in this account; else the one last used.
    account_id: Option<AccountId>,
}

/// A session that goes on.
#[derive(InputObject)]
pub struct RefreshSessionInput {
    /// The latest refresh token.
    #[graphql(secret)]
    refresh_token: String,
    /// Act in this account (`NOT_FOUND` if one can't); else in the one last acted in, or in none if access to it has ended.
    account_id: Option<AccountId>,
}

/// Where to act.
#[derive(InputObject)]
pub struct SwitchAccountInput {
    /// The account: one's own, or a client's.
    account_id: AccountId,
    /// Through this agency's connection, where one has several ways in; else directly if one can.
    connection_id: Option<ConnectionId>,
}

/// What a client keeps after signing in.
#[derive(SimpleObject)]
#[graphql(name = "Credentials", serial)]
pub struct CredentialsView {
    /// A JWT: sub (user), sid (session), acc (account), lvl (level), via (agency's account, when in a client's), exp. Send it
    /// as `Authorization: Bearer …`.
    access_token: String,
    /// Until when it is valid.
    access_token_expires_at: Moment,
    /// Opaque; each use replaces it. Null from switchAccount: the session keeps the one it has.
    refresh_token: Option<String>,
}

impl From<Credentials> for CredentialsView {
    fn from(credentials: Credentials) -> Self {
        let Credentials { access_token, expires_at, refresh_token } = credentials;
        Self { access_token, access_token_expires_at: expires_at, refresh_token }
    }
}

macro_rules! signed_in {
    ($($name:ident $shown:literal)*) => { $(
        /// What somebody has who is signed in now.
        #[derive(Default, SimpleObject)]
        #[graphql(name = $shown, serial)]
        pub struct $name {
            /// Who is signed in now.
            user: Option<User>,
            /// The account that the credentials act in. Null when they act in none: the user has no account, or signed up with an
            /// Admin invitation and has not verified the address yet.
            account: Option<Account>,
            /// What the client keeps.
            credentials: Option<CredentialsView>,
        }

        impl From<SignedIn> for $name {
            fn from(done: SignedIn) -> Self {
                let account = done.seat.map(|seat| Account::acted_in(seat.account, &done.user));
                Self { user: Some(User::oneself(done.user)), account, credentials: Some(done.credentials.into()) }
            }
        }
    )* };
}

signed_in! { SignedUp "SignUp" Entered "SignIn" }

/// The payload of `verifyEmail`.
#[derive(Default, SimpleObject)]
#[graphql(serial)]
pub struct VerifyEmail {
    /// The user, with the verified address. Null when nothing changed.
    user: Option<User>,
    /// The account that the user joined as Admin, by the invitation that they signed up with. Act in it with `switchAccount`. Null
    /// without such an invitation, and when `joinError` is set.
    joined_account: Option<Account>,
    /// Why the user could not join by that invitation; the address is verified all the same. Null when there is no such invitation,
    /// or the user joined. Codes: `EXPIRED`, `ALREADY_DECIDED`, `INVITED_ADDRESS_REQUIRED`, `NOT_ACTIVE`, `ALREADY_A_USER`,
    /// `LEVEL_NOT_IN_PLAN`, `NO_SEATS_LEFT`.
    join_error: Option<UserErrorView>,
}

impl From<Verified> for VerifyEmail {
    fn from(done: Verified) -> Self {
        let (joined, error) = match done.joined {
            Some(Ok(seat)) => (Some(Account::acted_in(seat.account, &done.user)), None),
            Some(Err(error)) => (None, Some(UserErrorView::from(error))),
            None => (None, None),
        };
        Self { user: Some(User::oneself(done.user)), joined_account: joined, join_error: error }
    }
}

/// What `refreshSession` gives.
#[derive(Default, SimpleObject)]
#[graphql(serial)]
pub struct RefreshSession {
    /// The account that the credentials act in; null when access to it has ended.
    account: Option<Account>,
    /// What the client keeps.
    credentials: Option<CredentialsView>,
}

/// What `switchAccount` gives.
#[derive(Default, SimpleObject)]
#[graphql(serial)]
pub struct SwitchAccount {
    /// The account that the credentials act in.
    account: Option<Account>,
    /// What the viewer may do there.
    level: Option<UserLevel>,
    /// The connection through which, when it is a client's.
    via: Option<ClientConnection>,
    /// What the client keeps.
    credentials: Option<CredentialsView>,
}

/// What `signOut` did.
#[derive(SimpleObject)]
#[graphql(serial)]
pub struct SignOutPayload {
    /// Whether the session has ended.
    signed_out: bool,
}

/// What identity can be told to do.
#[derive(Default)]
pub struct IdentityMutation;

#[Object(serial)]
impl IdentityMutation {
    /// Creates a user and signs them in. Public. Opens a Free account, unless the user joins an account by `invitationToken`.
    ///
    /// Sends an e-mail with a link that verifies the address; see `verifyEmail`. An invitation's link never verifies an address. An
    /// Admin invitation works only with the invited address. The user joins when they verify it, and until then acts in no account.
    ///
    /// Errors: `INVALID`, `WEAK_PASSWORD`, `TAKEN`; with an invitation `NOT_FOUND`, `EXPIRED`, `ALREADY_DECIDED`, `NOT_ACTIVE`,
    /// `LEVEL_NOT_IN_PLAN`, `NO_SEATS_LEFT`, `INVITED_ADDRESS_REQUIRED`.
    async fn sign_up(&self, ctx: &Context<'_>, input: SignUpInput) -> Answer<SignedUp> {
        let SignUpInput { email, password, name, username, account_name, invitation_token, client } = input;
        let device = device(ctx, client);
        let input = SignUp { email, password, name, username, account_name, invitation_token, device };
        answer(sign_up::sign_up(ctx.app(), ctx.caller(), input).await.map(SignedUp::from))
    }

    /// Verifies the address that the user signed up with, or completes a change of address. Public.
    ///
    /// The link alone is not enough, because a stranger may have signed up with somebody else's address. Send the request with the
    /// user's own session (not an API key), or with `password`. A person who did not choose the password uses `requestPasswordReset`
    /// instead, with the same token. A user who signed up with an Admin invitation joins the account in the same step.
    ///
    /// Errors: `NOT_FOUND`, `EXPIRED`, `PASSWORD_REQUIRED`, `WRONG_CREDENTIALS`; `TAKEN` when another user has the new address by now.
    async fn verify_email(&self, ctx: &Context<'_>, input: VerifyEmailInput) -> Answer<VerifyEmail> {
        let work = address::verify_email(ctx.app(), ctx.caller(), &input.token, input.password.as_deref());
        answer(by_link(ctx, true, Box::pin(work)).await.map(VerifyEmail::from))
    }

    /// Sign in. Public.
    async fn sign_in(&self, ctx: &Context<'_>, input: SignInInput) -> Answer<Entered> {
        let SignInInput { login, password, code, client, account_id } = input;
        let input = SignIn { login, password, code, account: account_id, device: device(ctx, client) };
        answer(ops::sign_in(ctx.app(), ctx.caller(), input).await.map(Entered::from))
    }

    /// Get the next access token of a session. Public.
    async fn refresh_session(&self, ctx: &Context<'_>, input: RefreshSessionInput) -> Answer<RefreshSession> {
        let refreshed = ops::refresh(ctx.app(), &input.refresh_token, input.account_id).await;
        answer(refreshed.map(|done| {
            let account = done.seat.map(|seat| Account::acted_in(seat.account, &done.user));
            RefreshSession { account, credentials: Some(done.credentials.into()) }
        }))
    }

    /// End the session that asks, for every later request and open socket.
    async fn sign_out(&self, ctx: &Context<'_>) -> Option<async_graphql::Result<SignOutPayload>> {
        let done = ops::sign_out(ctx.app(), ctx.caller()).await;
        Some(done.map(|()| SignOutPayload { signed_out: true }).map_err(|error: Error| error.into()))
    }

    /// Act in another of the viewer's accounts (one's own, or a client's) without signing in again; with one's own account's
    /// id: return.
    async fn switch_account(&self, ctx: &Context<'_>, input: SwitchAccountInput) -> Answer<SwitchAccount> {
        answer(switch_account(ctx, input).await)
    }
}

fn device(ctx: &Context<'_>, client: Option<SessionClient>) -> Device {
    Device { client: client.unwrap_or(SessionClient::Web), user_agent: ctx.caller().user_agent().map(str::to_owned) }
}

async fn switch_account(ctx: &Context<'_>, input: SwitchAccountInput) -> Result<SwitchAccount> {
    let done = ops::switch_account(ctx.app(), ctx.caller(), input.account_id, input.connection_id).await?;
    let Some(seat) = done.seat else { return Ok(SwitchAccount::default()) };
    let level = Some(seat.level);
    let via = match seat.via {
        Some(row) => view_ways(ctx.app(), &*ctx.actor().await?, vec![row], Wants::ONE).await?.pop(),
        None => None,
    };
    let account = Some(Account::acted_in(seat.account, &done.user));
    Ok(SwitchAccount { account, level, via, credentials: Some(done.credentials.into()) })
}
