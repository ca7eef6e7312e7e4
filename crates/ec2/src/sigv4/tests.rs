use time::macros::datetime;

use super::*;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

#[test]
fn the_plainest_published_vector_verifies() {
    let authorization = "AWS4-HMAC-SHA256 \
        Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
        SignedHeaders=host;x-amz-date, \
        Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
    let headers: &[(&str, &[u8])] = &[
        ("host", b"example.amazonaws.com"),
        ("x-amz-date", b"20150830T123600Z"),
        ("authorization", authorization.as_bytes()),
    ];
    let request = Request { method: "GET", path: "/", query: "", headers };
    let signed = parse(&request).unwrap();
    let key = SigningKey::derive(SECRET, &signed.scope);
    let now = datetime!(2015-08-30 12:40 UTC);
    assert_eq!(signed.verify(&request, &key, Body::Read(b""), now), Ok(()));
}
