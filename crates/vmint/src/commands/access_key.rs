//! Access keys.

use vmint_api::permissions::v1 as pb;

use crate::{
    cli::{AccessKeyCommand, Output},
    client::{Client, Failure, Result, json, request_id, table},
};

pub(crate) async fn run(client: &Client, command: AccessKeyCommand) -> Result<()> {
    match command {
        AccessKeyCommand::Create { principal, read_only, id, secret, account } => {
            let request = pb::CreateAccessKeyRequest {
                account_id: account,
                principal,
                read_only,
                access_key_id: id,
                secret_access_key: secret,
                request_id: request_id(),
            };
            create(client, request).await
        }
        AccessKeyCommand::List => list(client).await,
        AccessKeyCommand::Disable { key } => set(client, key, pb::AccessKeyStatus::Inactive).await,
        AccessKeyCommand::Enable { key } => set(client, key, pb::AccessKeyStatus::Active).await,
        AccessKeyCommand::Delete { key } => {
            let request =
                pb::DeleteAccessKeyRequest { access_key_id: key, request_id: request_id() };
            client.permissions().delete_access_key(request).await?;
            Ok(())
        }
    }
}

/// Prints the two halves as the environment variables that clients read.
async fn create(client: &Client, request: pb::CreateAccessKeyRequest) -> Result<()> {
    let answer = client.permissions().create_access_key(request).await?.into_inner();
    let key = answer.access_key.clone();
    let key = key.ok_or_else(|| Failure::new("the answer holds no access key"))?;
    match client.output() {
        Output::Json => json("vmint.permissions.v1.CreateAccessKeyResponse", &[answer]),
        Output::Id => {
            println!("{} {}", key.access_key_id, answer.secret_access_key);
            Ok(())
        }
        Output::Table => {
            println!("AWS_ACCESS_KEY_ID={}", key.access_key_id);
            println!("AWS_SECRET_ACCESS_KEY={}", answer.secret_access_key);
            Ok(())
        }
    }
}

async fn set(client: &Client, key: String, status: pb::AccessKeyStatus) -> Result<()> {
    let (status, request_id) = (status.into(), request_id());
    let request = pb::UpdateAccessKeyRequest { access_key_id: key, status, request_id };
    client.permissions().update_access_key(request).await?;
    Ok(())
}

async fn list(client: &Client) -> Result<()> {
    let mut request = pb::ListAccessKeysRequest { page_size: 1000, ..Default::default() };
    let mut keys = Vec::new();
    loop {
        let page = client.permissions().list_access_keys(request.clone()).await?.into_inner();
        keys.extend(page.access_keys);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    match client.output() {
        Output::Json => json("vmint.permissions.v1.AccessKey", &keys),
        Output::Id => {
            for key in &keys {
                println!("{}", key.access_key_id);
            }
            Ok(())
        }
        Output::Table => {
            let row = |key: pb::AccessKey| {
                let may = if key.read_only { "read" } else { "all" };
                let active = key.status() == pb::AccessKeyStatus::Active;
                let status = if active { "active" } else { "inactive" };
                let used = key.last_used_time.map(|time| time.to_string());
                let used = used.map(|time| format!("{time} ({})", key.last_used_service));
                let used = used.unwrap_or_else(|| "never".to_owned());
                vec![key.access_key_id, key.principal, may.to_owned(), status.to_owned(), used]
            };
            let rows: Vec<_> = keys.into_iter().map(row).collect();
            table(&["ID", "WHO", "MAY", "STATUS", "LAST USED"], &rows);
            Ok(())
        }
    }
}
