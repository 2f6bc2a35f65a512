//! E-mails that tell an account's Owner and Admins about a change of who controls the account (I7). They go to all of them, the
//! one who made the change included, so that the owner of a stolen session notices.

use super::{
    compose::{Linked, account_name, link, told, user_name},
    letter::Letter,
};
use crate::{
    accounts::undo::{self, UNDO_TTL},
    app::App,
    db::{Sql, by_id},
    error::Result,
    identity::erasure::FORMER,
    keys::Purpose,
};
use entity::{
    AccountId, UserId, UserLevel, connection,
    event::{self, EventKind},
    mail, member, ownership_transfer,
};

/// What to do about an Admin who should not be one.
const REVOKE: &str = "If this was not intended, revoke the user's access at once, and look in the account's audit log for what else was \
                      done.";
/// What to do about an agency that should not be Admin.
const LOWER: &str = "If this was not intended, lower the connection's level or end the connection at once, and look in the account's \
                     audit log for what else was done.";
/// What to do about two-factor that should be required.
const REQUIRE: &str = "If this was not intended, require two-factor authentication again, and look in the account's audit log for what \
                       else was done.";

/// Writes the e-mail. The mail's subject is the account.
pub(super) async fn compose(app: &App, mail: &mail::Model) -> Result<Option<Letter>> {
    let Some((event, reader)) = told(app, mail).await? else { return Ok(None) };
    let account = account_name(app, AccountId(mail.subject_id)).await?;
    let actor = user_name(app, event.actor_id).await?;
    let (subject, what, remedy) = match event.kind {
        EventKind::UserJoined => {
            let inviter = user_name(app, inviter(app, AccountId(mail.subject_id), event.actor_id).await?).await?;
            let what = format!("{actor} accepted an invitation and is now an Admin of {account}. {inviter} invited them.");
            (format!("{actor} is now an Admin of {account}"), what, REVOKE)
        }
        EventKind::UserLevelChanged => {
            let user = member_name(app, &event).await?;
            let before = event.before.as_deref().unwrap_or_default();
            let what = format!("{actor} changed the level of {user} in {account} from {before} to Admin.");
            (format!("{user} is now an Admin of {account}"), what, REVOKE)
        }
        EventKind::UserReinstated => {
            let user = member_name(app, &event).await?;
            let what = format!("{actor} reinstated {user}, who was suspended and is now an Admin of {account} again.");
            (format!("{user} is an Admin of {account} again"), what, REVOKE)
        }
        EventKind::ClientAccessApproved | EventKind::ClientAccessLevelChanged => {
            let row = by_id::<connection::Entity>(app.reader(), event.subject_id).await?;
            let Some(row) = row else { return Ok(None) };
            let agency = account_name(app, row.agency_id).await?;
            let what = match event.kind {
                EventKind::ClientAccessApproved => format!("{actor} gave the agency {agency} access to {account}, up to Admin."),
                _ => format!(
                    "{actor} raised the highest level of the agency {agency} in {account} from {} to Admin.",
                    event.before.as_deref().unwrap_or_default()
                ),
            };
            (format!("{agency} can act in {account} as Admin"), what, LOWER)
        }
        EventKind::TwoFactorRequirementChanged => {
            let what = format!("{actor} removed the requirement. From now on, users can act in {account} with a password alone.");
            (format!("{account} no longer requires two-factor authentication"), what, REQUIRE)
        }
        _ => return Ok(None),
    };
    Ok(Some(Letter::Alert { name: reader.name, subject, what, at: event.at, undo: None, remedy }))
}

/// Writes the e-mail to the former Owner with the link to undo a transfer. Nothing when the transfer can't be undone any more.
pub(super) async fn undo_offer(app: &App, mail: &mail::Model) -> Result<Linked> {
    let Some((event, reader)) = told(app, mail).await? else { return Ok(None) };
    let row = by_id::<ownership_transfer::Entity>(app.reader(), mail.subject_id).await?;
    let Some(row) = row.filter(|row| undo::is_open(row, app.now())) else { return Ok(None) };
    let account = account_name(app, row.account_id).await?;
    let (asker, owner) = (user_name(app, Some(row.asked_by)).await?, user_name(app, Some(row.new_owner_id)).await?);
    let token = app.keys.link(Purpose::UndoTransfer, row.id.0, undo::LINK_VERSION);
    let what = format!(
        "{owner} is the Owner of {account} now; {} is an Admin there. {asker}, an Admin, made this transfer. If you did not agree to \
         it, undo it: you are then the Owner again, even if your access was ended meanwhile.",
        reader.name
    );
    let letter = Letter::Alert {
        name: reader.name,
        subject: format!("{asker} transferred the ownership of {account} to {owner}"),
        what,
        at: event.at,
        undo: Some((link(app, "undo-transfer", &token), row.at + UNDO_TTL)),
        remedy: "If you agreed to the transfer, you do not need to do anything. Do not forward this e-mail: anyone who has the link \
                 can undo the transfer.",
    };
    Ok(Some((letter, Some(token))))
}

/// Writes the e-mail about a transfer that was undone.
pub(super) async fn undone(app: &App, mail: &mail::Model) -> Result<Option<Letter>> {
    let Some((event, reader)) = told(app, mail).await? else { return Ok(None) };
    let Some(row) = by_id::<ownership_transfer::Entity>(app.reader(), mail.subject_id).await? else { return Ok(None) };
    let account = account_name(app, row.account_id).await?;
    let former = user_name(app, Some(row.former_owner_id)).await?;
    let present = user_name(app, event.before.as_deref().and_then(|id| id.parse().ok())).await?;
    let asker = user_name(app, Some(row.asked_by)).await?;
    let what = format!(
        "{former} undid a transfer of the ownership of {account} and is its Owner again instead of {present}. {asker} asked for the \
         transfer."
    );
    let subject = format!("{former} is the Owner of {account} again");
    let remedy = "If you have a question about this, ask the Owner. The account's audit log shows the levels that changed.";
    Ok(Some(Letter::Alert { name: reader.name, subject, what, at: event.at, undo: None, remedy }))
}

/// The user who invited the user who joined, by the latest invitation.
async fn inviter(app: &App, account: AccountId, joined: Option<UserId>) -> Result<Option<UserId>> {
    let sql = Sql::new("SELECT invited_by FROM invitations WHERE status = 'accepted' AND level = ").bind(UserLevel::Admin);
    let sql = sql.push(" AND account_id = ").bind(account).push(" AND accepted_by = ").bind(joined);
    sql.push(" ORDER BY decided_at DESC LIMIT 1").one(app.reader(), |row| row.try_get_by_index(0)).await
}

/// The name of the member whom an event is about. The member may be gone when the e-mail is written.
async fn member_name(app: &App, event: &event::Model) -> Result<String> {
    let member = by_id::<member::Entity>(app.reader(), event.subject_id).await?;
    match member {
        Some(member) => user_name(app, Some(member.user_id)).await,
        None => Ok(FORMER.to_owned()),
    }
}
