//! One thing at a time for each instance.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;
use vmint_ids::InstanceId;

type Lock = Arc<tokio::sync::Mutex<()>>;

/// Locks by instance; one that nobody holds or waits for takes no memory.
#[derive(Debug, Default)]
pub(super) struct Gates {
    locks: Mutex<HashMap<InstanceId, Lock>>,
}

impl Gates {
    /// Waits until nobody else works on the instance's machine.
    pub(super) async fn enter(&self, id: InstanceId) -> OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.locks.lock();
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
            Arc::clone(locks.entry(id).or_default())
        };
        lock.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_same_instance_waits_and_another_does_not() {
        let gates = Gates::default();
        let (a, b) = (InstanceId::random(), InstanceId::random());
        let held = gates.enter(a).await;
        let other = gates.enter(b).await;
        assert!(futures::poll!(std::pin::pin!(gates.enter(a))).is_pending());
        drop(held);
        drop(gates.enter(a).await);
        drop(other);
        drop(gates.enter(b).await);
        assert_eq!(gates.locks.lock().len(), 1);
    }
}
