//! The variables of a request, read in steps, so that no request can make the server build more than the limits allow.
//!
//! A JSON value takes many times its text in memory. So the variables stay text until the document is parsed. Then those that the
//! operation doesn't declare are passed over, the others are measured, and only what is within the limits is built.

use super::{
    execute::bad_request,
    prescan::{at_most, too_large},
};
use crate::config::Limits;
use async_graphql::{Name, ServerError, Variables, parser::types::OperationDefinition};
use serde::{
    Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use std::{
    collections::{BTreeMap, HashSet},
    fmt,
};

/// What a value takes in memory, in bytes, besides its text.
const VALUE: usize = 128;

/// The variables that an operation declares and a request gives, measured and not yet built.
#[derive(Default)]
pub struct Given<'a>(BTreeMap<&'a str, Measured<'a>>);

struct Measured<'a> {
    text: &'a RawValue,
    size: Size,
}

impl<'a> Given<'a> {
    /// Reads the variables that an operation declares. Without an operation there are none.
    pub fn read(
        sent: Option<&'a RawValue>,
        operation: Option<&'a OperationDefinition>,
        limits: &Limits,
    ) -> Result<Self, ServerError> {
        let (Some(sent), Some(operation)) = (sent, operation) else { return Ok(Self::default()) };
        let names = operation.variable_definitions.iter().map(|definition| definition.node.name.node.as_str());
        let unreadable = |error| bad_request(format!("The variables can't be read: {error}."));
        let mut json = serde_json::Deserializer::from_str(sent.get());
        let texts = Declared(names.collect()).deserialize(&mut json).map_err(unreadable)?;
        let mut all = Size::default();
        let mut given = BTreeMap::new();
        for (name, text) in texts {
            let size = Size::of(name, text)?;
            size.check(&format!("variable \"${name}\""), limits)?;
            all.add(size);
            given.insert(name, Measured { text, size });
        }
        all.check("set of variables", limits)?;
        Ok(Self(given))
    }

    /// How many values each variable has, as [`super::prescan`] counts them.
    pub fn sizes(&self) -> impl Iterator<Item = (&'a str, u64)> {
        self.0.iter().map(|(name, measured)| (*name, measured.size.values))
    }

    /// What they take in memory at most once they are built, in bytes.
    pub fn memory(&self) -> usize {
        self.0.values().fold(0, |sum, Measured { text, size }| {
            let values = usize::try_from(size.values).unwrap_or(usize::MAX).saturating_mul(VALUE);
            sum.saturating_add(values).saturating_add(2 * text.get().len())
        })
    }

    /// The values.
    pub fn build(&self) -> Result<Variables, ServerError> {
        let mut variables = Variables::default();
        for (name, Measured { text, .. }) in &self.0 {
            variables.insert(Name::new(name), serde_json::from_str(text.get()).map_err(|error| unreadable(name, &error))?);
        }
        Ok(variables)
    }

    /// The values as JSON, which is what keeping them takes the least for.
    pub fn text(&self) -> String {
        let texts: BTreeMap<_, _> = self.0.iter().map(|(name, measured)| (name, measured.text)).collect();
        // Texts that were JSON are JSON.
        serde_json::to_string(&texts).unwrap_or_default()
    }
}

fn unreadable(name: &str, error: &serde_json::Error) -> ServerError {
    bad_request(format!("The variable \"${name}\" can't be read: {error}."))
}

/// Takes the values of these names as text, and passes over all others.
struct Declared<'a>(HashSet<&'a str>);

impl<'a> DeserializeSeed<'a> for Declared<'a> {
    type Value = BTreeMap<&'a str, &'a RawValue>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'a> Visitor<'a> for Declared<'a> {
    type Value = BTreeMap<&'a str, &'a RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut texts = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            match self.0.get(name.as_str()) {
                Some(name) => drop(texts.insert(*name, map.next_value()?)),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(texts)
    }
}

/// How large a value is.
#[derive(Clone, Copy, Default)]
struct Size {
    /// The values within it, itself included; a text counts once more for every thousand bytes.
    values: u64,
    /// How deep its lists and objects are within each other.
    depth: u64,
}

impl Size {
    fn of(name: &str, text: &RawValue) -> Result<Self, ServerError> {
        let mut size = Self::default();
        let mut json = serde_json::Deserializer::from_str(text.get());
        Measure { size: &mut size, depth: 0 }.deserialize(&mut json).map_err(|error| unreadable(name, &error))?;
        Ok(size)
    }

    fn add(&mut self, other: Self) {
        self.values = self.values.saturating_add(other.values);
        self.depth = self.depth.max(other.depth);
    }

    fn check(self, thing: &str, limits: &Limits) -> Result<(), ServerError> {
        for (what, limit, found) in
            [("nesting", limits.document_nesting, self.depth), ("values", limits.document_values, self.values)]
        {
            at_most(what, limit, found).map_err(|_| too_large(thing, what, limit, found))?;
        }
        Ok(())
    }
}

/// Measures a value without building it.
struct Measure<'s> {
    size: &'s mut Size,
    /// How many lists and objects are around it.
    depth: u64,
}

impl Measure<'_> {
    fn count(&mut self, text: usize) {
        self.size.values += 1 + text as u64 / 1_000;
    }

    /// Counts a list or an object, and goes into it.
    fn enter(&mut self) {
        self.count(0);
        self.depth += 1;
        self.size.depth = self.size.depth.max(self.depth);
    }

    fn within(&mut self) -> Measure<'_> {
        Measure { size: self.size, depth: self.depth }
    }
}

impl<'de> DeserializeSeed<'de> for Measure<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Measure<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(mut self, _: bool) -> Result<(), E> {
        self.count(0);
        Ok(())
    }

    fn visit_i64<E>(mut self, _: i64) -> Result<(), E> {
        self.count(0);
        Ok(())
    }

    fn visit_u64<E>(mut self, _: u64) -> Result<(), E> {
        self.count(0);
        Ok(())
    }

    fn visit_f64<E>(mut self, _: f64) -> Result<(), E> {
        self.count(0);
        Ok(())
    }

    fn visit_unit<E>(mut self) -> Result<(), E> {
        self.count(0);
        Ok(())
    }

    fn visit_str<E>(mut self, text: &str) -> Result<(), E> {
        self.count(text.len());
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        self.enter();
        while list.next_element_seed(self.within())?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut object: A) -> Result<(), A::Error> {
        self.enter();
        while object.next_key::<IgnoredAny>()?.is_some() {
            object.next_value_seed(self.within())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use async_graphql::parser::{parse_query, types::DocumentOperations};

    fn read(document: &str, json: &str, settings: &[(&str, &str)]) -> Result<(Variables, String, usize), String> {
        let document = parse_query(document).expect("parses");
        let DocumentOperations::Single(operation) = &document.operations else { panic!("one operation") };
        let limits = Config::from_pairs(true, settings).expect("settings").limits;
        let sent: &RawValue = serde_json::from_str(json).expect("JSON");
        let read = Given::read(Some(sent), Some(&operation.node), &limits);
        let read = read.and_then(|given| Ok((given.build()?, given.text(), given.memory())));
        read.map_err(|error| error.message)
    }

    #[test]
    fn threat_70_what_is_not_declared_is_never_built() {
        let junk = format!("[{}1]", "{},".repeat(100_000));
        let json = format!(r#"{{"junk": {junk}, "a": {{"b": [1, null]}}, "more": {junk}}}"#);
        let (variables, text, memory) = read("query ($a: X) { x(a: $a) }", &json, &[]).expect("is small");
        assert_eq!(serde_json::to_string(&variables).expect("JSON"), r#"{"a":{"b":[1,null]}}"#);
        assert_eq!(text, r#"{"a":{"b": [1, null]}}"#);
        assert!(memory < 1_000, "{memory}");
    }

    #[test]
    fn threat_70_what_is_declared_is_measured_before_it_is_built() {
        let document = "query ($list: X, $text: X) { x(a: $list, b: $text) }";
        let too_large = |json: &str| read(document, json, &[("max_document_values", "100")]).expect_err("is refused");
        let list = |length: usize| serde_json::to_string(&vec![0; length]).expect("JSON");
        assert_eq!(
            too_large(&format!(r#"{{"list": {}}}"#, list(100))),
            "The variable \"$list\" is too large: values 101, at most 100."
        );
        let both = format!(r#"{{"list": {}, "text": "{}"}}"#, list(60), "x".repeat(60_000));
        assert_eq!(too_large(&both), "The set of variables is too large: values 122, at most 100.");
        let deep = format!(r#"{{"list": {}1{}}}"#, "[".repeat(31), "]".repeat(31));
        assert_eq!(too_large(&deep), "The variable \"$list\" is too large: nesting 31, at most 30.");
        let deepest = format!(r#"{{"list": {}1{}}}"#, r#"{"a":"#.repeat(5_000), "}".repeat(5_000));
        assert!(too_large(&deepest).starts_with("The variable \"$list\" can't be read: recursion limit exceeded"));
        assert!(read(document, &format!(r#"{{"list": {}}}"#, list(99)), &[("max_document_values", "100")]).is_ok());
    }

    #[test]
    fn a_value_that_is_none_is_named() {
        let error = read("query ($a: X) { x(a: $a) }", r#"{"a": [1e999]}"#, &[]).expect_err("is refused");
        assert_eq!(error, "The variable \"$a\" can't be read: number out of range at line 1 column 6.");
    }
}
