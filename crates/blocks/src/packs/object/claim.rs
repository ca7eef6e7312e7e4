//! Whose a bucket is.

use std::{
    fs::{self, File},
    io::{self, Write as _},
};

use object_store::PutPayload;

use super::{ObjectPacks, other};

impl ObjectPacks {
    /// One store writes to a bucket: its name is in the bucket and in its directory.
    pub(super) fn claim(&self, take_over: bool) -> io::Result<()> {
        let path = self.dir.join("store-id");
        let id = match fs::read_to_string(&path) {
            Ok(id) => id,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut bytes = [0; 16];
                let random = ring::rand::SystemRandom::new();
                ring::rand::SecureRandom::fill(&random, &mut bytes).map_err(other)?;
                let id = format!("{:032x}", u128::from_le_bytes(bytes));
                // Renamed to its place, so that a crash leaves a whole id or none.
                let new = path.with_extension("new");
                let mut file = File::create(&new)?;
                file.write_all(id.as_bytes())?;
                file.sync_all()?;
                fs::rename(&new, &path)?;
                File::open(&self.dir)?.sync_all()?;
                id
            }
            Err(error) => return Err(error),
        };
        let key = self.key("owner");
        let owner = || self.wait(async { self.objects.get(&key).await?.bytes().await });
        let owner = match owner() {
            Ok(found) if !take_over => found,
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {
                self.wait(self.objects.put(&key, PutPayload::from(id.clone().into_bytes())))?;
                owner()?
            }
        };
        if owner[..] == *id.as_bytes() {
            return Ok(());
        }
        let text = "the bucket belongs to the store of another directory; use another prefix";
        Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
    }
}
