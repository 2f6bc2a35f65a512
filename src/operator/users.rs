//! `keyholder user`: who somebody is, their two-factor, and erasing them (I4, U8).

use super::{Outcome, argument, record, told, user};
use crate::{
    app::App,
    config::Config,
    db::Sql,
    error::Result,
    identity::{erasure, two_factor},
};
use clap::{Arg, ArgMatches, Command};
use entity::{AccountId, UserLevel, user};

pub(super) fn command() -> Command {
    let login = || Arg::new("login").required(true).value_name("LOGIN").help("The user's e-mail address or username");
    let show = Command::new("show").about("Show a user, and where they can act").arg(login());
    let reset = Command::new("reset-two-factor").about("Switch two-factor off for who has lost the device and the codes");
    let erase = Command::new("erase").about("Erase a user who owns no open account: name, address and login are gone");
    let users = Command::new("user").about("Support work for a user").subcommand_required(true);
    users.subcommands([show, reset.arg(login()), erase.arg(login())].map(Config::flags))
}

pub(super) async fn run(app: &App, command: &str, matches: &ArgMatches) -> Outcome {
    let user = user(app, argument(matches, "login")).await?;
    let outcome = act(app, command, &user).await;
    record(app, format!("user {command}"), Some(user.id), None, outcome.is_ok());
    outcome
}

async fn act(app: &App, command: &str, user: &user::Model) -> Outcome {
    match command {
        "show" => show(app, user).await.map_err(told),
        "erase" => {
            erasure::erase_by_operator(app, user.id).await.map_err(told)?;
            println!("{} ({}) is erased; what is left is the id.", user.username, user.id);
            Ok(())
        }
        _ => {
            if two_factor::reset(app, user.id).await.map_err(told)? {
                println!("Two-factor is off for {} ({}). An e-mail tells them, once a server runs.", user.username, user.id);
            } else {
                println!("Two-factor was off for {} ({}) already.", user.username, user.id);
            }
            Ok(())
        }
    }
}

async fn show(app: &App, user: &user::Model) -> Result<()> {
    let verified = if user.email_verified_at.is_some() { "verified" } else { "not verified" };
    let sessions = Sql::new("SELECT count(*) FROM sessions WHERE ended_at IS NULL AND user_id = ").bind(user.id);
    let facts = [
        ("user", user.id.to_string()),
        ("name", user.name.clone()),
        ("username", user.username.clone()),
        ("e-mail", format!("{}, {verified}", user.email)),
        ("signed up", user.created_at.format("%Y-%m-%d %H:%M UTC").to_string()),
        ("two-factor", if user.two_factor_since.is_some() { "on" } else { "off" }.to_owned()),
        ("sessions", sessions.count(app.reader()).await?.to_string()),
    ];
    for (name, value) in facts {
        println!("{name:<12}  {value}");
    }
    let sql = Sql::new(
        "SELECT a.id, a.name, m.level, m.suspended_at IS NOT NULL FROM members m JOIN accounts a ON a.id = m.account_id AND a.status = 'active' WHERE m.user_id = ",
    );
    let read = |row: &sea_orm::QueryResult| {
        let (id, name): (AccountId, String) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
        Ok((id, name, row.try_get_by_index::<UserLevel>(2)?, row.try_get_by_index::<bool>(3)?))
    };
    for (id, name, level, suspended) in
        sql.bind(user.id).push(" ORDER BY m.level DESC, a.name_key").all(app.reader(), read).await?
    {
        let rests = if suspended { ", suspended" } else { "" };
        println!("{:<12}  {id}  {}{rests}  {name}", "acts in", level.title());
    }
    Ok(())
}
