//! The outbox: sends what operations put there, after their commit, at least once (E7).
//!
//! A row is claimed by setting its next try a minute ahead, in one statement that only one worker wins; a worker that dies
//! with it leaves it to be tried again. The words are made at that moment ([`super::compose`]). A mail whose reason is gone
//! (an invitation that was taken back) is not sent any more.

use super::{
    compose,
    transport::{Envelope, Outcome},
};
use crate::{
    app::App,
    db::{Sql, by_id, model, select},
    error::Result,
};
use chrono::TimeDelta;
use entity::{
    MailId, connection,
    mail::{self, DeliveryStatus, MailKind},
};
use futures_util::{StreamExt, stream};
use std::{sync::atomic::Ordering, time::Duration};
use tokio::{sync::watch, time::Instant};

/// How many are sent at once.
const AT_ONCE: usize = 8;
/// How long a worker has before another may try.
const CLAIM: TimeDelta = TimeDelta::seconds(60);
/// How often a mail is tried before it is given up: over some 12 hours.
const TRIES: i32 = 12;
/// How long the worker sleeps when nothing rings.
const IDLE: Duration = Duration::from_secs(5);
/// Sends what is due until the server stops.
pub async fn run(app: App, mut shutdown: watch::Receiver<bool>) {
    while !*shutdown.borrow() {
        if let Err(error) = send_due(&app).await {
            tracing::error!(cause = %error.cause(), "the outbox could not be read");
        }
        tokio::select! {
            () = app.mailer.bell.notified() => {}
            () = tokio::time::sleep(IDLE) => {}
            _ = shutdown.changed() => {}
        }
    }
}

/// Sends all that is due now. Answers how many were tried.
pub async fn send_due(app: &App) -> Result<usize> {
    let mut tried = 0;
    loop {
        let due = select::<mail::Entity>("o").push(" WHERE o.status = 'queued' AND o.next_at <= ").bind(app.now());
        let due: Vec<mail::Model> =
            due.push(&format!(" ORDER BY o.next_at, o.id LIMIT {}", AT_ONCE * 4)).all(app.reader(), model("o")).await?;
        if due.is_empty() {
            return Ok(tried);
        }
        tried += due.len();
        let sends = stream::iter(due).map(|mail| send(app, mail)).buffer_unordered(AT_ONCE);
        for sent in sends.collect::<Vec<_>>().await {
            sent?;
        }
    }
}

async fn send(app: &App, mail: mail::Model) -> Result<()> {
    if !claim(app, &mail).await? {
        return Ok(());
    }
    let attempts = mail.attempts + 1;
    let outcome = match compose::compose(app, &mail).await? {
        // Whoever asks learns no more than of a mail that was taken and never read.
        Some(_) if is_silenced(app, &mail).await? => {
            tokio::time::sleep(Duration::from_millis(app.mailer.pace.load(Ordering::Relaxed))).await;
            Outcome::Sent(String::new())
        }
        Some((letter, token)) => {
            let (id, to, kind) = (mail.id.to_string(), mail.to_email.clone(), mail.kind.name());
            let envelope = Envelope { id, to, kind, rendered: letter.render(), token, at: app.now() };
            let begun = Instant::now();
            let outcome = app.mailer.transport.deliver(&envelope).await;
            let took = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX).min(5_000);
            app.mailer.pace.store(took, Ordering::Relaxed);
            outcome
        }
        None => Outcome::Never("Not sent: what it was about has ended.".to_owned()),
    };
    let (status, detail, next_at) = match outcome {
        Outcome::Sent(answer) => (DeliveryStatus::Sent, answer, mail.next_at),
        Outcome::Later(answer) if attempts < TRIES => (DeliveryStatus::Queued, answer, app.now() + backoff(attempts)),
        Outcome::Later(answer) | Outcome::Never(answer) => (DeliveryStatus::Failed, answer, mail.next_at),
    };
    tracing::info!(mail = %mail.id, ?status, attempts, "mail");
    let sql =
        Sql::new("UPDATE mails SET status = ").bind(status).push(", detail = ").bind(detail).push(", next_at = ").bind(next_at);
    // Whoever was erased meanwhile has put an end to it.
    let sql = sql.push(", at = ").bind(app.now()).push(" WHERE status = 'queued' AND id = ").bind(mail.id);
    sql.push(" AND attempts = ").bind(attempts).run(app.db.writer()).await?;
    Ok(())
}

/// Whether it asks for access in the name of an agency that the client blocks.
async fn is_silenced(app: &App, mail: &mail::Model) -> Result<bool> {
    if mail.kind != MailKind::AccessRequest {
        return Ok(false);
    }
    let row = by_id::<connection::Entity>(app.reader(), mail.subject_id).await?;
    Ok(row.is_some_and(|row| row.silenced))
}

/// Half a minute, a minute, two, … two hours at most.
fn backoff(attempts: i32) -> TimeDelta {
    TimeDelta::seconds(30) * (1 << attempts.clamp(1, 9).saturating_sub(1)).min(240)
}

async fn claim(app: &App, mail: &mail::Model) -> Result<bool> {
    let sql = Sql::new("UPDATE mails SET attempts = attempts + 1, next_at = ")
        .bind(app.now() + CLAIM)
        .push(" WHERE status = 'queued' AND id = ")
        .bind(mail.id);
    Ok(sql.push(" AND attempts = ").bind(mail.attempts).run(app.db.writer()).await? == 1)
}

/// How long an address stays in a mail that was sent or given up: longer than any limit counts mails by address (I8).
const ADDRESS_KEPT: TimeDelta = TimeDelta::days(7);
/// How many mails forget their addresses in one statement.
const FORGOTTEN_AT_ONCE: u64 = 500;

/// Forgets the addresses of mails that are over for a week, be they of users or of people who never became users. The status and the
/// attempts stay; a mail server's answer goes where it may name the address.
pub async fn forget_addresses(app: &App) -> Result<()> {
    loop {
        let sql = Sql::new(
            "UPDATE mails SET to_email = '', to_email_key = '', mailbox = '', sender = NULL, detail = CASE WHEN detail LIKE '%@%' THEN ",
        );
        let sql = sql.bind("The mail server's answer is not kept for longer than 7 days.");
        let sql =
            sql.push(" ELSE detail END WHERE id IN (SELECT id FROM mails WHERE to_email <> '' AND status <> 'queued' AND at <= ");
        let sql = sql.bind(app.now() - ADDRESS_KEPT).push(&format!(" ORDER BY at LIMIT {FORGOTTEN_AT_ONCE})"));
        if sql.run(app.db.writer()).await? < FORGOTTEN_AT_ONCE {
            return Ok(());
        }
    }
}

/// How many mails wait, for whoever asks whether all was delivered.
pub async fn queued(app: &App) -> Result<Vec<MailId>> {
    Sql::new("SELECT id FROM mails WHERE status = 'queued'").all(app.reader(), |row| row.try_get_by_index(0)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e7_tries_come_further_and_further_apart() {
        let seconds: Vec<_> = (1..TRIES).map(|attempt| backoff(attempt).num_seconds()).collect();
        assert_eq!(seconds[..4], [30, 60, 120, 240]);
        assert!(seconds.is_sorted() && seconds.last() == Some(&7_200));
    }
}
