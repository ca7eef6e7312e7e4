//! A part of S3, by path: files for imports and of exports.
//!
//! Bodies are never held: what comes is passed on to storage piece by piece,
//! and kept there only once its sums and signatures are right.

mod answer;
mod bodies;
mod copy;
mod put;
mod read;
mod refusal;

use std::{collections::HashMap, sync::Arc, time::Duration};

use http::Response;
use hyper::body::Incoming;
use tonic::body::Body;
use vmint_api::storage::v1::{
    AbortMultipartRequest, CompleteMultipartRequest, CreateBucketRequest, DeleteBucketRequest,
    DeleteObjectsRequest, GetBucketRequest, ObjectCondition, ObjectPart, StartMultipartRequest,
};
use vmint_ec2::{
    Reply,
    s3::{self, CopySource, Route, S3Error, S3Kind},
    sigv4::{self, Signed},
};
use vmint_rpc::{Caller, Observer as _};

use super::{Front, Refused, code_of, head::Head, keys::Signer, replay, sent, service::Service};
use put::What;
use refusal::refused;

/// What a request with an object may take.
pub(super) const LONGEST: Duration = Duration::from_hours(1);

/// One request, whose signature is verified but for its body's.
struct Ask<'a> {
    front: &'a Front,
    caller: Caller,
    signer: &'a Signer,
    signed: &'a Signed,
    head: &'a Head,
    request_id: &'a str,
    /// The same for a request sent again as it was signed.
    replay_id: String,
}

type Answer = Result<Response<Body>, S3Error>;

impl Front {
    /// Answers a request for buckets or objects.
    pub(super) async fn s3(
        self: &Arc<Self>,
        head: &Head,
        signed: &Signed,
        body: Incoming,
        request_id: &str,
        source: &str,
    ) -> Response<Body> {
        let refuse = |error: &S3Error| answer::refusal(error, head, request_id);
        match self.regions.of(&signed.scope.region, Service::S3, head) {
            Ok(None) => {}
            Ok(Some(elsewhere)) => {
                return match self.regions.forward(elsewhere, head, Body::new(body)).await {
                    Ok(response) => response,
                    Err(error) => refuse(&(&error).into()),
                };
            }
            Err(error) => return refuse(&(&error).into()),
        }
        let later = sigv4::Body::Later;
        let who = match self.verified(head, signed, Service::S3, later, request_id).await {
            Ok(Ok(who)) => who,
            Ok(Err(error)) => return refuse(&(&error).into()),
            Err(refused) => return refuse(&(&refused.0).into()),
        };
        if let Err(error) = self.buckets.take(&who.account) {
            return refuse(&(&Refused::from(tonic::Status::from(error)).0).into());
        }
        self.keys.used(self, &who, "s3");
        let (method, uri) = (head.parts.method.as_str(), &head.parts.uri);
        let route = match Route::parse(method, uri.path(), uri.query().unwrap_or_default()) {
            Ok(route) => route,
            Err(error) => {
                self.unknown(Service::S3, method);
                return refuse(&error);
            }
        };
        tracing::Span::current().record("action", route.name());
        let path = format!("s3:{}", route.name());
        self.metrics.started(&path);
        let begun = std::time::Instant::now();
        let told_apart =
            replay::told_apart(&signed.signature(), head.header("amz-sdk-invocation-id"));
        let ask = Ask {
            front: self,
            caller: who.caller(request_id, source),
            signer: &who,
            signed,
            head,
            request_id,
            replay_id: replay::request_id(
                &who.key_id,
                &told_apart,
                head.header("amz-sdk-invocation-id"),
                0,
            ),
        };
        let response = match ask.answer(route, body).await {
            Ok(response) => response,
            Err(error) => refuse(&error),
        };
        self.metrics.handled(&path, code_of(response.status().as_u16()), begun.elapsed());
        response
    }
}

impl Ask<'_> {
    async fn answer(&self, route: Route, body: Incoming) -> Answer {
        if !route.only_reads() && self.signer.read_only {
            return Err(S3Error::new(S3Kind::AccessDenied, "The access key may only read."));
        }
        match route {
            Route::PutObject { bucket, key } => {
                self.put_or_copy(What { bucket, key, part: None }, body).await
            }
            Route::UploadPart { bucket, key, upload, part } => {
                self.put_or_copy(What { bucket, key, part: Some((upload, part)) }, body).await
            }
            Route::CompleteMultipart { bucket, key, upload } => {
                let completion = s3::read_completion(&self.whole(body).await?)?;
                let parts = completion.parts.into_iter().map(|(part_number, etag)| ObjectPart {
                    part_number,
                    etag,
                    ..ObjectPart::default()
                });
                let request = CompleteMultipartRequest {
                    bucket: bucket.clone(),
                    key: key.clone(),
                    upload_id: upload,
                    parts: parts.collect(),
                    request_id: self.replay_id.clone(),
                    condition: self.written_only()?,
                };
                let made = self.storage().complete_multipart(request).await.map_err(refused)?;
                let etag = made.into_inner().object.unwrap_or_default().etag;
                Ok(self.xml(200, &s3::completed(&bucket, &key, &etag)))
            }
            Route::DeleteObjects { bucket } => {
                let deletion = s3::read_deletion(&self.whole(body).await?)?;
                let request = DeleteObjectsRequest {
                    bucket,
                    keys: deletion.keys.clone(),
                    request_id: self.replay_id.clone(),
                };
                self.storage().delete_objects(request).await.map_err(refused)?;
                Ok(self.xml(200, &s3::deleted(&deletion)))
            }
            Route::CreateBucket { bucket } => {
                self.head.only("x-amz-acl", "private")?;
                self.whole(body).await?;
                let location = format!("/{bucket}");
                let request = CreateBucketRequest { bucket, request_id: self.replay_id.clone() };
                self.storage().create_bucket(request).await.map_err(refused)?;
                let reply = Reply::s3(200, self.request_id, "").with("location", location);
                Ok(sent(reply))
            }
            other => {
                // Nothing belongs there, but whatever comes must be as signed.
                self.whole(body).await?;
                self.without_body(other).await
            }
        }
    }

    async fn without_body(&self, route: Route) -> Answer {
        match route {
            Route::ListBuckets => self.list_buckets().await,
            Route::HeadBucket { bucket } => {
                let request = GetBucketRequest { bucket };
                self.storage().get_bucket(request).await.map_err(refused)?;
                let region = self.front.regions.own().to_owned();
                let reply = Reply::s3(200, self.request_id, "").with("x-amz-bucket-region", region);
                Ok(sent(reply))
            }
            Route::GetBucketLocation { bucket } => {
                let request = GetBucketRequest { bucket };
                self.storage().get_bucket(request).await.map_err(refused)?;
                Ok(self.xml(200, &s3::location(self.front.regions.own())))
            }
            Route::DeleteBucket { bucket } => {
                let request = DeleteBucketRequest { bucket, request_id: self.replay_id.clone() };
                self.storage().delete_bucket(request).await.map_err(refused)?;
                Ok(self.xml(204, ""))
            }
            Route::DeleteObject { bucket, key } => {
                let request = DeleteObjectsRequest {
                    bucket,
                    keys: vec![key],
                    request_id: self.replay_id.clone(),
                };
                self.storage().delete_objects(request).await.map_err(refused)?;
                Ok(self.xml(204, ""))
            }
            Route::StartMultipart { bucket, key } => {
                let (content_type, metadata) = self.beside()?;
                let request = StartMultipartRequest {
                    bucket: bucket.clone(),
                    key: key.clone(),
                    content_type,
                    metadata,
                    request_id: self.replay_id.clone(),
                };
                let begun = self.storage().start_multipart(request).await.map_err(refused)?;
                Ok(self.xml(200, &s3::initiated(&bucket, &key, &begun.into_inner().upload_id)))
            }
            Route::AbortMultipart { bucket, key, upload } => {
                let request = AbortMultipartRequest {
                    bucket,
                    key,
                    upload_id: upload,
                    request_id: self.replay_id.clone(),
                };
                self.storage().abort_multipart(request).await.map_err(refused)?;
                Ok(self.xml(204, ""))
            }
            Route::ListParts { bucket, key, upload, most, after } => {
                self.list_parts(&bucket, &key, &upload, most, after).await
            }
            Route::ListObjects { bucket, listing } => self.list_objects(bucket, listing).await,
            Route::GetObject { bucket, key } => self.get(bucket, key).await,
            Route::HeadObject { bucket, key } => self.look(bucket, key).await,
            _ => Err(S3Error::not_implemented(route.name())),
        }
    }

    async fn put_or_copy(&self, what: What, body: Incoming) -> Answer {
        match self.head.header("x-amz-copy-source") {
            Some(source) => {
                let source = CopySource::parse(source)?;
                // Nothing belongs there, but whatever comes must be as signed.
                self.whole(body).await?;
                self.copy(source, what).await
            }
            None => self.put(what, body).await,
        }
    }

    /// What must be in an object's place for it to be written.
    fn written_only(&self) -> Result<Option<ObjectCondition>, S3Error> {
        let etag = |text: &str| text.trim().trim_matches('"').to_owned();
        let given = (self.head.header("if-none-match"), self.head.header("if-match"));
        Ok(Some(match given {
            (None, None) => return Ok(None),
            (Some("*"), None) => ObjectCondition { absent: true, etag: String::new() },
            (None, Some(wanted)) => ObjectCondition { absent: false, etag: etag(wanted) },
            _ => return Err(S3Error::not_implemented("That condition for writing")),
        }))
    }

    fn storage(&self) -> crate::peers::Objects {
        self.front.gateway.peers.objects(&self.caller)
    }

    fn xml(&self, status: u16, xml: &str) -> Response<Body> {
        sent(Reply::s3(status, self.request_id, xml))
    }

    /// What stands beside an object; what S3 has and is not here is refused.
    fn beside(&self) -> Result<(String, HashMap<String, String>), S3Error> {
        self.head.only("x-amz-acl", "private")?;
        self.head.only("x-amz-storage-class", "STANDARD")?;
        for name in [
            "x-amz-server-side-encryption",
            "x-amz-server-side-encryption-customer-algorithm",
            "x-amz-tagging",
            "x-amz-object-lock-mode",
            "x-amz-website-redirect-location",
        ] {
            if self.head.header(name).is_some_and(|value| !value.is_empty()) {
                return Err(S3Error::not_implemented(name));
            }
        }
        let mut metadata = HashMap::new();
        for (name, value) in &self.head.parts.headers {
            let Some(name) = name.as_str().strip_prefix("x-amz-meta-") else { continue };
            let value = value
                .to_str()
                .map_err(|_| S3Error::argument("Metadata must be visible ASCII characters."))?;
            metadata.insert(name.to_owned(), value.to_owned());
        }
        let content_type = self.head.header("content-type").unwrap_or_default().to_owned();
        Ok((content_type, metadata))
    }
}

impl Head {
    /// Refuses a header with another value than this one.
    fn only(&self, name: &str, value: &str) -> Result<(), S3Error> {
        match self.header(name) {
            Some(given) if given != value && !given.is_empty() => {
                Err(S3Error::not_implemented(&format!("{name}: {given}")))
            }
            _ => Ok(()),
        }
    }
}
