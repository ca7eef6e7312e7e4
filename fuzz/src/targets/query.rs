//! Query requests: `A.1.B=value` pairs, and what an operation reads of them.

use vmint_ec2::{Operation, Params, query::parse_id};
use vmint_ids::ImageId;

use crate::Target;

pub const TARGET: Target = Target { name: "query", run, seeds };

const OPERATION: Operation = Operation::new(
    "DescribeImages",
    &["ImageId.N", "Owner.N", "Filter.N.Name", "Filter.N.Value.N", "MaxResults", "NextToken"],
)
.only(&[("IncludeDeprecated", &["true", "false"])])
.filters(&["name", "state", "tag:*"]);

fn run(data: &[u8]) {
    let Ok(params) = Params::from_form(data) else { return };
    // What was read says the same when it is written and read again.
    let mut written = String::new();
    for (name, value) in params.leaves() {
        assert!(name.len() <= 255 && name.split('.').count() <= 12, "{name}");
        let value: String = value.bytes().map(|byte| format!("%{byte:02x}")).collect();
        written.extend(["&", &name, "=", &value]);
    }
    if written.len() <= 1 << 20 {
        assert_eq!(Params::from_query(&written).as_ref(), Ok(&params));
    }
    let _ = OPERATION.check(&params);
    typed(params.clone());
    shapes(params);
}

/// Every way to read a value.
fn typed(mut params: Params) {
    let _ = params.flag("DryRun");
    let _ = params.number::<i32>("MaxResults");
    let _ = params.time("DeprecateAt");
    let _ = params.blob("UserData");
    if let Ok(ids) = params.list("ImageId") {
        for id in ids {
            let read: Result<ImageId, _> = parse_id(&id);
            assert!(read.is_err() || read.is_ok_and(|read| read.to_string() == id));
        }
    }
    let _ = params.list("Owner");
    let _ = params.choice("Architecture", &[("x86_64", 1), ("arm64", 2)]);
    let _ = params.inside("Placement", |inner| inner.text("AvailabilityZone"));
    let _ = params.finish();
}

/// Every structure that several operations share.
fn shapes(mut params: Params) {
    if let Ok(filters) = params.filters() {
        assert!(filters.iter().map(|filter| filter.values.len()).sum::<usize>() <= 200);
    }
    if let Ok(page) = params.page(5, 1000) {
        assert!(page.max_results.is_none_or(|most| (5..=1000).contains(&most)));
    }
    let _ = params.tags();
    let _ = params.tag_specifications(&["image", "snapshot"]);
    let _ = params.block_device_mappings();
}

fn seeds() -> Vec<Vec<u8>> {
    let id = ImageId::random();
    [
        format!("Action=DescribeImages&Version=2016-11-15&ImageId.1={id}&DryRun=true"),
        "Action=DescribeImages&Filter.1.Name=tag%3AStage&Filter.1.Value.1=a*&Filters.2.Name=name"
            .to_owned(),
        "MaxResults=5&NextToken=abc&Owner.0=self&Owner.1=111111111111".to_owned(),
        "BlockDeviceMapping.1.DeviceName=%2Fdev%2Fsda1&BlockDeviceMapping.1.Ebs.VolumeSize=8\
         &BlockDeviceMapping.2.NoDevice="
            .to_owned(),
        "TagSpecification.1.ResourceType=image&TagSpecification.1.Tag.1.Key=k\
         &TagSpecification.1.Tag.1.Value="
            .to_owned(),
        "UserData=IyEvYmluL3NoCg%3D%3D&DeprecateAt=2027-01-31T23%3A59%3A59Z".to_owned(),
        "A.B.C.D.E.F.G.H.I.J.K.L=1&A=2&X-Amz-Date=3&=4&%41=5&A%=6".to_owned(),
    ]
    .map(String::into_bytes)
    .to_vec()
}
