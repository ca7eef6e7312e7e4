// The life of an image by the JavaScript SDK v3, with its own waiters.

const { EC2, waitUntilImageAvailable, waitUntilInstanceRunning, waitUntilInstanceTerminated,
        waitUntilSnapshotCompleted, paginateDescribeImages } = require("@aws-sdk/client-ec2");
const { EBS } = require("@aws-sdk/client-ebs");
const { STS } = require("@aws-sdk/client-sts");
const assert = require("node:assert/strict");
const crypto = require("node:crypto");

const run = `${Math.floor(Date.now() / 1000)}`;
const [key, secret, account] = process.env.VMINT_MAKER.split(" ");
const settings = {
  endpoint: process.env.VMINT_ENDPOINT,
  region: process.env.VMINT_REGION,
  credentials: { accessKeyId: key, secretAccessKey: secret },
};
const [ec2, ebs, sts] = [new EC2(settings), new EBS(settings), new STS(settings)];
const waiting = { client: ec2, maxWaitTime: 300, minDelay: 1, maxDelay: 2 };

async function step(what, work) {
  const start = Date.now();
  try {
    await work();
  } catch (error) {
    console.log(`FAILED  ${what}: ${error.name} ${error.message}`);
    throw error;
  }
  console.log(`ok      ${what}  (${((Date.now() - start) / 1000).toFixed(1)} s)`);
}

async function refused(code, call) {
  await assert.rejects(call, (error) => {
    assert.equal(error.name, code);
    return true;
  });
}

async function main() {
  const version = require("@aws-sdk/client-ec2/package.json").version;
  console.log(`@aws-sdk/client-ec2 ${version}, Node.js ${process.version}`);
  let image, instance, copy;

  await step("who one is", async () => {
    assert.equal((await sts.getCallerIdentity({})).Account, account);
    await refused("InvalidAMIID.NotFound", () =>
      ec2.runInstances({ ImageId: "ami-0000000000000dead", MinCount: 1, MaxCount: 1 }));
  });

  await step("an image is registered, waited for, and found page by page", async () => {
    const disk = { DeviceName: "/dev/sda1", Ebs: { SnapshotId: process.env.VMINT_SNAPSHOT } };
    const made = await ec2.registerImage({
      Name: `js-${run}`, Architecture: "x86_64", VirtualizationType: "hvm",
      RootDeviceName: "/dev/sda1", BlockDeviceMappings: [disk],
      TagSpecifications: [{ ResourceType: "image", Tags: [{ Key: "Stage", Value: "<js> & é" }] }],
    });
    image = made.ImageId;
    await waitUntilImageAvailable(waiting, { ImageIds: [image] });
    copy = (await ec2.copyImage({
      Name: `js-copy-${run}`, SourceImageId: image, SourceRegion: settings.region,
    })).ImageId;
    await waitUntilImageAvailable(waiting, { ImageIds: [copy] });
    const names = [];
    const filters = [{ Name: "name", Values: [`js-*${run}`] }];
    const pages = paginateDescribeImages({ client: ec2, pageSize: 5 }, { Filters: filters });
    for await (const page of pages) {
      names.push(...page.Images.map((it) => it.Name));
    }
    assert.deepEqual(names.sort(), [`js-${run}`, `js-copy-${run}`].sort());
    const { Images: [seen] } = await ec2.describeImages({ ImageIds: [image] });
    assert.deepEqual(seen.Tags, [{ Key: "Stage", Value: "<js> & é" }]);
    assert.ok(new Date(seen.CreationDate) <= new Date(Date.now() + 60_000));
  });

  await step("it is launched, waited for and terminated", async () => {
    const made = await ec2.runInstances({
      ImageId: image, MinCount: 1, MaxCount: 1, InstanceType: "t3.nano",
      UserData: Buffer.from("#!/bin/sh\ntrue\n").toString("base64"),
    });
    instance = made.Instances[0].InstanceId;
    await waitUntilInstanceRunning(waiting, { InstanceIds: [instance] });
    await ec2.terminateInstances({ InstanceIds: [instance] });
    await waitUntilInstanceTerminated(waiting, { InstanceIds: [instance] });
  });

  await step("a snapshot is written block by block, and read again", async () => {
    const block = crypto.randomBytes(512 * 1024);
    const sum = crypto.createHash("sha256").update(block).digest("base64");
    const started = await ebs.startSnapshot({ VolumeSize: 1, ClientToken: `js-${run}` });
    const SnapshotId = started.SnapshotId;
    await ebs.putSnapshotBlock({
      SnapshotId, BlockIndex: 7, BlockData: block, DataLength: block.length,
      Checksum: sum, ChecksumAlgorithm: "SHA256",
    });
    await ebs.completeSnapshot({ SnapshotId, ChangedBlocksCount: 1 });
    await waitUntilSnapshotCompleted(waiting, { SnapshotIds: [SnapshotId] });
    const { Blocks } = await ebs.listSnapshotBlocks({ SnapshotId });
    assert.deepEqual(Blocks.map((it) => it.BlockIndex), [7]);
    const { BlockIndex, BlockToken } = Blocks[0];
    const read = await ebs.getSnapshotBlock({ SnapshotId, BlockIndex, BlockToken });
    assert.ok(block.equals(Buffer.from(await read.BlockData.transformToByteArray())));
    assert.equal(read.Checksum, sum);
    await ec2.deleteSnapshot({ SnapshotId });
  });

  await step("all is ended", async () => {
    for (const ImageId of [image, copy]) {
      await ec2.deregisterImage({ ImageId });
    }
  });
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
