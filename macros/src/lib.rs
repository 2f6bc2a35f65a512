//! `#[needs(InviteUsers)]`: a GraphQL field's permission, said once.
//!
//! It stands above a resolver of an impl marked `#[guarded]` and becomes `@requiresPermission` in the SDL (from which the
//! line in the description is made). What else depends on the impl:
//!
//! - `#[guarded]` on an object: the check before the resolver runs. The field becomes nullable, since it may be denied. It is not
//!   async-graphql's own `guard`, which drops the key of a denied field and with it what other fragments selected there:
//!   an `Option<Result<_>>` that is `Some(Err(_))` is null, in its place.
//! - `#[guarded(elsewhere)]` on the mutations and subscriptions: nothing more. A mutation is checked by its operation, inside
//!   the transaction that acts, and a subscription before each item; there `#[needs(…)]` names the operation's own constant.

use proc_macro::TokenStream;
use quote::quote;
use syn::{
    Attribute, FnArg, Ident, ImplItem, ImplItemFn, ItemImpl, Meta, Pat, Path, Result, ReturnType, Type, parse_macro_input,
    parse_quote,
};

/// Makes `#[needs(…)]` known in the `#[Object]` or `#[Subscription]` below it.
#[proc_macro_attribute]
pub fn guarded(mode: TokenStream, item: TokenStream) -> TokenStream {
    let checked_elsewhere = mode.to_string() == "elsewhere";
    let mut block = parse_macro_input!(item as ItemImpl);
    for item in &mut block.items {
        let ImplItem::Fn(resolver) = item else { continue };
        if let Err(error) = guard(resolver, checked_elsewhere) {
            return error.into_compile_error().into();
        }
    }
    quote!(#block).into()
}

/// Rewrites one resolver, if a `#[needs(…)]` stands above it.
fn guard(resolver: &mut ImplItemFn, checked_elsewhere: bool) -> Result<()> {
    let Some(place) = resolver.attrs.iter().position(|attr| attr.path().is_ident("needs")) else { return Ok(()) };
    let named: Path = resolver.attrs.remove(place).parse_args()?;
    let permission = if named.get_ident().is_some() { quote!(crate::permission::Permission::#named) } else { quote!(#named) };
    tell(&mut resolver.attrs, &quote!(directive = crate::permission::requires_permission::apply(#permission)));
    if !checked_elsewhere {
        check_first(resolver, &permission);
    }
    Ok(())
}

/// Puts the check before the resolver's body and makes its answer nullable.
fn check_first(resolver: &mut ImplItemFn, permission: &proc_macro2::TokenStream) {
    let (ctx, body) = (context(resolver), &resolver.block);
    let ReturnType::Type(_, ty) = &resolver.sig.output else { return };
    let (output, value) = match &**ty {
        Type::Path(path) if path.path.segments.last().is_some_and(|segment| segment.ident == "Result") => {
            (quote!(#ty), quote!(value))
        }
        _ => (quote!(::async_graphql::Result<#ty>), quote!(Ok(value))),
    };
    resolver.block = parse_quote!({
        match crate::api::Guarded::check(self, #ctx, #permission).await {
            Ok(true) => {}
            Ok(false) => return None,
            Err(denied) => return Some(Err(denied.into())),
        }
        let value = async move #body.await;
        Some(#value)
    });
    resolver.sig.output = parse_quote!(-> Option<#output>);
}

/// Adds to the resolver's one `#[graphql(…)]`: async-graphql reads only the first.
fn tell(attrs: &mut Vec<Attribute>, what: &proc_macro2::TokenStream) {
    for attr in attrs.iter_mut().filter(|attr| attr.path().is_ident("graphql")) {
        if let Meta::List(list) = &mut attr.meta {
            let given = &list.tokens;
            list.tokens = quote!(#what, #given);
            return;
        }
    }
    attrs.push(parse_quote!(#[graphql(#what)]));
}

/// The name of the resolver's `ctx: &Context<'_>`, which is added where it has none.
fn context(resolver: &mut ImplItemFn) -> Ident {
    for arg in &resolver.sig.inputs {
        let FnArg::Typed(arg) = arg else { continue };
        let (Pat::Ident(name), Type::Reference(ty)) = (&*arg.pat, &*arg.ty) else { continue };
        if matches!(&*ty.elem, Type::Path(path) if path.path.segments.last().is_some_and(|segment| segment.ident == "Context")) {
            return name.ident.clone();
        }
    }
    resolver.sig.inputs.insert(1, parse_quote!(ctx: &::async_graphql::Context<'_>));
    parse_quote!(ctx)
}
