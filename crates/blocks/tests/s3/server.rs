//! An S3 server for the tests of one process: moto's, from a place of its own under `target`.
#![allow(dead_code, clippy::unwrap_used, reason = "not every suite needs all of it")]

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

/// Serves until its standard input ends, which is when the test's process does.
const SERVE: &str = "
import sys, logging
logging.disable(logging.CRITICAL)
from moto.server import ThreadedMotoServer
import boto3
server = ThreadedMotoServer(ip_address='127.0.0.1', port=0)
server.start()
host, port = server.get_host_and_port()
url = f'http://127.0.0.1:{port}'
boto3.client('s3', endpoint_url=url, region_name='us-east-1',
    aws_access_key_id='k', aws_secret_access_key='s').create_bucket(Bucket='packs')
print(url, flush=True)
sys.stdin.read()
server.stop()
";

pub(crate) struct Server {
    pub(crate) url: String,
    child: Child,
}

impl Server {
    pub(crate) fn start() -> Option<Self> {
        let python = python()?;
        let mut child = Command::new(python)
            .args(["-c", SERVE])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = said.map(Result::unwrap).find(|line| line.starts_with("http://"));
        let url = url.expect("the S3 server starts");
        Some(Self { url, child })
    }

    /// The names of up to a thousand objects that begin with `prefix`.
    pub(crate) fn objects(&self, prefix: &str) -> Vec<String> {
        let host = self.url.trim_start_matches("http://");
        let mut socket = TcpStream::connect(host).unwrap();
        let path = format!("/packs?list-type=2&prefix={prefix}");
        let ask = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        socket.write_all(ask.as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("<ListBucketResult"), "{answer}");
        let keys = answer.split("<Key>").skip(1).filter_map(|part| part.split_once("</Key>"));
        keys.map(|(key, _)| key.to_owned()).collect()
    }

    /// Makes it silent, or lets it speak again.
    pub(crate) fn signal(&self, signal: &str) {
        let done = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(done.unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The server of this process; none if it can't be had, which is said.
pub(crate) fn server() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    SERVER.get_or_init(Server::start).as_ref()
}

/// A python that has moto, made at first use by whichever process is first.
fn python() -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (venv, done) = (target.join("moto"), target.join("moto.done"));
    let python = venv.join("bin/python");
    let lock = File::create(target.join("moto.lock")).unwrap();
    lock.lock().unwrap();
    if !done.exists() {
        let run = |command: &mut Command| {
            let output = command.output().map_err(|error| error.to_string())?;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            if output.status.success() { Ok(()) } else { Err(said) }
        };
        let made = run(Command::new("python3").args(["-m", "venv"]).arg(&venv)).and_then(|()| {
            run(Command::new(&python).args(["-m", "pip", "install", "-q", "moto[server,s3]>=5,<6"]))
        });
        if let Err(why) = made {
            skipped(&why);
            return None;
        }
        fs::write(&done, "").unwrap();
    }
    Some(python)
}

fn skipped(why: &str) {
    let why = why.lines().last().unwrap_or_default();
    eprintln!("SKIPPED: no S3 server, so nothing was tested in a bucket: {why}");
    let Some(log) = std::env::var_os("VMINT_SKIP_LOG") else { return };
    let mut log = fs::OpenOptions::new().append(true).create(true).open(log).unwrap();
    writeln!(log, "blocks in a bucket: no S3 server: {why}").unwrap();
}
