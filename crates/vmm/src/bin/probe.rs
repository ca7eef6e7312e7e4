//! A program for this crate's tests: started in QEMU's place, it tries what an attacker
//! who took QEMU over would, and tells what worked, one line each, as its last words.

use std::{
    ffi::CString,
    fs, io,
    net::{TcpListener, TcpStream, UdpSocket},
    process::Command,
};

fn main() {
    let mut worked = Vec::new();
    let mut tried = 0;
    let mut attempt = |what: &str, done: bool| {
        tried += 1;
        if done {
            worked.push(what.to_owned());
        }
    };
    for file in ["/etc/shadow", "/etc/passwd", "/etc/hostname", "/proc/1/environ", "/dev/kvm"] {
        attempt(&format!("read {file}"), fs::read(file).is_ok());
    }
    for dir in ["/root", "/home", "/var", "/tmp", "/run", "/proc", "/sys", "/work", "/opt"] {
        let full = fs::read_dir(dir).is_ok_and(|mut d| d.next().is_some());
        // The way to the disks' sockets and to this program shows, and nothing beside it.
        attempt(&format!("list {dir}"), full && !only_ours(dir));
    }
    for file in ["/made", "/usr/made", "/dev/made", "/tmp/made", "/var/tmp/made"] {
        attempt(&format!("write {file}"), fs::write(file, "x").is_ok());
        let _ = fs::remove_file(file);
    }
    attempt("change a program", fs::OpenOptions::new().append(true).open("/bin/sh").is_ok());
    attempt("reach the network", TcpStream::connect("1.1.1.1:53").is_ok());
    attempt("send to the network", send().is_ok());
    for port in [22, 80, 8773] {
        attempt(&format!("reach port {port}"), TcpStream::connect(("127.0.0.1", port)).is_ok());
    }
    attempt("listen on a low port", TcpListener::bind("127.0.0.1:81").is_ok());
    attempt(
        "run as root",
        Command::new("/bin/su").arg("-c").arg("id").status().is_ok_and(|s| s.success()),
    );
    calls(&mut attempt);
    let ids = fs::read_to_string("/proc/self/status");
    attempt("look at processes", ids.is_ok());
    eprintln!("probe: {} of {tried} worked: {}", worked.len(), worked.join(", "));
    std::process::exit(3);
}

fn only_ours(dir: &str) -> bool {
    fn only_sockets(path: &std::path::Path) -> bool {
        use std::os::unix::fs::FileTypeExt;
        let program = std::env::args_os().next().unwrap_or_default();
        fs::read_dir(path).into_iter().flatten().flatten().all(|e| {
            let kind = e.file_type();
            kind.is_ok_and(|k| {
                k.is_socket() || e.path() == program || k.is_dir() && only_sockets(&e.path())
            })
        })
    }
    only_sockets(dir.as_ref())
}

fn send() -> io::Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.send_to(b"x", "1.1.1.1:53").map(drop)
}

/// Whether a call failed, if at all, for another reason than that it is forbidden: so that
/// a probe let loose by mistake harms nothing.
fn may(result: libc::c_int) -> bool {
    result == 0 || io::Error::last_os_error().raw_os_error() != Some(libc::EPERM)
}

/// What needs the bare system calls.
fn calls(attempt: &mut impl FnMut(&str, bool)) {
    let text = |s: &str| CString::new(s).expect("no NUL");
    let (root, kind, nowhere) = (text("/"), text("tmpfs"), text("/no/such"));
    // SAFETY: each call gets live, NUL-ended strings or plain numbers, and one that
    // succeeds against expectation harms only this process.
    #[allow(unsafe_code)]
    unsafe {
        attempt("become root", libc::setuid(0) == 0);
        attempt("a user namespace", libc::unshare(libc::CLONE_NEWUSER) == 0);
        attempt("a mount namespace", libc::unshare(libc::CLONE_NEWNS) == 0);
        attempt(
            "mount",
            may(libc::mount(kind.as_ptr(), nowhere.as_ptr(), kind.as_ptr(), 0, std::ptr::null())),
        );
        attempt("chroot", libc::chroot(root.as_ptr()) == 0);
        attempt("trace", libc::ptrace(libc::PTRACE_ATTACH, libc::getppid(), 0, 0) == 0);
        attempt("signal the shim", libc::getppid() > 0 && libc::kill(libc::getppid(), 0) == 0);
        let device = text("/dev/null2");
        attempt("a device", libc::mknod(device.as_ptr(), libc::S_IFCHR | 0o666, 0x103) == 0);
        libc::unlink(device.as_ptr());
        attempt("bpf", libc::syscall(libc::SYS_bpf, 0, 0, 0) >= 0);
        attempt("a raw socket", libc::socket(libc::AF_PACKET, libc::SOCK_RAW, 0) >= 0);
        attempt("keep keys", libc::syscall(libc::SYS_keyctl, 0, -3, 1) >= 0);
        attempt("real-time priority", {
            let param = libc::sched_param { sched_priority: 1 };
            libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const param) == 0
        });
        let limit = libc::rlimit { rlim_cur: 1 << 30, rlim_max: 1 << 30 };
        attempt("dump cores", libc::setrlimit(libc::RLIMIT_CORE, &raw const limit) == 0);
        // Too long a name: refused, but not for want of the right.
        attempt("host name", may(libc::sethostname(root.as_ptr(), 1000)));
    }
}
