//! Start, stop, reboot, terminate.

use vmint_api::{
    gateway::v1::TerminateInstancesRequest,
    launcher::v1::{
        Instance, InstanceState, RebootInstanceRequest, StartInstanceRequest, StopInstanceRequest,
    },
};
use vmint_ec2::{Operation, Xml};

use super::{Answer, Call, by_ids, shape::write_state};
use crate::ec2::Refused;

pub(super) const START: Operation = Operation::new("StartInstances", &["InstanceId.N!"]);
pub(super) const STOP: Operation = Operation::new("StopInstances", &["InstanceId.N!", "Force"])
    .only(&[("Hibernate", &["false"]), ("SkipOsShutdown", &["false"])]);
pub(super) const REBOOT: Operation = Operation::new("RebootInstances", &["InstanceId.N!"]);
pub(super) const TERMINATE: Operation = Operation::new("TerminateInstances", &["InstanceId.N!"])
    .only(&[("Force", &["false"]), ("SkipOsShutdown", &["false"])]);

/// What one call may name.
const AT_ONCE: usize = 100;

pub(super) async fn start_instances(mut call: Call) -> Answer {
    let before = named(&mut call).await?;
    let request_id = call.request_id()?;
    let mut after = Vec::new();
    for (n, instance) in before.iter().enumerate() {
        if matches!(instance.state(), InstanceState::Running | InstanceState::Pending) {
            after.push(instance.state());
            continue;
        }
        let (instance_id, request_id) = (instance.instance_id.clone(), nth(&request_id, n));
        let request = StartInstanceRequest { instance_id, request_id };
        let mut launcher = call.front.gateway.peers.instances(&call.caller);
        after.push(state_of(launcher.start_instance(request).await?.into_inner().instance));
    }
    Ok(changes(&before, &after))
}

pub(super) async fn stop_instances(mut call: Call) -> Answer {
    let force = call.params.flag("Force")? == Some(true);
    let before = named(&mut call).await?;
    let request_id = call.request_id()?;
    let mut after = Vec::new();
    for (n, instance) in before.iter().enumerate() {
        if instance.state() == InstanceState::Stopped {
            after.push(instance.state());
            continue;
        }
        let (instance_id, request_id) = (instance.instance_id.clone(), nth(&request_id, n));
        let request = StopInstanceRequest { instance_id, force, request_id };
        let mut launcher = call.front.gateway.peers.instances(&call.caller);
        after.push(state_of(launcher.stop_instance(request).await?.into_inner().instance));
    }
    Ok(changes(&before, &after))
}

pub(super) async fn reboot_instances(mut call: Call) -> Answer {
    let instances = named(&mut call).await?;
    let request_id = call.request_id()?;
    for (n, instance) in instances.into_iter().enumerate() {
        let request_id = nth(&request_id, n);
        let request = RebootInstanceRequest { instance_id: instance.instance_id, request_id };
        call.front.gateway.peers.instances(&call.caller).reboot_instance(request).await?;
    }
    Ok(Xml::done())
}

/// One that has ended ends again, as in EC2.
pub(super) async fn terminate_instances(mut call: Call) -> Answer {
    let before = named(&mut call).await?;
    let request_id = call.request_id()?;
    let live = before.iter().filter(|it| it.state() != InstanceState::Terminated);
    let live = live.map(|it| it.instance_id.clone()).collect::<Vec<_>>();
    let mut ended = Vec::new();
    if !live.is_empty() {
        let request = TerminateInstancesRequest { instance_ids: live, request_id };
        ended = call.front.gateway.terminate_instances(&call.caller, request).await?.instances;
    }
    let after = before.iter().map(|it| {
        let now = ended.iter().find(|now| now.instance_id == it.instance_id);
        now.map_or(InstanceState::Terminated, Instance::state)
    });
    Ok(changes(&before, &after.collect::<Vec<_>>()))
}

/// The instances that a request names, each once.
async fn named(call: &mut Call) -> Result<Vec<Instance>, Refused> {
    let mut ids = call.params.ids("InstanceId")?;
    ids.sort_unstable();
    ids.dedup();
    if ids.len() > AT_ONCE {
        let text = format!("At most {AT_ONCE} instances can be named at once.");
        return Err(vmint_ec2::Error::new(vmint_ec2::Code::InvalidParameterValue, text).into());
    }
    by_ids(call, &ids).await
}

/// The request id for the `n`th instance of a request.
fn nth(request_id: &str, n: usize) -> String {
    format!("{request_id}-{n}")
}

fn state_of(instance: Option<Instance>) -> InstanceState {
    instance.unwrap_or_default().state()
}

fn changes(before: &[Instance], after: &[InstanceState]) -> Xml {
    let mut xml = Xml::new();
    xml.items("instancesSet", before.iter().zip(after), |xml, (was, is)| {
        xml.text("instanceId", &was.instance_id);
        write_state(xml, "currentState", *is);
        write_state(xml, "previousState", was.state());
    });
    xml
}
