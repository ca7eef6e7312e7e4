//! Names for well-known owners: a list that the operator keeps.

use std::collections::BTreeMap;

use vmint_ec2::{Code, Error};
use vmint_ids::AccountId;

use super::filter;

/// The aliases that EC2 knows; whoever is not listed has none.
pub(crate) const KNOWN: [&str; 3] = ["amazon", "aws-backup-vault", "aws-marketplace"];

/// Accounts by their alias.
pub(crate) type Aliases = BTreeMap<String, Vec<AccountId>>;

/// Puts accounts in the place of aliases among `owners`. False: the owners are
/// nobody here, so nothing can be found.
pub(super) fn owners(aliases: &Aliases, owners: &mut Vec<String>) -> Result<bool, Error> {
    if owners.is_empty() {
        return Ok(true);
    }
    let mut accounts = Vec::new();
    for owner in owners.drain(..) {
        if owner == "self" || owner.parse::<AccountId>().is_ok() {
            accounts.push(owner);
        } else if KNOWN.contains(&owner.as_str()) {
            accounts.extend(aliases.get(&owner).into_iter().flatten().map(ToString::to_string));
        } else {
            let text =
                format!("Invalid user id: \"{}\"", owner.chars().take(64).collect::<String>());
            return Err(Error::new(Code::InvalidUserIdMalformed, text));
        }
    }
    *owners = accounts;
    Ok(!owners.is_empty())
}

/// The accounts whose alias matches one of the patterns.
pub(super) fn accounts_of(aliases: &Aliases, patterns: &[String]) -> Vec<String> {
    let fits = |alias: &str| patterns.iter().any(|pattern| filter::fits(pattern, alias));
    let found = aliases.iter().filter(|(alias, _)| fits(alias)).flat_map(|(_, accounts)| accounts);
    found.map(ToString::to_string).collect()
}

/// The alias of an account, if it has one.
pub(super) fn of<'a>(aliases: &'a Aliases, account: &str) -> Option<&'a str> {
    let account = account.parse::<AccountId>().ok()?;
    let (alias, _) = aliases.iter().find(|(_, accounts)| accounts.contains(&account))?;
    Some(alias)
}
