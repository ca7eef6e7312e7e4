//! Bundles: an honest one, and each rule of theirs broken while all digests are right.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use vmint_images::bundle::{ARTIFACT, CHUNKS, CONFIG, MANIFEST, MAP, Record};

use super::tar::Tar;
use super::{Case, FILL};

const BLOCK: usize = 4096;
const MIB: u64 = 1 << 20;

/// What a bundle is made of, before its digests are.
pub(crate) struct Parts {
    mark: Value,
    config: Value,
    /// Taken instead of the config, if it is there.
    text: Option<Vec<u8>>,
    records: Vec<Record>,
    /// Added to the map as it is.
    tail: Vec<u8>,
    chunks: Vec<Vec<u8>>,
    /// Changes the manifest, and then the index.
    manifest: fn(&mut Value),
    index: fn(&mut Value),
}

type Change<T> = fn(&mut T);

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    let digest = format!("sha256:{}", digest(bytes));
    json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
}

/// One disk of a MiB; two blocks compressed, then one as it is.
pub(crate) fn honest() -> Parts {
    let packed = zstd::bulk::compress(&[FILL; 2 * BLOCK], 1).unwrap();
    let stored = packed.len() as u32;
    let first = Record { first: 3, blocks: 2, zstd: true, offset: 0, stored };
    let second =
        Record { first: 9, blocks: 1, zstd: false, offset: stored.into(), stored: BLOCK as u32 };
    Parts {
        mark: json!({"imageLayoutVersion": "1.0.0"}),
        config: json!({"version": 1, "disks": [{"sizeBytes": MIB, "root": "ab".repeat(32)}]}),
        text: None,
        records: vec![first, second],
        tail: Vec::new(),
        chunks: vec![[packed, vec![FILL; BLOCK]].concat()],
        manifest: |_| {},
        index: |_| {},
    }
}

impl Parts {
    /// The blobs by digest, and the index.
    fn blobs(&self) -> (Vec<(String, Vec<u8>)>, Vec<u8>) {
        let map: Vec<u8> = self.records.iter().flat_map(Record::encode).collect();
        let map = [map, self.tail.clone()].concat();
        let mut layers = vec![descriptor(MAP, &map)];
        layers.extend(self.chunks.iter().map(|chunks| descriptor(CHUNKS, chunks)));
        let config = self.text.clone().unwrap_or_else(|| self.config.to_string().into());
        let mut manifest = json!({
            "schemaVersion": 2,
            "artifactType": ARTIFACT,
            "config": descriptor(CONFIG, &config),
            "layers": layers,
        });
        (self.manifest)(&mut manifest);
        let manifest = manifest.to_string().into_bytes();
        let mut index = json!({"manifests": [descriptor(MANIFEST, &manifest)]});
        (self.index)(&mut index);
        let mut blobs = vec![map, config, manifest];
        blobs.extend(self.chunks.clone());
        let mut named: Vec<_> = blobs.into_iter().map(|blob| (digest(&blob), blob)).collect();
        named.sort();
        named.dedup();
        (named, index.to_string().into())
    }

    fn begun(&self) -> Tar {
        Tar::default().file("oci-layout", self.mark.to_string().as_bytes())
    }

    fn tar(&self) -> Tar {
        let (blobs, index) = self.blobs();
        let tar = blobs.iter().fold(self.begun(), |tar, (digest, blob)| {
            tar.file(&format!("blobs/sha256/{digest}"), blob)
        });
        tar.file("index.json", &index)
    }

    fn done(&self) -> Vec<u8> {
        self.tar().done()
    }
}

fn with(change: impl FnOnce(&mut Parts)) -> Vec<u8> {
    let mut parts = honest();
    change(&mut parts);
    parts.done()
}

fn image(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    with(|parts| {
        parts.config["image"] = json!({
            "name": "web", "architecture": "x86_64", "bootMode": "uefi",
            "rootDeviceName": "/dev/sda1",
            "mappings": [{"deviceName": "/dev/sda1", "disk": 0}, {"deviceName": "/dev/sdb"}],
        });
        change(&mut parts.config["image"]);
    })
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let mut add = |name: &str, bytes: Vec<u8>, verdict: &'static str| {
        cases.push((format!("bundle: {name}"), bytes, verdict));
    };
    add("honest", honest().done(), "ok");
    add("an image around it", image(|_| {}), "ok");
    // Another tool's order, with folders.
    let (blobs, index) = honest().blobs();
    let other = blobs.iter().rev().fold(
        Tar::default().entry("blobs/", b'5', 0, &[]).entry("blobs/sha256/", b'5', 0, &[]),
        |tar, (digest, blob)| tar.file(&format!("blobs/sha256/{digest}"), blob),
    );
    let other = other.file("index.json", &index);
    add("no mark", honest_without_mark(&blobs, &index), "malformed");
    let mark = json!({"imageLayoutVersion": "1.0.0"}).to_string();
    add("another order", other.file("oci-layout", mark.as_bytes()).done(), "ok");

    for name in ["../x", "/etc/passwd", "blobs/../../x", "blobs//x", "a\\b", "./.", "blobs/x\ny"] {
        add(&format!("path {name:?}"), honest().tar().file(name, b"x").done(), "malformed");
    }
    for kind in [b'1', b'2', b'3', b'4', b'6', b'S'] {
        let tar = honest().tar().entry("blobs/link", kind, 0, &[]);
        add(&format!("a member of type {kind}"), tar.done(), "malformed");
    }
    add(
        "a folder with bytes",
        honest().tar().entry("d/", b'5', 512, &[1; 512]).done(),
        "malformed",
    );
    add("a member twice", honest().tar().file("index.json", &index).done(), "malformed");
    for (n, (name, _)) in blobs.iter().enumerate() {
        let left = blobs.iter().filter(|(other, _)| other != name);
        let tar = left.fold(honest().begun(), |tar, (digest, blob)| {
            tar.file(&format!("blobs/sha256/{digest}"), blob)
        });
        add(&format!("blob {n} missing"), tar.file("index.json", &index).done(), "malformed");
        let tar = blobs.iter().fold(honest().begun(), |tar, (digest, blob)| {
            let mut blob = blob.clone();
            if digest == name {
                *blob.last_mut().unwrap() ^= 1;
            }
            tar.file(&format!("blobs/sha256/{digest}"), &blob)
        });
        add(&format!("blob {n} altered"), tar.file("index.json", &index).done(), "malformed");
    }
    add("no index", honest().begun().done(), "malformed");
    let cut = honest().done();
    add("cut short", cut[..cut.len() - 1024 - 600].to_vec(), "malformed");
    add("another layout", with(|p| p.mark = json!({"imageLayoutVersion": "2.0.0"})), "malformed");
    add("no image", with(|p| p.index = |i| i["manifests"] = json!([])), "malformed");
    add(
        "two images",
        with(|p| p.index = |i| i["manifests"] = json!([i["manifests"][0], i["manifests"][0]])),
        "malformed",
    );
    add(
        "a container's image beside it",
        with(|p| {
            p.index = |i| {
                let mut other = i["manifests"][0].clone();
                other["artifactType"] = json!("application/vnd.example");
                i["manifests"] = json!([other, i["manifests"][0]]);
            };
        }),
        "ok",
    );
    add("a lying size", with(|p| p.index = |i| i["manifests"][0]["size"] = json!(7)), "malformed");
    add(
        "a negative size",
        with(|p| p.index = |i| i["manifests"][0]["size"] = json!(-1)),
        "malformed",
    );
    for digest in ["", "sha256:", "md5:00", "sha256:../../../etc/passwd", "sha512:00"] {
        let index = json!({"manifests": [{"mediaType": MANIFEST, "digest": digest, "size": 1}]});
        let (blobs, _) = honest().blobs();
        let tar = blobs.iter().fold(honest().begun(), |tar, (digest, blob)| {
            tar.file(&format!("blobs/sha256/{digest}"), blob)
        });
        let tar = tar.file("index.json", index.to_string().as_bytes());
        add(&format!("digest {digest:?}"), tar.done(), "malformed");
    }
    let manifests: [(&str, Change<Value>); 10] = [
        ("a container's manifest", |m| m["artifactType"] = json!("")),
        ("another schema", |m| m["schemaVersion"] = json!(1)),
        ("another config", |m| m["config"]["mediaType"] = json!("application/json")),
        ("a lying layer size", |m| m["layers"][1]["size"] = json!(1)),
        ("no layers", |m| m["layers"] = json!([])),
        ("chunks first", |m| m["layers"] = json!([m["layers"][1], m["layers"][0]])),
        ("two maps", |m| m["layers"] = json!([m["layers"][0], m["layers"][0], m["layers"][1]])),
        ("no chunks", |m| m["layers"] = json!([m["layers"][0]])),
        ("chunks twice", |m| {
            m["layers"] = json!([m["layers"][0], m["layers"][1], m["layers"][1]]);
        }),
        ("too many layers", |m| {
            let layer = m["layers"][1].clone();
            m["layers"].as_array_mut().unwrap().extend(vec![layer; 2048]);
        }),
    ];
    for (name, change) in manifests {
        add(name, with(|parts| parts.manifest = change), "malformed");
    }
    for (name, text) in [
        ("no JSON", b"{".to_vec()),
        ("deep JSON", vec![b'['; 100_000]),
        ("a huge config", vec![b' '; 5 << 20]),
        ("not UTF-8", vec![0xff; 64]),
    ] {
        add(name, with(|parts| parts.text = Some(text)), "malformed");
    }
    let disk = json!({"sizeBytes": MIB, "root": "ab".repeat(32)});
    for (name, config) in [
        ("another version", json!({"version": 2, "disks": [disk]})),
        ("no disk", json!({"version": 1, "disks": []})),
        ("65 disks", json!({"version": 1, "disks": vec![disk.clone(); 65]})),
        ("a disk more than maps", json!({"version": 1, "disks": [disk, disk]})),
        ("size 0", json!({"version": 1, "disks": [{"sizeBytes": 0, "root": "ab".repeat(32)}]})),
        ("size 513", json!({"version": 1, "disks": [{"sizeBytes": 513, "root": "ab".repeat(32)}]})),
        ("a short root", json!({"version": 1, "disks": [{"sizeBytes": MIB, "root": "ab"}]})),
        (
            "a small disk",
            json!({"version": 1, "disks": [{"sizeBytes": 4096, "root": "ab".repeat(32)}]}),
        ),
    ] {
        add(name, with(|parts| parts.config = config), "malformed");
    }
    let huge =
        json!({"version": 1, "disks": [{"sizeBytes": 2_u64 << 40, "root": "ab".repeat(32)}]});
    add("a huge disk", with(|parts| parts.config = huge), "too-large");
    let images: [(&str, Change<Value>); 6] = [
        ("a disk twice", |i| i["mappings"][1]["disk"] = json!(0)),
        ("a disk that is not", |i| i["mappings"][1]["disk"] = json!(7)),
        ("a device twice", |i| i["mappings"][1]["deviceName"] = json!("/dev/sda1")),
        ("no root", |i| i["rootDeviceName"] = json!("/dev/sdz")),
        ("a root without a disk", |i| i["rootDeviceName"] = json!("/dev/sdb")),
        ("a long text", |i| i["description"] = json!("x".repeat(5000))),
    ];
    for (name, change) in images {
        add(name, image(change), "malformed");
    }
    let maps: [(&str, Change<Parts>); 14] = [
        ("half a record", |p| p.tail = vec![0; 12]),
        ("a record of zeros", |p| p.tail = vec![0; 24]),
        ("overlapping chunks", |p| p.records[1].first = 4),
        ("descending chunks", |p| p.records[1].first = 0),
        ("a chunk beyond the disk", |p| p.records[1].first = 256),
        ("a chunk beyond all disks", |p| p.records[1].first = u64::MAX),
        ("a chunk over a region's end", |p| (p.records[0].first, p.records[0].blocks) = (4095, 2)),
        ("no blocks", |p| p.records[1].blocks = 0),
        ("65 blocks", |p| p.records[0].blocks = 65),
        ("a gap between chunks", |p| p.records[1].offset += 1),
        ("chunks on each other", |p| p.records[1].offset = 0),
        ("more than is there", |p| p.records.push(Record { first: 20, ..p.records[1] })),
        ("less than is there", |p| p.records.truncate(1)),
        ("a plain chunk that is short", |p| p.records[1].stored = 100),
    ];
    for (name, change) in maps {
        add(name, with(change), "malformed");
    }
    let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 19).unwrap();
    add("a bomb", with(|parts| repack(parts, bomb)), "malformed");
    let short = zstd::bulk::compress(&[FILL; BLOCK], 1).unwrap();
    add("a chunk too short", with(|parts| repack(parts, short)), "malformed");
    add("not zstd at all", with(|parts| repack(parts, vec![7; 100])), "malformed");
    add(
        "a chunk in two layers",
        with(|parts| {
            let whole = parts.chunks.remove(0);
            let (a, b) = whole.split_at(whole.len() - 100);
            parts.chunks.extend([a.to_vec(), b.to_vec()]);
        }),
        "malformed",
    );
    add(
        "two layers",
        with(|parts| {
            let whole = parts.chunks.remove(0);
            let (a, b) = whole.split_at(whole.len() - BLOCK);
            parts.chunks.extend([Vec::new(), a.to_vec(), Vec::new(), b.to_vec()]);
        }),
        "ok",
    );
    let much =
        (0..3000).map(|n| Record { first: n * 64, blocks: 64, zstd: true, offset: n, stored: 1 });
    add(
        "chunks of a byte",
        with(|parts| {
            parts.config["disks"][0]["sizeBytes"] = json!(1_u64 << 40);
            parts.records = much.collect();
            parts.chunks = vec![vec![0x28; 3000]];
        }),
        "malformed",
    );
    cases
}

fn honest_without_mark(blobs: &[(String, Vec<u8>)], index: &[u8]) -> Vec<u8> {
    let tar = blobs.iter().fold(Tar::default(), |tar, (digest, blob)| {
        tar.file(&format!("blobs/sha256/{digest}"), blob)
    });
    tar.file("index.json", index).done()
}

/// Puts other bytes in place of the compressed chunk.
fn repack(parts: &mut Parts, stored: Vec<u8>) {
    let len = u32::try_from(stored.len()).unwrap();
    parts.records[0].stored = len;
    parts.records[1].offset = len.into();
    parts.chunks = vec![[stored, vec![FILL; BLOCK]].concat()];
}

#[test]
fn bundles() {
    let cases = cases();
    assert!(cases.len() > 75, "{}", cases.len());
    for (name, bytes, wanted) in cases {
        assert_eq!(super::verdict(bytes, None), wanted, "{name}");
    }
}
