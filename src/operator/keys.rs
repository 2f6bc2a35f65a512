//! `keyholder keys`: listing and rotating the keys that sign access tokens (I3).

use super::Outcome;
use crate::{
    clock::Clock,
    config::Config,
    keyring::{self, KeySource, Keyring, Rotation},
};
use clap::{Arg, ArgAction, ArgMatches, Command};

pub(super) fn command() -> Command {
    let at_once = Arg::new("now").long("now").action(ArgAction::SetTrue).help(
        "A key was lost: the new one signs at once, all others go, and every access token with them; sessions get another one",
    );
    let rotate = Command::new("rotate").about("Make the next key; it signs in ten minutes").arg(at_once);
    let list = Command::new("list").about("List the keys and when each began to sign");
    let keys = Command::new("keys").about("The keys that sign access tokens").subcommand_required(true);
    keys.subcommands([rotate, list].map(Config::flags))
}

pub(super) fn run(command: &str, matches: &ArgMatches, config: &Config) -> Outcome {
    let (clock, source) = (Clock::default(), config.key_source().ok_or("no directory of keys: set KEYHOLDER_KEYS")?);
    if command == "list" {
        let ring = Keyring::load(&source, config.token_algorithm, clock.now())?;
        let signs = ring.signs(clock.now()).map(|key| key.id.clone());
        for key in ring.iter() {
            let mark = if signs.as_ref() == Some(&key.id) { "  signs now" } else { "" };
            println!("{}  {}  from {}{mark}", key.id, key.algorithm.name(), key.from.format("%Y-%m-%d %H:%M:%S UTC"));
        }
        return Ok(());
    }
    match source {
        KeySource::Directory(directory) => {
            let (algorithm, token_ttl) = (config.token_algorithm, config.access_token_ttl);
            let rotation = Rotation { algorithm, token_ttl, at_once: matches.get_flag("now") };
            let done = keyring::rotate(&directory, clock.now(), rotation)?;
            println!("Made {}; it signs from {} on.", done.made.display(), done.from.format("%Y-%m-%d %H:%M:%S UTC"));
            for file in done.removed {
                println!("Removed {}: nothing valid is signed with it.", file.display());
            }
        }
        KeySource::Pem(_) => {
            eprintln!(
                "The keys are in the setting itself: put this one in front, and behind the others once every server has it."
            );
            print!("{}", keyring::new_pem(config.token_algorithm)?);
        }
    }
    Ok(())
}
