use vmint_ids::InstanceId;

use super::Launcher;
use crate::{
    Instance, InstanceType, LauncherError, OnPoweroff, Particulars, Result,
    instance::{MAX_LAUNCH, MAX_USER_DATA},
    store::NewInstances,
    tag,
};

const MAX_PRODUCTS: usize = 10;
const MAX_NAME: usize = 128;

/// What is to be launched.
#[derive(Debug, Clone, Default)]
pub struct Reservation {
    /// Of the gateway that asks.
    pub epoch: u64,
    pub account: String,
    pub image: String,
    pub instance_type: String,
    /// Empty for none.
    pub key_name: String,
    pub reservation: String,
    /// 1 to 20, in the order of their launch index.
    pub ids: Vec<InstanceId>,
    /// At most 16 KiB.
    pub user_data: Vec<u8>,
    pub product_codes: Vec<String>,
    pub tags: Vec<(String, String)>,
    pub name: String,
    /// "x86_64" or "i386"; empty is the first.
    pub architecture: String,
    /// "legacy-bios"; empty is that.
    pub boot_mode: String,
    /// Its zone and architecture are filled in.
    pub particulars: Particulars,
    pub protected: bool,
    pub on_poweroff: OnPoweroff,
}

impl Launcher {
    /// Makes the pending records of a launch and sets their capacity aside.
    pub async fn reserve(&self, asked: Reservation) -> Result<Vec<Instance>> {
        check(&asked)?;
        let size = InstanceType::must_be(&asked.instance_type)?;
        let host = self.host().await;
        if host.accelerator.is_empty() {
            return Err(LauncherError::NoHypervisor { hint: host.hint });
        }
        let new = NewInstances {
            ids: asked.ids,
            account: asked.account,
            image: asked.image,
            size,
            key_name: asked.key_name,
            reservation: asked.reservation,
            user_data: asked.user_data,
            product_codes: asked.product_codes,
            tags: asked.tags,
            name: asked.name,
            particulars: Particulars {
                architecture: match asked.architecture {
                    unsaid if unsaid.is_empty() => "x86_64".to_owned(),
                    said => said,
                },
                zone: self.fleet.places().zone.clone(),
                ..asked.particulars
            },
            protected: asked.protected,
            on_poweroff: asked.on_poweroff,
        };
        self.records.reserve(asked.epoch, new, self.limits).await
    }
}

fn check(asked: &Reservation) -> Result<()> {
    let field = LauncherError::field;
    if asked.account.is_empty() || asked.account.len() > 32 {
        return Err(field("account_id", "must be set"));
    }
    if asked.image.is_empty() || asked.image.len() > 64 {
        return Err(field("image_id", "must be an image's id"));
    }
    if asked.reservation.len() > 64 {
        return Err(field("reservation_id", "must be a reservation's id"));
    }
    if !(1..=MAX_LAUNCH).contains(&asked.ids.len()) {
        return Err(field("instance_ids", "give 1 to 20"));
    }
    let mut ids = asked.ids.clone();
    ids.sort_unstable();
    ids.dedup();
    if ids.len() != asked.ids.len() {
        return Err(field("instance_ids", "give each once"));
    }
    if asked.user_data.len() > MAX_USER_DATA {
        return Err(field("user_data", "is longer than 16 KiB"));
    }
    tag::check_all(&asked.tags)?;
    asked.particulars.check()?;
    let code = |code: &String| code.parse::<vmint_ids::ProductCode>().is_ok();
    if asked.product_codes.len() > MAX_PRODUCTS || !asked.product_codes.iter().all(code) {
        return Err(field("product_codes", "give at most 10 valid ones"));
    }
    if asked.name.len() > MAX_NAME
        || asked.name.chars().any(char::is_control)
        || asked.name.parse::<InstanceId>().is_ok()
    {
        return Err(field("name", "use at most 128 bytes without control characters"));
    }
    if !matches!(asked.architecture.as_str(), "" | "x86_64" | "i386") {
        return Err(LauncherError::Unsupported {
            what: format!("the architecture {:.20}", asked.architecture),
            instead: "launch an image for x86_64 or i386",
        });
    }
    if !matches!(asked.boot_mode.as_str(), "" | "legacy-bios") {
        return Err(LauncherError::Unsupported {
            what: format!("the boot mode {:.20}", asked.boot_mode),
            instead: "launch an image that boots by legacy-bios",
        });
    }
    Ok(())
}
