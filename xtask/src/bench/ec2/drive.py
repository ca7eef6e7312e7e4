"""Asks two EC2 endpoints the same things in turn and prints what each call took.

The arguments are JSON: {"endpoints": {NAME: {"url", "key", "secret", "region"}},
"images", "rounds", "calls"}. Printed is JSON: {NAME: {CLIENT: {OPERATION: [[milliseconds of
each call] of each round]}}}.
"""

import http.client
import json
import sys
import time
import urllib.parse

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

ASKED = json.loads(sys.argv[1])
FAMILIES = 20


class Boto:
    """The SDK as a program uses it."""

    name = "boto3"

    def __init__(self, place):
        self.ec2 = boto3.client(
            "ec2",
            endpoint_url=place["url"],
            region_name=place["region"],
            aws_access_key_id=place["key"],
            aws_secret_access_key=place["secret"],
            config=Config(retries={"max_attempts": 0}, parameter_validation=True),
        )

    def begin(self):
        """The SDK sees to its connections itself."""

    def images(self, count=None, **parameters):
        begun = time.perf_counter()
        found = self.ec2.describe_images(**parameters)["Images"]
        took = time.perf_counter() - begun
        if count is not None and len(found) != count:
            sys.exit(f"{len(found)} images instead of {count}: {parameters}")
        return took

    def register(self, name, snapshot):
        begun = time.perf_counter()
        made = self.ec2.register_image(**registration(name, snapshot))
        return time.perf_counter() - begun, made["ImageId"]


class Raw:
    """A connection that is kept through a round, and requests that were signed before the clock
    starts."""

    name = "raw"

    def __init__(self, place):
        self.place = place
        self.credentials = Credentials(place["key"], place["secret"])
        self.connection = http.client.HTTPConnection(urllib.parse.urlsplit(place["url"]).netloc)

    def begin(self):
        """Servers close what is idle while others have their turn."""
        self.connection.close()
        self.connection.connect()

    def call(self, form):
        body = urllib.parse.urlencode({"Version": "2016-11-15", **form})
        headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
        request = AWSRequest("POST", self.place["url"] + "/", data=body, headers=headers)
        SigV4Auth(self.credentials, "ec2", self.place["region"]).add_auth(request)
        begun = time.perf_counter()
        self.connection.request("POST", "/", body=body, headers=dict(request.headers))
        answer = self.connection.getresponse()
        text = answer.read()
        took = time.perf_counter() - begun
        if answer.status != 200:
            sys.exit(f"{form['Action']}: {answer.status}: {text[:500]}")
        return took, text

    def images(self, count=None, **parameters):
        form = {"Action": "DescribeImages"}
        for n, one in enumerate(parameters.get("ImageIds", []), 1):
            form[f"ImageId.{n}"] = one
        for n, one in enumerate(parameters.get("Owners", []), 1):
            form[f"Owner.{n}"] = one
        for n, one in enumerate(parameters.get("Filters", []), 1):
            form[f"Filter.{n}.Name"] = one["Name"]
            for m, value in enumerate(one["Values"], 1):
                form[f"Filter.{n}.Value.{m}"] = value
        if "MaxResults" in parameters:
            form["MaxResults"] = parameters["MaxResults"]
        took, text = self.call(form)
        found = text.count(b"<imageId>")
        if count is not None and found != count:
            sys.exit(f"{found} images instead of {count}: {parameters}")
        return took

    def register(self, name, snapshot):
        took, text = self.call(
            {
                "Action": "RegisterImage",
                "Name": name,
                "Architecture": "x86_64",
                "RootDeviceName": "/dev/sda1",
                "VirtualizationType": "hvm",
                "BlockDeviceMapping.1.DeviceName": "/dev/sda1",
                "BlockDeviceMapping.1.Ebs.SnapshotId": snapshot,
            }
        )
        return took, text.split(b"<imageId>")[1].split(b"<")[0].decode()


def registration(name, snapshot):
    return {
        "Name": name,
        "Architecture": "x86_64",
        "RootDeviceName": "/dev/sda1",
        "VirtualizationType": "hvm",
        "BlockDeviceMappings": [{"DeviceName": "/dev/sda1", "Ebs": {"SnapshotId": snapshot}}],
    }


def snapshot(ec2):
    """A completed snapshot of an empty volume."""
    zone = ec2.describe_availability_zones()["AvailabilityZones"][0]["ZoneName"]
    volume = ec2.create_volume(Size=1, AvailabilityZone=zone)["VolumeId"]
    ec2.get_waiter("volume_available").wait(VolumeIds=[volume])
    made = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    ec2.get_waiter("snapshot_completed").wait(SnapshotIds=[made])
    return made


def name(n):
    return f"bench-{n % FAMILIES:02}-{n:05}"


def main():
    rounds, calls, images = ASKED["rounds"], ASKED["calls"], ASKED["images"]
    places = {}
    for which, place in ASKED["endpoints"].items():
        boto, raw = Boto(place), Raw(place)
        source = snapshot(boto.ec2)
        ids = [boto.register(name(n), source)[1] for n in range(images)]
        places[which] = (boto, raw, source, ids)
    took = {which: {"boto3": {}, "raw": {}} for which in places}
    more = images
    for turn in range(rounds):
        for which, (boto, raw, source, ids) in places.items():
            for client in (boto, raw):
                kept = took[which][client.name]
                client.begin()
                filters = [
                    {"Name": "name", "Values": [f"bench-{turn % FAMILIES:02}-*"]},
                    {"Name": "architecture", "Values": ["x86_64"]},
                    {"Name": "state", "Values": ["available"]},
                ]
                asked = {
                    "by id": lambda n: client.images(1, ImageIds=[ids[n % images]]),
                    "three filters": lambda n: client.images(
                        None, Owners=["self"], Filters=filters
                    ),
                    "page of 1,000": lambda n: client.images(
                        None, Owners=["self"], MaxResults=1000
                    ),
                }
                for what, ask in asked.items():
                    times = calls if what != "page of 1,000" else max(1, calls // 10)
                    kept.setdefault(what, []).append([1000 * ask(n) for n in range(times)])
                made = []
                for _ in range(calls // 5):
                    seconds, image = client.register(name(more), source)
                    boto.ec2.deregister_image(ImageId=image)
                    made.append(1000 * seconds)
                    more += 1
                kept.setdefault("register", []).append(made)
    print(json.dumps(took))


main()
