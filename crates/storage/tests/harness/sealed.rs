//! Encrypted copies, and keys for them.

use vmint_api::storage::v1 as pb;

use super::{Running, from, image, saga, snap};

/// Copies a snapshot into number `into`, encrypted under `key`, as the gateway would for an image.
pub async fn copy(
    running: &mut Running,
    account: &str,
    source: &str,
    into: u64,
    key: &str,
) -> Result<pb::Snapshot, tonic::Status> {
    let request = pb::EnsureSnapshotCopyRequest {
        saga: saga(1),
        account_id: account.to_owned(),
        copies: vec![pb::SnapshotCopy {
            source_snapshot_id: source.to_owned(),
            snapshot_id: snap(into),
        }],
        image_id: image(into),
        encrypted: true,
        kms_key_id: key.to_owned(),
        ..pb::EnsureSnapshotCopyRequest::default()
    };
    let made = running.internal.ensure_snapshot_copy(request).await?;
    Ok(made.into_inner().snapshots.remove(0))
}

/// A key of the account's own, made twice by one request.
pub async fn new_key(running: &mut Running, account: &str) -> String {
    let request =
        pb::CreateKeyRequest { description: "mine".to_owned(), request_id: "one".to_owned() };
    let first = running.keys.create_key(from(account, request.clone())).await.unwrap();
    let again = running.keys.create_key(from(account, request)).await.unwrap();
    let key = first.into_inner().key.unwrap();
    assert_eq!(again.into_inner().key.unwrap(), key);
    assert_eq!(key.state(), pb::KeyState::Enabled);
    key.kms_key_id
}
