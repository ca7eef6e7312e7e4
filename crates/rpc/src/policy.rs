//! What the proto files say about each method.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, LazyLock},
};

use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor, Value};
use tonic::{Request, Status};

/// The service that calls what names no other peer.
pub const GATEWAY: &str = "gateway";

/// The name in the certificate of whoever runs the deployment.
pub const OPERATOR: &str = "operator";

/// How one method is guarded.
#[allow(clippy::struct_excessive_bools)] // it is what the proto option says
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Its path, such as `/vmint.catalog.v1.CatalogService/ListImages`.
    pub path: String,
    /// What is authorised, such as `catalog:ListImages`.
    pub action: String,
    /// It changes state and honours `request_id`.
    pub mutates: bool,
    /// The services that may call it; empty for the gateway alone.
    pub peers: Vec<String>,
    /// The gateway asks for no token.
    pub open: bool,
    /// Only the deployment's operator, or a service, may call it.
    pub operator_only: bool,
    /// Either side may send more than one message, so no deadline is imposed.
    pub streaming: bool,
}

impl Policy {
    /// The policy of the method that `request` calls.
    pub fn of<T>(request: &Request<T>) -> Result<&Self, Status> {
        let policy = request.extensions().get::<Arc<Self>>();
        policy.map(AsRef::as_ref).ok_or_else(|| Status::internal("the call was not guarded"))
    }

    /// Whether the service `peer` may call it.
    #[must_use]
    pub fn allows(&self, peer: &str) -> bool {
        if self.peers.is_empty() { peer == GATEWAY } else { self.peers.iter().any(|p| p == peer) }
    }

    /// Whether a service may call it without acting for anyone.
    ///
    /// True of the methods of an internal service, of what names its peers, and
    /// of what is open; not of a user's method.
    #[must_use]
    pub fn serves_services(&self) -> bool {
        let service = self.path.rsplit_once('/').map_or("", |(service, _)| service);
        self.open || !self.peers.is_empty() || service.ends_with("InternalService")
    }
}

/// The policy of each method, by its path.
#[derive(Debug, Clone, Default)]
pub struct Policies {
    methods: Arc<HashMap<String, Arc<Policy>>>,
    services: Arc<BTreeSet<String>>,
}

/// Methods that say not how they are guarded, so nothing may serve them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no `option (vmint.options.v1.policy)` with an action: {}", names.join(", "))]
pub struct Incomplete {
    /// Full names of methods, or of services the descriptors do not have.
    pub names: Vec<String>,
}

impl Policies {
    /// Reads them from a descriptor set that kept its options.
    ///
    /// # Panics
    ///
    /// If the set is not one that `vmint-api` was built with.
    #[must_use]
    pub fn read(descriptors: &[u8]) -> Self {
        let pool = DescriptorPool::decode(descriptors).expect("our own descriptors");
        let extension =
            pool.get_extension_by_name("vmint.options.v1.policy").expect("our own option");
        let mut methods = HashMap::new();
        let mut services = BTreeSet::new();
        for service in pool.services() {
            services.insert(service.full_name().to_owned());
            for method in service.methods() {
                let options = method.options();
                let value = options.get_extension(&extension);
                let Value::Message(option) = value.as_ref() else { continue };
                let policy = read_one(&method, option);
                methods.insert(policy.path.clone(), Arc::new(policy));
            }
        }
        Self { methods: Arc::new(methods), services: Arc::new(services) }
    }

    /// Those of every service this workspace has; read once.
    #[must_use]
    pub fn ours() -> &'static Self {
        static OURS: LazyLock<Policies> = LazyLock::new(|| Policies::read(vmint_api::DESCRIPTORS));
        &OURS
    }

    /// The policy of the method at `path`, if it exists.
    #[must_use]
    pub fn of(&self, path: &str) -> Option<&Arc<Policy>> {
        self.methods.get(path)
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Policy> {
        self.methods.values().map(AsRef::as_ref)
    }

    /// That every method of these services says how it is guarded.
    pub fn check_complete<'a>(
        &self,
        services: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), Incomplete> {
        let mut names = BTreeSet::new();
        for service in services {
            if !self.services.contains(service) {
                names.insert(service.to_owned());
            }
            let prefix = format!("/{service}/");
            let unguarded = |p: &&Arc<Policy>| p.action.is_empty() && p.path.starts_with(&prefix);
            names.extend(self.methods.values().filter(unguarded).map(|p| p.path.clone()));
        }
        if names.is_empty() {
            return Ok(());
        }
        Err(Incomplete { names: names.into_iter().collect() })
    }
}

fn read_one(method: &MethodDescriptor, option: &DynamicMessage) -> Policy {
    let flag = |name| option.get_field_by_name(name).and_then(|v| v.as_bool()) == Some(true);
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let peers = option.get_field_by_name("peers");
    let peers = peers.as_deref().and_then(Value::as_list).unwrap_or_default();
    Policy {
        path: format!("/{}/{}", method.parent_service().full_name(), method.name()),
        action: option.get_field_by_name("action").and_then(|v| text(&v)).unwrap_or_default(),
        mutates: flag("mutates"),
        peers: peers.iter().filter_map(text).collect(),
        open: flag("open"),
        operator_only: flag("operator_only"),
        streaming: method.is_client_streaming() || method.is_server_streaming(),
    }
}
