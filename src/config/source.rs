//! Where settings come from: the defaults, a file, the environment and flags, each overriding those before it.
//!
//! Here a setting is text with a name for complaints. The table of all settings is here too; what each one means is told
//! once, in `config.default.toml`, and the help of its flag repeats that.

use super::ConfigError;
use crate::{keyring::KeySource, private::everybody_may_access};
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::{collections::HashMap, fs, path::Path};
use toml::de::{DeTable, DeValue};

/// The text of the defaults.
pub(super) const DEFAULTS: &str = include_str!("../../config.default.toml");

/// The file that is read when none is named, if it is there.
const USUAL_FILE: &str = "keyholder.toml";

/// Every setting: its key, and its name in the environment. Its flag is the key with dashes.
pub(super) const SETTINGS: [(&str, &str); 50] = [
    ("listen", "KEYHOLDER_LISTEN"),
    ("database_url", "DATABASE_URL"),
    ("smtp_url", "SMTP_URL"),
    ("mail_from", "KEYHOLDER_MAIL_FROM"),
    ("app_url", "KEYHOLDER_APP_URL"),
    ("allowed_origins", "KEYHOLDER_ALLOWED_ORIGINS"),
    ("secret", "KEYHOLDER_SECRET"),
    ("keys", "KEYHOLDER_KEYS"),
    ("access_token_ttl", "KEYHOLDER_ACCESS_TOKEN_TTL"),
    ("token_algorithm", "KEYHOLDER_TOKEN_ALGORITHM"),
    ("session_idle_ttl", "KEYHOLDER_SESSION_IDLE_TTL"),
    ("session_ttl", "KEYHOLDER_SESSION_TTL"),
    ("invitation_ttl", "KEYHOLDER_INVITATION_TTL"),
    ("request_ttl", "KEYHOLDER_REQUEST_TTL"),
    ("issuer", "KEYHOLDER_ISSUER"),
    ("audience", "KEYHOLDER_AUDIENCE"),
    ("plan_changes", "KEYHOLDER_PLAN_CHANGES"),
    ("invitations_per_day", "KEYHOLDER_INVITATIONS_PER_DAY"),
    ("client_requests_per_day", "KEYHOLDER_CLIENT_REQUESTS_PER_DAY"),
    ("mails_per_user_per_day", "KEYHOLDER_MAILS_PER_USER_PER_DAY"),
    ("accounts_per_user_per_day", "KEYHOLDER_ACCOUNTS_PER_USER_PER_DAY"),
    ("resend_interval", "KEYHOLDER_RESEND_INTERVAL"),
    ("security_events_ttl", "KEYHOLDER_SECURITY_EVENTS_TTL"),
    ("sign_in_throttle", "KEYHOLDER_SIGN_IN_THROTTLE"),
    ("trusted_proxies", "KEYHOLDER_TRUSTED_PROXIES"),
    ("dev_hosts", "KEYHOLDER_DEV_HOSTS"),
    ("client_timeout", "KEYHOLDER_CLIENT_TIMEOUT"),
    ("max_connections", "KEYHOLDER_MAX_CONNECTIONS"),
    ("max_connections_per_client", "KEYHOLDER_MAX_CONNECTIONS_PER_CLIENT"),
    ("idle_socket_timeout", "KEYHOLDER_IDLE_SOCKET_TIMEOUT"),
    ("max_operations", "KEYHOLDER_MAX_OPERATIONS"),
    ("operation_timeout", "KEYHOLDER_OPERATION_TIMEOUT"),
    ("max_body_bytes", "KEYHOLDER_MAX_BODY_BYTES"),
    ("max_request_bytes", "KEYHOLDER_MAX_REQUEST_BYTES"),
    ("max_document_bytes", "KEYHOLDER_MAX_DOCUMENT_BYTES"),
    ("max_document_tokens", "KEYHOLDER_MAX_DOCUMENT_TOKENS"),
    ("max_document_nesting", "KEYHOLDER_MAX_DOCUMENT_NESTING"),
    ("max_document_fields", "KEYHOLDER_MAX_DOCUMENT_FIELDS"),
    ("max_document_values", "KEYHOLDER_MAX_DOCUMENT_VALUES"),
    ("max_query_depth", "KEYHOLDER_MAX_QUERY_DEPTH"),
    ("max_query_cost", "KEYHOLDER_MAX_QUERY_COST"),
    ("max_answer_bytes", "KEYHOLDER_MAX_ANSWER_BYTES"),
    ("max_unsent_bytes", "KEYHOLDER_MAX_UNSENT_BYTES"),
    ("max_socket_operations", "KEYHOLDER_MAX_SOCKET_OPERATIONS"),
    ("max_socket_message_bytes", "KEYHOLDER_MAX_SOCKET_MESSAGE_BYTES"),
    ("graphiql", "KEYHOLDER_GRAPHIQL"),
    ("introspection", "KEYHOLDER_INTROSPECTION"),
    ("trusted_documents", "KEYHOLDER_TRUSTED_DOCUMENTS"),
    ("log", "KEYHOLDER_LOG"),
    ("log_format", "KEYHOLDER_LOG_FORMAT"),
];

/// Adds a flag for each setting to a command, and `--config` and `--dev`.
pub(super) fn flags(command: Command) -> Command {
    let config = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .help("A file of settings; else ./keyholder.toml, if it is there. [env: KEYHOLDER_CONFIG]");
    let dev = Arg::new("dev")
        .long("dev")
        .action(ArgAction::SetTrue)
        .help("A server to develop against, for this machine only: e-mails are kept in memory, to be read at /mailbox.");
    let settings =
        SETTINGS.iter().map(|(key, variable)| Arg::new(*key).long(dashed(key)).value_name("VALUE").help(help(key, variable)));
    command.arg(config).arg(dev).args(settings)
}

fn dashed(key: &str) -> String {
    key.replace('_', "-")
}

/// The comment above a key of the defaults, with the key's other names.
fn help(key: &str, variable: &str) -> String {
    let (before, after) = DEFAULTS.split_once(&format!("\n{key} = ")).unwrap_or_default();
    // The blank line before a comment keeps it apart from the setting above.
    let comment = before.rsplit("\n\n").next().unwrap_or_default();
    let comment: Vec<_> = comment.lines().map(|line| line.trim_start_matches(['#', ' '])).collect();
    let default = after.lines().next().unwrap_or_default().trim_matches(['"', '[', ']']);
    let default = if default.is_empty() { "blank" } else { default };
    format!("{}\n[env: {variable}] [default: {default}]", comment.join("\n"))
}

/// One setting's text.
struct Given {
    text: String,
    /// The setting's name in its source, and the source, for complaints.
    setting: String,
}

/// The text of every setting, from the last source that gives it.
pub(super) struct Values(HashMap<&'static str, Given>);

impl Values {
    /// The defaults alone.
    pub(super) fn defaults() -> Result<Self, ConfigError> {
        let mut values = Self(HashMap::new());
        values.set_toml("config.default.toml", DEFAULTS)?;
        Ok(values)
    }

    /// All sources, each overriding those before it.
    pub(super) fn gather(matches: &ArgMatches, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let env = |variable| env(variable).filter(|text| !text.trim().is_empty());
        let mut values = Self::defaults()?;
        let named = matches.get_one("config").cloned().or_else(|| env("KEYHOLDER_CONFIG"));
        let usual = || Path::new(USUAL_FILE).exists().then(|| USUAL_FILE.to_owned());
        if let Some(file) = named.or_else(usual) {
            let toml = fs::read_to_string(&file).map_err(|cause| ConfigError::Unreadable(file.clone(), cause))?;
            values.set_toml(&file, &toml)?;
            if values.have_a_secret() && everybody_may_access(Path::new(&file)) {
                let why =
                    "other users of this machine can read or change it, and it contains a secret. Run `chmod go-w,o-rwx` on it";
                return Err(ConfigError::Wrong(file, why.to_owned()));
            }
        }
        for (key, variable) in SETTINGS {
            if let Some(text) = env(variable) {
                values.set(key, format!("{variable} (environment)"), &text)?;
            }
        }
        for (key, _) in SETTINGS {
            if let Some(text) = matches.get_one::<String>(key) {
                values.set(key, format!("--{} (flag)", dashed(key)), text)?;
            }
        }
        Ok(values)
    }

    /// Whether a setting contains a secret, key or password.
    fn have_a_secret(&self) -> bool {
        let text = |key| self.0.get(key).map_or("", |given| &given.text);
        let has_password =
            |key| text(key).split_once("://").is_some_and(|(_, rest)| rest.contains('@') || rest.contains("password="));
        !text("secret").is_empty()
            || matches!(KeySource::read(text("keys")), KeySource::Pem(_))
            || has_password("smtp_url")
            || has_password("database_url")
    }

    /// Sets one key; `setting` is its name for complaints.
    pub(super) fn set(&mut self, key: &str, setting: String, text: &str) -> Result<(), ConfigError> {
        let Some((key, _)) = SETTINGS.iter().find(|(known, _)| *known == key) else {
            return Err(ConfigError::Unknown(setting));
        };
        self.0.insert(key, Given { text: text.trim().to_owned(), setting });
        Ok(())
    }

    /// Sets the keys of a file's text.
    pub(super) fn set_toml(&mut self, file: &str, toml: &str) -> Result<(), ConfigError> {
        // Only the bare message of an error: its Display repeats the line, which may hold a secret.
        let table = DeTable::parse(toml).map_err(|error| {
            let line = line_at(toml, error.span().map_or(0, |span| span.start));
            ConfigError::Wrong(format!("{file}, line {line}"), error.message().to_owned())
        })?;
        for (key, value) in table.get_ref() {
            let (line, key) = (line_at(toml, key.span().start), key.get_ref());
            let text = text_of(value.get_ref());
            self.set(key, format!("{key} ({file}, line {line})"), text.as_deref().unwrap_or_default())?;
            if text.is_none() {
                return Err(self.wrong(key, "must be text, a whole number, or a list of these".to_owned()));
            }
        }
        Ok(())
    }

    /// The value of a setting that must have one.
    pub(super) fn get<T>(&self, key: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Result<T, ConfigError> {
        let Some(given) = self.0.get(key) else {
            return Err(ConfigError::Unknown(key.to_owned()));
        };
        parse(&given.text).map_err(|complaint| self.wrong(key, complaint))
    }

    /// The value of a setting that may be blank.
    pub(super) fn optional<T>(&self, key: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Result<Option<T>, ConfigError> {
        self.get(key, |text| if text.is_empty() { Ok(None) } else { parse(text).map(Some) })
    }

    /// A complaint about a setting, which is named as its source does.
    pub(super) fn wrong(&self, key: &str, complaint: String) -> ConfigError {
        let setting = self.0.get(key).map_or(key, |given| &given.setting).to_owned();
        ConfigError::Wrong(setting, complaint)
    }
}

/// A TOML value as the environment would have it, or none for what no setting can be.
fn text_of(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Array(items) => {
            let items: Option<Vec<_>> = items.iter().map(|item| text_of(item.get_ref())).collect();
            Some(items?.join(","))
        }
        _ => None,
    }
}

fn line_at(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}
