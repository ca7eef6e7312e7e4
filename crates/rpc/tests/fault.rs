//! A refusal, from the error that caused it to what its receiver reads.
#![allow(clippy::unwrap_used)] // a helper may fail its test

use std::{io, time::Duration};

use tonic::{Code, Status};
use vmint_rpc::{Describe, Fault, FieldViolation, Kind, to_status, within};

#[derive(Debug, thiserror::Error)]
enum TestError {
    #[error("`{name}` is not a name")]
    BadName { name: String },
    #[error("the disk at /secret/path failed")]
    Disk(#[source] io::Error),
}

impl Describe for TestError {
    const DOMAIN: &'static str = "test.vmint";

    fn fault(&self) -> Fault {
        match self {
            Self::BadName { name } => Fault::new(Kind::BadRequest, "NAME_BAD")
                .with("name", name)
                .field("image.name", "has a slash")
                .hint("use letters only")
                .retry_after(Duration::from_secs(3)),
            Self::Disk(_) => Fault::new(Kind::Internal, "DISK").with("path", "/secret/path"),
        }
    }
}

#[tokio::test]
async fn everything_said_is_read_at_the_other_end() {
    let error = TestError::BadName { name: "a/b".to_owned() };
    let status =
        within("0123456789abcdef0123456789abcdef", None, async { to_status(&error) }).await;

    // As it travels.
    let headers = status.into_http::<tonic::body::Body>().into_parts().0.headers;
    let seen = Fault::from_status(&Status::from_header_map(&headers).unwrap());

    assert_eq!(seen.code, Code::InvalidArgument);
    assert_eq!(seen.message, "`a/b` is not a name");
    assert_eq!((seen.reason.as_str(), seen.domain.as_str()), ("NAME_BAD", "test.vmint"));
    assert_eq!(seen.metadata["name"], "a/b");
    assert_eq!(seen.hint.as_deref(), Some("use letters only"));
    assert_eq!(seen.retry_after, Some(Duration::from_secs(3)));
    assert_eq!(seen.request_id.as_deref(), Some("0123456789abcdef0123456789abcdef"));
    let field =
        FieldViolation { field: "image.name".to_owned(), description: "has a slash".to_owned() };
    assert_eq!(seen.fields, [field]);
}

#[test]
fn our_own_failures_say_nothing_of_the_inside() {
    let status = to_status(&TestError::Disk(io::Error::other("/secret/path: rot")));
    assert_eq!(status.code(), Code::Internal);
    let everything = format!("{status:?}{}", String::from_utf8_lossy(status.details()));
    assert!(!everything.contains("secret"), "{everything}");
    assert_eq!(Fault::from_status(&status).reason, "DISK");
}

#[test]
fn a_status_of_someone_else_is_read_for_what_it_has() {
    let seen = Fault::from_status(&Status::not_found("nothing here"));
    assert_eq!(
        (seen.code, seen.message.as_str(), seen.reason.as_str()),
        (Code::NotFound, "nothing here", "")
    );
}
