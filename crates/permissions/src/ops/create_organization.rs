use vmint_store::Asked;

use crate::{Name, Organization, Permissions, Result, ops::now_ms};

impl Permissions {
    /// Makes an organization. Names need not differ.
    pub async fn create_organization(&self, name: Name, asked: Asked) -> Result<Organization> {
        let organization =
            Organization { id: Organization::fresh_id(), name, created_ms: now_ms() };
        self.accounts.insert_organization(organization, asked).await
    }
}
