"""CDK finds an image by its owner and name when it makes a template."""

import json
import os
import pathlib
import subprocess

import boto3

from stage import ENDPOINT, MAKER, REGION, RUN, SNAPSHOT, step

# Where the packages are.
MODULES = pathlib.Path(os.environ["NODE_PATH"])
CDK = MODULES / ".bin/cdk"
APP = """
const { App, Stack, CfnOutput, aws_ec2 } = require("aws-cdk-lib");
const stack = new Stack(new App(), "Looked", { env: %(env)s });
const image = aws_ec2.MachineImage.lookup(%(wanted)s);
new CfnOutput(stack, "Image", { value: image.getImage(stack).imageId });
"""

ec2 = boto3.client("ec2", endpoint_url=ENDPOINT, region_name=REGION,
                   aws_access_key_id=MAKER.key, aws_secret_access_key=MAKER.secret)
version = json.loads((MODULES / "aws-cdk/package.json").read_text())["version"]
library = json.loads((MODULES / "aws-cdk-lib/package.json").read_text())["version"]
print(f"aws-cdk {version}, aws-cdk-lib {library}")

with step("two images of one family"):
    ids = [ec2.register_image(
        Name=f"cdk-{RUN}-{n}", Architecture="x86_64", VirtualizationType="hvm",
        RootDeviceName="/dev/sda1",
        BlockDeviceMappings=[{"DeviceName": "/dev/sda1", "Ebs": {"SnapshotId": SNAPSHOT}}],
    )["ImageId"] for n in range(2)]

with step("cdk synth puts the newest one's id into the template"):
    app = pathlib.Path("cdk")
    app.mkdir()
    wanted = {"name": f"cdk-{RUN}-*", "owners": [MAKER.account],
              "filters": {"architecture": ["x86_64"]}}
    env = {"account": MAKER.account, "region": REGION}
    (app / "app.cjs").write_text(APP % {"env": json.dumps(env), "wanted": json.dumps(wanted)})
    (app / "cdk.json").write_text(json.dumps({"app": "node app.cjs"}))
    quiet = {"CDK_DISABLE_CLI_TELEMETRY": "1", "CI": "1", "HOME": os.getcwd()}
    synth = [CDK, "synth", "--quiet", "--no-notices", "--no-version-reporting"]
    out = subprocess.run(synth, cwd=app, env={**MAKER.environment(), **quiet},
                         capture_output=True, text=True)
    if out.returncode != 0:
        raise SystemExit(out.stdout[-2000:] + out.stderr[-4000:])
    template = json.loads((app / "cdk.out/Looked.template.json").read_text())
    assert template["Outputs"]["Image"]["Value"] == ids[1], template

with step("what there is none of is said to be none"):
    (app / "app.cjs").write_text(APP % {"env": json.dumps(env),
                                        "wanted": json.dumps({**wanted, "name": "none"})})
    out = subprocess.run(synth, cwd=app, env={**MAKER.environment(), **quiet},
                         capture_output=True, text=True)
    assert out.returncode != 0 and "No AMI found" in out.stdout + out.stderr, out

with step("all is ended"):
    for image in ids:
        ec2.deregister_image(ImageId=image)
