//! What is asked of bundles and objects.
#![allow(dead_code, unreachable_pub, reason = "each test uses some of it")]

use tokio_stream::StreamExt as _;
use tonic::Status;
use vmint_api::storage::v1::{
    self as pb, disk_source::Source, put_object_request::Part, read_object_response::Part as Read,
};

use super::harness::{ANN, Place, Running, from};

pub const BUCKET: &str = "anns-disks";
pub const PREFIX: &str = "golden/web";

/// Where the bundle lies.
pub fn at() -> String {
    format!("{BUCKET}/{PREFIX}.manifest.xml")
}

pub fn asking(snapshot: &str) -> pb::CreateInstanceBundleRequest {
    pb::CreateInstanceBundleRequest {
        snapshot_id: snapshot.to_owned(),
        bucket: BUCKET.to_owned(),
        prefix: PREFIX.to_owned(),
        request_id: "bundle".to_owned(),
        ..Default::default()
    }
}

pub fn mapping(name: &str, device: &str) -> pb::InstanceBundleMapping {
    pb::InstanceBundleMapping { virtual_name: name.to_owned(), device_name: device.to_owned() }
}

impl Running {
    pub async fn bucket(&mut self, account: &str, bucket: &str) {
        let request = pb::CreateBucketRequest { bucket: bucket.to_owned(), ..Default::default() };
        self.objects.create_bucket(from(account, request)).await.unwrap();
    }

    pub async fn put(&mut self, account: &str, bucket: &str, key: &str, bytes: &[u8]) {
        let head = pb::PutObjectHead {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            ..Default::default()
        };
        let parts = [Part::Head(head)].into_iter();
        let pieces = bytes.chunks(256 << 10).map(|piece| Part::Content(piece.to_vec().into()));
        let parts = parts.chain(pieces).chain([Part::Commit(pb::PutObjectCommit::default())]);
        let parts: Vec<_> = parts.map(|part| pb::PutObjectRequest { part: Some(part) }).collect();
        let parts = from(account, tokio_stream::iter(parts));
        self.objects.put_object(parts).await.unwrap();
    }

    /// An object in the bucket of the bundle.
    pub async fn object(&mut self, account: &str, key: &str) -> Vec<u8> {
        let request = pb::ReadObjectRequest {
            bucket: BUCKET.to_owned(),
            key: key.to_owned(),
            ..Default::default()
        };
        let mut pieces =
            self.objects.read_object(from(account, request)).await.unwrap().into_inner();
        let mut bytes = Vec::new();
        while let Some(piece) = pieces.next().await {
            if let Some(Read::Content(content)) = piece.unwrap().part {
                bytes.extend_from_slice(&content);
            }
        }
        bytes
    }

    pub async fn delete_object(&mut self, account: &str, key: &str) {
        let request = pb::DeleteObjectsRequest {
            bucket: BUCKET.to_owned(),
            keys: vec![key.to_owned()],
            ..Default::default()
        };
        self.objects.delete_objects(from(account, request)).await.unwrap();
    }

    pub async fn keys(&mut self, account: &str, bucket: &str) -> Vec<String> {
        let request = pb::ListObjectsRequest { bucket: bucket.to_owned(), ..Default::default() };
        let page = self.objects.list_objects(from(account, request)).await.unwrap();
        page.into_inner().objects.into_iter().map(|object| object.key).collect()
    }

    pub async fn remove_all(&mut self, account: &str, bucket: &str) {
        for key in self.keys(account, bucket).await {
            self.delete_object(account, &key).await;
        }
    }

    /// Makes a bundle and follows it to its end.
    pub async fn bundled(
        &mut self,
        account: &str,
        request: pb::CreateInstanceBundleRequest,
    ) -> pb::InstanceBundleTask {
        let begun = self.instance_bundles.create_instance_bundle(from(account, request)).await;
        let task = begun.unwrap().into_inner().task.unwrap();
        self.bundle_ended(account, &task.task_id).await
    }

    pub async fn bundle_ended(&mut self, account: &str, task_id: &str) -> pb::InstanceBundleTask {
        let request = pb::WatchInstanceBundleTaskRequest { task_id: task_id.to_owned() };
        let changes = self.instance_bundles.watch_instance_bundle_task(from(account, request));
        let changes = changes.await.unwrap().into_inner().collect::<Vec<_>>().await;
        changes.into_iter().next_back().unwrap().unwrap().task.unwrap()
    }

    pub async fn described(
        &mut self,
        account: &str,
        location: &str,
    ) -> Result<pb::InstanceBundle, Status> {
        let request = pb::DescribeInstanceBundleRequest { manifest_location: location.to_owned() };
        let found = self.instance_bundles.describe_instance_bundle(from(account, request)).await?;
        Ok(found.into_inner().bundle.unwrap())
    }

    /// Reads a bundle back, to the end of the import.
    pub async fn restoring(
        &mut self,
        account: &str,
        location: &str,
        request_id: &str,
    ) -> Result<pb::ImportTask, Status> {
        let source = Some(Source::BundleManifest(location.to_owned()));
        let request = pb::StartSnapshotImportRequest {
            source: Some(pb::DiskSource { source, ..Default::default() }),
            request_id: request_id.to_owned(),
            ..Default::default()
        };
        let begun = self.transfer.start_snapshot_import(from(account, request)).await?;
        let task_id = begun.into_inner().task.unwrap().task_id;
        let request = pb::WatchImportTaskRequest { task_id };
        let changes = self.transfer.watch_import_task(from(account, request)).await.unwrap();
        let changes = changes.into_inner().collect::<Vec<_>>().await;
        Ok(changes.into_iter().next_back().unwrap().unwrap().task.unwrap())
    }

    /// The snapshot that a bundle becomes.
    pub async fn restored(
        &mut self,
        account: &str,
        location: &str,
        request_id: &str,
    ) -> Result<pb::Snapshot, Status> {
        let task = self.restoring(account, location, request_id).await?;
        assert_eq!(task.state(), pb::TransferState::Completed, "{}", task.status_message);
        let snapshot_id = task.disks[0].snapshot_id.clone();
        let request = from(account, pb::GetSnapshotRequest { snapshot_id });
        Ok(self.users.get_snapshot(request).await.unwrap().into_inner().snapshot.unwrap())
    }

    pub async fn snapshot_ids(&mut self, account: &str) -> Vec<String> {
        let request = pb::ListSnapshotsRequest { page_size: 900, ..Default::default() };
        let page = self.users.list_snapshots(from(account, request)).await.unwrap();
        page.into_inner().snapshots.into_iter().map(|found| found.snapshot_id).collect()
    }

    pub async fn assert_tasks(&mut self, account: &str, count: usize) {
        let request = pb::ListInstanceBundleTasksRequest { page_size: 900, ..Default::default() };
        let page = self.instance_bundles.list_instance_bundle_tasks(from(account, request)).await;
        assert_eq!(page.unwrap().into_inner().tasks.len(), count);
    }

    /// No object, and no file that was to become one.
    pub async fn assert_empty(&mut self, place: &Place) {
        assert_eq!(self.keys(ANN, BUCKET).await, Vec::<String>::new());
        let files = std::fs::read_dir(place.data().join("objects")).unwrap().count();
        assert_eq!(files, 0, "files are left");
    }
}
