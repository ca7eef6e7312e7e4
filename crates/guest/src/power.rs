//! The power button.

use std::{
    error::Error,
    fs::{self, File, OpenOptions},
    io::{self, Read},
    os::{fd::AsRawFd, unix::fs::OpenOptionsExt},
    process::Command,
    thread,
    time::Duration,
};

const DEVICES: &str = "/dev/input";
const KEY: u16 = 1;
const POWER: u16 = 116;
const PRESSED: i32 = 1;
/// `struct input_event` on 64-bit Linux: two longs, type, code, value.
const EVENT: usize = 24;

/// Waits for the button and switches the machine off in good order.
pub(crate) fn watch() -> Result<(), Box<dyn Error>> {
    let mut devices = open()?;
    let mut polls: Vec<_> = devices
        .iter()
        .map(|d| libc::pollfd { fd: d.as_raw_fd(), events: libc::POLLIN, revents: 0 })
        .collect();
    loop {
        let count = libc::nfds_t::try_from(polls.len())?;
        // SAFETY: pointer and count are of one live list.
        #[allow(unsafe_code)]
        let result = unsafe { libc::poll(polls.as_mut_ptr(), count, -1) };
        if result < 0 {
            let error = io::Error::last_os_error();
            if error.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            return Err(error.into());
        }
        for (device, poll) in devices.iter_mut().zip(&polls) {
            if poll.revents != 0 && pressed(device)? {
                println!("vmint-guest: power button pressed, switching off");
                let status = Command::new("poweroff").status()?;
                return if status.success() { Ok(()) } else { Err("poweroff failed".into()) };
            }
        }
    }
}

/// All input devices. The button's may appear a moment after its driver was loaded.
fn open() -> Result<Vec<File>, Box<dyn Error>> {
    for _ in 0..50 {
        let mut devices = Vec::new();
        for entry in fs::read_dir(DEVICES).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with("event") {
                let flags = libc::O_NONBLOCK;
                devices.push(OpenOptions::new().read(true).custom_flags(flags).open(entry.path())?);
            }
        }
        if !devices.is_empty() {
            return Ok(devices);
        }
        thread::sleep(Duration::from_millis(200));
    }
    Err("this machine has no input device, so no power button".into())
}

fn pressed(device: &mut File) -> io::Result<bool> {
    let mut bytes = [0; EVENT * 32];
    let size = match device.read(&mut bytes) {
        Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(size) => size,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        Err(error) => return Err(error),
    };
    Ok(bytes[..size].chunks_exact(EVENT).any(is_power))
}

fn is_power(event: &[u8]) -> bool {
    let kind = u16::from_ne_bytes([event[16], event[17]]);
    let code = u16::from_ne_bytes([event[18], event[19]]);
    let value = i32::from_ne_bytes([event[20], event[21], event[22], event[23]]);
    (kind, code, value) == (KEY, POWER, PRESSED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_press_of_the_power_key_counts() {
        let mut event = [0; EVENT];
        event[16..18].copy_from_slice(&KEY.to_ne_bytes());
        event[18..20].copy_from_slice(&POWER.to_ne_bytes());
        assert!(!is_power(&event));
        event[20..24].copy_from_slice(&PRESSED.to_ne_bytes());
        assert!(is_power(&event));
        event[18] = 30;
        assert!(!is_power(&event));
    }
}
