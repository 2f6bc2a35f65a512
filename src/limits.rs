//! Limits that count the last 24 hours: any 24 hours, not a calendar's day (U1, C2).
//!
//! Exact under any concurrency, since who counts holds the account's or the user's log until what was counted is written.

use crate::{
    app::{App, Tx},
    db::Sql,
    error::{Result, UserError, UserErrorCode},
    identity::rules::SENT_IN_A_DAY,
};
use chrono::TimeDelta;
use entity::{AccountId, Moment, UserId, mail::MailKind};
use sea_orm::ConnectionTrait;
use uuid::Uuid;

/// What "a day" is for every limit.
pub const DAY: TimeDelta = TimeDelta::hours(24);

/// What a limit counts.
#[derive(Clone, Copy, Debug)]
pub enum Counted {
    /// The account's invitations, and those that were sent again to another address.
    Invitations(AccountId),
    /// The agency's requests for access.
    ClientRequests(AccountId),
    /// The user's requests for access, over all their agencies, closed ones included.
    RequestsBy(UserId),
    /// The accounts that the user opened, closed ones included.
    Openings(UserId),
}

impl Counted {
    fn sql(self) -> Sql {
        match self {
            Self::Invitations(account) => Sql::new(
                "SELECT created_at FROM (SELECT account_id, created_at FROM invitations \
                 UNION ALL SELECT account_id, created_at FROM readdressings) taken WHERE account_id = ",
            )
            .bind(account),
            Self::ClientRequests(agency) => Sql::new("SELECT created_at FROM connections WHERE agency_id = ").bind(agency),
            Self::RequestsBy(user) => Sql::new("SELECT created_at FROM connections WHERE requested_by = ").bind(user),
            Self::Openings(user) => Sql::new("SELECT created_at FROM accounts WHERE opened_by = ").bind(user),
        }
    }
}

/// What was taken of a limit in the last 24 hours.
#[derive(Clone, Debug)]
pub struct Rolling {
    /// When each was taken, oldest first.
    taken: Vec<Moment>,
    /// How many there may be.
    pub limit: u32,
}

impl Rolling {
    /// What was taken by now.
    pub async fn read(db: &impl ConnectionTrait, what: Counted, limit: u32, now: Moment) -> Result<Self> {
        let sql = what.sql().push(" AND created_at > ").bind(now - DAY).push(" ORDER BY created_at");
        Ok(Self { taken: sql.all(db, |row| row.try_get_by_index(0)).await?, limit })
    }

    /// How many there were.
    pub fn used(&self) -> u32 {
        u32::try_from(self.taken.len()).unwrap_or(u32::MAX)
    }

    /// How many there may still be.
    pub fn left(&self) -> u32 {
        self.limit.saturating_sub(self.used())
    }

    /// When the next place becomes free; `None` while some are.
    pub fn resets_at(&self) -> Option<Moment> {
        if self.limit == 0 {
            return None;
        }
        let surplus = self.used().checked_sub(self.limit)?;
        self.taken.get(usize::try_from(surplus).unwrap_or(usize::MAX)).map(|at| *at + DAY)
    }

    /// The one of two limits that allows less, and of two that allow as much the one that allows more later.
    #[must_use]
    pub fn stricter(self, other: Self, now: Moment) -> Self {
        let allows = |day: &Self| (day.left(), std::cmp::Reverse(day.next_free(now)));
        if allows(&other) < allows(&self) { other } else { self }
    }

    /// When one more would be allowed that is too many now: when the oldest place frees, be it one that is taken now.
    pub fn next_free(&self, now: Moment) -> Moment {
        self.resets_at().or_else(|| self.taken.first().map(|at| *at + DAY)).unwrap_or(now + DAY)
    }
}

/// When something that was mailed can be sent again, after the resends of which the latest come first (U3, C4): while its link
/// stands, some time after the latest e-mail, the first one included; and at most [`SENT_IN_A_DAY`] times in any 24 hours.
pub fn resend_at(standing_since: Option<Moment>, resent: &[Moment], interval: TimeDelta, now: Moment) -> Option<Moment> {
    let after_latest = standing_since.map(|sent_at| sent_at + interval);
    let after_day = resent.get(SENT_IN_A_DAY - 1).map(|at| *at + DAY);
    after_latest.max(after_day).filter(|at| *at > now)
}

/// Refuses to send something again that was sent a moment ago, or too often in a day; `standing_since` is when the link was sent
/// that stands, if one does.
pub async fn not_too_soon(
    app: &App,
    tx: &Tx,
    (kind, subject): (MailKind, Uuid),
    standing_since: Option<Moment>,
    field: &str,
) -> Result<()> {
    let sql = Sql::new("SELECT created_at FROM mails WHERE version > 1 AND kind = ").bind(kind);
    let sql = sql.push(" AND subject_id = ").bind(subject).push(" ORDER BY created_at DESC LIMIT ");
    let resent: Vec<Moment> = sql.push(&SENT_IN_A_DAY.to_string()).all(tx.db(), |row| row.try_get_by_index(0)).await?;
    let Some(at) = resend_at(standing_since, &resent, app.config.resend_interval, tx.now()) else { return Ok(()) };
    let why = "It was sent a moment ago, or five times again in a day. Ask them to look among the unwanted mails.";
    Err(UserError::new(UserErrorCode::ResendTooSoon, why).at([field]).retry_at(at).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// U3, C4: a minute after the latest while the link stands, five times in a day in any case.
    #[test]
    fn u3_when_it_can_be_sent_again() {
        let (minute, at) = (TimeDelta::minutes(1), |minutes| Moment::UNIX_EPOCH + TimeDelta::minutes(minutes));
        assert_eq!(resend_at(Some(at(10)), &[], minute, at(10)), Some(at(11)));
        assert_eq!(resend_at(Some(at(10)), &[], minute, at(11)), None);
        let five = [at(10), at(8), at(6), at(4), at(2)];
        assert_eq!(resend_at(Some(at(10)), &five[..4], minute, at(11)), None);
        assert_eq!(resend_at(Some(at(10)), &five, minute, at(11)), Some(at(2) + DAY));
        assert_eq!(resend_at(Some(at(10)), &five, minute, at(2) + DAY), None);
        assert_eq!(resend_at(None, &[], minute, at(10)), None, "no link stands");
        assert_eq!(resend_at(None, &five, minute, at(11)), Some(at(2) + DAY));
    }

    /// U1, C2: any 24 hours, rolling.
    #[test]
    fn u1_the_day_rolls() {
        let at = |hour: i64| "2026-01-01T00:00:00Z".parse::<Moment>().unwrap() + TimeDelta::hours(hour);
        let taken = |count, limit| Rolling { taken: (0..count).map(at).collect(), limit };
        assert_eq!((taken(5, 6).left(), taken(5, 6).resets_at()), (1, None));
        assert_eq!((taken(5, 5).left(), taken(5, 5).resets_at()), (0, Some(at(24))));
        // After the limit was lowered, the one that brings the count below it.
        assert_eq!((taken(5, 3).left(), taken(5, 3).resets_at()), (0, Some(at(26))));
        assert_eq!((taken(0, 0).left(), taken(0, 0).resets_at()), (0, None));
        // Taken by this very call, or by calls before it.
        assert_eq!(taken(0, 5).next_free(at(9)), at(33));
        assert_eq!(taken(3, 5).next_free(at(9)), at(24));
    }
}
