//! One error for the whole server, one table of codes.
//!
//! What the person can mend is a [`UserError`] and ends in a payload's `userErrors`. What a request may not do is [`Denied`]
//! and becomes a GraphQL error with its code. All else is a fault, of which the client
//! sees no more than a number. [`crate::http::seal`] is the one way out.

use crate::permission::Permission;
use async_graphql::{Enum, InputType, Value};
use entity::{Moment, NodeId, UserLevel};
use std::{fmt, sync::Arc, time::Duration};

/// What an operation answers.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation did nothing.
#[derive(Clone, Debug)]
pub enum Error {
    /// The person can mend it.
    User(Box<UserError>),
    /// The request may not do this, or not now.
    Denied(Denied),
    /// The transaction lost against another one and may be run again; outside of one, the same as a fault.
    Contended(Fault),
    /// Something broke.
    Fault(Fault),
    /// Something broke while it was written down, so that nobody can say whether it was done.
    Unsure(Fault),
}

macro_rules! user_error_codes {
    ($($(#[$doc:meta])* $code:ident)*) => {
        /// What is wrong with an input, for a program to act on.
        #[derive(Clone, Copy, Debug, Enum, Eq, PartialEq)]
        pub enum UserErrorCode { $($(#[$doc])* $code,)* }
    };
}

user_error_codes! {
    /// The value can't be: empty, too long, malformed.
    Invalid
    /// There is no such thing, or none that this account may know of.
    NotFound
    /// Somebody has it already.
    Taken
    /// It was valid until a moment that has passed.
    Expired
    /// It was answered or taken back already.
    AlreadyDecided
    /// It has ended, or has not begun.
    NotActive
    /// The request acts in another account than the input says.
    WrongAccount
    /// This level can't be given.
    LevelNotAssignable
    /// The day's limit is used up; `retryAt` says until when.
    DailyLimitReached
    /// The account's plan does not have this level.
    LevelNotInPlan
    /// The account's plan has no seat left.
    NoSeatsLeft
    /// The plan is too small for the users and pending invitations that there are; `blockers` names them.
    PlanTooSmall
    /// That person is a user of the account already.
    AlreadyAUser
    /// That address has a pending invitation to the account.
    AlreadyInvited
    /// The agency has access to that account already.
    AlreadyConnected
    /// The agency has a pending request to that address.
    AlreadyRequested
    /// The account has to join the partner program first.
    NotInPartnerProgram
    /// The account has to enable client access first.
    ClientAccessDisabled
    /// An account can't be its own client.
    OwnAccount
    /// The login or the password is wrong.
    WrongCredentials
    /// The refresh token was replaced, and its successor is in use. Nothing changed. Take the session's latest refresh token.
    RefreshTokenReplaced
    /// The password was right; a code is needed besides.
    TwoFactorCodeRequired
    /// The code is wrong, or was used already.
    WrongTwoFactorCode
    /// It was sent a moment ago, or too often today; `retryAt` says when it can be sent again.
    ResendTooSoon
    /// Whoever owns an account transfers or closes it first; `blockers` names it.
    CannotLeave
    /// That level is above one's own.
    LevelAboveOwn
    /// That level is above the highest that the client allows on the connection.
    LevelAboveConnection
    /// That person is no direct user of the agency, or nobody at all.
    NotAnAgencyUser
    /// Nobody takes the Owner's access: ownership is transferred first.
    OwnerCannotBeRevoked
    /// The Owner's level is only changed by transferring ownership.
    OwnerLevelIsFixed
    /// Nobody revokes or suspends themselves.
    CannotRevokeSelf
    /// Nobody changes their own level.
    CannotChangeOwnLevel
    /// Ownership goes to an Admin of the account's own.
    NewOwnerMustBeAdmin
    /// The former Owner can still undo a transfer of ownership that an Admin asked for; `retryAt` says until when.
    TransferCanBeUndone
    /// Who asks two-factor of others has to use it first.
    TwoFactorNotSetUp
    /// The user has to verify their e-mail address first.
    EmailNotVerified
    /// The verification needs the user's own session, or the password of the login.
    PasswordRequired
    /// As Admin, only a user whose verified address is the invited address can join.
    InvitedAddressRequired
    /// The password is too easily guessed.
    WeakPassword
}

impl UserErrorCode {
    /// Whether somebody gave a password or a code that is not the right one.
    pub fn is_wrong_secret(self) -> bool {
        matches!(self, Self::WrongCredentials | Self::WrongTwoFactorCode)
    }
}

/// Something that the person can mend.
#[derive(Clone, Debug)]
pub struct UserError {
    /// For programs.
    pub code: UserErrorCode,
    /// For people: what is wrong and how to mend it.
    pub message: String,
    /// The path of the input that is at fault.
    pub field: Option<Vec<String>>,
    /// The value at fault, where an entry held several.
    pub value: Option<String>,
    /// When the same would be allowed.
    pub retry_at: Option<Moment>,
    /// Who or what is in the way.
    pub blockers: Vec<NodeId>,
}

impl UserError {
    /// An error with a code and a sentence for people.
    pub fn new(code: UserErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), field: None, value: None, retry_at: None, blockers: Vec::new() }
    }

    /// Says which input is at fault.
    #[must_use]
    pub fn at<P: ToString>(mut self, path: impl IntoIterator<Item = P>) -> Self {
        self.field = Some(path.into_iter().map(|part| part.to_string()).collect());
        self
    }

    /// Says which value of an entry is at fault.
    #[must_use]
    pub fn value(mut self, value: impl Into<String>) -> Self {
        self.value = Some(value.into());
        self
    }

    /// Says when the same would be allowed.
    #[must_use]
    pub fn retry_at(mut self, at: Moment) -> Self {
        self.retry_at = Some(at);
        self
    }

    /// Says who or what is in the way.
    #[must_use]
    pub fn blockers(mut self, blockers: Vec<NodeId>) -> Self {
        self.blockers = blockers;
        self
    }
}

impl From<UserError> for Error {
    fn from(error: UserError) -> Self {
        Self::User(Box::new(error))
    }
}

/// A request that may not do what it asks, or not now.
#[derive(Clone, Debug)]
pub enum Denied {
    /// Nobody is signed in, or no longer.
    Unauthenticated(&'static str),
    /// The token names an account that the user can't act in (L8), or none.
    AccountAccessEnded,
    /// The account requires two-factor, and the user has none (U10).
    TwoFactorRequired,
    /// The viewer's level, or the way they came, does not allow it.
    Forbidden {
        /// What was asked for, where it is a row of the matrix.
        permission: Option<Permission>,
        /// The viewer's level, when they act in an account.
        level: Option<UserLevel>,
        /// Why, for people.
        reason: String,
    },
    /// What was asked for needs that one proved who one is in the last minutes (I7).
    ReauthenticationRequired,
    /// A cursor or an id that is none, or arguments that contradict each other.
    BadRequest(String),
    /// Too much is going on; the same may work in a moment.
    Overloaded,
    /// It was tried too often; the same may work after this long (I5).
    RateLimited(Duration),
}

impl Denied {
    /// The code in `extensions.code`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unauthenticated(_) => "UNAUTHENTICATED",
            Self::AccountAccessEnded => "ACCOUNT_ACCESS_ENDED",
            Self::TwoFactorRequired => "TWO_FACTOR_REQUIRED",
            Self::Forbidden { .. } => "FORBIDDEN",
            Self::ReauthenticationRequired => "REAUTHENTICATION_REQUIRED",
            Self::BadRequest(_) => "BAD_REQUEST",
            Self::Overloaded => "OVERLOADED",
            Self::RateLimited(_) => "RATE_LIMITED",
        }
    }
}

/// As many seconds as it takes at least.
pub fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// A level's name as the API writes it, such as `ADMIN`.
pub fn level_name(level: UserLevel) -> String {
    match level.to_value() {
        Value::Enum(name) => name.to_string(),
        other => other.to_string(),
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unauthenticated(why) => f.write_str(why),
            Self::AccountAccessEnded => {
                f.write_str("You can't act in the account that this request names, or it names none. Use switchAccount to go on in another one.")
            }
            Self::TwoFactorRequired => {
                f.write_str("This account asks of everyone to use two-factor: set it up with beginTwoFactor and confirmTwoFactor, and go on.")
            }
            Self::Forbidden { reason, .. } => f.write_str(reason),
            Self::ReauthenticationRequired => {
                f.write_str("This asks who you are once more: use reauthenticate with your password or a code, and try again.")
            }
            Self::BadRequest(what) => f.write_str(what),
            Self::Overloaded => f.write_str("The server is busy. Try again in a moment."),
            Self::RateLimited(wait) => {
                write!(f, "This was tried too often. Try again in {} s.", whole_seconds(*wait))
            }
        }
    }
}

impl From<Denied> for Error {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

/// Something that broke: its cause is for the log alone.
#[derive(Clone)]
pub struct Fault(Arc<dyn std::error::Error + Send + Sync>);

impl Fault {
    /// A fault that is told in words, where no error of a library is the cause.
    pub fn new(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(Arc::from(cause.into()))
    }

    /// For the log: the error and what caused it.
    pub fn cause(&self) -> String {
        let mut text = self.0.to_string();
        let mut cause = self.0.source();
        while let Some(deeper) = cause {
            // Some errors repeat their cause in their own words.
            let words = deeper.to_string();
            if !text.contains(&words) {
                text = format!("{text}: {words}");
            }
            cause = deeper.source();
        }
        text
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fault({})", self.cause())
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Error {
    /// What the operator reads: of a fault, its cause.
    pub fn cause(&self) -> String {
        match self {
            Self::Fault(fault) | Self::Contended(fault) | Self::Unsure(fault) => fault.cause(),
            other => other.to_string(),
        }
    }
}

/// What the client reads. async-graphql makes an error of its own of whatever can be displayed, and keeps this one within:
/// the edge finds it there ([`crate::http::seal`]).
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(error) => f.write_str(&error.message),
            Self::Denied(denied) => denied.fmt(f),
            Self::Unsure(_) => f.write_str(
                "Something went wrong on the server while this was written down: look whether it was done before you try again. The operator finds the cause by the request's id.",
            ),
            Self::Fault(_) | Self::Contended(_) => f.write_str(
                "Something went wrong on the server. Nothing was changed; the operator finds the cause by the request's id.",
            ),
        }
    }
}
