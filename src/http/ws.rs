//! GraphQL over WebSocket: the subprotocol `graphql-transport-ws`, message by message as
//! <https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md> has it, with its own close codes.
//!
//! One task owns the socket, and one more runs each operation; what they have to say goes through a short queue, so that a
//! listener who does not read holds up its own operations and nothing else. Operations pass the same checks as over HTTP.
//! Who may listen, and for how long, is the subscription's own affair: a stream that ends is told as `complete`. A socket lives as
//! long as its session and access do, not only as its token.
//!
//! Nothing is read from a peer while something can't be written to it, so that answers to its pings can't pile up.

mod messages;
mod pace;
mod socket;

use super::{
    RequestId, Server,
    accept::Received,
    client::{self, Peer},
    connections::NetworkSlot,
    execute::{self, Answer, Wire},
    graphql::{NETWORK_FULL, Refusal, request_id},
    origin,
    params::Params,
    stopped,
    unsent::Share,
};
use crate::{
    actor::{Caller, Client},
    events::feed::access_ended,
};
use async_graphql::parser::types::OperationType;
use axum::{
    extract::Request,
    http::{StatusCode, request::Parts},
    response::Response,
};
use futures_util::{FutureExt, Stream, StreamExt, future::poll_fn};
use messages::{Incoming, Outgoing};
use pace::Pace;
use socket::{Handshake, Socket};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    task::Poll,
    time::Duration,
};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::{AbortHandle, JoinSet},
    time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until, timeout},
};
use tokio_tungstenite::tungstenite::{Bytes, Error, Message, protocol::CloseFrame};

/// The time from the opening of a socket to its `connection_init`.
const INIT_TIME: Duration = Duration::from_secs(5);
/// The time between two pings, and the longest that a peer may be silent after one.
const PING_TIME: Duration = Duration::from_secs(20);
/// The longest that a message may take to go out.
const SEND_TIME: Duration = Duration::from_secs(10);
/// The time from the end of a session or access to the socket's: for its streams to say so.
const LAST_WORDS: Duration = Duration::from_millis(300);
/// The time that the peer has to answer a close.
const CLOSE_TIME: Duration = Duration::from_secs(2);
/// The most messages that are still read from a peer after the socket was closed.
const LAST_MESSAGES: usize = 100;
/// The answers that may wait for a slow reader, of all its operations together.
const QUEUE: usize = 4;
/// The queries and mutations of a socket that run at once; more wait for their turn, so that one client who asks for much at once
/// holds up its own answers and not everybody's.
const AT_ONCE: usize = 2;

/// Why a socket's task ends.
enum End {
    /// We close it, with a code of the protocol or of RFC 6455, and say why.
    Close(u16, String),
    /// The peer closed it.
    Closed,
    /// The peer does not answer, or its connection is broken.
    Gone,
}

fn close(code: u16, reason: impl Into<String>) -> End {
    End::Close(code, reason.into())
}

/// 4400, for a message that the protocol does not know.
fn invalid(reason: impl std::fmt::Display) -> End {
    close(4400, format!("Invalid message received: {reason}"))
}

/// Opens a socket, unless a page of a foreign site asks for it or the client speaks another subprotocol.
pub fn upgrade(server: Server, request: Request) -> Result<Response, Refusal> {
    let (mut parts, _) = request.into_parts();
    if !origin::is_allowed(&parts, &server.app.config.allowed_origins) {
        return Err(Refusal(StatusCode::FORBIDDEN, "This origin may not call. See the setting allowed_origins.".into()));
    }
    let handshake = Handshake::read(&mut parts)?;
    let origin = Origin::of(&server, &parts)?;
    let limits = server.app.config.limits.clone();
    Ok(handshake.run(&limits, |socket| serve(socket, server, origin)))
}

/// Where a socket comes from.
struct Origin {
    /// Of the request that opened the socket; each operation's own is made from it.
    id: RequestId,
    client: Client,
    received: Received,
    /// Its place among the connections of the client's network, for as long as it is open.
    _slot: NetworkSlot,
}

impl Origin {
    fn of(server: &Server, parts: &Parts) -> Result<Self, Refusal> {
        let client = client::of(server, parts);
        let slot = server.connections.keep(parts.extensions.get::<Peer>().map(|peer| peer.0), client.address);
        let slot = slot.ok_or(Refusal(StatusCode::SERVICE_UNAVAILABLE, NETWORK_FULL.into()))?;
        let received = parts.extensions.get::<Received>().cloned().unwrap_or_default();
        Ok(Self { id: request_id(parts), client, received, _slot: slot })
    }
}

/// Runs a socket from its opening to its end.
async fn serve(socket: Socket, server: Server, origin: Origin) {
    let (answers, queue) = mpsc::channel(QUEUE);
    let operations = Operations {
        running: HashMap::new(),
        forgotten: HashSet::new(),
        tasks: JoinSet::new(),
        answers,
        turns: Arc::new(Semaphore::new(AT_ONCE)),
    };
    let (over, ended) = watch::channel(false);
    let pace = Pace::new(origin.received.clone(), server.app.config.limits.socket_message_bytes);
    let mut session = Session {
        socket,
        server,
        origin,
        pace,
        caller: None,
        serial: 0,
        operations,
        used: Instant::now(),
        heard: true,
        over: Some(over),
        ended,
    };
    let end = session.run(queue).await;
    session.operations.tasks.abort_all();
    match end {
        End::Close(code, reason) => session.close(code, reason).await,
        // The library has an answer to the peer's close ready; reading on sends it.
        End::Closed => drop(session.drain().await),
        End::Gone => {}
    }
}

/// Why a socket is closed on which nobody is signed in.
const IDLE: &str = "Idle: nobody is signed in, and there is no operation";
/// Why a socket is closed that sends too much without effect.
const FLOOD: &str = "Too many pings, pongs and other messages without effect";

/// The next message, once everything that was written has gone out.
async fn next(socket: &mut Socket, pace: &Pace) -> Result<Message, End> {
    socket.flush().await.map_err(|_| End::Gone)?;
    let received = poll_fn(|cx| match socket.poll_next(cx) {
        Poll::Ready(received) => Poll::Ready(Ok(received)),
        Poll::Pending if pace.is_in_too_many_pieces() => Poll::Ready(Err(close(1008, "A message in too many pieces"))),
        Poll::Pending => Poll::Pending,
    });
    match received.await? {
        Some(Ok(message)) => Ok(message),
        Some(Err(error)) => Err(unreadable(&error, pace.longest())),
        None => Err(End::Closed),
    }
}

/// One socket.
struct Session {
    socket: Socket,
    server: Server,
    origin: Origin,
    pace: Pace,
    /// Who speaks, once the connection is acknowledged.
    caller: Option<Caller>,
    /// Counts the operations: a client may use an `id` again.
    serial: u64,
    operations: Operations,
    /// When the latest operation was under way.
    used: Instant,
    /// Whether the peer has said anything since the latest ping.
    heard: bool,
    /// Told by who watches the session and its access; kept here until somebody does.
    over: Option<watch::Sender<bool>>,
    ended: watch::Receiver<bool>,
}

/// Waits until the session or the access has ended, and a little longer.
async fn over(mut ended: watch::Receiver<bool>) {
    if ended.wait_for(|ended| *ended).await.is_err() {
        // Who watched is gone only when the socket is.
        std::future::pending::<()>().await;
    }
    sleep(LAST_WORDS).await;
}

/// The operations of a socket. They end with it, except for mutations.
struct Operations {
    running: HashMap<String, Running>,
    /// Mutations whose answer the client no longer wants. They count until they are done.
    forgotten: HashSet<u64>,
    tasks: JoinSet<()>,
    answers: mpsc::Sender<Said>,
    turns: Arc<Semaphore>,
}

struct Running {
    serial: u64,
    mutation: bool,
    task: AbortHandle,
}

/// What an operation has to say.
struct Said {
    serial: u64,
    id: String,
    message: Message,
    /// The room that it takes until it is sent.
    share: Share,
    last: bool,
}

impl Session {
    /// Answers messages until there is a reason to end.
    async fn run(&mut self, mut queue: mpsc::Receiver<Said>) -> End {
        let mut shutdown = self.server.shutdown.clone();
        let mut stop = Box::pin(async move { stopped(&mut shutdown).await }.fuse());
        let mut over = Box::pin(over(self.ended.clone()));
        let mut init = Box::pin(sleep(INIT_TIME));
        let mut pings = interval_at(Instant::now() + PING_TIME, PING_TIME);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let idle = self.idle_until();
            let done = tokio::select! {
                () = &mut stop => Err(close(1001, "Server is going away")),
                () = &mut over => Err(close(4403, "Forbidden: the session, or the access to its account, has ended")),
                () = &mut init, if self.caller.is_none() => Err(close(4408, "Connection initialisation timeout")),
                () = sleep_until(idle.unwrap_or_else(Instant::now)), if idle.is_some() => Err(close(1000, IDLE)),
                _ = pings.tick() => self.ping().await,
                Some(said) = queue.recv() => self.say(said).await,
                Some(_) = self.operations.tasks.join_next() => Ok(()),
                received = next(&mut self.socket, &self.pace) => self.receive(received).await,
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    /// When a socket is to be closed that nobody is signed in on and that has no operation.
    fn idle_until(&mut self) -> Option<Instant> {
        if !self.operations.running.is_empty() {
            self.used = Instant::now();
            return None;
        }
        let signed_out = self.caller.as_ref().is_some_and(Caller::is_signed_out);
        signed_out.then(|| self.used + self.server.app.config.limits.idle_socket_timeout)
    }

    /// Asks the peer for a sign of life, or gives it up if it gave none since the last time.
    async fn ping(&mut self) -> Result<(), End> {
        if !std::mem::take(&mut self.heard) {
            return Err(End::Gone);
        }
        self.send(Message::Ping(Bytes::new())).await
    }

    /// Sends a message. A peer that takes nothing for so long, or after its access has ended, is not there to be told why it is
    /// cut off.
    async fn send(&mut self, message: Message) -> Result<(), End> {
        let over = over(self.ended.clone());
        tokio::select! {
            sent = timeout(SEND_TIME, self.socket.send(message)) => sent.map_err(|_| End::Gone)?.map_err(|_| End::Gone),
            () = over => Err(End::Gone),
        }
    }

    /// Passes on what an operation said, unless the client has completed it meanwhile.
    async fn say(&mut self, said: Said) -> Result<(), End> {
        let operations = &mut self.operations;
        if operations.running.get(&said.id).is_none_or(|running| running.serial != said.serial) {
            if said.last {
                operations.forgotten.remove(&said.serial);
            }
            return Ok(());
        }
        if said.last {
            operations.running.remove(&said.id);
        }
        let sent = self.send(said.message).await;
        drop(said.share);
        sent
    }

    async fn receive(&mut self, received: Result<Message, End>) -> Result<(), End> {
        self.heard = true;
        self.pace.message_is_whole();
        let text = match received? {
            Message::Text(text) => text,
            // The library answers a ping by itself, with one pong for all that came before it could write.
            Message::Ping(_) | Message::Pong(_) => return self.without_effect(),
            // The library has no frames for who reads messages.
            Message::Binary(_) | Message::Frame(_) => return Err(invalid("not text")),
            Message::Close(_) => return Err(End::Closed),
        };
        match Incoming::read(&text).map_err(invalid)? {
            Incoming::Init(authorization) => self.init(authorization).await,
            Incoming::Ping(payload) => {
                self.without_effect()?;
                self.send(Outgoing::Pong { payload }.message()).await
            }
            Incoming::Subscribe { id, params } => self.subscribe(id, params).await,
            Incoming::Complete { id } if self.operations.forget(&id) => Ok(()),
            Incoming::Pong | Incoming::Complete { .. } => self.without_effect(),
        }
    }

    /// Counts a message that asks for nothing, and closes a socket that has too many of them.
    fn without_effect(&mut self) -> Result<(), End> {
        if self.pace.allows_one_more() { Ok(()) } else { Err(close(1008, FLOOD)) }
    }

    /// `connection_init`: says who speaks, once.
    async fn init(&mut self, authorization: Option<String>) -> Result<(), End> {
        if self.caller.is_some() {
            return Err(close(4429, "Too many initialisation requests"));
        }
        let caller = Caller::of(&self.server.app, authorization.as_deref()).from(self.origin.client.clone());
        if let Some(reason) = caller.refusal() {
            return Err(close(4403, format!("Forbidden: {reason}")));
        }
        if let (false, Some(over)) = (caller.is_signed_out(), self.over.take()) {
            let (app, caller) = (self.server.app.clone(), caller.clone());
            self.operations.tasks.spawn(async move {
                access_ended(&app, &caller).await;
                over.send_replace(true);
            });
        }
        self.caller = Some(caller);
        self.send(Outgoing::ConnectionAck.message()).await
    }

    /// `subscribe`: starts an operation of any kind.
    async fn subscribe(&mut self, id: String, params: Params<'_>) -> Result<(), End> {
        let Some(caller) = &self.caller else { return Err(close(4401, "Unauthorized")) };
        if id.is_empty() || !params.names_a_document() {
            return Err(invalid("subscribe needs an id and a query"));
        }
        if self.operations.running.contains_key(&id) {
            return Err(close(4409, format!("Subscriber for {id} already exists")));
        }
        let most = self.server.app.config.limits.socket_operations;
        if self.operations.running.len() + self.operations.forgotten.len() >= most {
            return Err(close(1008, format!("More than {most} operations at once")));
        }
        let operation = match self.server.operation(params) {
            Ok(operation) => operation,
            Err(error) => return self.send(Outgoing::Error { id: &id, payload: &[error] }.message()).await,
        };
        self.serial += 1;
        let request = RequestId(format!("{}-{}", self.origin.id.0, self.serial));
        let kind = operation.kind;
        let answers = execute::answers(self.server.clone(), caller.afresh(), request, operation);
        self.operations.start(self.serial, id, kind, answers);
        Ok(())
    }

    /// Tells the peer why, and waits a little for its own close, so that ours is not lost with the connection.
    async fn close(&mut self, code: u16, mut reason: String) {
        // A control frame has room for 125 bytes, two of which are the code.
        reason.truncate(reason.floor_char_boundary(123));
        let frame = Message::Close(Some(CloseFrame { code: code.into(), reason: reason.into() }));
        let sent = timeout(CLOSE_TIME, self.socket.send(frame)).await.is_ok_and(|sent| sent.is_ok());
        if sent && !self.drain().await {
            // An unreadable message ends the reading; to hang up over what is left of it would lose the close on its way.
            sleep(CLOSE_TIME).await;
        }
    }

    /// Reads until the connection ends, for a little while, and tells whether the peer sent a close.
    async fn drain(&mut self) -> bool {
        let mut closed = false;
        let read = async {
            for _ in 0..LAST_MESSAGES {
                let Ok(message) = next(&mut self.socket, &self.pace).await else { break };
                closed |= matches!(message, Message::Close(_));
            }
        };
        timeout(CLOSE_TIME, read).await.is_err() || closed
    }
}

impl Operations {
    /// Runs an operation in a task that says each of its answers, and that it is over.
    fn start(
        &mut self,
        serial: u64,
        id: String,
        kind: Option<OperationType>,
        answers: impl Stream<Item = Answer> + Send + 'static,
    ) {
        let (queue, key, mutation) = (self.answers.clone(), id.clone(), kind == Some(OperationType::Mutation));
        // A subscription waits for most of its life, and would keep others waiting with it.
        let turns = (kind != Some(OperationType::Subscription)).then(|| Arc::clone(&self.turns));
        let task = self.tasks.spawn(async move {
            let _turn = match turns {
                Some(turns) => turns.acquire_owned().await.ok(),
                None => None,
            };
            let mut answers = std::pin::pin!(answers);
            while let Some(answer) = answers.next().await {
                let last = execute::is_request_error(&answer);
                let message = if last {
                    Outgoing::Error { id: &id, payload: &answer.errors }.message()
                } else {
                    Outgoing::Next { id: &id, payload: Wire(&answer.response) }.message()
                };
                let said = Said { serial, id: id.clone(), message, share: answer.share, last };
                if queue.send(said).await.is_err() || last {
                    return;
                }
            }
            let message = Outgoing::Complete { id: &id }.message();
            // A socket that has gone meanwhile needs no answer.
            let _ = queue.send(Said { serial, id, message, share: Share::default(), last: true }).await;
        });
        self.running.insert(key, Running { serial, mutation, task });
    }

    /// Ends an operation that the client completes. False if there is none: it may have completed already.
    fn forget(&mut self, id: &str) -> bool {
        let Some(running) = self.running.remove(id) else { return false };
        if running.mutation {
            self.forgotten.insert(running.serial);
        } else {
            running.task.abort();
        }
        true
    }
}

/// What a message that can't be read closes the socket with.
fn unreadable(error: &Error, longest: usize) -> End {
    match error {
        Error::Capacity(_) => close(1009, format!("A message may have {longest} bytes")),
        _ => close(1002, "Protocol error"),
    }
}
