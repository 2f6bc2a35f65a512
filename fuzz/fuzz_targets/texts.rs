//! Any text where an id, a cursor, a token, an address or a name is expected.
#![no_main]

use entity::{AccountId, NodeId};
use keyholder::{
    actor::Caller,
    events::feed::Cursor,
    keys::{Keys, Purpose},
    text,
};
use keyholder_fuzz::{abort_on_panic, app};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    abort_on_panic();
    if let Ok(id) = text.parse::<AccountId>() {
        assert_eq!(id.to_string().parse::<AccountId>().ok(), Some(id));
        assert_eq!(id.to_string(), text, "one way to write an id");
    }
    let _ = text.parse::<NodeId>();
    let log = AccountId(entity_uuid()).into();
    if let Ok(cursor) = Cursor::read(text, log) {
        assert_eq!(Cursor::read(&cursor.write(), log).ok(), Some(cursor));
    }
    if let Some(id) = Keys::link_id(text) {
        let keys = &app().keys;
        for purpose in [Purpose::Invitation, Purpose::AccessRequest, Purpose::VerifyEmail, Purpose::Refresh] {
            assert!(!keys.is_link(text, purpose, id, 0) || keys.link(purpose, id, 0) == text);
        }
    }
    for header in [text.to_owned(), format!("Bearer {text}"), format!("Bearer kh_{text}")] {
        assert!(Caller::of(app(), Some(&header)).refusal().is_some(), "{header}");
    }
    if let Ok(name) = text::name(text, "name") {
        assert_eq!(text::name(&name, "name").ok().as_ref(), Some(&name));
    }
    if let Ok(Some(message)) = text::message(Some(text), "message") {
        assert_eq!(text::message(Some(&message), "message").ok().flatten().as_ref(), Some(&message));
    }
    if let Ok(email) = text::email(text) {
        assert_eq!(text::email(&email.address).ok().as_ref(), Some(&email));
        assert_eq!(text::email(&email.key).map(|again| again.key).as_ref(), Ok(&email.key), "the key is its own key");
    }
    let _ = text::username(text, "username");
});

fn entity_uuid() -> uuid::Uuid {
    uuid::Uuid::from_u128(7)
}
