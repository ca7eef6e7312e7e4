//! Accounts and tokens.

use vmint_api::{gateway::v1::PurgeAccountRequest, permissions::v1 as pb};

use crate::{
    cli::{AccountCommand, Output},
    client::{Client, Failure, Profile, Profiles, Result, json, request_id, table},
    commands::access_key,
    up::{Layout, REGION},
};

pub(crate) async fn run(client: &Client, command: AccountCommand) -> Result<()> {
    match command {
        AccountCommand::Whoami => {
            let request = pb::GetCallerIdentityRequest {};
            let who = client.permissions().get_caller_identity(request).await?.into_inner();
            show(client, who.account.into_iter().collect())
        }
        AccountCommand::List => {
            let mut request = pb::ListAccountsRequest { page_size: 1000, ..Default::default() };
            let mut accounts = Vec::new();
            loop {
                let page = client.permissions().list_accounts(request.clone()).await?.into_inner();
                accounts.extend(page.accounts);
                if page.next_page_token.is_empty() {
                    break;
                }
                request.page_token = page.next_page_token;
            }
            show(client, accounts)
        }
        AccountCommand::Create { name } => create(client, name).await,
        AccountCommand::Purge { account } => {
            let request = PurgeAccountRequest { account_id: account, request_id: request_id() };
            let gone = client.gateway().purge_account(request).await?.into_inner();
            println!(
                "removed   {} instances, {} images, {} volumes, {} snapshots, {} key pairs",
                gone.instances, gone.images, gone.volumes, gone.snapshots, gone.key_pairs,
            );
            Ok(())
        }
        AccountCommand::Token { principal, read_only, hours } => {
            let request = pb::CreateSessionRequest {
                principal,
                read_only,
                time_to_live: Some(prost_types_duration(hours)),
                request_id: request_id(),
                ..Default::default()
            };
            let answer = client.permissions().create_session(request).await?.into_inner();
            println!("{}", answer.token);
            Ok(())
        }
        AccountCommand::Env => env(client).await,
        AccountCommand::Tokens => tokens(client).await,
        AccountCommand::Revoke { session } => {
            let request =
                pb::RevokeSessionRequest { session_id: session, request_id: request_id() };
            client.permissions().revoke_session(request).await?;
            Ok(())
        }
        AccountCommand::Key(command) => access_key::run(client, command).await,
    }
}

/// Makes an access key and prints what EC2's clients read, for a shell to take up.
async fn env(client: &Client) -> Result<()> {
    let request = pb::CreateAccessKeyRequest { request_id: request_id(), ..Default::default() };
    let answer = client.permissions().create_access_key(request).await?.into_inner();
    let key = answer.access_key.ok_or_else(|| Failure::new("the answer holds no access key"))?;
    let url = client.url();
    let url = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let mine = |layout: &Layout| url.ends_with(&layout.listen.to_string());
    let known = Layout::all(client.data()).into_iter().find(|(_, layout)| mine(layout));
    let region = known.map_or_else(|| REGION.to_owned(), |(region, _)| region);
    println!("export AWS_ACCESS_KEY_ID={}", key.access_key_id);
    println!("export AWS_SECRET_ACCESS_KEY={}", answer.secret_access_key);
    println!("export AWS_DEFAULT_REGION={region}");
    println!("export AWS_REGION={region}");
    println!("export AWS_ENDPOINT_URL={url}");
    Ok(())
}

fn prost_types_duration(hours: u32) -> prost_types::Duration {
    prost_types::Duration { seconds: i64::from(hours) * 3600, nanos: 0 }
}

/// Makes an account, a token for it, and a profile that holds both.
async fn create(client: &Client, name: String) -> Result<()> {
    let request = pb::CreateAccountRequest {
        name: name.clone(),
        request_id: request_id(),
        ..Default::default()
    };
    let account = client.permissions().create_account(request).await?.into_inner().account;
    let account = account.ok_or_else(|| Failure::new("the answer holds no account"))?;
    let request = pb::CreateSessionRequest {
        account_id: account.account_id.clone(),
        principal: "root".to_owned(),
        time_to_live: Some(prost_types_duration(90 * 24)),
        request_id: request_id(),
        ..Default::default()
    };
    let token = client.permissions().create_session(request).await?.into_inner().token;
    let path = Profiles::path(client.data());
    let mut profiles = Profiles::load(&path)?;
    let account_id = account.account_id.clone();
    profiles
        .profile
        .insert(name.clone(), Profile { url: client.url().to_owned(), account_id, token });
    profiles.save(&path)?;
    eprintln!("profile   {name}  (vmint --profile {name} …)");
    show(client, vec![account])
}

fn show(client: &Client, accounts: Vec<pb::Account>) -> Result<()> {
    match client.output() {
        Output::Json => json("vmint.permissions.v1.Account", &accounts),
        Output::Id => {
            for account in &accounts {
                println!("{}", account.account_id);
            }
            Ok(())
        }
        Output::Table => {
            let row = |account: pb::Account| {
                let role = if account.operator { "operator" } else { "-" };
                vec![account.account_id, account.name, role.to_owned()]
            };
            let rows: Vec<_> = accounts.into_iter().map(row).collect();
            table(&["ID", "NAME", "ROLE"], &rows);
            Ok(())
        }
    }
}

async fn tokens(client: &Client) -> Result<()> {
    let request = pb::ListSessionsRequest { page_size: 1000, ..Default::default() };
    let sessions = client.permissions().list_sessions(request).await?.into_inner().sessions;
    match client.output() {
        Output::Json => json("vmint.permissions.v1.Session", &sessions),
        Output::Id => {
            for session in &sessions {
                println!("{}", session.session_id);
            }
            Ok(())
        }
        Output::Table => {
            let row = |session: pb::Session| {
                let until = session.expire_time.map(|t| t.to_string()).unwrap_or_default();
                let may = if session.read_only { "read" } else { "all" };
                vec![session.session_id, session.principal, may.to_owned(), until]
            };
            let rows: Vec<_> = sessions.into_iter().map(row).collect();
            table(&["ID", "WHO", "MAY", "UNTIL"], &rows);
            Ok(())
        }
    }
}
