//! The bodies of S3, both ways.

use quick_xml::{Reader, events::Event};
use time::OffsetDateTime;

use super::{Listing, MAX_XML_BYTES, S3Error, S3Kind};
use crate::{Xml, stamp};

const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";
const MOST: usize = 10_000;
const MAX_DEPTH: usize = 8;

/// The parts that an object is to be of: numbers and etags.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Completion {
    pub parts: Vec<(i32, String)>,
}

/// The keys that are to be deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deletion {
    pub keys: Vec<String>,
    /// Only what failed is to be answered.
    pub quiet: bool,
}

/// Reads the body of `CompleteMultipartUpload`.
pub fn read_completion(body: &[u8]) -> Result<Completion, S3Error> {
    let mut completion = Completion::default();
    let (mut number, mut etag) = (None, None);
    walk(body, |path, text| match path {
        ["CompleteMultipartUpload", "Part", "PartNumber"] => {
            number = Some(text.trim().parse::<i32>().map_err(|_| malformed())?);
            Ok(())
        }
        ["CompleteMultipartUpload", "Part", "ETag"] => {
            etag = Some(text.trim().trim_matches('"').to_owned());
            Ok(())
        }
        ["CompleteMultipartUpload", "Part"] => {
            let part = number.take().zip(etag.take()).ok_or_else(malformed)?;
            completion.parts.push(part);
            if completion.parts.len() > MOST { Err(malformed()) } else { Ok(()) }
        }
        _ => Ok(()),
    })?;
    if completion.parts.is_empty() { Err(malformed()) } else { Ok(completion) }
}

/// Reads the body of `DeleteObjects`, of 1 to 1000 keys.
pub fn read_deletion(body: &[u8]) -> Result<Deletion, S3Error> {
    let mut deletion = Deletion::default();
    walk(body, |path, text| {
        match path {
            ["Delete", "Object", "Key"] => deletion.keys.push(text.to_owned()),
            ["Delete", "Quiet"] => deletion.quiet = text.trim() == "true",
            ["Delete", "Object", "VersionId"] if !text.is_empty() => {
                return Err(S3Error::not_implemented("Deleting versions"));
            }
            _ => {}
        }
        if deletion.keys.len() > 1000 { Err(malformed()) } else { Ok(()) }
    })?;
    if deletion.keys.is_empty() { Err(malformed()) } else { Ok(deletion) }
}

/// Shows each element as it ends: its path and its text.
fn walk(
    body: &[u8],
    mut ended: impl FnMut(&[&str], &str) -> Result<(), S3Error>,
) -> Result<(), S3Error> {
    if body.len() > MAX_XML_BYTES {
        return Err(S3Error::new(S3Kind::EntityTooLarge, "The body is longer than 2 MiB."));
    }
    let text = std::str::from_utf8(body).map_err(|_| malformed())?;
    let mut reader = Reader::from_str(text);
    let (mut path, mut inside) = (Vec::<String>::new(), String::new());
    loop {
        match reader.read_event().map_err(|_| malformed())? {
            Event::Start(start) => {
                if path.len() >= MAX_DEPTH {
                    return Err(malformed());
                }
                let name = start.local_name();
                path.push(AsRef::<str>::as_ref(&name).to_owned());
                inside.clear();
            }
            Event::Text(part) => inside.push_str(&part),
            Event::CData(part) => inside.push_str(&part),
            Event::GeneralRef(name) => {
                inside.push_str(&entity(&name).ok_or_else(malformed)?);
            }
            Event::End(_) => {
                let names = path.iter().map(String::as_str).collect::<Vec<_>>();
                ended(&names, &inside)?;
                path.pop();
                inside.clear();
            }
            Event::Empty(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::Eof if path.is_empty() => return Ok(()),
            // None of ours has a document type, and they are how bombs are made.
            Event::DocType(_) | Event::Eof => return Err(malformed()),
        }
    }
}

/// What a reference to a character says.
fn entity(name: &str) -> Option<String> {
    let found = match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        name => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix('x') {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)?
        }
    };
    Some(found.to_string())
}

fn malformed() -> S3Error {
    let text = "The XML you provided was not well-formed or did not validate.";
    S3Error::new(S3Kind::MalformedXml, text)
}

/// One object of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub key: String,
    pub size: i64,
    pub etag: String,
    pub modified: Option<OffsetDateTime>,
}

/// One page of a listing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListPage {
    pub objects: Vec<Entry>,
    pub prefixes: Vec<String>,
    /// Empty if nothing follows.
    pub next: String,
}

/// The answer to `ListObjectsV2`, or to its first version.
#[must_use]
pub fn listed_objects(bucket: &str, asked: &Listing, page: &ListPage) -> String {
    let encode = |text: &str| if asked.encoded { encoded(text) } else { text.to_owned() };
    document("ListBucketResult", |xml| {
        xml.text("Name", bucket)
            .text("Prefix", encode(&asked.prefix))
            .value("MaxKeys", asked.most)
            .value("IsTruncated", !page.next.is_empty());
        if !asked.delimiter.is_empty() {
            xml.text("Delimiter", encode(&asked.delimiter));
        }
        if asked.encoded {
            xml.text("EncodingType", "url");
        }
        if asked.first_version {
            xml.text("Marker", encode(&asked.start_after));
            // Where the first version goes on: it has no token.
            let key = page.objects.last().map(|last| last.key.as_str());
            let last = key.max(page.prefixes.last().map(String::as_str));
            if let Some(last) = last.filter(|_| !page.next.is_empty()) {
                xml.text("NextMarker", encode(last));
            }
        } else {
            xml.value("KeyCount", page.objects.len() + page.prefixes.len())
                .filled("ContinuationToken", &asked.token)
                .filled("NextContinuationToken", &page.next)
                .filled("StartAfter", encode(&asked.start_after));
        }
        for object in &page.objects {
            xml.node("Contents", |xml| {
                xml.text("Key", encode(&object.key));
                if let Some(modified) = object.modified {
                    xml.time("LastModified", modified);
                }
                xml.text("ETag", format!("\"{}\"", object.etag))
                    .value("Size", object.size)
                    .text("StorageClass", "STANDARD");
            });
        }
        for prefix in &page.prefixes {
            xml.node("CommonPrefixes", |xml| {
                xml.text("Prefix", encode(prefix));
            });
        }
    })
}

/// The answer to `ListBuckets`.
#[must_use]
pub fn listed_buckets(account: &str, buckets: &[(String, Option<OffsetDateTime>)]) -> String {
    document("ListAllMyBucketsResult", |xml| {
        xml.node("Owner", |xml| {
            xml.text("ID", account).text("DisplayName", account);
        })
        .node("Buckets", |xml| {
            for (name, made) in buckets {
                xml.node("Bucket", |xml| {
                    xml.text("Name", name);
                    if let Some(made) = made {
                        xml.time("CreationDate", *made);
                    }
                });
            }
        });
    })
}

/// The answer to `GetBucketLocation`.
#[must_use]
pub fn location(region: &str) -> String {
    // The oldest region is called nothing.
    let region = if region == "us-east-1" { "" } else { region };
    let mut xml = Xml::new();
    xml.text(&format!("LocationConstraint xmlns=\"{NAMESPACE}\""), region);
    xml.as_str().to_owned()
}

/// The answer to `CreateMultipartUpload`.
#[must_use]
pub fn initiated(bucket: &str, key: &str, upload: &str) -> String {
    document("InitiateMultipartUploadResult", |xml| {
        xml.text("Bucket", bucket).text("Key", key).text("UploadId", upload);
    })
}

/// The answer to `CompleteMultipartUpload`.
#[must_use]
pub fn completed(bucket: &str, key: &str, etag: &str) -> String {
    document("CompleteMultipartUploadResult", |xml| {
        xml.text("Location", format!("/{bucket}/{}", encoded(key)))
            .text("Bucket", bucket)
            .text("Key", key)
            .text("ETag", format!("\"{etag}\""));
    })
}

/// The answer to `CopyObject`, or to `UploadPartCopy` of a `part`.
#[must_use]
pub fn copied(part: bool, etag: &str, modified: Option<OffsetDateTime>) -> String {
    document(if part { "CopyPartResult" } else { "CopyObjectResult" }, |xml| {
        if let Some(modified) = modified {
            xml.time("LastModified", modified);
        }
        xml.text("ETag", format!("\"{etag}\""));
    })
}

/// The answer to `DeleteObjects`, all of which are gone.
#[must_use]
pub fn deleted(deletion: &Deletion) -> String {
    document("DeleteResult", |xml| {
        for key in deletion.keys.iter().filter(|_| !deletion.quiet) {
            xml.node("Deleted", |xml| {
                xml.text("Key", key);
            });
        }
    })
}

/// One part of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartEntry {
    pub number: i32,
    pub size: i64,
    pub etag: String,
    pub modified: Option<OffsetDateTime>,
}

/// One page of parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartPage<'a> {
    pub bucket: &'a str,
    pub key: &'a str,
    pub upload: &'a str,
    pub most: i32,
    pub parts: Vec<PartEntry>,
    /// Empty if nothing follows.
    pub next: String,
}

/// The answer to `ListParts`.
#[must_use]
pub fn listed_parts(page: &PartPage<'_>) -> String {
    document("ListPartsResult", |xml| {
        xml.text("Bucket", page.bucket)
            .text("Key", page.key)
            .text("UploadId", page.upload)
            .text("StorageClass", "STANDARD")
            .value("MaxParts", page.most)
            .value("IsTruncated", !page.next.is_empty())
            .filled("NextPartNumberMarker", &page.next);
        for part in &page.parts {
            xml.node("Part", |xml| {
                xml.value("PartNumber", part.number);
                if let Some(modified) = part.modified {
                    xml.time("LastModified", modified);
                }
                xml.text("ETag", format!("\"{}\"", part.etag)).value("Size", part.size);
            });
        }
    })
}

fn document(name: &str, inside: impl FnOnce(&mut Xml)) -> String {
    let mut xml = Xml::new();
    xml.node(&format!("{name} xmlns=\"{NAMESPACE}\""), inside);
    xml.as_str().to_owned()
}

/// As a key stands in an address.
fn encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~' | b'/');
    text.bytes().fold(String::with_capacity(text.len()), |mut all, byte| {
        if plain(byte) {
            all.push(byte.into());
        } else {
            let _infallible = std::fmt::Write::write_fmt(&mut all, format_args!("%{byte:02X}"));
        }
        all
    })
}

/// As `Last-Modified` says a time: `Sun, 31 Jan 2027 23:59:59 GMT`.
#[must_use]
pub fn last_modified(at: OffsetDateTime) -> String {
    stamp::rfc822(at)
}
