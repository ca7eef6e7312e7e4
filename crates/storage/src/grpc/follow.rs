//! Streams that show a task now and whenever it changes.

use std::pin::Pin;

use futures::{Stream, stream::unfold};
use tokio::sync::watch;
use tonic::Status;
use vmint_rpc::to_status;

use crate::{Result, Storage};

/// What is sent of a task.
pub(super) type Watch<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A task as it is, and whether it has ended.
type Look<T> = Box<dyn Fn(&Storage) -> Result<(T, bool)> + Send>;

/// Who follows a task, and what was shown of it last.
struct Follower<T> {
    storage: Storage,
    look: Look<T>,
    news: watch::Receiver<u64>,
    shown: Option<T>,
    over: bool,
}

/// Shows what `look` sees now and whenever it changes, until it has ended or
/// the service stops.
pub(super) fn follow<T: Clone + PartialEq + Send + Sync + 'static>(
    storage: Storage,
    look: impl Fn(&Storage) -> Result<(T, bool)> + Send + 'static,
) -> Watch<T> {
    let news = storage.transfers.follow();
    let follower = Follower { storage, look: Box::new(look), news, shown: None, over: false };
    Box::pin(unfold(follower, |mut follower| async move {
        let next = follower.next().await?;
        Some((next, follower))
    }))
}

impl<T: Clone + PartialEq> Follower<T> {
    async fn next(&mut self) -> Option<Result<T, Status>> {
        if self.over {
            return None;
        }
        loop {
            self.news.borrow_and_update();
            match (self.look)(&self.storage) {
                Ok((now, over)) => {
                    self.over = over;
                    if self.shown.as_ref() != Some(&now) {
                        self.shown = Some(now.clone());
                        return Some(Ok(now));
                    }
                }
                Err(error) => {
                    self.over = true;
                    return Some(Err(to_status(&error)));
                }
            }
            tokio::select! {
                () = self.storage.transfers.stop.cancelled() => return None,
                heard = self.news.changed() => heard.ok()?,
            }
        }
    }
}
