//! The one table of operations.

use std::{collections::HashMap, sync::Arc, sync::LazyLock};

use futures::future::BoxFuture;
use vmint_ec2::{Code, Error, Operation, Params, Xml};
use vmint_rpc::Caller;

use super::{
    Front, Refused, encryption, exports, identity, images, imports, instances, key_pairs, network,
    scaling, service::Service, snapshot_attribute, snapshots, stored_images, tags,
    volume_attribute, volumes, zones,
};

/// What an operation answers: the inside of its XML.
pub(crate) type Answer = Result<Xml, Refused>;

/// One operation: what it takes, what it does, and who does it. The check of
/// its parameters and the compatibility page come from here.
pub(crate) struct Entry {
    pub(crate) service: Service,
    pub(crate) operation: Operation,
    /// It changes something: not for who may only read, and done once for one
    /// signature.
    pub(crate) mutates: bool,
    pub(crate) run: fn(Call) -> BoxFuture<'static, Answer>,
}

/// A list of entries: `reads` or `writes`, the operation, and its handler.
macro_rules! entries {
    ($service:expr; $($kind:ident $operation:expr => $handler:path,)*) => {
        &[$($crate::ec2::Entry {
            service: $service,
            operation: $operation,
            mutates: $crate::ec2::entries!(@ $kind),
            run: |call| ::std::boxed::Box::pin($handler(call)),
        },)*]
    };
    (@ reads) => { false };
    (@ writes) => { true };
}
pub(crate) use entries;

/// Every operation, by the module that answers it.
static TABLES: &[&[Entry]] = &[
    zones::ENTRIES,
    images::ENTRIES,
    tags::ENTRIES,
    snapshots::ENTRIES,
    snapshot_attribute::ENTRIES,
    imports::ENTRIES,
    exports::ENTRIES,
    stored_images::ENTRIES,
    encryption::ENTRIES,
    volumes::ENTRIES,
    volume_attribute::ENTRIES,
    key_pairs::ENTRIES,
    instances::ENTRIES,
    network::ENTRIES,
    identity::ENTRIES,
    identity::ALIASES,
    scaling::ENTRIES,
];

/// Every operation.
#[cfg(test)]
pub(super) fn all() -> impl Iterator<Item = &'static Entry> {
    TABLES.iter().flat_map(|table| table.iter())
}

/// The operation of a service by its name.
pub(super) fn of(service: Service, action: &str) -> Option<&'static Entry> {
    static BY_NAME: LazyLock<HashMap<&str, &Entry>> = LazyLock::new(|| {
        TABLES.iter().flat_map(|table| table.iter()).map(|it| (it.operation.name, it)).collect()
    });
    BY_NAME.get(action).copied().filter(|entry| entry.service == service)
}

/// One request for an operation.
pub(crate) struct Call {
    pub(crate) front: Arc<Front>,
    pub(crate) caller: Caller,
    /// The key may not change anything.
    pub(crate) read_only: bool,
    /// Checked against what the operation takes; not yet read.
    pub(crate) params: Params,
    /// The same for a request sent again as it was signed.
    pub(crate) replay_id: String,
}

impl Call {
    pub(super) async fn run(mut self, entry: &Entry) -> Answer {
        if entry.mutates && self.read_only {
            let text = "You are not authorized to perform this operation: the access key may \
                        only read.";
            return Err(Error::new(Code::UnauthorizedOperation, text).into());
        }
        if self.params.flag("DryRun")? == Some(true) {
            return Err(Error::dry_run().into());
        }
        (entry.run)(self).await
    }

    /// What a request is known by if it is repeated: its `ClientToken`, or else
    /// its signature.
    pub(crate) fn request_id(&mut self) -> Result<String, Error> {
        let Some(token) = self.params.text("ClientToken")? else {
            return Ok(self.replay_id.clone());
        };
        if token.len() > 64 || !token.bytes().all(|b| b.is_ascii_graphic()) {
            let text = "ClientToken must be at most 64 visible ASCII characters.";
            return Err(Error::new(Code::InvalidClientToken, text));
        }
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_is_there_once() {
        let mut names = TABLES.iter().flat_map(|table| table.iter()).map(|it| it.operation.name);
        let mut seen = std::collections::HashSet::new();
        let twice = names.find(|name| !seen.insert(*name));
        assert_eq!(twice, None);
    }
}
