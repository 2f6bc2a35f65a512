//! From a request to its answer, the same way for every transport: the document is measured, parsed once, checked, run as
//! the caller, and what comes out is put right (nulls, order, faults).
//!
//! Each mutation runs in a task of its own, so that a client that hangs up can't cancel a transaction half-way. A panic
//! becomes an INTERNAL error here, and costs neither the connection nor the other operations on it. No operation takes longer
//! than it may, nor begins when too many are under way. What a caller may do is not decided here, nor how a refusal is written
//! on the wire.

use super::{
    RequestId, Server, prescan, seal,
    trusted::{self, Documents},
    weigh,
};
use crate::{actor::Caller, config::Limits, error::Denied};
use async_graphql::{
    Name, Request, Response, ServerError, Value, Variables,
    indexmap::IndexMap,
    parser::{
        parse_query,
        types::{DocumentOperations, ExecutableDocument, OperationDefinition, OperationType, Selection, SelectionSet},
    },
};
use futures_util::{FutureExt, Stream, StreamExt, future::BoxFuture, stream};
use serde::{Deserialize, Serialize, Serializer, ser::SerializeMap};
use std::{any::Any, collections::HashSet, panic::AssertUnwindSafe, sync::Arc, time::Duration};
use tokio::{task::yield_now, time::timeout};
use tracing::Instrument;

/// The most errors that an answer without data tells; five thousand unknown fields need not be named one by one.
const MAX_REQUEST_ERRORS: usize = 10;

/// What a client sends, in a body, a query string or a `subscribe` message.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default, expecting = "an object")]
pub struct Params {
    /// The document.
    pub query: Option<String>,
    /// The id of a trusted one, instead.
    pub document_id: Option<String>,
    /// Which of the document's operations is meant.
    pub operation_name: Option<String>,
    /// The values of its variables.
    pub variables: Option<Variables>,
    /// Whatever else; kept for resolvers, read by none.
    pub extensions: Option<async_graphql::Extensions>,
}

impl Params {
    /// Whether a document is there, or an id of one.
    pub fn names_a_document(&self) -> bool {
        let given = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        given(&self.query) || given(&self.document_id) || trusted::hash(self).is_some()
    }
}

/// Reads a JSON object. A struct can be read from an array too, so that a batch would pass for one request.
pub fn object<T: for<'de> Deserialize<'de>>(json: &[u8]) -> serde_json::Result<T> {
    match json.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'[') => Err(serde::de::Error::custom("an object is expected, and batches are not supported")),
        _ => serde_json::from_slice(json),
    }
}

/// An operation that passed every check that needs no schema.
pub struct Operation {
    request: Request,
    /// The document's text, of which the request has the parsed form.
    document: String,
    /// The keys of its root, in the order in which the answer has to have them.
    keys: Vec<Name>,
    /// What the executor will take it for, if it is clear which operation is meant.
    pub kind: Option<OperationType>,
}

/// Measures a document with its variables and parses it.
pub fn checked(text: &str, variables: &Variables, limits: &Limits) -> Result<ExecutableDocument, ServerError> {
    prescan::scan(text, limits)?;
    let document = parse_query(text).map_err(|error| coded(error.into(), "BAD_REQUEST"))?;
    prescan::count(&document, variables, limits)?;
    Ok(document)
}

impl Operation {
    /// Finds, measures, parses and checks a document.
    pub fn new(mut params: Params, documents: &Documents, limits: &Limits) -> Result<Self, ServerError> {
        let text = documents.find(&mut params)?.into_owned();
        let mut variables = params.variables.unwrap_or_default();
        let document = checked(&text, &variables, limits)?;
        let name = params.operation_name.filter(|name| !name.is_empty());
        let operation = chosen(&document, name.as_deref());
        let kind = operation.map(|operation| operation.ty);
        let mut keys = Vec::new();
        if let Some(operation) = operation {
            fill_in_defaults(operation, &mut variables);
            root_keys(&document, &operation.selection_set.node, &mut keys);
            each_variable_given(operation, &variables)?;
            if operation.ty == OperationType::Subscription && keys.len() != 1 {
                return Err(bad_request("A subscription has one field at its root. Open another one for each."));
            }
            if operation.ty == OperationType::Mutation {
                each_key_once(&document, &operation.selection_set.node, &mut HashSet::new())?;
            }
        }
        let mut request = Request::new("");
        request.operation_name = name;
        request.variables = variables;
        request.extensions = params.extensions.unwrap_or_default();
        request.set_parsed_query(document);
        Ok(Self { request, document: text, keys, kind })
    }

    /// The request as an actor's, and what puts its answers right.
    fn split(self, server: &Server, caller: Caller, id: RequestId) -> (Request, Finish) {
        let name = self.request.operation_name.clone();
        let finish = Finish {
            server: server.clone(),
            document: self.document,
            keys: self.keys,
            name,
            changes: self.kind == Some(OperationType::Mutation),
            numbers: weigh::numbers(&self.request.variables),
            id: id.clone(),
        };
        (self.request.data(caller).data(id), finish)
    }
}

/// Runs a query or a mutation; a mutation goes on when nobody waits for its answer any more.
pub async fn answer(server: &Server, caller: Caller, id: RequestId, operation: Operation) -> Response {
    // A client that sends many at once on one connection would keep others from their turns.
    yield_now().await;
    let Ok(place) = Arc::clone(&server.operations).try_acquire_owned() else { return overloaded() };
    let mutation = operation.kind == Some(OperationType::Mutation);
    let (request, finish) = operation.split(server, caller, id.clone());
    let schema = server.schema.clone();
    let work = async move {
        let outcome = AssertUnwindSafe(schema.execute(request)).catch_unwind().await;
        let answer = finish.response(outcome).await;
        drop(place);
        answer
    };
    let limit = server.app.config.limits.operation_timeout;
    if !mutation {
        return timeout(limit, work).await.unwrap_or_else(|_| too_long(limit, "Ask for less at once, or try again."));
    }
    match timeout(limit, tokio::spawn(work.in_current_span())).await {
        Ok(Ok(answer)) => answer,
        // The task catches its own panics, so that only a runtime that shuts down leaves it without an answer.
        Ok(Err(stopped)) => fault(&id, &stopped.to_string()),
        Err(_) => too_long(limit, "It may still be done: look before you try again."),
    }
}

/// Runs any operation; a query or a mutation has one answer.
pub fn answers(
    server: Server,
    caller: Caller,
    id: RequestId,
    operation: Operation,
) -> impl Stream<Item = Response> + Send + 'static {
    if operation.kind != Some(OperationType::Subscription) {
        let once: BoxFuture<'static, Response> = async move { answer(&server, caller, id, operation).await }.boxed();
        return stream::once(once).boxed();
    }
    let (request, finish) = operation.split(&server, caller, id);
    let events = AssertUnwindSafe(server.schema.execute_stream(request)).catch_unwind();
    let finish = Arc::new(finish);
    let answers = events.then(move |outcome| {
        let finish = Arc::clone(&finish);
        async move { finish.response(outcome).await }
    });
    answers.boxed()
}

/// What is needed to put the answers of one operation right.
struct Finish {
    server: Server,
    document: String,
    keys: Vec<Name>,
    name: Option<String>,
    /// Whether something was changed, so that there is no taking back the answer.
    changes: bool,
    /// What of the variables its cost can depend on.
    numbers: Variables,
    id: RequestId,
}

impl Finish {
    async fn response(&self, outcome: Result<Response, Panic>) -> Response {
        let mut response = match outcome {
            Ok(response) => self.server.scales.weigh(response, || self.to_be_weighed()).await,
            Err(panic) => fault(&self.id, panic.as_ref()),
        };
        let longest = self.server.app.config.limits.answer_bytes;
        let length = bytes(&response.data);
        if length > longest && !self.changes {
            response = Response::from_errors(vec![prescan::too_large("answer", "bytes", longest, length as u64)]);
        }
        if is_request_error(&response) {
            response.errors.truncate(MAX_REQUEST_ERRORS);
        } else if response.errors.is_empty() && response.data == Value::Null {
            // Nothing was left to select, which the executor tells as null.
            response.data = Value::Object(IndexMap::new());
        } else if !response.errors.is_empty() {
            // The executor has used up the parsed document. Reading it again here is dearer than keeping a copy would be,
            // but only an answer with errors pays.
            if let Ok(document) = parse_query(&self.document) {
                self.server.nulls.mend(&document, self.name.as_deref(), &mut response);
            }
        }
        // A query's root is the one object whose fields the executor runs side by side, and tells as they come.
        if let Value::Object(root) = &mut response.data
            && root.len() > 1
        {
            root.sort_by_cached_key(|key, _| self.keys.iter().position(|wanted| wanted == key));
        }
        seal::seal(&mut response, &self.id);
        response
    }

    fn to_be_weighed(&self) -> Request {
        let mut request = Request::new(&self.document).variables(self.numbers.clone());
        request.operation_name.clone_from(&self.name);
        request
    }
}

/// About how long a value is in JSON.
fn bytes(value: &Value) -> usize {
    match value {
        Value::List(items) => items.iter().map(|item| 1 + bytes(item)).sum(),
        Value::Object(fields) => fields.iter().map(|(key, field)| key.len() + 4 + bytes(field)).sum(),
        Value::String(text) => text.len() + 2,
        _ => 5,
    }
}

/// What a panic leaves behind.
type Panic = Box<dyn Any + Send>;

fn overloaded() -> Response {
    let mut error = refused("OVERLOADED", Denied::Overloaded.to_string());
    error.extensions.get_or_insert_default().set("retryAfter", seal::RETRY_AFTER);
    Response::from_errors(vec![error])
}

fn too_long(limit: Duration, advice: &str) -> Response {
    Response::from_errors(vec![refused("TIMEOUT", format!("This took more than {} s. {advice}", limit.as_secs_f32()))])
}

/// Whether the operation was refused as a whole, before any field of it ran.
pub fn is_request_error(response: &Response) -> bool {
    response.data == Value::Null && !response.errors.is_empty() && response.errors.iter().all(|error| error.path.is_empty())
}

/// Whether an error of a response has this code.
pub fn has_code(response: &Response, code: &str) -> bool {
    let code = Value::from(code);
    response.errors.iter().filter_map(|error| error.extensions.as_ref()?.get("code")).any(|found| *found == code)
}

/// A response as the specification has it on the wire: a refused request has no `data` at all.
pub struct Wire<'a>(pub &'a Response);

impl Serialize for Wire<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if !is_request_error(self.0) {
            map.serialize_entry("data", &self.0.data)?;
        }
        if !self.0.errors.is_empty() {
            map.serialize_entry("errors", &self.0.errors)?;
        }
        if !self.0.extensions.is_empty() {
            map.serialize_entry("extensions", &self.0.extensions)?;
        }
        map.end()
    }
}

/// An error for a request that is wrong in itself.
pub fn bad_request(message: impl Into<String>) -> ServerError {
    refused("BAD_REQUEST", message)
}

/// An error with a code, of the request as a whole.
pub fn refused(code: &str, message: impl Into<String>) -> ServerError {
    coded(ServerError::new(message, None), code)
}

fn coded(mut error: ServerError, code: &str) -> ServerError {
    error.extensions.get_or_insert_default().set("code", code);
    error
}

/// Logs a panic and answers for it, without its words.
fn fault(id: &RequestId, panic: &(dyn Any + Send)) -> Response {
    let words = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    tracing::error!(request_id = %id.0, panic = words.unwrap_or("without words"), "an operation panicked");
    let mut error = refused("INTERNAL", format!("Something went wrong on our side. Request: {}", id.0));
    error.extensions.get_or_insert_default().set("requestId", id.0.as_str());
    Response::from_errors(vec![error])
}

/// The operation that the executor will run, if it is clear which.
fn chosen<'a>(document: &'a ExecutableDocument, name: Option<&str>) -> Option<&'a OperationDefinition> {
    match (&document.operations, name) {
        (DocumentOperations::Single(only), None) => Some(&only.node),
        (DocumentOperations::Multiple(all), Some(name)) => all.get(name).map(|operation| &operation.node),
        (DocumentOperations::Multiple(all), None) if all.len() == 1 => all.values().next().map(|operation| &operation.node),
        _ => None,
    }
}

/// The keys that an operation selects at its root, through fragments, in order.
fn root_keys(document: &ExecutableDocument, selection: &SelectionSet, keys: &mut Vec<Name>) {
    for item in &selection.items {
        match &item.node {
            Selection::Field(field) => {
                let key = &field.node.response_key().node;
                if !keys.contains(key) {
                    keys.push(key.clone());
                }
            }
            Selection::InlineFragment(fragment) => root_keys(document, &fragment.node.selection_set.node, keys),
            Selection::FragmentSpread(spread) => {
                if let Some(fragment) = document.fragments.get(&spread.node.fragment_name.node) {
                    root_keys(document, &fragment.node.selection_set.node, keys);
                }
            }
        }
    }
}

/// Gives each variable that was left out its default. The executor would, but not where it decides what to skip.
fn fill_in_defaults(operation: &OperationDefinition, variables: &mut Variables) {
    for definition in operation.variable_definitions.iter().map(|definition| &definition.node) {
        if let Some(default) = definition.default_value() {
            variables.entry(definition.name.node.clone()).or_insert_with(|| default.clone());
        }
    }
}

/// Refuses an operation that lacks a variable it can't do without. The executor would find out at the field that reads it,
/// when the mutations before that one have been done.
fn each_variable_given(operation: &OperationDefinition, variables: &Variables) -> Result<(), ServerError> {
    let missing = operation.variable_definitions.iter().map(|definition| &definition.node).find(|definition| {
        let given = variables.get(&definition.name.node);
        !definition.var_type.node.nullable && given.is_none_or(|value| *value == Value::Null)
    });
    let Some(missing) = missing else { return Ok(()) };
    Err(bad_request(format!("The variable \"${}\" of type {} must be given.", missing.name.node, missing.var_type.node)))
}

/// Refuses a mutation that selects a key of its root twice: the specification merges the two, the executor runs both.
fn each_key_once<'a>(
    document: &'a ExecutableDocument,
    selection: &'a SelectionSet,
    seen: &mut HashSet<&'a str>,
) -> Result<(), ServerError> {
    selection.items.iter().try_for_each(|item| match &item.node {
        Selection::Field(field) if field.node.name.node == "__typename" => Ok(()),
        Selection::Field(field) => {
            let key = field.node.response_key().node.as_str();
            let twice = || bad_request(format!("The mutation selects \"{key}\" twice. Give each field an alias of its own."));
            if seen.insert(key) { Ok(()) } else { Err(twice()) }
        }
        Selection::InlineFragment(fragment) => each_key_once(document, &fragment.node.selection_set.node, seen),
        Selection::FragmentSpread(spread) => match document.fragments.get(&spread.node.fragment_name.node) {
            Some(fragment) => each_key_once(document, &fragment.node.selection_set.node, seen),
            None => Ok(()),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(query: &str) -> Result<Operation, String> {
        let limits = crate::config::Config::from_pairs(true, &[]).expect("the defaults").limits;
        let params = Params { query: Some(query.to_owned()), ..Params::default() };
        Operation::new(params, &Documents::Any, &limits).map_err(|error| error.message)
    }

    #[test]
    fn a_mutation_that_selects_a_key_twice_is_refused() {
        for query in [
            "mutation { a: x a: x }",
            "mutation { x ... { x } }",
            "mutation { x ...F } fragment F on Mutation { x }",
            "mutation { ...F ...F } fragment F on Mutation { a: x { b } }",
        ] {
            let refusal = checked(query).err().unwrap_or_default();
            assert!(refusal.starts_with("The mutation selects"), "{query}: {refusal}");
        }
        assert!(checked("mutation { a: x { c c } b: x __typename ...F } fragment F on Mutation { __typename }").is_ok());
        assert!(checked("{ x x }").is_ok(), "a query may");
    }

    #[test]
    fn a_subscription_has_one_root_field() {
        for query in
            ["subscription { a b }", "subscription { a: x b: x }", "subscription { a ...F } fragment F on Subscription { b }"]
        {
            assert_eq!(
                checked(query).err().as_deref(),
                Some("A subscription has one field at its root. Open another one for each.")
            );
        }
        assert!(checked("subscription { a { b } ...F } fragment F on Subscription { a { c } }").is_ok());
    }

    #[test]
    fn a_variable_that_is_left_out_has_its_default() {
        let operation = checked("query ($a: Int = 1, $b: Boolean! = true) { x(a: $a) @skip(if: $b) }").expect("passes");
        assert_eq!(serde_json::to_value(&operation.request.variables).expect("JSON"), serde_json::json!({ "a": 1, "b": true }));
    }

    #[test]
    fn a_variable_that_is_needed_must_be_given() {
        let refusal = checked("query ($a: Int, $b: [Int!]! = [1], $c: Int!) { x(a: $a, b: $b, c: $c) }").err();
        assert_eq!(refusal.as_deref(), Some("The variable \"$c\" of type Int! must be given."));
    }

    #[test]
    fn a_refused_request_has_no_data_on_the_wire() {
        let refusal = Response::from_errors(vec![bad_request("no")]);
        let wire = serde_json::to_string(&Wire(&refusal)).expect("serialises");
        assert_eq!(wire, r#"{"errors":[{"message":"no","extensions":{"code":"BAD_REQUEST"}}]}"#);
        assert_eq!(serde_json::to_string(&Wire(&Response::default())).expect("serialises"), r#"{"data":null}"#);
    }
}
