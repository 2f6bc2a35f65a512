//! Codes that a device makes of a secret and the time (RFC 6238), and recovery codes for who has lost it: pure, and told the time.

use aws_lc_rs::{digest, error::Unspecified, rand};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use entity::{Moment, UserId};
use qrcode::{EcLevel, QrCode, render::svg, types::QrError};
use totp_rs::{Builder, Secret, Totp, TotpError};

/// How many recovery codes somebody has.
pub const RECOVERY_CODES: usize = 10;
/// What they are written in: 16 of these are 80 bits, and none is taken for another.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// The length of a recovery code, without the hyphens that it is shown with.
const LENGTH: usize = 16;
/// The pixels of a module of the QR code.
const MODULE: u32 = 6;

/// A user's device, as far as we know it.
pub struct Device(Totp);

impl Device {
    /// The one that holds this secret; `server` and `login` are what it shows the codes under.
    pub fn new(secret: [u8; 20], server: &str, login: &str) -> Result<Self, TotpError> {
        // A colon stands between the two.
        let plain = |text: &str| text.replace(':', " ");
        let builder = Builder::new().with_secret(Secret::new_stack(secret)).with_skew(1);
        Ok(Self(builder.with_issuer(Some(plain(server))).with_account_name(plain(login)).build()?))
    }

    /// The secret, to be typed.
    pub fn secret(&self) -> String {
        self.0.secret().to_base32()
    }

    /// All that a device has to know.
    pub fn uri(&self) -> Result<String, TotpError> {
        self.0.to_url()
    }

    /// The time step of a code, if it is one of now, or of the half minute before or after.
    pub fn step(&self, code: &str, now: Moment) -> Option<i64> {
        let step = self.0.check(code, u64::try_from(now.timestamp()).ok()?)?;
        i64::try_from(step).ok()
    }
}

/// A picture of a text for a camera.
pub fn qr_code(text: &str) -> Result<String, QrError> {
    let code = QrCode::with_error_correction_level(text, EcLevel::M)?;
    Ok(code.render::<svg::Color<'_>>().module_dimensions(MODULE, MODULE).build())
}

/// New recovery codes, as they are shown: four groups of four.
pub fn recovery_codes() -> Result<Vec<String>, Unspecified> {
    let code = || {
        let mut bytes = [0; LENGTH];
        rand::fill(&mut bytes)?;
        let digits: Vec<_> = bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 31)])).collect();
        Ok(digits.chunks(4).map(String::from_iter).collect::<Vec<_>>().join("-"))
    };
    (0..RECOVERY_CODES).map(|_| code()).collect()
}

/// What a code is meant as.
#[derive(Debug, Eq, PartialEq)]
pub enum Code {
    /// Six digits of a device.
    OneTime(String),
    /// A recovery code, without its hyphens.
    Recovery(String),
}

impl Code {
    /// Reads what somebody typed, who may put spaces and hyphens where they like.
    pub fn read(text: &str) -> Option<Self> {
        let plain =
            |text: &str| -> String { text.chars().filter(|c| !c.is_whitespace() && *c != '-').take(LENGTH + 1).collect() };
        let typed = plain(text).to_ascii_lowercase();
        match typed.len() {
            6 if typed.bytes().all(|digit| digit.is_ascii_digit()) => Some(Self::OneTime(typed)),
            LENGTH if typed.bytes().all(|digit| ALPHABET.contains(&digit)) => Some(Self::Recovery(typed)),
            _ => None,
        }
    }
}

/// What is kept of a recovery code.
pub fn hash(user: UserId, code: &str) -> String {
    let plain = code.replace('-', "");
    BASE64.encode(digest::digest(&digest::SHA256, format!("{user}:{plain}").as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device() -> Device {
        Device::new(*b"12345678901234567890", "127.0.0.1:8080", "ann@x.example").unwrap()
    }

    /// I4: the vectors of RFC 6238, the last six of their eight digits.
    #[test]
    fn i4_codes_are_those_of_rfc_6238() {
        for (at, code) in [(59, "287082"), (1_111_111_109, "081804"), (1_234_567_890, "005924"), (20_000_000_000, "353130")] {
            let at = Moment::from_timestamp(at, 0).unwrap();
            assert_eq!(device().step(code, at), Some(at.timestamp() / 30));
            let late = |seconds| device().step(code, at + chrono::TimeDelta::seconds(seconds));
            assert_eq!(late(90), None, "two steps later");
            assert_eq!(late(-90), None);
        }
    }

    #[test]
    fn i4_what_a_device_has_to_know() {
        let uri = device().uri().unwrap();
        assert!(uri.starts_with("otpauth://totp/127.0.0.1%208080:ann%40x.example?"), "{uri}");
        assert!(uri.contains("secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ") && uri.contains("issuer=127.0.0.1%208080"), "{uri}");
        assert_eq!(device().secret(), "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
        let svg = qr_code(&uri).unwrap();
        assert!(svg.contains("<svg") && svg.ends_with("</svg>") && !svg.contains("<script"), "{svg}");
    }

    #[test]
    fn i4_codes_as_people_type_them() {
        let codes = recovery_codes().unwrap();
        assert_eq!(codes.len(), 10);
        for code in &codes {
            assert_eq!(code.len(), 19);
            let typed = code.to_uppercase().replace('-', " ");
            assert_eq!(Code::read(&typed), Some(Code::Recovery(code.replace('-', ""))));
        }
        assert_eq!(Code::read(" 123 456"), Some(Code::OneTime("123456".into())));
        for wrong in ["", "12345", "1234567", "12345a", "abcd-efgh", "aaaa-aaaa-aaaa-aaau", &"1".repeat(1_000)] {
            assert_eq!(Code::read(wrong), None, "{wrong}");
        }
        let user = UserId(uuid::Uuid::nil());
        assert_eq!(hash(user, "aaaa-bbbb"), hash(user, "aaaabbbb"));
        assert_ne!(hash(user, "aaaa"), hash(UserId(uuid::Uuid::max()), "aaaa"));
    }
}
