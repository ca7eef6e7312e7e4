use crate::Code;

/// A refusal in EC2's words: what is wrong and what to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", code.wire())]
pub struct Error {
    pub code: Code,
    pub message: String,
}

impl Error {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// A parameter that must be given is not.
    #[must_use]
    pub fn missing(parameter: &str) -> Self {
        let text = format!("The request must contain the parameter {parameter}");
        Self::new(Code::MissingParameter, text)
    }

    /// A parameter has a value that it can't have.
    #[must_use]
    pub fn invalid(parameter: &str, value: &str, why: &str) -> Self {
        let value = shortened(value);
        let text = format!("Value ({value}) for parameter {parameter} is invalid. {why}");
        Self::new(Code::InvalidParameterValue, text)
    }

    /// The operation has no such parameter.
    #[must_use]
    pub fn unknown(parameter: &str) -> Self {
        let text = format!("The parameter {} is not recognized", shortened(parameter));
        Self::new(Code::UnknownParameter, text)
    }

    /// Two parameters that do not go together.
    pub fn combination(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidParameterCombination, message)
    }

    /// The operation was not carried out because the caller asked so; all else
    /// would have let it.
    #[must_use]
    pub fn dry_run() -> Self {
        let text = "Request would have succeeded, but DryRun flag is set.";
        Self::new(Code::DryRunOperation, text)
    }

    /// There is no such filter.
    #[must_use]
    pub fn filter(name: &str) -> Self {
        let text = format!("The filter '{}' is invalid", shortened(name));
        Self::new(Code::InvalidParameterValue, text)
    }
}

/// What a caller sent, short enough to be sent back.
fn shortened(text: &str) -> String {
    const MOST: usize = 256;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
