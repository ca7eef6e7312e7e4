//! What a service tells about itself.

use tonic::service::RoutesBuilder;
use tonic_health::{
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};
use tonic_reflection::server::Builder;

/// The descriptors are not fit for reflection.
pub use tonic_reflection::server::Error as ReflectionError;

/// Adds health to `routes`; what it says is told to the reporter.
#[must_use]
pub fn health(routes: &mut RoutesBuilder) -> HealthReporter {
    let reporter = HealthReporter::new();
    let service = HealthService::from_health_reporter(reporter.clone());
    routes.add_service(HealthServer::new(service));
    reporter
}

/// Adds reflection, v1 and v1alpha, to `routes`.
///
/// It knows all our messages, the `google.rpc` error details and health, and
/// lists the services `names`.
pub fn reflection(
    routes: &mut RoutesBuilder,
    names: impl IntoIterator<Item = impl Into<String>>,
) -> Result<(), ReflectionError> {
    let names: Vec<String> = names.into_iter().map(Into::into).collect();
    let builder = || {
        let mut builder = Builder::configure()
            .register_encoded_file_descriptor_set(vmint_api::DESCRIPTORS)
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
        for name in &names {
            builder = builder.with_service_name(name);
        }
        builder
    };
    routes.add_service(builder().build_v1()?);
    routes.add_service(builder().build_v1alpha()?);
    Ok(())
}
