//! The same with packs in a bucket.

use vmint_blocks::Options;

use super::*;

#[path = "../../../blocks/tests/s3/mod.rs"]
mod s3;

/// Whether packs are in a bucket: where the suite runs as a part of `bucket.rs`.
pub fn is_remote() -> bool {
    module_path!().starts_with("bucket")
}

/// The blocks in `dir` of the service that lies under `place`.
pub async fn open_blocks(place: &Path, dir: PathBuf) -> BlockStore {
    let options = Options { cache_bytes: 8 << 20, ..Options::default() };
    let place = place.to_owned();
    let open = move || {
        // That it runs on a directory for want of a server is in the log of skipped tests.
        let server = if is_remote() { s3::server() } else { None };
        let Some(server) = server else { return BlockStore::open(&dir, options).unwrap() };
        let objects = s3::options(&server.url, &place, 8 << 20);
        BlockStore::open_objects(&dir, options, &objects).unwrap()
    };
    tokio::task::spawn_blocking(open).await.unwrap()
}
