//! Access keys, over a real socket.

#![allow(clippy::pedantic, clippy::unwrap_used)]

mod harness;

use std::time::{SystemTime, UNIX_EPOCH};

use harness::{Running, from, operator, reason, start, start_with};
use time::{OffsetDateTime, macros::format_description};
use vmint_api::permissions::v1 as pb;
use vmint_permissions::WrappingKey;
use vmint_store::{Options, Store};

const ADMIN: &str = "100000000001";
const ANN: &str = "200000000002";
const CHOSEN: (&str, &str) = ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");

fn first() -> pb::BootstrapRequest {
    let account = |name: &str, id: &str, operator, keys: &[(&str, &str)]| pb::BootstrapAccount {
        name: name.into(),
        account_id: id.into(),
        operator,
        token: String::new(),
        access_keys: keys
            .iter()
            .map(|(id, secret)| pb::BootstrapAccessKey {
                access_key_id: (*id).into(),
                secret_access_key: (*secret).into(),
            })
            .collect(),
    };
    pb::BootstrapRequest {
        organization_name: "Example".into(),
        accounts: vec![account("admin", ADMIN, true, &[]), account("ann", ANN, false, &[CHOSEN])],
    }
}

async fn booted() -> Running {
    let mut running = start(Store::in_memory()).await;
    running.internal.bootstrap(first()).await.unwrap();
    running
}

fn today() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    let now = OffsetDateTime::from_unix_timestamp(now).unwrap();
    now.format(format_description!("[year][month][day]")).unwrap()
}

async fn signing(running: &mut Running, id: &str) -> Result<pb::GetSigningKeyResponse, String> {
    let request = pb::GetSigningKeyRequest {
        access_key_id: id.into(),
        date: today(),
        region: "here".into(),
        service: "ec2".into(),
    };
    let answer = running.internal.get_signing_key(request).await;
    answer.map(tonic::Response::into_inner).map_err(|status| reason(&status))
}

fn key(principal: &str, request_id: &str) -> pb::CreateAccessKeyRequest {
    pb::CreateAccessKeyRequest {
        principal: principal.into(),
        request_id: request_id.into(),
        ..Default::default()
    }
}

async fn set(
    running: &mut Running,
    account: &str,
    id: &str,
    status: pb::AccessKeyStatus,
) -> Result<(), String> {
    let (access_key_id, status) = (id.to_owned(), status.into());
    let request = pb::UpdateAccessKeyRequest { access_key_id, status, request_id: "u".into() };
    let answer = running.users.update_access_key(from(account, request)).await;
    answer.map(drop).map_err(|status| reason(&status))
}

async fn delete(running: &mut Running, account: &str, id: &str) -> Result<(), String> {
    let request =
        pb::DeleteAccessKeyRequest { access_key_id: id.into(), request_id: String::new() };
    let answer = running.users.delete_access_key(from(account, request)).await;
    answer.map(drop).map_err(|status| reason(&status))
}

#[tokio::test]
async fn a_key_is_made_shown_once_used_turned_off_and_destroyed() {
    let mut running = booted().await;
    let made = running.users.create_access_key(from(ANN, key("", "1"))).await.unwrap().into_inner();
    let again =
        running.users.create_access_key(from(ANN, key("", "1"))).await.unwrap().into_inner();
    let made_key = made.access_key.unwrap();
    let id = made_key.access_key_id.clone();
    assert_eq!((id.len(), made.secret_access_key.len()), (20, 40));
    assert_eq!((made_key.principal.as_str(), made_key.read_only), ("alice", false));
    assert_eq!(again.access_key.unwrap(), made_key);
    assert_eq!(again.secret_access_key, "", "the secret was shown twice");

    let answer = signing(&mut running, &id).await.unwrap();
    assert_eq!(answer.account.unwrap().account_id, ANN);
    assert_eq!(answer.access_key.unwrap(), made_key);
    assert_eq!(answer.signing_key.len(), 32);

    set(&mut running, ANN, &id, pb::AccessKeyStatus::Inactive).await.unwrap();
    assert_eq!(signing(&mut running, &id).await.unwrap_err(), "ACCESS_KEY_NOT_FOUND");
    set(&mut running, ANN, &id, pb::AccessKeyStatus::Active).await.unwrap();
    assert!(signing(&mut running, &id).await.is_ok());

    let others = set(&mut running, ADMIN, &id, pb::AccessKeyStatus::Inactive).await;
    assert_eq!(others.unwrap_err(), "ACCESS_KEY_NOT_FOUND");
    assert_eq!(delete(&mut running, ADMIN, &id).await.unwrap_err(), "ACCESS_KEY_NOT_FOUND");
    delete(&mut running, ANN, &id).await.unwrap();
    assert_eq!(signing(&mut running, &id).await.unwrap_err(), "ACCESS_KEY_NOT_FOUND");
    assert_eq!(delete(&mut running, ANN, &id).await.unwrap_err(), "ACCESS_KEY_NOT_FOUND");
}

#[tokio::test]
async fn a_principal_has_two_keys_and_others_have_their_own() {
    let mut running = booted().await;
    for request_id in ["1", "2"] {
        running.users.create_access_key(from(ANN, key("ci", request_id))).await.unwrap();
    }
    let third = running.users.create_access_key(from(ANN, key("ci", "3"))).await.unwrap_err();
    assert_eq!(reason(&third), "TOO_MANY_ACCESS_KEYS");
    running.users.create_access_key(from(ANN, key("other", "4"))).await.unwrap();
    running.users.create_access_key(from(ADMIN, key("ci", "5"))).await.unwrap();

    let mut seen = Vec::new();
    let mut request = pb::ListAccessKeysRequest { page_size: 3, page_token: String::new() };
    loop {
        let page = running.users.list_access_keys(from(ANN, request.clone())).await;
        let page = page.unwrap().into_inner();
        seen.extend(page.access_keys);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(seen.len(), 4, "three made, one of the first start");
    assert!(seen.iter().all(|key| key.account_id == ANN));
    let ids: Vec<_> = seen.iter().map(|key| key.access_key_id.clone()).collect();
    assert!(ids.is_sorted());
}

#[tokio::test]
async fn only_the_operator_chooses_and_makes_for_others() {
    let mut running = booted().await;
    let chosen = pb::CreateAccessKeyRequest {
        account_id: ANN.into(),
        access_key_id: "CHOSENKEY".into(),
        secret_access_key: "chosen-secret".into(),
        ..key("bob", "1")
    };
    for bad in
        [pb::CreateAccessKeyRequest { account_id: ADMIN.into(), ..key("bob", "2") }, chosen.clone()]
    {
        let refused = running.users.create_access_key(from(ANN, bad)).await.unwrap_err();
        assert_eq!(reason(&refused), "OPERATOR_ONLY");
    }
    let made = running.users.create_access_key(operator(ADMIN, chosen.clone())).await.unwrap();
    assert_eq!(made.into_inner().secret_access_key, "chosen-secret");
    assert_eq!(signing(&mut running, "CHOSENKEY").await.unwrap().account.unwrap().account_id, ANN);
    let again = pb::CreateAccessKeyRequest { request_id: "3".into(), ..chosen };
    let taken = running.users.create_access_key(operator(ADMIN, again)).await.unwrap_err();
    assert_eq!(reason(&taken), "ACCESS_KEY_TAKEN");
}

fn by<T>(session: &str, message: T) -> tonic::Request<T> {
    let mut request = from(ANN, message);
    request.metadata_mut().insert("test-session", session.parse().unwrap());
    request
}

#[tokio::test]
async fn what_a_read_only_session_or_key_makes_is_read_only() {
    let mut running = booted().await;
    let session = pb::CreateSessionRequest {
        principal: "reader".into(),
        read_only: true,
        request_id: "1".into(),
        ..Default::default()
    };
    let session = running.users.create_session(from(ANN, session)).await.unwrap().into_inner();
    let session = session.session.unwrap().session_id;
    let made = running.users.create_access_key(by(&session, key("", "2"))).await.unwrap();
    let made = made.into_inner().access_key.unwrap();
    assert!(made.read_only);

    let from_key = running.users.create_access_key(by(&made.access_key_id, key("x", "3"))).await;
    assert!(from_key.unwrap().into_inner().access_key.unwrap().read_only);
    let request = pb::CreateSessionRequest { request_id: "4".into(), ..Default::default() };
    let from_key = running.users.create_session(by(&made.access_key_id, request)).await;
    assert!(from_key.unwrap().into_inner().session.unwrap().read_only);
}

#[tokio::test]
async fn a_use_is_recorded_once_a_minute() {
    let mut running = booted().await;
    let listed = |key: &pb::AccessKey| (key.last_used_time, key.last_used_service.clone());
    let mut seen = Vec::new();
    for service in ["", "ec2", "sts"] {
        if !service.is_empty() {
            let (access_key_id, service) = (CHOSEN.0.to_owned(), service.to_owned());
            let request = pb::RecordAccessKeyUseRequest { access_key_id, service };
            running.internal.record_access_key_use(request).await.unwrap();
        }
        let page = running.users.list_access_keys(from(ANN, Default::default())).await.unwrap();
        seen.push(listed(&page.into_inner().access_keys[0]));
    }
    assert_eq!(seen[0], (None, String::new()));
    assert!(seen[1].0.is_some() && seen[1].1 == "ec2");
    assert_eq!(seen[1], seen[2]);
}

#[tokio::test]
async fn chosen_keys_come_once_and_their_secrets_are_on_no_disk() {
    let dir = tempfile::tempdir().unwrap();
    let wrapping = WrappingKey::random();
    let open = || Store::open(dir.path(), Options::default()).unwrap();
    let store = open();
    let mut running = start_with(store.clone(), wrapping.clone()).await;
    running.internal.bootstrap(first()).await.unwrap();
    let before = signing(&mut running, CHOSEN.0).await.unwrap();
    running.stop().await;
    store.close().await;
    drop(store);

    let store = open();
    let mut running = start_with(store.clone(), wrapping).await;
    running.internal.bootstrap(first()).await.unwrap();
    assert_eq!(signing(&mut running, CHOSEN.0).await.unwrap(), before);
    delete(&mut running, ANN, CHOSEN.0).await.unwrap();
    running.internal.bootstrap(first()).await.unwrap();
    assert_eq!(signing(&mut running, CHOSEN.0).await.unwrap_err(), "ACCESS_KEY_NOT_FOUND");
    let list = running.users.list_access_keys(from(ANN, Default::default())).await.unwrap();
    assert_eq!(list.into_inner().access_keys, []);
    running.stop().await;
    store.close().await;
    drop(store);

    // Another wrapping key opens nothing, and says so.
    let store = open();
    let mut running = start_with(store.clone(), WrappingKey::random()).await;
    let mut other = first();
    other.accounts[1].access_keys[0].access_key_id = "ANOTHERKEY".into();
    running.internal.bootstrap(other).await.unwrap();
    running.stop().await;
    let mut running = start_with(store.clone(), WrappingKey::random()).await;
    assert_eq!(signing(&mut running, "ANOTHERKEY").await.unwrap_err(), "STORE_FAILED");
    running.stop().await;
    store.close().await;

    let mut found = (false, false);
    for entry in std::fs::read_dir(dir.path()).unwrap().flat_map(|e| files(e.unwrap().path())) {
        let bytes = std::fs::read(&entry).unwrap();
        let has = |text: &str| bytes.windows(text.len()).any(|w| w == text.as_bytes());
        found = (found.0 || has(CHOSEN.0), found.1 || has(CHOSEN.1));
    }
    assert_eq!(found, (true, false));
}

fn files(path: std::path::PathBuf) -> Vec<std::path::PathBuf> {
    if !path.is_dir() {
        return vec![path];
    }
    std::fs::read_dir(path).unwrap().flat_map(|entry| files(entry.unwrap().path())).collect()
}
