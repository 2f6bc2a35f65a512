//! People: they sign up, ask and act as clients do, over HTTP.

use super::{Reply, TestApp, socket::Socket};
use serde_json::{Value, json};

/// The password of everyone.
pub const PASSWORD: &str = "a long walk by the sea";

/// What every sign-in answers, as the stories ask for it.
const SIGNED_IN: &str =
    "deviceToken user { id } account { id } credentials { accessToken refreshToken } userErrors { code message field }";

/// Somebody who is signed in.
#[derive(Clone)]
pub struct Person<'a> {
    pub app: &'a TestApp,
    pub email: String,
    pub token: String,
    pub refresh: String,
    pub id: String,
    /// The token of the device that signed in; blank if it was known.
    pub device: String,
    /// The account that the token acts in.
    pub account: String,
}

impl TestApp {
    /// Somebody new with a verified address and a Free account of their own, called as their address says.
    pub async fn person(&self, email: &str) -> Person<'_> {
        let person = self.newcomer(email).await;
        person.verify().await.ok();
        person
    }

    /// Somebody new who has not verified their address.
    pub async fn newcomer(&self, email: &str) -> Person<'_> {
        let name = email.split('@').next().unwrap();
        let query = format!("mutation($i: SignUpInput!) {{ signUp(input: $i) {{ {SIGNED_IN} }} }}");
        let input = json!({ "email": email, "password": PASSWORD, "name": name, "accountName": format!("{name}'s account") });
        Person::of(self, email, self.ask(&query, json!({ "i": input })).await.payload())
    }

    /// Somebody who has signed up before.
    pub async fn sign_in(&self, email: &str) -> Person<'_> {
        let query =
            format!("mutation($l: String!, $p: String!) {{ signIn(input: {{login: $l, password: $p}}) {{ {SIGNED_IN} }} }}");
        Person::of(self, email, self.ask(&query, json!({ "l": email, "p": PASSWORD })).await.payload())
    }

    /// An agency's Owner, with client access enabled, on the Premium plan.
    pub async fn agency(&self, email: &str) -> Person<'_> {
        let owner = self.person(email).await;
        owner.plan("PREMIUM").await;
        let query = "mutation { joinPartnerProgram { userErrors { code } } enableClientAccess { userErrors { code } } }";
        owner.ask(query, Value::Null).await.ok();
        owner
    }
}

impl<'a> Person<'a> {
    pub fn of(app: &'a TestApp, email: &str, signed_in: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Self {
            app,
            email: email.to_owned(),
            token: text(&signed_in["credentials"]["accessToken"]),
            refresh: text(&signed_in["credentials"]["refreshToken"]),
            id: text(&signed_in["user"]["id"]),
            device: text(&signed_in["deviceToken"]),
            account: text(&signed_in["account"]["id"]),
        }
    }

    /// Asks a document.
    pub async fn ask(&self, query: &str, variables: Value) -> Reply {
        self.app.ask_as(Some(&self.token), query, variables).await
    }

    /// Signs in anew, on another device.
    pub async fn sign_in(&self) -> Person<'a> {
        self.app.sign_in(&self.email).await
    }

    pub async fn plan(&self, plan: &str) -> Reply {
        let query = "mutation($p: Plan!) { changePlan(input: {plan: $p}) { account { plan } userErrors { code message field blockers { id } } } }";
        self.ask(query, json!({ "p": plan })).await
    }

    pub async fn invite(&self, emails: &[&str], level: &str) -> Reply {
        let query = "mutation($i: InviteUsersInput!) { inviteUsers(input: $i) \
                     { invitations { id email level status expiresAt } userErrors { code message field value retryAt } } }";
        self.ask(query, json!({ "i": { "emails": emails, "level": level } })).await
    }

    /// Verifies the address with the link in the latest mail and this person's own session.
    pub async fn verify(&self) -> Reply {
        self.verify_at(&self.email).await
    }

    /// The same with the latest mail to another address.
    pub async fn verify_at(&self, email: &str) -> Reply {
        let query = "mutation($t: String!) { verifyEmail(input: {token: $t}) \
                     { user { id } joinedAccount { id } joinError { code field } userErrors { code message field } } }";
        self.ask(query, json!({ "t": self.app.token_to(email, "verify_email").await })).await
    }

    /// A new colleague with a verified address who joins this person's account at a level, and acts in it.
    pub async fn colleague(&self, email: &str, level: &str) -> Person<'a> {
        self.invite(&[email], level).await.ok();
        let token = self.app.token_to(email, "invitation").await;
        let query = format!("mutation($i: SignUpInput!) {{ signUp(input: $i) {{ {SIGNED_IN} }} }}");
        let name = email.split('@').next().unwrap();
        let input = json!({ "email": email, "password": PASSWORD, "name": name, "invitationToken": token });
        let person = Person::of(self.app, email, self.app.ask(&query, json!({ "i": input })).await.payload());
        // An Admin joins with the verification.
        match person.verify().await.payload()["joinedAccount"]["id"].as_str() {
            Some(account) => person.acting_in(account).await,
            None => person,
        }
    }

    /// Gives another user of the account a level.
    pub async fn assign(&self, user: &str, level: &str) -> Reply {
        let query = "mutation($u: ID!, $l: UserLevel!) { setUserLevel(input: {userId: $u, level: $l}) { user { level } userErrors { code field } } }";
        self.ask(query, json!({ "u": user, "l": level })).await
    }

    /// Ends another user's access to the account.
    pub async fn revoke(&self, user: &str) -> Reply {
        let query = "mutation($u: ID!) { revokeUser(input: {userId: $u}) { userId userErrors { code field } } }";
        self.ask(query, json!({ "u": user })).await
    }

    /// Keeps another user out, or lets them in again: `suspendUser`, `reinstateUser`.
    pub async fn keep_out(&self, mutation: &str, user: &str) -> Reply {
        let query = format!(
            "mutation($u: ID!) {{ {mutation}(input: {{userId: $u}}) {{ user {{ suspended }} userErrors {{ code field }} }} }}"
        );
        self.ask(&query, json!({ "u": user })).await
    }

    /// Makes another user the account's Owner.
    pub async fn transfer(&self, user: &str) -> Reply {
        let query =
            "mutation($u: ID!) { transferOwnership(input: {userId: $u}) { account { owner { id } } userErrors { code field } } }";
        self.ask(query, json!({ "u": user })).await
    }

    /// Makes an API key that acts here as this person.
    pub async fn api_key(&self) -> String {
        let made =
            self.ask("mutation { createApiKey(input: {name: \"import\"}) { secret userErrors { code } } }", Value::Null).await;
        made.payload()["secret"].as_str().unwrap().to_owned()
    }

    /// The kinds of what happened in the account, newest first, as its Owner reads them.
    pub async fn log(&self, kinds: &str) -> Vec<Value> {
        let query =
            format!("{{ account {{ auditLog(kinds: [{kinds}]) {{ nodes {{ kind summary before after actor {{ id }} }} }} }} }}");
        self.ask(&query, Value::Null).await.payload()["auditLog"]["nodes"].as_array().unwrap().clone()
    }

    pub async fn request(&self, emails: &[&str]) -> Reply {
        let query = "mutation($i: RequestClientAccessInput!) { requestClientAccess(input: $i) \
                     { connections { id status clientEmail requestedLevel } userErrors { code message field value retryAt } } }";
        self.ask(query, json!({ "i": { "emails": emails, "level": "MANAGER", "message": "We run your newsletter." } })).await
    }

    /// The id of a new request to one address.
    pub async fn request_one(&self, email: &str) -> String {
        self.request(&[email]).await.payload()["connections"][0]["id"].as_str().unwrap().to_owned()
    }

    pub async fn approve(&self, connection: &str, level: &str) -> Reply {
        let query = "mutation($i: ApproveClientRequestInput!) { approveClientRequest(input: $i) \
                     { connection { id status level client { id } } userErrors { code message field } } }";
        self.ask(query, json!({ "i": { "connectionId": connection, "level": level } })).await
    }

    /// Asks this client, who approves: the connection's id.
    pub async fn connect(&self, client: &Person<'_>, level: &str) -> String {
        let connection = self.request_one(&client.email).await;
        client.approve(&connection, level).await.ok();
        connection
    }

    pub async fn end(&self, connection: &str) -> Reply {
        let query = "mutation($c: ID!) { endClientConnection(input: {connectionId: $c}) { connection { status } userErrors { code message field } } }";
        self.ask(query, json!({ "c": connection })).await
    }

    pub async fn set_level(&self, connection: &str, level: &str) -> Reply {
        let query = "mutation($i: SetConnectionLevelInput!) { setConnectionLevel(input: $i) { connection { level } userErrors { code message field } } }";
        self.ask(query, json!({ "i": { "connectionId": connection, "level": level } })).await
    }

    pub async fn switch(&self, account: &str) -> Reply {
        let query = "mutation($a: ID!) { switchAccount(input: {accountId: $a}) \
                     { account { id name } level via { id } credentials { accessToken refreshToken } userErrors { code message field } } }";
        self.ask(query, json!({ "a": account })).await
    }

    /// The same person, in the same session, acting in another account.
    pub async fn acting_in(&self, account: &str) -> Person<'a> {
        let reply = self.switch(account).await;
        let token = reply.payload()["credentials"]["accessToken"].as_str().unwrap().to_owned();
        Person { token, account: account.to_owned(), ..self.clone() }
    }

    /// The viewer's level, by a request of its own.
    pub async fn level(&self) -> Option<String> {
        let reply = self.ask("{ viewer { level } }", Value::Null).await;
        reply.payload()["level"].as_str().map(str::to_owned)
    }

    /// A socket that speaks for this person.
    pub async fn socket(&self) -> Socket {
        let mut socket = Socket::open(&self.app.url).await;
        socket.init(json!({ "authorization": format!("Bearer {}", self.token) })).await;
        socket
    }
}
