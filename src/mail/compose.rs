//! From a row of the outbox to a letter: reads what the mail is about as it is now, and makes its link.
//!
//! Nothing is kept of the words, so a renamed account or an erased person is right in every mail that is still to go.

use super::{alert, letter::Letter};
use crate::{
    accounts::undo,
    app::App,
    connections::{rules::REMINDED, view::AgencyProfile},
    db::{Sql, by_id, columns, model},
    error::Result,
    identity::{
        recovery::{DELETED_KEYS, RESET_TTL},
        rules::{VERIFICATION_TTL, known_device},
        sign_in_link::{self, SIGN_IN_LINK_TTL},
    },
    keys::Purpose,
    text,
};
use entity::{
    AccountId, UserId, UserLevel, account, connection,
    event::{self, EventKind},
    invitation::{self, InvitationStatus},
    mail::{self, MailKind},
    session, user,
};

/// What a mail says, and the token in its link; `None` when there is nothing to say any more.
pub async fn compose(app: &App, mail: &mail::Model) -> Result<Option<(Letter, Option<String>)>> {
    match mail.kind {
        MailKind::VerifyEmail => verify_email(app, mail).await,
        MailKind::Invitation => invitation(app, mail).await,
        kind if names_people(kind) && is_unverified(app, mail).await? => Ok(None),
        MailKind::InvitationAcceptedByAnother => Ok(accepted_by_another(app, mail).await?.map(|letter| (letter, None))),
        MailKind::AccessRequest => access_request(app, mail).await,
        MailKind::AccessApproved | MailKind::AccessDeclined | MailKind::ConnectionEnded | MailKind::ConnectionEnding => {
            Ok(about_connection(app, mail).await?.map(|letter| (letter, None)))
        }
        MailKind::ResetPassword => reset_password(app, mail).await,
        MailKind::EmailChangeRequested => stop_email_change(app, mail).await,
        MailKind::OwnershipTransferred if mail.version == undo::LINK_VERSION => alert::undo_offer(app, mail).await,
        MailKind::OwnershipTransferUndone => Ok(alert::undone(app, mail).await?.map(|letter| (letter, None))),
        MailKind::SignInLink => sign_in_link(app, mail).await,
        MailKind::InvitationDeclined | MailKind::AccessRevoked | MailKind::AccountClosed | MailKind::OwnershipTransferred => {
            Ok(notice(app, mail).await?.map(|letter| (letter, None)))
        }
        MailKind::AdminAdded | MailKind::AgencyAdminAdded | MailKind::TwoFactorRelaxed => {
            Ok(alert::compose(app, mail).await?.map(|letter| (letter, None)))
        }
        MailKind::PasswordChanged
        | MailKind::EmailChanged
        | MailKind::TwoFactorChanged
        | MailKind::NewSignIn
        | MailKind::SessionsRevoked
        | MailKind::TwoFactorCodesFailed
        | MailKind::RefreshTokenReused
        | MailKind::ApiKeyCreated => Ok(security(app, mail).await?.map(|letter| (letter, None))),
    }
}

/// Whether a mail to a user is about others, whom it names. An address that is not verified may be a stranger's, who gets no text
/// that a user chose (I1).
fn names_people(kind: MailKind) -> bool {
    matches!(
        kind,
        MailKind::InvitationAcceptedByAnother
            | MailKind::AccessApproved
            | MailKind::AccessDeclined
            | MailKind::ConnectionEnded
            | MailKind::ConnectionEnding
            | MailKind::AdminAdded
            | MailKind::AgencyAdminAdded
            | MailKind::TwoFactorRelaxed
            | MailKind::OwnershipTransferUndone
    )
}

/// Whether the user who gets a mail never verified the address.
async fn is_unverified(app: &App, mail: &mail::Model) -> Result<bool> {
    let Some(id) = mail.user_id else { return Ok(false) };
    Ok(by_id::<user::Entity>(app.reader(), id).await?.is_none_or(|user| user.email_verified_at.is_none()))
}

pub(super) type Linked = Option<(Letter, Option<String>)>;

pub(super) fn link(app: &App, page: &str, token: &str) -> String {
    // In the fragment, which browsers keep to themselves: no log and no referrer has it (R6).
    format!("{}/{page}#token={token}", app.app_url)
}

pub(super) async fn user_name(app: &App, id: Option<UserId>) -> Result<String> {
    let found = match id {
        Some(id) => by_id::<user::Entity>(app.reader(), id).await?,
        None => None,
    };
    Ok(found.map_or_else(|| "Somebody".to_owned(), |user| user.name))
}

pub(super) async fn account_name(app: &App, id: AccountId) -> Result<String> {
    let account = by_id::<account::Entity>(app.reader(), id).await?;
    Ok(account.map_or_else(String::new, |account| account.name))
}

/// The name of an account whose id an event keeps.
async fn account_of(app: &App, id: Option<&str>) -> Result<String> {
    match id.and_then(|id| id.parse().ok()) {
        Some(id) => account_name(app, id).await,
        None => Ok("an account".to_owned()),
    }
}

async fn verify_email(app: &App, mail: &mail::Model) -> Result<Linked> {
    let user = by_id::<user::Entity>(app.reader(), mail.subject_id).await?;
    let unproven = |user: &user::Model| user.pending_email.is_some() || user.email_verified_at.is_none();
    let Some(user) = user.filter(|user| unproven(user) && user.email_version == mail.version && user.erased_at.is_none()) else {
        return Ok(None);
    };
    let expires_at = mail.created_at + VERIFICATION_TTL;
    let token = app.keys.timed_link(Purpose::VerifyEmail, user.id.0, mail.version, expires_at);
    let link = link(app, "verify-email", &token);
    let letter = match user.pending_email {
        Some(_) => {
            let login = user.email_verified_at.map(|_| masked(&user.email_key));
            Letter::ConfirmEmailChange { login, link, expires_at }
        }
        None => Letter::VerifyEmail { link, expires_at },
    };
    Ok(Some((letter, Some(token))))
}

/// An address of which its user recognizes their own, and nobody else learns it: `k***@example.com`.
fn masked(email_key: &str) -> String {
    let (local, domain) = email_key.rsplit_once('@').unwrap_or((email_key, ""));
    format!("{}***@{domain}", local.chars().next().unwrap_or('*'))
}

/// To the present address, which is verified, while the change is pending.
async fn stop_email_change(app: &App, mail: &mail::Model) -> Result<Linked> {
    let user = by_id::<user::Entity>(app.reader(), mail.subject_id).await?;
    let stands = |user: &user::Model| user.email_verified_at.is_some() && user.email_version == mail.version;
    let Some(user) = user.filter(stands) else { return Ok(None) };
    let Some(new_address) = user.pending_email.as_deref().map(text::with_ascii_domain) else { return Ok(None) };
    let expires_at = mail.created_at + VERIFICATION_TTL;
    let token = app.keys.timed_link(Purpose::StopEmailChange, user.id.0, mail.version, expires_at);
    let letter = Letter::StopEmailChange { new_address, link: link(app, "stop-change", &token), expires_at };
    Ok(Some((letter, Some(token))))
}

/// Nobody may be there: who asks for a link learns nothing of that.
async fn reset_password(app: &App, mail: &mail::Model) -> Result<Linked> {
    let user = by_id::<user::Entity>(app.reader(), mail.subject_id).await?;
    let stands = |user: &user::Model| user.reset_version == mail.version && user.email_key == mail.to_email_key;
    let Some(user) = user.filter(stands) else { return Ok(None) };
    let expires_at = mail.created_at + RESET_TTL;
    let token = app.keys.timed_link(Purpose::ResetPassword, user.id.0, mail.version, expires_at);
    let verified = user.email_verified_at.is_some();
    let letter = Letter::ResetPassword { verified, link: link(app, "reset-password", &token), expires_at };
    Ok(Some((letter, Some(token))))
}

/// There may be no such user: who requests a link learns nothing of that.
async fn sign_in_link(app: &App, mail: &mail::Model) -> Result<Linked> {
    let user = by_id::<user::Entity>(app.reader(), mail.subject_id).await?;
    let works = |user: &user::Model| {
        let to_them = user.email_verified_at.is_some() && user.email_key == mail.to_email_key;
        to_them && sign_in_link::version(user) == mail.version
    };
    let expires_at = mail.created_at + SIGN_IN_LINK_TTL;
    let Some(user) = user.filter(works).filter(|_| app.now() < expires_at) else { return Ok(None) };
    let token = app.keys.timed_link(Purpose::SignIn, user.id.0, mail.version, expires_at);
    Ok(Some((Letter::SignInLink { link: link(app, "sign-in", &token), expires_at }, Some(token))))
}

/// The event that a mail tells of, and the user who gets it, while they are there.
pub(super) async fn told(app: &App, mail: &mail::Model) -> Result<Option<(event::Model, user::Model)>> {
    let event = by_id::<event::Entity>(app.reader(), mail.event_id).await?;
    let user = match mail.user_id {
        Some(id) => by_id::<user::Entity>(app.reader(), id).await?.filter(|user| user.erased_at.is_none()),
        None => None,
    };
    Ok(event.zip(user))
}

/// What was done where a user has access, or had.
async fn notice(app: &App, mail: &mail::Model) -> Result<Option<Letter>> {
    let Some((event, user)) = told(app, mail).await? else { return Ok(None) };
    if user.email_verified_at.is_none() {
        return Ok(nameless_notice(&event));
    }
    let (title, what) = match event.kind {
        EventKind::InvitationDeclined => {
            let Some(row) = by_id::<invitation::Entity>(app.reader(), event.subject_id).await? else { return Ok(None) };
            if !acts_in_one_of(app, mail, [Some(row.account_id), None]).await? {
                return Ok(None);
            }
            let account = account_name(app, row.account_id).await?;
            ("Your invitation was declined", format!("{} declined your invitation to {account}.", row.email))
        }
        EventKind::UserRevoked => {
            let account = account_of(app, event.before.as_deref()).await?;
            ("Your access was revoked", format!("You can't act in {account} any more."))
        }
        EventKind::ClientUserRemoved => {
            let row = by_id::<connection::Entity>(app.reader(), event.subject_id).await?;
            let Some(client) = row.and_then(|row| row.client_id) else { return Ok(None) };
            ("Your access was revoked", format!("You can't act in {} any more.", account_name(app, client).await?))
        }
        EventKind::AccountClosed => {
            let account = account_name(app, AccountId(event.subject_id)).await?;
            ("An account was closed", format!("{account} was closed. Nobody can act in it any more."))
        }
        EventKind::OwnershipTransferred => {
            let account = account_name(app, AccountId(mail.subject_id)).await?;
            let name = |id: Option<&str>| user_name(app, id.and_then(|id| id.parse().ok()));
            let (from, to) = (name(event.before.as_deref()).await?, name(event.after.as_deref()).await?);
            ("An account has another Owner", format!("{to} is the Owner of {account} now; {from} is an Admin there."))
        }
        _ => return Ok(None),
    };
    Ok(Some(Letter::Notice { name: Some(user.name), title, what, at: event.at }))
}

/// The same to an address that is not verified: without any text that a user chose (I1).
fn nameless_notice(event: &event::Model) -> Option<Letter> {
    let (title, what) = match event.kind {
        EventKind::UserRevoked | EventKind::ClientUserRemoved => {
            ("Your access was revoked", "You can't act in one of your accounts any more. Sign in to see which.")
        }
        EventKind::AccountClosed => ("An account was closed", "An account of yours was closed. Nobody can act in it any more."),
        _ => return None,
    };
    Some(Letter::Notice { name: None, title, what: what.to_owned(), at: event.at })
}

/// What was done to a login, of which its user hears whoever did it.
async fn security(app: &App, mail: &mail::Model) -> Result<Option<Letter>> {
    let Some((event, user)) = told(app, mail).await? else { return Ok(None) };
    let session = by_id::<session::Entity>(app.reader(), event.subject_id).await?;
    // Only names that the server knows: a client chooses what it calls itself.
    let device = session.and_then(|session| known_device(session.client, session.user_agent.as_deref()));
    let device = device.unwrap_or_else(|| "an unknown program".to_owned());
    let verified = user.email_verified_at.is_some();
    let (title, what) = match event.kind {
        EventKind::PasswordReset => {
            ("Your password was changed", "You have taken a new password by the link in a mail.".to_owned())
        }
        EventKind::PasswordChanged => ("Your password was changed", "You have changed your password.".to_owned()),
        EventKind::OtherSessionsRevoked => {
            ("Your other sessions were ended", "You have ended all of your sessions but one.".to_owned())
        }
        EventKind::EmailChanged => (
            "Your e-mail address was changed",
            format!("Your login's address is now {} instead of this one.", text::with_ascii_domain(&user.email)),
        ),
        EventKind::TwoFactorEnabled => {
            ("Two-factor was switched on", "From now on, signing in asks for a code of your device.".to_owned())
        }
        EventKind::TwoFactorDisabled => {
            ("Two-factor was switched off", "From now on, signing in asks for your password alone.".to_owned())
        }
        EventKind::TwoFactorReset => {
            ("Two-factor was switched off", "The operator did it. Signing in asks for your password alone.".to_owned())
        }
        EventKind::RecoveryCodesRegenerated => {
            ("New recovery codes", "You have new recovery codes; the former ones don't work any more.".to_owned())
        }
        EventKind::RecoveryCodeUsed => {
            ("A recovery code was used", "A recovery code of yours was used, and doesn't work any more.".to_owned())
        }
        EventKind::SignedIn => {
            ("A new sign-in", format!("Somebody signed in as you on a device that was not known before, with {device}."))
        }
        EventKind::TwoFactorCodesFailed => (
            "Wrong two-factor codes for your login",
            "Ten wrong two-factor codes in a row were given for your login, by somebody who has your password or more. Nobody got in with them."
                .to_owned(),
        ),
        EventKind::RefreshTokenReused => (
            "A session was ended for your safety",
            format!("A refresh token of your session with {device} was used twice, as if copied. The session was ended."),
        ),
        EventKind::ApiKeyCreated => {
            let name = event.after.clone().filter(|_| verified).map_or_else(String::new, |name| format!(" \"{name}\""));
            ("A new API key", format!("The API key{name} was created in your name."))
        }
        _ => return Ok(None),
    };
    let keys_matter =
        matches!(event.kind, EventKind::PasswordReset | EventKind::PasswordChanged | EventKind::OtherSessionsRevoked);
    let api_keys = if keys_matter { Some(api_keys(app, &user, event.after.as_deref()).await?) } else { None };
    Ok(Some(Letter::Security { title, what, api_keys, at: event.at }))
}

/// How many API keys an e-mail names.
const NAMED_KEYS: usize = 20;

/// What became of a user's API keys when their sessions ended. Names, which a user chose, are not for an unverified address.
async fn api_keys(app: &App, user: &user::Model, deleted: Option<&str>) -> Result<String> {
    // Only the number: what an event keeps may be a text that a user chose.
    let deleted = deleted.and_then(|after| after.strip_prefix(DELETED_KEYS)?.parse::<usize>().ok());
    if let Some(deleted) = deleted {
        return Ok(format!("{DELETED_KEYS}{deleted}."));
    }
    let sql =
        Sql::new("SELECT k.name, k.prefix, a.name FROM api_keys k JOIN accounts a ON a.id = k.account_id WHERE k.user_id = ");
    let sql = sql.bind(user.id).push(" AND (k.expires_at IS NULL OR k.expires_at > ").bind(app.now()).push(") ORDER BY k.id");
    let read = |row: &sea_orm::QueryResult| Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?, row.try_get_by_index(2)?));
    let keys: Vec<(String, String, String)> = sql.all(app.reader(), read).await?;
    if keys.is_empty() {
        return Ok("You have no API keys.".to_owned());
    }
    let mut named: Vec<_> = keys
        .iter()
        .take(NAMED_KEYS)
        .map(|(name, prefix, account)| match user.email_verified_at {
            Some(_) => format!("\"{name}\" ({prefix}…) in {account}"),
            None => format!("{prefix}…"),
        })
        .collect();
    if keys.len() > NAMED_KEYS {
        named.push(format!("and {} more", keys.len() - NAMED_KEYS));
    }
    Ok(format!("Your API keys are still valid: {}. Delete those that you don't trust.", named.join("; ")))
}

/// Whether the recipient can still act in one of these accounts as its user. An e-mail may wait for hours, and what happens in an
/// account is not for a user who was suspended or revoked meanwhile.
async fn acts_in_one_of(app: &App, mail: &mail::Model, accounts: [Option<AccountId>; 2]) -> Result<bool> {
    let sql = Sql::new("SELECT count(*) FROM members m JOIN accounts a ON a.id = m.account_id AND a.status = 'active'");
    let sql = sql.push(" WHERE m.suspended_at IS NULL AND m.user_id = ").bind(mail.user_id).push(" AND m.account_id IN ");
    Ok(sql.list(accounts.into_iter().flatten()).count(app.reader()).await? > 0)
}

async fn is_colleague(app: &App, account: AccountId, user: Option<UserId>) -> Result<bool> {
    let sql = Sql::new("SELECT count(*) FROM members WHERE account_id = ").bind(account).push(" AND user_id = ").bind(user);
    Ok(sql.count(app.reader()).await? > 0)
}

async fn invitation(app: &App, mail: &mail::Model) -> Result<Linked> {
    let row = by_id::<invitation::Entity>(app.reader(), mail.subject_id).await?;
    let Some(row) = row.filter(|row| row.status_at(app.now()) == InvitationStatus::Pending && row.version == mail.version) else {
        return Ok(None);
    };
    let token = app.keys.link(Purpose::Invitation, row.id.0, row.version);
    let letter = Letter::Invitation {
        account: account_name(app, row.account_id).await?,
        inviter: user_name(app, Some(row.invited_by)).await?,
        level: row.level.title(),
        message: row.message,
        link: link(app, "invitation", &token),
        expires_at: row.expires_at,
    };
    Ok(Some((letter, Some(token))))
}

async fn accepted_by_another(app: &App, mail: &mail::Model) -> Result<Option<Letter>> {
    let Some(row) = by_id::<invitation::Entity>(app.reader(), mail.subject_id).await? else { return Ok(None) };
    if !acts_in_one_of(app, mail, [Some(row.account_id), None]).await? {
        return Ok(None);
    }
    Ok(Some(Letter::InvitationAcceptedByAnother {
        account: account_name(app, row.account_id).await?,
        joiner: user_name(app, row.accepted_by).await?,
        invited_address: row.email,
        level: row.level.title(),
    }))
}

async fn access_request(app: &App, mail: &mail::Model) -> Result<Linked> {
    let row = by_id::<connection::Entity>(app.reader(), mail.subject_id).await?;
    let pending = |row: &connection::Model| {
        row.status_at(app.now()) == connection::ConnectionStatus::Pending && row.version == mail.version
    };
    let Some(row) = row.filter(pending) else { return Ok(None) };
    let token = app.keys.link(Purpose::AccessRequest, row.id.0, row.version);
    let agency = account_name(app, row.agency_id).await?;
    let profile = AgencyProfile::load(app, std::slice::from_ref(&row)).await?.remove(&row.id);
    let letter = Letter::AccessRequest {
        profile: profile.map_or_else(String::new, |profile| who_asks(&agency, &profile)),
        agency,
        requester: user_name(app, Some(row.requested_by)).await?,
        level: row.requested_level.map_or("a level of your choosing", UserLevel::title),
        message: row.message,
        link: link(app, "access-request", &token),
        expires_at: row.expires_at,
    };
    Ok(Some((letter, Some(token))))
}

/// So that nobody lets in who only calls themselves so.
fn who_asks(agency: &str, profile: &AgencyProfile) -> String {
    let clients = match profile.client_count {
        0 => "and acts for no client yet".to_owned(),
        1 => "and acts for one client".to_owned(),
        count => format!("and acts for {count} clients"),
    };
    let from = profile.requester_email.as_ref().map_or_else(String::new, |email| {
        let local = email.rsplit_once('@').map_or(email.as_str(), |(local, _)| local);
        // A domain is in ASCII here; what is before it has no such form.
        let beware = " Before the @ it has letters other than a to z, which can look like them.";
        format!(" The address of who asks is {email}.{}", if local.is_ascii() { "" } else { beware })
    });
    format!("{agency} is here since {}, {clients}.{from}", profile.opened_at.format("%-d %B %Y"))
}

/// Mails that tell of a decision: who decided is the event's actor.
async fn about_connection(app: &App, mail: &mail::Model) -> Result<Option<Letter>> {
    let sql = Sql::new(format!(
        "SELECT {}, {} FROM events e JOIN connections c",
        columns::<event::Entity>("e"),
        columns::<connection::Entity>("c")
    ));
    let sql = sql.push(" ON c.id = e.subject_id WHERE e.id = ").bind(mail.event_id);
    let read = |row: &sea_orm::QueryResult| Ok((model::<event::Model>("e")(row)?, model::<connection::Model>("c")(row)?));
    let Some((event, row)) = sql.one(app.reader(), read).await? else { return Ok(None) };
    if !acts_in_one_of(app, mail, [Some(row.agency_id), row.client_id]).await? {
        return Ok(None);
    }
    let agency = account_name(app, row.agency_id).await?;
    let level = row.level.or(row.requested_level).map_or("any level", UserLevel::title);
    if mail.kind == MailKind::AccessDeclined {
        return Ok(Some(Letter::AccessDeclined { agency, address: row.client_email, level }));
    }
    let Some(client) = row.client_id else { return Ok(None) };
    let (client, actor) = (account_name(app, client).await?, user_name(app, event.actor_id).await?);
    if mail.kind == MailKind::AccessApproved {
        return Ok(Some(Letter::AccessApproved { agency, client, level, until: row.ends_at, approver: actor }));
    }
    if mail.kind == MailKind::ConnectionEnding {
        // One that was put off since, or has ended, is not worth a word.
        let stands = row.status_at(app.now()) == connection::ConnectionStatus::Active;
        let soon = |ends_at: &entity::Moment| stands && *ends_at - app.now() <= REMINDED;
        return Ok(row.ends_at.filter(soon).map(|ends_at| Letter::ConnectionEnding { agency, client, ends_at }));
    }
    // The event says which side ended it, and the mail goes to the other; to both, when nobody did.
    let by = Some(actor).filter(|_| event.before.as_deref() != Some(connection::Ended::ByItself.name()));
    let to_agency = match event.before.as_deref() {
        Some("client") => true,
        Some("agency") => false,
        _ => is_colleague(app, row.agency_id, mail.user_id).await?,
    };
    let (account, other_account) = if to_agency { (agency, client) } else { (client, agency) };
    Ok(Some(Letter::ConnectionEnded { by, account, other_account }))
}

#[cfg(test)]
mod tests {
    use super::masked;

    /// I1: whoever has the login recognizes it, and nobody else learns the address.
    #[test]
    fn i1_a_masked_address() {
        assert_eq!(masked("kim.long@example.com"), "k***@example.com");
        assert_eq!(masked("k@example.com"), "k***@example.com");
        assert_eq!(masked("\u{e9}va@xn--bcher-kva.example"), "\u{e9}***@xn--bcher-kva.example");
        assert_eq!(masked("\"a@b\"@example.com"), "\"***@example.com");
    }
}
