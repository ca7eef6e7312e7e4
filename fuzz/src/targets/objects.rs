//! S3: what is asked for, the lists in its bodies, and what objects are copied from.

use vmint_ec2::{
    Reply,
    s3::{CopySource, Range, Route, read_completion, read_deletion},
};

use super::wire::Asked;
use crate::Target;

pub const TARGET: Target = Target { name: "objects", run, seeds };

fn run(data: &[u8]) {
    let Some(asked) = Asked::read(data) else { return };
    match Route::parse(asked.method, asked.path, asked.query) {
        Err(error) => assert!(Reply::s3_error(&error, "r").status >= 400),
        Ok(Route::ListObjects { listing, .. }) => assert!((0..=1000).contains(&listing.most)),
        Ok(Route::UploadPart { part, upload, .. }) => assert!(part > 0 && !upload.is_empty()),
        Ok(route) => assert!(!route.name().is_empty()),
    }
    if let Ok(completion) = read_completion(asked.body) {
        assert!((1..=10_000).contains(&completion.parts.len()));
    }
    if let Ok(deletion) = read_deletion(asked.body) {
        assert!((1..=1000).contains(&deletion.keys.len()));
        // References to characters never make more of a body than it is.
        assert!(deletion.keys.iter().map(String::len).sum::<usize>() <= asked.body.len());
    }
    if let Some(Ok(source)) = asked.header("x-amz-copy-source").map(CopySource::parse) {
        assert!(!source.bucket.is_empty() && !source.key.is_empty());
    }
    if let Some(Range::From(first, Some(last))) = asked.header("range").and_then(Range::parse) {
        assert!(first <= last);
    }
}

fn seeds() -> Vec<Vec<u8>> {
    [
        "POST /b/k?uploadId=u\n\n<CompleteMultipartUpload xmlns=\"x\"><Part><ETag>&quot;a&quot;\
         </ETag><PartNumber>1</PartNumber></Part></CompleteMultipartUpload>",
        "POST /b?delete\n\n<Delete><Quiet>true</Quiet><Object><Key>a&amp;b&#x41;<![CDATA[c]]>\
         </Key></Object></Delete>",
        "PUT /b/k\nx-amz-copy-source:/b/a%20b/c\nrange:bytes=0-9\n\n",
        "GET /b?list-type=2&prefix=a%2F&delimiter=%2F&max-keys=3&encoding-type=url\n\n",
        "PUT /b/k?partNumber=1&uploadId=u\nrange:bytes=-5\n\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}
