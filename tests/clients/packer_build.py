"""Packer builds an image from an image, over ssh in a real guest, with keys it made itself."""

import pathlib
import subprocess

import packer
from stage import FRIEND, MAKER, RUN, step

print(packer.version())
ec2, friend = packer.client(MAKER), packer.client(FRIEND)

with step("an image to build from"):
    source = packer.register(ec2, f"packer-source-{RUN}")

with step("packer build: a key, a group, a launch, ssh, provisioning, an image, all cleaned up"):
    pathlib.Path("packer.txt").write_text(f"built by packer {RUN}\n")
    packer.build(
        "amazon-ebs",
        [{"type": "file", "source": "packer.txt", "destination": "/tmp/built"},
         {"type": "shell", "inline": ["mv /tmp/built /root/built", "sync"]}],
        source_ami_filter={"filters": {"name": f"packer-source-{RUN}"}, "owners": ["self"],
                           "most_recent": True},
        ami_name=f"packer-{RUN}",
        ami_description="built by Packer",
        ami_users=[FRIEND.account],
        tags={"Builder": "packer", "Source": "{{ .SourceAMI }}"},
        run_tags={"Name": "packer"},
    )

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
    assert states and set(states) == {"terminated"}, states

with step("whom it is shared with launches it and finds in it what was put there"):
    key, pem = f"packer-key-{RUN}", pathlib.Path("packer.pem")
    pem.write_text(friend.create_key_pair(KeyName=key)["KeyMaterial"])
    pem.chmod(0o600)
    instance, address = packer.booted(friend, ImageId=built["ImageId"], KeyName=key)
    ssh = ["ssh", "-i", str(pem), "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=no",
           "-o", "UserKnownHostsFile=/dev/null", f"root@{address}", "cat /root/built"]
    seen = subprocess.run(ssh, capture_output=True, text=True)
    assert seen.stdout == f"built by packer {RUN}\n", seen

with step("all is ended"):
    packer.end(friend, instance)
    friend.delete_key_pair(KeyName=key)
    for ended in (built["ImageId"], source):
        ec2.deregister_image(ImageId=ended)
