use std::{fmt, time::Duration};

use prost::{Message, bytes::Bytes};
use tonic::Status;

use super::{At, Kind, StepError};

/// A [`Kind`] without its types: requests and memos as bytes, steps by number.
#[tonic::async_trait]
pub(super) trait AnyKind: Send + Sync {
    fn name(&self) -> &'static str;
    fn steps(&self) -> usize;
    fn pivot(&self) -> usize;
    fn patience(&self) -> Duration;
    fn step(&self, n: usize) -> &'static str;
    fn logged(&self, n: usize) -> bool;
    fn answers_early(&self) -> bool;
    async fn passed(&self, at: &At, request: &[u8]) -> Result<Option<Bytes>, StepError>;
    async fn run(&self, n: usize, at: &At, request: &[u8], memo: &[u8])
    -> Result<Bytes, StepError>;
    async fn undo(&self, n: usize, at: &At, request: &[u8], memo: &[u8]) -> Result<(), StepError>;
}

pub(super) struct Typed<K>(pub(super) K);

impl<K> fmt::Debug for Typed<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Typed")
    }
}

#[tonic::async_trait]
impl<K: Kind> AnyKind for Typed<K> {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn steps(&self) -> usize {
        K::STEPS.len()
    }

    fn pivot(&self) -> usize {
        K::PIVOT
    }

    fn patience(&self) -> Duration {
        K::PATIENCE
    }

    fn step(&self, n: usize) -> &'static str {
        K::STEPS.get(n).map_or("end", |step| K::name(*step))
    }

    fn logged(&self, n: usize) -> bool {
        n == K::PIVOT || n + 1 >= K::STEPS.len() || K::logged(K::STEPS[n])
    }

    fn answers_early(&self) -> bool {
        K::ANSWERS_EARLY
    }

    async fn passed(&self, at: &At, request: &[u8]) -> Result<Option<Bytes>, StepError> {
        let request = read::<K::Request>(request)?;
        let memo = self.0.passed(at, &request).await?;
        Ok(memo.map(|memo| memo.encode_to_vec().into()))
    }

    async fn run(
        &self,
        n: usize,
        at: &At,
        request: &[u8],
        memo: &[u8],
    ) -> Result<Bytes, StepError> {
        let request = read::<K::Request>(request)?;
        let mut memo = read::<K::Memo>(memo)?;
        self.0.run(K::STEPS[n], at, &request, &mut memo).await?;
        Ok(memo.encode_to_vec().into())
    }

    async fn undo(&self, n: usize, at: &At, request: &[u8], memo: &[u8]) -> Result<(), StepError> {
        // Logged when the kind had more steps: the present ones undo all that those did.
        let Some(step) = K::STEPS.get(n) else { return Ok(()) };
        let (request, memo) = (read::<K::Request>(request)?, read::<K::Memo>(memo)?);
        self.0.undo(*step, at, &request, &memo).await
    }
}

fn read<M: Message + Default>(bytes: &[u8]) -> Result<M, StepError> {
    M::decode(bytes)
        .map_err(|error| StepError::Permanent(Status::internal(format!("a saga's log: {error}"))))
}
