//! The log of the process: what is written, and what never is.
//!
//! Libraries write what they read and send at their lowest levels, so access tokens and passwords would be in the log. The
//! allow-list here holds whatever the setting says: the server's own targets at any level, and every other at `FOREIGN_MAX`.

use crate::config::LogFormat;
use std::io::IsTerminal;
use tracing::{Level, Metadata};
use tracing_subscriber::{EnvFilter, filter::filter_fn, layer::SubscriberExt, util::SubscriberInitExt};

/// The most verbose level at which a library is logged.
const FOREIGN_MAX: Level = Level::INFO;

/// Starts the log of this process on standard error, by a filter such as `info,keyholder::mail=debug`.
pub fn start(filter: &str, format: LogFormat) -> Result<(), Box<dyn std::error::Error>> {
    let builder = tracing_subscriber::fmt().with_env_filter(EnvFilter::try_new(filter)?).with_writer(std::io::stderr);
    // What is read by a program, or kept in a file, has no colours.
    let builder = builder.with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => builder.finish().with(filter_fn(may_be_logged)).try_init()?,
        LogFormat::Json => builder.json().finish().with(filter_fn(may_be_logged)).try_init()?,
    }
    Ok(())
}

/// Whether a span or an event may be logged at all.
fn may_be_logged(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    let own = target == "keyholder" || target.starts_with("keyholder::");
    own || *metadata.level() <= FOREIGN_MAX
}
