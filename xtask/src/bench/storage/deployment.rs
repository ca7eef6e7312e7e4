//! Rows 3 and 11: through a whole deployment.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use vmint_api::{
    catalog::v1::ImageState,
    gateway::v1::{
        CopyImageRequest, GetImageRequest, gateway_service_client::GatewayServiceClient,
    },
};
use vmint_blocks::{BlockStore, Options};
use vmint_rpc::{Channel, new_request_id};

use super::{
    Bench,
    images::Images,
    ingest::{domain, take_in},
    peers::Peer,
    table::{Goal, Row, Series},
};
use crate::{
    Result,
    bench::{
        clock::{Took, ran},
        stack::{Stack, binary},
    },
};

const COPY: Duration = Duration::from_mins(5);

/// `alone` is what ingest takes without a deployment, seconds, and of how many MiB; `grown` what
/// the peers' stores grow by where `v2` comes to `v1`, MiB.
pub(super) fn measure(
    bench: &Bench,
    images: &Images,
    (alone, data_mib): (f64, f64),
    grown: &[(&'static str, f64)],
) -> Result<Vec<Row>> {
    let vmint = binary(bench.quick)?;
    let mut words = vec!["--simulated".to_owned()];
    // An account of its own for each round: what one has is not known to another.
    for round in 0..bench.rounds {
        words.extend(["--account".to_owned(), format!("r{round}")]);
    }
    for region in ["near", "far"] {
        words.extend(["--region".to_owned(), region.to_owned()]);
    }
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let _inside = runtime.enter();
    let stack = Stack::start(&vmint, &bench.dir.join("d"), &words)?;
    let sent = sending(bench, images, &stack, alone, data_mib)?;
    let copied = runtime.block_on(copying(bench, images, &stack, grown))?;
    Ok(vec![sent, copied])
}

fn sending(
    bench: &Bench,
    images: &Images,
    stack: &Stack,
    alone: f64,
    data_mib: f64,
) -> Result<Row> {
    let (mut sent, mut again) = (Series::default(), Series::default());
    for round in 0..bench.rounds {
        eprintln!("row 3, round {}", round + 1);
        for (name, series) in [("new", &mut sent), ("again", &mut again)] {
            bench.settle()?;
            let mut import = Command::new(&stack.vmint);
            import.arg("--data").arg(&stack.data).args(["--profile", &format!("r{round}")]);
            import.args(["--output", "id", "import"]).arg(images.path("v3")).arg(name);
            let (begun, before) = (Instant::now(), stack.cpu());
            ran(&mut import)?;
            let wall = begun.elapsed().as_secs_f64();
            series.add(Took { wall, cpu: stack.cpu() - before });
        }
    }
    let mut row = Row {
        number: "3",
        what: "`vmint import` over gRPC: upload, check, ingest, register".to_owned(),
        ours: format!("{}; again {}", sent.rate(data_mib), again.rate(data_mib)),
        limit: format!("row 1: {:.0} MiB/s", data_mib / alone),
        peers: vec!["Glance is not installed".to_owned()],
        noisy: sent.noisy(),
        ..Row::default()
    };
    row.goals.push(Goal::at_least("of row 1", alone / sent.wall(), 0.8).because(format!(
        "{:.2} s beyond storing it, of which {:.2} go for an image that is known, where next to \
         nothing is stored: the file is received whole before anything of it is used, so \
         receiving and storing add up",
        sent.wall() - alone,
        again.wall(),
    )));
    Ok(row)
}

/// `v1` is copied to another region, then `v2`.
async fn copying(
    bench: &Bench,
    images: &Images,
    stack: &Stack,
    grown: &[(&'static str, f64)],
) -> Result<Row> {
    eprintln!("row 11");
    let log = stack.data.join("far/logs/storage.log");
    let far = stack.channel_of("bench@far")?;
    let mut moved = Vec::new();
    for name in ["v1", "v2"] {
        let image = stack.import(&images.path(name), &format!("bench-{name}"))?;
        let begun = Instant::now();
        copy(&far, &image, &format!("copy-{name}")).await?;
        moved.push((copied_bytes(&fs::read_to_string(&log)?)?, begun.elapsed().as_secs_f64()));
    }
    // What the second one lacks where the first one is.
    let dir = tempfile::tempdir_in(&bench.dir)?;
    let store = BlockStore::open(dir.path(), Options::default())?;
    take_in(&store, domain(), &images.path("v1"))?;
    let missing = take_in(&store, domain(), &images.path("v2"))?.stored_bytes;
    #[allow(clippy::cast_precision_loss, reason = "far fewer than 2^53 bytes")]
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let [(first, whole), (second, rest)] = moved[..] else { return Err("two copies".into()) };
    let mut row = Row {
        number: "11",
        what: "copy of v2 to a region that has v1".to_owned(),
        ours: format!(
            "{:.1} MiB in {rest:.1} s (v1: {:.0} MiB, {whole:.1} s)",
            mib(second),
            mib(first)
        ),
        limit: format!(
            "its chunks that v1 has not, compressed, and its tree: {:.1} MiB",
            mib(missing)
        ),
        ..Row::default()
    };
    for peer in Peer::ALL {
        row.peers.push(match grown.iter().find(|(name, _)| *name == peer.name()) {
            Some((name, grown)) => format!("{name}'s store grows by {grown:.1} MiB"),
            None => format!("{} is not installed", peer.name()),
        });
    }
    let beyond = format!("{:.1} MiB beyond what is missing", mib(second) - mib(missing));
    row.goals.push(
        Goal::at_most("× what is missing", mib(second) / mib(missing), 1.05).because(&*beyond),
    );
    row.goals.push(
        Goal::at_most("× a whole copy's bytes", mib(second) / mib(first), 0.15).because(format!(
            "what is missing is {:.2} of a whole copy by itself; {beyond}",
            mib(missing) / mib(first),
        )),
    );
    Ok(row)
}

async fn copy(far: &Channel, image: &str, name: &str) -> Result {
    let mut gateway = GatewayServiceClient::new(far.clone());
    let request = CopyImageRequest {
        source_region: "near".to_owned(),
        source_image_id: image.to_owned(),
        name: name.to_owned(),
        request_id: new_request_id(),
        ..Default::default()
    };
    let copy = gateway.copy_image(request).await?.into_inner().image.ok_or("no image")?;
    let until = Instant::now() + COPY;
    loop {
        let request = GetImageRequest { image_id: copy.image_id.clone() };
        let found = gateway.get_image(request).await?.into_inner().image.ok_or("no image")?;
        match found.state() {
            ImageState::Available => return Ok(()),
            ImageState::Pending if Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            state => return Err(format!("the copy is {state:?}").into()),
        }
    }
}

/// What the last copy moved, as the service's log says.
fn copied_bytes(log: &str) -> Result<u64> {
    let line = log.lines().rev().find(|line| line.contains("copied") && line.contains("moved"));
    let line = line.ok_or("the log tells of no copy")?;
    let after = line.split("moved").nth(1).unwrap_or_default();
    let digits = after.trim_start_matches(['"', ':', '=', ' ']);
    let digits: String = digits.chars().take_while(char::is_ascii_digit).collect();
    Ok(digits.parse()?)
}
