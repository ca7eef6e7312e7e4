//! How a volume may be asked to perform, refused before anything is made.

use vmint_api::{storage::v1 as pb, types::v1::EbsBlockDevice};
use vmint_performance::{Performance, VolumeType};

/// The fields of a mapping, and why they can't be so.
pub(super) type Bad = (&'static str, String);

/// A type by EC2's word; none means gp3.
pub(super) fn volume_type(word: &str) -> Result<VolumeType, Bad> {
    VolumeType::parse(word).map_err(|unknown| ("volume_type", unknown.to_string()))
}

/// A type as storage is asked for it.
pub(crate) fn message(of: VolumeType) -> pb::VolumeType {
    match of {
        VolumeType::Gp2 => pb::VolumeType::Gp2,
        VolumeType::Gp3 => pb::VolumeType::Gp3,
        VolumeType::Io1 => pb::VolumeType::Io1,
        VolumeType::Io2 => pb::VolumeType::Io2,
        VolumeType::St1 => pb::VolumeType::St1,
        VolumeType::Sc1 => pb::VolumeType::Sc1,
        VolumeType::Standard => pb::VolumeType::Standard,
    }
}

/// A type as storage tells it; gp3 where it tells none.
pub(crate) fn told(of: pb::VolumeType) -> VolumeType {
    let known = VolumeType::ALL.into_iter().find(|kind| message(*kind) == of);
    known.unwrap_or_default()
}

/// That a volume of `gib` can be as the mapping says; 0 GiB are not known yet.
pub(super) fn check(ebs: &EbsBlockDevice, gib: i32) -> Result<VolumeType, Bad> {
    let kind = volume_type(&ebs.volume_type)?;
    let gib = if gib == 0 { *kind.sizes_gib().start() } else { gib };
    Performance::new(kind, gib, ebs.iops, ebs.throughput_mibps)
        .map(|promise| promise.kind)
        .map_err(|bad| (bad.field, bad.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_is_refused_by_its_field() {
        let of = |volume_type: &str, iops, throughput_mibps, gib| {
            let volume_type = volume_type.to_owned();
            let ebs =
                EbsBlockDevice { volume_type, iops, throughput_mibps, ..EbsBlockDevice::default() };
            check(&ebs, gib).map_err(|(field, _)| field)
        };
        assert_eq!(of("", 0, 0, 0), Ok(VolumeType::Gp3));
        assert_eq!(of("st1", 0, 0, 0), Ok(VolumeType::St1));
        assert_eq!(of("gp4", 0, 0, 1), Err("volume_type"));
        assert_eq!(of("gp3", 2999, 0, 1), Err("iops"));
        assert_eq!(of("gp3", 0, 124, 1), Err("throughput_mibps"));
        assert_eq!(of("io2", 100, 0, 3), Err("size_gib"));
    }

    #[test]
    fn storage_tells_the_type_it_was_asked_for() {
        for kind in VolumeType::ALL {
            assert_eq!(told(message(kind)), kind);
        }
    }
}
