//! The tools of weaviate-direct, on a real Weaviate.

use anyhow::{Result, ensure};
use mcp_system_tests::clients::Answers;
use mcp_system_tests::databases::{Access, Database, make_collection, weaviate};
use mcp_system_tests::single::Single;
use serde_json::{Value, json};

use super::{Course, Good};
use crate::group::{Fixture, Shared};

pub(super) static DATABASE: Shared<Database> = Shared::new(|| weaviate(Access::Anonymous));

pub(super) static SERVER: Shared<Single> = Shared::new(|| {
    DATABASE.with(|database| {
        let text = |name: &str| json!({"name": name, "dataType": ["text"]});
        let class =
            json!({"class": "Crane", "properties": [text("name"), text("place")], "vectorizer": "none"});
        make_collection(database.url(), Access::Anonymous, &class)?;
        Single::start("weaviate-direct", &format!("settings: {{url: \"{}\"}}", database.url()))
    })
});

pub(super) const COURSE: Course =
    Course { server: &SERVER, first, then, reads: |_, _| Ok(Vec::new()), refused: Vec::new };

impl Fixture for Database {
    fn end(self) -> Result<()> {
        drop(self);
        Ok(())
    }
}

fn first(caller: &str) -> Vec<Good> {
    let properties = json!({"name": format!("the crane of {caller}"), "place": "harbour"});
    vec![
        ("add_object", json!({"collection": "Crane", "properties": properties, "vector": [0.1, 0.2, 0.3]})),
        ("get_schema", json!({"collection": "Crane"})),
    ]
}

fn then(caller: &str, before: &Answers) -> Result<Vec<Good>> {
    let added = before.of("first 0")?.value()?;
    let id: &Value = &added["objects"][0]["id"];
    ensure!(id.is_string(), "an object was added without an id: {added}");
    Ok(vec![
        ("get_object", json!({"collection": "Crane", "id": id, "include_vector": true})),
        (
            "hybrid_search",
            json!({"collection": "Crane", "query": caller, "vector": [0.1, 0.2, 0.3], "alpha": 0.5}),
        ),
        ("raw_graphql_query", json!({"query": "{ Aggregate { Crane { meta { count } } } }"})),
        ("delete_object", json!({"collection": "Crane", "id": id})),
    ])
}
