//! Auto Scaling: there are no groups here, and this says so.

use vmint_ec2::{Operation, Xml, reply::QueryService};

use super::{Call, Entry, entries, entry::Answer, service::Service};

pub(super) const ENTRIES: &[Entry] = entries! {
    Service::Query(QueryService::AutoScaling);
    reads GROUPS => describe_groups,
    reads CONFIGURATIONS => describe_launch_configurations,
};

const GROUPS: Operation = Operation::new(
    "DescribeAutoScalingGroups",
    &[
        "AutoScalingGroupNames.member.N",
        "Filters.member.N.Name",
        "Filters.member.N.Values.member.N",
        "IncludeInstances",
        "MaxRecords",
        "NextToken",
    ],
);
const CONFIGURATIONS: Operation = Operation::new(
    "DescribeLaunchConfigurations",
    &["LaunchConfigurationNames.member.N", "MaxRecords", "NextToken"],
);

async fn describe_groups(_: Call) -> Answer {
    Ok(none("AutoScalingGroups"))
}

async fn describe_launch_configurations(_: Call) -> Answer {
    Ok(none("LaunchConfigurations"))
}

fn none(name: &str) -> Xml {
    let mut xml = Xml::new();
    xml.empty(name);
    xml
}
