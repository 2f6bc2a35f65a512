//! A small mail server for tests: it takes mails on a loopback port, keeps them, and refuses addresses as it is told.
//!
//! It speaks as much of SMTP as a client needs to hand over a mail. It takes every password. Absent: TLS, and addresses beyond ASCII.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A mail as it arrived.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// The envelope's sender.
    pub from: String,
    /// The envelope's recipients.
    pub to: Vec<String>,
    /// Headers and body, with CRLF at each line's end and without the dots that SMTP adds.
    pub data: String,
}

/// A running mail server. It stops when it is dropped.
pub struct SmtpServer {
    port: u16,
    state: Arc<Mutex<State>>,
    listening: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    received: Vec<Received>,
    /// By address: the code to refuse with, and how many times more.
    refusals: HashMap<String, (u16, usize)>,
}

impl SmtpServer {
    /// Starts on a free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        let listening = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                // A client that hangs up early is no failure of the server's.
                tokio::spawn(async move { converse(stream, &state).await.unwrap_or_default() });
            }
        });
        Self { port, state, listening }
    }

    /// The address for `SMTP_URL`.
    pub fn url(&self) -> String {
        format!("smtp://127.0.0.1:{}", self.port)
    }

    /// From now on refuses the recipient so many times with the code; `usize::MAX` is for ever.
    pub fn refuse(&self, address: &str, code: u16, times: usize) {
        self.state.lock().unwrap().refusals.insert(address.to_owned(), (code, times));
    }

    /// The mails taken so far, oldest first.
    pub fn received(&self) -> Vec<Received> {
        self.state.lock().unwrap().received.clone()
    }
}

impl Drop for SmtpServer {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// One client, from the greeting to its farewell.
async fn converse(stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 mail.test ready\r\n").await?;
    let (mut mail, mut line) = (Received::default(), String::new());
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let (verb, argument) = line.trim_end().split_once(' ').unwrap_or((line.trim_end(), ""));
        let answer = match verb.to_ascii_uppercase().as_str() {
            "EHLO" => "250-mail.test\r\n250-8BITMIME\r\n250-AUTH PLAIN\r\n250 ENHANCEDSTATUSCODES".to_owned(),
            "AUTH" => "235 2.7.0 signed in".to_owned(),
            "HELO" | "NOOP" => "250 2.0.0 fine".to_owned(),
            "MAIL" => {
                mail = Received { from: path(argument), ..Received::default() };
                "250 2.1.0 sender taken".to_owned()
            }
            "RCPT" => recipient(&mut mail, path(argument), state),
            "DATA" if mail.to.is_empty() => "503 5.5.1 nobody to send it to".to_owned(),
            "DATA" => {
                stream.write_all(b"354 go on\r\n").await?;
                mail.data = data(&mut stream).await?;
                state.lock().unwrap().received.push(std::mem::take(&mut mail));
                "250 2.0.0 taken".to_owned()
            }
            "RSET" => {
                mail = Received::default();
                "250 2.0.0 forgotten".to_owned()
            }
            "QUIT" => return stream.write_all(b"221 2.0.0 bye\r\n").await,
            _ => "502 5.5.2 unknown command".to_owned(),
        };
        stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
}

/// Takes or refuses a recipient.
fn recipient(mail: &mut Received, address: String, state: &Mutex<State>) -> String {
    if let Some((code, times)) = state.lock().unwrap().refusals.get_mut(&address)
        && *times > 0
    {
        *times -= usize::from(*times != usize::MAX);
        return format!("{code}-{}.1.1 refused\r\n{code} {}.1.1 <{address}>", *code / 100, *code / 100);
    }
    mail.to.push(address);
    "250 2.1.5 recipient taken".to_owned()
}

/// The mail itself, up to the line that is a single dot.
async fn data(stream: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let mut data = String::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if line == ".\r\n" {
            return Ok(data);
        }
        data.push_str(line.strip_prefix('.').unwrap_or(&line));
    }
}

/// The address in `FROM:<address> …` or `TO:<address> …`.
fn path(argument: &str) -> String {
    let inner = argument.split_once('<').and_then(|(_, rest)| rest.rsplit_once('>'));
    inner.map_or(argument, |(address, _)| address).to_owned()
}
