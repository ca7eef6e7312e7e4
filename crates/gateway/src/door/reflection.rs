//! What anyone may ask: what there is, and whether it is well.

use std::sync::LazyLock;

use prost::Message as _;
use prost_types::FileDescriptorSet;
use tonic::service::{Routes, RoutesBuilder};
use tonic_health::server::{HealthReporter, HealthService};
use tonic_reflection::server::{Builder, Error};

const OPEN: [&str; 3] = [
    "/grpc.health.v1.Health/",
    "/grpc.reflection.v1.ServerReflection/",
    "/grpc.reflection.v1alpha.ServerReflection/",
];

pub(super) fn is_open(path: &str) -> bool {
    OPEN.iter().any(|open| path.starts_with(open))
}

/// Whether a service, by its full name, is for those outside.
pub(super) fn is_public(service: &str) -> bool {
    service.starts_with("vmint.") && !service.ends_with("InternalService")
}

/// Our descriptors without the internal services.
static PUBLIC: LazyLock<FileDescriptorSet> = LazyLock::new(|| {
    let mut set =
        FileDescriptorSet::decode(vmint_api::DESCRIPTORS).expect("our own descriptors are whole");
    // What only they use is none of anyone's business either.
    set.file.retain(|file| !file.name().ends_with("_internal_service.proto"));
    for file in &mut set.file {
        file.service.retain(|service| {
            is_public(&format!("{}.{}", file.package.clone().unwrap_or_default(), service.name()))
        });
    }
    set
});

/// The full names of the services for those outside.
pub(crate) fn public_services() -> Vec<String> {
    let files = PUBLIC.file.iter();
    let names = files.flat_map(|file| {
        file.service.iter().map(|service| format!("{}.{}", file.package(), service.name()))
    });
    names.collect()
}

/// Reflection, v1 and v1alpha, over public services, `google.rpc` and health;
/// and health as `health` has it.
pub(crate) fn open_routes(health: HealthReporter) -> Result<Routes, Error> {
    let builder = || {
        let mut builder = Builder::configure()
            .register_file_descriptor_set(PUBLIC.clone())
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // Each version alone would list both and describe only itself.
            .include_reflection_service(false)
            .register_encoded_file_descriptor_set(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(
                tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
            )
            .with_service_name("grpc.health.v1.Health")
            .with_service_name("grpc.reflection.v1.ServerReflection")
            .with_service_name("grpc.reflection.v1alpha.ServerReflection");
        for name in public_services() {
            builder = builder.with_service_name(name);
        }
        builder
    };
    let mut routes = RoutesBuilder::default();
    routes.add_service(builder().build_v1()?);
    routes.add_service(builder().build_v1alpha()?);
    let health = HealthService::from_health_reporter(health);
    routes.add_service(tonic_health::pb::health_server::HealthServer::new(health));
    Ok(routes.routes().prepare())
}
