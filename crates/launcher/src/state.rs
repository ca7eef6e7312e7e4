//! The states of an instance and which may follow which.

use std::fmt;

/// Where an instance stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Being launched or started.
    Pending,
    /// Its machine runs.
    Running,
    /// Asked to stop.
    Stopping,
    /// Off; can be started.
    Stopped,
    /// Being ended.
    ShuttingDown,
    /// Ended for good.
    Terminated,
}

impl State {
    pub const ALL: [Self; 6] = [
        Self::Pending,
        Self::Running,
        Self::Stopping,
        Self::Stopped,
        Self::ShuttingDown,
        Self::Terminated,
    ];

    /// Whether `next` may follow.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        use State as S;
        match next {
            S::Pending => self == S::Stopped,
            S::Running => self == S::Pending,
            S::Stopping => self == S::Running,
            S::Stopped => matches!(self, S::Pending | S::Running | S::Stopping),
            S::ShuttingDown => !matches!(self, S::ShuttingDown | S::Terminated),
            S::Terminated => self == S::ShuttingDown,
        }
    }

    /// Whether an instance in this state takes memory of the host.
    #[must_use]
    pub fn holds_capacity(self) -> bool {
        !matches!(self, Self::Stopped | Self::Terminated)
    }

    /// Whether a machine must exist.
    #[must_use]
    pub fn has_machine(self) -> bool {
        matches!(self, Self::Running | Self::Stopping)
    }

    /// EC2's number of it.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Pending => 0,
            Self::Running => 16,
            Self::ShuttingDown => 32,
            Self::Terminated => 48,
            Self::Stopping => 64,
            Self::Stopped => 80,
        }
    }

    /// EC2's name of it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::ShuttingDown => "shutting-down",
            Self::Terminated => "terminated",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_follows_the_end_and_everything_else_can_end() {
        for state in State::ALL {
            assert!(!State::Terminated.may_become(state));
            let ends = state.may_become(State::ShuttingDown) || state == State::ShuttingDown;
            assert_eq!(ends, state != State::Terminated);
            assert!(!state.may_become(state));
        }
    }

    #[test]
    fn only_a_stopped_instance_can_be_started() {
        let can: Vec<_> = State::ALL.iter().filter(|s| s.may_become(State::Pending)).collect();
        assert_eq!(can, [&State::Stopped]);
    }
}
