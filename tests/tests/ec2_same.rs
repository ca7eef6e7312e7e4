//! One truth: the same operations over EC2's protocol and over gRPC, by two accounts that have
//! the same, and every answer compared.
//!
//! Proves: nothing in full; that the two faces agree in effect and in refusals.

use vmint_api::{
    catalog::v1::{Architecture, Image, ImageState, UpdateImageRequest},
    gateway::v1::{
        CopyImageRequest, DeregisterImageRequest, ListImagesRequest, ModifyLaunchPermissionRequest,
        RegisterImageRequest,
    },
    permissions::v1::GetLaunchPermissionRequest,
    types::v1::{BlockDeviceMapping, EbsBlockDevice, Filter, Tag},
};
use vmint_rpc::Fault;
use vmint_tests::{Account, Answer, Ec2, SOON, Stack, new_request_id, until};

const STRANGER: &str = "300000000003";
const NOBODY: &str = "999999999999";
const NAMES: [&str; 6] = ["web", "db server", "w", "bad*name", "cache/1", "batch"];
const KEYS: [&str; 4] = ["Stage", "Team", "aws:x", "Ünï"];
const FILTERS: [(&str, &str); 8] = [
    ("name", "*e*"),
    ("state", "available"),
    ("tag:Stage", "?"),
    ("tag-key", "Team"),
    ("is-public", "true"),
    ("description", "d*"),
    ("architecture", "arm64"),
    ("nonsense", "x"),
];

/// What either face is asked for. An image is named by its place among those made.
#[derive(Debug, Clone)]
enum Act {
    Register { name: &'static str, arm: bool },
    Copy { image: usize, name: &'static str },
    Describe { image: usize, text: &'static str },
    Tag { image: usize, key: &'static str, value: &'static str },
    Untag { image: usize, key: &'static str },
    Share { image: usize, account: Option<&'static str>, add: bool },
    Reset { image: usize },
    Deregister { image: usize },
    Find { filter: (&'static str, &'static str) },
}

/// Numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.roll(choices.len())]
    }

    fn act(&mut self) -> Act {
        let image = self.roll(8);
        match self.roll(12) {
            0..3 => Act::Register { name: self.of(&NAMES), arm: self.roll(2) == 0 },
            3 => Act::Copy { image, name: self.of(&NAMES) },
            4 => Act::Describe { image, text: self.of(&["d1", "d <&> 2", "x"]) },
            5 => Act::Tag { image, key: self.of(&KEYS), value: self.of(&["", "1", "<"]) },
            6 => Act::Untag { image, key: self.of(&KEYS[..2]) },
            7 | 8 => Act::Share {
                image,
                account: self.of(&[None, Some(STRANGER), Some(NOBODY)]),
                add: self.roll(3) > 0,
            },
            9 => Act::Reset { image },
            10 => Act::Deregister { image },
            _ => Act::Find { filter: self.of(&FILTERS) },
        }
    }
}

/// What was answered: names of images, or EC2's code.
type Outcome = Result<Vec<String>, String>;

/// One account at one face, and the images that it made.
struct Side {
    account: Account,
    ec2: Option<Ec2>,
    snapshot: String,
    made: Vec<String>,
}

impl Side {
    /// An image made before; one that never was if there are not so many.
    fn image(&self, place: usize) -> String {
        self.made.get(place).cloned().unwrap_or_else(|| "ami-00000000000000001".to_owned())
    }

    async fn act(&mut self, act: &Act) -> Outcome {
        let outcome = match self.ec2.clone() {
            Some(ec2) => self.by_ec2(&ec2, act).await,
            None => self.by_grpc(act).await,
        };
        if matches!(act, Act::Copy { .. }) {
            // Else what comes next may find it made at one of them only.
            until("the copy is made", SOON, async || {
                let all = self.own(Vec::new()).await.ok()?;
                all.iter().all(|image| image.state() != ImageState::Pending).then_some(())
            })
            .await;
        }
        outcome
    }

    async fn by_ec2(&mut self, ec2: &Ec2, act: &Act) -> Outcome {
        let snapshot = self.snapshot.clone();
        let call = async |action: &str, params: &[(&str, &str)]| {
            let answer = ec2.call(action, params).await;
            if answer.status == 200 { Ok(answer) } else { Err(answer.first("Code").to_owned()) }
        };
        let none = |_: Answer| Vec::new();
        match act {
            Act::Register { name, arm } => {
                let params = [
                    ("Name", *name),
                    ("Architecture", if *arm { "arm64" } else { "x86_64" }),
                    ("BlockDeviceMapping.1.DeviceName", "/dev/sda1"),
                    ("BlockDeviceMapping.1.Ebs.SnapshotId", snapshot.as_str()),
                ];
                self.made.push(call("RegisterImage", &params).await?.first("imageId").to_owned());
                Ok(Vec::new())
            }
            Act::Copy { image, name } => {
                let source = self.image(*image);
                let params =
                    [("Name", *name), ("SourceImageId", &source), ("SourceRegion", "us-east-1")];
                self.made.push(call("CopyImage", &params).await?.first("imageId").to_owned());
                Ok(Vec::new())
            }
            Act::Describe { image, text } => {
                let id = self.image(*image);
                let params = [("ImageId", id.as_str()), ("Description.Value", text)];
                call("ModifyImageAttribute", &params).await.map(none)
            }
            Act::Tag { image, key, value } => {
                let id = self.image(*image);
                let params =
                    [("ResourceId.1", id.as_str()), ("Tag.1.Key", key), ("Tag.1.Value", value)];
                call("CreateTags", &params).await.map(none)
            }
            Act::Untag { image, key } => {
                let id = self.image(*image);
                let params = [("ResourceId.1", id.as_str()), ("Tag.1.Key", key)];
                call("DeleteTags", &params).await.map(none)
            }
            Act::Share { image, account, add } => {
                let id = self.image(*image);
                let verb = if *add { "Add" } else { "Remove" };
                let (what, who) = match account {
                    Some(account) => ("UserId", *account),
                    None => ("Group", "all"),
                };
                let name = format!("LaunchPermission.{verb}.1.{what}");
                let params = [("ImageId", id.as_str()), (name.as_str(), who)];
                call("ModifyImageAttribute", &params).await.map(none)
            }
            Act::Reset { image } => {
                let id = self.image(*image);
                let params = [("ImageId", id.as_str()), ("Attribute", "launchPermission")];
                call("ResetImageAttribute", &params).await.map(none)
            }
            Act::Deregister { image } => {
                let id = self.image(*image);
                call("DeregisterImage", &[("ImageId", &id)]).await.map(none)
            }
            Act::Find { filter: (name, value) } => {
                let params =
                    [("Owner.1", "self"), ("Filter.1.Name", *name), ("Filter.1.Value.1", value)];
                let found = call("DescribeImages", &params).await?;
                Ok(sorted(found.all("name").into_iter().map(str::to_owned)))
            }
        }
    }

    async fn by_grpc(&mut self, act: &Act) -> Outcome {
        let request_id = new_request_id();
        let code = |status| code_of(&status);
        let mut gateway = self.account.gateway();
        match act {
            Act::Register { name, arm } => {
                let ebs =
                    EbsBlockDevice { snapshot_id: self.snapshot.clone(), ..Default::default() };
                let disk = BlockDeviceMapping {
                    device_name: "/dev/sda1".to_owned(),
                    ebs: Some(ebs),
                    no_device: false,
                };
                let architecture = if *arm { Architecture::Arm64 } else { Architecture::X8664 };
                let image = Image {
                    name: (*name).to_owned(),
                    architecture: architecture.into(),
                    block_device_mappings: vec![disk],
                    ..Default::default()
                };
                let request = RegisterImageRequest { image: Some(image), request_id };
                let made = gateway.register_image(request).await.map_err(code)?.into_inner();
                self.made.push(made.image.unwrap().image_id);
                Ok(Vec::new())
            }
            Act::Copy { image, name } => {
                let request = CopyImageRequest {
                    source_image_id: self.image(*image),
                    name: (*name).to_owned(),
                    copy_tags: Some(false),
                    request_id,
                    ..Default::default()
                };
                let made = gateway.copy_image(request).await.map_err(code)?.into_inner();
                self.made.push(made.image.unwrap().image_id);
                Ok(Vec::new())
            }
            Act::Describe { image, text } => {
                let description = Some((*text).to_owned());
                self.update(*image, UpdateImageRequest { description, ..Default::default() }).await
            }
            Act::Tag { image, key, value } => {
                let put_tags = vec![Tag { key: (*key).to_owned(), value: (*value).to_owned() }];
                self.update(*image, UpdateImageRequest { put_tags, ..Default::default() }).await
            }
            Act::Untag { image, key } => {
                let remove_tag_keys = vec![(*key).to_owned()];
                let update = UpdateImageRequest { remove_tag_keys, ..Default::default() };
                self.update(*image, update).await
            }
            Act::Share { image, account, add } => {
                let accounts = account.iter().map(|account| (*account).to_owned());
                let mut request = ModifyLaunchPermissionRequest {
                    image_id: self.image(*image),
                    add_public: *add && account.is_none(),
                    remove_public: !*add && account.is_none(),
                    request_id,
                    ..Default::default()
                };
                if *add {
                    request.add_account_ids = accounts.collect();
                } else {
                    request.remove_account_ids = accounts.collect();
                }
                gateway.modify_launch_permission(request).await.map_err(code)?;
                Ok(Vec::new())
            }
            Act::Reset { image } => {
                let image_id = self.image(*image);
                let request = ModifyLaunchPermissionRequest {
                    image_id,
                    reset: true,
                    request_id,
                    ..Default::default()
                };
                gateway.modify_launch_permission(request).await.map_err(code)?;
                Ok(Vec::new())
            }
            Act::Deregister { image } => {
                let image_id = self.image(*image);
                let request = DeregisterImageRequest { image_id, request_id, ..Default::default() };
                gateway.deregister_image(request).await.map_err(code)?;
                Ok(Vec::new())
            }
            Act::Find { filter: (name, value) } => {
                let filter = Filter { name: (*name).to_owned(), values: vec![(*value).to_owned()] };
                let found = self.own(vec![filter]).await?;
                Ok(sorted(found.into_iter().map(|image| image.name)))
            }
        }
    }

    async fn update(&self, image: usize, update: UpdateImageRequest) -> Outcome {
        let image_id = self.image(image);
        let request = UpdateImageRequest { image_id, request_id: new_request_id(), ..update };
        let changed = self.account.catalog().update_image(request).await;
        changed.map(|_| Vec::new()).map_err(|status| code_of(&status))
    }

    async fn own(&self, filters: Vec<Filter>) -> Result<Vec<Image>, String> {
        let request = ListImagesRequest {
            owners: vec!["self".to_owned()],
            filters,
            page_size: 1000,
            ..Default::default()
        };
        let found = self.account.gateway().list_images(request).await;
        found.map(|found| found.into_inner().images).map_err(|status| code_of(&status))
    }

    /// Everything that there is, without ids and times, read over gRPC.
    async fn all(&self) -> Vec<String> {
        let mut shown = Vec::new();
        for image in self.own(Vec::new()).await.unwrap() {
            let request = GetLaunchPermissionRequest { image_id: image.image_id.clone() };
            let shared = self.account.permissions().get_launch_permission(request).await.unwrap();
            let shared = shared.into_inner();
            shown.push(format!(
                "{} {:?} {:?} {:?} {} {} {:?}",
                image.name,
                image.description,
                image.tags,
                image.architecture(),
                image.root_device_name,
                shared.public,
                shared.account_ids
            ));
        }
        sorted(shown.into_iter())
    }
}

fn sorted(texts: impl Iterator<Item = String>) -> Vec<String> {
    let mut texts = texts.collect::<Vec<_>>();
    texts.sort_unstable();
    texts
}

/// The code by which EC2 says what a reason of ours says.
fn code_of(status: &tonic::Status) -> String {
    let seen = Fault::from_status(status);
    match seen.reason.as_str() {
        "IMAGE_NOT_FOUND" => "InvalidAMIID.NotFound",
        "IMAGE_NAME_TAKEN" => "InvalidAMIName.Duplicate",
        "IMAGE_NAME_INVALID" => "InvalidAMIName.Malformed",
        "IMAGE_NOT_AVAILABLE" => "InvalidAMIID.Unavailable",
        "ACCOUNT_NOT_FOUND" => "InvalidAMIAttributeItemValue",
        "TAG_INVALID" => "InvalidTagKey.Malformed",
        "FILTER_INVALID" => "InvalidParameterValue",
        other => panic!("no operation here is refused with {other}: {status:?}"),
    }
    .to_owned()
}

#[tokio::test]
async fn ec2_and_grpc_have_the_same_effects_and_refusals() {
    let stack = Stack::start().await;
    let noise = stack.data().join("noise.raw");
    std::fs::write(&noise, vec![9; 1 << 20]).unwrap();
    let mut sides = Vec::new();
    for name in ["maker", "friend"] {
        let said = stack.cli(name, &["import", noise.to_str().unwrap(), "base", "-o", "id"]).await;
        let account = stack.account(name);
        let base = said.ok().trim().to_owned();
        let mut side = Side { account, ec2: None, snapshot: String::new(), made: vec![base] };
        let own = side.own(Vec::new()).await.unwrap();
        let root = own[0].block_device_mappings[0].ebs.as_ref().unwrap();
        side.snapshot.clone_from(&root.snapshot_id);
        sides.push(side);
    }
    let gateway = stack.gateway();
    let maker = Ec2::of(&sides[0].account, &gateway).await;
    sides[0].ec2 = Some(maker);
    let [ec2, grpc] = &mut sides[..] else { unreachable!() };
    let mut dice = Dice(20_270_131);
    let (mut gone, mut done, mut refused) = (Vec::new(), 0, 0);
    for step in 0..250 {
        let act = dice.act();
        // To end again what has ended is an error of EC2's and none of gRPC's.
        if let Act::Deregister { image } = act {
            if gone.contains(&image) {
                continue;
            }
            if image < ec2.made.len() {
                gone.push(image);
            }
        }
        let (by_ec2, by_grpc) = (ec2.act(&act).await, grpc.act(&act).await);
        assert_eq!(by_ec2, by_grpc, "step {step}: {act:?}");
        assert_eq!(ec2.made.len(), grpc.made.len(), "step {step}: {act:?}");
        if by_ec2.is_ok() {
            done += 1;
        } else {
            refused += 1;
        }
        if step % 10 == 0 {
            assert_eq!(ec2.all().await, grpc.all().await, "after step {step}: {act:?}");
        }
    }
    assert_eq!(ec2.all().await, grpc.all().await);
    assert!(done > 50 && refused > 20, "{done} done, {refused} refused");
}
