//! Objects and parts made of other objects.

use vmint_api::storage::v1::{CopyObjectRequest, ObjectName};
use vmint_ec2::s3::{self, CopySource, Range, S3Error, S3Kind};

use super::{Answer, Ask, put::What, refused};
use crate::ec2::stamp;

impl Ask<'_> {
    pub(super) async fn copy(&self, source: CopySource, what: What) -> Answer {
        for name in [
            "x-amz-copy-source-if-none-match",
            "x-amz-copy-source-if-modified-since",
            "x-amz-copy-source-if-unmodified-since",
            "x-amz-copy-source-server-side-encryption-customer-algorithm",
        ] {
            self.head.only(name, "")?;
        }
        self.head.only("x-amz-tagging-directive", "COPY")?;
        let (content_type, metadata) = self.beside()?;
        let replace_metadata = match self.head.header("x-amz-metadata-directive") {
            None | Some("COPY") => false,
            Some("REPLACE") => true,
            Some(_) => {
                let text = "x-amz-metadata-directive must be COPY or REPLACE.";
                return Err(S3Error::argument(text));
            }
        };
        let part = what.part.is_some();
        let itself = source.bucket == what.bucket && source.key == what.key && !part;
        if itself && !replace_metadata {
            let text = "An object can be copied to itself only with other metadata: set \
                        x-amz-metadata-directive to REPLACE.";
            return Err(S3Error::new(S3Kind::InvalidRequest, text));
        }
        let range = match self.head.header("x-amz-copy-source-range") {
            Some(text) if part => match Range::parse(text) {
                Some(Range::From(first, Some(last))) => Some((first, last)),
                _ => {
                    let text = "x-amz-copy-source-range must be bytes=FIRST-LAST.";
                    return Err(S3Error::argument(text));
                }
            },
            _ => None,
        };
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let source_etag = self.head.header("x-amz-copy-source-if-match").unwrap_or_default();
        let condition = if part { None } else { self.written_only()? };
        let (upload_id, part_number) = what.part.unwrap_or_default();
        let request = CopyObjectRequest {
            source: Some(ObjectName { bucket: source.bucket, key: source.key }),
            source_etag: source_etag.trim().trim_matches('"').to_owned(),
            target: Some(ObjectName { bucket: what.bucket, key: what.key }),
            upload_id,
            part_number,
            first_byte: range.map(|(first, _)| number(first)),
            last_byte: range.map(|(_, last)| number(last)),
            replace_metadata,
            content_type,
            metadata,
            condition,
            request_id: self.replay_id.clone(),
        };
        let made = self.storage().copy_object(request).await.map_err(refused)?.into_inner();
        let made = made.object.unwrap_or_default();
        Ok(self.xml(200, &s3::copied(part, &made.etag, stamp(made.modify_time.as_ref()))))
    }
}
