//! Following a log: all that comes after a cursor, in order, once (E3).
//!
//! A wake-up says only that a log has grown; its content is always read from the log. The latest entries are kept per log,
//! so that a thousand listeners of one account cost one query per change and not a thousand. A listener that is behind what
//! is kept reads the log itself, a page at a time: it is slow alone, and nobody waits for it (E5).

use crate::{
    actor::{Actor, Caller},
    app::App,
    db::{Sql, columns, model},
    error::{Denied, Error, Result},
};
use entity::{LogId, Moment, event};
use futures_util::{Stream, future::select_all, stream};
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};
use tokio::sync::watch;
use uuid::Uuid;

/// How many entries of a log are kept, and how many are read at once.
const KEPT: usize = 256;
/// How long a listener trusts that it would have been woken. A wake-up may be lost; the log is not.
const POLL: Duration = Duration::from_secs(20);
/// How long a socket's end may wait for what else grows: its subscriptions have looked for themselves, and are told first what
/// a thousand sockets would be looked up for meanwhile.
const SETTLE: Duration = Duration::from_millis(200);

/// One event in one log.
#[derive(Debug)]
pub struct Entry {
    /// Its number there.
    pub number: i64,
    /// What happened.
    pub event: event::Model,
}

/// A place in a log. Opaque to clients, and good for that log alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cursor {
    log: LogId,
    number: i64,
}

impl Cursor {
    /// After this many entries of a log.
    pub fn new(log: LogId, number: i64) -> Self {
        Self { log, number }
    }

    fn list(log: LogId) -> String {
        format!("log {}", log.0)
    }

    /// As clients see it at an event: always the same.
    pub fn write(self, app: &App) -> String {
        self.write_with(app, Uuid::nil())
    }

    /// As clients see it at the end of a log: another one each time. Not everybody may know of every event, and an end that stays the
    /// same would tell that nothing happened.
    pub fn write_end(self, app: &App) -> String {
        self.write_with(app, app.clock.id())
    }

    fn write_with(self, app: &App, salt: Uuid) -> String {
        app.keys.cursors.write(&Self::list(self.log), &[&self.number.to_be_bytes(), salt.as_bytes().as_slice()].concat())
    }

    /// Reads one of this log.
    pub fn read(app: &App, text: &str, log: LogId) -> Result<Self> {
        let place = app.keys.cursors.read(&Self::list(log), text);
        let number = place.and_then(|place| place.first_chunk().copied()).map(i64::from_be_bytes);
        let wrong = "This is not a cursor of this log. Use a cursor that the log returned, in the account that returned it.";
        number.map(|number| Self { log, number }).ok_or_else(|| Denied::BadRequest(wrong.into()).into())
    }

    /// Where a log stands now.
    pub async fn now(app: &App, log: LogId) -> Result<Self> {
        let head =
            Sql::new("SELECT head FROM logs WHERE id = ").bind(log).one(app.reader(), |row| row.try_get_by_index(0)).await?;
        Ok(Self { log, number: head.unwrap_or(0) })
    }
}

/// What is kept of the logs that are listened to.
#[derive(Default)]
pub struct Feeds(Mutex<HashMap<LogId, Weak<Feed>>>);

impl Feeds {
    fn of(&self, app: &App, log: LogId) -> Arc<Feed> {
        let mut feeds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(feed) = feeds.get(&log).and_then(Weak::upgrade) {
            return feed;
        }
        feeds.retain(|_, feed| feed.strong_count() > 0);
        let feed = Arc::new(Feed { log, wakeups: app.bus.listen(log), recent: tokio::sync::Mutex::default() });
        feeds.insert(log, Arc::downgrade(&feed));
        feed
    }
}

/// The latest entries of one log, shared by its listeners.
struct Feed {
    log: LogId,
    wakeups: watch::Receiver<u64>,
    recent: tokio::sync::Mutex<Recent>,
}

#[derive(Default)]
struct Recent {
    entries: VecDeque<Arc<Entry>>,
    /// The number of the last entry; without entries, the number after which to read.
    head: i64,
    /// Which wake-up they were read after.
    seen: Option<u64>,
}

impl Feed {
    /// What comes after a number, at most a page of it. `anew`: even if nothing has woken this feed.
    async fn after(&self, app: &App, number: i64, anew: bool) -> Result<Vec<Arc<Entry>>> {
        let mut recent = self.recent.lock().await;
        let wakeup = *self.wakeups.borrow();
        if recent.head < number {
            // Ahead of what is kept: what is kept is of no use to who follows the log's end, so it begins there.
            *recent = Recent { head: number, ..Recent::default() };
        }
        if anew || recent.seen != Some(wakeup) {
            recent.read_on(app, self.log, wakeup).await?;
        }
        if number < recent.begins_after() {
            // Behind what is kept: this listener is slow alone, and the others don't wait for it.
            drop(recent);
            return read(app, self.log, number).await;
        }
        Ok(recent.entries.iter().filter(|entry| entry.number > number).cloned().collect())
    }
}

impl Recent {
    /// Everything after this number, up to the head, is kept.
    fn begins_after(&self) -> i64 {
        self.entries.front().map_or(self.head, |entry| entry.number - 1)
    }

    /// Reads what the log has grown by, and keeps the latest.
    async fn read_on(&mut self, app: &App, log: LogId, wakeup: u64) -> Result<()> {
        let new = read(app, log, self.head).await?;
        // A full page may not be all.
        self.seen = (new.len() < KEPT).then_some(wakeup);
        self.head = new.last().map_or(self.head, |entry| entry.number);
        self.entries.extend(new);
        let surplus = self.entries.len().saturating_sub(KEPT);
        self.entries.drain(..surplus);
        Ok(())
    }
}

/// A page of a log after a number, oldest first.
async fn read(app: &App, log: LogId, number: i64) -> Result<Vec<Arc<Entry>>> {
    let sql = Sql::new(format!(
        "SELECT l.number AS l_number, {} FROM log_entries l JOIN events e ON e.id = l.event_id",
        columns::<event::Entity>("e")
    ));
    let sql = sql.push(" WHERE l.log_id = ").bind(log).push(" AND l.number > ").bind(number);
    let sql = sql.push(&format!(" ORDER BY l.number LIMIT {KEPT}"));
    sql.all(app.reader(), |row| Ok(Arc::new(Entry { number: row.try_get("", "l_number")?, event: model("e")(row)? }))).await
}

/// Who follows a log, and until when they may.
pub struct Listener {
    app: App,
    caller: Caller,
    feed: Arc<Feed>,
    cursor: Cursor,
    wakeups: Vec<watch::Receiver<u64>>,
    ready: VecDeque<Arc<Entry>>,
    poll: bool,
    /// Whether the viewer's access may have changed since it was last looked up, as far as one is told.
    woken: bool,
    /// When the viewer's access ends by itself.
    ends_at: Option<Moment>,
}

impl Listener {
    /// Follows a log from a cursor on, or from now on. Wakes also when the logs grow on which the viewer's access depends.
    pub async fn new(app: &App, caller: &Caller, log: LogId, after: Option<&str>) -> Result<Self> {
        // Subscribed before anything is read: what comes between is then heard twice rather than never.
        let feed = app.feeds.of(app, log);
        let actor = caller.actor(app).await?;
        let mut logs = actor.logs();
        logs.push(log);
        let mut wakeups: Vec<_> = logs.into_iter().map(|log| app.bus.listen(log)).collect();
        wakeups.iter_mut().for_each(watch::Receiver::mark_unchanged);
        let now = Cursor::now(app, log).await?;
        let cursor = after.map(|after| Cursor::read(app, after, log)).transpose()?.unwrap_or(now);
        if cursor.number > now.number {
            return Err(Denied::BadRequest("That cursor is ahead of the log.".into()).into());
        }
        Ok(Self {
            app: app.clone(),
            caller: caller.clone(),
            feed,
            cursor,
            wakeups,
            ready: VecDeque::new(),
            poll: true,
            woken: true,
            ends_at: None,
        })
    }

    /// The entries, each with who listens as they are at that moment: an answer of `Ok(None)` from `see` passes over an
    /// entry, an error ends the stream. `see` is asked before anything is told, so that a right that has ended tells nothing (L2).
    pub fn stream<T, F>(self, see: F) -> impl Stream<Item = Result<T>> + use<T, F>
    where
        F: Watch<T> + Clone + Send + 'static,
        T: Send + 'static,
    {
        stream::unfold(Some(self), move |listener| {
            let see = see.clone();
            async move {
                let mut listener = listener?;
                match listener.next(&see).await {
                    Ok(item) => Some((Ok(item), Some(listener))),
                    Err(error) => Some((Err(error), None)),
                }
            }
        })
    }

    async fn next<T>(&mut self, see: &impl Watch<T>) -> Result<T> {
        loop {
            self.caller.turn.wait(&self.app.turns, &self.caller.taker()).await;
            if self.ready.is_empty() {
                let anew = std::mem::take(&mut self.poll);
                self.ready = self.feed.after(&self.app, self.cursor.number, anew).await?.into();
            }
            if self.ready.is_empty() && !self.woken {
                self.wait().await;
                self.woken = true;
                continue;
            }
            // Before each entry, and after each wake-up without one: it may have been for the end of the viewer's access.
            self.woken = false;
            let actor = self.caller.actor_now(&self.app).await?;
            self.ends_at = actor.ends_at();
            see.may(&self.app, &actor).await?;
            let Some(entry) = self.ready.pop_front() else { continue };
            self.cursor.number = entry.number;
            if let Some(item) = see.see(&self.app, &actor, &entry, self.cursor).await? {
                return Ok(item);
            }
        }
    }

    async fn wait(&mut self) {
        self.caller.turn.end();
        let changes = self.wakeups.iter_mut().map(|wakeup| Box::pin(wakeup.changed()));
        self.poll = tokio::time::timeout(patience(&self.app, self.ends_at), select_all(changes)).await.is_err();
    }
}

/// How long to trust that one would have been woken: not beyond the moment at which the access ends by itself.
fn patience(app: &App, ends_at: Option<Moment>) -> Duration {
    let left = ends_at.map(|ends_at| (ends_at - app.now()).to_std().unwrap_or_default() + Duration::from_millis(1));
    left.unwrap_or(POLL).min(POLL)
}

/// Waits until a caller's session has ended, or their access to the account that their token names (I3).
pub async fn access_ended(app: &App, caller: &Caller) {
    let (mut wakeups, mut ends_at) = (Vec::new(), None);
    loop {
        match caller.afresh().actor(app).await {
            Ok(actor) if actor.standing_unless_nowhere().is_err() => return,
            Ok(actor) if wakeups.is_empty() => {
                wakeups = actor.logs().into_iter().map(|log| app.bus.listen(log)).collect();
                // Looked up once more, in case it ended before anything was heard.
                continue;
            }
            Ok(actor) => ends_at = actor.ends_at(),
            Err(Error::Denied(Denied::Unauthenticated(_))) => return,
            // Not to be told now is not to have ended.
            Err(error) => tracing::warn!(cause = %error.cause(), "a socket's access could not be looked up"),
        }
        let changes = wakeups.iter_mut().map(|wakeup: &mut watch::Receiver<u64>| Box::pin(wakeup.changed()));
        // Woken or not, it is looked up again: a wake-up may be lost.
        let _ = tokio::time::timeout(patience(app, ends_at), any(changes.collect())).await;
        tokio::time::sleep(SETTLE).await;
    }
}

/// The first of these to end; never, when there are none.
async fn any<F: Future + Unpin>(futures: Vec<F>) {
    if futures.is_empty() {
        return std::future::pending().await;
    }
    select_all(futures).await;
}

/// What a subscription makes of the entries.
pub trait Watch<T>: Sync {
    /// Whether the listener may still listen; an error ends the stream.
    fn may(&self, app: &App, actor: &Actor) -> impl Future<Output = Result<()>> + Send;
    /// What an entry is to the listener, if anything.
    fn see(&self, app: &App, actor: &Actor, entry: &Entry, cursor: Cursor) -> impl Future<Output = Result<Option<T>>> + Send;
}
