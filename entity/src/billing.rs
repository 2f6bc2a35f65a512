//! Billing: what an account's invoices say. A platform's billing reads it; nothing here charges anybody.

use crate::AccountId;
use sea_orm::entity::prelude::*;

/// What an account is billed by; an account without a row has said nothing yet.
#[derive(Clone, Debug, DeriveEntityModel, Eq, PartialEq)]
#[sea_orm(table_name = "billing")]
pub struct Model {
    /// The account.
    #[sea_orm(primary_key, auto_increment = false)]
    pub account_id: AccountId,
    /// The company.
    pub company: Option<String>,
    /// Where invoices go.
    pub email: Option<String>,
    /// The address, with line breaks between its lines.
    pub address_lines: Option<String>,
    /// The country, as two letters of ISO 3166.
    pub country: Option<String>,
    /// The company's number for taxes.
    pub tax_id: Option<String>,
}

impl Model {
    /// Of an account that has said nothing.
    pub fn blank(account_id: AccountId) -> Self {
        Self { account_id, company: None, email: None, address_lines: None, country: None, tax_id: None }
    }
}

/// None: joins are written where they are needed.
#[derive(Clone, Copy, Debug, DeriveRelation, EnumIter)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
