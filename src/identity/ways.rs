//! Every way of a user into an account: as its direct user, as the Owner of one of its agencies, or by a place on a connection.
//!
//! An agency may have tens of thousands of clients, so a page is merged from the beginnings of lists that each have an index in the
//! order of names; a page costs the same however long they are. A text is looked up by that piece of it, three characters long, which
//! is in the fewest names of the agency's clients; where all pieces are in many, one walks the names until the page is full.

use crate::{
    actor::seat_columns,
    api::Window,
    app::App,
    db::{Sql, contains, search_key},
    error::{Denied, Result},
};
use entity::{AccountId, Moment, UserId, UserLevel};
use sea_orm::QueryResult;
use uuid::Uuid;

/// In how many names a piece of a text may be so that it is looked up: about as many as one walks to fill a page otherwise.
const FEW: i64 = 1_000;
/// How many pieces of a text are counted; others are left out of a longer one.
const PIECES: usize = 12;
/// In how many agencies a text is looked up by a piece, each a list of its own; in further ones one walks the names.
const LOOKED_UP: usize = 50;

/// One list of ways: what is selected of it up to whose it is, and where it keeps the name, the way's id and the level that counts.
struct Branch {
    select: &'static str,
    name: &'static str,
    way: &'static str,
    level: &'static str,
}

const DIRECT: Branch = Branch {
    select: "SELECT m.id AS way, a.name_key AS name, m.account_id AS account_id, CAST(NULL AS uuid) AS connection_id, \
             m.level AS m_level, CAST(NULL AS smallint) AS am_level, CAST(NULL AS smallint) AS p_level \
             FROM members m JOIN accounts a ON a.id = m.account_id AND a.status = 'active' \
             WHERE m.suspended_at IS NULL AND m.user_id = ",
    name: "a.name_key",
    way: "m.id",
    level: "m.level",
};

/// Of an agency that they own.
const OWNED: Branch = Branch {
    select: "SELECT c.id, c.client_name_key, c.client_id, c.id, CAST(NULL AS smallint), CAST(5 AS smallint), CAST(NULL AS smallint) FROM ",
    name: "c.client_name_key",
    way: "c.id",
    level: "c.level",
};

/// Of agencies that they do not own. The order of the joins is meant: SQLite would begin with all connections there are.
const PLACED: Branch = Branch {
    select: "SELECT p.connection_id, p.client_name_key, c.client_id, c.id, CAST(NULL AS smallint), CAST(1 AS smallint), p.level FROM ",
    name: "p.client_name_key",
    way: "p.connection_id",
    level: "CASE WHEN p.level < c.level THEN p.level ELSE c.level END",
};

/// Where the rows of a list come from.
enum Source<'a> {
    /// The accounts that one is a direct user of.
    Direct,
    /// All clients of an agency that one owns.
    Clients(AccountId),
    /// The clients on which one has a place, of these agencies.
    Places(Vec<AccountId>),
    /// Those of an agency's clients whose names have this piece, whether one owns it or has a place.
    Piece(&'a Agency, &'a str),
}

/// An agency that somebody is of.
struct Agency {
    id: AccountId,
    /// As its Owner.
    owned: bool,
    /// Which piece of the text is in the names of few of its clients.
    rare: Option<usize>,
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
    /// Its pieces.
    pieces: Vec<String>,
    levels: Option<&'a [UserLevel]>,
}

impl<'a> Ways<'a> {
    /// All of them, or those into accounts of which the name contains a text, at these levels.
    pub async fn of(app: &App, user: UserId, search: Option<&str>, levels: Option<&'a [UserLevel]>) -> Result<Self> {
        let part = search.map(contains).transpose()?;
        let pieces = search.map(search_key).transpose()?.map(|text| pieces(&text)).unwrap_or_default();
        let mut sql = Sql::new("SELECT g.id, am.level = 5");
        for piece in &pieces {
            sql = with_piece(sql.push(", (SELECT count(*) FROM (SELECT 1"), piece)
                .push(&format!(" AND n.agency_id = g.id LIMIT {}) few)", FEW + 1));
        }
        let sql = sql.push(" FROM accounts g JOIN members am ON am.account_id = g.id WHERE g.status = 'active'");
        let sql = sql.push(" AND g.partner_program_joined_at IS NOT NULL AND am.suspended_at IS NULL AND am.user_id = ");
        let read = |row: &QueryResult| {
            let counts = (0..pieces.len()).map(|piece| row.try_get_by_index::<i64>(piece + 2)).collect::<Result<Vec<_>, _>>()?;
            let rarest = counts.into_iter().enumerate().min_by_key(|(_, count)| *count);
            let rare = rarest.filter(|(_, count)| *count <= FEW).map(|(piece, _)| piece);
            let agency = Agency { id: row.try_get_by_index(0)?, owned: row.try_get_by_index(1)?, rare };
            // Where a piece is in no name, the text is in none.
            Ok((rarest.is_none_or(|(_, count)| count > 0)).then_some(agency))
        };
        let agencies = sql.bind(user).all(app.reader(), read).await?;
        let mut agencies: Vec<_> = agencies.into_iter().flatten().collect();
        for agency in agencies.iter_mut().skip(LOOKED_UP) {
            agency.rare = None;
        }
        Ok(Self { user, now: app.now(), agencies, part, pieces, levels })
    }

    /// The lists that together have every way once.
    fn lists(&self) -> Vec<Source<'_>> {
        let (by_piece, by_name): (Vec<_>, Vec<_>) = self.agencies.iter().partition(|agency| agency.rare.is_some());
        let (owned, others): (Vec<_>, Vec<_>) = by_name.into_iter().partition(|agency| agency.owned);
        let mut lists = vec![Source::Direct];
        if !others.is_empty() {
            lists.push(Source::Places(others.into_iter().map(|agency| agency.id).collect()));
        }
        lists.extend(owned.into_iter().map(|agency| Source::Clients(agency.id)));
        lists.extend(by_piece.into_iter().filter_map(|agency| Some(Source::Piece(agency, self.pieces.get(agency.rare?)?))));
        lists
    }

    fn scope(&self, sql: Sql, source: &Source<'_>) -> (Sql, &'static Branch) {
        let active = "c.status = 'active' AND ";
        let (sql, branch) = match source {
            Source::Direct => (sql.push(DIRECT.select).bind(self.user), &DIRECT),
            Source::Clients(agency) => {
                (sql.push(OWNED.select).push("connections c WHERE ").push(active).push("c.agency_id = ").bind(*agency), &OWNED)
            }
            Source::Places(agencies) => {
                let sql = sql.push(PLACED.select).push("places p CROSS JOIN connections c WHERE c.id = p.connection_id AND ");
                let sql = sql.push(active).push("p.user_id = ").bind(self.user);
                (sql.push(" AND c.agency_id IN ").list(agencies.iter().copied()), &PLACED)
            }
            Source::Piece(agency, piece) => return self.scope_of_piece(sql, agency, piece),
        };
        let sql = match &self.part {
            Some(part) => sql.push(&format!(" AND {} LIKE ", branch.name)).bind(part.as_str()).push(" ESCAPE '\\'"),
            None => sql,
        };
        let through = !matches!(source, Source::Direct);
        (self.narrow(sql, branch, through), branch)
    }

    /// The clients of an agency whose names have a piece. That each is looked up by its id is said as plainly as SQL can: planners
    /// tend to read the whole table for hundreds of them.
    fn scope_of_piece(&self, sql: Sql, agency: &Agency, piece: &str) -> (Sql, &'static Branch) {
        // More than were counted, in case that more come meanwhile.
        let found = |sql: Sql| {
            let sql = with_piece(sql.push("(SELECT DISTINCT n.connection_id AS id"), piece);
            sql.push(" AND n.agency_id = ").bind(agency.id).push(&format!(" LIMIT {}) f", 2 * FEW))
        };
        let place = |sql: Sql, column| {
            let sql = sql.push(&format!("(SELECT k.{column} FROM places k WHERE k.connection_id = f.id AND k.user_id = "));
            sql.bind(self.user).push(&format!(") AS {column}"))
        };
        let (sql, branch) = if agency.owned {
            let sql = found(sql.push(OWNED.select)).push(" CROSS JOIN connections c WHERE c.id = f.id AND ");
            (sql.push("(SELECT k.client_name_key FROM connections k WHERE k.id = f.id)"), &OWNED)
        } else {
            let sql = place(sql.push(PLACED.select).push("(SELECT f.id AS connection_id, "), "client_name_key");
            let sql = found(place(sql.push(", "), "level").push(" FROM ")).push(") p CROSS JOIN connections c");
            (sql.push(" WHERE c.id = p.connection_id AND p.client_name_key"), &PLACED)
        };
        let sql = sql.push(" LIKE ").bind(self.part.as_deref()).push(" ESCAPE '\\' AND c.status = 'active'");
        (self.narrow(sql, branch, true), branch)
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

/// The pieces of a text by which it may be looked up: each three characters that follow each other, or all of a shorter text, which
/// is the beginning of some piece of a name that contains it.
fn pieces(text: &str) -> Vec<String> {
    let text: Vec<char> = text.chars().collect();
    let mut pieces: Vec<String> = text.windows(text.len().clamp(1, 3)).map(|piece| piece.iter().collect()).collect();
    pieces.sort_unstable();
    pieces.dedup();
    // Of many, some from all over the alphabet: those that begin with a blank or a digit are no rarer than others.
    let every = pieces.len().div_ceil(PIECES).max(1);
    pieces.into_iter().step_by(every).collect()
}

/// The names that have a piece which begins so.
fn with_piece(sql: Sql, piece: &str) -> Sql {
    let last = format!("{piece}{0}{0}", char::MAX);
    sql.push(" FROM client_name_pieces n WHERE n.piece BETWEEN ").bind(piece).push(" AND ").bind(last)
}

fn cursor(key: &[String]) -> Result<(&str, Uuid)> {
    let parts = if let [name, way] = key { Uuid::parse_str(way).ok().map(|way| (name.as_str(), way)) } else { None };
    parts.ok_or_else(|| Denied::BadRequest("That is no cursor of this list.".into()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_pieces_of_three() {
        assert_eq!(pieces(""), [""; 0]);
        assert_eq!(pieces("é"), ["é"]);
        assert_eq!(pieces("ab"), ["ab"]);
        assert_eq!(pieces("banana b"), [" b", "a b", "ana", "ban", "na ", "nan"][1..]);
        assert_eq!(
            pieces(&('a'..='z').collect::<String>()),
            ["abc", "cde", "efg", "ghi", "ijk", "klm", "mno", "opq", "qrs", "stu", "uvw", "wxy"]
        );
    }
}
