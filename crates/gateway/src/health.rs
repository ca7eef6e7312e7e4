//! How the services behind the door are.

use std::{collections::BTreeSet, time::Duration};

use tokio_util::sync::CancellationToken;
use tonic_health::{
    ServingStatus,
    pb::{HealthCheckRequest, health_check_response, health_client::HealthClient},
    server::HealthReporter,
};
use vmint_daemon::Readiness;

use crate::{
    door::public_services,
    peers::{Peers, SERVICES},
};

const EVERY: Duration = Duration::from_secs(2);
const EVERY_AT_FIRST: Duration = Duration::from_millis(50);
const ANSWER: Duration = Duration::from_secs(1);

/// Asks every service again and again how it is; the gateway is ready once all
/// have been well.
pub(crate) async fn follow(
    peers: Peers,
    reporter: HealthReporter,
    readiness: Readiness,
    stop: CancellationToken,
) {
    let mut waiting = SERVICES.into_iter().collect::<BTreeSet<_>>();
    while !stop.is_cancelled() {
        let asked = SERVICES.map(|service| is_well(&peers, service));
        let well = futures::future::join_all(asked).await;
        for (service, well) in SERVICES.into_iter().zip(&well) {
            report(&reporter, service, *well).await;
            if *well {
                waiting.remove(service);
            }
        }
        let all = well.iter().all(|well| *well);
        report(&reporter, "gateway", true).await;
        reporter.set_service_status("", status(all)).await;
        if stop.is_cancelled() {
            break;
        }
        if waiting.is_empty() {
            readiness.set_ready();
        } else {
            let names = waiting.iter().copied().collect::<Vec<_>>().join(", ");
            readiness.not_ready(&format!("waiting for {names}"));
        }
        let pause = if waiting.is_empty() { EVERY } else { EVERY_AT_FIRST };
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
    reporter.set_service_status("", ServingStatus::NotServing).await;
}

async fn is_well(peers: &Peers, service: &'static str) -> bool {
    let mut client = HealthClient::new(peers.of(service).deadline(ANSWER));
    let request = HealthCheckRequest { service: String::new() };
    let answer = tokio::time::timeout(ANSWER, client.check(request)).await;
    let serving = health_check_response::ServingStatus::Serving;
    matches!(answer, Ok(Ok(answer)) if answer.get_ref().status() == serving)
}

async fn report(reporter: &HealthReporter, service: &str, well: bool) {
    let prefix = format!("vmint.{service}.");
    for name in public_services().into_iter().filter(|name| name.starts_with(&prefix)) {
        reporter.set_service_status(name, status(well)).await;
    }
}

fn status(well: bool) -> ServingStatus {
    if well { ServingStatus::Serving } else { ServingStatus::NotServing }
}
