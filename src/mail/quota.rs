//! Limits on e-mail (I8): what one mailbox gets, what one user causes, and how often anybody can have a link sent to a mailbox.
//!
//! Each limit keeps places for others: what one sender has used up never refuses another sender's first e-mail.

use crate::{
    app::{Outgoing, Tx},
    db::{Sql, hold_texts},
    error::{Denied, Result},
    limits::DAY,
    network::Network,
    text,
};
use chrono::TimeDelta;
use entity::{Moment, mail::MailKind};
use sea_orm::Iterable;
use std::{collections::HashMap, net::IpAddr};

/// Who can have an e-mail sent to whom, which determines its limits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Class {
    /// A user sends it to any address, with text of their own. Past a limit it is recorded, and its delivery is `FAILED`.
    Letter,
    /// Anybody can request it for any address. Past a limit the request is refused with `RATE_LIMITED`.
    Link,
    /// It informs a user about their login, or about access that they have or had. It counts for the user who caused it, and is
    /// always sent: its recipient has to know.
    Notice,
}

/// The class of each kind. There is no default, so that a new kind can't be without a limit by mistake.
pub fn class(kind: MailKind) -> Class {
    match kind {
        MailKind::Invitation | MailKind::AccessRequest => Class::Letter,
        MailKind::VerifyEmail | MailKind::ResetPassword | MailKind::SignInLink => Class::Link,
        MailKind::InvitationDeclined
        | MailKind::InvitationAcceptedByAnother
        | MailKind::AccessApproved
        | MailKind::AccessDeclined
        | MailKind::ConnectionEnded
        | MailKind::ConnectionEnding
        | MailKind::PasswordChanged
        | MailKind::EmailChangeRequested
        | MailKind::EmailChanged
        | MailKind::TwoFactorChanged
        | MailKind::NewSignIn
        | MailKind::RefreshTokenReused
        | MailKind::ApiKeyCreated
        | MailKind::OwnershipTransferred
        | MailKind::AccountClosed
        | MailKind::AccessRevoked
        | MailKind::TwoFactorCodesFailed
        | MailKind::SessionsRevoked
        | MailKind::AdminAdded
        | MailKind::AgencyAdminAdded
        | MailKind::TwoFactorRelaxed
        | MailKind::OwnershipTransferUndone => Class::Notice,
    }
}

/// The e-mails that one sender can have sent to one mailbox in 24 hours.
pub const FROM_ONE: usize = 6;
/// The e-mails that a mailbox gets in 24 hours from all senders.
pub const FROM_ALL: usize = 20;
/// The e-mails up to which the first one of a sender still arrives.
pub const FIRSTS: usize = 60;
/// How often an address without a tag gets a link in any case.
const RESERVED: TimeDelta = TimeDelta::hours(1);

/// Which limit an e-mail is past.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Past {
    FromOne,
    FromAll,
}

impl Past {
    /// What the delivery of a letter says.
    fn reason(self) -> &'static str {
        match self {
            Self::FromOne => {
                "Not sent: one user can send at most 6 invitations and requests to an address in 24 hours. Resend it later."
            }
            Self::FromAll => "Not sent: an address gets at most 20 invitations and requests in 24 hours. Resend it later.",
        }
    }
}

const PAST_DAY: &str = "Not sent: the sender caused as many e-mails to others as one user can in 24 hours. Resend it later.";

/// An e-mail that a mailbox got in the last 24 hours.
struct Sent {
    sender: Option<String>,
    at: Moment,
}

/// Which limit one more e-mail of this sender would be past, and when it would be within. `sent` has the oldest first.
fn past(sent: &[Sent], sender: Option<&str>) -> Option<(Past, Moment)> {
    let own: Vec<_> = sent.iter().filter(|one| one.sender.as_deref() == sender).map(|one| one.at).collect();
    let all: Vec<_> = sent.iter().map(|one| one.at).collect();
    let limit = if own.is_empty() { FIRSTS } else { FROM_ALL };
    let full = |sent: &[Moment], limit: usize| sent.len().checked_sub(limit).map(|surplus| sent[surplus] + DAY);
    let from_one = full(&own, FROM_ONE).map(|at| (Past::FromOne, at));
    let from_all = full(&all, limit).map(|at| (Past::FromAll, at));
    from_one.into_iter().chain(from_all).max_by_key(|(_, at)| *at)
}

/// For each of these e-mails why it is not sent; `None` when it is. All are caused by `sender`. Locks their mailboxes.
pub(crate) async fn refuse_letters(tx: &Tx, mails: &[Outgoing<'_>], sender: Option<&str>) -> Result<Vec<Option<&'static str>>> {
    let mut refused = vec![None; mails.len()];
    let letters: Vec<_> = mails.iter().enumerate().filter(|(_, mail)| class(mail.kind) == Class::Letter).collect();
    let Some((_, first)) = letters.first() else { return Ok(refused) };
    let mailboxes: Vec<_> = letters.iter().map(|(_, mail)| tx.mailbox(mail.to.1)).collect();
    hold_texts(tx.db(), mailboxes.iter().map(String::as_str)).await?;
    let mut sent = sent_to(tx, &mailboxes, sender, first).await?;
    let mut left = left(tx, sender).await?;
    for ((place, _), mailbox) in letters.into_iter().zip(mailboxes) {
        let sent = sent.entry(mailbox).or_default();
        refused[place] = match past(sent, sender) {
            Some((past, _)) => Some(past.reason()),
            None if left == 0 => Some(PAST_DAY),
            None => None,
        };
        if refused[place].is_none() {
            sent.push(Sent { sender: sender.map(str::to_owned), at: tx.now() });
            left -= 1;
        }
    }
    Ok(refused)
}

/// The invitations and requests that these mailboxes got in the last 24 hours.
async fn sent_to(
    tx: &Tx,
    mailboxes: &[String],
    sender: Option<&str>,
    letter: &Outgoing<'_>,
) -> Result<HashMap<String, Vec<Sent>>> {
    let kinds = MailKind::iter().filter(|kind| class(*kind) == Class::Letter);
    let sql = Sql::new("SELECT m.mailbox, m.sender, m.created_at FROM mails m WHERE m.kind IN ").list(kinds);
    let sql = sql.push(" AND m.mailbox IN ").list(mailboxes.iter().map(String::as_str)).push(" AND m.created_at > ");
    let sql = sql.bind(tx.now() - DAY).push(" AND (m.status <> 'failed' OR m.attempts > 0)");
    // A request that the client blocks is not sent and takes no place of others. It counts for its sender and its agency, who
    // would otherwise notice the block.
    let sql = sql.push(" AND (m.sender = ").bind(sender);
    let sql = sql.push(" OR NOT EXISTS (SELECT 1 FROM connections c WHERE c.id = m.subject_id AND c.silenced");
    let sql = sql.push(" AND c.agency_id IS DISTINCT FROM (SELECT x.agency_id FROM connections x WHERE x.id = ");
    let sql = sql.bind(letter.subject).push("))) ORDER BY m.created_at");
    let read = |row: &sea_orm::QueryResult| {
        Ok((row.try_get_by_index::<String>(0)?, Sent { sender: row.try_get_by_index(1)?, at: row.try_get_by_index(2)? }))
    };
    let mut sent: HashMap<String, Vec<Sent>> = HashMap::new();
    for (mailbox, one) in sql.all(tx.db(), read).await? {
        sent.entry(mailbox).or_default().push(one);
    }
    Ok(sent)
}

/// How many e-mails to others a user can still cause today. The user's log is locked, so it is exact.
async fn left(tx: &Tx, sender: Option<&str>) -> Result<u64> {
    let sql = Sql::new("SELECT count(*) FROM mails WHERE sender = ").bind(sender).push(" AND created_at > ");
    let caused = sql.bind(tx.now() - DAY).push(" AND (status <> 'failed' OR attempts > 0)").count(tx.db()).await?;
    Ok(u64::from(tx.app().config.mails_per_user_per_day).saturating_sub(caused))
}

/// Refuses a link that its mailbox got too often, by what is public alone: whether a user has the address makes no difference.
pub(crate) async fn refuse_link(tx: &Tx, mail: &Outgoing<'_>, sender: &str) -> Result<()> {
    if !tx.app().config.sign_in_throttle {
        return Ok(());
    }
    let mailbox = tx.mailbox(mail.to.1);
    hold_texts(tx.db(), [mailbox.as_str()]).await?;
    let sql = Sql::new("SELECT sender, created_at, to_email_key FROM mails WHERE kind = ").bind(mail.kind);
    let sql =
        sql.push(" AND mailbox = ").bind(mailbox).push(" AND created_at > ").bind(tx.now() - DAY).push(" ORDER BY created_at");
    let read = |row: &sea_orm::QueryResult| {
        let sent = Sent { sender: row.try_get_by_index(0)?, at: row.try_get_by_index(1)? };
        Ok((sent, row.try_get_by_index::<String>(2)? == mail.to.1))
    };
    let (sent, same): (Vec<_>, Vec<_>) = sql.all(tx.db(), read).await?.into_iter().unzip();
    let latest = sent.iter().zip(same).filter(|(_, same)| *same).map(|(sent, _)| sent.at).next_back();
    match past(&sent, Some(sender)) {
        Some((_, at)) => refuse_until(at, reserved_at(mail.to.1, latest), tx.now()),
        None => Ok(()),
    }
}

/// When an address gets a link in any case, so that nobody can keep its owner from one. Never for an address with a tag: anybody
/// can make up many for one mailbox.
fn reserved_at(key: &str, latest: Option<Moment>) -> Option<Moment> {
    (text::mailbox(key) == key).then(|| latest.map_or(Moment::MIN_UTC, |at| at + RESERVED))
}

fn refuse_until(at: Moment, reserved: Option<Moment>, now: Moment) -> Result<()> {
    let at = reserved.map_or(at, |reserved| at.min(reserved));
    match (at - now).to_std() {
        Ok(wait) if !wait.is_zero() => Err(Denied::RateLimited(wait).into()),
        _ => Ok(()),
    }
}

/// The network that a client counts for here: an IPv4 address, or the IPv6 /48 that one customer of a provider often has.
pub(crate) fn network(address: Option<IpAddr>) -> String {
    let network = address.map(|address| Network::site(address).unwrap_or_else(|| Network::containing(address)));
    network.map_or_else(|| "unknown".to_owned(), |network| format!("{network:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> Moment {
        Moment::UNIX_EPOCH + TimeDelta::minutes(minutes)
    }

    /// So many e-mails from each of these senders, a minute after each other.
    fn sent(senders: &[(&str, usize)]) -> Vec<Sent> {
        let all = senders.iter().flat_map(|(sender, count)| std::iter::repeat_n(*sender, *count));
        all.zip(0..).map(|(sender, n)| Sent { sender: Some(sender.to_owned()), at: at(n) }).collect()
    }

    /// I8: six from one, twenty from all, and a first one up to sixty.
    #[test]
    fn i8_places_are_reserved_for_others() {
        let refusal = |senders: &[(&str, usize)], sender| past(&sent(senders), Some(sender)).map(|(past, _)| past);
        assert_eq!(refusal(&[("ann", 5)], "ann"), None);
        assert_eq!(refusal(&[("ann", 6)], "ann"), Some(Past::FromOne));
        assert_eq!(refusal(&[("ann", 6)], "bob"), None);
        assert_eq!(refusal(&[("ann", 6), ("ben", 6), ("cyd", 6), ("bob", 1)], "bob"), None);
        assert_eq!(refusal(&[("ann", 6), ("ben", 6), ("cyd", 6), ("dan", 1), ("bob", 1)], "bob"), Some(Past::FromAll));
        assert_eq!(refusal(&[("others", 59)], "bob"), None);
        assert_eq!(refusal(&[("others", 60)], "bob"), Some(Past::FromAll));
    }

    #[test]
    fn i8_when_a_place_is_free_again() {
        let free = |senders: &[(&str, usize)], sender| past(&sent(senders), Some(sender)).map(|(_, at)| at);
        assert_eq!(free(&[("ann", 6)], "ann"), Some(at(0) + DAY));
        assert_eq!(free(&[("bob", 10), ("ann", 6)], "ann"), Some(at(10) + DAY));
        assert_eq!(free(&[("bob", 17), ("ann", 6)], "ann"), Some(at(17) + DAY), "both limits have to allow it");
        assert_eq!(free(&[("bob", 61)], "ann"), Some(at(1) + DAY));
    }

    /// I8: an address without a tag gets one link an hour, whatever others have requested.
    #[test]
    fn i8_a_link_an_hour_in_any_case() {
        let refused = |key, latest, now| refuse_until(at(1_440), reserved_at(key, latest), at(now)).is_err();
        assert!(!refused("bob@x.example", None, 100));
        assert!(refused("bob@x.example", Some(at(50)), 100));
        assert!(!refused("bob@x.example", Some(at(40)), 100));
        assert!(refused("bob+1@x.example", None, 100));
        assert!(!refused("bob+1@x.example", None, 1_440));
    }

    #[test]
    fn i5_networks() {
        let of = |text: &str| network(Some(text.parse().unwrap()));
        assert_eq!(of("2001:db8:1:2::3"), of("2001:db8:1:ff::4"));
        assert_ne!(of("2001:db8:1::3"), of("2001:db8:2::3"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
