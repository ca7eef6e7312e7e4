//! DescribeInstanceCreditSpecifications: no type here lives on credits.

use vmint_ec2::{Code, Error, Operation, Xml};
use vmint_ids::InstanceKind;

use super::{Answer, Call, by_ids};

pub(super) const DESCRIBE: Operation = Operation::new(
    "DescribeInstanceCreditSpecifications",
    &["InstanceId.N", "Filter.N.Name", "Filter.N.Value.N", "MaxResults", "NextToken"],
)
.filters(&["instance-id"]);

pub(super) async fn describe_instance_credit_specifications(mut call: Call) -> Answer {
    let ids = call.params.ids::<InstanceKind>("InstanceId")?;
    call.params.page(5, 1000)?;
    call.params.filters()?;
    by_ids(&call, &ids).await?;
    if let Some(id) = ids.first() {
        let text = format!("The instance '{id}' does not use CPU credits for its CPU.");
        return Err(Error::new(Code::InstanceCreditSpecificationNotSupported, text).into());
    }
    let mut xml = Xml::new();
    xml.empty("instanceCreditSpecificationSet");
    Ok(xml)
}
