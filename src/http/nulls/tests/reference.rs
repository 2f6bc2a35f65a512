//! An executor after the specification's text (section 6), for reading rather than for speed.

use super::schema::{LENGTH, Outcome, Outcomes};
use async_graphql::{
    Name, Positioned, Value, Variables,
    indexmap::IndexMap,
    parser::{
        parse_query, parse_schema,
        types::{
            BaseType, Directive, DocumentOperations, ExecutableDocument, Field, FieldDefinition, OperationDefinition,
            OperationType, Selection, SelectionSet, Type, TypeDefinition, TypeKind, TypeSystemDefinition,
        },
    },
};
use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap, HashSet},
};

type Grouped<'a> = IndexMap<&'a Name, Vec<&'a Field>>;

pub struct Reference {
    types: HashMap<Name, TypeDefinition>,
}

impl Reference {
    pub fn new(sdl: &str) -> Self {
        let types = parse_schema(sdl).expect("parses").definitions.into_iter().filter_map(|definition| match definition {
            TypeSystemDefinition::Type(ty) => Some((ty.node.name.node.clone(), ty.node)),
            _ => None,
        });
        Self { types: types.collect() }
    }

    /// The data that a query or a mutation comes to, and where it fails.
    pub fn execute(&self, document: &str, variables: &Variables, outcomes: &Outcomes) -> (Value, Vec<String>) {
        let document = parse_query(document).expect("parses");
        let DocumentOperations::Single(Positioned { node: operation, .. }) = &document.operations else { unreachable!() };
        let execution =
            Execution { types: &self.types, document: &document, operation, variables, outcomes, errors: RefCell::default() };
        let root = if operation.ty == OperationType::Query { "Query" } else { "Mutation" };
        let data = execution.selection_set(&[&operation.selection_set.node], root, "").unwrap_or_default();
        (data, execution.errors.into_inner().into_iter().collect())
    }
}

struct Execution<'a> {
    types: &'a HashMap<Name, TypeDefinition>,
    document: &'a ExecutableDocument,
    operation: &'a OperationDefinition,
    variables: &'a Variables,
    outcomes: &'a Outcomes,
    errors: RefCell<BTreeSet<String>>,
}

impl<'a> Execution<'a> {
    /// 6.3 Executing Selection Sets; `None` where an error has to be the parent's.
    fn selection_set(&self, sets: &[&'a SelectionSet], object: &str, path: &str) -> Option<Value> {
        let (mut grouped, mut visited) = (Grouped::new(), HashSet::new());
        for set in sets {
            self.collect(object, set, &mut visited, &mut grouped);
        }
        let mut result = IndexMap::new();
        let mut lost = false;
        for (key, fields) in grouped {
            let path = if path.is_empty() { key.to_string() } else { format!("{path}.{key}") };
            match self.field(object, &fields, &path) {
                Some(value) => _ = result.insert(key.clone(), value),
                None => lost = true,
            }
        }
        (!lost).then_some(Value::Object(result))
    }

    /// 6.3.2 Field Collection
    fn collect(&self, object: &str, set: &'a SelectionSet, visited: &mut HashSet<&'a Name>, grouped: &mut Grouped<'a>) {
        for selection in &set.items {
            if !selection.node.directives().iter().all(|directive| self.keeps(&directive.node)) {
                continue;
            }
            match &selection.node {
                Selection::Field(field) => {
                    grouped.entry(&field.node.response_key().node).or_default().push(&field.node);
                }
                Selection::FragmentSpread(spread) => {
                    let name = &spread.node.fragment_name.node;
                    let fragment = &self.document.fragments[name].node;
                    if visited.insert(name) && self.applies(object, &fragment.type_condition.node.on.node) {
                        self.collect(object, &fragment.selection_set.node, visited, grouped);
                    }
                }
                Selection::InlineFragment(fragment) => {
                    let condition = fragment.node.type_condition.as_ref();
                    if condition.is_none_or(|condition| self.applies(object, &condition.node.on.node)) {
                        self.collect(object, &fragment.node.selection_set.node, visited, grouped);
                    }
                }
            }
        }
    }

    fn keeps(&self, directive: &Directive) -> bool {
        let condition = directive.get_argument("if").expect("given").node.clone();
        let condition = condition.into_const_with(|name| {
            let defined = self.operation.variable_definitions.iter().find(|variable| variable.node.name.node == name);
            let default = defined.and_then(|variable| variable.node.default_value());
            self.variables.get(&name).or(default).cloned().ok_or(())
        });
        condition == Ok(Value::from(directive.name.node == "include"))
    }

    fn applies(&self, object: &str, condition: &str) -> bool {
        match &self.types[condition].kind {
            TypeKind::Interface(_) => match &self.types[object].kind {
                TypeKind::Object(object) => object.implements.iter().any(|interface| interface.node == condition),
                _ => false,
            },
            TypeKind::Union(union) => union.members.iter().any(|member| member.node == object),
            _ => object == condition,
        }
    }

    fn definition(&self, object: &str, field: &Field) -> &'a FieldDefinition {
        let TypeKind::Object(object) = &self.types[object].kind else { unreachable!() };
        &object.fields.iter().find(|definition| definition.node.name.node == field.name.node).expect("known").node
    }

    /// 6.4 Executing Fields
    fn field(&self, object: &str, fields: &[&'a Field], path: &str) -> Option<Value> {
        if fields[0].name.node == "__typename" {
            return Some(Value::from(object));
        }
        self.complete(&self.definition(object, fields[0]).ty.node, fields, path)
    }

    /// 6.4.3 Value Completion and 6.4.4 Handling Execution Errors
    fn complete(&self, ty: &Type, fields: &[&'a Field], path: &str) -> Option<Value> {
        let outcome = self.outcomes.at(path);
        let value = match outcome {
            Outcome::Null if ty.nullable => None,
            Outcome::Null | Outcome::Fails => {
                self.errors.borrow_mut().insert(path.to_owned());
                None
            }
            Outcome::Fine | Outcome::Other => match &ty.base {
                BaseType::List(item) => {
                    let items: Vec<_> =
                        (0..LENGTH).map(|index| self.complete(item, fields, &format!("{path}.{index}"))).collect();
                    items.into_iter().collect::<Option<Vec<_>>>().map(Value::List)
                }
                BaseType::Named(name) if self.types.contains_key(name) => {
                    let object = match &self.types[name].kind {
                        TypeKind::Object(_) => name.as_str(),
                        _ if outcome == Outcome::Other => "Other",
                        _ => "Item",
                    };
                    let sets: Vec<_> = fields.iter().map(|field| &field.selection_set.node).collect();
                    self.selection_set(&sets, object, path)
                }
                BaseType::Named(_) => Some(Value::from(1)),
            },
        };
        value.or(ty.nullable.then_some(Value::Null))
    }
}
