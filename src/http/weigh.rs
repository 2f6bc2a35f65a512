//! What a refused query would have cost, or how deep it goes: the executor says only that it is too much.
//!
//! An extension would see it, but having one costs every field of every answer. So a second schema has it, which runs nothing,
//! and to which a query goes once it was refused.

use super::prescan;
use crate::{config::Limits, schema};
use async_graphql::{
    Request, Response, ServerError, ValidationMode, ValidationResult,
    extensions::{Extension, ExtensionContext, ExtensionFactory, NextValidation},
};
use std::sync::Arc;

/// Weighs what was refused.
pub struct Scales(schema::Api);

impl Scales {
    /// Scales that know the limits.
    pub fn new(limits: &Limits) -> Self {
        // Whether the document is right is not asked any more.
        Self(schema::examining(Weighing { depth: limits.query_depth, cost: limits.query_cost }, ValidationMode::Fast))
    }

    /// Says by how much a limit was exceeded, if that is why this response refuses its request.
    pub async fn weigh(&self, response: Response, request: impl FnOnce() -> Request) -> Response {
        let refused = |error: &ServerError| matches!(&*error.message, "Query is too complex." | "Query is nested too deep.");
        if response.errors.first().is_some_and(refused) { self.0.execute(request()).await } else { response }
    }
}

#[derive(Clone, Copy)]
struct Weighing {
    depth: usize,
    cost: usize,
}

impl ExtensionFactory for Weighing {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(*self)
    }
}

#[async_graphql::async_trait::async_trait]
impl Extension for Weighing {
    async fn validation(
        &self,
        ctx: &ExtensionContext<'_>,
        next: NextValidation<'_>,
    ) -> Result<ValidationResult, Vec<ServerError>> {
        let found = next.run(ctx).await?;
        let within = prescan::at_most("cost", self.cost, found.complexity as u64)
            .and_then(|()| prescan::at_most("depth", self.depth, found.depth as u64))
            .and_then(|()| Err(ServerError::new("The query is within the limits.", None)));
        within.map_err(|error| vec![error])
    }
}
