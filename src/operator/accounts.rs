//! `keyholder account`: finding accounts, their plan (L4), and giving one to another Owner (U9).

use super::{Outcome, argument, record, told, user};
use crate::{
    accounts::{ops, ownership, undo},
    app::{App, Happening},
    config::Config,
    db::{Sql, by_id, contains, model, select},
    error::{Error, Result, UserError, UserErrorCode},
    users::rules::{may_govern, may_own},
};
use clap::{Arg, ArgAction, ArgMatches, Command, builder::PossibleValuesParser};
use entity::{
    AccountId, LogId, Moment, NodeId, UserLevel,
    account::{self, AccountStatus, Plan},
    event::EventKind,
    mail::MailKind,
    user,
};

/// How many accounts a list shows.
const LISTED: u32 = 100;

pub(super) fn command() -> Command {
    let id = || Arg::new("account").required(true).value_name("ACCOUNT").help("The account's id, such as account_01h…");
    let search = Arg::new("search").long("search").value_name("TEXT").help("Only those with this in their name");
    let list = Command::new("list").about("List accounts by name").arg(search);
    let show = Command::new("show").about("Show an account").arg(id());
    let plan = Arg::new("plan").required(true).value_name("PLAN").ignore_case(true);
    let plan = plan.value_parser(PossibleValuesParser::new(Plan::ALL.map(Plan::title))).help("The plan to take");
    let force = Arg::new("force").long("force").action(ArgAction::SetTrue);
    let force = force.help("Even if it is too small for who is there: nobody is dropped, and nobody else can join");
    let set_plan = Command::new("set-plan").about("Take another plan").args([id(), plan, force]);
    let owner = Arg::new("login").required(true).value_name("LOGIN").help("An Admin's e-mail address or username");
    let transfer = Command::new("transfer").about("Make an Admin the Owner; the Owner becomes an Admin").args([id(), owner]);
    let accounts = Command::new("account").about("Support work for an account").subcommand_required(true);
    accounts.subcommands([list, show, set_plan, transfer].map(Config::flags))
}

pub(super) async fn run(app: &App, command: &str, matches: &ArgMatches) -> Outcome {
    if command == "list" {
        return list(app, matches.get_one::<String>("search").map(String::as_str)).await.map_err(told);
    }
    let id: AccountId = argument(matches, "account").parse()?;
    let next = if command == "transfer" { Some(user(app, argument(matches, "login")).await?) } else { None };
    let known = by_id::<account::Entity>(app.reader(), id).await.map_err(told)?.ok_or_else(|| told(no_account(id)))?;
    let concerned = next.as_ref().map(|next| next.id);
    let outcome = act(app, command, known.id, (matches, next)).await;
    record(app, format!("account {command}"), concerned, Some(id), outcome.is_ok());
    outcome
}

async fn act(app: &App, command: &str, id: AccountId, (matches, next): (&ArgMatches, Option<user::Model>)) -> Outcome {
    match command {
        "show" => show(app, id).await.map_err(told),
        "set-plan" => {
            let wanted = argument(matches, "plan");
            let plan =
                Plan::ALL.into_iter().find(|plan| plan.title().eq_ignore_ascii_case(wanted)).ok_or("there is no such plan")?;
            match set_plan(app, id, plan, matches.get_flag("force")).await {
                Ok(before) => println!("{id} is on the {} plan now; it was on {}.", plan.title(), before.title()),
                Err(Error::User(error)) if error.code == UserErrorCode::PlanTooSmall => {
                    return Err(too_small(app, plan, &error.blockers).await.map_err(told)?.into());
                }
                Err(error) => return Err(told(error)),
            }
            Ok(())
        }
        _ => {
            let next = next.ok_or("give the new Owner's login")?;
            let (former, next) = transfer(app, id, next).await.map_err(told)?;
            println!("{next} owns {id} now; {former} is an Admin there. The Owner and all Admins are told, once a server runs.");
            Ok(())
        }
    }
}

async fn list(app: &App, search: Option<&str>) -> Result<()> {
    let sql = Sql::new("SELECT a.id, a.name, a.plan, a.status, u.username FROM accounts a JOIN users u ON u.id = a.owner_id");
    let sql = match search.map(contains).transpose()? {
        Some(part) => sql.push(" WHERE a.name_key LIKE ").bind(part).push(" ESCAPE '\\'"),
        None => sql,
    };
    let read = |row: &sea_orm::QueryResult| {
        let (id, name): (AccountId, String) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
        let (plan, status): (Plan, AccountStatus) = (row.try_get_by_index(2)?, row.try_get_by_index(3)?);
        Ok((id, name, plan, status, row.try_get_by_index::<String>(4)?))
    };
    let rows = sql.push(&format!(" ORDER BY a.name_key, a.id LIMIT {}", LISTED + 1)).all(app.reader(), read).await?;
    for (id, name, plan, status, owner) in rows.iter().take(LISTED as usize) {
        record(app, "account list".to_owned(), None, Some(*id), true);
        let closed = if *status == AccountStatus::Closed { "  closed" } else { "" };
        println!("{id}  {:<10}  {owner:<24}  {name}{closed}", plan.title());
    }
    if rows.len() > LISTED as usize {
        eprintln!("These are the first {LISTED}: look for others with --search.");
    }
    Ok(())
}

fn no_account(id: AccountId) -> Error {
    UserError::new(UserErrorCode::NotFound, format!("there is no account {id}")).into()
}

async fn show(app: &App, id: AccountId) -> Result<()> {
    let db = app.reader();
    let row: Option<account::Model> = select::<account::Entity>("a").push(" WHERE a.id = ").bind(id).one(db, model("a")).await?;
    let row = row.ok_or_else(|| no_account(id))?;
    let owner: Option<user::Model> =
        select::<user::Entity>("u").push(" WHERE u.id = ").bind(row.owner_id).one(db, model("u")).await?;
    let count = async |text: &str| Sql::new(text).bind(id).count(db).await;
    let users = count("SELECT count(*) FROM members WHERE account_id = ").await?;
    let suspended = count("SELECT count(*) FROM members WHERE suspended_at IS NOT NULL AND account_id = ").await?;
    let pending = Sql::new("SELECT count(*) FROM invitations WHERE status = 'pending' AND expires_at > ").bind(app.now());
    let pending = pending.push(" AND account_id = ").bind(id).count(db).await?;
    let clients = count("SELECT count(*) FROM connections WHERE status = 'active' AND agency_id = ").await?;
    let agencies = count("SELECT count(*) FROM connections WHERE status = 'active' AND client_id = ").await?;
    let keys = count("SELECT count(*) FROM api_keys WHERE account_id = ").await?;
    let owner =
        owner.map_or_else(String::new, |owner| format!("{} <{}>, {}, {}", owner.name, owner.email, owner.username, owner.id));
    let status = if row.status == AccountStatus::Active { "open" } else { "closed" };
    let facts = [
        ("account", row.id.to_string()),
        ("name", row.name),
        ("status", status.to_owned()),
        ("opened", row.created_at.format("%Y-%m-%d %H:%M UTC").to_string()),
        ("plan", row.plan.title().to_owned()),
        ("seats", row.plan.seats().map_or_else(|| "no limit".to_owned(), |seats| seats.to_string())),
        ("owner", owner),
        ("users", format!("{users}, {suspended} of them suspended")),
        ("pending invitations", pending.to_string()),
        ("clients", clients.to_string()),
        ("agencies", agencies.to_string()),
        ("API keys", keys.to_string()),
        ("two-factor required", if row.two_factor_required { "yes" } else { "no" }.to_owned()),
    ];
    for (name, value) in facts {
        println!("{name:<20}  {value}");
    }
    Ok(())
}

/// Takes a plan as the operator (L4). Answers the one before.
pub async fn set_plan(app: &App, id: AccountId, plan: Plan, force: bool) -> Result<Plan> {
    app.tx(async |tx| {
        tx.hold(vec![id.into()]).await?;
        let account = open_account(tx, id).await?;
        if !force {
            ops::needs_room(tx, &account, plan).await?;
        }
        ops::set_plan(tx, &account, plan, Happening::by_operator(EventKind::PlanChanged, id.0)).await?;
        Ok(account.plan)
    })
    .await
}

async fn open_account(tx: &crate::app::Tx, id: AccountId) -> Result<account::Model> {
    let account: Option<account::Model> = by_id::<account::Entity>(tx.db(), id).await?;
    account.filter(|account| account.status == AccountStatus::Active).ok_or_else(|| no_account(id))
}

/// Who is in the way of a plan, by name.
async fn too_small(app: &App, plan: Plan, blockers: &[NodeId]) -> Result<String> {
    let members = blockers.iter().filter_map(|node| if let NodeId::Member(id) = node { Some(*id) } else { None });
    let sql = Sql::new("SELECT u.username, m.level FROM members m JOIN users u ON u.id = m.user_id WHERE m.id IN ").list(members);
    let line = |row: &sea_orm::QueryResult| {
        let (name, level): (String, UserLevel) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
        Ok(format!("  {name}, {}", level.title()))
    };
    let mut lines = sql.push(" ORDER BY m.id").all(app.reader(), line).await?;
    let invited = blockers.iter().filter_map(|node| if let NodeId::Invitation(id) = node { Some(*id) } else { None });
    let sql = Sql::new("SELECT email, level FROM invitations WHERE id IN ").list(invited).push(" ORDER BY id");
    lines.extend(sql.all(app.reader(), line).await?.into_iter().map(|line| format!("{line}, invited")));
    let head = format!("the {} plan is too small for these; --force takes it all the same, and drops nobody:", plan.title());
    Ok(format!("{head}\n{}", lines.join("\n")))
}

/// Makes an Admin the Owner as the operator (U9). Answers the former Owner's username and the new one's.
pub async fn transfer(app: &App, id: AccountId, next: user::Model) -> Result<(String, String)> {
    app.tx(async |tx| {
        let admins = ownership::admins(tx, id).await?;
        tx.hold(admins.iter().copied().map(LogId::from).chain([id.into(), next.id.into()]).collect()).await?;
        let account = open_account(tx, id).await?;
        let unknown = || UserError::new(UserErrorCode::NotFound, format!("{} is no user of {id}", next.username));
        let target = crate::actor::member_of(tx, id, next.id).await?.ok_or_else(unknown)?;
        may_own(account.owner_id, &target)?;
        may_govern(&crate::identity::ops::find_user(tx, next.id).await?, UserLevel::Owner)?;
        let event = ownership::give(tx, &account, next.id, |former| {
            Happening::by_operator(EventKind::OwnershipTransferred, next.id.0).from(former.to_string()).to(next.id.to_string())
        })
        .await?;
        // The operator's decision is final, whatever an Admin asked for before.
        undo::settle_since(tx, id, Moment::UNIX_EPOCH).await?;
        ownership::tell_admins(tx, id, MailKind::OwnershipTransferred, event).await?;
        let former = crate::identity::ops::find_user(tx, account.owner_id).await?;
        Ok((former.username, next.username.clone()))
    })
    .await
}
