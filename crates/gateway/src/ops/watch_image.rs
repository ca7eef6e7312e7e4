use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use vmint_api::{
    catalog::v1::{Image, ImageState},
    gateway::v1::WatchImageResponse,
};
use vmint_rpc::Caller;

use super::Gateway;

/// How often the record is looked at.
const EVERY: Duration = Duration::from_millis(200);

/// An image each time it changes.
pub(crate) type Watch = ReceiverStream<Result<WatchImageResponse, Status>>;

impl Gateway {
    /// Follows an image until it is no longer pending. Ends with a refusal if
    /// the right to see it is lost.
    pub(crate) async fn watch_image(
        &self,
        caller: &Caller,
        reference: &str,
    ) -> Result<Watch, Status> {
        let first = self.get_image(caller, reference).await?;
        let (to, stream) = mpsc::channel(4);
        let (this, caller) = (self.clone(), caller.clone());
        self.streams.spawn(async move {
            let id = first.image_id.clone();
            let work = async {
                if let Err(status) = this.follow(&caller, &id, first, &to).await {
                    // Whoever has gone does not hear it.
                    let _ = to.send(Err(status)).await;
                }
            };
            tokio::select! {
                () = work => {}
                () = this.draining.cancelled() => {
                    let _ = to.try_send(Err(crate::GatewayError::Stopping.into()));
                }
                () = to.closed() => {}
            }
        });
        Ok(ReceiverStream::new(stream))
    }

    async fn follow(
        &self,
        caller: &Caller,
        id: &str,
        first: Image,
        to: &mpsc::Sender<Result<WatchImageResponse, Status>>,
    ) -> Result<(), Status> {
        let mut image = first;
        loop {
            let pending = image.state() == ImageState::Pending;
            let answer = WatchImageResponse { image: Some(image.clone()) };
            if to.send(Ok(answer)).await.is_err() || !pending {
                return Ok(());
            }
            loop {
                tokio::time::sleep(EVERY).await;
                let now = self.get_image(caller, id).await?;
                if now != image {
                    image = now;
                    break;
                }
            }
        }
    }
}
