//! The documents that alone may be asked, when the settings name a folder of them.
//!
//! A platform whose pages send a known set of documents has a build tool write them down; then nobody can ask anything else,
//! whatever token they hold. A request names its document by `documentId`, or by the hash of Apollo's persisted queries. All are
//! read and checked at the start; a folder that changes is not read again.

use super::{
    execute::{self, bad_request},
    params::Params,
    variables::Given,
};
use crate::{config::Limits, schema};
use async_graphql::{
    Request, ServerError, ValidationMode, ValidationResult,
    extensions::{Extension, ExtensionContext, ExtensionFactory, NextValidation},
    parser::parse_query,
};
use aws_lc_rs::digest;
use serde::Deserialize;
use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt::Write,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// What may be asked.
pub enum Documents {
    /// Any document, which a request brings along.
    Any,
    /// One of these, by its id.
    Trusted(BTreeMap<String, String>),
}

/// Why a folder's documents can't be taken.
#[derive(Debug, thiserror::Error)]
pub enum TrustedError {
    /// The folder or a file can't be read.
    #[error("{0}: {1}")]
    Unreadable(PathBuf, io::Error),
    /// A manifest is not of a form that is known.
    #[error(
        "{0} is no manifest: it must have {{\"operations\": [{{\"id\", \"body\"}}]}}, or an object of documents by their ids ({1})"
    )]
    Manifest(PathBuf, serde_json::Error),
    /// A document that this server would refuse.
    #[error("{0}: the document {1} would be refused: {2}")]
    Refused(PathBuf, String, String),
    /// An id that stands for two documents.
    #[error("{0}: the id {1} stands for another document too")]
    Ambiguous(PathBuf, String),
    /// A folder without documents, in which case nothing at all could be asked.
    #[error("{0} has no .graphql, .gql or .json file")]
    Empty(PathBuf),
}

/// A list of documents as a build tool writes it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Manifest {
    /// Apollo's persisted-query manifest.
    Operations { operations: Vec<Persisted> },
    /// By their ids, as Relay and GraphQL Code Generator write them.
    ById(BTreeMap<String, String>),
}

#[derive(Deserialize)]
struct Persisted {
    id: String,
    body: String,
}

impl Documents {
    /// Reads a folder and those in it. A `.graphql` or `.gql` file is one document, by its name and by the SHA-256 of its text in hexadecimal
    /// digits; a `.json` file is a manifest.
    pub async fn read(folder: &Path, limits: &Limits) -> Result<Self, TrustedError> {
        let schema = schema::examining(Checking, ValidationMode::Strict);
        let mut documents = BTreeMap::new();
        for file in files(folder)? {
            for (id, document) in of_file(&file)? {
                let refused = |why| TrustedError::Refused(file.clone(), id.clone(), why);
                check(&schema, &document, limits).await.map_err(refused)?;
                if documents.insert(id.clone(), document.clone()).is_some_and(|other| other != document) {
                    return Err(TrustedError::Ambiguous(file, id));
                }
            }
        }
        if documents.is_empty() {
            return Err(TrustedError::Empty(folder.to_owned()));
        }
        Ok(Self::Trusted(documents))
    }

    /// The document that a request means.
    pub fn find<'a>(&'a self, params: &mut Params<'_>) -> Result<Cow<'a, str>, ServerError> {
        let id = params.document_id.take().or_else(|| hash(params));
        match (self, id, params.query.take().filter(|query| !query.is_empty())) {
            (Self::Any, _, Some(query)) => Ok(Cow::Owned(query)),
            // Clients of Apollo's know these words, and send the document.
            (Self::Any, Some(_), None) => Err(bad_request("PersistedQueryNotSupported")),
            (Self::Any, None, None) => Err(bad_request("\"query\" must be a document, as a string.")),
            (Self::Trusted(_), None, _) => {
                Err(bad_request("This server takes trusted documents alone. Name one by its \"documentId\"."))
            }
            (Self::Trusted(documents), Some(id), _) => {
                let document = documents.get(id.strip_prefix("sha256:").unwrap_or(&id));
                document.map(|document| Cow::Borrowed(document.as_str())).ok_or_else(|| {
                    bad_request(format!("There is no trusted document \"{}\".", id.chars().take(100).collect::<String>()))
                })
            }
        }
    }
}

/// The hash that Apollo's clients name a document by.
pub fn hash(params: &Params<'_>) -> Option<String> {
    params.extensions.as_ref()?.sha256_hash.clone()
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, TrustedError> {
    let unreadable = |error| TrustedError::Unreadable(folder.to_owned(), error);
    let entries = fs::read_dir(folder).map_err(unreadable)?.collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
    let mut files = Vec::new();
    for path in entries.into_iter().map(|entry| entry.path()) {
        if path.is_dir() {
            files.extend(self::files(&path)?);
        } else if matches!(extension(&path), "graphql" | "gql" | "json") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn extension(file: &Path) -> &str {
    file.extension().and_then(|extension| extension.to_str()).unwrap_or_default()
}

fn of_file(file: &Path) -> Result<Vec<(String, String)>, TrustedError> {
    let text = fs::read_to_string(file).map_err(|error| TrustedError::Unreadable(file.to_owned(), error))?;
    if extension(file) != "json" {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        return Ok(vec![(name, text.clone()), (sha256(&text), text)]);
    }
    let manifest = serde_json::from_str(&text).map_err(|error| TrustedError::Manifest(file.to_owned(), error))?;
    Ok(match manifest {
        Manifest::Operations { operations } => operations.into_iter().map(|one| (one.id, one.body)).collect(),
        Manifest::ById(documents) => {
            documents.into_iter().map(|(id, body)| (id.trim_start_matches("sha256:").to_owned(), body)).collect()
        }
    })
}

fn sha256(text: &str) -> String {
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    digest.as_ref().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // a string takes any text
        text
    })
}

/// Whether requests for a document could be answered at all, and what is in the way.
async fn check(schema: &schema::Api, document: &str, limits: &Limits) -> Result<(), String> {
    let parsed = execute::parsed(document, limits).map_err(|error| error.message)?;
    execute::check(&parsed, &Given::default(), limits).map_err(|error| error.message)?;
    for (name, _) in parsed.operations.iter() {
        let mut request = Request::new("");
        request.operation_name = name.map(ToString::to_string);
        request.set_parsed_query(parse_query(document).map_err(|error| error.to_string())?);
        if let Some(error) = schema.execute(request).await.errors.into_iter().find(|error| error.message != SOUND) {
            return Err(error.message);
        }
    }
    Ok(())
}

/// What the examining schema says of a document that it finds nothing wrong with, since it runs none.
const SOUND: &str = "sound";

struct Checking;

impl ExtensionFactory for Checking {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(Self)
    }
}

#[async_graphql::async_trait::async_trait]
impl Extension for Checking {
    async fn validation(
        &self,
        ctx: &ExtensionContext<'_>,
        next: NextValidation<'_>,
    ) -> Result<ValidationResult, Vec<ServerError>> {
        next.run(ctx).await?;
        Err(vec![ServerError::new(SOUND, None)])
    }
}
