//! The way from the launcher's events to the meters.

use std::time::Duration;

use tonic::Status;
use vmint_api::launcher::v1 as pb;
use vmint_api::launcher::v1::launcher_internal_service_client::LauncherInternalServiceClient;
use vmint_rpc::Channel;

use crate::{MachineEvent, Marketplace, Result, What};

/// Longer than the launcher waits for something to happen.
const DEADLINE: Duration = Duration::from_secs(15);
/// The pause before a launcher that did not answer is asked again.
const PAUSE: Duration = Duration::from_secs(1);

/// Where events come from: what happened after a cursor.
pub trait Source {
    fn after(
        &mut self,
        cursor: u64,
    ) -> impl Future<Output = Result<Vec<pb::MachineEvent>, Status>> + Send;
}

/// The launcher of the deployment.
#[derive(Debug)]
pub struct Launcher {
    client: LauncherInternalServiceClient<Channel>,
}

impl Launcher {
    #[must_use]
    pub fn new(channel: &Channel) -> Self {
        Self { client: LauncherInternalServiceClient::new(channel.deadline(DEADLINE)) }
    }
}

impl Source for Launcher {
    async fn after(&mut self, cursor: u64) -> Result<Vec<pb::MachineEvent>, Status> {
        let request = pb::ListEventsRequest { after: cursor, limit: 100 };
        Ok(self.client.list_events(request).await?.into_inner().events)
    }
}

/// Takes in what happens to machines, until dropped. Goes on where it left off,
/// however it ended; a source that fails is asked again.
pub async fn follow(market: &Marketplace, source: &mut impl Source) -> Result<()> {
    let mut reached = true;
    loop {
        let cursor = market.cursor()?;
        match source.after(cursor).await {
            Ok(events) => {
                reached = true;
                take_in(market, cursor, events).await?;
            }
            Err(status) => {
                if std::mem::take(&mut reached) {
                    tracing::warn!(%status, "the launcher's events cannot be read; asking on");
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn take_in(market: &Marketplace, cursor: u64, events: Vec<pb::MachineEvent>) -> Result<()> {
    let Some(last) = events.iter().map(|event| event.sequence).max() else {
        // A launcher that answers at once with nothing must not keep us busy.
        tokio::time::sleep(Duration::from_millis(50)).await;
        return Ok(());
    };
    if let Some(first) = events.first().filter(|first| first.sequence > cursor + 1) {
        tracing::error!(from = cursor + 1, to = first.sequence, "events of the launcher are lost");
    }
    market.absorb(events.iter().filter_map(read).collect(), last).await
}

/// An event as far as it is billed. One that cannot be read is told of and left
/// out: those behind it must not wait for it.
fn read(event: &pb::MachineEvent) -> Option<MachineEvent> {
    let what = match event.kind() {
        pb::MachineEventKind::Started => What::Started,
        pb::MachineEventKind::Stopped => What::Stopped,
        // Its machine has stopped before.
        pb::MachineEventKind::Terminated | pb::MachineEventKind::Unspecified => return None,
    };
    let parsed = (|| {
        let time = event.time.as_ref()?;
        let seconds = u64::try_from(time.seconds).ok()?.checked_mul(1_000_000_000)?;
        Some(MachineEvent {
            instance: event.instance_id.parse().ok()?,
            account: event.account_id.parse().ok()?,
            codes: event
                .product_codes
                .iter()
                .map(|code| code.parse().ok())
                .collect::<Option<_>>()?,
            run: u64::try_from(event.run).ok().filter(|run| *run > 0)?,
            what,
            at_ns: seconds.checked_add(u64::try_from(time.nanos).ok()?)?,
        })
    })();
    if parsed.is_none() {
        tracing::error!(?event, "an event of the launcher cannot be read");
    }
    parsed
}
