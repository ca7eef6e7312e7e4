//! The whole deployment on one machine.

mod accounts;
mod layout;
mod supervisor;

use std::{
    fs::{self, File},
    io,
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio::time::{Instant, sleep};
use vmint_daemon::signals;
use vmint_rpc::{Identity, ServiceAddress, chain, connect, connect_plain};

use crate::{
    cli::{BootstrapArgs, Global, UpArgs},
    client::{Failure, Profiles, Result, default_data_dir, table},
    serve,
};
pub(crate) use accounts::{Made, parse as parse_accounts};
pub(crate) use layout::Layout;
pub(crate) use supervisor::Supervisor;

/// What the services may take to answer for the first time.
const READY: Duration = Duration::from_secs(30);

/// A deployment that runs, in this process's care.
#[derive(Debug)]
pub(crate) struct Deployment {
    pub(crate) layout: Layout,
    supervisor: Supervisor,
}

impl Deployment {
    /// Starts every service and makes the first accounts; answers once all
    /// are ready.
    pub(crate) async fn start(
        data: &Path,
        listen: SocketAddr,
        accounts: &[String],
    ) -> Result<(Self, Vec<Made>)> {
        let accounts = parse_accounts(accounts)?;
        let layout = Layout::make(data, listen)?;
        serve::make_certs(&layout.trust)?;
        layout.write_settings()?;
        let supervisor = Supervisor::start(&layout)?;
        let mut this = Self { layout, supervisor };
        if let Err(failure) = this.ready().await {
            this.stop().await;
            return Err(failure);
        }
        let made = match this.bootstrap(&accounts).await {
            Ok(made) => made,
            Err(failure) => {
                this.stop().await;
                return Err(failure);
            }
        };
        Ok((this, made))
    }

    async fn ready(&mut self) -> Result<()> {
        let identity = Identity::load(&self.layout.trust.join(serve::OPERATOR))
            .map_err(|error| Failure::new(chain(&error)))?;
        let until = Instant::now() + READY;
        for name in vmint_daemon::SERVICES {
            loop {
                let channel = if name == "gateway" {
                    connect_plain(&ServiceAddress::Tcp(self.layout.listen.to_string()), name)
                } else {
                    connect(&self.layout.address(name), &identity, name)
                };
                let Err(failure) = serve::ask(channel).await else { break };
                if Instant::now() > until || self.supervisor.gave_up() {
                    let log = self.layout.log(name);
                    let last = last_line(&log);
                    drop(failure);
                    return Err(Failure::unreachable(format!("{name} does not start: {last}"))
                        .hint(format!("its log: {}", log.display())));
                }
                sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }

    async fn bootstrap(&self, accounts: &[accounts::Wanted]) -> Result<Vec<Made>> {
        let trust = self.layout.trust.join(serve::OPERATOR);
        let address = self.layout.address("permissions");
        let made = accounts::make(&address, &trust, accounts).await?;
        let url = self.layout.listen.to_string();
        accounts::keep(&Profiles::path(&self.layout.data), &made, &url)?;
        Ok(made)
    }

    /// Ends every service; machines go on.
    pub(crate) async fn stop(&mut self) {
        self.supervisor.stop().await;
    }
}

/// The last thing a service said.
fn last_line(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    text.lines().last().unwrap_or("it said nothing").to_owned()
}

/// `vmint up`.
pub(crate) async fn up(global: &Global, args: UpArgs) -> Result<()> {
    let data = global.data.clone().unwrap_or_else(default_data_dir);
    if args.detach {
        return detach(&data, &args).await;
    }
    let accounts =
        if args.accounts.is_empty() { vec!["operator".to_owned()] } else { args.accounts };
    let _running = Running::claim(&data)?;
    let started = Instant::now();
    let (mut deployment, made) = Deployment::start(&data, args.listen, &accounts).await?;
    let took = started.elapsed().as_secs_f64();
    for made in &made {
        println!("account   {}  {}  token {}", made.account_id, made.name, made.token);
    }
    if !made.is_empty() {
        println!("These tokens are not shown again; {} has them.", Profiles::path(&data).display());
    }
    // Last, because it is what `--detach` waits for.
    println!(
        "vmint {} ready in {took:.1} s  http://{}  data in {}",
        env!("CARGO_PKG_VERSION"),
        args.listen,
        data.display(),
    );
    tokio::select! {
        () = signals::stopped() => {}
        () = renew(deployment.layout.trust.clone()) => {}
    }
    deployment.stop().await;
    Ok(())
}

/// Renews certificates long before they end; the services notice.
async fn renew(trust: PathBuf) {
    loop {
        sleep(Duration::from_hours(24)).await;
        let dir = trust.clone();
        match tokio::task::spawn_blocking(move || serve::make_certs(&dir)).await {
            Ok(Ok(_)) => {}
            Ok(Err(failure)) => drop(failure.report()),
            Err(error) => eprintln!("certificates were not renewed: {error}"),
        }
    }
}

/// Starts `vmint up` in the background and waits until it is ready.
async fn detach(data: &Path, args: &UpArgs) -> Result<()> {
    fs::create_dir_all(data)?;
    // It will hold the first tokens.
    let mut private = File::options();
    private.create(true).write(true).truncate(true).mode(0o600);
    let log = private.open(data.join("up.log"))?;
    let mut command = std::process::Command::new(std::env::current_exe()?);
    command.arg("--data").arg(data).args(["up", "--listen", &args.listen.to_string()]);
    for account in &args.accounts {
        command.args(["--account", account]);
    }
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command.spawn()?;
    let until = Instant::now() + READY + Duration::from_secs(5);
    loop {
        let said = fs::read_to_string(data.join("up.log")).unwrap_or_default();
        if said.lines().any(|line| line.contains(" ready in ")) && Running::pid(data).is_some() {
            print!("{said}");
            return Ok(());
        }
        if child.try_wait()?.is_some() || Instant::now() > until {
            return Err(Failure::unreachable(said.trim_start_matches("error: ").trim()));
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// `vmint down`.
pub(crate) fn down(global: &Global) -> Result<()> {
    let data = global.data.clone().unwrap_or_else(default_data_dir);
    let Some(pid) = Running::pid(&data) else {
        return Err(Failure::unreachable(format!("nothing runs over {}", data.display())));
    };
    kill_process(pid, Signal::TERM).map_err(io::Error::from)?;
    for _ in 0..200 {
        if test_kill_process(pid).is_err() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Err(Failure::new("it does not end").hint(format!("kill -9 {}", pid.as_raw_nonzero())))
}

/// The file that says which process supervises a data directory; locked for
/// as long as that process lives.
#[derive(Debug)]
struct Running {
    path: PathBuf,
    _lock: File,
}

impl Running {
    fn claim(data: &Path) -> Result<Self> {
        fs::create_dir_all(data)?;
        let path = data.join("up.pid");
        let mut file = File::options().create(true).append(true).open(&path)?;
        if file.try_lock().is_err() {
            return Err(Failure::new(format!("{} is in use by another `up`", data.display()))
                .hint("vmint down  ends it")
                .hint("or choose another directory with --data"));
        }
        file.set_len(0)?;
        io::Write::write_all(&mut file, std::process::id().to_string().as_bytes())?;
        Ok(Self { path, _lock: file })
    }

    fn pid(data: &Path) -> Option<Pid> {
        let file = File::open(data.join("up.pid")).ok()?;
        if file.try_lock_shared().is_ok() {
            // Nobody holds it: what it says is of the past.
            return None;
        }
        let text = io::read_to_string(file).ok()?;
        Pid::from_raw(text.trim().parse().ok()?)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// `vmint status`.
pub(crate) async fn status(global: &Global) -> Result<()> {
    let data = global.data.clone().unwrap_or_else(default_data_dir);
    let layout = Layout::find(&data)?;
    let identity = Identity::load(&layout.trust.join(serve::OPERATOR))
        .map_err(|error| Failure::new(chain(&error)))?;
    let mut rows = Vec::new();
    let mut down = 0;
    for name in vmint_daemon::SERVICES {
        let (channel, address) = if name == "gateway" {
            let address = ServiceAddress::Tcp(layout.listen.to_string());
            (connect_plain(&address, name), address)
        } else {
            (connect(&layout.address(name), &identity, name), layout.address(name))
        };
        let ready = serve::ask(channel).await.is_ok();
        down += usize::from(!ready);
        let state = if ready { "ready" } else { "DOWN" };
        rows.push(vec![name.to_owned(), state.to_owned(), address.to_string()]);
    }
    table(&["SERVICE", "STATE", "ADDRESS"], &rows);
    if down == 0 {
        return Ok(());
    }
    Err(Failure::unreachable(format!("{down} services do not answer"))
        .hint(format!("their logs: {}", data.join("logs").display())))
}

/// `vmint bootstrap`, for deployments that `up` does not run.
pub(crate) async fn bootstrap(args: BootstrapArgs) -> Result<()> {
    let address: ServiceAddress =
        args.address.parse().map_err(|error| Failure::usage(chain(&error)))?;
    let wanted = parse_accounts(&args.accounts)?;
    let made = accounts::make(&address, &args.trust, &wanted).await?;
    for made in &made {
        println!("account   {}  {}  token {}", made.account_id, made.name, made.token);
    }
    if let Some(path) = &args.profiles {
        accounts::keep(path, &made, &args.gateway)?;
    }
    Ok(())
}
