//! How a refusal reads.

use std::{collections::HashMap, error::Error, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// What kind of refusal it is; few on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    BadRequest,
    NotSignedIn,
    Forbidden,
    NotFound,
    AlreadyExists,
    Conflict,
    Precondition,
    OverQuota,
    Unavailable,
    Unimplemented,
    TooLate,
    Internal,
}

impl Kind {
    #[must_use]
    pub fn code(self) -> Code {
        match self {
            Self::BadRequest => Code::InvalidArgument,
            Self::NotSignedIn => Code::Unauthenticated,
            Self::Forbidden => Code::PermissionDenied,
            Self::NotFound => Code::NotFound,
            Self::AlreadyExists => Code::AlreadyExists,
            Self::Conflict => Code::Aborted,
            Self::Precondition => Code::FailedPrecondition,
            Self::OverQuota => Code::ResourceExhausted,
            Self::Unavailable => Code::Unavailable,
            Self::Unimplemented => Code::Unimplemented,
            Self::TooLate => Code::DeadlineExceeded,
            Self::Internal => Code::Internal,
        }
    }
}

/// What a caller is told beside the error's text.
#[derive(Debug, Clone)]
pub struct Fault {
    pub kind: Kind,
    /// A value of the service's `…ErrorReason`, without its prefix.
    pub reason: &'static str,
    /// Whatever the message names, so that no client must parse it.
    pub metadata: Vec<(&'static str, String)>,
    /// The field of the request that is wrong.
    pub field: Option<FieldViolation>,
    /// What to do about it, in one sentence.
    pub hint: Option<String>,
    /// When to ask again.
    pub retry_after: Option<Duration>,
}

/// A field of the request and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldViolation {
    /// Its path, such as `image.name`.
    pub field: String,
    pub description: String,
}

impl Fault {
    #[must_use]
    pub fn new(kind: Kind, reason: &'static str) -> Self {
        Self { kind, reason, metadata: Vec::new(), field: None, hint: None, retry_after: None }
    }

    /// Adds something the message names.
    #[must_use]
    #[allow(clippy::needless_pass_by_value)] // ids are copied, numbers are literals
    pub fn with(mut self, key: &'static str, value: impl ToString) -> Self {
        self.metadata.push((key, value.to_string()));
        self
    }

    /// Says which field is wrong and how.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>, description: impl Into<String>) -> Self {
        self.field = Some(FieldViolation { field: field.into(), description: description.into() });
        self
    }

    /// Says what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says when to ask again.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    /// The status that says all this, with `message` as its text.
    ///
    /// It carries the request id of the running call, if there is one.
    #[must_use]
    pub fn into_status(self, domain: &str, message: &str) -> Status {
        let mut metadata = self
            .metadata
            .into_iter()
            .map(|(key, value)| (key.to_owned(), printable(&value)))
            .collect::<HashMap<_, _>>();
        let mut details = ErrorDetails::new();
        if let Some(hint) = self.hint {
            details.add_help_link(hint.clone(), format!("vmint:explain/{}", self.reason));
            metadata.insert("hint".to_owned(), hint);
        }
        details.set_error_info(self.reason, domain, metadata);
        if let Some(violation) = self.field {
            details.add_bad_request_violation(violation.field, violation.description);
        }
        if self.retry_after.is_some() {
            details.set_retry_info(self.retry_after);
        }
        if let Some(id) = crate::request_id() {
            details.set_request_info(id, "");
        }
        Status::with_error_details(self.kind.code(), printable(message), details)
    }
}

/// The text with its control characters spelled out: what a caller sent comes
/// back in messages, and must not steer a terminal or forge a log line.
fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        // Among them those that turn the direction of what follows.
        let steers = c.is_control()
            || matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if steers {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// An error that can be shown to a caller.
pub trait Describe: Error {
    /// Where its reasons belong, such as `catalog.vmint`.
    const DOMAIN: &'static str;

    fn fault(&self) -> Fault;
}

/// Turns an error into a status; logs it and hides its text if the fault is ours.
pub fn to_status<E: Describe>(error: &E) -> Status {
    let fault = error.fault();
    if fault.kind != Kind::Internal {
        return fault.into_status(E::DOMAIN, &error.to_string());
    }
    let reason = fault.reason;
    tracing::error!(error = %chain(error), reason, domain = E::DOMAIN, "request failed");
    // What it names may be as secret as its text.
    let shown = Fault { metadata: Vec::new(), field: None, ..fault };
    shown.into_status(E::DOMAIN, "an internal error occurred; the log of the service has it")
}

/// The error and everything under it, joined by colons.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_spelled_out() {
        let hostile = "`a\u{1b}[2J\r\nb\0\u{202e}c`: é ok";
        let status =
            Fault::new(Kind::NotFound, "GONE").with("name", hostile).into_status("d", hostile);
        let seen = Fault::from_status(&status);
        let expected = "`a\\u{1b}[2J\\r\\nb\\u{0}\\u{202e}c`: é ok";
        assert_eq!((seen.message.as_str(), seen.metadata["name"].as_str()), (expected, expected));
    }
}
