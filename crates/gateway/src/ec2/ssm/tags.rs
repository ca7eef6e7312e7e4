//! Tags of parameters.

use serde_json::json;
use vmint_api::{catalog::v1::TagParameterRequest, types::v1::Tag};
use vmint_ec2::{
    json::JsonError,
    ssm::{self, AddTags, RemoveTags, Tagged},
};

use super::{Answer, Ask, refused};

/// Tags as the catalog keeps them.
pub(super) fn kept(tags: Vec<ssm::Tag>) -> Vec<Tag> {
    tags.into_iter().map(|tag| Tag { key: tag.key, value: tag.value }).collect()
}

pub(super) async fn list(ask: Ask) -> Answer {
    let asked: Tagged = ask.read()?;
    let found = ask.get(&ask.reference(asked.parameter()?)?).await.map_err(known)?;
    let tags = found.tags.into_iter().map(|tag| ssm::Tag { key: tag.key, value: tag.value });
    Ok(json!({ "TagList": tags.collect::<Vec<_>>() }))
}

pub(super) async fn add(ask: Ask) -> Answer {
    let asked: AddTags = ask.read()?;
    ask.tag(&asked.to, kept(asked.tags), Vec::new()).await
}

pub(super) async fn remove(ask: Ask) -> Answer {
    let asked: RemoveTags = ask.read()?;
    ask.tag(&asked.from, Vec::new(), asked.tag_keys).await
}

impl Ask {
    async fn tag(&self, of: &Tagged, put_tags: Vec<Tag>, remove_tag_keys: Vec<String>) -> Answer {
        let name = self.reference(of.parameter()?)?;
        let request_id = self.replay_id.clone();
        let request = TagParameterRequest { name, put_tags, remove_tag_keys, request_id };
        let mut catalog = self.front.gateway.peers.parameters(&self.caller);
        catalog.tag_parameter(request).await.map_err(refused).map_err(known)?;
        Ok(json!({}))
    }
}

/// Of tags SSM has its own word for what is not there.
fn known(error: JsonError) -> JsonError {
    match error.kind {
        "ParameterNotFound" => JsonError::new("InvalidResourceId", error.message),
        _ => error,
    }
}
