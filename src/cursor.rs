//! Cursors: places in a list or a log, encrypted.
//!
//! A place is a number or the key of a row, which would tell how many events somebody can't see lie between two that they can. So a
//! cursor is encrypted with a key that is derived from the server's secret: every replica can read it, also after a restart, and
//! nobody else. It is bound to its list. AES-GCM-SIV needs no nonce of its own: the same place of the same list is always the same
//! cursor, and two cursors tell nothing but whether they are the same.

use aws_lc_rs::{
    aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    error::Unspecified,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};

/// Writes and reads cursors.
pub struct Cursors(LessSafeKey);

impl Cursors {
    /// With a key that all replicas derive alike.
    pub fn new(key: &[u8; 32]) -> Result<Self, Unspecified> {
        Ok(Self(LessSafeKey::new(UnboundKey::new(&AES_256_GCM_SIV, key)?)))
    }

    fn nonce() -> Nonce {
        Nonce::assume_unique_for_key([0; NONCE_LEN])
    }

    /// The cursor of a place in a list. Its length tells that of the place.
    pub fn write(&self, list: &str, place: &[u8]) -> String {
        let mut bytes = place.to_vec();
        // Only a place of gigabytes can't be encrypted; an empty cursor is refused when it comes back.
        let sealed = self.0.seal_in_place_append_tag(Self::nonce(), Aad::from(list.as_bytes()), &mut bytes);
        sealed.map_or_else(|_| String::new(), |()| BASE64.encode(bytes))
    }

    /// The place that a cursor of this list names; none for any other text.
    pub fn read(&self, list: &str, cursor: &str) -> Option<Vec<u8>> {
        let mut bytes = BASE64.decode(cursor).ok()?;
        let place = self.0.open_in_place(Self::nonce(), Aad::from(list.as_bytes()), &mut bytes).ok()?.len();
        bytes.truncate(place);
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn cursors_read_back_in_their_own_list_only(place in prop::collection::vec(any::<u8>(), 0..40), noise in ".{0,60}") {
            let (cursors, others) = (Cursors::new(&[7; 32]).unwrap(), Cursors::new(&[8; 32]).unwrap());
            let cursor = cursors.write("users", &place);
            prop_assert_eq!(cursors.read("users", &cursor).unwrap(), place);
            prop_assert!(cursors.read("events", &cursor).is_none() && others.read("users", &cursor).is_none());
            prop_assert!(cursors.read("users", &noise).is_none());
        }
    }

    /// THREATS 82: neighbours have nothing in common.
    #[test]
    fn threat_82_cursors_tell_no_distance() {
        let cursors = Cursors::new(&[7; 32]).unwrap();
        let bytes = |number: u64| BASE64.decode(cursors.write("log", &number.to_be_bytes())).unwrap();
        for number in 0..1000 {
            let (one, next) = (bytes(number), bytes(number + 1));
            let equal = one.iter().zip(&next).filter(|(a, b)| a == b).count();
            assert!(one.len() == next.len() && equal <= 4, "{number}: {equal} equal bytes");
        }
    }
}
