//! What must not leak: secrets into logs, guesses into keys, files to other users. THREATS 60, 84, 86; SPEC I1, R4.

use crate::{
    on_both_databases,
    process::{Process, keyholder, said},
    support::{
        Heard, PATIENCE, Place, SECRET, TestApp, eventually,
        people::PASSWORD,
        smtp::SmtpServer,
        socket::{CONNECTIONS, Socket},
    },
};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

/// A password that nobody has, in one place each, so that a leak names its place.
fn canary(place: &str) -> String {
    format!("canary-{place}-of-nobody")
}

/// The token in a mail's text.
fn token_in(data: &str) -> Option<String> {
    let text = data.replace("=\r\n", "").replace("=3D", "=");
    let (_, rest) = text.split_once("#token=")?;
    Some(rest.chars().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).collect())
}

/// Every text of an answer under these names.
fn texts(answer: &Value, names: &[&str], found: &mut BTreeSet<String>) {
    match answer {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if names.contains(&name.as_str()) => drop(found.insert(text.clone())),
                    Value::Array(items) if names.contains(&name.as_str()) => {
                        found.extend(items.iter().filter_map(|item| item.as_str().map(str::to_owned)));
                    }
                    value => texts(value, names, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| texts(item, names, found)),
        _ => {}
    }
}

/// The fields of answers that are secret.
const SECRET_FIELDS: &[&str] = &["accessToken", "refreshToken", "secret", "otpauthUri", "recoveryCodes", "url"];

/// A server at `trace`, which sends its mail through SMTP, with passwords in its settings.
fn traced(place: &Place, smtp: &SmtpServer) -> Process {
    let mut command = keyholder(place);
    command.args(["serve", "--listen", "127.0.0.1:0", "--issuer", "test", "--plan-changes", "self"]);
    command.env("SMTP_URL", smtp.url().replace("://", &format!("://mailer:{}@", canary("smtp"))));
    command.env("DATABASE_URL", place.database_url().replace("postgres@", &format!("postgres:{}@", canary("database"))));
    command.env("KEYHOLDER_MAIL_FROM", "Keyholder <no-reply@keyholder.example>");
    Process::start(command.env("KEYHOLDER_LOG", "trace"))
}

/// Uses every secret that there is over HTTP, and answers those that the server gave.
async fn over_http(server: &Process, smtp: &SmtpServer, secrets: &mut BTreeSet<String>) -> String {
    let http = reqwest::Client::new();
    let mut ask = async |token: Option<&str>, query: &str, variables: Value| {
        let answer = server.ask(&http, token, query, variables).await.unwrap();
        texts(&answer, SECRET_FIELDS, secrets);
        answer
    };
    let sign_up = "mutation($p: String!) { signUp(input: {email: \"ann@x.example\", password: $p, name: \"Ann\"}) { credentials { accessToken refreshToken } } }";
    let signed_up = ask(None, sign_up, json!({ "p": PASSWORD })).await;
    let token = signed_up["data"]["signUp"]["credentials"]["accessToken"].as_str().unwrap().to_owned();
    let mail = eventually("the mail arrives", async || smtp.received().into_iter().next()).await;
    let verify = "mutation($t: String!) { verifyEmail(input: {token: $t}) { userErrors { code } } }";
    ask(Some(&token), verify, json!({ "t": token_in(&mail.data).unwrap() })).await;
    for own in [
        "mutation { changePlan(input: {plan: PREMIUM}) { userErrors { code } } }",
        "mutation { createApiKey(input: {name: \"k\"}) { secret userErrors { code } } }",
        "mutation { beginTwoFactor { secret otpauthUri userErrors { code } } }",
        "mutation { exportAccount { url userErrors { code } } }",
        "mutation { inviteUsers(input: {emails: [\"bob@x.example\"], level: VIEWER}) { userErrors { code } } }",
        "mutation { requestPasswordReset(input: {email: \"ann@x.example\"}) { accepted } }",
    ] {
        ask(Some(&token), own, Value::Null).await;
    }
    let sign_in = "mutation($l: String!, $p: String!) { signIn(input: {login: $l, password: $p}) { credentials { accessToken refreshToken } userErrors { code } } }";
    ask(None, sign_in, json!({ "l": "ann@x.example", "p": PASSWORD })).await;
    ask(None, sign_in, json!({ "l": "ann@x.example", "p": canary("http") })).await;
    ask(Some(&canary("bearer")), &sign_in.replace("$p}", &format!("\"{}\"}}", canary("document"))), Value::Null).await;
    token
}

/// The same over a socket and over a stream.
async fn over_streams(server: &Process, token: &str) {
    let mut socket = Socket::open(&server.url).await;
    socket.init(json!({ "authorization": format!("Bearer {token}") })).await;
    socket.subscribe("1", CONNECTIONS, Value::Null).await;
    let sign_in = format!(
        "mutation {{ signIn(input: {{login: \"ann\", password: \"{}\"}}) {{ userErrors {{ code }} }} }}",
        canary("socket")
    );
    socket.subscribe("2", &sign_in, json!({ "unused": canary("variable") })).await;
    assert!(matches!(socket.hear().await, Heard::Message(_)));
    let mut refused = Socket::open(&server.url).await;
    refused
        .send(json!({ "type": "connection_init", "payload": { "authorization": format!("Bearer {}", canary("init")) } }))
        .await;
    assert!(matches!(refused.hear().await, Heard::Closed(_)));
    let body = json!({ "query": "subscription { accessRequestChanged { cursor } }", "variables": { "x": canary("stream") } });
    let stream = reqwest::Client::new().post(format!("{}/graphql", server.url)).bearer_auth(token);
    let stream = stream.header("accept", "text/event-stream").json(&body).send().await.unwrap();
    assert!(stream.status().is_success());
}

/// THREATS 60, 84: at `trace`, whatever libraries write there, no secret reaches the log: over HTTP, WebSocket, a stream, SMTP and
/// the database's own protocol.
async fn threat_84_trace_tells_no_secret(place: Place) {
    let smtp = SmtpServer::start().await;
    let server = traced(&place, &smtp);
    let mut secrets = BTreeSet::from([PASSWORD.to_owned(), SECRET.to_owned()]);
    let token = over_http(&server, &smtp, &mut secrets).await;
    over_streams(&server, &token).await;
    let tokens = eventually("all mails arrive", async || {
        let tokens: Vec<_> = smtp.received().iter().filter_map(|mail| token_in(&mail.data)).collect();
        (tokens.len() >= 3).then_some(tokens)
    })
    .await;
    secrets.extend(tokens);
    let sources = ["smtp", "database", "http", "bearer", "document", "socket", "variable", "init", "stream"];
    secrets.extend(sources.map(canary));
    assert!(secrets.len() > 20, "{secrets:#?}");
    let log = eventually("the mails are logged", async || Some(server.said()).filter(|log| log.contains("listening on"))).await;
    for secret in &secrets {
        let line = log.lines().find(|line| line.contains(secret.as_str()));
        assert_eq!(line, None, "{secret}");
    }
    drop(server);
    place.remove().await;
}

/// THREATS 84: what the setting asks for of the server's own parts is logged all the same.
async fn threat_84_the_servers_own_parts_are_logged_as_asked(place: Place) {
    let server = Process::serve(&place, &[("KEYHOLDER_LOG", "warn,keyholder=info,keyholder::server=error")]);
    server.agency(&reqwest::Client::new()).await;
    let log = eventually("a mail is logged", async || Some(server.said()).filter(|log| log.contains("keyholder::mail"))).await;
    assert!(!log.contains("keyholder::server"), "{log}");
    drop(server);
    place.remove().await;
}

/// The Ed25519 public key of a seed of zeros.
const PUBLIC_OF_ZEROS: [u8; 32] = [
    0x3b, 0x6a, 0x27, 0xbc, 0xce, 0xb6, 0xa4, 0x2d, 0x62, 0xa3, 0xa8, 0xd0, 0x2a, 0x6f, 0x0d, 0x73, 0x65, 0x32, 0x15, 0x77, 0x1d,
    0xe2, 0x43, 0xa6, 0x3a, 0xc0, 0x48, 0xa1, 0x8b, 0x59, 0xda, 0x29,
];

/// What a server says that does not start. One that starts is stopped, and the test has failed.
async fn refusal(command: &mut Command) -> String {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let ended = async {
        while child.try_wait().unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let refused = tokio::time::timeout(PATIENCE, ended).await.is_ok();
    child.kill().unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(refused && !output.status.success(), "it started: {}", said(&output));
    said(&output)
}

/// THREATS 86: a secret, a file with a secret or a key that can be guessed stops the start; the error says how to make another one.
async fn threat_86_weak_secrets_and_keys_are_refused(place: Place) {
    let refused = async |env: &[(&str, &str)]| {
        let mut command = keyholder(&place);
        command.args(["serve", "--dev", "--listen", "127.0.0.1:0"]).envs(env.iter().copied());
        refusal(&mut command).await
    };
    for weak in ["x".repeat(40), "0123456789abcdef0123456789abcdef".to_owned(), "password-password-password-password".to_owned()]
    {
        let why = refused(&[("KEYHOLDER_SECRET", &weak)]).await;
        assert!(why.contains("KEYHOLDER_SECRET") && why.contains("openssl rand -base64 32") && !why.contains(&weak), "{why}");
    }
    fs::write(place.directory().join("weak.secret"), "x".repeat(40)).unwrap();
    let why = refused(&[("KEYHOLDER_SECRET", ""), ("DATABASE_URL", "sqlite://weak.db")]).await;
    assert!(why.contains("weak.secret") && why.contains("remove the file"), "{why}");
    // A well-formed key whose seed is zeros, with the public key of that seed.
    assert!(keyholder(&place).args(["keys", "rotate"]).output().unwrap().status.success());
    let made = fs::read_dir(place.directory().join("keys")).unwrap().next().unwrap().unwrap().path();
    let mut der = fs::read(made).unwrap();
    der[16..48].fill(0);
    let public = der.len() - PUBLIC_OF_ZEROS.len();
    der[public..].copy_from_slice(&PUBLIC_OF_ZEROS);
    let zeros = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, der);
    let why = refused(&[("KEYHOLDER_KEYS", &format!("-----BEGIN PRIVATE KEY-----\n{zeros}\n-----END PRIVATE KEY-----"))]).await;
    assert!(why.contains("number 1") && !why.contains(&zeros), "{why}");
    place.remove().await;
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn open_up(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// THREATS 86: a database, keys and a secret that others can read are closed to them, and the log names each; a file of settings
/// with a secret, which others can read, stops the start.
#[tokio::test]
async fn threat_86_lax_file_modes_are_fixed() {
    let Some(place) = Place::new(crate::support::Kind::Sqlite) else { return };
    let path = |name: &str| place.directory().join(name);
    let start = || Process::serve(&place, &[("KEYHOLDER_SECRET", ""), ("KEYHOLDER_KEYS", "")]);
    // Killed, so that the write-ahead log stays.
    let server = start();
    server.agency(&reqwest::Client::new()).await;
    drop(server);
    let key = fs::read_dir(path("keyholder.keys")).unwrap().next().unwrap().unwrap().path();
    let files = [path("keyholder.db"), path("keyholder.db-wal"), path("keyholder.secret"), key];
    for file in &files {
        assert_eq!(mode(file), 0o600, "{} is made private", file.display());
        open_up(file, 0o666);
    }
    assert_eq!(mode(&path("keyholder.keys")), 0o700);
    open_up(&path("keyholder.keys"), 0o755);
    let server = start();
    let log = server.said();
    for (file, mode_of) in files.iter().map(|file| (file.clone(), 0o600)).chain([(path("keyholder.keys"), 0o700)]) {
        assert_eq!(mode(&file), mode_of, "{}", file.display());
        assert!(log.contains(file.file_name().unwrap().to_str().unwrap()), "{}: {log}", file.display());
    }
    assert!(log.contains("other users of this machine could access this"), "{log}");
    drop(server);
    // Closed already, nothing is said.
    let server = start();
    assert!(!server.said().contains("could access"), "{}", server.said());
    drop(server);
    fs::write(path("keyholder.toml"), format!("secret = \"{SECRET}\"\n")).unwrap();
    open_up(&path("keyholder.toml"), 0o644);
    let run = || keyholder(&place).env("KEYHOLDER_SECRET", "").arg("migrate").output().unwrap();
    let refused = said(&run());
    assert!(refused.contains("keyholder.toml") && refused.contains("chmod") && !refused.contains(SECRET), "{refused}");
    open_up(&path("keyholder.toml"), 0o640);
    assert!(run().status.success());
    place.remove().await;
}

/// THREATS 86: what can't be closed is refused, unless only the owner's group can read it. As another user than root, who can always
/// change a mode.
#[tokio::test]
async fn threat_86_what_cannot_be_closed_is_refused() {
    let Some(place) = Place::new(crate::support::Kind::Sqlite) else { return };
    let root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    if !root || Command::new("setpriv").arg("--version").output().is_err() {
        println!("skipped: takes root and setpriv");
        place.remove().await;
        return;
    }
    // Root's keys, as a platform mounts them, read by a program that runs as another user.
    let made = keyholder(&place).args(["keys", "rotate"]).output().unwrap();
    assert!(made.status.success(), "{}", said(&made));
    let keys = place.directory().join("keys");
    let key = fs::read_dir(&keys).unwrap().next().unwrap().unwrap().path();
    open_up(place.directory(), 0o777);
    let server = Path::new(env!("CARGO_BIN_EXE_keyholder"));
    let copy = place.directory().join("program");
    fs::copy(server, &copy).unwrap();
    let list = || {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "0", "--clear-groups"]).arg(&copy).args(["keys", "list"]);
        let command = command.current_dir(place.directory()).env_clear().env("KEYHOLDER_KEYS", "keys");
        command.env("KEYHOLDER_SECRET", SECRET).output().unwrap()
    };
    for (key_mode, fits) in [(0o440, true), (0o444, false), (0o460, false)] {
        open_up(&keys, 0o750);
        open_up(&key, key_mode);
        let output = list();
        assert_eq!(output.status.success(), fits, "{key_mode:o}: {}", said(&output));
        assert!(fits || said(&output).contains("chmod go-rwx"), "{}", said(&output));
    }
    place.remove().await;
}

/// I1: whether a username is taken is not asked without end, by one user or from one network; other changes of a profile go on.
async fn i1_usernames_are_not_probed_without_end(app: &TestApp) {
    let (ann, bob) = (app.person("ann@x.example").await, app.person("bob@x.example").await);
    let probe = "mutation($u: String!) { updateProfile(input: {username: $u}) { user { username } userErrors { code } } }";
    let limited = async |name: &str| ann.ask(probe, json!({ "u": name })).await.0["errors"][0]["extensions"].clone();
    let mut free = 0;
    while free < 50 && limited("bob").await.is_null() {
        free += 1;
    }
    assert_eq!(free, 10, "of one user");
    let extensions = limited("somebody.else").await;
    assert_eq!(extensions["code"], "RATE_LIMITED", "a free one tells as much as a taken one");
    assert!(extensions["retryAfter"].as_u64().is_some_and(|seconds| seconds > 0), "{extensions}");
    // In one document each field counts.
    let fields: String =
        (0..20).map(|n| format!("a{n}: updateProfile(input: {{username: \"ann\"}}) {{ userErrors {{ code }} }} ")).collect();
    let codes = bob.ask(&format!("mutation {{ {fields} }}"), Value::Null).await;
    assert_eq!(codes.codes(), vec!["RATE_LIMITED"; 10]);
    let rename =
        "mutation { updateProfile(input: {name: \"Ann Lee\", username: \"ANN\"}) { user { username } userErrors { code } } }";
    assert_eq!(ann.ask(rename, Value::Null).await.payload()["user"]["username"], "ANN", "one's own in another spelling");
}

on_both_databases!(i1_usernames_are_not_probed_without_end);
on_both_databases!(on_its_own_servers:
    threat_84_trace_tells_no_secret,
    threat_84_the_servers_own_parts_are_logged_as_asked,
    threat_86_weak_secrets_and_keys_are_refused,
);
