//! What this host lacks, and the line that mends it.

use std::{path::Path, time::Duration};

use vmint_vmm::{Accelerator, accelerator, qemu};

use crate::{
    cli::Global,
    client::{Result, default_data_dir},
    seed,
    up::Layout,
};

/// How a thing stands.
enum Verdict {
    Ok,
    Warn,
    Fail,
}

/// Prints a line for each thing looked at; exit code 5 if machines can't run.
pub(crate) async fn run(global: &Global) -> Result<u8> {
    let mut fails = 0;
    let mut line = |verdict: Verdict, what: &str, text: &str, mend: &str| {
        let word = match verdict {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail => {
                fails += 1;
                "FAIL"
            }
        };
        println!("{word:<5} {what:<12} {text}");
        if !mend.is_empty() {
            println!("      {:<12} {mend}", "");
        }
    };
    let data = global.data.clone().unwrap_or_else(default_data_dir);
    for (name, layout) in Layout::all(&data) {
        if layout.simulates() {
            let text = format!("{name}: machines are simulated, no guest runs");
            line(Verdict::Warn, "hypervisor", &text, "vmint down; vmint up  without --simulated");
        }
    }
    match qemu::locate().await {
        Ok(found) => {
            line(Verdict::Ok, "qemu", &format!("{} {}", found.path.display(), found.version), "");
            let probe = accelerator::probe(&found.path, Duration::from_secs(5)).await;
            let (verdict, mend) = match probe.accelerator {
                Accelerator::Kvm => (Verdict::Ok, ""),
                Accelerator::Tcg => (Verdict::Warn, "machines run, but emulated and slower"),
            };
            let text = format!("{}: {}", probe.accelerator, probe.reason);
            line(verdict, "accelerator", &text, mend);
        }
        Err(error) => line(
            Verdict::Fail,
            "qemu",
            &error.to_string(),
            "sudo apt-get install -y --no-install-recommends qemu-system-x86",
        ),
    }
    let missing = seed::missing_tools();
    if missing.is_empty() {
        line(Verdict::Ok, "demo image", "everything to build it is here", "");
    } else {
        let packages: Vec<_> = missing.iter().map(|missing| missing.package).collect();
        line(
            Verdict::Warn,
            "demo image",
            &format!("{} tools to build it are missing", missing.len()),
            &format!("sudo apt-get install -y --no-install-recommends {}", packages.join(" ")),
        );
    }
    for (what, path) in [("namespaces", "/proc/self/ns/user")] {
        if Path::new(path).exists() {
            line(Verdict::Ok, what, path, "");
        } else {
            line(Verdict::Warn, what, &format!("{path} is not there"), "");
        }
    }
    Ok(if fails == 0 { 0 } else { 5 })
}
