"""Packer writes a second disk in a machine and makes an image of that one."""

import packer
from stage import MAKER, RUN, step

print(packer.version())
ec2 = packer.client(MAKER)

with step("an image to build from"):
    source = packer.register(ec2, f"surrogate-source-{RUN}")

with step("packer build: a machine with a second disk, a snapshot of it, an image"):
    # As much as the image has; what lies behind it on the disk is a hole.
    copy = "dd if=/dev/nvme0n1 of=/dev/nvme1n1 bs=1M count=131"
    packer.build(
        "amazon-ebssurrogate",
        [{"type": "shell", "inline": [copy, "sync"]}],
        source_ami=source,
        ami_name=f"surrogate-{RUN}",
        ami_virtualization_type="hvm",
        launch_block_device_mappings=[
            {"device_name": "/dev/sdf", "volume_size": 1, "delete_on_termination": True}],
        ami_root_device={"source_device_name": "/dev/sdf", "device_name": "/dev/sda1",
                         "volume_size": 1, "delete_on_termination": True},
    )

with step("the image's one disk is the second"):
    filters = [{"Name": "name", "Values": [f"surrogate-{RUN}"]}]
    (built,) = ec2.describe_images(Owners=["self"], Filters=filters)["Images"]
    (disk,) = built["BlockDeviceMappings"]
    assert disk["DeviceName"] == built["RootDeviceName"] == "/dev/sda1", built

with step("a machine boots from it"):
    instance, _ = packer.booted(ec2, ImageId=built["ImageId"])

with step("all is ended"):
    packer.end(ec2, instance)
    for ended in (built["ImageId"], source):
        ec2.deregister_image(ImageId=ended)
