//! Puts the nulls of a response where the specification has them ("Handling Execution Errors"), and its keys in order.
//!
//! The executor leaves out the key of a field that failed, makes null of an object without any field, and lets a null stand
//! where the schema promises a value. An extension could see each field fail, but having one costs every field of every
//! answer. So this works on the finished response, and only when it has errors or the document is one of those of which the
//! executor does not tell enough (`select`): null at the path of each error, and upwards for as long as the type allows none.

mod select;

use async_graphql::{
    Name, PathSegment, Positioned, Response, ServerError, Value,
    parser::{
        self, parse_schema,
        types::{
            BaseType, ExecutableDocument, Field, OperationDefinition, OperationType, SchemaDefinition, SelectionSet, Type,
            TypeKind, TypeSystemDefinition,
        },
    },
};
use select::Selections;
pub use select::{Doubts, Flags};
use std::{
    collections::{HashMap, HashSet},
    mem,
};

/// The types of a schema.
#[derive(Default)]
pub struct Nulls {
    types: HashMap<Name, Kind>,
    roots: Option<SchemaDefinition>,
}

/// An object, an interface or a union.
#[derive(Debug, Default, PartialEq)]
struct Kind {
    fields: HashMap<Name, Type>,
    /// The interfaces and unions that an object belongs to.
    belongs_to: HashSet<Name>,
    is_abstract: bool,
}

/// Where an error is, from the value that is looked at downwards.
type Path<'a> = &'a [PathSegment];

/// The name of the type that is in a list, or in a list of lists.
fn named(ty: &Type) -> &str {
    match &ty.base {
        BaseType::Named(name) => name,
        BaseType::List(item) => named(item),
    }
}

impl Nulls {
    /// Reads the types from a schema's SDL, once, at the start.
    pub fn new(sdl: &str) -> Result<Self, parser::Error> {
        let mut nulls = Self::default();
        for definition in parse_schema(sdl)?.definitions {
            match definition {
                TypeSystemDefinition::Schema(schema) => nulls.roots = Some(schema.node),
                TypeSystemDefinition::Type(ty) => nulls.add(ty.node.name.node, ty.node.kind),
                TypeSystemDefinition::Directive(_) => {}
            }
        }
        Ok(nulls)
    }

    fn add(&mut self, name: Name, kind: TypeKind) {
        if let TypeKind::Union(union) = &kind {
            for member in &union.members {
                self.types.entry(member.node.clone()).or_default().belongs_to.insert(name.clone());
            }
        }
        let is_abstract = matches!(kind, TypeKind::Interface(_) | TypeKind::Union(_));
        let (fields, interfaces) = match kind {
            TypeKind::Object(object) => (object.fields, object.implements),
            TypeKind::Interface(interface) => (interface.fields, interface.implements),
            TypeKind::Union(_) => (Vec::new(), Vec::new()),
            _ => return,
        };
        let kind = self.types.entry(name).or_default();
        kind.fields = fields.into_iter().map(|field| (field.node.name.node, field.node.ty.node)).collect();
        kind.belongs_to.extend(interfaces.into_iter().map(|interface| interface.node));
        kind.is_abstract = is_abstract;
    }

    /// The type of a field; none of introspection's.
    fn field(&self, of: &str, field: &Positioned<Field>) -> Option<&Type> {
        self.types.get(of)?.fields.get(&field.node.name.node)
    }

    fn is_abstract(&self, ty: &str) -> bool {
        self.types.get(ty).is_some_and(|kind| kind.is_abstract)
    }

    fn is_a(&self, object: &str, ty: &str) -> bool {
        object == ty || self.types.get(object).is_some_and(|kind| kind.belongs_to.contains(ty))
    }

    fn root(&self, ty: OperationType) -> Option<&str> {
        let roots = self.roots.as_ref()?;
        let root = match ty {
            OperationType::Query => &roots.query,
            OperationType::Mutation => &roots.mutation,
            OperationType::Subscription => &roots.subscription,
        };
        root.as_ref().map(|root| root.node.as_str())
    }

    /// The keys of an operation's root, in the order of the document.
    pub fn keys(&self, document: &ExecutableDocument, operation: &OperationDefinition, flags: &Flags) -> Vec<Name> {
        let Some(root) = self.root(operation.ty) else { return Vec::new() };
        let fields = Selections { nulls: self, document, flags }.of(root, [&operation.selection_set.node]);
        fields.into_values().filter_map(|same| Some(same.first()?.field.node.response_key().node.clone())).collect()
    }

    /// Where the executor would not tell enough of an operation. All that comes of it is to be mended, unless this is empty.
    pub fn doubts(&self, document: &ExecutableDocument, operation: &OperationDefinition) -> Doubts {
        let Some(root) = self.root(operation.ty) else { return Doubts::default() };
        Selections { nulls: self, document, flags: &Flags::new() }.doubts(root, &operation.selection_set.node)
    }

    /// Mends what came of an operation: where fields failed, or all of it.
    pub fn mend(
        &self,
        document: &ExecutableDocument,
        operation: &OperationDefinition,
        flags: &Flags,
        all: bool,
        response: &mut Response,
    ) {
        let Some(root) = self.root(operation.ty) else { return };
        each_once(&mut response.errors);
        let errors: Vec<Path> = response.errors.iter().map(|error| &error.path[..]).collect();
        if response.data == Value::Null {
            response.data = Value::Object(<_>::default()); // no field, or every field failed
        }
        let mending = Mending { selections: Selections { nulls: self, document, flags }, all };
        mending.object(&mut response.data, root, &[&operation.selection_set.node], &errors);
    }
}

/// Leaves one error to each path: the executor runs a field as often as it is selected.
fn each_once(errors: &mut Vec<ServerError>) {
    let mut seen = HashSet::new();
    errors.retain(|error| error.path.is_empty() || seen.insert(format!("{:?}", error.path)));
}

/// A response being mended.
struct Mending<'a> {
    selections: Selections<'a>,
    /// Whether it is mended where nothing failed, too.
    all: bool,
}

impl<'a> Mending<'a> {
    fn value(&self, value: &mut Value, ty: &'a Type, sets: &[&'a SelectionSet], errors: &[Path]) {
        match &ty.base {
            BaseType::List(item) => self.list(value, item, sets, errors),
            BaseType::Named(name) => self.object(value, name, sets, errors),
        }
    }

    fn list(&self, value: &mut Value, ty: &'a Type, sets: &[&'a SelectionSet], errors: &[Path]) {
        // A list that is null had an item that failed: it was lost as a whole.
        let Value::List(items) = value else { return };
        let mut failed: HashMap<usize, Vec<Path>> = HashMap::new();
        for path in errors {
            if let [PathSegment::Index(index), rest @ ..] = path {
                failed.entry(*index).or_default().push(rest);
            }
        }
        for (index, item) in items.iter_mut().enumerate() {
            let errors = failed.get(&index).map(Vec::as_slice).unwrap_or_default();
            if self.all || !errors.is_empty() {
                self.value(item, ty, sets, errors);
            }
            if *item == Value::Null && !ty.nullable {
                *value = Value::Null;
                return;
            }
        }
    }

    fn object(&self, value: &mut Value, ty: &'a str, sets: &[&'a SelectionSet], errors: &[Path]) {
        let mut failed: HashMap<&str, Vec<Path>> = HashMap::new();
        for path in errors {
            if let [PathSegment::Field(key), rest @ ..] = path {
                failed.entry(key).or_default().push(rest);
            }
        }
        if *value == Value::Null && !failed.is_empty() {
            *value = Value::Object(<_>::default()); // every field failed
        }
        let Value::Object(object) = value else { return };
        let mut given = mem::take(object);
        let nulls = self.selections.nulls;
        let ty = match given.get("__typename") {
            Some(Value::String(told)) => nulls.types.get_key_value(told.as_str()).map_or(ty, |(told, _)| told.as_str()),
            _ => ty,
        };
        for (key, same) in self.selections.of(ty, sets.iter().copied()) {
            let (key, mut child) = given.swap_remove_entry(key).unwrap_or_else(|| (Name::new(key), Value::Null));
            let errors = failed.get(key.as_str()).map(Vec::as_slice).unwrap_or_default();
            if let Some(ty) = same.first().and_then(|selected| nulls.field(ty, selected.field)) {
                if self.all || !errors.is_empty() {
                    let sets: Vec<_> = same.iter().map(|selected| &selected.field.node.selection_set.node).collect();
                    self.value(&mut child, ty, &sets, errors);
                }
                if child == Value::Null && !ty.nullable {
                    *value = Value::Null;
                    return;
                }
            }
            object.insert(key, child);
        }
    }
}

#[cfg(test)]
mod tests;
