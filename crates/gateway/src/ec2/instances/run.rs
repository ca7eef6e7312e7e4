//! RunInstances.

use vmint_api::{
    catalog::v1::ImageState,
    gateway::v1::{RunInstancesRequest, RunInstancesResponse},
    launcher::v1::ShutdownBehavior,
    types::v1::{BlockDeviceMapping, Tag},
};
use vmint_ec2::{Code, Error, Operation, Params, Xml, query};
use vmint_rpc::Fault;

use super::{Answer, Call, shape};
use crate::ec2::{Refused, images::asked, network::Network};

pub(super) const RUN: Operation = Operation::new(
    "RunInstances",
    &[
        "ImageId!",
        "MinCount!",
        "MaxCount!",
        "InstanceType",
        "KeyName",
        "UserData",
        "ClientToken",
        "SecurityGroup.N",
        "SecurityGroupId.N",
        "SubnetId",
        "DisableApiTermination",
        "InstanceInitiatedShutdownBehavior",
        "Placement.AvailabilityZone",
        "BlockDeviceMapping.N.DeviceName",
        "BlockDeviceMapping.N.NoDevice",
        "BlockDeviceMapping.N.Ebs.SnapshotId",
        "BlockDeviceMapping.N.Ebs.VolumeSize",
        "BlockDeviceMapping.N.Ebs.DeleteOnTermination",
        "BlockDeviceMapping.N.Ebs.VolumeType",
        "BlockDeviceMapping.N.Ebs.Encrypted",
        "BlockDeviceMapping.N.Ebs.Iops",
        "BlockDeviceMapping.N.Ebs.Throughput",
        "BlockDeviceMapping.N.Ebs.KmsKeyId",
        "NetworkInterface.N.DeviceIndex",
        "NetworkInterface.N.SubnetId",
        "NetworkInterface.N.SecurityGroupId.N",
        "NetworkInterface.N.Description",
        "NetworkInterface.N.AssociatePublicIpAddress",
        "TagSpecification.N.ResourceType",
        "TagSpecification.N.Tag.N.Key",
        "TagSpecification.N.Tag.N.Value",
    ],
)
.only(&[
    ("Monitoring.Enabled", &["false"]),
    ("EbsOptimized", &["false"]),
    ("Placement.Tenancy", &["default"]),
    ("NetworkInterface.N.DeleteOnTermination", &["true"]),
    ("MetadataOptions.HttpTokens", &["required"]),
    ("MetadataOptions.HttpEndpoint", &["enabled"]),
    ("BlockDeviceMapping.N.VirtualName", &[]),
    ("CreditSpecification.CpuCredits", &["standard"]),
    ("IamInstanceProfile.Name", &[]),
    ("IamInstanceProfile.Arn", &[]),
    ("KernelId", &[]),
    ("RamdiskId", &[]),
    ("PrivateIpAddress", &[]),
    ("LaunchTemplate.LaunchTemplateId", &[]),
    ("LaunchTemplate.LaunchTemplateName", &[]),
]);

pub(super) const BEHAVIORS: [(&str, ShutdownBehavior); 2] =
    [("stop", ShutdownBehavior::Stop), ("terminate", ShutdownBehavior::Terminate)];

/// What one launch may make.
const AT_ONCE: i32 = 20;

pub(super) async fn run_instances(mut call: Call) -> Answer {
    let network = call.network()?;
    let (least, most) = counts(&mut call.params)?;
    let request_id = call.request_id()?;
    let mut request = read(&mut call.params, &network)?;
    (request.count, request.request_id) = (most, request_id);
    let made = launch(&call, request, least).await?;
    let mut xml = Xml::new();
    shape::reservation(&mut xml, &network, &made.instances);
    Ok(xml)
}

/// As many as there is room for, but no fewer than `least`.
async fn launch(
    call: &Call,
    request: RunInstancesRequest,
    least: i32,
) -> Result<RunInstancesResponse, Refused> {
    let fewer = RunInstancesRequest {
        count: least,
        request_id: format!("{}-least", request.request_id),
        ..request.clone()
    };
    let (most, image_id) = (request.count, request.image_id.clone());
    match call.front.gateway.run_instances(&call.caller, request).await {
        Err(status)
            if least < most && Fault::from_status(&status).reason == "CAPACITY_EXHAUSTED" =>
        {
            Ok(call.front.gateway.run_instances(&call.caller, fewer).await?)
        }
        Ok(answer) => Ok(answer),
        Err(status) => Err(denied(call, &image_id, status.into()).await),
    }
}

/// EC2 tells an image that one may not launch from one that never was.
async fn denied(call: &Call, image_id: &str, refused: Refused) -> Refused {
    if refused.0.code != Code::InvalidAmiIdNotFound {
        return refused;
    }
    let ids = [image_id.to_owned()];
    let found = call.front.gateway.get_images(&call.caller, &ids).await;
    match found.ok().and_then(|mut images| images.pop()) {
        Some(image) if image.state() == ImageState::Deregistered => {
            let text = format!("The image ID '{image_id}' is no longer available");
            Error::new(Code::InvalidAmiIdUnavailable, text).into()
        }
        Some(_) => {
            let text = format!("Not authorized for images: [{image_id}]");
            Error::new(Code::NotAuthorized, text).into()
        }
        None => refused,
    }
}

fn counts(params: &mut Params) -> Result<(i32, i32), Error> {
    let least = params.number::<i32>("MinCount")?.ok_or_else(|| Error::missing("MinCount"))?;
    let most = params.number::<i32>("MaxCount")?.ok_or_else(|| Error::missing("MaxCount"))?;
    if least < 1 {
        return Err(Error::invalid("MinCount", &least.to_string(), "It must be at least 1."));
    }
    if most < least {
        let why = "It must not be less than MinCount.";
        return Err(Error::invalid("MaxCount", &most.to_string(), why));
    }
    if least > AT_ONCE {
        let text = format!("At most {AT_ONCE} instances can be launched at once.");
        return Err(Error::new(Code::InstanceLimitExceeded, text));
    }
    Ok((least, most.min(AT_ONCE)))
}

fn read(params: &mut Params, network: &Network) -> Result<RunInstancesRequest, Error> {
    let image_id = params.need("ImageId")?;
    if !image_id.starts_with("resolve:ssm:") {
        query::parse_id::<vmint_ids::ImageKind>(&image_id)?;
    }
    let specifications = params.tag_specifications(&["instance", "volume"])?;
    let tags = |of: &str| {
        let tags = Params::tags_for(&specifications, of).into_iter();
        tags.map(|tag| Tag { key: tag.key, value: tag.value }).collect()
    };
    if let Some(zone) = params.inside("Placement", |it| it.text("AvailabilityZone"))?.flatten() {
        network.must_be_zone(&zone)?;
    }
    let place = place(params, network)?;
    let behavior = params.choice("InstanceInitiatedShutdownBehavior", &BEHAVIORS)?;
    Ok(RunInstancesRequest {
        image_id,
        instance_type: params.text("InstanceType")?.unwrap_or_default(),
        key_name: params.text("KeyName")?.unwrap_or_default(),
        user_data: params.blob("UserData")?.unwrap_or_default().into(),
        block_device_mappings: mappings(params.block_device_mappings()?)?,
        tags: tags("instance"),
        volume_tags: tags("volume"),
        disable_api_termination: params.flag("DisableApiTermination")? == Some(true),
        shutdown_behavior: behavior.unwrap_or(ShutdownBehavior::Unspecified).into(),
        subnet_id: place.subnet,
        vpc_id: network.vpc(),
        security_group_ids: place.groups,
        ..RunInstancesRequest::default()
    })
}

/// Where a machine is placed. It has no effect on what it reaches, nor on
/// what reaches it.
struct Place {
    subnet: String,
    groups: Vec<String>,
}

fn place(params: &mut Params, network: &Network) -> Result<Place, Error> {
    let mut subnet = params.text("SubnetId")?;
    let mut groups = params.list("SecurityGroupId")?;
    for name in params.list("SecurityGroup")? {
        groups.push(network.group_named(&name)?);
    }
    let interfaces = params.each("NetworkInterface", |it| {
        let index = it.number::<u32>("DeviceIndex")?.unwrap_or(0);
        Ok((index, it.text("SubnetId")?, it.list("SecurityGroupId")?))
    })?;
    if interfaces.len() > 1 || interfaces.iter().any(|(index, ..)| *index != 0) {
        let text = "A machine has one network interface, of DeviceIndex 0.";
        return Err(Error::new(Code::UnsupportedOperation, text));
    }
    for (_, of, more) in interfaces {
        if subnet.is_some() || !groups.is_empty() {
            let text = "Network interfaces and an instance-level subnet ID or security groups \
                        may not be specified on the same request";
            return Err(Error::combination(text));
        }
        (subnet, groups) = (of, more);
    }
    let subnet = subnet.unwrap_or_else(|| network.subnet());
    network.must_be_subnet(&subnet)?;
    if groups.is_empty() {
        groups.push(network.default_group());
    }
    network.must_have_groups(&groups)?;
    Ok(Place { subnet, groups })
}

fn mappings(given: Vec<query::BlockDeviceMapping>) -> Result<Vec<BlockDeviceMapping>, Error> {
    let one = |it: query::BlockDeviceMapping| {
        let ebs = it.ebs.unwrap_or_default();
        if let Some(size) = ebs.volume_size.filter(|size| *size < 1) {
            let why = "A volume has at least 1 GiB.";
            return Err(Error::invalid("VolumeSize", &size.to_string(), why));
        }
        Ok(BlockDeviceMapping {
            device_name: it.device_name.unwrap_or_default(),
            ebs: (!it.no_device).then(|| asked(ebs)),
            no_device: it.no_device,
        })
    };
    given.into_iter().map(one).collect()
}
