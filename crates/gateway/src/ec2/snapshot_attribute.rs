//! Snapshots: who may make volumes of them.

use vmint_api::{
    gateway::v1::{
        GetSnapshotPermissionRequest, ModifySnapshotPermissionRequest,
        ResetSnapshotPermissionRequest,
    },
    storage::v1::GetSnapshotRequest,
};
use vmint_ec2::{Code, Error, Operation, Params, Xml};
use vmint_ids::{AccountId, SnapshotKind};

use super::{Call, Entry, Refused, entries, entry::Answer, service::Service};

pub(super) const ENTRIES: &[Entry] = entries! {
    Service::Ec2;
    writes MODIFY_ATTRIBUTE => modify_snapshot_attribute,
    reads DESCRIBE_ATTRIBUTE => describe_snapshot_attribute,
    writes RESET_ATTRIBUTE => reset_snapshot_attribute,
};

const MODIFY_ATTRIBUTE: Operation = Operation::new(
    "ModifySnapshotAttribute",
    &[
        "SnapshotId!",
        "Attribute",
        "OperationType",
        "UserId.N",
        "UserGroup.N",
        "CreateVolumePermission.Add.N.UserId",
        "CreateVolumePermission.Add.N.Group",
        "CreateVolumePermission.Remove.N.UserId",
        "CreateVolumePermission.Remove.N.Group",
    ],
);
const DESCRIBE_ATTRIBUTE: Operation =
    Operation::new("DescribeSnapshotAttribute", &["SnapshotId!", "Attribute!"]);
const RESET_ATTRIBUTE: Operation =
    Operation::new("ResetSnapshotAttribute", &["SnapshotId!", "Attribute!"]);

async fn modify_snapshot_attribute(mut call: Call) -> Answer {
    let request_id = call.request_id()?;
    let snapshot_id = call.params.need_id::<SnapshotKind>("SnapshotId")?.to_string();
    if let Some(attribute) = call.params.text("Attribute")? {
        permission_only(&attribute)?;
    }
    let mut change =
        ModifySnapshotPermissionRequest { snapshot_id, request_id, ..Default::default() };
    read_change(&mut call.params, &mut change)?;
    call.front.gateway.modify_snapshot_permission(&call.caller, change).await?;
    Ok(Xml::done())
}

/// Both styles: `CreateVolumePermission.Add.1.UserId`, and `OperationType=add`
/// with `UserId.1`; some clients send both.
fn read_change(
    params: &mut Params,
    change: &mut ModifySnapshotPermissionRequest,
) -> Result<(), Error> {
    let read = |who: &mut Params| Ok((who.text("UserId")?, who.text("Group")?));
    let lists = params.inside("CreateVolumePermission", |inner| {
        Ok((inner.each("Add", read)?, inner.each("Remove", read)?))
    })?;
    let structured = lists.is_some();
    let (add, remove) = lists.unwrap_or_default();
    for (list, adds) in [(add, true), (remove, false)] {
        for (account, group) in list {
            share(change, adds, account.as_deref(), group.as_deref())?;
        }
    }
    let (accounts, groups) = (params.list("UserId")?, params.list("UserGroup")?);
    let adds = match params.text("OperationType")?.as_deref() {
        Some("add") => true,
        Some("remove") => false,
        None if structured || (accounts.is_empty() && groups.is_empty()) => return Ok(()),
        None => return Err(Error::missing("OperationType")),
        Some(wrong) => {
            return Err(Error::invalid("OperationType", wrong, "It must be add or remove."));
        }
    };
    for account in &accounts {
        share(change, adds, Some(account), None)?;
    }
    for group in &groups {
        share(change, adds, None, Some(group))?;
    }
    Ok(())
}

fn share(
    change: &mut ModifySnapshotPermissionRequest,
    adds: bool,
    account: Option<&str>,
    group: Option<&str>,
) -> Result<(), Error> {
    if let Some(group) = group {
        if group != "all" {
            return Err(Error::invalid("UserGroup", group, "It must be all."));
        }
        let public = if adds { &mut change.add_public } else { &mut change.remove_public };
        *public = true;
    }
    if let Some(account) = account {
        if account.parse::<AccountId>().is_err() {
            let text = format!("Invalid user id: \"{account}\"");
            return Err(Error::new(Code::InvalidUserIdMalformed, text));
        }
        let list = if adds { &mut change.add_account_ids } else { &mut change.remove_account_ids };
        if !list.iter().any(|known| known == account) {
            list.push(account.to_owned());
        }
    }
    Ok(())
}

async fn describe_snapshot_attribute(mut call: Call) -> Answer {
    let snapshot_id = call.params.need_id::<SnapshotKind>("SnapshotId")?.to_string();
    let attribute = call.params.need("Attribute")?;
    let mut xml = Xml::new();
    xml.text("snapshotId", &snapshot_id);
    if attribute == "productCodes" {
        let request = GetSnapshotRequest { snapshot_id };
        let mut storage = call.front.gateway.peers.disks(&call.caller);
        let found = storage.get_snapshot(request).await?.into_inner().snapshot.unwrap_or_default();
        xml.items("productCodes", &found.product_codes, |xml, code| {
            xml.text("productCode", code).text("type", "marketplace");
        });
        return Ok(xml);
    }
    permission_only(&attribute)?;
    let request = GetSnapshotPermissionRequest { snapshot_id };
    let shared = call.front.gateway.get_snapshot_permission(&call.caller, request).await?;
    let everybody = shared.public.then_some(("group", "all"));
    let accounts = shared.account_ids.iter().map(|account| ("userId", account.as_str()));
    xml.items("createVolumePermission", everybody.into_iter().chain(accounts), |xml, it| {
        xml.text(it.0, it.1);
    });
    Ok(xml)
}

async fn reset_snapshot_attribute(mut call: Call) -> Answer {
    let request_id = call.request_id()?;
    let snapshot_id = call.params.need_id::<SnapshotKind>("SnapshotId")?.to_string();
    permission_only(&call.params.need("Attribute")?)?;
    let request = ResetSnapshotPermissionRequest { snapshot_id, request_id };
    call.front.gateway.reset_snapshot_permission(&call.caller, request).await?;
    Ok(Xml::done())
}

fn permission_only(attribute: &str) -> Result<(), Refused> {
    if attribute == "createVolumePermission" {
        return Ok(());
    }
    Err(Error::invalid("Attribute", attribute, "It must be createVolumePermission.").into())
}
