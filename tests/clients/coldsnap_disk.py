"""coldsnap downloads a disk, uploads it, waits for it; a machine boots from what it made."""

import pathlib
import re
import shutil
import subprocess

import boto3

from stage import ENDPOINT, MAKER, READY, REGION, RUN, SNAPSHOT, step, until

# It does not say its version; what cargo noted of it does.
noted = pathlib.Path(shutil.which("coldsnap")).parent.parent / ".crates.toml"
version = re.search(r"coldsnap [\d.]+", noted.read_text()) if noted.exists() else None
print(version[0] if version else "coldsnap of an unknown version")
ec2 = boto3.client("ec2", endpoint_url=ENDPOINT, region_name=REGION,
                   aws_access_key_id=MAKER.key, aws_secret_access_key=MAKER.secret)


def coldsnap(*words):
    out = subprocess.run(["coldsnap", "--region", REGION, "--endpoint", ENDPOINT, *words],
                         env=MAKER.environment(), capture_output=True, text=True)
    if out.returncode != 0:
        raise RuntimeError(out.stderr[-2000:])
    return out.stdout.strip()


disk, again = pathlib.Path("coldsnap.img"), pathlib.Path("coldsnap-again.img")

with step("download"):
    coldsnap("download", SNAPSHOT, str(disk))
    assert disk.stat().st_size == 1 << 30

with step("upload without zeros, and wait"):
    snapshot = coldsnap("upload", "--omit-zero-blocks", str(disk)).split()[-1]
    coldsnap("wait", snapshot)
    (seen,) = ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"]
    assert seen["State"] == "completed", seen

with step("what is downloaded of it is the same"):
    coldsnap("download", snapshot, str(again))
    assert subprocess.run(["cmp", disk, again]).returncode == 0

with step("a machine boots from it"):
    image = ec2.register_image(
        Name=f"coldsnap-{RUN}", Architecture="x86_64", VirtualizationType="hvm",
        RootDeviceName="/dev/sda1",
        BlockDeviceMappings=[{"DeviceName": "/dev/sda1", "Ebs": {"SnapshotId": snapshot}}],
    )["ImageId"]
    (instance,) = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1,
                                    InstanceType="t3.nano")["Instances"]
    instance = instance["InstanceId"]
    until("the guest's last line", 300, lambda: READY in ec2.get_console_output(
        InstanceId=instance).get("Output", ""))

with step("all is ended"):
    ec2.terminate_instances(InstanceIds=[instance])
    ec2.get_waiter("instance_terminated").wait(
        InstanceIds=[instance], WaiterConfig={"Delay": 1, "MaxAttempts": 120})
    ec2.deregister_image(ImageId=image)
    ec2.delete_snapshot(SnapshotId=snapshot)
