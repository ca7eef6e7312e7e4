//! Bundles are read: looked at, verified, and unfolded into a disk.

use std::{collections::BTreeSet, fs::File, path::Path, sync::Arc};

use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use vmint_ids::{AccountId, BundleTaskId, KmsKeyId, ProductCode};
use vmint_images::instance_bundle::{BundleError, MAX_MANIFEST_BYTES, Manifest, Unpacker, read};

use crate::{
    InstanceBundleError, Result, Storage, StorageError,
    bundle_seal::{PartKey, Signer},
    import_task::FileSource,
    instance_bundle::Location,
    key::Wish,
    object::{BucketName, ObjectKey, Wanted},
    store::{keys, objects},
    transfers::Job,
};

/// A disk that was unfolded, and what stays with its data.
#[derive(Debug)]
pub(in crate::ops) struct Unfolded {
    pub(in crate::ops) product_codes: BTreeSet<ProductCode>,
    pub(in crate::ops) encrypted: bool,
}

impl Storage {
    /// What a bundle of one's own says. Nothing of it was read before its
    /// signature held.
    pub(crate) async fn instance_bundle(
        &self,
        account: AccountId,
        location: &Location,
    ) -> Result<Manifest> {
        let key = location.manifest_key();
        let text = self.small_object(account, &location.bucket, &key, MAX_MANIFEST_BYTES).await?;
        let signer = Signer::of(&self.secret)?;
        let manifest = Self::blocking(move || Ok(read(&text, |body, it| signer.holds(body, it))?));
        let manifest = manifest.await?;
        if manifest.account != account.to_string() {
            return Err(InstanceBundleError::Denied.into());
        }
        Ok(manifest)
    }

    /// The same of a bundle whose parts are all there, each of its size.
    pub(crate) async fn whole_instance_bundle(
        &self,
        account: AccountId,
        location: &Location,
    ) -> Result<Manifest> {
        let manifest = self.instance_bundle(account, location).await?;
        let (storage, location) = (self.clone(), location.clone());
        Self::blocking(move || {
            for index in 0..manifest.parts.len() {
                storage.part_there(&location, &manifest, index)?;
            }
            Ok(manifest)
        })
        .await
    }

    /// Reads every part of a bundle and holds it to its digest; tells how many
    /// do after each.
    pub(crate) async fn verify_instance_bundle(
        &self,
        account: AccountId,
        location: Location,
    ) -> Result<(Arc<Manifest>, mpsc::Receiver<Result<usize>>)> {
        let manifest = Arc::new(self.whole_instance_bundle(account, &location).await?);
        let (send, receive) = mpsc::channel(4);
        let (storage, of, stop) = (self.clone(), manifest.clone(), self.transfers.stop.clone());
        self.tasks.spawn(async move {
            for index in 0..of.parts.len() {
                let part = tokio::select! {
                    () = stop.cancelled() => Err(StorageError::Cancelled),
                    part = storage.part(account, &location, &of, index) => part,
                };
                let over = part.is_err();
                // Nobody listens when the caller has gone.
                if send.send(part.map(|_| index + 1)).await.is_err() || over {
                    return;
                }
            }
        });
        Ok((manifest, receive))
    }

    /// Writes the disk of a bundle to a file. Each part is held to its digest
    /// before any of it is decrypted, and the disk to its own at the end.
    pub(in crate::ops) async fn unfold_instance_bundle(
        &self,
        account: AccountId,
        location: &Location,
        path: &Path,
        job: &Job,
        span: std::ops::Range<u64>,
    ) -> Result<Unfolded> {
        let manifest = self.instance_bundle(account, location).await?;
        let limit = self.config.max_disk_bytes;
        if manifest.size_bytes > limit {
            return Err(StorageError::FileTooLarge { bytes: manifest.size_bytes, limit });
        }
        let mut key = self.part_key(account, &manifest).await?;
        let path = path.to_owned();
        let file = Self::blocking(move || {
            if let Some(dir) = path.parent() {
                std::fs::create_dir_all(dir)?;
            }
            Ok(File::create(path)?)
        });
        let mut disk = Unpacker::new(file.await?, &manifest);
        let count = manifest.parts.len() as u64;
        for index in 0..manifest.parts.len() {
            if job.stop.is_cancelled() {
                return Err(StorageError::Cancelled);
            }
            let mut part = self.part(account, location, &manifest, index).await?;
            let name = location.part_key(&manifest.name, index).to_string();
            let taken = Self::blocking(move || {
                let plain = key.open(index, &mut part);
                disk.take(plain.ok_or(InstanceBundleError::PartChanged { key: name })?)?;
                Ok((key, disk))
            });
            (key, disk) = taken.await?;
            job.at(span.start + (index as u64 + 1) * (span.end - span.start) / count);
        }
        Self::blocking(move || Ok(disk.finish().map(drop)?)).await?;
        Ok(Unfolded { product_codes: codes(&manifest)?, encrypted: manifest.encrypted })
    }

    /// What is wanted of an import, with what its bundles demand: what was
    /// encrypted becomes nothing less.
    pub(in crate::ops) async fn wish_of_bundles<'a>(
        &self,
        account: AccountId,
        sources: impl Iterator<Item = &'a FileSource> + Send,
        mut wish: Wish,
    ) -> Result<Wish> {
        for source in sources {
            let FileSource::Bundle(location) = source else { continue };
            if self.whole_instance_bundle(account, location).await?.encrypted {
                wish.encrypted = Some(true);
            }
        }
        Ok(wish)
    }

    /// Part `index`, as it was stored.
    async fn part(
        &self,
        account: AccountId,
        location: &Location,
        manifest: &Manifest,
        index: usize,
    ) -> Result<Vec<u8>> {
        let key = self.part_there(location, manifest, index)?;
        let part = &manifest.parts[index];
        let bytes = self.small_object(account, &location.bucket, &key, part.bytes).await?;
        let digest = part.digest;
        let held = Self::blocking(move || {
            let same = <[u8; 32]>::from(Sha256::digest(&bytes)) == digest;
            Ok(same.then_some(bytes))
        });
        let changed = || InstanceBundleError::PartChanged { key: key.to_string() };
        Ok(held.await?.ok_or_else(changed)?)
    }

    /// The key of part `index`, if there is an object of its size.
    fn part_there(&self, at: &Location, manifest: &Manifest, index: usize) -> Result<ObjectKey> {
        let key = at.part_key(&manifest.name, index);
        let found = objects::object(self.records.store(), &at.bucket, &key)?;
        match found.map(|object| object.bytes()) {
            Some(bytes) if bytes == manifest.parts[index].bytes => Ok(key),
            Some(_) => Err(InstanceBundleError::PartChanged { key: key.to_string() }.into()),
            None => Err(InstanceBundleError::PartGone { key: key.to_string() }.into()),
        }
    }

    /// What the parts are decrypted with, if the account's key may be used.
    async fn part_key(&self, account: AccountId, manifest: &Manifest) -> Result<PartKey> {
        let odd = |_| BundleError::Manifest("an id in it is none of ours");
        let of: BundleTaskId = manifest.id.parse().map_err(odd)?;
        let id: KmsKeyId = manifest.key_id.parse().map_err(odd)?;
        keys::owned(self.records.store(), id, account)?;
        keys::usable(self.records.store(), id)?;
        let (data_keys, wrapped) = (self.keys.clone(), manifest.wrapped_key.clone());
        let secret = Self::blocking(move || {
            let secret = data_keys.provider.unwrap(id, &PartKey::context(of), &wrapped);
            secret.map_err(StorageError::Provider)
        });
        let secret = secret.await?.ok_or(InstanceBundleError::KeyGone { id })?;
        PartKey::new(of, &secret)
    }

    /// An object of at most `limit` bytes, in memory.
    async fn small_object(
        &self,
        account: AccountId,
        bucket: &BucketName,
        key: &ObjectKey,
        limit: u64,
    ) -> Result<Vec<u8>> {
        let mut reading = self.read_object(bucket, key, account, Wanted::default()).await?;
        if reading.length > limit {
            return Err(BundleError::TooLarge.into());
        }
        let mut bytes = Vec::with_capacity(usize::try_from(reading.length).unwrap_or_default());
        while let Some(piece) = reading.pieces.recv().await {
            bytes.extend_from_slice(&piece?);
        }
        // Fewer pieces come where storage stops in the midst of it.
        if bytes.len() as u64 == reading.length { Ok(bytes) } else { Err(StorageError::Cancelled) }
    }
}

fn codes(manifest: &Manifest) -> Result<BTreeSet<ProductCode>> {
    let odd = |_| BundleError::Manifest("a product code in it is none");
    let codes = manifest.product_codes.iter().map(|code| code.parse().map_err(odd));
    Ok(codes.collect::<Result<_, BundleError>>()?)
}
