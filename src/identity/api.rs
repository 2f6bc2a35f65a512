//! Identity in the API: who the viewer is and where they can act, and the mutations of signing up and in.

use super::{
    address::{self, Verified},
    devices::Device,
    ops::{self, Credentials, SignIn, SignedIn},
    refresh::{self, Refreshed, Renewal},
    sign_in_link::{self, LinkSignIn},
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
    /// The device token that an earlier sign-in of this user returned on this device. With it, failed sign-ins on other devices don't
    /// slow this one down, and no e-mail reports a sign-in on a new device. It replaces neither the password nor the code.
    #[graphql(secret)]
    device_token: Option<String>,
}

/// The login to send a sign-in link for.
#[derive(InputObject)]
pub struct RequestSignInLinkInput {
    /// E-mail address or username.
    login: String,
}

/// A sign-in with a link.
#[derive(InputObject)]
pub struct SignInWithLinkInput {
    /// The token of the link in the e-mail.
    #[graphql(secret)]
    token: String,
    /// A one-time code or a recovery code. Required if the user has two-factor authentication.
    #[graphql(secret)]
    code: Option<String>,
    /// The kind of client. Null: `WEB`.
    client: Option<SessionClient>,
    /// The account to act in. Null: the account that the user last acted in.
    account_id: Option<AccountId>,
    /// The device token that an earlier sign-in of this user returned on this device.
    #[graphql(secret)]
    device_token: Option<String>,
}

/// The session to refresh, and where to act.
#[derive(InputObject)]
pub struct RefreshSessionInput {
    /// The session's latest refresh token.
    #[graphql(secret)]
    refresh_token: String,
    /// The account to act in. Null: the account of the access token that the request is sent with; without one, the account that
    /// the session last acted in.
    account_id: Option<AccountId>,
    /// The connection to act in that account through. It requires `accountId`. Null: the connection of the access token, if that
    /// token acts in the same account; else directly, if the user can.
    connection_id: Option<ConnectionId>,
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
    /// A JWT of type `at+jwt` (RFC 9068) with the claims iss, aud, sub (user), sid (session), acc (account), via (the agency's
    /// account, in a client's account), lvl (level when issued), iat, exp, `auth_time` (when the user last proved who they are) and
    /// amr (how, by RFC 8176: `pwd`, `otp` for codes, `mca` for a sign-in link, `mfa` for two of them). Send it as `Authorization: Bearer …`.
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
            /// A token that identifies this device at later sign-ins of the same user. Store it on the device, one for each user. Null
            /// when the mutation failed, or when `deviceToken` of the input is valid and stays so.
            device_token: Option<String>,
        }

        impl From<SignedIn> for $name {
            fn from(done: SignedIn) -> Self {
                let account = done.seat.map(|seat| Account::acted_in(seat.account, &done.user));
                let (user, device_token) = (Some(User::oneself(done.user)), done.device_token);
                Self { user, account, credentials: Some(done.credentials.into()), device_token }
            }
        }
    )* };
}

signed_in! { SignedUp "SignUp" Entered "SignIn" EnteredWithLink "SignInWithLink" }

/// The result of `requestSignInLink`.
#[derive(SimpleObject)]
#[graphql(serial)]
pub struct RequestSignInLinkPayload {
    /// Always true, whether or not the login exists.
    accepted: bool,
}

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

/// The result of `refreshSession`.
#[derive(Default, SimpleObject)]
#[graphql(serial)]
pub struct RefreshSession {
    /// The account that the new access token acts in. Null when it acts in none.
    account: Option<Account>,
    /// Whether the session acts elsewhere than requested, because the access has ended: through another connection, in another
    /// account, or in none. Null when the mutation failed.
    switched: Option<bool>,
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
        let device = device(ctx, client, None);
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

    /// Signs a user in and begins a session. Public. The user gets an e-mail when the device is unknown, that is, when `deviceToken` is
    /// null or not valid. After failed attempts it fails with `RATE_LIMITED`, per login and client network; a known device has attempts
    /// of its own. A user who is slowed down can use `requestSignInLink`. After 10 wrong codes in a row the user gets an e-mail. Errors:
    /// `WRONG_CREDENTIALS` (also when there is no such login), `TWO_FACTOR_CODE_REQUIRED`, `WRONG_TWO_FACTOR_CODE`, `NOT_FOUND` (the
    /// account).
    async fn sign_in(&self, ctx: &Context<'_>, input: SignInInput) -> Answer<Entered> {
        let SignInInput { login, password, code, client, account_id, device_token } = input;
        let input = SignIn { login, password, code, account: account_id, device: device(ctx, client, device_token) };
        answer(ops::sign_in(ctx.app(), ctx.caller(), input).await.map(Entered::from))
    }

    /// E-mails a one-time sign-in link to the verified address of a login, for a user whose sign-ins are slowed down. Public. The
    /// response is the same whether or not the login exists. The link works for 15 minutes, until it is used with `signInWithLink`, or
    /// until the password or the address changes. An address gets at most two links in 10 minutes; the earlier ones still work. Fails
    /// with `RATE_LIMITED` after many requests from one client network.
    async fn request_sign_in_link(
        &self,
        ctx: &Context<'_>,
        input: RequestSignInLinkInput,
    ) -> Option<async_graphql::Result<RequestSignInLinkPayload>> {
        let done = sign_in_link::request(ctx.app(), ctx.caller(), &input.login).await;
        Some(done.map(|()| RequestSignInLinkPayload { accepted: true }).map_err(|error: Error| error.into()))
    }

    /// Signs a user in with the token of a link from `requestSignInLink`, in the place of the password, and voids the link. Public.
    /// Two-factor authentication still asks for a code; a wrong code does not use the link up. The user gets an e-mail when the device is
    /// unknown. Errors: `NOT_FOUND` (the token or the account), `EXPIRED`, `TWO_FACTOR_CODE_REQUIRED`, `WRONG_TWO_FACTOR_CODE`.
    async fn sign_in_with_link(&self, ctx: &Context<'_>, input: SignInWithLinkInput) -> Answer<EnteredWithLink> {
        let SignInWithLinkInput { token, code, client, account_id, device_token } = input;
        let input = LinkSignIn { token, code, account: account_id, device: device(ctx, client, device_token) };
        let signed_in = by_link(ctx, true, Box::pin(sign_in_link::sign_in(ctx.app(), ctx.caller(), input))).await;
        answer(signed_in.map(EnteredWithLink::from))
    }

    /// Returns the session's next access token and refresh token. Public. Send the former access token in the `Authorization`
    /// header, also when it has expired: the new one then acts in the same account, through the same connection. Nothing else is
    /// taken from it, and a token of another session is ignored.
    ///
    /// Each refresh token works once. Until its successor is used, a replaced token returns the same successor again. After that it
    /// fails with `REFRESH_TOKEN_REPLACED` for 60 seconds; a later use ends the session and e-mails the user. A session ends 30
    /// days after its last use and 90 days after the sign-in, unless the server is configured otherwise. Errors:
    /// `REFRESH_TOKEN_REPLACED`, `INVALID` (a connection without an account), and `UNAUTHENTICATED` when the session has ended.
    async fn refresh_session(&self, ctx: &Context<'_>, input: RefreshSessionInput) -> Answer<RefreshSession> {
        let RefreshSessionInput { refresh_token, account_id, connection_id } = input;
        let renewal = Renewal { token: refresh_token, account: account_id, connection: connection_id };
        let refreshed = refresh::refresh(ctx.app(), ctx.caller(), renewal).await;
        answer(refreshed.map(|Refreshed { signed_in, switched }| {
            let account = signed_in.seat.map(|seat| Account::acted_in(seat.account, &signed_in.user));
            RefreshSession { account, switched: Some(switched), credentials: Some(signed_in.credentials.into()) }
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

fn device(ctx: &Context<'_>, client: Option<SessionClient>, token: Option<String>) -> Device {
    Device { client: client.unwrap_or(SessionClient::Web), user_agent: ctx.caller().user_agent().map(str::to_owned), token }
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
