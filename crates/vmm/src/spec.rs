//! What a machine is made of, as the launcher asks for it and as `spec.json` keeps it.

use std::{fmt, net::Ipv4Addr, path::PathBuf, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::accelerator::Accelerator;

/// Root ports of one machine: each is a bridge that firmware and guest look behind.
pub(crate) const MAX_PORTS: usize = 32;

/// A machine to run. Holds no text of a user's: ids, numbers and our own paths only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineSpec {
    /// The instance's id, e.g. `i-0123456789abcdef0`; letters, digits and `-`.
    pub instance: String,
    /// What the guest sees as its SMBIOS uuid and serial; begins with `ec2`.
    pub uuid: MachineUuid,
    /// QEMU's program, as [`crate::qemu::locate`] found it.
    pub qemu: PathBuf,
    pub accelerator: Accelerator,
    pub firmware: Firmware,
    /// Virtual processors, 1 to 255.
    pub cpus: u16,
    /// Guest memory in MiB, 32 to 16 Ti.
    pub memory_mib: u64,
    /// In boot order; the guest numbers them so. At most 26.
    pub disks: Vec<DiskSpec>,
    /// Places kept free for disks given to it while it runs; with the disks behind the
    /// first at most 32.
    #[serde(default)]
    pub spare_ports: u8,
    pub network: NetworkSpec,
    /// A VGA adapter, so that a screenshot can be taken.
    pub display: bool,
    /// The user QEMU runs as when the launcher is root; drawn from the id if `None`.
    /// Without root QEMU runs as the launcher's own user.
    pub uid: Option<u32>,
}

/// How the machine boots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Firmware {
    /// SeaBIOS.
    Bios,
}

/// A disk, served by someone else as read-write NBD on a unix socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskSpec {
    /// The server's socket, absolute. The machine sees this socket's directory (read
    /// only) and nothing beside it, so give each export a directory of its own; when
    /// the launcher is root the socket must be mode 0666, as QEMU runs as another user.
    pub socket: PathBuf,
    /// The NBD export's name, often empty.
    pub export: String,
    /// The volume's id without its dash (`vol0123456789abcdef0`), at most 20 bytes.
    pub serial: String,
    pub bus: DiskBus,
    pub size_bytes: u64,
    pub read_only: bool,
}

/// The controller a disk hangs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DiskBus {
    /// The default: what EC2's newer types show, and what Windows knows by itself.
    Nvme,
    VirtioBlk,
    /// SATA on the board's own controller: at most six disks.
    Ahci,
}

/// The machine's one network card, on a network of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkSpec {
    pub model: NicModel,
    pub mac: [u8; 6],
    /// The address DHCP gives the guest; the subnet's first two are router and name server.
    pub address: Ipv4Addr,
    /// Bits of the subnet, 8 to 28.
    pub prefix: u8,
    /// TCP ports of the guest that [`crate::Machine::forward`] reaches; at most 64.
    pub forward: Vec<u16>,
}

/// What the network card pretends to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NicModel {
    Virtio,
    E1000,
    E1000e,
}

/// A uuid whose first three digits are `ec2`, by which guests know where they run.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MachineUuid(String);

impl MachineUuid {
    /// Draws a fresh uuid.
    ///
    /// # Panics
    ///
    /// If the kernel gives no random bytes.
    #[must_use]
    pub fn random() -> Self {
        let mut b = [0u8; 16];
        getrandom::fill(&mut b).expect("the kernel gives random bytes");
        b[0] = 0xec;
        b[1] = 0x20 | (b[1] & 0x0f);
        b[6] = 0x40 | (b[6] & 0x0f);
        b[8] = 0x80 | (b[8] & 0x3f);
        let hex = format!("{:032x}", u128::from_be_bytes(b));
        let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
        Self(parts.join("-"))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for MachineUuid {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let shape = text.len() == 36
            && text.bytes().enumerate().all(|(i, b)| match i {
                8 | 13 | 18 | 23 => b == b'-',
                _ => matches!(b, b'0'..=b'9' | b'a'..=b'f'),
            });
        if shape && text.starts_with("ec2") {
            Ok(Self(text.to_owned()))
        } else {
            Err(SpecError::Uuid(text.to_owned()))
        }
    }
}

impl TryFrom<String> for MachineUuid {
    type Error = SpecError;

    fn try_from(text: String) -> Result<Self, SpecError> {
        text.parse()
    }
}

impl From<MachineUuid> for String {
    fn from(uuid: MachineUuid) -> Self {
        uuid.0
    }
}

impl fmt::Display for MachineUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which part of a description cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    #[error("instance `{0}`: use 1 to 40 lower-case letters, digits and `-`")]
    Instance(String),
    #[error("`{0}` is not a lower-case uuid that begins with `ec2`")]
    Uuid(String),
    #[error("{0} processors: use 1 to 255")]
    Cpus(u16),
    #[error("{0} MiB of memory: use 32 to 16777216")]
    Memory(u64),
    #[error("{0} disks: use 1 to 26, and at most 6 on AHCI")]
    Disks(usize),
    #[error("{0} places for disks: use at most {MAX_PORTS}")]
    Places(usize),
    #[error("disk serial `{0}`: use 1 to 20 letters and digits, a letter first, each once")]
    Serial(String),
    #[error("disk serial `{0}`: this controller takes no disk while the machine runs")]
    NotPluggable(String),
    #[error("disk socket `{0}` must be an absolute path of at most 107 bytes, outside /usr")]
    Socket(PathBuf),
    #[error("disk export name of {0} bytes: use at most 255")]
    Export(usize),
    #[error("a disk's size must be a positive multiple of 512 bytes, not {0}")]
    Size(u64),
    #[error("{0}/{1} cannot be a guest's address: leave the subnet's first three and last to us")]
    Address(Ipv4Addr, u8),
    #[error("a guest's hardware address must be unicast and not zero")]
    Mac,
    #[error("{0} forwarded ports: use at most 64, each once and none zero")]
    Ports(usize),
    #[error("user id {0} is root's")]
    Root(u32),
}

impl NetworkSpec {
    fn mask(&self) -> u32 {
        u32::MAX << (32 - u32::from(self.prefix.clamp(1, 32)))
    }

    /// The subnet, its router and its name server.
    pub(crate) fn subnet(&self) -> (Ipv4Addr, Ipv4Addr, Ipv4Addr) {
        let base = u32::from(self.address) & self.mask();
        (base.into(), (base + 1).into(), (base + 2).into())
    }

    fn check(&self) -> Result<(), SpecError> {
        let bad = SpecError::Address(self.address, self.prefix);
        if !(8..=28).contains(&self.prefix) || self.address.is_loopback() {
            return Err(bad);
        }
        let host = u32::from(self.address) & !self.mask();
        // QEMU's network wants room for sixteen leases from the first on.
        if host < 4 || host.saturating_add(16) >= !self.mask() || self.address.is_link_local() {
            return Err(bad);
        }
        if self.mac[0] & 1 == 1 || self.mac == [0; 6] {
            return Err(SpecError::Mac);
        }
        let mut ports = self.forward.clone();
        ports.sort_unstable();
        ports.dedup();
        if ports.len() != self.forward.len() || ports.len() > 64 || ports.first() == Some(&0) {
            return Err(SpecError::Ports(self.forward.len()));
        }
        Ok(())
    }
}

impl DiskSpec {
    /// Whether it can come and go while the machine runs.
    pub(crate) fn pluggable(&self) -> bool {
        self.bus != DiskBus::Ahci
    }

    pub(crate) fn check(&self) -> Result<(), SpecError> {
        let path = self.socket.as_os_str().as_encoded_bytes();
        let deep = self.socket.parent().is_some_and(|p| p.components().count() > 1);
        let clear = !self.socket.starts_with("/usr") && self.socket.to_str().is_some();
        if !self.socket.is_absolute() || path.len() > 107 || !deep || !clear {
            return Err(SpecError::Socket(self.socket.clone()));
        }
        let plain = self.serial.bytes().all(|b| b.is_ascii_alphanumeric())
            && self.serial.starts_with(|c: char| c.is_ascii_alphabetic());
        if !plain || !(1..=20).contains(&self.serial.len()) {
            return Err(SpecError::Serial(self.serial.clone()));
        }
        if self.export.len() > 255 {
            return Err(SpecError::Export(self.export.len()));
        }
        if self.size_bytes == 0 || !self.size_bytes.is_multiple_of(512) {
            return Err(SpecError::Size(self.size_bytes));
        }
        Ok(())
    }
}

impl MachineSpec {
    /// How many root ports it has: one for each disk that can be taken away again, and
    /// the spare ones.
    pub(crate) fn ports(&self) -> usize {
        self.disks.iter().skip(1).filter(|d| d.pluggable()).count() + usize::from(self.spare_ports)
    }

    /// Refuses what QEMU would refuse later, or should never be told.
    pub fn check(&self) -> Result<(), SpecError> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if !(1..=40).contains(&self.instance.len()) || !self.instance.bytes().all(plain) {
            return Err(SpecError::Instance(self.instance.clone()));
        }
        if !(1..=255).contains(&self.cpus) {
            return Err(SpecError::Cpus(self.cpus));
        }
        if !(32..=16 << 20).contains(&self.memory_mib) {
            return Err(SpecError::Memory(self.memory_mib));
        }
        let ahci = self.disks.iter().filter(|d| d.bus == DiskBus::Ahci).count();
        if !(1..=26).contains(&self.disks.len()) || ahci > 6 {
            return Err(SpecError::Disks(self.disks.len()));
        }
        self.disks.iter().try_for_each(DiskSpec::check)?;
        for (index, disk) in self.disks.iter().enumerate() {
            if self.disks[..index].iter().any(|d| d.serial == disk.serial) {
                return Err(SpecError::Serial(disk.serial.clone()));
            }
        }
        if self.ports() > MAX_PORTS {
            return Err(SpecError::Places(self.ports()));
        }
        if let Some(0) = self.uid {
            return Err(SpecError::Root(0));
        }
        self.network.check()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn sample() -> MachineSpec {
        MachineSpec {
            instance: "i-0123456789abcdef0".into(),
            uuid: MachineUuid::random(),
            qemu: "/usr/bin/qemu-system-x86_64".into(),
            accelerator: Accelerator::Tcg,
            firmware: Firmware::Bios,
            cpus: 1,
            memory_mib: 128,
            disks: vec![DiskSpec {
                socket: "/run/exports/a/nbd.sock".into(),
                export: String::new(),
                serial: "vol0123456789abcdef0".into(),
                bus: DiskBus::Nvme,
                size_bytes: 1 << 30,
                read_only: false,
            }],
            spare_ports: 0,
            network: NetworkSpec {
                model: NicModel::Virtio,
                mac: [2, 0, 0, 0, 0, 1],
                address: [10, 0, 2, 15].into(),
                prefix: 24,
                forward: vec![22],
            },
            display: true,
            uid: None,
        }
    }

    #[test]
    fn a_usual_description_passes_and_reads_back_from_its_file() {
        let spec = sample();
        assert_eq!(spec.check(), Ok(()));
        let text = serde_json::to_string(&spec).expect("JSON");
        assert_eq!(serde_json::from_str::<MachineSpec>(&text).expect("JSON"), spec);
    }

    #[test]
    fn a_drawn_uuid_begins_with_ec2_and_another_does_not_parse() {
        let uuid = MachineUuid::random();
        assert_eq!(uuid.as_str().parse(), Ok(uuid.clone()));
        assert!("0123".parse::<MachineUuid>().is_err());
        assert!(uuid.as_str().replace("ec2", "abc").parse::<MachineUuid>().is_err());
    }

    #[test]
    fn what_qemu_must_never_be_told_is_refused() {
        let refused = |change: fn(&mut MachineSpec)| {
            let mut spec = sample();
            change(&mut spec);
            spec.check().expect_err("refused")
        };
        assert!(matches!(refused(|s| s.instance = "i,x".into()), SpecError::Instance(_)));
        assert!(matches!(refused(|s| s.cpus = 0), SpecError::Cpus(0)));
        assert!(matches!(refused(|s| s.memory_mib = u64::MAX), SpecError::Memory(_)));
        assert!(matches!(refused(|s| s.disks.clear()), SpecError::Disks(0)));
        assert!(matches!(refused(|s| s.disks[0].socket = "x".into()), SpecError::Socket(_)));
        assert!(matches!(refused(|s| s.disks[0].socket = "/x".into()), SpecError::Socket(_)));
        assert!(matches!(refused(|s| s.disks[0].serial = "a,b".into()), SpecError::Serial(_)));
        assert!(matches!(refused(|s| s.disks[0].serial = "1".into()), SpecError::Serial(_)));
        assert!(matches!(refused(|s| s.spare_ports = 33), SpecError::Places(33)));
        assert!(matches!(refused(|s| s.disks.push(s.disks[0].clone())), SpecError::Serial(_)));
        assert!(matches!(refused(|s| s.disks[0].size_bytes = 7), SpecError::Size(7)));
        assert!(matches!(refused(|s| s.network.mac = [1; 6]), SpecError::Mac));
        assert!(matches!(refused(|s| s.network.prefix = 32), SpecError::Address(..)));
        assert!(matches!(
            refused(|s| s.network.address = [169, 254, 169, 254].into()),
            SpecError::Address(..)
        ));
        assert!(matches!(refused(|s| s.network.forward = vec![22, 22]), SpecError::Ports(2)));
        assert!(matches!(refused(|s| s.uid = Some(0)), SpecError::Root(0)));
    }
}
