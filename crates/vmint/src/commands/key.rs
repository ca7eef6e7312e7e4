//! Key pairs.

use std::path::PathBuf;

use vmint_api::launcher::v1::{
    CreateKeyPairRequest, DeleteKeyPairRequest, ImportKeyPairRequest, KeyPair, KeyType,
    ListKeyPairsRequest,
};

use crate::{
    cli::{KeyCommand, Output},
    client::{Client, Failure, Result, json, plain, request_id, table, write_private},
};

pub(crate) async fn run(client: &Client, command: KeyCommand) -> Result<()> {
    match command {
        KeyCommand::Create { name, rsa } => create(client, &name, rsa).await,
        KeyCommand::Import { name, file } => {
            let public_key = std::fs::read_to_string(&file).map_err(|error| {
                Failure::usage(format!("{} cannot be read: {}", file.display(), plain(&error)))
            })?;
            let request = ImportKeyPairRequest {
                name,
                public_key: public_key.trim().to_owned(),
                request_id: request_id(),
                tags: Vec::new(),
            };
            let answer = client.launcher().import_key_pair(request).await?.into_inner();
            show(client, answer.key_pair.into_iter().collect())
        }
        KeyCommand::List => {
            let request = ListKeyPairsRequest { page_size: 500, ..Default::default() };
            let answer = client.launcher().list_key_pairs(request).await?.into_inner();
            show(client, answer.key_pairs)
        }
        KeyCommand::Delete { name } => {
            let request =
                DeleteKeyPairRequest { name, request_id: request_id(), ..Default::default() };
            client.launcher().delete_key_pair(request).await?;
            Ok(())
        }
    }
}

/// Makes a key pair and writes the private half to its file.
pub(crate) async fn make(client: &Client, name: &str, rsa: bool) -> Result<(KeyPair, PathBuf)> {
    let file = client.keys_dir().join(format!("{}.pem", name.replace('/', "_")));
    if file.exists() {
        return Err(Failure::usage(format!("{} is there already", file.display()))
            .hint("move it away, or give the key another name"));
    }
    let key_type = if rsa { KeyType::Rsa } else { KeyType::Ed25519 };
    let request = CreateKeyPairRequest {
        name: name.to_owned(),
        request_id: request_id(),
        key_type: key_type.into(),
        tags: Vec::new(),
    };
    let answer = client.launcher().create_key_pair(request).await?.into_inner();
    write_private(&file, answer.private_key.as_bytes())?;
    let key = answer.key_pair.ok_or_else(|| Failure::new("the answer holds no key pair"))?;
    Ok((key, file))
}

async fn create(client: &Client, name: &str, rsa: bool) -> Result<()> {
    let (key, file) = make(client, name, rsa).await?;
    if client.output() == Output::Table {
        println!("private   {}", file.display());
    }
    show(client, vec![key])
}

fn show(client: &Client, keys: Vec<KeyPair>) -> Result<()> {
    match client.output() {
        Output::Json => json("vmint.launcher.v1.KeyPair", &keys),
        Output::Id => {
            for key in &keys {
                println!("{}", key.key_pair_id);
            }
            Ok(())
        }
        Output::Table => {
            let row = |key: KeyPair| vec![key.name, key.key_pair_id, key.fingerprint];
            let rows: Vec<_> = keys.into_iter().map(row).collect();
            table(&["NAME", "ID", "FINGERPRINT"], &rows);
            Ok(())
        }
    }
}
