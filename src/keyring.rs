//! The key pairs that sign access tokens: where they come from, which one signs, and how they are rotated (I3).
//!
//! Each key has a moment from which it signs. A new one is made known before that, for longer than other services may keep the
//! old set, so that none of them ever meets a key that it can't know; and the old one goes on verifying until the last token that
//! it signed has expired.

use crate::{private::close_to_others, strength::is_weak_key};
use aws_lc_rs::{
    digest,
    encoding::AsBigEndian,
    rand,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair},
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD as BASE64},
};
use chrono::TimeDelta;
use entity::Moment;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use serde_json::{Value, json};
use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

/// How long others may keep the public keys, in seconds.
pub const PUBLIC_FOR: i64 = 300;
/// How long before it signs a new key is made known.
const LEAD: TimeDelta = TimeDelta::seconds(2 * PUBLIC_FOR);
const PEM_BEGINS: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_ENDS: &str = "-----END PRIVATE KEY-----";

/// The signature algorithm of access tokens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TokenAlgorithm {
    /// Ed25519.
    EdDsa,
    /// ECDSA on P-256 with SHA-256.
    Es256,
}

impl TokenAlgorithm {
    /// The name in JWT headers, JSON Web Keys and the setting.
    pub const fn name(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
        }
    }

    /// The same algorithm, as the JWT library names it.
    pub const fn jwt(self) -> Algorithm {
        match self {
            Self::EdDsa => Algorithm::EdDSA,
            Self::Es256 => Algorithm::ES256,
        }
    }

    /// The extension of key files. Servers of the version before read `pk8` files alone, and refuse any that is not Ed25519.
    const fn extension(self) -> &'static str {
        match self {
            Self::EdDsa => "pk8",
            Self::Es256 => "es256",
        }
    }

    fn generate(self) -> Result<Vec<u8>, KeyringError> {
        let random = rand::SystemRandom::new();
        let document = match self {
            Self::EdDsa => Ed25519KeyPair::generate_pkcs8(&random),
            Self::Es256 => EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random),
        };
        document.map(|document| document.as_ref().to_vec()).map_err(|_| KeyringError::NoRandomness)
    }
}

/// Where the keys come from.
#[derive(Clone, Eq, PartialEq)]
pub enum KeySource {
    /// Files of a directory, named by the second from which each signs: `1790000000.pk8` for Ed25519, `1790000000.es256` for ES256.
    Directory(PathBuf),
    /// PEM texts one after the other. The last one of the configured algorithm signs.
    Pem(String),
}

impl KeySource {
    /// Reads a setting: keys as PEM, or where they are.
    pub fn read(text: &str) -> Self {
        if text.contains(PEM_BEGINS) { Self::Pem(text.to_owned()) } else { Self::Directory(text.into()) }
    }
}

/// Tells where, and no key.
impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => path.display().fmt(f),
            Self::Pem(_) => f.write_str("the setting itself"),
        }
    }
}

/// Why the keys could not be had; the sentence names what to mend.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// A file or directory could not be read or made.
    #[error("{path}: {source}")]
    File {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file in the directory of keys is none.
    #[error("{0}: not a private key for EdDSA (Ed25519) or ES256 (P-256) in PKCS#8 (DER), or one that is not random")]
    NotAKey(PathBuf),
    /// A text of the setting is none.
    #[error(
        "the setting keys: the PEM text number {0} is not a private key for EdDSA (Ed25519) or ES256 (P-256) in PKCS#8, or one that is not random"
    )]
    NotPem(usize),
    /// The setting has keys, but none of the configured algorithm.
    #[error(
        "the setting keys has no {0} key, which token_algorithm asks for: put one behind the others, from `keyholder keys rotate`"
    )]
    NoneOfAlgorithm(&'static str),
    /// There is no key at all.
    #[error("{0}: there is no key here")]
    Empty(String),
    /// The machine can make no key.
    #[error("the machine has no randomness to give")]
    NoRandomness,
}

/// One key pair.
pub struct Key {
    /// What tokens name it by: told by its content, so that a renamed file is the same key and no two deployments share an id.
    pub id: String,
    /// From when on it signs.
    pub from: Moment,
    /// What it signs with.
    pub algorithm: TokenAlgorithm,
    /// The public half, as a JSON Web Key.
    pub jwk: Value,
    /// Signs.
    pub signing: EncodingKey,
    /// Verifies.
    pub verifying: DecodingKey,
    file: Option<PathBuf>,
}

impl Key {
    fn read(der: &[u8], from: Moment, file: Option<PathBuf>) -> Option<Self> {
        Self::read_ed25519(der, from, file.clone()).or_else(|| Self::read_p256(der, from, file))
    }

    fn read_ed25519(der: &[u8], from: Moment, file: Option<PathBuf>) -> Option<Self> {
        let pair = Ed25519KeyPair::from_pkcs8(der).ok()?;
        if is_weak_key(pair.seed().ok()?.as_be_bytes().ok()?.as_ref()) {
            return None;
        }
        let (id, x) = (key_id(pair.public_key().as_ref()), BASE64.encode(pair.public_key()));
        let verifying = DecodingKey::from_ed_components(&x).ok()?;
        let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": id, "x": x });
        Some(Self { id, from, algorithm: TokenAlgorithm::EdDsa, jwk, signing: EncodingKey::from_ed_der(der), verifying, file })
    }

    fn read_p256(der: &[u8], from: Moment, file: Option<PathBuf>) -> Option<Self> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der).ok()?;
        if is_weak_key(pair.private_key().as_be_bytes().ok()?.as_ref()) {
            return None;
        }
        let public = pair.public_key().as_ref();
        // An uncompressed point: a mark, then both coordinates.
        let (x, y) = public.get(1..).filter(|point| point.len() == 64)?.split_at(32);
        let (id, x, y) = (key_id(public), BASE64.encode(x), BASE64.encode(y));
        let verifying = DecodingKey::from_ec_components(&x, &y).ok()?;
        let jwk = json!({ "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": id, "x": x, "y": y });
        Some(Self { id, from, algorithm: TokenAlgorithm::Es256, jwk, signing: EncodingKey::from_ec_der(der), verifying, file })
    }
}

fn key_id(public: &[u8]) -> String {
    BASE64.encode(&digest::digest(&digest::SHA256, public).as_ref()[..12])
}

/// The keys of a moment, by when they sign.
pub struct Keyring {
    keys: Vec<Key>,
    algorithm: TokenAlgorithm,
}

impl Keyring {
    /// Reads the keys. Adds one to a directory that has none of the algorithm: the first key signs at once, another one once
    /// other services have had the time to read it.
    pub fn load(source: &KeySource, algorithm: TokenAlgorithm, now: Moment) -> Result<Self, KeyringError> {
        if let KeySource::Directory(directory) = source {
            make_private(directory)?;
            let keys = of_directory(directory)?;
            if !keys.iter().any(|key| key.algorithm == algorithm) {
                // Another server may be first: its key is as good.
                write_key(directory, algorithm, if keys.is_empty() { Moment::UNIX_EPOCH } else { now + LEAD })?;
            }
        }
        Self::read(source, algorithm)
    }

    /// Reads the keys, of which there has to be one.
    pub fn read(source: &KeySource, algorithm: TokenAlgorithm) -> Result<Self, KeyringError> {
        let keys = match source {
            KeySource::Pem(text) => of_pem(text)?,
            KeySource::Directory(directory) => of_directory(directory)?,
        };
        if keys.is_empty() {
            return Err(KeyringError::Empty(source.to_string()));
        }
        // A directory that has none yet gets one at the next start.
        if matches!(source, KeySource::Pem(_)) && !keys.iter().any(|key| key.algorithm == algorithm) {
            return Err(KeyringError::NoneOfAlgorithm(algorithm.name()));
        }
        Ok(Self { keys, algorithm })
    }

    /// The key that signs now: the latest one of the algorithm whose time has come, else the latest one of any, else the first.
    pub fn signs(&self, now: Moment) -> Option<&Key> {
        let mut begun = self.keys.iter().rev().filter(|key| key.from <= now);
        let wanted = begun.clone().find(|key| key.algorithm == self.algorithm);
        wanted.or_else(|| begun.next()).or(self.keys.first())
    }

    /// The key of an id.
    pub fn find(&self, id: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.id == id)
    }

    /// All of them, those to come included.
    pub fn iter(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter()
    }

    /// The ids, to be told from another ring's.
    pub fn ids(&self) -> Vec<&str> {
        self.keys.iter().map(|key| key.id.as_str()).collect()
    }
}

/// What a rotation did.
#[derive(Debug, Eq, PartialEq)]
pub struct Rotated {
    /// The new key's file.
    pub made: PathBuf,
    /// From when on it signs.
    pub from: Moment,
    /// The files of keys that nothing valid is signed with any more.
    pub removed: Vec<PathBuf>,
}

/// A rotation to be done.
#[derive(Clone, Copy, Debug)]
pub struct Rotation {
    /// The algorithm of the new key.
    pub algorithm: TokenAlgorithm,
    /// How long an access token lasts.
    pub token_ttl: TimeDelta,
    /// A key was lost: the new one signs now and all others go, and every access token with them.
    pub at_once: bool,
}

/// Makes a key that signs after a while, and removes those whose last token has expired.
pub fn rotate(directory: &Path, now: Moment, rotation: Rotation) -> Result<Rotated, KeyringError> {
    let Rotation { algorithm, token_ttl, at_once } = rotation;
    make_private(directory)?;
    let keys = of_directory(directory)?;
    let from = if at_once || keys.is_empty() { now } else { now + LEAD };
    let made = write_key(directory, algorithm, from)?;
    let expired = |key: &Key| {
        // It signed until its successor did; its last token lived for so long after that, by clocks that differ a little.
        let succeeds = |other: &&Key| other.algorithm == algorithm && other.from > key.from && other.from <= now;
        keys.iter().find(succeeds).is_some_and(|successor| successor.from + token_ttl + LEAD <= now)
    };
    let gone = keys.iter().filter(|key| at_once || expired(key)).filter_map(|key| key.file.clone());
    let gone: Vec<_> = gone.filter(|file| *file != made).collect();
    for file in &gone {
        fs::remove_file(file).map_err(at(file))?;
    }
    Ok(Rotated { made, from, removed: gone })
}

/// A new key as PEM, for who keeps keys in the environment.
pub fn new_pem(algorithm: TokenAlgorithm) -> Result<String, KeyringError> {
    let der = algorithm.generate()?;
    Ok(format!("{PEM_BEGINS}\n{}\n{PEM_ENDS}\n", STANDARD.encode(der)))
}

fn of_pem(text: &str) -> Result<Vec<Key>, KeyringError> {
    let texts = text.split(PEM_BEGINS).skip(1).enumerate().map(|(place, text)| {
        // A variable of the environment may have lost its line breaks, or have them written out.
        let body = text.split(PEM_ENDS).next().unwrap_or_default().replace("\\n", "");
        let body: String = body.split_whitespace().collect();
        let key = STANDARD.decode(body).ok().and_then(|der| Key::read(&der, Moment::UNIX_EPOCH, None));
        key.ok_or(KeyringError::NotPem(place + 1))
    });
    texts.collect()
}

fn of_directory(directory: &Path) -> Result<Vec<Key>, KeyringError> {
    let entries = fs::read_dir(directory).map_err(at(directory))?.collect::<Result<Vec<_>, _>>().map_err(at(directory))?;
    let mut files: Vec<_> = entries.into_iter().map(|entry| entry.path()).collect();
    let extensions = [TokenAlgorithm::EdDsa, TokenAlgorithm::Es256].map(TokenAlgorithm::extension);
    files.retain(|path| path.extension().is_some_and(|extension| extensions.iter().any(|known| extension == *known)));
    files.sort();
    let mut keys = Vec::new();
    for file in files {
        close_to_others(&file).map_err(at(&file))?;
        let der = match fs::read(&file) {
            // Rotated away since the directory was read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            der => der.map_err(at(&file))?,
        };
        let name = file.file_stem().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
        let from = name.and_then(|seconds| Moment::from_timestamp(seconds, 0)).unwrap_or(Moment::UNIX_EPOCH);
        keys.push(Key::read(&der, from, Some(file.clone())).ok_or(KeyringError::NotAKey(file))?);
    }
    keys.sort_by_key(|key| key.from);
    Ok(keys)
}

fn write_key(directory: &Path, algorithm: TokenAlgorithm, from: Moment) -> Result<PathBuf, KeyringError> {
    let file = directory.join(format!("{:010}.{}", from.timestamp(), algorithm.extension()));
    write_private(&file, &algorithm.generate()?)?;
    Ok(file)
}

fn make_private(directory: &Path) -> Result<(), KeyringError> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(directory).map_err(at(directory))?;
    close_to_others(directory).map_err(at(directory))
}

pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> KeyringError {
    let path = path.to_owned();
    move |source| KeyringError::File { path, source }
}

/// Writes a file that only its owner can read: whole or not at all, and never over one that is there; then what is there stays.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> Result<(), KeyringError> {
    use std::io::Write;
    // Two who begin at once write a draft each.
    let mut bytes = [0; 8];
    rand::fill(&mut bytes).map_err(|_| KeyringError::NoRandomness)?;
    let draft = path.with_extension(format!("draft-{}", BASE64.encode(bytes)));
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&draft).map_err(at(&draft))?;
    let written = file.write_all(content).and_then(|()| file.sync_all()).map_err(at(&draft));
    let linked = written.and_then(|()| match fs::hard_link(&draft, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked.map_err(at(path)),
    });
    fs::remove_file(&draft).map_err(at(&draft))?;
    linked
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: TimeDelta = TimeDelta::minutes(5);

    const ED: TokenAlgorithm = TokenAlgorithm::EdDsa;

    fn load(source: &KeySource) -> Result<Keyring, KeyringError> {
        Keyring::load(source, ED, at(0))
    }

    fn rotate_ed(directory: &Path, now: Moment, at_once: bool) -> Result<Rotated, KeyringError> {
        rotate(directory, now, Rotation { algorithm: ED, token_ttl: TTL, at_once })
    }

    fn at(minutes: i64) -> Moment {
        Moment::from_timestamp(1_790_000_000 + 60 * minutes, 0).unwrap()
    }

    fn directory(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("keyholder-ring-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&directory));
        directory
    }

    /// I3: a new key is known before it signs, and the one before verifies as long as anything is valid that it signed.
    #[test]
    fn i3_keys_rotate() {
        let directory = directory("rotate");
        let source = KeySource::Directory(directory.clone());
        let first = load(&source).unwrap();
        let signs = |minutes| load(&source).unwrap().signs(at(minutes)).unwrap().id.clone();
        let one = first.signs(at(0)).unwrap().id.clone();
        let rotated = rotate_ed(&directory, at(0), false).unwrap();
        assert_eq!((rotated.from, rotated.removed.len()), (at(10), 0));
        let ring = load(&source).unwrap();
        assert_eq!((ring.iter().count(), signs(9) == one, signs(10) == one), (2, true, false));
        let two = signs(10);
        // Again before the first can go: nothing is lost.
        assert_eq!(rotate_ed(&directory, at(24), false).unwrap().removed.len(), 0);
        assert_eq!((signs(33), load(&source).unwrap().iter().count()), (two.clone(), 3));
        let rotated = rotate_ed(&directory, at(40), false).unwrap();
        assert_eq!(rotated.removed.len(), 1);
        let ring = load(&source).unwrap();
        assert!(ring.find(&one).is_none() && ring.find(&two).is_some());
        // Lost: all others go at once.
        let rotated = rotate_ed(&directory, at(41), true).unwrap();
        assert_eq!((rotated.from, rotated.removed.len(), load(&source).unwrap().iter().count()), (at(41), 3, 1));
        fs::remove_dir_all(directory).unwrap();
    }

    /// I3: with another algorithm set, the old key goes on signing until the new one is known, and verifies after that. Set back, the
    /// old one signs again.
    #[test]
    fn i3_the_algorithm_changes_without_a_gap() {
        let directory = directory("algorithm");
        let source = KeySource::Directory(directory.clone());
        let ed = load(&source).unwrap().signs(at(0)).unwrap().id.clone();
        let es = |minutes| Keyring::load(&source, TokenAlgorithm::Es256, at(minutes)).unwrap();
        let ring = es(0);
        assert_eq!((ring.iter().count(), ring.signs(at(9)).unwrap().id == ed), (2, true), "known before it signs");
        let signing = ring.signs(at(10)).unwrap();
        assert_eq!(
            (signing.algorithm, &signing.jwk["kty"], &signing.jwk["crv"]),
            (TokenAlgorithm::Es256, &json!("EC"), &json!("P-256"))
        );
        assert!(es(60).find(&ed).is_some() && es(60).iter().count() == 2, "made once");
        assert_eq!(load(&source).unwrap().signs(at(60)).unwrap().id, ed, "set back");
        let rotation = Rotation { algorithm: TokenAlgorithm::Es256, token_ttl: TTL, at_once: false };
        let rotated = rotate(&directory, at(60), rotation).unwrap();
        assert_eq!(
            (rotated.made.extension().unwrap().to_str(), rotated.removed.len()),
            (Some("es256"), 1),
            "the old one is over"
        );
        assert!(es(60).find(&ed).is_none());
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn i3_a_setting_without_a_key_of_the_algorithm_is_refused() {
        let (ed, es) = (new_pem(ED).unwrap(), new_pem(TokenAlgorithm::Es256).unwrap());
        let load = |pem: String| Keyring::load(&KeySource::read(&pem), TokenAlgorithm::Es256, at(0));
        let refused = load(ed.clone()).err().unwrap().to_string();
        assert!(refused.contains("no ES256 key"), "{refused}");
        let ring = load(format!("{es}{ed}")).unwrap();
        assert_eq!((ring.signs(at(0)).unwrap().algorithm, ring.iter().count()), (TokenAlgorithm::Es256, 2), "whatever the order");
    }

    #[test]
    fn keys_may_be_in_the_setting() {
        let (one, two) = (new_pem(ED).unwrap(), new_pem(ED).unwrap());
        let ring = load(&KeySource::read(&format!("{one}{two}"))).unwrap();
        let of = |pem: &str| load(&KeySource::read(pem)).unwrap().signs(at(0)).unwrap().id.clone();
        assert_eq!(ring.ids(), [of(&one).as_str(), of(&two).as_str()]);
        assert_eq!(ring.signs(at(0)).unwrap().id, of(&two), "the last signs");
        assert_eq!(of(&one.replace('\n', "\\n")), of(&one));
        assert_eq!(of(&one.replace('\n', " ")), of(&one));
        let wrong = load(&KeySource::read(&format!("{one}{PEM_BEGINS}AAAA{PEM_ENDS}"))).err().unwrap().to_string();
        assert!(wrong.contains("number 2") && !wrong.contains(&one), "{wrong}");
        assert_eq!(KeySource::read("/etc/keys").to_string(), "/etc/keys");
        assert!(!KeySource::read(&one).to_string().contains("PRIVATE"));
    }

    #[test]
    fn a_file_that_is_no_key_is_named() {
        let directory = directory("wrong");
        let source = KeySource::Directory(directory.clone());
        load(&source).unwrap();
        fs::write(directory.join("1790000000.pk8"), b"nonsense").unwrap();
        assert!(load(&source).err().unwrap().to_string().contains("1790000000.pk8"));
        // A directory that has lost its keys gets no others while a server runs.
        for file in fs::read_dir(&directory).unwrap() {
            fs::remove_file(file.unwrap().path()).unwrap();
        }
        assert!(Keyring::read(&source, ED).err().unwrap().to_string().contains("there is no key here"));
        write_private(&directory.join("x"), b"first").unwrap();
        write_private(&directory.join("x"), b"second").unwrap();
        assert_eq!(fs::read(directory.join("x")).unwrap(), b"first", "what is there stays");
        fs::remove_dir_all(directory).unwrap();
    }
}
