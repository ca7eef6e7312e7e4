"""The whole life of an image by the aws command line."""

import json
import subprocess

from stage import ENDPOINT, FRIEND, MAKER, READY, RUN, SNAPSHOT, STRANGER, step, until

AWS = "/usr/bin/aws"


def aws(who, *words, json_out=True):
    command = [AWS, "--endpoint-url", ENDPOINT, "--output", "json", *words]
    out = subprocess.run(command, env=who.environment(), capture_output=True, text=True)
    if out.returncode != 0:
        raise RuntimeError(out.stderr.strip())
    return json.loads(out.stdout) if json_out and out.stdout.strip() else out.stdout


def refused(code, who, *words):
    try:
        aws(who, *words)
    except RuntimeError as error:
        assert code in str(error), f"{code} was expected: {error}"
        return
    raise AssertionError(f"{code} was expected, and it was done")


print(subprocess.run([AWS, "--version"], capture_output=True, text=True).stdout.strip())

with step("who one is"):
    assert aws(MAKER, "sts", "get-caller-identity")["Account"] == MAKER.account
    aws(MAKER, "iam", "list-account-aliases")
    aws(MAKER, "ec2", "describe-regions")

with step("a key pair"):
    key = f"cli-{RUN}"
    made = aws(FRIEND, "ec2", "create-key-pair", "--key-name", key)
    assert "PRIVATE KEY" in made["KeyMaterial"]

with step("register, wait, share"):
    disk = f"DeviceName=/dev/sda1,Ebs={{SnapshotId={SNAPSHOT}}}"
    image = aws(
        MAKER, "ec2", "register-image", "--name", f"cli-{RUN}", "--architecture", "x86_64",
        "--virtualization-type", "hvm",
        "--root-device-name", "/dev/sda1", "--block-device-mappings", disk,
    )["ImageId"]
    aws(MAKER, "ec2", "wait", "image-available", "--image-ids", image)
    permission = f"Add=[{{UserId={FRIEND.account}}}]"
    aws(MAKER, "ec2", "modify-image-attribute", "--image-id", image,
        "--launch-permission", permission)
    refused("AuthFailure", STRANGER, "ec2", "run-instances", "--image-id", image)

with step("run, wait, console"):
    made = aws(FRIEND, "ec2", "run-instances", "--image-id", image, "--instance-type",
               "t3.nano", "--key-name", key, "--tag-specifications",
               "ResourceType=instance,Tags=[{Key=Name,Value=cli}]")
    instance = made["Instances"][0]["InstanceId"]
    aws(FRIEND, "ec2", "wait", "instance-running", "--instance-ids", instance)

    def console():
        seen = aws(FRIEND, "ec2", "get-console-output", "--instance-id", instance)
        return READY in seen.get("Output", "")

    until("the guest's last line", 300, console)
    seen = aws(FRIEND, "ec2", "describe-instances", "--filters", "Name=tag:Name,Values=cli",
               "Name=instance-state-name,Values=running")
    assert seen["Reservations"][0]["Instances"][0]["InstanceId"] == instance

with step("image it, copy the first, end both"):
    second = aws(FRIEND, "ec2", "create-image", "--instance-id", instance, "--name",
                 f"cli-second-{RUN}", "--no-reboot")["ImageId"]
    aws(FRIEND, "ec2", "wait", "image-available", "--image-ids", second)
    copy = aws(MAKER, "ec2", "copy-image", "--source-image-id", image, "--source-region",
               MAKER.environment()["AWS_REGION"], "--name", f"cli-copy-{RUN}")["ImageId"]
    aws(MAKER, "ec2", "wait", "image-available", "--image-ids", copy)
    for who, ended in ((MAKER, image), (MAKER, copy), (FRIEND, second)):
        aws(who, "ec2", "deregister-image", "--image-id", ended)

with step("terminate, wait, delete the key"):
    aws(FRIEND, "ec2", "terminate-instances", "--instance-ids", instance)
    aws(FRIEND, "ec2", "wait", "instance-terminated", "--instance-ids", instance)
    aws(FRIEND, "ec2", "delete-key-pair", "--key-name", key)
    refused("InvalidInstanceID.NotFound", FRIEND, "ec2", "describe-instances",
            "--instance-ids", "i-0000000000000dead")
