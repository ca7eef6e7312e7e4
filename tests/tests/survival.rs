//! Machines go on whatever dies beside them, and what dies comes back.
//!
//! Proves: nothing of the source alone; that what runs goes on, which all of it needs.

use std::time::{Duration, Instant};

use vmint_api::{
    gateway::v1::AddProductCodeRequest,
    launcher::v1::{GetInstanceRequest, InstanceState},
    marketplace::v1::{CreateProductRequest, SubscribeRequest},
    types::v1::Money,
};
use vmint_tests::{Account, SERVICES, SOON, Stack, alive, kill9, new_request_id, skip, until};

/// Counts on the disk, each number safely written before the next.
const COUNT: &str = "echo '#!/bin/sh
i=0
while :; do i=$((i+1)); echo $i > /root/count.new && sync && mv /root/count.new /root/count \
|| echo failed >> /run/failures; usleep 100000; done' > /root/counter; chmod +x /root/counter; \
    (setsid /root/counter </dev/null >/dev/null 2>&1 &); cat /proc/sys/kernel/random/boot_id";
const BOOT_ID: &str = "cat /proc/sys/kernel/random/boot_id";

/// What the counter has reached, and that no write has failed.
async fn count(stack: &Stack) -> u64 {
    until("the counter", SOON, async || {
        let read = "cat /root/count; test ! -s /run/failures && echo well";
        let said = stack.ssh("maker", "m", read).await;
        assert!(said.ends_with("well"), "writes failed: {said}");
        said.lines().next()?.parse().ok()
    })
    .await
}

/// The machine still runs as the same process, has not rebooted, and writes on.
async fn goes_on(stack: &Stack, boot: &str, qemu: u32, after: &str) {
    assert!(alive(qemu), "QEMU is gone after {after}");
    let now = stack.account("maker").living().await;
    assert_eq!(now[0].state(), InstanceState::Running, "after {after}: {now:?}");
    assert_eq!(stack.qemu(&now[0]), Some(qemu), "another QEMU after {after}");
    assert_eq!(stack.ssh("maker", "m", BOOT_ID).await, boot, "rebooted after {after}");
    let from = count(stack).await;
    until(&format!("writes after {after}"), SOON, async || {
        (count(stack).await > from).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_service_takes_a_machine_with_it() {
    let mut stack = Stack::start().await;
    let image = match stack.import_demo("maker", "demo").await {
        Ok(image) => image,
        Err(why) => return skip("no_service_takes_a_machine_with_it", &why),
    };
    let maker = stack.account("maker");
    stack.cli("maker", &["key", "create", "k"]).await.ok();
    let machine = maker.launch(&image, "m", "k").await;
    maker.booted(&machine.instance_id).await;
    let qemu = stack.qemu(&machine).expect("a running machine has a QEMU");
    let boot = stack.ssh("maker", "m", COUNT).await;

    for service in SERVICES {
        let killed = Instant::now();
        let old = stack.kill9(service);
        stack.back(service, old).await;
        if service == "launcher" {
            let seen = get(&maker, &machine.instance_id).await;
            assert_eq!(seen, InstanceState::Running);
            println!("adopted {:?} after the launcher was killed", killed.elapsed());
            assert!(killed.elapsed() < Duration::from_secs(30));
        }
        goes_on(&stack, &boot, qemu, service).await;
        usable(&stack, &maker, service).await;
    }

    // The supervisor itself, as a service manager restarts it: the machine is found again.
    stack.down().await;
    assert!(alive(qemu), "the machine ended with its services");
    let started = Instant::now();
    stack.up().await;
    println!("adopted {:?} after everything was started again", started.elapsed());
    goes_on(&stack, &boot, qemu, "a restart of everything").await;
    for service in SERVICES {
        usable(&stack, &maker, service).await;
    }
    maker.terminate(std::slice::from_ref(&machine.instance_id)).await;
    until("the machine's end", SOON, async || (!alive(qemu)).then_some(())).await;
}

async fn get(account: &Account, instance: &str) -> InstanceState {
    let request = GetInstanceRequest { instance_id: instance.to_owned() };
    let answer = account.launcher().get_instance(request).await.unwrap();
    answer.into_inner().instance.unwrap().state()
}

/// Each service does something that it must write down.
async fn usable(stack: &Stack, maker: &Account, service: &str) {
    let name = format!("{service}-{}", &new_request_id()[..6]);
    match service {
        "marketplace" => {
            product(maker).await;
        }
        "storage" => {
            let snapshot = maker.import("raw", 1 << 20, &[7; 4096]).await.unwrap();
            assert_eq!(snapshot.size_bytes, 1 << 20);
        }
        "launcher" => {
            stack.cli("maker", &["key", "create", &name]).await.ok();
        }
        "permissions" => {
            stack.cli("maker", &["account", "token"]).await.ok();
        }
        _ => {
            let snapshot = maker.import("raw", 1 << 20, &[7; 4096]).await.unwrap();
            maker.register(&name, &snapshot.snapshot_id).await.unwrap();
        }
    }
}

/// A product at an euro an hour.
async fn product(maker: &Account) -> String {
    let request = CreateProductRequest {
        title: "appliance".into(),
        price_per_hour: Some(Money { currency_code: "EUR".into(), units: 1, picos: 0 }),
        request_id: new_request_id(),
        ..Default::default()
    };
    let answer = maker.marketplace().create_product(request).await.unwrap();
    answer.into_inner().product.unwrap().product_code
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_dies_is_stopped_and_billed() {
    let stack = Stack::start().await;
    let image = match stack.import_demo("maker", "demo").await {
        Ok(image) => image,
        Err(why) => return skip("a_machine_that_dies_is_stopped_and_billed", &why),
    };
    let (maker, friend) = (stack.account("maker"), stack.account("friend"));
    let product_code = product(&maker).await;
    let request = AddProductCodeRequest {
        image_id: image.clone(),
        product_code: product_code.clone(),
        request_id: new_request_id(),
    };
    maker.gateway().add_product_code(request).await.unwrap();
    let request =
        SubscribeRequest { product_code, accept_terms: true, request_id: new_request_id() };
    friend.marketplace().subscribe(request).await.unwrap();
    stack.cli("maker", &["share", &image, &friend.id]).await.ok();
    stack.cli("friend", &["key", "create", "k"]).await.ok();
    let machine = friend.launch(&image, "m", "k").await;
    friend.booted(&machine.instance_id).await;
    stack.ssh("friend", "m", "echo kept > /root/kept; sync").await;

    kill9(stack.qemu(&machine).expect("a running machine has a QEMU"));
    let stopped = friend.reaches(&machine.instance_id, InstanceState::Stopped).await;
    println!("its reason: {}", stopped.state_reason);
    assert!(stopped.state_reason.contains("signal 9"), "{}", stopped.state_reason);
    let bill = friend.bill(&machine.instance_id).await;
    assert!(bill.billed_seconds >= 60, "{bill:?}");

    // As after a power cut: it starts again from its disk.
    stack.cli("friend", &["start", "m"]).await.ok();
    friend.reaches(&machine.instance_id, InstanceState::Running).await;
    assert_eq!(stack.ssh("friend", "m", "cat /root/kept").await, "kept");
    friend.terminate(std::slice::from_ref(&machine.instance_id)).await;
}
