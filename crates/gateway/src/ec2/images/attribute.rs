use vmint_api::{
    catalog::v1::{Image, ImageState, UpdateImageRequest},
    gateway::v1::{AddProductCodeRequest, ModifyLaunchPermissionRequest},
    permissions::v1::GetLaunchPermissionRequest,
};
use vmint_ec2::{Code, Error, Operation, Params, Xml};
use vmint_ids::{AccountId, ImageKind};
use vmint_rpc::Caller;

use super::shown;
use crate::{
    ec2::{Call, Refused, entry::Answer},
    ops::Gateway,
};

pub(super) const DESCRIBE: Operation =
    Operation::new("DescribeImageAttribute", &["ImageId!", "Attribute!"]);

pub(super) async fn describe(call: Call) -> Answer {
    let Call { front, caller, mut params, .. } = call;
    let (gateway, caller) = (&front.gateway, &caller);
    let id = params.need_id::<ImageKind>("ImageId")?.to_string();
    let attribute = params.need("Attribute")?;
    let image = gateway.get_image(caller, &id).await?;
    if image.state() == ImageState::Deregistered {
        return Err(unavailable(&id).into());
    }
    let mut xml = Xml::new();
    xml.text("imageId", &id);
    let mut value = |name: &str, value: Option<&str>| {
        match value {
            Some(value) => xml.node(name, |xml| {
                xml.text("value", value);
            }),
            None => xml.empty(name),
        };
    };
    match attribute.as_str() {
        "description" => value("description", Some(&image.description)),
        "bootMode" => value("bootMode", Some(shown::boot_mode(image.boot_mode()))),
        "imdsSupport" => value("imdsSupport", image.imds_v2_required.then_some("v2.0")),
        "deregistrationProtection" => value("deregistrationProtection", Some("disabled")),
        // What no image here has.
        "kernel" | "ramdisk" | "sriovNetSupport" | "tpmSupport" | "uefiData" => {
            value(&attribute, None);
        }
        "productCodes" => {
            xml.items("productCodes", &image.product_codes, shown::product_code);
        }
        "launchPermission" => launch_permission(gateway, caller, &image, &mut xml).await?,
        "blockDeviceMapping" => {
            let text = "Unauthorized attempt to access restricted resource";
            return Err(Error::new(Code::NotAuthorized, text).into());
        }
        _ => {
            let why = "It must be description, kernel, ramdisk, launchPermission, productCodes, \
                sriovNetSupport, bootMode, tpmSupport, uefiData, imdsSupport or \
                deregistrationProtection.";
            return Err(Error::invalid("Attribute", &attribute, why).into());
        }
    }
    Ok(xml)
}

async fn launch_permission(
    gateway: &Gateway,
    caller: &Caller,
    image: &Image,
    xml: &mut Xml,
) -> Result<(), Refused> {
    let id = &image.image_id;
    own(caller, image)?;
    let request = GetLaunchPermissionRequest { image_id: id.clone() };
    let answer = gateway.peers.accounts(caller).get_launch_permission(request).await?;
    let shared = answer.into_inner();
    let everybody = shared.public.then_some(("group", "all"));
    let accounts = shared.account_ids.iter().map(|account| ("userId", account.as_str()));
    xml.items("launchPermission", everybody.into_iter().chain(accounts), |xml, (kind, who)| {
        xml.text(kind, who);
    });
    Ok(())
}

fn own(caller: &Caller, image: &Image) -> Result<(), Error> {
    if image.owner_id == caller.account {
        return Ok(());
    }
    let text = format!("Not authorized for image:{}", image.image_id);
    Err(Error::new(Code::NotAuthorized, text))
}

fn unavailable(id: &str) -> Error {
    let text = format!("The image ID '{id}' is no longer available");
    Error::new(Code::InvalidAmiIdUnavailable, text)
}

pub(super) const MODIFY: Operation = Operation::new(
    "ModifyImageAttribute",
    &[
        "ImageId!",
        "Attribute",
        "Value",
        "Description.Value",
        "ImdsSupport.Value",
        "LaunchPermission.Add.N.UserId",
        "LaunchPermission.Add.N.Group",
        "LaunchPermission.Remove.N.UserId",
        "LaunchPermission.Remove.N.Group",
        "OperationType",
        "UserId.N",
        "UserGroup.N",
        "ProductCode.N",
    ],
)
.only(&[
    ("LaunchPermission.Add.N.OrganizationArn", &[]),
    ("LaunchPermission.Add.N.OrganizationalUnitArn", &[]),
    ("LaunchPermission.Remove.N.OrganizationArn", &[]),
    ("LaunchPermission.Remove.N.OrganizationalUnitArn", &[]),
    ("OrganizationArn.N", &[]),
    ("OrganizationalUnitArn.N", &[]),
]);

/// What a request changes, whichever of the two styles it is in.
#[derive(Debug, Default)]
struct Change {
    description: Option<String>,
    imds_v2: bool,
    product_codes: Vec<String>,
    sharing: ModifyLaunchPermissionRequest,
    shares: bool,
}

pub(super) async fn modify(mut call: Call) -> Answer {
    let request_id = call.request_id()?;
    let Call { front, caller, mut params, .. } = call;
    let (gateway, caller) = (&front.gateway, &caller);
    let id = params.need_id::<ImageKind>("ImageId")?.to_string();
    let change = Change::read(&mut params, &id)?;
    // So that who may not change it learns that first, whatever is to change.
    let image = gateway.get_image(caller, &id).await?;
    own(caller, &image)?;
    if matches!(image.state(), ImageState::Deregistered | ImageState::Failed) {
        return Err(unavailable(&id).into());
    }
    if change.description.is_some() || change.imds_v2 {
        let request = UpdateImageRequest {
            image_id: id.clone(),
            description: change.description,
            require_imds_v2: change.imds_v2,
            request_id: request_id.clone(),
            ..UpdateImageRequest::default()
        };
        gateway.peers.images(caller).update_image(request).await?;
    }
    if change.shares {
        let sharing =
            ModifyLaunchPermissionRequest { request_id: request_id.clone(), ..change.sharing };
        gateway.modify_launch_permission(caller, sharing).await?;
    }
    for (at, product_code) in change.product_codes.into_iter().enumerate() {
        let request_id = format!("{request_id}/{at}");
        let request = AddProductCodeRequest { image_id: id.clone(), product_code, request_id };
        gateway.add_product_code(caller, request).await?;
    }
    Ok(Xml::done())
}

impl Change {
    fn read(params: &mut Params, id: &str) -> Result<Self, Error> {
        let mut change = Self::default();
        id.clone_into(&mut change.sharing.image_id);
        let attribute = params.text("Attribute")?.map(small);
        let value = params.raw("Value")?;
        let imds = params.inside("ImdsSupport", |inner| inner.text("Value"))?.flatten();
        change.description = params.inside("Description", |inner| inner.raw("Value"))?.flatten();
        change.product_codes = params.list("ProductCode")?;
        change.structured(params)?;
        change.flat(params, attribute.as_deref())?;
        match attribute.as_deref() {
            Some("description") => change.description = value.or(change.description),
            Some("imdsSupport") => change.require_v2(value.or(imds.clone()).as_deref())?,
            None | Some("launchPermission" | "productCodes") => {}
            Some(other) => {
                let why = "It must be description, imdsSupport, launchPermission or productCodes.";
                return Err(Error::invalid("Attribute", other, why));
            }
        }
        if attribute.as_deref() != Some("imdsSupport") {
            change.require_v2(imds.as_deref())?;
        }
        let parts = [
            change.description.is_some(),
            change.imds_v2,
            !change.product_codes.is_empty(),
            change.shares,
        ];
        match parts.into_iter().filter(|part| *part).count() {
            0 => Err(Error::missing("Attribute")),
            1 => Ok(change),
            // All or nothing: these are truths of several services.
            _ => Err(Error::combination("Fields for multiple attribute types specified")),
        }
    }

    fn require_v2(&mut self, value: Option<&str>) -> Result<(), Error> {
        match value {
            None => Ok(()),
            Some("v2.0") => {
                self.imds_v2 = true;
                Ok(())
            }
            Some(other) => Err(Error::invalid("ImdsSupport", other, "It can only become v2.0.")),
        }
    }

    /// `LaunchPermission.Add.1.UserId`.
    fn structured(&mut self, params: &mut Params) -> Result<(), Error> {
        let read = |who: &mut Params| Ok((who.text("UserId")?, who.text("Group")?));
        let lists = params.inside("LaunchPermission", |inner| {
            Ok((inner.each("Add", read)?, inner.each("Remove", read)?))
        })?;
        let Some((add, remove)) = lists else { return Ok(()) };
        for (list, adds) in [(add, true), (remove, false)] {
            for (account, group) in list {
                let group = group.into_iter().collect::<Vec<_>>();
                self.share(adds, account.into_iter().collect(), &group)?;
            }
        }
        Ok(())
    }

    /// `OperationType=add&UserId.1`; without an operation type it goes along
    /// with the structured style, as some clients send both.
    fn flat(&mut self, params: &mut Params, attribute: Option<&str>) -> Result<(), Error> {
        let accounts = params.list("UserId")?;
        let groups = params.list("UserGroup")?;
        let adds = params.choice("OperationType", &[("add", true), ("remove", false)])?;
        if accounts.is_empty() && groups.is_empty() {
            return match attribute {
                Some("launchPermission") if !self.shares => Err(Error::missing("UserId")),
                _ => Ok(()),
            };
        }
        match adds {
            Some(adds) => self.share(adds, accounts, &groups),
            None if self.shares => Ok(()),
            None => Err(Error::missing("OperationType")),
        }
    }

    fn share(&mut self, adds: bool, accounts: Vec<String>, groups: &[String]) -> Result<(), Error> {
        let wrong = |value: &str, kind: &str| {
            let text = format!("Invalid attribute item value \"{value}\" for {kind} item type.");
            Error::new(Code::InvalidAmiAttributeItemValue, text)
        };
        if let Some(bad) = accounts.iter().find(|text| text.parse::<AccountId>().is_err()) {
            return Err(wrong(bad, "userId"));
        }
        if let Some(bad) = groups.iter().find(|text| *text != "all") {
            return Err(wrong(bad, "group"));
        }
        let all = !groups.is_empty();
        self.shares |= all || !accounts.is_empty();
        if adds {
            self.sharing.add_public |= all;
            self.sharing.add_account_ids.extend(accounts);
        } else {
            self.sharing.remove_public |= all;
            self.sharing.remove_account_ids.extend(accounts);
        }
        Ok(())
    }
}

/// An attribute's name with its first letter small: some clients write it large.
fn small(name: String) -> String {
    let mut letters = name.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => name,
    }
}

pub(super) const RESET: Operation =
    Operation::new("ResetImageAttribute", &["ImageId!", "Attribute!"]);

pub(super) async fn reset(mut call: Call) -> Answer {
    let request_id = call.request_id()?;
    let Call { front, caller, mut params, .. } = call;
    let (gateway, caller) = (&front.gateway, &caller);
    let id = params.need_id::<ImageKind>("ImageId")?.to_string();
    params.choice("Attribute", &[("launchPermission", ())])?;
    let request = ModifyLaunchPermissionRequest {
        image_id: id,
        reset: true,
        request_id,
        ..ModifyLaunchPermissionRequest::default()
    };
    gateway.modify_launch_permission(caller, request).await?;
    Ok(Xml::done())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Change {
        Change::read(&mut Params::from_query(query).unwrap(), "ami-1").unwrap()
    }

    #[test]
    fn attributes_are_named_as_clients_name_them() {
        for name in ["launchPermission", "LaunchPermission"] {
            let add = format!("Attribute={name}&LaunchPermission.Add.1.UserId=200000000002");
            assert_eq!(read(&add).sharing.add_account_ids, ["200000000002"]);
        }
        for name in ["description", "Description"] {
            let change = read(&format!("Attribute={name}&Description.Value=text"));
            assert_eq!(change.description.as_deref(), Some("text"));
        }
    }
}
