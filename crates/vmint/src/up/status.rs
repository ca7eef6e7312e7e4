//! Which services answer.

use vmint_rpc::{Identity, ServiceAddress, chain, connect, connect_plain};

use super::Layout;
use crate::{
    cli::Global,
    client::{Failure, Result, default_data_dir, table},
    serve,
};

/// `vmint status`.
pub(crate) async fn status(global: &Global) -> Result<()> {
    let data = global.data.clone().unwrap_or_else(default_data_dir);
    let deployments = Layout::all(&data);
    if deployments.is_empty() {
        Layout::find(&data)?;
    }
    let mut rows = Vec::new();
    let mut down = 0;
    for (region, layout) in &deployments {
        let identity = Identity::load(&layout.trust.join(serve::OPERATOR))
            .map_err(|error| Failure::new(chain(&error)))?;
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
            let mut row = vec![name.to_owned(), state.to_owned(), address.to_string()];
            if deployments.len() > 1 {
                row.insert(0, region.clone());
            }
            rows.push(row);
        }
    }
    if deployments.len() > 1 {
        table(&["REGION", "SERVICE", "STATE", "ADDRESS"], &rows);
    } else {
        table(&["SERVICE", "STATE", "ADDRESS"], &rows);
    }
    for (region, _) in deployments.iter().filter(|(_, layout)| layout.simulates()) {
        println!("{region}: machines are simulated, no guest runs");
    }
    if down == 0 {
        return Ok(());
    }
    Err(Failure::unreachable(format!("{down} services do not answer"))
        .hint(format!("their logs: {}", data.join("logs").display())))
}
