//! From a request to its answer, the same way for every transport: the document is measured, parsed once, checked, run as
//! the caller, and what comes out is put right (nulls, order, faults).
//!
//! Each mutation runs in a task of its own, so that a client that hangs up can't cancel a transaction half-way. A panic
//! becomes an INTERNAL error here, and costs neither the connection nor the other operations on it. No operation takes longer
//! than it may, nor begins when too many are under way. What a caller may do is not decided here, nor how a refusal is written
//! on the wire.

use super::{
    RequestId, Server, denials,
    nulls::{Flags, Nulls},
    params::Params,
    prescan, root, seal,
    trusted::Documents,
    unsent::{SHORT, Share, Unsent},
    variables::Given,
};
use crate::{actor::Caller, config::Limits, error::Denied, events::security};
use async_graphql::{
    Name, Request, Response, ServerError, Value, Variables,
    parser::{
        Error as ParseError, parse_query,
        types::{DocumentOperations, ExecutableDocument, OperationDefinition, OperationType},
    },
};
use futures_util::{
    FutureExt, Stream, StreamExt,
    future::{BoxFuture, ready},
    stream,
};
use serde::{Serialize, Serializer, ser::SerializeMap};
use std::{any::Any, borrow::Cow, mem, ops::Deref, panic::AssertUnwindSafe, sync::Arc, time::Duration};
use tokio::{task::yield_now, time::timeout};
use tracing::Instrument;

/// The most errors that an answer without data tells; five thousand unknown fields need not be named one by one.
const MAX_REQUEST_ERRORS: usize = 10;

/// How many times its text a document takes in memory once it is parsed, about.
const PARSED: usize = 8;

/// An operation that passed every check that needs no schema.
pub struct Operation {
    request: Request,
    /// As it was sent.
    text: String,
    /// As the executor gets it.
    document: ExecutableDocument,
    /// What the executor will take it for, if it is clear which operation is meant.
    pub kind: Option<OperationType>,
    /// The variables as JSON, to weigh the request once more if it costs too much.
    variables: String,
    /// What it takes in memory at most until it is answered, in bytes.
    memory: usize,
    /// Its part of the room for requests, for as long.
    share: Share,
}

/// Measures a document and parses it.
pub fn parsed(text: &str, limits: &Limits) -> Result<ExecutableDocument, ServerError> {
    prescan::scan(text, limits)?;
    parse_query(text).map_err(unreadable)
}

/// Checks a parsed document, with the variables that are given for it.
pub fn check(document: &ExecutableDocument, given: &Given<'_>, limits: &Limits) -> Result<(), ServerError> {
    prescan::count(document, given.sizes(), limits)?;
    document.operations.iter().try_for_each(|(_, operation)| root::each_variables_type_known(&operation.node))
}

/// What the parser says, in one line instead of a drawing; where it is, is told beside.
fn unreadable(error: ParseError) -> ServerError {
    let drawn = matches!(error, ParseError::Syntax { .. });
    let mut error = coded(error.into(), "BAD_REQUEST");
    if drawn {
        let wanted = error.message.lines().last().unwrap_or_default().trim_start_matches([' ', '=']);
        error.message = format!("Syntax error: {}.", wanted.replace('_', " "));
    }
    error
}

impl Operation {
    /// Finds, measures, parses and checks a document.
    pub fn new(mut params: Params<'_>, documents: &Documents, limits: &Limits) -> Result<Self, ServerError> {
        let text = documents.find(&mut params)?.into_owned();
        let mut document = parsed(&text, limits)?;
        let name = params.operation_name.filter(|name| !name.is_empty());
        let operation = chosen(&document, name.as_deref());
        let kind = operation.map(|operation| operation.ty);
        let given = Given::read(params.variables, operation, limits)?;
        check(&document, &given, limits)?;
        let (mut variables, json) = (given.build()?, given.text());
        let memory = given.memory() + PARSED * text.len();
        let only = match operation {
            Some(operation) => root::check(&document, operation, &mut variables)?,
            None => None,
        };
        if let Some(only) = only {
            root::select(&mut document, name.as_deref(), only);
        }
        let mut request = Request::new("");
        request.operation_name = name;
        request.variables = variables;
        Ok(Self { request, text, document, kind, variables: json, memory, share: Share::default() })
    }

    /// Takes what it needs of the room for requests, unless that is full.
    pub fn admitted_to(mut self, room: &Unsent) -> Result<Self, ServerError> {
        self.share = room.share(self.memory).ok_or_else(overload)?;
        Ok(self)
    }

    /// Whether it asks for the schema.
    pub fn introspects(&self) -> bool {
        let operation = chosen(&self.document, self.request.operation_name.as_deref());
        operation.is_some_and(|operation| root::introspects(&self.document, operation))
    }

    /// Of a document that any client may ask, under the limits by default.
    #[cfg(test)]
    pub fn of(query: &str, variables: &Variables) -> Result<Self, ServerError> {
        let limits = crate::config::Config::from_pairs(true, &[]).map(|config| config.limits);
        let variables = serde_json::value::to_raw_value(variables).map_err(|error| bad_request(error.to_string()))?;
        let params = Params { query: Some(query.to_owned()), variables: Some(&variables), ..Params::default() };
        Self::new(params, &Documents::Any, &limits.map_err(|error| bad_request(error.to_string()))?)
    }

    /// The request, and what puts its answers right.
    pub(super) fn split(mut self, nulls: &Arc<Nulls>, id: RequestId) -> (Request, Finish) {
        let name = self.request.operation_name.clone();
        let flags = flags(&self.request.variables);
        let (keys, doubts) = chosen(&self.document, name.as_deref())
            .map(|operation| (nulls.keys(&self.document, operation, &flags), nulls.doubts(&self.document, operation)))
            .unwrap_or_default();
        let document = if doubts.is_empty() { Document::Text(self.text) } else { Document::Parsed(self.document.clone()) };
        doubts.settle(&mut self.document);
        self.request.set_parsed_query(self.document);
        let finish = Finish {
            nulls: Arc::clone(nulls),
            document,
            keys,
            flags,
            name,
            changes: self.kind == Some(OperationType::Mutation),
            variables: self.variables,
            id: id.clone(),
            _share: self.share,
        };
        (self.request.data(id), finish)
    }
}

/// Runs a query or a mutation; a mutation goes on when nobody waits for its answer any more.
pub async fn answer(server: &Server, caller: Caller, id: RequestId, operation: Operation) -> Answer {
    // A client that sends many at once on one connection would keep others from their turns.
    yield_now().await;
    let Some(turn) = server.app.turns.try_take(&caller.taker()) else { return overloaded().into() };
    let mutation = operation.kind == Some(OperationType::Mutation);
    let (request, finish) = operation.split(&server.nulls, id.clone());
    let working = server.clone();
    let work = async move {
        let run = working.schema.execute(request.data(caller.clone()));
        let outcome = AssertUnwindSafe(security::within(&working.app, caller.client(), run)).catch_unwind().await;
        let answer = bounded(&working, &finish, &caller, outcome).await;
        drop(turn);
        answer
    };
    let limit = server.app.config.limits.operation_timeout;
    if !mutation {
        let late = |_| too_long(limit, "Ask for less at once, or try again.").into();
        return timeout(limit, work).await.unwrap_or_else(late);
    }
    match timeout(limit, tokio::spawn(work.in_current_span())).await {
        Ok(Ok(answer)) => answer,
        // The task catches its own panics, so that only a runtime that shuts down leaves it without an answer.
        Ok(Err(stopped)) => fault(&id, &stopped.to_string()).into(),
        Err(_) => too_long(limit, "It may still be done: look before you try again.").into(),
    }
}

/// Runs any operation; a query or a mutation has one answer, and one that is refused as a whole is the last.
pub fn answers(
    server: Server,
    caller: Caller,
    id: RequestId,
    operation: Operation,
) -> impl Stream<Item = Answer> + Send + 'static {
    if operation.kind != Some(OperationType::Subscription) {
        let once: BoxFuture<'static, Answer> = async move { answer(&server, caller, id, operation).await }.boxed();
        return stream::once(once).boxed();
    }
    // What it takes to begin has a turn, and then each event from the log to its answer.
    if !caller.turn.begin(&server.app.turns, &caller.taker()) {
        return stream::once(ready(overloaded().into())).boxed();
    }
    let (request, finish) = operation.split(&server.nulls, id);
    let events = AssertUnwindSafe(server.schema.execute_stream(request.data(caller.clone()))).catch_unwind();
    let told = Arc::new((server, finish, caller));
    let answers = events.then(move |outcome| {
        let told = Arc::clone(&told);
        async move {
            let answer = bounded(&told.0, &told.1, &told.2, outcome).await;
            told.2.turn.end();
            answer
        }
    });
    let mut refused = false;
    answers.take_while(move |answer| ready(!mem::replace(&mut refused, is_request_error(answer)))).boxed()
}

/// What a panic leaves behind.
type Panic = Box<dyn Any + Send>;

/// A response, and the share of room that it takes until it is sent.
pub struct Answer {
    /// What is told.
    pub response: Response,
    /// To be kept as long as any of it.
    pub share: Share,
}

impl From<Response> for Answer {
    /// A short one.
    fn from(response: Response) -> Self {
        Self { response, share: Share::default() }
    }
}

impl Deref for Answer {
    type Target = Response;

    fn deref(&self) -> &Response {
        &self.response
    }
}

/// An answer put right, unless it is more than it may be or than there is room for.
async fn bounded(server: &Server, finish: &Finish, caller: &Caller, outcome: Result<Response, Panic>) -> Answer {
    let response = match outcome {
        Ok(response) => server.scales.weigh(response, || finish.request()).await,
        Err(panic) => fault(&finish.id, panic.as_ref()),
    };
    denials::note(&server.app, caller, &response.errors, || finish.document());
    let response = finish.response(response);
    let longest = server.app.config.limits.answer_bytes;
    let length = bytes(&response.data) + response.errors.iter().map(error_bytes).sum::<usize>();
    if length > SHORT {
        // Writing it takes its time too.
        yield_now().await;
    }
    if length > longest {
        return finish.unsaid(prescan::too_large("answer", "bytes", longest, length as u64));
    }
    match server.unsent.share(length) {
        Some(share) => Answer { response, share },
        None if finish.changes => finish.unsaid(prescan::too_large("answer", "bytes", SHORT, length as u64)),
        None => overloaded().into(),
    }
}

/// About how long a value is in JSON.
fn bytes(value: &Value) -> usize {
    match value {
        Value::List(items) => items.iter().map(|item| 1 + bytes(item)).sum(),
        Value::Object(fields) => fields.iter().map(|(key, field)| key.len() + 4 + bytes(field)).sum(),
        Value::String(text) => text.len() + 2,
        Value::Enum(name) => name.len() + 2,
        _ => 5,
    }
}

/// About how long an error is in JSON: its message, a reason of about its length, and a path.
fn error_bytes(error: &ServerError) -> usize {
    200 + 2 * error.message.len() + 10 * error.path.len()
}

fn overloaded() -> Response {
    Response::from_errors(vec![overload()])
}

/// The refusal of an operation for which there is no room.
pub fn overload() -> ServerError {
    let mut error = refused("OVERLOADED", Denied::Overloaded.to_string());
    error.extensions.get_or_insert_default().set("retryAfter", seal::RETRY_AFTER);
    error
}

fn too_long(limit: Duration, advice: &str) -> Response {
    Response::from_errors(vec![refused("TIMEOUT", format!("This took more than {} s. {advice}", limit.as_secs_f32()))])
}

/// What is needed to put the answers of one operation right.
pub(super) struct Finish {
    nulls: Arc<Nulls>,
    document: Document,
    /// The keys of the root, in the order in which the answer has to have them.
    keys: Vec<Name>,
    flags: Flags,
    name: Option<String>,
    /// Whether something is changed, so that there is no taking back the answer.
    changes: bool,
    /// The variables as JSON, on which its cost can depend.
    variables: String,
    id: RequestId,
    _share: Share,
}

/// What the answers are mended by.
enum Document {
    /// Of each answer.
    Parsed(ExecutableDocument),
    /// Of an answer with errors alone. The executor uses up the parsed document; reading it again is dearer than keeping a
    /// copy would be, but only such an answer pays.
    Text(String),
}

impl Finish {
    pub(super) fn response(&self, mut response: Response) -> Response {
        if is_request_error(&response) {
            response.errors.truncate(MAX_REQUEST_ERRORS);
        } else {
            match &self.document {
                Document::Parsed(document) => self.mend(document, true, &mut response),
                Document::Text(text) if !response.errors.is_empty() => {
                    if let Ok(document) = parse_query(text) {
                        self.mend(&document, false, &mut response);
                    }
                }
                Document::Text(_) => self.order(&mut response),
            }
        }
        seal::seal(&mut response, &self.id);
        response
    }

    /// The answer that there is no telling; what was changed is changed all the same.
    fn unsaid(&self, mut error: ServerError) -> Answer {
        if self.changes {
            error.message.push_str(" What it changed is done: look before you try again.");
        }
        Response::from_errors(vec![error]).into()
    }

    /// The request once more, to be weighed.
    fn request(&self) -> Request {
        let mut request = match &self.document {
            Document::Text(text) => Request::new(text),
            Document::Parsed(document) => {
                let mut request = Request::new("");
                request.set_parsed_query(document.clone());
                request
            }
        };
        request.operation_name.clone_from(&self.name);
        // They were read from this text before.
        request.variables(serde_json::from_str(&self.variables).unwrap_or_default())
    }

    /// The operation's document, for what is wrong with an answer.
    fn document(&self) -> Option<Cow<'_, ExecutableDocument>> {
        match &self.document {
            Document::Parsed(document) => Some(Cow::Borrowed(document)),
            Document::Text(text) => parse_query(text).ok().map(Cow::Owned),
        }
    }

    fn mend(&self, document: &ExecutableDocument, all: bool, response: &mut Response) {
        if let Some(operation) = chosen(document, self.name.as_deref()) {
            self.nulls.mend(document, operation, &self.flags, all, response);
        }
    }

    /// A query's root is the one object whose fields the executor runs side by side, and tells as they come.
    fn order(&self, response: &mut Response) {
        if let Value::Object(root) = &mut response.data
            && root.len() > 1
        {
            let mut given = mem::take(root);
            root.extend(self.keys.iter().filter_map(|key| given.swap_remove_entry(key)));
            root.extend(given);
        }
    }
}

/// The variables that `@skip` and `@include` may ask for.
fn flags(variables: &Variables) -> Flags {
    let flag = |(name, value): (&Name, &Value)| match value {
        Value::Boolean(flag) => Some((name.clone(), *flag)),
        _ => None,
    };
    variables.iter().filter_map(flag).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_request_has_no_data_on_the_wire() {
        let refusal = Response::from_errors(vec![bad_request("no")]);
        let wire = serde_json::to_string(&Wire(&refusal)).expect("serialises");
        assert_eq!(wire, r#"{"errors":[{"message":"no","extensions":{"code":"BAD_REQUEST"}}]}"#);
        assert_eq!(serde_json::to_string(&Wire(&Response::default())).expect("serialises"), r#"{"data":null}"#);
    }

    #[test]
    fn a_syntax_error_is_one_line_and_a_place() {
        let error = Operation::of("{\n a(x: ) }", &Variables::default()).map(|_| ()).expect_err("is refused");
        assert_eq!(error.message, "Syntax error: expected value.");
        assert_eq!(error.locations.first().map(|at| (at.line, at.column)), Some((2, 7)));
    }
}
