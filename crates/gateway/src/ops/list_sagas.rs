use prost_types::Timestamp;
use tonic::Status;
use vmint_api::gateway::v1::{Saga, SagaState};

use super::Gateway;
use crate::{
    GatewayError,
    saga::{Listed, State},
};

const AT_MOST: usize = 100;

impl Gateway {
    /// Sagas that have not ended and the last that have, the newest first.
    pub(crate) fn list_sagas(&self) -> Result<Vec<Saga>, Status> {
        let listed = self.sagas.list(AT_MOST).map_err(GatewayError::from)?;
        Ok(listed.into_iter().map(saga).collect())
    }
}

fn saga(listed: Listed) -> Saga {
    let Listed { id, row, step, error } = listed;
    let state = match row.state() {
        State::Running => SagaState::Running,
        State::Unwinding => SagaState::Unwinding,
        State::Done => SagaState::Done,
        State::Undone => SagaState::Undone,
    };
    let seconds = i64::try_from(row.started_ms / 1000).unwrap_or(i64::MAX);
    let nanos = i32::try_from(row.started_ms % 1000).unwrap_or(0) * 1_000_000;
    Saga {
        saga_id: id.to_string(),
        kind: row.kind,
        account_id: row.account,
        state: state.into(),
        step,
        error,
        start_time: Some(Timestamp { seconds, nanos }),
        attempts: i32::try_from(row.attempts).unwrap_or(i32::MAX),
    }
}
