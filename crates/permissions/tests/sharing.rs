//! Owners and launch permissions, over a real socket.

#![allow(clippy::pedantic, clippy::unwrap_used)]

mod harness;

use harness::{Running, from, reason, saga, start};
use vmint_api::permissions::v1 as pb;
use vmint_store::Store;

const ANN: &str = "100000000001";
const BOB: &str = "200000000002";
const EVE: &str = "300000000003";
const IMAGE: &str = "ami-00000000000000001";
const NONE: &str = "ami-0000000000000000f";

async fn shared() -> Running {
    let mut running = start(Store::in_memory()).await;
    let accounts = [("ann", ANN), ("bob", BOB), ("eve", EVE)].map(|(name, id)| {
        pb::BootstrapAccount { name: name.into(), account_id: id.into(), ..Default::default() }
    });
    let first =
        pb::BootstrapRequest { organization_name: "Example".into(), accounts: accounts.to_vec() };
    running.internal.bootstrap(first).await.unwrap();
    running.internal.ensure_image_owner(own(IMAGE, ANN)).await.unwrap();
    running
}

fn own(image: &str, account: &str) -> pb::EnsureImageOwnerRequest {
    pb::EnsureImageOwnerRequest {
        saga: saga(1),
        image_id: image.into(),
        account_id: account.into(),
    }
}

fn change(add: &[&str], remove: &[&str]) -> pb::EnsureLaunchPermissionRequest {
    pb::EnsureLaunchPermissionRequest {
        saga: saga(1),
        image_id: IMAGE.into(),
        account_id: ANN.into(),
        add_account_ids: add.iter().map(|a| (*a).to_owned()).collect(),
        remove_account_ids: remove.iter().map(|a| (*a).to_owned()).collect(),
        ..Default::default()
    }
}

async fn check(
    running: &mut Running,
    account: &str,
    action: pb::ImageAction,
) -> pb::BatchCheckResponse {
    let request = pb::BatchCheckRequest {
        account_id: account.into(),
        action: action.into(),
        image_ids: [IMAGE, NONE, "ami-nonsense"].map(str::to_owned).to_vec(),
    };
    let answer = running.internal.batch_check(request).await.unwrap().into_inner();
    assert_eq!(answer.results.len(), 3);
    for unknown in &answer.results[1..] {
        assert!(!unknown.allowed && !unknown.visible && unknown.owner_id.is_empty());
    }
    answer
}

#[tokio::test]
async fn a_grant_opens_and_its_end_closes_at_once() {
    let mut running = shared().await;
    let launch = pb::ImageAction::Launch;
    let before = check(&mut running, BOB, launch).await;
    assert!(!before.results[0].allowed && before.results[0].owner_id.is_empty());
    assert!(check(&mut running, ANN, pb::ImageAction::Manage).await.results[0].allowed);

    let granted = running.internal.ensure_launch_permission(change(&[BOB, ANN], &[])).await;
    let granted = granted.unwrap().into_inner();
    assert_eq!(granted.account_ids, [BOB], "the owner is never listed");
    let open = check(&mut running, BOB, launch).await;
    assert!(open.results[0].allowed && open.results[0].owner_id == ANN);
    assert!(open.revision >= granted.revision && granted.revision > before.revision);
    assert!(!check(&mut running, BOB, pb::ImageAction::Manage).await.results[0].allowed);
    assert!(!check(&mut running, EVE, launch).await.results[0].visible);

    let again = running.internal.ensure_launch_permission(change(&[BOB], &[])).await;
    assert_eq!(again.unwrap().into_inner(), granted, "to do it again changes nothing");
    let revoked = running.internal.ensure_launch_permission(change(&[BOB], &[BOB])).await;
    assert!(revoked.unwrap().into_inner().account_ids.is_empty());
    assert!(!check(&mut running, BOB, launch).await.results[0].visible);
}

#[tokio::test]
async fn everybody_means_everybody() {
    let mut running = shared().await;
    let open = pb::EnsureLaunchPermissionRequest { add_public: true, ..change(&[], &[]) };
    assert!(running.internal.ensure_launch_permission(open).await.unwrap().into_inner().public);
    let seen = check(&mut running, EVE, pb::ImageAction::Launch).await;
    assert!(seen.results[0].allowed && seen.results[0].public);
    let both = pb::EnsureLaunchPermissionRequest {
        add_public: true,
        remove_public: true,
        ..change(&[], &[])
    };
    assert!(!running.internal.ensure_launch_permission(both).await.unwrap().into_inner().public);
    assert!(!check(&mut running, EVE, pb::ImageAction::Describe).await.results[0].visible);
}

#[tokio::test]
async fn only_the_owner_shares_and_others_learn_nothing() {
    let mut running = shared().await;
    let get = |image: &str| pb::GetLaunchPermissionRequest { image_id: image.into() };
    let hidden = running.users.get_launch_permission(from(EVE, get(IMAGE))).await.unwrap_err();
    let missing = running.users.get_launch_permission(from(EVE, get(NONE))).await.unwrap_err();
    assert_eq!(hidden.message().replace(IMAGE, ""), missing.message().replace(NONE, ""));
    assert_eq!((hidden.code(), reason(&hidden)), (missing.code(), "IMAGE_NOT_FOUND".into()));

    running.internal.ensure_launch_permission(change(&[BOB], &[])).await.unwrap();
    let known = running.users.get_launch_permission(from(BOB, get(IMAGE))).await.unwrap_err();
    assert_eq!(reason(&known), "NOT_OWNER");
    let own = running.users.get_launch_permission(from(ANN, get(IMAGE))).await.unwrap();
    assert_eq!(own.into_inner().account_ids, [BOB]);
    let bad = running.users.get_launch_permission(from(ANN, get("ami-1"))).await.unwrap_err();
    assert_eq!(reason(&bad), "FIELD_INVALID");

    for (by, expected) in [(BOB, "NOT_OWNER"), (EVE, "IMAGE_NOT_FOUND")] {
        let change =
            pb::EnsureLaunchPermissionRequest { account_id: by.into(), ..change(&[EVE], &[]) };
        let refused = running.internal.ensure_launch_permission(change).await.unwrap_err();
        assert_eq!(reason(&refused), expected);
    }
    let unknown = change(&["999999999999"], &[]);
    let unknown = running.internal.ensure_launch_permission(unknown).await.unwrap_err();
    assert_eq!(reason(&unknown), "ACCOUNT_NOT_FOUND");
}

#[tokio::test]
async fn an_image_is_owned_once_and_forgotten_wholly() {
    let mut running = shared().await;
    running.internal.ensure_image_owner(own(IMAGE, ANN)).await.unwrap();
    let stolen = running.internal.ensure_image_owner(own(IMAGE, BOB)).await.unwrap_err();
    assert_eq!(reason(&stolen), "NOT_OWNER");
    let nobody = running.internal.ensure_image_owner(own(NONE, "999999999999")).await.unwrap_err();
    assert_eq!(reason(&nobody), "ACCOUNT_NOT_FOUND");
    running.internal.ensure_launch_permission(change(&[BOB], &[])).await.unwrap();
    let release = || pb::ReleaseImageOwnerRequest { saga: saga(1), image_id: IMAGE.into() };
    running.internal.release_image_owner(release()).await.unwrap();
    running.internal.release_image_owner(release()).await.unwrap();
    running.internal.ensure_image_owner(own(IMAGE, EVE)).await.unwrap();
    assert!(!check(&mut running, BOB, pb::ImageAction::Launch).await.results[0].visible);
}

#[tokio::test]
async fn an_older_gateway_is_kept_out() {
    let mut running = shared().await;
    let of = |epoch| pb::EnsureLaunchPermissionRequest { saga: saga(epoch), ..change(&[BOB], &[]) };
    running.internal.ensure_launch_permission(of(5)).await.unwrap();
    running.internal.ensure_launch_permission(of(5)).await.unwrap();
    let late = running.internal.ensure_launch_permission(of(4)).await.unwrap_err();
    assert_eq!(reason(&late), "SAGA_FENCED");
    let none = pb::EnsureLaunchPermissionRequest { saga: None, ..of(5) };
    let none = running.internal.ensure_launch_permission(none).await.unwrap_err();
    assert_eq!(reason(&none), "FIELD_INVALID");
}

#[tokio::test]
async fn batches_are_bounded() {
    let mut running = shared().await;
    let request = |n, action: pb::ImageAction| pb::BatchCheckRequest {
        account_id: ANN.into(),
        action: action.into(),
        image_ids: vec![IMAGE.to_owned(); n],
    };
    let full = running.internal.batch_check(request(1000, pb::ImageAction::Launch)).await.unwrap();
    assert!(full.into_inner().results.iter().all(|r| r.allowed));
    for bad in [request(1001, pb::ImageAction::Launch), request(1, pb::ImageAction::Unspecified)] {
        let refused = running.internal.batch_check(bad).await.unwrap_err();
        assert_eq!(reason(&refused), "FIELD_INVALID");
    }
}

#[tokio::test]
async fn semantics_27_a_reset_takes_everybody_away_but_the_owner() {
    let mut running = shared().await;
    let open = pb::EnsureLaunchPermissionRequest { add_public: true, ..change(&[BOB, EVE], &[]) };
    running.internal.ensure_launch_permission(open).await.unwrap();
    let reset = pb::EnsureLaunchPermissionRequest { reset: true, ..change(&[], &[]) };
    for _twice in 0..2 {
        let left = running.internal.ensure_launch_permission(reset.clone()).await.unwrap();
        let left = left.into_inner();
        assert_eq!((left.public, left.account_ids.len()), (false, 0));
    }
    let bob = check(&mut running, BOB, pb::ImageAction::Launch).await;
    assert!(!bob.results[0].visible);
    let ann = check(&mut running, ANN, pb::ImageAction::Manage).await;
    assert!(ann.results[0].allowed);
}
