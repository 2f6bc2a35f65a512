//! What the demo prints: who one can be, and commands that work as they stand.
//!
//! The words are in `guide.txt`, since most of them are for a shell; here they get their addresses, names and ids.

use super::{
    people::{AGENCY, Account, CLIENTS, Client, MEMBERS, Member, PASSWORD, Person, VISITED},
    story::Filled,
};
use crate::{
    error::{Fault, Result, level_name},
    http::graphiql::{self, Cast},
};
use entity::UserLevel;
use std::{net::SocketAddr, path::Path};

const WORDS: &str = include_str!("guide.txt");

/// The whole guide.
pub fn text(filled: &Filled, address: SocketAddr, file: &Path) -> Result<String> {
    let visited = CLIENTS.iter().find(|client| client.account.name == VISITED);
    let (Some(visited), Some(pending)) = (visited, pending().next()) else {
        return Err(Fault::new("the demo has too few clients").into());
    };
    let values = [
        ("address", address.to_string()),
        ("file", file.display().to_string()),
        ("password", PASSWORD.to_owned()),
        ("people", people(filled)?),
        ("counts", counts()),
        ("owner", AGENCY.owner.address.to_owned()),
        ("client", VISITED.to_owned()),
        ("clientId", filled.account_of(&visited.account.owner)?.to_string()),
        ("clientOwner", pending.account.owner.address.to_owned()),
        ("clientOwnerName", pending.account.owner.name.to_owned()),
        ("connectionId", filled.connection_to(pending)?.to_string()),
        ("level", level_name(pending.wants)),
    ];
    Ok(values.iter().fold(WORDS.to_owned(), |text, (name, value)| text.replace(&format!("{{{{{name}}}}}"), value)))
}

/// Who one can be at a click: the agency's people, who have requests to answer, and those of the client that let it in.
pub fn cast() -> Cast {
    let own = |account: &'static Account| as_one(&account.owner, UserLevel::Owner, account.name);
    let of = |account| members(account).map(|member| as_one(&member.person, member.level, member.account));
    let visited = CLIENTS.iter().filter(|client| client.account.name == VISITED).map(|client| own(&client.account));
    let people = std::iter::once(own(&AGENCY)).chain(of(AGENCY.name));
    let people = people.chain(pending().map(|client| own(&client.account))).chain(visited).chain(of(VISITED));
    Cast { people: people.collect(), password: Some(PASSWORD) }
}

fn as_one(person: &Person, level: UserLevel, account: &'static str) -> graphiql::Person {
    graphiql::Person { name: person.name, login: person.address, level: level_name(level), account }
}

fn pending() -> impl Iterator<Item = &'static Client> {
    CLIENTS.iter().filter(|client| client.outcome() == "pending")
}

/// The people one can be, by what they are.
fn people(filled: &Filled) -> Result<String> {
    let mut lines = vec![line("Owner", &AGENCY.owner, AGENCY.name)];
    lines.extend(members(AGENCY.name).map(|member| line(member.level.title(), &member.person, "")));
    lines.push("\nOf its clients, these have a request to answer (behind the account: the connection's id):\n".to_owned());
    for client in pending() {
        let about = format!("{}: {}", client.account.name, filled.connection_to(client)?);
        lines.push(line("Owner", &client.account.owner, &about));
    }
    lines.push(format!("\nAnd {VISITED}, which has let the agency in, has users at every level. Besides its Owner:\n"));
    lines.extend(members(VISITED).map(|member| line(member.level.title(), &member.person, "")));
    Ok(lines.join("\n"))
}

fn members(account: &'static str) -> impl Iterator<Item = &'static Member> {
    MEMBERS.iter().filter(move |member| member.account == account)
}

fn line(level: &str, Person { name, address }: &Person, about: &str) -> String {
    format!("  {level:<7}  {name:<14}  {address:<29}  {about}").trim_end().to_owned()
}

/// How many clients stand where.
fn counts() -> String {
    let count = |outcome| CLIENTS.iter().filter(|client| client.outcome() == outcome).count();
    let parts = ["active", "pending", "declined", "expired", "ended"].map(|outcome| format!("{} {outcome}", count(outcome)));
    format!("{} clients: {}", CLIENTS.len(), parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_the_clients() {
        assert!(counts().starts_with("40 clients: ") && counts().contains(" 3 pending,"), "{}", counts());
    }
}
