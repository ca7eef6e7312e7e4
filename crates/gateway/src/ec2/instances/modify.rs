//! ModifyInstanceAttribute.

use vmint_api::launcher::v1::{DeviceChange, ModifyInstanceRequest};
use vmint_ec2::{Error, Operation, Params, Xml};

use super::{Answer, Call, run::BEHAVIORS, the_one};

pub(super) const MODIFY: Operation = Operation::new(
    "ModifyInstanceAttribute",
    &[
        "InstanceId!",
        "Attribute",
        "Value",
        "DisableApiTermination.Value",
        "InstanceInitiatedShutdownBehavior.Value",
        "InstanceType.Value",
        "UserData.Value",
        "EnaSupport.Value",
        "GroupId.N",
        "BlockDeviceMapping.N.DeviceName",
        "BlockDeviceMapping.N.Ebs.VolumeId",
        "BlockDeviceMapping.N.Ebs.DeleteOnTermination",
    ],
)
.only(&[
    ("SourceDestCheck.Value", &["true"]),
    ("DisableApiStop.Value", &["false"]),
    ("EbsOptimized.Value", &["false"]),
    ("SriovNetSupport.Value", &[]),
    ("Kernel.Value", &[]),
    ("Ramdisk.Value", &[]),
]);

/// It is as it would be reset to, and can't be otherwise.
pub(super) const RESET: Operation =
    Operation::new("ResetInstanceAttribute", &["InstanceId!", "Attribute!"]);

pub(super) async fn reset_instance_attribute(mut call: Call) -> Answer {
    let attribute = call.params.need("Attribute")?;
    if attribute != "sourceDestCheck" {
        let why = "Of an instance here only sourceDestCheck can be reset.";
        return Err(Error::invalid("Attribute", &attribute, why).into());
    }
    the_one(&mut call).await?;
    Ok(Xml::done())
}

pub(super) async fn modify_instance_attribute(mut call: Call) -> Answer {
    let instance_id = the_one(&mut call).await?.instance_id;
    let mut request =
        ModifyInstanceRequest { instance_id, request_id: call.request_id()?, ..Default::default() };
    structured(&mut call.params, &mut request)?;
    old(&mut call.params, &mut request)?;
    if !request.security_group_ids.is_empty() {
        call.network()?.must_have_groups(&request.security_group_ids)?;
    }
    call.front.gateway.peers.instances(&call.caller).modify_instance(request).await?;
    Ok(Xml::done())
}

/// `InstanceType.Value=…`.
fn structured(params: &mut Params, request: &mut ModifyInstanceRequest) -> Result<(), Error> {
    let flag = params.inside("DisableApiTermination", |inner| inner.flag("Value"))?;
    request.disable_api_termination = flag.flatten();
    let behavior =
        params.inside("InstanceInitiatedShutdownBehavior", |it| it.choice("Value", &BEHAVIORS))?;
    if let Some(behavior) = behavior.flatten() {
        request.set_shutdown_behavior(behavior);
    }
    request.ena_support = params.inside("EnaSupport", |inner| inner.flag("Value"))?.flatten();
    let kind = params.inside("InstanceType", |inner| inner.text("Value"))?;
    request.instance_type = kind.flatten().unwrap_or_default();
    let data = params.inside("UserData", |inner| {
        Ok(if inner.has("Value") { Some(inner.blob("Value")?.unwrap_or_default()) } else { None })
    })?;
    request.user_data = data.flatten().map(Into::into);
    request.security_group_ids = params.list("GroupId")?;
    for mapping in params.block_device_mappings()? {
        let delete = mapping.ebs.and_then(|ebs| ebs.delete_on_termination);
        if let (Some(device_name), Some(delete_on_termination)) = (mapping.device_name, delete) {
            request.devices.push(DeviceChange { device_name, delete_on_termination });
        }
    }
    Ok(())
}

/// `Attribute=instanceType&Value=…`.
fn old(params: &mut Params, request: &mut ModifyInstanceRequest) -> Result<(), Error> {
    let Some(attribute) = params.text("Attribute")? else { return Ok(()) };
    match attribute.as_str() {
        "instanceType" => {
            if let Some(kind) = params.text("Value")? {
                request.instance_type = kind;
            }
        }
        "disableApiTermination" => {
            request.disable_api_termination =
                params.flag("Value")?.or(request.disable_api_termination);
        }
        "enaSupport" => request.ena_support = params.flag("Value")?.or(request.ena_support),
        "instanceInitiatedShutdownBehavior" => {
            if let Some(behavior) = params.choice("Value", &BEHAVIORS)? {
                request.set_shutdown_behavior(behavior);
            }
        }
        "userData" => {
            if params.has("Value") {
                request.user_data = Some(params.blob("Value")?.unwrap_or_default().into());
            }
        }
        "blockDeviceMapping" | "groupSet" => {}
        other => {
            let why = "It names no attribute of an instance that can be changed here.";
            return Err(Error::invalid("Attribute", other, why));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use vmint_api::launcher::v1::ShutdownBehavior;

    use super::*;

    fn read(query: &str) -> Result<ModifyInstanceRequest, Error> {
        let mut params = Params::from_query(query)?;
        let mut request = ModifyInstanceRequest::default();
        structured(&mut params, &mut request)?;
        old(&mut params, &mut request)?;
        Ok(request)
    }

    #[test]
    fn both_styles_say_the_same() {
        for (old, new) in [
            ("Attribute=instanceType&Value=t3.micro", "InstanceType.Value=t3.micro"),
            ("Attribute=disableApiTermination&Value=true", "DisableApiTermination.Value=true"),
            ("Attribute=userData&Value=aGk=", "UserData.Value=aGk="),
            ("Attribute=enaSupport&Value=true", "EnaSupport.Value=true"),
            (
                "Attribute=instanceInitiatedShutdownBehavior&Value=terminate",
                "InstanceInitiatedShutdownBehavior.Value=terminate",
            ),
        ] {
            let changed = read(old).unwrap();
            assert_eq!(changed, read(new).unwrap(), "{old}");
            assert_ne!(changed, ModifyInstanceRequest::default(), "{old}");
        }
        assert!(read("Attribute=colour&Value=red").is_err());
        let behavior = read("InstanceInitiatedShutdownBehavior.Value=stop").unwrap();
        assert_eq!(behavior.shutdown_behavior(), ShutdownBehavior::Stop);
    }
}
