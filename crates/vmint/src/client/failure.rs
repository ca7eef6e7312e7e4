//! What went wrong, as a person reads it, and the exit code that says it.

use std::{fmt::Write as _, process::ExitCode};

use tonic::{Code, Status};
use vmint_rpc::{Fault, Seen};

/// Why a command did not do what was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    hints: Vec<String>,
    /// Reason and request id.
    more: Option<String>,
    code: u8,
}

pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// A plain failure (exit code 1).
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hints: Vec::new(), more: None, code: 1 }
    }

    /// Wrong usage (exit code 2).
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { code: 2, ..Self::new(message) }
    }

    /// What a task ended with: a bad file (exit code 2), or whatever else (5).
    pub(crate) fn refused(message: impl Into<String>, reason: &str) -> Self {
        let code = if reason.starts_with("IMAGE_") { 2 } else { 5 };
        let more = (!reason.is_empty()).then(|| reason.to_owned());
        Self { more, code, ..Self::new(message) }
    }

    /// Nothing answers (exit code 7).
    pub(crate) fn unreachable(message: impl Into<String>) -> Self {
        Self { code: 7, ..Self::new(message) }
    }

    /// Adds what to type next.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Prints it and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        let mut text = format!("error: {}\n", self.message);
        for hint in self.hints.iter().take(3) {
            let _ = writeln!(text, "  hint: {hint}");
        }
        if let Some(more) = &self.more {
            let _ = writeln!(text, "  more: {more}");
        }
        eprint!("{text}");
        ExitCode::from(self.code)
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let seen: Seen = Fault::from_status(&status);
        let code = match status.code() {
            Code::NotFound => 3,
            Code::PermissionDenied | Code::Unauthenticated => 4,
            Code::FailedPrecondition if seen.reason == "SUBSCRIPTION_REQUIRED" => 6,
            Code::FailedPrecondition | Code::Aborted | Code::AlreadyExists => 5,
            Code::ResourceExhausted => 6,
            Code::Unavailable | Code::DeadlineExceeded => 7,
            Code::InvalidArgument => 2,
            _ => 1,
        };
        let mut failure = Self { code, ..Self::new(status.message()) };
        let away = seen.reason.is_empty() || seen.reason == "SERVICE_UNREACHABLE";
        if away && status.code() == Code::Unavailable {
            "nothing answers at the gateway's address".clone_into(&mut failure.message);
            failure = failure
                .hint("vmint up -d              start it")
                .hint("vmint --url HOST:PORT …  or point elsewhere");
        }
        if let Some(hint) = seen.hint {
            failure = failure.hint(hint);
        }
        if !seen.reason.is_empty() {
            let id = seen.request_id.unwrap_or_default();
            failure.more = Some(format!("{}  {id}", seen.reason).trim_end().to_owned());
        }
        failure
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(plain(&error))
    }
}

/// An I/O error without its number.
pub(crate) fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}
