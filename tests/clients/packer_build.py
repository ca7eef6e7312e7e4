"""Packer builds an image from an image, over ssh in a real guest."""

import json
import pathlib
import subprocess

import boto3

from stage import ENDPOINT, MAKER, READY, REGION, RUN, SNAPSHOT, step, until

PACKER = "/usr/bin/packer"

print(subprocess.run([PACKER, "version"], capture_output=True, text=True).stdout.split("\n")[0])
ec2 = boto3.client("ec2", endpoint_url=ENDPOINT, region_name=REGION,
                   aws_access_key_id=MAKER.key, aws_secret_access_key=MAKER.secret)

KEY = pathlib.Path("packer.pem")


def wait(name, **arguments):
    ec2.get_waiter(name).wait(WaiterConfig={"Delay": 2, "MaxAttempts": 150}, **arguments)


# This Packer signs with RSA and SHA-1 alone, which guests of today refuse, and
# uploads by scp, which the demo image lacks: so it gets a key of another kind,
# and an image with scp to build from.
with step("an image to build from: a key, a launch, scp put into it, an image of it"):
    key = f"packer-key-{RUN}"
    KEY.write_text(ec2.create_key_pair(KeyName=key, KeyType="ed25519")["KeyMaterial"])
    KEY.chmod(0o600)
    first = ec2.register_image(
        Name=f"packer-first-{RUN}", Architecture="x86_64", VirtualizationType="hvm",
        RootDeviceName="/dev/sda1",
        BlockDeviceMappings=[{"DeviceName": "/dev/sda1", "Ebs": {"SnapshotId": SNAPSHOT}}],
    )["ImageId"]
    (instance,) = ec2.run_instances(ImageId=first, MinCount=1, MaxCount=1, KeyName=key,
                                    InstanceType="t3.micro")["Instances"]
    instance = instance["InstanceId"]
    wait("instance_running", InstanceIds=[instance])
    until("the guest's last line", 300, lambda: READY in ec2.get_console_output(
        InstanceId=instance).get("Output", ""))
    (reservation,) = ec2.describe_instances(InstanceIds=[instance])["Reservations"]
    address = reservation["Instances"][0]["PublicIpAddress"]
    ssh = ["ssh", "-i", str(KEY), "-o", "StrictHostKeyChecking=no",
           "-o", "UserKnownHostsFile=/dev/null", f"root@{address}"]
    with open("/usr/bin/scp", "rb") as scp:
        put = "mkdir -p /usr/bin && cat > /usr/bin/scp && chmod 755 /usr/bin/scp && sync"
        subprocess.run([*ssh, put], stdin=scp, check=True, capture_output=True)
    source = ec2.create_image(InstanceId=instance, Name=f"packer-source-{RUN}", NoReboot=True)
    source = source["ImageId"]
    wait("image_available", ImageIds=[source])
    ec2.terminate_instances(InstanceIds=[instance])
    ec2.deregister_image(ImageId=first)

with step("packer build: launch, ssh, provision, image, clean up"):
    builder = {
        "type": "amazon-ebs",
        "region": REGION,
        "custom_endpoint_ec2": ENDPOINT,
        "skip_region_validation": True,
        "skip_metadata_api_check": True,
        "skip_credential_validation": True,
        "access_key": MAKER.key,
        "secret_key": MAKER.secret,
        "source_ami": source,
        "instance_type": "t3.micro",
        "ssh_username": "root",
        "ssh_keypair_name": key,
        "ssh_private_key_file": str(KEY),
        "ssh_timeout": "10m",
        "ami_name": f"packer-{RUN}",
        "ami_description": "built by Packer",
        "tags": {"Builder": "packer"},
        "run_tags": {"Name": "packer"},
    }
    shell = {"type": "shell", "inline": ["echo built by packer > /root/built", "sync"]}
    template = pathlib.Path("packer.json")
    template.write_text(json.dumps({"builders": [builder], "provisioners": [shell]}))
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
    assert {"Key": "Builder", "Value": "packer"} in built["Tags"], built
    ec2.delete_key_pair(KeyName=key)
    assert not ec2.describe_security_groups(
        Filters=[{"Name": "group-name", "Values": ["packer*"]}])["SecurityGroups"]
    for ended in (built["ImageId"], source):
        ec2.deregister_image(ImageId=ended)
