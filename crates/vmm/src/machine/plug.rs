//! Disks that come and go while the machine runs.
//!
//! QEMU alone knows what is plugged: a disk's name there says its port and its serial, so
//! that a launcher which finds a machine again sees what an earlier one did.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::broadcast::error::RecvError,
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{CONNECT, Machine};
use crate::{
    Result, VmmError,
    command::{self, Plug},
    layout,
    qmp::Event,
    shim::plug::{Ask, DONE},
    spec::{DiskSpec, SpecError},
};

/// Where QEMU keeps the devices that have names.
const DEVICES: &str = "/machine/peripheral";
/// How long QEMU may need to let go of a disk's server once the guest has.
const CLOSE: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_millis(50);
/// Between two looks whether a disk is gone, should its event be missed.
const LOOK: Duration = Duration::from_secs(1);

impl Machine {
    /// Gives the running guest a disk, behind the first free port. One that it has
    /// already is left as it is.
    pub async fn plug(&self, disk: &DiskSpec) -> Result<()> {
        disk.check()?;
        if !disk.pluggable() {
            return Err(SpecError::NotPluggable(disk.serial.clone()).into());
        }
        let _one = self.inner.plugging.lock().await;
        let names = self.devices().await?;
        let plugged = plugs(&names);
        if self.is_fixed(&names, &disk.serial) || has(&plugged, &disk.serial) {
            return Ok(());
        }
        self.forget_halves(&plugged).await?;
        let taken: HashSet<_> = plugged.iter().map(|plug| plug.port).collect();
        let port = (0..self.spec().ports()).find(|port| !taken.contains(port));
        let port = port.ok_or(VmmError::NoPort)?;
        let plug = Plug { port, serial: disk.serial.clone() };
        let socket = self.way_to(port, &disk.socket).await?;
        let added = async {
            let name = plug.name();
            self.run("blockdev-add", command::block(&name, disk, &socket)).await?;
            let mut device = command::device(&name, &name, disk);
            device["bus"] = json!(plug.bus());
            self.run("device_add", device).await
        };
        match added.await {
            Ok(_) => Ok(()),
            Err(error) => {
                if let Err(error) = self.close(&plug).await {
                    tracing::warn!(dir = %self.dir().display(), %error, "half a disk is left");
                }
                Err(error)
            }
        }
    }

    /// Takes a disk away: asks the guest, and waits up to `limit` until it has let go.
    /// With `force` its server is cut off then, whatever the guest says. A disk that is
    /// not there is taken away already.
    pub async fn unplug(&self, serial: &str, limit: Duration, force: bool) -> Result<()> {
        let _one = self.inner.plugging.lock().await;
        // Subscribed first, so that no event falls between.
        let mut events = self.events();
        let names = self.devices().await?;
        if self.is_fixed(&names, serial) {
            return Err(VmmError::DiskFixed { serial: serial.to_owned() });
        }
        let plugged = plugs(&names);
        let Some(plug) = plugged.iter().find(|plug| plug.serial == serial) else {
            return self.forget_halves(&plugged).await;
        };
        let name = plug.name();
        match self.run("device_del", json!({"id": name})).await {
            // It was asked before and has not let go yet.
            Err(VmmError::Refused { text, .. }) if text.contains("process of unplug") => {}
            other => drop(other?),
        }
        let end = Instant::now() + limit;
        loop {
            let event = timeout_at(end.min(Instant::now() + LOOK), events.recv()).await;
            let said = match event {
                Ok(Ok(event)) => about(&event, &name),
                Ok(Err(RecvError::Closed)) => return Err(VmmError::Gone),
                Err(_) if !has(&plugs(&self.devices().await?), serial) => Some(true),
                Ok(Err(RecvError::Lagged(_))) | Err(_) => None,
            };
            match said {
                Some(true) => break,
                None if Instant::now() < end => {}
                Some(false) | None if force => {
                    return self.tell_shim(&Ask { port: plug.port, server: None }).await;
                }
                Some(false) | None => {
                    return Err(VmmError::DiskHeld { serial: serial.to_owned() });
                }
            }
        }
        self.close(plug).await
    }

    /// The serials of the disks that can be taken away.
    pub async fn plugged(&self) -> Result<Vec<String>> {
        Ok(plugs(&self.devices().await?).into_iter().map(|plug| plug.serial).collect())
    }

    async fn devices(&self) -> Result<Vec<String>> {
        let list = self.run("qom-list", json!({"path": DEVICES})).await?;
        let names = list.as_array().into_iter().flatten().filter_map(|d| d["name"].as_str());
        Ok(names.map(str::to_owned).collect())
    }

    /// Whether the disk is on the board, where it stays.
    fn is_fixed(&self, devices: &[String], serial: &str) -> bool {
        let index = self.spec().disks.iter().position(|disk| disk.serial == serial);
        index.is_some_and(|index| devices.contains(&command::fixed(index)))
    }

    /// Closes disks whose device never came, or has gone: left by an earlier try that
    /// was cut off.
    async fn forget_halves(&self, plugged: &[Plug]) -> Result<()> {
        let nodes = self.run("query-named-block-nodes", json!({"flat": true})).await?;
        let names = nodes.as_array().into_iter().flatten().filter_map(|n| n["node-name"].as_str());
        for half in names.filter_map(Plug::of).filter(|half| !plugged.contains(half)) {
            self.close(&half).await?;
        }
        Ok(())
    }

    /// Ends the connection to a disk's server once nothing uses it.
    async fn close(&self, plug: &Plug) -> Result<()> {
        let end = Instant::now() + CLOSE;
        loop {
            match self.run("blockdev-del", json!({"node-name": plug.name()})).await {
                Err(VmmError::Refused { text, .. })
                    if text.contains("in use") && Instant::now() < end =>
                {
                    sleep(AGAIN).await;
                }
                Err(VmmError::Refused { text, .. }) if text.contains("Failed to find") => break,
                other => {
                    other?;
                    break;
                }
            }
        }
        self.tell_shim(&Ask { port: plug.port, server: None }).await
    }

    /// Where QEMU reaches a disk's server: through the shim, if it sees a file system of
    /// its own.
    async fn way_to(&self, port: usize, server: &Path) -> Result<PathBuf> {
        if !self.confinement().mounts {
            return Ok(server.to_owned());
        }
        self.tell_shim(&Ask { port, server: Some(server.to_owned()) }).await?;
        Ok(layout::plugs(self.dir()).join(port.to_string()))
    }

    async fn tell_shim(&self, ask: &Ask) -> Result<()> {
        let failed = || VmmError::io("speaking with the machine's shim");
        let mut line = serde_json::to_vec(ask).map_err(|e| failed()(e.into()))?;
        line.push(b'\n');
        let mut shim = self.connect(layout::plug(self.dir())).await?;
        let told = timeout(CONNECT, async {
            shim.write_all(&line).await?;
            shim.read_u8().await
        });
        match told.await {
            Ok(Ok(DONE)) => Ok(()),
            Ok(Ok(_)) => {
                let server = ask.server.as_deref().unwrap_or(Path::new("")).display();
                let reason = format!("the disk's server at `{server}` is not reached");
                Err(VmmError::Shim { reason })
            }
            Ok(Err(error)) => Err(failed()(error)),
            Err(_) => Err(VmmError::Deadline { what: "asking the shim", limit: CONNECT }),
        }
    }
}

fn plugs(devices: &[String]) -> Vec<Plug> {
    devices.iter().filter_map(|name| Plug::of(name)).collect()
}

fn has(plugged: &[Plug], serial: &str) -> bool {
    plugged.iter().any(|plug| plug.serial == serial)
}

/// Whether an event says that device `name` is gone, or that it will not go.
fn about(event: &Event, name: &str) -> Option<bool> {
    let theirs = event.data.get("device").and_then(Value::as_str) == Some(name);
    match event.name.as_str() {
        "DEVICE_DELETED" if theirs => Some(true),
        "DEVICE_UNPLUG_GUEST_ERROR" if theirs => Some(false),
        _ => None,
    }
}
