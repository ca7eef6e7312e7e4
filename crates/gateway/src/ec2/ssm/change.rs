//! What changes something.

use serde_json::json;
use vmint_api::{
    catalog::v1::{DeleteParameterRequest, LabelParameterVersionRequest, Parameter, ParameterType},
    gateway::v1::PutParameterRequest,
};
use vmint_ec2::{
    json::JsonError,
    ssm::{LabelParameterVersion, OneParameter, PutParameter, SomeParameters},
};

use super::{Answer, Ask, refused, shape::TIER, tags};

pub(super) async fn put_parameter(ask: Ask) -> Answer {
    let asked: PutParameter = ask.read()?;
    if !matches!(asked.tier.as_deref(), None | Some("" | "Standard" | "Intelligent-Tiering")) {
        let text = "The only tier here is Standard.";
        return Err(JsonError::new("ValidationException", text));
    }
    if asked.overwrite && !asked.tags.is_empty() {
        let text = "Tags belong to a new parameter: leave Overwrite out, or use \
                    AddTagsToResource.";
        return Err(JsonError::new("ValidationException", text));
    }
    let kind = match asked.r#type.as_deref() {
        Some("String") => ParameterType::String,
        Some("StringList") => ParameterType::StringList,
        Some(other) => {
            let other = other.chars().take(64).collect::<String>();
            let text = format!("Parameters of type {other} are not kept here: use String.");
            return Err(JsonError::new("UnsupportedParameterType", text));
        }
        None if asked.overwrite => ask.get(&asked.name).await?.r#type(),
        None => {
            let text = "A parameter type is required when you create a parameter.";
            return Err(JsonError::new("ValidationException", text));
        }
    };
    let mut parameter = Parameter {
        name: asked.name,
        value: asked.value,
        data_type: asked.data_type,
        description: asked.description,
        allowed_pattern: asked.allowed_pattern,
        tags: tags::kept(asked.tags),
        ..Parameter::default()
    };
    parameter.set_type(kind);
    let (parameter, overwrite) = (Some(parameter), asked.overwrite);
    let request = PutParameterRequest { parameter, overwrite, request_id: ask.replay_id.clone() };
    let put = ask.front.gateway.put_parameter(&ask.caller, request).await.map_err(refused)?;
    Ok(json!({ "Version": put.version, "Tier": TIER }))
}

pub(super) async fn delete_parameter(ask: Ask) -> Answer {
    let asked: OneParameter = ask.read()?;
    ask.delete(&asked.name, &ask.replay_id).await?;
    Ok(json!({}))
}

pub(super) async fn delete_parameters(ask: Ask) -> Answer {
    let asked: SomeParameters = ask.read()?;
    asked.check()?;
    let (mut deleted, mut invalid) = (Vec::new(), Vec::new());
    for (n, name) in asked.names.into_iter().enumerate() {
        match ask.delete(&name, &format!("{}-{n}", ask.replay_id)).await {
            Ok(()) => deleted.push(name),
            Err(error) if error.kind == "ParameterNotFound" => invalid.push(name),
            Err(error) => return Err(error),
        }
    }
    Ok(json!({ "DeletedParameters": deleted, "InvalidParameters": invalid }))
}

pub(super) async fn label_parameter_version(ask: Ask) -> Answer {
    let asked: LabelParameterVersion = ask.read()?;
    let request = LabelParameterVersionRequest {
        name: ask.reference(&asked.name)?,
        version: asked.parameter_version,
        labels: asked.labels,
        request_id: ask.replay_id.clone(),
    };
    let mut catalog = ask.front.gateway.peers.parameters(&ask.caller);
    let done = catalog.label_parameter_version(request).await.map_err(refused)?.into_inner();
    Ok(json!({ "InvalidLabels": done.invalid_labels, "ParameterVersion": done.version }))
}

impl Ask {
    async fn delete(&self, name: &str, request_id: &str) -> Result<(), JsonError> {
        let (name, request_id) = (self.reference(name)?, request_id.to_owned());
        let mut catalog = self.front.gateway.peers.parameters(&self.caller);
        let request = DeleteParameterRequest { name, request_id };
        catalog.delete_parameter(request).await.map(|_| ()).map_err(refused)
    }
}
