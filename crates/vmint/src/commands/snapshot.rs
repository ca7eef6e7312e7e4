//! Snapshots.

use vmint_api::{
    gateway::v1::{GetSnapshotPermissionRequest, ModifySnapshotPermissionRequest},
    storage::v1::{
        CopySnapshotRequest, CreateSnapshotRequest, CreateSnapshotsRequest, DeleteSnapshotRequest,
        ListSnapshotsRequest, Snapshot, SnapshotScope,
    },
    types::v1::Tag,
};

use super::image::filter;
use crate::{
    cli::{Output, SnapshotCommand},
    client::{Client, Failure, Result, json, request_id, size, table},
};

pub(crate) async fn run(client: &Client, command: SnapshotCommand) -> Result<()> {
    match command {
        SnapshotCommand::List { all, filters } => list(client, all, &filters).await,
        SnapshotCommand::Create { volume, description, tags } => {
            let request = CreateSnapshotRequest {
                volume_id: volume,
                description,
                tags: new_tags(tags)?,
                request_id: request_id(),
            };
            let made = client.snapshots().create_snapshot(request).await?.into_inner().snapshot;
            show(client, made.as_slice())
        }
        SnapshotCommand::CreateSet { instance, no_root, description } => {
            let request = CreateSnapshotsRequest {
                instance_id: instance,
                exclude_boot_volume: no_root,
                description,
                request_id: request_id(),
                ..Default::default()
            };
            let made = client.snapshots().create_snapshots(request).await?.into_inner();
            show(client, &made.snapshots)
        }
        SnapshotCommand::Copy { snapshot, description, into } => {
            let request = CopySnapshotRequest {
                source_region: into.from_region,
                source_snapshot_id: snapshot,
                description,
                encrypted: into.encrypt,
                kms_key_id: into.kms_key,
                request_id: request_id(),
                ..Default::default()
            };
            let made = client.snapshots().copy_snapshot(request).await?.into_inner().snapshot;
            show(client, made.as_slice())
        }
        SnapshotCommand::Share { snapshot, add, remove, public, private } => {
            let request = ModifySnapshotPermissionRequest {
                snapshot_id: snapshot,
                add_account_ids: add,
                remove_account_ids: remove,
                add_public: public,
                remove_public: private,
                request_id: request_id(),
            };
            share(client, request).await
        }
        SnapshotCommand::Export { snapshot, file, format } => {
            super::export::run(client, &snapshot, &file, &format).await
        }
        SnapshotCommand::Delete { snapshot, dry_run } => {
            let request =
                DeleteSnapshotRequest { snapshot_id: snapshot, request_id: request_id(), dry_run };
            let answer = client.storage().delete_snapshot(request).await?.into_inner();
            if dry_run {
                println!("would free  {} bytes", answer.freed_bytes);
            }
            Ok(())
        }
    }
}

/// Tags as they are written: KEY=VALUE, or a key alone.
pub(super) fn new_tags(texts: Vec<String>) -> Result<Vec<Tag>> {
    let tag = |text: String| {
        let (key, value) = text.split_once('=').unwrap_or((&text, ""));
        if key.is_empty() {
            return Err(Failure::usage(format!("`{text}` is not a tag: use KEY=VALUE")));
        }
        Ok(Tag { key: key.to_owned(), value: value.to_owned() })
    };
    texts.into_iter().map(tag).collect()
}

async fn share(client: &Client, request: ModifySnapshotPermissionRequest) -> Result<()> {
    let asks_only = request.add_account_ids.is_empty()
        && request.remove_account_ids.is_empty()
        && !request.add_public
        && !request.remove_public;
    let (public, accounts) = if asks_only {
        let request = GetSnapshotPermissionRequest { snapshot_id: request.snapshot_id };
        let now = client.gateway().get_snapshot_permission(request).await?.into_inner();
        (now.public, now.account_ids)
    } else {
        let now = client.gateway().modify_snapshot_permission(request).await?.into_inner();
        (now.public, now.account_ids)
    };
    let everybody = public.then(|| "everybody".to_owned());
    for who in everybody.into_iter().chain(accounts) {
        println!("{who}");
    }
    Ok(())
}

async fn list(client: &Client, all: bool, filters: &[String]) -> Result<()> {
    let scope = if all { SnapshotScope::Readable } else { SnapshotScope::Unspecified };
    let mut request = ListSnapshotsRequest {
        page_size: 1000,
        filters: filters.iter().map(|text| filter(text)).collect::<Result<_>>()?,
        scope: scope.into(),
        ..Default::default()
    };
    let mut snapshots = Vec::new();
    loop {
        let page = client.storage().list_snapshots(request.clone()).await?.into_inner();
        snapshots.extend(page.snapshots);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    show(client, &snapshots)
}

fn show(client: &Client, snapshots: &[Snapshot]) -> Result<()> {
    match client.output() {
        Output::Json => json("vmint.storage.v1.Snapshot", snapshots),
        Output::Id => {
            for snapshot in snapshots {
                println!("{}", snapshot.snapshot_id);
            }
            Ok(())
        }
        Output::Table => {
            let row = |snapshot: &Snapshot| {
                let state = snapshot.state().as_str_name();
                vec![
                    snapshot.snapshot_id.clone(),
                    state.trim_start_matches("SNAPSHOT_STATE_").to_lowercase(),
                    size(u64::try_from(snapshot.size_bytes).unwrap_or_default()),
                    size(u64::try_from(snapshot.new_bytes).unwrap_or_default()),
                    snapshot.consistency.clone(),
                    snapshot.image_ids.len().to_string(),
                ]
            };
            let rows: Vec<_> = snapshots.iter().map(row).collect();
            table(&["ID", "STATE", "SIZE", "NEW DATA", "MADE", "IMAGES"], &rows);
            Ok(())
        }
    }
}
