use super::*;

const LIMITS: Limits = Limits { default: 10, max: 100 };

fn collection(definition: Value) -> (Schema, Collection) {
    let collection = Collection::of(definition).expect("a definition");
    (Schema { collections: vec![collection.clone()], aliases: Vec::new() }, collection)
}

fn query(arguments: Value, definition: Value) -> Result<String, String> {
    let input: HybridSearch = serde_json::from_value(arguments).map_err(|error| error.to_string())?;
    let (schema, collection) = collection(definition);
    let search = input.search(&schema, &collection, LIMITS).map_err(|Failure(text)| text)?;
    search.query().map_err(|error| error.to_string())
}

fn article() -> Value {
    json!({"class": "Article", "vectorizer": "none", "properties": [{"name": "title", "dataType": ["text"]}]})
}

#[test]
fn without_a_vector_words_alone_count() {
    let query = |arguments, definition| query(arguments, definition).expect("a query");
    let plain = json!({"collection": "Article", "query": "x"});
    assert!(query(plain.clone(), article()).contains("alpha: 0,"));
    let with_vector = json!({"collection": "Article", "query": "x", "vector": [1.0]});
    assert!(query(with_vector, article()).contains("alpha: 0.75,"));
    let mut makes = article();
    makes["vectorizer"] = json!("text2vec-ollama");
    assert!(query(plain, makes).contains("alpha: 0.75,"));
}

#[test]
fn what_cannot_be_used_is_told() {
    for (more, expected) in [
        (json!({"limit": 0}), "from 1 to 100"),
        (json!({"limit": 101}), "from 1 to 100"),
        (json!({"vector": [1], "vectors": {"a": [1]}}), "either vector or vectors"),
        (json!({"all_words": true, "min_words": 2}), "either all_words or min_words"),
        (json!({"combination": "sum", "weights": {"a": 1}}), "only manual_weights"),
        (json!({"combination": "manual_weights"}), "need weights"),
        (json!({"filter": {"operator": "Equal", "path": "x", "value": 1}}), "no property \"x\""),
        (json!({"return_properties": ["x"]}), "no property \"x\""),
        (json!({"alpha": 2}), "alpha is 2"),
        (json!({"fusion_type": "best"}), "unknown variant `best`"),
        (json!({"limits": 1}), "unknown field `limits`"),
    ] {
        let mut arguments = json!({"collection": "Article", "query": "x"});
        arguments.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let error = query(arguments, article()).expect_err("unusable");
        assert!(error.contains(expected), "{more}: {error}");
    }
}

fn added(arguments: Value) -> Result<(Vec<NewObject>, bool), String> {
    let input: AddObject = serde_json::from_value(arguments).map_err(|error| error.to_string())?;
    input.objects(LIMITS).map_err(|Failure(text)| text)
}

#[test]
fn one_object_or_many_are_added() {
    let (objects, batch) = added(json!({"collection": "Article", "properties": {}})).expect("usable");
    assert_eq!((objects.len(), batch), (1, false));
    let many =
        json!({"collection": "Article", "objects": [{"properties": {}}, {"properties": {}, "vector": [1]}]});
    let (objects, batch) = added(many).expect("usable");
    assert_eq!((objects.len(), batch), (2, true));
    assert_ne!(objects[0].id, objects[1].id);
    for (arguments, expected) in [
        (json!({"collection": "A"}), "either properties"),
        (json!({"collection": "A", "properties": {}, "objects": []}), "either properties"),
        (json!({"collection": "A", "objects": []}), "from 1 to 100"),
        (json!({"collection": "A", "objects": [], "id": "1"}), "put them into each"),
        (json!({"collection": "A", "properties": {}, "id": "1"}), "must be a UUID"),
        (
            json!({"collection": "A", "properties": {}, "vector": [1], "vectors": {"a": [1]}}),
            "either vector or",
        ),
    ] {
        let error = added(arguments.clone()).expect_err("unusable");
        assert!(error.contains(expected), "{arguments}: {error}");
    }
}

#[test]
fn a_list_goes_by_ids_or_by_an_order() {
    let page = |arguments: Value| {
        let input: GetObject = serde_json::from_value(arguments).expect("arguments");
        input.page(LIMITS).map_err(|Failure(text)| text)
    };
    let sorted = json!({"collection": "A", "sort_by": "title", "descending": true, "offset": 3});
    let sort = Sort { property: "title".into(), order: Order::Descending };
    assert_eq!(page(sorted), Ok(Page { limit: 10, offset: 3, after: None, sort: Some(sort) }));
    let id = "00000000-0000-0000-0000-000000000001";
    assert!(page(json!({"collection": "A", "after": id})).is_ok());
    assert!(page(json!({"collection": "A", "after": id, "sort_by": "title"})).is_err());
    assert!(page(json!({"collection": "A", "after": "x"})).is_err());
}
