//! The EC2 face: the Query protocol, EBS direct and the JSON services that
//! image users' tools call, on the one port.
//!
//! It only translates. A request is told apart by the scope of its signature,
//! verified, bounded and counted as any other call is, and answered by the
//! verbs of `ops` or by the service it concerns.
//!
//! [`entry`] has the one table of operations: what each takes, whether it
//! changes anything, and who answers it. Modules of operations read their
//! [`Call`], ask over gRPC, and write XML; [`refusal`] turns what was refused
//! into EC2's codes.

mod alias;
mod direct;
mod disk_tags;
mod encryption;
mod entry;
mod exports;
mod filter;
mod head;
mod held;
mod identity;
mod images;
mod imports;
mod instances;
mod key_pairs;
mod keys;
mod machine_tags;
mod network;
#[cfg(test)]
mod page;
mod refusal;
mod region;
mod replay;
mod s3;
mod scaling;
mod service;
mod snapshot_attribute;
mod snapshots;
mod ssm;
mod stored_images;
mod tags;
mod task_tags;
#[cfg(test)]
mod tests;
mod volume_attribute;
mod volumes;
mod zones;

use std::{sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use time::OffsetDateTime;
use tokio::time::{Instant, timeout_at};
use tonic::{Code as GrpcCode, body::Body};
use tracing::Instrument as _;
use vmint_daemon::Metrics;
use vmint_ec2::{
    Code, Error, Params, Reply,
    sigv4::{self, SigError, Signed},
};
use vmint_rpc::Observer as _;
use vmint_store::Store;

pub(crate) use alias::Aliases;
pub(crate) use entry::{Call, Entry, entries};
pub(crate) use network::Groups;
pub(crate) use refusal::Refused;
pub(crate) use region::Regions;

use crate::{door::Buckets, ops::Gateway};
use head::Head;
use keys::{Keys, Signer};
use replay::Replays;
use service::Service;

/// A body that has not come by then will not.
const BODY: Duration = Duration::from_secs(30);

/// What stands between an HTTP request and the operations.
pub(crate) struct Front {
    pub(crate) gateway: Gateway,
    pub(crate) regions: Regions,
    pub(crate) aliases: Aliases,
    pub(crate) buckets: Arc<Buckets>,
    pub(crate) metrics: Metrics,
    pub(crate) keys: Keys,
    pub(crate) replays: Replays,
    pub(crate) groups: network::Groups,
    /// What one call may take.
    pub(crate) longest: Duration,
}

impl Front {
    pub(crate) fn new(
        gateway: Gateway,
        store: Store,
        regions: Regions,
        buckets: Arc<Buckets>,
        metrics: Metrics,
        longest: Duration,
    ) -> Self {
        let (keys, replays) = (Keys::new(), Replays::default());
        let (aliases, groups) = (Aliases::new(), network::Groups::new(store));
        Self { gateway, regions, aliases, buckets, metrics, keys, replays, groups, longest }
    }

    /// With well-known owners that have names.
    pub(crate) fn with_aliases(self, aliases: Aliases) -> Self {
        Self { aliases, ..self }
    }

    /// Whether a request is for this face: it is signed, or asks as the
    /// clients of this face do.
    pub(crate) fn takes(request: &Request<Incoming>) -> bool {
        head::is_ours(request)
    }

    /// Answers one request that came from `source`.
    pub(crate) async fn answer(
        self: &Arc<Self>,
        request: Request<Incoming>,
        request_id: String,
        source: &str,
    ) -> Response<Body> {
        let span = tracing::info_span!("ec2", %request_id, %source, action = tracing::field::Empty);
        // An object may take its time; who sends it is known before it comes.
        let objects = head::likely_service(request.headers(), request.uri()) == Service::S3;
        let longest = if objects { s3::LONGEST } else { self.longest };
        let deadline = Instant::now() + longest;
        let work = async {
            let (parts, body) = request.into_parts();
            let head = Head::new(parts);
            let answer = self.heard(&head, body, &request_id, source);
            let answer = vmint_rpc::within(&request_id, Some(deadline), answer);
            match timeout_at(deadline, answer).await {
                Ok(response) => response,
                Err(_) => {
                    let text = "The request took too long; what was begun goes on.";
                    let error = Error::new(Code::Unavailable, text);
                    sent(head.likely_service().refuse(&error, &request_id))
                }
            }
        };
        work.instrument(span).await
    }

    async fn heard(
        self: &Arc<Self>,
        head: &Head,
        body: Incoming,
        request_id: &str,
        source: &str,
    ) -> Response<Body> {
        let refuse =
            |error: &SigError| sent(head.likely_service().refuse_signature(error, request_id));
        let signed = match head.with(sigv4::parse) {
            Ok(signed) => signed,
            Err(error) => return refuse(&error),
        };
        let Some(service) = Service::of(&signed.scope.service) else {
            let text = format!("The service '{}' is not served here.", signed.scope.service);
            let error = Error::new(Code::InvalidAction, text);
            return sent(head.likely_service().refuse(&error, request_id));
        };
        if service == Service::S3 {
            return self.s3(head, &signed, body, request_id, source).await;
        }
        let body = match read(body, service.longest_body()).await {
            Ok(body) => body,
            Err(error) => return sent(service.refuse(&error, request_id)),
        };
        match self.regions.of(&signed.scope.region, service, head) {
            Ok(None) => {}
            Ok(Some(elsewhere)) => {
                let body = Body::new(Full::from(body));
                return match self.regions.forward(elsewhere, head, body).await {
                    Ok(response) => response,
                    Err(error) => sent(service.refuse(&error, request_id)),
                };
            }
            Err(error) => return sent(service.refuse(&error, request_id)),
        }
        let read = sigv4::Body::Read(&body);
        let who = match self.verified(head, &signed, service, read, request_id).await {
            Ok(Ok(who)) => who,
            Ok(Err(error)) => return sent(service.refuse_signature(&error, request_id)),
            Err(refused) => return sent(service.refuse(&refused.0, request_id)),
        };
        if let Err(error) = self.buckets.take(&who.account) {
            let refused = Refused::from(tonic::Status::from(error));
            return sent(service.refuse(&refused.0, request_id));
        }
        self.keys.used(self, &who, &signed.scope.service);
        let invocation = head.header("amz-sdk-invocation-id");
        let signature = replay::told_apart(&signed.signature(), invocation);
        let asked = Asked { service, who, signature, head, body };
        sent(self.admitted(asked, request_id, source).await)
    }

    /// Whose request it is, or why its signature does not serve; fails if keys
    /// can't be looked up.
    async fn verified(
        &self,
        head: &Head,
        signed: &Signed,
        service: Service,
        body: sigv4::Body<'_>,
        request_id: &str,
    ) -> Result<Result<Signer, SigError>, Refused> {
        // We give out no session tokens. A presigned request may go through
        // many hands: whoever it is shown to must not become its signer.
        let presigned = signed.expires.is_some() && service == Service::Sts;
        if signed.session_token.is_some() || presigned {
            return Ok(Err(SigError::UnknownKey));
        }
        let found = self.keys.of(&self.gateway.peers, signed, request_id).await?;
        let Some(who) = found else { return Ok(Err(SigError::UnknownKey)) };
        let now = OffsetDateTime::now_utc();
        let verified = head.with(|request| signed.verify(request, &who.key, body, now));
        Ok(verified.map(|()| who))
    }

    async fn admitted(self: &Arc<Self>, asked: Asked<'_>, request_id: &str, source: &str) -> Reply {
        match asked.service {
            Service::Query(_) | Service::Ec2 | Service::Sts => {
                self.query(asked, request_id, source).await
            }
            Service::Ebs => self.direct(asked, request_id, source).await,
            Service::Ssm => self.parameters(asked, request_id, source).await,
            Service::S3 | Service::Other => {
                self.unknown(asked.service, asked.head.target());
                let error = refusal::unknown_action(asked.head.target());
                asked.service.refuse(&error, request_id)
            }
        }
    }

    /// A Query request: `Action` says what it asks for.
    async fn query(self: &Arc<Self>, asked: Asked<'_>, request_id: &str, source: &str) -> Reply {
        let service = asked.service;
        let (entry, params) = match self.find(&asked) {
            Ok(found) => found,
            Err(error) => return service.refuse(&error, request_id),
        };
        let action = entry.operation.name;
        tracing::Span::current().record("action", action);
        let path = format!("{}:{action}", service.name());
        self.metrics.started(&path);
        let begun = std::time::Instant::now();
        let invocation = asked.head.header("amz-sdk-invocation-id");
        let (key_id, signature) = (&asked.who.key_id, &asked.signature);
        let turn =
            entry.mutates.then(|| self.replays.turn(key_id, signature, invocation.is_some()));
        let before = turn.as_ref().map_or(0, |turn| turn.before);
        let call = Call {
            front: self.clone(),
            caller: asked.who.caller(request_id, source),
            read_only: asked.who.read_only,
            params,
            replay_id: replay::request_id(key_id, signature, invocation, before),
        };
        let answer = async {
            match call.run(entry).await {
                Ok(inside) => service.reply(action, request_id, &inside),
                Err(refused) => service.refuse(&refused.0, request_id),
            }
        };
        let reply = match turn {
            Some(turn) => turn.once(answer).await,
            None => answer.await,
        };
        self.metrics.handled(&path, code_of(reply.status), begun.elapsed());
        reply
    }

    /// The operation that is asked for, with its parameters.
    fn find(&self, asked: &Asked<'_>) -> Result<(&'static Entry, Params), Error> {
        let mut params = asked.head.params(&asked.body)?;
        let Some(action) = params.text("Action")? else {
            let text = "The request must contain the parameter Action.";
            return Err(Error::new(Code::MissingAction, text));
        };
        params.raw("Version")?;
        let found = entry::of(asked.service, &action);
        let Some(entry) = found else {
            self.unknown(asked.service, &action);
            return Err(refusal::unknown_action(&action));
        };
        entry.operation.check(&params)?;
        Ok((entry, params))
    }

    /// Counts what was asked for in vain. Not by name: anyone may make up any.
    fn unknown(&self, service: Service, action: &str) {
        let action = action.chars().take(64).collect::<String>();
        tracing::info!(service = service.name(), action, "no such operation");
        let help = "Requests for operations that are not served.";
        let labels = [("service", service.name())];
        self.metrics.counter("vmint_ec2_unknown_actions_total", help, &labels).add(1);
    }
}

impl std::fmt::Debug for Front {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Front").field("regions", &self.regions).finish_non_exhaustive()
    }
}

/// A request whose signature is verified.
struct Asked<'a> {
    service: Service,
    who: Signer,
    /// Tells it from every other request of its key.
    signature: [u8; 32],
    head: &'a Head,
    body: Bytes,
}

async fn read(body: Incoming, at_most: usize) -> Result<Bytes, Error> {
    let read = Limited::new(body, at_most).collect();
    match tokio::time::timeout(BODY, read).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            let text = format!("The request is longer than {at_most} bytes.");
            Err(Error::new(Code::RequestEntityTooLarge, text))
        }
        Ok(Err(_)) | Err(_) => {
            let text = "The request's body did not come whole.";
            Err(Error::new(Code::InvalidRequest, text))
        }
    }
}

fn sent(reply: Reply) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::from(reply.body)));
    *response.status_mut() =
        StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in reply.headers {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().append(HeaderName::from_static(name), value);
        }
    }
    response
}

/// How metrics name what an HTTP status says.
fn code_of(status: u16) -> GrpcCode {
    match status {
        200..=299 => GrpcCode::Ok,
        401 => GrpcCode::Unauthenticated,
        403 => GrpcCode::PermissionDenied,
        404 => GrpcCode::NotFound,
        412 => GrpcCode::FailedPrecondition,
        429 => GrpcCode::ResourceExhausted,
        500 => GrpcCode::Internal,
        501..=599 => GrpcCode::Unavailable,
        _ => GrpcCode::InvalidArgument,
    }
}

/// A time that a service tells.
fn stamp(at: Option<&prost_types::Timestamp>) -> Option<OffsetDateTime> {
    let at = at?;
    let second = OffsetDateTime::from_unix_timestamp(at.seconds).ok()?;
    Some(second + time::Duration::nanoseconds(at.nanos.into()))
}
