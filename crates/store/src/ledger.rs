use crate::{Key, StoreError, Table, Tx, TxError, key};

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
        if let Some(answer) = self.answered(tx, asked)? {
            return Ok(answer);
        }
        let value = work(tx)?;
        if asked.request_id.is_empty() {
            return Ok(value);
        }
        let (week, id) = (week(tx), asked.hash());
        let answer = Answer { digest: asked.digest.to_vec(), body: value.encode_to_vec() };
        self.answers.put_uncounted(tx, &(week, id), &answer)?;
        self.forget(tx, week)?;
        Ok(value)
    }

    /// The old answer if there is one: for what must be asked elsewhere before
    /// the work can be done.
    pub fn answered<T, E>(&self, tx: &Tx<'_>, asked: &Asked) -> Result<Option<T>, TxError<E>>
    where
        T: prost::Message + Default,
        E: From<Reused>,
    {
        if asked.request_id.is_empty() {
            return Ok(None);
        }
        let (week, id) = (week(tx), asked.hash());
        for week in [week, week.saturating_sub(1)] {
            let Some(answer) = self.answers.get(tx, &(week, id))? else { continue };
            if answer.digest != asked.digest {
                return Err(TxError::Refused(Reused(asked.request_id.clone()).into()));
            }
            let corrupt = |_| StoreError::Corrupt { place: self.answers.name().to_owned() };
            return Ok(Some(T::decode(answer.body.as_slice()).map_err(corrupt)?));
        }
        Ok(None)
    }

    /// Removes a few answers that are too old, more than one commit adds.
    fn forget(&self, tx: &mut Tx<'_>, week: u32) -> Result<(), StoreError> {
        let kept = |key: &(u32, [u8; 32])| key.0.saturating_add(1) >= week;
        let front = tx.front(self.answers.name()).map(<[u8]>::to_vec);
        if front.as_deref().and_then(Key::decode).is_some_and(|front| kept(&front)) {
            return Ok(());
        }
        for (key, _) in self.answers.scan(tx, &[], front.as_deref(), 4)? {
            if kept(&key) {
                // The first of its week, or what would be.
                tx.changes.fronts.insert(self.answers.name(), (key.0, [0; 32]).encode());
                break;
            }
            self.answers.remove_uncounted(tx, &key)?;
            tx.changes.fronts.insert(self.answers.name(), key.encode());
        }
        Ok(())
    }
}

fn week(tx: &Tx<'_>) -> u32 {
    u32::try_from(tx.now_ms() / WEEK_MS).unwrap_or(u32::MAX)
}

impl Asked {
    /// A name of fixed length, however long the texts are.
    fn hash(&self) -> [u8; 32] {
        let parts: [&dyn key::Part; 3] = [&self.account, &self.method, &self.request_id];
        *blake3::hash(&key::prefix(&parts)).as_bytes()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may")]

    use std::collections::HashMap;

    use super::*;
    use crate::{
        layer::Writes,
        recent::Recent,
        tx::{Below, Fronts},
        view::MemoryView,
    };

    static LEDGER: Ledger = Ledger::new("requests");

    #[derive(Debug)]
    struct Refused;

    impl From<Reused> for Refused {
        fn from(_: Reused) -> Self {
            Self
        }
    }

    /// A ledger, and transactions at any time.
    #[derive(Default)]
    struct Bench {
        pending: Writes,
        fronts: Fronts,
    }

    impl Bench {
        /// Asks under `id` in `week`; whether the work was done anew.
        fn ask(&mut self, week: u64, id: u64) -> bool {
            let recent = Recent::new(Box::<MemoryView>::default(), 1, 0, (Writes::new(), 0));
            let (mut tables, heads) = (HashMap::new(), HashMap::new());
            let below = Below { pending: &self.pending, recent: &recent };
            let mut tx =
                Tx::new(below, &mut tables, (&heads, &self.fronts), week * WEEK_MS, u64::MAX);
            let request_id = id.to_string();
            let asked =
                Asked { account: "a".into(), method: "m".into(), request_id, digest: [0; 32] };
            let mut worked = false;
            let done: Result<Answer, TxError<Refused>> = LEDGER.once(&mut tx, &asked, |_| {
                worked = true;
                Ok(Answer::default())
            });
            done.unwrap();
            let changes = tx.changes;
            self.fronts.extend(changes.fronts);
            for (key, value) in changes.writes {
                match value {
                    Some(value) => self.pending.insert(key, Some(value)),
                    None => self.pending.remove(&key),
                };
            }
            worked
        }
    }

    #[test]
    fn answers_are_kept_a_week_and_then_go_a_few_at_a_time() {
        let mut bench = Bench::default();
        assert!((0..10).all(|id| bench.ask(100, id)));
        assert!((0..10).all(|id| !bench.ask(101, id)), "a week later they are still there");
        assert_eq!(bench.pending.len(), 10);
        assert!((10..12).all(|id| bench.ask(102, id)));
        assert_eq!(bench.pending.len(), 10 + 2 - 8, "each new one takes four old ones along");
        assert!((12..20).all(|id| bench.ask(102, id)));
        assert_eq!(bench.pending.len(), 10, "those of this week only");
        assert!((10..20).all(|id| !bench.ask(103, id)));
        assert!(bench.ask(200, 10), "it is new again");
        assert_eq!(bench.pending.len(), 7);
    }
}
