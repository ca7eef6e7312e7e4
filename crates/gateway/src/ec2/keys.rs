//! Whose a signature is.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tonic::{Code, Status};
use vmint_api::permissions::v1::{GetSigningKeyRequest, RecordAccessKeyUseRequest};
use vmint_ec2::sigv4::{Scope, Signed, SigningKey};
use vmint_rpc::{Caller, CallerKind, Fault, Retry, retry};

use super::{Front, Refused};
use crate::peers::Peers;

/// A key that was turned off is refused after this at the latest.
const GOOD_FOR: Duration = Duration::from_millis(900);
/// So that guessing costs the permissions service little.
const BAD_FOR: Duration = Duration::from_millis(300);
const KEEP: usize = 20_000;
/// One use of a key is told in this time.
const USE: Duration = Duration::from_mins(1);

type Key = (String, Scope);

/// Signing keys, for a moment.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    cache: Mutex<Cache>,
    used: Mutex<HashMap<String, Instant>>,
}

#[derive(Debug, Default)]
struct Cache {
    /// Moves when all is forgotten: what was asked before is not kept.
    generation: u64,
    found: HashMap<Key, (Option<Signer>, Instant)>,
}

/// Who signs with a key, and what its signatures are checked with.
#[derive(Debug, Clone)]
pub(super) struct Signer {
    pub(super) key_id: String,
    pub(super) account: String,
    pub(super) read_only: bool,
    pub(super) key: SigningKey,
    principal: String,
    operator: bool,
}

impl Signer {
    pub(super) fn caller(&self, request_id: &str, source: &str) -> Caller {
        Caller {
            account: self.account.clone(),
            principal: self.principal.clone(),
            kind: if self.operator { CallerKind::Operator } else { CallerKind::Account },
            session: self.key_id.clone(),
            request_id: request_id.to_owned(),
            source: source.to_owned(),
        }
    }
}

impl Keys {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Who signed; none if no active key has that id.
    pub(super) async fn of(
        &self,
        peers: &Peers,
        signed: &Signed,
        request_id: &str,
    ) -> Result<Option<Signer>, Refused> {
        let key = (signed.key_id.clone(), signed.scope.clone());
        let generation = {
            let cache = self.cache.lock();
            match cache.found.get(&key) {
                Some((who, until)) if *until > Instant::now() => return Ok(who.clone()),
                _ => cache.generation,
            }
        };
        let found = ask(peers, signed, request_id).await?;
        self.keep(key, found.clone(), generation);
        Ok(found)
    }

    /// A key was changed: every one is asked about again.
    pub(crate) fn forget_all(&self) {
        let mut cache = self.cache.lock();
        cache.generation += 1;
        cache.found.clear();
    }

    fn keep(&self, key: Key, signer: Option<Signer>, generation: u64) {
        let mut cache = self.cache.lock();
        if cache.generation != generation {
            return;
        }
        let now = Instant::now();
        if cache.found.len() >= KEEP {
            cache.found.retain(|_, (_, until)| *until > now);
        }
        if cache.found.len() < KEEP {
            let life = if signer.is_some() { GOOD_FOR } else { BAD_FOR };
            cache.found.insert(key, (signer, now + life));
        }
    }

    /// Has the use of a key recorded, aside and now and then.
    pub(super) fn used(&self, front: &Front, signer: &Signer, service: &str) {
        let now = Instant::now();
        {
            let mut used = self.used.lock();
            if used.get(&signer.key_id).is_some_and(|at| now.duration_since(*at) < USE) {
                return;
            }
            if used.len() >= KEEP {
                used.retain(|_, at| now.duration_since(*at) < USE);
            }
            used.insert(signer.key_id.clone(), now);
        }
        let mut permissions = front.gateway.peers.permissions(&Caller::service(vmint_rpc::GATEWAY));
        let (access_key_id, service) = (signer.key_id.clone(), service.to_owned());
        let request = RecordAccessKeyUseRequest { access_key_id, service };
        front.gateway.streams.spawn(async move {
            if let Err(error) = permissions.record_access_key_use(request).await {
                tracing::debug!(error = error.message(), "a key's use was not recorded");
            }
        });
    }
}

async fn ask(peers: &Peers, signed: &Signed, request_id: &str) -> Result<Option<Signer>, Status> {
    let mut caller = Caller::service(vmint_rpc::GATEWAY);
    request_id.clone_into(&mut caller.request_id);
    let permissions = peers.permissions(&caller);
    let request = GetSigningKeyRequest {
        access_key_id: signed.key_id.clone(),
        date: signed.scope.date.clone(),
        region: signed.scope.region.clone(),
        service: signed.scope.service.clone(),
    };
    let answer = retry(Retry::default(), || {
        let (mut permissions, request) = (permissions.clone(), request.clone());
        async move { permissions.get_signing_key(request).await }
    });
    let answer = match answer.await {
        Ok(answer) => answer.into_inner(),
        // A date too far away is as good as no key.
        Err(status) if is_theirs(&status) => return Ok(None),
        Err(status) => {
            tracing::warn!(error = status.message(), "a signature could not be checked");
            return Err(status);
        }
    };
    let key = <[u8; 32]>::try_from(answer.signing_key.as_ref()).ok();
    Ok(key.zip(answer.access_key).zip(answer.account).map(|((bytes, key), account)| Signer {
        key_id: key.access_key_id,
        account: key.account_id,
        read_only: key.read_only,
        key: SigningKey::from_bytes(bytes),
        principal: key.principal,
        operator: account.operator,
    }))
}

/// The key is not there; not our own connection.
fn is_theirs(status: &Status) -> bool {
    matches!(status.code(), Code::NotFound | Code::InvalidArgument)
        && Fault::from_status(status).domain == "permissions.vmint"
}
