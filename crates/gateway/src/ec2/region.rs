//! Which region a request is for, and the way to it.

use std::collections::BTreeMap;

use http::{HeaderValue, Request, Response, Uri, Version};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tonic::body::Body;
use vmint_ec2::{Code, Error};

use super::{head::Head, service::Service};

/// Says that a request came from another region's gateway.
const HOP: &str = "x-vmint-region-hop";

/// This deployment's region, and where the others' gateways are.
#[derive(Debug, Clone)]
pub(crate) struct Regions {
    own: String,
    /// `HOST:PORT` by name.
    others: BTreeMap<String, String>,
    client: Client<HttpConnector, Body>,
}

impl Regions {
    pub(crate) fn new(own: String, others: BTreeMap<String, String>) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { own, others, client }
    }

    /// This region.
    pub(crate) fn own(&self) -> &str {
        &self.own
    }

    /// This region and the others, in the order of their names.
    pub(crate) fn names(&self) -> Vec<&str> {
        let mut names = self.others.keys().map(String::as_str).collect::<Vec<_>>();
        names.push(&self.own);
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Where to copy from that `region` names; empty if it is this one. A
    /// deployment without others takes any name for its own.
    pub(crate) fn source(&self, region: String) -> Result<String, Error> {
        if region == self.own || self.others.is_empty() {
            return Ok(String::new());
        }
        if self.others.contains_key(&region) {
            return Ok(region);
        }
        let text =
            format!("The region '{region}' is not known: use one of {}.", self.names().join(", "));
        Err(Error::new(Code::InvalidRegion, text))
    }

    /// The one availability zone of this region.
    pub(crate) fn zone(&self) -> String {
        format!("{}a", self.own)
    }

    /// Where a request must go to that names `region`; none if it may stay.
    ///
    /// A deployment without others answers whatever region a client is set
    /// to; its answers name its own.
    pub(super) fn of(
        &self,
        region: &str,
        service: Service,
        head: &Head,
    ) -> Result<Option<&str>, Error> {
        if region == self.own || service.is_global() || self.others.is_empty() {
            return Ok(None);
        }
        match self.others.get(region) {
            Some(address) if head.header(HOP).is_none() => Ok(Some(address)),
            _ => {
                let names = self.names().join(", ");
                let text = format!(
                    "Credential should be scoped to a valid region, not '{region}': use one of \
                     {names}."
                );
                Err(Error::new(Code::AuthFailure, text))
            }
        }
    }

    /// Passes a request on as it is, so that its signature still holds, and the
    /// answer back.
    pub(super) async fn forward(
        &self,
        address: &str,
        head: &Head,
        body: Body,
    ) -> Result<Response<Body>, Error> {
        let away = |error: &dyn std::fmt::Display| {
            tracing::warn!(%error, address, "another region can't be reached");
            Error::new(Code::Unavailable, "The region's gateway can't be reached; try again.")
        };
        let path = head.parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let uri: Uri = format!("http://{address}{path}").parse().map_err(|e| away(&e))?;
        let mut onward = Request::new(body);
        *onward.method_mut() = head.parts.method.clone();
        *onward.uri_mut() = uri;
        *onward.version_mut() = Version::HTTP_11;
        *onward.headers_mut() = head.parts.headers.clone();
        for name in ["connection", "keep-alive", "te", "transfer-encoding", "upgrade", "expect"] {
            onward.headers_mut().remove(name);
        }
        onward.headers_mut().insert(HOP, HeaderValue::from_static("1"));
        let answer = self.client.request(onward).await.map_err(|error| away(&error))?;
        let mut answer = answer.map(Body::new);
        for name in ["connection", "keep-alive", "transfer-encoding"] {
            answer.headers_mut().remove(name);
        }
        Ok(answer)
    }
}
