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
    signature::{Ed25519KeyPair, KeyPair},
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD as BASE64},
};
use chrono::TimeDelta;
use entity::Moment;
use jsonwebtoken::{DecodingKey, EncodingKey};
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

/// Where the keys come from.
#[derive(Clone, Eq, PartialEq)]
pub enum KeySource {
    /// Files of a directory, named by the second from which each signs: `1790000000.pk8`.
    Directory(PathBuf),
    /// PEM texts one after the other, of which the last signs.
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
    #[error("{0}: not an Ed25519 private key in PKCS#8 (DER), or one that is not random")]
    NotAKey(PathBuf),
    /// A text of the setting is none.
    #[error("the setting keys: the PEM text number {0} is not an Ed25519 private key in PKCS#8, or one that is not random")]
    NotPem(usize),
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
    /// The public half, as a JSON Web Key has it.
    pub x: String,
    /// Signs.
    pub signing: EncodingKey,
    /// Verifies.
    pub verifying: DecodingKey,
    file: Option<PathBuf>,
}

impl Key {
    fn read(der: &[u8], from: Moment, file: Option<PathBuf>) -> Option<Self> {
        let pair = Ed25519KeyPair::from_pkcs8(der).ok()?;
        if is_weak_key(pair.seed().ok()?.as_be_bytes().ok()?.as_ref()) {
            return None;
        }
        let x = BASE64.encode(pair.public_key());
        let id = BASE64.encode(&digest::digest(&digest::SHA256, pair.public_key().as_ref()).as_ref()[..12]);
        let verifying = DecodingKey::from_ed_components(&x).ok()?;
        Some(Self { id, from, x, signing: EncodingKey::from_ed_der(der), verifying, file })
    }
}

/// The keys of a moment, by when they sign.
pub struct Keyring(Vec<Key>);

impl Keyring {
    /// Reads the keys; of a directory without any, makes the first.
    pub fn load(source: &KeySource) -> Result<Self, KeyringError> {
        if let KeySource::Directory(directory) = source {
            make_private(directory)?;
            if of_directory(directory)?.0.is_empty() {
                // Another one may be first: its key is as good.
                write_key(directory, Moment::UNIX_EPOCH)?;
            }
        }
        Self::read(source)
    }

    /// Reads the keys, of which there has to be one.
    pub fn read(source: &KeySource) -> Result<Self, KeyringError> {
        let ring = match source {
            KeySource::Pem(text) => of_pem(text)?,
            KeySource::Directory(directory) => of_directory(directory)?,
        };
        if ring.0.is_empty() { Err(KeyringError::Empty(source.to_string())) } else { Ok(ring) }
    }

    /// The key that signs now. One of them always does: before the first one's time it is that one all the same.
    pub fn signs(&self, now: Moment) -> Option<&Key> {
        self.0.iter().rev().find(|key| key.from <= now).or(self.0.first())
    }

    /// The key of an id.
    pub fn find(&self, id: &str) -> Option<&Key> {
        self.0.iter().find(|key| key.id == id)
    }

    /// All of them, those to come included.
    pub fn iter(&self) -> impl Iterator<Item = &Key> {
        self.0.iter()
    }

    /// The ids, to be told from another ring's.
    pub fn ids(&self) -> Vec<&str> {
        self.0.iter().map(|key| key.id.as_str()).collect()
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

/// Makes a key that signs after a while, and removes those whose last token has expired. At once: the new one signs now and all
/// others go, and with them every access token, for when a key was lost.
pub fn rotate(directory: &Path, now: Moment, token_ttl: TimeDelta, at_once: bool) -> Result<Rotated, KeyringError> {
    make_private(directory)?;
    let ring = of_directory(directory)?;
    let from = if at_once || ring.0.is_empty() { now } else { now + LEAD };
    let made = write_key(directory, from)?;
    let expired = |key: &Key| {
        // It signed until its successor did; its last token lived for so long after that, by clocks that differ a little.
        let successor = ring.0.iter().find(|other| other.from > key.from && other.from <= now);
        successor.is_some_and(|successor| successor.from + token_ttl + LEAD <= now)
    };
    let gone = ring.0.iter().filter(|key| at_once || expired(key)).filter_map(|key| key.file.clone());
    let gone: Vec<_> = gone.filter(|file| *file != made).collect();
    for file in &gone {
        fs::remove_file(file).map_err(at(file))?;
    }
    Ok(Rotated { made, from, removed: gone })
}

/// A new key as PEM, for who keeps keys in the environment.
pub fn new_pem() -> Result<String, KeyringError> {
    let der = generate()?;
    Ok(format!("{PEM_BEGINS}\n{}\n{PEM_ENDS}\n", STANDARD.encode(der)))
}

fn of_pem(text: &str) -> Result<Keyring, KeyringError> {
    let texts = text.split(PEM_BEGINS).skip(1).enumerate().map(|(place, text)| {
        // A variable of the environment may have lost its line breaks, or have them written out.
        let body = text.split(PEM_ENDS).next().unwrap_or_default().replace("\\n", "");
        let body: String = body.split_whitespace().collect();
        let key = STANDARD.decode(body).ok().and_then(|der| Key::read(&der, Moment::UNIX_EPOCH, None));
        key.ok_or(KeyringError::NotPem(place + 1))
    });
    texts.collect::<Result<_, _>>().map(Keyring)
}

fn of_directory(directory: &Path) -> Result<Keyring, KeyringError> {
    let entries = fs::read_dir(directory).map_err(at(directory))?.collect::<Result<Vec<_>, _>>().map_err(at(directory))?;
    let mut files: Vec<_> = entries.into_iter().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "pk8"));
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
    Ok(Keyring(keys))
}

fn generate() -> Result<Vec<u8>, KeyringError> {
    let document = Ed25519KeyPair::generate_pkcs8(&rand::SystemRandom::new()).map_err(|_| KeyringError::NoRandomness)?;
    Ok(document.as_ref().to_vec())
}

fn write_key(directory: &Path, from: Moment) -> Result<PathBuf, KeyringError> {
    let file = directory.join(format!("{:010}.pk8", from.timestamp()));
    write_private(&file, &generate()?)?;
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
        let first = Keyring::load(&source).unwrap();
        let signs = |minutes| Keyring::load(&source).unwrap().signs(at(minutes)).unwrap().id.clone();
        let one = first.signs(at(0)).unwrap().id.clone();
        let rotated = rotate(&directory, at(0), TTL, false).unwrap();
        assert_eq!((rotated.from, rotated.removed.len()), (at(10), 0));
        let ring = Keyring::load(&source).unwrap();
        assert_eq!((ring.iter().count(), signs(9) == one, signs(10) == one), (2, true, false));
        let two = signs(10);
        // Again before the first can go: nothing is lost.
        assert_eq!(rotate(&directory, at(24), TTL, false).unwrap().removed.len(), 0);
        assert_eq!((signs(33), Keyring::load(&source).unwrap().iter().count()), (two.clone(), 3));
        let rotated = rotate(&directory, at(40), TTL, false).unwrap();
        assert_eq!(rotated.removed.len(), 1);
        let ring = Keyring::load(&source).unwrap();
        assert!(ring.find(&one).is_none() && ring.find(&two).is_some());
        // Lost: all others go at once.
        let rotated = rotate(&directory, at(41), TTL, true).unwrap();
        assert_eq!((rotated.from, rotated.removed.len(), Keyring::load(&source).unwrap().iter().count()), (at(41), 3, 1));
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn keys_may_be_in_the_setting() {
        let (one, two) = (new_pem().unwrap(), new_pem().unwrap());
        let ring = Keyring::load(&KeySource::read(&format!("{one}{two}"))).unwrap();
        let of = |pem: &str| Keyring::load(&KeySource::read(pem)).unwrap().signs(at(0)).unwrap().id.clone();
        assert_eq!(ring.ids(), [of(&one).as_str(), of(&two).as_str()]);
        assert_eq!(ring.signs(at(0)).unwrap().id, of(&two), "the last signs");
        assert_eq!(of(&one.replace('\n', "\\n")), of(&one));
        assert_eq!(of(&one.replace('\n', " ")), of(&one));
        let wrong = Keyring::load(&KeySource::read(&format!("{one}{PEM_BEGINS}AAAA{PEM_ENDS}"))).err().unwrap().to_string();
        assert!(wrong.contains("number 2") && !wrong.contains(&one), "{wrong}");
        assert_eq!(KeySource::read("/etc/keys").to_string(), "/etc/keys");
        assert!(!KeySource::read(&one).to_string().contains("PRIVATE"));
    }

    #[test]
    fn a_file_that_is_no_key_is_named() {
        let directory = directory("wrong");
        let source = KeySource::Directory(directory.clone());
        Keyring::load(&source).unwrap();
        fs::write(directory.join("1790000000.pk8"), b"nonsense").unwrap();
        assert!(Keyring::load(&source).err().unwrap().to_string().contains("1790000000.pk8"));
        // A directory that has lost its keys gets no others while a server runs.
        for file in fs::read_dir(&directory).unwrap() {
            fs::remove_file(file.unwrap().path()).unwrap();
        }
        assert!(Keyring::read(&source).err().unwrap().to_string().contains("there is no key here"));
        write_private(&directory.join("x"), b"first").unwrap();
        write_private(&directory.join("x"), b"second").unwrap();
        assert_eq!(fs::read(directory.join("x")).unwrap(), b"first", "what is there stays");
        fs::remove_dir_all(directory).unwrap();
    }
}
