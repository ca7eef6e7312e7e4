//! Fake services: in memory, level-triggered, fenced, as the contract says.

#![allow(unused_braces, reason = "a body of the macro is a block, however short")]

mod bundles;
mod catalog;
mod copy;
mod launcher;
mod marketplace;
pub(crate) mod permissions;
mod storage;
mod transfer;
mod volumes;

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tonic::{Status, metadata::MetadataMap};
use vmint_rpc::{CONTEXT_HEADER, Caller, ContextVerifier};

use super::world::World;

#[derive(Debug, Clone)]
pub(crate) struct Fake {
    pub(crate) world: Arc<Mutex<World>>,
    pub(crate) secret_of_gateway: [u8; 32],
}

impl Fake {
    /// Lets a call in as the guard would: only with a context of the gateway's
    /// for this very action.
    fn enter(
        &self,
        metadata: &MetadataMap,
        service: &'static str,
        action: &str,
    ) -> Result<(MutexGuard<'_, World>, Caller), Status> {
        let verifier = ContextVerifier::new(&self.secret_of_gateway, service).unwrap();
        let headers = metadata.clone().into_headers();
        let context = headers.get(CONTEXT_HEADER);
        let context = context.ok_or_else(|| Status::unauthenticated("no context"))?;
        let caller =
            verifier.verify(context, action).map_err(|e| Status::unauthenticated(e.to_string()))?;
        let mut world = self.world.lock();
        if world.away.contains(service) {
            return Err(Status::unavailable(format!("{service} is away")));
        }
        world.calls.push(action.to_owned());
        world.headers = headers.keys().map(ToString::to_string).collect();
        world.callers.push(caller.clone());
        Ok((world, caller))
    }
}

fn once<T>(work: impl FnOnce() -> T) -> T {
    work()
}

macro_rules! fake {
    (
        $trait:ident, $pb:ident, $service:literal, $prefix:literal;
        $($name:ident($method:literal $asked:ident) -> $answer:ident
            |$world:ident, $caller:ident, $request:ident| $body:block)*
        $(; $($rest:tt)*)?
    ) => {
        #[tonic::async_trait]
        impl $trait for Fake {
            $(async fn $name(
                &self,
                request: Request<$pb::$asked>,
            ) -> Result<Response<$pb::$answer>, Status> {
                let action = concat!($prefix, ":", $method);
                let (mut guard, $caller) = self.enter(request.metadata(), $service, action)?;
                let $world = &mut *guard;
                let $request = request.into_inner();
                let _ = &$caller;
                once(move || -> Result<$pb::$answer, Status> { $body }).map(Response::new)
            })*
            $($($rest)*)?
        }
    };
}
pub(crate) use fake;

fn no_such_call<T>() -> Result<T, Status> {
    Err(Status::unimplemented("the fake has no such call"))
}
