//! Any text as a document, with any variables, the whole way that a request takes, asked by nobody.
#![no_main]

use keyholder::{
    actor::Caller,
    http::{
        execute::{Operation, Params},
        trusted::Documents,
    },
    schema,
};
use keyholder_fuzz::{RUNTIME, abort_on_panic, app};
use libfuzzer_sys::fuzz_target;
use std::{sync::LazyLock, time::Instant};

static SCHEMA: LazyLock<schema::Api> = LazyLock::new(|| schema::build(app()));

fuzz_target!(|input: (&str, &str, Option<&str>)| {
    let (query, variables, name) = input;
    abort_on_panic();
    let params = Params {
        query: Some(query.to_owned()),
        operation_name: name.map(str::to_owned),
        variables: serde_json::from_str(variables).ok(),
        ..Params::default()
    };
    let start = Instant::now();
    let operation = Operation::new(params, &Documents::Any, &app().config.limits);
    // Far more than the slowest lawful one takes, with all that a fuzzer's build does besides.
    assert!(start.elapsed().as_secs() < 2, "{:?} for {} bytes", start.elapsed(), query.len());
    if operation.is_ok() {
        let request = async_graphql::Request::new(query).data(Caller::of(app(), None));
        RUNTIME.block_on(SCHEMA.execute(request));
    }
});
