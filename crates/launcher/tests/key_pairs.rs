//! Key pairs: made, imported, listed, forgotten, put into machines.

// A test that cannot go on fails, which is what unwrapping does.
#![allow(clippy::unwrap_used)]

mod fleet;

use fleet::{ACCOUNT, Running, asked, reservation};
use vmint_launcher::{KeyName, LauncherError as E, Reservation};

fn name(text: &str) -> KeyName {
    KeyName::parse(text).unwrap()
}

#[tokio::test]
async fn the_private_half_is_given_once() {
    let running = Running::start().await;
    let create = |id| running.launcher.create_key_pair(ACCOUNT, name("me"), asked(id));
    let made = create("1").await.unwrap();
    assert!(made.private_key.unwrap().contains("OPENSSH PRIVATE KEY"));
    let again = create("1").await.unwrap();
    assert_eq!((again.pair, again.private_key), (made.pair, None));
    assert!(matches!(create("2").await, Err(E::KeyPairNameTaken { .. })));
}

#[tokio::test]
async fn a_machine_keeps_the_key_it_was_launched_with() {
    let running = Running::start().await;
    let made = running.launcher.create_key_pair(ACCOUNT, name("me"), asked("")).await.unwrap();
    let new = Reservation { key_name: "me".into(), ..reservation(1) };
    let instance = running.launch_as(new).await.unwrap().remove(0);
    for _ in 0..2 {
        running.launcher.delete_key_pair(ACCOUNT, "me", asked("")).await.unwrap();
    }
    assert_eq!(running.get(instance.id).public_key, made.pair.public_key);
    let gone = Reservation { key_name: "me".into(), ..reservation(1) };
    assert!(matches!(running.launch_as(gone).await, Err(E::NoSuchKeyPair { .. })));
}

#[tokio::test]
async fn listings_are_the_accounts_own_and_join_up() {
    let running = Running::start().await;
    for n in 0..3 {
        let key = name(&format!("key {n}"));
        running.launcher.create_key_pair(ACCOUNT, key, asked("")).await.unwrap();
    }
    running.launcher.create_key_pair("999999999999", name("x"), asked("")).await.unwrap();
    let (first, more) = running.launcher.list_key_pairs(ACCOUNT, None, 2).unwrap();
    assert_eq!((first.len(), more), (2, true));
    let last = (ACCOUNT.to_owned(), first[1].name.as_str().to_owned());
    let after = vmint_store::Key::encode(&last);
    let (rest, more) = running.launcher.list_key_pairs(ACCOUNT, Some(&after), 2).unwrap();
    assert_eq!((rest.len(), more), (1, false));
    assert_eq!(rest[0].name.as_str(), "key 2");
}
