//! Buckets and objects, for the accounts that have them.

use std::pin::Pin;

use tokio_stream::{Stream, StreamExt as _, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming};
use vmint_api::storage::v1 as pb;
use vmint_api::storage::v1::{
    object_service_server::ObjectService, put_object_request::Part,
    read_object_response::Part as ReadPart,
};
use vmint_ids::AccountId;
use vmint_rpc::{Caller, PageToken, to_status};

use super::{
    convert::{account_of, number, page_start},
    object_convert::{
        beside, bucket, bucket_name, copy, listed_after, new_object, object, object_key, only,
        part, part_number, positive, size,
    },
    public::{asked, token},
};
use crate::{
    Result, Storage, StorageError,
    object::{Object, Wanted},
    ops::{Begun, Listed, Listing, Receiving},
    store::objects::After,
};

/// What one message may hold.
const PIECE: usize = 512 << 10;

/// Serves accounts that keep files.
#[derive(Debug)]
pub struct Objects(pub Storage);

type Answer<T> = Result<Response<T>, Status>;

#[allow(clippy::needless_pass_by_value, reason = "it stands in map_err")]
fn status(error: StorageError) -> Status {
    to_status(&error)
}

fn of<T>(request: &Request<T>) -> Result<AccountId, Status> {
    account_of(Caller::of_account(request)?).map_err(status)
}

#[tonic::async_trait]
impl ObjectService for Objects {
    async fn create_bucket(
        &self,
        request: Request<pb::CreateBucketRequest>,
    ) -> Answer<pb::CreateBucketResponse> {
        let (account, body) = (of(&request)?, request.get_ref());
        let asked = asked(Caller::of_account(&request)?, "CreateBucket", &body.request_id, body);
        let name = bucket_name(&body.bucket).map_err(status)?;
        let made = self.0.create_bucket(name, account, asked).await.map_err(status)?;
        Ok(Response::new(pb::CreateBucketResponse { bucket: Some(bucket(&made)) }))
    }

    async fn get_bucket(
        &self,
        request: Request<pb::GetBucketRequest>,
    ) -> Answer<pb::GetBucketResponse> {
        let name = bucket_name(&request.get_ref().bucket).map_err(status)?;
        let found = self.0.bucket(&name, of(&request)?).map_err(status)?;
        Ok(Response::new(pb::GetBucketResponse { bucket: Some(bucket(&found)) }))
    }

    async fn list_buckets(
        &self,
        request: Request<pb::ListBucketsRequest>,
    ) -> Answer<pb::ListBucketsResponse> {
        let account = of(&request)?;
        let request = request.into_inner();
        let canonical = pb::ListBucketsRequest::default();
        let after: Option<String> =
            page_start(&request.page_token, &canonical, account).map_err(status)?;
        let size = size(request.page_size).min(999);
        let page = self.0.list_buckets(account, after.as_ref(), size).map_err(status)?;
        let last = page.items.last().filter(|_| page.more).map(|found| found.name.to_string());
        Ok(Response::new(pb::ListBucketsResponse {
            buckets: page.items.iter().map(bucket).collect(),
            next_page_token: token(last, &canonical, account),
        }))
    }

    async fn delete_bucket(
        &self,
        request: Request<pb::DeleteBucketRequest>,
    ) -> Answer<pb::DeleteBucketResponse> {
        let (account, body) = (of(&request)?, request.get_ref());
        let asked = asked(Caller::of_account(&request)?, "DeleteBucket", &body.request_id, body);
        let name = bucket_name(&body.bucket).map_err(status)?;
        self.0.delete_bucket(name, account, asked).await.map_err(status)?;
        Ok(Response::new(pb::DeleteBucketResponse {}))
    }

    async fn put_object(
        &self,
        request: Request<Streaming<pb::PutObjectRequest>>,
    ) -> Answer<pb::PutObjectResponse> {
        let account = of(&request)?;
        let mut parts = request.into_inner();
        let first = parts.next().await.transpose()?.and_then(|message| message.part);
        let Some(Part::Head(head)) = first else {
            return Err(status(StorageError::Sequence("the first message holds no head")));
        };
        let new = new_object(account, head).map_err(status)?;
        let receiving = self.0.receive_object(new).await.map_err(status)?;
        // A caller who goes away ends the call; its file must go all the same.
        let (storage, tasks) = (self.0.clone(), &self.0.tasks);
        let received = tasks.spawn(async move { receive(&storage, receiving, parts).await });
        let kept = received.await.map_err(|error| status(error.into()))??;
        Ok(Response::new(pb::PutObjectResponse { object: Some(object(&kept)) }))
    }

    async fn copy_object(
        &self,
        request: Request<pb::CopyObjectRequest>,
    ) -> Answer<pb::CopyObjectResponse> {
        let account = of(&request)?;
        let (from, new) = copy(account, request.into_inner()).map_err(status)?;
        let made = self.0.copy_object(from, new).await.map_err(status)?;
        Ok(Response::new(pb::CopyObjectResponse { object: Some(object(&made)) }))
    }

    async fn get_object(
        &self,
        request: Request<pb::GetObjectRequest>,
    ) -> Answer<pb::GetObjectResponse> {
        let (account, body) = (of(&request)?, request.get_ref());
        let name = bucket_name(&body.bucket).map_err(status)?;
        let key = object_key(&body.key).map_err(status)?;
        let found = self.0.object(&name, &key, account).map_err(status)?;
        Ok(Response::new(pb::GetObjectResponse { object: Some(object(&found)) }))
    }

    type ReadObjectStream =
        Pin<Box<dyn Stream<Item = Result<pb::ReadObjectResponse, Status>> + Send>>;

    async fn read_object(
        &self,
        request: Request<pb::ReadObjectRequest>,
    ) -> Answer<Self::ReadObjectStream> {
        let (account, body) = (of(&request)?, request.get_ref());
        let name = bucket_name(&body.bucket).map_err(status)?;
        let key = object_key(&body.key).map_err(status)?;
        let bytes = |field, given: Option<i64>| given.map(|n| positive(field, n)).transpose();
        let wanted = Wanted {
            first: bytes("first_byte", body.first_byte).map_err(status)?,
            last: bytes("last_byte", body.last_byte).map_err(status)?,
            suffix: bytes("last_bytes", body.last_bytes).map_err(status)?,
        };
        let reading = self.0.read_object(&name, &key, account, wanted).await.map_err(status)?;
        let head = pb::ReadObjectHead {
            object: Some(object(&reading.object)),
            offset_bytes: number(reading.offset),
            length_bytes: number(reading.length),
        };
        let head = pb::ReadObjectResponse { part: Some(ReadPart::Head(head)) };
        let content = ReceiverStream::new(reading.pieces).map(|piece| {
            let part = Some(ReadPart::Content(piece.map_err(status)?.into()));
            Ok(pb::ReadObjectResponse { part })
        });
        Ok(Response::new(Box::pin(tokio_stream::once(Ok(head)).chain(content))))
    }

    async fn delete_objects(
        &self,
        request: Request<pb::DeleteObjectsRequest>,
    ) -> Answer<pb::DeleteObjectsResponse> {
        let (account, body) = (of(&request)?, request.get_ref());
        let name = bucket_name(&body.bucket).map_err(status)?;
        if body.keys.len() > 1000 {
            return Err(status(StorageError::Sequence("name at most 1000 keys")));
        }
        let keys = body.keys.iter().map(|key| object_key(key)).collect::<Result<Vec<_>>>();
        self.0.delete_objects(name, keys.map_err(status)?, account).await.map_err(status)?;
        Ok(Response::new(pb::DeleteObjectsResponse {}))
    }

    async fn list_objects(
        &self,
        request: Request<pb::ListObjectsRequest>,
    ) -> Answer<pb::ListObjectsResponse> {
        let account = of(&request)?;
        let request = request.into_inner();
        let name = bucket_name(&request.bucket).map_err(status)?;
        let page_token = request.page_token.clone();
        let size = size(request.page_size);
        let canonical =
            pb::ListObjectsRequest { page_size: 0, page_token: String::new(), ..request };
        let after = listed_after(&page_token, &canonical, account).map_err(status)?;
        let listing = Listing {
            prefix: canonical.prefix.clone(),
            delimiter: canonical.delimiter.clone(),
            after,
            size,
        };
        let storage = self.0.clone();
        let page = Storage::blocking(move || storage.list_objects(&name, account, &listing)).await;
        let Listed { objects, common, next } = page.map_err(status)?;
        let next = next.map(|after| {
            let at = match after {
                After::Nothing => Vec::new(),
                After::Key(key) => [b"k", key.as_bytes()].concat(),
                After::AllOf(key) => [b"a", key.as_bytes()].concat(),
            };
            PageToken::new(&at, &canonical, &account.to_string()).to_text()
        });
        Ok(Response::new(pb::ListObjectsResponse {
            objects: objects.iter().map(object).collect(),
            common_prefixes: common,
            next_page_token: next.unwrap_or_default(),
        }))
    }

    async fn start_multipart(
        &self,
        request: Request<pb::StartMultipartRequest>,
    ) -> Answer<pb::StartMultipartResponse> {
        let (account, body) = (of(&request)?, request.get_ref());
        let asked = asked(Caller::of_account(&request)?, "StartMultipart", &body.request_id, body);
        let name = bucket_name(&body.bucket).map_err(status)?;
        let key = object_key(&body.key).map_err(status)?;
        let metadata = body.metadata.clone().into_iter().collect();
        let beside = beside(body.content_type.clone(), metadata).map_err(status)?;
        let begun = self.0.start_multipart(account, name, key, beside, asked).await;
        Ok(Response::new(pb::StartMultipartResponse { upload_id: begun.map_err(status)? }))
    }

    async fn list_parts(
        &self,
        request: Request<pb::ListPartsRequest>,
    ) -> Answer<pb::ListPartsResponse> {
        let account = of(&request)?;
        let request = request.into_inner();
        let name = bucket_name(&request.bucket).map_err(status)?;
        let key = object_key(&request.key).map_err(status)?;
        let (page_token, size) = (request.page_token.clone(), size(request.page_size).min(999));
        let canonical = pb::ListPartsRequest { page_size: 0, page_token: String::new(), ..request };
        let after: Option<u32> = page_start(&page_token, &canonical, account).map_err(status)?;
        let after = after.unwrap_or_default();
        let page = self.0.list_parts(account, &name, &key, &canonical.upload_id, after, size);
        let page = page.map_err(status)?;
        let last = page.items.last().filter(|_| page.more).map(|part| part.number);
        Ok(Response::new(pb::ListPartsResponse {
            parts: page.items.iter().map(part).collect(),
            next_page_token: token(last, &canonical, account),
        }))
    }

    async fn complete_multipart(
        &self,
        request: Request<pb::CompleteMultipartRequest>,
    ) -> Answer<pb::CompleteMultipartResponse> {
        let (account, body) = (of(&request)?, request.get_ref());
        let asked =
            asked(Caller::of_account(&request)?, "CompleteMultipart", &body.request_id, body);
        let name = bucket_name(&body.bucket).map_err(status)?;
        let key = object_key(&body.key).map_err(status)?;
        let parts = body.parts.iter();
        let parts = parts.map(|part| Ok((part_number(part.part_number)?, part.etag.clone())));
        let parts = parts.collect::<Result<Vec<_>>>().map_err(status)?;
        let begun = Begun { bucket: name, key, id: body.upload_id.clone() };
        let only = only(body.condition.clone());
        let made = self.0.complete_multipart(account, begun, parts, only, asked).await;
        let made = object(&made.map_err(status)?);
        Ok(Response::new(pb::CompleteMultipartResponse { object: Some(made) }))
    }

    async fn abort_multipart(
        &self,
        request: Request<pb::AbortMultipartRequest>,
    ) -> Answer<pb::AbortMultipartResponse> {
        let (account, body) = (of(&request)?, request.get_ref());
        let name = bucket_name(&body.bucket).map_err(status)?;
        let key = object_key(&body.key).map_err(status)?;
        self.0.abort_multipart(account, &name, &key, &body.upload_id).await.map_err(status)?;
        Ok(Response::new(pb::AbortMultipartResponse {}))
    }
}

/// Takes a file as it comes; without a commit at its end it goes.
async fn receive(
    storage: &Storage,
    mut receiving: Receiving,
    mut parts: Streaming<pb::PutObjectRequest>,
) -> Result<Object, Status> {
    let kept = take_all(storage, &mut receiving, &mut parts).await;
    if kept.is_err() {
        storage.give_up(&receiving).await;
    }
    kept
}

async fn take_all(
    storage: &Storage,
    receiving: &mut Receiving,
    parts: &mut Streaming<pb::PutObjectRequest>,
) -> Result<Object, Status> {
    let sequence = |why| status(StorageError::Sequence(why));
    loop {
        let next = tokio::select! {
            () = storage.transfers.stop.cancelled() => return Err(sequence("storage is stopping")),
            next = parts.next() => next.transpose()?,
        };
        match next.and_then(|message| message.part) {
            Some(Part::Content(content)) if content.len() > PIECE => {
                return Err(sequence("a message holds more than 512 KiB"));
            }
            Some(Part::Content(content)) => {
                storage.take_content(receiving, content).await.map_err(status)?;
            }
            Some(Part::Commit(commit)) => {
                let (algorithm, checksum) = (commit.checksum_algorithm, commit.checksum);
                if algorithm.len() > 32 || checksum.len() > 128 {
                    return Err(sequence("the checksum is too long"));
                }
                return storage.finish_object(receiving, algorithm, checksum).await.map_err(status);
            }
            Some(Part::Head(_)) => return Err(sequence("there are two heads")),
            None => return Err(sequence("the content ended without a commit")),
        }
    }
}
