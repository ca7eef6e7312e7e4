//! What a machine can do to its host: nothing but run.
//!
//! Proves: nothing of the source alone; that strangers' images can be launched at all.

use std::{collections::BTreeSet, fs, net::TcpListener, path::PathBuf};

use vmint_tests::{Stack, skip};

/// A line of `/proc/PID/status`.
fn status(pid: u32, name: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).trim().to_owned()
}

fn namespace(pid: &str, name: &str) -> PathBuf {
    fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_is_shut_in() {
    let stack = Stack::start().await;
    let image = match stack.import_demo("maker", "demo").await {
        Ok(image) => image,
        Err(why) => return skip("a_machine_is_shut_in", &why),
    };
    let maker = stack.account("maker");
    stack.cli("maker", &["key", "create", "k"]).await.ok();
    let machine = maker.launch(&image, "m", "k").await;
    let other = maker.launch(&image, "n", "k").await;
    println!("missing on this host: {:?}", machine.sandbox_gaps);
    let qemu = stack.qemu(&machine).expect("a running machine has a QEMU");

    // No privileges, none to be had, and a network of its own in any case.
    assert_eq!(status(qemu, "NoNewPrivs"), "1");
    assert_eq!(status(qemu, "Seccomp"), "2");
    assert_eq!(status(qemu, "CapEff").trim_start_matches('0'), "");
    assert!(status(qemu, "Uid").split_whitespace().all(|uid| uid != "0"), "QEMU runs as root");
    let pid = qemu.to_string();
    assert_ne!(namespace(&pid, "net"), namespace("self", "net"));
    if machine.sandbox_gaps.is_empty() {
        for name in ["mnt", "pid", "ipc", "uts"] {
            assert_ne!(namespace(&pid, name), namespace("self", name), "{name}");
        }
        let host = format!("/proc/{qemu}/root");
        for secret in ["etc/passwd", "root", "proc/1/environ"] {
            let seen = fs::read_dir(format!("{host}/{secret}")).is_ok();
            let read = fs::read(format!("{host}/{secret}")).is_ok();
            assert!(!seen && !read, "QEMU sees the host's {secret}");
        }
        assert!(!PathBuf::from(format!("{host}{}", stack.data().display())).join("trust").exists());
    }
    // Its disks are sockets: no file of the storage's is open in it.
    let fds = fs::read_dir(format!("/proc/{qemu}/fd")).unwrap().flatten();
    let open: BTreeSet<_> = fds.filter_map(|fd| fs::read_link(fd.path()).ok()).collect();
    let stored = open.iter().find(|path| path.starts_with(stack.data().join("storage")));
    assert_eq!(stored, None);

    // From inside: neither the host's ports, nor another machine's.
    maker.booted(&machine.instance_id).await;
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let route = "ip route | sed -n 's/^default via \\([0-9.]*\\).*/\\1/p'";
    let router = stack.ssh("maker", "m", route).await;
    let gateway = stack.gateway().split(':').next_back().unwrap().to_owned();
    let router = if router.is_empty() { "10.0.2.2".to_owned() } else { router };
    let targets = [
        ("169.254.169.254", "80".to_owned()),
        (router.as_str(), port.to_string()),
        (router.as_str(), gateway.clone()),
        (other.private_ip_address.as_str(), "22".to_owned()),
    ];
    for (at, (address, port)) in targets.into_iter().enumerate() {
        let knock = format!(
            "nc -w 2 {address} {port} </dev/null >/dev/null 2>&1 && echo open || echo shut"
        );
        // The first shows that an open door would be seen.
        let expected = if at == 0 { "open" } else { "shut" };
        assert_eq!(stack.ssh("maker", "m", &knock).await, expected, "{address}:{port}");
    }
}
