//! Any text as a document, with any variables, the whole way that a request takes behind the wire, asked by nobody.
#![no_main]

use futures_util::StreamExt;
use keyholder::{
    actor::Caller,
    http::{
        RequestId,
        execute::{self, Operation, Params, Wire},
    },
};
use keyholder_fuzz::{PATIENCE, RUNTIME, abort_on_panic, edge};
use libfuzzer_sys::fuzz_target;
use std::time::Instant;
use tokio::time::timeout;

fuzz_target!(|input: (&str, &str, Option<&str>)| {
    let (query, variables, name) = input;
    abort_on_panic();
    let params = Params {
        query: Some(query.to_owned()),
        operation_name: name.map(str::to_owned),
        variables: serde_json::from_str(variables).ok(),
        ..Params::default()
    };
    let (edge, start) = (edge(), Instant::now());
    let operation = Operation::new(params, &edge.documents, &edge.app.config.limits);
    // Far more than the slowest lawful one takes, with all that a fuzzer's build does besides.
    assert!(start.elapsed().as_secs() < 2, "{:?} for {} bytes", start.elapsed(), query.len());
    let Ok(operation) = operation else { return };
    let answers = execute::answers(edge.clone(), Caller::of(&edge.app, None), RequestId("fuzz".into()), operation);
    // Nobody may listen to anything, so that each has an end.
    let answers = RUNTIME.block_on(async { timeout(PATIENCE, answers.collect::<Vec<_>>()).await.expect("an end") });
    assert!(!answers.is_empty());
    for answer in answers {
        let text = serde_json::to_string(&Wire(&answer.response)).expect("JSON");
        assert!(!text.contains("\"INTERNAL\""), "{text}");
        assert!(text.len() <= edge.app.config.limits.answer_bytes + 1_000, "{} bytes", text.len());
    }
});
