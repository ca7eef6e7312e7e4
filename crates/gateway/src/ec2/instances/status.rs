//! DescribeInstanceStatus.

use vmint_api::launcher::v1::{Health, InstanceStatus, ListInstanceStatusesRequest};
use vmint_ec2::{Operation, Xml};

use super::{Answer, Call, PAGE, check_named, filters, shape::write_state};
use crate::ec2::stamp;

pub(super) const DESCRIBE: Operation = Operation::new(
    "DescribeInstanceStatus",
    &[
        "InstanceId.N",
        "IncludeAllInstances",
        "Filter.N.Name",
        "Filter.N.Value.N",
        "MaxResults",
        "NextToken",
    ],
)
.filters(&[
    "availability-zone",
    "instance-state-code",
    "instance-state-name",
    "instance-status.status",
    "system-status.status",
]);

pub(super) async fn describe_instance_status(mut call: Call) -> Answer {
    let ids = call.params.ids("InstanceId")?;
    let include_all = call.params.flag("IncludeAllInstances")? == Some(true);
    let page = call.params.page(5, 1000)?;
    let given = call.params.filters()?;
    check_named(&call, &ids, &page).await?;
    let mut request = ListInstanceStatusesRequest {
        instance_ids: ids.iter().map(ToString::to_string).collect(),
        filters: filters(given),
        include_all,
        page_size: page.max_results.and_then(|most| most.try_into().ok()).unwrap_or(PAGE),
        page_token: page.next_token.unwrap_or_default(),
    };
    let mut launcher = call.front.gateway.peers.instances(&call.caller);
    let mut found = Vec::new();
    loop {
        let answer = launcher.list_instance_statuses(request.clone()).await?.into_inner();
        found.extend(answer.statuses);
        request.page_token = answer.next_page_token;
        if page.max_results.is_some() || request.page_token.is_empty() {
            break;
        }
    }
    let zone = call.front.regions.zone();
    let mut xml = Xml::new();
    xml.items("instanceStatusSet", found, |xml, it| write(xml, &zone, &it))
        .filled("nextToken", &request.page_token);
    Ok(xml)
}

fn write(xml: &mut Xml, zone: &str, it: &InstanceStatus) {
    xml.text("instanceId", &it.instance_id).text("availabilityZone", zone).empty("eventsSet");
    write_state(xml, "instanceState", it.state());
    for (name, health) in [("systemStatus", it.system()), ("instanceStatus", it.guest())] {
        let (status, reachable) = words(health);
        xml.node(name, |xml| {
            xml.text("status", status);
            let shown = (!reachable.is_empty()).then_some(());
            xml.items("details", shown, |xml, ()| {
                xml.text("name", "reachability").text("status", reachable);
                if let (Health::Impaired, Some(at)) = (health, stamp(it.impaired_since.as_ref())) {
                    xml.time("impairedSince", at);
                }
            });
        });
    }
}

fn words(health: Health) -> (&'static str, &'static str) {
    match health {
        Health::Ok => ("ok", "passed"),
        Health::Initializing => ("initializing", "initializing"),
        Health::Impaired => ("impaired", "failed"),
        Health::InsufficientData | Health::Unspecified => {
            ("insufficient-data", "insufficient-data")
        }
        Health::NotApplicable => ("not-applicable", ""),
    }
}
