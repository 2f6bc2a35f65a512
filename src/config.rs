//! The settings, read once at the start and never changed after.
//!
//! Every source (defaults, file, environment, flags) is text at first, so that a setting is parsed and checked in one way
//! wherever it comes from: `source` gathers the text, `parse` gives it its type, and the rules between settings are here.
//! A wrong setting stops the start with a sentence that names it as its source does, and no such sentence has a secret in
//! it. Nothing is reloaded while the server runs.

mod parse;
mod source;
#[cfg(test)]
mod tests;

use crate::keyring::{KeySource, TokenAlgorithm};
use chrono::TimeDelta;
use clap::{ArgMatches, Command};
use entity::session::Lifetimes;
use ipnet::IpNet;
use source::Values;
use std::{fmt, io, net::SocketAddr, path::PathBuf, time::Duration};

/// The settings of one server; `config.default.toml` explains each.
#[derive(Clone)]
#[expect(clippy::struct_excessive_bools, reason = "switches are what they are, each on or off by itself")]
pub struct Config {
    /// Whether this is a server to develop against: e-mails stay in memory, GraphiQL is on.
    pub dev: bool,
    /// The address to listen on; a loopback address with `dev`.
    pub listen: SocketAddr,
    /// The database, SQLite or PostgreSQL.
    pub database_url: String,
    /// The mail server; always there without `dev`.
    pub smtp_url: Option<String>,
    /// The sender of every e-mail; always there without `dev`.
    pub mail_from: Option<String>,
    /// Where links in e-mails lead, without a slash at the end; else to the server's own address.
    pub app_url: Option<String>,
    /// The origins whose pages may call from a browser, each as a browser's `Origin` header has it.
    pub allowed_origins: Vec<String>,
    /// What links and refresh tokens are made with; always there with PostgreSQL.
    pub secret: Option<String>,
    /// Where the keys are that sign access tokens; always there with PostgreSQL.
    pub keys: Option<KeySource>,
    /// How long an access token lasts.
    pub access_token_ttl: TimeDelta,
    /// The algorithm that access tokens are signed with.
    pub token_algorithm: TokenAlgorithm,
    /// How long sessions last.
    pub session_lifetimes: Lifetimes,
    /// How long an invitation can be accepted.
    pub invitation_ttl: TimeDelta,
    /// How long a request for access can be approved.
    pub request_ttl: TimeDelta,
    /// The issuer that access tokens name; else the server's own address.
    pub issuer: Option<String>,
    /// The audience that access tokens name.
    pub audience: String,
    /// Who changes an account's plan.
    pub plan_changes: PlanChanges,
    /// How many new users an account can invite in any 24 hours.
    pub invitations_per_day: u32,
    /// The client accounts that an agency, and a user over all their agencies, can request access to in any 24 hours.
    pub client_requests_per_day: u32,
    /// The e-mails to others that one user can cause in any 24 hours.
    pub mails_per_user_per_day: u32,
    /// The accounts that one user can open in any 24 hours.
    pub accounts_per_user_per_day: u32,
    /// The shortest time from the latest e-mail to the next of its kind.
    pub resend_interval: TimeDelta,
    /// How long security events are kept.
    pub security_events_ttl: TimeDelta,
    /// Whether those who guess are slowed down.
    pub sign_in_throttle: bool,
    /// The proxies whose word counts for where a request comes from.
    pub trusted_proxies: Vec<IpNet>,
    /// The hosts that a server with `dev` answers to besides the local ones, in lower case.
    pub dev_hosts: Vec<String>,
    /// How much clients may ask for.
    pub limits: Limits,
    /// Whether GraphiQL is served.
    pub graphiql: bool,
    /// Whether the schema may be asked for, and mistyped names are answered with a guess.
    pub introspection: bool,
    /// The folder of the documents that alone may be asked.
    pub trusted_documents: Option<PathBuf>,
    /// What to log, as a filter of the `tracing` crates.
    pub log: String,
    /// How a line of the log is written.
    pub log_format: LogFormat,
}

/// How much clients may ask for, and how long they may take.
#[derive(Clone, Debug)]
pub struct Limits {
    /// For sending a request, for the next request of a connection, and for taking an answer.
    pub client_timeout: Duration,
    /// Open connections.
    pub connections: usize,
    /// Open connections of one client network.
    pub connections_per_client: usize,
    /// How long a WebSocket without a signed-in user may have no operation.
    pub idle_socket_timeout: Duration,
    /// Queries and mutations under way.
    pub operations: usize,
    /// For answering a query or a mutation.
    pub operation_timeout: Duration,
    /// Bytes of a body.
    pub body_bytes: usize,
    /// Bytes of long requests until they are answered.
    pub request_bytes: usize,
    /// Bytes of a document.
    pub document_bytes: usize,
    /// Tokens of a document.
    pub document_tokens: usize,
    /// Braces, brackets and parentheses of a document within each other.
    pub document_nesting: usize,
    /// Fields of a document, with its fragments written out.
    pub document_fields: usize,
    /// Values of a document's arguments, with its fragments and variables written out.
    pub document_values: usize,
    /// Fields of a query within each other.
    pub query_depth: usize,
    /// The sum of what a query's fields cost.
    pub query_cost: usize,
    /// Bytes of an answer.
    pub answer_bytes: usize,
    /// Bytes of long answers on their way.
    pub unsent_bytes: usize,
    /// Operations of a socket at once.
    pub socket_operations: usize,
    /// Bytes of a socket's message.
    pub socket_message_bytes: usize,
}

/// Who changes an account's plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanChanges {
    /// The platform, by command line, when its billing says so.
    Operator,
    /// The account's own users who may change billing information.
    SelfService,
}

/// How a line of the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs: one JSON object a line.
    Json,
}

/// Why the settings can't be used, as one sentence for the person who starts the server.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A setting, named with its source, and what is wrong with its value; or a line of the file that is no TOML.
    #[error("{0}: {1}")]
    Wrong(String, String),
    /// A setting that doesn't exist, named with its source.
    #[error("{0}: there is no such setting; `keyholder serve --help` lists them")]
    Unknown(String),
    /// A setting that must be given and isn't, by its name in the environment, and why it must.
    #[error("{0} must be set {1}")]
    Missing(&'static str, &'static str),
    /// The file of settings is missing or can't be read, and what the system says.
    #[error("{0} can't be read: {1}")]
    Unreadable(String, io::Error),
}

impl Config {
    /// Adds a flag for each setting to a command, and `--config` and `--dev`.
    pub fn flags(command: Command) -> Command {
        source::flags(command)
    }

    /// Reads the settings for a server from all sources.
    ///
    /// `matches` must be of a command that [`Config::flags`] has made; `env` looks a variable up.
    pub fn load(matches: &ArgMatches, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        Self::read(&Values::gather(matches, env)?, matches.get_flag("dev"))
    }

    /// As [`Config::load`], for commands beside a server: mail is none of theirs.
    pub fn load_offline(matches: &ArgMatches, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut values = Values::gather(matches, env)?;
        // What `dev` asks of the address is about serving there.
        values.set("listen", "listen".to_owned(), "127.0.0.1:0")?;
        Self::read(&values, true)
    }

    /// Reads only the database from all sources, for commands that need no server's settings.
    pub fn database_url(matches: &ArgMatches, env: &dyn Fn(&str) -> Option<String>) -> Result<String, ConfigError> {
        Values::gather(matches, env)?.get("database_url", parse::database_url)
    }

    /// Makes settings of the defaults and some keys with their values, under the same rules.
    pub fn from_pairs(dev: bool, pairs: &[(&str, &str)]) -> Result<Self, ConfigError> {
        let mut values = Values::defaults()?;
        for (key, text) in pairs {
            values.set(key, format!("{key} (set in code)"), text)?;
        }
        Self::read(&values, dev)
    }

    /// The file that an SQLite database is in; none for one in memory, or for PostgreSQL.
    pub fn sqlite_file(&self) -> Option<PathBuf> {
        let rest = self.database_url.strip_prefix("sqlite:")?;
        let (file, options) = rest.split_once('?').unwrap_or((rest, ""));
        let file = file.strip_prefix("//").unwrap_or(file);
        let in_memory = file.is_empty() || file == ":memory:" || options.contains("mode=memory");
        (!in_memory).then(|| PathBuf::from(file))
    }

    /// Where the keys are that sign access tokens: where it was set, or beside the SQLite file.
    pub fn key_source(&self) -> Option<KeySource> {
        let beside = || self.sqlite_file().map(|file| KeySource::Directory(file.with_extension("keys")));
        self.keys.clone().or_else(beside)
    }

    /// Where the server itself is reached: the issuer, if that is an address, as tokens name the server that makes them.
    pub fn own_url(&self, own_address: &str) -> String {
        let issuer = self.issuer.as_deref().filter(|issuer| parse::web_address(issuer).is_ok());
        issuer.unwrap_or(own_address).trim_end_matches('/').to_owned()
    }

    fn read(values: &Values, dev: bool) -> Result<Self, ConfigError> {
        let by_default = if dev { PlanChanges::SelfService } else { PlanChanges::Operator };
        let config = Self {
            dev,
            listen: values.get("listen", parse::address)?,
            database_url: values.get("database_url", parse::database_url)?,
            smtp_url: values.optional("smtp_url", parse::smtp_url)?,
            mail_from: values.optional("mail_from", parse::mailbox)?,
            app_url: values.optional("app_url", parse::web_address)?,
            allowed_origins: values.get("allowed_origins", parse::origins)?,
            secret: values.optional("secret", parse::secret)?,
            keys: values.optional("keys", |text| Ok(KeySource::read(text)))?,
            access_token_ttl: values.get("access_token_ttl", parse::duration)?,
            token_algorithm: values.get("token_algorithm", parse::token_algorithm)?,
            session_lifetimes: Lifetimes {
                idle: values.get("session_idle_ttl", parse::duration)?,
                total: values.get("session_ttl", parse::duration)?,
            },
            invitation_ttl: values.get("invitation_ttl", parse::duration)?,
            request_ttl: values.get("request_ttl", parse::duration)?,
            issuer: values.optional("issuer", parse::text)?,
            audience: values.get("audience", parse::text)?,
            plan_changes: values.optional("plan_changes", parse::plan_changes)?.unwrap_or(by_default),
            invitations_per_day: values.get("invitations_per_day", parse::count)?,
            client_requests_per_day: values.get("client_requests_per_day", parse::count)?,
            mails_per_user_per_day: values.get("mails_per_user_per_day", parse::count)?,
            accounts_per_user_per_day: values.get("accounts_per_user_per_day", parse::count)?,
            resend_interval: values.get("resend_interval", parse::duration)?,
            security_events_ttl: values.get("security_events_ttl", parse::duration)?,
            sign_in_throttle: values.get("sign_in_throttle", parse::switch)?,
            trusted_proxies: values.get("trusted_proxies", parse::networks)?,
            dev_hosts: values.get("dev_hosts", parse::hosts)?,
            limits: Limits::read(values)?,
            graphiql: values.optional("graphiql", parse::switch)?.unwrap_or(dev),
            introspection: values.optional("introspection", parse::switch)?.unwrap_or(dev),
            trusted_documents: values.optional("trusted_documents", |text| Ok(PathBuf::from(text)))?,
            log: values.get("log", parse::log_filter)?,
            log_format: values.get("log_format", parse::log_format)?,
        };
        config.check_complete()?;
        config.check_dev(values)?;
        Ok(config)
    }

    fn check_complete(&self) -> Result<(), ConfigError> {
        let in_memory = "to the mail server; or start with --dev, which keeps e-mails in memory";
        let sender = "with SMTP_URL: it is the sender of every e-mail";
        // One made at the first start would be another one in each replica.
        let replicas = "with PostgreSQL, to the same for all replicas";
        let postgres = !self.database_url.starts_with("sqlite:");
        let rules = [
            (!self.dev && self.smtp_url.is_none(), "SMTP_URL", in_memory),
            (!self.dev && self.mail_from.is_none(), "KEYHOLDER_MAIL_FROM", sender),
            (postgres && self.secret.is_none(), "KEYHOLDER_SECRET", replicas),
            (postgres && self.keys.is_none(), "KEYHOLDER_KEYS", replicas),
        ];
        let missing = rules.into_iter().find(|(missing, ..)| *missing);
        missing.map_or(Ok(()), |(_, variable, reason)| Err(ConfigError::Missing(variable, reason)))
    }

    fn check_dev(&self, values: &Values) -> Result<(), ConfigError> {
        if !self.dev || self.listen.ip().is_loopback() {
            return Ok(());
        }
        let reason = "such as 127.0.0.1:8080, because whoever reaches the server can read every e-mail";
        Err(values.wrong("listen", format!("with --dev, \"{}\" must be a loopback address {reason}", self.listen)))
    }
}

impl Limits {
    fn read(values: &Values) -> Result<Self, ConfigError> {
        let time = |key| values.get(key, |text| parse::duration(text)?.to_std().map_err(|error| error.to_string()));
        let some = |key| values.get(key, parse::some);
        let connections = some("max_connections")?;
        let per_client = values.optional("max_connections_per_client", parse::some)?;
        Ok(Self {
            client_timeout: time("client_timeout")?,
            connections,
            connections_per_client: per_client.unwrap_or_else(|| connections.div_ceil(10)),
            idle_socket_timeout: time("idle_socket_timeout")?,
            operations: some("max_operations")?,
            operation_timeout: time("operation_timeout")?,
            body_bytes: some("max_body_bytes")?,
            request_bytes: some("max_request_bytes")?,
            document_bytes: some("max_document_bytes")?,
            document_tokens: some("max_document_tokens")?,
            document_nesting: values.get("max_document_nesting", parse::nesting)?,
            document_fields: some("max_document_fields")?,
            document_values: some("max_document_values")?,
            query_depth: some("max_query_depth")?,
            query_cost: some("max_query_cost")?,
            answer_bytes: some("max_answer_bytes")?,
            unsent_bytes: some("max_unsent_bytes")?,
            socket_operations: some("max_socket_operations")?,
            socket_message_bytes: some("max_socket_message_bytes")?,
        })
    }
}

/// Tells which server it is, and nothing that is secret.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("dev", &self.dev)
            .field("listen", &self.listen)
            .field("database_url", &redacted_url(&self.database_url))
            .field("smtp_url", &self.smtp_url.as_deref().map(redacted_url))
            .field("secret", &self.secret.as_ref().map(|_| "***"))
            .finish_non_exhaustive()
    }
}

/// Only the scheme of a URL, unless it is of a file: a password can hold `@`, `/` or `?`, or be in the query, so that no cut
/// through the rest is safe.
fn redacted_url(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, _)) if scheme != "sqlite" => format!("{scheme}://***"),
        _ => url.to_owned(),
    }
}
