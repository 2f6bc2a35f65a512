//! Every way of a user into an account: as its direct user, as the Owner of one of its agencies, or by a place on a connection.
//!
//! An agency may have tens of thousands of clients, so a page is merged from the beginnings of lists that each have an index in the
//! order of names: it costs the same however long they are. Those names that begin with a text are together in that order, and
//! those that have it further on are looked up by their tails; where these are many, one walks the names until the page is full.

use crate::{
    actor::seat_columns,
    api::Window,
    app::App,
    db::{Sql, pattern, search_key},
    error::{Denied, Result},
};
use entity::{AccountId, Moment, UserId, UserLevel};
use sea_orm::QueryResult;
use uuid::Uuid;

/// How often the names of an agency's clients may have a text further on so that these are looked up: about as many as one walks to fill
/// a page otherwise, among tens of thousands.
const FEW: i64 = 1_000;
/// In how many agencies a text is looked up, each a list of its own; in further ones one walks the names.
const LOOKED_UP: usize = 50;

/// One list of ways, in the order of characters ([`IN_ORDER`](crate::db::IN_ORDER)): what is selected of it up to whose it is, and where it keeps the name, the way's id and the level that counts.
struct Branch {
    select: &'static str,
    name: &'static str,
    way: &'static str,
    level: &'static str,
}

const DIRECT: Branch = Branch {
    select: "SELECT m.id AS way, a.name_key COLLATE \"C\" AS name, m.account_id AS account_id, CAST(NULL AS uuid) AS connection_id, \
             m.level AS m_level, CAST(NULL AS smallint) AS am_level, CAST(NULL AS smallint) AS p_level \
             FROM members m JOIN accounts a ON a.id = m.account_id AND a.status = 'active' \
             WHERE m.suspended_at IS NULL AND m.user_id = ",
    name: "a.name_key COLLATE \"C\"",
    way: "m.id",
    level: "m.level",
};

/// Of an agency that they own.
const OWNED: Branch = Branch {
    select: "SELECT c.id, c.client_name_key COLLATE \"C\", c.client_id, c.id, CAST(NULL AS smallint), CAST(5 AS smallint), CAST(NULL AS smallint) FROM ",
    name: "c.client_name_key COLLATE \"C\"",
    way: "c.id",
    level: "c.level",
};

/// Of agencies that they do not own. The order of the joins is meant: SQLite would begin with all connections there are.
const PLACED: Branch = Branch {
    select: "SELECT p.connection_id, p.client_name_key COLLATE \"C\", c.client_id, c.id, CAST(NULL AS smallint), CAST(1 AS smallint), p.level FROM ",
    name: "p.client_name_key COLLATE \"C\"",
    way: "p.connection_id",
    level: "CASE WHEN p.level < c.level THEN p.level ELSE c.level END",
};

/// Where the rows of a list come from.
enum Source<'a> {
    /// The accounts that one is a direct user of.
    Direct,
    /// All clients of an agency that one owns.
    Clients(AccountId, Has),
    /// The clients on which one has a place, of these agencies.
    Places(Vec<AccountId>, Has),
    /// Those of an agency's clients whose names have the text, but not at their beginning, whether one owns it or has a place.
    Found(&'a Agency),
}

/// Where the names of a list have the text that is looked for, if one is.
#[derive(Clone, Copy)]
enum Has {
    Anywhere,
    AtTheBeginning,
}

/// An agency that somebody is of.
struct Agency {
    id: AccountId,
    /// As its Owner.
    owned: bool,
    /// How often the names of its clients have the text, but not at their beginning; `None` if it is not looked up by them.
    found: Option<i64>,
}

/// The ways of a user that a list shows.
pub struct Ways<'a> {
    user: UserId,
    /// When they are.
    pub now: Moment,
    /// The agencies that they are of: a place is worth nothing without (C11).
    agencies: Vec<Agency>,
    /// What the account's name has to contain.
    part: Option<String>,
    levels: Option<&'a [UserLevel]>,
}

impl<'a> Ways<'a> {
    /// All of them, or those into accounts of which the name contains a text, at these levels.
    pub async fn of(app: &App, user: UserId, search: Option<&str>, levels: Option<&'a [UserLevel]>) -> Result<Self> {
        let part = search.map(search_key).transpose()?.filter(|part| !part.is_empty());
        let mut sql = Sql::new("SELECT g.id, am.level = 5");
        if let Some(part) = &part {
            sql = with_text(sql.push(", (SELECT count(*) FROM (SELECT 1"), part);
            sql = sql.push(&format!(" AND n.agency_id = g.id LIMIT {}) few)", FEW + 1));
        }
        let sql = sql.push(" FROM accounts g JOIN members am ON am.account_id = g.id WHERE g.status = 'active'");
        let sql = sql.push(" AND g.partner_program_joined_at IS NOT NULL AND am.suspended_at IS NULL AND am.user_id = ");
        let read = |row: &QueryResult| {
            let found = part.as_ref().map(|_| row.try_get_by_index(2)).transpose()?.filter(|found| *found <= FEW);
            Ok(Agency { id: row.try_get_by_index(0)?, owned: row.try_get_by_index(1)?, found })
        };
        let mut agencies = sql.bind(user).all(app.reader(), read).await?;
        for agency in agencies.iter_mut().filter(|agency| agency.found.is_some()).skip(LOOKED_UP) {
            agency.found = None;
        }
        Ok(Self { user, now: app.now(), agencies, part, levels })
    }

    /// The lists that together have every way once.
    fn lists(&self) -> Vec<Source<'_>> {
        let mut lists = vec![Source::Direct];
        let (walked, found): (Vec<_>, Vec<_>) = self.agencies.iter().partition(|agency| agency.found.is_none());
        for (agencies, has) in [(walked, Has::Anywhere), (found, Has::AtTheBeginning)] {
            let (owned, others): (Vec<&Agency>, Vec<_>) = agencies.into_iter().partition(|agency| agency.owned);
            if !others.is_empty() {
                lists.push(Source::Places(others.into_iter().map(|agency| agency.id).collect(), has));
            }
            lists.extend(owned.into_iter().map(|agency| Source::Clients(agency.id, has)));
        }
        lists.extend(self.agencies.iter().filter(|agency| agency.found.is_some_and(|found| found > 0)).map(Source::Found));
        lists
    }

    fn scope(&self, sql: Sql, source: &Source<'_>) -> (Sql, &'static Branch) {
        let active = "c.status = 'active' AND ";
        let (sql, branch, has) = match source {
            Source::Direct => (sql.push(DIRECT.select).bind(self.user), &DIRECT, Has::Anywhere),
            Source::Clients(agency, has) => {
                let sql = sql.push(OWNED.select).push("connections c WHERE ").push(active).push("c.agency_id = ");
                (sql.bind(*agency), &OWNED, *has)
            }
            Source::Places(agencies, has) => {
                let sql = sql.push(PLACED.select).push("places p CROSS JOIN connections c WHERE c.id = p.connection_id AND ");
                let sql = sql.push(active).push("p.user_id = ").bind(self.user);
                (sql.push(" AND c.agency_id IN ").list(agencies.iter().copied()), &PLACED, *has)
            }
            Source::Found(agency) => return self.scope_of_found(sql, agency),
        };
        let sql = match (&self.part, has) {
            (None, _) => sql,
            (Some(part), Has::Anywhere) => {
                sql.push(&format!(" AND {} LIKE ", branch.name)).bind(pattern(part)).push(" ESCAPE '\\'")
            }
            (Some(part), Has::AtTheBeginning) => begins(sql.push(" AND "), branch.name, part),
        };
        let through = !matches!(source, Source::Direct);
        (self.narrow(sql, branch, through), branch)
    }

    /// The clients of an agency whose names have the text further on. That each is looked up by its id is said as plainly as SQL can:
    /// planners tend to read the whole table for hundreds of them.
    fn scope_of_found(&self, sql: Sql, agency: &Agency) -> (Sql, &'static Branch) {
        let part = self.part.as_deref().unwrap_or_default();
        // More than were counted, in case that more come meanwhile.
        let found = |sql: Sql| {
            let sql = with_text(sql.push("(SELECT DISTINCT n.connection_id AS id"), part);
            sql.push(" AND n.agency_id = ").bind(agency.id).push(&format!(" LIMIT {}) f", 2 * FEW))
        };
        let place = |sql: Sql, column| {
            let sql = sql.push(&format!("(SELECT k.{column} FROM places k WHERE k.connection_id = f.id AND k.user_id = "));
            sql.bind(self.user).push(&format!(") AS {column}"))
        };
        let (sql, branch) = if agency.owned {
            let sql = found(sql.push(OWNED.select)).push(" CROSS JOIN connections c WHERE c.id = f.id AND substr(");
            (sql.push("(SELECT k.client_name_key FROM connections k WHERE k.id = f.id)"), &OWNED)
        } else {
            let sql = place(sql.push(PLACED.select).push("(SELECT f.id AS connection_id, "), "client_name_key");
            let sql = found(place(sql.push(", "), "level").push(" FROM ")).push(") p CROSS JOIN connections c");
            (sql.push(" WHERE c.id = p.connection_id AND substr(p.client_name_key"), &PLACED)
        };
        let sql = sql.push(", 1, ").bind(i32::try_from(part.chars().count()).unwrap_or(i32::MAX)).push(") <> ").bind(part);
        (self.narrow(sql.push(" AND c.status = 'active'"), branch, true), branch)
    }

    /// To the levels that are asked for, and what has not ended yet.
    fn narrow(&self, sql: Sql, branch: &Branch, through: bool) -> Sql {
        let sql = match self.levels {
            Some(levels) => sql.push(&format!(" AND {} IN ", branch.level)).distinct(levels),
            None => sql,
        };
        if through { sql.push(" AND (c.ends_at IS NULL OR c.ends_at > ").bind(self.now).push(")") } else { sql }
    }

    /// A page of them, by the account's name, with what [`Seat::of_row`](crate::actor::Seat) reads.
    pub fn page(&self, window: &Window) -> Result<Sql> {
        let direction = if window.backwards() { " DESC" } else { "" };
        let seat = seat_columns(["w.m_level", "w.am_level", "w.p_level"]);
        let mut sql = Sql::new(format!("SELECT w.way AS way, w.name AS name, {seat} FROM ("));
        for (place, list) in self.lists().iter().enumerate() {
            let (scoped, branch) =
                self.scope(sql.push(if place > 0 { " UNION ALL SELECT * FROM (" } else { "SELECT * FROM (" }), list);
            let Branch { name, way, .. } = branch;
            sql = scoped;
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
        for (place, list) in self.lists().iter().enumerate() {
            (sql, _) = self.scope(if place > 0 { sql.push(" UNION ALL ") } else { sql }, list);
        }
        sql.push(") counted")
    }
}

/// The names that have a text, but not at their beginning: one of their tails begins with it.
fn with_text(sql: Sql, text: &str) -> Sql {
    begins(sql.push(" FROM client_name_tails n WHERE "), "n.tail", text)
}

/// What begins with a text, as a range that an index has.
fn begins(sql: Sql, column: &str, text: &str) -> Sql {
    let sql = sql.push(&format!("{column} >= ")).bind(text);
    match after(text) {
        Some(after) => sql.push(&format!(" AND {column} < ")).bind(after),
        None => sql,
    }
}

/// The first text after all those that begin with this one, in the order of characters; none is if it is of the last one alone.
fn after(text: &str) -> Option<String> {
    let mut text: Vec<char> = text.chars().collect();
    while let Some(last) = text.pop() {
        if let Some(next) = (last..=char::MAX).nth(1) {
            text.push(next);
            return Some(text.into_iter().collect());
        }
    }
    None
}

fn cursor(key: &[String]) -> Result<(&str, Uuid)> {
    let parts = if let [name, way] = key { Uuid::parse_str(way).ok().map(|way| (name.as_str(), way)) } else { None };
    parts.ok_or_else(|| Denied::BadRequest("That is no cursor of this list.".into()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_after_all_that_begin_so() {
        let last = char::MAX;
        assert_eq!(after("ab").as_deref(), Some("ac"));
        assert_eq!(after(&format!("a{last}{last}")).as_deref(), Some("b"));
        assert_eq!(after("\u{d7ff}").as_deref(), Some("\u{e000}"), "what is between is no character");
        assert_eq!(after(&last.to_string()), None);
        assert_eq!(after(""), None);
    }
}
