//! What is asked of an operation before it runs: its variables, and what it selects at its root, which the executor runs
//! otherwise than the specification has it.

use super::execute::bad_request;
use crate::schema;
use async_graphql::{
    Positioned, ServerError, Value, Variables,
    parser::types::{
        BaseType, DocumentOperations, ExecutableDocument, Field, OperationDefinition, OperationType, Selection, SelectionSet,
    },
};
use std::collections::HashSet;

/// Checks an operation and gives its variables their defaults where the executor forgets them. Answers what a subscription
/// selects, as one field.
pub fn check(
    document: &ExecutableDocument,
    operation: &OperationDefinition,
    variables: &mut Variables,
) -> Result<Option<Positioned<Field>>, ServerError> {
    each_variable_given(operation, variables)?;
    flags_by_default(operation, variables);
    let mut fields = Vec::new();
    let conditional = root_fields(document, &operation.selection_set.node, &mut fields);
    match operation.ty {
        OperationType::Query => Ok(None),
        OperationType::Mutation => each_key_once(&fields).map(|()| None),
        OperationType::Subscription if conditional => Err(bad_request("What a subscription listens to can't be left out.")),
        OperationType::Subscription => one_field(&fields).map(Some),
    }
}

/// Selects a field at the root of an operation, in the place of all that stand there. Fragments stay, to be validated: the
/// executor passes over them in a subscription.
pub fn select(document: &mut ExecutableDocument, operation: Option<&str>, field: Positioned<Field>) {
    let operation = match (&mut document.operations, operation) {
        (DocumentOperations::Single(only), _) => Some(only),
        (DocumentOperations::Multiple(all), Some(name)) => all.get_mut(name),
        (DocumentOperations::Multiple(all), None) => all.values_mut().next(),
    };
    let Some(operation) = operation else { return };
    let items = &mut operation.node.selection_set.node.items;
    items.retain(|item| !matches!(item.node, Selection::Field(_)));
    let pos = field.pos;
    items.insert(0, Positioned::new(Selection::Field(field), pos));
}

/// Whether an operation asks for the schema.
pub fn introspects(document: &ExecutableDocument, operation: &OperationDefinition) -> bool {
    let mut fields = Vec::new();
    root_fields(document, &operation.selection_set.node, &mut fields);
    fields.iter().any(|field| matches!(field.node.name.node.as_str(), "__schema" | "__type"))
}

/// Refuses an operation that lacks a variable it can't do without. The executor would find out at the field that reads it,
/// when the mutations before that one have been done.
fn each_variable_given(operation: &OperationDefinition, variables: &Variables) -> Result<(), ServerError> {
    let missing = operation.variable_definitions.iter().map(|definition| &definition.node).find(|definition| {
        let given = variables.get(&definition.name.node).or(definition.default_value());
        !definition.var_type.node.nullable && given.is_none_or(|value| *value == Value::Null)
    });
    let Some(missing) = missing else { return Ok(()) };
    Err(bad_request(format!("The variable \"${}\" of type {} must be given.", missing.name.node, missing.var_type.node)))
}

/// Refuses a variable of a type that is none. The validator would go on to look at its default, and panic.
pub fn each_variables_type_known(operation: &OperationDefinition) -> Result<(), ServerError> {
    fn named(base: &BaseType) -> &str {
        match base {
            BaseType::Named(name) => name,
            BaseType::List(item) => named(&item.base),
        }
    }
    let mut types = operation.variable_definitions.iter().map(|definition| named(&definition.node.var_type.node.base));
    let Some(unknown) = types.find(|name| !schema::has_type(name)) else { return Ok(()) };
    Err(bad_request(format!("There is no type \"{unknown}\".")))
}

/// `@skip` and `@include` read a variable without its default.
fn flags_by_default(operation: &OperationDefinition, variables: &mut Variables) {
    for definition in operation.variable_definitions.iter().map(|definition| &definition.node) {
        if let Some(flag @ Value::Boolean(_)) = definition.default_value() {
            variables.entry(definition.name.node.clone()).or_insert_with(|| flag.clone());
        }
    }
}

/// The fields that a selection has at its root, through fragments; answers whether a directive stands there.
fn root_fields<'a>(
    document: &'a ExecutableDocument,
    selection: &'a SelectionSet,
    fields: &mut Vec<&'a Positioned<Field>>,
) -> bool {
    let mut conditional = false;
    for item in &selection.items {
        conditional |= !item.node.directives().is_empty();
        let inside = match &item.node {
            Selection::Field(field) => {
                fields.push(field);
                continue;
            }
            Selection::InlineFragment(fragment) => Some(&fragment.node.selection_set.node),
            Selection::FragmentSpread(spread) => {
                document.fragments.get(&spread.node.fragment_name.node).map(|fragment| &fragment.node.selection_set.node)
            }
        };
        conditional |= inside.is_some_and(|inside| root_fields(document, inside, fields));
    }
    conditional
}

/// Refuses a mutation that selects a key of its root twice: the specification merges the two, the executor runs both.
fn each_key_once(fields: &[&Positioned<Field>]) -> Result<(), ServerError> {
    let mut seen = HashSet::new();
    let keys = fields.iter().filter(|field| field.node.name.node != "__typename").map(|field| &field.node.response_key().node);
    let Some(key) = keys.into_iter().find(|key| !seen.insert(key.as_str())) else { return Ok(()) };
    Err(bad_request(format!("The mutation selects \"{key}\" twice. Give each field an alias of its own.")))
}

/// What a subscription selects, as one field: the executor would listen for each selection by itself, and for none that a
/// fragment has.
fn one_field(fields: &[&Positioned<Field>]) -> Result<Positioned<Field>, ServerError> {
    let several = || bad_request("A subscription has one field at its root. Open another one for each.");
    let (first, rest) = fields.split_first().ok_or_else(several)?;
    let mut field = Positioned::clone(first);
    for other in rest {
        let (one, other) = (&field.node, &other.node);
        if one.response_key() != other.response_key() || one.name != other.name || one.arguments != other.arguments {
            return Err(several());
        }
        field.node.selection_set.node.items.extend(other.selection_set.node.items.iter().cloned());
    }
    Ok(field)
}

#[cfg(test)]
mod tests {
    use super::super::execute::Operation;
    use async_graphql::Variables;

    fn checked(query: &str) -> Result<Operation, String> {
        Operation::of(query, &Variables::default()).map_err(|error| error.message)
    }

    #[test]
    fn a_mutation_that_selects_a_key_twice_is_refused() {
        for query in [
            "mutation { a: x a: x }",
            "mutation { x ... { x } }",
            "mutation { x ...F } fragment F on Mutation { x }",
            "mutation { ...F ...F } fragment F on Mutation { a: x { b } }",
        ] {
            let refusal = checked(query).err().unwrap_or_default();
            assert!(refusal.starts_with("The mutation selects"), "{query}: {refusal}");
        }
        assert!(checked("mutation { a: x { c c } b: x __typename ...F } fragment F on Mutation { __typename }").is_ok());
        assert!(checked("{ x x }").is_ok(), "a query may");
    }

    #[test]
    fn a_subscription_has_one_root_field() {
        for query in
            ["subscription { a b }", "subscription { a: x b: x }", "subscription { a ...F } fragment F on Subscription { b }"]
        {
            assert_eq!(
                checked(query).err().as_deref(),
                Some("A subscription has one field at its root. Open another one for each.")
            );
        }
        assert!(checked("subscription { a { b } ...F } fragment F on Subscription { a { c } }").is_ok());
    }

    #[test]
    fn a_subscriptions_field_can_not_be_left_out() {
        for query in [
            "subscription { a @skip(if: true) }",
            "subscription { ... @include(if: false) { a } }",
            "subscription { ...F } fragment F on Subscription { a @include(if: true) }",
        ] {
            assert_eq!(checked(query).err().as_deref(), Some("What a subscription listens to can't be left out."));
        }
        assert!(checked("subscription { a { b @skip(if: true) } }").is_ok());
    }

    #[test]
    fn a_variable_that_is_needed_must_be_given() {
        let refusal = checked("query ($a: Int, $b: [Int!]! = [1], $c: Int!) { x(a: $a, b: $b, c: $c) }").err();
        assert_eq!(refusal.as_deref(), Some("The variable \"$c\" of type Int! must be given."));
    }
}
