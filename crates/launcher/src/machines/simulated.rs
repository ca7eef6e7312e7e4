//! Machines that are only on paper, for runs that need the API and no guest.
//!
//! Each keeps its directory, its record of what it was given, its console and its end, so
//! that everything around it (states, volumes, events, adoption) is as with real ones. It
//! starts no process, and says everywhere that it is simulated.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{io::AsyncWriteExt as _, net::UnixStream, sync::watch};

use super::hypervisor::{End, Facts, Host, Hypervisor, HypervisorError, Machine, Plan};
use crate::{Volume, clock, instance::POWERED_OFF};

/// What such machines give as their accelerator.
pub(crate) const SIMULATED: &str = "simulated";

const RECORD: &str = "simulated.json";
const END: &str = "simulated-end.json";
const CONSOLE: &str = "console.log";
/// Places for volumes that come later, as many as real machines have.
const PLACES: usize = 6;
/// The most that is read of a console.
const LOG: u64 = 1 << 20;

/// Keeps machines on paper. They last for as long as their directories do.
#[derive(Debug, Default)]
pub struct SimulatedHypervisor {
    machines: Mutex<HashMap<PathBuf, Arc<Paper>>>,
}

#[derive(Debug)]
struct Paper {
    dir: PathBuf,
    record: Mutex<Record>,
    end: watch::Sender<Option<End>>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    instance: String,
    uuid: String,
    cpus: u16,
    memory_mib: u32,
    started_at: i64,
    /// Given at the start; the root first.
    volumes: Vec<String>,
    /// Given since.
    plugged: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Ended {
    reason: String,
    powered_off: bool,
    at: Option<i64>,
}

#[async_trait]
impl Hypervisor for SimulatedHypervisor {
    async fn host(&self) -> Host {
        Host {
            accelerator: SIMULATED.to_owned(),
            reason: "the settings say so: no machine runs, only its record".to_owned(),
            ..Host::default()
        }
    }

    async fn launch(&self, dir: &Path, plan: &Plan) -> Result<Arc<dyn Machine>, HypervisorError> {
        if self.find(dir)?.is_some() {
            return Err(HypervisorError::Failed("a machine is here already".to_owned()));
        }
        let record = Record {
            instance: plan.instance.clone(),
            uuid: plan.uuid.clone(),
            cpus: plan.cpus,
            memory_mib: plan.memory_mib,
            started_at: clock::now(),
            volumes: plan.volumes.iter().map(|volume| volume.id.clone()).collect(),
            plugged: Vec::new(),
        };
        let greeting = format!(
            "vmint: {} is simulated, no guest runs: {} processors, {} MiB, {}\r\n",
            record.instance,
            record.cpus,
            record.memory_mib,
            record.volumes.join(" "),
        );
        std::fs::write(dir.join(CONSOLE), greeting).map_err(failed)?;
        write(&dir.join(RECORD), &record)?;
        // The last run's: from here on there is a machine.
        match std::fs::remove_file(dir.join(END)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let paper = self.take_up(dir, record);
        Ok(Arc::new(Handle(paper)))
    }

    async fn adopt(&self, dir: &Path) -> Result<Option<Arc<dyn Machine>>, HypervisorError> {
        let found = self.find(dir)?;
        Ok(found.map(|paper| Arc::new(Handle(paper)) as Arc<dyn Machine>))
    }

    async fn last_end(&self, dir: &Path) -> Option<End> {
        let ended: Ended = read(&dir.join(END)).ok().flatten()?;
        Some(End { reason: ended.reason, powered_off: ended.powered_off, at: ended.at })
    }

    async fn last_console(&self, dir: &Path) -> Vec<u8> {
        log(dir).unwrap_or_default()
    }
}

impl SimulatedHypervisor {
    /// The machine in `dir`, if there is one that has not ended.
    fn find(&self, dir: &Path) -> Result<Option<Arc<Paper>>, HypervisorError> {
        let known = self.machines.lock().get(dir).cloned();
        if let Some(known) = known.filter(|paper| paper.end.borrow().is_none()) {
            return Ok(Some(known));
        }
        if dir.join(END).exists() {
            return Ok(None);
        }
        let record: Option<Record> = read(&dir.join(RECORD))?;
        Ok(record.map(|record| self.take_up(dir, record)))
    }

    fn take_up(&self, dir: &Path, record: Record) -> Arc<Paper> {
        let paper = Arc::new(Paper {
            dir: dir.to_owned(),
            record: Mutex::new(record),
            end: watch::Sender::new(None),
        });
        let mut machines = self.machines.lock();
        machines.retain(|_, paper| paper.end.borrow().is_none());
        machines.insert(dir.to_owned(), Arc::clone(&paper));
        paper
    }
}

impl Paper {
    fn finish(&self, reason: &str, powered_off: bool) -> Result<(), HypervisorError> {
        if self.end.borrow().is_some() {
            return Ok(());
        }
        let at = Some(clock::now());
        let ended = Ended { reason: reason.to_owned(), powered_off, at };
        write(&self.dir.join(END), &ended)?;
        self.say(&format!("vmint: the simulated machine ended: {reason}\r\n"))?;
        self.end.send_if_modified(|end| {
            let first = end.is_none();
            end.get_or_insert(End { reason: ended.reason, powered_off, at });
            first
        });
        Ok(())
    }

    fn say(&self, line: &str) -> Result<(), HypervisorError> {
        let log = std::fs::File::options().append(true).create(true).open(self.dir.join(CONSOLE));
        log.and_then(|mut log| io::Write::write_all(&mut log, line.as_bytes())).map_err(failed)
    }
}

#[derive(Debug)]
struct Handle(Arc<Paper>);

#[async_trait]
impl Machine for Handle {
    fn facts(&self) -> Facts {
        Facts {
            accelerator: SIMULATED.to_owned(),
            sandbox_gaps: Vec::new(),
            started_at: self.0.record.lock().started_at,
        }
    }

    fn is_over(&self) -> bool {
        self.0.end.borrow().is_some()
    }

    async fn ended(&self) -> End {
        let mut end = self.0.end.subscribe();
        let found = end.wait_for(Option::is_some).await.ok().and_then(|end| end.clone());
        found.unwrap_or(End { reason: String::new(), powered_off: false, at: None })
    }

    async fn powerdown(&self) -> Result<(), HypervisorError> {
        self.0.finish(POWERED_OFF, true)
    }

    async fn reset(&self) -> Result<(), HypervisorError> {
        self.0.say("vmint: the simulated machine was reset\r\n")
    }

    async fn quit(&self) -> Result<(), HypervisorError> {
        self.0.finish("the simulated machine was ended", false)
    }

    async fn plug(&self, volume: &Volume) -> Result<(), HypervisorError> {
        let mut record = self.0.record.lock();
        if record.volumes.contains(&volume.id) || record.plugged.contains(&volume.id) {
            return Ok(());
        }
        if record.plugged.len() == PLACES {
            return Err(HypervisorError::NoPlace);
        }
        let mut next = record.clone();
        next.plugged.push(volume.id.clone());
        write(&self.0.dir.join(RECORD), &next)?;
        *record = next;
        Ok(())
    }

    async fn unplug(&self, volume: &str, _: Duration, _: bool) -> Result<(), HypervisorError> {
        let mut record = self.0.record.lock();
        if record.volumes.first().is_some_and(|root| root == volume) {
            return Err(HypervisorError::Fixed);
        }
        let mut next = record.clone();
        next.volumes.retain(|id| id != volume);
        next.plugged.retain(|id| id != volume);
        write(&self.0.dir.join(RECORD), &next)?;
        *record = next;
        Ok(())
    }

    async fn console_log(&self) -> Result<Vec<u8>, HypervisorError> {
        log(&self.0.dir).map_err(failed)
    }

    async fn console(&self, backlog: bool) -> Result<UnixStream, HypervisorError> {
        let (ours, mut theirs) = UnixStream::pair().map_err(failed)?;
        let said = if backlog { log(&self.0.dir).map_err(failed)? } else { Vec::new() };
        let mut end = self.0.end.subscribe();
        tokio::spawn(async move {
            // It ends with its reader, or with the machine.
            if theirs.write_all(&said).await.is_err() {
                return;
            }
            let mut typed = [0; 1024];
            loop {
                tokio::select! {
                    read = tokio::io::AsyncReadExt::read(&mut theirs, &mut typed) => match read {
                        Ok(1..) => {}
                        _ => return,
                    },
                    _ = end.wait_for(Option::is_some) => return,
                }
            }
        });
        Ok(ours)
    }

    async fn forward(&self, port: u16) -> Result<UnixStream, HypervisorError> {
        let why = format!("a simulated machine has no guest that listens on port {port}");
        Err(HypervisorError::Failed(why))
    }
}

fn log(dir: &Path) -> io::Result<Vec<u8>> {
    use io::{Read as _, Seek as _};
    let mut file = std::fs::File::open(dir.join(CONSOLE))?;
    let size = file.metadata()?.len();
    file.seek(io::SeekFrom::Start(size.saturating_sub(LOG)))?;
    let mut said = Vec::new();
    file.take(LOG).read_to_end(&mut said)?;
    Ok(said)
}

/// Writes a record so that a reader finds all of it or the one before.
fn write(path: &Path, record: &impl Serialize) -> Result<(), HypervisorError> {
    let fresh = path.with_extension("new");
    let bytes = serde_json::to_vec(record).map_err(|error| failed(error.into()))?;
    std::fs::write(&fresh, bytes).and_then(|()| std::fs::rename(&fresh, path)).map_err(failed)
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, HypervisorError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes).map_err(|e| failed(e.into()))?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what map_err gives")]
fn failed(error: io::Error) -> HypervisorError {
    HypervisorError::Failed(format!("the simulated machine's record: {}", vmint_rpc::chain(&error)))
}
