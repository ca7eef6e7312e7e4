//! Bodies as they come: in pieces, summed, and taken apart.

use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::{Bytes, Incoming};
use tokio::time::timeout;
use vmint_ec2::{
    s3::{Algorithm, Chunked, Declared, MAX_XML_BYTES, S3Error, S3Kind, Signing, Sums},
    sigv4::Payload,
    stamp,
};

use super::Ask;

/// Between two pieces of a body.
const IDLE: Duration = Duration::from_mins(1);

/// A body that is being read. What it gives out is right only once it has
/// ended well.
pub(super) struct Coming {
    body: Incoming,
    chunked: Option<Chunked>,
    declared: Declared,
    sums: Sums,
    trailer: Option<Algorithm>,
    /// The sum that stays with an object.
    kept: Option<(Algorithm, String)>,
}

impl Ask<'_> {
    /// The body, with everything that its headers declare of it.
    pub(super) fn coming(&self, body: Incoming) -> Result<Coming, S3Error> {
        let (mut declared, mut kept) = (Declared::default(), None);
        for (name, value) in &self.head.parts.headers {
            let value = value.to_str().unwrap_or_default();
            let Some(algorithm) = Algorithm::of_header(name.as_str()) else { continue };
            declared.add(algorithm, value)?;
            if algorithm != Algorithm::Md5 {
                kept = Some((algorithm, value.trim().to_owned()));
            }
        }
        let (mut chunked, mut trailer) = (None, None);
        match self.signed.payload {
            Payload::Sha256(sum) => declared.add_sha256(sum),
            Payload::Unsigned | Payload::Body => {}
            Payload::Streaming => {
                let way = self.head.header("x-amz-content-sha256").unwrap_or_default();
                let (signed, trailing) = match way {
                    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => (true, false),
                    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => (true, true),
                    "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => (false, true),
                    _ => return Err(S3Error::not_implemented(way)),
                };
                if trailing && let Some(name) = self.head.header("x-amz-trailer") {
                    let name = name.trim().to_ascii_lowercase();
                    let found = Algorithm::of_header(&name);
                    trailer = Some(found.ok_or_else(|| S3Error::not_implemented(&name))?);
                }
                let signing = signed.then(|| Signing {
                    key: self.signer.key.clone(),
                    date: stamp::basic(self.signed.at),
                    scope: self.signed.scope.clone(),
                    previous: self.signed.signature(),
                });
                chunked = Some(Chunked::new(signing, trailing));
            }
        }
        let sums = Sums::new(&declared, trailer);
        Ok(Coming { body, chunked, declared, sums, trailer, kept })
    }

    /// All of a small body.
    pub(super) async fn whole(&self, body: Incoming) -> Result<Vec<u8>, S3Error> {
        let mut coming = self.coming(body)?;
        let mut all = Vec::new();
        while let Some(piece) = coming.next().await? {
            all.extend_from_slice(&piece);
            if all.len() > MAX_XML_BYTES {
                let text = "The body is longer than 2 MiB.";
                return Err(S3Error::new(S3Kind::EntityTooLarge, text));
            }
        }
        coming.finish()?;
        Ok(all)
    }
}

impl Coming {
    /// The next piece of the content, maybe empty; none at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, S3Error> {
        let late = |_| S3Error::new(S3Kind::RequestTimeout, "The body comes too slowly.");
        let cut = |_| S3Error::new(S3Kind::IncompleteBody, "The body did not come whole.");
        let Some(frame) = timeout(IDLE, self.body.frame()).await.map_err(late)? else {
            return Ok(None);
        };
        let Ok(came) = frame.map_err(cut)?.into_data() else { return Ok(Some(Bytes::new())) };
        let content = match &mut self.chunked {
            None => came,
            Some(chunked) => {
                let mut content = Vec::with_capacity(came.len());
                chunked.take(&came, &mut content)?;
                content.into()
            }
        };
        self.sums.update(&content);
        Ok(Some(content))
    }

    /// That what came is what was declared; answers the sum that stays with
    /// it, by its algorithm's name.
    pub(super) fn finish(mut self) -> Result<Option<(Algorithm, String)>, S3Error> {
        if let Some(chunked) = self.chunked.take() {
            let trailers = chunked.finish()?;
            if let Some(wanted) = self.trailer {
                let found = trailers.iter().find(|(name, _)| name == wanted.header());
                let (_, value) = found.ok_or_else(|| {
                    let text = format!("The trailer {} did not come.", wanted.header());
                    S3Error::new(S3Kind::IncompleteBody, text)
                })?;
                self.declared.add(wanted, value)?;
                self.kept = Some((wanted, value.clone()));
            }
        }
        self.sums.check(&self.declared)?;
        Ok(self.kept)
    }
}
