//! What the cache keeps, and for how long.

use super::*;

fn key(n: u8) -> Key {
    (0, ChunkId([n; 32]))
}

#[allow(clippy::unnecessary_wraps)] // it stands for a load, which may fail
fn chunk(n: u8) -> Result<Value> {
    Ok(Value::Data(vec![n; KIB64]))
}

fn never() -> Result<Value> {
    panic!("it was to be here");
}

const KIB64: usize = 64 << 10;
/// As much as a chunk takes.
const ONE: usize = KIB64 + 96;

/// A cache of one shard, so that all keys compete.
fn cache() -> Cache {
    Cache::new(1 << 20)
}

#[test]
fn what_is_read_ahead_stays_until_it_is_asked_for() {
    let cache = cache();
    let lease = &Arc::default();
    for n in 0..4 {
        assert!(cache.ahead((key(n), lease), ONE, &|| true, || chunk(n)).unwrap());
    }
    // Much more than there is room for.
    for n in 10..200 {
        cache.get(key(n), || chunk(n)).unwrap();
    }
    assert!(cache.bytes() <= 1 << 20);
    for n in 0..4 {
        let Value::Data(bytes) = &*cache.get(key(n), never).unwrap() else { panic!() };
        assert_eq!(bytes[0], n);
    }
    assert_eq!(*cache.ahead.lock(), 0, "nothing waits any more");
    assert_eq!(cache.loaded().0, 194);
}

#[test]
fn no_more_is_read_ahead_than_its_share() {
    let cache = cache();
    let lease = &Arc::default();
    let mut read = 0;
    while cache.ahead((key(read), lease), ONE, &|| false, || chunk(read)).unwrap() {
        read += 1;
    }
    assert_eq!(usize::from(read), (1 << 19) / ONE);
    // What is here is found without room.
    assert!(cache.ahead((key(0), lease), ONE, &|| false, never).unwrap());
    // Room for one comes with the first that is asked for.
    cache.get(key(0), never).unwrap();
    assert!(cache.ahead((key(100), lease), ONE, &|| false, || chunk(100)).unwrap());
    assert!(!cache.ahead((key(101), lease), ONE, &|| false, || chunk(101)).unwrap());
    cache.let_go(lease);
    assert_eq!(*cache.ahead.lock(), 0);
    cache.get(key(100), never).unwrap();
    for n in 101..=255 {
        cache.get(key(n), || chunk(n)).unwrap();
    }
    assert!(cache.bytes() <= 1 << 20);
    // A chunk that could never have room is left to who asks for it.
    assert!(cache.ahead((key(1), lease), 1 << 20, &|| false, || chunk(1)).unwrap());
}

#[test]
fn who_waits_for_room_gets_it_when_something_is_asked_for() {
    let cache = cache();
    let lease = &Arc::default();
    let most = u8::try_from((1 << 19) / ONE).unwrap();
    for n in 0..most {
        cache.ahead((key(n), lease), ONE, &|| false, || chunk(n)).unwrap();
    }
    let ahead = || cache.ahead((key(most), lease), ONE, &|| true, || chunk(most)).unwrap();
    std::thread::scope(|scope| {
        let waits = scope.spawn(ahead);
        cache.get(key(3), never).unwrap();
        assert!(waits.join().unwrap());
    });
    cache.get(key(most), never).unwrap();
}

#[test]
fn a_load_that_fails_leaves_no_room_taken() {
    let cache = cache();
    let broken = || Err(crate::BlocksError::Missing { chunk: ChunkId([1; 32]) });
    cache.ahead((key(1), &Arc::default()), ONE, &|| false, broken).unwrap_err();
    assert_eq!((*cache.ahead.lock(), cache.bytes()), (0, 0));
    cache.get(key(1), || chunk(1)).unwrap();
}

#[test]
fn what_was_passed_by_waits_no_longer() {
    let cache = cache();
    let lease = &Arc::default();
    let ahead = |n: u8| cache.ahead((key(n), lease), ONE, &|| false, || chunk(n)).unwrap();
    assert!((0..4).all(ahead));
    // Many more are asked for as soon as they are there, but not the first ones.
    for n in 4..66 {
        assert!(ahead(n));
        cache.get(key(n), never).unwrap();
    }
    let most = u8::try_from((1 << 19) / ONE).unwrap();
    // Two were passed by when their room is needed; the other two may be late.
    let more = (66..=255).take_while(|n| ahead(*n)).count();
    assert_eq!(more, usize::from(most) - 2);
    cache.get(key(2), never).unwrap();
    cache.get(key(3), never).unwrap();
    cache.let_go(lease);
    assert_eq!(*cache.ahead.lock(), 0);
}
