//! Whose a bearer token is.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use http::{HeaderMap, header::AUTHORIZATION};
use parking_lot::Mutex;
use tonic::{Code, Status};
use vmint_api::permissions::v1::AuthenticateRequest;
use vmint_rpc::{Caller, CallerKind, Retry, retry};

use crate::{GatewayError, peers::Peers};

/// A revoked token is refused after this at the latest, wherever it was revoked.
const GOOD_FOR: Duration = Duration::from_millis(900);
/// So that guessing costs the permissions service little.
const BAD_FOR: Duration = Duration::from_millis(300);
const KEEP: usize = 20_000;
const LONGEST_TOKEN: usize = 512;

/// Sessions by the keyed hash of their token, for a moment.
#[derive(Debug)]
pub(crate) struct Sessions {
    key: [u8; 32],
    cache: Mutex<Cache>,
}

#[derive(Debug, Default)]
struct Cache {
    /// Moves when all is forgotten: what was asked before is not kept.
    generation: u64,
    found: HashMap<[u8; 32], (Option<Session>, Instant)>,
}

/// What a token stands for.
#[derive(Debug, Clone)]
pub(super) struct Session {
    account: String,
    principal: String,
    id: String,
    pub(super) operator: bool,
    pub(super) read_only: bool,
}

impl Session {
    pub(super) fn caller(&self, request_id: &str, source: &str) -> Caller {
        Caller {
            account: self.account.clone(),
            principal: self.principal.clone(),
            kind: if self.operator { CallerKind::Operator } else { CallerKind::Account },
            session: self.id.clone(),
            request_id: request_id.to_owned(),
            source: source.to_owned(),
        }
    }
}

impl Sessions {
    pub(crate) fn new() -> Self {
        Self { key: rand::random(), cache: Mutex::default() }
    }

    /// The session that `headers` show a token of.
    pub(super) async fn of(
        &self,
        peers: &Peers,
        headers: &HeaderMap,
        request_id: &str,
    ) -> Result<Session, Status> {
        let token = bearer(headers).ok_or(GatewayError::NoToken)?;
        let hash = *blake3::keyed_hash(&self.key, token.as_bytes()).as_bytes();
        let generation = match self.known(&hash) {
            Ok(session) => return session.ok_or_else(|| GatewayError::BadSession.into()),
            Err(generation) => generation,
        };
        let found = ask(peers, token, request_id).await?;
        self.keep(hash, found.clone(), generation);
        found.ok_or_else(|| GatewayError::BadSession.into())
    }

    /// A session was revoked: every token is asked about again.
    pub(super) fn forget_all(&self) {
        let mut cache = self.cache.lock();
        cache.generation += 1;
        cache.found.clear();
    }

    /// What is known of the token, or else the generation of not knowing.
    fn known(&self, hash: &[u8; 32]) -> Result<Option<Session>, u64> {
        let cache = self.cache.lock();
        match cache.found.get(hash) {
            Some((session, until)) if *until > Instant::now() => Ok(session.clone()),
            _ => Err(cache.generation),
        }
    }

    fn keep(&self, hash: [u8; 32], session: Option<Session>, generation: u64) {
        let mut cache = self.cache.lock();
        if cache.generation != generation {
            return;
        }
        let now = Instant::now();
        if cache.found.len() >= KEEP {
            cache.found.retain(|_, (_, until)| *until > now);
        }
        if cache.found.len() < KEEP {
            let life = if session.is_some() { GOOD_FOR } else { BAD_FOR };
            cache.found.insert(hash, (session, now + life));
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (first, none) = (values.next()?, values.next().is_none());
    let (scheme, token) = first.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    let fits = !token.is_empty() && token.len() <= LONGEST_TOKEN;
    (none && fits && scheme.eq_ignore_ascii_case("bearer")).then_some(token)
}

/// The session, none if there is no such one.
async fn ask(peers: &Peers, token: &str, request_id: &str) -> Result<Option<Session>, Status> {
    let mut caller = Caller::service(vmint_rpc::GATEWAY);
    request_id.clone_into(&mut caller.request_id);
    let permissions = peers.permissions(&caller);
    let request = AuthenticateRequest { token: token.to_owned() };
    let answer = retry(Retry::default(), || {
        let (mut permissions, request) = (permissions.clone(), request.clone());
        async move { permissions.authenticate(request).await }
    });
    let answer = match answer.await {
        Ok(answer) => answer.into_inner(),
        Err(status) => {
            return match status.code() {
                Code::Unauthenticated if is_theirs(&status) => Ok(None),
                Code::NotFound | Code::InvalidArgument => Ok(None),
                _ => Err(unreachable(&status)),
            };
        }
    };
    Ok(answer.session.zip(answer.account).map(|(session, account)| Session {
        account: session.account_id,
        principal: session.principal,
        id: session.session_id,
        operator: account.operator,
        read_only: session.read_only,
    }))
}

/// The token is bad; not our own connection.
fn is_theirs(status: &Status) -> bool {
    vmint_rpc::Fault::from_status(status).domain == "permissions.vmint"
}

fn unreachable(status: &Status) -> Status {
    tracing::warn!(error = status.message(), "a token could not be checked");
    let text = status.message().to_owned();
    GatewayError::Unreachable { service: "permissions", text }.into()
}
