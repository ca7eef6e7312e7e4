//! The whole deployment on one machine.

mod accounts;
mod layout;
mod places;
mod stand_ins;
mod status;
mod supervisor;

use std::{
    collections::BTreeMap,
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
    PROGRAM,
    cli::{BootstrapArgs, Global, UpArgs},
    client::{Client, Failure, Profiles, Result, default_data_dir},
    serve,
};
pub(crate) use accounts::Made;
pub(crate) use layout::{Layout, Place, REGION};
use places::places;
pub(crate) use status::status;
pub(crate) use supervisor::Supervisor;

/// What the services may take to answer for the first time.
const READY: Duration = Duration::from_secs(30);
/// How `--detach` hands its access keys on, one a line.
const ACCESS_KEYS: &str = "VMINT_UP_ACCESS_KEYS";

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
        let profiles = Profiles::path(data);
        let accounts = accounts::parse(accounts)?;
        Self::start_at(data, listen, &Place::alone(), &accounts, &profiles, None).await
    }

    /// As [`Self::start`], one of several deployments: its accounts' profiles go to a
    /// file of all of them, under the name `further` if it is not the first.
    async fn start_at(
        data: &Path,
        listen: SocketAddr,
        place: &Place,
        accounts: &[accounts::Wanted],
        profiles: &Path,
        further: Option<&str>,
    ) -> Result<(Self, Vec<Made>)> {
        let layout = Layout::make(data, listen)?;
        serve::make_certs(&layout.trust)?;
        layout.write_settings(place)?;
        let supervisor = Supervisor::start(&layout);
        let mut this = Self { layout, supervisor };
        if let Err(failure) = this.ready().await {
            this.stop().await;
            return Err(failure);
        }
        let made = match this.bootstrap(place, accounts, profiles, further).await {
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

    async fn bootstrap(
        &self,
        place: &Place,
        accounts: &[accounts::Wanted],
        profiles: &Path,
        further: Option<&str>,
    ) -> Result<Vec<Made>> {
        let trust = self.layout.trust.join(serve::OPERATOR);
        let address = self.layout.address("permissions");
        let made = accounts::make(&address, &trust, accounts).await?;
        if let Some(token) = place.tokens.get(&place.region) {
            let operator = accounts.first().map(|operator| operator.with_token(token));
            accounts::make(&address, &trust, operator.as_slice()).await?;
        }
        let url = self.layout.listen.to_string();
        accounts::keep(profiles, &made, &url, further)?;
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
    let mut accounts =
        if args.accounts.is_empty() { vec!["operator".to_owned()] } else { args.accounts };
    let mut keys = args.access_keys;
    let handed = std::env::var(ACCESS_KEYS).unwrap_or_default();
    keys.extend(handed.lines().map(str::to_owned));
    let operator = accounts.first().map(|name| name.split('=').next().unwrap_or(name).to_owned());
    let operator = operator.unwrap_or_default();
    if args.stand_in_images {
        accounts.push(stand_ins::PROVIDER.to_owned());
    }
    let accounts = accounts::with_keys(accounts::parse(&accounts)?, &keys)?;
    let mut places = places(&data, args.listen, &args.regions, args.simulated)?;
    for (_, _, place) in &mut places {
        place.test_mode = args.test_mode;
        place.stand_ins = args.stand_in_images;
    }
    let _running = Running::claim(&data)?;
    let several = if places.len() > 1 { args.regions.as_slice() } else { &[] };
    Layout::note_regions(&data, several)?;
    let (started, profiles) = (Instant::now(), Profiles::path(&data));
    introduce(&mut places)?;
    let mut deployments: Vec<Deployment> = Vec::new();
    let mut shown = false;
    for (at, (dir, listen, place)) in places.iter().enumerate() {
        let further = (at > 0).then_some(place.region.as_str());
        // A further region's accounts are the first one's.
        let known = accounts::as_known(&accounts, &Profiles::load(&profiles)?)?;
        let wanted = if at == 0 { &accounts } else { &known };
        match Deployment::start_at(dir, *listen, place, wanted, &profiles, further).await {
            Ok((deployment, made)) => {
                deployments.push(deployment);
                if place.stand_ins {
                    let at = |name: &str| match further {
                        Some(region) => format!("{name}@{region}"),
                        None => name.to_owned(),
                    };
                    let client = |name: &str| {
                        Client::open(&Global {
                            data: Some(data.clone()),
                            profile: Some(at(name)),
                            url: None,
                            token: None,
                            ..global.clone()
                        })
                    };
                    let made = async {
                        let (provider, operator) =
                            (client(stand_ins::PROFILE)?, client(&operator)?);
                        stand_ins::ensure(&provider, &operator, dir, args.simulated).await
                    };
                    if let Err(failure) = made.await {
                        stop_all(&mut deployments).await;
                        return Err(failure);
                    }
                }
                for made in made.iter().filter(|_| at == 0) {
                    println!("account   {}  {}  token {}", made.account_id, made.name, made.token);
                    shown = true;
                }
            }
            Err(failure) => {
                stop_all(&mut deployments).await;
                return Err(failure);
            }
        }
    }
    let took = started.elapsed().as_secs_f64();
    if shown {
        println!("These tokens are not shown again; {} has them.", profiles.display());
    }
    if args.test_mode {
        println!("Test mode: the operator can purge accounts.");
    }
    if args.simulated {
        println!("Machines are simulated: no guest runs.");
    }
    for (_, listen, place) in places.iter().filter(|_| places.len() > 1) {
        println!("region    {}  http://{listen}", place.region);
    }
    // Last, because it is what `--detach` waits for.
    println!(
        "vmint {} ready in {took:.1} s  http://{}  data in {}",
        env!("CARGO_PKG_VERSION"),
        args.listen,
        data.display(),
    );
    let trusts = deployments.iter().map(|d| d.layout.trust.clone()).collect();
    tokio::select! {
        () = signals::stopped() => {}
        () = renew(trusts) => {}
    }
    stop_all(&mut deployments).await;
    Ok(())
}

/// Gives several regions the tokens that they copy from one another with.
fn introduce(places: &mut [(PathBuf, SocketAddr, Place)]) -> Result<()> {
    if places.len() < 2 {
        return Ok(());
    }
    let token = |(dir, _, place): &(PathBuf, SocketAddr, Place)| {
        Ok((place.region.clone(), Layout::region_token(dir)?))
    };
    let tokens = places.iter().map(token).collect::<Result<BTreeMap<_, _>>>()?;
    for (_, _, place) in places {
        place.tokens.clone_from(&tokens);
    }
    Ok(())
}

async fn stop_all(deployments: &mut [Deployment]) {
    for deployment in deployments {
        deployment.stop().await;
    }
}

/// Renews certificates long before they end; the services notice.
async fn renew(trusts: Vec<PathBuf>) {
    loop {
        sleep(Duration::from_hours(24)).await;
        for dir in trusts.clone() {
            match tokio::task::spawn_blocking(move || serve::make_certs(&dir)).await {
                Ok(Ok(_)) => {}
                Ok(Err(failure)) => drop(failure.report()),
                Err(error) => eprintln!("certificates were not renewed: {error}"),
            }
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
    let mut command = std::process::Command::new(PROGRAM);
    command.arg("--data").arg(data).args(["up", "--listen", &args.listen.to_string()]);
    for account in &args.accounts {
        command.args(["--account", account]);
    }
    for region in &args.regions {
        command.args(["--region", region]);
    }
    if args.simulated {
        command.arg("--simulated");
    }
    if args.test_mode {
        command.arg("--test-mode");
    }
    if args.stand_in_images {
        command.arg("--stand-in-images");
    }
    // Secrets are for nobody to read off the list of processes.
    command.env(ACCESS_KEYS, args.access_keys.join("\n"));
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command.spawn()?;
    let regions = u32::try_from(args.regions.len().max(1)).unwrap_or(1);
    let until = Instant::now() + (READY + Duration::from_secs(5)) * regions;
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

/// `vmint bootstrap`, for deployments that `up` does not run.
pub(crate) async fn bootstrap(args: BootstrapArgs) -> Result<()> {
    let address: ServiceAddress =
        args.address.parse().map_err(|error| Failure::usage(chain(&error)))?;
    let wanted = accounts::parse(&args.accounts)?;
    let made = accounts::make(&address, &args.trust, &wanted).await?;
    for made in &made {
        println!("account   {}  {}  token {}", made.account_id, made.name, made.token);
    }
    if let Some(path) = &args.profiles {
        accounts::keep(path, &made, &args.gateway, None)?;
    }
    Ok(())
}
