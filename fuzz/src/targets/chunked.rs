//! Bodies in `aws-chunked`: as a stranger sends them, and as we sign them ourselves.

use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};
use vmint_ec2::s3::{Chunked, S3Error, Signing};
use vmint_ec2::sigv4::{Scope, SigningKey};

use crate::Target;

pub const TARGET: Target = Target { name: "chunked", run, seeds };

/// Of the first byte: pieces are signed, trailers are announced, and the rest is content that is
/// to be signed here.
const SIGNED: u8 = 1;
const TRAILING: u8 = 2;
const HONEST: u8 = 4;

type Taken = Result<(Vec<u8>, Vec<(String, String)>), S3Error>;

fn run(data: &[u8]) {
    let [way, step, rest @ ..] = data else { return };
    let step = usize::from(*step) + 1;
    let signing = |on: bool| on.then(signing);
    if way & HONEST == 0 {
        let chunked = || Chunked::new(signing(way & SIGNED != 0), way & TRAILING != 0);
        let (whole, cut) = (take(chunked(), rest, rest.len()), take(chunked(), rest, step));
        // However it is cut, it says the same; and never more than came.
        assert_eq!(whole, cut);
        if let Ok((content, trailers)) = whole {
            assert!(content.len() <= rest.len() && trailers.len() <= 16);
            assert!(way & TRAILING != 0 || trailers.is_empty());
        }
        return;
    }
    let pieces: Vec<&[u8]> = rest.chunks(step).take(64).collect();
    let body = signed(&pieces);
    let taken = take(Chunked::new(signing(true), false), &body, step);
    assert_eq!(taken, Ok((pieces.concat(), Vec::new())));
    // Nothing of a piece comes through that is not as it was signed.
    if let Some(first) = body.windows(2).position(|two| two == b"\r\n").filter(|_| !rest.is_empty()) {
        let mut spoilt = body;
        spoilt[first + 2] ^= 1;
        assert!(take(Chunked::new(signing(true), false), &spoilt, step).is_err());
    }
}

fn take(mut chunked: Chunked, body: &[u8], step: usize) -> Taken {
    let mut content = Vec::new();
    for part in body.chunks(step.max(1)) {
        chunked.take(part, &mut content)?;
    }
    Ok((content, chunked.finish()?))
}

fn signing() -> Signing {
    let scope = Scope { date: "20270115".into(), region: "here".into(), service: "s3".into() };
    let key = SigningKey::derive("secret", &scope);
    Signing { key, date: "20270115T080000Z".into(), scope, previous: [7; 32] }
}

/// Pieces as a client signs them.
fn signed(pieces: &[&[u8]]) -> Vec<u8> {
    let signing = signing();
    let (mut previous, mut body) = (signing.previous.to_vec(), Vec::new());
    for piece in pieces.iter().copied().chain([&b""[..]]) {
        let text = format!(
            "AWS4-HMAC-SHA256-PAYLOAD\n{}\n{}\n{}\n{}\n{}",
            signing.date,
            signing.scope.to_text(),
            hex(&previous),
            hex(&Sha256::digest([])),
            hex(&Sha256::digest(piece)),
        );
        let mut hmac = Hmac::<Sha256>::new_from_slice(&signing.key.to_bytes()).expect("any key");
        hmac.update(text.as_bytes());
        previous = hmac.finalize().into_bytes().to_vec();
        body.extend(format!("{:x};chunk-signature={}\r\n", piece.len(), hex(&previous)).bytes());
        body.extend_from_slice(piece);
        body.extend_from_slice(b"\r\n");
    }
    body
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn seeds() -> Vec<Vec<u8>> {
    let plain = b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n";
    let signed = signed(&[b"hello", b" world"]);
    vec![
        [&[TRAILING, 3], &plain[..]].concat(),
        [&[0, 0], &b"b\r\nhello world\r\n0\r\n\r\n"[..]].concat(),
        [&[SIGNED, 6], &signed[..]].concat(),
        [&[SIGNED | TRAILING, 0], &signed[..signed.len() - 2], b"a:b\r\n\r\n"].concat(),
        [&[HONEST, 4], &b"hello world"[..]].concat(),
    ]
}
