//! Where settings come from, and which are refused.
#![allow(clippy::unwrap_used)] // a helper may fail its test

use std::path::Path;

use figment::Jail;
use serde::{Deserialize, Serialize};
use vmint_daemon::{ConfigError, ServiceConfig, load};
use vmint_rpc::ServiceAddress;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Config {
    service: ServiceConfig,
    catalog: Catalog,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Catalog {
    page_size: u32,
    note: Option<String>,
}

fn defaults() -> Config {
    let catalog = Catalog { page_size: 50, note: None };
    Config { service: ServiceConfig::of("catalog"), catalog }
}

/// Figment's jail wants its own error type.
#[allow(clippy::result_large_err)]
fn in_jail(test: impl FnOnce(&mut Jail)) {
    Jail::expect_with(|jail| {
        test(jail);
        Ok(())
    });
}

#[test]
fn the_environment_goes_before_the_file_and_the_file_before_the_defaults() {
    in_jail(|jail| {
        let text = "[service]\nops = \"tcp:127.0.0.1:9100\"\ndrain_seconds = 3\n\
                    [catalog]\npage_size = 10\nnote = \"from file\"\n";
        jail.create_file("vmint.toml", text).unwrap();
        jail.set_env("VMINT_CATALOG__PAGE_SIZE", "20");
        jail.set_env("VMINT_SERVICE__PEERS__LAUNCHER", "tcp:launcher:7000");
        jail.set_env("VMINT_SERVICE__LOG__FILTER", "debug");
        jail.set_env("VMINT_LOG", "ignored here");

        let config = load(defaults(), Some(Path::new("vmint.toml"))).unwrap();

        assert_eq!(config.catalog, Catalog { page_size: 20, note: Some("from file".to_owned()) });
        assert_eq!(config.service.drain_seconds, 3);
        assert_eq!(config.service.ops, Some(ServiceAddress::Tcp("127.0.0.1:9100".to_owned())));
        assert_eq!(
            config.service.peers["launcher"],
            ServiceAddress::Tcp("launcher:7000".to_owned())
        );
        assert_eq!(config.service.log.filter, "debug");
        assert_eq!(config.service.listen, defaults().service.listen);
    });
}

#[test]
fn without_anything_the_defaults_hold() {
    in_jail(|_| assert_eq!(load(defaults(), None).unwrap(), defaults()));
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_known_one() {
    in_jail(|jail| {
        jail.create_file("vmint.toml", "[service]\nlissten = \"tcp:a:1\"\n").unwrap();
        let error = load(defaults(), Some(Path::new("vmint.toml"))).unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown setting `service.lissten`; did you mean `service.listen`?"
        );
    });
    in_jail(|jail| {
        jail.set_env("VMINT_SERVICE__COLOUR_OF_THE_SKY", "blue");
        let error = load(defaults(), None).unwrap_err();
        assert_eq!(error.to_string(), "unknown setting `service.colour_of_the_sky`");
    });
}

#[test]
fn a_value_that_does_not_fit_names_its_key() {
    in_jail(|jail| {
        jail.set_env("VMINT_SERVICE__LISTEN", "nowhere");
        let error = load(defaults(), None).unwrap_err().to_string();
        assert!(error.contains("nowhere") && error.contains("unix:"), "{error}");
    });
    in_jail(|_| {
        let missing = load(defaults(), Some(Path::new("none.toml")));
        assert!(matches!(missing, Err(ConfigError::NoFile(_))));
    });
}
