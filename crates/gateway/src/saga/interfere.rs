use std::fmt;

use tonic::Status;

/// When, around a log write, the process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    Before,
    After,
}

/// What tests do to an executor: repeat steps, fail them, stop at a log write.
pub(crate) trait Interfere: fmt::Debug + Send + Sync + 'static {
    /// How often a step is done (or undone) where once is enough.
    fn times(&self, _step: &str, _undo: bool) -> u32 {
        1
    }

    /// A refusal in place of the step, or of its answer.
    fn refuse(&self, _step: &str, _when: Moment) -> Option<Status> {
        None
    }

    /// Whether all ends here, around the log write of this number (from 0).
    fn dies(&self, _write: u64, _when: Moment) -> bool {
        false
    }
}

/// Does nothing; or, with the feature `failpoints`, ends the process at the log
/// write that `VMINT_GATEWAY_DIE_AT` names, as `3:before` or `3:after`.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Calm;

impl Interfere for Calm {
    #[cfg(feature = "failpoints")]
    fn dies(&self, write: u64, when: Moment) -> bool {
        let Ok(at) = std::env::var("VMINT_GATEWAY_DIE_AT") else { return false };
        let moment = if when == Moment::Before { "before" } else { "after" };
        if at == format!("{write}:{moment}") {
            std::process::abort();
        }
        false
    }
}
