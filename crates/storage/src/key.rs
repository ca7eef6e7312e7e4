//! Keys that data keys lie under, and what may become of them.

use vmint_ids::{AccountId, KmsKeyId};

const DAY_MS: u64 = 24 * 3600 * 1000;

/// A key of an account's. The secret itself is with the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    pub id: KmsKeyId,
    pub account: AccountId,
    pub description: String,
    pub state: KeyState,
    pub created_ms: u64,
}

/// Where a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    Enabled,
    /// Begins nothing new; what is under way goes on.
    Disabled,
    /// The same, until it is destroyed.
    PendingDeletion {
        due_ms: u64,
    },
    Destroyed,
}

/// What somebody wants of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Enable,
    Disable,
    ScheduleDeletion { days: u64 },
    CancelDeletion,
}

/// Why a key can't change so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadChange {
    #[error("it is to be deleted: cancel that first")]
    Pending,
    #[error("it is not to be deleted")]
    NotPending,
    #[error("it is destroyed: make another one")]
    Destroyed,
    #[error("{0} days are too few or too many: use 7 to 30")]
    Days(i32),
}

impl Change {
    /// A deletion so many days from now; 0 means 30.
    pub(crate) fn deletion(days: i32) -> Result<Self, BadChange> {
        match days {
            0 => Ok(Self::ScheduleDeletion { days: 30 }),
            7..=30 => Ok(Self::ScheduleDeletion { days: u64::from(days.unsigned_abs()) }),
            _ => Err(BadChange::Days(days)),
        }
    }
}

impl KeyState {
    /// What it becomes by `change`.
    pub(crate) fn after(self, change: Change, now_ms: u64) -> Result<Self, BadChange> {
        match (self, change) {
            (Self::Destroyed, _) => Err(BadChange::Destroyed),
            (Self::PendingDeletion { .. }, Change::CancelDeletion) => Ok(Self::Disabled),
            (_, Change::CancelDeletion) => Err(BadChange::NotPending),
            (Self::PendingDeletion { .. }, _) => Err(BadChange::Pending),
            (_, Change::Enable) => Ok(Self::Enabled),
            (_, Change::Disable) => Ok(Self::Disabled),
            (_, Change::ScheduleDeletion { days }) => {
                Ok(Self::PendingDeletion { due_ms: now_ms + days * DAY_MS })
            }
        }
    }
}

/// What the copy of a content is to be encrypted with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cover {
    /// With what the source is, or not at all: the same content.
    Same,
    /// With a data key of its own under this key; none named means the default.
    Under(Option<KmsKeyId>),
}

/// What an account asks of a copy: encrypted or as the source is, and under which key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Wish {
    /// Said outright; `Some(false)` of an encrypted source is refused.
    pub(crate) encrypted: Option<bool>,
    pub(crate) key: Option<KmsKeyId>,
}

/// An encrypted content can't become one that is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NeverBack;

impl Wish {
    /// The rule of copies for a source that another region keeps, with no key of this one.
    pub(crate) fn cover_of_foreign(self, encrypted: bool) -> Result<Cover, NeverBack> {
        match (encrypted, self.encrypted, self.key) {
            (true, Some(false), _) => Err(NeverBack),
            (false, Some(false), _) | (false, None, None) => Ok(Cover::Same),
            (_, _, key) => Ok(Cover::Under(key)),
        }
    }

    /// The rule of copies: what is not encrypted may become so, what is stays so, and what is
    /// under another account's key gets one of the copier's.
    pub(crate) fn cover(self, source: Option<KmsKeyId>, own: bool) -> Result<Cover, NeverBack> {
        match (source, self.encrypted, self.key) {
            (Some(_), Some(false), _) => Err(NeverBack),
            (Some(under), _, Some(key)) if under == key && own => Ok(Cover::Same),
            (Some(_), _, None) if own => Ok(Cover::Same),
            (Some(_), _, key) | (None, Some(true), key) | (None, None, key @ Some(_)) => {
                Ok(Cover::Under(key))
            }
            (None, _, _) => Ok(Cover::Same),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_never_less_encrypted_than_their_source() {
        let (mine, other) = (KmsKeyId::random(), KmsKeyId::random());
        let wish = |encrypted, key| Wish { encrypted, key };
        let open = None;
        assert_eq!(wish(None, None).cover(open, true), Ok(Cover::Same));
        assert_eq!(wish(Some(true), None).cover(open, true), Ok(Cover::Under(None)));
        assert_eq!(wish(None, Some(mine)).cover(open, false), Ok(Cover::Under(Some(mine))));
        assert_eq!(wish(Some(false), None).cover(Some(mine), true), Err(NeverBack));
        assert_eq!(wish(None, None).cover(Some(mine), true), Ok(Cover::Same));
        assert_eq!(wish(None, Some(mine)).cover(Some(mine), true), Ok(Cover::Same));
        assert_eq!(wish(None, Some(other)).cover(Some(mine), true), Ok(Cover::Under(Some(other))));
        assert_eq!(wish(None, None).cover(Some(other), false), Ok(Cover::Under(None)));
        assert_eq!(wish(None, Some(mine)).cover(Some(mine), false), Ok(Cover::Under(Some(mine))));
    }

    #[test]
    fn a_key_to_be_deleted_only_comes_back_disabled() {
        let due = KeyState::Enabled.after(Change::deletion(7).unwrap(), 5).unwrap();
        assert_eq!(due, KeyState::PendingDeletion { due_ms: 5 + 7 * DAY_MS });
        assert_eq!(due.after(Change::Enable, 6), Err(BadChange::Pending));
        assert_eq!(due.after(Change::CancelDeletion, 6), Ok(KeyState::Disabled));
        assert_eq!(KeyState::Enabled.after(Change::CancelDeletion, 6), Err(BadChange::NotPending));
        assert_eq!(KeyState::Destroyed.after(Change::Enable, 6), Err(BadChange::Destroyed));
        assert_eq!(Change::deletion(6), Err(BadChange::Days(6)));
    }
}
