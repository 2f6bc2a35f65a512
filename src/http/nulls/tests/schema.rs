//! A schema with a field of every shape, in which a case says by path what comes of each.

use crate::{
    api::Guarded,
    error::{Denied, Error},
    permission::Permission,
};
use async_graphql::{Context, Interface, MergedObject, Object, Result, Schema, Subscription, Union};
use entity::AccountId;
use futures_util::{Stream, StreamExt, stream};
use guarded::guarded;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// How many items a list has, and how many payloads a subscription.
pub const LENGTH: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    /// It works; where the type is abstract, the value is an `Item`.
    Fine,
    /// It works, and is an `Other`.
    Other,
    Null,
    Fails,
}

/// What a field or an item gives that may be null, as a guarded field has it.
type Maybe<T> = Option<Result<T>>;

type At = dyn Fn(usize, &str) -> Outcome + Send + Sync;

/// What comes of the field or the list's item at each path, such as `items.0.int`.
#[derive(Clone)]
pub struct Outcomes {
    at: Arc<At>,
    /// Which payload of a subscription is being made.
    payload: Arc<AtomicUsize>,
}

impl Outcomes {
    pub fn new(at: impl Fn(usize, &str) -> Outcome + Send + Sync + 'static) -> Self {
        Self { at: Arc::new(at), payload: Arc::default() }
    }

    pub fn at(&self, path: &str) -> Outcome {
        (self.at)(self.payload.load(Ordering::Relaxed), path)
    }
}

/// A value that is made as the outcome at its path has it.
trait Made: Sized {
    fn made(outcomes: &Outcomes, path: &str) -> Self;
}

impl Made for i32 {
    fn made(_: &Outcomes, _: &str) -> Self {
        1
    }
}

impl Made for Item {
    fn made(_: &Outcomes, _: &str) -> Self {
        Self
    }
}

impl Made for Other {
    fn made(_: &Outcomes, _: &str) -> Self {
        Self
    }
}

impl Made for Node {
    fn made(outcomes: &Outcomes, path: &str) -> Self {
        if outcomes.at(path) == Outcome::Other { Other.into() } else { Item.into() }
    }
}

impl Made for Any {
    fn made(outcomes: &Outcomes, path: &str) -> Self {
        if outcomes.at(path) == Outcome::Other { Other.into() } else { Item.into() }
    }
}

impl<T: Made> Made for Vec<T> {
    fn made(outcomes: &Outcomes, path: &str) -> Self {
        (0..LENGTH).map(|index| T::made(outcomes, &format!("{path}.{index}"))).collect()
    }
}

impl<T: Made> Made for Result<T> {
    fn made(outcomes: &Outcomes, path: &str) -> Self {
        match outcomes.at(path) {
            Outcome::Fine | Outcome::Other => Ok(T::made(outcomes, path)),
            Outcome::Null | Outcome::Fails => Err("It failed.".into()),
        }
    }
}

impl<T: Made> Made for Maybe<T> {
    fn made(outcomes: &Outcomes, path: &str) -> Self {
        (outcomes.at(path) != Outcome::Null).then(|| Made::made(outcomes, path))
    }
}

/// Resolves a field. It takes a while, a different one for each key, so that fields side by side end in any order.
async fn made<T: Made>(ctx: &Context<'_>) -> T {
    let path = ctx.path_node.map(|node| node.to_string_vec().join(".")).unwrap_or_default();
    let key = ctx.item.node.response_key().node.as_str();
    for _ in 0..key.len() % 3 {
        tokio::task::yield_now().await;
    }
    T::made(ctx.data_unchecked(), &path)
}

pub struct Item;

#[guarded]
#[Object(serial)]
impl Item {
    async fn int(&self, ctx: &Context<'_>) -> Maybe<i32> {
        made(ctx).await
    }
    async fn plain_int(&self, ctx: &Context<'_>) -> Result<Option<i32>> {
        made::<Maybe<_>>(ctx).await.transpose()
    }
    async fn sure_int(&self, ctx: &Context<'_>) -> Result<Result<i32>> {
        Ok(made(ctx).await)
    }
    /// What an interface allows to be null, and an item does not.
    async fn narrow(&self, ctx: &Context<'_>) -> Result<Result<i32>> {
        Ok(made(ctx).await)
    }
    async fn ints(&self, ctx: &Context<'_>) -> Maybe<Vec<Maybe<i32>>> {
        made(ctx).await
    }
    async fn ints_of_sure(&self, ctx: &Context<'_>) -> Maybe<Vec<Result<i32>>> {
        made(ctx).await
    }
    async fn sure_ints(&self, ctx: &Context<'_>) -> Result<Vec<Maybe<i32>>> {
        made(ctx).await
    }
    async fn sure_ints_of_sure(&self, ctx: &Context<'_>) -> Result<Vec<Result<i32>>> {
        made(ctx).await
    }
    async fn grid(&self, ctx: &Context<'_>) -> Maybe<Vec<Maybe<Vec<Result<i32>>>>> {
        made(ctx).await
    }
    async fn sure_grid(&self, ctx: &Context<'_>) -> Result<Vec<Result<Vec<Maybe<i32>>>>> {
        made(ctx).await
    }
    async fn item(&self, ctx: &Context<'_>) -> Maybe<Item> {
        made(ctx).await
    }
    async fn plain_item(&self, ctx: &Context<'_>) -> Result<Option<Item>> {
        made::<Maybe<_>>(ctx).await.transpose()
    }
    async fn sure_item(&self, ctx: &Context<'_>) -> Result<Item> {
        made(ctx).await
    }
    async fn items(&self, ctx: &Context<'_>) -> Maybe<Vec<Maybe<Item>>> {
        made(ctx).await
    }
    async fn items_of_sure(&self, ctx: &Context<'_>) -> Maybe<Vec<Result<Item>>> {
        made(ctx).await
    }
    async fn sure_items(&self, ctx: &Context<'_>) -> Result<Vec<Maybe<Item>>> {
        made(ctx).await
    }
    async fn sure_items_of_sure(&self, ctx: &Context<'_>) -> Result<Vec<Result<Item>>> {
        made(ctx).await
    }
    async fn item_grid(&self, ctx: &Context<'_>) -> Maybe<Vec<Result<Vec<Maybe<Item>>>>> {
        made(ctx).await
    }
    async fn other(&self, ctx: &Context<'_>) -> Maybe<Other> {
        made(ctx).await
    }
    async fn node(&self, ctx: &Context<'_>) -> Maybe<Node> {
        made(ctx).await
    }
    async fn sure_node(&self, ctx: &Context<'_>) -> Result<Node> {
        made(ctx).await
    }
    async fn nodes(&self, ctx: &Context<'_>) -> Result<Vec<Maybe<Node>>> {
        made(ctx).await
    }
    async fn any(&self, ctx: &Context<'_>) -> Maybe<Any> {
        made(ctx).await
    }
    async fn anys(&self, ctx: &Context<'_>) -> Maybe<Vec<Result<Any>>> {
        made(ctx).await
    }
    #[needs(ViewUsers)]
    async fn secret(&self) -> i32 {
        1
    }
    #[needs(ViewUsers)]
    async fn secret_items(&self, ctx: &Context<'_>) -> Vec<Maybe<Item>> {
        Made::made(ctx.data_unchecked(), &ctx.path_node.map(|node| node.to_string_vec().join(".")).unwrap_or_default())
    }
}

impl Guarded for Item {
    fn account(&self) -> AccountId {
        unreachable!("the check below asks nobody")
    }

    async fn check(&self, ctx: &Context<'_>, permission: Permission) -> crate::error::Result<bool> {
        match made::<Maybe<i32>>(ctx).await {
            None => Ok(false),
            Some(Ok(_)) => Ok(true),
            Some(Err(_)) => {
                let reason = "It is denied.".to_owned();
                Err(Error::from(Denied::Forbidden { permission: Some(permission), level: None, reason }))
            }
        }
    }
}

pub struct Other;

#[Object(serial)]
impl Other {
    async fn int(&self, ctx: &Context<'_>) -> Maybe<i32> {
        made(ctx).await
    }
    async fn sure_int(&self, ctx: &Context<'_>) -> Result<Result<i32>> {
        Ok(made(ctx).await)
    }
    async fn narrow(&self, ctx: &Context<'_>) -> Maybe<i32> {
        made(ctx).await
    }
    async fn own(&self, ctx: &Context<'_>) -> Result<Option<i32>> {
        made::<Maybe<_>>(ctx).await.transpose()
    }
    async fn item(&self, ctx: &Context<'_>) -> Maybe<Item> {
        made(ctx).await
    }
    async fn sure_item(&self, ctx: &Context<'_>) -> Result<Item> {
        made(ctx).await
    }
    async fn node(&self, ctx: &Context<'_>) -> Maybe<Node> {
        made(ctx).await
    }
}

// A field of an interface that fails by its resolver's own `Result` gets an error without a path, so these have another one
// inside.
#[derive(Interface)]
#[graphql(
    field(name = "int", ty = "Option<Result<i32>>"),
    field(name = "sure_int", ty = "Result<Result<i32>>"),
    field(name = "narrow", ty = "Maybe<i32>"),
    field(name = "item", ty = "Maybe<Item>"),
    field(name = "node", ty = "Maybe<Node>")
)]
pub enum Node {
    Item(Item),
    Other(Other),
}

#[derive(Union)]
pub enum Any {
    Item(Item),
    Other(Other),
}

#[derive(MergedObject)]
pub struct Query(Item);

#[derive(MergedObject)]
pub struct Mutation(Item);

pub struct Listen;

/// The payloads of a subscription, each with outcomes of its own.
fn payloads<T: Made>(ctx: &Context<'_>) -> impl Stream<Item = T> + use<T> {
    let outcomes: Outcomes = ctx.data_unchecked::<Outcomes>().clone();
    let key = ctx.item.node.response_key().node.to_string();
    stream::iter(0..LENGTH).map(move |payload| {
        outcomes.payload.store(payload, Ordering::Relaxed);
        T::made(&outcomes, &key)
    })
}

#[Subscription(name = "Subscription")]
impl Listen {
    async fn int(&self, ctx: &Context<'_>) -> impl Stream<Item = Maybe<i32>> + use<> {
        payloads(ctx)
    }
    async fn sure_int(&self, ctx: &Context<'_>) -> impl Stream<Item = Result<i32>> + use<> {
        payloads(ctx)
    }
    async fn item(&self, ctx: &Context<'_>) -> impl Stream<Item = Maybe<Item>> + use<> {
        payloads(ctx)
    }
    async fn sure_item(&self, ctx: &Context<'_>) -> impl Stream<Item = Result<Item>> + use<> {
        payloads(ctx)
    }
    async fn items_of_sure(&self, ctx: &Context<'_>) -> impl Stream<Item = Maybe<Vec<Result<Item>>>> + use<> {
        payloads(ctx)
    }
}

pub type Shapes = Schema<Query, Mutation, Listen>;

pub fn shapes() -> Shapes {
    Schema::new(Query(Item), Mutation(Item), Listen)
}
