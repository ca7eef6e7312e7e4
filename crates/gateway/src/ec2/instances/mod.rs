//! Instances: launched, described, started, stopped, changed, ended.

mod attribute;
mod console;
mod credit;
mod describe;
mod image_metadata;
mod modify;
mod run;
mod shape;
mod state;
mod status;
mod types;

pub(super) use shape::tags;

use std::collections::HashMap;

use vmint_api::{
    launcher::v1::{Instance, ListInstancesRequest},
    types::v1::Filter,
};
use vmint_ec2::{
    Code, Error,
    query::{self, Page},
};
use vmint_ids::InstanceId;

use super::{Call, Entry, Refused, entries, entry::Answer, service::Service};

pub(super) const ENTRIES: &[Entry] = entries! {
    Service::Ec2;
    writes run::RUN => run::run_instances,
    reads describe::DESCRIBE => describe::describe_instances,
    reads credit::DESCRIBE => credit::describe_instance_credit_specifications,
    reads image_metadata::DESCRIBE => image_metadata::describe_instance_image_metadata,
    writes state::START => state::start_instances,
    writes state::STOP => state::stop_instances,
    writes state::REBOOT => state::reboot_instances,
    writes state::TERMINATE => state::terminate_instances,
    reads status::DESCRIBE => status::describe_instance_status,
    reads attribute::DESCRIBE => attribute::describe_instance_attribute,
    writes modify::MODIFY => modify::modify_instance_attribute,
    writes modify::RESET => modify::reset_instance_attribute,
    reads console::GET => console::get_console_output,
    reads types::DESCRIBE => types::describe_instance_types,
    reads types::OFFERINGS => types::describe_instance_type_offerings,
};

/// A page of the launcher's.
const PAGE: i32 = 1000;

/// EC2's filters as a service takes them.
fn filters(filters: Vec<query::Filter>) -> Vec<Filter> {
    filters.into_iter().map(|it| Filter { name: it.name, values: it.values }).collect()
}

/// Refuses ids beside a page's size, and ids of what is not there.
async fn check_named(call: &Call, ids: &[InstanceId], page: &Page) -> Result<(), Refused> {
    if ids.is_empty() {
        return Ok(());
    }
    if page.max_results.is_some() {
        let text = "The parameter instancesSet cannot be used with the parameter maxResults";
        return Err(Error::combination(text).into());
    }
    by_ids(call, ids).await.map(drop)
}

/// The instances of these ids, in their order; refused if one is not there.
async fn by_ids(call: &Call, ids: &[InstanceId]) -> Result<Vec<Instance>, Refused> {
    let wanted = ids.iter().map(ToString::to_string).collect::<Vec<_>>();
    let mut found = HashMap::new();
    for some in wanted.chunks(100) {
        // By the filter rather than by id, so that all that are missing are named.
        let values = some.to_vec();
        let request = ListInstancesRequest {
            filters: vec![Filter { name: "instance-id".to_owned(), values }],
            page_size: PAGE,
            ..ListInstancesRequest::default()
        };
        let mut launcher = call.front.gateway.peers.instances(&call.caller);
        let page = launcher.list_instances(request).await?.into_inner();
        found.extend(page.instances.into_iter().map(|it| (it.instance_id.clone(), it)));
    }
    let missing = wanted.iter().filter(|id| !found.contains_key(*id)).collect::<Vec<_>>();
    if let [one] = missing[..] {
        return Err(query::not_found("i", one).into());
    }
    if !missing.is_empty() {
        let ids = missing.into_iter().cloned().collect::<Vec<_>>().join(", ");
        let text = format!("The instance IDs '{ids}' do not exist");
        return Err(Error::new(Code::InvalidInstanceIdNotFound, text).into());
    }
    Ok(wanted.iter().filter_map(|id| found.get(id).cloned()).collect())
}

/// The one instance that a request names.
async fn the_one(call: &mut Call) -> Result<Instance, Refused> {
    let id = call.params.need_id("InstanceId")?;
    let found = by_ids(call, &[id]).await?.pop();
    found.ok_or_else(|| query::not_found("i", &id.to_string()).into())
}
