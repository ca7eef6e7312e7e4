//! Fake services: in memory, level-triggered, fenced, as the contract says.

use std::{collections::BTreeSet, pin::Pin, sync::Arc};

use futures::{Stream, StreamExt as _, stream};
use parking_lot::{Mutex, MutexGuard};
use tonic::{Request, Response, Status, Streaming, metadata::MetadataMap};
use vmint_api::{
    catalog::v1 as catalog, catalog::v1::ImageState, launcher::v1 as launcher,
    launcher::v1::InstanceState, marketplace::v1 as marketplace, permissions::v1 as permissions,
    storage::v1 as storage,
};
use vmint_api::{
    catalog::v1::catalog_internal_service_server::CatalogInternalService,
    launcher::v1::launcher_internal_service_server::LauncherInternalService,
    launcher::v1::launcher_service_server::LauncherService,
    marketplace::v1::marketplace_internal_service_server::MarketplaceInternalService,
    marketplace::v1::marketplace_service_server::MarketplaceService,
    permissions::v1::permissions_internal_service_server::PermissionsInternalService,
    permissions::v1::permissions_service_server::PermissionsService,
    storage::v1::storage_internal_service_server::StorageInternalService,
};
use vmint_rpc::{CONTEXT_HEADER, Caller, ContextVerifier, Kind};

use super::world::{World, refuse};

#[derive(Debug, Clone)]
pub(crate) struct Fake {
    pub(crate) world: Arc<Mutex<World>>,
    pub(crate) secret_of_gateway: [u8; 32],
}

impl Fake {
    /// Lets a call in as the guard would: only with a context of the gateway's
    /// for this very action.
    fn enter(
        &self,
        metadata: &MetadataMap,
        service: &'static str,
        action: &str,
    ) -> Result<(MutexGuard<'_, World>, Caller), Status> {
        let verifier = ContextVerifier::new(&self.secret_of_gateway, service).unwrap();
        let headers = metadata.clone().into_headers();
        let context = headers.get(CONTEXT_HEADER);
        let context = context.ok_or_else(|| Status::unauthenticated("no context"))?;
        let caller =
            verifier.verify(context, action).map_err(|e| Status::unauthenticated(e.to_string()))?;
        let mut world = self.world.lock();
        if world.away.contains(service) {
            return Err(Status::unavailable(format!("{service} is away")));
        }
        world.calls.push(action.to_owned());
        world.headers = headers.keys().map(ToString::to_string).collect();
        world.callers.push(caller.clone());
        Ok((world, caller))
    }
}

fn once<T>(work: impl FnOnce() -> T) -> T {
    work()
}

macro_rules! fake {
    (
        $trait:ident, $pb:ident, $service:literal, $prefix:literal;
        $($name:ident($method:literal $asked:ident) -> $answer:ident
            |$world:ident, $caller:ident, $request:ident| $body:block)*
        $(; $($rest:tt)*)?
    ) => {
        #[tonic::async_trait]
        impl $trait for Fake {
            $(async fn $name(
                &self,
                request: Request<$pb::$asked>,
            ) -> Result<Response<$pb::$answer>, Status> {
                let action = concat!($prefix, ":", $method);
                let (mut guard, $caller) = self.enter(request.metadata(), $service, action)?;
                let $world = &mut *guard;
                let $request = request.into_inner();
                let _ = &$caller;
                once(move || -> Result<$pb::$answer, Status> { $body }).map(Response::new)
            })*
            $($($rest)*)?
        }
    };
}

fake! {
    CatalogInternalService, catalog, "catalog", "catalog-internal";
    ensure_image("EnsureImage" EnsureImageRequest) -> EnsureImageResponse |world, caller, request| {
        world.fence(request.saga.as_ref(), "catalog.vmint")?;
        let mut image = request.image.unwrap();
        if let Some(known) = world.images.get(&image.image_id) {
            return Ok(catalog::EnsureImageResponse { image: Some(known.clone()) });
        }
        let taken = world.images.values().any(|other| {
            other.name == image.name
                && other.owner_id == image.owner_id
                && matches!(other.state(), ImageState::Available | ImageState::Pending)
        });
        if taken {
            return Err(refuse(Kind::AlreadyExists, "IMAGE_NAME_TAKEN", "catalog.vmint"));
        }
        image.set_state(ImageState::Pending);
        world.images.insert(image.image_id.clone(), image.clone());
        Ok(catalog::EnsureImageResponse { image: Some(image) })
    }
    ensure_image_state("EnsureImageState" EnsureImageStateRequest) -> EnsureImageStateResponse
    |world, caller, request| {
        world.fence(request.saga.as_ref(), "catalog.vmint")?;
        let not_found = || refuse(Kind::NotFound, "IMAGE_NOT_FOUND", "catalog.vmint");
        let image = world.images.get_mut(&request.image_id).ok_or_else(not_found)?;
        if image.state() == ImageState::Pending {
            image.state = request.state;
            image.progress_percent = request.progress_percent;
            image.state_reason = request.state_reason;
            image.product_codes.extend(request.product_codes);
            image.product_codes.dedup();
        }
        Ok(catalog::EnsureImageStateResponse { image: Some(image.clone()) })
    }
    release_image("ReleaseImage" ReleaseImageRequest) -> ReleaseImageResponse
    |world, caller, request| {
        world.fence(request.saga.as_ref(), "catalog.vmint")?;
        let pending = |image: &catalog::Image| image.state() == ImageState::Pending;
        if world.images.get(&request.image_id).is_some_and(pending) {
            world.images.remove(&request.image_id);
        }
        Ok(catalog::ReleaseImageResponse {})
    }
    ensure_deregistered("EnsureDeregistered" EnsureDeregisteredRequest)
        -> EnsureDeregisteredResponse
    |world, caller, request| {
        world.fence(request.saga.as_ref(), "catalog.vmint")?;
        let image = world.images.get_mut(&request.image_id).unwrap();
        assert_eq!(image.owner_id, request.account_id);
        image.set_state(ImageState::Deregistered);
        Ok(catalog::EnsureDeregisteredResponse { image: Some(image.clone()) })
    }
    ensure_product_codes("EnsureProductCodes" EnsureProductCodesRequest)
        -> EnsureProductCodesResponse
    |world, caller, request| {
        world.fence(request.saga.as_ref(), "catalog.vmint")?;
        let image = world.images.get_mut(&request.image_id).unwrap();
        image.product_codes.extend(request.product_codes);
        image.product_codes.dedup();
        Ok(catalog::EnsureProductCodesResponse { image: Some(image.clone()) })
    }
    pin_image("PinImage" PinImageRequest) -> PinImageResponse |world, caller, request| {
        let saga = world.fence(request.saga.as_ref(), "catalog.vmint")?;
        let image = world.images.get(&request.image_id).cloned().unwrap_or_default();
        if image.state() != ImageState::Available {
            return Err(refuse(Kind::Precondition, "IMAGE_NOT_AVAILABLE", "catalog.vmint"));
        }
        world.pins.insert((saga, request.image_id));
        Ok(catalog::PinImageResponse { image: Some(image) })
    }
    unpin_image("UnpinImage" UnpinImageRequest) -> UnpinImageResponse |world, caller, request| {
        let saga = world.fence(request.saga.as_ref(), "catalog.vmint")?;
        world.pins.remove(&(saga, request.image_id));
        Ok(catalog::UnpinImageResponse {})
    }
    ensure_visibility_hint("EnsureVisibilityHint" EnsureVisibilityHintRequest)
        -> EnsureVisibilityHintResponse
    |world, caller, request| {
        world.hints.insert(request.image_id, request.account_ids);
        Ok(catalog::EnsureVisibilityHintResponse {})
    }
    batch_get_images("BatchGetImages" BatchGetImagesRequest) -> BatchGetImagesResponse
    |world, caller, request| {
        let images = request.image_ids.iter().filter_map(|id| world.images.get(id).cloned());
        Ok(catalog::BatchGetImagesResponse { images: images.collect() })
    }
    query_images("QueryImages" QueryImagesRequest) -> QueryImagesResponse |world, caller, request| {
        let own = request.owners.iter().any(|owner| owner == "self");
        let named = request.filters.iter().find(|f| f.name == "name").map(|f| f.values.clone());
        let images = world.images.values().filter(|image| {
            (!own || image.owner_id == request.account_id)
                && named.as_ref().is_none_or(|names| names.contains(&image.name))
                && (request.include_ended || image.state() != ImageState::Deregistered)
        });
        let next_page_token = String::new();
        Ok(catalog::QueryImagesResponse { images: images.cloned().collect(), next_page_token })
    }
}

fake! {
    PermissionsInternalService, permissions, "permissions", "permissions-internal";
    bootstrap("Bootstrap" BootstrapRequest) -> BootstrapResponse |_world, caller, _request| {
        Err(Status::unimplemented("not here"))
    }
    authenticate("Authenticate" AuthenticateRequest) -> AuthenticateResponse
    |world, caller, request| {
        world.authenticated += 1;
        let (account, operator, read_only) = world
            .tokens
            .get(&request.token)
            .cloned()
            .ok_or_else(|| refuse(Kind::NotSignedIn, "TOKEN_INVALID", "permissions.vmint"))?;
        let session = permissions::Session {
            session_id: "ses-00000000000000001".to_owned(),
            account_id: account.clone(),
            principal: "me".to_owned(),
            read_only,
            ..permissions::Session::default()
        };
        let account =
            permissions::Account { account_id: account, operator, ..Default::default() };
        Ok(permissions::AuthenticateResponse { session: Some(session), account: Some(account) })
    }
    ensure_image_owner("EnsureImageOwner" EnsureImageOwnerRequest) -> EnsureImageOwnerResponse
    |world, caller, request| {
        world.fence(request.saga.as_ref(), "permissions.vmint")?;
        world.owners.insert(request.image_id, request.account_id);
        Ok(permissions::EnsureImageOwnerResponse { revision: 1 })
    }
    release_image_owner("ReleaseImageOwner" ReleaseImageOwnerRequest) -> ReleaseImageOwnerResponse
    |world, caller, request| {
        world.fence(request.saga.as_ref(), "permissions.vmint")?;
        world.owners.remove(&request.image_id);
        world.grants.retain(|(image, _)| *image != request.image_id);
        Ok(permissions::ReleaseImageOwnerResponse { revision: 2 })
    }
    ensure_launch_permission("EnsureLaunchPermission" EnsureLaunchPermissionRequest)
        -> EnsureLaunchPermissionResponse
    |world, caller, request| {
        world.fence(request.saga.as_ref(), "permissions.vmint")?;
        let id = &request.image_id;
        for account in request.add_account_ids {
            world.grants.insert((id.clone(), account));
        }
        for account in request.remove_account_ids {
            world.grants.remove(&(id.clone(), account));
        }
        let account_ids = world.grants.iter().filter(|(image, _)| image == id);
        let account_ids = account_ids.map(|(_, account)| account.clone()).collect();
        if request.add_public {
            world.public.insert(id.clone());
        }
        let public = world.public.contains(id);
        Ok(permissions::EnsureLaunchPermissionResponse { public, account_ids, revision: 3 })
    }
    batch_check("BatchCheck" BatchCheckRequest) -> BatchCheckResponse |world, caller, request| {
        let action = request.action();
        let results = request.image_ids.iter().map(|id| {
            let owner_id = world.owners.get(id).cloned().unwrap_or_default();
            let owner = owner_id == request.account_id;
            let public = world.public.contains(id);
            let granted = world.grants.contains(&(id.clone(), request.account_id.clone()));
            let visible = owner || public || granted;
            let allowed = if action == permissions::ImageAction::Manage { owner } else { visible };
            permissions::CheckResult { image_id: id.clone(), allowed, visible, public, owner_id }
        });
        Ok(permissions::BatchCheckResponse { results: results.collect(), revision: 1 })
    }
}

fake! {
    PermissionsService, permissions, "permissions", "permissions";
    get_caller_identity("GetCallerIdentity" GetCallerIdentityRequest)
        -> GetCallerIdentityResponse
    |_world, caller, _request| {
        let account =
            permissions::Account { account_id: caller.account, ..Default::default() };
        Ok(permissions::GetCallerIdentityResponse {
            account: Some(account),
            principal: caller.principal,
            read_only: false,
        })
    }
    create_organization("CreateOrganization" CreateOrganizationRequest)
        -> CreateOrganizationResponse
    |_world, caller, _request| { Ok(permissions::CreateOrganizationResponse::default()) }
    create_account("CreateAccount" CreateAccountRequest) -> CreateAccountResponse
    |_world, caller, _request| { Ok(permissions::CreateAccountResponse::default()) }
    list_accounts("ListAccounts" ListAccountsRequest) -> ListAccountsResponse
    |_world, caller, _request| {
        Err(refuse(Kind::BadRequest, "PAGE_TOKEN_INVALID", "permissions.vmint"))
    }
    create_session("CreateSession" CreateSessionRequest) -> CreateSessionResponse
    |_world, caller, _request| { Ok(permissions::CreateSessionResponse::default()) }
    list_sessions("ListSessions" ListSessionsRequest) -> ListSessionsResponse
    |_world, caller, _request| { Ok(permissions::ListSessionsResponse::default()) }
    revoke_session("RevokeSession" RevokeSessionRequest) -> RevokeSessionResponse
    |world, caller, request| {
        // Here a session's id is its token.
        world.tokens.remove(&request.session_id);
        Ok(permissions::RevokeSessionResponse::default())
    }
    get_launch_permission("GetLaunchPermission" GetLaunchPermissionRequest)
        -> GetLaunchPermissionResponse
    |_world, caller, _request| { Ok(permissions::GetLaunchPermissionResponse::default()) }
}

fake! {
    MarketplaceInternalService, marketplace, "marketplace", "marketplace-internal";
    hold_entitlement("HoldEntitlement" HoldEntitlementRequest) -> HoldEntitlementResponse
    |world, caller, request| {
        let saga = world.fence(request.saga.as_ref(), "marketplace.vmint")?;
        if !world.subscribed.contains(&request.buyer_id) {
            let reason = "SUBSCRIPTION_REQUIRED";
            return Err(refuse(Kind::Precondition, reason, "marketplace.vmint"));
        }
        world.holds.entry(saga).or_insert(false);
        Ok(marketplace::HoldEntitlementResponse { agreements: Vec::new() })
    }
    confirm_hold("ConfirmHold" ConfirmHoldRequest) -> ConfirmHoldResponse
    |world, caller, request| {
        let saga = world.fence(request.saga.as_ref(), "marketplace.vmint")?;
        let expired = || refuse(Kind::Precondition, "HOLD_EXPIRED", "marketplace.vmint");
        *world.holds.get_mut(&saga).ok_or_else(expired)? = true;
        Ok(marketplace::ConfirmHoldResponse {})
    }
    release_hold("ReleaseHold" ReleaseHoldRequest) -> ReleaseHoldResponse
    |world, caller, request| {
        let saga = world.fence(request.saga.as_ref(), "marketplace.vmint")?;
        world.holds.remove(&saga);
        Ok(marketplace::ReleaseHoldResponse {})
    }
    batch_get_products("BatchGetProducts" BatchGetProductsRequest) -> BatchGetProductsResponse
    |_world, caller, _request| { Ok(marketplace::BatchGetProductsResponse::default()) }
}

fn no_such_call<T>() -> Result<T, Status> {
    Err(Status::unimplemented("the fake has no such call"))
}

fake! {
    MarketplaceService, marketplace, "marketplace", "marketplace";
    create_product("CreateProduct" CreateProductRequest) -> CreateProductResponse
    |_world, caller, _request| { no_such_call() }
    get_product("GetProduct" GetProductRequest) -> GetProductResponse |world, caller, request| {
        let not_found = || refuse(Kind::NotFound, "PRODUCT_NOT_FOUND", "marketplace.vmint");
        let seller_id = world.products.get(&request.product_code).ok_or_else(not_found)?.clone();
        let product_code = request.product_code;
        let product =
            marketplace::Product { product_code, seller_id, ..marketplace::Product::default() };
        Ok(marketplace::GetProductResponse { product: Some(product) })
    }
    list_products("ListProducts" ListProductsRequest) -> ListProductsResponse
    |_world, caller, _request| { no_such_call() }
    subscribe("Subscribe" SubscribeRequest) -> SubscribeResponse
    |_world, caller, _request| { no_such_call() }
    cancel_agreement("CancelAgreement" CancelAgreementRequest) -> CancelAgreementResponse
    |_world, caller, _request| { no_such_call() }
    list_agreements("ListAgreements" ListAgreementsRequest) -> ListAgreementsResponse
    |_world, caller, _request| { no_such_call() }
    list_meters("ListMeters" ListMetersRequest) -> ListMetersResponse
    |_world, caller, _request| { no_such_call() }
    list_ledger_entries("ListLedgerEntries" ListLedgerEntriesRequest) -> ListLedgerEntriesResponse
    |_world, caller, _request| { no_such_call() }
    audit_ledger("AuditLedger" AuditLedgerRequest) -> AuditLedgerResponse
    |_world, caller, _request| { no_such_call() }
}

fake! {
    StorageInternalService, storage, "storage", "storage-internal";
    ensure_snapshot_use("EnsureSnapshotUse" EnsureSnapshotUseRequest) -> EnsureSnapshotUseResponse
    |world, caller, request| {
        world.fence(request.saga.as_ref(), "storage.vmint")?;
        let mut used = Vec::new();
        for id in &request.snapshot_ids {
            let snapshot = world.snapshots.get_mut(id);
            let snapshot = snapshot.filter(|s| s.account_id == request.account_id);
            let not_found = || refuse(Kind::NotFound, "SNAPSHOT_NOT_FOUND", "storage.vmint");
            let snapshot = snapshot.ok_or_else(not_found)?;
            if !snapshot.image_ids.contains(&request.image_id) {
                snapshot.image_ids.push(request.image_id.clone());
            }
            used.push(snapshot.clone());
        }
        Ok(storage::EnsureSnapshotUseResponse { snapshots: used })
    }
    release_snapshot_use("ReleaseSnapshotUse" ReleaseSnapshotUseRequest)
        -> ReleaseSnapshotUseResponse
    |world, caller, request| {
        world.fence(request.saga.as_ref(), "storage.vmint")?;
        let mut deleted = Vec::new();
        world.snapshots.retain(|id, snapshot| {
            let before = snapshot.image_ids.len();
            snapshot.image_ids.retain(|image| *image != request.image_id);
            let gone = snapshot.image_ids.is_empty() && snapshot.image_ids.len() < before;
            let delete = request.delete_snapshots && gone;
            if delete {
                deleted.push(id.clone());
            }
            !delete
        });
        Ok(storage::ReleaseSnapshotUseResponse { deleted_snapshot_ids: deleted })
    }
    ensure_snapshot_copy("EnsureSnapshotCopy" EnsureSnapshotCopyRequest)
        -> EnsureSnapshotCopyResponse
    |world, caller, request| {
        world.fence(request.saga.as_ref(), "storage.vmint")?;
        let mut snapshots = Vec::new();
        for copy in request.copies {
            assert!(world.snapshots.contains_key(&copy.source_snapshot_id));
            world.add_snapshot(&copy.snapshot_id, &request.account_id);
            let made = world.snapshots.get_mut(&copy.snapshot_id).unwrap();
            made.image_ids.push(request.image_id.clone());
            snapshots.push(made.clone());
        }
        Ok(storage::EnsureSnapshotCopyResponse { snapshots })
    }
    ensure_volume_snapshots("EnsureVolumeSnapshots" EnsureVolumeSnapshotsRequest)
        -> EnsureVolumeSnapshotsResponse
    |world, caller, request| {
        world.fence(request.saga.as_ref(), "storage.vmint")?;
        let mut snapshots = Vec::new();
        for wanted in request.snapshots {
            let volume = world.volumes.get(&wanted.volume_id).unwrap().clone();
            assert_eq!(volume.account_id, request.account_id);
            world.add_snapshot(&wanted.snapshot_id, &request.account_id);
            let made = world.snapshots.get_mut(&wanted.snapshot_id).unwrap();
            made.product_codes = volume.product_codes;
            made.image_ids.push(request.image_id.clone());
            snapshots.push(made.clone());
        }
        Ok(storage::EnsureVolumeSnapshotsResponse { snapshots })
    }
    release_snapshots("ReleaseSnapshots" ReleaseSnapshotsRequest) -> ReleaseSnapshotsResponse
    |world, caller, request| {
        world.fence(request.saga.as_ref(), "storage.vmint")?;
        world.snapshots.retain(|id, _| !request.snapshot_ids.contains(id));
        Ok(storage::ReleaseSnapshotsResponse {})
    }
    ensure_snapshot_product_codes("EnsureSnapshotProductCodes" EnsureSnapshotProductCodesRequest)
        -> EnsureSnapshotProductCodesResponse
    |world, caller, request| {
        world.fence(request.saga.as_ref(), "storage.vmint")?;
        for id in request.snapshot_ids {
            let snapshot = world.snapshots.get_mut(&id).unwrap();
            snapshot.product_codes.extend(request.product_codes.clone());
            snapshot.product_codes.dedup();
        }
        Ok(storage::EnsureSnapshotProductCodesResponse {})
    }
    ensure_volumes("EnsureVolumes" EnsureVolumesRequest) -> EnsureVolumesResponse
    |world, caller, request| {
        world.fence(request.saga.as_ref(), "storage.vmint")?;
        let mut volumes = Vec::new();
        for new in request.volumes {
            let volume = storage::Volume {
                volume_id: new.volume_id.clone(),
                account_id: request.account_id.clone(),
                snapshot_id: new.snapshot_id,
                instance_id: new.instance_id,
                device_name: new.device_name,
                delete_on_termination: new.delete_on_termination,
                product_codes: new.product_codes,
                size_bytes: 2 << 30,
                ..storage::Volume::default()
            };
            world.volumes.insert(new.volume_id.clone(), volume.clone());
            let export_path = format!("/run/{}.sock", new.volume_id);
            volumes.push(storage::ExportedVolume { volume: Some(volume), export_path });
        }
        Ok(storage::EnsureVolumesResponse { volumes })
    }
    release_volumes("ReleaseVolumes" ReleaseVolumesRequest) -> ReleaseVolumesResponse
    |world, caller, request| {
        world.fence(request.saga.as_ref(), "storage.vmint")?;
        let machines = &world.machines;
        assert!(!request.instance_ids.iter().any(|id| machines.contains(id)), "a disk went first");
        world.volumes.retain(|_, volume| !request.instance_ids.contains(&volume.instance_id));
        Ok(storage::ReleaseVolumesResponse { deleted_volume_ids: Vec::new() })
    }
    batch_get_snapshots("BatchGetSnapshots" BatchGetSnapshotsRequest) -> BatchGetSnapshotsResponse
    |world, caller, request| {
        let found = request.snapshot_ids.iter().filter_map(|id| world.snapshots.get(id).cloned());
        Ok(storage::BatchGetSnapshotsResponse { snapshots: found.collect() })
    }
    list_attached_volumes("ListAttachedVolumes" ListAttachedVolumesRequest)
        -> ListAttachedVolumesResponse
    |world, caller, request| {
        let after = request.page_token;
        let size = usize::try_from(request.page_size).unwrap().min(2);
        let attached = world.volumes.values().filter(|v| v.volume_id > after);
        let volumes = attached.take(size).cloned().collect::<Vec<_>>();
        let full = volumes.len() == size;
        let last = volumes.last().map(|v| v.volume_id.clone()).filter(|_| full);
        let next_page_token = last.unwrap_or_default();
        Ok(storage::ListAttachedVolumesResponse { volumes, next_page_token })
    }
}

fake! {
    LauncherInternalService, launcher, "launcher", "launcher-internal";
    ensure_reserved("EnsureReserved" EnsureReservedRequest) -> EnsureReservedResponse
    |world, caller, request| {
        world.fence(request.saga.as_ref(), "launcher.vmint")?;
        if request.key_name == "unknown" {
            return Err(refuse(Kind::NotFound, "KEY_PAIR_NOT_FOUND", "launcher.vmint"));
        }
        for (id, index) in request.instance_ids.iter().zip(0..) {
            if world.instances.contains_key(id) {
                continue;
            }
            let instance = launcher::Instance {
                instance_id: id.clone(),
                account_id: request.account_id.clone(),
                image_id: request.image_id.clone(),
                state: InstanceState::Pending.into(),
                reservation_id: request.reservation_id.clone(),
                launch_index: index,
                product_codes: request.product_codes.clone(),
                tags: request.tags.clone(),
                ..launcher::Instance::default()
            };
            world.instances.insert(id.clone(), instance);
        }
        let instances = world.instances_of(&request.instance_ids);
        Ok(launcher::EnsureReservedResponse { instances })
    }
    ensure_identity("EnsureIdentity" EnsureIdentityRequest) -> EnsureIdentityResponse
    |world, caller, request| {
        world.fence(request.saga.as_ref(), "launcher.vmint")?;
        let mut ids = Vec::new();
        for given in request.instances {
            let instance = world.instances.get_mut(&given.instance_id).unwrap();
            assert!(!given.volumes.is_empty() && !given.volumes[0].export_path.is_empty());
            instance.volumes = given.volumes;
            ids.push(given.instance_id);
        }
        Ok(launcher::EnsureIdentityResponse { instances: world.instances_of(&ids) })
    }
    ensure_machines("EnsureMachines" EnsureMachinesRequest) -> EnsureMachinesResponse
    |world, caller, request| {
        world.fence(request.saga.as_ref(), "launcher.vmint")?;
        for id in &request.instance_ids {
            let instance = world.instances.get_mut(id).unwrap();
            if instance.state() == InstanceState::Terminated {
                let reason = "INSTANCE_STATE_INVALID";
                return Err(refuse(Kind::Precondition, reason, "launcher.vmint"));
            }
            assert!(!instance.volumes.is_empty(), "a machine without disks");
            instance.set_state(InstanceState::Running);
            world.machines.insert(id.clone());
        }
        Ok(launcher::EnsureMachinesResponse { instances: world.instances_of(&request.instance_ids) })
    }
    release_instances("ReleaseInstances" ReleaseInstancesRequest) -> ReleaseInstancesResponse
    |world, caller, request| {
        world.fence(request.saga.as_ref(), "launcher.vmint")?;
        for id in request.instance_ids {
            world.machines.remove(&id);
            if let Some(instance) = world.instances.get_mut(&id) {
                instance.set_state(InstanceState::Terminated);
                instance.state_reason.clone_from(&request.reason);
            }
        }
        Ok(launcher::ReleaseInstancesResponse {})
    }
    ensure_terminated("EnsureTerminated" EnsureTerminatedRequest) -> EnsureTerminatedResponse
    |world, caller, request| {
        world.fence(request.saga.as_ref(), "launcher.vmint")?;
        for id in &request.instance_ids {
            let instance = world.instances.get_mut(id).unwrap();
            assert_eq!(instance.account_id, request.account_id);
            instance.set_state(InstanceState::Terminated);
            world.machines.remove(id);
        }
        let instances = world.instances_of(&request.instance_ids);
        Ok(launcher::EnsureTerminatedResponse { instances })
    }
    batch_get_instances("BatchGetInstances" BatchGetInstancesRequest) -> BatchGetInstancesResponse
    |world, caller, request| {
        let ids = request.instance_ids.iter().collect::<BTreeSet<_>>();
        let found = world.instances.values().filter(|i| ids.contains(&i.instance_id));
        Ok(launcher::BatchGetInstancesResponse { instances: found.cloned().collect() })
    }
    list_events("ListEvents" ListEventsRequest) -> ListEventsResponse
    |_world, caller, _request| { Ok(launcher::ListEventsResponse::default()) }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fake! {
    LauncherService, launcher, "launcher", "launcher";
    get_instance("GetInstance" GetInstanceRequest) -> GetInstanceResponse |world, caller, request| {
        let found = world.instances.get(&request.instance_id);
        let found = found.filter(|i| i.account_id == caller.account).cloned();
        let not_found = || refuse(Kind::NotFound, "INSTANCE_NOT_FOUND", "launcher.vmint");
        Ok(launcher::GetInstanceResponse { instance: Some(found.ok_or_else(not_found)?) })
    }
    list_instances("ListInstances" ListInstancesRequest) -> ListInstancesResponse
    |_world, caller, _request| { no_such_call() }
    stop_instance("StopInstance" StopInstanceRequest) -> StopInstanceResponse
    |_world, caller, _request| { no_such_call() }
    start_instance("StartInstance" StartInstanceRequest) -> StartInstanceResponse
    |_world, caller, _request| { no_such_call() }
    reboot_instance("RebootInstance" RebootInstanceRequest) -> RebootInstanceResponse
    |_world, caller, _request| { no_such_call() }
    get_console_output("GetConsoleOutput" GetConsoleOutputRequest) -> GetConsoleOutputResponse
    |_world, caller, _request| { no_such_call() }
    create_key_pair("CreateKeyPair" CreateKeyPairRequest) -> CreateKeyPairResponse
    |_world, caller, _request| { no_such_call() }
    import_key_pair("ImportKeyPair" ImportKeyPairRequest) -> ImportKeyPairResponse
    |_world, caller, _request| { no_such_call() }
    list_key_pairs("ListKeyPairs" ListKeyPairsRequest) -> ListKeyPairsResponse
    |_world, caller, _request| { no_such_call() }
    delete_key_pair("DeleteKeyPair" DeleteKeyPairRequest) -> DeleteKeyPairResponse
    |_world, caller, _request| { no_such_call() }
    list_instance_types("ListInstanceTypes" ListInstanceTypesRequest) -> ListInstanceTypesResponse
    |_world, caller, _request| { no_such_call() }
    get_host("GetHost" GetHostRequest) -> GetHostResponse
    |_world, caller, _request| { no_such_call() };

    type WatchInstanceStream = Answers<launcher::WatchInstanceResponse>;
    type StreamConsoleStream = Answers<launcher::StreamConsoleResponse>;
    type AttachConsoleStream = Answers<launcher::AttachConsoleResponse>;

    /// Never says anything.
    async fn watch_instance(
        &self,
        request: Request<launcher::WatchInstanceRequest>,
    ) -> Result<Response<Self::WatchInstanceStream>, Status> {
        drop(self.enter(request.metadata(), "launcher", "launcher:WatchInstance")?);
        Ok(Response::new(Box::pin(stream::pending())))
    }

    /// Three pieces, then a refusal in the trailers.
    async fn stream_console(
        &self,
        request: Request<launcher::StreamConsoleRequest>,
    ) -> Result<Response<Self::StreamConsoleStream>, Status> {
        drop(self.enter(request.metadata(), "launcher", "launcher:StreamConsole")?);
        let pieces = ["one", "two", "three"].map(|text| {
            Ok(launcher::StreamConsoleResponse { output: text.as_bytes().to_vec().into() })
        });
        let end = refuse(Kind::Precondition, "INSTANCE_STATE_INVALID", "launcher.vmint");
        Ok(Response::new(Box::pin(stream::iter(pieces).chain(stream::iter([Err(end)])))))
    }

    /// Says what it hears, at once.
    async fn attach_console(
        &self,
        request: Request<Streaming<launcher::AttachConsoleRequest>>,
    ) -> Result<Response<Self::AttachConsoleStream>, Status> {
        drop(self.enter(request.metadata(), "launcher", "launcher:AttachConsole")?);
        let heard = request.into_inner();
        let said = heard.map(|heard| {
            heard.map(|heard| launcher::AttachConsoleResponse { output: heard.input })
        });
        Ok(Response::new(Box::pin(said)))
    }
}
