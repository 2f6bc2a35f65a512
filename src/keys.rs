//! Secrets: the one behind links, refresh tokens and two-factor, and what access tokens are made and read with.
//!
//! A token in a link is an HMAC over its purpose, the id that it is about and a version, so nothing secret is at rest and a
//! resend, which raises the version, kills the link before. An access token is a JWT (RFC 9068), signed with EdDSA or ES256;
//! its key's id is in its header.

use crate::{
    config::Config,
    cursor::Cursors,
    error::{UserError, UserErrorCode},
    keyring::{KeySource, Keyring, KeyringError, TokenAlgorithm, at, write_private},
    private::close_to_others,
    strength::weakness,
};
use aws_lc_rs::{hmac, rand};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use entity::{AccountId, Moment, SessionId, UserId, UserLevel};
use jsonwebtoken::{Header, Validation};
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};
use uuid::Uuid;

/// The signing keys and the secret.
pub struct Keys {
    secret: hmac::Key,
    /// Writes and reads cursors.
    pub cursors: Cursors,
    source: KeySource,
    algorithm: TokenAlgorithm,
    /// As it was last read: keys are rotated while the server runs.
    ring: RwLock<Arc<Keyring>>,
    issuer: String,
    audience: String,
}

/// What a link or token is for: one made for one purpose is worth nothing for another.
#[derive(Clone, Copy, Debug)]
pub enum Purpose {
    /// Proves that a mailbox is the user's.
    VerifyEmail,
    /// Joins an account.
    Invitation,
    /// Answers a request for access.
    AccessRequest,
    /// Gets the next access token of a session.
    Refresh,
    /// Takes another password.
    ResetPassword,
    /// Stops a change of the login's address.
    StopEmailChange,
    /// Undoes a transfer of ownership.
    UndoTransfer,
    /// Signs in.
    SignIn,
    /// Downloads an account.
    Export,
    /// Is what a device makes two-factor codes of.
    TwoFactor,
    /// Encrypts cursors. No link has it.
    Cursor,
}

impl Purpose {
    fn name(self) -> &'static str {
        match self {
            Self::VerifyEmail => "verify-email",
            Self::Invitation => "invitation",
            Self::AccessRequest => "access-request",
            Self::Refresh => "refresh",
            Self::ResetPassword => "reset-password",
            Self::StopEmailChange => "stop-email-change",
            Self::UndoTransfer => "undo-transfer",
            Self::SignIn => "sign-in",
            Self::Export => "export",
            Self::TwoFactor => "two-factor",
            Self::Cursor => "cursor",
        }
    }
}

/// What an access token says. Only who and where counts: the level is as of issue and never trusted (L2).
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Claims {
    iss: String,
    aud: String,
    sub: String,
    sid: String,
    acc: Option<String>,
    via: Option<String>,
    lvl: Option<String>,
    iat: i64,
    exp: i64,
    /// When the user last proved who they are (`OpenID` Connect).
    auth_time: i64,
    /// How they did (RFC 8176).
    amr: Vec<String>,
    /// None of ours has it, but one that does must be obeyed.
    #[serde(skip_serializing_if = "Option::is_none")]
    nbf: Option<i64>,
}

/// Who an access token names, and the account that it acts in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ticket {
    /// The user.
    pub user: UserId,
    /// The session.
    pub session: SessionId,
    /// The account, if any.
    pub account: Option<AccountId>,
    /// The agency through whose connection, when the account is a client's.
    pub via: Option<AccountId>,
}

/// An access token to be made.
pub struct NewToken<'a> {
    /// Who it names, and where it acts.
    pub ticket: Ticket,
    /// The level there: advisory.
    pub level: Option<UserLevel>,
    /// When the user last proved who they are.
    pub proved_at: Moment,
    /// How they did: authentication methods (RFC 8176) with spaces between them.
    pub methods: &'a str,
    /// From when it is valid.
    pub issued_at: Moment,
    /// Until when it is valid.
    pub expires_at: Moment,
}

/// An access token that is one of ours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Bearer {
    /// Who it names, and where it acts.
    pub ticket: Ticket,
    /// Whether it has expired. An expired token proves nothing; it still says where its session acted.
    pub expired: bool,
}

/// The type in the header of access tokens (RFC 9068), so that no other JWT is taken for one.
const TOKEN_TYPE: &str = "at+jwt";

/// How an invitation or a request is named: by the link's token, or by its id when it is to the viewer's verified address.
#[derive(Clone, Debug)]
pub enum LinkOrId<Id> {
    /// The link's token.
    Token(String),
    /// The id.
    Id(Id),
}

impl<Id> LinkOrId<Id> {
    /// One of the two, not both and not neither.
    pub fn one_of(token: Option<String>, id: Option<Id>, id_field: &str) -> Result<Self, UserError> {
        match (token, id) {
            (Some(token), None) => Ok(Self::Token(token)),
            (None, Some(id)) => Ok(Self::Id(id)),
            _ => {
                Err(UserError::new(UserErrorCode::Invalid, format!("Give `token` or `{id_field}`, one of the two."))
                    .at(["token"]))
            }
        }
    }

    /// Whether it is a link's token.
    pub fn is_token(&self) -> bool {
        matches!(self, Self::Token(_))
    }

    /// The input's field.
    pub fn field(&self, id_field: &'static str) -> &'static str {
        match self {
            Self::Token(_) => "token",
            Self::Id(_) => id_field,
        }
    }
}

/// Why the keys or the secret could not be had; the sentence names what to mend.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The keys that sign.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// The file of the secret was cut short, or its content can be guessed.
    #[error(
        "{0}: the secret {1}. Put the former secret back; or remove the file to have another one made, which ends all sessions, links and two-factor but for recovery codes"
    )]
    WeakSecret(PathBuf, &'static str),
    /// The secret is missing.
    #[error("no secret for links: set KEYHOLDER_SECRET")]
    NoSecret,
    /// The cryptographic library can't encrypt cursors.
    #[error("this build has no AES-GCM-SIV for cursors")]
    NoCursors,
    /// The directory of keys is missing.
    #[error("no directory of keys: set KEYHOLDER_KEYS")]
    NoDirectory,
}

/// What a link says that works until a moment.
pub struct TimedLink {
    /// What it is about.
    pub id: Uuid,
    until: i64,
    mac: Vec<u8>,
}

impl TimedLink {
    /// Whether its time is over.
    pub fn is_over(&self, now: Moment) -> bool {
        now.timestamp() >= self.until
    }
}

/// Links work until a second before this: five hundred years are enough.
const END_OF_TIME: i64 = 1 << 34;

/// The version and the end of a link as one number.
fn timed(version: i64, until: i64) -> i64 {
    version * END_OF_TIME + until
}

impl Keys {
    /// Reads the keys, or makes them at the first start.
    pub fn load(config: &Config, own_address: &str, now: Moment) -> Result<Self, KeysError> {
        let beside = config.sqlite_file();
        let secret = match (&config.secret, &beside) {
            (Some(secret), _) => secret.clone(),
            (None, Some(file)) => secret_beside(&file.with_extension("secret"))?,
            (None, None) => return Err(KeysError::NoSecret),
        };
        let source = config.key_source().ok_or(KeysError::NoDirectory)?;
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        Ok(Self {
            cursors: cursors(&secret)?,
            secret,
            ring: RwLock::new(Arc::new(Keyring::load(&source, config.token_algorithm, now)?)),
            source,
            algorithm: config.token_algorithm,
            issuer: config.issuer.clone().unwrap_or_else(|| own_address.to_owned()),
            audience: config.audience.clone(),
        })
    }

    fn ring(&self) -> Arc<Keyring> {
        Arc::clone(&self.ring.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the keys again, which somebody may have rotated. Answers whether they have changed.
    pub fn reload(&self) -> Result<bool, KeyringError> {
        let ring = Keyring::read(&self.source, self.algorithm)?;
        let changed = ring.ids() != self.ring().ids();
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ring);
        Ok(changed)
    }

    fn mac_input(purpose: Purpose, id: Uuid, version: i64) -> Vec<u8> {
        [purpose.name().as_bytes(), &[0], id.as_bytes(), &version.to_be_bytes()].concat()
    }

    /// The token of a link: the id that it is about and a MAC.
    pub fn link(&self, purpose: Purpose, id: Uuid, version: i64) -> String {
        let mac = hmac::sign(&self.secret, &Self::mac_input(purpose, id, version));
        BASE64.encode([id.as_bytes(), mac.as_ref()].concat())
    }

    /// The id that a link's token is about. The token proves nothing before [`Keys::is_link`] says so.
    pub fn link_id(token: &str) -> Option<Uuid> {
        let bytes = BASE64.decode(token).ok().filter(|bytes| bytes.len() == 48)?;
        Uuid::from_slice(&bytes[..16]).ok()
    }

    /// Whether a token is the one of this id in this version.
    pub fn is_link(&self, token: &str, purpose: Purpose, id: Uuid, version: i64) -> bool {
        let Some(bytes) = BASE64.decode(token).ok().filter(|bytes| bytes.len() == 48) else { return false };
        bytes[..16] == *id.as_bytes() && hmac::verify(&self.secret, &Self::mac_input(purpose, id, version), &bytes[16..]).is_ok()
    }

    /// The token of a link that works until a moment: the id that it is about, the moment in seconds, and a MAC.
    pub fn timed_link(&self, purpose: Purpose, id: Uuid, version: i64, until: Moment) -> String {
        let until = until.timestamp();
        let mac = hmac::sign(&self.secret, &Self::mac_input(purpose, id, timed(version, until)));
        BASE64.encode([id.as_bytes(), until.to_be_bytes().as_slice(), mac.as_ref()].concat())
    }

    /// What a link that works until a moment says; the token proves nothing before [`Keys::is_timed_link`] says so.
    pub fn read_timed_link(token: &str) -> Option<TimedLink> {
        let bytes = BASE64.decode(token).ok().filter(|bytes| bytes.len() == 56)?;
        let (id, rest) = bytes.split_at(16);
        let (until, mac) = rest.split_first_chunk()?;
        // What is beyond would be taken for an earlier moment of another version.
        let until = Some(i64::from_be_bytes(*until)).filter(|until| (0..END_OF_TIME).contains(until))?;
        Some(TimedLink { id: Uuid::from_slice(id).ok()?, until, mac: mac.to_vec() })
    }

    /// Whether a token is the one of its id in this version, be its time over or not.
    pub fn is_timed_link(&self, link: &TimedLink, purpose: Purpose, version: i64) -> bool {
        let input = Self::mac_input(purpose, link.id, timed(version, link.until));
        hmac::verify(&self.secret, &input, &link.mac).is_ok()
    }

    /// Twenty bytes that nobody else can make, and that are kept nowhere.
    pub fn derived(&self, purpose: Purpose, id: Uuid, version: i64) -> [u8; 20] {
        let mac = hmac::sign(&self.secret, &Self::mac_input(purpose, id, version));
        std::array::from_fn(|place| mac.as_ref()[place])
    }

    /// A name for a text that nobody can make or read without the secret, such as for counting by an address without storing it.
    pub fn pseudonym(&self, of: &str, text: &str) -> String {
        let mac = hmac::sign(&self.secret, &[b"pseudonym", [0].as_slice(), of.as_bytes(), &[0], text.as_bytes()].concat());
        BASE64.encode(&mac.as_ref()[..16])
    }

    /// An access token.
    pub fn access_token(&self, new: &NewToken<'_>) -> Result<String, jsonwebtoken::errors::Error> {
        let NewToken { ticket, level, proved_at, methods, issued_at, expires_at } = *new;
        let claims = Claims {
            iss: self.issuer.clone(),
            aud: self.audience.clone(),
            sub: ticket.user.to_string(),
            sid: ticket.session.to_string(),
            acc: ticket.account.map(|id| id.to_string()),
            via: ticket.via.map(|id| id.to_string()),
            lvl: level.map(crate::error::level_name),
            iat: issued_at.timestamp(),
            exp: expires_at.timestamp(),
            auth_time: proved_at.timestamp(),
            amr: methods.split_whitespace().map(str::to_owned).collect(),
            nbf: None,
        };
        let ring = self.ring();
        let key = ring.signs(issued_at).ok_or(jsonwebtoken::errors::ErrorKind::InvalidEddsaKey)?;
        let header = Header { kid: Some(key.id.clone()), typ: Some(TOKEN_TYPE.to_owned()), ..Header::new(key.algorithm.jwt()) };
        jsonwebtoken::encode(&header, &claims, &key.signing)
    }

    /// Who a token names, if it is one of ours: type, key, algorithm, issuer and audience are all checked. Whether it has expired is
    /// for the caller to obey.
    pub fn read_access_token(&self, token: &str, now: Moment) -> Result<Bearer, &'static str> {
        const INVALID: &str = "The access token is not valid here. Sign in, or refresh the session.";
        let header = jsonwebtoken::decode_header(token).map_err(|_| INVALID)?;
        if header.typ.as_deref() != Some(TOKEN_TYPE) {
            return Err(INVALID);
        }
        let ring = self.ring();
        let key = header.kid.and_then(|kid| ring.find(&kid)).ok_or(INVALID)?;
        // The algorithm is the key's own, whatever the header says.
        let mut validation = Validation::new(key.algorithm.jwt());
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // The server's clock decides, not the operating system's.
        validation.validate_exp = false;
        let claims = jsonwebtoken::decode::<Claims>(token, &key.verifying, &validation).map_err(|_| INVALID)?.claims;
        if claims.nbf.is_some_and(|from| from > now.timestamp()) {
            return Err("The access token is not valid yet.");
        }
        let account = |id: Option<String>| id.map(|id| id.parse()).transpose();
        let ticket = Ticket {
            user: claims.sub.parse().map_err(|_| INVALID)?,
            session: claims.sid.parse().map_err(|_| INVALID)?,
            account: account(claims.acc).map_err(|_| INVALID)?,
            via: account(claims.via).map_err(|_| INVALID)?,
        };
        Ok(Bearer { ticket, expired: claims.exp <= now.timestamp() })
    }

    /// The public keys, as a JSON Web Key Set: other services verify access tokens with it.
    pub fn jwks(&self) -> serde_json::Value {
        let ring = self.ring();
        let keys = ring.iter().map(|key| key.jwk.clone());
        serde_json::json!({ "keys": keys.collect::<Vec<_>>() })
    }
}

/// Cursors by a key of their own, derived from the secret.
fn cursors(secret: &hmac::Key) -> Result<Cursors, KeysError> {
    let mac = hmac::sign(secret, &Keys::mac_input(Purpose::Cursor, Uuid::nil(), 0));
    let key: [u8; 32] = std::array::from_fn(|place| mac.as_ref()[place]);
    Cursors::new(&key).map_err(|_| KeysError::NoCursors)
}

/// The secret beside the SQLite file, made when it is not there yet.
fn secret_beside(path: &Path) -> Result<String, KeysError> {
    if !path.exists() {
        make_secret(path)?;
    }
    close_to_others(path).map_err(at(path))?;
    let secret = fs::read_to_string(path).map_err(at(path))?;
    // With a weak one, anybody could make links.
    match weakness(&secret) {
        None => Ok(secret),
        Some(why) => Err(KeysError::WeakSecret(path.to_owned(), why)),
    }
}

fn make_secret(path: &Path) -> Result<(), KeysError> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).map_err(|_| at(path)(io::Error::other("the machine has no randomness to give")))?;
    // Another one may be first: what is there then is as good.
    Ok(write_private(path, BASE64.encode(bytes).as_bytes())?)
}
