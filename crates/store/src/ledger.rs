use crate::{StoreError, Table, Tx, TxError, key};

/// Answers are found again for at least this long, and at most twice as long.
const WEEK_MS: u64 = 7 * 24 * 3600 * 1000;

/// Answers already given, so that a repeated request is not carried out twice.
///
/// Kept for at least seven days.
#[derive(Debug, Clone)]
pub struct Ledger {
    answers: Table<(u32, [u8; 32]), Answer>,
}

/// One request id, as one account used it on one method.
#[derive(Debug, Clone)]
pub struct Asked {
    pub account: String,
    pub method: String,
    /// Empty: the caller does not ask for idempotency.
    pub request_id: String,
    /// Of the request's body.
    pub digest: [u8; 32],
}

/// The id came back with another body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("request id `{0}` was used before, for another request; draw a new one")]
pub struct Reused(pub String);

#[derive(Clone, PartialEq, prost::Message)]
struct Answer {
    #[prost(bytes = "vec", tag = "1")]
    digest: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    body: Vec<u8>,
}

impl Ledger {
    /// A ledger kept in the table `name`.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { answers: Table::new(name) }
    }

    /// Gives the old answer if there is one; else does the work and keeps its
    /// answer, all in the transaction `tx`. A refusal is not kept.
    pub fn once<T, E>(
        &self,
        tx: &mut Tx<'_>,
        asked: &Asked,
        work: impl FnOnce(&mut Tx<'_>) -> Result<T, TxError<E>>,
    ) -> Result<T, TxError<E>>
    where
        T: prost::Message + Default,
        E: From<Reused>,
    {
        if asked.request_id.is_empty() {
            return work(tx);
        }
        let week = u32::try_from(tx.now_ms() / WEEK_MS).unwrap_or(u32::MAX);
        let id = asked.hash();
        for week in [week, week.saturating_sub(1)] {
            let Some(answer) = self.answers.get(tx, &(week, id))? else { continue };
            if answer.digest != asked.digest {
                return Err(TxError::Refused(Reused(asked.request_id.clone()).into()));
            }
            let corrupt = |_| StoreError::Corrupt { place: self.answers.name().to_owned() };
            return Ok(T::decode(answer.body.as_slice()).map_err(corrupt)?);
        }
        let value = work(tx)?;
        let answer = Answer { digest: asked.digest.to_vec(), body: value.encode_to_vec() };
        self.answers.put_uncounted(tx, &(week, id), &answer)?;
        self.forget(tx, week)?;
        Ok(value)
    }

    /// Removes a few answers that are too old, more than one commit adds.
    fn forget(&self, tx: &mut Tx<'_>, week: u32) -> Result<(), StoreError> {
        for (key, _) in self.answers.scan(tx, &[], None, 4)? {
            if key.0.saturating_add(1) >= week {
                break;
            }
            self.answers.remove_uncounted(tx, &key)?;
        }
        Ok(())
    }
}

impl Asked {
    /// A name of fixed length, however long the texts are.
    fn hash(&self) -> [u8; 32] {
        let parts: [&dyn key::Part; 3] = [&self.account, &self.method, &self.request_id];
        *blake3::hash(&key::prefix(&parts)).as_bytes()
    }
}
