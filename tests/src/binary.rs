//! The program under test, and the disk it builds.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::SystemTime,
};

fn target() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace's directory");
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

/// `VMINT_BIN`, or the newest build there is, or one made now.
pub(crate) fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(set) = env::var_os("VMINT_BIN") {
            return set.into();
        }
        let built = |profile: &str| {
            let path = target().join(profile).join("vmint");
            let age = fs::metadata(&path).and_then(|meta| meta.modified()).ok()?;
            Some((age, path))
        };
        let newest = |a: Option<(SystemTime, PathBuf)>, b| if a >= b { a } else { b };
        if let Some((_, path)) = newest(built("release"), built("debug")) {
            return path;
        }
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        let built = cargo.args(["build", "-p", "vmint"]).env("CARGO_TARGET_DIR", target()).status();
        assert!(built.is_ok_and(|status| status.success()), "the binary cannot be built");
        target().join("debug").join("vmint")
    })
}

/// The demo's disk, built once for each build of the program; the reason if it can't be.
pub fn disk() -> Result<&'static Path, String> {
    static DISK: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    DISK.get_or_init(build).as_deref().map_err(Clone::clone)
}

fn build() -> Result<PathBuf, String> {
    let age = |path: &Path| fs::metadata(path).and_then(|meta| meta.modified()).ok();
    let path = target().join("tmp").join("demo.img");
    if age(&path).is_some() && age(&path) >= age(program()) {
        return Ok(path);
    }
    fs::create_dir_all(target().join("tmp")).map_err(|error| error.to_string())?;
    let out =
        Command::new(program()).args(["image", "build", "--console-shell"]).arg(&path).output();
    let out = out.map_err(|error| error.to_string())?;
    if out.status.success() {
        return Ok(path);
    }
    Err(String::from_utf8_lossy(&out.stderr).trim().to_owned())
}
