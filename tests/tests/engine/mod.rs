//! A container engine that nobody else uses.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// What the launcher's image needs beside the base system; in the base so that no container
/// needs a network to be built.
const IN_BASE: &str = "qemu-system-x86,seabios,openssh-client";
const BASE: &str = "debian:bookworm-slim";

/// An engine over a directory and in namespaces of its own, so that its networks, its rules
/// and its mounts end with it. Everything goes when it is dropped.
pub(crate) struct Engine {
    dir: PathBuf,
    daemon: Child,
}

impl Engine {
    /// Starts one that has the base image; the error says why this host cannot.
    pub(crate) fn start() -> Result<Self, String> {
        lacking()?;
        let tar = base()?;
        let failed = |error: std::io::Error| format!("dockerd does not start: {error}");
        // Short, as sockets lie in it, and on a disk, as images do.
        let dir = PathBuf::from(format!("/var/tmp/vmint-engine-{}", std::process::id()));
        fs::create_dir_all(&dir).map_err(failed)?;
        let log = fs::File::create(dir.join("log")).map_err(failed)?;
        let under = |name: &str| dir.join(name).display().to_string();
        let daemon = Command::new("unshare")
            .args(["--net", "--mount", "--propagation", "private", "dockerd", "--bridge=none"])
            .args(["--data-root", &under("data"), "--exec-root", &under("exec")])
            .args(["--pidfile", &under("pid"), "-H", &socket(&dir)])
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(failed)?)
            .stderr(log)
            .spawn()
            .map_err(failed)?;
        let mut engine = Self { dir, daemon };
        engine.wait_ready()?;
        let mut lo = engine.inside(Path::new("ip"));
        let up = lo.args(["link", "set", "lo", "up"]).status();
        if !up.is_ok_and(|status| status.success()) {
            return Err("a network namespace has no loopback device here".to_owned());
        }
        let imported = engine.docker(&["import"]).arg(&tar).arg(BASE).output().map_err(failed)?;
        if imported.status.success() {
            return Ok(engine);
        }
        let why = String::from_utf8_lossy(&imported.stderr).into_owned();
        Err(format!("the base image cannot be imported: {why}"))
    }

    fn wait_ready(&mut self) -> Result<(), String> {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let answer = self.docker(&["version"]).output();
            if answer.is_ok_and(|answer| answer.status.success()) {
                return Ok(());
            }
            let ended = self.daemon.try_wait().is_ok_and(|ended| ended.is_some());
            if ended || Instant::now() > until {
                let log = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
                let last = log.lines().last().unwrap_or("dockerd said nothing").to_owned();
                return Err(format!("containers cannot run here: {last}"));
            }
            sleep(Duration::from_millis(200));
        }
    }

    /// A program in the engine's network, where its ports are published.
    pub(crate) fn inside(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.arg("-t").arg(self.daemon.id().to_string()).args(["--net", "--"]).arg(program);
        command.env("VMINT_DATA", self.dir.join("person"));
        command
    }

    pub(crate) fn docker(&self, words: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.args(words);
        self.placed(command)
    }

    pub(crate) fn compose(&self, words: &[&str]) -> Command {
        let mut command = Command::new("docker-compose");
        command.args(["-p", "vmint", "--ansi", "never"]).args(words);
        command.env("VMINT_TAG", "test").env("VMINT_BUILD", "prebuilt");
        command.env("VMINT_PUBLISH", Self::published()).env("COMPOSE_HTTP_TIMEOUT", "240");
        self.placed(command)
    }

    fn placed(&self, mut command: Command) -> Command {
        command.env("DOCKER_HOST", socket(&self.dir)).env("DOCKER_BUILDKIT", "0");
        command.env("DOCKER_CONFIG", self.dir.join("config"));
        command.current_dir(root()).stdin(Stdio::null());
        command
    }

    /// The name Compose gives the container of a service.
    pub(crate) fn container(service: &str) -> String {
        format!("vmint_{service}_1")
    }

    /// A shell script in a service's container.
    pub(crate) fn exec(&self, service: &str, script: &str) -> Command {
        self.docker(&["exec", &Self::container(service), "/bin/sh", "-c", script])
    }

    /// Where the gateway is, for what runs [`inside`](Self::inside).
    pub(crate) fn published() -> String {
        "127.0.0.1:8773".to_owned()
    }

    /// The number, in the launcher's container, of the process whose command line has
    /// `words`.
    pub(crate) fn in_launcher(&self, words: &str) -> Option<String> {
        let script = format!(
            "for p in /proc/[0-9]*; do \
               [ $p = /proc/$$ ] && continue; \
               case \"$(tr '\\0' ' ' <$p/cmdline 2>/dev/null)\" in \
                 *'{words}'*) echo ${{p#/proc/}};; \
               esac; \
             done"
        );
        let found = self.exec("launcher", &script).output().ok()?;
        String::from_utf8_lossy(&found.stdout).lines().next().map(str::to_owned)
    }

    /// What every container said last.
    pub(crate) fn last_words(&self) -> String {
        let mut text = String::new();
        for words in [&["ps", "-a"][..], &["logs", "--tail", "15"][..]] {
            if let Ok(out) = self.compose(words).output() {
                let _ = writeln!(text, "{}", String::from_utf8_lossy(&out.stdout));
            }
        }
        text
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.compose(&["kill"]).output();
        let _ = self.compose(&["down", "-v", "-t", "0"]).output();
        // It ends its containers and its containerd before itself.
        let _ = Command::new("kill").arg(self.daemon.id().to_string()).status();
        for _ in 0..200 {
            if self.daemon.try_wait().is_ok_and(|ended| ended.is_some()) {
                break;
            }
            sleep(Duration::from_millis(100));
        }
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            eprintln!("{} is left: {error}", self.dir.display());
        }
    }
}

/// A Debian base, made once and kept under `target/`.
fn base() -> Result<PathBuf, String> {
    let kept = root().join("target").join("containers");
    let tar = kept.join("base.tar");
    if tar.is_file() {
        return Ok(tar);
    }
    fs::create_dir_all(&kept).map_err(|error| error.to_string())?;
    let half = kept.join("base.new.tar");
    let made = Command::new("mmdebstrap")
        .args(["--quiet", "--variant=minbase", "--aptopt=APT::Install-Recommends \"false\""])
        .arg(format!("--include={IN_BASE}"))
        .arg("bookworm")
        .arg(&half)
        .output()
        .map_err(|error| format!("mmdebstrap does not start: {error}"))?;
    if !made.status.success() {
        let why = String::from_utf8_lossy(&made.stderr).into_owned();
        return Err(format!("no base image could be made: {}", why.trim()));
    }
    fs::rename(&half, &tar).map_err(|error| error.to_string())?;
    Ok(tar)
}

fn socket(dir: &Path) -> String {
    format!("unix://{}", dir.join("sock").display())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the workspace")
}

/// What `cargo build --release` made.
pub(crate) fn program() -> PathBuf {
    root().join("target").join("release").join("vmint")
}

/// What the test needs and this host lacks.
fn lacking() -> Result<(), String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    for tool in ["dockerd", "docker", "docker-compose", "mmdebstrap", "unshare", "nsenter", "ip"] {
        if !std::env::split_paths(&path).any(|dir| dir.join(tool).is_file()) {
            return Err(format!("{tool} is not installed"));
        }
    }
    if !program().is_file() {
        return Err("target/release/vmint is not built".to_owned());
    }
    let id = Command::new("id").arg("-u").output().map_err(|error| error.to_string())?;
    if id.stdout.trim_ascii() == b"0" {
        Ok(())
    } else {
        Err("only root may run a container engine of its own".to_owned())
    }
}
