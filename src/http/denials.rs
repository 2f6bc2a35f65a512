//! What a response denies, as security events (E1a). Every response of every transport passes here, so that no guard can forget it.

use crate::{
    actor::{Caller, Pass, ProofId},
    app::App,
    error::{Denied, Error},
    events::security::NewSecurityEvent,
    permission::{MATRIX, Permission},
    schema,
};
use async_graphql::{
    Pos, ServerError,
    parser::{
        parse_schema,
        types::{ExecutableDocument, Selection, SelectionSet, TypeKind, TypeSystemDefinition},
    },
};
use entity::security_event::{SecurityEventKind, SecurityOutcome};
use std::{borrow::Cow, collections::HashMap, sync::LazyLock};

/// Records what was denied to whoever is known to have sent the request, and the use of an API key from a new address. Costs next to
/// nothing for a session whose response has no errors.
pub fn note<'a>(
    app: &App,
    caller: &Caller,
    errors: &[ServerError],
    document: impl FnOnce() -> Option<Cow<'a, ExecutableDocument>>,
) {
    let Some(pass) = caller.known() else { return };
    app.security.api_key_used(pass, caller.client());
    let denied: Vec<_> = errors.iter().filter_map(|error| Some((denial(error)?, error.locations.first().copied()))).collect();
    if denied.is_empty() {
        return;
    }
    let document = document();
    let fields = document.as_deref().map(field_names).unwrap_or_default();
    for (denial, position) in denied {
        let field = position.and_then(|position| fields.get(&position).copied());
        app.security.record(event(pass, denial, field), caller.client());
    }
}

/// What a guard refused, if one did.
fn denial(error: &ServerError) -> Option<&Denied> {
    match error.source::<Error>() {
        Some(Error::Denied(
            denied @ (Denied::Forbidden { .. } | Denied::TwoFactorRequired | Denied::ReauthenticationRequired),
        )) => Some(denied),
        _ => None,
    }
}

fn event(pass: &Pass, denied: &Denied, field: Option<&str>) -> NewSecurityEvent {
    let declared = field.and_then(|field| MUTATIONS.get(field)).copied();
    let permission = match denied {
        Denied::Forbidden { permission, .. } => permission.or(declared),
        _ => declared,
    };
    let denial = NewSecurityEvent::new(SecurityEventKind::AccessDenied, SecurityOutcome::Denied).by_pass(pass);
    let denial =
        NewSecurityEvent { permission, operation: field.map(|field| field.to_owned().into()), ..denial.code(denied.code()) };
    // What users may do with their own login only after they have authenticated again is no concern of the account's.
    let own = matches!((denied, pass.proof), (Denied::ReauthenticationRequired, ProofId::Session(_))) && permission.is_none();
    if own { NewSecurityEvent { account: None, via: None, ..denial } } else { denial }
}

/// The permission that a mutation requires, by the mutation's name.
static MUTATIONS: LazyLock<HashMap<String, Permission>> = LazyLock::new(|| {
    let permissions: HashMap<_, _> = MATRIX.iter().map(|row| (row.permission.name(), row.permission)).collect();
    let definitions = parse_schema(schema::sdl()).map(|schema| schema.definitions).unwrap_or_default();
    let mutations = definitions.into_iter().filter_map(|definition| match definition {
        TypeSystemDefinition::Type(ty) if ty.node.name.node == "Mutation" => Some(ty.node.kind),
        _ => None,
    });
    let fields = mutations.flat_map(|kind| if let TypeKind::Object(object) = kind { object.fields } else { Vec::new() });
    let required = fields.filter_map(|field| {
        let directives = &field.node.directives;
        let directive = directives.iter().find(|directive| directive.node.name.node == "requiresPermission")?;
        let name = directive.node.get_argument("permission")?.node.to_string();
        Some((field.node.name.node.to_string(), *permissions.get(&name)?))
    });
    required.collect()
});

/// The name of each field of a document, by its position. A response has the field's alias instead, which the client chose.
fn field_names(document: &ExecutableDocument) -> HashMap<Pos, &str> {
    let mut names = HashMap::new();
    let operations = document.operations.iter().map(|(_, operation)| &operation.node.selection_set.node);
    let fragments = document.fragments.values().map(|fragment| &fragment.node.selection_set.node);
    operations.chain(fragments).for_each(|selected| collect_names(selected, &mut names));
    names
}

fn collect_names<'a>(selected: &'a SelectionSet, names: &mut HashMap<Pos, &'a str>) {
    for selection in &selected.items {
        match &selection.node {
            Selection::Field(field) => {
                names.insert(field.pos, field.node.name.node.as_str());
                collect_names(&field.node.selection_set.node, names);
            }
            Selection::InlineFragment(fragment) => collect_names(&fragment.node.selection_set.node, names),
            Selection::FragmentSpread(_) => {}
        }
    }
}
