//! DescribeInstanceAttribute.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use vmint_api::launcher::v1::{GetUserDataRequest, Instance, ShutdownBehavior};
use vmint_ec2::{Error, Operation, Xml};

use super::{Answer, Call, shape, the_one};
use crate::ec2::Refused;

pub(super) const DESCRIBE: Operation =
    Operation::new("DescribeInstanceAttribute", &["InstanceId!", "Attribute!"]);

pub(super) async fn describe_instance_attribute(mut call: Call) -> Answer {
    let attribute = call.params.need("Attribute")?;
    let it = the_one(&mut call).await?;
    let mut xml = Xml::new();
    xml.text("instanceId", &it.instance_id);
    match attribute.as_str() {
        "instanceType" => value(&mut xml, "instanceType", &it.instance_type),
        "disableApiTermination" => {
            value(&mut xml, "disableApiTermination", it.disable_api_termination);
        }
        "instanceInitiatedShutdownBehavior" => {
            value(&mut xml, "instanceInitiatedShutdownBehavior", behavior(&it));
        }
        "rootDeviceName" => value(&mut xml, "rootDeviceName", &it.root_device_name),
        "userData" => user_data(&call, &it, &mut xml).await?,
        "blockDeviceMapping" => shape::volumes(&mut xml, &it),
        "productCodes" => {
            xml.items("productCodes", &it.product_codes, |xml, code| {
                xml.text("productCode", code).text("type", "marketplace");
            });
        }
        "groupSet" => shape::groups(&mut xml, &call.network()?, &it, false),
        "sourceDestCheck" => value(&mut xml, "sourceDestCheck", true),
        "enaSupport" => value(&mut xml, "enaSupport", it.ena_support),
        // What no machine here has.
        "ebsOptimized" | "disableApiStop" => value(&mut xml, &attribute, false),
        "kernel" | "ramdisk" | "sriovNetSupport" => {
            xml.empty(&attribute);
        }
        "enclaveOptions" => {
            xml.node("enclaveOptions", |xml| {
                xml.value("enabled", false);
            });
        }
        other => {
            let why = "It names no attribute of an instance.";
            return Err(Error::invalid("Attribute", other, why).into());
        }
    }
    Ok(xml)
}

fn value(xml: &mut Xml, name: &str, value: impl std::fmt::Display) {
    xml.node(name, |xml| {
        xml.value("value", value);
    });
}

fn behavior(it: &Instance) -> &'static str {
    match it.shutdown_behavior() {
        ShutdownBehavior::Unspecified | ShutdownBehavior::Stop => "stop",
        ShutdownBehavior::Terminate => "terminate",
    }
}

async fn user_data(call: &Call, it: &Instance, xml: &mut Xml) -> Result<(), Refused> {
    let request = GetUserDataRequest { instance_id: it.instance_id.clone() };
    let mut launcher = call.front.gateway.peers.instances(&call.caller);
    let data = launcher.get_user_data(request).await?.into_inner().user_data;
    if data.is_empty() {
        xml.empty("userData");
    } else {
        value(xml, "userData", BASE64_STANDARD.encode(&data));
    }
    Ok(())
}
