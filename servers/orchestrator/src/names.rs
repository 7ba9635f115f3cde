//! Under which names the tools of several servers stand in one list. Pure.
//!
//! A tool keeps its own name where it is the only one of that name. One that two servers share is prefixed
//! with the server's name, on both. Every name is valid in the protocol and stands once.

use std::collections::{BTreeMap, BTreeSet};

/// The longest name that the protocol allows.
const LONGEST: usize = 128;

/// A tool's place: which server, which of its tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) server: usize,
    pub(crate) tool: usize,
}

/// Gives each tool its name, sorted by name. Servers come as their name and the names of their tools; when a
/// server lists a name twice, the first one counts.
pub(crate) fn assign(servers: &[(&str, Vec<&str>)]) -> BTreeMap<String, Place> {
    // Which servers have a name, with the place in each.
    let mut owners: BTreeMap<String, BTreeMap<usize, Place>> = BTreeMap::new();
    for (server, (_, tools)) in servers.iter().enumerate() {
        for (tool, name) in tools.iter().enumerate() {
            let places = owners.entry(valid(name)).or_default();
            places.entry(server).or_insert(Place { server, tool });
        }
    }
    let mut named = BTreeMap::new();
    let mut shared = Vec::new();
    for (name, places) in owners {
        if let [place] = places.values().copied().collect::<Vec<_>>()[..] {
            named.insert(name, place);
        } else {
            shared.extend(places.into_values().map(|place| (name.clone(), place)));
        }
    }
    // Own names are taken first, so that a prefixed one never pushes out a tool that has no other name.
    for (name, place) in shared {
        let prefixed = valid(&format!("{}_{name}", servers[place.server].0));
        let mut free = prefixed.clone();
        let mut number = 2;
        while named.contains_key(&free) {
            free = valid(&format!("{prefixed}_{number}"));
            number += 1;
        }
        named.insert(free, place);
    }
    named
}

/// The name in the letters and the length that the protocol allows. What is too long ends in a hash of the
/// whole, so that two long names stay two.
fn valid(name: &str) -> String {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.' | '-');
    let clean: String = name.chars().map(|letter| if allowed(letter) { letter } else { '_' }).collect();
    match clean.len() {
        0 => "_".to_owned(),
        length if length <= LONGEST => clean,
        _ => format!("{}_{:08x}", &clean[..LONGEST - 9], hash(name)),
    }
}

/// FNV-1a: the same on every machine and in every version, unlike the standard library's.
fn hash(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// The names most like one that is not there: those that hold it or are held by it, then those spelled alike.
pub(crate) fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    const MOST: usize = 3;
    let wanted = name.to_lowercase();
    let mut scored: BTreeSet<(u32, &str)> = BTreeSet::new();
    for candidate in names {
        let other = candidate.to_lowercase();
        let holds = !wanted.is_empty() && (other.contains(&wanted) || wanted.contains(&other));
        // People remember a name's words better than their order.
        let alike = strsim::normalized_damerau_levenshtein(&wanted, &other)
            .max(strsim::normalized_damerau_levenshtein(&sorted(&wanted), &sorted(&other)));
        if holds || alike >= 0.6 {
            // Whole thousandths order well; what holds the name comes before what is only spelled alike.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 1000")]
            let distance = ((1.0 - alike) * 1000.0) as u32 + if holds { 0 } else { 1000 };
            scored.insert((distance, candidate));
        }
    }
    scored.into_iter().map(|(_, candidate)| candidate).take(MOST).collect()
}

fn sorted(name: &str) -> String {
    let mut words: Vec<&str> = name.split(['_', '-', '.']).collect();
    words.sort_unstable();
    words.join("_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(servers: &[(&str, Vec<&str>)]) -> Vec<String> {
        assign(servers).into_keys().collect()
    }

    #[test]
    fn tools_keep_their_names_and_shared_ones_are_prefixed_on_both() {
        let servers = [("memory", vec!["search", "store"]), ("web", vec!["fetch", "search"])];
        assert_eq!(names(&servers), ["fetch", "memory_search", "store", "web_search"]);
        assert_eq!(assign(&servers)["web_search"], Place { server: 1, tool: 1 });
    }

    #[test]
    fn a_prefixed_name_gives_way_to_a_tools_own() {
        let servers = [("a", vec!["x", "b_x"]), ("a_b", vec!["y"]), ("b", vec!["x", "a_x"])];
        let named = assign(&servers);
        assert_eq!(named["a_x"], Place { server: 2, tool: 1 });
        assert_eq!(named["a_x_2"], Place { server: 0, tool: 0 });
        assert_eq!(named["b_x_2"], Place { server: 2, tool: 0 });
    }

    #[test]
    fn foreign_letters_and_long_names_are_made_valid() {
        let long = "x".repeat(200);
        let other = format!("{}y", "x".repeat(199));
        let servers = [("s p", vec!["read/file", "übung", "", &long, &other]), ("t", vec!["read/file"])];
        let named = names(&servers);
        assert!(named.contains(&"s_p_read_file".to_owned()) && named.contains(&"_bung".to_owned()));
        assert!(named.contains(&"_".to_owned()));
        assert_eq!(named.iter().filter(|name| name.len() == LONGEST).count(), 2);
    }

    #[test]
    fn a_name_listed_twice_by_one_server_counts_once() {
        let named = assign(&[("a", vec!["x", "x"])]);
        assert_eq!(named.into_iter().collect::<Vec<_>>(), [("x".to_owned(), Place { server: 0, tool: 0 })]);
    }

    #[test]
    fn the_nearest_names_are_those_that_one_meant() {
        let names = ["memory_search", "store_memory", "web_search", "fetch"];
        assert_eq!(nearest("search", names.into_iter()), ["web_search", "memory_search"]);
        assert_eq!(nearest("memory_store", names.into_iter()), ["store_memory", "memory_search"]);
        assert_eq!(nearest("fecth", names.into_iter()), ["fetch"]);
        assert!(nearest("zzz", names.into_iter()).is_empty());
    }

    proptest! {
        /// Whatever servers there are: each name is valid, each tool stands once, the order of a server's
        /// list does not matter, and a name that only one server has stays as it is.
        #[test]
        fn every_tool_gets_one_valid_name(
            lists in prop::collection::vec(prop::collection::vec("[ab_/é]{0,3}|a{125,131}", 0..6), 0..5)
        ) {
            let titles: Vec<String> = (0..lists.len()).map(|index| ["a", "b", "a_b", "b/a", "é"][index].into()).collect();
            let servers: Vec<(&str, Vec<&str>)> = titles
                .iter()
                .zip(&lists)
                .map(|(title, list)| (title.as_str(), list.iter().map(String::as_str).collect()))
                .collect();
            let named = assign(&servers);
            let wanted: BTreeSet<(usize, String)> = servers
                .iter()
                .enumerate()
                .flat_map(|(server, (_, tools))| tools.iter().map(move |tool| (server, valid(tool))))
                .collect();
            let got: BTreeSet<(usize, String)> =
                named.values().map(|place| (place.server, valid(servers[place.server].1[place.tool]))).collect();
            prop_assert_eq!(&got, &wanted);
            prop_assert_eq!(named.len(), wanted.len());
            for (name, place) in &named {
                prop_assert!(!name.is_empty() && name.len() <= LONGEST);
                prop_assert_eq!(&valid(name), name);
                let own = valid(servers[place.server].1[place.tool]);
                let sharers = wanted.iter().filter(|(_, other)| *other == own).count();
                prop_assert!(sharers > 1 || *name == own);
                prop_assert!(sharers == 1 || *name != own || named[&own] == *place);
            }
            let turned: Vec<(&str, Vec<&str>)> =
                servers.iter().map(|(title, list)| (*title, list.iter().rev().copied().collect())).collect();
            let again = assign(&turned);
            let of = |named: &BTreeMap<String, Place>| -> Vec<(String, usize)> {
                named.iter().map(|(name, place)| (name.clone(), place.server)).collect()
            };
            prop_assert_eq!(of(&again), of(&named));
        }
    }
}
