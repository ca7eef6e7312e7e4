//! Parameters in SSM's shapes.

use vmint_api::catalog::v1::{Parameter, ParameterType};
use vmint_ec2::ssm::{ParameterRecord, ShownParameter, arn};

use crate::ec2::stamp;

/// The only tier there is.
pub(super) const TIER: &str = "Standard";

/// A parameter with its value; `asked` is what it was asked for by.
pub(super) fn shown(one: Parameter, region: &str, asked: &str) -> ShownParameter {
    let selector = asked.strip_prefix(&one.name).filter(|rest| rest.starts_with(':'));
    ShownParameter {
        r#type: kind(&one),
        last_modified_date: seconds(&one),
        arn: arn(region, &one.account_id, &one.name),
        selector: selector.map(str::to_owned),
        name: one.name,
        value: one.value,
        version: one.version,
        data_type: one.data_type,
    }
}

/// A parameter without its value.
pub(super) fn described(one: Parameter, region: &str) -> ParameterRecord {
    let arn = arn(region, &one.account_id, &one.name);
    ParameterRecord { arn: Some(arn), value: None, labels: None, ..version(one) }
}

/// One version of a parameter's history.
pub(super) fn version(one: Parameter) -> ParameterRecord {
    ParameterRecord {
        r#type: kind(&one),
        last_modified_date: seconds(&one),
        name: one.name,
        arn: None,
        value: Some(one.value),
        last_modified_user: one.modified_by,
        description: one.description,
        allowed_pattern: one.allowed_pattern,
        version: one.version,
        labels: Some(one.labels),
        tier: TIER,
        policies: [],
        data_type: one.data_type,
    }
}

fn kind(one: &Parameter) -> &'static str {
    match one.r#type() {
        ParameterType::StringList => "StringList",
        ParameterType::String | ParameterType::Unspecified => "String",
    }
}

fn seconds(one: &Parameter) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "milliseconds fit for ages")]
    stamp(one.modify_time.as_ref())
        .map_or(0.0, |at| (at.unix_timestamp_nanos() / 1_000_000) as f64 / 1000.0)
}
