//! Puts the nulls of a response where the specification has them ("Handling Field Errors").
//!
//! The executor leaves out the key of a field that failed, makes null of an object whose fields all failed, and lets a null
//! stand where the schema promises a value. An extension could see each field fail, but having one costs every field of
//! every answer. So this works on the finished response, and only when it has errors: null at the path of each, and upwards
//! for as long as the type allows none. On the way the keys get back the document's order.

use async_graphql::{
    Name, PathSegment, Response, Value,
    indexmap::IndexMap,
    parser::{
        self, parse_schema,
        types::{
            BaseType, DocumentOperations, ExecutableDocument, Field, OperationType, SchemaDefinition, Selection, SelectionSet,
            Type, TypeKind, TypeSystemDefinition,
        },
    },
};
use std::collections::HashMap;

/// The type of every field of a schema.
#[derive(Default)]
pub struct Nulls {
    /// By the name of the object or interface, then by the field's own.
    types: HashMap<Name, HashMap<Name, Type>>,
    roots: Option<SchemaDefinition>,
}

/// Where an error is, from the value that is looked at downwards.
type Path<'a> = &'a [PathSegment];

/// The fields of an object that have the same key, each with the type that declares it.
type Same<'a> = Vec<(&'a str, &'a Field)>;

impl Nulls {
    /// Reads the types from a schema's SDL, once, at the start.
    pub fn new(sdl: &str) -> Result<Self, parser::Error> {
        let mut nulls = Self::default();
        for definition in parse_schema(sdl)?.definitions {
            match definition {
                TypeSystemDefinition::Schema(schema) => nulls.roots = Some(schema.node),
                TypeSystemDefinition::Type(ty) => {
                    let fields = match ty.node.kind {
                        TypeKind::Object(object) => object.fields,
                        TypeKind::Interface(interface) => interface.fields,
                        _ => continue,
                    };
                    let fields = fields.into_iter().map(|field| (field.node.name.node, field.node.ty.node));
                    nulls.types.entry(ty.node.name.node).or_default().extend(fields);
                }
                TypeSystemDefinition::Directive(_) => {}
            }
        }
        Ok(nulls)
    }

    /// Mends the response to an operation of which some fields failed; any other is left as it is.
    pub fn mend(&self, document: &ExecutableDocument, operation: Option<&str>, response: &mut Response) {
        let errors: Vec<Path> = response.errors.iter().map(|error| &error.path[..]).filter(|path| !path.is_empty()).collect();
        let operation = match (&document.operations, operation) {
            (DocumentOperations::Single(operation), _) => Some(operation),
            (DocumentOperations::Multiple(all), Some(name)) => all.get(name),
            (DocumentOperations::Multiple(all), None) => all.values().next(),
        };
        let Some((operation, roots)) = operation.map(|operation| &operation.node).zip(self.roots.as_ref()) else { return };
        let root = match operation.ty {
            OperationType::Query => &roots.query,
            OperationType::Mutation => &roots.mutation,
            OperationType::Subscription => &roots.subscription,
        };
        let Some(root) = root else { return };
        Mending { nulls: self, document }.object(&mut response.data, &root.node, &[&operation.selection_set.node], &errors);
    }
}

/// A response being mended.
struct Mending<'a> {
    nulls: &'a Nulls,
    document: &'a ExecutableDocument,
}

impl<'a> Mending<'a> {
    fn value(&self, value: &mut Value, ty: &'a Type, selections: &[&'a SelectionSet], errors: &[Path]) {
        match &ty.base {
            BaseType::List(item) => self.list(value, item, selections, errors),
            BaseType::Named(name) => self.object(value, name, selections, errors),
        }
    }

    fn list(&self, value: &mut Value, ty: &'a Type, selections: &[&'a SelectionSet], errors: &[Path]) {
        // A list that is null had an item that failed: it was lost as a whole.
        let Value::List(items) = value else { return };
        let mut failed: HashMap<usize, Vec<Path>> = HashMap::new();
        for path in errors {
            if let [PathSegment::Index(index), rest @ ..] = path {
                failed.entry(*index).or_default().push(rest);
            }
        }
        for (index, errors) in failed {
            let Some(item) = items.get_mut(index) else { continue };
            self.value(item, ty, selections, &errors);
            if *item == Value::Null && !ty.nullable {
                *value = Value::Null;
                return;
            }
        }
    }

    fn object(&self, value: &mut Value, ty: &'a str, selections: &[&'a SelectionSet], errors: &[Path]) {
        let mut failed: HashMap<&str, Vec<Path>> = HashMap::new();
        for path in errors {
            if let [PathSegment::Field(key), rest @ ..] = path {
                failed.entry(key).or_default().push(rest);
            }
        }
        if failed.is_empty() {
            return; // the errors, if any, are of this value itself
        }
        if *value == Value::Null {
            *value = Value::Object(IndexMap::new()); // every field failed
        }
        let Value::Object(object) = value else { return };
        let mut fields = IndexMap::new();
        for selection in selections {
            self.collect(ty, selection, &mut fields);
        }
        for (key, same) in &fields {
            let Some(errors) = failed.get(*key) else { continue };
            let Some(ty) = same.iter().find_map(|(on, field)| self.nulls.types.get(*on)?.get(&field.name.node)) else { continue };
            let selections: Vec<_> = same.iter().map(|(_, field)| &field.selection_set.node).collect();
            let child = object.entry(Name::new(key)).or_default();
            self.value(child, ty, &selections, errors);
            if *child == Value::Null && !ty.nullable {
                *value = Value::Null;
                return;
            }
        }
        object.sort_by_cached_key(|key, _| fields.get_index_of(key.as_str()));
    }

    /// The fields that are selected on a type, through fragments, by their keys and in the document's order.
    fn collect(&self, ty: &'a str, selection: &'a SelectionSet, fields: &mut IndexMap<&'a str, Same<'a>>) {
        for item in &selection.items {
            match &item.node {
                Selection::Field(field) => fields.entry(&field.node.response_key().node).or_default().push((ty, &field.node)),
                Selection::InlineFragment(fragment) => {
                    let ty = fragment.node.type_condition.as_ref().map_or(ty, |on| &on.node.on.node);
                    self.collect(ty, &fragment.node.selection_set.node, fields);
                }
                Selection::FragmentSpread(spread) => {
                    let Some(fragment) = self.document.fragments.get(&spread.node.fragment_name.node) else { continue };
                    self.collect(&fragment.node.type_condition.node.on.node, &fragment.node.selection_set.node, fields);
                }
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::unused_async, reason = "a resolver is async, whether it waits or not")]
mod tests {
    use super::*;
    use async_graphql::{EmptyMutation, EmptySubscription, Object, Result, Schema, parser::parse_query};

    struct Root;
    struct Item;

    #[Object]
    impl Root {
        async fn item(&self) -> Item {
            Item
        }
        async fn maybe(&self) -> Option<Item> {
            Some(Item)
        }
        async fn items(&self) -> Vec<Option<Item>> {
            vec![Some(Item), None, Some(Item)]
        }
        async fn strict(&self) -> Option<Vec<Item>> {
            Some(vec![Item])
        }
    }

    #[Object]
    impl Item {
        async fn good(&self) -> i32 {
            1
        }
        async fn empty(&self) -> Result<Option<i32>> {
            Err("empty".into())
        }
        async fn bad(&self) -> Result<i32> {
            Err("bad".into())
        }
        async fn inner(&self) -> Option<Item> {
            Some(Item)
        }
    }

    /// The data of a query's answer, mended, as JSON with its keys in order.
    async fn data(query: &str) -> String {
        let schema = Schema::new(Root, EmptyMutation, EmptySubscription);
        let nulls = Nulls::new(&schema.sdl()).expect("the SDL parses");
        let mut response = schema.execute(query).await;
        nulls.mend(&parse_query(query).expect("the query parses"), None, &mut response);
        serde_json::to_string(&response.data).expect("serialises")
    }

    #[tokio::test]
    async fn a_nullable_field_that_failed_is_null_in_its_place() {
        assert_eq!(data("{ item { empty good } }").await, r#"{"item":{"empty":null,"good":1}}"#);
        assert_eq!(data("{ item { empty } item2: item { x: empty } }").await, r#"{"item":{"empty":null},"item2":{"x":null}}"#);
    }

    #[tokio::test]
    async fn a_field_that_can_not_be_null_takes_its_object_with_it() {
        assert_eq!(data("{ maybe { good bad } item { good } }").await, r#"{"maybe":null,"item":{"good":1}}"#);
        assert_eq!(data("{ maybe { inner { bad } good } }").await, r#"{"maybe":{"inner":null,"good":1}}"#);
        assert_eq!(data("{ item { bad } maybe { good } }").await, "null");
    }

    #[tokio::test]
    async fn an_item_is_null_alone_where_the_list_allows_it() {
        assert_eq!(data("{ items { empty good } }").await, r#"{"items":[{"empty":null,"good":1},null,{"empty":null,"good":1}]}"#);
        assert_eq!(data("{ items { good bad } }").await, r#"{"items":[null,null,null]}"#);
        assert_eq!(data("{ strict { bad } item { good } }").await, r#"{"strict":null,"item":{"good":1}}"#);
    }

    #[tokio::test]
    async fn keys_come_in_the_order_of_the_document_through_fragments() {
        let query = "{ item { ...F good ... on Item { z: good inner { good } } inner { empty } } } fragment F on Item { a: empty y: good }";
        assert_eq!(data(query).await, r#"{"item":{"a":null,"y":1,"good":1,"z":1,"inner":{"good":1,"empty":null}}}"#);
    }
}
