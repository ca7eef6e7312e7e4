//! How a volume may be asked to perform, refused before anything is made.

use vmint_api::{storage::v1::VolumeType, types::v1::EbsBlockDevice};

/// The fields of a mapping, and why they can't be so.
pub(super) type Bad = (&'static str, String);

/// A type by EC2's word; none means gp3.
pub(super) fn volume_type(word: &str) -> Result<VolumeType, Bad> {
    Ok(match word {
        "" | "gp3" => VolumeType::Gp3,
        "gp2" => VolumeType::Gp2,
        "io1" => VolumeType::Io1,
        "io2" => VolumeType::Io2,
        "st1" => VolumeType::St1,
        "sc1" => VolumeType::Sc1,
        "standard" => VolumeType::Standard,
        other => {
            let known = "gp2, gp3, io1, io2, st1, sc1 or standard";
            return Err(("volume_type", format!("`{other:.32}` is none: use {known}")));
        }
    })
}

/// EC2's word for a type.
pub(super) fn word(of: VolumeType) -> &'static str {
    match of {
        VolumeType::Unspecified | VolumeType::Gp3 => "gp3",
        VolumeType::Gp2 => "gp2",
        VolumeType::Io1 => "io1",
        VolumeType::Io2 => "io2",
        VolumeType::St1 => "st1",
        VolumeType::Sc1 => "sc1",
        VolumeType::Standard => "standard",
    }
}

/// That a volume of `gib` can be as the mapping says; 0 GiB are not known yet.
pub(super) fn check(ebs: &EbsBlockDevice, gib: i32) -> Result<VolumeType, Bad> {
    let kind = volume_type(&ebs.volume_type)?;
    let name = word(kind);
    let (sizes, iops) = match kind {
        VolumeType::Unspecified | VolumeType::Gp3 => ((1, 65_536), Some((3000, 80_000))),
        VolumeType::Gp2 => ((1, 16_384), None),
        VolumeType::Io1 => ((4, 16_384), Some((100, 64_000))),
        VolumeType::Io2 => ((4, 65_536), Some((100, 256_000))),
        VolumeType::St1 | VolumeType::Sc1 => ((125, 16_384), None),
        VolumeType::Standard => ((1, 1024), None),
    };
    if gib != 0 && !(sizes.0..=sizes.1).contains(&gib) {
        let why = format!("a {name} volume has {} to {} GiB, not {gib}", sizes.0, sizes.1);
        return Err(("size_gib", why));
    }
    match (iops, ebs.iops) {
        (Some((least, most)), 0) if kind != VolumeType::Gp3 => {
            return Err(("iops", format!("a {name} volume needs {least} to {most}")));
        }
        (_, 0) => {}
        (Some((least, most)), asked) if !(least..=most).contains(&asked) => {
            return Err(("iops", format!("a {name} volume has {least} to {most}, not {asked}")));
        }
        (Some(_), _) => {}
        (None, _) => return Err(("iops", format!("a {name} volume takes none: leave it out"))),
    }
    match (kind, ebs.throughput_mibps) {
        (_, 0) | (VolumeType::Gp3, 125..=2000) => Ok(kind),
        (VolumeType::Gp3, asked) => {
            Err(("throughput_mibps", format!("a gp3 volume has 125 to 2000, not {asked}")))
        }
        _ => Err(("throughput_mibps", format!("a {name} volume takes none: leave it out"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_takes_what_it_can_promise() {
        let of = |volume_type: &str, iops, throughput_mibps, gib| {
            let volume_type = volume_type.to_owned();
            let ebs =
                EbsBlockDevice { volume_type, iops, throughput_mibps, ..EbsBlockDevice::default() };
            check(&ebs, gib).map_err(|(field, _)| field)
        };
        assert_eq!(of("", 0, 0, 0), Ok(VolumeType::Gp3));
        assert_eq!(of("gp3", 80_000, 2000, 65_536), Ok(VolumeType::Gp3));
        assert_eq!(of("io1", 100, 0, 4), Ok(VolumeType::Io1));
        assert_eq!(of("gp2", 0, 0, 1), Ok(VolumeType::Gp2));
        for (kind, iops, throughput, gib, field) in [
            ("gp4", 0, 0, 1, "volume_type"),
            ("gp3", 2999, 0, 1, "iops"),
            ("gp3", 0, 124, 1, "throughput_mibps"),
            ("gp2", 100, 0, 1, "iops"),
            ("io1", 0, 0, 4, "iops"),
            ("io2", 100, 0, 3, "size_gib"),
            ("st1", 0, 0, 124, "size_gib"),
            ("standard", 0, 125, 1, "throughput_mibps"),
        ] {
            assert_eq!(of(kind, iops, throughput, gib), Err(field), "{kind}");
        }
        for kind in [VolumeType::Gp2, VolumeType::Io2, VolumeType::St1, VolumeType::Standard] {
            assert_eq!(volume_type(word(kind)), Ok(kind));
        }
    }
}
