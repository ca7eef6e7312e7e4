//! What a machine may know of itself, as a tree of names.

use std::{collections::BTreeMap, net::Ipv4Addr};

use serde_json::json;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{Identity, Instance, instance::mac_text};

/// The versions of the tree that guests ask for; all are the same.
pub(super) const VERSIONS: [&str; 5] =
    ["2009-04-04", "2016-09-02", "2018-09-24", "2021-03-23", "latest"];

/// What is known of a machine.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) instance: Instance,
    pub(crate) identity: Identity,
    pub(crate) user_data: Option<Vec<u8>>,
    /// Bits of the private subnet.
    pub(crate) prefix: u8,
    pub(crate) region: String,
    pub(crate) zone: String,
    /// What runs it: "kvm", "tcg" or "simulated".
    pub(crate) accelerator: String,
}

/// A name's content: a text, or further names.
#[derive(Debug)]
enum Node {
    Leaf(Vec<u8>),
    /// Names are listed with what follows them: `/`, or `=name` for a key.
    Branch(BTreeMap<String, Node>),
}

/// Everything a machine can ask for.
#[derive(Debug)]
pub(super) struct Tree {
    root: Node,
    key_name: String,
    pub(super) secret: [u8; 32],
}

impl Tree {
    pub(super) fn of(facts: &Facts) -> Self {
        let mut tree = Self {
            root: Node::Branch(BTreeMap::new()),
            key_name: facts.instance.key_name.clone(),
            secret: facts.identity.token_secret,
        };
        tree.fill(facts);
        tree
    }

    fn fill(&mut self, facts: &Facts) {
        let (i, identity) = (&facts.instance, &facts.identity);
        let host = identity.host_name();
        let full = format!("{host}.{}.internal", facts.region);
        let ip = identity.private_ip.to_string();
        let mac = mac_text(identity.mac);
        let subnet = subnet(identity.private_ip, facts.prefix);
        self.meta("instance-id", &i.id.to_string());
        self.meta("ami-id", &i.image);
        self.meta("ami-launch-index", &i.launch_index.to_string());
        self.meta("ami-manifest-path", "(unknown)");
        self.meta("hostname", &full);
        self.meta("local-hostname", &full);
        self.meta("local-ipv4", &ip);
        self.meta("mac", &mac);
        self.meta("instance-type", &i.instance_type);
        self.meta("instance-action", "none");
        self.meta("instance-life-cycle", "on-demand");
        self.meta("profile", "default-hvm");
        self.meta("reservation-id", &i.reservation);
        self.meta("security-groups", "default");
        self.meta("placement/availability-zone", &facts.zone);
        self.meta("placement/region", &facts.region);
        self.meta("services/domain", "vmint.internal");
        self.meta("services/partition", "vmint");
        if !facts.accelerator.is_empty() {
            self.meta("system", &facts.accelerator);
        }
        if !i.product_codes.is_empty() {
            self.meta("product-codes", &i.product_codes.join("\n"));
        }
        if !i.public_key.is_empty() {
            self.meta("public-keys/0/openssh-key", &i.public_key);
        }
        let card = |name: &str| format!("network/interfaces/macs/{mac}/{name}");
        self.meta(&card("device-number"), "0");
        self.meta(&card("local-hostname"), &full);
        self.meta(&card("local-ipv4s"), &ip);
        self.meta(&card("mac"), &mac);
        self.meta(&card("owner-id"), &i.account);
        self.meta(&card("subnet-ipv4-cidr-block"), &subnet);
        self.meta(&card("vpc-ipv4-cidr-block"), &subnet);
        let mut others = 0;
        for volume in &identity.volumes {
            let device = volume.device.as_str();
            if device == identity.root_device {
                self.meta("block-device-mapping/ami", device.trim_start_matches("/dev/"));
                self.meta("block-device-mapping/root", device);
            } else {
                others += 1;
                let name = format!("block-device-mapping/ebs{others}");
                self.meta(&name, device.trim_start_matches("/dev/"));
            }
        }
        if let Some(data) = &facts.user_data {
            self.put("user-data", data);
        }
        self.put("dynamic/instance-identity/document", document(facts).as_bytes());
    }

    fn meta(&mut self, path: &str, text: &str) {
        self.put(&format!("meta-data/{path}"), text.as_bytes());
    }

    fn put(&mut self, path: &str, bytes: &[u8]) {
        let mut node = &mut self.root;
        let mut parts = path.split('/').peekable();
        while let Some(part) = parts.next() {
            let Node::Branch(children) = node else { return };
            let fresh = match parts.peek() {
                Some(_) => Node::Branch(BTreeMap::new()),
                None => Node::Leaf(bytes.to_vec()),
            };
            node = children.entry(part.to_owned()).or_insert(fresh);
        }
    }

    /// What lies at a path below the versions, such as `meta-data/mac`: a text, or a
    /// list of names, one a line.
    pub(super) fn look_up(&self, path: &str) -> Option<Vec<u8>> {
        let mut node = &self.root;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            let Node::Branch(children) = node else { return None };
            node = children.get(part)?;
        }
        match node {
            Node::Leaf(bytes) if path.ends_with('/') && !bytes.is_empty() => None,
            Node::Leaf(bytes) => Some(bytes.clone()),
            Node::Branch(children) => {
                let keys = path.trim_matches('/').ends_with("public-keys");
                let line = |(name, node): (&String, &Node)| match node {
                    Node::Leaf(_) => name.clone(),
                    Node::Branch(_) if keys => format!("{name}={}", self.key_name),
                    Node::Branch(_) => format!("{name}/"),
                };
                let lines: Vec<_> = children.iter().map(line).collect();
                Some(lines.join("\n").into_bytes())
            }
        }
    }
}

fn subnet(address: Ipv4Addr, prefix: u8) -> String {
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
    format!("{}/{prefix}", Ipv4Addr::from(u32::from(address) & mask))
}

fn document(facts: &Facts) -> String {
    let (i, identity) = (&facts.instance, &facts.identity);
    let since = i128::from(i.launched_at) * 1_000_000;
    let launched = OffsetDateTime::from_unix_timestamp_nanos(since).ok();
    let launched = launched.and_then(|t| t.replace_nanosecond(0).ok()?.format(&Rfc3339).ok());
    let document = json!({
        "accountId": i.account,
        "architecture": "x86_64",
        "availabilityZone": facts.zone,
        "billingProducts": null,
        "devpayProductCodes": null,
        "imageId": i.image,
        "instanceId": i.id.to_string(),
        "instanceType": i.instance_type,
        "kernelId": null,
        "marketplaceProductCodes":
            (!i.product_codes.is_empty()).then_some(&i.product_codes),
        "pendingTime": launched,
        "privateIp": identity.private_ip.to_string(),
        "ramdiskId": null,
        "region": facts.region,
        "version": "2017-09-30",
    });
    serde_json::to_string_pretty(&document).unwrap_or_default()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::instance::tests::sample;

    pub(in crate::metadata) fn facts() -> Facts {
        let instance = sample();
        Facts {
            identity: instance.identity.clone().unwrap(),
            instance,
            user_data: Some(b"#!/bin/sh\n".to_vec()),
            prefix: 16,
            region: "local".into(),
            zone: "locala".into(),
            accelerator: "simulated".into(),
        }
    }

    fn at(path: &str) -> Option<String> {
        Tree::of(&facts()).look_up(path).map(|b| String::from_utf8(b).unwrap())
    }

    #[test]
    fn a_machine_says_what_runs_it() {
        assert_eq!(at("meta-data/system").as_deref(), Some("simulated"));
    }

    #[test]
    fn what_cloud_init_crawls_is_there() {
        let mac = "meta-data/network/interfaces/macs/02:00:00:00:00:01";
        for (path, text) in [
            ("meta-data/instance-id", "i-0123456789abcdef0"),
            ("meta-data/local-hostname", "ip-172-31-0-4.local.internal"),
            ("meta-data/placement/availability-zone", "locala"),
            ("meta-data/public-keys/", "0=me"),
            ("meta-data/public-keys", "0=me"),
            ("meta-data/public-keys/0/", "openssh-key"),
            ("meta-data/public-keys/0/openssh-key", "ssh-ed25519 AAAA me"),
            ("meta-data/network/interfaces/macs/", "02:00:00:00:00:01/"),
            (&format!("{mac}/device-number"), "0"),
            (&format!("{mac}/subnet-ipv4-cidr-block"), "172.31.0.0/16"),
            ("meta-data/block-device-mapping/", "ami\nroot"),
            ("user-data", "#!/bin/sh\n"),
            ("dynamic/", "instance-identity/"),
            ("", "dynamic/\nmeta-data/\nuser-data"),
        ] {
            assert_eq!(at(path).as_deref(), Some(text), "{path}");
        }
        assert!(at("meta-data/").unwrap().contains("\nnetwork/\n"));
        let document: serde_json::Value =
            serde_json::from_str(&at("dynamic/instance-identity/document").unwrap()).unwrap();
        assert_eq!(document["instanceId"], "i-0123456789abcdef0");
        assert_eq!(document["pendingTime"], "1970-01-01T00:00:01Z");
    }

    #[test]
    fn what_is_not_there_is_not() {
        for path in ["meta-data/x", "meta-data/mac/x", "meta-data/../user-data", "meta-data/mac/"] {
            assert_eq!(at(path), None, "{path}");
        }
        let mut plain = facts();
        plain.user_data = None;
        plain.instance.public_key = String::new();
        let tree = Tree::of(&plain);
        assert_eq!(tree.look_up("user-data"), None);
        assert_eq!(tree.look_up("meta-data/public-keys/"), None);
    }
}
