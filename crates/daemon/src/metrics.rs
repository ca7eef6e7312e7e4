//! What a process counts, as Prometheus reads it.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tonic::Code;
use vmint_rpc::Observer;

/// Upper bounds of the handling-time histogram, in seconds.
const BOUNDS: [f64; 12] =
    [0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0];

/// More than there are; a bound for whoever counts paths that callers make up.
const MOST_METHODS: usize = 1024;

/// The counters and gauges of a process. Cheap to clone.
///
/// It counts the calls it is told of as an [`Observer`]; services add their own.
#[derive(Clone)]
pub struct Metrics {
    shared: Arc<Shared>,
}

struct Shared {
    service: String,
    started: Instant,
    calls: Mutex<BTreeMap<String, Method>>,
    families: Mutex<BTreeMap<String, Family>>,
}

#[derive(Default)]
struct Method {
    started: u64,
    handled: BTreeMap<i32, u64>,
    buckets: [u64; BOUNDS.len()],
    seconds: f64,
}

struct Family {
    help: String,
    kind: &'static str,
    series: BTreeMap<String, Source>,
}

enum Source {
    Counter(Counter),
    Gauge(Box<dyn Fn() -> f64 + Send + Sync>),
}

/// A number that only grows.
#[derive(Debug, Clone, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("service", &self.shared.service).finish_non_exhaustive()
    }
}

impl Metrics {
    #[must_use]
    pub fn new(service: impl Into<String>) -> Self {
        let shared = Shared {
            service: service.into(),
            started: Instant::now(),
            calls: Mutex::default(),
            families: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The counter `name`, which should end in `_total`, with these labels; the
    /// same one each time it is asked for.
    #[must_use]
    pub fn counter(&self, name: &str, help: &str, labels: &[(&str, &str)]) -> Counter {
        let mut families = locked(&self.shared.families);
        let family =
            families.entry(name.to_owned()).or_insert_with(|| Family::new("counter", help));
        let source = family
            .series
            .entry(written(labels))
            .or_insert_with(|| Source::Counter(Counter::default()));
        match source {
            Source::Counter(counter) => counter.clone(),
            Source::Gauge(_) => Counter::default(),
        }
    }

    /// A gauge that is read when asked for; it must not block. Replaces one of
    /// the same name and labels.
    pub fn gauge(
        &self,
        name: &str,
        help: &str,
        labels: &[(&str, &str)],
        read: impl Fn() -> f64 + Send + Sync + 'static,
    ) {
        let mut families = locked(&self.shared.families);
        let family = families.entry(name.to_owned()).or_insert_with(|| Family::new("gauge", help));
        family.series.insert(written(labels), Source::Gauge(Box::new(read)));
    }

    /// Everything, in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> String {
        let mut out = String::with_capacity(4096);
        // Writing to a string cannot fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        self.write_process(out)?;
        for (name, family) in locked(&self.shared.families).iter() {
            header(out, name, family.kind, &family.help)?;
            for (labels, source) in &family.series {
                let braced =
                    if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
                match source {
                    Source::Counter(counter) => writeln!(out, "{name}{braced} {}", counter.get())?,
                    Source::Gauge(read) => writeln!(out, "{name}{braced} {}", read())?,
                }
            }
        }
        self.write_calls(out)
    }

    fn write_process(&self, out: &mut String) -> fmt::Result {
        let labels =
            [("service", self.shared.service.as_str()), ("version", env!("CARGO_PKG_VERSION"))];
        header(out, "vmint_build_info", "gauge", "What runs here.")?;
        writeln!(out, "vmint_build_info{{{}}} 1", written(&labels))?;
        header(out, "vmint_uptime_seconds", "gauge", "Since the process started.")?;
        writeln!(out, "vmint_uptime_seconds {}", self.shared.started.elapsed().as_secs_f64())?;
        if let Some(bytes) = resident_bytes() {
            header(out, "process_resident_memory_bytes", "gauge", "Resident memory.")?;
            writeln!(out, "process_resident_memory_bytes {bytes}")?;
        }
        Ok(())
    }

    fn write_calls(&self, out: &mut String) -> fmt::Result {
        let calls = locked(&self.shared.calls);
        header(out, "grpc_server_started_total", "counter", "Calls begun.")?;
        for (path, method) in calls.iter() {
            writeln!(out, "grpc_server_started_total{{{}}} {}", of_path(path), method.started)?;
        }
        header(out, "grpc_server_handled_total", "counter", "Calls ended, by code.")?;
        for (path, method) in calls.iter() {
            for (code, n) in &method.handled {
                let code = format!("{:?}", Code::from_i32(*code));
                let labels = of_path(path);
                writeln!(out, "grpc_server_handled_total{{{labels},grpc_code=\"{code}\"}} {n}")?;
            }
        }
        let name = "grpc_server_handling_seconds";
        header(out, name, "histogram", "How long calls took.")?;
        for (path, method) in calls.iter() {
            let labels = of_path(path);
            let total: u64 = method.handled.values().sum();
            for (bound, n) in BOUNDS.iter().zip(method.buckets) {
                writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {n}")?;
            }
            writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {total}")?;
            writeln!(out, "{name}_sum{{{labels}}} {}", method.seconds)?;
            writeln!(out, "{name}_count{{{labels}}} {total}")?;
        }
        Ok(())
    }
}

impl Observer for Metrics {
    fn started(&self, path: &str) {
        let mut calls = locked(&self.shared.calls);
        if let Some(method) = calls.get_mut(path) {
            method.started += 1;
        } else if calls.len() < MOST_METHODS {
            calls.entry(path.to_owned()).or_default().started = 1;
        }
    }

    fn handled(&self, path: &str, code: Code, took: Duration) {
        let mut calls = locked(&self.shared.calls);
        let Some(method) = calls.get_mut(path) else { return };
        *method.handled.entry(code as i32).or_default() += 1;
        let seconds = took.as_secs_f64();
        method.seconds += seconds;
        for (bucket, bound) in method.buckets.iter_mut().zip(BOUNDS) {
            *bucket += u64::from(seconds <= bound);
        }
    }
}

impl Family {
    fn new(kind: &'static str, help: &str) -> Self {
        Self { help: help.to_owned(), kind, series: BTreeMap::new() }
    }
}

fn header(out: &mut String, name: &str, kind: &str, help: &str) -> fmt::Result {
    writeln!(out, "# HELP {name} {}\n# TYPE {name} {kind}", help.replace('\n', " "))
}

fn written(labels: &[(&str, &str)]) -> String {
    let escaped = |v: &str| v.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
    let pairs = labels.iter().map(|(k, v)| format!("{k}=\"{}\"", escaped(v)));
    pairs.collect::<Vec<_>>().join(",")
}

fn of_path(path: &str) -> String {
    let (service, method) = path.trim_start_matches('/').split_once('/').unwrap_or((path, ""));
    written(&[("grpc_service", service), ("grpc_method", method)])
}

/// From the kernel's account of this process; none elsewhere than on Linux.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
