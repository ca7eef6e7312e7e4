//! What a signed request did, for whoever sends it again.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::OnceCell;
use vmint_ec2::Reply;

/// Signatures are accepted five minutes to either side.
const KEEP_FOR: Duration = Duration::from_mins(10);
const KEEP: usize = 20_000;

/// Two that come so soon after one another may be signed alike by chance: a
/// signature tells only seconds apart.
const SAME_SECOND: Duration = Duration::from_millis(1500);

type Digest = [u8; 32];

/// A request and those that were signed alike.
#[derive(Debug, Clone)]
pub(super) struct Turn {
    answer: Arc<OnceCell<Reply>>,
    /// Its last attempt came to nothing that is known of.
    failed: Arc<AtomicBool>,
    first: Instant,
    /// How many were signed alike and done before it.
    pub(super) before: u32,
}

/// Answers by key and signature.
#[derive(Debug, Default)]
pub(crate) struct Replays {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    turns: HashMap<Digest, Turn>,
    order: VecDeque<(Instant, Digest)>,
}

impl Replays {
    /// The turn of a request with this signature. It is the first one's again,
    /// and so is the answer, but for one that comes in the same second: it is
    /// another that says the same, unless the first has failed and this is its
    /// next attempt. Of those that are `numbered`, and so told apart by more, every
    /// one is the first's.
    pub(super) fn turn(&self, key_id: &str, signature: &[u8; 32], numbered: bool) -> Turn {
        self.turn_at(digest(key_id, signature), numbered, Instant::now())
    }

    fn turn_at(&self, digest: Digest, numbered: bool, now: Instant) -> Turn {
        let mut kept = self.kept.lock();
        while let Some((at, oldest)) = kept.order.front().copied() {
            if kept.order.len() < KEEP && now.duration_since(at) < KEEP_FOR {
                break;
            }
            kept.order.pop_front();
            kept.turns.remove(&oldest);
        }
        if let Some(turn) = kept.turns.get_mut(&digest) {
            let soon = now.duration_since(turn.first) < SAME_SECOND;
            if soon && !numbered && !turn.failed.swap(false, Ordering::Relaxed) {
                (turn.answer, turn.failed) = Default::default();
                turn.before += 1;
            }
            return turn.clone();
        }
        let (answer, failed) = Default::default();
        let turn = Turn { answer, failed, first: now, before: 0 };
        kept.turns.insert(digest, turn.clone());
        kept.order.push_back((now, digest));
        turn
    }
}

impl Turn {
    /// The answer of whoever came first on this turn: it does `work`, and others
    /// wait for it. A failure of ours is not kept.
    pub(super) async fn once(&self, work: impl Future<Output = Reply>) -> Reply {
        let answer = self.answer.get_or_try_init(|| async {
            let mut attempt = Attempt { failed: &self.failed, known: false };
            let reply = work.await;
            attempt.known = reply.status < 500;
            if attempt.known { Ok(reply) } else { Err(reply) }
        });
        match answer.await {
            Ok(reply) => reply.clone(),
            Err(failed) => failed,
        }
    }
}

/// An attempt that was given up has failed too.
struct Attempt<'a> {
    failed: &'a AtomicBool,
    known: bool,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.known {
            self.failed.store(true, Ordering::Relaxed);
        }
    }
}

fn digest(key_id: &str, signature: &[u8; 32]) -> Digest {
    blake3::keyed_hash(signature, key_id.as_bytes()).into()
}

/// What tells a request from others of its key. A signature does so only from
/// one second to the next: SDKs number their invocations beside it.
pub(super) fn told_apart(signature: &[u8; 32], invocation: Option<&str>) -> [u8; 32] {
    match invocation {
        Some(invocation) => blake3::keyed_hash(signature, invocation.as_bytes()).into(),
        None => *signature,
    }
}

/// The request id of what a signed request changes: should this process forget
/// the request, the ledgers of the services still know it. An SDK that tries
/// again signs anew, under the number of the same invocation. `before` were
/// signed alike and done before it.
pub(super) fn request_id(
    key_id: &str,
    signature: &[u8; 32],
    invocation: Option<&str>,
    before: u32,
) -> String {
    let digest = match invocation {
        Some(invocation) => {
            let context = "vmint 2026 request id of an SDK's invocation";
            digest(key_id, &blake3::derive_key(context, invocation.as_bytes()))
        }
        None if before > 0 => digest(&format!("{key_id}/{before}"), signature),
        None => digest(key_id, signature),
    };
    let hex = digest[..16].iter().fold(String::with_capacity(36), |mut text, byte| {
        let _infallible = std::fmt::Write::write_fmt(&mut text, format_args!("{byte:02x}"));
        text
    });
    format!("sig-{hex}")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn two_invocations_of_one_second_are_two_and_a_retry_of_one_is_one() {
        let (first, second) = ([1; 32], [2; 32]);
        assert_ne!(told_apart(&first, Some("a")), told_apart(&first, Some("b")));
        assert_eq!(told_apart(&first, None), first);
        let id = |signature, invocation| request_id("K", signature, invocation, 0);
        assert_eq!(id(&first, Some("a")), id(&second, Some("a")));
        assert_ne!(id(&first, Some("a")), id(&first, Some("b")));
        assert_ne!(id(&first, None), id(&second, None));
        assert_ne!(id(&first, Some("a")), request_id("L", &first, Some("a"), 0));
    }

    fn reply(status: u16) -> Reply {
        Reply::new(status, "text/plain", "x")
    }

    #[tokio::test]
    async fn the_same_signature_acts_once_and_a_failure_is_tried_again() {
        let replays = Replays::default();
        let done = AtomicUsize::new(0);
        let work = |status| {
            let done = &done;
            async move {
                done.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                reply(status)
            }
        };
        let one = [1; 32];
        let turn = |key, signature| replays.turn(key, signature, true);
        assert_eq!(turn("K", &one).once(work(503)).await.status, 503);
        let (first, second) = (turn("K", &one), turn("K", &one));
        let (first, second) = tokio::join!(first.once(work(200)), second.once(work(400)));
        assert_eq!((first.status, second.status), (200, 200));
        assert_eq!(done.load(Ordering::SeqCst), 2);
        assert_eq!(turn("L", &one).once(work(400)).await.status, 400);
        assert_eq!(turn("K", &[2; 32]).once(work(400)).await.status, 400);
        assert_ne!(request_id("K", &one, None, 0), request_id("L", &one, None, 0));
    }

    /// Put a tag, take it off, put it again, in one second and without numbers.
    #[tokio::test]
    async fn one_that_is_signed_alike_by_chance_is_done_too_and_a_late_copy_is_not() {
        let replays = Replays::default();
        let start = Instant::now();
        let at =
            |numbered, ms| replays.turn_at([7; 32], numbered, start + Duration::from_millis(ms));
        let first = at(false, 0);
        assert_eq!(first.once(async { reply(200) }).await.status, 200);
        // Numbered ones say themselves that they are another.
        assert_eq!(at(true, 500).once(async { reply(400) }).await.status, 200);
        let anew = at(false, 900);
        assert_eq!((anew.before, anew.once(async { reply(201) }).await.status), (1, 201));
        let ids = [0, 1, 2].map(|before| request_id("K", &[7; 32], None, before));
        assert!(ids[0] != ids[1] && ids[1] != ids[2]);
        // A copy that somebody sends later does nothing.
        let late = at(false, 1600);
        assert_eq!((late.before, late.once(async { reply(400) }).await.status), (1, 201));
    }

    /// Two threads of a client without numbers make one volume each.
    #[tokio::test]
    async fn two_at_the_same_time_are_two_and_what_failed_is_tried_again_as_itself() {
        let replays = Replays::default();
        let start = Instant::now();
        let at = |ms| replays.turn_at([7; 32], false, start + Duration::from_millis(ms));
        let (one, two) = (at(0), at(0));
        let (first, second) =
            tokio::join!(one.once(async { reply(200) }), two.once(async { reply(201) }));
        assert_eq!((first.status, second.status), (200, 201));
        assert_eq!((one.before, two.before), (0, 1));
        // The ledgers know this one's id: it is done once, whatever came of it.
        let three = at(10);
        assert_eq!(three.once(async { reply(503) }).await.status, 503);
        let again = at(20);
        assert_eq!((three.before, again.before), (2, 2));
        let given_up = async {
            tokio::select! {
                biased;
                reply = again.once(std::future::pending()) => Some(reply),
                () = std::future::ready(()) => None,
            }
        };
        assert!(given_up.await.is_none());
        assert_eq!((at(30).before, at(40).before), (2, 3));
    }

    #[test]
    fn what_is_kept_is_bounded_in_number_and_time() {
        let replays = Replays::default();
        let start = Instant::now();
        for n in 0..KEEP + 10 {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&n.to_be_bytes());
            replays.turn_at(digest, true, start);
        }
        assert!(replays.kept.lock().turns.len() <= KEEP);
        replays.turn_at([9; 32], true, start + KEEP_FOR);
        assert_eq!(replays.kept.lock().turns.len(), 1);
    }
}
