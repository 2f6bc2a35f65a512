//! What the specification makes of failures: as graphql-js tells it, case by case (`clients/nulls.test.mjs` writes the table),
//! and as an executor after the specification's text tells it, of documents at random.

mod documents;
mod reference;
mod schema;

use super::Nulls;
use crate::http::{
    RequestId,
    execute::{self, Operation},
};
use async_graphql::{PathSegment, Response, Value, Variables, parser::types::OperationType};
use documents::{Choices, document};
use futures_util::StreamExt;
use proptest::prelude::*;
use reference::Reference;
use schema::{Outcome, Outcomes, Shapes, shapes};
use serde::Deserialize;
use std::{
    collections::BTreeSet,
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

/// A document, what comes of its fields, and what graphql-js answers.
#[derive(Deserialize)]
struct Case {
    name: String,
    document: String,
    #[serde(default)]
    variables: Variables,
    /// At which paths a field or an item fails; `1:` before one means the second payload of a subscription.
    #[serde(default)]
    fails: Vec<String>,
    #[serde(default)]
    null: Vec<String>,
    #[serde(default)]
    other: Vec<String>,
    answers: Vec<Answer>,
}

/// What is compared of an answer.
#[derive(Default, Deserialize)]
struct Answer {
    /// `None` where there is no data at all.
    #[serde(default, deserialize_with = "some")]
    data: Option<Value>,
    /// The paths of the errors, sorted.
    #[serde(default)]
    errors: Vec<String>,
}

fn some<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}

impl From<&Response> for Answer {
    fn from(response: &Response) -> Self {
        if execute::is_request_error(response) {
            return Self::default();
        }
        let segment = |segment: &PathSegment| match segment {
            PathSegment::Field(key) => key.clone(),
            PathSegment::Index(index) => index.to_string(),
        };
        let paths = response.errors.iter().map(|error| error.path.iter().map(segment).collect::<Vec<_>>().join("."));
        let mut errors: Vec<_> = paths.collect();
        errors.sort();
        Self { data: Some(response.data.clone()), errors }
    }
}

impl Answer {
    /// Whether an answer tells the same. Where a null has climbed, the one may have run more of what was lost than the other,
    /// and have found more errors there.
    fn is_as(&self, theirs: &Self) -> bool {
        let lost = |errors: &[String]| errors.iter().map(|path| theirs.null_above(path).to_owned()).collect::<BTreeSet<_>>();
        text(self.data.as_ref()) == text(theirs.data.as_ref())
            && lost(&self.errors) == lost(&theirs.errors)
            && self.errors.windows(2).all(|pair| pair[0] != pair[1])
    }

    /// Up to where the data follows a path.
    fn null_above<'a>(&self, path: &'a str) -> &'a str {
        let (mut value, mut end) = (self.data.as_ref(), 0);
        for segment in path.split('.') {
            value = match value {
                Some(Value::Object(object)) => object.get(segment),
                Some(Value::List(items)) => segment.parse().ok().and_then(|index: usize| items.get(index)),
                _ => break,
            };
            end += segment.len() + 1;
        }
        path.get(..end.saturating_sub(1)).unwrap_or_default()
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", text(self.data.as_ref()).unwrap_or_default(), self.errors)
    }
}

/// The data as text, in which keys have an order.
fn text(data: Option<&Value>) -> Option<String> {
    data.map(|data| serde_json::to_string(data).expect("serialises"))
}

/// What a request is answered with, as every transport would have it.
async fn ask(schema: &Shapes, nulls: &Arc<Nulls>, document: &str, variables: &Variables, outcomes: Outcomes) -> Vec<Response> {
    let operation = match Operation::of(document, variables) {
        Ok(operation) => operation,
        Err(refusal) => return vec![Response::from_errors(vec![refusal])],
    };
    let listens = operation.kind == Some(OperationType::Subscription);
    let (request, finish) = operation.split(nulls, RequestId("request".to_owned()));
    let request = request.data(outcomes);
    if listens {
        return schema.execute_stream(request).map(|answer| finish.response(answer)).collect().await;
    }
    vec![finish.response(schema.execute(request).await)]
}

fn nulls(schema: &Shapes) -> Arc<Nulls> {
    Arc::new(Nulls::new(&schema.sdl()).expect("the SDL parses"))
}

#[test]
fn the_oracle_has_the_same_schema() {
    let (ours, theirs) = (Nulls::new(&shapes().sdl()), Nulls::new(include_str!("tests/schema.graphql")));
    assert_eq!(ours.expect("parses").types, theirs.expect("parses").types);
}

#[tokio::test]
async fn failures_end_as_in_graphql_js() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("tests/cases.json")).expect("the table reads");
    let schema = shapes();
    let nulls = nulls(&schema);
    let mut wrong = Vec::new();
    for Case { name, document, variables, fails, null, other, answers } in cases {
        let outcomes = Outcomes::new(move |payload, path| {
            let there = |at: &String| at == path || *at == format!("{payload}:{path}");
            match () {
                () if fails.iter().any(there) => Outcome::Fails,
                () if null.iter().any(there) => Outcome::Null,
                () if other.iter().any(there) => Outcome::Other,
                () => Outcome::Fine,
            }
        });
        let ours: Vec<Answer> = ask(&schema, &nulls, &document, &variables, outcomes).await.iter().map(Answer::from).collect();
        if ours.len() != answers.len() || !ours.iter().zip(&answers).all(|(ours, theirs)| ours.is_as(theirs)) {
            let told = |answers: &[Answer]| answers.iter().map(Answer::to_string).collect::<Vec<_>>().join("; ");
            wrong.push(format!("{name}: {document}\n  graphql-js {}\n  ours       {}", told(&answers), told(&ours)));
        }
    }
    assert!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test]
async fn a_denied_field_is_null_with_its_code_and_costs_its_parents_nothing() {
    let outcomes = Outcomes::new(|_, path| if path.ends_with("secret") { Outcome::Fails } else { Outcome::Fine });
    let schema = shapes();
    let query = "{ sureItemsOfSure { int secret } }";
    let answers = ask(&schema, &nulls(&schema), query, &Variables::default(), outcomes).await;
    let data = text(Some(&answers[0].data));
    assert_eq!(data.as_deref(), Some(r#"{"sureItemsOfSure":[{"int":1,"secret":null},{"int":1,"secret":null}]}"#));
    assert!(answers[0].errors.len() == 2 && execute::has_code(&answers[0], "FORBIDDEN"));
}

/// The executor merges no lists of lists, knows no union within an object, and gives the errors of an interface's fields no path.
#[test]
fn what_can_not_be_mended_is_not_in_our_schema() {
    let sdl = crate::schema::sdl();
    let (_, node) = sdl.split_once("\ninterface Node {").expect("has nodes");
    let fields = node.split_once("\n}").map_or("", |(fields, _)| fields).lines().filter(|line| line.contains(": "));
    assert_eq!(fields.map(str::trim).filter(|line| !line.starts_with("Its")).collect::<Vec<_>>(), ["id: ID!"]);
    assert!(!sdl.contains("[[") && !sdl.contains("\nunion ") && sdl.matches("\ninterface ").count() == 1);
}

/// Outcomes at random, the same for the same seed.
fn chance(seed: u64) -> Outcomes {
    Outcomes::new(move |_, path| {
        let mut hasher = DefaultHasher::new();
        (seed, path).hash(&mut hasher);
        match hasher.finish() % 64 {
            // Of some seeds little fails and of some much, lest all be lost or nothing.
            chance if chance < seed % 24 => Outcome::Fails,
            24 | 25 => Outcome::Null,
            32..=47 => Outcome::Other,
            _ => Outcome::Fine,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(384) })]

    #[test]
    fn failures_end_as_the_specification_says(
        choices in prop::collection::vec(any::<u8>(), 0..160),
        mutation in prop::bool::weighted(0.2),
        given in any::<bool>(),
        seed in any::<u64>(),
    ) {
        thread_local! {
            static SHAPES: (Shapes, Arc<Nulls>, Reference, tokio::runtime::Runtime) = {
                let schema = shapes();
                let (nulls, reference) = (nulls(&schema), Reference::new(&schema.sdl()));
                (schema, nulls, reference, tokio::runtime::Builder::new_current_thread().build().unwrap())
            };
        }
        let query = document(&mut Choices(&choices), mutation);
        let variables = Variables::from_value(async_graphql::value!({ "given": given }));
        SHAPES.with(|(schema, nulls, reference, runtime)| {
            let ours = runtime.block_on(ask(schema, nulls, &query, &variables, chance(seed)));
            let (data, errors) = reference.execute(&query, &variables, &chance(seed));
            let (ours, theirs) = (ours.iter().map(Answer::from).next().unwrap_or_default(), Answer { data: Some(data), errors });
            prop_assert!(ours.is_as(&theirs), "{query}\n  reference {theirs}\n  ours      {ours}");
            Ok(())
        })?;
    }
}
