//! Looking through everything for damage.

use crate::{Store, StoreError, checkpoint, envelope, view};

/// What a scrub saw.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    pub records: u64,
    pub checkpoints: u64,
    pub rows: u64,
    /// One line each; empty if all is sound.
    pub problems: Vec<String>,
}

impl Store {
    /// Reads the whole journal, every checkpoint and the whole view and checks
    /// each against its sums. Blocks; commits go on meanwhile.
    #[must_use]
    pub fn scrub(&self) -> Report {
        let mut report = Report::default();
        let inner = self.inner();
        let read = inner.journal().read(0, self.sequence(), &mut |_| {
            report.records += 1;
            Ok(())
        });
        report.note(read);
        if let Some(disk) = &inner.disk {
            let known = checkpoint::list(&disk.checkpoints()).unwrap_or_default();
            for (_, path) in known {
                match check(&path) {
                    // The keeper may have removed it since.
                    Err(_) if !path.exists() => {}
                    Err(error) => report.problems.push(format!("{}: {error}", path.display())),
                    Ok(()) => report.checkpoints += 1,
                }
            }
        }
        let read = self.scrub_view(&mut report);
        report.note(read);
        report
    }

    fn scrub_view(&self, report: &mut Report) -> Result<(), StoreError> {
        self.inner().recent.settle();
        let view = self.inner().view();
        let before = view.seq();
        let mut seen = Rows::default();
        view::walk(view, |key, value| {
            report.rows += 1;
            seen.add(key, value);
            if let Err(error) = envelope::open(key, value) {
                report.problems.push(error.to_string());
            }
            Ok(())
        })?;
        // Only a view that stood still can be compared as a whole.
        if let Some(seq) = before
            && view.seq() == before
        {
            let mut told = Rows::default();
            checkpoint::rows(self.base(seq)?.as_deref(), self.inner().journal(), seq, |k, v| {
                told.add(k, v);
                Ok(())
            })?;
            if told.end() != seen.end() {
                report.problems.push("the view is not what the journal says".to_owned());
            }
        }
        Ok(())
    }
}

/// The hash of a sequence of rows.
#[derive(Default)]
struct Rows {
    hasher: blake3::Hasher,
    /// Rows not hashed yet: many small ones cost more than a large one.
    buffer: Vec<u8>,
}

impl Rows {
    fn add(&mut self, key: &[u8], value: &[u8]) {
        for part in [key, value] {
            self.buffer.extend_from_slice(&(part.len() as u64).to_le_bytes());
            self.buffer.extend_from_slice(part);
        }
        if self.buffer.len() > 64 << 10 {
            self.hasher.update(&self.buffer);
            self.buffer.clear();
        }
    }

    fn end(mut self) -> blake3::Hash {
        self.hasher.update(&self.buffer).finalize()
    }
}

impl Report {
    fn note(&mut self, outcome: Result<(), StoreError>) {
        self.problems.extend(outcome.err().map(|error| error.to_string()));
    }
}

fn check(path: &std::path::Path) -> Result<(), StoreError> {
    let mut reader = checkpoint::Reader::open(path)?;
    while reader.next()?.is_some() {}
    Ok(())
}
