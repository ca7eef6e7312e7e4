//! Answers of many messages. Each is pulled by its reader and ends with it.

use std::pin::Pin;

use futures::{Stream, stream};
use tokio_stream::StreamExt as _;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{Status, Streaming};
use vmint_api::launcher::v1 as pb;
use vmint_rpc::to_status;

use super::convert;
use crate::{Console, Following, Launcher, LauncherError};

type Pulled<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

pub(super) type Instances = Pulled<pb::WatchInstanceResponse>;
pub(super) type Printed = Pulled<pb::StreamConsoleResponse>;
pub(super) type Attached = Pulled<pb::AttachConsoleResponse>;

pub(super) fn instances(following: Following) -> Instances {
    Box::pin(stream::try_unfold(following, |mut following| async move {
        let next = following.next().await.map_err(|e| to_status(&e))?;
        let shown = next.map(convert::shown);
        Ok(shown.map(|i| (pb::WatchInstanceResponse { instance: Some(i) }, following)))
    }))
}

pub(super) fn printed(console: Console) -> Printed {
    Box::pin(stream::try_unfold(console, |mut console| async move {
        let next = console.next().await.map_err(|e| to_status(&e))?;
        Ok(next.map(|output| (pb::StreamConsoleResponse { output }, console)))
    }))
}

pub(super) async fn attach(
    launcher: &Launcher,
    account: &str,
    mut typed: Streaming<pb::AttachConsoleRequest>,
) -> Result<Attached, Status> {
    let Some(first) = typed.next().await.transpose()? else {
        let missing = LauncherError::field("instance_id", "must be in the first message");
        return Err(to_status(&missing));
    };
    let attached = launcher.attach(account, &first.instance_id).await;
    let (console, mut input) = attached.map_err(|e| to_status(&e))?;
    let over = CancellationToken::new();
    let ended = over.clone();
    launcher.spawn(async move {
        let type_on = async {
            let mut bytes = first.input;
            while input.write(&bytes).await {
                let Some(Ok(next)) = typed.next().await else { break };
                bytes = next.input;
            }
        };
        tokio::select! {
            () = type_on => {}
            () = ended.cancelled() => {}
        }
        // What was typed last is read even if nothing more is typed.
        ended.cancelled().await;
    });
    let state: (Console, DropGuard) = (console, over.drop_guard());
    Ok(Box::pin(stream::try_unfold(state, |(mut console, guard)| async move {
        let next = console.next().await.map_err(|e| to_status(&e))?;
        Ok(next.map(|output| (pb::AttachConsoleResponse { output }, (console, guard))))
    })))
}
