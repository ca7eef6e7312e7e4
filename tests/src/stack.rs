//! A deployment of the real binary, for one story.

use std::{
    collections::BTreeMap,
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::Signal;
use vmint_api::launcher::v1::Instance;

use crate::{
    Account, SERVICES, SOON, Said,
    binary::{disk, program},
    processes, until,
};

/// Everybody; the first is the deployment's operator.
const ACCOUNTS: [&str; 3] = ["maker=100000000001", "friend=200000000002", "stranger=300000000003"];

/// How a stack is to differ from the usual.
#[derive(Debug, Default)]
pub struct Setting {
    /// The programs' search path.
    pub path: Option<String>,
    /// Where the data are to lie; a fresh directory if none.
    pub data: Option<PathBuf>,
    /// A deployment each; one without a name of its own if there are none.
    pub regions: Vec<&'static str>,
    /// Keep machines on paper.
    pub simulated: bool,
    /// What `vmint up` is told besides.
    pub args: Vec<&'static str>,
    /// What the programs find in their environment besides.
    pub env: Vec<(&'static str, &'static str)>,
}

/// An access key of an account in every region: id and secret.
#[must_use]
pub fn access_key(account: &str) -> (String, String) {
    (format!("AKIA{}", account.to_uppercase()), format!("secret-of-{account}"))
}

/// `vmint up` over a directory of its own. Everything ends with it.
#[derive(Debug)]
pub struct Stack {
    data: PathBuf,
    listen: SocketAddr,
    setting: Setting,
    up: Option<Child>,
    /// Services that run without it.
    served: BTreeMap<&'static str, Child>,
    accounts: BTreeMap<String, Account>,
}

impl Stack {
    /// Starts everything and waits until it is ready.
    pub async fn start() -> Self {
        Self::start_with(Setting::default()).await
    }

    /// As [`Self::start`], a little different.
    pub async fn start_with(setting: Setting) -> Self {
        let data = setting.data.clone().unwrap_or_else(|| {
            // Short, because unix sockets lie in it.
            let made = tempfile::Builder::new().prefix("vt-").tempdir_in("/tmp");
            made.expect("a temporary directory").keep()
        });
        let listen = free_ports(setting.regions.len().max(1));
        let (served, accounts) = (BTreeMap::new(), BTreeMap::new());
        let mut this = Self { data, listen, setting, up: None, served, accounts };
        this.up().await;
        this.sign_in();
        this
    }

    /// Starts `vmint up` and waits until it says that it is ready.
    pub async fn up(&mut self) {
        let said = self.said();
        let log = fs::File::create(&said).expect("a log of ours");
        let mut command = Command::new(program());
        command.arg("--data").arg(&self.data).args(["up", "--listen", &self.listen.to_string()]);
        for account in ACCOUNTS {
            command.args(["--account", account]);
        }
        for account in ACCOUNTS {
            let name = account.split('=').next().unwrap_or(account);
            let (id, secret) = access_key(name);
            command.args(["--access-key", &format!("{id}:{secret}:{name}")]);
        }
        for region in &self.setting.regions {
            command.args(["--region", region]);
        }
        if self.setting.simulated {
            command.arg("--simulated");
        }
        command.args(&self.setting.args);
        if let Some(path) = &self.setting.path {
            command.env("PATH", path);
        }
        command.envs(self.setting.env.iter().copied());
        command.stdin(Stdio::null()).stderr(log.try_clone().expect("a log of ours")).stdout(log);
        self.up = Some(command.spawn().expect("the binary can be run"));
        until("`vmint up` is ready", SOON, async || {
            let text = fs::read_to_string(&said).unwrap_or_default();
            let ended = self.up.as_mut().is_some_and(|up| !matches!(up.try_wait(), Ok(None)));
            assert!(!ended, "`vmint up` ended: {text}");
            text.contains(" ready in ").then_some(())
        })
        .await;
    }

    /// What `vmint up` printed.
    fn said(&self) -> PathBuf {
        self.data.join("up.said")
    }

    /// Reads the tokens from the profiles that `up` wrote.
    fn sign_in(&mut self) {
        let text = fs::read_to_string(self.data.join("profiles.toml")).expect("the profiles");
        let profiles: toml::Table = text.parse().expect("the profiles are TOML");
        for (name, profile) in profiles["profile"].as_table().expect("named profiles") {
            let of = |key: &str| profile[key].as_str().expect("a text").to_owned();
            let account = Account::new(name, &of("account_id"), &of("token"), &of("url"));
            self.accounts.insert(name.clone(), account);
        }
    }

    /// Ends `vmint up` as a service manager would, and waits.
    pub async fn down(&mut self) {
        let Some(mut up) = self.up.take() else { return };
        processes::signal(up.id(), Signal::TERM);
        until("the end of `vmint up`", SOON, async || up.try_wait().ok().flatten()).await;
    }

    /// Runs one service as a service manager would, without `vmint up`, which must be down.
    pub async fn serve(&mut self, service: &'static str) {
        if let Some(mut old) = self.served.remove(service) {
            let _ = old.wait();
        }
        let log = self.data.join("logs").join(format!("{service}.log"));
        let log = fs::OpenOptions::new().append(true).create(true).open(log);
        let log = log.expect("the service's log");
        let mut command = Command::new(program());
        command.args(["serve", service, "--config"]);
        command.arg(self.data.join("settings").join(format!("{service}.toml")));
        command.current_dir(&self.data).stdin(Stdio::null());
        command.envs(self.setting.env.iter().copied());
        command.stdout(log.try_clone().expect("the service's log")).stderr(log);
        self.served.insert(service, command.spawn().expect("the binary can be run"));
        self.back(service, 0).await;
    }

    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Where a region's deployment keeps its data.
    #[must_use]
    pub fn region(&self, region: &str) -> PathBuf {
        self.data.join(region)
    }

    /// The directories of all deployments.
    fn places(&self) -> Vec<PathBuf> {
        let regions: Vec<_> = self.setting.regions.iter().map(|name| self.region(name)).collect();
        if regions.len() < 2 { vec![self.data.clone()] } else { regions }
    }

    /// The public address, `127.0.0.1:PORT`, of the first region.
    #[must_use]
    pub fn gateway(&self) -> String {
        self.listen.to_string()
    }

    /// Somebody, by name.
    #[must_use]
    pub fn account(&self, name: &str) -> Account {
        self.accounts[name].clone()
    }

    /// The binary as this account's owner runs it.
    #[must_use]
    pub fn command(&self, account: &str, words: &[&str]) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(program());
        command.arg("--data").arg(&self.data).args(["--profile", account]).args(words);
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Runs a command to its end; it may take as long as a machine to boot.
    pub async fn cli(&self, account: &str, words: &[&str]) -> Said {
        let run = self.command(account, words).output();
        let done = tokio::time::timeout(crate::BOOT, run).await;
        let done = done.unwrap_or_else(|_| panic!("vmint {} takes too long", words.join(" ")));
        done.expect("the binary can be run").into()
    }

    /// Runs a command in a guest, by ssh; asked again until the guest's server is there.
    pub async fn ssh(&self, account: &str, instance: &str, command: &str) -> String {
        let end = Instant::now() + SOON;
        loop {
            let said = self.cli(account, &["ssh", instance, "--", command]).await;
            // 255 is ssh's own failure, 7 the gateway's absence.
            let again = [255, 7].contains(&said.code) && Instant::now() < end;
            if !again {
                return said.ok();
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Builds the demo's disk and takes it in as an image of this account's.
    pub async fn import_demo(&self, account: &str, name: &str) -> Result<String, String> {
        let disk = tokio::task::spawn_blocking(disk).await.map_err(|error| error.to_string())??;
        let disk = disk.to_str().expect("a path of ours");
        Ok(self.cli(account, &["import", disk, name, "-o", "id"]).await.ok())
    }

    /// The process that runs a service.
    #[must_use]
    pub fn pid(&self, service: &str) -> Option<u32> {
        processes::service(&self.data, service)
    }

    /// Kills a service at once; its process.
    pub fn kill9(&self, service: &str) -> u32 {
        let pid = self.pid(service).unwrap_or_else(|| panic!("{service} does not run"));
        processes::kill9(pid);
        pid
    }

    /// As [`Self::kill9`], and waits until it is back, in one of several regions.
    pub async fn bounce(&self, region: &str, service: &str) {
        let place = self.region(region);
        let pid = processes::service(&place, service);
        let pid = pid.unwrap_or_else(|| panic!("{service} does not run in {region}"));
        processes::kill9(pid);
        Self::back_at(&place, service, pid).await;
    }

    /// Waits until another process than `old` serves and says that it is healthy.
    pub async fn back(&self, service: &str, old: u32) {
        Self::back_at(&self.data, service, old).await;
    }

    async fn back_at(place: &Path, service: &str, old: u32) {
        let settings = place.join("settings").join(format!("{service}.toml"));
        until(&format!("{service} is back"), SOON, async || {
            processes::service(place, service).filter(|pid| *pid != old)?;
            let mut health = tokio::process::Command::new(program());
            health.args(["health", service, "--config"]).arg(&settings);
            health.output().await.ok()?.status.success().then_some(())
        })
        .await;
    }

    /// Asserts that every service answers.
    pub async fn healthy(&self) {
        for service in SERVICES {
            self.back(service, 0).await;
        }
    }

    /// The machines that really run: instance, keeper's process, QEMU's.
    #[must_use]
    pub fn machines(&self) -> Vec<(String, u32, Option<u32>)> {
        processes::machines(&self.data)
    }

    /// The QEMU that runs an instance.
    #[must_use]
    pub fn qemu(&self, instance: &Instance) -> Option<u32> {
        let machines = self.machines();
        machines.into_iter().find(|(id, ..)| *id == instance.instance_id)?.2
    }

    /// The end of every log.
    fn last_words(&self) -> String {
        let mut words = format!("--- {}\n", fs::read_to_string(self.said()).unwrap_or_default());
        for (place, service) in self.places().iter().flat_map(|p| SERVICES.map(|s| (p, s))) {
            let path = place.join("logs").join(format!("{service}.log"));
            let log = fs::read_to_string(&path).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(25)..];
            words += &format!("--- {}\n{}\n", path.display(), tail.join("\n"));
        }
        words
    }

    /// Terminates what runs, as far as the services still can.
    fn end_machines(&self) {
        if self.machines().is_empty() || self.up.is_none() {
            return;
        }
        for name in self.accounts.keys() {
            let vmint = |words: &[&str]| {
                let mut command = Command::new("timeout");
                command.arg("20").arg(program()).arg("--data").arg(&self.data);
                command.args(["--profile", name]).args(words).stdin(Stdio::null()).output()
            };
            let Ok(list) = vmint(&["ls", "-o", "json"]) else { continue };
            let list: serde_json::Value = serde_json::from_slice(&list.stdout).unwrap_or_default();
            let living = list.as_array().into_iter().flatten().filter_map(|instance| {
                let over = instance["state"] == "INSTANCE_STATE_TERMINATED";
                instance["instanceId"].as_str().filter(|_| !over)
            });
            let living: Vec<&str> = living.collect();
            if !living.is_empty() {
                let _ = vmint(&[&["terminate"], &living[..]].concat());
            }
        }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.last_words());
        }
        self.end_machines();
        if let Some(mut up) = self.up.take() {
            processes::signal(up.id(), Signal::TERM);
            let end = Instant::now() + Duration::from_secs(20);
            while matches!(up.try_wait(), Ok(None)) && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(50));
            }
            let _ = up.kill();
            let _ = up.wait();
        }
        for (_, keeper, qemu) in self.machines() {
            [Some(keeper), qemu].into_iter().flatten().for_each(processes::kill9);
        }
        for (place, service) in self.places().iter().flat_map(|p| SERVICES.map(|s| (p, s))) {
            processes::service(place, service).into_iter().for_each(processes::kill9);
        }
        for child in self.served.values_mut() {
            let _ = child.wait();
        }
        if let Err(error) = fs::remove_dir_all(&self.data) {
            eprintln!("{} cannot be removed: {error}", self.data.display());
        }
    }
}

/// The first of so many ports in a row that are free until somebody takes them.
fn free_ports(many: usize) -> SocketAddr {
    let bound = |address: SocketAddr| TcpListener::bind(address).ok()?.local_addr().ok();
    for _ in 0..100 {
        let first = bound(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        let further = (1..many).map(|more| first.port().checked_add(u16::try_from(more).ok()?));
        let free = |port: Option<u16>| bound(SocketAddr::new(first.ip(), port?));
        if further.map(free).all(|found| found.is_some()) {
            return first;
        }
    }
    panic!("no {many} free ports in a row");
}
