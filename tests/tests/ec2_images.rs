//! Images over EC2's own protocol: what plain copies of it get wrong, by number, and that it
//! says what gRPC says.
//!
//! Proves: nothing in full; the semantics that the names of the tests number.

use vmint_tests::{Ec2, Setting, Stack};

const FRIEND: &str = "200000000002";
const ROOT: &str = "BlockDeviceMapping.1.DeviceName";
const SNAPSHOT: &str = "BlockDeviceMapping.1.Ebs.SnapshotId";

struct Stage {
    stack: Stack,
    maker: Ec2,
    friend: Ec2,
    stranger: Ec2,
    /// Of the maker's; a little noise.
    snapshot: String,
    /// The image that it came with.
    first: String,
}

async fn stage() -> Stage {
    let stack = Stack::start().await;
    let noise = stack.data().join("noise.raw");
    std::fs::write(&noise, vec![7; 1 << 20]).unwrap();
    let noise = noise.to_str().unwrap();
    let first = stack.cli("maker", &["import", noise, "first", "-o", "id"]).await.ok();
    let first = first.trim().to_owned();
    let gateway = stack.gateway();
    let [maker, friend, stranger] = ["maker", "friend", "stranger"].map(|name| stack.account(name));
    let maker = Ec2::of(&maker, &gateway).await;
    let friend = Ec2::of(&friend, &gateway).await;
    let stranger = Ec2::of(&stranger, &gateway).await;
    let described = maker.ok("DescribeImages", &[("ImageId.1", &first)]).await;
    let snapshot = described.first("snapshotId").to_owned();
    Stage { stack, maker, friend, stranger, snapshot, first }
}

impl Stage {
    async fn register(&self, name: &str) -> String {
        let params = [("Name", name), (ROOT, "/dev/sda1"), (SNAPSHOT, &self.snapshot)];
        self.maker.ok("RegisterImage", &params).await.first("imageId").to_owned()
    }
}

async fn names(who: &Ec2, params: &[(&str, &str)]) -> Vec<String> {
    let answer = who.ok("DescribeImages", params).await;
    let mut names = answer.all("name").into_iter().map(str::to_owned).collect::<Vec<_>>();
    names.sort_unstable();
    names
}

fn coded(code: &str, status: u16) -> (String, u16) {
    (code.to_owned(), status)
}

#[tokio::test]
async fn semantics_1_2_3_7_8_26_27_28_finding_sharing_and_ending() {
    let stage = stage().await;
    let (maker, friend, stranger) = (&stage.maker, &stage.friend, &stage.stranger);
    let one = stage.register("one").await;
    let two = stage.register("two").await;

    // 1, 2: nobody sees what is not theirs, by id neither, and filters apply to ids too.
    assert!(names(stranger, &[]).await.is_empty());
    let by_id = [("ImageId.1", one.as_str())];
    let not_found = coded("InvalidAMIID.NotFound", 400);
    assert_eq!(stranger.refused("DescribeImages", &by_id).await, not_found);
    let filtered = [by_id[0], ("Filter.1.Name", "name"), ("Filter.1.Value.1", "t*")];
    assert!(names(maker, &filtered).await.is_empty());

    // 27: twice is once, and all or nothing.
    let share = [("ImageId", one.as_str()), ("LaunchPermission.Add.1.UserId", FRIEND)];
    maker.ok("ModifyImageAttribute", &share).await;
    maker.ok("ModifyImageAttribute", &share).await;
    let bad =
        [share[0], ("LaunchPermission.Add.1.Group", "all"), ("LaunchPermission.Add.2.UserId", "7")];
    let item = coded("InvalidAMIAttributeItemValue", 400);
    assert_eq!(maker.refused("ModifyImageAttribute", &bad).await, item);
    let asked = [("ImageId", one.as_str()), ("Attribute", "launchPermission")];
    let permission = maker.ok("DescribeImageAttribute", &asked).await;
    assert_eq!((permission.all("userId"), permission.all("group")), (vec![FRIEND], vec![]));

    // 3: shared with me is neither mine nor everybody's.
    let old = [
        ("ImageId", two.as_str()),
        ("Attribute", "launchPermission"),
        ("OperationType", "add"),
        ("UserGroup.1", "all"),
    ];
    maker.ok("ModifyImageAttribute", &old).await;
    assert_eq!(names(friend, &[("ExecutableBy.1", "self")]).await, ["one"]);
    assert_eq!(names(friend, &[("ExecutableBy.1", "all")]).await, ["two"]);
    assert!(names(maker, &[("ExecutableBy.1", "self")]).await.is_empty());
    assert_eq!(names(maker, &[("ExecutableBy.1", FRIEND)]).await, ["one"]);
    assert_eq!(names(stranger, &[]).await, ["two"]);

    // 26: tags are their owner's.
    let tag = [("ResourceId.1", one.as_str()), ("Tag.1.Key", "Stage"), ("Tag.1.Value", "")];
    maker.ok("CreateTags", &tag).await;
    let with = |image: &str| [("ImageId.1".to_owned(), image.to_owned())];
    let [(name, id)] = with(&one);
    let seen = friend.ok("DescribeImages", &[(name.as_str(), id.as_str())]).await;
    assert_eq!((seen.all("key"), seen.first("name")), (vec![], "one"));
    assert_eq!(maker.ok("DescribeTags", &[]).await.all("key"), ["Stage"]);
    assert!(friend.ok("DescribeTags", &[]).await.all("key").is_empty());
    // And who may see an image may tag it for itself.
    let own = [("ResourceId.1", one.as_str()), ("Tag.1.Key", "Mine"), ("Tag.1.Value", "f")];
    friend.ok("CreateTags", &own).await;
    let tags = friend.ok("DescribeTags", &[]).await;
    assert_eq!((tags.all("key"), tags.first("resourceId")), (vec!["Mine"], one.as_str()));
    assert_eq!(maker.ok("DescribeTags", &[]).await.all("key"), ["Stage"]);
    let by_tag = [("Filter.1.Name", "tag-key"), ("Filter.1.Value.1", "*")];
    assert_eq!(names(friend, &by_tag).await, ["one"]);
    let theirs = [("Filter.1.Name", "tag-key"), ("Filter.1.Value.1", "Stage")];
    assert!(names(friend, &theirs).await.is_empty());
    friend.ok("DeleteTags", &own).await;
    assert!(names(friend, &by_tag).await.is_empty());
    assert_eq!(stranger.refused("CreateTags", &own).await, not_found);

    // 27: a reset empties the list.
    maker.ok("ResetImageAttribute", &asked).await;
    assert_eq!(friend.refused("DescribeImages", &by_id).await, not_found);

    // 8: a page's token serves its own query only; without MaxResults all come.
    let page = maker.ok("DescribeImages", &[("MaxResults", "1")]).await;
    let token = page.first("nextToken");
    let next = [("MaxResults", "1"), ("NextToken", token)];
    assert_eq!(maker.ok("DescribeImages", &next).await.all("name").len(), 1);
    let other = [next[0], next[1], ("Owner.1", "self")];
    let bad_token = coded("InvalidNextToken", 400);
    assert_eq!(maker.refused("DescribeImages", &other).await, bad_token);
    assert_eq!(friend.refused("DescribeImages", &next).await, bad_token);
    assert_eq!(names(maker, &[]).await, ["first", "one", "two"]);

    // 28: for the owner only, and snapshots that others need are left.
    let end = [("ImageId", two.as_str()), ("DeleteAssociatedSnapshots", "true")];
    assert_eq!(stranger.refused("DeregisterImage", &end).await, coded("AuthFailure", 400));
    let ended = maker.ok("DeregisterImage", &end).await;
    assert_eq!(ended.all("returnCode"), ["skipped"]);

    // 7: what was there is an empty list, and can be changed no more.
    let gone = [("ImageId.1", two.as_str())];
    assert!(names(maker, &gone).await.is_empty());
    let unavailable = coded("InvalidAMIID.Unavailable", 400);
    assert_eq!(maker.refused("DeregisterImage", &end).await, unavailable);
    let describe = [("ImageId", two.as_str()), ("Description.Value", "x")];
    assert_eq!(maker.refused("ModifyImageAttribute", &describe).await, unavailable);
    // For who could see it too; for who could not, it never was.
    let three = stage.register("three").await;
    let share = [("ImageId", three.as_str()), ("LaunchPermission.Add.1.UserId", FRIEND)];
    maker.ok("ModifyImageAttribute", &share).await;
    maker.ok("DeregisterImage", &share[..1]).await;
    assert!(names(friend, &[("ImageId.1", &three)]).await.is_empty());
    assert_eq!(stranger.refused("DescribeImages", &[("ImageId.1", &three)]).await, not_found);
    let never = [("ImageId.1", "ami-00000000000000001")];
    assert_eq!(maker.refused("DescribeImages", &never).await, not_found);
}

#[tokio::test]
async fn semantics_11_12_13_17_39_40_making_naming_and_changing() {
    let stage = stage().await;
    let maker = &stage.maker;
    let one = stage.register("one").await;
    let base = [("Name", "two"), (ROOT, "/dev/sda1"), (SNAPSHOT, stage.snapshot.as_str())];
    let with = |more: &[(&'static str, &'static str)]| {
        base.iter().copied().chain(more.iter().copied()).collect::<Vec<_>>()
    };

    // 11: one name, one image, until it is deregistered.
    let taken = [("Name", "one"), base[1], base[2]];
    let duplicate = coded("InvalidAMIName.Duplicate", 400);
    assert_eq!(maker.refused("RegisterImage", &taken).await, duplicate);
    let malformed = [("Name", "a*b"), base[1], base[2]];
    let malformed = maker.refused("RegisterImage", &malformed).await;
    assert_eq!(malformed, coded("InvalidAMIName.Malformed", 400));

    // 12: what EC2 takes an image for, and what an image must have.
    let described = maker.ok("DescribeImages", &[("ImageId.1", &one)]).await;
    assert_eq!(described.first("architecture"), "i386");
    assert_eq!(described.first("deleteOnTermination"), "true");
    let mapping = coded("InvalidBlockDeviceMapping", 400);
    for (wrong, expected) in [
        (with(&[("RootDeviceName", "/dev/sdz")]), mapping.clone()),
        (with(&[("BlockDeviceMapping.1.Ebs.Encrypted", "true")]), mapping.clone()),
        (with(&[("BlockDeviceMapping.1.Ebs.Encrypted", "false")]), mapping.clone()),
        (with(&[("BlockDeviceMapping.2.DeviceName", "/dev/sdb")]), mapping),
        (with(&[("VirtualizationType", "paravirtual")]), coded("UnsupportedOperation", 400)),
        (with(&[("TpmSupport", "v2.0")]), coded("UnsupportedOperation", 400)),
        (with(&[("Nonsense", "1")]), coded("UnknownParameter", 400)),
        (vec![base[1], base[2]], coded("MissingParameter", 400)),
        (with(&[("EnaSupport", "maybe")]), coded("InvalidParameterValue", 400)),
    ] {
        assert_eq!(maker.refused("RegisterImage", &wrong).await, expected, "{wrong:?}");
    }

    // 39: a dry run is an error, and nothing comes of it.
    let dry = maker.refused("RegisterImage", &with(&[("DryRun", "true")])).await;
    assert_eq!(dry, coded("DryRunOperation", 412));

    // 40: no tag, no image.
    let tagged = with(&[
        ("TagSpecification.1.ResourceType", "image"),
        ("TagSpecification.1.Tag.1.Key", "aws:mine"),
    ]);
    let bad_tag = maker.refused("RegisterImage", &tagged).await;
    assert_eq!(bad_tag, coded("InvalidTagKey.Malformed", 400));
    assert_eq!(names(maker, &[("Owner.1", "self")]).await, ["first", "one"]);
    let tagged = with(&[
        ("TagSpecification.1.ResourceType", "image"),
        ("TagSpecification.1.Tag.1.Key", "Stage"),
        ("TagSpecification.1.Tag.1.Value", "<&>"),
        ("BlockDeviceMapping.2.DeviceName", "/dev/sdb"),
        ("BlockDeviceMapping.2.Ebs.VolumeSize", "1"),
    ]);
    let two = maker.ok("RegisterImage", &tagged).await.first("imageId").to_owned();
    let seen = maker.ok("DescribeImages", &[("ImageId.1", &two)]).await;
    assert_eq!((seen.first("key"), seen.first("value")), ("Stage", "&lt;&amp;&gt;"));
    assert_eq!(seen.all("deleteOnTermination"), ["true", "false"]);

    // 13: what may change, changes; tokens once required stay so.
    let image = ("ImageId", two.as_str());
    maker.ok("ModifyImageAttribute", &[image, ("ImdsSupport.Value", "v2.0")]).await;
    let back = maker.refused("ModifyImageAttribute", &[image, ("ImdsSupport.Value", "v1.0")]).await;
    assert_eq!(back, coded("InvalidParameterValue", 400));
    maker.ok("ModifyImageAttribute", &[image, ("Description.Value", "new")]).await;
    let both = [image, ("Description.Value", "x"), ("LaunchPermission.Add.1.Group", "all")];
    let both = maker.refused("ModifyImageAttribute", &both).await;
    assert_eq!(both, coded("InvalidParameterCombination", 400));
    let seen = maker.ok("DescribeImages", &[("ImageId.1", &two)]).await;
    assert_eq!((seen.first("description"), seen.first("imdsSupport")), ("new", "v2.0"));

    // 17: a copy has no tags and no permissions but where it is asked for.
    let copy = |name: &'static str, tags: &'static str| {
        [
            ("Name", name),
            ("SourceImageId", two.as_str()),
            ("SourceRegion", "us-east-1"),
            ("CopyImageTags", tags),
            ("ClientToken", name),
        ]
    };
    for (name, tags, keys) in [("plain", "false", 0), ("tagged", "true", 1)] {
        let made = maker.ok("CopyImage", &copy(name, tags)).await;
        let again = maker.ok("CopyImage", &copy(name, tags)).await;
        assert_eq!(made.first("imageId"), again.first("imageId"), "a token makes one copy");
        let seen = maker.ok("DescribeImages", &[("ImageId.1", made.first("imageId"))]).await;
        assert_eq!(seen.all("key").len(), keys, "{name}");
    }
    let other = [
        copy("plain", "true")[0],
        copy("x", "true")[1],
        copy("x", "true")[2],
        copy("x", "true")[3],
        ("ClientToken", "plain"),
    ];
    let mismatch = maker.refused("CopyImage", &other).await;
    assert_eq!(mismatch, coded("IdempotentParameterMismatch", 400));
    drop(stage.stack);
    assert!(!stage.first.is_empty());
}

#[tokio::test]
async fn semantics_4_an_alias_is_the_operators_to_give_and_a_name_is_anybodys() {
    // An account may call itself what it likes.
    let args = vec!["--stand-in-images", "--account", "amazon=400000000004"];
    let setting = Setting { simulated: true, args, ..Setting::default() };
    let stack = Stack::start_with(setting).await;
    let stranger = Ec2::of(&stack.account("stranger"), &stack.gateway()).await;
    let genuine = stranger.ok("DescribeImages", &[("Owner.1", "amazon")]).await;
    let (ids, names) = (genuine.all("imageId"), genuine.all("name"));
    let linux = names.iter().position(|name| name.contains("linux")).unwrap();
    let (id, name) = (ids[linux], names[linux]);

    let mut copies = Vec::new();
    for account in ["friend", "amazon"] {
        let file = stack.data().join(account);
        std::fs::write(&file, vec![7; 1 << 20]).unwrap();
        let words = ["import", file.to_str().unwrap(), name, "--format", "raw", "-o", "id"];
        let copy = stack.cli(account, &words).await.ok().trim().to_owned();
        let who = Ec2::of(&stack.account(account), &stack.gateway()).await;
        let public = [("ImageId", &*copy), ("LaunchPermission.Add.1.Group", "all")];
        who.ok("ModifyImageAttribute", &public).await;
        copies.push(copy);
    }
    // The name alone finds all three: who wants one must say whose.
    let named = ("Filter.1.Name", "name");
    let found = stranger.ok("DescribeImages", &[named, ("Filter.1.Value.1", name)]).await;
    let mut all = found.all("imageId");
    all.sort_unstable();
    let mut wanted = vec![id, &copies[0], &copies[1]];
    wanted.sort_unstable();
    assert_eq!(all, wanted);
    assert_eq!(found.all("imageOwnerAlias"), ["amazon"]);
    let alias = ("Filter.2.Name", "owner-alias");
    for whose in [
        &[("Owner.1", "amazon")][..],
        &[("Owner.1", "000000000100")],
        &[alias, ("Filter.2.Value.1", "amazon")],
    ] {
        let asked = [&[named, ("Filter.1.Value.1", name)], whose].concat();
        assert_eq!(stranger.ok("DescribeImages", &asked).await.all("imageId"), [id], "{whose:?}");
    }
    for (whose, found) in [("400000000004", 1), ("aws-marketplace", 0)] {
        let seen = stranger.ok("DescribeImages", &[("Owner.1", whose)]).await;
        assert_eq!(seen.all("imageId").len(), found, "{whose}");
        assert!(seen.all("imageOwnerAlias").is_empty());
    }
    let unknown = stranger.refused("DescribeImages", &[("Owner.1", "friend")]).await;
    assert_eq!(unknown, coded("InvalidUserID.Malformed", 400));
    // Nothing here is deprecated or disabled, so what asks for that too finds the same.
    let more = [named, ("Filter.1.Value.1", name), ("IncludeDeprecated", "true")];
    let more = [&more[..], &[("IncludeDisabled", "true")]].concat();
    assert_eq!(stranger.ok("DescribeImages", &more).await.all("imageId").len(), 3);
}
