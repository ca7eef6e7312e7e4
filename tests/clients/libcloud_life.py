"""apache-libcloud: strict XML, GET with everything in the query, lists from 0."""

from urllib.parse import urlparse

import libcloud
from libcloud.compute.drivers.ec2 import EC2NodeDriver

from stage import ENDPOINT, MAKER, RUN, SNAPSHOT, step, until

print(f"apache-libcloud {libcloud.__version__}")
at = urlparse(ENDPOINT)
driver = EC2NodeDriver(MAKER.key, MAKER.secret, region="us-east-1", secure=False,
                       host=at.hostname, port=at.port, signature_version="4")

with step("zones, sizes and keys"):
    assert driver.list_locations()
    key = driver.create_key_pair(f"libcloud-{RUN}")
    assert "PRIVATE KEY" in key.private_key
    assert f"libcloud-{RUN}" in [it.name for it in driver.list_key_pairs()]

with step("an image"):
    disk = [{"DeviceName": "/dev/sda1", "Ebs": {"SnapshotId": SNAPSHOT}}]
    image = driver.ex_register_image(f"libcloud-{RUN}", architecture="x86_64",
                                     root_device_name="/dev/sda1", block_device_mapping=disk,
                                     virtualization_type="hvm")
    assert image.id in [it.id for it in driver.list_images(ex_owner="self")]

with step("a node: launched, tagged, listed, destroyed"):
    size = next(it for it in driver.list_sizes() if it.id == "t3.nano")
    node = driver.create_node(name=f"libcloud-{RUN}", image=image, size=size,
                              ex_keyname=f"libcloud-{RUN}")
    until("the node runs", 120, lambda: next(
        it for it in driver.list_nodes() if it.id == node.id).state == "running")
    assert driver.ex_create_tags(node, {"Stage": "test"})
    assert driver.ex_describe_tags(node)["Stage"] == "test"
    assert driver.destroy_node(node)

with step("all is ended"):
    assert driver.delete_image(image)
    assert driver.delete_key_pair(key)
