//! What a signed request did, for whoever sends it again.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::OnceCell;
use vmint_ec2::Reply;

/// Signatures are accepted five minutes to either side.
const KEEP_FOR: Duration = Duration::from_mins(10);
const KEEP: usize = 20_000;

type Slot = Arc<OnceCell<Reply>>;
type Digest = [u8; 32];

/// Answers by key and signature.
#[derive(Debug, Default)]
pub(crate) struct Replays {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    slots: HashMap<Digest, Slot>,
    order: VecDeque<(Instant, Digest)>,
}

impl Replays {
    /// The answer of the first that came with this signature: it does
    /// `work`, and others wait for it. A failure of ours is not kept.
    pub(super) async fn once(
        &self,
        key_id: &str,
        signature: &[u8; 32],
        work: impl Future<Output = Reply>,
    ) -> Reply {
        let slot = self.slot(digest(key_id, signature), Instant::now());
        let answer = slot.get_or_try_init(|| async {
            let reply = work.await;
            if reply.status >= 500 { Err(reply) } else { Ok(reply) }
        });
        match answer.await {
            Ok(reply) => reply.clone(),
            Err(failed) => failed,
        }
    }

    fn slot(&self, digest: Digest, now: Instant) -> Slot {
        let mut kept = self.kept.lock();
        while let Some((at, oldest)) = kept.order.front().copied() {
            if kept.order.len() < KEEP && now.duration_since(at) < KEEP_FOR {
                break;
            }
            kept.order.pop_front();
            kept.slots.remove(&oldest);
        }
        if let Some(slot) = kept.slots.get(&digest) {
            return slot.clone();
        }
        let slot = Slot::default();
        kept.slots.insert(digest, slot.clone());
        kept.order.push_back((now, digest));
        slot
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
/// again signs anew, under the number of the same invocation.
pub(super) fn request_id(key_id: &str, signature: &[u8; 32], invocation: Option<&str>) -> String {
    let digest = match invocation {
        Some(invocation) => {
            let context = "vmint 2026 request id of an SDK's invocation";
            digest(key_id, &blake3::derive_key(context, invocation.as_bytes()))
        }
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
        let id = |signature, invocation| request_id("K", signature, invocation);
        assert_eq!(id(&first, Some("a")), id(&second, Some("a")));
        assert_ne!(id(&first, Some("a")), id(&first, Some("b")));
        assert_ne!(id(&first, None), id(&second, None));
        assert_ne!(id(&first, Some("a")), request_id("L", &first, Some("a")));
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
        assert_eq!(replays.once("K", &one, work(503)).await.status, 503);
        let (first, second) =
            tokio::join!(replays.once("K", &one, work(200)), replays.once("K", &one, work(400)));
        assert_eq!((first.status, second.status), (200, 200));
        assert_eq!(done.load(Ordering::SeqCst), 2);
        assert_eq!(replays.once("L", &one, work(400)).await.status, 400);
        assert_eq!(replays.once("K", &[2; 32], work(400)).await.status, 400);
        assert_ne!(request_id("K", &one, None), request_id("L", &one, None));
    }

    #[test]
    fn what_is_kept_is_bounded_in_number_and_time() {
        let replays = Replays::default();
        let start = Instant::now();
        for n in 0..KEEP + 10 {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&n.to_be_bytes());
            replays.slot(digest, start);
        }
        assert!(replays.kept.lock().slots.len() <= KEEP);
        replays.slot([9; 32], start + KEEP_FOR);
        assert_eq!(replays.kept.lock().slots.len(), 1);
    }
}
