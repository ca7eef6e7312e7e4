//! Fetching a disk file from a URL: only from the public internet, in bounds,
//! and on from where it was after a cut.

mod file;
mod net;
mod reach;
#[cfg(test)]
mod tests;

use std::{ops::Range, sync::Arc, time::Duration};

use http::{HeaderMap, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::{
    Result, Storage, StorageError,
    import_task::{Fetched, Task},
    import_url::ImportUrl,
    store::import_tasks,
    transfers::Job,
};
use file::Landing;
pub(crate) use net::{Internet, Net};
use reach::{Broken, Open, reach};

/// How long a server may say nothing.
const IDLE: Duration = Duration::from_secs(30);
/// What a whole file may take, tries and all.
const TOTAL: Duration = Duration::from_hours(2);
/// Attempts in a row that bring nothing.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);

/// A file that begins to come.
struct Coming {
    open: Open<Incoming>,
    /// Where its first byte belongs.
    from: u64,
    of: Option<u64>,
    version: String,
}

impl Storage {
    /// Fetches the file of an import's `n`th disk, from where it was left, and
    /// shows the progress within `span` percent.
    pub(super) async fn fetch(
        &self,
        task: &Task,
        n: usize,
        url: &ImportUrl,
        job: &Arc<Job>,
        span: Range<u64>,
    ) -> Result<()> {
        let path = self.transfers.fetch(task.id, n);
        let mut landing = Landing::open(path, task.disks[n].fetched.clone()).await?;
        let until = Instant::now() + TOTAL;
        let mut tries = 0;
        while !landing.is_complete() {
            let before = landing.at();
            let attempt = self.attempt(task, n, url, &mut landing, job, &span);
            let attempt = tokio::select! {
                () = job.stop.cancelled() => Err(Broken::Other(StorageError::Cancelled)),
                done = timeout_at(until, attempt) => done.unwrap_or_else(|_| {
                    Err(Broken::ForGood("it takes longer than two hours".to_owned()))
                }),
            };
            let why = match attempt {
                Ok(()) => continue,
                Err(Broken::Other(error)) => return Err(error),
                Err(Broken::ForGood(why)) => return Err(failed(url, why)),
                Err(Broken::ForNow(why)) => why,
            };
            landing.rest().await?;
            self.landed(task, n, landing.fetched()).await?;
            tries = if landing.at() > before { 1 } else { tries + 1 };
            if tries >= TRIES {
                return Err(failed(url, why));
            }
            tracing::info!(task = %task.id, why, "fetching again");
            tokio::select! {
                () = job.stop.cancelled() => return Err(StorageError::Cancelled),
                () = sleep(PAUSE * (1 << tries)) => {}
            }
        }
        Ok(())
    }

    async fn attempt(
        &self,
        task: &Task,
        n: usize,
        url: &ImportUrl,
        landing: &mut Landing,
        job: &Job,
        span: &Range<u64>,
    ) -> Result<(), Broken> {
        let limit = self.config.max_import_bytes;
        let coming = begin(&*self.net, url, landing.fetched()).await?;
        let too_large = |bytes| Broken::Other(StorageError::FileTooLarge { bytes, limit });
        if let Some(of) = coming.of.filter(|of| *of > limit) {
            return Err(too_large(of));
        }
        landing.begin(coming.from, coming.of, coming.version).await?;
        let mut body = coming.open.response.into_body();
        loop {
            let idle = || Broken::ForNow("the server said nothing for 30 seconds".to_owned());
            let Some(frame) = timeout(IDLE, body.frame()).await.map_err(|_| idle())? else { break };
            let frame = frame.map_err(|error| Broken::ForNow(vmint_rpc::chain(&error)))?;
            let Ok(data) = frame.into_data() else { continue };
            if landing.at() + data.len() as u64 > limit {
                return Err(too_large(limit + 1));
            }
            if landing.take(&data).await? {
                self.landed(task, n, landing.fetched()).await?;
            }
            let of = coming.of.unwrap_or(limit).max(1);
            job.at(span.start + landing.at().saturating_mul(span.end - span.start) / of);
        }
        landing.finish().await?;
        Ok(self.landed(task, n, landing.fetched()).await?)
    }

    /// Records how much of a file is there for good.
    async fn landed(&self, task: &Task, n: usize, fetched: &Fetched) -> Result<()> {
        let (id, fetched) = (task.id, fetched.clone());
        let recorded = self.records.commit(move |tx| {
            let mut task = import_tasks::active(tx, id)?;
            if let Some(disk) = task.disks.get_mut(n) {
                disk.fetched = fetched;
            }
            import_tasks::put(tx, &task)
        });
        recorded.await
    }
}

fn failed(url: &ImportUrl, why: String) -> StorageError {
    // Without the query, which may be a signature.
    let text = url.to_string();
    let url = text.split('?').next().unwrap_or_default().chars().take(200).collect();
    StorageError::Fetch { url, why }
}

/// Asks for the file, or what is missing of it.
async fn begin(net: &dyn Net, url: &ImportUrl, have: &Fetched) -> Result<Coming, Broken> {
    let mut headers = HeaderMap::new();
    let resume = have.bytes > 0 && !have.version.is_empty();
    if resume {
        let range = format!("bytes={}-", have.bytes).parse();
        let version = have.version.parse();
        if let (Ok(range), Ok(version)) = (range, version) {
            headers.insert(header::RANGE, range);
            headers.insert(header::IF_RANGE, version);
        }
    }
    let open = reach(net, url, &headers).await?;
    let answer = &open.response;
    let coded = answer.headers().get(header::CONTENT_ENCODING);
    if coded.is_some_and(|coded| coded != "identity") {
        return Err(Broken::ForGood("the server sends it in another encoding".to_owned()));
    }
    let version = version(answer);
    match answer.status() {
        StatusCode::OK => {
            let of = text(answer.headers(), header::CONTENT_LENGTH).and_then(|of| of.parse().ok());
            Ok(Coming { open, from: 0, of, version })
        }
        StatusCode::PARTIAL_CONTENT if resume => {
            let range = text(answer.headers(), header::CONTENT_RANGE).unwrap_or_default();
            let of = range
                .strip_prefix("bytes ")
                .and_then(|range| range.split_once('/'))
                .filter(|(part, _)| part.starts_with(&format!("{}-", have.bytes)))
                .and_then(|(_, of)| of.parse().ok());
            let of =
                of.ok_or_else(|| Broken::ForGood("the server sends another part".to_owned()))?;
            Ok(Coming { open, from: have.bytes, of: Some(of), version })
        }
        status => Err(Broken::ForGood(format!("the server answers {status}"))),
    }
}

/// What the server calls this version of the file; nothing if it may be another
/// one under the same name.
fn version(answer: &Response<Incoming>) -> String {
    let tag = text(answer.headers(), header::ETAG).filter(|tag| tag.starts_with('"'));
    tag.filter(|tag| tag.len() <= 256).unwrap_or_default().to_owned()
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}
