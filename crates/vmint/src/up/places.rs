//! Which deployments one `vmint up` starts, and where.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use super::layout::{Place, REGION};
use crate::client::{Failure, Result};

/// Where each region's deployment is, and which others it knows.
pub(super) fn places(
    data: &Path,
    listen: SocketAddr,
    regions: &[String],
    simulated: bool,
) -> Result<Vec<(PathBuf, SocketAddr, Place)>> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    for (at, region) in regions.iter().enumerate() {
        let named = region.starts_with(|c: char| c.is_ascii_lowercase());
        if !named || region.len() > 24 || !region.chars().all(plain) {
            let text = format!("`{region}` is no region's name");
            return Err(Failure::usage(text).hint("use lower-case letters, digits and `-`"));
        }
        if regions[..at].contains(region) {
            return Err(Failure::usage(format!("the region {region} is there twice")));
        }
    }
    if regions.len() < 2 {
        let region = regions.first().map_or(REGION, String::as_str).to_owned();
        let place = Place { region, simulated, ..Place::alone() };
        return Ok(vec![(data.to_owned(), listen, place)]);
    }
    let number = |at: usize| u8::try_from(at).ok().filter(|at| *at < 16);
    let address = |at: usize| {
        let port = number(at).and_then(|at| listen.port().checked_add(at.into()));
        let port = port.filter(|_| listen.port() > 0);
        port.map(|port| SocketAddr::new(listen.ip(), port))
    };
    let addresses: Option<Vec<_>> = (0..regions.len()).map(address).collect();
    let addresses = addresses.ok_or_else(|| {
        Failure::usage("there are not as many ports behind that of --listen")
            .hint("give at most 16 regions, and a port that others follow")
    })?;
    let all: BTreeMap<_, _> = regions.iter().cloned().zip(addresses.iter().copied()).collect();
    let one = |((region, listen), at): ((&String, &SocketAddr), usize)| {
        let mut others = all.clone();
        others.remove(region);
        let number = number(at).unwrap_or_default();
        let place = Place { region: region.clone(), others, number, simulated, ..Place::alone() };
        (data.join(region), *listen, place)
    };
    Ok(regions.iter().zip(&addresses).zip(0..).map(one).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(regions: &[&str], listen: &str) -> Result<Vec<(PathBuf, SocketAddr, Place)>> {
        let regions: Vec<_> = regions.iter().map(|&region| region.to_owned()).collect();
        places(Path::new("/d"), listen.parse().unwrap(), &regions, false)
    }

    #[test]
    fn one_region_is_where_it_always_was() {
        let one = at(&[], "127.0.0.1:8773").unwrap().remove(0);
        assert_eq!((one.0.to_str(), one.2.region.as_str()), (Some("/d"), "local-1"));
        let named = at(&["eu-1"], "127.0.0.1:0").unwrap().remove(0);
        assert_eq!((named.0.to_str(), named.2.region.as_str()), (Some("/d"), "eu-1"));
    }

    #[test]
    fn several_regions_know_one_another_and_share_nothing() {
        let all = at(&["a", "b", "c"], "127.0.0.1:9000").unwrap();
        let (dir, listen, place) = &all[1];
        assert_eq!((dir.to_str(), listen.port(), place.number), (Some("/d/b"), 9001, 1));
        let others: Vec<_> = place.others.iter().map(|(n, a)| (n.as_str(), a.port())).collect();
        assert_eq!(others, [("a", 9000), ("c", 9002)]);
        for bad in [&["a", "a"][..], &["A"], &["1a"], &["a", ""], &["a/b", "c"]] {
            assert!(at(bad, "127.0.0.1:9000").is_err(), "{bad:?}");
        }
        assert!(at(&["a", "b"], "127.0.0.1:0").is_err());
        assert!(at(&["a", "b"], "127.0.0.1:65535").is_err());
    }
}
