//! An instance, and what its life's events do to it.
//!
//! Times are milliseconds since 1970.

use std::{net::Ipv4Addr, path::PathBuf};

use vmint_ids::InstanceId;

use crate::{LauncherError, Result, State};

/// A machine's user data is at most this long, in bytes.
pub const MAX_USER_DATA: usize = 16 << 10;

/// As many disks as a machine has letters for.
pub(crate) const MAX_VOLUMES: usize = 26;

/// The reason of an end that the guest brought about.
pub(crate) const POWERED_OFF: &str = "the guest powered off";

/// The reason of a stop that lasts as long as its image is made.
pub(crate) const HALTED: &str = "stopped to be imaged on request";

/// At most this many instances in one launch.
pub const MAX_LAUNCH: usize = 20;

/// A machine launched from an image, or being launched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    pub id: InstanceId,
    pub account: String,
    pub image: String,
    pub state: State,
    /// Why it is where it is, for a person.
    pub reason: String,
    pub instance_type: String,
    pub memory_mib: u32,
    pub cpus: u16,
    /// Empty if it has none.
    pub key_name: String,
    /// Copied at launch, so that deleting the key pair changes nothing.
    pub public_key: String,
    pub launch_index: u32,
    pub reservation: String,
    pub product_codes: Vec<String>,
    pub tags: Vec<(String, String)>,
    pub name: String,
    pub particulars: Particulars,
    /// It may not be terminated.
    pub protected: bool,
    pub on_poweroff: OnPoweroff,
    pub launched_at: i64,
    pub changed_at: i64,
    /// Set once volumes and addresses are known.
    pub identity: Option<Identity>,
    /// How often its machine was begun.
    pub run: u64,
    /// The present run was announced and its end was not.
    pub run_open: bool,
    /// When the guest of the present or last run began to run.
    pub started_at: Option<i64>,
    /// Of the present or last run: "kvm" or "tcg", and what its sandbox lacked.
    pub accelerator: String,
    pub sandbox_gaps: Vec<String>,
    pub ssh: Option<Endpoint>,
}

/// What the launch said that the machine itself has no use for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Particulars {
    /// The image's name and owner at the launch, whatever became of it.
    pub image_name: String,
    pub image_owner: String,
    /// Milliseconds since 1970; 0 if it is not known.
    pub image_created: i64,
    /// "windows", or empty.
    pub image_platform: String,
    /// Its guest is said to drive EC2's network card.
    pub ena_support: bool,
    /// "x86_64" or "i386".
    pub architecture: String,
    /// The availability zone.
    pub zone: String,
    pub client_token: String,
    pub subnet: String,
    pub vpc: String,
    pub security_groups: Vec<String>,
}

impl Particulars {
    /// Refuses what no record should hold.
    pub(crate) fn check(&self) -> Result<()> {
        let texts = [
            ("image_name", &self.image_name, 256),
            ("image_owner_id", &self.image_owner, 64),
            ("image_platform", &self.image_platform, 32),
            ("client_token", &self.client_token, 128),
            ("subnet_id", &self.subnet, 64),
            ("vpc_id", &self.vpc, 64),
        ];
        for (field, text, most) in texts {
            if text.len() > most || text.chars().any(char::is_control) {
                let problem = format!("use at most {most} bytes without control characters");
                return Err(LauncherError::field(field, problem));
            }
        }
        check_groups(&self.security_groups)
    }
}

/// Refuses what cannot be security groups.
pub(crate) fn check_groups(groups: &[String]) -> Result<()> {
    let plain = |group: &String| {
        (1..=64).contains(&group.len()) && group.bytes().all(|b| b.is_ascii_graphic())
    };
    if groups.len() > 16 || !groups.iter().all(plain) {
        return Err(LauncherError::field("security_group_ids", "give at most 16 ids"));
    }
    Ok(())
}

/// What follows when a guest powers its machine off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnPoweroff {
    /// The instance stops, and can be started again.
    #[default]
    Stop,
    /// It ends for good.
    Terminate,
}

/// What makes a machine this instance's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The root first, if it is there.
    pub volumes: Vec<Volume>,
    /// Where the root volume is.
    pub root_device: String,
    /// Its place in the networks: private and loopback address follow from it.
    pub slot: u32,
    pub mac: [u8; 6],
    pub private_ip: Ipv4Addr,
    /// Begins with `ec2`.
    pub uuid: String,
    /// What its metadata tokens are sealed with.
    pub token_secret: [u8; 32],
}

/// A disk at an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    pub id: String,
    pub device: String,
    pub delete_on_termination: bool,
    pub export: PathBuf,
    pub size_bytes: u64,
    pub attached_at: i64,
}

/// Where a machine is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    pub address: Ipv4Addr,
    pub port: u16,
}

/// What others are told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happening {
    Started,
    Stopped,
    Terminated,
}

/// What is known of a run once the guest runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    pub started_at: i64,
    pub accelerator: String,
    pub sandbox_gaps: Vec<String>,
    pub ssh: Option<Endpoint>,
}

impl Instance {
    /// The guest runs.
    pub fn began(&mut self, run: Run, now: i64) -> Result<Happening> {
        self.enter(State::Running, "", now)?;
        self.run += 1;
        self.run_open = true;
        self.started_at = Some(run.started_at);
        self.accelerator = run.accelerator;
        self.sandbox_gaps = run.sandbox_gaps;
        self.ssh = run.ssh.or(self.ssh);
        Ok(Happening::Started)
    }

    /// Its machine is gone, since `at`; tells of a run that ended by it.
    pub fn ended(&mut self, reason: &str, at: i64) -> Result<Option<Happening>> {
        // Nothing ends before it began, whatever a clock says.
        let at = at.max(self.started_at.filter(|_| self.run_open).unwrap_or(at));
        self.enter(State::Stopped, reason, at)?;
        Ok(self.close_run())
    }

    /// Its guest powered off at `at`: it stops, or begins to end, as it was launched to.
    pub fn powered_off(&mut self, reason: &str, at: i64) -> Result<Option<Happening>> {
        if self.state == State::Running && self.on_poweroff == OnPoweroff::Terminate {
            self.enter(State::ShuttingDown, reason, at)?;
            return Ok(None);
        }
        self.ended(reason, at)
    }

    /// It is gone for good, since `at`, by way of [`State::ShuttingDown`].
    pub fn terminated(&mut self, at: i64) -> Result<Vec<Happening>> {
        let reason = self.reason.clone();
        let at = at.max(self.started_at.filter(|_| self.run_open).unwrap_or(at));
        self.enter(State::Terminated, &reason, at)?;
        Ok(self.close_run().into_iter().chain([Happening::Terminated]).collect())
    }

    /// Goes to `next`, if the state it is in allows that.
    pub fn enter(&mut self, next: State, reason: &str, now: i64) -> Result<()> {
        if !self.state.may_become(next) {
            return Err(self.not_now(match next {
                State::Pending => "start",
                State::Stopping => "stop",
                State::ShuttingDown => "terminate",
                State::Running | State::Stopped | State::Terminated => "change",
            }));
        }
        self.state = next;
        reason.clone_into(&mut self.reason);
        self.changed_at = now;
        Ok(())
    }

    /// Whether it never ran: the launch that made it has not come to an end.
    #[must_use]
    pub fn unlaunched(&self) -> bool {
        self.run == 0
    }

    /// EC2's word for why it stopped or ended; empty if it did neither.
    #[must_use]
    pub fn reason_code(&self) -> &'static str {
        match self.state {
            State::Pending | State::Running => "",
            _ if self.reason == POWERED_OFF => "Client.InstanceInitiatedShutdown",
            _ if self.reason.contains("on request") => "Client.UserInitiatedShutdown",
            _ => "Server.InternalError",
        }
    }

    pub(crate) fn not_now(&self, verb: &'static str) -> LauncherError {
        LauncherError::WrongState { id: self.id, state: self.state, verb }
    }

    fn close_run(&mut self) -> Option<Happening> {
        std::mem::take(&mut self.run_open).then_some(Happening::Stopped)
    }
}

impl Identity {
    /// Adds a volume, in the place the boot order gives it.
    pub(crate) fn attach(&mut self, volume: Volume) {
        self.volumes.push(volume);
        // Stable: the others stay in their order.
        self.volumes.sort_by_key(|volume| volume.device != self.root_device);
    }

    /// Whether its root volume is there.
    #[must_use]
    pub fn has_root(&self) -> bool {
        self.volumes.first().is_some_and(|volume| volume.device == self.root_device)
    }

    /// The name its guest goes by, e.g. `ip-172-31-0-4`.
    #[must_use]
    pub fn host_name(&self) -> String {
        format!("ip-{}", self.private_ip.to_string().replace('.', "-"))
    }
}

/// The hardware address of an instance: locally administered, the same each time.
#[must_use]
pub(crate) fn mac_of(id: InstanceId) -> [u8; 6] {
    let hash = blake3::hash(&id.to_key());
    let b = hash.as_bytes();
    [0x02, b[0], b[1], b[2], b[3], b[4]]
}

/// Writes a hardware address as `02:…`.
#[must_use]
pub(crate) fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|b| format!("{b:02x}")).join(":")
}

#[cfg(test)]
pub(crate) mod tests;
