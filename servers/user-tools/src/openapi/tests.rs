//! Documents into tools, arguments into requests.

use super::*;
use crate::Request;
use proptest::prelude::*;
use serde_json::json;

const PETS: &str = r##"
openapi: 3.0.3
info: {title: Pets, version: "1"}
servers:
- url: https://{region}.example.com/v1
  variables: {region: {default: eu}}
paths:
  /pets/{petId}:
    parameters:
    - {$ref: "#/components/parameters/PetId"}
    get:
      operationId: getPet
      summary: Gets a pet.
      tags: [read]
      parameters:
      - {name: fields, in: query, schema: {type: array, items: {type: string}}}
      - {name: ids, in: query, explode: false, schema: {type: array, items: {type: integer}}}
      - {name: filter, in: query, style: deepObject, schema: {type: object}}
      - {name: X-Trace, in: header, schema: {type: string}}
      - {name: petId, in: query, schema: {type: string}}
      - {name: session, in: cookie, schema: {type: string}}
      responses: {200: {description: ok}}
    put:
      operationId: replacePet
      requestBody:
        required: true
        content: {application/json: {schema: {$ref: "#/components/schemas/Pet"}}}
  /pets:
    post:
      description: Adds a pet.
      requestBody:
        content: {application/x-www-form-urlencoded: {schema: {type: object}}}
  /upload:
    post:
      operationId: upload
      requestBody: {required: true, content: {multipart/form-data: {schema: {type: object}}}}
components:
  parameters:
    PetId: {name: petId, in: path, required: true, description: Which., schema: {type: string}}
  schemas:
    Pet:
      type: object
      required: [id, name]
      properties:
        id: {type: integer, readOnly: true}
        name: {type: string, example: Rex}
        age: {type: number, nullable: true, minimum: 0, exclusiveMinimum: true}
        parent: {$ref: "#/components/schemas/Pet"}
"##;

#[allow(clippy::needless_pass_by_value, reason = "json! makes values")]
fn user(settings: Value) -> UserTool {
    serde_json::from_value(json!({"name": "pets", "openApi": settings})).expect("a declaration")
}

fn read(settings: Value, text: &str) -> Result<Given, String> {
    let user = user(settings);
    tools(&user, user.open_api.as_ref().expect("a document"), text)
}

#[allow(clippy::needless_pass_by_value, reason = "json! makes values")]
fn fill(given: &Given, tool: &str, arguments: Value) -> Result<Request, String> {
    let tool = given.tools.iter().find(|found| found.name == tool).expect("declared");
    let validator = jsonschema::validator_for(&Value::Object(tool.input_schema.clone())).expect("a schema");
    validator.validate(&arguments).map_err(|error| error.to_string())?;
    let environment = |name: &str| (name == "KEY").then(|| "s3cret".to_owned());
    tool.action.request(arguments.as_object().expect("an object"), &environment).expect("a request").0
}

#[test]
fn each_operation_becomes_a_tool() {
    let given = read(json!({}), PETS).expect("read");
    let names: Vec<_> = given.tools.iter().map(|tool| tool.name.as_str()).collect();
    assert_eq!(names, ["pets_get_pet", "pets_replace_pet", "pets_post_pets"]);
    let (tool, problem) = &given.problems[0];
    assert_eq!(tool, "pets_upload");
    assert!(problem.starts_with("openApi: POST /upload: the body is multipart/form-data"), "{problem}");
    let get = &given.tools[0];
    assert_eq!((get.description.as_str(), get.title.as_str()), ("Gets a pet.", "Gets a pet."));
    assert!(get.effect.read_only && !given.tools[1].effect.read_only && given.tools[1].effect.idempotent);
    assert_eq!(get.keywords, ["read"]);
    assert_eq!(get.input_schema["required"], json!(["petId_in_path"]));
}

#[test]
fn operations_are_chosen_by_id_and_tag() {
    let names = |settings| {
        let given = read(settings, PETS).expect("read");
        given.tools.iter().map(|tool| tool.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(json!({"operations": ["replacePet"]})), ["pets_replace_pet"]);
    assert_eq!(names(json!({"tags": ["read"]})), ["pets_get_pet"]);
    for (settings, expected) in [
        (
            json!({"operations": ["getPets"]}),
            "no operation \"getPets\"; it has getPet, post_pets, replacePet",
        ),
        (json!({"tags": ["write"]}), "no tag \"write\"; it has read"),
        (json!({"server": "example.com"}), "server: "),
        (json!({"headers": [{"name": "a", "value": "{{b}}"}]}), "only {{env.NAME}} may stand here"),
    ] {
        let error = read(settings, PETS).expect_err(expected);
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn parameters_go_to_their_places_in_their_styles() {
    let headers = json!([{"name": "Authorization", "value": "Bearer {{env.KEY}}"}]);
    let given = read(json!({"headers": headers}), PETS).expect("read");
    let arguments = json!({
        "petId_in_path": "a/b {fields}",
        "petId": "q",
        "fields": ["x y", "z"],
        "ids": [1, 2],
        "filter": {"k&": "v"},
        "X-Trace": "t",
    });
    let request = fill(&given, "pets_get_pet", arguments).expect("filled");
    assert_eq!(
        request.url.as_str(),
        "https://eu.example.com/v1/pets/a%2Fb%20%7Bfields%7D?fields=x%20y&fields=z&ids=1,2&filter[k%26]=v&petId=q"
    );
    let headers: Vec<_> =
        request.headers.iter().map(|header| (header.name.as_str(), header.value.as_str())).collect();
    assert_eq!(headers, [("Authorization", "Bearer s3cret"), ("X-Trace", "t")]);
    assert!(request.headers[0].secret);
    let error = fill(&given, "pets_get_pet", json!({"petId_in_path": ".."})).expect_err("elsewhere");
    assert!(error.contains("leads elsewhere"), "{error}");
    let form = fill(&given, "pets_post_pets", json!({"body": {"a b": [1, "&"]}})).expect("filled");
    assert_eq!(form.body, Some(("application/x-www-form-urlencoded".into(), "a%20b=1&a%20b=%26".into())));
}

#[test]
fn a_body_is_json_by_its_schema_which_may_refer_to_itself() {
    let given = read(json!({"server": "http://pets.default.svc:8080/"}), PETS).expect("read");
    let body = json!({"name": "Rex", "age": null, "parent": {"name": "Max", "age": 1}});
    let request = fill(&given, "pets_replace_pet", json!({"petId": "1", "body": body})).expect("filled");
    assert_eq!(request.url.as_str(), "http://pets.default.svc:8080/pets/1");
    assert_eq!(request.body, Some(("application/json".into(), body.to_string())));
    for (body, expected) in [
        (json!({}), "\"name\" is a required property"),
        (json!({"name": "Rex", "age": 0}), "less than or equal to the minimum of 0"),
        (json!({"name": "Rex", "parent": {"name": 1}}), "is not of type \"string\""),
    ] {
        let error =
            fill(&given, "pets_replace_pet", json!({"petId": "1", "body": body})).expect_err(expected);
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn documents_that_cannot_be_used_are_refused_with_the_reason() {
    for (text, expected) in [
        ("[", "is no YAML"),
        ("swagger: '2.0'", "convert it to OpenAPI 3"),
        ("a: 1", "the field openapi is missing"),
        ("openapi: 4.0.0", "version 4.0.0 of OpenAPI"),
        ("openapi: 3.1.0", "paths are missing"),
        ("openapi: 3.1.0\npaths: {}", "no operation that would become a tool"),
        ("openapi: 3.1.0\npaths: {/a: {$ref: '#/x'}}", "\"#/x\" leads to nothing in the document"),
        ("openapi: 3.1.0\npaths: {/a: {$ref: 'other.yaml#/x'}}", "leads to another document"),
        ("openapi: 3.1.0\npaths: {/a: {$ref: '#/paths/~1a'}}", "leads to itself"),
    ] {
        let error = read(json!({}), text).map(|given| given.problems).expect_err(text);
        assert!(error.contains(expected), "{text}: {error}");
    }
    for (operation, expected) in [
        ("{}", "has no host; name one with openApi.server"),
        (
            "{servers: [{url: 'https://a.test'}], parameters: [{name: b, in: path, style: matrix}]}",
            "style matrix",
        ),
        (
            "{servers: [{url: 'https://a.test'}], parameters: [{name: b, in: cookie, required: true}]}",
            "is in \"cookie\"",
        ),
        ("{servers: [{url: 'https://a.test'}], parameters: [{name: c, in: query}]}", "the path has {b}"),
        ("{servers: [{url: 'https://a.test'}], parameters: [{$ref: '#/nothing'}]}", "leads to nothing"),
        (
            "{servers: [{url: 'https://a.test'}], parameters: [{name: b, in: path, schema: {$ref: '#/no'}}]}",
            "the parameter b: the reference \"#/no\" leads to nothing",
        ),
    ] {
        let text = format!("openapi: 3.1.0\npaths: {{'/a/{{b}}': {{get: {operation}}}}}");
        let given = read(json!({}), &text).expect("a document");
        let problem = &given.problems.first().unwrap_or_else(|| panic!("{operation}")).1;
        assert!(problem.contains(expected), "{operation}: {problem}");
    }
}

#[test]
fn names_are_written_alike() {
    for (text, expected) in
        [("listPets", "list_pets"), ("/pets/{petId}", "pets_pet_id"), ("get-v2 HTTP", "get_v2_http")]
    {
        assert_eq!(snake(text), expected);
    }
}

proptest! {
    #[test]
    fn no_value_leaves_its_part_of_the_address(path in any::<String>(), field in any::<String>()) {
        let given = read(json!({}), PETS).expect("read");
        let arguments = json!({"petId_in_path": path, "fields": [field]});
        if let Ok(request) = fill(&given, "pets_get_pet", arguments) {
            prop_assert_eq!(request.url.path_segments().expect("segments").count(), 3);
            let query: Vec<_> = request.url.query_pairs().into_owned().collect();
            prop_assert_eq!(query, [("fields".to_owned(), field)]);
        } else {
            prop_assert!(["", ".", ".."].contains(&path.as_str()), "{:?}", path);
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "(openapi: 3.0.0\n)?[a-z:{}$#/' \n-]{0,80}") {
        let _ = read(json!({}), &text);
    }
}
