//! From machine events to the ledger.
#![allow(clippy::pedantic, clippy::unwrap_used)]

mod harness;

use std::collections::{BTreeMap, BTreeSet};

use harness::{from, operator, saga, start};
use proptest::prelude::*;
use tonic::Status;
use vmint_api::{launcher::v1 as launcher, marketplace::v1 as pb, types::v1::Money as PbMoney};
use vmint_ids::{AccountId, InstanceId, ProductCode};
use vmint_marketplace::{
    Currency, MachineEvent, Marketplace, Money, NewHold, NewProduct, PICOS, Source, Step, What,
    billed_seconds, follow, payable, receivable,
};
use vmint_store::{Asked, Options, Store};

const NANOS: u64 = 1_000_000_000;
const FEE: u32 = 123_457;

fn account(n: u64) -> AccountId {
    format!("{n:012}").parse().unwrap()
}

fn instance(n: u64) -> InstanceId {
    format!("i-{n:017x}").parse().unwrap()
}

fn unasked() -> Asked {
    Asked {
        account: String::new(),
        method: String::new(),
        request_id: String::new(),
        digest: [0; 32],
    }
}

async fn product(market: &Marketplace, seller: AccountId, picos: i128) -> ProductCode {
    let price = Money { currency: Currency::parse("EUR").unwrap(), picos };
    let new = NewProduct {
        seller,
        title: "x".into(),
        description: String::new(),
        price,
        asked: unasked(),
    };
    market.create_product(new).await.unwrap().code
}

fn event(
    n: u64,
    buyer: u64,
    codes: &[ProductCode],
    run: u64,
    what: What,
    at_ns: u64,
) -> MachineEvent {
    MachineEvent {
        instance: instance(n),
        account: account(buyer),
        codes: codes.iter().cloned().collect(),
        run,
        what,
        at_ns,
    }
}

/// Every entry, by ledger account, and how many there are.
fn balances(market: &Marketplace) -> (BTreeMap<String, i128>, usize) {
    let entries = market.list_entries(None, None, 1000).unwrap().items;
    let mut sums = BTreeMap::new();
    for entry in &entries {
        *sums.entry(entry.account.clone()).or_default() += entry.amount.picos;
    }
    (sums, entries.len())
}

#[tokio::test]
async fn a_run_is_billed_to_the_agreement_it_was_launched_under() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Store::open(dir.path(), Options::default()).unwrap();
    let store = open();
    let market = Marketplace::open(store.clone(), FEE);
    let (seller, buyer) = (account(1), account(2));
    let code = product(&market, seller, PICOS / 10).await;
    let first = market.subscribe(buyer, code.clone(), true, unasked()).await.unwrap();
    let hold = NewHold {
        step: Step { saga: "s".into(), epoch: 1 },
        buyer,
        codes: BTreeSet::from([code.clone()]),
        instances: BTreeSet::from([instance(7)]),
        life: None,
    };
    market.hold(hold).await.unwrap();
    market.cancel(first.id, buyer).await.unwrap();
    market.subscribe(buyer, code.clone(), true, unasked()).await.unwrap();

    let codes = [code];
    let t = 1_700_000_000 * NANOS;
    market.absorb(vec![event(7, 2, &codes, 1, What::Started, t)], 1).await.unwrap();
    let open_meter = market.list_meters(buyer, None, 10).unwrap().items.remove(0);
    assert_eq!((open_meter.terms.agreement, open_meter.bill()), (Some(first.id), None));
    let stop = event(7, 2, &codes, 1, What::Stopped, t + 90 * NANOS + 1);
    market.absorb(vec![stop], 2).await.unwrap();

    let gross = PICOS / 10 * 91 / 3600;
    let fee = gross * i128::from(FEE) / 1_000_000;
    let expected = BTreeMap::from([
        (receivable(buyer), gross),
        (payable(seller), fee - gross),
        ("revenue/fees".to_owned(), -fee),
    ]);
    assert_eq!(balances(&market), (expected.clone(), 3));
    store.close().await;
    drop((store, market));
    let market = Marketplace::open(open(), 0);
    assert_eq!(balances(&market), (expected, 3));
    assert_eq!(market.cursor().unwrap(), 2);
    let audit = market.audit().await.unwrap();
    assert!(audit.balanced && audit.faults.is_empty(), "{audit:?}");
    assert_eq!((audit.transactions, audit.entries, audit.closed_meters), (1, 3, 1));
}

#[tokio::test]
async fn ones_own_and_free_products_are_metered_and_cost_nothing() {
    let market = Marketplace::open(Store::in_memory(), FEE);
    let own = product(&market, account(2), PICOS).await;
    let free = product(&market, account(1), 0).await;
    market.subscribe(account(2), free.clone(), true, unasked()).await.unwrap();
    let codes = [own, free];
    let events = vec![
        event(1, 2, &codes, 1, What::Started, 5 * NANOS),
        event(1, 2, &codes, 1, What::Stopped, 500 * NANOS),
    ];
    market.absorb(events, 2).await.unwrap();
    let meters = market.list_meters(account(2), None, 10).unwrap().items;
    assert_eq!(meters.len(), 2);
    assert!(meters.iter().all(|m| {
        let bill = m.bill().unwrap();
        (bill.seconds, bill.gross.picos) == (495, 0)
    }));
    assert_eq!(balances(&market).1, 0);
    let audit = market.audit().await.unwrap();
    assert!(audit.balanced && audit.faults.is_empty(), "{audit:?}");
}

#[tokio::test]
async fn a_run_nobody_had_the_right_to_is_named_and_not_billed() {
    let market = Marketplace::open(Store::in_memory(), FEE);
    let code = product(&market, account(1), PICOS).await;
    let unknown: ProductCode = "unknown".parse().unwrap();
    let codes = [code, unknown];
    let events = vec![
        event(1, 2, &codes, 1, What::Started, 0),
        event(1, 2, &codes, 1, What::Stopped, 100 * NANOS),
    ];
    market.absorb(events, 2).await.unwrap();
    let audit = market.audit().await.unwrap();
    assert!(audit.balanced);
    assert_eq!((audit.faults.len(), audit.entries), (1, 0));
    assert!(audit.faults[0].contains("without an agreement"));
}

#[tokio::test]
async fn an_instance_of_many_products_is_settled_in_few_writes_at_a_time() {
    let market = Marketplace::open(Store::in_memory(), FEE);
    let mut codes = Vec::new();
    for seller in 0..20 {
        let code = product(&market, account(100 + seller), PICOS).await;
        market.subscribe(account(2), code.clone(), true, unasked()).await.unwrap();
        codes.push(code);
    }
    let events = vec![
        event(1, 2, &codes, 1, What::Started, 0),
        event(1, 2, &codes, 1, What::Stopped, 3600 * NANOS),
    ];
    market.absorb(events, 2).await.unwrap();
    let audit = market.audit().await.unwrap();
    assert!(audit.balanced && audit.faults.is_empty(), "{audit:?}");
    assert_eq!((audit.transactions, market.cursor().unwrap()), (20, 2));
}

/// Gives events out as the launcher would, and fails now and then.
struct Fake {
    events: Vec<launcher::MachineEvent>,
    calls: usize,
    asked: tokio::sync::watch::Sender<u64>,
}

impl Source for Fake {
    async fn after(&mut self, cursor: u64) -> Result<Vec<launcher::MachineEvent>, Status> {
        self.calls += 1;
        self.asked.send_replace(cursor);
        if self.calls == 2 {
            return Err(Status::unavailable("away"));
        }
        // One event earlier than asked: at least once means sometimes twice.
        let from = cursor.saturating_sub(1);
        let next: Vec<_> =
            self.events.iter().filter(|e| e.sequence > from).take(3).cloned().collect();
        if next.last().is_none_or(|last| last.sequence == cursor) {
            return std::future::pending().await;
        }
        Ok(next)
    }
}

#[tokio::test]
async fn the_feed_is_followed_to_its_end_and_seen_over_grpc() {
    let mut running = start(Marketplace::open(Store::in_memory(), 0)).await;
    let offer = pb::CreateProductRequest {
        title: "x".into(),
        price_per_hour: Some(PbMoney { currency_code: "EUR".into(), units: 3600, picos: 0 }),
        ..Default::default()
    };
    let (seller, buyer) = (account(1).to_string(), account(2).to_string());
    let product = running.users.create_product(from(&seller, offer)).await.unwrap().into_inner();
    let code = product.product.unwrap().product_code;
    let subscribe = pb::SubscribeRequest {
        product_code: code.clone(),
        accept_terms: true,
        ..Default::default()
    };
    running.users.subscribe(from(&buyer, subscribe)).await.unwrap();
    let hold = pb::HoldEntitlementRequest {
        saga: saga("s", 1),
        buyer_id: buyer.clone(),
        product_codes: vec![code.clone()],
        instance_ids: vec![instance(1).to_string()],
        time_to_live: None,
    };
    running.internal.hold_entitlement(hold).await.unwrap();

    use launcher::MachineEventKind as Kind;
    let event = |sequence, kind: Kind, run, seconds| launcher::MachineEvent {
        sequence,
        instance_id: instance(1).to_string(),
        account_id: buyer.clone(),
        image_id: String::new(),
        product_codes: vec![code.clone()],
        kind: kind.into(),
        run,
        time: Some(prost_types::Timestamp { seconds, nanos: 0 }),
    };
    let unreadable = launcher::MachineEvent { time: None, ..event(5, Kind::Started, 9, 0) };
    let events = vec![
        event(1, Kind::Started, 1, 1000),
        event(2, Kind::Stopped, 1, 1001),
        event(3, Kind::Started, 2, 2000),
        event(4, Kind::Stopped, 2, 2100),
        unreadable,
        event(6, Kind::Terminated, 2, 2200),
        event(7, Kind::Started, 3, 3000),
    ];
    let (asked, mut watched) = tokio::sync::watch::channel(0);
    let mut fake = Fake { events, calls: 0, asked };
    let market = running.market.clone();
    let follower = tokio::spawn(async move { follow(&market, &mut fake).await });
    watched.wait_for(|cursor| *cursor == 7).await.unwrap();
    follower.abort();

    let meters = running.users.list_meters(from(&buyer, pb::ListMetersRequest::default())).await;
    let meters = meters.unwrap().into_inner().meters;
    let seen: Vec<_> = meters
        .iter()
        .map(|m| (m.run, m.billed_seconds, m.amount.as_ref().map(|a| a.units)))
        .collect();
    assert_eq!(seen, [(1, 60, Some(60)), (2, 100, Some(100)), (3, 0, None)]);
    assert!(meters[2].stop_time.is_none());
    let list = pb::ListLedgerEntriesRequest::default();
    for (who, count) in [(&buyer, 2), (&seller, 2), (&account(3).to_string(), 0)] {
        let own = running.users.list_ledger_entries(from(who, list.clone())).await.unwrap();
        assert_eq!(own.into_inner().entries.len(), count);
    }
    let all = running.users.list_ledger_entries(operator(&seller, list)).await.unwrap();
    let all = all.into_inner().entries;
    let units: Vec<_> = all.iter().map(|e| e.amount.as_ref().unwrap().units).collect();
    assert_eq!(units, [60, -60, 100, -100]);
    assert_eq!(all[0].cause, format!("meter/{}/1", instance(1)));
    let audit = running.users.audit_ledger(operator(&seller, pb::AuditLedgerRequest {})).await;
    let audit = audit.unwrap().into_inner();
    assert!(audit.balanced, "{audit:?}");
    assert_eq!((audit.transactions, audit.open_meters, audit.closed_meters), (2, 1, 2));
}

/// One run: of which instance, which products, when, and whether it has ended.
#[derive(Debug, Clone)]
struct Run {
    instance: u64,
    codes: Vec<bool>,
    start_ns: u64,
    lasts_ns: u64,
    ended: bool,
}

fn runs() -> impl Strategy<Value = Vec<Run>> {
    let run = (
        0..4u64,
        prop::collection::vec(any::<bool>(), 3),
        0..1_000_000 * NANOS,
        prop_oneof![0..120 * NANOS, 0..100_000 * NANOS],
        prop::bool::weighted(0.8),
    );
    let run = run.prop_map(|(instance, codes, start_ns, lasts_ns, ended)| Run {
        instance,
        codes,
        start_ns,
        lasts_ns,
        ended,
    });
    prop::collection::vec(run, 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// However the events arrive — in whatever order, repeated, in whatever
    /// batches — the ledger is what a plain sum over the runs says.
    #[test]
    fn the_order_of_events_makes_no_difference(
        runs in runs(),
        order in prop::collection::vec(any::<u32>(), 72),
        repeats in prop::collection::vec(1..3usize, 24),
        batch in 1..7usize,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let market = Marketplace::open(Store::in_memory(), FEE);
            let prices = [PICOS / 7, 1, 12_345 * PICOS];
            let mut codes = Vec::new();
            for (n, price) in prices.iter().enumerate() {
                let code = product(&market, account(1 + n as u64), *price).await;
                market.subscribe(account(9), code.clone(), true, unasked()).await.unwrap();
                codes.push(code);
            }
            let mut events = Vec::new();
            let mut model: BTreeMap<String, i128> = BTreeMap::new();
            for (n, run) in runs.iter().enumerate() {
                let chosen: Vec<_> = codes.iter().zip(&run.codes)
                    .filter(|(_, chosen)| **chosen).map(|(code, _)| code.clone()).collect();
                let number = n as u64 + 1;
                let stop_ns = run.start_ns + run.lasts_ns;
                events.push(event(run.instance, 9, &chosen, number, What::Started, run.start_ns));
                if !run.ended {
                    continue;
                }
                events.push(event(run.instance, 9, &chosen, number, What::Stopped, stop_ns));
                let seconds = i128::from(billed_seconds(run.start_ns, stop_ns));
                for (n, price) in prices.iter().enumerate().filter(|(n, _)| run.codes[*n]) {
                    let gross = price * seconds / 3600;
                    let fee = gross * i128::from(FEE) / 1_000_000;
                    *model.entry(receivable(account(9))).or_default() += gross;
                    *model.entry(payable(account(1 + n as u64))).or_default() -= gross - fee;
                    *model.entry("revenue/fees".into()).or_default() -= fee;
                }
            }
            let mut delivered: Vec<_> = events.iter().enumerate()
                .flat_map(|(n, e)| std::iter::repeat_n(e.clone(), repeats[n % repeats.len()]))
                .zip(order.iter().cycle())
                .map(|(e, key)| (*key, e))
                .collect();
            delivered.sort_by_key(|(key, _)| *key);
            for part in delivered.chunks(batch) {
                let part = part.iter().map(|(_, e)| e.clone()).collect();
                market.absorb(part, 0).await.unwrap();
            }
            // And all of it once more, in the order it happened.
            market.absorb(events, 0).await.unwrap();

            model.retain(|_, sum| *sum != 0);
            let (sums, _) = balances(&market);
            prop_assert_eq!(&sums, &model);
            prop_assert_eq!(sums.values().sum::<i128>(), 0);
            let audit = market.audit().await.unwrap();
            prop_assert!(audit.balanced && audit.faults.is_empty(), "{:?}", audit);
            Ok(())
        })?;
    }
}
