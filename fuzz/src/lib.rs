//! What the targets share: a server in this process, on a database of its own.

use keyholder::{
    app::App,
    clock::Clock,
    config::Config,
    http::{Server, graphiql::Cast},
    server::{self, Running},
};
use std::{net::SocketAddr, sync::LazyLock, time::Duration};
use tokio::runtime::Runtime;

/// Where the targets' futures run.
pub static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));

static RUNNING: LazyLock<Running> = LazyLock::new(|| RUNTIME.block_on(start()));

/// The settings of the server.
pub fn config() -> Config {
    let directory = std::env::temp_dir().join(format!("keyholder-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let url = format!("sqlite://{}", directory.join("fuzz.db").display());
    Config::from_pairs(true, &[("listen", "127.0.0.1:0"), ("database_url", &url), ("client_timeout", "1s")]).expect("settings")
}

async fn start() -> Running {
    let config = config();
    let listener = server::listen(&config).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let app = server::build(config, Clock::default(), address).await.expect("an app");
    server::start(app, listener, Cast::default()).await.expect("a server")
}

/// What the handlers of a server of the same parts share.
pub fn edge() -> &'static Server {
    static EDGE: LazyLock<Server> = LazyLock::new(|| {
        let (stop, shutdown) = tokio::sync::watch::channel(false);
        // It never stops.
        std::mem::forget(stop);
        RUNTIME.block_on(server::edge(app(), Cast::default(), shutdown)).expect("an edge")
    });
    &EDGE
}

/// The server's parts.
pub fn app() -> &'static App {
    &RUNNING.app
}

/// Where it listens.
pub fn address() -> SocketAddr {
    RUNNING.address
}

/// How long an answer may take.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Makes every panic an end of the process: the server would answer for it, and go on.
pub fn abort_on_panic() {
    static ONCE: LazyLock<()> = LazyLock::new(|| {
        let told = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            told(panic);
            std::process::abort();
        }));
    });
    LazyLock::force(&ONCE);
}
