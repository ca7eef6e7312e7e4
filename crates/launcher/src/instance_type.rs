//! The sizes a machine can have.

use crate::{LauncherError, Result};

/// A size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InstanceType {
    pub name: &'static str,
    pub cpus: u16,
    pub memory_mib: u32,
}

/// All of them; ours first, then those with EC2's names, which have EC2's sizes whatever
/// this host can give. Each part by memory.
pub const INSTANCE_TYPES: &[InstanceType] = &[
    of("v1.nano", 1, 128),
    of("v1.micro", 1, 256),
    of("v1.small", 1, 512),
    of("v1.medium", 2, 1024),
    of("v1.large", 2, 2048),
    of("v1.xlarge", 4, 4096),
    of("v1.2xlarge", 8, 8192),
    of("t3.nano", 2, 512),
    of("t2.nano", 1, 512),
    of("t2.micro", 1, 1024),
    of("t3.micro", 2, 1024),
    of("t2.small", 1, 2048),
    of("t3.small", 2, 2048),
    of("t2.medium", 2, 4096),
    of("t3.medium", 2, 4096),
    of("c5.large", 2, 4096),
    of("t2.large", 2, 8192),
    of("t3.large", 2, 8192),
    of("m5.large", 2, 8192),
    of("c5.xlarge", 4, 8192),
    of("r5.large", 2, 16_384),
    of("t2.xlarge", 4, 16_384),
    of("t3.xlarge", 4, 16_384),
    of("m5.xlarge", 4, 16_384),
    of("c5.2xlarge", 8, 16_384),
    of("r5.xlarge", 4, 32_768),
    of("t2.2xlarge", 8, 32_768),
    of("t3.2xlarge", 8, 32_768),
    of("m5.2xlarge", 8, 32_768),
    of("m5.4xlarge", 16, 65_536),
    of("r5.2xlarge", 8, 65_536),
];

const fn of(name: &'static str, cpus: u16, memory_mib: u32) -> InstanceType {
    InstanceType { name, cpus, memory_mib }
}

impl InstanceType {
    /// The size of this name, or the refusal that says there is none.
    pub(crate) fn must_be(name: &str) -> Result<Self> {
        let none = || LauncherError::NoSuchType { name: name.chars().take(64).collect() };
        Self::named(name).ok_or_else(none)
    }

    /// The size of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        INSTANCE_TYPES.iter().find(|t| t.name == name).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_stands_for_one_size() {
        for size in INSTANCE_TYPES {
            assert_eq!(InstanceType::named(size.name), Some(*size));
            assert!(size.cpus > 0 && size.memory_mib >= 128);
        }
        assert_eq!(InstanceType::named("v1.none"), None);
    }
}
