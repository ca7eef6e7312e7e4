//! What parameters are asked for, under the names of SSM's model.

use serde::{Deserialize, Serialize};

use crate::json::JsonError;

/// Names in one request.
const MOST_NAMES: usize = 10;

/// `PutParameter`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PutParameter {
    pub name: String,
    pub value: String,
    /// May be left out where a parameter is overwritten.
    pub r#type: Option<String>,
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub overwrite: bool,
    #[serde(default)]
    pub allowed_pattern: String,
    #[serde(default)]
    pub data_type: String,
    pub tier: Option<String>,
    #[serde(default)]
    pub tags: Vec<Tag>,
}

/// A tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Tag {
    pub key: String,
    pub value: String,
}

/// `AddTagsToResource`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AddTags {
    #[serde(flatten)]
    pub to: Tagged,
    pub tags: Vec<Tag>,
}

/// `RemoveTagsFromResource`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RemoveTags {
    #[serde(flatten)]
    pub from: Tagged,
    pub tag_keys: Vec<String>,
}

/// What has tags; all there is to `ListTagsForResource`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Tagged {
    pub resource_type: String,
    pub resource_id: String,
}

impl Tagged {
    /// The name of the parameter; nothing else has tags here.
    pub fn parameter(&self) -> Result<&str, JsonError> {
        if self.resource_type == "Parameter" {
            return Ok(&self.resource_id);
        }
        let text = "The resource type is not valid: only Parameter is, here.";
        Err(JsonError::new("InvalidResourceType", text))
    }
}

/// `GetParameter` and `DeleteParameter`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct OneParameter {
    pub name: String,
}

/// `GetParameters` and `DeleteParameters`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SomeParameters {
    /// 1 to 10.
    pub names: Vec<String>,
}

/// `GetParametersByPath`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ParametersByPath {
    pub path: String,
    #[serde(default)]
    pub recursive: bool,
    #[serde(default)]
    pub parameter_filters: Vec<ParameterFilter>,
    pub max_results: Option<i64>,
    #[serde(default)]
    pub next_token: String,
}

/// `DescribeParameters`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeParameters {
    #[serde(default)]
    pub parameter_filters: Vec<ParameterFilter>,
    pub max_results: Option<i64>,
    #[serde(default)]
    pub next_token: String,
}

/// `GetParameterHistory`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ParameterHistory {
    pub name: String,
    pub max_results: Option<i64>,
    #[serde(default)]
    pub next_token: String,
}

/// `LabelParameterVersion`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct LabelParameterVersion {
    pub name: String,
    /// The current one if left out.
    #[serde(default)]
    pub parameter_version: i64,
    pub labels: Vec<String>,
}

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ParameterFilter {
    pub key: String,
    pub option: Option<String>,
    #[serde(default)]
    pub values: Vec<String>,
}

impl SomeParameters {
    /// That they are neither none nor too many.
    pub fn check(&self) -> Result<(), JsonError> {
        if (1..=MOST_NAMES).contains(&self.names.len()) {
            return Ok(());
        }
        let text = "Names must have at least 1 and at most 10 members.";
        Err(JsonError::new("ValidationException", text))
    }
}

/// `MaxResults`, from 1 to `most`, which it is where nothing is asked.
pub fn max_results(asked: Option<i64>, most: i32) -> Result<i32, JsonError> {
    let most_text = || format!("MaxResults must be between 1 and {most}.");
    match asked {
        None => Ok(most),
        Some(asked) => i32::try_from(asked)
            .ok()
            .filter(|asked| (1..=most).contains(asked))
            .ok_or_else(|| JsonError::new("ValidationException", most_text())),
    }
}

/// What a name or an ARN means: the name with what follows it, unless the ARN
/// is of another account than `account`.
#[must_use]
pub fn reference(text: &str, account: &str) -> Option<String> {
    let Some(rest) = text.strip_prefix("arn:aws:ssm:") else { return Some(text.to_owned()) };
    let (_region, rest) = rest.split_once(':')?;
    let (owner, rest) = rest.split_once(':')?;
    let name = rest.strip_prefix("parameter/")?;
    let slash = if name.contains('/') { "/" } else { "" };
    (owner.is_empty() || owner == account).then(|| format!("{slash}{name}"))
}

/// A parameter's ARN; `account` is empty for what everybody may read.
#[must_use]
pub fn arn(region: &str, account: &str, name: &str) -> String {
    format!("arn:aws:ssm:{region}:{account}:parameter/{}", name.trim_start_matches('/'))
}

/// A parameter as `GetParameter` answers it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ShownParameter {
    pub name: String,
    pub r#type: &'static str,
    pub value: String,
    pub version: i64,
    /// What stood behind the name, from the colon on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Seconds since 1970.
    pub last_modified_date: f64,
    #[serde(rename = "ARN")]
    pub arn: String,
    pub data_type: String,
}

/// A parameter without its value, or one of its versions with it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ParameterRecord {
    pub name: String,
    #[serde(rename = "ARN", skip_serializing_if = "Option::is_none")]
    pub arn: Option<String>,
    pub r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    pub last_modified_date: f64,
    pub last_modified_user: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub allowed_pattern: String,
    pub version: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<String>>,
    pub tier: &'static str,
    pub policies: [(); 0],
    pub data_type: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    #[test]
    fn an_arn_means_its_name_in_ones_own_account() {
        let read = |text| reference(text, "111122223333");
        assert_eq!(read("/a/b:2").as_deref(), Some("/a/b:2"));
        assert_eq!(read("arn:aws:ssm:r:111122223333:parameter/a/b").as_deref(), Some("/a/b"));
        assert_eq!(read("arn:aws:ssm:r:111122223333:parameter/a:3").as_deref(), Some("a:3"));
        assert_eq!(
            read("arn:aws:ssm:r::parameter/aws/service/x").as_deref(),
            Some("/aws/service/x")
        );
        assert_eq!(read("arn:aws:ssm:r:999999999999:parameter/a"), None);
        assert_eq!(arn("r", "1", "/a/b"), "arn:aws:ssm:r:1:parameter/a/b");
    }

    #[test]
    fn bodies_are_read_under_their_own_names() {
        let put: PutParameter =
            json::read(br#"{"Name":"a","Value":"v","Type":"String","Overwrite":true}"#).unwrap();
        assert!(put.overwrite && put.r#type.as_deref() == Some("String"));
        let path: ParametersByPath =
            json::read(br#"{"Path":"/a","ParameterFilters":[{"Key":"Type","Values":["String"]}]}"#)
                .unwrap();
        assert_eq!(path.parameter_filters[0].values, ["String"]);
        assert_eq!(max_results(Some(11), 10).unwrap_err().kind, "ValidationException");
        assert_eq!((max_results(None, 10), max_results(Some(1), 10)), (Ok(10), Ok(1)));
        assert!(SomeParameters { names: vec![] }.check().is_err());
    }
}
