//! An account against a model of it: random sequences of what can be done to its users, each answered as the model says, and
//! after each all that must hold at every moment: SPEC L2–L5, L8, U1, U5–U9, U11, E1.

use crate::{
    on_both_databases,
    support::{Place, Reply, TestApp, people::Person},
    users::assert_gapless,
};
use proptest::{
    prelude::*,
    test_runner::{Config, RngSeed, TestRunner},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
};

/// How many people there are; the first owns the account at the beginning.
const PEOPLE: usize = 7;
const LEVELS: [&str; 5] = ["VIEWER", "AUTHOR", "MANAGER", "ADMIN", "OWNER"];
/// The plans with their levels, by their place in [`LEVELS`], and seats.
const PLANS: [(&str, &[usize], usize); 4] =
    [("FREE", &[4], 1), ("ESSENTIALS", &[4, 3], 3), ("STANDARD", &[4, 3, 1, 0], 5), ("PREMIUM", &[4, 3, 2, 1, 0], usize::MAX)];
const ADMIN: usize = 3;
const OWNER: usize = 4;

/// What somebody tries.
#[derive(Clone, Debug)]
enum Step {
    Invite { by: usize, whom: usize, level: usize },
    Accept { whom: usize },
    SetLevel { by: usize, whom: usize, level: usize },
    Suspend { by: usize, whom: usize },
    Reinstate { by: usize, whom: usize },
    Revoke { by: usize, whom: usize },
    Leave { by: usize },
    Transfer { by: usize, whom: usize },
    ChangePlan { by: usize, plan: usize },
    Close { by: usize },
}

/// Steps name people by numbers: the lower ones anybody, the higher ones somebody who can do it, see [`Step::of`].
const ANY: usize = 10 * PEOPLE;

fn step() -> impl Strategy<Value = Step> {
    let two = || (0..ANY, 0..PEOPLE);
    prop_oneof![
        12 => (two(), 0..5usize).prop_map(|((by, whom), level)| Step::Invite { by, whom, level }),
        16 => (0..ANY).prop_map(|whom| Step::Accept { whom }),
        8 => (two(), 0..5usize).prop_map(|((by, whom), level)| Step::SetLevel { by, whom, level }),
        3 => two().prop_map(|(by, whom)| Step::Suspend { by, whom }),
        4 => two().prop_map(|(by, whom)| Step::Reinstate { by, whom }),
        4 => two().prop_map(|(by, whom)| Step::Revoke { by, whom }),
        3 => (0..PEOPLE).prop_map(|by| Step::Leave { by }),
        6 => two().prop_map(|(by, whom)| Step::Transfer { by, whom }),
        6 => (0..ANY, 0..4usize).prop_map(|(by, plan)| Step::ChangePlan { by, plan }),
        1 => (0..ANY).prop_map(|by| if by % 10 == 0 { Step::Close { by } } else { Step::ChangePlan { by, plan: 3 } }),
    ]
}

impl Step {
    /// The same step of people: at random mostly somebody who may try it, so that much is done, and now and then anybody.
    fn of(&self, model: &Model) -> Self {
        let one_of =
            |able: Vec<usize>, n: usize| if n < 2 * PEOPLE || able.is_empty() { n % PEOPLE } else { able[n % able.len()] };
        let admin = |n: &usize| {
            let able = |(who, member): (&usize, &Member)| (member.level >= ADMIN && !member.suspended).then_some(*who);
            one_of(model.members.iter().filter_map(able).collect(), *n)
        };
        match self {
            Self::Invite { by, whom, level } => Self::Invite { by: admin(by), whom: *whom, level: *level },
            Self::Accept { whom } => Self::Accept { whom: one_of(model.pending.keys().copied().collect(), *whom) },
            Self::SetLevel { by, whom, level } => Self::SetLevel { by: admin(by), whom: *whom, level: *level },
            Self::Suspend { by, whom } => Self::Suspend { by: admin(by), whom: *whom },
            Self::Reinstate { by, whom } => Self::Reinstate { by: admin(by), whom: *whom },
            Self::Revoke { by, whom } => Self::Revoke { by: admin(by), whom: *whom },
            Self::Leave { by } => Self::Leave { by: *by },
            Self::Transfer { by, whom } => Self::Transfer { by: admin(by), whom: *whom },
            Self::ChangePlan { by, plan } => Self::ChangePlan { by: admin(by), plan: *plan },
            Self::Close { by } => Self::Close { by: admin(by) },
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Member {
    level: usize,
    suspended: bool,
}

/// The account as it should be.
#[derive(Debug)]
struct Model {
    members: BTreeMap<usize, Member>,
    pending: BTreeMap<usize, usize>,
    plan: usize,
    closed: bool,
}

type Outcome = Result<(), &'static str>;

impl Model {
    fn new() -> Self {
        let members = BTreeMap::from([(0, Member { level: OWNER, suspended: false })]);
        Self { members, pending: BTreeMap::new(), plan: 3, closed: false }
    }

    /// L8, L2: who can't act there, then who may not.
    fn may(&self, by: usize, lowest: usize) -> Outcome {
        let member = self.members.get(&by).filter(|member| !member.suspended && !self.closed).ok_or("ACCOUNT_ACCESS_ENDED")?;
        if member.level >= lowest { Ok(()) } else { Err("FORBIDDEN") }
    }

    fn has_level(&self, level: usize) -> Outcome {
        if PLANS[self.plan].1.contains(&level) { Ok(()) } else { Err("LEVEL_NOT_IN_PLAN") }
    }

    fn holders(&self) -> usize {
        self.members.len() + self.pending.len()
    }

    fn target(&self, by: usize, whom: usize, owner: &'static str, oneself: &'static str) -> Outcome {
        let target = self.members.get(&whom).ok_or("NOT_FOUND")?;
        if target.level == OWNER {
            return Err(owner);
        }
        if by == whom { Err(oneself) } else { Ok(()) }
    }

    /// What a step should come to; done if it is allowed.
    fn take(&mut self, step: &Step) -> Outcome {
        match *step {
            Step::Invite { by, whom, level } => {
                self.may(by, ADMIN)?;
                if level == OWNER {
                    return Err("LEVEL_NOT_ASSIGNABLE");
                }
                self.has_level(level)?;
                if self.members.contains_key(&whom) {
                    return Err("ALREADY_A_USER");
                }
                if self.pending.contains_key(&whom) {
                    return Err("ALREADY_INVITED");
                }
                if self.holders() >= PLANS[self.plan].2 {
                    return Err("NO_SEATS_LEFT");
                }
                self.pending.insert(whom, level);
            }
            Step::Accept { whom } => {
                let level = self.pending.remove(&whom).ok_or("ALREADY_DECIDED")?;
                self.members.insert(whom, Member { level, suspended: false });
            }
            Step::SetLevel { by, whom, level } => {
                self.may(by, ADMIN)?;
                self.members.get(&whom).ok_or("NOT_FOUND")?;
                if level == OWNER {
                    return Err("LEVEL_NOT_ASSIGNABLE");
                }
                self.target(by, whom, "OWNER_LEVEL_IS_FIXED", "CANNOT_CHANGE_OWN_LEVEL")?;
                self.has_level(level)?;
                self.members.entry(whom).and_modify(|member| member.level = level);
            }
            Step::Suspend { by, whom } | Step::Reinstate { by, whom } => {
                self.may(by, ADMIN)?;
                self.target(by, whom, "OWNER_CANNOT_BE_REVOKED", "CANNOT_REVOKE_SELF")?;
                let suspended = matches!(step, Step::Suspend { .. });
                self.members.entry(whom).and_modify(|member| member.suspended = suspended);
            }
            Step::Revoke { by, whom } => {
                self.may(by, ADMIN)?;
                self.target(by, whom, "OWNER_CANNOT_BE_REVOKED", "CANNOT_REVOKE_SELF")?;
                self.members.remove(&whom);
            }
            Step::Leave { by } => {
                self.may(by, 0)?;
                if self.members[&by].level >= ADMIN {
                    return Err("CANNOT_LEAVE");
                }
                self.members.remove(&by);
            }
            Step::Transfer { by, whom } => {
                self.may(by, ADMIN)?;
                let target = self.members.get(&whom).ok_or("NOT_FOUND")?;
                if by == whom || target.level != ADMIN || target.suspended {
                    return Err("NEW_OWNER_MUST_BE_ADMIN");
                }
                let former = *self.members.iter().find(|(_, member)| member.level == OWNER).unwrap().0;
                self.members.entry(former).and_modify(|member| member.level = ADMIN);
                self.members.entry(whom).and_modify(|member| member.level = OWNER);
            }
            Step::ChangePlan { by, plan } => {
                self.may(by, ADMIN)?;
                let (_, levels, seats) = PLANS[plan];
                let held = self.members.values().map(|member| member.level).chain(self.pending.values().copied());
                if plan != self.plan && (self.holders() > seats || held.into_iter().any(|level| !levels.contains(&level))) {
                    return Err("PLAN_TOO_SMALL");
                }
                self.plan = plan;
            }
            Step::Close { by } => {
                self.may(by, ADMIN)?;
                self.pending.clear();
                self.closed = true;
            }
        }
        Ok(())
    }

    /// What must hold whatever was done (L3, L5).
    fn holds(&self) {
        let owners = self.members.values().filter(|member| member.level == OWNER).count();
        assert_eq!(owners, 1, "{self:?}");
        assert!(self.holders() <= PLANS[self.plan].2, "{self:?}");
    }
}

/// The people, with their tokens in the account and the latest invitation of each.
struct World<'a> {
    people: Vec<Person<'a>>,
    there: BTreeMap<usize, Person<'a>>,
    invited: BTreeMap<usize, String>,
    account: String,
}

impl<'a> World<'a> {
    async fn new(app: &'a TestApp) -> Self {
        static CASE: AtomicUsize = AtomicUsize::new(0);
        let case = CASE.fetch_add(1, Ordering::Relaxed);
        let mut people = Vec::new();
        for n in 0..PEOPLE {
            people.push(app.person(&format!("p{n}@case{case}.example")).await);
        }
        people[0].plan("PREMIUM").await.ok();
        // Everyone has a place elsewhere, so that leaving this account erases nobody (U8).
        people[1].plan("PREMIUM").await.ok();
        let invited = people[1].invite(&[&people[0].email], "VIEWER").await;
        let accept = "mutation($i: ID!) { acceptInvitation(input: {invitationId: $i}) { level userErrors { code } } }";
        people[0].ask(accept, json!({ "i": invited.payload()["invitations"][0]["id"] })).await.ok();
        let account = people[0].account.clone();
        Self { there: BTreeMap::from([(0, people[0].clone())]), people, invited: BTreeMap::new(), account }
    }

    /// Does a step, if whoever takes it was ever there; what the server said of it.
    async fn take(&mut self, step: &Step) -> Option<Reply> {
        let id = |whom: usize| self.people[whom].id.as_str();
        let by = |by: &usize| self.there.get(by);
        Some(match step {
            Step::Invite { by: who, whom, level } => {
                let reply = by(who)?.invite(&[&self.people[*whom].email], LEVELS[*level]).await;
                if let Some(id) = reply.0["data"]["inviteUsers"]["invitations"][0]["id"].as_str() {
                    self.invited.insert(*whom, id.to_owned());
                }
                reply
            }
            Step::Accept { whom } => {
                let query = "mutation($i: ID!) { acceptInvitation(input: {invitationId: $i}) { level userErrors { code } } }";
                let reply = self.people[*whom].ask(query, json!({ "i": self.invited.get(whom)? })).await;
                if reply.0["data"]["acceptInvitation"]["level"].is_string() {
                    let person = self.people[*whom].acting_in(&self.account).await;
                    self.there.insert(*whom, person);
                }
                reply
            }
            Step::SetLevel { by: who, whom, level } => by(who)?.assign(id(*whom), LEVELS[*level]).await,
            Step::Suspend { by: who, whom } => by(who)?.keep_out("suspendUser", id(*whom)).await,
            Step::Reinstate { by: who, whom } => by(who)?.keep_out("reinstateUser", id(*whom)).await,
            Step::Revoke { by: who, whom } => by(who)?.revoke(id(*whom)).await,
            Step::Leave { by: who } => {
                by(who)?.ask("mutation { leaveAccount { loginDeleted userErrors { code } } }", Value::Null).await
            }
            Step::Transfer { by: who, whom } => by(who)?.transfer(id(*whom)).await,
            Step::ChangePlan { by: who, plan } => by(who)?.plan(PLANS[*plan].0).await,
            Step::Close { by: who } => {
                let close = "mutation($n: String!) { closeAccount(input: {confirmation: $n}) { accountId userErrors { code } } }";
                by(who)?.ask(close, json!({ "n": "p0's account" })).await
            }
        })
    }

    /// The users and pending invitations, as the server lists them, for the model to be compared with.
    async fn seen(&self, by: usize) -> (Value, usize, usize) {
        let query = "{ account { plan users(first: 100) { nodes { level suspended user { id } } } seats { used reserved } } }";
        let reply = self.there[&by].ask(query, Value::Null).await;
        let account = reply.payload();
        let users: BTreeMap<_, _> = account["users"]["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|node| (node["user"]["id"].as_str().unwrap().to_owned(), json!([node["level"], node["suspended"]])))
            .collect();
        let count = |value: &Value| usize::try_from(value.as_u64().unwrap()).unwrap();
        (
            json!({ "plan": account["plan"], "users": users }),
            count(&account["seats"]["used"]),
            count(&account["seats"]["reserved"]),
        )
    }
}

/// What the server said: done, or why not.
fn told(reply: &Reply) -> Result<(), String> {
    if let Some(code) = reply.codes().first() {
        return Err((*code).to_owned());
    }
    let payload = reply.0["data"].as_object().unwrap().values().next().unwrap();
    match payload["userErrors"][0]["code"].as_str() {
        Some(code) => Err(code.to_owned()),
        None => Ok(()),
    }
}

/// Plays a sequence, and answers how many of its steps were done.
async fn play(app: &TestApp, steps: &[Step]) -> usize {
    let (mut world, mut model, mut done) = (World::new(app).await, Model::new(), 0);
    for (n, step) in steps.iter().enumerate() {
        let step = &step.of(&model);
        let Some(reply) = world.take(step).await else { continue };
        done += usize::from(told(&reply).is_ok());
        let expected = model.take(step).map_err(str::to_owned);
        assert_eq!(told(&reply), expected, "step {n}, {step:?}, of {model:?}: {:?}", reply.0);
        model.holds();
        if model.closed {
            break;
        }
        if n % 10 == 0 || n + 1 == steps.len() {
            let owner = *model.members.iter().find(|(_, member)| member.level == OWNER).unwrap().0;
            let users: BTreeMap<_, _> = model
                .members
                .iter()
                .map(|(who, member)| (world.people[*who].id.clone(), json!([LEVELS[member.level], member.suspended])))
                .collect();
            let expected = json!({ "plan": PLANS[model.plan].0, "users": users });
            assert_eq!(world.seen(owner).await, (expected, model.members.len(), model.pending.len()), "step {n}, {step:?}");
        }
    }
    assert_gapless(app).await;
    done
}

/// L2–L5, U5–U9: thousands of steps, the same ones each time unless `MODEL_SEED` says otherwise; what fails is made as short as it can be.
async fn l5_any_sequence_is_as_the_model_says(place: Place) {
    let app = TestApp::start(
        place,
        &[("invitations_per_day", "1000"), ("mails_per_user_per_day", "100000"), ("sign_in_throttle", "off")],
    )
    .await;
    let seed = std::env::var("MODEL_SEED").map_or(1, |seed| seed.parse().unwrap());
    let config = Config {
        cases: 15,
        max_shrink_iters: 60,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(seed),
        ..Config::default()
    };
    let steps = prop::collection::vec(step(), 200);
    let done = AtomicUsize::new(0);
    let outcome = TestRunner::new(config).run(&steps, |steps| {
        let played = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(play(&app, &steps)));
        done.fetch_add(played, Ordering::Relaxed);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    let done = done.into_inner();
    println!("{done} steps were done, besides those that were refused");
    assert!(done > 500, "{done}");
    app.finish().await;
}

on_both_databases!(on_its_own_servers: l5_any_sequence_is_as_the_model_says);
