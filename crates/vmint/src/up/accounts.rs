//! The first accounts of a deployment.

use std::{path::Path, time::Duration};

use vmint_api::permissions::v1::{
    BootstrapAccessKey, BootstrapAccount, BootstrapRequest,
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
    /// The token to have, instead of a drawn one.
    token: String,
    /// Access keys to have: ids and secrets.
    keys: Vec<(String, String)>,
}

/// An account that was made, and its token.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    pub(crate) name: String,
    pub(crate) account_id: String,
    pub(crate) token: String,
}

impl Wanted {
    /// The same account, to have this token too.
    pub(crate) fn with_token(&self, token: &str) -> Self {
        Self { token: token.to_owned(), keys: Vec::new(), ..self.clone() }
    }
}

/// Reads `NAME` or `NAME=ID`; the first is the operator's.
pub(crate) fn parse(texts: &[String]) -> Result<Vec<Wanted>> {
    let one = |(at, text): (usize, &String)| {
        let (name, id) = match text.split_once('=') {
            Some((name, id)) => (name, Some(id)),
            None => (text.as_str(), None),
        };
        let id = id.map(str::parse).transpose().map_err(|error| Failure::usage(chain(&error)))?;
        let (token, keys) = (String::new(), Vec::new());
        Ok(Wanted { name: name.to_owned(), id, operator: at == 0, token, keys })
    };
    texts.iter().enumerate().map(one).collect()
}

/// Gives accounts the access keys written as `ID:SECRET` or `ID:SECRET:ACCOUNT`; without
/// a name it is the first account's.
pub(crate) fn with_keys(mut wanted: Vec<Wanted>, keys: &[String]) -> Result<Vec<Wanted>> {
    for text in keys {
        let parts: Vec<_> = text.splitn(3, ':').collect();
        let (id, secret, account) = match parts.as_slice() {
            [id, secret] => (*id, *secret, None),
            [id, secret, account] => (*id, *secret, Some(*account)),
            _ => return Err(Failure::usage("an access key is written as ID:SECRET[:ACCOUNT]")),
        };
        let owner = match account {
            None => wanted.first_mut(),
            Some(name) => wanted.iter_mut().find(|wanted| {
                wanted.name == name || wanted.id.is_some_and(|id| id.to_string() == name)
            }),
        };
        let owner = owner.ok_or_else(|| {
            Failure::usage(format!("the access key {id} is of no account named here"))
                .hint("name it with --account, too")
        })?;
        owner.keys.push((id.to_owned(), secret.to_owned()));
    }
    Ok(wanted)
}

/// The same accounts again, with the ids and tokens that another region gave them.
pub(crate) fn as_known(wanted: &[Wanted], profiles: &Profiles) -> Result<Vec<Wanted>> {
    let one = |wanted: &Wanted| {
        let Some(known) = profiles.profile.get(&wanted.name) else { return Ok(wanted.clone()) };
        let id = known.account_id.parse().map_err(|error| Failure::new(chain(&error)))?;
        Ok(Wanted { id: Some(id), token: known.token.clone(), ..wanted.clone() })
    };
    wanted.iter().map(one).collect()
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
    let key = |(access_key_id, secret_access_key)| BootstrapAccessKey {
        access_key_id,
        secret_access_key,
    };
    let accounts = wanted.iter().map(|wanted| BootstrapAccount {
        name: wanted.name.clone(),
        account_id: wanted.id.map(|id| id.to_string()).unwrap_or_default(),
        operator: wanted.operator,
        token: wanted.token.clone(),
        access_keys: wanted.keys.iter().cloned().map(key).collect(),
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

/// Writes a profile for each account made; in a further region under `NAME@REGION`.
pub(crate) fn keep(path: &Path, made: &[Made], url: &str, region: Option<&str>) -> Result<()> {
    let mut profiles = Profiles::load(path)?;
    let ending = region.map(|region| format!("@{region}")).unwrap_or_default();
    for made in made {
        if profiles.default.is_empty() {
            profiles.default.clone_from(&made.name);
        }
        let profile = Profile {
            url: url.to_owned(),
            account_id: made.account_id.clone(),
            token: made.token.clone(),
        };
        profiles.profile.insert(format!("{}{ending}", made.name), profile);
    }
    // The address may be another one than last time.
    for (name, profile) in &mut profiles.profile {
        let of = name.split_once('@').map(|(_, region)| region);
        if of == region {
            url.clone_into(&mut profile.url);
        }
    }
    Ok(profiles.save(path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn access_keys_find_their_accounts() {
        let accounts = parse(&texts(&["a=111122223333", "b"])).unwrap();
        let keys = texts(&["AKIA1:s/1", "AKIA2:s2:b", "AKIA3:s3:111122223333"]);
        let made = with_keys(accounts.clone(), &keys).unwrap();
        let pair = |id: &str, secret: &str| (id.to_owned(), secret.to_owned());
        assert_eq!(made[0].keys, [pair("AKIA1", "s/1"), pair("AKIA3", "s3")]);
        assert_eq!(made[1].keys, [pair("AKIA2", "s2")]);
        for bad in ["AKIA", "AKIA:s:nobody"] {
            assert!(with_keys(accounts.clone(), &texts(&[bad])).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_further_region_knows_the_same_accounts() {
        let dir = tempfile::tempdir().unwrap();
        let path = Profiles::path(dir.path());
        let made = Made { name: "a".into(), account_id: "111122223333".into(), token: "t".into() };
        keep(&path, std::slice::from_ref(&made), "127.0.0.1:1", None).unwrap();
        keep(&path, &[made], "127.0.0.1:2", Some("b")).unwrap();
        let profiles = Profiles::load(&path).unwrap();
        assert_eq!(profiles.default, "a");
        assert_eq!(profiles.profile["a"].url, "127.0.0.1:1");
        assert_eq!(profiles.profile["a@b"].url, "127.0.0.1:2");
        let again = as_known(&parse(&texts(&["a", "c"])).unwrap(), &profiles).unwrap();
        assert_eq!(
            (again[0].id.unwrap().to_string().as_str(), again[0].token.as_str()),
            ("111122223333", "t")
        );
        assert_eq!((again[1].id, again[1].token.as_str()), (None, ""));
    }
}
