//! The first accounts of a deployment.

use std::{path::Path, time::Duration};

use vmint_api::permissions::v1::{
    BootstrapAccount, BootstrapRequest,
    permissions_internal_service_client::PermissionsInternalServiceClient,
};
use vmint_ids::AccountId;
use vmint_rpc::{Identity, ServiceAddress, chain, connect};

use crate::client::{Failure, Profile, Profiles, Result};

/// An account to make if it is not there.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    name: String,
    id: Option<AccountId>,
    operator: bool,
}

/// An account that was made, and its token.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    pub(crate) name: String,
    pub(crate) account_id: String,
    pub(crate) token: String,
}

/// Reads `NAME` or `NAME=ID`; the first is the operator's.
pub(crate) fn parse(texts: &[String]) -> Result<Vec<Wanted>> {
    let one = |(at, text): (usize, &String)| {
        let (name, id) = match text.split_once('=') {
            Some((name, id)) => (name, Some(id)),
            None => (text.as_str(), None),
        };
        let id = id.map(str::parse).transpose().map_err(|error| Failure::usage(chain(&error)))?;
        Ok(Wanted { name: name.to_owned(), id, operator: at == 0 })
    };
    texts.iter().enumerate().map(one).collect()
}

/// Asks the permissions service to make them, as the operator; answers those that were
/// not there before.
pub(crate) async fn make(
    address: &ServiceAddress,
    trust: &Path,
    wanted: &[Wanted],
) -> Result<Vec<Made>> {
    let identity = Identity::load(trust).map_err(|error| Failure::new(chain(&error)))?;
    let channel = connect(address, &identity, "permissions").deadline(Duration::from_secs(10));
    let accounts = wanted.iter().map(|wanted| BootstrapAccount {
        name: wanted.name.clone(),
        account_id: wanted.id.map(|id| id.to_string()).unwrap_or_default(),
        operator: wanted.operator,
        token: String::new(),
        access_keys: Vec::new(),
    });
    let request =
        BootstrapRequest { organization_name: "first".to_owned(), accounts: accounts.collect() };
    let mut client = PermissionsInternalServiceClient::new(channel);
    let answer = client.bootstrap(request).await?.into_inner();
    // One that was there before comes without a token: its profile stays as it is.
    let made = answer.accounts.into_iter().filter(|made| !made.token.is_empty());
    let made = made.filter_map(|made| {
        let account = made.account?;
        Some(Made { name: account.name, account_id: account.account_id, token: made.token })
    });
    Ok(made.collect())
}

/// Writes a profile for each account made.
pub(crate) fn keep(path: &Path, made: &[Made], url: &str) -> Result<()> {
    let mut profiles = Profiles::load(path)?;
    for made in made {
        if profiles.default.is_empty() {
            profiles.default.clone_from(&made.name);
        }
        let profile = Profile {
            url: url.to_owned(),
            account_id: made.account_id.clone(),
            token: made.token.clone(),
        };
        profiles.profile.insert(made.name.clone(), profile);
    }
    // The address may be another one than last time.
    profiles.profile.values_mut().for_each(|profile| url.clone_into(&mut profile.url));
    Ok(profiles.save(path)?)
}
