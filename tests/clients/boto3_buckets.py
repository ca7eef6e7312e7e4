"""Images into buckets and out of them with boto3: its transfers, its copies and its waiters."""

import io
import os

import boto3
import botocore
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

from stage import ENDPOINT, MAKER, REGION, RUN, SNAPSHOT, step, until

print(f"boto3 {boto3.__version__}, botocore {botocore.__version__}")
common = {"endpoint_url": ENDPOINT, "region_name": REGION, "aws_access_key_id": MAKER.key,
          "aws_secret_access_key": MAKER.secret}
ec2 = boto3.client("ec2", **common)
s3 = boto3.client("s3", config=Config(s3={"addressing_style": "path"}), **common)
BUCKET = f"buckets-{RUN}"
QUICK = {"Delay": 1, "MaxAttempts": 120}
IN_PARTS = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20)


def refused(code, call, **params):
    try:
        call(**params)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error
    else:
        raise AssertionError(f"{code} was expected")


def content(key):
    return s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()


def exported(task):
    (seen,) = ec2.describe_export_image_tasks(ExportImageTaskIds=[task])["ExportImageTasks"]
    return seen if seen["Status"] not in ("active", "deleting") else None


with step("a disk is sent in parts, with the sums of this client's choice"):
    s3.create_bucket(Bucket=BUCKET)
    disk = os.urandom(12 << 20)
    s3.upload_fileobj(io.BytesIO(disk), BUCKET, "in/disk.raw", Config=IN_PARTS)
    assert content("in/disk.raw") == disk
    for algorithm in ("CRC32", "CRC32C", "SHA1", "SHA256", "CRC64NVME"):
        try:
            put = s3.put_object(Bucket=BUCKET, Key="sum", Body=b"hello world",
                                ChecksumAlgorithm=algorithm)
        except botocore.exceptions.MissingDependencyException:
            continue
        assert put[f"Checksum{algorithm}"], put

with step("it is copied, whole and in parts, and written only where it was meant"):
    s3.copy_object(Bucket=BUCKET, Key="in/copy.raw",
                   CopySource={"Bucket": BUCKET, "Key": "in/disk.raw"})
    s3.copy({"Bucket": BUCKET, "Key": "in/disk.raw"}, BUCKET, "in/parts.raw", Config=IN_PARTS)
    assert content("in/copy.raw") == disk and content("in/parts.raw") == disk
    refused("PreconditionFailed", s3.put_object, Bucket=BUCKET, Key="sum", Body=b"x",
            IfNoneMatch="*")

with step("a snapshot is made of it, and waited for"):
    task = ec2.import_snapshot(
        Description="of a bucket",
        DiskContainer={"Format": "RAW",
                       "UserBucket": {"S3Bucket": BUCKET, "S3Key": "in/parts.raw"}},
        TagSpecifications=[{"ResourceType": "import-snapshot-task",
                            "Tags": [{"Key": "run", "Value": RUN}]}],
    )["ImportTaskId"]
    ec2.get_waiter("snapshot_imported").wait(ImportTaskIds=[task], WaiterConfig=QUICK)
    (seen,) = ec2.describe_import_snapshot_tasks(ImportTaskIds=[task])["ImportSnapshotTasks"]
    detail = seen["SnapshotTaskDetail"]
    assert detail["UserBucket"] == {"S3Bucket": BUCKET, "S3Key": "in/parts.raw"}, seen
    assert seen["Tags"] == [{"Key": "run", "Value": RUN}], seen

with step("an image is made of a snapshot and a file, and waited for"):
    begun = ec2.import_image(
        Architecture="x86_64", BootMode="uefi", Platform="Linux",
        DiskContainers=[{"SnapshotId": SNAPSHOT},
                        {"Url": f"s3://{BUCKET}/in/disk.raw", "Format": "raw"}])
    image = begun["ImageId"]
    ec2.get_waiter("image_available").wait(ImageIds=[image], WaiterConfig=QUICK)
    (seen,) = ec2.describe_import_image_tasks(
        ImportTaskIds=[begun["ImportTaskId"]])["ImportImageTasks"]
    assert (seen["Status"], seen["BootMode"], seen["ImageId"]) == ("completed", "uefi", image), seen

with step("its disks are exported to the bucket"):
    task = ec2.export_image(
        ImageId=image, DiskImageFormat="RAW",
        S3ExportLocation={"S3Bucket": BUCKET, "S3Prefix": "out/"})["ExportImageTaskId"]
    seen = until("the export's end", 120, lambda: exported(task))
    assert seen["Status"] == "completed", seen
    assert content(f"out/{task}-1.raw") == disk
    refused("InvalidExportTaskID.NotFound", ec2.describe_export_image_tasks,
            ExportImageTaskIds=["export-ami-0123456789abcdef0"])

with step("it is stored as one object, ended, and restored"):
    key = ec2.create_store_image_task(ImageId=image, Bucket=BUCKET)["ObjectKey"]
    ec2.get_waiter("store_image_task_complete").wait(ImageIds=[image], WaiterConfig=QUICK)
    ec2.deregister_image(ImageId=image)
    restored = ec2.create_restore_image_task(
        Bucket=BUCKET, ObjectKey=key, Name=f"restored-{RUN}")["ImageId"]
    ec2.get_waiter("image_available").wait(ImageIds=[restored], WaiterConfig=QUICK)
    (seen,) = ec2.describe_images(ImageIds=[restored])["Images"]
    assert seen["BootMode"] == "uefi" and len(seen["BlockDeviceMappings"]) == 2, seen

with step("all is ended"):
    ec2.deregister_image(ImageId=restored)
    listed = s3.list_objects_v2(Bucket=BUCKET)["Contents"]
    s3.delete_objects(Bucket=BUCKET,
                      Delete={"Objects": [{"Key": it["Key"]} for it in listed]})
    s3.delete_bucket(Bucket=BUCKET)
