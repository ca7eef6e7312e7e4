"""EBS direct in the calls of coldsnap, their order and their headers, by a client of our own.

64 blocks at once and in any order, bodies that are not signed but checksummed, zeros left out,
one checksum over all at the end. A disk goes out and comes in again, and boots.
"""

import base64
import concurrent.futures
import hashlib
import json
import random
import threading
from urllib.parse import quote, urlencode

import boto3
import botocore
import urllib3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from stage import ENDPOINT, MAKER, READY, REGION, RUN, SNAPSHOT, step, until

BLOCK = 512 << 10
AT_ONCE = 64

print(f"urllib3 {urllib3.__version__}, signed by botocore {botocore.__version__}")
ec2 = boto3.client("ec2", endpoint_url=ENDPOINT, region_name=REGION,
                   aws_access_key_id=MAKER.key, aws_secret_access_key=MAKER.secret)
pool = urllib3.PoolManager(maxsize=AT_ONCE, retries=False)
credentials = Credentials(MAKER.key, MAKER.secret)
lock = threading.Lock()


class Unsigned(SigV4Auth):
    """The body stands in the signature as a word, over plain HTTP too."""

    def payload(self, request):
        return "UNSIGNED-PAYLOAD"


def call(method, path, query=None, body=b"", headers=None, signer=SigV4Auth):
    url = f"{ENDPOINT}{path}" + (f"?{urlencode(query, quote_via=quote)}" if query else "")
    request = AWSRequest(method, url, data=body, headers=dict(headers or {}))
    if signer is Unsigned:
        request.headers["x-amz-content-sha256"] = "UNSIGNED-PAYLOAD"
    with lock:
        signer(credentials, "ebs", REGION).add_auth(request)
    return pool.request(method, url, body=body, headers=dict(request.headers.items()))


def good(answer, status):
    assert answer.status == status, (answer.status, answer.data)
    return answer


def sum_of(data):
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def put(snapshot, index, block, checksum=None):
    headers = {"x-amz-Data-Length": str(len(block)), "x-amz-Checksum-Algorithm": "SHA256",
               "x-amz-Checksum": checksum or sum_of(block),
               "Content-Type": "application/octet-stream"}
    path = f"/snapshots/{snapshot}/blocks/{index}"
    return call("PUT", path, body=block, headers=headers, signer=Unsigned)


def listed(snapshot):
    """Every block's token by its index."""
    found, token = {}, None
    while True:
        query = {"maxResults": "100"} | ({"pageToken": token} if token else {})
        page = json.loads(good(call("GET", f"/snapshots/{snapshot}/blocks", query), 200).data)
        assert page["BlockSize"] == BLOCK, page["BlockSize"]
        found |= {it["BlockIndex"]: it["BlockToken"] for it in page["Blocks"]}
        token = page.get("NextToken")
        if not token:
            return found


def download(snapshot):
    """What of a snapshot is not zero, by its index."""
    def get(index, token):
        path = f"/snapshots/{snapshot}/blocks/{index}"
        answer = good(call("GET", path, {"blockToken": token}), 200)
        assert answer.headers["x-amz-Checksum"] == sum_of(answer.data), index
        return index, answer.data

    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as some:
        read = some.map(lambda it: get(*it), listed(snapshot).items())
        return {index: data for index, data in read if any(data)}


with step("a disk is downloaded, 64 blocks at once"):
    disk = download(SNAPSHOT)
    assert len(disk) > 20, len(disk)

with step("it is uploaded, without its zeros and in any order"):
    (source,) = ec2.describe_snapshots(SnapshotIds=[SNAPSHOT])["Snapshots"]
    asked = {"VolumeSize": source["VolumeSize"], "Description": "as coldsnap does",
             "ClientToken": f"direct-{RUN}", "Timeout": 10,
             "Tags": [{"Key": "Name", "Value": "direct"}]}
    begin = {"path": "/snapshots", "body": json.dumps(asked).encode(),
             "headers": {"Content-Type": "application/json"}}
    started = json.loads(good(call("POST", **begin), 201).data)
    assert started["BlockSize"] == BLOCK and started["Status"] == "pending", started
    snapshot = started["SnapshotId"]
    assert json.loads(good(call("POST", **begin), 201).data)["SnapshotId"] == snapshot
    blocks = list(disk.items())
    random.shuffle(blocks)
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as some:
        for answer in some.map(lambda it: put(snapshot, *it), blocks):
            good(answer, 201)

with step("a block that is not what its checksum says is refused"):
    index, block = blocks[0]
    refused = good(put(snapshot, index, block, checksum=sum_of(b"another")), 400)
    assert b"ValidationException" in refused.data or b"checksum" in refused.data.lower(), refused.data

with step("it is completed by one checksum over all, and waited for"):
    sums = b"".join(hashlib.sha256(disk[index]).digest() for index in sorted(disk))
    headers = {"x-amz-ChangedBlocksCount": str(len(disk)), "x-amz-Checksum": sum_of(sums),
               "x-amz-Checksum-Algorithm": "SHA256",
               "x-amz-Checksum-Aggregation-Method": "LINEAR"}
    good(call("POST", f"/snapshots/completion/{snapshot}", headers=headers), 202)
    ec2.get_waiter("snapshot_completed").wait(
        SnapshotIds=[snapshot], WaiterConfig={"Delay": 1, "MaxAttempts": 120})
    (seen,) = ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"]
    assert seen["Description"] == "as coldsnap does" and seen["Tags"] == asked["Tags"], seen

with step("what is downloaded of it is the same"):
    assert download(snapshot) == disk

with step("a machine boots from it"):
    image = ec2.register_image(
        Name=f"direct-{RUN}", Architecture="x86_64", VirtualizationType="hvm",
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
