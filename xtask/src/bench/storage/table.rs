//! The table: each row beside its limit, its peers and its goals.

use std::fmt::Write as _;

use crate::{
    Result,
    bench::clock::{Took, median, spread},
};

/// A limit that moved by more than this is noise.
const NOISE: f64 = 0.25;

/// One thing, measured once a round.
#[derive(Debug, Default)]
pub(super) struct Series(pub(super) Vec<Took>);

impl Series {
    pub(super) fn add(&mut self, took: Took) {
        self.0.push(took);
    }

    pub(super) fn wall(&self) -> f64 {
        median(&self.walls())
    }

    pub(super) fn cpu(&self) -> f64 {
        median(&self.0.iter().map(|took| took.cpu).collect::<Vec<_>>())
    }

    fn walls(&self) -> Vec<f64> {
        self.0.iter().map(|took| took.wall).collect()
    }

    pub(super) fn spread(&self) -> f64 {
        spread(&self.walls())
    }

    pub(super) fn noisy(&self) -> bool {
        self.spread() > NOISE
    }

    /// Whether the difference to another one is more than how far rounds of the same lie apart.
    pub(super) fn beside(&self, other: &Self) -> String {
        let apart = (self.wall() / other.wall() - 1.0).abs();
        let (ours, theirs) = (self.spread() * 100.0, other.spread() * 100.0);
        let verdict = if apart > self.spread().max(other.spread()) {
            "more than that explains"
        } else {
            "so the difference is not more than noise"
        };
        format!("rounds of the two lie {ours:.0} % and {theirs:.0} % apart, {verdict}")
    }

    /// As a rate of `mib`.
    pub(super) fn rate(&self, mib: f64) -> String {
        let (rate, spread) = (mib / self.wall(), self.spread() * 100.0);
        format!("{rate:.0} MiB/s, {:.2} CPU-s ({spread:.0} %)", self.cpu())
    }

    /// As milliseconds.
    pub(super) fn millis(&self) -> String {
        format!("{:.2} ms ({:.0} %)", self.wall() * 1000.0, self.spread() * 100.0)
    }
}

/// What was to be reached.
#[derive(Debug)]
pub(super) struct Goal {
    /// Of what the figure is, such as "of the limit".
    pub(super) of: String,
    pub(super) reached: f64,
    pub(super) wanted: f64,
    /// Whether less is worse.
    pub(super) at_least: bool,
    /// What the difference goes to, if it is missed: as measured in this run.
    pub(super) why: String,
}

impl Goal {
    pub(super) fn at_least(of: impl Into<String>, reached: f64, wanted: f64) -> Self {
        Self { of: of.into(), reached, wanted, at_least: true, why: String::new() }
    }

    pub(super) fn at_most(of: impl Into<String>, reached: f64, wanted: f64) -> Self {
        Self { at_least: false, ..Self::at_least(of, reached, wanted) }
    }

    pub(super) fn because(self, why: impl Into<String>) -> Self {
        Self { why: why.into(), ..self }
    }

    fn met(&self) -> bool {
        if self.at_least { self.reached >= self.wanted } else { self.reached <= self.wanted }
    }

    fn text(&self) -> String {
        let sign = if self.at_least { '≥' } else { '≤' };
        let verdict = if self.met() {
            "met".to_owned()
        } else {
            let off = (self.reached / self.wanted - 1.0).abs() * 100.0;
            format!("**missed** by {off:.0} %")
        };
        format!("{} {} (goal {sign} {}): {verdict}", figure(self.reached), self.of, self.wanted)
    }
}

/// Two digits after the point, or none where there are enough before it.
fn figure(value: f64) -> String {
    if value < 10.0 { format!("{value:.2}") } else { format!("{value:.0}") }
}

#[derive(Debug, Default)]
pub(super) struct Row {
    pub(super) number: &'static str,
    pub(super) what: String,
    pub(super) ours: String,
    pub(super) limit: String,
    pub(super) peers: Vec<String>,
    pub(super) goals: Vec<Goal>,
    /// What is missed by those goals that say nothing themselves.
    pub(super) why: String,
    pub(super) noisy: bool,
}

impl Row {
    /// A row that could not be measured here, and why.
    pub(super) fn absent(number: &'static str, what: &str, why: impl std::fmt::Display) -> Self {
        Self {
            number,
            what: what.to_owned(),
            ours: format!("not measured: {why}"),
            ..Self::default()
        }
    }

    /// A peer's figure, and how many times as fast we are.
    pub(super) fn peer(
        &mut self,
        name: &str,
        ours: f64,
        theirs: &Series,
        shown: &str,
        wanted: f64,
    ) {
        let times = theirs.wall() / ours;
        self.peers.push(format!("{name} {shown}: {times:.1} ×"));
        if wanted > 0.0 {
            self.goals.push(Goal::at_least(format!("× {name}"), times, wanted));
        }
    }
}

impl Row {
    /// The same of `mib`; one that did not run is said to be absent.
    pub(super) fn peer_or_none(
        &mut self,
        name: &str,
        ours: f64,
        theirs: &Series,
        mib: f64,
        wanted: f64,
    ) {
        if theirs.0.is_empty() {
            self.peers.push(format!("{name}: not installed"));
        } else {
            self.peer(name, ours, theirs, &theirs.rate(mib), wanted);
        }
    }
}

pub(super) fn write(rows: &[Row], out: &mut String) -> Result {
    writeln!(out, "| # | what | vmint | physical limit | peers | goals |")?;
    writeln!(out, "|---|---|---|---|---|---|")?;
    for row in rows {
        let goals: Vec<_> = row.goals.iter().map(Goal::text).collect();
        let noisy = if row.noisy { " **noisy**" } else { "" };
        writeln!(
            out,
            "| {} | {} | {} | {}{noisy} | {} | {} |",
            row.number,
            row.what,
            row.ours,
            row.limit,
            row.peers.join("<br>"),
            goals.join("<br>"),
        )?;
    }
    writeln!(out)?;
    for row in rows {
        for goal in row.goals.iter().filter(|goal| !goal.met()) {
            let said = [&goal.why, &row.why].into_iter().find(|why| !why.is_empty());
            let why = said.map_or("what it goes to was not measured", |why| why);
            writeln!(out, "- Row {}, {}: {why}", row.number, goal.text())?;
        }
    }
    Ok(())
}
