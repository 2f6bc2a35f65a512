//! TypeIDs: `account_01h…` is a `UUIDv7` in base 32 behind the name of its table. The database keeps the 16 bytes.
//!
//! One Rust type per table, so that a user's id can't stand where an account's is wanted; in GraphQL all are `ID`.

use async_graphql::{
    ContextSelectionSet, ID, InputType, InputValueError, InputValueResult, OutputType, Positioned, ServerResult, Value,
    parser::types::Field, registry::Registry,
};
use sea_orm::{DbErr, DeriveValueType, TryFromU64};
use std::{borrow::Cow, fmt, str::FromStr};
use uuid::Uuid;

/// Crockford's alphabet, as TypeID has it: no i, l, o, u.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

fn encode(prefix: &str, uuid: Uuid) -> String {
    let bits = uuid.as_u128();
    let digits = (0..26).rev().map(|place| char::from(ALPHABET[(bits >> (5 * place)) as usize & 31]));
    format!("{prefix}_{}", digits.collect::<String>())
}

fn decode(prefix: &'static str, text: &str) -> Result<Uuid, WrongId> {
    let wrong = || WrongId::new(text, Some(prefix));
    let digits = text.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('_')).ok_or_else(wrong)?.as_bytes();
    // 26 digits hold 130 bits, and an id has 128.
    if digits.len() != 26 || digits[0] > b'7' {
        return Err(wrong());
    }
    let digit = |c: &u8| ALPHABET.iter().position(|a| a == c).map(|value| value as u128);
    let bits = digits.iter().try_fold(0u128, |bits, c| Some(bits << 5 | digit(c)?));
    bits.map(Uuid::from_u128).ok_or_else(wrong)
}

/// A text that is not an id of the table that is asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WrongId {
    text: String,
    /// What it should begin with, where that is one thing.
    prefix: Option<&'static str>,
}

impl WrongId {
    fn new(text: &str, prefix: Option<&'static str>) -> Self {
        Self { text: text.chars().take(60).collect(), prefix }
    }
}

impl fmt::Display for WrongId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { text, prefix } = self;
        match prefix {
            Some(prefix) => write!(f, "{text:?} is no id here: one that begins with {prefix}_ is wanted, as the server gave it"),
            None => write!(f, "{text:?} is no id: give one as the server gave it"),
        }
    }
}

impl std::error::Error for WrongId {}

macro_rules! ids {
    ($($(#[$doc:meta])* $id:ident $node:ident $prefix:literal;)*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, DeriveValueType, Eq, Hash, Ord, PartialEq, PartialOrd)]
            pub struct $id(pub Uuid);

            impl fmt::Display for $id {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str(&encode($prefix, self.0))
                }
            }

            impl FromStr for $id {
                type Err = WrongId;
                fn from_str(text: &str) -> Result<Self, WrongId> {
                    decode($prefix, text).map(Self)
                }
            }

            impl From<Uuid> for $id {
                fn from(uuid: Uuid) -> Self {
                    Self(uuid)
                }
            }

            // Asked for by sea-orm of every primary key; only a counted one has an answer.
            impl TryFromU64 for $id {
                fn try_from_u64(_: u64) -> Result<Self, DbErr> {
                    Err(DbErr::ConvertFromU64(stringify!($id)))
                }
            }

            // Not a scalar of its own: two Rust types of one GraphQL name clash, so `ID` stays the one that registers.
            impl InputType for $id {
                type RawValueType = Self;
                fn type_name() -> Cow<'static, str> {
                    <ID as InputType>::type_name()
                }
                fn create_type_info(registry: &mut Registry) -> String {
                    <ID as InputType>::create_type_info(registry)
                }
                fn parse(value: Option<Value>) -> InputValueResult<Self> {
                    let id = <ID as InputType>::parse(value).map_err(InputValueError::propagate)?;
                    id.parse().map_err(|wrong: WrongId| InputValueError::custom(wrong).with_extension("code", "BAD_REQUEST"))
                }
                fn to_value(&self) -> Value {
                    Value::String(self.to_string())
                }
                fn as_raw_value(&self) -> Option<&Self> {
                    Some(self)
                }
            }

            impl OutputType for $id {
                fn type_name() -> Cow<'static, str> {
                    <ID as InputType>::type_name()
                }
                fn create_type_info(registry: &mut Registry) -> String {
                    <ID as OutputType>::create_type_info(registry)
                }
                async fn resolve(&self, _: &ContextSelectionSet<'_>, _: &Positioned<Field>) -> ServerResult<Value> {
                    Ok(self.to_value())
                }
            }
        )*

        /// An id of any table, told by its prefix.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum NodeId {
            $($(#[$doc])* $node($id),)*
        }

        impl fmt::Display for NodeId {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$node(id) => id.fmt(f),)*
                }
            }
        }

        impl FromStr for NodeId {
            type Err = WrongId;
            fn from_str(text: &str) -> Result<Self, WrongId> {
                match text.split_once('_').map(|(prefix, _)| prefix) {
                    $(Some($prefix) => text.parse().map(Self::$node),)*
                    _ => Err(WrongId::new(text, None)),
                }
            }
        }
    };
}

ids! {
    /// An account.
    AccountId Account "account";
    /// A user.
    UserId User "user";
    /// A user's place in an account.
    MemberId Member "member";
    /// An invitation to an account.
    InvitationId Invitation "invitation";
    /// A connection of an agency with a client.
    ConnectionId Connection "connection";
    /// An agency user's place on a connection.
    PlaceId Place "place";
    /// A session.
    SessionId Session "session";
    /// An API key.
    ApiKeyId ApiKey "apikey";
    /// An event.
    EventId Event "event";
    /// An e-mail in the outbox.
    MailId Mail "mail";
    /// A security event.
    SecurityEventId SecurityEvent "securityevent";
    /// A transfer of ownership that can be undone.
    TransferId Transfer "transfer";
}

/// A log's id is the id of the account or the user whose log it is.
#[derive(Clone, Copy, Debug, DeriveValueType, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LogId(pub Uuid);

impl TryFromU64 for LogId {
    fn try_from_u64(_: u64) -> Result<Self, DbErr> {
        Err(DbErr::ConvertFromU64("LogId"))
    }
}

impl From<AccountId> for LogId {
    fn from(account: AccountId) -> Self {
        Self(account.0)
    }
}

impl From<UserId> for LogId {
    fn from(user: UserId) -> Self {
        Self(user.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back_and_nothing_else_does() {
        for bits in [0, 1, u128::MAX, 0x0192_f3a4_b5c6_7d8e_9f00_1122_3344_5566] {
            let id = UserId(Uuid::from_u128(bits));
            assert_eq!(id.to_string().parse(), Ok(id));
            assert_eq!(id.to_string().parse(), Ok(NodeId::User(id)));
            assert!(id.to_string().parse::<AccountId>().is_err());
        }
        for text in [
            "",
            "user",
            "user_",
            "user_0",
            "user_8zzzzzzzzzzzzzzzzzzzzzzzzz",
            "user_0000000000000000000000000l",
            "USER_00000000000000000000000000",
            "x_00000000000000000000000000",
        ] {
            assert!(text.parse::<UserId>().is_err(), "{text}");
            assert!(text.parse::<NodeId>().is_err(), "{text}");
        }
    }
}
