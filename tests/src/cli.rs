//! What a command said.

use std::process::Output;

/// A command that has ended.
#[derive(Debug, Clone)]
pub struct Said {
    /// Its exit code; -1 if a signal ended it.
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).trim().to_owned(),
            err: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        }
    }
}

impl Said {
    /// What it printed, if it did what was asked.
    #[allow(clippy::must_use_candidate, reason = "often only the success matters")]
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "the command failed: {self:#?}");
        self.out
    }

    /// The words of a refusal with this exit code and reason.
    #[allow(clippy::must_use_candidate, reason = "often only the success matters")]
    #[track_caller]
    pub fn refused(self, code: i32, reason: &str) -> String {
        assert_eq!(self.code, code, "another exit code: {self:#?}");
        assert!(self.err.contains(reason), "another reason than {reason}: {self:#?}");
        assert!(self.err.starts_with("error: "), "no words: {self:#?}");
        self.err
    }
}
