//! What each source gives, which one wins, and every sentence that a wrong setting is answered with.

use super::*;
use source::{DEFAULTS, SETTINGS};

const PASSWORD: &str = "hunter2-w0Zq9vT4mB7xKdR1sYpE6cNfLgJh";

/// Loads with flags and an environment, as `keyholder serve` does.
fn load(flags: &[&str], env: &[(&str, &str)]) -> Result<Config, String> {
    let matches = matches(flags);
    Config::load(&matches, &|name| find(env, name)).map_err(|error| error.to_string())
}

fn matches(flags: &[&str]) -> ArgMatches {
    Config::flags(Command::new("serve").no_binary_name(true)).get_matches_from(flags)
}

/// A variable; the file is the defaults unless named, since that of whoever runs the tests must not count.
fn find(env: &[(&str, &str)], name: &str) -> Option<String> {
    let defaults = ("KEYHOLDER_CONFIG", concat!(env!("CARGO_MANIFEST_DIR"), "/config.default.toml"));
    env.iter().chain([&defaults]).find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned())
}

/// Reads a file of settings, named FILE, over the defaults.
fn read(toml: &str) -> Result<Config, String> {
    let values = Values::defaults().and_then(|mut values| values.set_toml("FILE", toml).map(|()| values));
    values.and_then(|values| Config::read(&values, true)).map_err(|error| error.to_string())
}

#[test]
fn the_defaults_and_the_table_have_the_same_keys() {
    let keys = DEFAULTS.lines().filter_map(|line| line.split_once(" = ")).map(|(key, _)| key);
    let keys: Vec<_> = keys.filter(|key| !key.starts_with('#')).collect();
    assert_eq!(keys, SETTINGS.map(|(key, _)| key));
}

#[test]
fn the_help_of_a_flag_is_its_comment() {
    let help = Config::flags(Command::new("serve")).render_long_help().to_string();
    let words = help.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains(
        "`keyholder keys rotate` makes the next one. Blank: made at the first start beside the SQLite file; required with \
         PostgreSQL. [env: KEYHOLDER_KEYS] [default: blank]"
    ));
    assert!(words.contains("[env: KEYHOLDER_INVITATIONS_PER_DAY] [default: 25]"));
    let undescribed: Vec<_> = words.match_indices("<VALUE> [").collect();
    assert_eq!(undescribed, []);
}

#[test]
fn the_environment_overrides_the_file_and_flags_override_both() {
    let file = std::env::temp_dir().join(format!("keyholder-{}.toml", std::process::id()));
    std::fs::write(&file, "audience = 'file'\nissuer = 'file'\ninvitations_per_day = 1\nlog = 'warn'").unwrap();
    let env = [
        ("KEYHOLDER_CONFIG", file.to_str().unwrap()),
        ("KEYHOLDER_AUDIENCE", "environment"),
        ("KEYHOLDER_ISSUER", "environment"),
        ("KEYHOLDER_LOG", "  "),
        ("KEYHOLDER_LOG_FORMAT", "json"),
    ];
    let config = load(&["--dev", "--audience", "flag", "--request-ttl=36h"], &env).unwrap();
    assert_eq!((config.audience.as_str(), config.issuer.as_deref()), ("flag", Some("environment")));
    assert_eq!((config.invitations_per_day, config.client_requests_per_day), (1, 35));
    assert_eq!(config.log, "warn", "a blank variable is none");
    assert_eq!((config.plan_changes, config.log_format), (PlanChanges::SelfService, LogFormat::Json));
    assert_eq!((config.access_token_ttl, config.request_ttl), (TimeDelta::minutes(5), TimeDelta::hours(36)));
    assert_eq!(load(&["--dev", "--issuer", ""], &env).unwrap().issuer, None, "a blank flag takes a value away");
    std::fs::remove_file(file).unwrap();
}

#[test]
fn a_list_of_the_file_is_as_one_with_commas() {
    let origins = ["https://a.example", "http://localhost:3000"];
    let list = read("allowed_origins = ['https://A.example:443', 'http://localhost:3000/']");
    assert_eq!(list.unwrap().allowed_origins, origins);
    let env = [("KEYHOLDER_ALLOWED_ORIGINS", "https://a.example, http://localhost:3000,")];
    assert_eq!(load(&["--dev"], &env).unwrap().allowed_origins, origins);
}

#[test]
fn a_wrong_setting_is_named_as_its_source_names_it() {
    let foo = "\"foo\" is not an address such as 127.0.0.1:8080";
    let env = [("KEYHOLDER_LISTEN", "foo")];
    assert_eq!(load(&["--dev"], &env).unwrap_err(), format!("KEYHOLDER_LISTEN (environment): {foo}"));
    assert_eq!(load(&["--dev", "--listen=foo"], &[]).unwrap_err(), format!("--listen (flag): {foo}"));
    assert_eq!(read("\nlisten = 'foo'").unwrap_err(), format!("listen (FILE, line 2): {foo}"));
    let unknown = "there is no such setting; `keyholder serve --help` lists them";
    assert_eq!(read("log = 'info'\n[mail]\nurl = ''").unwrap_err(), format!("mail (FILE, line 2): {unknown}"));
    let kind = "log (FILE, line 1): must be text, a whole number, or a list of these";
    assert_eq!(read("log = true").unwrap_err(), kind);
    let missing = load(&["--dev", "--config", "/nowhere.toml"], &[]).unwrap_err();
    assert!(missing.starts_with("/nowhere.toml can't be read: "), "{missing}");
}

#[test]
fn each_kind_of_value_has_its_sentence() {
    for (key, text, complaint) in [
        ("database_url", "mysql://x", "must begin with sqlite:, postgres:// or postgresql://"),
        ("smtp_url", "mail.example.com", "must begin with smtp:// or smtps://"),
        ("mail_from", "Keyholder", "\"Keyholder\" is not a sender such as Keyholder <no-reply@example.com>"),
        ("app_url", "example.com", "\"example.com\" is not a web address such as https://app.example.com"),
        ("app_url", "https://a/?b", "\"https://a/?b\" is not a web address such as https://app.example.com"),
        ("app_url", "https://u:p@a", "is not a web address such as https://app.example.com"),
        ("allowed_origins", "*", "\"*\" is not an origin such as https://app.example.com"),
        ("allowed_origins", "https://a/b", "\"https://a/b\" is not an origin such as https://app.example.com"),
        ("allowed_origins", "https://*.a", "\"https://*.a\" is not an origin such as https://app.example.com"),
        ("secret", "short", "must have at least 32 characters, as from `openssl rand -base64 32`"),
        (
            "secret",
            "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            "has too few different characters, so it can be guessed. Make a random one with `openssl rand -base64 32`",
        ),
        (
            "secret",
            "0123456789abcdef0123456789abcdef",
            "can be guessed: it consists of words, sequences or repetitions. Make a random one with `openssl rand -base64 32`",
        ),
        ("request_ttl", "7 days", "\"7 days\" is not a duration such as 30s, 5m, 12h or 7d"),
        ("request_ttl", "0s", "\"0s\" is not from 1s to 3650d"),
        ("audience", " ", "must not be blank"),
        ("plan_changes", "nobody", "\"nobody\" is not operator or self"),
        ("invitations_per_day", "-1", "\"-1\" is not a whole number from 0 up"),
        ("log", "a=b=c", "\"a=b=c\" is not a log filter such as info or info,keyholder::mail=debug"),
        ("log_format", "xml", "\"xml\" is not text or json"),
    ] {
        let error = Config::from_pairs(true, &[(key, text)]).unwrap_err();
        assert_eq!(error.to_string(), format!("{key} (set in code): {complaint}"));
    }
}

#[test]
fn a_server_for_others_needs_a_mail_server_and_one_for_oneself_is_for_nobody_else() {
    let smtp = ("SMTP_URL", "smtps://mail.example.com");
    let no_mail = "SMTP_URL must be set to the mail server; or start with --dev, which keeps e-mails in memory";
    let no_sender = "KEYHOLDER_MAIL_FROM must be set with SMTP_URL: it is the sender of every e-mail";
    assert_eq!(load(&[], &[]).unwrap_err(), no_mail);
    assert_eq!(load(&[], &[smtp]).unwrap_err(), no_sender);
    let config = load(&["--mail-from=a@b.example", "--app-url=https://b.example/app/"], &[smtp]).unwrap();
    assert_eq!((config.dev, config.plan_changes), (false, PlanChanges::Operator));
    assert_eq!(config.app_url.as_deref(), Some("https://b.example/app"));
    let open = "--listen (flag): with --dev, \"0.0.0.0:80\" must be a loopback address such as 127.0.0.1:8080, because \
                whoever reaches the server can read every e-mail";
    assert_eq!(load(&["--dev", "--listen=0.0.0.0:80"], &[]).unwrap_err(), open);
    assert_eq!(Config::database_url(&matches(&[]), &|name| find(&[], name)).unwrap(), "sqlite://keyholder.db");
}

#[test]
fn replicas_share_a_secret_and_keys() {
    let url = ("database_url", "postgres://db/keyholder");
    let complaint = |pairs: &[_]| Config::from_pairs(true, pairs).unwrap_err().to_string();
    let rest = "must be set with PostgreSQL, to the same for all replicas";
    assert_eq!(complaint(&[url]), format!("KEYHOLDER_SECRET {rest}"));
    assert_eq!(complaint(&[url, ("secret", PASSWORD)]), format!("KEYHOLDER_KEYS {rest}"));
    assert!(Config::from_pairs(true, &[url, ("secret", PASSWORD), ("keys", "/etc/keyholder")]).is_ok());
}

#[test]
fn an_sqlite_database_is_in_a_file_or_in_memory() {
    let file = |url| Config::from_pairs(true, &[("database_url", url)]).unwrap().sqlite_file();
    assert_eq!(file("sqlite:///var/lib/keyholder.db?mode=rwc"), Some(PathBuf::from("/var/lib/keyholder.db")));
    assert_eq!(file("sqlite:keyholder.db"), Some(PathBuf::from("keyholder.db")));
    assert_eq!([file("sqlite::memory:"), file("sqlite://x?mode=memory")], [None, None]);
}

#[test]
fn no_secret_is_told() {
    let url = |scheme: &str| format!("{scheme}://user:{PASSWORD}@host/a?password={PASSWORD}");
    let (database, mail) = (url("postgres"), url("smtps"));
    let pairs = [("database_url", database.as_str()), ("smtp_url", &mail), ("secret", PASSWORD), ("keys", "k")];
    let told = format!("{:?}", Config::from_pairs(true, &pairs).unwrap());
    assert!(!told.contains("hunter2") && told.contains("postgres://***") && told.contains("Some(\"smtps://***\")"), "{told}");
    for toml in
        ["secret = 'hunter2", "secret = hunter2", "secret = 'hunter2' hunter2", "secret = ['hunter2', 1.5]", "secret = 'hunter2'"]
    {
        let told = read(toml).unwrap_err();
        assert!(told.contains("FILE, line 1") && !told.contains("hunter2"), "{told}");
    }
    for (key, _) in SETTINGS {
        for text in [url("mysql"), url("https"), "hunter2".to_owned()] {
            let told = Config::from_pairs(true, &[(key, &text)]).map_err(|error| error.to_string()).err();
            let harmless = text == "hunter2" && !["secret", "smtp_url", "database_url"].contains(&key);
            assert!(harmless || !told.is_some_and(|told| told.contains("hunter2")), "{key}");
        }
    }
}
