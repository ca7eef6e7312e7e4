//! The record of a run.

use std::{fmt::Write as _, fs, process::Command};

use super::{Outcome, Seen};
use crate::{Result, root};

const HEAD: &str = "# Clients that work unchanged

Each is driven by its script in `tests/clients/` against `vmint up` with real machines; \
`cargo xtask clients` installs what it needs, runs all and writes this page. A client needs \
nothing but an endpoint URL, a region and an access key:

```sh
vmint account key create
export AWS_ENDPOINT_URL=http://127.0.0.1:8773 AWS_DEFAULT_REGION=local
```

";

/// Writes `docs/clients.md`.
pub(super) fn write(seen: &[Seen]) -> Result {
    let date = Command::new("date").args(["-u", "+%Y-%m-%d"]).output()?;
    let date = String::from_utf8_lossy(&date.stdout).trim().to_owned();
    let mut text = HEAD.to_owned();
    writeln!(
        text,
        "Run on {date}:\n\n| client | version | outcome | seconds |\n|---|---|---|---|"
    )?;
    for one in seen {
        let outcome = match &one.outcome {
            Outcome::Passed => "passed".to_owned(),
            Outcome::Failed => "**failed**".to_owned(),
            Outcome::Skipped(why) => format!("skipped: {why}"),
        };
        let seconds = one.took.as_secs();
        writeln!(text, "| {} | {} | {outcome} | {seconds} |", one.name, one.version)?;
    }
    for one in seen.iter().filter(|one| !one.steps.is_empty()) {
        writeln!(text, "\n## {}\n", one.name)?;
        for step in &one.steps {
            writeln!(text, "* {step}")?;
        }
    }
    fs::write(root().join("docs/clients.md"), text)?;
    Ok(())
}
