//! How large a document is, told before it can do harm.
//!
//! The parser calls itself for each nested value and the validator follows each fragment spread, so that a few KB can
//! overflow the stack or keep a worker busy for minutes. [`scan`] reads the text once before it is parsed; [`count_fields`]
//! counts what the fragments come to before it is validated, each fragment once. What a field costs is not known here: the
//! schema's own limits weigh that.

use super::execute::{bad_request, refused};
use async_graphql::{
    ServerError,
    parser::types::{ExecutableDocument, Selection, SelectionSet},
};
use std::collections::HashMap;

/// The longest document, in bytes.
const MAX_BYTES: u64 = 32 * 1024;
/// The deepest nesting of braces, brackets and parentheses.
const MAX_DEPTH: u64 = 30;
/// The most names, numbers, strings and marks, comments and commas aside.
const MAX_TOKENS: u64 = 2_000;
/// The most fields, with every fragment written out where it is spread; directives and spreads count as fields.
const MAX_FIELDS: u64 = 1_000;

/// Refuses a text that is too long, nests too deep or has too many tokens, in one pass over its bytes.
pub fn scan(document: &str) -> Result<(), ServerError> {
    at_most("bytes", MAX_BYTES, document.len() as u64)?;
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
    at_most("depth", MAX_DEPTH, deepest)?;
    at_most("tokens", MAX_TOKENS, tokens)
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

/// Refuses a document whose operations have too many fields once its fragments are written out, or that would never end.
pub fn count_fields(document: &ExecutableDocument) -> Result<(), ServerError> {
    let mut count = Count { document, fragments: HashMap::new() };
    let mut fields = 0_u64;
    for (_, operation) in document.operations.iter() {
        let inside = count.selection(&operation.node.selection_set.node)?;
        fields = fields.saturating_add(inside).saturating_add(operation.node.directives.len() as u64);
    }
    at_most("fields", MAX_FIELDS, fields)
}

/// A count under way.
struct Count<'a> {
    document: &'a ExecutableDocument,
    /// What each fragment comes to; `None` while it is being counted, so that meeting it again is a cycle.
    fragments: HashMap<&'a str, Option<u64>>,
}

impl<'a> Count<'a> {
    fn selection(&mut self, selection: &'a SelectionSet) -> Result<u64, ServerError> {
        selection.items.iter().try_fold(0_u64, |sum, item| {
            let inside = match &item.node {
                Selection::Field(field) => self.selection(&field.node.selection_set.node)?,
                Selection::InlineFragment(fragment) => self.selection(&fragment.node.selection_set.node)?,
                Selection::FragmentSpread(spread) => self.fragment(&spread.node.fragment_name.node)?,
            };
            Ok(sum.saturating_add(inside).saturating_add(1 + item.node.directives().len() as u64))
        })
    }

    fn fragment(&mut self, name: &'a str) -> Result<u64, ServerError> {
        match self.fragments.get(name) {
            Some(Some(known)) => return Ok(*known),
            Some(None) => return Err(bad_request(format!("The fragment \"{name}\" contains itself."))),
            None => {}
        }
        // An unknown fragment is the validator's to tell.
        let Some(fragment) = self.document.fragments.get(name) else { return Ok(0) };
        self.fragments.insert(name, None);
        let fields = self.selection(&fragment.node.selection_set.node)?;
        self.fragments.insert(name, Some(fields));
        Ok(fields)
    }
}

/// Says what was exceeded, the limit and what was found; `u64::MAX` stands for more than can be counted.
fn at_most(what: &str, limit: u64, found: u64) -> Result<(), ServerError> {
    if found <= limit {
        return Ok(());
    }
    let mut error = refused("QUERY_TOO_LARGE", format!("The document is too large: {what} {found}, at most {limit}."));
    let extensions = error.extensions.get_or_insert_default();
    extensions.set("what", what);
    extensions.set("limit", limit);
    extensions.set("found", found);
    Err(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_graphql::parser::parse_query;
    use std::fmt::Write;

    fn exceeded(result: Result<(), ServerError>) -> String {
        let what = result.err().and_then(|error| error.extensions?.get("what").cloned());
        what.map(|what| what.to_string()).unwrap_or_default()
    }

    fn counted(document: &str) -> Result<(), ServerError> {
        scan(document).and_then(|()| count_fields(&parse_query(document).expect("parses")))
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
            assert_eq!(exceeded(scan(&document)), r#""depth""#, "{}", &document[..30]);
        }
    }

    #[test]
    fn t1_an_open_block_string_hides_nothing_from_the_scan() {
        let document = format!("{{ a(x: [\"\"\" \" {}]) }}", "[".repeat(5_000));
        assert_eq!(scan(&document).expect_err("is refused").message, "A block string is never closed.");
    }

    #[test]
    fn brackets_in_strings_and_comments_do_not_count() {
        let brackets = "[{(".repeat(100);
        assert_eq!(scan(&format!("{{ a(x: \"{brackets}\", y: \"\"\"{brackets}\"\"\") # {brackets}\n }}")), Ok(()));
    }

    #[test]
    fn t2_t3_fragments_that_multiply_are_counted_without_being_followed() {
        assert_eq!(exceeded(counted(&bomb(30, 2))), r#""fields""#);
        assert_eq!(exceeded(counted(&bomb(6, 12))), r#""fields""#);
        let beyond_counting = counted(&bomb(90, 2)).expect_err("is refused").message;
        assert_eq!(beyond_counting, "The document is too large: fields 18446744073709551615, at most 1000.");
    }

    #[test]
    fn t4_a_cycle_is_told_by_a_fragment_in_it() {
        let cycle = counted("{ ...A } fragment A on Query { a { ...B } } fragment B on Query { ...A }");
        assert_eq!(cycle.expect_err("is refused").message, "The fragment \"A\" contains itself.");
    }

    #[test]
    fn t5_t7_many_directives_aliases_or_repeated_fields_are_refused() {
        assert_eq!(exceeded(scan(&format!("{{ a {} }}", "@b ".repeat(11_000)))), r#""bytes""#);
        assert_eq!(exceeded(scan(&format!("{{ a {} }}", "@b ".repeat(1_000)))), r#""tokens""#);
        assert_eq!(exceeded(scan(&format!("{{ {} }}", "a:b ".repeat(1_000)))), r#""tokens""#);
        assert_eq!(exceeded(scan(&format!("{{ {} }}", "a ".repeat(10_000)))), r#""tokens""#);
        assert_eq!(exceeded(counted(&format!("{{ {} }}", "a ".repeat(1_500)))), r#""fields""#);
    }

    #[test]
    fn the_error_says_what_was_exceeded() {
        let error = at_most("depth", 30, 31).expect_err("is refused");
        assert_eq!(error.message, "The document is too large: depth 31, at most 30.");
        let extensions = serde_json::to_value(error.extensions).expect("serialises");
        assert_eq!(extensions, serde_json::json!({"code": "QUERY_TOO_LARGE", "what": "depth", "limit": 30, "found": 31}));
    }
}
