use crate::{Read, StoreError, Table, Tx, TxError};

/// Keeps out a writer that another has taken over from.
///
/// Writers carry an epoch that grows with each takeover; what comes with a
/// lower one than was seen before is refused. The highest lies in a table of
/// the service, under a key that nothing else uses.
#[derive(Debug, Clone)]
pub struct Fence {
    table: Table<Vec<u8>, Epoch>,
    key: &'static [u8],
}

/// The writer's epoch is out of date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the step is of epoch {epoch}, and epoch {seen} has been here: another gateway has taken over"
)]
pub struct Fenced {
    pub epoch: u64,
    pub seen: u64,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Epoch {
    #[prost(uint64, tag = "1")]
    value: u64,
}

impl Fence {
    /// A fence kept in the table `name` under the encoded key `key`.
    #[must_use]
    pub const fn new(name: &'static str, key: &'static [u8]) -> Self {
        Self { table: Table::new(name), key }
    }

    /// The highest epoch admitted so far; 0 if none was.
    pub fn seen(&self, read: &impl Read) -> Result<u64, StoreError> {
        Ok(self.table.get(read, &self.key.to_vec())?.unwrap_or_default().value)
    }

    /// Refuses `epoch` if a higher one has been here; else remembers it, with
    /// the transaction `tx`.
    pub fn admit<E: From<Fenced>>(&self, tx: &mut Tx<'_>, epoch: u64) -> Result<(), TxError<E>> {
        let seen = self.seen(tx)?;
        if epoch < seen {
            return Err(TxError::refuse(Fenced { epoch, seen }));
        }
        if epoch > seen {
            self.table.put_uncounted(tx, &self.key.to_vec(), &Epoch { value: epoch })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may")]

    use super::*;
    use crate::Store;

    static FENCE: Fence = Fence::new("numbers", b"epoch");
    /// Another use of the same table.
    static NUMBERS: Table<String, Epoch> = Table::new("numbers");

    #[tokio::test]
    async fn an_older_epoch_is_kept_out_and_a_refused_step_moves_nothing() {
        let store = Store::in_memory();
        let admit = |epoch: u64, keep: bool| {
            store.commit(move |tx| {
                NUMBERS.put(tx, &"other".to_owned(), &Epoch { value: 1 })?;
                FENCE.admit(tx, epoch)?;
                if keep { Ok(()) } else { Err(TxError::Refused(None)) }
            })
        };
        let refused = |done: Result<(), TxError<Option<Fenced>>>| match done {
            Err(TxError::Refused(why)) => why,
            other => panic!("{other:?}"),
        };
        assert_eq!(FENCE.seen(&store).unwrap(), 0);
        admit(0, true).await.unwrap();
        admit(2, true).await.unwrap();
        admit(2, true).await.unwrap();
        assert_eq!(refused(admit(3, false).await), None);
        assert_eq!(FENCE.seen(&store).unwrap(), 2);
        assert_eq!(refused(admit(1, true).await), Some(Fenced { epoch: 1, seen: 2 }));
        let number = NUMBERS.get(&store, &"epoch".to_owned()).unwrap().unwrap();
        assert_eq!(number.value, 2, "it lies where the services have it");
    }
}
