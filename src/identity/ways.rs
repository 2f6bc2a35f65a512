//! Every way of a user into an account: as its direct user, as the Owner of one of its agencies, or by a place on a connection.
//!
//! An agency may have tens of thousands of clients, so a page is merged from the beginnings of lists that each have an index in the
//! order of names; a page costs the same however long they are. Searching walks the names in that order until the page is full.

use crate::{
    actor::seat_columns,
    api::Window,
    app::App,
    db::{Sql, contains},
    error::{Denied, Result},
};
use entity::{AccountId, Moment, UserId, UserLevel};
use sea_orm::QueryResult;
use uuid::Uuid;

/// One list of ways: what is selected of it up to whose it is, and where it keeps the name, the way's id and the level that counts.
struct Branch {
    select: &'static str,
    name: &'static str,
    way: &'static str,
    level: &'static str,
    through: bool,
    placed: bool,
}

const DIRECT: Branch = Branch {
    select: "SELECT m.id AS way, a.name_key AS name, m.account_id AS account_id, CAST(NULL AS uuid) AS connection_id, \
             m.level AS m_level, CAST(NULL AS smallint) AS am_level, CAST(NULL AS smallint) AS p_level \
             FROM members m JOIN accounts a ON a.id = m.account_id AND a.status = 'active' \
             WHERE m.suspended_at IS NULL AND m.user_id = ",
    name: "a.name_key",
    way: "m.id",
    level: "m.level",
    through: false,
    placed: false,
};

/// Of an agency that they own.
const OWNED: Branch = Branch {
    select: "SELECT c.id, c.client_name_key, c.client_id, c.id, CAST(NULL AS smallint), CAST(5 AS smallint), \
             CAST(NULL AS smallint) FROM connections c WHERE c.status = 'active' AND c.agency_id = ",
    name: "c.client_name_key",
    way: "c.id",
    level: "c.level",
    through: true,
    placed: false,
};

/// Of agencies that they do not own, which follow. The order of the join is meant: SQLite would begin with all connections there are.
const PLACED: Branch = Branch {
    select: "SELECT p.connection_id, p.client_name_key, c.client_id, c.id, CAST(NULL AS smallint), CAST(1 AS smallint), p.level \
             FROM places p CROSS JOIN connections c WHERE c.id = p.connection_id AND c.status = 'active' AND p.user_id = ",
    name: "p.client_name_key",
    way: "p.connection_id",
    level: "CASE WHEN p.level < c.level THEN p.level ELSE c.level END",
    through: true,
    placed: true,
};

/// The ways of a user that a list shows.
pub struct Ways<'a> {
    user: UserId,
    /// When they are.
    pub now: Moment,
    /// The agencies that they own.
    owned: Vec<AccountId>,
    /// The accounts that they are of and don't own: a place is worth nothing without (C11).
    others: Vec<AccountId>,
    /// What the account's name has to contain.
    part: Option<String>,
    levels: Option<&'a [UserLevel]>,
}

impl<'a> Ways<'a> {
    /// All of them, or those into accounts of which the name contains a text, at these levels.
    pub async fn of(app: &App, user: UserId, search: Option<&str>, levels: Option<&'a [UserLevel]>) -> Result<Self> {
        let sql = Sql::new("SELECT g.id, am.level = 5 FROM accounts g JOIN members am ON am.account_id = g.id");
        let sql = sql.push(" WHERE g.status = 'active' AND g.partner_program_joined_at IS NOT NULL AND am.suspended_at IS NULL");
        let read = |row: &QueryResult| Ok((row.try_get_by_index::<AccountId>(0)?, row.try_get_by_index::<bool>(1)?));
        let agencies = sql.push(" AND am.user_id = ").bind(user).all(app.reader(), read).await?;
        let (owned, others): (Vec<_>, Vec<_>) = agencies.into_iter().partition(|(_, owns)| *owns);
        let ids = |agencies: Vec<(AccountId, bool)>| agencies.into_iter().map(|(id, _)| id).collect();
        let (owned, others) = (ids(owned), ids(others));
        Ok(Self { user, now: app.now(), owned, others, part: search.map(contains).transpose()?, levels })
    }

    fn branches(&self) -> impl Iterator<Item = (Branch, Uuid)> {
        let owned = self.owned.iter().map(|agency| (OWNED, agency.0));
        [(DIRECT, self.user.0), (PLACED, self.user.0)].into_iter().chain(owned)
    }

    fn scope(&self, sql: Sql, branch: &Branch, of: Uuid) -> Sql {
        let sql = sql.push(branch.select).bind(of);
        let sql = if branch.placed { sql.push(" AND c.agency_id IN ").list(self.others.iter().copied()) } else { sql };
        let sql = match &self.part {
            Some(part) => sql.push(&format!(" AND {} LIKE ", branch.name)).bind(part.as_str()).push(" ESCAPE '\\'"),
            None => sql,
        };
        let sql = match self.levels {
            Some(levels) => sql.push(&format!(" AND {} IN ", branch.level)).distinct(levels),
            None => sql,
        };
        if branch.through { sql.push(" AND (c.ends_at IS NULL OR c.ends_at > ").bind(self.now).push(")") } else { sql }
    }

    /// A page of them, by the account's name, with what [`Seat::of_row`](crate::actor::Seat) reads.
    pub fn page(&self, window: &Window) -> Result<Sql> {
        let direction = if window.backwards() { " DESC" } else { "" };
        let seat = seat_columns(["w.m_level", "w.am_level", "w.p_level"]);
        let mut sql = Sql::new(format!("SELECT w.way AS way, w.name AS name, {seat} FROM ("));
        for (place, (branch, of)) in self.branches().enumerate() {
            let Branch { name, way, .. } = branch;
            sql = self.scope(sql.push(if place > 0 { " UNION ALL SELECT * FROM (" } else { "SELECT * FROM (" }), &branch, of);
            for (key, side) in [(&window.after, ">"), (&window.before, "<")] {
                let Some(key) = key else { continue };
                let (from, id) = cursor(key)?;
                sql = sql.push(&format!(" AND ({name}, {way}) {side} (")).bind(from).push(", ").bind(id).push(")");
            }
            let order = format!(" ORDER BY {name}{direction}, {way}{direction} LIMIT {}) b{place}", window.limit());
            sql = sql.push(&order);
        }
        let sql = sql.push(") w JOIN accounts a ON a.id = w.account_id LEFT JOIN connections c ON c.id = w.connection_id");
        Ok(sql.push(&format!(" ORDER BY w.name{direction}, w.way{direction} LIMIT {}", window.limit())))
    }

    /// How many there are.
    pub fn count(&self) -> Sql {
        let mut sql = Sql::new("SELECT count(*) FROM (");
        for (place, (branch, of)) in self.branches().enumerate() {
            sql = self.scope(if place > 0 { sql.push(" UNION ALL ") } else { sql }, &branch, of);
        }
        sql.push(") counted")
    }
}

fn cursor(key: &[String]) -> Result<(&str, Uuid)> {
    let parts = if let [name, way] = key { Uuid::parse_str(way).ok().map(|way| (name.as_str(), way)) } else { None };
    parts.ok_or_else(|| Denied::BadRequest("That is no cursor of this list.".into()).into())
}
