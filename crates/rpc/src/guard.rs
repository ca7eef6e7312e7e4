//! The guard before every handler.

use std::{
    fmt,
    panic::AssertUnwindSafe,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{FutureExt as _, future::BoxFuture};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tokio::time::{Instant, timeout_at};
use tonic::{Status, body::Body};
use tower::{Layer, Service};
use tracing::Instrument as _;

use crate::{
    CONTEXT_HEADER, Caller, CallerKind, ContextVerifier, GATEWAY, NoObserver, OPERATOR, Observer,
    Peer, Policies, Policy, REQUEST_ID_HEADER, Refusal, bounded, current,
    observe::{Call, code_of},
    to_status,
};

/// Paths that say nothing of anyone, so nobody must be known to call them.
const OPEN_TO_PEERS: [&str; 3] = [
    "/grpc.health.v1.Health/",
    "/grpc.reflection.v1.ServerReflection/",
    "/grpc.reflection.v1alpha.ServerReflection/",
];

/// Lets in only calls that their method's [`Policy`] allows, and brings every
/// call to an end: in time, as a status, counted.
///
/// It needs a [`Peer`] among the request's extensions; without one the call is
/// from a stranger. Handlers find a [`Caller`] and a [`Policy`] there.
#[derive(Clone)]
pub struct GuardLayer {
    rules: Arc<Rules>,
}

struct Rules {
    policies: Policies,
    verifier: ContextVerifier,
    observer: Arc<dyn Observer>,
    longest: Duration,
}

impl GuardLayer {
    /// Guards with `policies`, for callers that `verifier` accepts.
    #[must_use]
    pub fn new(policies: Policies, verifier: ContextVerifier) -> Self {
        let rules = Rules {
            policies,
            verifier,
            observer: Arc::new(NoObserver),
            longest: Duration::from_mins(1),
        };
        Self { rules: Arc::new(rules) }
    }

    /// Tells `observer` of each call.
    #[must_use]
    pub fn observed_by(self, observer: Arc<dyn Observer>) -> Self {
        let Rules { policies, verifier, longest, .. } = self.rules.as_ref();
        let (policies, verifier, longest) = (policies.clone(), verifier.clone(), *longest);
        Self { rules: Arc::new(Rules { policies, verifier, observer, longest }) }
    }

    /// No unary call may take longer than this, whatever its deadline; 60 s unless told.
    #[must_use]
    pub fn longest(self, longest: Duration) -> Self {
        let Rules { policies, verifier, observer, .. } = self.rules.as_ref();
        let (policies, verifier) = (policies.clone(), verifier.clone());
        let observer = observer.clone();
        Self { rules: Arc::new(Rules { policies, verifier, observer, longest }) }
    }
}

impl fmt::Debug for GuardLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardLayer").field("verifier", &self.rules.verifier).finish_non_exhaustive()
    }
}

impl<S> Layer<S> for GuardLayer {
    type Service = Guard<S>;

    fn layer(&self, inner: S) -> Guard<S> {
        Guard { rules: self.rules.clone(), inner }
    }
}

/// A service behind the [`GuardLayer`].
#[derive(Clone)]
pub struct Guard<S> {
    rules: Arc<Rules>,
    inner: S,
}

impl<S> fmt::Debug for Guard<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").finish_non_exhaustive()
    }
}

impl<S> Service<Request<Body>> for Guard<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The clone has not been polled ready; this one has.
        let next = self.inner.clone();
        let ready = std::mem::replace(&mut self.inner, next);
        let rules = self.rules.clone();
        Box::pin(async move { rules.serve(ready, request).await })
    }
}

impl Rules {
    async fn serve<S>(
        &self,
        mut inner: S,
        mut request: Request<Body>,
    ) -> Result<Response<Body>, S::Error>
    where
        S: Service<Request<Body>, Response = Response<Body>>,
    {
        let path = request.uri().path().to_owned();
        let known = self.policies.of(&path).cloned();
        let admitted = self.admit(known.as_deref(), &path, &mut request);
        let request_id = match &admitted {
            Ok(Some(caller)) => caller.request_id.clone(),
            Ok(None) | Err(_) => sent_request_id(request.headers()),
        };
        let streaming = known.as_ref().is_none_or(|policy| policy.streaming);
        let allowed = allowed_time(request.headers(), self.longest, streaming);
        let deadline = allowed.map(|time| Instant::now() + time);
        let counted = known.is_some() || admitted.is_ok();
        // Of the highest level, so that no filter takes the request id from an error.
        let span = tracing::error_span!(
            "call", request_id = %request_id, method = %path,
            peer = request.extensions().get::<Peer>().and_then(|p| p.service.as_deref()),
            account = admitted.as_ref().ok().and_then(Option::as_ref).map(|c| c.account.as_str()),
        );
        let call = counted.then(|| Call::start(self.observer.clone(), &path, span.clone()));
        let work = async {
            match admitted {
                Err(refusal) => {
                    tracing::debug!(%refusal, "call refused");
                    return Ok(to_status(&refusal).into_http());
                }
                Ok(Some(caller)) => {
                    request.extensions_mut().insert(caller);
                    if let Some(policy) = known {
                        request.extensions_mut().insert::<Arc<Policy>>(policy);
                    }
                }
                Ok(None) => {}
            }
            let request = request.map(|body| bounded(body).0);
            // `call` itself may panic as well as what it returns.
            let answer = AssertUnwindSafe(async { inner.call(request).await }).catch_unwind();
            let answer = match deadline {
                None => Ok(answer.await),
                Some(deadline) => timeout_at(deadline, answer).await,
            };
            match answer {
                Ok(Ok(answer)) => answer,
                Ok(Err(panic)) => {
                    let refusal = Refusal::Panicked { path: path.clone(), text: text_of(&*panic) };
                    Ok(to_status(&refusal).into_http())
                }
                Err(_) => {
                    let allowed = allowed.unwrap_or_default();
                    Ok(to_status(&Refusal::Deadline { allowed }).into_http())
                }
            }
        };
        let mut response = current::within(&request_id, deadline, work).instrument(span).await?;
        if let Ok(value) = HeaderValue::try_from(request_id) {
            response.headers_mut().insert(REQUEST_ID_HEADER, value);
        }
        let Some(call) = call else { return Ok(response) };
        if let Some(code) = code_of(response.headers()) {
            call.end(code);
            return Ok(response);
        }
        if !streaming {
            call.end(tonic::Code::Ok);
            return Ok(response);
        }
        Ok(response.map(|body| call.watch(body)))
    }

    /// The caller of an allowed call; none for what nobody must be known for.
    fn admit(
        &self,
        policy: Option<&Policy>,
        path: &str,
        request: &mut Request<Body>,
    ) -> Result<Option<Caller>, Refusal> {
        if OPEN_TO_PEERS.iter().any(|open| path.starts_with(open)) {
            return Ok(None);
        }
        let policy = policy
            .filter(|policy| !policy.action.is_empty())
            .ok_or_else(|| Refusal::UnknownMethod { path: path.to_owned() })?;
        let peer = request.extensions().get::<Peer>().cloned().unwrap_or_default();
        let service = peer.service.ok_or(Refusal::NoPeer)?;
        if !policy.allows(&service) {
            return Err(Refusal::PeerNotAllowed { peer: service, path: path.to_owned() });
        }
        if let Some(name) = request.headers().keys().find(|name| claims_identity(name)) {
            return Err(Refusal::ForgedMetadata { name: name.to_string() });
        }
        let caller = match take_context(request.headers_mut())? {
            Some(_) if service != GATEWAY => return Err(Refusal::ContextNotFromGateway),
            Some(context) => {
                let mut caller = self.verifier.verify(&context, &policy.action)?;
                if !current::is_request_id(&caller.request_id) {
                    caller.request_id = sent_request_id(request.headers());
                }
                caller
            }
            None if policy.serves_services() => {
                let request_id = sent_request_id(request.headers());
                let operator = service == OPERATOR;
                let kind = if operator { CallerKind::Operator } else { CallerKind::Service };
                Caller { kind, request_id, source: peer.address, ..Caller::service(service) }
            }
            None => return Err(Refusal::NoContext),
        };
        if policy.operator_only && caller.kind == CallerKind::Account {
            return Err(Refusal::OperatorOnly { path: path.to_owned() });
        }
        Ok(Some(caller))
    }
}

/// Takes the context out, so that no handler can pass it on by mistake.
fn take_context(headers: &mut HeaderMap) -> Result<Option<HeaderValue>, Refusal> {
    let mut values = headers.get_all(CONTEXT_HEADER).iter();
    let first = values.next().cloned();
    if values.next().is_some() {
        return Err(Refusal::ForgedMetadata { name: CONTEXT_HEADER.to_owned() });
    }
    headers.remove(CONTEXT_HEADER);
    Ok(first)
}

/// Takes out of `headers` everything that speaks of identity, as the gateway
/// must do with what comes from outside before it signs a context.
pub fn strip_identity(headers: &mut HeaderMap) {
    let claims = |name: &&HeaderName| claims_identity(name) || name.as_str() == CONTEXT_HEADER;
    let names: Vec<HeaderName> = headers.keys().filter(claims).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// Whether a key speaks of identity without being the signed context.
fn claims_identity(name: &HeaderName) -> bool {
    let name = name.as_str();
    name != CONTEXT_HEADER
        && ["x-vmint-", "x-caller-", "x-account", "x-principal", "x-amzn-", "x-forwarded-user"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
}

/// The request id that the headers bring along, or a fresh one.
fn sent_request_id(headers: &HeaderMap) -> String {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    // traceparent: version-trace-span-flags
    let traced = || text("traceparent").and_then(|t| t.split('-').nth(1));
    let sent = text(REQUEST_ID_HEADER).filter(|t| current::is_request_id(t));
    let sent = sent.or_else(|| traced().filter(|t| current::is_request_id(t)));
    sent.map_or_else(crate::new_request_id, str::to_owned)
}

fn allowed_time(headers: &HeaderMap, longest: Duration, streaming: bool) -> Option<Duration> {
    let asked = headers.get("grpc-timeout").and_then(|v| v.to_str().ok()).and_then(read_timeout);
    if streaming { asked } else { Some(asked.map_or(longest, |asked| asked.min(longest))) }
}

/// At most eight digits and a unit, as the gRPC protocol has it.
fn read_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 {
        return None;
    }
    let number = digits.parse::<u64>().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|t| (*t).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a text".to_owned())
}

/// Lets a [`Refusal`] be returned where a status is due.
impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        to_status(&refusal)
    }
}
