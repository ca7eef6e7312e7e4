//! DescribeInstances.

use vmint_api::launcher::v1::{Instance, ListInstancesRequest};
use vmint_ec2::{Operation, Xml};

use super::{Answer, Call, PAGE, check_named, filters, shape};
use crate::ec2::Refused;

/// The filters that the launcher knows instances by.
pub(super) const FILTERS: &[&str] = &[
    "architecture",
    "availability-zone",
    "block-device-mapping.attach-time",
    "block-device-mapping.delete-on-termination",
    "block-device-mapping.device-name",
    "block-device-mapping.status",
    "block-device-mapping.volume-id",
    "client-token",
    "hypervisor",
    "image-id",
    "instance-id",
    "instance-state-code",
    "instance-state-name",
    "instance-type",
    "instance.group-id",
    "ip-address",
    "key-name",
    "launch-index",
    "launch-time",
    "owner-id",
    "private-dns-name",
    "private-ip-address",
    "product-code",
    "reason",
    "reservation-id",
    "root-device-name",
    "root-device-type",
    "state-reason-code",
    "subnet-id",
    "tag-key",
    "tag-value",
    "tag:*",
    "virtualization-type",
    "vpc-id",
];

pub(super) const DESCRIBE: Operation = Operation::new(
    "DescribeInstances",
    &["InstanceId.N", "Filter.N.Name", "Filter.N.Value.N", "MaxResults", "NextToken"],
)
.filters(FILTERS);

pub(super) async fn describe_instances(mut call: Call) -> Answer {
    let (found, next_token) = listed(&mut call).await?;
    let network = call.network()?;
    let mut xml = Xml::new();
    xml.items("reservationSet", reservations(found), |xml, instances| {
        shape::reservation(xml, &network, &instances);
    })
    .filled("nextToken", &next_token);
    Ok(xml)
}

/// The instances that a call names by id and filter: a page if it asks for one, else all; and
/// the token of what follows.
pub(super) async fn listed(call: &mut Call) -> Result<(Vec<Instance>, String), Refused> {
    let ids = call.params.ids("InstanceId")?;
    let page = call.params.page(5, 1000)?;
    let given = call.params.filters()?;
    check_named(call, &ids, &page).await?;
    let mut request = ListInstancesRequest {
        filters: filters(given),
        page_size: page.max_results.and_then(|most| most.try_into().ok()).unwrap_or(PAGE),
        page_token: page.next_token.unwrap_or_default(),
        instance_ids: ids.iter().map(ToString::to_string).collect(),
    };
    let mut launcher = call.front.gateway.peers.instances(&call.caller);
    let mut found = Vec::new();
    loop {
        let answer = launcher.list_instances(request.clone()).await?.into_inner();
        found.extend(answer.instances);
        request.page_token = answer.next_page_token;
        if page.max_results.is_some() || request.page_token.is_empty() {
            break;
        }
    }
    Ok((found, request.page_token))
}

/// Together what was launched together, in the order of the first of each.
fn reservations(instances: Vec<Instance>) -> Vec<Vec<Instance>> {
    let mut all: Vec<Vec<Instance>> = Vec::new();
    let mut at = std::collections::HashMap::new();
    for instance in instances {
        let place = *at.entry(instance.reservation_id.clone()).or_insert(all.len());
        match all.get_mut(place) {
            Some(of) => of.push(instance),
            None => all.push(vec![instance]),
        }
    }
    for of in &mut all {
        of.sort_by_key(|instance| instance.launch_index);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_of_one_launch_are_one_reservation() {
        let instance = |reservation: &str, launch_index| Instance {
            reservation_id: reservation.to_owned(),
            launch_index,
            ..Instance::default()
        };
        let all = vec![instance("r-1", 1), instance("r-2", 0), instance("r-1", 0)];
        let grouped = reservations(all);
        assert_eq!(
            grouped,
            [vec![instance("r-1", 0), instance("r-1", 1)], vec![instance("r-2", 0)]]
        );
    }
}
