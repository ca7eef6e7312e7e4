use tonic::{Code, Status};
use vmint_api::{
    catalog::v1::{EnsureParameterRequest, GetParameterRequest},
    gateway::v1::{PutParameterRequest, PutParameterResponse},
    permissions::v1::ImageAction,
};
use vmint_rpc::{Caller, Retry, retry};

use super::Gateway;
use crate::GatewayError;

/// An image reference that a parameter resolves: `resolve:ssm:NAME[:VERSION]`.
const RESOLVE: &str = "resolve:ssm:";
const IMAGE: &str = "aws:ec2:image";

impl Gateway {
    /// Makes a parameter of the caller's or its next version. An image that it
    /// names must be one that the caller can see.
    pub(crate) async fn put_parameter(
        &self,
        caller: &Caller,
        request: PutParameterRequest,
    ) -> Result<PutParameterResponse, Status> {
        let mut parameter = request.parameter.unwrap_or_default();
        if parameter.data_type == IMAGE {
            let seen = self.find_image(caller, &parameter.value, ImageAction::Describe).await;
            match seen {
                Ok((image, _)) if image.image_id == parameter.value => {}
                Err(status) if status.code() != Code::NotFound => return Err(status),
                Ok(_) | Err(_) => {
                    let why = "must be the id of an image that you can see";
                    return Err(GatewayError::invalid("parameter.value", why).into());
                }
            }
        }
        parameter.modified_by =
            format!("arn:aws:iam::{}:user/{}", caller.account, caller.principal);
        let request = EnsureParameterRequest {
            parameter: Some(parameter),
            overwrite: request.overwrite,
            request_id: request.request_id,
        };
        let catalog = self.peers.own_parameters(caller);
        let put = retry(Retry::default(), || {
            let (mut catalog, request) = (catalog.clone(), request.clone());
            async move { catalog.ensure_parameter(request).await }
        });
        Ok(PutParameterResponse { version: put.await?.into_inner().version })
    }

    /// The image that `reference` means: itself, or what the parameter that it
    /// names says now.
    pub(super) async fn resolved(
        &self,
        caller: &Caller,
        reference: String,
    ) -> Result<String, Status> {
        let Some(name) = reference.strip_prefix(RESOLVE) else { return Ok(reference) };
        let request = GetParameterRequest { name: name.to_owned() };
        let catalog = self.peers.parameters(caller);
        let found = retry(Retry::default(), || {
            let (mut catalog, request) = (catalog.clone(), request.clone());
            async move { catalog.get_parameter(request).await }
        });
        let found = found.await?.into_inner().parameter.unwrap_or_default();
        if found.value.parse::<vmint_ids::ImageId>().is_err() {
            let name = name.chars().take(400).collect::<String>();
            let why = format!("names the parameter `{name}`, whose value is not an image's id");
            return Err(GatewayError::invalid("image_id", why).into());
        }
        tracing::debug!(parameter = name, image = found.value, "resolved");
        Ok(found.value)
    }
}
