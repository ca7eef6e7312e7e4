//! Whose an image is and who else may launch it.

use std::{collections::BTreeSet, fmt};

use vmint_ids::{AccountId, ImageId};

use crate::{PermissionsError, Result};

/// An image is shared with this many accounts at most; more is "everybody".
pub const MAX_GRANTS: usize = 1000;

/// The permissions of one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sharing {
    pub owner: AccountId,
    /// Everybody may launch it.
    pub public: bool,
    /// Without the owner.
    pub accounts: BTreeSet<AccountId>,
}

/// What to change of an image's permissions; taking away comes last.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// Takes everybody away first.
    pub reset: bool,
    pub add: Vec<AccountId>,
    pub remove: Vec<AccountId>,
    pub add_public: bool,
    pub remove_public: bool,
}

/// What an account may do with an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Describe,
    Launch,
    Manage,
}

/// What an account may do, and what it may know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Decision {
    pub allowed: bool,
    pub visible: bool,
    pub public: bool,
    /// Only where `visible`.
    pub owner: Option<AccountId>,
}

impl Sharing {
    #[must_use]
    pub fn private(owner: AccountId) -> Self {
        Self { owner, public: false, accounts: BTreeSet::new() }
    }

    /// The permissions after `change`.
    pub fn changed(&self, image: ImageId, change: &Change) -> Result<Self> {
        self.changed_of(&image, change)
    }

    /// The same of whatever `of` names in a refusal.
    pub(crate) fn changed_of(&self, of: &impl fmt::Display, change: &Change) -> Result<Self> {
        let mut next = if change.reset { Self::private(self.owner) } else { self.clone() };
        next.accounts.extend(change.add.iter().filter(|a| **a != self.owner));
        for account in &change.remove {
            next.accounts.remove(account);
        }
        next.public = (next.public || change.add_public) && !change.remove_public;
        if next.accounts.len() > MAX_GRANTS {
            let image = of.to_string();
            return Err(PermissionsError::TooManyGrants { image, limit: MAX_GRANTS });
        }
        Ok(next)
    }

    #[must_use]
    pub fn decide(&self, account: AccountId, action: Action) -> Decision {
        let own = account == self.owner;
        let visible = own || self.public || self.accounts.contains(&account);
        if !visible {
            return Decision::default();
        }
        let allowed = match action {
            Action::Describe | Action::Launch => true,
            Action::Manage => own,
        };
        Decision { allowed, visible, public: self.public, owner: Some(self.owner) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(n: u64) -> AccountId {
        format!("{n:012}").parse().unwrap()
    }

    #[test]
    fn taking_away_comes_last_and_the_owner_is_never_listed() {
        let sharing = Sharing::private(account(1));
        let change = Change {
            reset: false,
            add: vec![account(1), account(2), account(3)],
            remove: vec![account(2), account(9)],
            add_public: true,
            remove_public: true,
        };
        let next = sharing.changed(ImageId::random(), &change).unwrap();
        assert_eq!(next.accounts, BTreeSet::from([account(3)]));
        assert!(!next.public);
    }

    #[test]
    fn who_may_what() {
        let mut sharing = Sharing::private(account(1));
        sharing.accounts.insert(account(2));
        let allowed = |s: &Sharing, a, action| s.decide(account(a), action).allowed;
        for action in [Action::Describe, Action::Launch, Action::Manage] {
            assert!(allowed(&sharing, 1, action));
            assert_eq!(sharing.decide(account(3), action), Decision::default());
        }
        assert!(allowed(&sharing, 2, Action::Launch) && !allowed(&sharing, 2, Action::Manage));
        sharing.public = true;
        assert!(allowed(&sharing, 3, Action::Launch) && !allowed(&sharing, 3, Action::Manage));
    }

    #[test]
    fn a_thousand_and_one_is_too_many() {
        let sharing = Sharing::private(account(5000));
        let many = |n| Change { add: (0..n).map(account).collect(), ..Change::default() };
        assert!(sharing.changed(ImageId::random(), &many(1000)).is_ok());
        assert!(sharing.changed(ImageId::random(), &many(1001)).is_err());
    }
}
