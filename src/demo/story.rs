//! How the demo's weeks are lived through: each deed is the operation that a client of the API would call.
//!
//! The clock is set back, moved from deed to deed, and set right again at the end, so that every row, event and e-mail has
//! its own believable moment, and every rule (quotas, expiry, seats) was kept at that moment. Nothing is written past the
//! operations.

use super::people::{
    AGENCY, Account, CLIENTS, Client, FIRST_DAY, MEMBERS, MESSAGES, Member, PASSWORD, PROGRAM_DAY, Person, Turn,
};
use crate::{
    accounts,
    actor::Caller,
    app::App,
    connections::{decide, ops as connections},
    error::{Fault, Result, UserError},
    identity::{address, devices::Device, recovery, sign_up},
    invitations::ops as invitations,
    keys::LinkOrId,
    keys::Ticket,
    mail::outbox,
    sweeper,
};
use async_graphql::MaybeUndefined;
use chrono::{NaiveTime, TimeDelta};
use entity::{AccountId, ConnectionId, Moment, UserLevel, account::Plan, session::SessionClient};
use std::collections::HashMap;

/// The minute of the day at which offices open, and for how many minutes they stay open.
const OPENING: i64 = 9 * 60;
const OPEN_FOR: i64 = 8 * 60;

/// Something that happens.
enum Deed {
    Open(&'static Account),
    Invite(&'static Member),
    Join(&'static Member),
    BecomeAgency,
    Ask(&'static Client, &'static str),
    Turn(&'static Client, Turn),
    Expire,
}

/// When it happens: how many days before the start, and at which minute of that day.
type When = (i64, i64);

/// Everything that happens, in order.
fn plot() -> Vec<(When, Deed)> {
    let mut plot = vec![((FIRST_DAY, OPENING), Deed::Open(&AGENCY)), ((PROGRAM_DAY, OPENING), Deed::BecomeAgency)];
    // Spread over the day, without a pattern that meets the eye.
    let minute = |place: i64, step: i64| OPENING + place * step % OPEN_FOR;
    for ((place, client), message) in (0..).zip(CLIENTS).zip(MESSAGES.iter().cycle()) {
        let asked_at = minute(place, 53);
        plot.push(((client.asked + 1 + place % 4, minute(place, 29)), Deed::Open(&client.account)));
        plot.push(((client.asked, asked_at), Deed::Ask(client, message)));
        plot.extend(client.turns.iter().map(|(day, turn)| ((*day, minute(place, 71)), Deed::Turn(client, *turn))));
        plot.extend(client.turns.is_empty().then(|| expiry(client.asked, asked_at)).flatten());
    }
    for (place, member) in (0..).zip(MEMBERS) {
        let invited_at = minute(place, 31);
        plot.push(((member.invited, invited_at), Deed::Invite(member)));
        match member.joined {
            // On the day of the invitation itself, after it.
            Some(day) => plot.push(((day, invited_at + 45), Deed::Join(member))),
            None => plot.extend(expiry(member.invited, invited_at)),
        }
    }
    plot.sort_by_key(|((days, minute), _)| (-days, *minute));
    plot
}

/// The moment just after something that was sent then expires, if that is before today.
fn expiry(sent: i64, minute: i64) -> Option<(When, Deed)> {
    (sent > 7).then_some(((sent - 7, minute + 1), Deed::Expire))
}

/// What the guide needs to know of the filled database.
pub struct Filled {
    accounts: HashMap<&'static str, AccountId>,
    requests: HashMap<&'static str, ConnectionId>,
}

impl Filled {
    /// The id of an account, by its Owner's address.
    pub fn account_of(&self, owner: &Person) -> Result<AccountId> {
        known(&self.accounts, owner.address)
    }

    /// The id of the connection to a client.
    pub fn connection_to(&self, client: &Client) -> Result<ConnectionId> {
        known(&self.requests, client.account.owner.address)
    }
}

fn known<T: Copy>(things: &HashMap<&'static str, T>, address: &str) -> Result<T> {
    things.get(address).copied().ok_or_else(|| Fault::new(format!("the demo's story knows nothing of {address} yet")).into())
}

/// Lives through the whole story; at the end the clock is right again.
pub async fn live(app: &App) -> Result<Filled> {
    let midnight = app.now().date_naive().and_time(NaiveTime::MIN).and_utc();
    let mut story = Story { app, midnight, moved: TimeDelta::zero(), tickets: HashMap::new(), requests: HashMap::new() };
    story.move_by(story.moment((FIRST_DAY, 0)) - app.now());
    for (when, deed) in plot() {
        story.wait_until(when);
        story.perform(deed).await?;
        outbox::send_due(app).await?;
    }
    story.move_by(-story.moved);
    sweeper::sweep(app).await?;
    let accounts = story.tickets.into_iter().filter_map(|(address, ticket)| Some((address, ticket.account?)));
    Ok(Filled { accounts: accounts.collect(), requests: story.requests })
}

struct Story<'a> {
    app: &'a App,
    /// The beginning of today.
    midnight: Moment,
    /// How far the clock was moved.
    moved: TimeDelta,
    /// Who people are once they have signed up, by their addresses.
    tickets: HashMap<&'static str, Ticket>,
    /// The requests for access, by the addresses that were asked.
    requests: HashMap<&'static str, ConnectionId>,
}

impl Story<'_> {
    fn moment(&self, (days, minute): When) -> Moment {
        self.midnight - TimeDelta::days(days) + TimeDelta::minutes(minute)
    }

    fn move_by(&mut self, by: TimeDelta) {
        self.app.clock.advance(by);
        self.moved += by;
    }

    /// Sets the clock ahead, never back: what took long makes the next deed a little later.
    fn wait_until(&mut self, when: When) {
        self.move_by((self.moment(when) - self.app.now()).max(TimeDelta::zero()));
    }

    fn caller(&self, address: &str) -> Result<Caller> {
        known(&self.tickets, address).map(Caller::with)
    }

    /// A person who is about to grant a level. Their session is days old, so that Admin needs their password once more.
    async fn granting(&self, address: &str, level: UserLevel) -> Result<Caller> {
        let caller = self.caller(address)?;
        if level == UserLevel::Admin {
            recovery::reauthenticate(self.app, &caller, Some(PASSWORD), None).await?;
        }
        Ok(caller)
    }

    async fn perform(&mut self, deed: Deed) -> Result<()> {
        match deed {
            Deed::Open(account) => self.open(account).await,
            Deed::Invite(member) => self.invite(member).await,
            Deed::Join(member) => {
                let token = self.newest_token(member.person.address, "invitation")?;
                self.sign_up(&member.person, None, Some(token)).await?;
                self.verify(&member.person).await
            }
            Deed::BecomeAgency => {
                let owner = self.caller(AGENCY.owner.address)?;
                connections::join_partner_program(self.app, &owner).await?;
                connections::enable_client_access(self.app, &owner).await.map(|_| ())
            }
            Deed::Ask(client, message) => self.ask(client, message).await,
            Deed::Turn(client, turn) => self.turn(client, turn).await,
            Deed::Expire => sweeper::sweep(self.app).await,
        }
    }

    async fn sign_up(&mut self, person: &'static Person, account: Option<&str>, invitation_token: Option<String>) -> Result<()> {
        let nobody = Caller::of(self.app, None);
        let signed_up = sign_up::sign_up(
            self.app,
            &nobody,
            sign_up::SignUp {
                email: person.address.to_owned(),
                password: PASSWORD.to_owned(),
                name: person.name.to_owned(),
                username: None,
                account_name: account.map(str::to_owned),
                invitation_token,
                device: Device { client: SessionClient::Web, user_agent: Some("Keyholder demo".to_owned()), token: None },
            },
        );
        let token = signed_up.await?.credentials.access_token;
        let ticket = self.app.keys.read_access_token(&token, self.app.now()).map_err(Fault::new)?.ticket;
        self.tickets.insert(person.address, ticket);
        Ok(())
    }

    /// Signs up, follows the link in the mail some minutes later, and then takes a plan.
    async fn open(&mut self, account: &'static Account) -> Result<()> {
        let owner = &account.owner;
        self.sign_up(owner, Some(account.name), None).await?;
        self.verify(owner).await?;
        if account.plan != Plan::Free {
            self.move_by(TimeDelta::minutes(5));
            accounts::ops::change_plan(self.app, &self.caller(owner.address)?, account.plan).await?;
        }
        Ok(())
    }

    /// Opens the link in the verification e-mail two minutes later, signed in. Whoever was invited as Admin joins then, and acts there.
    async fn verify(&mut self, person: &'static Person) -> Result<()> {
        outbox::send_due(self.app).await?;
        self.move_by(TimeDelta::minutes(2));
        let token = self.newest_token(person.address, "verify_email")?;
        let verified = address::verify_email(self.app, &self.caller(person.address)?, &token, None).await?;
        if let Some(joined) = verified.joined.transpose()? {
            let ticket = known(&self.tickets, person.address)?;
            self.tickets.insert(person.address, Ticket { account: Some(joined.account.id), ..ticket });
        }
        Ok(())
    }

    /// The token of the newest mail of a kind to an address: what a person would read in their mailbox.
    fn newest_token(&self, address: &str, kind: &str) -> Result<String> {
        let mails = self.app.mailer.mailbox().map(|mailbox| mailbox.list(Some(address))).unwrap_or_default();
        let token = mails.iter().find(|mail| mail.kind == kind).and_then(|mail| mail.token.clone());
        token.ok_or_else(|| Fault::new(format!("no {kind} was sent to {address}")).into())
    }

    async fn invite(&self, member: &Member) -> Result<()> {
        let owner = self.granting(owner_of(member.account)?, member.level).await?;
        let message = Some(format!("Hello {}, here is your place in {}.", first_name(member.person.name), member.account));
        let input = invitations::Invite { emails: vec![member.person.address.to_owned()], level: member.level, message };
        let (_, errors) = invitations::invite_users(self.app, &owner, input).await?;
        none_of(errors)
    }

    async fn ask(&mut self, client: &Client, message: &str) -> Result<()> {
        let address = client.account.owner.address;
        let message = Some(format!("Hello {}! {message}", first_name(client.account.owner.name)));
        let input = connections::Request { emails: vec![address.to_owned()], level: Some(client.wants), message };
        let (requests, errors) = connections::request_client_access(self.app, &self.caller(client.by)?, input).await?;
        self.requests.extend(requests.first().map(|request| (address, request.id)));
        none_of(errors)
    }

    async fn turn(&self, client: &Client, turn: Turn) -> Result<()> {
        let id = known(&self.requests, client.account.owner.address)?;
        let actor = if matches!(turn, Turn::AgencyEnds) { client.by } else { client.account.owner.address };
        let (app, caller, named) = (self.app, self.caller(actor)?, LinkOrId::Id(id));
        match turn {
            Turn::Approve(level) => {
                let caller = self.granting(actor, level).await?;
                let approval = decide::Approval { named, account: None, level, until: None };
                decide::approve_client_request(app, &caller, approval).await.map(drop)
            }
            Turn::Decline => decide::decline_client_request(app, &caller, named).await.map(drop),
            Turn::Ceiling(level) => {
                let caller = self.granting(actor, level).await?;
                decide::set_connection_level(app, &caller, id, level, MaybeUndefined::Undefined).await.map(drop)
            }
            Turn::ClientEnds | Turn::AgencyEnds => decide::end_client_connection(app, &caller, id, false).await.map(drop),
        }
    }
}

fn owner_of(account: &str) -> Result<&'static str> {
    let owners = CLIENTS.iter().map(|client| &client.account).chain([&AGENCY]);
    let owner = owners.into_iter().find(|known| known.name == account).map(|known| known.owner.address);
    owner.ok_or_else(|| Fault::new(format!("nobody opens {account}")).into())
}

fn first_name(name: &str) -> &str {
    name.split_once(' ').map_or(name, |(first, _)| first)
}

/// One address at a time was named, so that one error means that nothing was done.
fn none_of(errors: Vec<UserError>) -> Result<()> {
    errors.into_iter().next().map_or(Ok(()), |error| Err(error.into()))
}
