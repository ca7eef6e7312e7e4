"""The whole life of an image by boto3: registered, shared, run, imaged, copied, ended."""

import time

import boto3
import botocore
from botocore.exceptions import ClientError

from stage import ENDPOINT, FRIEND, MAKER, READY, REGION, RUN, SNAPSHOT, STRANGER, step, until


def client(service, who):
    return boto3.client(
        service,
        endpoint_url=ENDPOINT,
        region_name=REGION,
        aws_access_key_id=who.key,
        aws_secret_access_key=who.secret,
    )


def refused(code, status, call, **arguments):
    # Within one second the same request has the same signature, and the first
    # outcome is answered again.
    time.sleep(1.1)
    try:
        call(**arguments)
    except ClientError as error:
        seen = error.response["Error"]["Code"]
        assert seen == code, f"{seen} in place of {code}: {error}"
        seen = error.response["ResponseMetadata"]["HTTPStatusCode"]
        assert seen == status, f"HTTP {seen} in place of {status}"
        return
    raise AssertionError(f"{code} was expected, and it was done")


def wait(ec2, name, **arguments):
    ec2.get_waiter(name).wait(WaiterConfig={"Delay": 2, "MaxAttempts": 300}, **arguments)


print(f"boto3 {boto3.__version__}, botocore {botocore.__version__}")
maker, friend, stranger = (client("ec2", who) for who in (MAKER, FRIEND, STRANGER))

with step("sts says who one is"):
    who = client("sts", MAKER).get_caller_identity()
    assert who["Account"] == MAKER.account, who

with step("regions, zones, the network's facade"):
    assert REGION in [it["RegionName"] for it in maker.describe_regions()["Regions"]]
    (zone,) = maker.describe_availability_zones()["AvailabilityZones"]
    assert zone["State"] == "available"
    (vpc,) = maker.describe_vpcs(Filters=[{"Name": "isDefault", "Values": ["true"]}])["Vpcs"]
    (subnet,) = maker.describe_subnets(
        Filters=[{"Name": "vpc-id", "Values": [vpc["VpcId"]]}]
    )["Subnets"]
    assert subnet["DefaultForAz"]

with step("security groups keep their rules"):
    group = friend.create_security_group(GroupName=f"web-{RUN}", Description="a test")["GroupId"]
    rule = {
        "IpProtocol": "tcp",
        "FromPort": 22,
        "ToPort": 22,
        "IpRanges": [{"CidrIp": "0.0.0.0/0", "Description": "ssh"}],
    }
    friend.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])
    (seen,) = friend.describe_security_groups(GroupIds=[group])["SecurityGroups"]
    assert seen["IpPermissions"][0]["IpRanges"] == rule["IpRanges"], seen
    refused(
        "InvalidPermission.Duplicate",
        400,
        friend.authorize_security_group_ingress,
        GroupId=group,
        IpPermissions=[rule],
    )
    friend.create_tags(Resources=[group], Tags=[{"Key": "Stage", "Value": "test"}])
    (tag,) = friend.describe_tags(Filters=[{"Name": "resource-id", "Values": [group]}])["Tags"]
    assert (tag["ResourceType"], tag["Value"]) == ("security-group", "test"), tag
    rules = friend.describe_security_group_rules(
        Filters=[{"Name": "group-id", "Values": [group]}])["SecurityGroupRules"]
    assert sorted(it["IsEgress"] for it in rules) == [False, True], rules

with step("key pairs"):
    key = f"key-{RUN}"
    made = friend.create_key_pair(KeyName=key, KeyType="ed25519")
    assert "PRIVATE KEY" in made["KeyMaterial"]
    wait(friend, "key_pair_exists", KeyNames=[key])
    refused("InvalidKeyPair.Duplicate", 400, friend.create_key_pair, KeyName=key)
    refused("InvalidKeyPair.NotFound", 400, friend.describe_key_pairs, KeyNames=["none"])

with step("an image is registered and found"):
    disk = {"DeviceName": "/dev/sda1", "Ebs": {"SnapshotId": SNAPSHOT}}
    image = maker.register_image(
        Name=f"boto3-{RUN}",
        Architecture="x86_64",
        VirtualizationType="hvm",
        RootDeviceName="/dev/sda1",
        BlockDeviceMappings=[disk],
    )["ImageId"]
    wait(maker, "image_available", ImageIds=[image])
    maker.create_tags(Resources=[image], Tags=[{"Key": "Stage", "Value": "test"}])
    filters = [{"Name": "tag:Stage", "Values": ["te*"]}, {"Name": "image-id", "Values": [image]}]
    (seen,) = maker.describe_images(Owners=["self"], Filters=filters)["Images"]
    assert seen["ImageId"] == image

with step("it is shared with one account and nobody else"):
    run = {"ImageId": image, "MinCount": 1, "MaxCount": 1, "InstanceType": "t3.nano"}
    refused("AuthFailure", 400, friend.run_instances, **run)
    maker.modify_image_attribute(
        ImageId=image, LaunchPermission={"Add": [{"UserId": FRIEND.account}]}
    )
    (seen,) = friend.describe_images(ExecutableUsers=["self"], ImageIds=[image])["Images"]
    refused("AuthFailure", 400, stranger.run_instances, **run)

with step("a dry run does nothing"):
    refused("DryRunOperation", 412, friend.run_instances, DryRun=True, **run)

with step("it is run, once for one token"):
    run.update(
        KeyName=key,
        SecurityGroupIds=[group],
        ClientToken=f"token-{RUN}",
        TagSpecifications=[
            {"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": f"boto3-{RUN}"}]}
        ],
    )
    (instance,) = friend.run_instances(**run)["Instances"]
    instance = instance["InstanceId"]
    (again,) = friend.run_instances(**run)["Instances"]
    assert again["InstanceId"] == instance
    refused("IdempotentParameterMismatch", 400, friend.run_instances, **{**run, "MaxCount": 2})
    wait(friend, "instance_exists", InstanceIds=[instance])
    wait(friend, "instance_running", InstanceIds=[instance])

with step("it boots and shows its console"):
    def console():
        return READY in friend.get_console_output(InstanceId=instance).get("Output", "")

    until("the guest's last line", 300, console)
    wait(friend, "instance_status_ok", InstanceIds=[instance])

with step("it is described"):
    filters = [{"Name": "tag:Name", "Values": [f"boto3-{RUN}"]}]
    (reservation,) = friend.describe_instances(Filters=filters)["Reservations"]
    (seen,) = reservation["Instances"]
    assert seen["State"] == {"Code": 16, "Name": "running"}, seen["State"]
    assert seen["KeyName"] == key and seen["PublicIpAddress"].startswith("127."), seen
    assert seen["SecurityGroups"] == [{"GroupId": group, "GroupName": f"web-{RUN}"}], seen
    pages = friend.get_paginator("describe_instances").paginate(PaginationConfig={"PageSize": 5})
    assert instance in [it["InstanceId"] for page in pages
                        for of in page["Reservations"] for it in of["Instances"]]
    refused("InvalidInstanceID.NotFound", 400, stranger.describe_instances, InstanceIds=[instance])
    refused("InvalidInstanceID.Malformed", 400, friend.describe_instances, InstanceIds=["i-x"])

with step("its attributes are read and changed"):
    friend.modify_instance_attribute(InstanceId=instance, DisableApiTermination={"Value": True})
    seen = friend.describe_instance_attribute(
        InstanceId=instance, Attribute="disableApiTermination"
    )
    assert seen["DisableApiTermination"]["Value"] is True, seen
    refused("OperationNotPermitted", 400, friend.terminate_instances, InstanceIds=[instance])
    friend.modify_instance_attribute(InstanceId=instance, DisableApiTermination={"Value": False})

with step("an image is made of it while it runs"):
    second = friend.create_image(InstanceId=instance, Name=f"second-{RUN}", NoReboot=True)
    second = second["ImageId"]
    wait(friend, "image_available", ImageIds=[second])

with step("it is stopped and started"):
    friend.stop_instances(InstanceIds=[instance], Force=True)
    wait(friend, "instance_stopped", InstanceIds=[instance])
    friend.start_instances(InstanceIds=[instance])
    wait(friend, "instance_running", InstanceIds=[instance])

with step("the image is copied and ended; what runs goes on"):
    copy = maker.copy_image(SourceImageId=image, SourceRegion=REGION, Name=f"copy-{RUN}")
    copy = copy["ImageId"]
    wait(maker, "image_available", ImageIds=[copy])
    maker.deregister_image(ImageId=image)
    assert maker.describe_images(ImageIds=[image])["Images"] == []
    refused("InvalidAMIID.Unavailable", 400, friend.run_instances,
            ImageId=image, MinCount=1, MaxCount=1)
    wait(friend, "instance_running", InstanceIds=[instance])

with step("all is ended"):
    friend.terminate_instances(InstanceIds=[instance])
    wait(friend, "instance_terminated", InstanceIds=[instance])
    friend.deregister_image(ImageId=second)
    maker.deregister_image(ImageId=copy)
    friend.delete_security_group(GroupId=group)
    friend.delete_key_pair(KeyName=key)
    friend.delete_key_pair(KeyName=key)
    refused("InvalidAMIID.NotFound", 400, maker.describe_images, ImageIds=["ami-0000000000000dead"])
