//! What became of a mail, for whoever asked for what it tells (U4).

use crate::{
    db::{model, select},
    error::Result,
};
use async_graphql::SimpleObject;
use entity::{
    Moment,
    mail::{self, DeliveryStatus, MailKind},
};
use sea_orm::ConnectionTrait;
use std::collections::HashMap;
use uuid::Uuid;

/// What became of the latest e-mail.
#[derive(Clone, Debug, SimpleObject)]
#[graphql(serial)]
pub struct Delivery {
    /// How far it got.
    status: DeliveryStatus,
    /// Since when.
    at: Moment,
    /// How often it was tried.
    attempts: i32,
    /// The mail server's answer, or which limit the e-mail is past. Null when the e-mail was sent, or was not tried yet.
    detail: Option<String>,
}

impl From<mail::Model> for Delivery {
    fn from(mail: mail::Model) -> Self {
        let detail = mail.detail.filter(|_| mail.status != DeliveryStatus::Sent);
        Self { status: mail.status, at: mail.at, attempts: mail.attempts, detail }
    }
}

/// The latest mail of a kind about each of these things, in one statement.
pub async fn latest(db: &impl ConnectionTrait, kind: MailKind, subjects: Vec<Uuid>) -> Result<HashMap<Uuid, Delivery>> {
    if subjects.is_empty() {
        return Ok(HashMap::new());
    }
    let sql = select::<mail::Entity>("o").push(" WHERE o.kind = ").bind(kind).push(" AND o.subject_id IN ").list(subjects);
    let mails: Vec<mail::Model> = sql.push(" ORDER BY o.id").all(db, model("o")).await?;
    // Of several about one thing the last stays.
    Ok(mails.into_iter().map(|mail| (mail.subject_id, mail.into())).collect())
}
