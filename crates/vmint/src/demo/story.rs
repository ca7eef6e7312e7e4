//! The steps, each with what really came back.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use vmint_api::{
    catalog::v1::Image,
    gateway::v1 as gateway,
    launcher::v1::{Instance, ListInstancesRequest},
    marketplace::v1 as market,
    storage::v1::{GetSnapshotRequest, Snapshot},
    types::v1::Money,
};
use vmint_rpc::Fault;

use super::{
    cast::{Cast, booted, launch, ssh},
    quote, say,
};
use crate::{
    client::{Client, Failure, Result, request_id, size},
    commands::{image, import, instance, key, market::price},
    seed,
};

/// Tells it from the third step on.
pub(crate) async fn tell(cast: &Cast, dir: &Path, disk: Option<PathBuf>) -> Result<()> {
    let image = bring_in(cast, dir, disk).await?;
    share(cast, &image).await?;
    let first = run_first(cast, &image).await?;
    let second = make_second(cast, &first).await?;
    run_second(cast, &second).await?;
    let copy = copy_and_end(cast, &image, &first).await?;
    sell(cast, &copy).await
}

async fn bring_in(cast: &Cast, dir: &Path, disk: Option<PathBuf>) -> Result<Image> {
    let (disk, from) = if let Some(disk) = disk {
        (disk, "brought along".to_owned())
    } else {
        let to = dir.join("demo.img");
        let build = move || seed::build(&to, &seed::SeedOptions::default());
        let report = tokio::task::spawn_blocking(build)
            .await
            .map_err(|error| Failure::new(error.to_string()))?
            .map_err(|error| Failure::new(error.to_string()))?;
        let from = format!(
            "built from Linux {} in {:.1} s, {} on disk",
            report.kernel,
            report.elapsed.as_secs_f64(),
            size(report.allocated_bytes),
        );
        (report.path, from)
    };
    let started = Instant::now();
    let (snapshot, format) = import::upload(&cast.maker, &disk, "", "the demo's disk").await?;
    let image = image::register(&cast.maker, "demo", &snapshot.snapshot_id, "", "x86_64").await?;
    let logical = size(u64::try_from(snapshot.size_bytes).unwrap_or_default());
    let stored = size(u64::try_from(snapshot.stored_bytes).unwrap_or_default());
    say(3, "image", &format!("a {format} disk, {from}"));
    quote(&format!(
        "{} {logical}, {stored} stored, registered as {}   {:.1} s",
        snapshot.snapshot_id,
        image.image_id,
        started.elapsed().as_secs_f64()
    ));
    Ok(image)
}

async fn share(cast: &Cast, image: &Image) -> Result<()> {
    let request = gateway::ModifyLaunchPermissionRequest {
        image_id: image.image_id.clone(),
        add_account_ids: vec![cast.friend_id.clone()],
        request_id: request_id(),
        ..Default::default()
    };
    cast.maker.gateway().modify_launch_permission(request).await?;
    let refused = refusal(&cast.stranger, &image.image_id, "IMAGE_NOT_FOUND").await?;
    say(
        4,
        "share",
        &format!("{} may launch it; 300000000003 was refused: {refused}", cast.friend_id),
    );
    Ok(())
}

/// Launches what must not be launched, and gives the reason it was refused.
async fn refusal(client: &Client, image: &str, reason: &str) -> Result<String> {
    let request = gateway::RunInstancesRequest {
        image_id: image.to_owned(),
        instance_type: "v1.micro".to_owned(),
        request_id: request_id(),
        ..Default::default()
    };
    match client.gateway().run_instances(request).await {
        Ok(_) => Err(Failure::new(format!("{image} was launched and must not have been"))),
        Err(status) => {
            let seen = Fault::from_status(&status);
            if seen.reason == reason {
                return Ok(format!("{} ({reason})", seen.message));
            }
            Err(status.into())
        }
    }
}

async fn run_first(cast: &Cast, image: &Image) -> Result<Instance> {
    key::make(&cast.friend, "demo", false).await?;
    let started = Instant::now();
    let first = launch(&cast.friend, &image.image_id, "first", "demo").await?;
    let running = started.elapsed().as_secs_f64();
    let lines = booted(&cast.friend, &first).await?;
    say(
        5,
        "launch",
        &format!(
            "{} as {}, running in {running:.2} s, booted in {:.1} s ({})",
            first.instance_id,
            cast.friend_id,
            started.elapsed().as_secs_f64(),
            first.accelerator,
        ),
    );
    for line in &lines {
        quote(line);
    }
    let started = Instant::now();
    let change = "echo 'written over ssh in the first machine' > /root/change; sync; uname -sr";
    let kernel = ssh(&cast.friend, &first, change).await?;
    let at = instance::address(&first);
    let seconds = started.elapsed().as_secs_f64();
    say(
        6,
        "ssh",
        &format!("root@{at} with the launch key: {kernel}; wrote /root/change   {seconds:.1} s"),
    );
    Ok(first)
}

async fn make_second(cast: &Cast, first: &Instance) -> Result<Image> {
    let started = Instant::now();
    let request = gateway::CreateImageRequest {
        instance_id: first.instance_id.clone(),
        name: "demo-changed".to_owned(),
        request_id: request_id(),
        ..Default::default()
    };
    let made = cast.friend.gateway().create_image(request).await?.into_inner().image;
    let made = image::made(&cast.friend, made).await?;
    let snapshot = root_snapshot(&cast.friend, &made).await?;
    say(
        7,
        "publish",
        &format!(
            "{} of the running machine ({}): {} new, writes waited {:.1} ms   {:.2} s",
            made.image_id,
            snapshot.consistency,
            size(u64::try_from(snapshot.new_bytes).unwrap_or_default()),
            f64::from(i32::try_from(snapshot.pause_micros).unwrap_or(i32::MAX)) / 1000.0,
            started.elapsed().as_secs_f64(),
        ),
    );
    Ok(made)
}

async fn root_snapshot(client: &Client, image: &Image) -> Result<Snapshot> {
    let root = image.block_device_mappings.iter().find_map(|mapping| mapping.ebs.as_ref());
    let snapshot_id = root.map(|ebs| ebs.snapshot_id.clone()).unwrap_or_default();
    let answer = client.storage().get_snapshot(GetSnapshotRequest { snapshot_id }).await?;
    answer.into_inner().snapshot.ok_or_else(|| Failure::new("the answer holds no snapshot"))
}

async fn run_second(cast: &Cast, image: &Image) -> Result<()> {
    let started = Instant::now();
    let second = launch(&cast.friend, &image.image_id, "second", "demo").await?;
    booted(&cast.friend, &second).await?;
    let change = ssh(&cast.friend, &second, "cat /root/change").await?;
    if change != "written over ssh in the first machine" {
        return Err(Failure::new(format!("the second machine shows: {change}")));
    }
    say(
        8,
        "again",
        &format!(
            "{} shows the change: {change}   {:.1} s ({})",
            second.instance_id,
            started.elapsed().as_secs_f64(),
            second.accelerator,
        ),
    );
    Ok(())
}

async fn copy_and_end(cast: &Cast, original: &Image, first: &Instance) -> Result<Image> {
    let started = Instant::now();
    let request = gateway::CopyImageRequest {
        source_image_id: original.image_id.clone(),
        name: "demo-copy".to_owned(),
        request_id: request_id(),
        ..Default::default()
    };
    let copy = cast.maker.gateway().copy_image(request).await?.into_inner().image;
    let copy = image::made(&cast.maker, copy).await?;
    let copied = started.elapsed().as_secs_f64();
    let request = gateway::DeregisterImageRequest {
        image_id: original.image_id.clone(),
        delete_snapshots: true,
        request_id: request_id(),
        dry_run: false,
    };
    cast.maker.gateway().deregister_image(request).await?;
    let reason = refusal(&cast.friend, &original.image_id, "IMAGE_NOT_FOUND").await?;
    let request = ListInstancesRequest { page_size: 10, ..Default::default() };
    let running = cast.friend.launcher().list_instances(request).await?.into_inner().instances;
    let still = running.iter().any(|i| i.instance_id == first.instance_id);
    let uptime = ssh(&cast.friend, first, "cut -d. -f1 /proc/uptime").await?;
    if !still {
        return Err(Failure::new("the first machine is gone"));
    }
    say(
        9,
        "copy",
        &format!("{} in {copied:.2} s; {} deregistered", copy.image_id, original.image_id),
    );
    quote(&format!("a further launch is refused: {reason}"));
    quote(&format!("{} still runs, up {uptime} s", first.instance_id));
    Ok(copy)
}

async fn sell(cast: &Cast, copy: &Image) -> Result<()> {
    let hourly = Money { currency_code: "EUR".to_owned(), units: 0, picos: 120_000_000_000 };
    let request = market::CreateProductRequest {
        title: "demo appliance".to_owned(),
        price_per_hour: Some(hourly),
        request_id: request_id(),
        ..Default::default()
    };
    let product = cast.maker.marketplace().create_product(request).await?.into_inner().product;
    let product = product.ok_or_else(|| Failure::new("the answer holds no product"))?;
    let request = gateway::AddProductCodeRequest {
        image_id: copy.image_id.clone(),
        product_code: product.product_code.clone(),
        request_id: request_id(),
    };
    cast.maker.gateway().add_product_code(request).await?;
    let request = gateway::ModifyLaunchPermissionRequest {
        image_id: copy.image_id.clone(),
        add_account_ids: vec![cast.friend_id.clone()],
        request_id: request_id(),
        ..Default::default()
    };
    cast.maker.gateway().modify_launch_permission(request).await?;
    refusal(&cast.friend, &copy.image_id, "SUBSCRIPTION_REQUIRED").await?;
    let request = market::SubscribeRequest {
        product_code: product.product_code.clone(),
        accept_terms: true,
        request_id: request_id(),
    };
    cast.friend.marketplace().subscribe(request).await?;
    let paid = launch(&cast.friend, &copy.image_id, "paid", "demo").await?;
    let request = gateway::TerminateInstancesRequest {
        instance_ids: vec![paid.instance_id.clone()],
        request_id: request_id(),
    };
    cast.friend.gateway().terminate_instances(request).await?;
    let bill = billed(&cast.friend, &paid.instance_id).await?;
    let audit = cast.maker.marketplace().audit_ledger(market::AuditLedgerRequest {}).await?;
    if !audit.into_inner().balanced {
        return Err(Failure::new("the ledger does not balance"));
    }
    say(
        10,
        "sell",
        &format!(
            "at {} an hour: refused without a subscription, {} s billed with one: {} from {} to {}",
            price(product.price_per_hour.as_ref()),
            bill.billed_seconds,
            price(bill.amount.as_ref()),
            cast.friend_id,
            cast.maker_id,
        ),
    );
    Ok(())
}

/// The closed run of an instance; the marketplace learns of it by an event.
async fn billed(client: &Client, instance: &str) -> Result<market::Meter> {
    for _ in 0..100 {
        let request = market::ListMetersRequest { page_size: 100, ..Default::default() };
        let meters = client.marketplace().list_meters(request).await?.into_inner().meters;
        let closed =
            |meter: &market::Meter| meter.instance_id == instance && meter.stop_time.is_some();
        if let Some(meter) = meters.into_iter().find(closed) {
            return Ok(meter);
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    Err(Failure::new("the run was not billed within ten seconds"))
}
