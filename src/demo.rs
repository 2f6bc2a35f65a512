//! `keyholder demo`: a server with a filled database, to see what Keyholder does without setting anything up.
//!
//! The database is a new one at each start, filled by the operations that clients call (`story`) with the people of `people`,
//! and what can be tried with it is printed (`guide`). Absent: any setting beyond the address and the file; e-mails stay in
//! memory, so it listens on this machine alone.

mod guide;
mod people;
mod story;

use crate::{
    clock::Clock,
    config::Config,
    server::{self, Running, StartError},
};
use clap::{Arg, ArgMatches, Command, value_parser};
use std::{
    error::Error,
    fs::{self, File, TryLockError},
    io::{ErrorKind, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::OnceLock,
};

/// The demo's own database, which it replaces.
const OWN_FILE: &str = "keyholder-demo.db";
/// Held until the process ends, so that no second demo replaces that database meanwhile.
static LOCK: OnceLock<File> = OnceLock::new();

/// Adds the demo's flags to a command.
pub fn flags(command: Command) -> Command {
    let listen = Arg::new("listen")
        .long("listen")
        .value_name("ADDRESS")
        .default_value("127.0.0.1:8080")
        .value_parser(loopback)
        .help("The address and port to listen on, on this machine");
    let database = Arg::new("database")
        .long("database")
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help("An SQLite file to make, which must not be there yet; else ./keyholder-demo.db, which each start replaces");
    command.args([listen, database])
}

/// Makes the database, fills it, tells what can be tried, and serves.
pub async fn start(matches: &ArgMatches) -> Result<Running, Box<dyn Error>> {
    let listen = matches.get_one::<SocketAddr>("listen").ok_or("--listen has no value")?;
    let given = matches.get_one::<PathBuf>("database");
    let file = given.map_or(Path::new(OWN_FILE), PathBuf::as_path);
    let config = config(*listen, file)?;
    let listener = server::listen(&config).await.map_err(explain)?;
    let address = listener.local_addr()?;
    if given.is_none() {
        replace_own_file()?;
    } else if file.exists() {
        return Err(format!("{}: there is such a file already. Name one to be made, or remove it.", file.display()).into());
    }
    let app = server::build(config, Clock::default(), address).await.map_err(explain)?;
    let filled =
        story::live(&app).await.map_err(|error| format!("the demo's database could not be filled: {}", error.cause()))?;
    let guide = guide::text(&filled, address, file).map_err(|error| error.cause())?;
    let running = server::start(app, listener, guide::cast()).await?;
    std::io::stdout().write_all(guide.as_bytes())?;
    Ok(running)
}

/// An address that only this machine reaches, since whoever reaches the demo can read every e-mail.
fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| "an address has a port, such as 127.0.0.1:8081".to_owned())?;
    if address.ip().is_loopback() {
        return Ok(address);
    }
    Err("the demo's e-mails are for anyone to read, so it listens on this machine alone, such as on 127.0.0.1:8081".to_owned())
}

fn config(listen: SocketAddr, file: &Path) -> Result<Config, Box<dyn Error>> {
    // The file becomes part of a URL, which would read these as something else.
    let path = file.to_str().filter(|path| !path.is_empty() && !path.contains(['?', '#', '%']));
    let path = path.ok_or_else(|| format!("{}: name a file without any of ? # %", file.display()))?;
    let (listen, database_url) = (listen.to_string(), format!("sqlite://{path}"));
    // Who tries things out by hand should not have to sign in again every five minutes.
    // Its people have been signed in since they signed up, weeks ago.
    let lifetimes = [("access_token_ttl", "1h"), ("session_idle_ttl", "90d")];
    let pairs = [[("listen", listen.as_str()), ("database_url", &database_url)], lifetimes].concat();
    Ok(Config::from_pairs(true, &pairs)?)
}

fn explain(error: StartError) -> Box<dyn Error> {
    match error {
        StartError::Listen(address, cause) if cause.kind() == ErrorKind::AddrInUse => {
            let other = address.port().checked_add(1).unwrap_or(8080);
            let other = SocketAddr::new(address.ip(), other);
            format!("{address} is taken by another program. Choose another port: keyholder demo --listen {other}").into()
        }
        StartError::Database(cause) => format!("the demo's database can't be made: {cause}").into(),
        error => error.into(),
    }
}

/// Removes the database of the last demo; its secret and keys are used again.
fn replace_own_file() -> Result<(), Box<dyn Error>> {
    let lock = Path::new(OWN_FILE).with_extension("lock");
    let lock = File::create(&lock).map_err(|error| format!("{} can't be made: {error}", lock.display()))?;
    if matches!(lock.try_lock(), Err(TryLockError::WouldBlock)) {
        return Err(
            format!("another demo uses {OWN_FILE}. Give this one a file of its own: keyholder demo --database FILE").into()
        );
    }
    LOCK.get_or_init(|| lock);
    for end in ["", "-wal", "-shm"] {
        let file = format!("{OWN_FILE}{end}");
        match fs::remove_file(&file) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(format!("{file} can't be replaced: {error}").into()),
            _ => {}
        }
    }
    Ok(())
}
