//! The schema that is kept in the repository is the one that is served.

/// `schema.graphql` is generated: `keyholder schema > schema.graphql` mends this test.
#[test]
fn schema_graphql_is_up_to_date() {
    let kept = include_str!("../schema.graphql");
    let made = keyholder::schema::sdl();
    let difference = kept.lines().zip(made.lines()).find(|(kept, made)| kept != made);
    assert!(kept == made, "first difference: {difference:?}; run `cargo run -- schema > schema.graphql`");
}

/// Every type, field, argument and value tells what it is.
#[test]
fn everything_has_a_description() {
    use async_graphql_parser::types::{TypeKind, TypeSystemDefinition};
    let document = async_graphql_parser::parse_schema(keyholder::schema::sdl()).unwrap();
    let mut bare = Vec::new();
    for definition in document.definitions {
        let TypeSystemDefinition::Type(ty) = definition else { continue };
        let name = ty.node.name.node.to_string();
        if ty.node.description.is_none() && !["Query", "Mutation", "Subscription", "DateTime"].contains(&name.as_str()) {
            bare.push(name.clone());
        }
        match ty.node.kind {
            TypeKind::Object(object) => {
                for field in &object.fields {
                    let bare_arguments = field.node.arguments.iter().filter(|argument| argument.node.description.is_none());
                    bare.extend(
                        bare_arguments.map(|argument| format!("{name}.{}({})", field.node.name.node, argument.node.name.node)),
                    );
                }
                bare.extend(
                    object.fields.iter().filter(|f| f.node.description.is_none()).map(|f| format!("{name}.{}", f.node.name.node)),
                );
            }
            TypeKind::InputObject(input) => bare.extend(
                input.fields.iter().filter(|f| f.node.description.is_none()).map(|f| format!("{name}.{}", f.node.name.node)),
            ),
            TypeKind::Enum(values) => bare.extend(
                values.values.iter().filter(|v| v.node.description.is_none()).map(|v| format!("{name}.{}", v.node.value.node)),
            ),
            _ => {}
        }
    }
    assert!(bare.is_empty(), "{bare:?}");
}
