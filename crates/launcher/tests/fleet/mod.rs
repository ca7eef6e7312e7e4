//! Machines that are only pretended, and a launcher on them.

// Each test program uses its own part of it.
#![allow(dead_code)]

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    sync::watch,
};
use vmint_daemon::ServiceConfig;
use vmint_ids::{ImageId, InstanceId, ReservationId, VolumeId};
use vmint_launcher::{
    Config, Instance, Launcher, LauncherError, Reservation, State, Volume,
    hypervisor::{End, Facts, Host, Hypervisor, HypervisorError, Machine, Plan},
};
use vmint_store::{Asked, Store};

pub(crate) const ACCOUNT: &str = "111122223333";

pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

/// Pretended machines outlive the launcher, as real ones do.
#[derive(Debug, Default)]
pub(crate) struct Pretended {
    machines: Mutex<HashMap<PathBuf, Arc<Pretence>>>,
    ends: Mutex<HashMap<PathBuf, End>>,
    /// QEMU is not there.
    pub(crate) missing: Mutex<bool>,
    /// Machines do not start.
    pub(crate) broken: Mutex<bool>,
    pub(crate) launches: Mutex<usize>,
}

#[derive(Debug)]
pub(crate) struct Pretence {
    pub(crate) plan: Plan,
    started_at: i64,
    /// Heeds the power button.
    pub(crate) polite: bool,
    pub(crate) resets: Mutex<usize>,
    /// Volumes that came later, by id.
    pub(crate) plugged: Mutex<Vec<String>>,
    /// Its guest lets go of no volume.
    pub(crate) clings: Mutex<bool>,
    end: watch::Sender<Option<End>>,
}

impl Pretended {
    pub(crate) fn machine(&self, dir: &Path) -> Option<Arc<Pretence>> {
        let machine = self.machines.lock().unwrap().get(dir).cloned();
        machine.filter(|m| m.end.borrow().is_none())
    }

    pub(crate) fn running(&self) -> usize {
        let machines = self.machines.lock().unwrap();
        machines.values().filter(|m| m.end.borrow().is_none()).count()
    }
}

impl Pretence {
    pub(crate) fn end(&self, reason: &str, at: Option<i64>) {
        self.end.send_if_modified(|end| {
            let fresh = end.is_none();
            let powered_off = reason == "the guest powered off";
            end.get_or_insert(End { reason: reason.into(), powered_off, at });
            fresh
        });
    }
}

#[async_trait]
impl Hypervisor for Pretended {
    async fn host(&self) -> Host {
        if *self.missing.lock().unwrap() {
            return Host { hint: "sudo apt-get install it".into(), ..Host::default() };
        }
        Host { accelerator: "tcg".into(), version: "7".into(), ..Host::default() }
    }

    async fn launch(&self, dir: &Path, plan: &Plan) -> Result<Arc<dyn Machine>, HypervisorError> {
        if *self.broken.lock().unwrap() {
            return Err(HypervisorError::Failed("it is broken".into()));
        }
        if self.machine(dir).is_some() {
            return Err(HypervisorError::Failed("one runs here already".into()));
        }
        assert!(dir.join("metadata.sock").exists(), "metadata is served before the guest runs");
        *self.launches.lock().unwrap() += 1;
        let machine = Arc::new(Pretence {
            plan: plan.clone(),
            started_at: now(),
            polite: plan.memory_mib < 512,
            resets: Mutex::default(),
            plugged: Mutex::default(),
            clings: Mutex::default(),
            end: watch::Sender::new(None),
        });
        self.machines.lock().unwrap().insert(dir.to_owned(), Arc::clone(&machine));
        Ok(Arc::new(Handle(machine)))
    }

    async fn adopt(&self, dir: &Path) -> Result<Option<Arc<dyn Machine>>, HypervisorError> {
        let found = self.machine(dir);
        Ok(found.map(|machine| Arc::new(Handle(machine)) as Arc<dyn Machine>))
    }

    async fn last_end(&self, dir: &Path) -> Option<End> {
        self.ends.lock().unwrap().get(dir).cloned()
    }

    async fn last_console(&self, _: &Path) -> Vec<u8> {
        b"last words".to_vec()
    }
}

#[derive(Debug)]
struct Handle(Arc<Pretence>);

#[async_trait]
impl Machine for Handle {
    fn facts(&self) -> Facts {
        Facts {
            accelerator: "tcg".into(),
            sandbox_gaps: vec!["no cgroup".into()],
            started_at: self.0.started_at,
        }
    }

    fn is_over(&self) -> bool {
        self.0.end.borrow().is_some()
    }

    async fn ended(&self) -> End {
        let mut end = self.0.end.subscribe();
        end.wait_for(Option::is_some).await.unwrap().clone().unwrap()
    }

    async fn powerdown(&self) -> Result<(), HypervisorError> {
        if self.0.polite {
            self.0.end("the guest powered off", Some(now()));
        }
        Ok(())
    }

    async fn reset(&self) -> Result<(), HypervisorError> {
        *self.0.resets.lock().unwrap() += 1;
        Ok(())
    }

    async fn quit(&self) -> Result<(), HypervisorError> {
        self.0.end("its process ended", Some(now()));
        Ok(())
    }

    async fn plug(&self, volume: &Volume) -> Result<(), HypervisorError> {
        let mut plugged = self.0.plugged.lock().unwrap();
        if plugged.len() == 2 {
            return Err(HypervisorError::NoPlace);
        }
        if !plugged.contains(&volume.id) {
            plugged.push(volume.id.clone());
        }
        Ok(())
    }

    async fn unplug(&self, volume: &str, _: Duration, force: bool) -> Result<(), HypervisorError> {
        if *self.0.clings.lock().unwrap() && !force {
            return Err(HypervisorError::Held);
        }
        self.0.plugged.lock().unwrap().retain(|id| id != volume);
        Ok(())
    }

    async fn console_log(&self) -> Result<Vec<u8>, HypervisorError> {
        Ok([vec![b'x'; 100 << 10], b"login:".to_vec()].concat())
    }

    /// Prints a greeting, then what is typed, in capitals.
    async fn console(&self, _: bool) -> Result<UnixStream, HypervisorError> {
        let (ours, mut guest) = UnixStream::pair().unwrap();
        tokio::spawn(async move {
            guest.write_all(b"hello ").await.unwrap();
            let mut bytes = [0; 64];
            while let Ok(n @ 1..) = guest.read(&mut bytes).await {
                bytes.make_ascii_uppercase();
                guest.write_all(&bytes[..n]).await.unwrap();
            }
        });
        Ok(ours)
    }

    async fn forward(&self, port: u16) -> Result<UnixStream, HypervisorError> {
        let (ours, mut guest) = UnixStream::pair().unwrap();
        tokio::spawn(async move { guest.write_all(format!("port {port}").as_bytes()).await });
        Ok(ours)
    }
}

/// A launcher on pretended machines.
pub(crate) struct Running {
    pub(crate) launcher: Launcher,
    pub(crate) machines: Arc<Pretended>,
    pub(crate) store: Store,
    pub(crate) config: Config,
    dir: tempfile::TempDir,
}

impl Running {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut service = ServiceConfig::of("launcher");
        service.data = dir.path().to_owned();
        let mut config = Config::new(service);
        config.max_memory_mib = Some(4096);
        config.stop_grace_seconds = 1;
        // Apart from whatever else runs on this host.
        let third = std::process::id() % 200 + 20;
        config.ssh_range = format!("127.101.{third}.0/24");
        change(&mut config);
        let (store, machines) = (Store::in_memory(), Arc::new(Pretended::default()));
        let launcher = Self::launcher(&store, &machines, &config).await;
        Self { launcher, machines, store, config, dir }
    }

    async fn launcher(store: &Store, machines: &Arc<Pretended>, config: &Config) -> Launcher {
        let hypervisor = Arc::clone(machines) as Arc<dyn Hypervisor>;
        let launcher = Launcher::new(store.clone(), hypervisor, config).unwrap();
        launcher.adopt().await.unwrap();
        launcher
    }

    /// Another launcher takes over what this one leaves.
    pub(crate) async fn restart(&mut self) {
        self.launcher.let_go().await;
        self.launcher = Self::launcher(&self.store, &self.machines, &self.config).await;
    }

    pub(crate) fn dir(&self, id: InstanceId) -> PathBuf {
        self.dir.path().join("instances").join(id.to_string())
    }

    pub(crate) fn machine(&self, id: InstanceId) -> Arc<Pretence> {
        self.machines.machine(&self.dir(id)).expect("its machine runs")
    }

    pub(crate) fn get(&self, id: InstanceId) -> Instance {
        self.launcher.get(ACCOUNT, &id.to_string()).unwrap()
    }

    /// Waits for a state; events drive it, the limit is only for a broken test.
    pub(crate) async fn until(&self, id: InstanceId, state: State) -> Instance {
        let mut following = self.launcher.follow(ACCOUNT, &id.to_string()).unwrap();
        let wait = async {
            loop {
                let now = following.next().await.unwrap().expect("it does not end before");
                if now.state == state {
                    return now;
                }
            }
        };
        tokio::time::timeout(Duration::from_mins(1), wait).await.expect("it gets there")
    }

    pub(crate) async fn launch_as(&self, new: Reservation) -> Result<Vec<Instance>, LauncherError> {
        let ids = new.ids.clone();
        self.launcher.reserve(new).await?;
        self.launcher.identify(1, ids.iter().map(|id| (*id, vec![volume()])).collect()).await?;
        self.launcher.ensure_machines(1, &ids).await
    }

    pub(crate) async fn launch(&self) -> Instance {
        self.launch_as(reservation(1)).await.unwrap().remove(0)
    }
}

pub(crate) fn reservation(count: usize) -> Reservation {
    Reservation {
        epoch: 1,
        account: ACCOUNT.into(),
        image: ImageId::random().to_string(),
        instance_type: "v1.micro".into(),
        reservation: ReservationId::random().to_string(),
        ids: (0..count).map(|_| InstanceId::random()).collect(),
        product_codes: vec!["abc".into()],
        ..Reservation::default()
    }
}

pub(crate) fn volume() -> Volume {
    Volume {
        id: VolumeId::random().to_string(),
        device: "/dev/sda1".into(),
        delete_on_termination: true,
        export: "/run/exports/a/nbd.sock".into(),
        size_bytes: 1 << 30,
        attached_at: 0,
    }
}

pub(crate) fn asked(request_id: &str) -> Asked {
    Asked {
        account: ACCOUNT.into(),
        method: "a method".into(),
        request_id: request_id.into(),
        digest: [0; 32],
    }
}
