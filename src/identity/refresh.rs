//! The next access token of a session (I3): the rule for its refresh tokens, and the account that it acts in.
//!
//! Tabs of one browser share a session and may act in different accounts, so the account is kept by the access token that a
//! refresh is sent with, and not by the session, which knows the latest one alone.

use super::{
    devices,
    ops::{SignedIn, credentials, end_session, find_user, note_entry, usual_seat, via, way_in},
    rules::{self, Refresh},
};
use crate::{
    actor::{Caller, Seat},
    app::{App, Happening, Outgoing, Tx},
    db::{Sql, model, select},
    error::{Denied, Error, Result, UserError, UserErrorCode},
    keys::{Keys, Purpose, Ticket},
};
use entity::{AccountId, ConnectionId, SessionId, UserId, event::EventKind, mail::MailKind, session};

/// A session's refresh token: its generation in clear, and a MAC over both.
pub(super) fn token(keys: &Keys, session: SessionId, generation: i64) -> String {
    format!("{}.{generation}", keys.link(Purpose::Refresh, session.0, generation))
}

fn read_token(keys: &Keys, token: &str) -> Option<(SessionId, i64)> {
    let (link, generation) = token.split_once('.')?;
    let (id, generation) = (Keys::link_id(link)?, generation.parse().ok()?);
    keys.is_link(link, Purpose::Refresh, id, generation).then_some((SessionId(id), generation))
}

/// A session to be refreshed.
pub struct Renewal {
    /// The refresh token.
    pub token: String,
    /// The account to act in; else that of the access token, else the one that the session last acted in.
    pub account: Option<AccountId>,
    /// The connection to act there through.
    pub connection: Option<ConnectionId>,
}

/// A session that was refreshed.
#[derive(Debug)]
pub struct Refreshed {
    /// Who is signed in, where they act, and their credentials.
    pub signed_in: SignedIn,
    /// Whether it acts elsewhere than it was to, because access to that has ended.
    pub switched: bool,
}

/// Gives the next access token of a session.
pub async fn refresh(app: &App, caller: &Caller, input: Renewal) -> Result<Refreshed> {
    const ENDED: &str = "The session has ended, or this is not its refresh token. Sign in again.";
    let ended = || Error::from(Denied::Unauthenticated(ENDED));
    if input.connection.is_some() && input.account.is_none() {
        let why = "A connection leads into a client's account: give that account's id as accountId too.";
        return Err(UserError::new(UserErrorCode::Invalid, why).at(["connectionId"]).into());
    }
    let (id, generation) = read_token(&app.keys, &input.token).ok_or_else(ended)?;
    let refreshed = app
        .tx(async |tx| {
            let find = || select::<session::Entity>("s").push(" WHERE s.ended_at IS NULL AND s.id = ").bind(id);
            let session: session::Model = find().one(tx.db(), model("s")).await?.ok_or_else(ended)?;
            tx.hold(vec![session.user_id.into()]).await?;
            let mut session: session::Model = find().one(tx.db(), model("s")).await?.ok_or_else(ended)?;
            match rules::refresh(&session, generation, tx.now(), tx.lifetimes()) {
                Refresh::Rotate => rules::rotate(&mut session, tx.now()),
                Refresh::Repeat => {}
                Refresh::Straggler => return Err(replaced().into()),
                Refresh::Unknown => return Err(ended()),
                // The session's end has to stand, so this is no error yet.
                Refresh::Reuse => return end_copied(tx, &session).await.map(|()| None),
            }
            let user = find_user(tx, session.user_id).await?;
            let kept = Kept::of(&session, caller.ticket_of(&session), &input);
            let (seat, switched) = match kept {
                Some(kept) => kept.seat(tx, &user).await?,
                None => (None, false),
            };
            save_use(tx, &mut session, seat.as_ref()).await?;
            let next = token(&app.keys, session.id, session.generation);
            let credentials = credentials(app, &session, seat.as_ref(), tx.now(), Some(next))?;
            let signed_in = SignedIn { user, seat, credentials, session: session.id, device_token: None, event: None };
            Ok(Some(Refreshed { signed_in, switched }))
        })
        .await?;
    refreshed.ok_or_else(ended)
}

fn replaced() -> UserError {
    let why = "This refresh token was replaced, and its successor has been used already. Use the session's latest refresh token: \
               another tab or request of yours may have it.";
    UserError::new(UserErrorCode::RefreshTokenReplaced, why).at(["refreshToken"])
}

/// Ends a session of which a refresh token was copied, and notifies its user. The device's token may have been copied with it.
async fn end_copied(tx: &Tx, session: &session::Model) -> Result<()> {
    devices::void(tx, session).await?;
    let event = end_session(tx, session, Happening::by_itself(EventKind::RefreshTokenReused, session.id.0)).await?;
    let user = find_user(tx, session.user_id).await?;
    tx.mail(&[Outgoing::to_user(&user, MailKind::RefreshTokenReused, event, session.id.0)]).await
}

/// Writes down that a session was used, and where it acts now.
pub(super) async fn save_use(tx: &Tx, session: &mut session::Model, seat: Option<&Seat>) -> Result<()> {
    let before = (session.account_id, session.via_id);
    (session.account_id, session.via_id, session.last_used_at) = (seat.map(|seat| seat.account.id), via(seat), tx.now());
    if before != (session.account_id, session.via_id) {
        note_entry(tx, session);
    }
    let sql =
        Sql::new("UPDATE sessions SET generation = ").bind(session.generation).push(", rotated_at = ").bind(session.rotated_at);
    let sql = sql.push(", settled_generation = ").bind(session.settled_generation);
    let sql = sql.push(", account_id = ").bind(session.account_id).push(", via_id = ").bind(session.via_id);
    sql.push(", last_used_at = ").bind(tx.now()).push(" WHERE id = ").bind(session.id).run(tx.db()).await?;
    Ok(())
}

/// The access that a refresh keeps.
#[derive(Clone, Copy)]
struct Kept {
    account: AccountId,
    way: Way,
}

/// How an account is entered.
#[derive(Clone, Copy)]
enum Way {
    /// As its direct user, else at the highest level (C12).
    Any,
    /// As its direct user.
    Direct,
    /// Through this connection.
    Connection(ConnectionId),
    /// Through this agency's connection.
    Agency(AccountId),
}

impl Way {
    fn through(agency: Option<AccountId>) -> Self {
        agency.map_or(Self::Direct, Self::Agency)
    }
}

impl Kept {
    /// What the input names; else what the access token names; else where the session last acted. None of it: nowhere.
    fn of(session: &session::Model, ticket: Option<Ticket>, input: &Renewal) -> Option<Self> {
        let of_token = ticket.map(|ticket| ticket.account.map(|account| Self { account, way: Way::through(ticket.via) }));
        match (input.account, input.connection, of_token) {
            (Some(account), Some(connection), _) => Some(Self { account, way: Way::Connection(connection) }),
            (Some(account), None, Some(Some(kept))) if kept.account == account => Some(kept),
            (Some(account), None, _) => Some(Self { account, way: Way::Any }),
            (None, _, Some(kept)) => kept,
            (None, _, None) => session.account_id.map(|account| Self { account, way: Way::through(session.via_id) }),
        }
    }

    /// The seat, and whether it is another one because this one is gone: another way into the account, else the usual account,
    /// else none.
    async fn seat(self, tx: &Tx, user: &entity::user::Model) -> Result<(Option<Seat>, bool)> {
        if let Some(seat) = self.find(tx, user.id).await? {
            return Ok((Some(seat), false));
        }
        let other_way = way_in(tx, user.id, self.account, None).await?;
        let seat = if other_way.is_some() { other_way } else { usual_seat(tx, user).await? };
        Ok((seat, true))
    }

    async fn find(self, tx: &Tx, user: UserId) -> Result<Option<Seat>> {
        let connection = match self.way {
            Way::Any => return way_in(tx, user, self.account, None).await,
            Way::Direct => return Ok(way_in(tx, user, self.account, None).await?.filter(|seat| seat.via.is_none())),
            Way::Connection(connection) => Some(connection),
            Way::Agency(agency) => {
                let sql = Sql::new("SELECT id FROM connections WHERE status = 'active' AND agency_id = ").bind(agency);
                let sql = sql.push(" AND client_id = ").bind(self.account);
                sql.one(tx.db(), |row| row.try_get_by_index(0)).await?
            }
        };
        match connection {
            Some(connection) => way_in(tx, user, self.account, Some(connection)).await,
            None => Ok(None),
        }
    }
}
