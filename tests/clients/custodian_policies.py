"""cloud-custodian's policies over images and snapshots."""

import json
import pathlib
import subprocess
import sys

import boto3

from stage import ENDPOINT, MAKER, REGION, RUN, SNAPSHOT, step

CUSTODIAN = pathlib.Path(sys.executable).with_name("custodian")

print("cloud-custodian", subprocess.run([CUSTODIAN, "version"], capture_output=True, text=True).stdout.strip())
ec2 = boto3.client("ec2", endpoint_url=ENDPOINT, region_name=REGION,
                   aws_access_key_id=MAKER.key, aws_secret_access_key=MAKER.secret)
image = ec2.register_image(
    Name=f"custodian-{RUN}", Architecture="x86_64", VirtualizationType="hvm",
    RootDeviceName="/dev/sda1",
    BlockDeviceMappings=[{"DeviceName": "/dev/sda1", "Ebs": {"SnapshotId": SNAPSHOT}}],
)["ImageId"]


def run(name, resource, filters, actions):
    policy = {"policies": [{"name": name, "resource": resource, "filters": filters,
                            "actions": actions}]}
    path = pathlib.Path(f"{name}.json")
    path.write_text(json.dumps(policy))
    # What it cached for an earlier deployment is of no use here.
    command = [CUSTODIAN, "run", "--region", REGION, "--cache-period", "0", "-s", "custodian"]
    out = subprocess.run([*command, str(path)],
                         env=MAKER.environment(), capture_output=True, text=True)
    if out.returncode != 0:
        raise SystemExit(out.stdout[-2000:] + out.stderr[-4000:])
    return json.loads(pathlib.Path("custodian", name, "resources.json").read_text())


named = {"type": "value", "key": "Name", "value": f"custodian-{RUN}"}

with step("an image is found by a policy and tagged"):
    found = run("tag-images", "aws.ami", [named], [{"type": "tag", "key": "Seen", "value": "yes"}])
    assert [it["ImageId"] for it in found] == [image], found
    (seen,) = ec2.describe_images(ImageIds=[image])["Images"]
    assert {"Key": "Seen", "Value": "yes"} in seen["Tags"], seen

with step("snapshots are found by a policy"):
    found = run("find-snapshots", "aws.ebs-snapshot", [], [])
    assert SNAPSHOT in [it["SnapshotId"] for it in found], found

with step("an image that nothing uses is deregistered by a policy"):
    run("end-images", "aws.ami", [named, {"type": "unused", "value": True}], ["deregister"])
    assert ec2.describe_images(ImageIds=[image])["Images"] == []
