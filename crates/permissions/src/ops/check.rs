use vmint_ids::{AccountId, ImageId};

use crate::{Action, Decision, Permissions, Result};

/// The answers to one batch of questions.
#[derive(Debug)]
pub struct Answer {
    /// In the order asked.
    pub decisions: Vec<Decision>,
    /// Every change up to this one is taken into account.
    pub revision: u64,
}

impl Permissions {
    /// Decides whether `account` may do `action` with each image, as of now.
    ///
    /// `None` stands for what is no image id at all; nobody may know of that one
    /// either.
    pub fn check(
        &self,
        account: AccountId,
        action: Action,
        images: &[Option<ImageId>],
    ) -> Result<Answer> {
        // Read first: what is answered may be newer, never older.
        let revision = self.shares.revision()?;
        let decide = |image: &Option<ImageId>| {
            let sharing = image.map(|image| self.shares.get(image)).transpose()?.flatten();
            Ok(sharing.map(|s| s.decide(account, action)).unwrap_or_default())
        };
        let decisions = images.iter().map(decide).collect::<Result<_>>()?;
        Ok(Answer { decisions, revision })
    }
}
