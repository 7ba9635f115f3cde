use super::*;
use crate::filter::{Filter, Operator};
use crate::schema::tests::schema;
use proptest::prelude::*;
use serde_json::json;

fn search<'a>(schema: &'a Schema, collection: &str, hybrid: Hybrid) -> Search<'a> {
    let collection = schema.collection(collection).expect("there");
    Search {
        schema,
        collection,
        nearness: Nearness::Hybrid(hybrid),
        filter: None,
        tenant: collection.multi_tenant.then(|| "t".to_owned()),
        limit: 5,
        offset: 0,
        autocut: None,
        returned: Returned { properties: Some(Vec::new()), metadata: Vec::new() },
    }
}

#[test]
fn a_search_with_everything() {
    let schema = schema();
    let hybrid = Hybrid {
        query: "a \"quoted\" word".into(),
        alpha: 0.25,
        fusion: Fusion::Ranked,
        properties: vec!["title^2".into(), "tags".into()],
        vector: Some(vec![0.5, 1.0]),
        max_vector_distance: Some(0.4),
        words: Some(KeywordOperator::AtLeast(2)),
        ..Hybrid::default()
    };
    let mut search = search(&schema, "Article", hybrid);
    let filter = Filter::compare("price", Operator::LessThan, 10);
    search.filter = Some(filter.check(&schema, search.collection).expect("fits"));
    (search.offset, search.autocut) = (10, Some(1));
    let properties = ["title", "size.width", "size.unit.name", "author.name", "place"].map(Into::into).into();
    search.returned = Returned {
        properties: Some(properties),
        metadata: vec![Metadata::ExplainScore, Metadata::Vector, Metadata::CreationTime],
    };
    assert_eq!(
        search.query().expect("a query"),
        "{ Get { Article(hybrid: {query: \"a \\\"quoted\\\" word\", alpha: 0.25, fusionType: rankedFusion, \
         properties: [\"title^2\", \"tags\"], vector: [0.5, 1], maxVectorDistance: 0.4, bm25SearchOperator: \
         {operator: Or, minimumOrTokensMatch: 2}}, where: {operator: LessThan, path: [\"price\"], valueNumber: \
         10}, limit: 5, offset: 10, autocut: 1) { title size { width unit { name } } author { ... on Person { \
         name _additional { id } } } place { latitude longitude } _additional { id score explainScore vector \
         creationTimeUnix } } } }"
    );
}

#[test]
fn several_target_vectors_are_combined() {
    let schema = schema();
    let hybrid = Hybrid {
        query: "x".into(),
        alpha: 1.0,
        vectors: vec![("face".into(), vec![1.0]), ("voice".into(), vec![2.0])],
        combination: Some(Combination::ManualWeights(vec![("face".into(), 2.0), ("voice".into(), 0.5)])),
        ..Hybrid::default()
    };
    let mut search = search(&schema, "human", hybrid);
    search.returned.metadata.push(Metadata::Vector);
    assert_eq!(
        search.query().expect("a query"),
        "{ Get { Person(hybrid: {query: \"x\", alpha: 1, fusionType: relativeScoreFusion, searches: \
         [{nearVector: {vectorPerTarget: {face: [1], voice: [2]}}}], targets: {targetVectors: [\"face\", \
         \"voice\"], combinationMethod: manualWeights, weights: {face: 2, voice: 0.5}}}, tenant: \"t\", limit: 5) \
         { _additional { id score vectors { face voice } } } } }"
    );
}

#[test]
fn without_a_choice_all_but_references_and_blobs_are_returned() {
    let schema = schema();
    let mut search = search(&schema, "Article", Hybrid::default());
    search.returned.properties = None;
    let query = search.query().expect("a query");
    assert!(query.contains("size { width unit { name } }") && query.contains("place { latitude"), "{query}");
    assert!(!query.contains("cover") && !query.contains("author"), "{query}");
}

#[test]
fn what_the_collection_does_not_have_is_told() {
    let schema = schema();
    let error = |collection: &str, hybrid: Hybrid, change: fn(&mut Search<'_>)| {
        let mut search = search(&schema, collection, hybrid);
        change(&mut search);
        search.query().expect_err("unusable").to_string()
    };
    let none = |_: &mut Search<'_>| ();
    let hybrid = Hybrid::default;
    for (error, expected) in [
        (error("Article", Hybrid { alpha: 1.5, ..hybrid() }, none), "alpha is 1.5"),
        (
            error("Article", Hybrid { properties: vec!["titel".into()], ..hybrid() }, none),
            "its properties: title",
        ),
        (error("Article", Hybrid { properties: vec!["title^x".into()], ..hybrid() }, none), "like title^2"),
        (
            error("Article", Hybrid { targets: vec!["face".into()], ..hybrid() }, none),
            "leave target vectors out",
        ),
        (
            error("Person", Hybrid { targets: vec!["foot".into()], ..hybrid() }, none),
            "its vectors: face, voice",
        ),
        (error("Person", hybrid(), |search| search.tenant = None), "name the tenant"),
        (error("Article", hybrid(), |search| search.tenant = Some("t".into())), "leave the tenant out"),
        (
            error("Article", hybrid(), |search| search.returned.properties = Some(vec!["title.x".into()])),
            "without a dot",
        ),
        (
            error("Article", hybrid(), |search| search.returned.properties = Some(vec!["author.x".into()])),
            "Person has no property \"x\"",
        ),
        (
            error("Article", hybrid(), |search| {
                search.returned.properties = Some(vec!["author.".repeat(100_000)]);
            }),
            "leads on for more than 6 steps",
        ),
    ] {
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_hit_is_read() {
    let found = json!({"title": "a", "_additional": {"id": "1", "score": "0.75", "distance": 0.5}});
    let hit = hit(found.as_object().expect("an object").clone());
    assert_eq!((hit.id.as_str(), hit.score(), hit.distance()), ("1", Some(0.75), Some(0.5)));
    assert_eq!(Value::Object(hit.properties), json!({"title": "a"}));
}

proptest! {
    /// Braces outside of texts are balanced, whatever is asked.
    #[test]
    fn no_text_changes_the_form_of_a_search(query in any::<String>(), tenant in any::<String>()) {
        let schema = schema();
        let form = |query: &str, tenant: &str| {
            let mut search = search(&schema, "Person", Hybrid { query: query.into(), ..Hybrid::default() });
            search.tenant = Some(tenant.into());
            let written = search.query().expect("a query");
            let quoted = Literal::Text(query.into()).to_string();
            let quoted_tenant = Literal::Text(tenant.into()).to_string();
            written.replacen(&quoted, "Q", 1).replacen(&quoted_tenant, "T", 1)
        };
        prop_assert_eq!(form(&query, &tenant), form("a query", "a tenant"));
    }

    /// Names that callers choose to have returned are names of the schema.
    #[test]
    fn no_unknown_name_is_returned(name in any::<String>()) {
        let schema = schema();
        let mut search = search(&schema, "Article", Hybrid::default());
        search.returned.properties = Some(vec![name.clone()]);
        if search.query().is_ok() {
            prop_assert!(search.collection.property(name.split('.').next().unwrap_or_default()).is_some());
        }
    }
}
