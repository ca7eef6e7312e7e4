//! Accounts and tokens.

use vmint_api::permissions::v1 as pb;

use crate::{
    cli::{AccountCommand, Output},
    client::{Client, Failure, Profile, Profiles, Result, json, request_id, table},
    commands::access_key,
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
