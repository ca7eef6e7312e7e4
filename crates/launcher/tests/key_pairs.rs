//! Key pairs: made, imported, listed, forgotten, put into machines.

// A test that cannot go on fails, which is what unwrapping does.
#![allow(clippy::unwrap_used)]

mod fleet;

use fleet::{ACCOUNT, Running, asked, reservation};
use vmint_launcher::{
    KeyKind, KeyName, KeyPair, KeyQuery, LauncherError as E, Reservation, TagChange,
};

fn name(text: &str) -> KeyName {
    KeyName::parse(text).unwrap()
}

async fn make(running: &Running, account: &str, text: &str) -> KeyPair {
    let kind = KeyKind::Ed25519;
    let made = running.launcher.create_key_pair(account, name(text), kind, vec![], asked(""));
    made.await.unwrap().pair
}

#[tokio::test]
async fn the_private_half_is_given_once() {
    let running = Running::start().await;
    let create = |id| {
        running.launcher.create_key_pair(ACCOUNT, name("me"), KeyKind::Ed25519, vec![], asked(id))
    };
    let made = create("1").await.unwrap();
    assert!(made.private_key.unwrap().contains("OPENSSH PRIVATE KEY"));
    let again = create("1").await.unwrap();
    assert_eq!((again.pair, again.private_key), (made.pair, None));
    assert!(matches!(create("2").await, Err(E::KeyPairNameTaken { .. })));
}

#[tokio::test]
async fn a_machine_keeps_the_key_it_was_launched_with() {
    let running = Running::start().await;
    let made = make(&running, ACCOUNT, "me").await;
    let new = Reservation { key_name: "me".into(), ..reservation(1) };
    let instance = running.launch_as(new).await.unwrap().remove(0);
    for _ in 0..2 {
        running.launcher.delete_key_pair(ACCOUNT, "", "me", asked("")).await.unwrap();
    }
    assert_eq!(running.get(instance.id).public_key, made.public_key);
    let gone = Reservation { key_name: "me".into(), ..reservation(1) };
    assert!(matches!(running.launch_as(gone).await, Err(E::NoSuchKeyPair { .. })));
}

#[tokio::test]
async fn listings_are_the_accounts_own_and_join_up() {
    let running = Running::start().await;
    for n in 0..3 {
        make(&running, ACCOUNT, &format!("key {n}")).await;
    }
    make(&running, "999999999999", "x").await;
    let all = KeyQuery::default();
    let (first, more) = running.launcher.list_key_pairs(ACCOUNT, &all, None, 2).unwrap();
    assert_eq!((first.len(), more), (2, true));
    let last = (ACCOUNT.to_owned(), first[1].name.as_str().to_owned());
    let after = vmint_store::Key::encode(&last);
    let (rest, more) = running.launcher.list_key_pairs(ACCOUNT, &all, Some(&after), 2).unwrap();
    assert_eq!((rest.len(), more), (1, false));
    assert_eq!(rest[0].name.as_str(), "key 2");
}

#[tokio::test]
async fn pairs_are_found_and_deleted_by_name_id_and_tag() {
    let running = Running::start().await;
    let launcher = &running.launcher;
    let (a, b) = (make(&running, ACCOUNT, "a").await, make(&running, ACCOUNT, "b").await);
    make(&running, "999999999999", "theirs").await;
    let put = TagChange::Put(vec![("Stage".into(), "test".into())]);
    launcher.tag(ACCOUNT, &[b.id.to_string()], put.clone(), asked("tag")).await.unwrap();
    let find = |query: KeyQuery| {
        let found = launcher.list_key_pairs(ACCOUNT, &query, None, 10);
        found.map(|(pairs, _)| {
            pairs.into_iter().map(|p| p.name.as_str().to_owned()).collect::<Vec<_>>()
        })
    };
    let filter = |name: &str, value: &str| KeyQuery {
        filters: vec![(name.into(), vec![value.into()])],
        ..KeyQuery::default()
    };
    assert_eq!(find(filter("tag:Stage", "te*")).unwrap(), ["b"]);
    assert_eq!(find(filter("tag-key", "Stage")).unwrap(), ["b"]);
    assert_eq!(find(filter("key-name", "a")).unwrap(), ["a"]);
    assert_eq!(find(filter("fingerprint", &a.ec2_fingerprint)).unwrap(), ["a"]);
    assert!(matches!(find(filter("colour", "a")), Err(E::BadFilter(_))));
    let named = |names: &[&str]| KeyQuery {
        names: names.iter().map(|&n| n.to_owned()).collect(),
        ..KeyQuery::default()
    };
    assert_eq!(find(named(&["a"])).unwrap(), ["a"]);
    let missing = find(named(&["a", "nobody", "theirs"])).unwrap_err();
    assert!(missing.to_string().contains("`nobody, theirs`"), "{missing}");
    let numbered = KeyQuery { ids: vec![b.id.to_string()], ..KeyQuery::default() };
    assert_eq!(find(numbered.clone()).unwrap(), ["b"]);

    let gone = launcher.delete_key_pair(ACCOUNT, &b.id.to_string(), "", asked("d")).await.unwrap();
    assert_eq!(gone, Some(b.id));
    let again = launcher.delete_key_pair(ACCOUNT, &b.id.to_string(), "", asked("d")).await.unwrap();
    assert_eq!(again, Some(b.id), "the first answer");
    assert!(matches!(find(numbered), Err(E::NoSuchKeyPair { .. })));
    let none = launcher.delete_key_pair(ACCOUNT, "", "b", asked("")).await.unwrap();
    assert_eq!(none, None);
    let tagged = launcher.tag(ACCOUNT, &[b.id.to_string()], put, asked("")).await;
    assert!(matches!(tagged, Err(E::NoSuchKeyPair { .. })));
}
