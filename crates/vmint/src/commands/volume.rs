//! Volumes.

use vmint_api::{
    gateway::v1::{AttachVolumeRequest, DetachVolumeRequest},
    storage::v1::{
        CreateVolumeRequest, DeleteVolumeRequest, GetVolumeRequest, ListVolumesRequest,
        ModifyVolumeRequest, Volume,
    },
};

use super::{image::filter, snapshot::new_tags};
use crate::{
    cli::{Output, VolumeCommand},
    client::{Client, Result, json, request_id, size, table},
};

pub(crate) async fn run(client: &Client, command: VolumeCommand) -> Result<()> {
    match command {
        VolumeCommand::List { filters } => list(client, &filters).await,
        VolumeCommand::Show { volume } => {
            let request = GetVolumeRequest { volume_id: volume };
            let volume = client.volumes().get_volume(request).await?.into_inner().volume;
            show(client, volume.as_slice())
        }
        VolumeCommand::Create { size_gib, snapshot, encrypt, tags } => {
            let request = CreateVolumeRequest {
                snapshot_id: snapshot,
                size_gib,
                encrypted: encrypt,
                tags: new_tags(tags)?,
                request_id: request_id(),
                ..Default::default()
            };
            let made = client.volumes().create_volume(request).await?.into_inner().volume;
            show(client, made.as_slice())
        }
        VolumeCommand::Attach { volume, instance, device, delete_on_termination } => {
            let request = AttachVolumeRequest {
                volume_id: volume,
                instance_id: instance,
                device_name: device,
                delete_on_termination,
                request_id: request_id(),
            };
            let volume = client.gateway().attach_volume(request).await?.into_inner().volume;
            show(client, volume.as_slice())
        }
        VolumeCommand::Detach { volume, force } => {
            let request = DetachVolumeRequest {
                volume_id: volume,
                instance_id: String::new(),
                force,
                request_id: request_id(),
            };
            let volume = client.gateway().detach_volume(request).await?.into_inner().volume;
            show(client, volume.as_slice())
        }
        VolumeCommand::Grow { volume, size_gib } => {
            let request = ModifyVolumeRequest {
                volume_id: volume.clone(),
                size_gib,
                request_id: request_id(),
                ..Default::default()
            };
            client.volumes().modify_volume(request).await?;
            let request = GetVolumeRequest { volume_id: volume };
            let volume = client.volumes().get_volume(request).await?.into_inner().volume;
            show(client, volume.as_slice())
        }
        VolumeCommand::Delete { volume } => {
            let request = DeleteVolumeRequest { volume_id: volume, request_id: request_id() };
            client.volumes().delete_volume(request).await?;
            Ok(())
        }
    }
}

async fn list(client: &Client, filters: &[String]) -> Result<()> {
    let mut request = ListVolumesRequest {
        page_size: 1000,
        filters: filters.iter().map(|text| filter(text)).collect::<Result<_>>()?,
        ..Default::default()
    };
    let mut volumes = Vec::new();
    loop {
        let page = client.storage().list_volumes(request.clone()).await?.into_inner();
        volumes.extend(page.volumes);
        if page.next_page_token.is_empty() {
            return show(client, &volumes);
        }
        request.page_token = page.next_page_token;
    }
}

fn show(client: &Client, volumes: &[Volume]) -> Result<()> {
    match client.output() {
        Output::Json => json("vmint.storage.v1.Volume", volumes),
        Output::Id => {
            for volume in volumes {
                println!("{}", volume.volume_id);
            }
            Ok(())
        }
        Output::Table => {
            let row = |volume: &Volume| {
                let state = volume.state().as_str_name();
                vec![
                    volume.volume_id.clone(),
                    state.trim_start_matches("VOLUME_STATE_").to_lowercase(),
                    size(u64::try_from(volume.size_bytes).unwrap_or_default()),
                    volume.snapshot_id.clone(),
                    volume.instance_id.clone(),
                    volume.device_name.clone(),
                    volume.hydrated_percent.map(|here| format!("{here} %")).unwrap_or_default(),
                ]
            };
            let rows: Vec<_> = volumes.iter().map(row).collect();
            table(&["ID", "STATE", "SIZE", "SNAPSHOT", "INSTANCE", "DEVICE", "HERE"], &rows);
            Ok(())
        }
    }
}
