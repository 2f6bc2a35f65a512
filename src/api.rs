//! What the GraphQL of every subject shares: how a resolver asks for the app and the viewer, how a mutation answers, and
//! how lists are paged. The subjects' own types stand in their folders.

use crate::{
    actor::{Actor, Caller},
    app::App,
    error::{Denied, Error, Result, UserError, UserErrorCode},
    permission::Permission,
    schema::Node,
};
use async_graphql::{
    ComplexObject, Context, InputValueError, InputValueResult, Object, ObjectType, OutputType, Scalar, ScalarType, SimpleObject,
    TypeName, Value,
};
use entity::{AccountId, Moment, NodeId};
use futures_util::future::BoxFuture;
use std::{borrow::Cow, sync::Arc};

/// What resolvers ask of their context.
#[expect(async_fn_in_trait, reason = "implemented for async-graphql's context alone")]
pub trait Ask {
    /// The server's parts.
    fn app(&self) -> &App;
    /// Who asks.
    fn caller(&self) -> &Caller;
    /// Who asks, as the database has it; UNAUTHENTICATED when nobody is signed in.
    async fn actor(&self) -> Result<Arc<Actor>>;
    /// Who asks, or nobody; an error when credentials were given that are none.
    async fn actor_if_any(&self) -> Result<Option<Arc<Actor>>>;
}

impl Ask for Context<'_> {
    fn app(&self) -> &App {
        self.data_unchecked()
    }

    fn caller(&self) -> &Caller {
        self.data_unchecked()
    }

    async fn actor(&self) -> Result<Arc<Actor>> {
        self.caller().actor(self.app()).await
    }

    async fn actor_if_any(&self) -> Result<Option<Arc<Actor>>> {
        if self.caller().is_signed_out() {
            return Ok(None);
        }
        self.actor().await.map(Some)
    }
}

/// An object whose fields are guarded by the viewer's level in an account.
#[expect(async_fn_in_trait, reason = "asked by resolvers alone, which know the type")]
pub trait Guarded {
    /// The account that the object is of.
    fn account(&self) -> AccountId;

    /// Whether the field may be read: `false` when the request acts elsewhere, where it is null without an error.
    async fn check(&self, ctx: &Context<'_>, permission: Permission) -> Result<bool> {
        let actor = ctx.actor().await?;
        if !actor.acts_in(self.account()) {
            return Ok(false);
        }
        actor.may(permission).map(|_| true)
    }
}

/// An absolute address.
#[derive(Clone, Debug)]
pub struct Url(pub String);

/// An absolute address.
#[Scalar(name = "URL", specified_by_url = "https://url.spec.whatwg.org/")]
impl ScalarType for Url {
    fn parse(value: Value) -> InputValueResult<Self> {
        match value {
            Value::String(text) => Ok(Self(text)),
            other => Err(InputValueError::expected_type(other)),
        }
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.clone())
    }
}

/// What a mutation's resolver answers: a payload, or null with an error in its place (L7).
pub type Answer<T> = Option<async_graphql::Result<Payload<T>>>;

// A doc comment would become the description of each payload, which is made of its name instead (`permission::Describe`).
// An operation's outcome: `InviteUsers { invitations }` makes `InviteUsersPayload`.
#[derive(SimpleObject)]
#[graphql(name_type, serial)]
#[expect(missing_docs, reason = "it would become each payload's description")]
pub struct Payload<Changed: ObjectType> {
    #[graphql(flatten)]
    changed: Changed,
    /// What the person can mend; empty when all was done.
    user_errors: Vec<UserErrorView>,
}

impl<Changed: ObjectType> TypeName for Payload<Changed> {
    fn type_name() -> Cow<'static, str> {
        format!("{}Payload", <Changed as OutputType>::type_name()).into()
    }
}

/// Does what was asked for, when `token` by the token of a link: who tries many that are none is slowed down (I5).
pub async fn by_link<T>(ctx: &Context<'_>, token: bool, work: BoxFuture<'_, Result<T>>) -> Result<T> {
    if token { ctx.app().throttle.token(ctx.caller().address(), work).await } else { work.await }
}

/// Answers an operation that is done or not.
pub fn answer<T: ObjectType + Default>(outcome: Result<T>) -> Answer<T> {
    answer_each(outcome.map(|changed| (changed, Vec::new())))
}

/// Answers an operation of which each part is done or not.
pub fn answer_each<T: ObjectType + Default>(outcome: Result<(T, Vec<UserError>)>) -> Answer<T> {
    let (changed, errors) = match outcome {
        Ok(done) => done,
        Err(Error::User(error)) => (T::default(), vec![*error]),
        Err(error) => return Some(Err(error.into())),
    };
    Some(Ok(Payload { changed, user_errors: errors.into_iter().map(UserErrorView::from).collect() }))
}

/// Something that the person can mend.
#[derive(SimpleObject)]
#[graphql(name = "UserError", complex, serial)]
pub struct UserErrorView {
    /// For programs.
    code: UserErrorCode,
    /// For people: what is wrong and how to mend it.
    message: String,
    /// The path of the input that is at fault, such as `["emails", "3"]`: the entry's index, from 0.
    field: Option<Vec<String>>,
    /// The value at fault, where an entry held several.
    value: Option<String>,
    /// When the same would be allowed.
    retry_at: Option<Moment>,
    #[graphql(skip)]
    blocking: Vec<NodeId>,
}

impl From<UserError> for UserErrorView {
    fn from(error: UserError) -> Self {
        let UserError { code, message, field, value, retry_at, blockers } = error;
        Self { code, message, field, value, retry_at, blocking: blockers }
    }
}

#[ComplexObject]
impl UserErrorView {
    /// Who or what is in the way, for `PLAN_TOO_SMALL` and its like: the first 100.
    #[graphql(complexity = "cost(BLOCKERS, child_complexity)")]
    async fn blockers(&self, ctx: &Context<'_>) -> Option<async_graphql::Result<Vec<Node>>> {
        if self.blocking.is_empty() {
            return None;
        }
        let nodes = crate::schema::load_nodes(ctx, &self.blocking[..self.blocking.len().min(BLOCKERS)]).await;
        Some(nodes.map(|nodes| nodes.into_iter().flatten().collect()).map_err(Into::into))
    }
}

/// How many of those in the way are shown.
const BLOCKERS: usize = 100;
/// The length of a page when nothing is said.
const PAGE: i32 = 20;
/// The longest page.
const PAGE_MAX: i32 = 100;

/// What a page costs: as much as all that is asked of one of its items, times their number.
pub fn page_cost(first_or_last: Option<i32>, item: usize) -> usize {
    let items = first_or_last.unwrap_or(PAGE).clamp(1, PAGE_MAX);
    cost(usize::try_from(items).unwrap_or_default(), item)
}

/// What a text of up to 2,000 characters costs: as much as twenty that have a line.
pub const LONG_TEXT: usize = 20;

/// What some items cost. Beyond any limit it grows no more: pages within pages would come to more than a number can hold.
pub fn cost(items: usize, item: usize) -> usize {
    const FETCH: usize = 5;
    const BEYOND: usize = 1_000_000_000;
    FETCH + items.saturating_mul(item).min(BEYOND)
}

/// An edge, known by its node. `XEdge` makes `XConnection`.
pub trait Edge: OutputType {
    /// What the edge leads to.
    type Node: OutputType;
    /// What the edge leads to.
    fn node(&self) -> &Self::Node;
    /// Where it stands in its list.
    fn cursor(&self) -> &str;
}

/// Where a page stands in its list.
#[derive(Clone, Debug, Default, SimpleObject)]
#[graphql(serial)]
pub struct PageInfo {
    /// Whether there is more after it.
    pub has_next_page: bool,
    /// Whether there is more before it.
    pub has_previous_page: bool,
    /// Its first cursor.
    pub start_cursor: Option<String>,
    /// Its last cursor.
    pub end_cursor: Option<String>,
}

/// One page of a list.
pub struct Connection<E> {
    edges: Vec<E>,
    page_info: PageInfo,
    /// Counted only when it is asked for.
    total: u64,
}

impl<E: Edge> TypeName for Connection<E> {
    fn type_name() -> Cow<'static, str> {
        let edge = E::type_name();
        format!("{}Connection", edge.strip_suffix("Edge").unwrap_or(&edge)).into()
    }
}

/// One page of a list.
#[Object(name_type, serial)]
impl<E: Edge> Connection<E> {
    /// The page's entries, with what belongs to their place in the list.
    async fn edges(&self) -> &[E] {
        &self.edges
    }
    /// The page's entries alone.
    async fn nodes(&self) -> Vec<&E::Node> {
        self.edges.iter().map(E::node).collect()
    }
    /// Where the page stands in the list.
    async fn page_info(&self) -> &PageInfo {
        &self.page_info
    }
    /// How many entries the whole list has. Counted when asked for.
    async fn total_count(&self) -> u64 {
        self.total
    }
}

/// The arguments of a list.
#[derive(Clone, Debug, Default)]
pub struct PageArgs {
    /// How many from the start.
    pub first: Option<i32>,
    /// After this cursor.
    pub after: Option<String>,
    /// How many from the end.
    pub last: Option<i32>,
    /// Before this cursor.
    pub before: Option<String>,
}

/// A page that is asked for: checked, and its cursors read.
pub struct Window {
    app: App,
    list: String,
    size: usize,
    backwards: bool,
    /// The key after which it begins.
    pub after: Option<Vec<String>>,
    /// The key before which it ends.
    pub before: Option<Vec<String>>,
}

/// Between the parts of a key.
const PART: char = '\u{1f}';

impl PageArgs {
    /// Checks the arguments. A cursor is good for the list that gave it and no other.
    pub fn window(&self, app: &App, list: impl Into<String>) -> Result<Window> {
        let (list, (size, backwards)) = (format!("list {}", list.into()), self.size()?);
        let wrong =
            || Denied::BadRequest("This is not a cursor of this list. Use a cursor that the list returned, as it is.".into());
        let read = |cursor: &str| {
            let key = app.keys.cursors.read(&list, cursor).and_then(|place| String::from_utf8(place).ok());
            key.map(|key| key.split(PART).map(str::to_owned).collect::<Vec<_>>()).ok_or_else(wrong)
        };
        let after = self.after.as_deref().map(read).transpose()?;
        let before = self.before.as_deref().map(read).transpose()?;
        Ok(Window { app: app.clone(), list, size, backwards, after, before })
    }

    /// How many entries the page has, and whether they are the last ones.
    fn size(&self) -> Result<(usize, bool)> {
        let wrong = |what: String| Err(Denied::BadRequest(what).into());
        let (size, backwards) = match (self.first, self.last) {
            (Some(_), Some(_)) => return wrong("Give `first` or `last`, not both.".into()),
            (None, Some(size)) => (size, true),
            (first, None) => (first.unwrap_or(PAGE), false),
        };
        if !(1..=PAGE_MAX).contains(&size) {
            return wrong(format!("A page has 1 to {PAGE_MAX} entries; {size} were asked for."));
        }
        Ok((usize::try_from(size).unwrap_or_default(), backwards))
    }
}

impl Window {
    /// How many rows to read: one more than the page has, to know whether it is the last.
    pub fn limit(&self) -> u64 {
        self.size as u64 + 1
    }

    /// Whether the rows are to be read from the end.
    pub fn backwards(&self) -> bool {
        self.backwards
    }

    /// Makes the page of the rows that were read (from the end when the window goes backwards).
    pub fn page<R, E: Edge>(
        &self,
        mut rows: Vec<R>,
        total: u64,
        edge: impl Fn(R, String) -> E,
        key: impl Fn(&R) -> Vec<String>,
    ) -> Connection<E> {
        let more = rows.len() > self.size;
        rows.truncate(self.size);
        if self.backwards {
            rows.reverse();
        }
        let edges: Vec<E> = rows
            .into_iter()
            .map(|row| {
                let cursor = self.app.keys.cursors.write(&self.list, key(&row).join(&PART.to_string()).as_bytes());
                edge(row, cursor)
            })
            .collect();
        let page_info = PageInfo {
            has_next_page: if self.backwards { self.before.is_some() } else { more },
            has_previous_page: if self.backwards { more } else { self.after.is_some() },
            start_cursor: edges.first().map(|edge| edge.cursor().to_owned()),
            end_cursor: edges.last().map(|edge| edge.cursor().to_owned()),
        };
        Connection { edges, page_info, total }
    }
}

/// A cursor's one id, for the lists that are in the order of ids.
pub fn cursor_id<Id: std::str::FromStr>(key: Option<&Vec<String>>) -> Result<Option<Id>> {
    let Some(key) = key else { return Ok(None) };
    let id = if let [id] = key.as_slice() { id.parse().ok() } else { None };
    id.map(Some).ok_or_else(|| Denied::BadRequest("That is no cursor of this list.".into()).into())
}

/// What a query asks of a page, looked up before it is loaded.
pub struct Asked<'a>(async_graphql::Lookahead<'a>);

impl<'a> Asked<'a> {
    /// Of the field that is being resolved.
    pub fn of(ctx: &'a Context<'a>) -> Self {
        Self(ctx.look_ahead())
    }

    /// Whether the whole list is to be counted.
    pub fn total(&self) -> bool {
        self.0.field("totalCount").exists()
    }

    /// Whether a node's field is asked for, be it by `edges { node { … } }` or by `nodes { … }`.
    pub fn node(&self, field: &str) -> bool {
        nodes(&self.0).iter().any(|node| node.field(field).exists())
    }

    /// Whether that is asked for of what an edge's field leads to.
    pub fn edge(&self, field: &str, of: &str) -> bool {
        self.0.field("edges").field(field).field(of).exists()
    }

    /// Whether that is asked for, of what a field leads to, of the nodes of a list that the nodes have.
    pub fn beyond(&self, list: &str, field: &str, of: &str) -> bool {
        let lists = nodes(&self.0).map(|node| node.field(list));
        lists.iter().flat_map(nodes).any(|node| node.field(field).field(of).exists())
    }
}

/// What a query asks of a list's nodes, in both ways to them.
fn nodes<'a>(list: &async_graphql::Lookahead<'a>) -> [async_graphql::Lookahead<'a>; 2] {
    [list.field("edges").field("node"), list.field("nodes")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threat_17_pages_of_1_to_100() {
        let window = |first, last| PageArgs { first, last, ..PageArgs::default() }.size().is_ok();
        assert!(window(None, None) && window(Some(1), None) && window(Some(100), None) && window(None, Some(5)));
        assert!(!window(Some(0), None) && !window(Some(101), None) && !window(Some(-1), None) && !window(Some(1), Some(1)));
    }
}
