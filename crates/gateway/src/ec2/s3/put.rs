//! Objects and parts that come.

use hyper::body::Incoming;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use vmint_api::storage::v1::{
    PutObjectCommit, PutObjectHead, PutObjectRequest, put_object_request::Part,
};
use vmint_ec2::{
    Reply,
    s3::{Algorithm, S3Error, S3Kind},
    sigv4::Payload,
};

use super::{Answer, Ask, bodies::Coming, refused};
use crate::ec2::sent;

/// What one message holds.
const PIECE: usize = 256 << 10;

/// What is written.
pub(super) struct What {
    pub(super) bucket: String,
    pub(super) key: String,
    /// The upload that it is a part of, and which.
    pub(super) part: Option<(String, i32)>,
}

impl Ask<'_> {
    pub(super) async fn put(&self, what: What, body: Incoming) -> Answer {
        let (content_type, metadata) = self.beside()?;
        let condition = if what.part.is_none() { self.written_only()? } else { None };
        let (upload_id, part_number) = what.part.unwrap_or_default();
        let head = PutObjectHead {
            bucket: what.bucket,
            key: what.key,
            content_type,
            metadata,
            upload_id,
            part_number,
            size_bytes: Some(self.length()?),
            request_id: self.replay_id.clone(),
            condition,
        };
        let coming = self.coming(body)?;
        let (send, receive) = mpsc::channel(4);
        // It is empty: there is room.
        let _sent = send.send(PutObjectRequest { part: Some(Part::Head(head)) }).await;
        let mut storage = self.storage();
        let call = storage.put_object(ReceiverStream::new(receive));
        // Storage keeps nothing unless it was told that all is well.
        let (kept, passed) = tokio::join!(call, pass_on(coming, send));
        let kept = match (kept, passed) {
            (_, Err(error)) => return Err(error),
            (Err(status), Ok(())) => return Err(refused(status)),
            (Ok(kept), Ok(())) => kept.into_inner().object.unwrap_or_default(),
        };
        let mut reply =
            Reply::s3(200, self.request_id, "").with("etag", format!("\"{}\"", kept.etag));
        if let Some(algorithm) = Algorithm::of_name(&kept.checksum_algorithm) {
            reply = reply.with(algorithm.header(), kept.checksum);
        }
        Ok(sent(reply))
    }

    /// How long the content is.
    fn length(&self) -> Result<i64, S3Error> {
        let name = match self.signed.payload {
            Payload::Streaming => "x-amz-decoded-content-length",
            Payload::Body | Payload::Unsigned | Payload::Sha256(_) => "content-length",
        };
        let length = self.head.header(name).and_then(|text| text.parse::<i64>().ok());
        length.filter(|length| *length >= 0).ok_or_else(|| {
            S3Error::new(S3Kind::InvalidRequest, format!("The header {name} must be there."))
        })
    }
}

/// Passes a body on, and the word that it came well.
async fn pass_on(mut coming: Coming, to: mpsc::Sender<PutObjectRequest>) -> Result<(), S3Error> {
    while let Some(mut content) = coming.next().await? {
        while !content.is_empty() {
            let piece = content.split_to(content.len().min(PIECE));
            let part = Some(Part::Content(piece));
            if to.send(PutObjectRequest { part }).await.is_err() {
                // Storage says why.
                return Ok(());
            }
        }
    }
    let kept = coming.finish()?;
    let (checksum_algorithm, checksum) =
        kept.map(|(algorithm, sum)| (algorithm.name().to_owned(), sum)).unwrap_or_default();
    let part = Some(Part::Commit(PutObjectCommit { checksum_algorithm, checksum }));
    let _storage_says_why = to.send(PutObjectRequest { part }).await;
    Ok(())
}
