//! Snapshots.

use vmint_api::storage::v1::{DeleteSnapshotRequest, ListSnapshotsRequest, Snapshot};

use crate::{
    cli::{Output, SnapshotCommand},
    client::{Client, Result, json, request_id, size, table},
};

pub(crate) async fn run(client: &Client, command: SnapshotCommand) -> Result<()> {
    match command {
        SnapshotCommand::List => list(client).await,
        SnapshotCommand::Export { snapshot, file, format } => {
            super::export::run(client, &snapshot, &file, &format).await
        }
        SnapshotCommand::Delete { snapshot } => {
            let request = DeleteSnapshotRequest { snapshot_id: snapshot, request_id: request_id() };
            client.storage().delete_snapshot(request).await?;
            Ok(())
        }
    }
}

async fn list(client: &Client) -> Result<()> {
    let mut request = ListSnapshotsRequest { page_size: 1000, ..Default::default() };
    let mut snapshots = Vec::new();
    loop {
        let page = client.storage().list_snapshots(request.clone()).await?.into_inner();
        snapshots.extend(page.snapshots);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    match client.output() {
        Output::Json => json("vmint.storage.v1.Snapshot", &snapshots),
        Output::Id => {
            for snapshot in &snapshots {
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
