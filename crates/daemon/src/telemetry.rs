//! Structured logs.

use std::{env, io::IsTerminal as _};

use serde::{Deserialize, Serialize};
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// What is logged and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// A filter such as `info,vmint_store=debug`. `VMINT_LOG` and `RUST_LOG`
    /// go before it, in that order.
    pub filter: String,
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people on a terminal, JSON elsewhere.
    #[default]
    Auto,
    Text,
    Json,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { filter: "info".to_owned(), format: LogFormat::Auto }
    }
}

/// Says every frame at `debug`; only listened to when the filter names it.
const QUIET: &str = "h2=info,hyper=info,hyper_util=info,rustls=info,tonic=info,tower=info";

/// The filter cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("`{filter}` is not a log filter; write for example `info,vmint_store=debug`")]
pub struct BadFilter {
    filter: String,
    source: tracing_subscriber::filter::ParseError,
}

/// Sends the process's log to its standard error. Does nothing the second time.
pub fn init(config: &LogConfig) -> Result<(), BadFilter> {
    let from_env = ["VMINT_LOG", "RUST_LOG"].iter().find_map(|name| env::var(name).ok());
    let filter = from_env.filter(|f| !f.is_empty()).unwrap_or_else(|| config.filter.clone());
    let parsed = EnvFilter::try_new(format!("{QUIET},{filter}"))
        .map_err(|source| BadFilter { filter, source })?;
    let terminal = std::io::stderr().is_terminal();
    let json = match config.format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let base = fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(parsed);
    // An error means that someone was here before, as in a test of several services.
    let _already_set = if json {
        registry.with(base.json().flatten_event(true).with_span_list(false)).try_init()
    } else {
        registry.with(base.with_ansi(terminal).with_target(false)).try_init()
    };
    Ok(())
}
