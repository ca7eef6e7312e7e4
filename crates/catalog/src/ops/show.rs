use std::collections::BTreeSet;

use vmint_ids::{AccountId, ImageId};

use crate::{Catalog, Result, store::Hint};

impl Catalog {
    /// Tells the index who may see an image, as of `revision` of the
    /// permissions; an older one than the last is ignored.
    pub async fn ensure_hint(
        &self,
        id: ImageId,
        public: bool,
        accounts: BTreeSet<AccountId>,
        revision: u64,
    ) -> Result<()> {
        self.images.put_hint(id, Hint { public, accounts, revision }).await
    }
}
