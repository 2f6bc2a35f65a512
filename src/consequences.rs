//! What a change brings with it: told instead of done when the input says `dryRun`, after the same checks.

use crate::{api::Ask, schema::Node};
use async_graphql::{ComplexObject, Context, Enum, SimpleObject};
use entity::NodeId;

/// What ends with a change.
#[derive(Clone, Copy, Debug, Enum, Eq, PartialEq)]
pub enum ConsequenceKind {
    /// A user can't act in the account any more.
    AccessEnds,
    /// A user can do less in the account than before.
    AccessShrinks,
    /// A user is erased, and the login stops working.
    LoginDeleted,
    /// An API key is deleted.
    ApiKeyDeleted,
    /// A user loses a place on a client's connection.
    ClientAccessEnds,
    /// A connection between an agency and a client ends.
    ConnectionEnds,
    /// A pending invitation is taken back.
    InvitationCanceled,
    /// A pending Admin invitation that the user sent stays valid. `revokeUser` can cancel it (`cancelInvitations`).
    AdminInvitationRemains,
    /// A pending request for access is taken back.
    RequestCanceled,
}

impl ConsequenceKind {
    fn sentence(self, total: usize) -> String {
        let (one, many, what) = match self {
            Self::AccessEnds => ("user", "users", "can't act in the account any more"),
            Self::AccessShrinks => ("user", "users", "can do less in the account"),
            Self::LoginDeleted => ("user", "users", "will be erased, with the login"),
            Self::ApiKeyDeleted => ("API key", "API keys", "will be deleted"),
            Self::ClientAccessEnds => ("client's account", "clients' accounts", "can't be acted in by this user any more"),
            Self::ConnectionEnds => ("connection", "connections", "will end"),
            Self::InvitationCanceled => ("pending invitation", "pending invitations", "will be taken back"),
            Self::AdminInvitationRemains => {
                ("pending Admin invitation", "pending Admin invitations", "sent by this user can still be accepted")
            }
            Self::RequestCanceled => ("pending request for access", "pending requests for access", "will be taken back"),
        };
        format!("{total} {} {what}.", if total == 1 { one } else { many })
    }
}

/// How many of those concerned are shown.
const SHOWN: usize = 100;

/// One sort of thing that ends, and what it is that ends.
#[derive(Clone, Debug, SimpleObject)]
#[graphql(complex, serial)]
pub struct Consequence {
    /// What happens.
    kind: ConsequenceKind,
    /// To how many.
    total: usize,
    /// A sentence for people.
    summary: String,
    #[graphql(skip)]
    ids: Vec<NodeId>,
}

#[ComplexObject]
impl Consequence {
    /// To whom or what: of the first 100, those that the viewer may see.
    #[graphql(complexity = "crate::api::cost(SHOWN, child_complexity)")]
    async fn nodes(&self, ctx: &Context<'_>) -> async_graphql::Result<Vec<Node>> {
        ctx.actor().await?;
        let nodes = crate::schema::load_nodes(ctx, &self.ids[..self.ids.len().min(SHOWN)]).await?;
        Ok(nodes.into_iter().flatten().collect())
    }
}

/// All that ends with a change.
#[derive(Clone, Debug, Default)]
pub struct Consequences(Vec<Consequence>);

impl Consequences {
    /// Besides, this happens to these.
    #[must_use]
    pub fn and(mut self, kind: ConsequenceKind, ids: impl IntoIterator<Item = NodeId>) -> Self {
        let ids: Vec<_> = ids.into_iter().collect();
        if !ids.is_empty() {
            self.0.push(Consequence { kind, total: ids.len(), summary: kind.sentence(ids.len()), ids });
        }
        self
    }
}

impl From<Consequences> for Vec<Consequence> {
    fn from(consequences: Consequences) -> Self {
        consequences.0
    }
}

/// What came of a change that can be tried.
#[derive(Clone, Debug)]
pub enum Outcome<T> {
    /// It is done.
    Done(T),
    /// Nothing was changed: this is what would have been.
    Would(Consequences),
}

impl<T> Outcome<T> {
    /// What was done, and what would have been.
    pub fn split(self) -> (Option<T>, Option<Vec<Consequence>>) {
        match self {
            Self::Done(done) => (Some(done), None),
            Self::Would(consequences) => (None, Some(consequences.into())),
        }
    }
}
