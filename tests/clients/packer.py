"""What the scripts that drive Packer share."""

import json
import pathlib
import subprocess

import boto3

from stage import ENDPOINT, MAKER, READY, REGION, RUN, SNAPSHOT, until

PACKER = "/usr/bin/packer"


def version():
    out = subprocess.run([PACKER, "version"], capture_output=True, text=True)
    return out.stdout.split("\n")[0]


def client(who):
    return boto3.client("ec2", endpoint_url=ENDPOINT, region_name=REGION,
                        aws_access_key_id=who.key, aws_secret_access_key=who.secret)


def register(ec2, name):
    """An image to build from."""
    disk = {"DeviceName": "/dev/sda1", "Ebs": {"SnapshotId": SNAPSHOT}}
    return ec2.register_image(
        Name=name, Architecture="x86_64", VirtualizationType="hvm",
        RootDeviceName="/dev/sda1", BlockDeviceMappings=[disk],
    )["ImageId"]


def build(kind, provisioners, **settings):
    """Has Packer build; it makes its key pair and its security group itself."""
    builder = {
        "type": kind,
        "region": REGION,
        "custom_endpoint_ec2": ENDPOINT,
        "skip_region_validation": True,
        "skip_metadata_api_check": True,
        "skip_credential_validation": True,
        "access_key": MAKER.key,
        "secret_key": MAKER.secret,
        "instance_type": "t3.micro",
        "ssh_username": "root",
        "ssh_timeout": "10m",
        **settings,
    }
    template = pathlib.Path(f"{kind}-{RUN}.json")
    template.write_text(json.dumps({"builders": [builder], "provisioners": provisioners}))
    out = subprocess.run([PACKER, "build", "-color=false", str(template)],
                         env={**MAKER.environment(), "CHECKPOINT_DISABLE": "1"},
                         capture_output=True, text=True)
    if out.returncode != 0:
        raise SystemExit(f"packer failed: {out.stdout[-4000:]} {out.stderr[-2000:]}")


def booted(ec2, **launch):
    """A machine, once it has printed its last line: its id and its address."""
    (instance,) = ec2.run_instances(MinCount=1, MaxCount=1, InstanceType="t3.micro",
                                    **launch)["Instances"]
    instance = instance["InstanceId"]
    until("the guest's last line", 300, lambda: READY in ec2.get_console_output(
        InstanceId=instance).get("Output", ""))
    (reservation,) = ec2.describe_instances(InstanceIds=[instance])["Reservations"]
    return instance, reservation["Instances"][0]["PublicIpAddress"]


def end(ec2, instance):
    ec2.terminate_instances(InstanceIds=[instance])
    ec2.get_waiter("instance_terminated").wait(
        InstanceIds=[instance], WaiterConfig={"Delay": 1, "MaxAttempts": 120})
