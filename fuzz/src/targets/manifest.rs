//! Manifests of instance-store bundles, as if the signature held whatever it is.

use std::sync::LazyLock;

use vmint_images::instance_bundle::{Manifest, Mapping, PART_BYTES, Part, TAG_BYTES, read, signed};

use crate::Target;

static BASE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mapping = |name: &str, device: &str| Mapping {
        virtual_name: name.to_owned(),
        device_name: device.to_owned(),
    };
    let manifest = Manifest {
        id: "bun-0123456789abcdef0".to_owned(),
        account: "100000000001".to_owned(),
        name: "web".to_owned(),
        architecture: "x86_64".to_owned(),
        mappings: vec![mapping("ami", "sda1"), mapping("root", "/dev/sda1")],
        product_codes: vec!["abc".to_owned()],
        size_bytes: 1 << 20,
        key_id: "kms-0123456789abcdef0".to_owned(),
        wrapped_key: vec![7; 60],
        parts: vec![
            Part { bytes: (PART_BYTES + TAG_BYTES) as u64, digest: [1; 32] },
            Part { bytes: 17, digest: [2; 32] },
        ],
        ..Manifest::default()
    };
    signed(&manifest, |_| [0; 64]).expect("it is as it should be")
});

pub const TARGET: Target = Target { name: "manifest", run, seeds };

fn run(data: &[u8]) {
    // Once as it is, once with the end that every manifest has.
    let end = BASE.len() - 128 - 25 - 33;
    for text in [data.to_vec(), [data, &BASE[end..]].concat()] {
        if let Ok(manifest) = read(&text, |_, _| true) {
            // What is read is what would be written, but for the signature's digits.
            let again = signed(&manifest, |_| [0; 64]).expect("it was read");
            assert_eq!(again.len(), text.len());
            let body = text.len() - 128 - 25;
            assert_eq!(again[..body], text[..body]);
        }
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let body = BASE.len() - 128 - 25 - 33;
    vec![BASE.clone(), BASE[..body].to_vec(), BASE[..body / 2].to_vec()]
}
