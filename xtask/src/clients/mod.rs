//! Clients that know nothing of us, against real processes with real machines.

mod report;
mod stage;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use crate::{Result, ci, root};
use stage::Stage;

/// One client: what it needs, and the script that drives it.
struct Client {
    name: &'static str,
    script: &'static str,
    /// What must be installed already.
    program: Option<&'static str>,
    /// Packages for the virtual environment.
    packages: &'static [&'static str],
    /// Modules for Node.js.
    modules: &'static [&'static str],
    /// Among what runs with every change.
    always: bool,
}

const CLIENTS: &[Client] = &[
    Client {
        name: "boto3",
        script: "boto3_life.py",
        program: None,
        packages: &["boto3"],
        modules: &[],
        always: true,
    },
    Client {
        name: "boto3 and buckets",
        script: "boto3_buckets.py",
        program: None,
        packages: &["boto3"],
        modules: &[],
        always: true,
    },
    Client {
        name: "aws-cli v2",
        script: "aws_cli_life.py",
        program: Some("/usr/bin/aws"),
        packages: &[],
        modules: &[],
        always: true,
    },
    Client {
        name: "Packer amazon-ebs",
        script: "packer_build.py",
        program: Some("/usr/bin/packer"),
        packages: &["boto3"],
        modules: &[],
        always: false,
    },
    Client {
        name: "Packer amazon-ebssurrogate",
        script: "packer_surrogate.py",
        program: Some("/usr/bin/packer"),
        packages: &["boto3"],
        modules: &[],
        always: false,
    },
    Client {
        name: "Ansible amazon.aws",
        script: "ansible_play.py",
        program: None,
        packages: &["ansible", "boto3"],
        modules: &[],
        always: false,
    },
    Client {
        name: "apache-libcloud",
        script: "libcloud_life.py",
        program: None,
        packages: &["apache-libcloud"],
        modules: &[],
        always: false,
    },
    Client {
        name: "cloud-custodian",
        script: "custodian_policies.py",
        program: None,
        packages: &["c7n", "boto3"],
        modules: &[],
        always: false,
    },
    Client {
        name: "AWS SDK for JavaScript v3",
        script: "js_life.cjs",
        program: Some("node"),
        packages: &[],
        modules: &["@aws-sdk/client-ec2", "@aws-sdk/client-ebs", "@aws-sdk/client-sts"],
        always: false,
    },
    Client {
        name: "CDK's MachineImage.lookup",
        script: "cdk_lookup.py",
        program: Some("node"),
        packages: &["boto3"],
        modules: &["aws-cdk@2", "aws-cdk-lib@2", "constructs@10"],
        always: false,
    },
    Client {
        name: "EBS direct in coldsnap's calls (a client of our own)",
        script: "direct_blocks.py",
        program: None,
        packages: &["boto3"],
        modules: &[],
        always: false,
    },
    Client {
        name: "coldsnap",
        script: "coldsnap_disk.py",
        program: Some("coldsnap"),
        packages: &["boto3"],
        modules: &[],
        always: false,
    },
];

enum Outcome {
    Passed,
    Failed,
    Skipped(String),
}

/// How one client fared.
struct Seen {
    name: &'static str,
    outcome: Outcome,
    /// Its own words about its version.
    version: String,
    took: Duration,
    /// What it saw, a line each.
    steps: Vec<String>,
}

/// The clients that are run.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Which<'a> {
    /// Those that are run with every change.
    Always,
    /// All, whose results are recorded in `docs/clients.md`.
    All,
    /// Whose script's name begins so.
    One(&'a str),
}

impl Which<'_> {
    fn has(self, client: &Client) -> bool {
        match self {
            Self::Always => client.always,
            Self::All => true,
            Self::One(name) => client.script.starts_with(name),
        }
    }
}

/// Runs clients. Answers which could not be run and why, if any.
pub(crate) fn run(which: Which<'_>) -> Result<Option<String>> {
    if !CLIENTS.iter().any(|client| which.has(client)) {
        let names = CLIENTS.iter().map(|client| client.script).collect::<Vec<_>>();
        return Err(format!("no such client; there are {}", names.join(", ")).into());
    }
    let python = match python(&[]) {
        Ok(python) => python,
        Err(error) => return Ok(Some(format!("no virtual environment: {error}"))),
    };
    let stage = match Stage::set(&python)? {
        Ok(stage) => stage,
        Err(why) => return Ok(Some(why)),
    };
    let mut seen = Vec::new();
    for client in CLIENTS.iter().filter(|client| which.has(client)) {
        println!("-- {}", client.name);
        let one = drive(client, &stage);
        if let Outcome::Skipped(why) = &one.outcome {
            println!("SKIPPED {}: {why}", client.name);
        }
        seen.push(one);
    }
    drop(stage);
    if matches!(which, Which::All) {
        report::write(&seen)?;
    }
    let failed = seen.iter().filter(|it| matches!(it.outcome, Outcome::Failed));
    let failed = failed.map(|it| it.name).collect::<Vec<_>>();
    if !failed.is_empty() {
        return Err(format!("clients that failed: {}", failed.join(", ")).into());
    }
    let skipped = seen.iter().filter_map(|it| match &it.outcome {
        Outcome::Skipped(why) => Some(format!("{}: {why}", it.name)),
        _ => None,
    });
    let skipped = skipped.collect::<Vec<_>>();
    Ok((!skipped.is_empty()).then(|| skipped.join("; ")))
}

fn drive(client: &Client, stage: &Stage) -> Seen {
    let began = Instant::now();
    let seen = |outcome, version: String, steps| Seen {
        name: client.name,
        outcome,
        version,
        took: began.elapsed(),
        steps,
    };
    if let Some(program) = client.program.filter(|program| !is_installed(program)) {
        let why = format!("{program} is not installed");
        return seen(Outcome::Skipped(why), String::new(), Vec::new());
    }
    let script = root().join("tests/clients").join(client.script);
    let interpreter = modules(client.modules).and_then(|()| {
        let node = script.extension().is_some_and(|extension| extension == "cjs");
        if node { Ok("node".into()) } else { python(client.packages) }
    });
    let interpreter = match interpreter {
        Ok(interpreter) => interpreter,
        Err(error) => {
            let why = format!("it cannot be installed: {error}");
            return seen(Outcome::Skipped(why), String::new(), Vec::new());
        }
    };
    let modules = node_dir().join("node_modules");
    let out = stage.command(&interpreter).env("NODE_PATH", modules).arg(script).output();
    let (text, good) = match out {
        Ok(out) => {
            let text = [out.stdout, out.stderr].concat();
            (String::from_utf8_lossy(&text).into_owned(), out.status.success())
        }
        Err(error) => (error.to_string(), false),
    };
    print!("{text}");
    let mut lines = text.lines();
    let version = lines.next().unwrap_or_default().to_owned();
    let steps = lines.filter_map(|line| line.strip_prefix("ok "));
    let steps = steps.map(|step| step.trim().to_owned()).collect();
    seen(if good { Outcome::Passed } else { Outcome::Failed }, version, steps)
}

/// Whether a program is at its path or, by its name alone, on the search path.
fn is_installed(program: &str) -> bool {
    Path::new(program).is_file() || ci::has(program)
}

fn node_dir() -> PathBuf {
    root().join("target/clients/node")
}

/// Has npm install `modules` where scripts find them.
fn modules(modules: &[&str]) -> Result {
    if modules.is_empty() {
        return Ok(());
    }
    fs::create_dir_all(node_dir())?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"]).arg(node_dir());
    done(npm.args(modules))
}

/// The interpreter of a virtual environment that has `packages`.
pub(crate) fn python(packages: &[&str]) -> Result<PathBuf> {
    let dir = root().join("target/clients/venv");
    let python = dir.join("bin/python");
    if !python.exists() {
        fs::create_dir_all(&dir)?;
        done(Command::new("python3").args(["-m", "venv"]).arg(&dir))?;
    }
    if !packages.is_empty() {
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        done(pip.args(packages))?;
    }
    Ok(python)
}

fn done(command: &mut Command) -> Result {
    let out = command.output()?;
    if out.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&out.stderr);
    Err(text.lines().last().unwrap_or("it failed and said nothing").to_owned().into())
}
