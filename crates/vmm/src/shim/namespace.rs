//! The machine's own network: a loopback device and nothing else.
//!
//! QEMU's user-mode network makes the guest's connections from here, so the guest reaches
//! the metadata address, which only this shim serves, and no other thing on the host.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddrV4, TcpListener},
    os::fd::{AsRawFd, OwnedFd},
};

use rustix::net::{AddressFamily, SocketType};

use super::{Step, step};
use crate::layout::Confinement;

const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
const HINT: &str = "this host does not let vmint make a network namespace for the machine; \
    in a container give it `--cap-add SYS_ADMIN` or `--security-opt seccomp=unconfined`, on \
    Ubuntu set kernel.apparmor_restrict_unprivileged_userns=0";

/// Enters fresh namespaces and listens on the metadata address inside.
pub(super) fn enter() -> Step<(Confinement, TcpListener)> {
    let mut confinement = Confinement { network: true, ..Confinement::default() };
    let root = rustix::process::geteuid().is_root();
    let direct = if root { unshare(libc::CLONE_NEWNET) } else { Err(io::ErrorKind::Other.into()) };
    if let Err(error) = direct {
        if root {
            confinement.notes.push(format!("no network namespace as root: {error}"));
        }
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET).map_err(|e| format!("{HINT} ({e})"))?;
        confinement.user_namespace = true;
        step("mapping users", fs::write("/proc/self/setgroups", "deny"))?;
        let (uid, gid) = (uid.as_raw(), gid.as_raw());
        step("mapping users", fs::write("/proc/self/uid_map", format!("{uid} {uid} 1")))?;
        step("mapping groups", fs::write("/proc/self/gid_map", format!("{gid} {gid} 1")))?;
    }
    loopback().map_err(|e| format!("{HINT} (loopback: {e})"))?;
    let listener = TcpListener::bind(SocketAddrV4::new(METADATA, 80));
    let listener = listener.map_err(|e| format!("listening on {METADATA}:80: {e}"))?;
    step("listening without blocking", listener.set_nonblocking(true))?;
    Ok((confinement, listener))
}

fn unshare(flags: libc::c_int) -> io::Result<()> {
    // SAFETY: changes only which namespaces this single-threaded process belongs to.
    #[allow(unsafe_code)]
    let result = unsafe { libc::unshare(flags) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Brings `lo` up with 127.0.0.1 and the metadata address.
fn loopback() -> io::Result<()> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    let mut up = request("lo");
    up.ifr_ifru.ifru_flags =
        libc::c_short::try_from(libc::IFF_UP | libc::IFF_RUNNING).unwrap_or(libc::c_short::MAX);
    ioctl(&socket, libc::SIOCSIFFLAGS, &mut up)?;
    for (what, address) in
        [(libc::SIOCSIFADDR, METADATA), (libc::SIOCSIFNETMASK, Ipv4Addr::BROADCAST)]
    {
        let mut alias = request("lo:0");
        alias.ifr_ifru.ifru_addr = sockaddr(address);
        ioctl(&socket, what, &mut alias)?;
    }
    Ok(())
}

fn request(name: &str) -> libc::ifreq {
    // SAFETY: an ifreq is plain numbers, for which all zeros is a value.
    #[allow(unsafe_code)]
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    request
}

fn sockaddr(address: Ipv4Addr) -> libc::sockaddr {
    let inet = libc::sockaddr_in {
        sin_family: libc::sa_family_t::try_from(libc::AF_INET).unwrap_or_default(),
        sin_port: 0,
        sin_addr: libc::in_addr { s_addr: u32::from(address).to_be() },
        sin_zero: [0; 8],
    };
    // SAFETY: both are 16 bytes of plain numbers; the kernel reads the one as the other.
    #[allow(unsafe_code)]
    unsafe {
        std::mem::transmute::<libc::sockaddr_in, libc::sockaddr>(inet)
    }
}

fn ioctl(socket: &OwnedFd, what: libc::c_ulong, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: all three requests used here take a pointer to an ifreq, which outlives the call.
    #[allow(unsafe_code)]
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), what, std::ptr::from_mut(request)) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
