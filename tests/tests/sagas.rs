//! The gateway dies in the middle of what it does for somebody: asked again, it was done
//! once; and nothing is left of what was not done.
//!
//! Proves: nothing of the source alone; that its operations are all or nothing.

use std::{collections::BTreeSet, time::Duration};

use tonic::{Code, Status};
use vmint_api::{
    catalog::v1::ImageState,
    gateway::v1::{CreateImageRequest, DeregisterImageRequest, ListSagasRequest, SagaState},
    launcher::v1::InstanceState,
};
use vmint_rpc::Fault;
use vmint_tests::{Account, SOON, Stack, new_request_id, skip, until};

/// How long after the requests the gateway is killed: before it reads them, between any
/// two of its steps, and after its answers.
const AFTER_MILLIS: [u64; 10] = [0, 4, 12, 25, 45, 70, 110, 170, 260, 400];
/// What an orphan may wait for the reconciler.
const SWEPT: Duration = Duration::from_secs(100);

/// Asks until the gateway is there and has decided.
async fn decided<T>(ask: impl AsyncFn() -> Result<tonic::Response<T>, Status>) -> Option<T> {
    until("an answer", SOON, async || match ask().await {
        Ok(answer) => Some(Some(answer.into_inner())),
        Err(status) if status.code() == Code::Unavailable => None,
        Err(status) => {
            let seen = Fault::from_status(&status);
            assert_eq!(seen.reason, "OPERATION_FAILED", "an unwound saga says so: {seen:?}");
            Some(None)
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_gateway_ends_what_it_began() {
    let stack = Stack::start().await;
    let image = match stack.import_demo("maker", "demo").await {
        Ok(image) => image,
        Err(why) => return skip("a_killed_gateway_ends_what_it_began", &why),
    };
    let maker = stack.account("maker");
    let base = maker.launch(&image, "base", "").await;
    let plain = maker.import("raw", 1 << 20, &[7; 4096]).await.unwrap().snapshot_id;
    let (mut ran, mut unwound) = (0, 0);

    for (round, after) in AFTER_MILLIS.into_iter().enumerate() {
        let (machine, made, registered) =
            (format!("m{round}"), format!("made-{round}"), format!("registered-{round}"));
        let run = maker.launching(&image, &machine);
        let create = CreateImageRequest {
            instance_id: base.instance_id.clone(),
            name: made.clone(),
            request_id: new_request_id(),
            ..Default::default()
        };
        let register = maker.registering(&registered, &plain);
        let sent = {
            let (who, run, create, register) =
                (maker.clone(), run.clone(), create.clone(), register.clone());
            tokio::spawn(async move {
                let (mut a, mut b, mut c) = (who.gateway(), who.gateway(), who.gateway());
                let _ = tokio::join!(
                    a.run_instances(run),
                    b.create_image(create),
                    c.register_image(register)
                );
            })
        };
        tokio::time::sleep(Duration::from_millis(after)).await;
        let old = stack.kill9("gateway");
        sent.await.unwrap();
        stack.back("gateway", old).await;

        // The same requests again: each is done once, or was undone as a whole.
        let answer = decided(async || maker.gateway().run_instances(run.clone()).await).await;
        once(&maker, &machine, answer.map(|a| a.instances[0].instance_id.clone())).await;
        let again = decided(async || maker.gateway().create_image(create.clone()).await).await;
        let images = [(made, again.map(|a| a.image.unwrap().image_id)), {
            let answer =
                decided(async || maker.gateway().register_image(register.clone()).await).await;
            (registered, answer.map(|a| a.image.unwrap().image_id))
        }];
        for (name, id) in images {
            if let Some(id) = &id {
                maker.image_made(id).await;
            }
            let found = maker.images().await;
            let found: Vec<_> = found.iter().filter(|i| i.name == name).collect();
            assert_eq!(found.len(), usize::from(id.is_some()), "{name}: {found:?}");
            match id {
                Some(_) => ran += 1,
                None => unwound += 1,
            }
        }
    }
    println!("of {} images {ran} were made and {unwound} unwound", ran + unwound);

    at_rest(&stack, &maker).await;
    let machines: BTreeSet<_> = stack.machines().into_iter().map(|(id, ..)| id).collect();
    assert_eq!(machines, BTreeSet::from([base.instance_id.clone()]));

    // And what was made can be ended, to the last byte's owner.
    maker.terminate(std::slice::from_ref(&base.instance_id)).await;
    for image in maker.images().await {
        let request = DeregisterImageRequest {
            image_id: image.image_id,
            delete_snapshots: true,
            request_id: new_request_id(),
            dry_run: false,
        };
        maker.gateway().deregister_image(request).await.unwrap();
    }
    until("nothing is left", SWEPT, async || {
        let left = maker.snapshots().await;
        (left.is_empty() && maker.volumes().await.is_empty()).then_some(())
    })
    .await;
    assert!(stack.machines().is_empty());
}

/// The machine runs exactly once, or there is none; then it is ended.
async fn once(maker: &Account, name: &str, instance: Option<String>) {
    if let Some(id) = &instance {
        maker.reaches(id, InstanceState::Running).await;
    }
    let living = maker.living().await;
    let ids: Vec<_> = living.iter().filter(|i| i.name == name).map(|i| &i.instance_id).collect();
    assert_eq!(ids, instance.iter().collect::<Vec<_>>(), "{name}");
    maker.terminate(&instance.into_iter().collect::<Vec<_>>()).await;
}

/// No saga is under way, and nothing is there that nobody knows of.
async fn at_rest(stack: &Stack, maker: &Account) {
    until("every saga's end", SWEPT, async || {
        let sagas = maker.gateway().list_sagas(ListSagasRequest {}).await.unwrap().into_inner();
        let over = |state| matches!(state, SagaState::Done | SagaState::Undone);
        sagas.sagas.iter().all(|saga| over(saga.state())).then_some(())
    })
    .await;
    until("no orphans", SWEPT, async || {
        let living: BTreeSet<_> = maker.living().await.into_iter().map(|i| i.instance_id).collect();
        let machines: BTreeSet<_> = stack.machines().into_iter().map(|(id, ..)| id).collect();
        let images = maker.images().await;
        let pending = images.iter().any(|i| i.state() != ImageState::Available);
        let lost = |volume: &vmint_api::storage::v1::Volume| !living.contains(&volume.instance_id);
        let volumes = maker.volumes().await.iter().any(lost);
        let snapshots = maker.snapshots().await.iter().any(|s| s.image_ids.is_empty());
        (living == machines && !pending && !volumes && !snapshots).then_some(())
    })
    .await;
}
