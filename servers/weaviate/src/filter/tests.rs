use super::*;
use crate::schema::tests::schema;
use proptest::prelude::*;

fn checked(filter: Value) -> Result<Condition, String> {
    let filter: Filter = serde_json::from_value(filter).map_err(|error| error.to_string())?;
    let schema = schema();
    let article = schema.collection("Article").expect("there");
    filter.check(&schema, article).map_err(|error| error.to_string())
}

#[test]
fn each_type_has_its_field() {
    for (filter, expected) in [
        (
            json!({"operator": "Equal", "path": "title", "value": "a \"b\""}),
            r#"{operator: Equal, path: ["title"], valueText: "a \"b\""}"#,
        ),
        (
            json!({"operator": "LessThan", "path": ["price"], "value": 10}),
            r#"{operator: LessThan, path: ["price"], valueNumber: 10}"#,
        ),
        (
            json!({"operator": "GreaterThanEqual", "path": "pages", "value": 10}),
            r#"{operator: GreaterThanEqual, path: ["pages"], valueInt: 10}"#,
        ),
        (
            json!({"operator": "GreaterThan", "path": "printed", "value": "2026-01-01T00:00:00Z"}),
            r#"{operator: GreaterThan, path: ["printed"], valueDate: "2026-01-01T00:00:00Z"}"#,
        ),
        (
            json!({"operator": "ContainsAny", "path": "tags", "value": ["a", "b"]}),
            r#"{operator: ContainsAny, path: ["tags"], valueText: ["a", "b"]}"#,
        ),
        (
            json!({"operator": "IsNull", "path": "pages", "value": true}),
            r#"{operator: IsNull, path: ["pages"], valueBoolean: true}"#,
        ),
        (
            json!({"operator": "GreaterThan", "path": "len(title)", "value": 3}),
            r#"{operator: GreaterThan, path: ["len(title)"], valueInt: 3}"#,
        ),
        (
            json!({"operator": "Like", "path": ["author", "Person", "name"], "value": "A*"}),
            r#"{operator: Like, path: ["author", "Person", "name"], valueText: "A*"}"#,
        ),
        (
            json!({"operator": "GreaterThan", "path": "_creationTimeUnix", "value": 1_700_000_000_000_u64}),
            r#"{operator: GreaterThan, path: ["_creationTimeUnix"], valueDate: "1700000000000"}"#,
        ),
        (
            json!({"operator": "WithinGeoRange", "path": "place",
                   "value": {"latitude": 52.5, "longitude": 13.4, "max_distance_meters": 1000}}),
            "{operator: WithinGeoRange, path: [\"place\"], valueGeoRange: {geoCoordinates: {latitude: 52.5, \
             longitude: 13.4}, distance: {max: 1000}}}",
        ),
        (
            json!({"operator": "Not", "operands": [{"operator": "Equal", "path": "sold", "value": false}]}),
            r#"{operator: Not, operands: [{operator: Equal, path: ["sold"], valueBoolean: false}]}"#,
        ),
    ] {
        assert_eq!(
            checked(filter).map(|condition| condition.to_literal().to_string()),
            Ok(expected.to_owned())
        );
    }
}

#[test]
fn rest_has_fields_for_lists() {
    let filter = json!({"operator": "Or", "operands": [
        {"operator": "ContainsAll", "path": "pages", "value": [1, 2]},
        {"operator": "Equal", "path": "isbn", "value": "0193"},
    ]});
    let expected = json!({"operator": "Or", "operands": [
        {"operator": "ContainsAll", "path": ["pages"], "valueIntArray": [1, 2]},
        {"operator": "Equal", "path": ["isbn"], "valueText": "0193"},
    ]});
    assert_eq!(checked(filter).map(|condition| condition.to_json()), Ok(expected));
}

#[test]
fn what_does_not_fit_is_told_with_what_would() {
    for (filter, expected) in [
        (
            json!({"operator": "Equal", "path": vec!["author"; 100_001], "value": 1}),
            "has a path of more than 13 names",
        ),
        (json!({"operator": "Equal", "path": "pages", "value": "ten"}), "a whole number"),
        (json!({"operator": "Equal", "path": "pages", "value": 1.5}), "a whole number"),
        (json!({"operator": "Equal", "path": "titel", "value": "x"}), "its properties: title, tags"),
        (json!({"operator": "Like", "path": "pages", "value": "1*"}), "only a text"),
        (json!({"operator": "ContainsAny", "path": "tags", "value": []}), "a list, each item a text"),
        (json!({"operator": "Equal", "path": "title"}), "no value"),
        (json!({"operator": "Equal", "value": "x"}), "no path"),
        (json!({"operator": "Equal", "path": [], "value": "x"}), "path is empty"),
        (json!({"operator": "And", "operands": []}), "at least one"),
        (json!({"operator": "And", "path": "title", "operands": []}), "joins operands"),
        (
            json!({"operator": "Not", "operands": [
                {"operator": "IsNull", "path": "title", "value": true},
                {"operator": "IsNull", "path": "title", "value": true},
            ]}),
            "exactly one",
        ),
        (json!({"operator": "Equal", "path": "size", "value": 1}), "cannot filter by size"),
        (json!({"operator": "Equal", "path": ["size", "x", "width"], "value": 1}), "no reference"),
        (json!({"operator": "Equal", "path": ["author", "Article", "title"], "value": 1}), "leads to Person"),
        (json!({"operator": "Equal", "path": "place", "value": 1}), "WithinGeoRange"),
        (
            json!({"operator": "WithinGeoRange", "path": "place", "value": {"latitude": 1}}),
            "max_distance_meters",
        ),
        (json!({"operator": "Equals", "path": "title", "value": "x"}), "unknown variant `Equals`"),
        (json!({"operator": "Equal", "property": "title", "value": "x"}), "unknown field `property`"),
    ] {
        let error = checked(filter.clone()).expect_err("unusable");
        assert!(error.contains(expected), "{filter}: {error}");
    }
}

/// Outside of quoted texts, only these stand in a filter.
fn skeleton(written: &str) -> String {
    let mut outside = String::new();
    let mut characters = written.chars();
    while let Some(character) = characters.next() {
        if character != '"' {
            outside.push(character);
            continue;
        }
        outside.push('"');
        while let Some(inside) = characters.next() {
            match inside {
                '\\' => drop(characters.next()),
                '"' => break,
                _ => {}
            }
        }
    }
    outside
}

proptest! {
    /// Whatever texts stand in a filter, its form is the same.
    #[test]
    fn no_text_changes_the_form_of_a_filter(texts in prop::collection::vec(any::<String>(), 1..5), one in any::<String>()) {
        let filter = |texts: &[String], one: &str| checked(json!({"operator": "And", "operands": [
            {"operator": "ContainsAny", "path": "tags", "value": texts},
            {"operator": "Like", "path": "title", "value": one},
        ]})).expect("usable").to_literal().to_string();
        let plain = vec!["x".to_owned(); texts.len()];
        prop_assert_eq!(skeleton(&filter(&texts, &one)), skeleton(&filter(&plain, "x")));
    }

    /// A name that the schema does not hold never reaches a query.
    #[test]
    fn no_unknown_name_is_written(name in any::<String>(), rest in prop::collection::vec(any::<String>(), 0..3)) {
        let mut path = vec![name];
        path.extend(rest);
        if let Ok(condition) = checked(json!({"operator": "IsNull", "path": path, "value": true})) {
            let schema = schema();
            let article = schema.collection("Article").expect("there");
            let Form::Compared { path, .. } = condition.0 else { panic!("a comparison") };
            prop_assert!(kind_of(&path, &schema, article).is_ok());
        }
    }
}
