//! Limits that count the last 24 hours: any 24 hours, not a calendar's day (U1, C2).
//!
//! Exact under any concurrency, since who counts holds the account's log until what was counted is written.

use crate::{db::Sql, error::Result};
use chrono::TimeDelta;
use entity::{AccountId, Moment};
use sea_orm::ConnectionTrait;

/// What "a day" is for every limit.
pub const DAY: TimeDelta = TimeDelta::hours(24);

/// What a limit counts.
#[derive(Clone, Copy, Debug)]
pub enum Counted {
    /// The account's invitations, and those that were sent again to another address.
    Invitations,
    /// The agency's requests for access.
    ClientRequests,
}

impl Counted {
    fn sql(self) -> Sql {
        Sql::new(match self {
            Self::Invitations => {
                "SELECT created_at FROM (SELECT account_id, created_at FROM invitations \
                 UNION ALL SELECT account_id, created_at FROM readdressings) taken WHERE account_id = "
            }
            Self::ClientRequests => "SELECT created_at FROM connections WHERE agency_id = ",
        })
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
    /// What an account has taken by now.
    pub async fn read(db: &impl ConnectionTrait, what: Counted, account: AccountId, limit: u32, now: Moment) -> Result<Self> {
        let sql = what.sql().bind(account).push(" AND created_at > ").bind(now - DAY).push(" ORDER BY created_at");
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

    /// When one more would be allowed that is too many now: when the oldest place frees, be it one that is taken now.
    pub fn next_free(&self, now: Moment) -> Moment {
        self.resets_at().or_else(|| self.taken.first().map(|at| *at + DAY)).unwrap_or(now + DAY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
