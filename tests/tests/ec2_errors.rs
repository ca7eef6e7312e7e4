//! What EC2 documents that each operation refuses: code and HTTP status, one row each. No
//! machine runs here; they are on paper.
//!
//! Proves: nothing in full; the refusals of the EC2 face.

use std::collections::BTreeSet;

use vmint_tests::{Ec2, SOON, Setting, Stack, until};

/// Rows of an operation, its parameters or `-`, the code and the status. `IMAGE`, `SHARED`,
/// `ENDED`, `SNAPSHOT`, `INSTANCE`, `STOPPED`, `GONE`, `VOLUME`, `USED` and `GROUP` stand for
/// ids; `ROOT` for the mapping of a root disk, `COUNT` for that of one instance.
const OWNER: &str = include_str!("ec2_errors/owner.txt");
/// The same, as somebody who may launch `SHARED` and no more.
const FRIEND: &str = include_str!("ec2_errors/friend.txt");

fn rows(table: &str) -> impl Iterator<Item = [&str; 4]> {
    let lines = table.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split(' ').collect::<Vec<_>>().try_into().expect("four words"))
}

/// Nothing but what the door refuses of anybody.
const PLAIN: [&str; 13] = [
    "DescribeAccountAttributes",
    "DescribeAutoScalingGroups",
    "DescribeInternetGateways",
    "DescribeLaunchConfigurations",
    "DescribeRouteTables",
    "DescribeVpcAttribute",
    "DisableEbsEncryptionByDefault",
    "EnableEbsEncryptionByDefault",
    "GetCallerIdentity",
    "GetEbsDefaultKmsKeyId",
    "GetEbsEncryptionByDefault",
    "ListAccountAliases",
    "ResetEbsDefaultKmsKeyId",
];

/// What `ec2_parameters.rs` has refused: it is asked in JSON.
const IN_JSON: [&str; 12] = [
    "AddTagsToResource",
    "DeleteParameter",
    "DeleteParameters",
    "DescribeParameters",
    "GetParameter",
    "GetParameterHistory",
    "GetParameters",
    "GetParametersByPath",
    "LabelParameterVersion",
    "ListTagsForResource",
    "PutParameter",
    "RemoveTagsFromResource",
];

struct Ids(Vec<(&'static str, String)>);

impl Ids {
    /// The parameters of a row.
    fn of(&self, row: &str) -> Vec<(String, String)> {
        let root = "BlockDeviceMapping.1.DeviceName=/dev/sda1&\
                    BlockDeviceMapping.1.Ebs.SnapshotId=SNAPSHOT";
        let row = row.replace("ROOT", root).replace("COUNT", "MinCount=1&MaxCount=1");
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap();
            let id = self.0.iter().find(|(word, _)| *word == value);
            let value = id.map_or_else(|| value.replace("%20", " "), |(_, id)| id.clone());
            (name.to_owned(), value)
        };
        row.split('&').filter(|pair| *pair != "-").map(pair).collect()
    }
}

async fn check(who: &Ec2, ids: &Ids, table: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for [action, row, code, status] in rows(table) {
        let params = ids.of(row);
        let params = params.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect::<Vec<_>>();
        let answer = who.call(action, &params).await;
        let got = format!("{} {}", answer.first("Code"), answer.status);
        if got != format!("{code} {status}") {
            let why = answer.first("Message");
            wrong.push(format!("{action} {row}: {got} ({why}) and not {code}"));
        }
    }
    wrong
}

#[tokio::test]
async fn every_documented_refusal_has_its_code_and_status() {
    let stack = Stack::start_with(Setting { simulated: true, ..Setting::default() }).await;
    let noise = stack.data().join("noise.raw");
    std::fs::write(&noise, vec![7; 1 << 20]).unwrap();
    let noise = noise.to_str().unwrap();
    let image = stack.cli("maker", &["import", noise, "one", "-o", "id"]).await.ok();
    let image = image.trim().to_owned();
    let maker = Ec2::of(&stack.account("maker"), &stack.gateway()).await;
    let friend = Ec2::of(&stack.account("friend"), &stack.gateway()).await;
    let snapshot = maker.ok("DescribeImages", &[("ImageId.1", &image)]).await;
    let snapshot = snapshot.first("snapshotId").to_owned();
    let register = async |name: &str| {
        let params = [
            ("Name", name),
            ("BlockDeviceMapping.1.DeviceName", "/dev/sda1"),
            ("BlockDeviceMapping.1.Ebs.SnapshotId", &snapshot),
        ];
        maker.ok("RegisterImage", &params).await.first("imageId").to_owned()
    };
    let (shared, ended) = (register("shared").await, register("ended").await);
    let share = [("ImageId", &*shared), ("LaunchPermission.Add.1.UserId", "200000000002")];
    maker.ok("ModifyImageAttribute", &share).await;
    maker.ok("DeregisterImage", &[("ImageId", &ended)]).await;
    let instance = async |state: &str, action: &str| {
        let params = [("ImageId", &*image), ("MinCount", "1"), ("MaxCount", "1")];
        let id = maker.ok("RunInstances", &params).await.first("instanceId").to_owned();
        let reaches = async |state: &str| {
            let wanted = format!("<name>{state}</name>");
            until(&format!("{id} is {state}"), SOON, async || {
                let seen = maker.ok("DescribeInstances", &[("InstanceId.1", &id)]).await;
                seen.body.contains(&wanted).then_some(())
            })
            .await;
        };
        reaches("running").await;
        if !action.is_empty() {
            maker.ok(action, &[("InstanceId.1", &id)]).await;
            reaches(state).await;
        }
        id
    };
    let running = instance("running", "").await;
    let stopped = instance("stopped", "StopInstances").await;
    let gone = instance("terminated", "TerminateInstances").await;
    let protect = [("InstanceId", &*stopped), ("DisableApiTermination.Value", "true")];
    maker.ok("ModifyInstanceAttribute", &protect).await;
    let used = maker.ok("DescribeInstances", &[("InstanceId.1", &running)]).await;
    let used = used.first("volumeId").to_owned();
    let volume = [("AvailabilityZone", "us-east-1a"), ("Size", "1")];
    let volume = maker.ok("CreateVolume", &volume).await.first("volumeId").to_owned();
    maker.ok("CreateKeyPair", &[("KeyName", "door")]).await;
    let group = [("GroupName", "web"), ("GroupDescription", "d")];
    let group = maker.ok("CreateSecurityGroup", &group).await.first("groupId").to_owned();
    let open = [
        ("GroupId", &*group),
        ("IpProtocol", "tcp"),
        ("FromPort", "22"),
        ("ToPort", "22"),
        ("CidrIp", "0.0.0.0/0"),
    ];
    maker.ok("AuthorizeSecurityGroupIngress", &open).await;
    let ids = Ids(vec![
        ("IMAGE", image),
        ("SHARED", shared),
        ("ENDED", ended),
        ("SNAPSHOT", snapshot),
        ("INSTANCE", running),
        ("STOPPED", stopped),
        ("GONE", gone),
        ("VOLUME", volume),
        ("USED", used),
        ("GROUP", group),
    ]);
    let before = maker.ok("DescribeTags", &[]).await;

    let mut wrong = check(&maker, &ids, OWNER).await;
    wrong.extend(check(&friend, &ids, FRIEND).await);

    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
    // Nothing came of all that.
    assert_eq!(maker.ok("DescribeTags", &[]).await.all("key"), before.all("key"));
    let images = maker.ok("DescribeImages", &[]).await;
    assert_eq!(images.all("imageId").len(), 2, "{}", images.body);
    assert_eq!(maker.ok("DescribeVolumes", &[]).await.all("size").len(), 3);
}

/// A new operation needs its rows.
#[test]
fn every_operation_has_a_row() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/ec2.md");
    let page = std::fs::read_to_string(page).unwrap();
    let rows = rows(OWNER).chain(rows(FRIEND)).map(|[action, ..]| action);
    let rows = rows.chain(PLAIN).chain(IN_JSON);
    let rows = rows.collect::<BTreeSet<_>>();
    let served = page.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next());
    let without = served
        .filter(|name| name.starts_with(char::is_uppercase) && !rows.contains(name))
        .collect::<Vec<_>>();
    assert!(without.is_empty(), "no refusal is tested of {without:?}");
}
