//! Invitations as clients see them.

use super::ops::{self, Invite};
use crate::{
    accounts::api::{self as accounts, Account},
    actor::Actor,
    api::{Answer, Ask, Asked, Connection, Edge, PageArgs, answer, answer_each, by_link, cursor_id},
    app::App,
    db::{Sql, by_id, model, select},
    error::Result,
    keys::{Keys, LinkOrId, Purpose},
    mail::delivery::{self, Delivery},
    users::{self, User},
};
use async_graphql::{Context, InputObject, Object, SimpleObject};
use entity::{
    AccountId, InvitationId, Moment, UserLevel,
    invitation::{self, InvitationStatus},
    mail::MailKind,
};
use guarded::guarded;

/// An offer to join an account at a level, to one address.
#[derive(Clone, Debug, SimpleObject)]
#[graphql(serial)]
pub struct Invitation {
    /// Its id.
    pub id: InvitationId,
    /// The account.
    account: Account,
    /// The address that it was sent to. Null once the person is erased.
    email: Option<String>,
    /// The level that its bearer joins at.
    level: UserLevel,
    /// What the inviter wrote.
    #[graphql(complexity = "crate::api::LONG_TEXT")]
    message: Option<String>,
    /// What became of it. Expiry is true from its moment on.
    status: InvitationStatus,
    /// Who invited.
    invited_by: Option<User>,
    /// Who joined by it, whatever their address.
    accepted_by: Option<User>,
    /// When it was made.
    created_at: Moment,
    /// When the latest e-mail was asked for.
    sent_at: Option<Moment>,
    /// Until when its link works.
    expires_at: Moment,
    /// What became of the latest e-mail.
    delivery: Option<Delivery>,
}

impl Invitation {
    /// The address, for sentences.
    pub fn address(&self) -> &str {
        self.email.as_deref().unwrap_or("somebody")
    }
}

/// Invitations with all that they lead to: three statements, however many there are.
pub async fn view(app: &App, actor: Option<&Actor>, rows: Vec<invitation::Model>) -> Result<Vec<Invitation>> {
    let now = app.now();
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let accounts = accounts::load(app.reader(), actor, rows.iter().map(|row| row.account_id).collect()).await?;
    let people = rows.iter().flat_map(|row| [Some(row.invited_by), row.accepted_by]).flatten().collect();
    let people = users::load(app.reader(), actor, people).await?;
    let deliveries = delivery::latest(app.reader(), MailKind::Invitation, rows.iter().map(|row| row.id.0).collect()).await?;
    let seen = rows.into_iter().filter_map(|row| {
        Some(Invitation {
            id: row.id,
            account: accounts.get(&row.account_id)?.clone(),
            status: row.status_at(now),
            email: Some(row.email).filter(|email| !email.is_empty()),
            level: row.level,
            message: row.message,
            invited_by: people.get(&row.invited_by).cloned(),
            accepted_by: row.accepted_by.and_then(|id| people.get(&id).cloned()),
            created_at: row.created_at,
            sent_at: Some(row.sent_at),
            expires_at: row.expires_at,
            delivery: deliveries.get(&row.id.0).cloned(),
        })
    });
    Ok(seen.collect())
}

/// One entry of a list of invitations.
#[derive(SimpleObject)]
#[graphql(serial)]
pub struct InvitationEdge {
    /// Where it stands in the list.
    cursor: String,
    /// The invitation.
    node: Invitation,
}

impl Edge for InvitationEdge {
    type Node = Invitation;
    fn node(&self) -> &Invitation {
        &self.node
    }
    fn cursor(&self) -> &str {
        &self.cursor
    }
}

/// An account's invitations, newest first.
pub async fn of_account(
    ctx: &Context<'_>,
    account: AccountId,
    page: &PageArgs,
    status: Option<&[InvitationStatus]>,
) -> Result<Connection<InvitationEdge>> {
    let now = ctx.app().now();
    let scope = |sql: Sql| {
        let sql = sql.push(" WHERE i.account_id = ").bind(account);
        let Some(status) = status else { return sql };
        // A pending one whose time is over counts as expired, whether or not it was written down yet (E6).
        let sql = sql
            .push(" AND CASE WHEN i.status = 'pending' AND i.expires_at <= ")
            .bind(now)
            .push(" THEN 'expired' ELSE i.status END IN ");
        sql.distinct(status)
    };
    list(ctx, page, &format!("invitations of {account}"), scope).await
}

/// Pending invitations to the viewer's verified address.
pub async fn of_viewer(ctx: &Context<'_>, page: &PageArgs) -> Result<Connection<InvitationEdge>> {
    let key = ctx.actor().await?.verified_email_key().map(str::to_owned);
    let now = ctx.app().now();
    let scope = |sql: Sql| {
        sql.push(" WHERE i.status = 'pending' AND i.expires_at > ").bind(now).push(" AND i.email_key = ").bind(key.clone())
    };
    list(ctx, page, "one's invitations", scope).await
}

async fn list(ctx: &Context<'_>, page: &PageArgs, name: &str, scope: impl Fn(Sql) -> Sql) -> Result<Connection<InvitationEdge>> {
    let (db, window) = (ctx.app().reader(), page.window(ctx.app(), name)?);
    let mut sql = scope(select::<invitation::Entity>("i"));
    if let Some(after) = cursor_id::<InvitationId>(window.after.as_ref())? {
        sql = sql.push(" AND i.id < ").bind(after);
    }
    if let Some(before) = cursor_id::<InvitationId>(window.before.as_ref())? {
        sql = sql.push(" AND i.id > ").bind(before);
    }
    let order = if window.backwards() { "" } else { " DESC" };
    let rows = sql.push(&format!(" ORDER BY i.id{order} LIMIT {}", window.limit())).all(db, model("i")).await?;
    let total = if Asked::of(ctx).total() { scope(Sql::new("SELECT count(*) FROM invitations i")).count(db).await? } else { 0 };
    let rows = view(ctx.app(), Some(&*ctx.actor().await?), rows).await?;
    Ok(window.page(rows, total, |node, cursor| InvitationEdge { cursor, node }, |row: &Invitation| vec![row.id.to_string()]))
}

/// Invitations that the actor may know of by id: their account's, if they may invite, and those to their verified address.
pub async fn load_visible(app: &App, actor: &Actor, ids: &[InvitationId]) -> Result<Vec<Invitation>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let here = actor.seat_if_any().filter(|seat| seat.may(ops::INVITE_USERS)).map(|seat| seat.account.id);
    let sql = select::<invitation::Entity>("i")
        .push(" WHERE i.id IN ")
        .list(ids.iter().copied())
        .push(" AND (i.account_id = ")
        .bind(here);
    let rows = sql.push(" OR i.email_key = ").bind(actor.verified_email_key()).push(")").all(app.reader(), model("i")).await?;
    view(app, Some(actor), rows).await
}

/// What an invitation's link shows to its bearer before joining.
#[derive(SimpleObject)]
#[graphql(serial)]
pub struct InvitationPreview {
    /// The invitation's id.
    id: InvitationId,
    /// Which account invites.
    account_name: String,
    /// The address that it was sent to.
    email: String,
    /// The level that the bearer joins at.
    level: UserLevel,
    /// What the inviter wrote.
    message: Option<String>,
    /// Who invited.
    invited_by_name: Option<String>,
    /// Until when the link works.
    expires_at: Moment,
}

/// What is asked of invitations.
#[derive(Default)]
pub struct InvitationsQuery;

#[Object(serial)]
impl InvitationsQuery {
    /// What an invitation's link shows to its bearer before joining; null unless it is pending.
    async fn invitation_by_token(&self, ctx: &Context<'_>, token: String) -> Option<async_graphql::Result<InvitationPreview>> {
        preview(ctx, &token).await.map_err(Into::into).transpose()
    }
}

async fn preview(ctx: &Context<'_>, token: &str) -> Result<Option<InvitationPreview>> {
    let app = ctx.app();
    let Some(id) = Keys::link_id(token) else { return Ok(None) };
    let row = by_id::<invitation::Entity>(app.reader(), id).await?;
    let valid = |row: &invitation::Model| {
        app.keys.is_link(token, Purpose::Invitation, id, row.version) && row.status_at(app.now()) == InvitationStatus::Pending
    };
    let Some(row) = row.filter(valid) else { return Ok(None) };
    let account = accounts::load(app.reader(), None, vec![row.account_id]).await?.remove(&row.account_id);
    let inviter = users::load(app.reader(), None, vec![row.invited_by]).await?.remove(&row.invited_by);
    Ok(account.map(|account| InvitationPreview {
        id: row.id,
        account_name: account.title().to_owned(),
        email: row.email,
        level: row.level,
        message: row.message,
        invited_by_name: inviter.map(|user| user.title().to_owned()),
        expires_at: row.expires_at,
    }))
}

/// Who is to be invited.
#[derive(InputObject)]
pub struct InviteUsersInput {
    /// An entry may hold several addresses with commas between them; what is past the day's limit gets its own error.
    emails: Vec<String>,
    /// The level that they join at; never Owner.
    level: UserLevel,
    /// What to write to them.
    message: Option<String>,
}

/// What `inviteUsers` made.
#[derive(Default, SimpleObject)]
#[graphql(serial)]
pub struct InviteUsers {
    /// The invitations that went out.
    invitations: Vec<Invitation>,
}

/// An answer to an invitation.
#[derive(InputObject)]
pub struct AnswerInvitationInput {
    /// One of the two: the link's token,
    token: Option<String>,
    /// or the id of an invitation to the viewer's verified address.
    invitation_id: Option<InvitationId>,
}

/// What `acceptInvitation` gives.
#[derive(Default, SimpleObject)]
#[graphql(serial)]
pub struct AcceptInvitation {
    /// The account that was joined. Act in it with `switchAccount`.
    account: Option<Account>,
    /// At which level.
    level: Option<UserLevel>,
}

/// Which invitation.
#[derive(InputObject)]
pub struct InvitationIdInput {
    /// The invitation.
    invitation_id: InvitationId,
}

/// Which invitation is sent again.
#[derive(InputObject)]
pub struct ResendInvitationInput {
    /// The invitation.
    invitation_id: InvitationId,
    /// Send to this address instead.
    email: Option<String>,
}

macro_rules! with_invitation {
    ($($name:ident $doc:literal)*) => { $(
        #[doc = $doc]
        #[derive(Default, SimpleObject)]
        #[graphql(serial)]
        pub struct $name {
            /// The invitation as it is now.
            invitation: Option<Invitation>,
        }
    )* };
}

with_invitation! {
    ResendInvitation "What `resendInvitation` sent."
    CancelInvitation "What `cancelInvitation` took back."
    DeclineInvitation "What `declineInvitation` answered."
}

/// What can be done with invitations.
#[derive(Default)]
pub struct InvitationsMutation;

#[guarded(elsewhere)]
#[Object(serial)]
impl InvitationsMutation {
    /// Invites people to the account by e-mail. Each address is handled separately, so that an error with one does not affect the
    /// others. Requires a verified address.
    ///
    /// In any 24 hours, an account invites at most 25 new users. An address (without its `+tag`) gets at most 6 e-mails with
    /// invitations and requests from one user and 20 from all, and one user causes at most 100 e-mails to others. An invitation past a
    /// limit on e-mails is created, and its `delivery` is `FAILED` with the reason. See `resendInvitation`.
    ///
    /// Inviting at Admin requires recent authentication (`reauthenticate`), and is never possible with an API key. When an Admin joins,
    /// the Owner and all Admins are e-mailed.
    ///
    /// Errors: `INVALID`, `EMAIL_NOT_VERIFIED`, `LEVEL_NOT_ASSIGNABLE`, `LEVEL_NOT_IN_PLAN`, `NO_SEATS_LEFT`, `ALREADY_A_USER`,
    /// `ALREADY_INVITED`, `DAILY_LIMIT_REACHED` with `retryAt`.
    #[needs(ops::INVITE_USERS)]
    async fn invite_users(&self, ctx: &Context<'_>, input: InviteUsersInput) -> Answer<InviteUsers> {
        let InviteUsersInput { emails, level, message } = input;
        answer_each(invite_users(ctx, Invite { emails, level, message }).await)
    }

    /// Resends an invitation with a new link and a new expiry time, to another address if one is given. An expired invitation
    /// becomes valid again. The former link stops working. Resending an Admin invitation requires recent authentication
    /// (`reauthenticate`), and is never possible with an API key. Errors: `NOT_FOUND`, `EMAIL_NOT_VERIFIED`, `ALREADY_DECIDED`,
    /// `INVALID`, `NOT_ACTIVE`, `RESEND_TOO_SOON`, and for a new address or an expired invitation those of `inviteUsers`.
    #[needs(ops::INVITE_USERS)]
    async fn resend_invitation(&self, ctx: &Context<'_>, input: ResendInvitationInput) -> Answer<ResendInvitation> {
        let ResendInvitationInput { invitation_id, email } = input;
        let row = ops::resend_invitation(ctx.app(), ctx.caller(), invitation_id, email.as_deref()).await;
        answer(view_one(ctx, row).await.map(|invitation| ResendInvitation { invitation }))
    }

    /// Take a pending invitation back: its link is dead, and its seat free.
    #[needs(ops::INVITE_USERS)]
    async fn cancel_invitation(&self, ctx: &Context<'_>, input: InvitationIdInput) -> Answer<CancelInvitation> {
        let row = ops::cancel_invitation(ctx.app(), ctx.caller(), input.invitation_id).await;
        answer(view_one(ctx, row).await.map(|invitation| CancelInvitation { invitation }))
    }

    /// Say no to an invitation: by its link's token, which needs no sign-in, or by the id of one to the viewer's verified address.
    async fn decline_invitation(&self, ctx: &Context<'_>, input: AnswerInvitationInput) -> Answer<DeclineInvitation> {
        answer(decline_invitation(ctx, input).await.map(|invitation| DeclineInvitation { invitation }))
    }

    /// Joins the account of an invitation, as the user who is signed in. Requires a session.
    ///
    /// By `token`, the bearer of the link joins. If the user's address is not the invited one, the inviter gets an e-mail. An Admin
    /// invitation requires that the user's verified address is the invited address. By `invitationId`, every invitation requires that.
    ///
    /// Errors: `NOT_FOUND`, `EXPIRED`, `ALREADY_DECIDED`, `INVITED_ADDRESS_REQUIRED`, `EMAIL_NOT_VERIFIED`, `NOT_ACTIVE`,
    /// `ALREADY_A_USER`, `LEVEL_NOT_IN_PLAN`, `NO_SEATS_LEFT`.
    async fn accept_invitation(&self, ctx: &Context<'_>, input: AnswerInvitationInput) -> Answer<AcceptInvitation> {
        answer(accept_invitation(ctx, input).await)
    }
}

async fn view_one(ctx: &Context<'_>, row: Result<invitation::Model>) -> Result<Option<Invitation>> {
    let row = row?;
    // Whoever declines by a link may be nobody; a stale Authorization header is none of their concern (I3).
    let actor = ctx.actor_if_any().await.ok().flatten();
    Ok(view(ctx.app(), actor.as_deref(), vec![row]).await?.pop())
}

async fn decline_invitation(ctx: &Context<'_>, input: AnswerInvitationInput) -> Result<Option<Invitation>> {
    let named = LinkOrId::one_of(input.token, input.invitation_id, "invitationId");
    // Nobody signed in comes before a wrong input, but for who bears a link.
    if !matches!(named, Ok(LinkOrId::Token(_))) {
        ctx.actor().await?;
    }
    let named = named?;
    let work = Box::pin(ops::decline_invitation(ctx.app(), ctx.caller(), named.clone()));
    view_one(ctx, by_link(ctx, named.is_token(), work).await).await
}

async fn invite_users(ctx: &Context<'_>, input: Invite) -> Result<(InviteUsers, Vec<crate::error::UserError>)> {
    let (rows, errors) = ops::invite_users(ctx.app(), ctx.caller(), input).await?;
    let invitations = view(ctx.app(), Some(&*ctx.actor().await?), rows).await?;
    Ok((InviteUsers { invitations }, errors))
}

async fn accept_invitation(ctx: &Context<'_>, input: AnswerInvitationInput) -> Result<AcceptInvitation> {
    // Nobody signed in comes before a wrong input.
    let user = ctx.actor().await?.user.clone();
    let named = LinkOrId::one_of(input.token, input.invitation_id, "invitationId")?;
    let seat = by_link(ctx, named.is_token(), Box::pin(ops::accept_invitation(ctx.app(), ctx.caller(), named))).await?;
    Ok(AcceptInvitation { account: Some(Account::acted_in(seat.account, &user)), level: Some(seat.level) })
}
