//! How large a document is, told before it can do harm.
//!
//! The parser calls itself for each nested value and the validator follows each fragment spread, so that a few KB can
//! overflow the stack or keep a worker busy for minutes. [`scan`] reads the text once before it is parsed; [`count`] counts
//! what the fragments and variables come to before it is validated, each of them once. What a field costs is not known here:
//! the schema's own limits weigh that.

use super::execute::{bad_request, refused};
use crate::config::Limits;
use async_graphql::{
    Name, Positioned, ServerError, Value as ConstValue,
    parser::types::{Directive, ExecutableDocument, Selection, SelectionSet},
};
use async_graphql_value::Value;
use std::collections::HashMap;

/// Refuses a text that is too long, nests too deep or has too many tokens, in one pass over its bytes.
pub fn scan(document: &str, limits: &Limits) -> Result<(), ServerError> {
    at_most("bytes", limits.document_bytes, document.len() as u64)?;
    let mut rest = document.as_bytes();
    let (mut depth, mut deepest, mut tokens) = (0_u64, 0_u64, 0_u64);
    while let Some(&first) = rest.first() {
        match first {
            b'{' | b'[' | b'(' => depth += 1,
            b'}' | b']' | b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
        tokens += u64::from(!matches!(first, b' ' | b',' | b'\t' | b'\r' | b'\n' | b'#'));
        rest = rest.get(lexeme(rest)?..).unwrap_or_default();
    }
    at_most("nesting", limits.document_nesting, deepest)?;
    at_most("tokens", limits.document_tokens, tokens)
}

/// The length of the token or comment that a text starts with; of a string without an end, that of the whole text.
fn lexeme(text: &[u8]) -> Result<usize, ServerError> {
    let run = |belongs: fn(&u8) -> bool| text.iter().take_while(|byte| belongs(byte)).count();
    Ok(match text {
        [b'#', ..] => run(|byte| !matches!(byte, b'\n' | b'\r')),
        // The parser would take the quotes of one that is never closed for an empty string, and read on.
        [b'"', b'"', b'"', content @ ..] => {
            3 + block_string(content).ok_or_else(|| bad_request("A block string is never closed."))?
        }
        [b'"', content @ ..] => 1 + string(content),
        [b'.', ..] => run(|byte| *byte == b'.'),
        [b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'_', ..] => run(|byte| byte.is_ascii_alphanumeric() || *byte == b'_'),
        _ => 1,
    })
}

/// The length of a string's content with its closing quote; a string ends at the end of its line too, as an error.
fn string(content: &[u8]) -> usize {
    let mut at = 0;
    while let Some(byte) = content.get(at) {
        at += if *byte == b'\\' { 2 } else { 1 };
        if matches!(byte, b'"' | b'\n') {
            break;
        }
    }
    at
}

/// The length of a block string's content with its closing quotes, if it has any.
fn block_string(content: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match content.get(at..)? {
            [b'\\', b'"', b'"', b'"', ..] => at += 4,
            [b'"', b'"', b'"', ..] => return Some(at + 3),
            [] => return None,
            _ => at += 1,
        }
    }
}

/// Refuses a document whose operations have too many fields or values once its fragments and variables are written out, or
/// that would never end. `variables` says how many values each given variable has.
pub fn count<'a>(
    document: &'a ExecutableDocument,
    variables: impl Iterator<Item = (&'a str, u64)>,
    limits: &Limits,
) -> Result<(), ServerError> {
    let mut sizes: HashMap<&str, u64> = HashMap::new();
    for (_, operation) in document.operations.iter() {
        for definition in operation.node.variable_definitions.iter().map(|definition| &definition.node) {
            let size = sizes.entry(&definition.name.node).or_default();
            *size = definition.default_value().map_or(1, values).max(*size);
        }
    }
    sizes.extend(variables);
    let mut count = Count { document, variables: sizes, fragments: HashMap::new() };
    let mut total = Size::default();
    for (_, operation) in document.operations.iter() {
        total.add(count.selection(&operation.node.selection_set.node)?);
        total.add(count.directives(&operation.node.directives));
    }
    at_most("fields", limits.document_fields, total.fields)?;
    at_most("nesting", limits.document_nesting, total.depth)?;
    at_most("values", limits.document_values, total.values)
}

/// How much there is to execute.
#[derive(Clone, Copy, Default)]
struct Size {
    fields: u64,
    values: u64,
    /// Selections within each other.
    depth: u64,
}

impl Size {
    fn add(&mut self, other: Self) {
        self.fields = self.fields.saturating_add(other.fields);
        self.values = self.values.saturating_add(other.values);
        self.depth = self.depth.max(other.depth);
    }
}

/// The values within a value, itself included; a text counts once more for every thousand bytes.
fn values(value: &ConstValue) -> u64 {
    match value {
        ConstValue::List(items) => items.iter().fold(1, |sum, item| sum + values(item)),
        ConstValue::Object(fields) => fields.values().fold(1, |sum, field| sum + values(field)),
        ConstValue::String(text) => 1 + text.len() as u64 / 1_000,
        _ => 1,
    }
}

/// A count under way.
struct Count<'a> {
    document: &'a ExecutableDocument,
    /// What each variable comes to wherever it is used.
    variables: HashMap<&'a str, u64>,
    /// What each fragment comes to; `None` while it is being counted, so that meeting it again is a cycle.
    fragments: HashMap<&'a str, Option<Size>>,
}

impl<'a> Count<'a> {
    fn selection(&mut self, selection: &'a SelectionSet) -> Result<Size, ServerError> {
        let mut sum = Size::default();
        for item in &selection.items {
            sum.add(Size { fields: 1, ..Size::default() });
            sum.add(self.directives(item.node.directives()));
            if let Selection::Field(field) = &item.node {
                sum.add(Size { values: self.arguments(&field.node.arguments), ..Size::default() });
            }
            sum.add(match &item.node {
                Selection::Field(field) => self.selection(&field.node.selection_set.node)?,
                Selection::InlineFragment(fragment) => self.selection(&fragment.node.selection_set.node)?,
                Selection::FragmentSpread(spread) => self.fragment(&spread.node.fragment_name.node)?,
            });
        }
        sum.depth += 1;
        Ok(sum)
    }

    fn fragment(&mut self, name: &'a str) -> Result<Size, ServerError> {
        match self.fragments.get(name) {
            Some(Some(known)) => return Ok(*known),
            Some(None) => return Err(bad_request(format!("The fragment \"{name}\" contains itself."))),
            None => {}
        }
        // An unknown fragment is the validator's to tell.
        let Some(fragment) = self.document.fragments.get(name) else { return Ok(Size::default()) };
        self.fragments.insert(name, None);
        let size = self.selection(&fragment.node.selection_set.node)?;
        self.fragments.insert(name, Some(size));
        Ok(size)
    }

    fn directives(&self, directives: &[Positioned<Directive>]) -> Size {
        let values = directives.iter().fold(0_u64, |sum, one| sum.saturating_add(self.arguments(&one.node.arguments)));
        Size { fields: directives.len() as u64, values, depth: 0 }
    }

    fn arguments(&self, arguments: &[(Positioned<Name>, Positioned<Value>)]) -> u64 {
        arguments.iter().fold(0, |sum, (_, value)| sum.saturating_add(self.written(&value.node)))
    }

    /// As [`values`], of a value that may name variables.
    fn written(&self, value: &Value) -> u64 {
        let sum = |sum: u64, value| sum.saturating_add(self.written(value));
        match value {
            Value::Variable(name) => self.variables.get(name.as_str()).copied().unwrap_or(1),
            Value::List(items) => items.iter().fold(1, sum),
            Value::Object(fields) => fields.values().fold(1, sum),
            Value::String(text) => 1 + text.len() as u64 / 1_000,
            _ => 1,
        }
    }
}

/// Says what was exceeded, the limit and what was found; `u64::MAX` stands for more than can be counted.
pub fn at_most(what: &str, limit: usize, found: u64) -> Result<(), ServerError> {
    if usize::try_from(found).is_ok_and(|found| found <= limit) {
        return Ok(());
    }
    Err(too_large("document", what, limit, found))
}

/// Says what of a document or an answer is too much, and by how much.
pub fn too_large(thing: &str, what: &str, limit: usize, found: u64) -> ServerError {
    let mut error = refused("QUERY_TOO_LARGE", format!("The {thing} is too large: {what} {found}, at most {limit}."));
    let extensions = error.extensions.get_or_insert_default();
    extensions.set("what", what);
    extensions.set("limit", limit);
    extensions.set("found", found);
    error
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use async_graphql::parser::parse_query;
    use proptest::{collection::vec, prelude::*};
    use std::fmt::Write;

    proptest! {
        /// Whatever stands between: brackets in strings, in block strings and in comments are none.
        #[test]
        fn t1_the_scan_sees_the_levels_that_the_parser_will(
            noise in vec(
                prop_oneof![
                    "#[\\[\\]{(\"a\\\\]{0,9}\n",
                    "\"([\\[\\]{(#a]|\\\\\"|\\\\\\\\){0,9}\"",
                    "\"\"\"([\\[\\]{(#a\\n]|\\\\\"\"\"|\"\"? ){0,9}\"\"\"",
                ],
                1..8,
            ),
            lists in 0..40usize,
        ) {
            let nested = |noise: &[String]| {
                let open: Vec<_> = (0..lists).map(|level| noise[level % noise.len()].as_str()).collect();
                format!("{{ a(x: [{} 1 {}]) }}", open.join("["), "]".repeat(lists.saturating_sub(1)))
            };
            let (noisy, plain) = (nested(&noise), nested(&[String::new()]));
            prop_assert_eq!(scanned(&noisy).is_ok(), scanned(&plain).is_ok(), "{}", noisy);
            if scanned(&noisy).is_ok() {
                prop_assert!(parse_query(&noisy).is_ok(), "{}", noisy);
            }
        }
    }

    fn exceeded(result: Result<(), ServerError>) -> String {
        let what = result.err().and_then(|error| error.extensions?.get("what").cloned());
        what.map(|what| what.to_string()).unwrap_or_default()
    }

    fn scanned(document: &str) -> Result<(), ServerError> {
        scan(document, &Config::from_pairs(true, &[]).expect("the defaults").limits)
    }

    fn counted(document: &str) -> Result<(), ServerError> {
        let limits = Config::from_pairs(true, &[]).expect("the defaults").limits;
        scan(document, &limits).and_then(|()| count(&parse_query(document).expect("parses"), std::iter::empty(), &limits))
    }

    /// `levels` fragments, each of which spreads the next one `times` times.
    fn bomb(levels: usize, times: usize) -> String {
        let mut document = "{ ...F0 }".to_owned();
        for level in 0..levels {
            let spreads = format!("...F{} ", level + 1).repeat(times);
            write!(document, " fragment F{level} on Query {{ {spreads}}}").expect("a string takes text");
        }
        document + &format!(" fragment F{levels} on Query {{ a }}")
    }

    #[test]
    fn an_ordinary_document_passes() {
        assert_eq!(counted("query Q($first: Int = 3) { users(first: $first, where: {a: [1]}) { nodes { id name } } }"), Ok(()));
    }

    #[test]
    fn t1_values_that_nest_too_deep_are_refused_wherever_they_stand() {
        let (open, close) = ("[".repeat(2_000), "]".repeat(2_000));
        let places = [
            format!("{{ a(x: {open}{close}) }}"),
            format!("{{ a @b(x: {open}{close}) }}"),
            format!("query ($x: [Int] = {open}{close}) {{ a }}"),
            format!("{{ a(x: [\"\\\"\" {open}{close}]) }}"),
            format!("{{ a(x: [\"\"\"\\\"\"\" \" \"\"\" {open}{close}]) }}"),
            format!("{{ a # }}\n(x: {open}{close}) }}"),
        ];
        for document in places {
            assert_eq!(exceeded(scanned(&document)), r#""nesting""#, "{}", &document[..30]);
        }
    }

    #[test]
    fn t1_an_open_block_string_hides_nothing_from_the_scan() {
        let document = format!("{{ a(x: [\"\"\" \" {}]) }}", "[".repeat(5_000));
        assert_eq!(scanned(&document).expect_err("is refused").message, "A block string is never closed.");
    }

    #[test]
    fn brackets_in_strings_and_comments_do_not_count() {
        let brackets = "[{(".repeat(100);
        assert_eq!(scanned(&format!("{{ a(x: \"{brackets}\", y: \"\"\"{brackets}\"\"\") # {brackets}\n }}")), Ok(()));
    }

    #[test]
    fn t2_t3_fragments_that_multiply_are_counted_without_being_followed() {
        assert_eq!(exceeded(counted(&bomb(30, 2))), r#""fields""#);
        assert_eq!(exceeded(counted(&bomb(6, 12))), r#""fields""#);
        let beyond_counting = counted(&bomb(90, 2)).expect_err("is refused").message;
        assert_eq!(beyond_counting, "The document is too large: fields 18446744073709551615, at most 1000.");
    }

    #[test]
    fn fragments_do_not_hide_how_deep_a_document_nests() {
        assert_eq!(counted(&bomb(27, 1)), Ok(()));
        assert_eq!(exceeded(counted(&bomb(30, 1))), r#""nesting""#);
    }

    #[test]
    fn t4_a_cycle_is_told_by_a_fragment_in_it() {
        let cycle = counted("{ ...A } fragment A on Query { a { ...B } } fragment B on Query { ...A }");
        assert_eq!(cycle.expect_err("is refused").message, "The fragment \"A\" contains itself.");
    }

    #[test]
    fn t5_t7_many_directives_aliases_or_repeated_fields_are_refused() {
        assert_eq!(exceeded(scanned(&format!("{{ a {} }}", "@b ".repeat(11_000)))), r#""bytes""#);
        assert_eq!(exceeded(scanned(&format!("{{ a {} }}", "@b ".repeat(1_000)))), r#""tokens""#);
        assert_eq!(exceeded(scanned(&format!("{{ {} }}", "a:b ".repeat(1_000)))), r#""tokens""#);
        assert_eq!(exceeded(scanned(&format!("{{ {} }}", "a ".repeat(10_000)))), r#""tokens""#);
        assert_eq!(exceeded(counted(&format!("{{ {} }}", "a ".repeat(1_500)))), r#""fields""#);
    }

    #[test]
    fn a_variable_counts_wherever_it_is_used() {
        let limits = Config::from_pairs(true, &[("max_document_values", "100")]).expect("a number").limits;
        let sized = |document: &str, value: serde_json::Value| {
            let size = values(&ConstValue::from_json(value).expect("a value"));
            count(&parse_query(document).expect("parses"), [("x", size)].into_iter(), &limits)
        };
        let list = serde_json::json!(["a", ["b", { "c": 1 }]]);
        assert_eq!(sized("query ($x: X) { a(x: $x) }", list.clone()), Ok(()), "6 values");
        let many = format!("query ($x: X) {{ {} }}", "a(x: $x) ".repeat(17));
        assert_eq!(exceeded(sized(&many, list.clone())), r#""values""#);
        let by_default = many.replace("$x: X", "$y: X = [1, [2, {a: 3}]]").replace("$x", "$y");
        assert_eq!(exceeded(sized(&by_default, list.clone())), r#""values""#);
        let spread =
            "query ($x: X) { ...F ...F ...F } fragment F on Q { a(x: [{y: [$x, $x, $x]}]) @skip(if: $x) b(x: $x) c(x: $x) }";
        assert_eq!(exceeded(sized(spread, list)), r#""values""#);
        assert_eq!(exceeded(sized("query ($x: X) { a(x: $x) }", "é".repeat(50_000).into())), r#""values""#);
        assert_eq!(sized("query ($x: X) { a(x: 1) }", "x".repeat(500_000).into()), Ok(()), "is used nowhere");
    }

    #[test]
    fn the_error_says_what_was_exceeded() {
        let error = at_most("depth", 30, 31).expect_err("is refused");
        assert_eq!(error.message, "The document is too large: depth 31, at most 30.");
        let extensions = serde_json::to_value(error.extensions).expect("serialises");
        assert_eq!(extensions, serde_json::json!({"code": "QUERY_TOO_LARGE", "what": "depth", "limit": 30, "found": 31}));
    }
}
