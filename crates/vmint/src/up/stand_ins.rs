//! Images of a provider that deployments for tests have from their first start:
//! a Linux one, which boots where it could be built, and one marked Windows,
//! which is but a name.

use std::{collections::BTreeMap, path::Path};

use vmint_api::{
    catalog::v1::{Architecture, Image, ImageState, Parameter, ParameterType},
    gateway::v1::{
        ListImagesRequest, ModifyLaunchPermissionRequest, PutParameterRequest, RegisterImageRequest,
    },
    types::v1::{BlockDeviceMapping, EbsBlockDevice},
};
use vmint_ids::AccountId;

use crate::{
    client::{Client, Failure, Result, request_id},
    commands::import,
    seed::{self, SeedOptions},
};

/// The provider's account, as `--account` names one.
pub(super) const PROVIDER: &str = "stand-ins=000000000100";
/// Its profile.
pub(super) const PROFILE: &str = "stand-ins";
/// What EC2's clients ask for its images by.
const ALIAS: &str = "amazon";

const ROOT_DEVICE: &str = "/dev/sda1";

/// One of them.
struct StandIn {
    name: &'static str,
    windows: bool,
    parameters: &'static [&'static str],
}

const ALL: [StandIn; 2] = [
    StandIn {
        name: "vmint-stand-in-linux-x86_64",
        windows: false,
        parameters: &[
            "/vmint/service/images/linux/x86_64/latest",
            "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64",
            "/aws/service/ami-amazon-linux-latest/amzn2-ami-hvm-x86_64-gp2",
        ],
    },
    StandIn {
        name: "vmint-stand-in-windows-x86_64",
        windows: true,
        parameters: &[
            "/vmint/service/images/windows/x86_64/latest",
            "/aws/service/ami-windows-latest/Windows_Server-2022-English-Full-Base",
            "/aws/service/ami-windows-latest/Windows_Server-2019-English-Full-Base",
        ],
    },
];

/// The provider's account by the name that EC2's clients ask for.
pub(super) fn aliases() -> BTreeMap<String, Vec<AccountId>> {
    let account = PROVIDER.split('=').nth(1).and_then(|id| id.parse().ok());
    account.map(|account| (ALIAS.to_owned(), vec![account])).into_iter().collect()
}

/// Makes what is not there yet: the images, open to everybody, and the
/// parameters that name them.
pub(super) async fn ensure(
    provider: &Client,
    operator: &Client,
    dir: &Path,
    simulated: bool,
) -> Result<()> {
    let request = ListImagesRequest { owners: vec!["self".to_owned()], ..Default::default() };
    let there = provider.gateway().list_images(request).await?.into_inner().images;
    for stand_in in &ALL {
        let known = there
            .iter()
            .find(|image| image.name == stand_in.name && image.state() == ImageState::Available);
        let image = match known {
            Some(image) => image.clone(),
            None => make(provider, stand_in, dir, simulated).await?,
        };
        if !image.public {
            let request = ModifyLaunchPermissionRequest {
                image_id: image.image_id.clone(),
                add_public: true,
                request_id: request_id(),
                ..Default::default()
            };
            provider.gateway().modify_launch_permission(request).await?;
        }
        for name in stand_in.parameters {
            put(operator, name, &image).await?;
        }
    }
    Ok(())
}

async fn make(client: &Client, it: &StandIn, dir: &Path, simulated: bool) -> Result<Image> {
    let file = dir.join("stand-in.raw");
    let description = disk(it, &file, simulated).await?;
    let uploaded = import::upload(client, &file, "raw", &description).await;
    let _gone_at_the_next_start = std::fs::remove_file(&file);
    let (snapshot, _) = uploaded?;
    let root = BlockDeviceMapping {
        device_name: ROOT_DEVICE.to_owned(),
        ebs: Some(EbsBlockDevice { snapshot_id: snapshot.snapshot_id, ..Default::default() }),
        no_device: false,
    };
    let image = Image {
        name: it.name.to_owned(),
        description,
        architecture: Architecture::X8664.into(),
        root_device_name: ROOT_DEVICE.to_owned(),
        block_device_mappings: vec![root],
        platform: if it.windows { "windows".to_owned() } else { String::new() },
        ena_support: true,
        ..Default::default()
    };
    let request = RegisterImageRequest { image: Some(image), request_id: request_id() };
    let made = client.gateway().register_image(request).await?.into_inner().image;
    made.ok_or_else(|| Failure::new("the answer holds no image"))
}

/// Writes the disk, and says what is on it.
async fn disk(it: &StandIn, file: &Path, simulated: bool) -> Result<String> {
    if !it.windows && !simulated {
        let out = file.to_owned();
        let built =
            tokio::task::spawn_blocking(move || seed::build(&out, &SeedOptions::default())).await;
        match built.map_err(|error| Failure::new(error.to_string()))? {
            Ok(report) => {
                return Ok(format!("Stand-in: a small Linux {} that boots", report.kernel));
            }
            Err(error) => eprintln!("the stand-in Linux image will not boot: {error}"),
        }
    }
    // Other bytes for each, so that they are two contents.
    let mark = format!("{}: a stand-in without a system; it does not boot\n", it.name);
    std::fs::write(file, mark.into_bytes().repeat(1024))?;
    let grown = std::fs::File::options().write(true).open(file)?;
    grown.set_len(1 << 30)?;
    Ok("Stand-in: holds no system and does not boot".to_owned())
}

async fn put(operator: &Client, name: &str, image: &Image) -> Result<()> {
    let mut parameter = Parameter {
        name: name.to_owned(),
        value: image.image_id.clone(),
        data_type: "aws:ec2:image".to_owned(),
        description: image.name.clone(),
        ..Parameter::default()
    };
    parameter.set_type(ParameterType::String);
    let request = PutParameterRequest {
        parameter: Some(parameter),
        overwrite: false,
        request_id: request_id(),
    };
    match operator.gateway().put_parameter(request).await {
        // It stays what an operator made of it.
        Err(status) if status.code() == tonic::Code::AlreadyExists => Ok(()),
        Ok(_) => Ok(()),
        Err(status) => Err(status.into()),
    }
}
