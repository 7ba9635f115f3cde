//! What a caller may rely on: what was put in is found, what was taken out is not, and nothing else changes anything.

use mcp_system_retrieval::{Analysis, Hit, Index, Query};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const ALL: Option<&dyn Fn(&u32) -> bool> = None;
const EVEN_HANDED: fn(&u32) -> f32 = |_| 1.0;

fn index(texts: &[&str]) -> Index<u32> {
    let mut index = Index::new();
    for (key, text) in (0u32..).zip(texts) {
        index.insert(u64::from(key), None, &Analysis::of(text, None), None, key);
    }
    index
}

fn keys(index: &Index<u32>, query: &str) -> Vec<u64> {
    index.search(&Query::of(query), ALL, EVEN_HANDED).iter().map(|hit| hit.key).collect()
}

#[test]
fn words_and_meaning_both_find() {
    let index = index(&[
        "The invoice of March was paid late",
        "Her puppy sleeps in the kitchen",
        "Deploys happen on Tuesdays",
    ]);
    assert_eq!(keys(&index, "paying invoices")[0], 0);
    assert_eq!(keys(&index, "what dog does she have?")[0], 1);
    assert_eq!(keys(&index, "when do we release?")[0], 2);
}

#[test]
fn the_parts_add_up_to_the_score() {
    let index = index(&["tea with milk", "tea with lemon", "milk"]);
    let hits = index.search(&Query::of("tea milk"), ALL, |key| if *key == 1 { 0.5 } else { 1.0 });
    assert_eq!(hits.len(), 3);
    for Hit { score, parts, .. } in hits {
        let sum = parts.lexical + parts.vector + parts.soft + parts.dense + parts.neighbours;
        assert!((sum * parts.weight - score).abs() < 1e-5);
    }
}

#[test]
fn what_is_not_accepted_is_neither_found_nor_compared_with() {
    let index = index(&["red tea", "green tea", "black tea and cake"]);
    let hits = index.search(&Query::of("tea"), Some(&|key| *key != 0), EVEN_HANDED);
    assert!(hits.iter().all(|hit| hit.key != 0));
    assert_eq!(hits.len(), 2);
}

#[test]
fn a_neighbour_of_a_good_answer_is_found_in_its_group_only() {
    let answer = "Last spring, near the lake";
    let build = |group: Option<u64>| {
        let mut index = Index::new();
        let texts = ["Where did you buy the violin?", answer, "Nice weather today"];
        for (key, text) in (0u32..).zip(texts) {
            index.insert(u64::from(key), group, &Analysis::of(text, None), None, key);
        }
        index.insert(9, Some(7), &Analysis::of("Bread is sold near the station", None), None, 9);
        index
    };
    let place = |index: &Index<u32>| keys(index, "violin bought where").iter().position(|key| *key == 1);
    assert_eq!(place(&build(Some(1))), Some(1), "right after the question that it answers");
    assert!(place(&build(None)).is_none_or(|place| place > 1));
}

#[test]
fn a_replaced_entry_keeps_its_place_among_its_neighbours() {
    let mut index = Index::new();
    for (key, text) in (0u32..).zip(["one violin", "two", "three"]) {
        index.insert(u64::from(key), Some(1), &Analysis::of(text, None), None, key);
    }
    index.insert(1, Some(1), &Analysis::of("twelve", None), None, 1);
    assert_eq!(keys(&index, "violin"), [0, 1, 2], "nearer to the hit is better");
    assert!(index.remove(1));
    assert!(!index.remove(1));
    assert_eq!(keys(&index, "violin"), [0, 2]);
    assert_eq!((index.len(), index.get(1), index.get(2)), (2, None, Some(&2)));
}

#[test]
fn a_neural_vector_finds_what_words_do_not() {
    let mut index = Index::new();
    for (key, text) in (0u32..).zip(["alpha", "beta", "gamma"]) {
        let mut vector = vec![0.0; 8];
        vector[key as usize] = 1.0;
        index.insert(u64::from(key), None, &Analysis::of(text, None), Some(&vector), key);
    }
    index.insert(3, None, &Analysis::of("delta", None), None, 3);
    let mut query = Query::of("something else");
    query.dense = Some(vec![0.0, 0.0, 5.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    assert_eq!(index.search(&query, ALL, EVEN_HANDED)[0].key, 2);
}

#[test]
fn neural_vectors_are_taken_away_and_others_given_in_their_place() {
    let mut index = Index::new();
    for (key, text) in (0u32..).zip(["alpha", "beta", "gamma"]) {
        let dense: Option<&[f32]> = if key < 2 { Some(&[1.0, 0.0]) } else { None };
        index.insert(u64::from(key), None, &Analysis::of(text, None), dense, key);
    }
    let found = |index: &Index<u32>, vector: &[f32]| {
        let mut query = Query::of("something else");
        query.dense = Some(vector.to_vec());
        index.search(&query, ALL, EVEN_HANDED)
    };
    assert!(found(&index, &[1.0, 0.0])[0].parts.dense > 0.0);
    index.forget_dense();
    assert!(found(&index, &[1.0, 0.0]).iter().all(|hit| hit.parts.dense <= 0.0));
    // Of another length, for those that had one and for the one that had none.
    let vectors: [[f32; 3]; 3] = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    for turned in [0, 1] {
        for key in 0..3 {
            index.set_dense(key as u64, &vectors[(key + turned) % 3]);
        }
        index.set_dense(9, &vectors[0]);
        for key in 0..3 {
            assert_eq!(found(&index, &vectors[(key + turned) % 3])[0].key, key as u64);
        }
    }
}

#[test]
fn nothing_is_found_in_nothing_or_by_nothing() {
    assert!(keys(&index(&[]), "tea").is_empty());
    assert!(keys(&index(&["tea"]), " ?! ").is_empty());
    let mut none = Query::of("tea");
    none.limit = 0;
    assert!(index(&["tea"]).search(&none, ALL, EVEN_HANDED).is_empty());
    assert!(keys(&index(&["tea"]), "xylophone").is_empty(), "what has nothing in common is no hit");
}

/// Texts of a few words each, all different.
fn many(count: usize) -> Index<u32> {
    const WHO: [&str; 7] = ["Ann", "the doctor", "my neighbour", "a student", "the cook", "our team", "Paul"];
    const DID: [&str; 11] = [
        "bought",
        "painted",
        "lost",
        "repaired",
        "sold",
        "found",
        "described",
        "forgot",
        "carried",
        "opened",
        "broke",
    ];
    const WHAT: [&str; 13] = [
        "a violin",
        "the bridge",
        "an old map",
        "two tickets",
        "the server",
        "some bread",
        "her passport",
        "a blue car",
        "the invoice",
        "a garden",
        "his phone",
        "the piano",
        "a telescope",
    ];
    const WHERE: [&str; 17] = [
        "in Rome",
        "near the lake",
        "at work",
        "on Monday",
        "last spring",
        "before lunch",
        "at the station",
        "in the kitchen",
        "by mistake",
        "for a friend",
        "at night",
        "in the rain",
        "abroad",
        "at school",
        "on the train",
        "for the winter",
        "in a hurry",
    ];
    let mut index = Index::new();
    for (key, number) in (0u32..).zip(0..count) {
        let text =
            format!("{} {} {} {}", WHO[number % 7], DID[number % 11], WHAT[number % 13], WHERE[number % 17]);
        index.insert(u64::from(key), Some(u64::from(key / 20)), &Analysis::of(&text, None), None, key);
    }
    index
}

#[test]
fn as_many_are_found_as_are_wanted_though_one_fits_far_better() {
    let others: Vec<String> =
        (0..600).map(|number| format!("my brother caught {number} fish at a lake near osaka")).collect();
    let best = ["the quarterly payroll audit of the osaka office"];
    let index = index(&best.into_iter().chain(others.iter().map(String::as_str)).collect::<Vec<_>>());
    let mut query = Query::of("the quarterly payroll audit of the osaka office");
    query.limit = 50;
    let hits = index.search(&query, ALL, EVEN_HANDED);
    assert_eq!((hits.len(), hits[0].key), (50, 0));
    assert!(hits[1].parts.lexical < 0.2 * hits[0].parts.lexical);
}

#[test]
fn what_fits_far_less_comes_first_where_its_weight_is_far_greater() {
    let old = ["the quarterly payroll audit of the osaka office"; 150];
    let index = index(&[&old[..], &["my brother caught a fish at a lake near osaka"]].concat());
    let mut query = Query::of(old[0]);
    query.least_weight = 0.0;
    let hits = index.search(&query, ALL, |key| if *key < 150 { 0.001 } else { 1.0 });
    assert_eq!(hits[0].key, 150);
}

#[test]
fn the_best_of_many_are_found_though_most_are_only_guessed() {
    let index = many(4000);
    let (mut same, mut all) = (0, 0);
    for question in
        ["who purchased an instrument?", "what did the physician mend near water?", "lost papers", "violin"]
    {
        let mut query = Query::of(question);
        let quick: Vec<u64> = index.search(&query, ALL, EVEN_HANDED).iter().map(|hit| hit.key).collect();
        // So many that nothing is left to be guessed.
        query.limit = 2000;
        let hits = index.search(&query, ALL, EVEN_HANDED);
        all += quick.len();
        same += hits.iter().take(quick.len()).filter(|hit| quick.contains(&hit.key)).count();
    }
    assert_eq!(all, 40);
    assert!(same >= 32, "{same} of {all}");
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u8, Option<u8>, usize),
    Remove(u8),
}

const TEXTS: [&str; 6] =
    ["red tea", "green tea with milk", "a long walk by the lake", "lake", "", "the invoice was paid"];

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (any::<u8>(), prop::option::of(0u8..3), 0..TEXTS.len())
            .prop_map(|(key, group, text)| Step::Insert(key, group, text)),
        any::<u8>().prop_map(Step::Remove),
    ]
}

/// Any text, or one of words that others have as well.
fn text() -> impl Strategy<Value = String> {
    let words = TEXTS.iter().flat_map(|text| text.split(' ')).collect::<Vec<_>>();
    let words = prop::collection::vec(prop::sample::select(words), 0..12);
    prop_oneof![any::<String>(), words.prop_map(|words| words.join(" "))]
}

/// Perhaps a neural vector, of one length or of another.
fn dense() -> impl Strategy<Value = Option<Vec<f32>>> {
    prop::option::of(prop::collection::vec(-1.0f32..1.0, 3..=4))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is asked, of whatever texts: each hit is there and accepted, once, the best first, and explained.
    #[test]
    fn a_search_finds_what_is_there_in_order(
        entries in prop::collection::vec((text(), prop::option::of(0u64..3), dense(), 0.0f32..=1.0), 0..40),
        gone in prop::collection::vec(0u64..40, 0..10),
        asked in text(),
        asked_dense in dense(),
        limit in 0usize..50,
        picky in any::<bool>(),
    ) {
        let mut index = Index::new();
        let mut there = BTreeMap::new();
        for (key, (text, group, dense, weight)) in (0u64..).zip(entries) {
            index.insert(key, group, &Analysis::of(&text, None), dense.as_deref(), weight);
            there.insert(key, weight);
        }
        for key in gone {
            prop_assert_eq!(index.remove(key), there.remove(&key).is_some());
        }
        let mut query = Query::of(&asked);
        (query.limit, query.dense) = (limit, asked_dense);
        let accepted = |weight: &f32| !picky || *weight > 0.1;
        let accept: Option<&dyn Fn(&f32) -> bool> = if picky { Some(&accepted) } else { None };
        let search = || index.search(&query, accept, |weight| *weight);
        let hits = search();
        prop_assert!(hits.len() <= limit);
        prop_assert!(hits.is_sorted_by(|a, b| a.score >= b.score));
        let keys: BTreeSet<u64> = hits.iter().map(|hit| hit.key).collect();
        prop_assert_eq!(keys.len(), hits.len());
        for Hit { key, score, parts } in &hits {
            prop_assert!(there.get(key).is_some_and(accepted));
            prop_assert!(score.is_finite() && *score > 0.0 && *score <= 1.0 + 1e-4, "{}", score);
            let sum = parts.lexical + parts.vector + parts.soft + parts.dense + parts.neighbours;
            prop_assert!((sum * parts.weight - score).abs() < 1e-3, "{:?} {}", parts, score);
        }
        prop_assert_eq!(search(), hits);
    }

    /// However it came about, an index finds the words of what it holds, and nothing that it does not hold.
    #[test]
    fn an_index_holds_what_was_inserted_and_not_removed(steps in prop::collection::vec(step(), 0..1200)) {
        let mut index = Index::new();
        let mut expected = BTreeMap::new();
        for step in steps {
            match step {
                Step::Insert(key, group, text) => {
                    let analysis = Analysis::of(TEXTS[text], None);
                    index.insert(key.into(), group.map(u64::from), &analysis, None, u32::from(key));
                    expected.insert(u64::from(key), text);
                }
                Step::Remove(key) => {
                    prop_assert_eq!(index.remove(key.into()), expected.remove(&u64::from(key)).is_some());
                }
            }
        }
        prop_assert_eq!(index.len(), expected.len());
        let mut query = Query::of("lake");
        query.limit = 1000;
        let hits = index.search(&query, ALL, EVEN_HANDED);
        for hit in &hits {
            prop_assert!(expected.contains_key(&hit.key));
            prop_assert!(hit.score.is_finite() && hit.score <= 1.0 + 1e-4);
        }
        for (key, text) in expected {
            if TEXTS[text].contains("lake") {
                prop_assert!(hits.iter().any(|hit| hit.key == key), "{key} is not found");
            }
        }
    }
}
