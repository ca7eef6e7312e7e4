//! Which key signed, when, and for what.

use time::OffsetDateTime;

use super::{Payload, Request, SigError, canonical::pairs};
use crate::stamp;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const MAX_FIELD: usize = 128;
const MAX_TOKEN: usize = 4096;

/// What a signing key is good for: one day, region and service.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scope {
    /// `20270131`.
    pub date: String,
    pub region: String,
    pub service: String,
}

impl Scope {
    /// `20270131/us-east-1/ec2/aws4_request`.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{}/{}/{}/aws4_request", self.date, self.region, self.service)
    }

    pub(super) fn is_s3(&self) -> bool {
        self.service == "s3"
    }
}

/// What a request says about its signature; nothing of it is verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    pub key_id: String,
    pub scope: Scope,
    pub at: OffsetDateTime,
    /// Of a session; goes with the key id.
    pub session_token: Option<String>,
    /// For how many seconds from `at`, if it is in the query string.
    pub expires: Option<u32>,
    pub payload: Payload,
    pub(super) headers: Vec<String>,
    pub(super) signature: [u8; 32],
}

/// Reads the signature of a request.
///
/// Refuses with [`SigError::Missing`] and [`SigError::Incomplete`].
pub fn parse(request: &Request<'_>) -> Result<Signed, SigError> {
    let query = pairs(request.query).ok_or_else(|| bad("The query string is malformed."))?;
    let presigned = query.iter().any(|(name, _)| name == "X-Amz-Algorithm");
    let signed = match (request.has("authorization"), presigned) {
        (true, true) => return Err(bad("The request is signed in its header and in its query.")),
        (true, false) => from_header(request)?,
        (false, true) => from_query(request, &query)?,
        (false, false) if query.iter().any(|(name, _)| name == "Signature") => {
            return Err(bad("Signature version 2 is not served; sign with version 4."));
        }
        (false, false) => return Err(SigError::Missing),
    };
    if stamp::basic(signed.at).get(..8) != Some(signed.scope.date.as_str()) {
        return Err(bad("The date in Credential is not the date of the request."));
    }
    if !signed.headers.iter().any(|name| name == "host") {
        return Err(bad("'Host' must be among the signed headers."));
    }
    // What we act upon must be what was signed.
    let mut acted_upon = request.headers.iter().filter(|(name, _)| name.starts_with("x-amz-"));
    match acted_upon.find(|(name, _)| !signed.headers.iter().any(|known| known == name)) {
        None => Ok(signed),
        Some((name, _)) => Err(bad(format!("The header '{name}' must be signed."))),
    }
}

fn from_header(request: &Request<'_>) -> Result<Signed, SigError> {
    let header = request
        .header("authorization")
        .ok_or_else(|| bad("There must be one Authorization header of plain text."))?;
    let fields = header
        .strip_prefix(ALGORITHM)
        .and_then(|rest| rest.strip_prefix([' ', '\t']))
        .ok_or_else(|| bad(format!("Authorization must begin with '{ALGORITHM}'.")))?;
    let (mut credential, mut headers, mut signature) = (None, None, None);
    for field in fields.split(',').take(8) {
        let Some((name, value)) = field.trim().split_once('=') else {
            return Err(bad("Authorization is not a list of Name=Value."));
        };
        let slot = match name {
            "Credential" => &mut credential,
            "SignedHeaders" => &mut headers,
            "Signature" => &mut signature,
            _ => return Err(bad("Authorization has a part that is not known.")),
        };
        if slot.replace(value).is_some() {
            return Err(bad(format!("Authorization has '{name}' twice.")));
        }
    }
    let need = |field: Option<&'_ str>, name: &str| {
        let text = format!("Authorization header requires '{name}' parameter.");
        field.map(str::to_owned).ok_or_else(|| bad(text))
    };
    let (key_id, scope) = read_credential(&need(credential, "Credential")?)?;
    Ok(Signed {
        key_id,
        payload: read_payload(request, &scope, Payload::Body)?,
        scope,
        at: read_time(request)?,
        session_token: read_token(request.header("x-amz-security-token"))?,
        expires: None,
        headers: read_headers(&need(headers, "SignedHeaders")?)?,
        signature: read_signature(&need(signature, "Signature")?)?,
    })
}

fn from_query(request: &Request<'_>, query: &[(String, String)]) -> Result<Signed, SigError> {
    let get = |name: &str| {
        let mut found = query.iter().filter(|(known, _)| known == name);
        match (found.next(), found.next()) {
            (Some((_, value)), None) => Ok(Some(value.as_str())),
            (None, _) => Ok(None),
            _ => Err(bad(format!("The query string has '{name}' twice."))),
        }
    };
    let need =
        |name: &str| get(name)?.ok_or_else(|| bad(format!("The query string requires '{name}'.")));
    if need("X-Amz-Algorithm")? != ALGORITHM {
        return Err(bad(format!("X-Amz-Algorithm must be {ALGORITHM}.")));
    }
    let expires = match get("X-Amz-Expires")? {
        // EC2's clients may leave it out: as long as a header's signature.
        None => 300,
        Some(text) => text
            .parse()
            .ok()
            .filter(|seconds| (1..=604_800).contains(seconds))
            .ok_or_else(|| bad("X-Amz-Expires must be between 1 and 604800 seconds."))?,
    };
    let (key_id, scope) = read_credential(need("X-Amz-Credential")?)?;
    let undeclared = if scope.is_s3() { Payload::Unsigned } else { Payload::Body };
    Ok(Signed {
        key_id,
        payload: read_payload(request, &scope, undeclared)?,
        scope,
        at: stamp::parse_basic(need("X-Amz-Date")?)
            .ok_or_else(|| bad("X-Amz-Date must be of the form 20270131T235959Z."))?,
        session_token: read_token(get("X-Amz-Security-Token")?)?,
        expires: Some(expires),
        headers: read_headers(need("X-Amz-SignedHeaders")?)?,
        signature: read_signature(need("X-Amz-Signature")?)?,
    })
}

fn read_credential(text: &str) -> Result<(String, Scope), SigError> {
    let malformed =
        || bad("Credential must have the form <key id>/<date>/<region>/<service>/aws4_request.");
    // Slashes in a key id would make two readings of one credential.
    let parts = text.split('/').collect::<Vec<_>>();
    let [key_id, date, region, service, "aws4_request"] = parts[..] else {
        return Err(malformed());
    };
    let plain = |text: &str| {
        !text.is_empty() && text.len() <= MAX_FIELD && text.bytes().all(|b| b.is_ascii_graphic())
    };
    let day = date.len() == 8 && date.bytes().all(|b| b.is_ascii_digit());
    if !day || ![key_id, region, service].into_iter().all(plain) {
        return Err(malformed());
    }
    let scope =
        Scope { date: date.to_owned(), region: region.to_owned(), service: service.to_owned() };
    Ok((key_id.to_owned(), scope))
}

fn read_time(request: &Request<'_>) -> Result<OffsetDateTime, SigError> {
    let malformed = || bad("X-Amz-Date must be of the form 20270131T235959Z.");
    if request.has("x-amz-date") {
        let text = request.header("x-amz-date").ok_or_else(malformed)?;
        return stamp::parse_basic(text).ok_or_else(malformed);
    }
    let text = request
        .header("date")
        .ok_or_else(|| bad("The request must have a header 'X-Amz-Date' or 'Date'."))?;
    stamp::parse_basic(text).or_else(|| stamp::parse_rfc822(text)).ok_or_else(malformed)
}

fn read_token(text: Option<&str>) -> Result<Option<String>, SigError> {
    match text {
        Some(text) if text.len() > MAX_TOKEN => Err(bad("The session token is too long.")),
        text => Ok(text.filter(|text| !text.is_empty()).map(str::to_owned)),
    }
}

/// Sorted lower-case names, each once.
fn read_headers(text: &str) -> Result<Vec<String>, SigError> {
    let names = text.split(';').map(str::to_owned).collect::<Vec<_>>();
    let token = |name: &String| {
        let legal = |b: u8| b.is_ascii_graphic() && !b.is_ascii_uppercase() && b != b':';
        !name.is_empty() && name.bytes().all(legal)
    };
    let sorted = names.windows(2).all(|pair| pair[0] < pair[1]);
    if names.len() > 64 || !sorted || !names.iter().all(token) {
        return Err(bad("SignedHeaders must be sorted lower-case names with ';' between them."));
    }
    Ok(names)
}

fn read_signature(text: &str) -> Result<[u8; 32], SigError> {
    let lower = !text.bytes().any(|b| b.is_ascii_uppercase());
    let bytes = hex::decode(text).ok().filter(|_| lower).and_then(|b| b.try_into().ok());
    bytes.ok_or_else(|| bad("Signature must be 64 lower-case hexadecimal digits."))
}

fn read_payload(
    request: &Request<'_>,
    scope: &Scope,
    undeclared: Payload,
) -> Result<Payload, SigError> {
    if !request.has("x-amz-content-sha256") {
        return Ok(undeclared);
    }
    let text = request.header("x-amz-content-sha256").unwrap_or_default();
    match text {
        "UNSIGNED-PAYLOAD" if scope.is_s3() => Ok(Payload::Unsigned),
        // A block's own checksum is a signed header and vouches for it.
        "UNSIGNED-PAYLOAD" if scope.service == "ebs" && request.has("x-amz-checksum") => {
            Ok(Payload::Unsigned)
        }
        _ if text.starts_with("STREAMING-") && scope.is_s3() => Ok(Payload::Streaming),
        _ => {
            let sum = hex::decode(text).ok().and_then(|bytes| bytes.try_into().ok());
            sum.map(Payload::Sha256).ok_or_else(|| {
                bad("x-amz-content-sha256 must be the body's SHA-256 in hexadecimal digits.")
            })
        }
    }
}

fn bad(text: impl Into<String>) -> SigError {
    SigError::incomplete(text)
}
