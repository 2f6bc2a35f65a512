//! Mails: the outbox. A mail names the event that it tells of; its words are made when it is sent, so nothing secret and
//! nobody's name rests here. It is sent after the commit, at least once (E7).

use crate::{EventId, MailId, Moment, UserId};
use sea_orm::entity::prelude::*;

/// One e-mail to one address.
#[derive(Clone, Debug, DeriveEntityModel, Eq, PartialEq)]
#[sea_orm(table_name = "mails")]
pub struct Model {
    /// The mail; its Message-ID is made of it, the same at each try.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: MailId,
    /// What it tells.
    pub kind: MailKind,
    /// The event that it tells of.
    pub event_id: EventId,
    /// What that event happened to.
    pub subject_id: Uuid,
    /// Which link it bears, where it bears one.
    pub version: i64,
    /// Where it goes.
    pub to_email: String,
    /// What makes that address one identity.
    pub to_email_key: String,
    /// Who gets it, when it is a user of ours.
    pub user_id: Option<UserId>,
    /// How far it got.
    pub status: DeliveryStatus,
    /// How often it was tried.
    pub attempts: i32,
    /// When it is tried next, while it is queued.
    pub next_at: Moment,
    /// When its status last changed.
    pub at: Moment,
    /// When it was asked for.
    pub created_at: Moment,
    /// The mail server's latest answer.
    pub detail: Option<String>,
    /// A keyed hash of the mailbox: the address without its tag. The limits count by it.
    pub mailbox: String,
    /// The user who caused an e-mail to somebody else. For an e-mail that anybody can request, a keyed hash of the client network.
    /// `None` for an e-mail that nobody else caused.
    pub sender: Option<String>,
}

/// None: joins are written where they are needed.
#[derive(Clone, Copy, Debug, DeriveRelation, EnumIter)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// What a mail tells.
#[derive(Clone, Copy, Debug, DeriveActiveEnum, EnumIter, Eq, PartialEq)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
pub enum MailKind {
    /// Prove that this mailbox is yours.
    VerifyEmail,
    /// Join an account.
    Invitation,
    /// Whoever was invited said no.
    InvitationDeclined,
    /// Who joined by your invitation has another address.
    InvitationAcceptedByAnother,
    /// An agency asks for access to your account.
    AccessRequest,
    /// A client let your agency in.
    AccessApproved,
    /// A client turned your agency down.
    AccessDeclined,
    /// The other side ended a connection, or its time is over.
    ConnectionEnded,
    /// A connection ends by itself in a week.
    ConnectionEnding,
    /// Take another password by this link.
    ResetPassword,
    /// A link to sign in with.
    SignInLink,
    /// Ten wrong two-factor codes in a row were given for your login.
    TwoFactorCodesFailed,
    /// You ended all your sessions but one.
    SessionsRevoked,
    /// Your password was changed.
    PasswordChanged,
    /// A change of your address is pending; to the present one, which can stop it.
    EmailChangeRequested,
    /// Your address was changed; to the former one.
    EmailChanged,
    /// Your two-factor was switched on or off, or its codes changed.
    TwoFactorChanged,
    /// Somebody signed in as you, on an unknown device.
    NewSignIn,
    /// A refresh token of yours was used twice.
    RefreshTokenReused,
    /// An API key was made in your name.
    ApiKeyCreated,
    /// An account has a new direct Admin.
    AdminAdded,
    /// An agency can act in an account up to Admin.
    AgencyAdminAdded,
    /// An account no longer requires two-factor authentication.
    TwoFactorRelaxed,
    /// Another user owns the account.
    OwnershipTransferred,
    /// The former Owner of an account undid a transfer.
    OwnershipTransferUndone,
    /// An account of yours was closed.
    AccountClosed,
    /// Your access to an account was revoked.
    AccessRevoked,
}

impl MailKind {
    /// Its name, as the mailbox has it.
    pub fn name(self) -> String {
        self.to_value()
    }
}

/// What the mail server said.
#[derive(async_graphql::Enum, Clone, Copy, Debug, DeriveActiveEnum, EnumIter, Eq, PartialEq)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
pub enum DeliveryStatus {
    /// Not taken yet: it will be tried, or tried again.
    Queued,
    /// The mail server took it.
    Sent,
    /// It will not be tried again.
    Failed,
}
