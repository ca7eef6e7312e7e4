"""Packer builds an image from an image, over ssh in a real guest, with keys it made itself."""

import json
import pathlib
import subprocess

import boto3

from stage import ENDPOINT, FRIEND, MAKER, READY, REGION, RUN, SNAPSHOT, step, until

PACKER = "/usr/bin/packer"

print(subprocess.run([PACKER, "version"], capture_output=True, text=True).stdout.split("\n")[0])


def client(who):
    return boto3.client("ec2", endpoint_url=ENDPOINT, region_name=REGION,
                        aws_access_key_id=who.key, aws_secret_access_key=who.secret)


ec2, friend = client(MAKER), client(FRIEND)


def wait(ec2, name, **arguments):
    ec2.get_waiter(name).wait(WaiterConfig={"Delay": 2, "MaxAttempts": 150}, **arguments)


with step("an image to build from"):
    source = ec2.register_image(
        Name=f"packer-source-{RUN}", Architecture="x86_64", VirtualizationType="hvm",
        RootDeviceName="/dev/sda1",
        BlockDeviceMappings=[{"DeviceName": "/dev/sda1", "Ebs": {"SnapshotId": SNAPSHOT}}],
    )["ImageId"]

with step("packer build: a key, a group, a launch, ssh, provisioning, an image, all cleaned up"):
    builder = {
        "type": "amazon-ebs",
        "region": REGION,
        "custom_endpoint_ec2": ENDPOINT,
        "skip_region_validation": True,
        "skip_metadata_api_check": True,
        "skip_credential_validation": True,
        "access_key": MAKER.key,
        "secret_key": MAKER.secret,
        "source_ami_filter": {"filters": {"name": f"packer-source-{RUN}"}, "owners": ["self"],
                              "most_recent": True},
        "instance_type": "t3.micro",
        "ssh_username": "root",
        "ssh_timeout": "10m",
        "ami_name": f"packer-{RUN}",
        "ami_description": "built by Packer",
        "ami_users": [FRIEND.account],
        "tags": {"Builder": "packer", "Source": "{{ .SourceAMI }}"},
        "run_tags": {"Name": "packer"},
    }
    pathlib.Path("packer.txt").write_text(f"built by packer {RUN}\n")
    provisioners = [
        {"type": "file", "source": "packer.txt", "destination": "/tmp/built"},
        {"type": "shell", "inline": ["mv /tmp/built /root/built", "sync"]},
    ]
    template = pathlib.Path("packer.json")
    template.write_text(json.dumps({"builders": [builder], "provisioners": provisioners}))
    out = subprocess.run([PACKER, "build", "-color=false", str(template)],
                         env={**MAKER.environment(), "CHECKPOINT_DISABLE": "1"},
                         capture_output=True, text=True)
    if out.returncode != 0:
        print(out.stdout[-4000:], out.stderr[-2000:])
        raise SystemExit("packer failed")

with step("the image is there, with its tags, and nothing else is left"):
    filters = [{"Name": "name", "Values": [f"packer-{RUN}"]}]
    (built,) = ec2.describe_images(Owners=["self"], Filters=filters)["Images"]
    assert built["State"] == "available" and built["Description"] == "built by Packer", built
    for tag in ({"Key": "Builder", "Value": "packer"}, {"Key": "Source", "Value": source}):
        assert tag in built["Tags"], built
    assert not ec2.describe_security_groups(
        Filters=[{"Name": "group-name", "Values": ["packer*"]}])["SecurityGroups"]
    assert not ec2.describe_key_pairs(
        Filters=[{"Name": "key-name", "Values": ["packer*"]}])["KeyPairs"]
    left = ec2.describe_instances(Filters=[{"Name": "tag:Name", "Values": ["packer"]}])
    states = [it["State"]["Name"] for of in left["Reservations"] for it in of["Instances"]]
    assert set(states) <= {"terminated"}, states

with step("whom it is shared with launches it and finds in it what was put there"):
    key, pem = f"packer-key-{RUN}", pathlib.Path("packer.pem")
    pem.write_text(friend.create_key_pair(KeyName=key)["KeyMaterial"])
    pem.chmod(0o600)
    (instance,) = friend.run_instances(ImageId=built["ImageId"], MinCount=1, MaxCount=1,
                                       KeyName=key, InstanceType="t3.micro")["Instances"]
    instance = instance["InstanceId"]
    wait(friend, "instance_running", InstanceIds=[instance])
    until("the guest's last line", 300, lambda: READY in friend.get_console_output(
        InstanceId=instance).get("Output", ""))
    (reservation,) = friend.describe_instances(InstanceIds=[instance])["Reservations"]
    address = reservation["Instances"][0]["PublicIpAddress"]
    ssh = ["ssh", "-i", str(pem), "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=no",
           "-o", "UserKnownHostsFile=/dev/null", f"root@{address}", "cat /root/built"]
    seen = subprocess.run(ssh, capture_output=True, text=True)
    assert seen.stdout == f"built by packer {RUN}\n", seen

with step("all is ended"):
    friend.terminate_instances(InstanceIds=[instance])
    wait(friend, "instance_terminated", InstanceIds=[instance])
    friend.delete_key_pair(KeyName=key)
    for ended in (built["ImageId"], source):
        ec2.deregister_image(ImageId=ended)
