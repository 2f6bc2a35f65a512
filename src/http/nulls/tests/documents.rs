//! Documents at random.

use std::fmt::Write;

/// What is left to choose by; when nothing is, each choice is the first.
pub struct Choices<'a>(pub &'a [u8]);

impl Choices<'_> {
    fn of(&mut self, count: usize) -> usize {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        usize::from(*first) % count
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.of(from.len())]
    }
}

const LEAVES: [&str; 9] = ["int", "plainInt", "sureInt", "ints", "intsOfSure", "sureInts", "sureIntsOfSure", "grid", "secret"];
const OBJECTS: [(&str, &str); 16] = [
    ("item", "Item"),
    ("plainItem", "Item"),
    ("sureItem", "Item"),
    ("items", "Item"),
    ("itemsOfSure", "Item"),
    ("sureItems", "Item"),
    ("sureItemsOfSure", "Item"),
    ("secretItems", "Item"),
    ("other", "Other"),
    ("node", "Node"),
    ("sureNode", "Node"),
    ("nodes", "Node"),
    ("any", "Any"),
    ("anys", "Any"),
    ("item", "Item"),
    ("node", "Node"),
];
const DIRECTIVES: [&str; 8] =
    ["", "", "", "", " @skip(if: $no)", " @include(if: $given)", " @skip(if: true)", " @include(if: $yes) @skip(if: $given)"];

/// The fields of a type: those without a selection, and those with one.
fn fields(ty: &str) -> (&'static [&'static str], &'static [(&'static str, &'static str)]) {
    match ty {
        "Query" | "Mutation" | "Item" => (&LEAVES, &OBJECTS),
        "Other" => (&["int", "sureInt", "own"], &[("item", "Item"), ("sureItem", "Item"), ("node", "Node")]),
        "Node" => (&["int", "sureInt"], &[("item", "Item"), ("node", "Node")]),
        _ => (&[], &[]),
    }
}

/// The conditions of fragments that may stand in a value of a type.
fn conditions(ty: &str) -> &'static [&'static str] {
    match ty {
        "Query" => &["Query"],
        "Mutation" => &["Mutation"],
        "Item" => &["Item", "Node"],
        "Other" => &["Other", "Node"],
        _ => &["Item", "Other", "Node"],
    }
}

/// A query or a mutation that both executors take.
pub fn document(choices: &mut Choices, mutation: bool) -> String {
    let mut text = Text { choices, fragments: Vec::new(), roots: 0, mutation };
    let root = if mutation { "Mutation" } else { "Query" };
    let selection = text.selection(root, 4);
    let mut document = text.fragments.concat();
    write!(document, "{selection}").expect("writes");
    let variables = [("$yes", "$yes: Boolean = true"), ("$no", "$no: Boolean! = false"), ("$given", "$given: Boolean!")];
    let used: Vec<_> = variables.iter().filter(|(name, _)| document.contains(name)).map(|(_, definition)| *definition).collect();
    let variables = if used.is_empty() { String::new() } else { format!("({})", used.join(", ")) };
    let operation = if mutation { "mutation" } else { "query" };
    format!("{operation} {variables} {selection} {}", text.fragments.concat())
}

struct Text<'a, 'b> {
    choices: &'a mut Choices<'b>,
    fragments: Vec<String>,
    /// How many fields stand at a mutation's root, where each has a key of its own.
    roots: usize,
    mutation: bool,
}

impl Text<'_, '_> {
    fn selection(&mut self, ty: &str, depth: usize) -> String {
        let count = 1 + self.choices.of(4);
        let items: Vec<_> = (0..count).map(|_| self.item(ty, depth)).collect();
        format!("{{ {} }}", items.join(" "))
    }

    fn item(&mut self, ty: &str, depth: usize) -> String {
        let (leaves, objects) = fields(ty);
        match self.choices.of(8) {
            0..=2 if !leaves.is_empty() => {
                let leaf = self.choices.pick(leaves);
                format!("{}{leaf}{}", self.alias(ty, leaf), self.choices.pick(&DIRECTIVES))
            }
            3..=5 if depth > 0 && !objects.is_empty() => {
                let (name, inside) = self.choices.pick(objects);
                let (alias, directives) = (self.alias(ty, name), self.choices.pick(&DIRECTIVES));
                format!("{alias}{name}{directives} {}", self.selection(inside, depth - 1))
            }
            6 if depth > 0 => {
                let (directives, condition) = (self.choices.pick(&DIRECTIVES), self.choices.pick(conditions(ty)));
                let (on, ty) =
                    if self.choices.of(2) == 0 { (String::new(), ty) } else { (format!(" on {condition}"), condition) };
                format!("...{on}{directives} {}", self.selection(ty, depth - 1))
            }
            7 if depth > 0 => {
                let (directives, condition) = (self.choices.pick(&DIRECTIVES), self.choices.pick(conditions(ty)));
                let body = self.selection(condition, depth - 1);
                let name = format!("F{}", self.fragments.len());
                self.fragments.push(format!("fragment {name} on {condition} {body} "));
                let again = self.choices.of(3) == 0 && !self.mutation;
                format!("...{name}{directives}{}", if again { format!(" ...{name}") } else { String::new() })
            }
            // Without a directive: the validator passes over the variables that one would have here.
            _ => "__typename".to_owned(),
        }
    }

    /// An alias that means the same field wherever it is used, so that all of a document can be merged.
    fn alias(&mut self, ty: &str, field: &str) -> String {
        if ty == "Mutation" {
            self.roots += 1;
            return format!("m{}: ", self.roots);
        }
        if self.choices.of(4) == 3 { format!("{}{field}: ", self.choices.pick(&["a", "ab"])) } else { String::new() }
    }
}
