//! Events: what happened. The audit log, the subscriptions and the e-mails all read them; nothing else is kept of the past.
//!
//! An event holds ids, never names: a name is looked up when the event is read, so an erased person is gone from it too.

use crate::{AccountId, ApiKeyId, EventId, Moment, UserId};
use sea_orm::entity::prelude::*;

/// One thing that happened.
#[derive(Clone, Debug, DeriveEntityModel, Eq, PartialEq)]
#[sea_orm(table_name = "events")]
pub struct Model {
    /// The event.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: EventId,
    /// What happened.
    pub kind: EventKind,
    /// When.
    pub at: Moment,
    /// Who did it; none for what the system did.
    pub actor_id: Option<UserId>,
    /// The agency, when the actor acted through a connection.
    pub via_id: Option<AccountId>,
    /// The API key that the actor used, where it was no session.
    pub api_key_id: Option<ApiKeyId>,
    /// Whether the operator did it, by command line.
    pub by_operator: bool,
    /// What it happened to: an id of the table that [`EventKind::subject`] tells.
    pub subject_id: Uuid,
    /// The value before, where one changed.
    pub before: Option<String>,
    /// The value after.
    pub after: Option<String>,
}

/// None: joins are written where they are needed.
#[derive(Clone, Copy, Debug, DeriveRelation, EnumIter)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// What an event happened to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Subject {
    /// An account.
    Account,
    /// A user.
    User,
    /// A user's place in an account.
    Member,
    /// An invitation.
    Invitation,
    /// A connection.
    Connection,
    /// A session.
    Session,
    /// An API key.
    ApiKey,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident $subject:ident $text:literal;)*) => {
        /// Each thing that can happen.
        #[derive(async_graphql::Enum, Clone, Copy, Debug, DeriveActiveEnum, EnumIter, Eq, PartialEq)]
        #[sea_orm(rs_type = "String", db_type = "Text")]
        pub enum EventKind {
            $($(#[$doc])* #[sea_orm(string_value = $text)] $kind,)*
        }

        impl EventKind {
            /// What an event of this kind happens to.
            pub fn subject(self) -> Subject {
                match self {
                    $(Self::$kind => Subject::$subject,)*
                }
            }
        }
    };
}

kinds! {
    /// A person signed up.
    UserSignedUp User "user_signed_up";
    /// A person proved that a mailbox is theirs.
    EmailVerified User "email_verified";
    /// A user signed in.
    SignedIn Session "signed_in";
    /// A user signed out.
    SignedOut Session "signed_out";
    /// A refresh token that had been replaced was used again, so its session was ended.
    RefreshTokenReused Session "refresh_token_reused";
    /// A user or an operator ended a session.
    SessionRevoked Session "session_revoked";
    /// A user ended all sessions but one.
    OtherSessionsRevoked Session "other_sessions_revoked";
    /// A user took another password.
    PasswordChanged User "password_changed";
    /// Somebody asked for a link to take another password.
    PasswordResetRequested User "password_reset_requested";
    /// A user took another password by the link in a mail.
    PasswordReset User "password_reset";
    /// A sign-in link was requested for a user.
    SignInLinkRequested User "sign_in_link_requested";
    /// A user asked to take another address.
    EmailChangeRequested User "email_change_requested";
    /// A user took another address, and proved that it is theirs.
    EmailChanged User "email_changed";
    /// A pending change of a user's address was stopped with the link that was sent to the former address.
    EmailChangeStopped User "email_change_stopped";
    /// A user asked for another link to verify their address.
    VerificationResent User "verification_resent";
    /// A user changed their name or username.
    ProfileChanged User "profile_changed";
    /// A user wants an account's e-mails, or no longer.
    EmailOptInChanged User "email_opt_in_changed";
    /// From now on a user's sign-in asks for a code.
    TwoFactorEnabled User "two_factor_enabled";
    /// A user's sign-in asks for no code any more.
    TwoFactorDisabled User "two_factor_disabled";
    /// An operator switched a user's two-factor off.
    TwoFactorReset User "two_factor_reset";
    /// A user got new recovery codes, in the place of all before.
    RecoveryCodesRegenerated User "recovery_codes_regenerated";
    /// A recovery code was used.
    RecoveryCodeUsed User "recovery_code_used";
    /// Ten wrong two-factor codes in a row were given for a user.
    TwoFactorCodesFailed User "two_factor_codes_failed";
    /// A user was erased.
    UserErased User "user_erased";
    /// A user left an account.
    UserLeft User "user_left";
    /// A user's access to an account was revoked.
    UserRevoked User "user_revoked";
    /// A user's level changed.
    UserLevelChanged Member "user_level_changed";
    /// A user can't act in an account until they are reinstated.
    UserSuspended Member "user_suspended";
    /// A suspended user can act in an account again.
    UserReinstated Member "user_reinstated";
    /// Another user owns the account.
    OwnershipTransferred User "ownership_transferred";
    /// The former Owner undid a transfer of ownership and is the Owner again.
    OwnershipTransferUndone User "ownership_transfer_undone";
    /// An API key was made.
    ApiKeyCreated ApiKey "api_key_created";
    /// An API key was deleted.
    ApiKeyRevoked ApiKey "api_key_revoked";
    /// An account was opened.
    AccountOpened Account "account_opened";
    /// An account was closed.
    AccountClosed Account "account_closed";
    /// An account has another name.
    AccountRenamed Account "account_renamed";
    /// What an account is billed by changed.
    BillingChanged Account "billing_changed";
    /// From now on nobody can act in an account without two-factor, or again anybody can.
    TwoFactorRequirementChanged Account "two_factor_requirement_changed";
    /// Somebody asked for a link to download an account.
    AccountExported Account "account_exported";
    /// An account's plan changed.
    PlanChanged Account "plan_changed";
    /// Somebody was invited to the account.
    UserInvited Invitation "user_invited";
    /// An invited person joined the account.
    UserJoined Member "user_joined";
    /// An invitation was sent again, with a new link.
    InvitationResent Invitation "invitation_resent";
    /// Whoever was invited said no.
    InvitationDeclined Invitation "invitation_declined";
    /// An invitation was taken back, or the invited person is gone.
    InvitationCanceled Invitation "invitation_canceled";
    /// Nobody answered an invitation in time.
    InvitationExpired Invitation "invitation_expired";
    /// The account joined the partner program.
    PartnerProgramJoined Account "partner_program_joined";
    /// The account may now ask for access to clients' accounts.
    ClientAccessEnabled Account "client_access_enabled";
    /// An agency asked for access to a client's account.
    ClientAccessRequested Connection "client_access_requested";
    /// A client let an agency in.
    ClientAccessApproved Connection "client_access_approved";
    /// A client turned an agency down.
    ClientAccessDeclined Connection "client_access_declined";
    /// A request for access was taken back, or the person asked is gone.
    ClientAccessCanceled Connection "client_access_canceled";
    /// Nobody answered a request for access in time.
    ClientAccessExpired Connection "client_access_expired";
    /// A request for access was sent again, with a new link.
    ClientAccessResent Connection "client_access_resent";
    /// An agency's user has a place on a connection.
    ClientUserAdded Connection "client_user_added";
    /// An agency's user has another level on a connection.
    ClientUserLevelChanged Connection "client_user_level_changed";
    /// An agency's user has no place on a connection any more.
    ClientUserRemoved Connection "client_user_removed";
    /// A client changed the highest level that an agency gets.
    ClientAccessLevelChanged Connection "client_access_level_changed";
    /// A client changed until when an agency's access lasts.
    ClientAccessUntilChanged Connection "client_access_until_changed";
    /// An agency's access ends by itself in a week.
    ClientAccessEnding Connection "client_access_ending";
    /// One side ended an agency's access, or its time is over.
    ClientAccessEnded Connection "client_access_ended";
    /// The account left the partner program, and asks for no access any more.
    ClientAccessDisabled Account "client_access_disabled";
    /// A client hears nothing any more of what an agency asks.
    AgencyBlocked Account "agency_blocked";
    /// An agency can ask a client again.
    AgencyUnblocked Account "agency_unblocked";
}
