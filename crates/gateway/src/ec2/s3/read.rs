//! Objects that go out, and listings.

use futures::StreamExt as _;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::{Empty, StreamBody};
use hyper::body::{Bytes, Frame};
use tonic::{Status, body::Body};
use vmint_api::storage::v1::{
    GetObjectRequest, ListBucketsRequest, ListObjectsRequest, ListPartsRequest, Object,
    ReadObjectRequest, read_object_response::Part,
};
use vmint_ec2::s3::{
    self, Algorithm, Entry, ListPage, Listing, PartEntry, PartPage, Range, S3Error, S3Kind,
};

use super::{Answer, Ask, refused};
use crate::ec2::stamp;

impl Ask<'_> {
    pub(super) async fn list_buckets(&self) -> Answer {
        let (mut found, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = ListBucketsRequest { page_size: 900, page_token };
            let page = self.storage().list_buckets(request).await.map_err(refused)?.into_inner();
            let shown = page.buckets.into_iter();
            found.extend(shown.map(|one| (one.name, stamp(one.create_time.as_ref()))));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(self.xml(200, &s3::listed_buckets(&self.caller.account, &found)));
            }
        }
    }

    pub(super) async fn list_objects(&self, bucket: String, listing: Listing) -> Answer {
        let mut page = ListPage::default();
        if listing.most > 0 {
            let request = ListObjectsRequest {
                bucket: bucket.clone(),
                prefix: listing.prefix.clone(),
                delimiter: listing.delimiter.clone(),
                start_after: listing.start_after.clone(),
                page_size: listing.most,
                page_token: listing.token.clone(),
            };
            let found = self.storage().list_objects(request).await.map_err(refused)?.into_inner();
            page.objects = found.objects.into_iter().map(entry).collect();
            page.prefixes = found.common_prefixes;
            page.next = found.next_page_token;
        }
        Ok(self.xml(200, &s3::listed_objects(&bucket, &listing, &page)))
    }

    pub(super) async fn list_parts(
        &self,
        bucket: &str,
        key: &str,
        upload: &str,
        most: i32,
        after: String,
    ) -> Answer {
        let after = if after.is_empty() {
            0
        } else {
            after
                .parse::<i32>()
                .map_err(|_| S3Error::argument("part-number-marker must be a number."))?
        };
        let (mut parts, mut next, mut page_token) = (Vec::new(), String::new(), String::new());
        'pages: loop {
            let request = ListPartsRequest {
                bucket: bucket.to_owned(),
                key: key.to_owned(),
                upload_id: upload.to_owned(),
                page_size: 999,
                page_token,
            };
            let page = self.storage().list_parts(request).await.map_err(refused)?.into_inner();
            for part in page.parts.into_iter().filter(|part| part.part_number > after) {
                if parts.len() >= usize::try_from(most).unwrap_or_default() {
                    next = parts.last().map_or(0, |last: &PartEntry| last.number).to_string();
                    break 'pages;
                }
                parts.push(PartEntry {
                    number: part.part_number,
                    size: part.size_bytes,
                    etag: part.etag,
                    modified: stamp(part.modify_time.as_ref()),
                });
            }
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        Ok(self.xml(200, &s3::listed_parts(&PartPage { bucket, key, upload, most, parts, next })))
    }

    pub(super) async fn look(&self, bucket: String, key: String) -> Answer {
        let request = GetObjectRequest { bucket, key };
        let found = self.storage().get_object(request).await.map_err(refused)?.into_inner();
        let object = found.object.unwrap_or_default();
        if let Some(other) = self.condition(&object)? {
            return Ok(other);
        }
        let length = object.size_bytes;
        let body = Body::new(Empty::<Bytes>::new());
        Ok(self.object(StatusCode::OK, &object, 0, length, body))
    }

    pub(super) async fn get(&self, bucket: String, key: String) -> Answer {
        let range = self.head.header("range").and_then(Range::parse);
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let mut request = ReadObjectRequest { bucket, key, ..ReadObjectRequest::default() };
        match range {
            None => {}
            Some(Range::From(first, last)) => {
                (request.first_byte, request.last_byte) = (Some(number(first)), last.map(number));
            }
            Some(Range::Last(bytes)) => request.last_bytes = Some(number(bytes)),
        }
        let mut reading = self.storage().read_object(request).await.map_err(refused)?.into_inner();
        let first = reading.message().await.map_err(refused)?.and_then(|message| message.part);
        let Some(Part::Head(head)) = first else {
            return Err(S3Error::new(S3Kind::InternalError, "Storage answered without a head."));
        };
        let object = head.object.unwrap_or_default();
        if let Some(other) = self.condition(&object)? {
            return Ok(other);
        }
        let content = reading.filter_map(|message| async move {
            match message {
                Ok(message) => match message.part {
                    Some(Part::Content(content)) => Some(Ok::<_, Status>(Frame::data(content))),
                    Some(Part::Head(_)) | None => None,
                },
                Err(status) => Some(Err(status)),
            }
        });
        let body = Body::new(StreamBody::new(Box::pin(content)));
        let status = if range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
        Ok(self.object(status, &object, head.offset_bytes, head.length_bytes, body))
    }

    /// The answer where the object is, or is not, the one that was asked for.
    fn condition(&self, object: &Object) -> Result<Option<Response<Body>>, S3Error> {
        let same = |given: &str| {
            given.split(',').any(|one| {
                let one = one.trim();
                one == "*" || one.trim_start_matches("W/").trim_matches('"') == object.etag
            })
        };
        if self.head.header("if-match").is_some_and(|given| !same(given)) {
            let text = "At least one of the preconditions you specified did not hold.";
            return Err(S3Error::new(S3Kind::PreconditionFailed, text));
        }
        if self.head.header("if-none-match").is_some_and(same) {
            let body = Body::new(Empty::<Bytes>::new());
            let mut answer = self.object(StatusCode::NOT_MODIFIED, object, 0, 0, body);
            answer.headers_mut().remove(header::CONTENT_LENGTH);
            return Ok(Some(answer));
        }
        Ok(None)
    }

    fn object(
        &self,
        status: StatusCode,
        object: &Object,
        offset: i64,
        length: i64,
        body: Body,
    ) -> Response<Body> {
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        let mut put = |name: HeaderName, value: String| {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        };
        let kind = match object.content_type.as_str() {
            "" => "binary/octet-stream",
            kind => kind,
        };
        put(header::CONTENT_TYPE, kind.to_owned());
        put(header::CONTENT_LENGTH, length.to_string());
        put(header::ETAG, format!("\"{}\"", object.etag));
        put(header::ACCEPT_RANGES, "bytes".to_owned());
        if let Some(modified) = stamp(object.modify_time.as_ref()) {
            put(header::LAST_MODIFIED, s3::last_modified(modified));
        }
        if status == StatusCode::PARTIAL_CONTENT {
            let last = offset + length - 1;
            put(header::CONTENT_RANGE, format!("bytes {offset}-{last}/{}", object.size_bytes));
        }
        put(HeaderName::from_static("x-amz-request-id"), self.request_id.to_owned());
        for (name, value) in &object.metadata {
            if let Ok(name) = HeaderName::try_from(format!("x-amz-meta-{name}")) {
                put(name, value.clone());
            }
        }
        let whole = status == StatusCode::OK;
        let asked = self.head.header("x-amz-checksum-mode") == Some("ENABLED");
        if let Some(algorithm) = Algorithm::of_name(&object.checksum_algorithm)
            && whole
            && asked
        {
            put(HeaderName::from_static(algorithm.header()), object.checksum.clone());
        }
        response
    }
}

fn entry(object: Object) -> Entry {
    Entry {
        key: object.key,
        size: object.size_bytes,
        etag: object.etag,
        modified: stamp(object.modify_time.as_ref()),
    }
}
