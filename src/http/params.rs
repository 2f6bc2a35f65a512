//! What a client sends, in a body, a query string or a `subscribe` message: read as little as it takes to know what is asked.

use super::trusted;
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;
use std::fmt;

/// The parameters of a GraphQL request.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default, expecting = "an object")]
pub struct Params<'a> {
    /// The document.
    pub query: Option<String>,
    /// The id of a trusted document, instead.
    pub document_id: Option<String>,
    /// Which of the document's operations is meant.
    pub operation_name: Option<String>,
    /// The values of the variables, an object as JSON. They are read when the operation is known that declares them.
    #[serde(borrow, deserialize_with = "an_object")]
    pub variables: Option<&'a RawValue>,
    /// Whatever else, of which one thing is read.
    pub extensions: Option<Extensions>,
}

impl Params<'_> {
    /// Whether a document is there, or an id of one.
    pub fn names_a_document(&self) -> bool {
        let given = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        given(&self.query) || given(&self.document_id) || trusted::hash(self).is_some()
    }
}

fn an_object<'a, D: Deserializer<'a>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    let raw = Option::<&RawValue>::deserialize(deserializer)?;
    match raw {
        Some(raw) if !raw.get().starts_with('{') => Err(D::Error::custom("\"variables\" must be an object")),
        raw => Ok(raw),
    }
}

/// The `extensions` of a request. What nobody reads is passed over.
#[derive(Default)]
pub struct Extensions {
    /// The hash that Apollo's clients name a document by.
    pub sha256_hash: Option<String>,
}

impl<'de> Deserialize<'de> for Extensions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Extensions;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Extensions, A::Error> {
                let mut extensions = Extensions::default();
                while let Some(key) = map.next_key::<String>()? {
                    if key == "persistedQuery" {
                        extensions.sha256_hash =
                            map.next_value::<Option<Persisted>>()?.and_then(|persisted| persisted.sha256_hash);
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(extensions)
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default, expecting = "an object")]
struct Persisted {
    sha256_hash: Option<String>,
}

/// Reads a JSON object. A struct can be read from an array too, so that a batch would pass for one request.
pub fn object<'a, T: Deserialize<'a>>(json: &'a [u8]) -> serde_json::Result<T> {
    match json.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'[') => Err(serde_json::Error::custom("an object is expected, and batches are not supported")),
        _ => serde_json::from_slice(json),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(json: &str) -> Result<Option<String>, String> {
        let params = object::<Params<'_>>(json.as_bytes()).map_err(|error| error.to_string())?;
        Ok(params.extensions.and_then(|extensions| extensions.sha256_hash))
    }

    #[test]
    fn of_the_extensions_one_hash_is_read() {
        let persisted = r#"{"extensions": {"a": [[{}]], "persistedQuery": {"version": 1, "sha256Hash": "abc"}, "b": 1}}"#;
        assert_eq!(hash(persisted), Ok(Some("abc".to_owned())));
        for nothing in [r#"{"extensions": {}}"#, r#"{"extensions": null}"#, "{}", r#"{"extensions": {"persistedQuery": null}}"#] {
            assert_eq!(hash(nothing), Ok(None), "{nothing}");
        }
        for wrong in [r#"{"extensions": []}"#, r#"{"extensions": 1}"#, r#"{"extensions": {"persistedQuery": {"sha256Hash": 1}}}"#]
        {
            assert!(hash(wrong).is_err(), "{wrong}");
        }
    }
}
