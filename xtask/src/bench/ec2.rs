//! `cargo xtask bench ec2`: EC2's calls beside another server of them, in turn, with the same
//! clients.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::json;

use super::{
    clock::{load, median, ran, spread},
    publish,
    stack::{Stack, binary},
};
use crate::{Result, clients};

const DRIVE: &str = include_str!("ec2/drive.py");
/// Of the account that asks, as many as fill one page.
const IMAGES: usize = 1000;
const OPERATIONS: [(&str, &str); 4] = [
    ("by id", "DescribeImages of one id"),
    ("three filters", "DescribeImages, own, name by glob, architecture and state"),
    ("page of 1,000", "DescribeImages, own, a page of 1,000"),
    ("register", "RegisterImage of a snapshot"),
];
const KEY: (&str, &str) = ("AKIAVMINTBENCH000001", "benchbenchbenchbenchbenchbenchbenchbench");

/// Serves until its standard input ends.
const MOTO: &str = "
import logging, sys
logging.disable(logging.CRITICAL)
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address='127.0.0.1', port=0)
server.start()
print('http://%s:%s' % server.get_host_and_port(), flush=True)
sys.stdin.read()
";

/// Milliseconds of each call of each round, by server, client and operation.
type Times = BTreeMap<String, BTreeMap<String, BTreeMap<String, Vec<Vec<f64>>>>>;

/// Moto's server; ends with its owner.
struct Moto(Child);

impl Moto {
    fn start(python: &Path) -> Result<(Self, String)> {
        let mut command = Command::new(python);
        command.args(["-c", MOTO]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut moto = Self(command.stderr(Stdio::null()).spawn()?);
        let said = moto.0.stdout.take().ok_or("no output")?;
        for line in BufReader::new(said).lines() {
            let line = line?;
            if line.starts_with("http://") {
                return Ok((moto, line));
            }
        }
        Err("moto's server did not start".into())
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs the comparison, prints it, and adds it to `docs/benchmarks.md` unless `quick`.
pub(crate) fn run(quick: bool) -> Result {
    let python = clients::python(&["boto3", "moto[server,ec2]>=5,<6"])?;
    let vmint = binary(quick)?;
    // Short, because unix sockets lie in it.
    let dir = tempfile::Builder::new().prefix("vme-").tempdir_in("/tmp")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let _inside = runtime.enter();
    let key = format!("{}:{}", KEY.0, KEY.1);
    let words = ["--simulated", "--access-key", &key];
    let stack = Stack::start(&vmint, &dir.path().join("d"), &words)?;
    let (moto, url) = Moto::start(&python)?;
    let (images, rounds, calls) = if quick { (60, 2, 10) } else { (IMAGES, 5, 100) };
    let place = |url: &str, region: &str| json!({"url": url, "key": KEY.0, "secret": KEY.1, "region": region});
    let ours = place(&format!("http://{}", stack.address), "local-1");
    let asked = json!({
        "endpoints": {"vmint": ours, "moto": place(&url, "us-east-1")},
        "images": images, "rounds": rounds, "calls": calls,
    });
    let before = load();
    let mut drive = Command::new(&python);
    drive.args(["-c", DRIVE, &asked.to_string()]).env("PYTHONDONTWRITEBYTECODE", "1");
    let said = ran(&mut drive)?;
    let times: Times = serde_json::from_str(said.trim())?;
    let versions = ran(Command::new(&python).args([
        "-c",
        "import boto3, moto; print(f'boto3 {boto3.__version__}, moto {moto.__version__}')",
    ]))?;
    drop((moto, stack));
    let mut out = String::from("\n## EC2's calls (`cargo xtask bench ec2`)\n\n");
    writeln!(
        out,
        "{} cores, load {before} before and {} after; {rounds} interleaved rounds, one client, one \
         call at a time, {images} images of the caller's at each server; milliseconds a call: \
         median (p99; spread of the rounds' medians). {}; moto keeps everything in memory of one \
         process and checks no signature, vmint verifies it, asks permissions, and makes a \
         registration durable in every service it concerns. Raw: a connection that is kept through a round, signed before the clock starts. \
         Machines are simulated, which no call here touches.\n",
        std::thread::available_parallelism()?,
        load(),
        versions.trim(),
    )?;
    table(&times, &mut out)?;
    if cfg!(debug_assertions) {
        out += "\nNot optimised: these figures say only that it works.\n";
    }
    publish(&out, quick)
}

fn table(times: &Times, out: &mut String) -> Result {
    writeln!(
        out,
        "| call | vmint, boto3 | moto, boto3 | moto / vmint | vmint, raw | moto, raw | moto / vmint |"
    )?;
    writeln!(out, "|---|---:|---:|---:|---:|---:|---:|")?;
    for (operation, what) in OPERATIONS {
        write!(out, "| {what} |")?;
        for client in ["boto3", "raw"] {
            let of = |server: &str| {
                times
                    .get(server)
                    .and_then(|by| by.get(client)?.get(operation))
                    .map_or(&[][..], |v| v)
            };
            let (ours, theirs) = (of("vmint"), of("moto"));
            let ratio = middle(theirs) / middle(ours);
            write!(out, " {} | {} | {ratio:.1} × |", shown(ours), shown(theirs))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// The median of the rounds' medians.
fn middle(rounds: &[Vec<f64>]) -> f64 {
    median(&medians(rounds))
}

fn medians(rounds: &[Vec<f64>]) -> Vec<f64> {
    rounds.iter().map(|calls| median(calls)).collect()
}

fn shown(rounds: &[Vec<f64>]) -> String {
    let mut all: Vec<f64> = rounds.iter().flatten().copied().collect();
    all.sort_by(f64::total_cmp);
    let late = all.get((all.len() * 99).div_ceil(100).saturating_sub(1)).copied();
    let (middle, spread) = (middle(rounds), spread(&medians(rounds)) * 100.0);
    format!("{middle:.2} ({:.1}; {spread:.0} %)", late.unwrap_or_default())
}
