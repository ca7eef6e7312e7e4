//! Looking through everything for damage.

use std::io;

use crate::{Store, StoreError, checkpoint, digest::Digest, envelope, view};

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
        let before = view.mark()?;
        let mut digest = Digest::default();
        view::walk(view, |key, value| {
            report.rows += 1;
            digest.add(key, value);
            if let Err(error) = envelope::open(key, value) {
                report.problems.push(error.to_string());
            }
            Ok(())
        })?;
        // Only a view that stood still can be compared as a whole.
        if let Some(mark) = before
            && view.mark()? == before
            && (mark.digest != digest || self.state(mark.seq, &mut io::sink())? != digest)
        {
            report.problems.push("the view is not what the journal says".to_owned());
        }
        Ok(())
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
