//! Which fields a document selects of a value ("Collecting Fields" in the specification), and where the executor needs help
//! to tell.

use super::{Nulls, named};
use async_graphql::{
    Name, Pos, Positioned, Value,
    indexmap::IndexMap,
    parser::types::{Directive, DocumentOperations, ExecutableDocument, Field, Selection, SelectionSet},
};
use std::collections::{HashMap, HashSet};

/// The Boolean variables of a request, by which `@skip` and `@include` decide.
pub type Flags = HashMap<Name, bool>;

/// The fields that are selected of a value, by their keys and in the document's order.
pub type Fields<'a> = IndexMap<&'a str, Vec<Selected<'a>>>;

/// A field that is selected.
pub struct Selected<'a> {
    /// The type that the document takes the value for.
    pub on: &'a str,
    pub field: &'a Positioned<Field>,
    /// Whether nothing can leave it out.
    always: bool,
}

/// Where fields are looked for.
#[derive(Clone, Copy)]
struct Scope<'a> {
    /// What the value is of, an object unless it is looked at broadly.
    ty: &'a str,
    /// What the fragment that is looked at takes it for.
    on: &'a str,
    /// Whether by every variable, and of every object that the value may be.
    broadly: bool,
    always: bool,
}

/// A document, its schema and its variables.
#[derive(Clone, Copy)]
pub struct Selections<'a> {
    pub nulls: &'a Nulls,
    pub document: &'a ExecutableDocument,
    pub flags: &'a Flags,
}

impl<'a> Selections<'a> {
    /// The fields that are selected of an object of this type.
    pub fn of(&self, object: &'a str, sets: impl IntoIterator<Item = &'a SelectionSet>) -> Fields<'a> {
        let mut fields = Fields::new();
        for set in sets {
            self.collect(set, Scope { ty: object, on: object, broadly: false, always: true }, &mut fields);
        }
        fields
    }

    fn collect(&self, set: &'a SelectionSet, scope: Scope<'a>, fields: &mut Fields<'a>) {
        for item in &set.items {
            let directives = item.node.directives();
            if !scope.broadly && directives.iter().any(|directive| self.leaves_out(&directive.node)) {
                continue;
            }
            let always = scope.always && directives.is_empty();
            let (condition, inside) = match &item.node {
                Selection::Field(field) => {
                    let same = fields.entry(&field.node.response_key().node).or_default();
                    same.push(Selected { on: scope.on, field, always });
                    continue;
                }
                Selection::InlineFragment(fragment) => (fragment.node.type_condition.as_ref(), &fragment.node.selection_set.node),
                Selection::FragmentSpread(spread) => {
                    let Some(fragment) = self.document.fragments.get(&spread.node.fragment_name.node) else { continue };
                    (Some(&fragment.node.type_condition), &fragment.node.selection_set.node)
                }
            };
            let on = condition.map_or(scope.on, |condition| condition.node.on.node.as_str());
            let applies = self.nulls.is_a(scope.ty, on);
            if applies || scope.broadly {
                self.collect(inside, Scope { on, always: always && applies, ..scope }, fields);
            }
        }
    }

    /// Whether a directive leaves out what it stands at, as the executor understands it.
    fn leaves_out(&self, directive: &Directive) -> bool {
        let wanted = match directive.name.node.as_str() {
            "skip" => false,
            "include" => true,
            _ => return false,
        };
        let Some(condition) = directive.get_argument("if") else { return false };
        let flag = |name: Name| Ok::<_, ()>(Value::from(self.flags.get(&name).copied().unwrap_or_default()));
        condition.node.clone().into_const_with(flag) != Ok(Value::from(wanted))
    }

    /// Looks for doubts from an operation's root downwards.
    pub fn doubts(&self, root: &'a str, set: &'a SelectionSet) -> Doubts {
        let mut doubts = Doubts::default();
        doubts.root = self.doubt(&[(root, set)], &mut doubts.fields);
        doubts
    }

    /// Looks for doubts in what is selected of one value; answers whether that may come to nothing.
    fn doubt(&self, sets: &[(&'a str, &'a SelectionSet)], doubtful: &mut HashSet<Pos>) -> bool {
        let mut fields = Fields::new();
        for &(ty, set) in sets {
            self.collect(set, Scope { ty, on: ty, broadly: true, always: true }, &mut fields);
        }
        for same in fields.values() {
            let objects = same.iter().filter(|selected| !selected.field.node.selection_set.node.items.is_empty());
            // Of introspection nothing fails, and its types are not known here.
            let typed = objects.filter_map(|selected| Some((named(self.nulls.field(selected.on, selected.field)?), selected)));
            let inside: Vec<_> = typed.map(|(ty, selected)| (ty, &selected.field.node.selection_set.node)).collect();
            if inside.is_empty() {
                continue;
            }
            let nothing = self.doubt(&inside, doubtful);
            if nothing || inside.len() > 1 || inside.iter().any(|(ty, _)| self.nulls.is_abstract(ty)) {
                doubtful.extend(same.iter().map(|selected| selected.field.pos));
            }
        }
        !fields.values().flatten().any(|selected| selected.always)
    }
}

/// The fields of which the executor's value does not tell enough: it takes an object without any field for null, one that is
/// selected twice loses what follows upon a null, and of an interface the type must be known.
#[derive(Default)]
pub struct Doubts {
    fields: HashSet<Pos>,
    root: bool,
}

impl Doubts {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty() && !self.root
    }

    /// Selects `__typename` of each of these fields: it can't fail, and it tells the type.
    pub fn settle(&self, document: &mut ExecutableDocument) {
        for fragment in document.fragments.values_mut() {
            self.settle_in(&mut fragment.node.selection_set.node);
        }
        match &mut document.operations {
            DocumentOperations::Single(only) => self.settle_in(&mut only.node.selection_set.node),
            DocumentOperations::Multiple(all) => {
                for operation in all.values_mut() {
                    self.settle_in(&mut operation.node.selection_set.node);
                }
            }
        }
    }

    fn settle_in(&self, set: &mut SelectionSet) {
        for item in &mut set.items {
            match &mut item.node {
                Selection::Field(field) => {
                    let inside = &mut field.node.selection_set.node;
                    self.settle_in(inside);
                    if self.fields.contains(&field.pos) {
                        let typename = Positioned::new(typename(field.pos), field.pos);
                        inside.items.push(Positioned::new(Selection::Field(typename), field.pos));
                    }
                }
                Selection::InlineFragment(fragment) => self.settle_in(&mut fragment.node.selection_set.node),
                Selection::FragmentSpread(_) => {}
            }
        }
    }
}

fn typename(pos: Pos) -> Field {
    Field {
        alias: None,
        name: Positioned::new(Name::new("__typename"), pos),
        arguments: Vec::new(),
        directives: Vec::new(),
        selection_set: Positioned::default(),
    }
}
