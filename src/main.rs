//! The command line: `serve`, `demo`, `migrate`, `schema`, and what operators do ([`keyholder::operator`]).

use clap::{ArgMatches, Command};
use keyholder::{
    clock::Clock,
    config::{Config, LogFormat},
    db::Db,
    demo,
    http::graphiql::Cast,
    logging, operator, schema, server,
};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn command() -> Command {
    let serve = Config::flags(Command::new("serve").about("Serve the API"));
    let migrate = Config::flags(Command::new("migrate").about("Bring a database up to date"));
    let schema = Command::new("schema").about("Print the schema (SDL)");
    let demo =
        demo::flags(Command::new("demo").about("Serve a filled database to play with, with e-mails readable in the browser"));
    let about = "A GraphQL API server for account access: who may act in which account";
    clap::command!()
        .about(about)
        .subcommand_required(true)
        .subcommands([serve, demo, migrate, schema])
        .subcommands(operator::commands())
}

#[tokio::main]
async fn main() -> ExitCode {
    let matches = command().get_matches();
    let outcome = match matches.subcommand() {
        Some(("serve", matches)) => serve(matches).await,
        Some(("demo", matches)) => demo(matches).await,
        Some(("migrate", matches)) => migrate(matches).await,
        Some(("schema", _)) => {
            print!("{}", schema::sdl());
            Ok(())
        }
        Some((subject, matches)) => operate(subject, matches).await,
        None => Ok(()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("keyholder: {error}");
            ExitCode::FAILURE
        }
    }
}

fn env(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

async fn serve(matches: &ArgMatches) -> Outcome {
    let config = Config::load(matches, &env)?;
    logging::start(&config.log, config.log_format)?;
    let listener = server::listen(&config).await?;
    let address = listener.local_addr()?;
    let app = server::build(config, Clock::default(), address).await?;
    say_what_runs(&app.config);
    let running = server::start(app, listener, Cast::default()).await?;
    tracing::info!("listening on http://{}", running.address);
    stopped().await?;
    running.stop().await;
    Ok(())
}

/// What was chosen where nothing was set (R1).
fn say_what_runs(config: &Config) {
    let file = config.sqlite_file();
    let beside = |extension| file.as_ref().map(|file| file.with_extension(extension).display().to_string());
    let keys = config.key_source().map(|keys| keys.to_string());
    let secret = config.secret.as_ref().map_or_else(|| beside("secret"), |_| Some("set".to_owned()));
    let database = file.as_ref().map_or_else(|| "PostgreSQL".to_owned(), |file| file.display().to_string());
    let mail = if config.dev { "kept, at /mailbox" } else { "SMTP" };
    tracing::info!(
        %database,
        keys = keys.as_deref(),
        secret = secret.as_deref(),
        mail,
        "notifications in-process: other servers on the same database hear of a change by looking every 20 s"
    );
}

async fn demo(matches: &ArgMatches) -> Outcome {
    logging::start("warn", LogFormat::Text)?;
    let running = demo::start(matches).await?;
    stopped().await?;
    running.stop().await;
    Ok(())
}

async fn operate(subject: &str, matches: &ArgMatches) -> Outcome {
    logging::start("warn", LogFormat::Text)?;
    operator::run(subject, matches, &env).await
}

async fn migrate(matches: &ArgMatches) -> Outcome {
    logging::start("warn", LogFormat::Text)?;
    let db = Db::connect(&Config::database_url(matches, &env)?).await.map_err(|error| error.cause())?;
    let applied = db.migrate().await?;
    if applied.is_empty() {
        println!("The database is up to date.");
    }
    for name in applied {
        println!("Applied {name}.");
    }
    Ok(())
}

/// Waits for Ctrl-C or SIGTERM.
async fn stopped() -> std::io::Result<()> {
    #[cfg(unix)]
    {
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            outcome = tokio::signal::ctrl_c() => outcome,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}
