//! Becoming the instance that the metadata names.

use std::{
    error::Error,
    fs, io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
};

use crate::metadata::Metadata;

const STATE: &str = "var/lib/vmint";
const HOST_KEY: &str = "etc/dropbear/dropbear_ed25519_host_key";
/// What `finish` says of us, until the next boot.
pub(crate) const IDENTITY: &str = "/run/vmint-identity";
const AUTHORIZED: &str = "root/.ssh/authorized_keys";
/// Stands before the one key that is ours to replace.
const MARK: &str = "# The launch key of this instance:";
/// The longest name Linux takes.
const NAME_LIMIT: usize = 64;

/// Sets host name, keys and the note of who we are.
pub(crate) fn boot() -> Result<(), Box<dyn Error>> {
    let root = Path::new("/");
    let metadata = Metadata::open()?;
    let instance = metadata.line("meta-data/instance-id")?.ok_or("metadata has no instance-id")?;
    let image = metadata.line("meta-data/ami-id")?.unwrap_or_else(|| "unknown".into());
    let key = metadata.line("meta-data/public-keys/0/openssh-key")?;
    if let Some(name) = metadata.line("meta-data/hostname")? {
        set_hostname(root, &name)?;
    }
    let state = State::open(root)?;
    if state.instance().as_deref() != Some(instance.as_str()) {
        // A copy of another machine's disk, or a fresh image: nothing secret stays.
        forget_host_keys(root)?;
        install_key(root, key.as_deref())?;
        state.set_instance(&instance)?;
    }
    let host_key = host_key(root)?;
    let line = format!("instance={instance} image={image} ssh-host-key={host_key}");
    fs::write(IDENTITY, line)?;
    Ok(())
}

/// What the agent remembers between boots.
pub(crate) struct State {
    dir: PathBuf,
}

impl State {
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        let dir = root.join(STATE);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        Ok(Self { dir })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The instance this disk last was.
    pub(crate) fn instance(&self) -> Option<String> {
        self.read("instance-id")
    }

    fn set_instance(&self, id: &str) -> io::Result<()> {
        self.write("instance-id", id)
    }

    pub(crate) fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.dir.join(name)).ok().map(|t| t.trim().to_owned())
    }

    /// Written whole or not at all, and before we go on.
    pub(crate) fn write(&self, name: &str, text: &str) -> io::Result<()> {
        replace(&self.dir.join(name), &format!("{text}\n"), 0o600)
    }
}

fn replace(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let fresh = path.with_extension("new");
    fs::write(&fresh, text)?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(mode))?;
    fs::File::open(&fresh)?.sync_all()?;
    fs::rename(&fresh, path)
}

fn set_hostname(root: &Path, name: &str) -> io::Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    let name: String = name.chars().filter(|c| allowed(*c)).take(NAME_LIMIT).collect();
    if name.is_empty() {
        return Ok(());
    }
    // SAFETY: the pointer and length are of one live string.
    #[allow(unsafe_code)]
    let result = unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    replace(&root.join("etc/hostname"), &format!("{name}\n"), 0o644)
}

/// Puts the launch key in place of the last instance's; other keys are the owner's.
fn install_key(root: &Path, key: Option<&str>) -> io::Result<()> {
    let path = root.join(AUTHORIZED);
    if let Some(dir) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    let old = fs::read_to_string(&path).unwrap_or_default();
    replace(&path, &with_key(&old, key), 0o600)
}

fn with_key(old: &str, key: Option<&str>) -> String {
    let mut text = String::new();
    let mut lines = old.lines();
    while let Some(line) = lines.next() {
        if line == MARK {
            lines.next();
        } else {
            text.extend([line, "\n"]);
        }
    }
    if let Some(key) = key {
        text.extend([MARK, "\n", key, "\n"]);
    }
    text
}

/// Removes the host keys of whatever machine the disk was before.
fn forget_host_keys(root: &Path) -> io::Result<()> {
    let path = root.join(HOST_KEY);
    let Some(dir) = path.parent().filter(|d| d.is_dir()) else { return Ok(()) };
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().ends_with("_host_key") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Makes this instance's own host key if it has none; returns its fingerprint.
fn host_key(root: &Path) -> Result<String, Box<dyn Error>> {
    let path = root.join(HOST_KEY);
    let tool = "dropbearkey";
    if !path.exists() {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        let made = Command::new(tool).args(["-t", "ed25519", "-f"]).arg(&path).output()?;
        if !made.status.success() {
            return Err(format!("{tool}: {}", made.status).into());
        }
    }
    let shown = Command::new(tool).arg("-y").arg("-f").arg(&path).output()?;
    let text = String::from_utf8_lossy(&shown.stdout);
    let print = text.lines().find_map(|l| l.strip_prefix("Fingerprint: "));
    let print = print.and_then(|l| l.split_whitespace().find(|w| w.starts_with("SHA256:")));
    Ok(print.unwrap_or("unknown").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_launch_key_is_replaced() {
        let first = with_key("ssh-rsa OWN me\n", Some("ssh-ed25519 A launch"));
        let second = with_key(&first, Some("ssh-ed25519 B launch"));
        assert_eq!(second, format!("ssh-rsa OWN me\n{MARK}\nssh-ed25519 B launch\n"));
        assert_eq!(with_key(&second, None), "ssh-rsa OWN me\n");
        assert_eq!(with_key("", None), "");
    }

    #[test]
    fn the_state_is_remembered() {
        let root = std::env::temp_dir().join(format!("vmint-guest-{}", std::process::id()));
        let state = State::open(&root).expect("state");
        assert_eq!(state.instance(), None);
        state.set_instance("i-1").expect("write");
        state.set_instance("i-2").expect("write");
        assert_eq!(state.instance().as_deref(), Some("i-2"));
        fs::remove_dir_all(root).expect("removed");
    }
}
