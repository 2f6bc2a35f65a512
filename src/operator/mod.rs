//! What operators do by command line, beside a server that runs: the keys that sign, and support work for accounts and users.
//!
//! A change goes through [`crate::app::App::tx`] as any other, and its event says that the operator did it. What was asked for goes to standard
//! output, what is wrong to standard error. Nothing here makes a database: a wrong path is told.
//! Each command that reads or changes a user or an account is a security event of theirs (`record`).

mod accounts;
mod keys;
mod users;

use crate::{actor::Client, app::App, clock::Clock, config::Config, error::Error, events::security::NewSecurityEvent, server};
use clap::{ArgMatches, Command};
use entity::{
    AccountId, UserId,
    security_event::{SecurityEventKind, SecurityOutcome},
};

/// How a command ends: with nothing, or a sentence that says what to mend.
pub type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Reads the environment.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// All of them.
pub fn commands() -> [Command; 3] {
    [keys::command(), accounts::command(), users::command()]
}

/// Runs one.
pub async fn run(subject: &str, matches: &ArgMatches, env: Env<'_>) -> Outcome {
    let Some((command, matches)) = matches.subcommand() else { return Ok(()) };
    let config = Config::load_offline(matches, env)?;
    if subject == "keys" {
        return keys::run(command, matches, &config);
    }
    if let Some(file) = config.sqlite_file()
        && !file.exists()
    {
        return Err(format!("there is no database at {}: set DATABASE_URL, or --database-url", file.display()).into());
    }
    let address = config.listen;
    let app = server::build(config, Clock::default(), address).await?;
    let outcome = match subject {
        "account" => accounts::run(&app, command, matches).await,
        _ => users::run(&app, command, matches).await,
    };
    if let Err(error) = app.security.flush(&app).await {
        eprintln!("keyholder: the command could not be recorded as a security event: {}", error.cause());
    }
    app.db.close().await;
    outcome
}

/// Records a command for the user or the account that it read or changed (E1a). [`run`] writes it.
fn record(app: &App, command: String, user: Option<UserId>, account: Option<AccountId>, succeeded: bool) {
    let outcome = if succeeded { SecurityOutcome::Success } else { SecurityOutcome::Failure };
    let event = NewSecurityEvent::new(SecurityEventKind::OperatorCommand, outcome);
    let event = NewSecurityEvent { by_operator: true, user, account, operation: Some(command.into()), ..event };
    app.security.record(event, &Client::default());
}

/// What an operation's error says to the operator: of a fault, its cause.
#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` gives")]
fn told(error: Error) -> Box<dyn std::error::Error> {
    error.cause().into()
}

/// A command's argument.
fn argument<'a>(matches: &'a ArgMatches, name: &str) -> &'a str {
    matches.get_one::<String>(name).map_or("", String::as_str)
}

/// The user of a login.
async fn user(app: &App, login: &str) -> Result<entity::user::Model, Box<dyn std::error::Error>> {
    let found = crate::identity::ops::find_by_login(app, login).await.map_err(told)?;
    found.ok_or_else(|| format!("there is no user {login:?}: give an e-mail address or a username").into())
}
