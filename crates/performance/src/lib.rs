//! The kinds of volumes there are, and what each may promise, by EC2's rules.
//!
//! What is promised is recorded and shown; nothing is held back to it.

use std::ops::RangeInclusive;

/// The kinds of volumes there are, in EC2's words; gp3 where none is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum VolumeType {
    Gp2,
    #[default]
    Gp3,
    Io1,
    Io2,
    St1,
    Sc1,
    Standard,
}

impl VolumeType {
    pub const ALL: [Self; 7] =
        [Self::Gp2, Self::Gp3, Self::Io1, Self::Io2, Self::St1, Self::Sc1, Self::Standard];

    /// Reads EC2's word; none at all means gp3.
    ///
    /// # Errors
    ///
    /// [`UnknownType`] for any other word.
    pub fn parse(word: &str) -> Result<Self, UnknownType> {
        if word.is_empty() {
            return Ok(Self::default());
        }
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == word)
            .ok_or_else(|| UnknownType(word.chars().take(32).collect()))
    }

    /// As EC2 writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gp2 => "gp2",
            Self::Gp3 => "gp3",
            Self::Io1 => "io1",
            Self::Io2 => "io2",
            Self::St1 => "st1",
            Self::Sc1 => "sc1",
            Self::Standard => "standard",
        }
    }

    /// The GiB that such a volume may have.
    #[must_use]
    pub fn sizes_gib(self) -> RangeInclusive<i32> {
        match self {
            Self::Gp2 => 1..=16_384,
            Self::Gp3 => 1..=65_536,
            Self::Io1 => 4..=16_384,
            Self::Io2 => 4..=65_536,
            Self::St1 | Self::Sc1 => 125..=16_384,
            Self::Standard => 1..=1024,
        }
    }

    /// The operations a second that may be asked for, where any may.
    fn iops(self) -> Option<RangeInclusive<i32>> {
        match self {
            Self::Gp3 => Some(3000..=80_000),
            Self::Io1 => Some(100..=64_000),
            Self::Io2 => Some(100..=256_000),
            Self::Gp2 | Self::St1 | Self::Sc1 | Self::Standard => None,
        }
    }
}

/// A word that names no type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no volume type: use gp2, gp3, io1, io2, st1, sc1 or standard")]
pub struct UnknownType(String);

/// What a volume promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Performance {
    pub kind: VolumeType,
    /// Operations a second; 0 where nothing is promised.
    pub iops: i32,
    /// MiB a second; 0 where nothing is promised.
    pub throughput: i32,
}

/// The type does not allow what is asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a {kind} volume {rule}", kind = kind.as_str())]
pub struct BadPerformance {
    pub kind: VolumeType,
    /// The field of the request: `size_gib`, `iops` or `throughput_mibps`.
    pub field: &'static str,
    pub rule: String,
}

impl Performance {
    /// What a volume of `kind` and `gib` promises if `iops` and `throughput`
    /// are asked for; 0 asks for the default.
    ///
    /// # Errors
    ///
    /// [`BadPerformance`] names the field that the type does not allow so.
    pub fn new(
        kind: VolumeType,
        gib: i32,
        iops: i32,
        throughput: i32,
    ) -> Result<Self, BadPerformance> {
        let bad = |field, rule| Err(BadPerformance { kind, field, rule });
        let sizes = kind.sizes_gib();
        if !sizes.contains(&gib) {
            let (least, most) = sizes.into_inner();
            return bad("size_gib", format!("has {least} to {most} GiB, not {gib}"));
        }
        let iops = match (kind, kind.iops().map(RangeInclusive::into_inner), iops) {
            (VolumeType::Gp2, _, 0) => gib.saturating_mul(3).clamp(100, 16_000),
            (VolumeType::Gp3, _, 0) => 3000,
            (_, Some((least, most)), 0) => {
                return bad("iops", format!("needs iops: ask for {least} to {most}"));
            }
            (_, None, 0) => 0,
            (_, None, _) => return bad("iops", "takes no iops: leave them out".to_owned()),
            (_, Some((least, most)), asked) if asked < least || asked > most => {
                return bad("iops", format!("has {least} to {most} iops, not {asked}"));
            }
            (_, Some(_), asked) => asked,
        };
        let throughput = match (kind, throughput) {
            (VolumeType::Gp3, 0) => 125,
            (VolumeType::Gp3, asked @ 125..=2000) => asked,
            (VolumeType::Gp3, asked) => {
                let rule = format!("has a throughput of 125 to 2000 MiB/s, not {asked}");
                return bad("throughput_mibps", rule);
            }
            (_, 0) => 0,
            (_, _) => {
                return bad("throughput_mibps", "takes no throughput: leave it out".to_owned());
            }
        };
        Ok(Self { kind, iops, throughput })
    }
}

#[cfg(test)]
mod tests {
    use super::{Performance, VolumeType as T};

    #[test]
    fn each_type_has_its_bounds() {
        let of = Performance::new;
        let promised = |kind, gib, iops, throughput| {
            of(kind, gib, iops, throughput).map(|p| (p.iops, p.throughput)).ok()
        };
        assert_eq!(promised(T::Gp3, 1, 0, 0), Some((3000, 125)));
        assert_eq!(promised(T::Gp3, 65536, 80_000, 2000), Some((80_000, 2000)));
        assert_eq!(promised(T::Gp3, 10, 2999, 0), None);
        assert_eq!(promised(T::Gp3, 10, 0, 2001), None);
        assert_eq!(promised(T::Gp2, 1, 0, 0), Some((100, 0)));
        assert_eq!(promised(T::Gp2, 1000, 0, 0), Some((3000, 0)));
        assert_eq!(promised(T::Gp2, 10, 300, 0), None);
        assert_eq!(promised(T::Io1, 4, 100, 0), Some((100, 0)));
        assert_eq!(promised(T::Io1, 4, 0, 0), None);
        assert_eq!(promised(T::Io2, 65536, 256_000, 0), Some((256_000, 0)));
        assert_eq!(promised(T::St1, 124, 0, 0), None);
        assert_eq!(promised(T::Sc1, 125, 0, 0), Some((0, 0)));
        assert_eq!(promised(T::Standard, 1025, 0, 0), None);
        assert_eq!(promised(T::Standard, 1, 0, 200), None);
    }

    #[test]
    fn a_type_is_read_by_its_word_and_gp3_by_none() {
        for kind in T::ALL {
            assert_eq!(T::parse(kind.as_str()), Ok(kind));
        }
        assert_eq!(T::parse(""), Ok(T::Gp3));
        let unknown = T::parse("GP2").map_err(|error| error.to_string());
        assert!(unknown.is_err_and(|text| text.contains("`GP2`") && text.contains("gp2")));
    }
}
