//! Any bytes on a connection, and any messages on a socket, against the real listener.
#![no_main]

use arbitrary::Arbitrary;
use keyholder_fuzz::{PATIENCE, RUNTIME, abort_on_panic, address};
use libfuzzer_sys::fuzz_target;
use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

const UPGRADE: &str = "GET /graphql HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n";

fuzz_target!(|input: (Front, &[u8])| {
    abort_on_panic();
    let bytes = match input.0 {
        Front::Http => input.1.to_vec(),
        Front::Body => {
            let head =
                "POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: ";
            [format!("{head}{}\r\n\r\n", input.1.len()).as_bytes(), input.1].concat()
        }
        Front::Frames => [UPGRADE.as_bytes(), input.1].concat(),
        // Each line a text of its own, masked with zeros.
        Front::Messages => {
            let frames = input.1.split(|byte| *byte == b'\n').filter(|line| line.len() < 60_000).map(frame);
            [UPGRADE.as_bytes(), &frames.collect::<Vec<_>>().concat(), &[0x88, 0x80, 0, 0, 0, 0]].concat()
        }
    };
    let address = address();
    // Whoever sends half of something is cut off after a second, so that each has an end.
    let answer = RUNTIME.block_on(async { timeout(PATIENCE, answer(address, &bytes)).await.expect("an end") });
    let text = String::from_utf8_lossy(&answer);
    let mut statuses = text.match_indices("HTTP/1.1 5").map(|(at, _)| text.get(at + 9..at + 12));
    assert!(statuses.all(|status| status == Some("503")), "{text}");
    assert!(!text.contains("\"INTERNAL\""), "{text}");
});

/// What the bytes are put behind.
#[derive(Clone, Copy, Debug, Arbitrary)]
enum Front {
    Http,
    Body,
    Frames,
    Messages,
}

fn frame(text: &[u8]) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("a short line").to_be_bytes();
    [&[0x81, 0xfe, length[0], length[1], 0, 0, 0, 0], text].concat()
}

/// All that comes back until nothing more is to come.
async fn answer(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut answer = Vec::new();
    let Ok(mut stream) = TcpStream::connect(address).await else { panic!("nobody listens") };
    // What is cut off while it is sent was refused.
    if stream.write_all(bytes).await.is_ok() && stream.shutdown().await.is_ok() {
        let _ = stream.read_to_end(&mut answer).await;
    }
    answer
}
