//! The README's promises: its demo prints what it shows, its calls and commands exist, its
//! links lead somewhere.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor};
use vmint_tests::skip;

/// What the README shows of the demo is what it prints, but for numbers, ids and times.
#[test]
fn the_demo_prints_what_the_readme_shows() {
    let readme = read("README.md");
    let shown = block(&readme, "console");
    let (first, shown) = shown.split_once('\n').expect("a command and its output");
    let command = first.strip_prefix("$ ").expect("a command");
    let commands = block(&readme, "sh");
    assert!(commands.lines().any(|line| line.starts_with(command)), "{command} is not told of");

    // As the README says, and saying yes to what it asks.
    let mut words = command.split(' ').chain(["--yes"]);
    let mut demo = Command::new(words.next().expect("cargo"));
    demo.args(words).current_dir(root()).stdin(Stdio::null());
    // What the outer cargo says of this test's own package would have the inner one build
    // everything again.
    let outer = |name: &str| ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|p| name.starts_with(p));
    let names = std::env::vars().map(|(name, _)| name);
    for name in names.filter(|name| outer(name)) {
        demo.env_remove(name);
    }
    let out = demo.output().expect("cargo runs");
    let printed = String::from_utf8_lossy(&out.stdout);
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{command}: {}\n{printed}\n{said}", out.status);

    let (shown, printed): (Vec<_>, Vec<_>) =
        (shown.lines().map(mask).collect(), printed.lines().map(mask).collect());
    for (shown, printed) in shown.iter().zip(&printed) {
        assert_eq!(shown, printed, "the README's line, and the demo's");
    }
    assert_eq!(shown.len(), printed.len(), "{printed:#?}");
}

/// Every call written for grpcurl is of a public method, with a request that fits it.
#[test]
fn the_calls_for_grpcurl_exist() {
    let pool = DescriptorPool::decode(vmint_api::DESCRIPTORS).expect("our descriptors");
    let readme = read("README.md");
    let mut calls = 0;
    for line in readme.lines().filter(|line| line.contains("localhost:8773")) {
        let last = line.rsplit(' ').next().expect("a word");
        if line.contains(" describe ") {
            let (service, method) = last.rsplit_once('.').expect("a method");
            find(&pool, service, method);
        } else if let Some(request) = line.split_once("-d '").map(|(_, rest)| rest) {
            let (service, method) = last.rsplit_once('/').expect("a method");
            let method = find(&pool, service, method);
            let (request, _) = request.split_once("' localhost").expect("the end of the request");
            let request = request.replace("'$SNAPSHOT'", "snap-00000000000000001");
            let mut json = serde_json::Deserializer::from_str(&request);
            let fits = DynamicMessage::deserialize(method.input(), &mut json);
            fits.unwrap_or_else(|error| panic!("{line}: {error}"));
            json.end().unwrap_or_else(|error| panic!("{line}: {error}"));
            calls += 1;
        }
    }
    assert!(calls >= 8, "only {calls} calls");
}

/// Every command in the README and the guides is one of the program's.
#[test]
fn the_commands_exist() {
    let program = root().join("target").join("release").join("vmint");
    if !program.is_file() {
        return skip("the README's commands", "target/release/vmint is not built");
    }
    let mut checked = 0;
    for page in ["README.md", "docs/using.md"] {
        let text = read(page);
        let code = text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
        let uncommented = code.flat_map(str::lines).map(|l| l.split(" #").next().unwrap_or(l));
        for line in uncommented.filter(|line| !line.starts_with("cargo")) {
            for command in line.split("vmint ").skip(1) {
                let words: Vec<&str> = command.split([' ', ')', ';']).collect();
                let words = match words.as_slice() {
                    ["--profile", _, rest @ ..] => rest,
                    all => all,
                };
                let noun = ["image", "snapshot", "key", "market", "account"].contains(&words[0]);
                let out = Command::new(&program)
                    .args(&words[..if noun { 2 } else { 1 }])
                    .arg("--help")
                    .output()
                    .expect("the program runs");
                assert!(out.status.success(), "{page}: {line}");
                let help = String::from_utf8_lossy(&out.stdout);
                let flags = words.iter().filter(|word| word.starts_with("--") && word.len() > 2);
                flags.for_each(|flag| assert!(help.contains(flag), "{page}: {line}: {flag}"));
                checked += 1;
            }
        }
    }
    assert!(checked > 20, "only {checked} commands");
}

/// Links within the repository lead to files, and to headings in them.
#[test]
fn the_links_lead_somewhere() {
    let mut pages = vec![root().join("README.md"), root().join("ARCHITECTURE.md")];
    for dir in ["docs", "docs/decisions", "deploy/systemd"] {
        let entries = fs::read_dir(root().join(dir)).expect("a directory of ours");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        pages.extend(paths.filter(|path| path.extension().is_some_and(|e| e == "md")));
    }
    for page in pages {
        let text = fs::read_to_string(&page).expect("a page");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = page.parent().expect("a directory").join(file);
            let target = if file.is_empty() { page.clone() } else { target };
            assert!(target.exists(), "{}: {link}", page.display());
            if !heading.is_empty() {
                let there = fs::read_to_string(&target).expect("a page");
                let slug = |line: &str| line.trim_start_matches(['#', ' ']).to_lowercase();
                let found = there
                    .lines()
                    .any(|l| l.starts_with('#') && slug(l).replace(' ', "-") == heading);
                assert!(found, "{}: {link}", page.display());
            }
        }
    }
}

fn find(pool: &DescriptorPool, service: &str, method: &str) -> MethodDescriptor {
    assert!(!service.ends_with("InternalService"), "{service} is not for users");
    let found = pool.get_service_by_name(service).unwrap_or_else(|| panic!("no {service}"));
    let mut methods = found.methods();
    methods.find(|m| m.name() == method).unwrap_or_else(|| panic!("no {service}/{method}"))
}

/// A line with what differs from run to run taken out.
fn mask(line: &str) -> String {
    let words: Vec<String> = line.split_whitespace().map(mask_word).collect();
    // What follows is the host's own.
    let host = words.get(1).is_some_and(|word| word == "host");
    words[..if host { 2 } else { words.len() }].join(" ")
}

fn mask_word(word: &str) -> String {
    if let Some((before, _)) = word.split_once("SHA256:") {
        return format!("{before}SHA256:#");
    }
    let digit = |c: char| c.is_ascii_digit();
    // A kernel's release, such as 6.1.0-56-cloud-amd64.
    if word.starts_with(digit) && word.contains('-') {
        return "release".to_owned();
    }
    let hex = |text: &str| text.len() >= 17 && text[..17].bytes().all(|b| b.is_ascii_hexdigit());
    if let Some((before, rest)) = word.split_once('-').filter(|(_, rest)| hex(rest)) {
        return format!("{before}-#{}", mask_word(&rest[17..]));
    }
    let word = word.replace("(tcg)", "(accelerator)").replace("(kvm)", "(accelerator)");
    let unit = ["KiB", "MiB", "GiB"].into_iter().fold(word, |word, unit| word.replace(unit, "B"));
    let mut masked = String::new();
    for c in unit.chars() {
        match c {
            c if digit(c) && masked.ends_with('#') => {}
            c if digit(c) => masked.push('#'),
            c => masked.push(c),
        }
    }
    masked.replace("#.#.#.#", "#").replace("#.#", "#")
}

#[test]
fn what_differs_is_masked() {
    let masked = mask("  5/10 launch  i-7fedb8a369c9bf037 in 0.45 s at 127.1.2.3:22 (tcg) 1.5 MiB");
    assert_eq!(masked, "#/# launch i-# in # s at #:# (accelerator) # B");
    assert_eq!(mask(" 1/10 host   Debian, 2 cores"), "#/# host");
    assert_eq!(mask("image=ami-5e04654aea7cd3f16"), "image=ami-#");
    assert_eq!(
        mask("`ami-5e04654aea7cd3f16` Linux 6.1.0-56-cloud-amd64;"),
        "`ami-#` Linux release"
    );
}

/// The first block of code in this language.
fn block<'a>(text: &'a str, language: &str) -> &'a str {
    let begin = format!("```{language}\n");
    let (_, rest) = text.split_once(&begin).expect("the block's begin");
    rest.split_once("\n```").expect("the block's end").0
}

fn read(page: &str) -> String {
    fs::read_to_string(root().join(page)).expect("a page of ours")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the workspace")
}
