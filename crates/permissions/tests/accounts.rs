//! Accounts and sessions, over a real socket.

#![allow(clippy::pedantic, clippy::unwrap_used)]

mod harness;

use harness::{Running, from, operator, reason, start};
use vmint_api::permissions::v1 as pb;
use vmint_store::{Options, Store};

const ADMIN: &str = "100000000001";
const ANN: &str = "200000000002";

fn first() -> pb::BootstrapRequest {
    let account = |name: &str, id: &str, operator| pb::BootstrapAccount {
        name: name.into(),
        account_id: id.into(),
        operator,
        token: String::new(),
        access_keys: vec![],
    };
    pb::BootstrapRequest {
        organization_name: "Example".into(),
        accounts: vec![account("admin", ADMIN, true), account("ann", ANN, false)],
    }
}

async fn booted(store: Store) -> (Running, Vec<pb::BootstrappedAccount>) {
    let mut running = start(store).await;
    let made = running.internal.bootstrap(first()).await.unwrap().into_inner().accounts;
    (running, made)
}

async fn authenticate(running: &mut Running, token: &str) -> Result<String, String> {
    let request = pb::AuthenticateRequest { token: token.into() };
    match running.internal.authenticate(request).await {
        Ok(answer) => Ok(answer.into_inner().account.unwrap().account_id),
        Err(status) => Err(format!("{} {}", reason(&status), status.message())),
    }
}

fn session(principal: &str, request_id: &str) -> pb::CreateSessionRequest {
    pb::CreateSessionRequest {
        principal: principal.into(),
        request_id: request_id.into(),
        ..Default::default()
    }
}

#[tokio::test]
async fn the_first_start_makes_accounts_and_the_second_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Store::open(dir.path(), Options::default()).unwrap();
    let store = open();
    let (mut running, made) = booted(store.clone()).await;
    let tokens: Vec<_> = made.iter().map(|m| m.token.clone()).collect();
    assert!(tokens.iter().all(|t| t.starts_with("vmt_") && t.len() == 47));
    assert!(made[0].account.as_ref().unwrap().operator);
    assert!(!made[1].account.as_ref().unwrap().operator);
    assert_eq!(authenticate(&mut running, &tokens[1]).await.unwrap(), ANN);
    running.stop().await;
    store.close().await;
    drop(store);

    let (mut running, again) = booted(open()).await;
    assert!(again.iter().all(|m| m.token.is_empty()));
    assert_eq!(again[1].account.as_ref().unwrap().account_id, ANN);
    assert_eq!(authenticate(&mut running, &tokens[0]).await.unwrap(), ADMIN);
    // Its files stand still now. The tokens are in none of them, the account is.
    running.stop().await;
    let mut found = (false, false);
    for entry in walk(dir.path()) {
        let bytes = std::fs::read(&entry).unwrap();
        let has = |text: &str| bytes.windows(text.len()).any(|w| w == text.as_bytes());
        found = (found.0 || has(ANN), found.1 || tokens.iter().any(|t| has(&t[4..])));
    }
    assert_eq!(found, (true, false));
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    let (dirs, files): (Vec<_>, Vec<_>) = entries.partition(|p| p.is_dir());
    files
        .into_iter()
        .filter(|f| f.file_name().is_some_and(|n| n != "ballast"))
        .chain(dirs.iter().flat_map(|d| walk(d)))
        .collect()
}

#[tokio::test]
async fn a_chosen_token_is_set_and_stays_revoked() {
    let (mut running, _) = booted(Store::in_memory()).await;
    let mut request = first();
    request.accounts.remove(0);
    request.accounts[0].token = "vmt_chosen_by_the_operator_himself".into();
    let token = request.accounts[0].token.clone();
    let made = running.internal.bootstrap(request.clone()).await.unwrap().into_inner();
    assert_eq!(made.accounts[0].token, token);
    let whose = running.internal.authenticate(pb::AuthenticateRequest { token: token.clone() });
    let session_id = whose.await.unwrap().into_inner().session.unwrap().session_id;
    let revoke = pb::RevokeSessionRequest { session_id, request_id: String::new() };
    running.users.revoke_session(from(ANN, revoke)).await.unwrap();

    let again = running.internal.bootstrap(request.clone()).await.unwrap().into_inner();
    assert_eq!(again.accounts[0].token, "");
    assert!(authenticate(&mut running, &token).await.is_err());

    request.accounts[0].name = "bob".into();
    request.accounts[0].account_id = String::new();
    let taken = running.internal.bootstrap(request.clone()).await.unwrap_err();
    assert_eq!(reason(&taken), "FIELD_INVALID");
    request.accounts[0].token = "short".into();
    let short = running.internal.bootstrap(request.clone()).await.unwrap_err();
    assert_eq!(reason(&short), "FIELD_INVALID");
    request.accounts[0] = pb::BootstrapAccount {
        name: "ann".into(),
        account_id: "9".repeat(12),
        ..Default::default()
    };
    let other_id = running.internal.bootstrap(request).await.unwrap_err();
    assert_eq!(reason(&other_id), "ACCOUNT_TAKEN");
}

#[tokio::test]
async fn bad_tokens_all_read_alike() {
    let (mut running, made) = booted(Store::in_memory()).await;
    let brief = pb::CreateSessionRequest {
        time_to_live: Some(prost_types::Duration { seconds: 0, nanos: 1_000_000 }),
        ..session("ann", "")
    };
    let expired = running.users.create_session(from(ANN, brief)).await.unwrap().into_inner().token;
    let made_now = running.users.create_session(from(ANN, session("ann", ""))).await;
    let made_now = made_now.unwrap().into_inner();
    assert!(authenticate(&mut running, &made_now.token).await.is_ok());
    let session_id = made_now.session.unwrap().session_id;
    let revoke = pb::RevokeSessionRequest { session_id, request_id: String::new() };
    running.users.revoke_session(from(ANN, revoke.clone())).await.unwrap();
    running.users.revoke_session(from(ANN, revoke)).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;

    let mut texts = Vec::new();
    let cut = &made[0].token[..46];
    for bad in ["", "vmt_", cut, &expired, &made_now.token, &"x".repeat(100_000)] {
        texts.push(authenticate(&mut running, bad).await.unwrap_err());
    }
    texts.dedup();
    assert_eq!(texts.len(), 1);
    assert!(texts[0].starts_with("TOKEN_INVALID"));
    let listed = pb::ListSessionsRequest::default();
    let listed = running.users.list_sessions(from(ANN, listed)).await.unwrap().into_inner();
    assert_eq!(listed.sessions.len(), 1, "only the one of the first start");
}

#[tokio::test]
async fn a_token_is_shown_once() {
    let (mut running, _) = booted(Store::in_memory()).await;
    let ask = |principal| from(ANN, session(principal, "r-1"));
    let first = running.users.create_session(ask("ann")).await.unwrap().into_inner();
    let again = running.users.create_session(ask("ann")).await.unwrap().into_inner();
    assert_eq!(first.session, again.session);
    assert!(!first.token.is_empty() && again.token.is_empty());
    let other = running.users.create_session(ask("bob")).await.unwrap_err();
    assert_eq!(reason(&other), "REQUEST_ID_REUSED");
}

#[tokio::test]
async fn sessions_are_ones_own() {
    let (mut running, made) = booted(Store::in_memory()).await;
    let for_ann = || pb::CreateSessionRequest { account_id: ANN.into(), ..session("x", "") };
    let by_ann = running.users.create_session(from(
        ANN,
        pb::CreateSessionRequest { account_id: ADMIN.into(), ..session("x", "") },
    ));
    assert_eq!(reason(&by_ann.await.unwrap_err()), "OPERATOR_ONLY");
    let made_for = running.users.create_session(operator(ADMIN, for_ann())).await.unwrap();
    assert_eq!(made_for.into_inner().session.unwrap().account_id, ANN);
    let nobody = pb::CreateSessionRequest { account_id: "9".repeat(12), ..session("x", "") };
    let nobody = running.users.create_session(operator(ADMIN, nobody)).await.unwrap_err();
    assert_eq!(reason(&nobody), "ACCOUNT_NOT_FOUND");

    let admins = pb::AuthenticateRequest { token: made[0].token.clone() };
    let admins = running.internal.authenticate(admins).await.unwrap().into_inner();
    let session_id = admins.session.unwrap().session_id;
    let steal = pb::RevokeSessionRequest { session_id, request_id: String::new() };
    let foreign = running.users.revoke_session(from(ANN, steal)).await.unwrap_err();
    let missing = pb::RevokeSessionRequest {
        session_id: format!("ses-{}", "0".repeat(17)),
        request_id: String::new(),
    };
    let missing = running.users.revoke_session(from(ANN, missing)).await.unwrap_err();
    assert_eq!((reason(&foreign), foreign.code()), (reason(&missing), missing.code()));
    assert_eq!(reason(&missing), "SESSION_NOT_FOUND");
    assert!(authenticate(&mut running, &made[0].token).await.is_ok());

    for bad in [
        pb::CreateSessionRequest {
            time_to_live: Some(prost_types::Duration { seconds: 91 * 86_400, nanos: 0 }),
            ..session("x", "")
        },
        pb::CreateSessionRequest {
            time_to_live: Some(prost_types::Duration { seconds: -1, nanos: 0 }),
            ..session("x", "")
        },
        session("with space", ""),
        session("x", &"r".repeat(65)),
        pb::CreateSessionRequest { account_id: "12".into(), ..session("x", "") },
    ] {
        let refused = running.users.create_session(operator(ADMIN, bad.clone())).await;
        assert_eq!(reason(&refused.unwrap_err()), "FIELD_INVALID", "{bad:?}");
    }
}

#[tokio::test]
async fn identity_names_the_account_and_whether_it_only_reads() {
    let (mut running, _) = booted(Store::in_memory()).await;
    let reader = pb::CreateSessionRequest { read_only: true, ..session("auditor", "") };
    let reader = running.users.create_session(from(ANN, reader)).await.unwrap().into_inner();
    let mut request = from(ANN, pb::GetCallerIdentityRequest {});
    let id = reader.session.unwrap().session_id;
    request.metadata_mut().insert("test-session", id.parse().unwrap());
    let identity = running.users.get_caller_identity(request).await.unwrap().into_inner();
    assert!(identity.read_only);
    assert_eq!(identity.account.unwrap().name, "ann");
    let stranger = from(&"9".repeat(12), pb::GetCallerIdentityRequest {});
    let stranger = running.users.get_caller_identity(stranger).await.unwrap_err();
    assert_eq!(reason(&stranger), "ACCOUNT_NOT_FOUND");
}

#[tokio::test]
async fn accounts_are_made_by_the_operator_under_their_own_names() {
    let (mut running, _) = booted(Store::in_memory()).await;
    let new = |name: &str, id: &str, request_id: &str| pb::CreateAccountRequest {
        name: name.into(),
        account_id: id.into(),
        request_id: request_id.into(),
        ..Default::default()
    };
    let refused = running.users.create_account(from(ANN, new("bob", "", ""))).await.unwrap_err();
    assert_eq!(reason(&refused), "OPERATOR_ONLY");
    let make = async |running: &mut Running, new| {
        let made = running.users.create_account(operator(ADMIN, new)).await;
        made.map(|m| m.into_inner().account.unwrap()).map_err(|s| reason(&s))
    };
    let bob = make(&mut running, new("bob", "", "1")).await.unwrap();
    assert_eq!(make(&mut running, new("bob", "", "1")).await.unwrap(), bob);
    assert_eq!(make(&mut running, new("bob", "", "2")).await.unwrap_err(), "ACCOUNT_TAKEN");
    assert_eq!(make(&mut running, new("eve", ANN, "")).await.unwrap_err(), "ACCOUNT_TAKEN");
    assert_eq!(make(&mut running, new("", "", "")).await.unwrap_err(), "FIELD_INVALID");
    assert_eq!(make(&mut running, new("a\nb", "", "")).await.unwrap_err(), "FIELD_INVALID");
    let lost = pb::CreateAccountRequest { organization_id: "o-none".into(), ..new("x", "", "") };
    assert_eq!(make(&mut running, lost).await.unwrap_err(), "ORGANIZATION_NOT_FOUND");

    let other = pb::CreateOrganizationRequest { name: "Other".into(), request_id: "7".into() };
    let other = running.users.create_organization(operator(ADMIN, other)).await.unwrap();
    let organization_id = other.into_inner().organization.unwrap().organization_id;
    let under = pb::CreateAccountRequest {
        organization_id: organization_id.clone(),
        ..new("carl", "", "")
    };
    assert_eq!(make(&mut running, under).await.unwrap().organization_id, organization_id);
    assert_ne!(bob.organization_id, organization_id);
}

#[tokio::test]
async fn pages_of_accounts_join_up() {
    let (mut running, _) = booted(Store::in_memory()).await;
    for n in 0..5 {
        let new = pb::CreateAccountRequest { name: format!("n{n}"), ..Default::default() };
        running.users.create_account(operator(ADMIN, new)).await.unwrap();
    }
    let mut seen = Vec::new();
    let mut request = pb::ListAccountsRequest { page_size: 3, ..Default::default() };
    loop {
        let page = running.users.list_accounts(operator(ADMIN, request.clone())).await;
        let page = page.unwrap().into_inner();
        seen.extend(page.accounts.into_iter().map(|a| a.account_id));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
        let foreign = running.users.list_accounts(from(ANN, request.clone())).await.unwrap_err();
        assert_eq!(reason(&foreign), "PAGE_TOKEN_INVALID");
    }
    assert_eq!(seen.len(), 7);
    assert!(seen.is_sorted());
    let own = running.users.list_accounts(from(ANN, pb::ListAccountsRequest::default())).await;
    let own = own.unwrap().into_inner().accounts;
    assert_eq!(own.iter().map(|a| a.account_id.as_str()).collect::<Vec<_>>(), [ANN]);
    let negative = pb::ListAccountsRequest { page_size: -1, ..Default::default() };
    let negative = running.users.list_accounts(from(ANN, negative)).await.unwrap_err();
    assert_eq!(reason(&negative), "FIELD_INVALID");
}
