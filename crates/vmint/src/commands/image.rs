//! Images: list, show, register, share, copy, deregister.

use std::path::Path;

use tokio_stream::StreamExt as _;
use vmint_api::{
    catalog::v1::{Architecture, Image, ImageState},
    gateway::v1 as pb,
    permissions::v1::GetLaunchPermissionRequest,
    storage::v1::MeasureSnapshotsRequest,
    types::v1::{BlockDeviceMapping, EbsBlockDevice, Filter, Tag},
};

use super::{
    export,
    import::{self, root_snapshot, show, state},
    upload,
};
use crate::{
    cli::{ImageCommand, Output, PublishArgs, ShareArgs},
    client::{Client, Failure, Result, json, request_id, size, table},
};

/// The format whose files hold all disks of an image.
const OVA: &str = "ova";
/// Where a PC's first disk is, in EC2's names.
const ROOT_DEVICE: &str = "/dev/sda1";

pub(crate) async fn run(client: &Client, command: ImageCommand) -> Result<()> {
    match command {
        // Needs no gateway: `main` does it.
        ImageCommand::Build { .. } => Ok(()),
        ImageCommand::List { mine, filters } => list(client, mine, &filters).await,
        ImageCommand::Show { image } => show(client, get(client, &image).await?),
        ImageCommand::Register { name, snapshot, description, arch } => {
            show(client, register(client, &name, &snapshot, &description, &arch).await?)
        }
        ImageCommand::Copy { image, name, into } => {
            let source_image_id = match into.from_region.as_str() {
                "" => get(client, &image).await?.image_id,
                _ => image,
            };
            let request = pb::CopyImageRequest {
                source_region: into.from_region,
                source_image_id,
                name,
                request_id: request_id(),
                encrypted: into.encrypt,
                kms_key_id: into.kms_key,
                ..Default::default()
            };
            let copy = client.gateway().copy_image(request).await?.into_inner().image;
            finish(client, copy).await
        }
        ImageCommand::Export { image, file, format } => {
            let format = export::format_of(&file, &format)?;
            if format == OVA {
                return save(client, image, &file, format).await;
            }
            let image = get(client, &image).await?;
            let with_data = |disk: &&BlockDeviceMapping| {
                disk.ebs.as_ref().is_some_and(|ebs| !ebs.snapshot_id.is_empty())
            };
            let disks = image.block_device_mappings.iter().filter(with_data).count();
            if disks > 1 {
                eprintln!("note: {} of {disks} disks: only the root disk fits", image.image_id);
                eprintln!("      an .ova holds them all, and so does `vmint image save`");
            }
            export::run(client, &root_snapshot(&image)?, &file, &format).await
        }
        ImageCommand::Save { image, file } => save(client, image, &file, String::new()).await,
        ImageCommand::Load { file, name } => load(client, &file, name).await,
        ImageCommand::Deregister { image, delete_snapshots, dry_run } => {
            let request = pb::DeregisterImageRequest {
                image_id: get(client, &image).await?.image_id,
                delete_snapshots,
                request_id: request_id(),
                dry_run,
            };
            let answer = client.gateway().deregister_image(request).await?.into_inner();
            if dry_run {
                for id in &answer.deleted_snapshot_ids {
                    println!("snapshot    {id}  would go");
                }
                println!("would free  {} bytes", answer.freed_bytes);
                return Ok(());
            }
            for id in &answer.deleted_snapshot_ids {
                eprintln!("snapshot  {id}  deleted");
            }
            show(client, answer.image.ok_or_else(no_image)?)
        }
        ImageCommand::Usage { image } => usage(client, &get(client, &image).await?).await,
        ImageCommand::Tag { image, tags } => tag(client, &image, tags).await,
        ImageCommand::Permissions { image } => permissions(client, &image).await,
        ImageCommand::Sell { image, product_code } => {
            let image_id = get(client, &image).await?.image_id;
            let request =
                pb::AddProductCodeRequest { image_id, product_code, request_id: request_id() };
            let answer = client.gateway().add_product_code(request).await?.into_inner();
            show(client, answer.image.ok_or_else(no_image)?)
        }
    }
}

/// Sends a bundle and makes an image of it.
/// Writes a whole image as a bundle, or its disks as an OVA.
async fn save(client: &Client, image: String, file: &Path, format: String) -> Result<()> {
    let request = pb::SaveImageRequest { image_id: image, request_id: request_id(), format };
    let begun =
        async { Ok::<_, Failure>(client.gateway().save_image(request).await?.into_inner().task) };
    export::write(client, file, begun).await
}

async fn load(client: &Client, file: &Path, name: String) -> Result<()> {
    let upload_id = upload::send(client, file, "", None).await?;
    let request = pb::LoadImageRequest { upload_id, name, request_id: request_id() };
    let answer = client.gateway().load_image(request).await?.into_inner();
    let image = made(client, answer.image).await?;
    let task = answer.task.map(|task| task.task_id).unwrap_or_default();
    if client.waits() && client.output() == Output::Table {
        for disk in import::task(client, &task).await?.disks {
            println!("disk      {}  is {}", disk.snapshot_id, disk.content_root);
        }
    }
    show(client, image)
}

/// Looks an image up by id or own name.
pub(crate) async fn get(client: &Client, image: &str) -> Result<Image> {
    let request = pb::GetImageRequest { image_id: image.to_owned() };
    client.gateway().get_image(request).await?.into_inner().image.ok_or_else(no_image)
}

fn no_image() -> Failure {
    Failure::new("the answer holds no image")
}

async fn list(client: &Client, mine: bool, filters: &[String]) -> Result<()> {
    let filters = filters.iter().map(|text| filter(text)).collect::<Result<Vec<_>>>()?;
    let owners = if mine { vec!["self".to_owned()] } else { Vec::new() };
    let mut request =
        pb::ListImagesRequest { owners, filters, page_size: 1000, ..Default::default() };
    let mut images = Vec::new();
    loop {
        let page = client.gateway().list_images(request.clone()).await?.into_inner();
        images.extend(page.images);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    match client.output() {
        Output::Json => json("vmint.catalog.v1.Image", &images),
        Output::Id => {
            for image in &images {
                println!("{}", image.image_id);
            }
            Ok(())
        }
        Output::Table => {
            let row = |image: &Image| {
                vec![
                    image.name.clone(),
                    image.image_id.clone(),
                    state(image),
                    image.owner_id.clone(),
                    if image.public { "public" } else { "-" }.to_owned(),
                ]
            };
            let rows: Vec<_> = images.iter().map(row).collect();
            table(&["NAME", "ID", "STATE", "OWNER", "SHARED"], &rows);
            Ok(())
        }
    }
}

/// `name=value,value` as a filter.
pub(crate) fn filter(text: &str) -> Result<Filter> {
    let (name, values) = text
        .split_once('=')
        .ok_or_else(|| Failure::usage(format!("`{text}` is not a filter: use NAME=VALUE")))?;
    let values = values.split(',').map(str::to_owned).collect();
    Ok(Filter { name: name.to_owned(), values })
}

/// Registers an image whose root disk is `snapshot`.
pub(crate) async fn register(
    client: &Client,
    name: &str,
    snapshot: &str,
    description: &str,
    arch: &str,
) -> Result<Image> {
    let architecture = architecture(arch)?;
    let root = BlockDeviceMapping {
        device_name: ROOT_DEVICE.to_owned(),
        ebs: Some(EbsBlockDevice { snapshot_id: snapshot.to_owned(), ..Default::default() }),
        no_device: false,
    };
    let image = Image {
        name: name.to_owned(),
        description: description.to_owned(),
        architecture: architecture.into(),
        root_device_name: ROOT_DEVICE.to_owned(),
        block_device_mappings: vec![root],
        ..Default::default()
    };
    let request = pb::RegisterImageRequest { image: Some(image), request_id: request_id() };
    client.gateway().register_image(request).await?.into_inner().image.ok_or_else(no_image)
}

pub(crate) fn architecture(name: &str) -> Result<Architecture> {
    match name {
        "x86_64" | "amd64" => Ok(Architecture::X8664),
        "i386" => Ok(Architecture::I386),
        other => Err(Failure::usage(format!("`{other}` is not known: use x86_64 or i386"))),
    }
}

/// How much room an image takes.
async fn usage(client: &Client, image: &Image) -> Result<()> {
    let ebs = image.block_device_mappings.iter().filter_map(|mapping| mapping.ebs.as_ref());
    let snapshot_ids = ebs.map(|ebs| ebs.snapshot_id.clone()).filter(|id| !id.is_empty()).collect();
    let request = MeasureSnapshotsRequest { snapshot_ids };
    let found = client.upkeep().measure_snapshots(request).await?.into_inner();
    if client.output() == Output::Json {
        return json("vmint.storage.v1.MeasureSnapshotsResponse", &[found]);
    }
    let bytes = |n: i64| size(u64::try_from(n).unwrap_or_default());
    println!("data      {}", bytes(found.logical_bytes));
    println!("stored    {} in {} chunks", bytes(found.stored_bytes), found.chunks);
    println!("shared    {}", bytes(found.shared_bytes));
    println!("its own   {} ({} bytes)", bytes(found.unique_bytes), found.unique_bytes);
    Ok(())
}

async fn tag(client: &Client, image: &str, tags: Vec<String>) -> Result<()> {
    let mut request = pb::TagImageRequest {
        image_id: image.to_owned(),
        request_id: request_id(),
        ..Default::default()
    };
    for tag in tags {
        match tag.split_once('=') {
            Some((key, value)) => {
                request.put_tags.push(Tag { key: key.to_owned(), value: value.to_owned() });
            }
            None => request.remove_tag_keys.push(tag),
        }
    }
    let image = client.gateway().tag_image(request).await?.into_inner().image;
    show(client, image.ok_or_else(no_image)?)
}

/// Makes an image of an instance.
pub(crate) async fn publish(client: &Client, args: PublishArgs) -> Result<()> {
    let instance = super::instance::get(client, &args.instance).await?;
    let request = pb::CreateImageRequest {
        instance_id: instance.instance_id,
        name: args.name,
        description: args.description,
        reboot: args.reboot,
        request_id: request_id(),
        ..Default::default()
    };
    let image = client.gateway().create_image(request).await?.into_inner().image;
    finish(client, image).await
}

/// Follows an image until it is made, unless told not to wait, and shows it.
async fn finish(client: &Client, image: Option<Image>) -> Result<()> {
    show(client, made(client, image).await?)
}

/// Follows an image until it is made, unless told not to wait.
pub(crate) async fn made(client: &Client, image: Option<Image>) -> Result<Image> {
    let mut image = image.ok_or_else(no_image)?;
    if client.waits() {
        let request = pb::WatchImageRequest { image_id: image.image_id.clone() };
        let mut changes = client.gateway().watch_image(request).await?.into_inner();
        while image.state() == ImageState::Pending {
            match changes.next().await {
                Some(change) => image = change?.image.ok_or_else(no_image)?,
                None => break,
            }
        }
    }
    if image.state() == ImageState::Failed {
        return Err(Failure::new(format!("{} failed: {}", image.image_id, image.state_reason)));
    }
    Ok(image)
}

/// Shares, or takes sharing back.
pub(crate) async fn share(client: &Client, args: ShareArgs, add: bool) -> Result<()> {
    let image_id = get(client, &args.image).await?.image_id;
    let (everybody, accounts): (Vec<_>, Vec<_>) = args.who.into_iter().partition(|w| w == "all");
    let everybody = !everybody.is_empty();
    let (adding, taking) = if add { (accounts, Vec::new()) } else { (Vec::new(), accounts) };
    let request = pb::ModifyLaunchPermissionRequest {
        image_id: image_id.clone(),
        add_account_ids: adding,
        remove_account_ids: taking,
        add_public: add && everybody,
        remove_public: !add && everybody,
        request_id: request_id(),
        ..Default::default()
    };
    let now = client.gateway().modify_launch_permission(request).await?.into_inner();
    say_who(&image_id, now.public, &now.account_ids);
    Ok(())
}

async fn permissions(client: &Client, image: &str) -> Result<()> {
    let image_id = get(client, image).await?.image_id;
    let request = GetLaunchPermissionRequest { image_id: image_id.clone() };
    let now = client.permissions().get_launch_permission(request).await?.into_inner();
    say_who(&image_id, now.public, &now.account_ids);
    Ok(())
}

fn say_who(image: &str, public: bool, accounts: &[String]) {
    let mut who: Vec<&str> = accounts.iter().map(String::as_str).collect();
    if public {
        who.insert(0, "everybody");
    }
    let who = if who.is_empty() { "its owner alone".to_owned() } else { who.join(", ") };
    println!("can launch {image} now: {who}");
}
