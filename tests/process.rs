//! The program itself, as an operator runs it: SPEC R1–R5, E3, THREATS 61.

use crate::{
    on_both_databases,
    support::{Heard, Place, SECRET, eventually, people::PASSWORD, socket::CONNECTIONS, socket::Socket},
};
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

pub fn keyholder(place: &Place) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyholder"));
    command.current_dir(place.directory()).env_clear().env("KEYHOLDER_SECRET", SECRET);
    command.env("DATABASE_URL", place.database_url()).env("KEYHOLDER_KEYS", "keys");
    command
}

pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A server in a process of its own; killed with the test.
pub struct Process {
    child: Child,
    pub url: String,
    /// All that it has said.
    said: Arc<Mutex<String>>,
}

impl Process {
    /// Starts it and waits until it says where it listens.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let (tell, told) = std::sync::mpsc::channel();
        let said = Arc::<Mutex<String>>::default();
        for lines in [Box::new(out) as Box<dyn std::io::Read + Send>, Box::new(err)] {
            let (tell, said) = (tell.clone(), Arc::clone(&said));
            std::thread::spawn(move || {
                for line in BufReader::new(lines).lines().map_while(Result::ok) {
                    *said.lock().unwrap() += &format!("{line}\n");
                    if let Some((_, rest)) = line.split_once("http://127.0.0.1:") {
                        let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
                        let _ = tell.send(format!("http://127.0.0.1:{port}"));
                    }
                }
            });
        }
        let url = told.recv_timeout(crate::support::PATIENCE * 3).unwrap();
        Self { child, url, said }
    }

    /// As `keyholder serve --dev`, on a place.
    pub fn serve(place: &Place, env: &[(&str, &str)]) -> Self {
        let serve = ["serve", "--dev", "--listen", "127.0.0.1:0", "--issuer", "test"];
        Self::start(keyholder(place).args(serve).envs(env.iter().copied()))
    }

    /// All that it has said so far.
    pub fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// The Owner of a new agency: their token.
    pub async fn agency(&self, http: &reqwest::Client) -> String {
        let sign_up = "mutation($p: String!) { signUp(input: {email: \"ann@x.example\", password: $p, name: \"Ann\"}) { credentials { accessToken } } }";
        let answer = self.ask(http, None, sign_up, json!({ "p": PASSWORD })).await.unwrap();
        let token = answer["data"]["signUp"]["credentials"]["accessToken"].as_str().unwrap().to_owned();
        let mail = eventually("the mail is sent", async || {
            let mails: Vec<Value> = http.get(format!("{}/mailbox.json", self.url)).send().await.unwrap().json().await.unwrap();
            mails.into_iter().next()
        })
        .await;
        let verify = "mutation($t: String!) { verifyEmail(input: {token: $t}) { userErrors { code } } joinPartnerProgram { userErrors { code } } enableClientAccess { userErrors { code } } }";
        self.ask(http, Some(&token), verify, json!({ "t": mail["token"] })).await.unwrap();
        token
    }

    async fn request(&self, http: &reqwest::Client, token: &str, email: &str) -> Value {
        let query =
            "mutation($e: String!) { requestClientAccess(input: {emails: [$e]}) { connections { id } userErrors { code } } }";
        self.ask(http, Some(token), query, json!({ "e": email })).await.unwrap()
    }

    /// The addresses that were asked, newest first.
    async fn asked(&self, http: &reqwest::Client, token: &str) -> Vec<String> {
        let query = "{ account { clientConnections { nodes { clientEmail } } } }";
        let answer = self.ask(http, Some(token), query, Value::Null).await.unwrap();
        let nodes = answer["data"]["account"]["clientConnections"]["nodes"].as_array().unwrap().clone();
        nodes.iter().map(|node| node["clientEmail"].as_str().unwrap().to_owned()).collect()
    }

    pub async fn ask(&self, http: &reqwest::Client, token: Option<&str>, query: &str, variables: Value) -> Option<Value> {
        let mut request = http.post(format!("{}/graphql", self.url)).json(&json!({ "query": query, "variables": variables }));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        request.send().await.ok()?.json().await.ok()
    }
}

impl Drop for Process {
    /// SIGKILL: what a server owes to nobody but its database.
    fn drop(&mut self) {
        // One that has stopped by itself is gone already.
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }
}

/// R1, R4: a wrong setting stops the start with a sentence that names it.
async fn r4_a_wrong_setting_is_named(place: Place) {
    let run = |arguments: &[&str], env: &[(&str, &str)]| {
        let output = keyholder(&place).args(arguments).envs(env.iter().copied()).output().unwrap();
        assert!(!output.status.success(), "{arguments:?}");
        said(&output)
    };
    assert!(run(&["serve"], &[]).contains("SMTP_URL"), "R1: mail has to go somewhere");
    assert!(run(&["serve", "--dev", "--listen", "0.0.0.0:0"], &[]).contains("loopback"), "R1: --dev is for this machine");
    assert!(run(&["serve", "--dev"], &[("KEYHOLDER_LISTEN", "nonsense")]).contains("KEYHOLDER_LISTEN"));
    assert!(run(&["serve", "--dev", "--request-ttl", "soon"], &[]).contains("--request-ttl"));
    std::fs::write(place.directory().join("cut.secret"), "").unwrap();
    let cut =
        run(&["serve", "--dev", "--listen", "127.0.0.1:0"], &[("KEYHOLDER_SECRET", ""), ("DATABASE_URL", "sqlite://cut.db")]);
    assert!(cut.contains("cut.secret"), "a secret that was cut short makes links that anybody can make: {cut}");
    assert!(run(&["serve", "--dev"], &[("DATABASE_URL", "mysql://x")]).contains("DATABASE_URL"));
    assert!(run(&["serve", "--dev", "--config", "missing.toml"], &[]).contains("missing.toml"));
    std::fs::write(place.directory().join("wrong.toml"), "listem = \"127.0.0.1:0\"\n").unwrap();
    assert!(run(&["serve", "--dev", "--config", "wrong.toml"], &[]).contains("listem"));
    place.remove().await;
}

/// R4: `schema` prints the SDL, and `migrate` brings a database up to date, once.
async fn r4_schema_and_migrate(place: Place) {
    let printed = keyholder(&place).arg("schema").output().unwrap();
    assert_eq!(String::from_utf8(printed.stdout).unwrap(), include_str!("../schema.graphql"));
    let first = keyholder(&place).arg("migrate").output().unwrap();
    assert!(said(&first).contains("Applied 0001"), "{}", said(&first));
    let second = keyholder(&place).arg("migrate").output().unwrap();
    assert_eq!(said(&second), "The database is up to date.\n");
    place.remove().await;
}

/// R2: the demo is there and filled, and its people can sign in.
#[tokio::test]
async fn r2_the_demo_is_filled() {
    let Some(place) = Place::new(crate::support::Kind::Sqlite) else { return };
    let http = reqwest::Client::new();
    let demo = Process::start(keyholder(&place).args(["demo", "--listen", "127.0.0.1:0"]));
    let query = "mutation($p: String!) { signIn(input: {login: \"grace@bright-harbor.example\", password: $p}) { credentials { accessToken } } }";
    let signed_in = demo.ask(&http, None, query, json!({ "p": "harbor lights at dawn" })).await.unwrap();
    let token = signed_in["data"]["signIn"]["credentials"]["accessToken"].as_str().unwrap();
    let query = "{ account { users { totalCount nodes { level } } all: clientConnections { totalCount } pending: clientConnections(status: [PENDING]) { totalCount } } }";
    let account = demo.ask(&http, Some(token), query, Value::Null).await.unwrap()["data"]["account"].clone();
    assert_eq!(
        (&account["users"]["totalCount"], &account["all"]["totalCount"], &account["pending"]["totalCount"]),
        (&json!(6), &json!(40), &json!(3))
    );
    let levels: std::collections::BTreeSet<_> =
        account["users"]["nodes"].as_array().unwrap().iter().map(|node| node["level"].to_string()).collect();
    assert_eq!(levels.len(), 5, "people at every level");
    let mails: Vec<Value> = http.get(format!("{}/mailbox.json", demo.url)).send().await.unwrap().json().await.unwrap();
    assert!(mails.len() > 40);
    drop(demo);
    place.remove().await;
}

/// THREATS 61, E3: killed while it writes, a server has every acknowledged write when it is back, no gap in any log, and a
/// listener that comes back misses nothing.
async fn threat_61_killed_while_it_writes(place: Place) {
    let http = reqwest::Client::new();
    let serve = || Process::serve(&place, &[("KEYHOLDER_CLIENT_REQUESTS_PER_DAY", "100000")]);
    let mut server = serve();
    let token = server.agency(&http).await;
    let start = server.ask(&http, Some(&token), "{ account { activityCursor } }", Value::Null).await.unwrap()["data"]["account"]
        ["activityCursor"]
        .clone();

    let mut acknowledged: Vec<String> = Vec::new();
    for round in 0..4 {
        let written = AtomicU32::new(0);
        let write = async |writer: usize| {
            let mut ids = Vec::new();
            for n in 0.. {
                let query = "mutation($e: String!) { requestClientAccess(input: {emails: [$e]}) { connections { id } userErrors { code } } }";
                let email = format!("a{round}-{writer}-{n}@x.example");
                let Some(answer) = server.ask(&http, Some(&token), query, json!({ "e": email })).await else { return ids };
                written.fetch_add(1, Ordering::Relaxed);
                ids.push(answer["data"]["requestClientAccess"]["connections"][0]["id"].as_str().unwrap().to_owned());
            }
            ids
        };
        let kill = async {
            eventually("some are written", async || (written.load(Ordering::Relaxed) > 4 + 3 * round).then_some(())).await;
            Command::new("kill").args(["-9", &server.child.id().to_string()]).status().unwrap();
        };
        let (a, b, c, ()) = tokio::join!(write(0), write(1), write(2), kill);
        acknowledged.extend([a, b, c].concat());
        server = serve();
    }
    assert!(acknowledged.len() > 10, "{}", acknowledged.len());
    for ids in acknowledged.chunks(100) {
        let nodes =
            server.ask(&http, Some(&token), "query($i: [ID!]!) { nodes(ids: $i) { id } }", json!({ "i": ids })).await.unwrap();
        assert!(nodes["data"]["nodes"].as_array().unwrap().iter().all(|node| node["id"].is_string()), "{nodes}");
    }
    let total = server
        .ask(&http, Some(&token), "{ account { auditLog { totalCount } clientConnections { totalCount } } }", Value::Null)
        .await
        .unwrap();
    let requests = total["data"]["account"]["clientConnections"]["totalCount"].as_u64().unwrap();
    // Opened, joined and enabled come before them.
    assert_eq!(total["data"]["account"]["auditLog"]["totalCount"].as_u64().unwrap(), requests + 3);
    let mut socket = Socket::open(&server.url).await;
    socket.init(json!({ "authorization": format!("Bearer {token}") })).await;
    socket.subscribe("1", CONNECTIONS, json!({ "after": start })).await;
    let mut heard = std::collections::BTreeSet::new();
    for _ in 0..requests {
        let Heard::Message(message) = socket.hear().await else { panic!("{} of {requests}", heard.len()) };
        heard.insert(message["payload"]["data"]["clientConnectionChanged"]["connection"]["id"].as_str().unwrap().to_owned());
    }
    assert_eq!(heard.len() as u64, requests, "each once");
    assert!(acknowledged.iter().all(|id| heard.contains(id)));
    drop(socket);
    drop(server);
    place.remove().await;
}

/// THREATS 60: neither what is secret nor what steers a terminal reaches the log, whatever is sent, and however much is logged.
async fn threat_60_what_never_reaches_the_log(place: Place) {
    let http = reqwest::Client::new();
    let server = Process::serve(&place, &[("KEYHOLDER_LOG", "debug,hyper=info"), ("KEYHOLDER_LOG_FORMAT", "text")]);
    let token = server.agency(&http).await;
    let escape = "\u{1b}[2J\u{1b}]0;owned\u{7}\r\nFAKE log line";
    let canary = "canary-password-of-nobody";
    let sign_in = "mutation($l: String!, $p: String!) { signIn(input: {login: $l, password: $p}) { credentials { refreshToken } userErrors { code } } }";
    let tries = [("ann@x.example", PASSWORD), ("ann@x.example", canary), (escape, canary)];
    let mut secrets = vec![token.clone(), PASSWORD.to_owned(), canary.to_owned(), SECRET.to_owned()];
    for (login, password) in tries {
        let answer = server.ask(&http, None, sign_in, json!({ "l": login, "p": password })).await.unwrap();
        let refresh = answer["data"]["signIn"]["credentials"]["refreshToken"].as_str();
        secrets.extend(refresh.map(str::to_owned));
    }
    let queries = [
        format!("{{ account {{ users(search: {}) {{ totalCount }} }} }}", json!(escape)),
        format!("{{ {escape} }}"),
        format!("query {{ node(id: {}) {{ id }} }}", json!(format!("{escape}{canary}"))),
        "mutation { refreshSession(input: {refreshToken: \"canary-password-of-nobody\"}) { userErrors { code } } }".to_owned(),
    ];
    for query in queries {
        server.ask(&http, Some(&token), &query, Value::Null).await;
        server.ask(&http, Some(canary), &query, Value::Null).await;
    }
    let agent = http.get(format!("{}/graphql?query=%1b%5b2J", server.url)).header("user-agent", b"a\x9b2Jb".as_slice());
    agent.send().await.unwrap();
    server.request(&http, &token, "b@x.example").await;
    let mails: Vec<Value> = http.get(format!("{}/mailbox.json", server.url)).send().await.unwrap().json().await.unwrap();
    secrets.extend(mails.iter().filter_map(|mail| mail["token"].as_str().map(str::to_owned)));
    assert!(secrets.len() > 5, "{secrets:?}");
    let said = server.said.lock().unwrap().clone();
    assert!(said.contains("listening on"), "{said}");
    for secret in &secrets {
        assert!(!said.contains(secret.as_str()), "{secret}");
    }
    assert!(!said.contains(['\u{1b}', '\u{7}', '\u{9b}']) && !said.contains("\nFAKE log line"), "{said}");
    drop(server);
    place.remove().await;
}

/// U8, THREATS 57: who has left is not in the log either, which is kept for longer: it never had a name, username or address.
async fn threat_57_nor_in_the_log(place: Place) {
    let http = reqwest::Client::new();
    let server = Process::serve(&place, &[("KEYHOLDER_LOG", "debug,hyper=info"), ("KEYHOLDER_LOG_FORMAT", "text")]);
    let token = server.agency(&http).await;
    let ask = async |token: Option<&str>, query: &str, variables: Value| {
        let answer = server.ask(&http, token, query, variables).await.unwrap();
        assert!(answer.get("errors").is_none(), "{answer}");
        answer["data"].as_object().unwrap().values().next().unwrap().clone()
    };
    ask(Some(&token), "mutation { changePlan(input: {plan: PREMIUM}) { userErrors { code } } }", Value::Null).await;
    let invite = "mutation { inviteUsers(input: {emails: [\"zebra@private.example\"], level: VIEWER}) { invitations { id } } }";
    ask(Some(&token), invite, Value::Null).await;
    let invitation = eventually("the invitation is sent", async || {
        let mails: Vec<Value> = http.get(format!("{}/mailbox.json", server.url)).send().await.unwrap().json().await.unwrap();
        mails.iter().find(|mail| mail["to"] == "zebra@private.example").map(|mail| mail["token"].clone())
    })
    .await;
    let join = "mutation($t: String!, $p: String!) { signUp(input: {email: \"zebra@private.example\", password: $p, name: \"Quentin Zebrowski\", username: \"qzebrowski\", invitationToken: $t}) { credentials { accessToken } userErrors { code } } }";
    let joined = ask(None, join, json!({ "t": invitation, "p": PASSWORD })).await;
    let own = joined["credentials"]["accessToken"].as_str().unwrap().to_owned();
    ask(Some(&token), "{ account { users(search: \"zebrowski\") { totalCount } } }", Value::Null).await;
    let left = ask(Some(&own), "mutation { leaveAccount { loginDeleted userErrors { code } } }", Value::Null).await;
    assert_eq!(left["loginDeleted"], true);
    let again =
        "mutation($p: String!) { signIn(input: {login: \"zebra@private.example\", password: $p}) { userErrors { code } } }";
    assert_eq!(ask(None, again, json!({ "p": PASSWORD })).await["userErrors"][0]["code"], "WRONG_CREDENTIALS");
    let said = server.said.lock().unwrap().to_lowercase();
    assert!(said.contains("listening on"));
    for trace in ["zebra", "zebrowski", "quentin", "private.example"] {
        assert!(!said.contains(trace), "{trace}");
    }
    drop(server);
    place.remove().await;
}

/// THREATS 65: a disk that does not keep what it is given is a fault that is told; nothing of it was acknowledged, and all that
/// was is there after a crash.
#[tokio::test]
async fn threat_65_a_disk_that_fails() {
    let Some(place) = Place::new(crate::support::Kind::Sqlite) else { return };
    let (broken, library) = (place.directory().join("broken"), place.directory().join("disk.so"));
    std::fs::write(place.directory().join("disk.c"), DISK).unwrap();
    let built = Command::new("cc").current_dir(place.directory()).args(["-shared", "-fPIC", "-o", "disk.so", "disk.c"]).status();
    assert!(built.unwrap().success(), "a C compiler builds what Rust needs too");
    let http = reqwest::Client::new();
    let env = [("LD_PRELOAD", library.to_str().unwrap()), ("BROKEN_DISK", broken.to_str().unwrap())];
    let server = Process::serve(&place, &env);
    let token = server.agency(&http).await;
    let request = async |email: &str| server.request(&http, &token, email).await;
    assert_eq!(request("a@x.example").await["data"]["requestClientAccess"]["userErrors"], json!([]));
    std::fs::write(&broken, "").unwrap();
    for email in ["b@x.example", "c@x.example"] {
        let failed = request(email).await;
        let extensions = &failed["errors"][0]["extensions"];
        assert!(extensions["code"] == "INTERNAL" && extensions["requestId"].is_string(), "{failed}");
        assert_eq!(server.asked(&http, &token).await, ["a@x.example"], "what is read is what was kept");
    }
    std::fs::remove_file(&broken).unwrap();
    assert_eq!(request("d@x.example").await["data"]["requestClientAccess"]["userErrors"], json!([]));
    let kept = ["d@x.example", "a@x.example"];
    assert_eq!(server.asked(&http, &token).await, kept);
    drop(server);
    let server = Process::serve(&place, &[]);
    assert_eq!(server.asked(&http, &token).await, kept);
    drop(server);
    place.remove().await;
}

/// A disk that fails to keep anything while a file is there.
const DISK: &str = "
#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>
static int broken(void) { const char *file = getenv(\"BROKEN_DISK\"); return file && access(file, F_OK) == 0; }
static int fails(void) { errno = EIO; return -1; }
int fsync(int fd) { return broken() ? fails() : syscall(SYS_fsync, fd); }
int fdatasync(int fd) { return broken() ? fails() : syscall(SYS_fdatasync, fd); }
";

/// THREATS 68, R3: told to stop, a server answers what is under way, tells its listeners to come back, and goes.
async fn threat_68_sigterm(place: Place) {
    let http = reqwest::Client::new();
    let mut server = Process::serve(&place, &[]);
    let token = server.agency(&http).await;
    let mut socket = Socket::open(&server.url).await;
    socket.init(json!({ "authorization": format!("Bearer {token}") })).await;
    socket.subscribe("1", CONNECTIONS, Value::Null).await;
    let acknowledged = AtomicU32::new(0);
    let write = async {
        let mut written = Vec::new();
        for n in 0..30 {
            let email = format!("a{n}@x.example");
            let query = "mutation($e: String!) { requestClientAccess(input: {emails: [$e]}) { userErrors { code } } }";
            let Some(answer) = server.ask(&http, Some(&token), query, json!({ "e": email })).await else { break };
            assert_eq!(answer["data"]["requestClientAccess"]["userErrors"], json!([]), "{answer}");
            acknowledged.fetch_add(1, Ordering::Relaxed);
            written.push(email);
        }
        written
    };
    let stop = async {
        eventually("some are written", async || (acknowledged.load(Ordering::Relaxed) > 3).then_some(())).await;
        Command::new("kill").args(["-TERM", &server.child.id().to_string()]).status().unwrap();
    };
    let closed = async {
        loop {
            if let Heard::Closed(code) = socket.hear().await {
                break code;
            }
        }
    };
    let (mut written, (), code) = tokio::join!(write, stop, closed);
    assert_eq!(code, 1001);
    let child = std::cell::RefCell::new(&mut server.child);
    let status = eventually("it is gone", async || child.borrow_mut().try_wait().unwrap()).await;
    assert!(status.success(), "{status}");
    let server = Process::serve(&place, &[]);
    let asked = server.asked(&http, &token).await;
    written.reverse();
    assert!(asked.ends_with(&written), "{written:?} {asked:?}");
    drop(server);
    place.remove().await;
}

on_both_databases!(on_its_own_servers: r4_a_wrong_setting_is_named, r4_schema_and_migrate, threat_61_killed_while_it_writes,
    threat_57_nor_in_the_log, threat_60_what_never_reaches_the_log, threat_68_sigterm);
