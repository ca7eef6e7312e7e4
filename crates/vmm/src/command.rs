//! QEMU's command line, generated wholly from a [`MachineSpec`].

use std::{ffi::OsString, path::Path};

use serde_json::json;

use crate::{
    accelerator::Accelerator,
    spec::{DiskBus, DiskSpec, MachineSpec, NicModel},
};

/// Where the shim hands QEMU its sockets.
pub(crate) const SERIAL_FD: i32 = 3;
pub(crate) const QMP_FD: i32 = 4;
pub(crate) const OPERATOR_FD: i32 = 5;

pub(crate) const SANDBOX: &str =
    "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";

/// The port, inside the machine's own network namespace, that leads to forwarded port
/// number `index`.
pub(crate) fn inner_port(index: usize) -> u16 {
    20_000 + u16::try_from(index).expect("a machine forwards at most 64 ports")
}

/// A value of QEMU's `key=value,…` syntax: there a comma is written twice.
fn escape(value: &str) -> String {
    value.replace(',', ",,")
}

/// The arguments after the program's name.
pub(crate) fn arguments(spec: &MachineSpec) -> Vec<OsString> {
    let mut line = Line::default();
    line.option("-name", &format!("guest={}", escape(&spec.instance)));
    line.option("-uuid", spec.uuid.as_str());
    line.flag("-nodefaults").flag("-no-user-config");
    // The guest's first instruction waits for a `cont`, whose moment is known.
    line.flag("-S");
    line.option("-sandbox", SANDBOX);
    line.option("-machine", "q35,usb=off,vmport=off");
    let (accelerator, cpu) = match spec.accelerator {
        Accelerator::Kvm => ("kvm", "host"),
        Accelerator::Tcg => ("tcg", "max"),
    };
    line.option("-accel", accelerator).option("-cpu", cpu);
    line.option("-smp", &spec.cpus.to_string());
    line.option("-m", &format!("{}M", spec.memory_mib));
    line.option("-display", "none");
    line.option("-action", "shutdown=pause,panic=pause,reboot=reset");
    line.option("-rtc", "base=utc");
    let uuid = escape(spec.uuid.as_str());
    let vendor = "manufacturer=vmint,product=Virtual machine";
    line.option("-smbios", &format!("type=1,{vendor},uuid={uuid},serial={uuid}"));

    line.option("-chardev", &format!("socket,id=serial,fd={SERIAL_FD}"));
    line.device(&json!({"driver": "isa-serial", "id": "com1", "chardev": "serial"}));
    for (id, fd) in [("qmp", QMP_FD), ("operator", OPERATOR_FD)] {
        line.option("-chardev", &format!("socket,id={id},fd={fd},server=on,wait=off"));
        line.option("-mon", &format!("chardev={id},mode=control"));
    }

    for port in 0..spec.ports() {
        line.port(port);
    }
    let (mut sata, mut port) = (0, 0);
    for (index, disk) in spec.disks.iter().enumerate() {
        let place = match disk.bus {
            DiskBus::Ahci => Place::Sata(&mut sata),
            // The root disk stays for the machine's life.
            _ if index == 0 => Place::Board,
            _ => Place::Port(&mut port),
        };
        line.disk(index, disk, place);
    }
    line.network(spec);
    line.option("-object", "rng-builtin,id=entropy");
    line.device(&json!({"driver": "virtio-rng-pci", "rng": "entropy"}));
    if spec.display {
        line.device(&json!({"driver": "VGA", "id": "vga"}));
    }
    line.0
}

/// The first of the board's slots that root ports take.
const PORTS_SLOT: usize = 0x10;

enum Place<'a> {
    /// On the board, for the machine's life.
    Board,
    /// On the next of the board's SATA connectors.
    Sata(&'a mut usize),
    /// Behind the next root port.
    Port(&'a mut usize),
}

/// The name of disk number `index` that stays where it is.
pub(crate) fn fixed(index: usize) -> String {
    format!("device-disk{index}")
}

/// A disk behind a root port. Its name in QEMU says where and whose it is, so that QEMU
/// alone knows what is plugged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plug {
    pub(crate) port: usize,
    pub(crate) serial: String,
}

impl Plug {
    /// Of the device, and of its block node: at most 31 characters, QEMU's limit.
    pub(crate) fn name(&self) -> String {
        format!("plug{}-{}", self.port, self.serial)
    }

    pub(crate) fn of(name: &str) -> Option<Self> {
        let (port, serial) = name.strip_prefix("plug")?.split_once('-')?;
        Some(Self { port: port.parse().ok()?, serial: serial.to_owned() })
    }

    pub(crate) fn bus(&self) -> String {
        format!("port{}", self.port)
    }
}

/// The node that reads and writes a disk at `socket`. `driver=nbd` is the whole chain:
/// QEMU never looks for a format in guest bytes.
pub(crate) fn block(node: &str, disk: &DiskSpec, socket: &Path) -> serde_json::Value {
    json!({
        "driver": "nbd",
        "node-name": node,
        "server": {"type": "unix", "path": socket},
        "export": disk.export,
        "reconnect-delay": 60,
        "open-timeout": 5,
        "read-only": disk.read_only,
        "discard": "unmap",
    })
}

/// The controller that shows the guest what `node` reads.
pub(crate) fn device(node: &str, id: &str, disk: &DiskSpec) -> serde_json::Value {
    let driver = match disk.bus {
        DiskBus::Nvme => "nvme",
        DiskBus::VirtioBlk => "virtio-blk-pci",
        DiskBus::Ahci => "ide-hd",
    };
    json!({"driver": driver, "id": id, "drive": node, "serial": disk.serial})
}

#[derive(Default)]
struct Line(Vec<OsString>);

impl Line {
    fn flag(&mut self, flag: &str) -> &mut Self {
        self.0.push(flag.into());
        self
    }

    fn option(&mut self, name: &str, value: &str) -> &mut Self {
        self.flag(name).flag(value)
    }

    fn device(&mut self, device: &serde_json::Value) {
        self.option("-device", &device.to_string());
    }

    /// A place a disk can be put into and taken out of; eight share a slot of the board.
    fn port(&mut self, port: usize) {
        self.device(&json!({
            "driver": "pcie-root-port",
            "id": format!("port{port}"),
            "bus": "pcie.0",
            "addr": format!("{:#x}.{:#x}", PORTS_SLOT + port / 8, port % 8),
            "multifunction": port.is_multiple_of(8),
            "chassis": port + 1,
            "slot": port + 1,
        }));
    }

    fn disk(&mut self, index: usize, disk: &DiskSpec, place: Place<'_>) {
        let (node, id, bus) = match place {
            Place::Board => (format!("disk{index}"), fixed(index), None),
            Place::Sata(next) => {
                let bus = format!("ide.{next}");
                *next += 1;
                (format!("disk{index}"), fixed(index), Some(bus))
            }
            Place::Port(next) => {
                let plug = Plug { port: *next, serial: disk.serial.clone() };
                *next += 1;
                (plug.name(), plug.name(), Some(plug.bus()))
            }
        };
        self.option("-blockdev", &block(&node, disk, &disk.socket).to_string());
        let mut device = device(&node, &id, disk);
        device["bootindex"] = json!(index);
        if let Some(bus) = bus {
            device["bus"] = json!(bus);
        }
        self.device(&device);
    }

    fn network(&mut self, spec: &MachineSpec) {
        let net = &spec.network;
        let (subnet, router, resolver) = net.subnet();
        let mut user = format!(
            "user,id=net0,ipv6=off,net={subnet}/{},host={router},dns={resolver},dhcpstart={}",
            net.prefix, net.address
        );
        for (index, port) in net.forward.iter().enumerate() {
            let inner = inner_port(index);
            user.extend([format!(",hostfwd=tcp:127.0.0.1:{inner}-{}:{port}", net.address)]);
        }
        self.option("-netdev", &user);
        let driver = match net.model {
            NicModel::Virtio => "virtio-net-pci",
            NicModel::E1000 => "e1000",
            NicModel::E1000e => "e1000e",
        };
        let mac: Vec<_> = net.mac.iter().map(|b| format!("{b:02x}")).collect();
        self.device(&json!({
            "driver": driver, "id": "nic0", "netdev": "net0", "mac": mac.join(":"), "romfile": "",
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::tests::sample;

    fn text(spec: &MachineSpec) -> String {
        let words = arguments(spec);
        words.iter().map(|w| w.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn every_machine_is_sandboxed_and_diskless_but_for_its_volumes() {
        let line = text(&sample());
        assert!(line.contains("-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny"));
        assert!(line.contains("-nodefaults") && line.contains("-no-user-config"));
        assert!(line.contains("\"reconnect-delay\":60"));
        assert!(!line.contains("-drive") && !line.contains("file="));
        assert!(line.contains("hostfwd=tcp:127.0.0.1:20000-10.0.2.15:22"));
        assert!(line.contains("serial=ec2"));
    }

    #[test]
    fn a_comma_or_quote_in_a_path_stays_in_the_path() {
        let mut spec = sample();
        spec.disks[0].socket = "/run/a,b\"c,driver=file/nbd.sock".into();
        let words = arguments(&spec);
        let at = words.iter().position(|w| w == "-blockdev").expect("a disk") + 1;
        let block: serde_json::Value =
            serde_json::from_str(words[at].to_str().expect("text")).expect("JSON");
        assert_eq!(block["server"]["path"], "/run/a,b\"c,driver=file/nbd.sock");
        assert_eq!(block["driver"], "nbd");
        assert_eq!(escape("a,b"), "a,,b");
    }

    #[test]
    fn sata_disks_take_one_port_each() {
        let mut spec = sample();
        spec.disks[0].bus = DiskBus::Ahci;
        spec.disks.push(DiskSpec { serial: "vol1".into(), ..spec.disks[0].clone() });
        let line = text(&spec);
        assert!(line.contains("\"bus\":\"ide.0\"") && line.contains("\"bus\":\"ide.1\""));
    }
    #[test]
    fn disks_behind_the_first_take_ports_and_the_rest_stay_free() {
        let mut spec = sample();
        spec.disks.push(DiskSpec { serial: "vol1".into(), ..spec.disks[0].clone() });
        spec.spare_ports = 8;
        let line = text(&spec);
        assert_eq!(line.matches("pcie-root-port").count(), 9);
        assert!(line.contains("\"addr\":\"0x11.0x0\"") && line.contains("\"bus\":\"port0\""));
        let plug = Plug { port: 0, serial: "vol1".into() };
        assert!(line.contains(&format!("\"id\":\"{}\"", plug.name())));
        assert_eq!(Plug::of(&plug.name()), Some(plug));
        assert_eq!(Plug::of("device-disk0"), None);
    }
}
