//! The sizes a machine can have.

/// A size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InstanceType {
    pub name: &'static str,
    pub cpus: u16,
    pub memory_mib: u32,
}

/// All of them, the smallest first; those with EC2's names have EC2's sizes.
pub const INSTANCE_TYPES: &[InstanceType] = &[
    of("v1.nano", 1, 128),
    of("v1.micro", 1, 256),
    of("v1.small", 1, 512),
    of("v1.medium", 2, 1024),
    of("v1.large", 2, 2048),
    of("v1.xlarge", 4, 4096),
    of("v1.2xlarge", 8, 8192),
    of("t3.nano", 2, 512),
    of("t3.micro", 2, 1024),
    of("t3.small", 2, 2048),
    of("t3.medium", 2, 4096),
];

const fn of(name: &'static str, cpus: u16, memory_mib: u32) -> InstanceType {
    InstanceType { name, cpus, memory_mib }
}

impl InstanceType {
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
