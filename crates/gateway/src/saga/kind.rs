use std::time::Duration;

use prost::Message;
use tonic::{Code, Status};
use vmint_api::types::v1::SagaStep;
use vmint_rpc::{Caller, Fault};

use super::SagaId;

/// One kind of saga: its steps, and how each is done and undone.
///
/// Steps are level-triggered: doing one twice, or undoing one that was never
/// done, is the same as once, or nothing.
#[tonic::async_trait]
pub(crate) trait Kind: Send + Sync + 'static {
    /// The steps, an enum without fields.
    type Step: Copy + Send + Sync + 'static;
    /// What it is asked, with every id it needs; logged before the first step.
    type Request: Message + Default;
    /// What its steps learn for later ones, and for whoever waits.
    type Memo: Message + Default;

    const NAME: &'static str;
    /// In order; at most 12.
    const STEPS: &'static [Self::Step];
    /// Once this step is done there is no way back.
    const PIVOT: usize;
    /// How long, before the pivot, a service may be unavailable.
    const PATIENCE: Duration;
    /// Who waits for the end is answered when the last step is done, while that is
    /// being logged. Only for a kind whose pivot is its last step and that knows
    /// by [`Self::passed`] whether it was done.
    const ANSWERS_EARLY: bool = false;

    fn name(step: Self::Step) -> &'static str;

    /// Whether the end of this step is logged. The pivot's and the last one's
    /// always are; others are done again after a crash unless it is.
    fn logged(_: Self::Step) -> bool {
        false
    }

    async fn run(
        &self,
        step: Self::Step,
        at: &At,
        request: &Self::Request,
        memo: &mut Self::Memo,
    ) -> Result<(), StepError>;

    async fn undo(
        &self,
        step: Self::Step,
        at: &At,
        request: &Self::Request,
        memo: &Self::Memo,
    ) -> Result<(), StepError>;

    /// What was learned by the end, if the last step was done. Asked first when a
    /// saga that answers early is resumed: what was answered is never undone.
    async fn passed(&self, _: &At, _: &Self::Request) -> Result<Option<Self::Memo>, StepError> {
        Ok(None)
    }
}

/// Which step of which saga is running, and for whom.
#[derive(Debug, Clone)]
pub(crate) struct At {
    pub(crate) saga: SagaId,
    pub(crate) step: String,
    pub(crate) epoch: u64,
    pub(crate) account: String,
    /// Of the request that began it.
    pub(crate) request_id: String,
    /// Why it is being undone.
    pub(crate) failure: Option<String>,
}

impl At {
    /// What the call of a participant carries.
    #[expect(clippy::unnecessary_wraps, reason = "requests hold an Option")]
    pub(crate) fn saga_step(&self) -> Option<SagaStep> {
        Some(SagaStep {
            saga_id: self.saga.to_string(),
            step: self.step.clone(),
            epoch: self.epoch,
        })
    }

    /// Participants are called by the gateway itself, under the request's id.
    pub(crate) fn caller(&self) -> Caller {
        let mut caller = Caller::service(vmint_rpc::GATEWAY);
        caller.request_id.clone_from(&self.request_id);
        caller
    }
}

/// Why a step did not get done.
#[derive(Debug, Clone)]
pub(crate) enum StepError {
    /// It may work later, or may have worked.
    Retryable(Status),
    /// It never will.
    Permanent(Status),
    /// Another gateway has taken over.
    Fenced(Status),
}

impl StepError {
    pub(crate) fn status(&self) -> &Status {
        match self {
            Self::Retryable(status) | Self::Permanent(status) | Self::Fenced(status) => status,
        }
    }
}

impl From<Status> for StepError {
    fn from(status: Status) -> Self {
        // A transport's own failure says nothing of what became of the call.
        let broken = std::error::Error::source(&status).is_some();
        match status.code() {
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Aborted => {
                Self::Retryable(status)
            }
            Code::Unknown | Code::Internal if broken => Self::Retryable(status),
            Code::FailedPrecondition if Fault::from_status(&status).reason == "SAGA_FENCED" => {
                Self::Fenced(status)
            }
            _ => Self::Permanent(status),
        }
    }
}
