//! A request without its body.

use http::{
    HeaderMap, Method, Request, Uri,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST},
    request::Parts,
};
use hyper::body::Incoming;
use vmint_ec2::{Code, Error, Params, sigv4};

use super::service::Service;

const FORM: &[u8] = b"application/x-www-form-urlencoded";

/// Method, path, query and headers, as they came.
#[derive(Debug)]
pub(crate) struct Head {
    pub(super) parts: Parts,
}

/// Whether a request is signed, or asks as clients of this face do.
pub(super) fn is_ours(request: &Request<Incoming>) -> bool {
    let headers = request.headers();
    let signed =
        headers.get(AUTHORIZATION).is_some_and(|value| value.as_bytes().starts_with(b"AWS"));
    let query = request.uri().query().unwrap_or_default();
    let asked = ["X-Amz-Algorithm=", "Action="];
    let asks = query.split('&').any(|pair| asked.iter().any(|start| pair.starts_with(start)));
    let form = request.method() == Method::POST && is_form(headers);
    signed || asks || form || headers.contains_key("x-amz-target")
}

fn is_form(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(FORM))
}

impl Head {
    /// The host is made a header where HTTP/2 has it in the address.
    pub(super) fn new(mut parts: Parts) -> Self {
        if let (false, Some(authority)) = (parts.headers.contains_key(HOST), parts.uri.authority())
            && let Ok(host) = authority.as_str().parse()
        {
            parts.headers.insert(HOST, host);
        }
        Self { parts }
    }

    /// Shows it as the verifier of signatures reads it.
    pub(super) fn with<T>(&self, read: impl FnOnce(&sigv4::Request<'_>) -> T) -> T {
        let headers = self.parts.headers.iter();
        let headers = headers.map(|(name, value)| (name.as_str(), value.as_bytes()));
        let headers = headers.collect::<Vec<_>>();
        read(&sigv4::Request {
            method: self.parts.method.as_str(),
            path: self.parts.uri.path(),
            query: self.parts.uri.query().unwrap_or_default(),
            headers: &headers,
        })
    }

    /// A header's value, if it is plain text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.parts.headers.get(name)?.to_str().ok()
    }

    /// What a JSON service is asked for.
    pub(super) fn target(&self) -> &str {
        self.header("x-amz-target").unwrap_or_default()
    }

    /// The parameters of a Query request: in its body, or in its query.
    pub(super) fn params(&self, body: &[u8]) -> Result<Params, Error> {
        let query = self.parts.uri.query().unwrap_or_default();
        match self.parts.method {
            // Clients that presign a POST leave its parameters in the body.
            Method::POST if !body.is_empty() => Params::from_form(body),
            Method::GET | Method::POST => Params::from_query(&unsigned(query)),
            _ => Err(Error::new(Code::InvalidRequest, "Send it with GET or POST.")),
        }
    }

    /// Which service was meant, as far as can be told without its signature.
    pub(super) fn likely_service(&self) -> Service {
        likely_service(&self.parts.headers, &self.parts.uri)
    }
}

/// Which service a request means, as far as can be told without its signature.
pub(super) fn likely_service(headers: &HeaderMap, uri: &Uri) -> Service {
    let signed = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let query = uri.query().unwrap_or_default();
    let credential = [signed.unwrap_or_default(), query].into_iter().find_map(|text| {
        let (_, rest) = text.split_once("Credential=")?;
        let scope = rest.split([',', '&', ' ']).next()?.replace("%2F", "/");
        Service::of(scope.split('/').nth(3)?)
    });
    credential.unwrap_or(Service::Ec2)
}

/// The query without what belongs to a presigned request's signature.
fn unsigned(query: &str) -> String {
    let pairs = query.split('&').filter(|pair| !pair.starts_with("X-Amz-"));
    pairs.collect::<Vec<_>>().join("&")
}
