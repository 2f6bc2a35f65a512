//! The command line: `serve`, `demo`, `migrate`, `schema`, and what operators do: `keys`, `user`.

use clap::{Arg, ArgAction, ArgMatches, Command};
use keyholder::{
    clock::Clock,
    config::{Config, LogFormat},
    db::Db,
    demo,
    http::graphiql::Cast,
    identity,
    keyring::{self, KeySource, Keyring},
    schema, server,
};
use std::{io::IsTerminal, process::ExitCode};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn command() -> Command {
    let serve = Config::flags(Command::new("serve").about("Serve the API"));
    let migrate = Config::flags(Command::new("migrate").about("Bring a database up to date"));
    let schema = Command::new("schema").about("Print the schema (SDL)");
    let demo =
        demo::flags(Command::new("demo").about("Serve a filled database to play with, with e-mails readable in the browser"));
    let at_once = Arg::new("now").long("now").action(ArgAction::SetTrue).help(
        "A key was lost: the new one signs at once, all others go, and every access token with them; sessions get another one",
    );
    let rotate = Config::flags(Command::new("rotate").about("Make the next key; it signs in ten minutes").arg(at_once));
    let list = Config::flags(Command::new("list").about("List the keys and when each began to sign"));
    let keys = Command::new("keys").about("The keys that sign access tokens").subcommand_required(true);
    let login = Arg::new("login").required(true).value_name("LOGIN").help("The user's e-mail address or username");
    let reset = Command::new("reset-two-factor").about("Switch two-factor off for who has lost the device and the codes");
    let user = Command::new("user").about("Support work for a user").subcommand_required(true);
    let user = user.subcommand(Config::flags(reset.arg(login)));
    let keys = keys.subcommands([rotate, list]);
    let about = "A GraphQL API server for account access: who may act in which account";
    clap::command!().about(about).subcommand_required(true).subcommands([serve, demo, migrate, schema, keys, user])
}

#[tokio::main]
async fn main() -> ExitCode {
    let matches = command().get_matches();
    let outcome = match matches.subcommand() {
        Some(("serve", matches)) => serve(matches).await,
        Some(("demo", matches)) => demo(matches).await,
        Some(("migrate", matches)) => migrate(matches).await,
        Some(("keys", matches)) => keys(matches),
        Some(("user", matches)) => user(matches).await,
        _ => {
            print!("{}", schema::sdl());
            Ok(())
        }
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

fn log(filter: &str, format: LogFormat) -> Outcome {
    let builder = tracing_subscriber::fmt().with_env_filter(EnvFilter::try_new(filter)?).with_writer(std::io::stderr);
    // What is read by a program, or kept in a file, has no colours.
    let builder = builder.with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}

async fn serve(matches: &ArgMatches) -> Outcome {
    let config = Config::load(matches, &env)?;
    log(&config.log, config.log_format)?;
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
    log("warn", LogFormat::Text)?;
    let running = demo::start(matches).await?;
    stopped().await?;
    running.stop().await;
    Ok(())
}

async fn migrate(matches: &ArgMatches) -> Outcome {
    let db = Db::connect(&Config::database_url(matches, &env)?).await.map_err(|error| error.cause())?;
    let applied = migration::up(db.writer()).await?;
    if applied.is_empty() {
        println!("The database is up to date.");
    }
    for name in applied {
        println!("Applied {name}.");
    }
    Ok(())
}

fn keys(matches: &ArgMatches) -> Outcome {
    let Some((command, matches)) = matches.subcommand() else { return Ok(()) };
    let config = Config::load_offline(matches, &env)?;
    let (clock, source) = (Clock::default(), config.key_source().ok_or("no directory of keys: set KEYHOLDER_KEYS")?);
    if command == "list" {
        let ring = Keyring::load(&source)?;
        let signs = ring.signs(clock.now()).map(|key| key.id.clone());
        for key in ring.iter() {
            let mark = if signs.as_ref() == Some(&key.id) { "  signs now" } else { "" };
            println!("{}  from {}{mark}", key.id, key.from.format("%Y-%m-%d %H:%M:%S UTC"));
        }
        return Ok(());
    }
    match source {
        KeySource::Directory(directory) => {
            let done = keyring::rotate(&directory, clock.now(), config.access_token_ttl, matches.get_flag("now"))?;
            println!("Made {}; it signs from {} on.", done.made.display(), done.from.format("%Y-%m-%d %H:%M:%S UTC"));
            for file in done.removed {
                println!("Removed {}: nothing valid is signed with it.", file.display());
            }
        }
        KeySource::Pem(_) => {
            eprintln!(
                "The keys are in the setting itself: put this one in front, and behind the others once every server has it."
            );
            print!("{}", keyring::new_pem()?);
        }
    }
    Ok(())
}

async fn user(matches: &ArgMatches) -> Outcome {
    let Some((_, matches)) = matches.subcommand() else { return Ok(()) };
    let config = Config::load_offline(matches, &env)?;
    let login = matches.get_one::<String>("login").map_or("", String::as_str);
    let address = config.listen;
    let app = server::build(config, Clock::default(), address).await?;
    let user = identity::ops::find_by_login(&app, login).await.map_err(|error| error.cause())?;
    let user = user.ok_or_else(|| format!("there is no user {login:?}"))?;
    let was_on = identity::two_factor::reset(&app, user.id).await.map_err(|error| error.cause())?;
    app.db.close().await;
    if was_on {
        println!("Two-factor is off for {} ({}). An e-mail tells them, once a server runs.", user.username, user.id);
    } else {
        println!("Two-factor was off for {} ({}) already.", user.username, user.id);
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
