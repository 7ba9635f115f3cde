//! Conditions on objects, checked against the schema and written as Weaviate wants them.
//!
//! Weaviate takes each value in a field that names its type. The type is that of the property, so a caller need not
//! know it, and a value that does not fit is refused with the reason.

use crate::literal::Literal;
use crate::schema::{Collection, DataType, Property, Schema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The most names in a path: six references, their collections, and the property.
const MOST_NAMES: usize = 13;

/// A condition on objects, as Weaviate has them: And, Or and Not join operands; every other operator compares the
/// value that stands under a path with a value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    pub operator: Operator,
    /// The property, such as price; for a property of a referenced object the list of the reference, its collection
    /// and the property, such as author, Person, name. Also id, _creationTimeUnix, _lastUpdateTimeUnix and len(title).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PropertyPath>,
    /// What to compare with: a text, number, boolean or date (RFC 3339) as the property holds it; a list for
    /// ContainsAny, ContainsAll and ContainsNone; true or false for IsNull; for WithinGeoRange
    /// {"latitude": 52.5, "longitude": 13.4, "max_distance_meters": 1000}. In a text for Like, * stands for any
    /// characters and ? for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// The conditions that And and Or join; for Not, one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operands: Option<Vec<Filter>>,
}

/// How a filter compares or joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Operator {
    And,
    Or,
    Not,
    Equal,
    NotEqual,
    GreaterThan,
    GreaterThanEqual,
    LessThan,
    LessThanEqual,
    Like,
    IsNull,
    ContainsAny,
    ContainsAll,
    ContainsNone,
    WithinGeoRange,
}

impl Operator {
    const fn name(self) -> &'static str {
        match self {
            Self::And => "And",
            Self::Or => "Or",
            Self::Not => "Not",
            Self::Equal => "Equal",
            Self::NotEqual => "NotEqual",
            Self::GreaterThan => "GreaterThan",
            Self::GreaterThanEqual => "GreaterThanEqual",
            Self::LessThan => "LessThan",
            Self::LessThanEqual => "LessThanEqual",
            Self::Like => "Like",
            Self::IsNull => "IsNull",
            Self::ContainsAny => "ContainsAny",
            Self::ContainsAll => "ContainsAll",
            Self::ContainsNone => "ContainsNone",
            Self::WithinGeoRange => "WithinGeoRange",
        }
    }
}

/// Where a value stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum PropertyPath {
    One(String),
    Through(Vec<String>),
}

/// What cannot be made a query of, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unusable(pub String);

/// A filter that fits the schema.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition(Form);

#[derive(Clone, Debug, PartialEq)]
enum Form {
    Joined { operator: Operator, operands: Vec<Condition> },
    Compared { operator: Operator, path: Vec<String>, value: Typed },
}

/// A value with its type.
#[derive(Clone, Debug, PartialEq)]
enum Typed {
    Text(String),
    Date(String),
    Integer(i64),
    Number(f64),
    Boolean(bool),
    Texts(Vec<String>),
    Dates(Vec<String>),
    Integers(Vec<i64>),
    Numbers(Vec<f64>),
    Booleans(Vec<bool>),
    Range { latitude: f64, longitude: f64, meters: f64 },
}

/// The type by which a value is given.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Date,
    Integer,
    Number,
    Boolean,
    Place,
}

impl Kind {
    const fn needs(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Date => "a date such as \"2026-11-23T09:00:00Z\"",
            Self::Integer => "a whole number",
            Self::Number => "a number",
            Self::Boolean => "true or false",
            Self::Place => "a place",
        }
    }
}

impl Filter {
    /// A comparison, for callers in this house.
    pub fn compare(path: &str, operator: Operator, value: impl Into<Value>) -> Self {
        let path = Some(PropertyPath::One(path.to_owned()));
        Self { operator, path, value: Some(value.into()), operands: None }
    }

    /// All of these.
    pub fn all(operands: Vec<Self>) -> Self {
        Self { operator: Operator::And, path: None, value: None, operands: Some(operands) }
    }

    /// Checks it against the schema.
    pub fn check(&self, schema: &Schema, collection: &Collection) -> Result<Condition, Unusable> {
        let name = self.operator.name();
        if matches!(self.operator, Operator::And | Operator::Or | Operator::Not) {
            return self.check_joined(schema, collection);
        }
        if self.operands.is_some() {
            return Err(Unusable(format!("{name} has operands; only And, Or and Not join conditions")));
        }
        let path = match &self.path {
            Some(PropertyPath::One(name)) => vec![name.clone()],
            Some(PropertyPath::Through(names)) => names.clone(),
            None => return Err(Unusable(format!("{name} has no path; name the property to compare"))),
        };
        if path.len() > MOST_NAMES {
            return Err(Unusable(format!("{name} has a path of more than {MOST_NAMES} names")));
        }
        let kind = kind_of(&path, schema, collection)?;
        let Some(value) = &self.value else {
            return Err(Unusable(format!("{name} on {} has no value to compare with", path.join("."))));
        };
        let value = typed(self.operator, kind, value)
            .map_err(|wrong| Unusable(format!("{name} on {}: {wrong}", path.join("."))))?;
        Ok(Condition(Form::Compared { operator: self.operator, path, value }))
    }

    fn check_joined(&self, schema: &Schema, collection: &Collection) -> Result<Condition, Unusable> {
        let name = self.operator.name();
        if self.path.is_some() || self.value.is_some() {
            return Err(Unusable(format!("{name} joins operands; put path and value into one of them")));
        }
        let operands = self.operands.as_deref().unwrap_or_default();
        if operands.is_empty() || (self.operator == Operator::Not && operands.len() > 1) {
            let wanted = if self.operator == Operator::Not { "exactly one" } else { "at least one" };
            return Err(Unusable(format!("{name} has {} operands; it needs {wanted}", operands.len())));
        }
        let operands = operands.iter().map(|operand| operand.check(schema, collection));
        let operands = operands.collect::<Result<_, _>>()?;
        Ok(Condition(Form::Joined { operator: self.operator, operands }))
    }
}

/// What stands under a path.
fn kind_of(path: &[String], schema: &Schema, collection: &Collection) -> Result<Kind, Unusable> {
    match path {
        [] => Err(Unusable("path is empty; name the property to compare".into())),
        [name] => kind_of_last(name, collection),
        [reference, target, rest @ ..] => {
            let property = collection.property(reference).ok_or_else(|| unknown(reference, collection))?;
            let DataType::Reference(targets) = &property.data_type else {
                return Err(Unusable(format!(
                    "{reference} is no reference, so the path ends with it; Weaviate cannot filter by what is \
                     inside an object"
                )));
            };
            let known = targets.contains(target).then(|| schema.collection(target)).flatten();
            let target = known.ok_or_else(|| {
                Unusable(format!("{reference} leads to {}, not to {target}", targets.join(", ")))
            })?;
            kind_of(rest, schema, target)
        }
    }
}

fn kind_of_last(name: &str, collection: &Collection) -> Result<Kind, Unusable> {
    match name {
        "id" | "_id" => return Ok(Kind::Text),
        "_creationTimeUnix" | "_lastUpdateTimeUnix" => return Ok(Kind::Date),
        _ => {}
    }
    if let Some(of) = name.strip_prefix("len(").and_then(|rest| rest.strip_suffix(')')) {
        return collection.property(of).map(|_| Kind::Integer).ok_or_else(|| unknown(of, collection));
    }
    let Property { data_type, .. } = collection.property(name).ok_or_else(|| unknown(name, collection))?;
    match data_type {
        DataType::Text | DataType::Uuid => Ok(Kind::Text),
        // References by how many there are.
        DataType::Integer | DataType::Reference(_) => Ok(Kind::Integer),
        DataType::Number => Ok(Kind::Number),
        DataType::Boolean => Ok(Kind::Boolean),
        DataType::Date => Ok(Kind::Date),
        DataType::GeoCoordinates => Ok(Kind::Place),
        DataType::PhoneNumber | DataType::Blob | DataType::Object => Err(Unusable(format!(
            "Weaviate cannot filter by {name}: it is an object, a phone number or a blob"
        ))),
    }
}

fn unknown(name: &str, collection: &Collection) -> Unusable {
    Unusable(format!(
        "{} has no property {name:?}; its properties: {}",
        collection.name,
        collection.property_names()
    ))
}

fn typed(operator: Operator, kind: Kind, value: &Value) -> Result<Typed, String> {
    let wrong = |needed: &str| format!("value is {value}; it must be {needed}");
    match (operator, kind) {
        (Operator::IsNull, _) => value.as_bool().map(Typed::Boolean).ok_or_else(|| wrong("true or false")),
        (Operator::WithinGeoRange, Kind::Place) => range(value).ok_or_else(|| {
            wrong("like {\"latitude\": 52.5, \"longitude\": 13.4, \"max_distance_meters\": 1000}")
        }),
        (Operator::WithinGeoRange, _) => Err("only a property with geo coordinates has a place".into()),
        (_, Kind::Place) => Err("a place can only be compared by WithinGeoRange".into()),
        (Operator::Like, Kind::Text) => text(value).map(Typed::Text).ok_or_else(|| wrong("a text")),
        (Operator::Like, _) => Err("only a text can be compared by Like".into()),
        (Operator::ContainsAny | Operator::ContainsAll | Operator::ContainsNone, _) => {
            let items = value.as_array().filter(|items| !items.is_empty());
            items
                .and_then(|items| list(kind, items))
                .ok_or_else(|| wrong(&format!("a list, each item {}", kind.needs())))
        }
        (_, _) => one(kind, value).ok_or_else(|| wrong(kind.needs())),
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// A time in milliseconds since 1970 as well as a date: that is how Weaviate gives the times of objects.
fn date(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => number.as_u64().map(|number| number.to_string()),
        _ => None,
    }
}

fn one(kind: Kind, value: &Value) -> Option<Typed> {
    match kind {
        Kind::Text => text(value).map(Typed::Text),
        Kind::Date => date(value).map(Typed::Date),
        Kind::Integer => value.as_i64().map(Typed::Integer),
        Kind::Number => value.as_f64().map(Typed::Number),
        Kind::Boolean => value.as_bool().map(Typed::Boolean),
        Kind::Place => None,
    }
}

fn list(kind: Kind, items: &[Value]) -> Option<Typed> {
    match kind {
        Kind::Text => items.iter().map(text).collect::<Option<_>>().map(Typed::Texts),
        Kind::Date => items.iter().map(date).collect::<Option<_>>().map(Typed::Dates),
        Kind::Integer => items.iter().map(Value::as_i64).collect::<Option<_>>().map(Typed::Integers),
        Kind::Number => items.iter().map(Value::as_f64).collect::<Option<_>>().map(Typed::Numbers),
        Kind::Boolean => items.iter().map(Value::as_bool).collect::<Option<_>>().map(Typed::Booleans),
        Kind::Place => None,
    }
}

fn range(value: &Value) -> Option<Typed> {
    let fields: &Map<String, Value> = value.as_object().filter(|fields| fields.len() == 3)?;
    let number = |name: &str| fields.get(name).and_then(Value::as_f64);
    Some(Typed::Range {
        latitude: number("latitude")?,
        longitude: number("longitude")?,
        meters: number("max_distance_meters").filter(|meters| *meters >= 0.0)?,
    })
}

impl Condition {
    /// As the `where` argument of a GraphQL query.
    pub(crate) fn to_literal(&self) -> Literal {
        match &self.0 {
            Form::Joined { operator, operands } => Literal::object([
                ("operator", Some(Literal::Word(operator.name()))),
                ("operands", Some(Literal::List(operands.iter().map(Self::to_literal).collect()))),
            ]),
            Form::Compared { operator, path, value } => {
                let (field, literal) = value.to_literal();
                Literal::object([
                    ("operator", Some(Literal::Word(operator.name()))),
                    ("path", Some(Literal::texts(path.clone()))),
                    (field, Some(literal)),
                ])
            }
        }
    }

    /// As the `where` of a REST call.
    pub fn to_json(&self) -> Value {
        match &self.0 {
            Form::Joined { operator, operands } => {
                json!({"operator": operator.name(), "operands": operands.iter().map(Self::to_json).collect::<Vec<_>>()})
            }
            Form::Compared { operator, path, value } => {
                let (field, value) = value.to_json();
                json!({"operator": operator.name(), "path": path, field: value})
            }
        }
    }
}

impl Typed {
    fn to_literal(&self) -> (&'static str, Literal) {
        let list = |items: &mut dyn Iterator<Item = Literal>| Literal::List(items.collect());
        match self {
            Self::Text(text) => ("valueText", Literal::Text(text.clone())),
            Self::Date(date) => ("valueDate", Literal::Text(date.clone())),
            Self::Integer(number) => ("valueInt", Literal::Integer(*number)),
            Self::Number(number) => ("valueNumber", Literal::Number(*number)),
            Self::Boolean(value) => ("valueBoolean", Literal::Boolean(*value)),
            Self::Texts(texts) => ("valueText", Literal::texts(texts.clone())),
            Self::Dates(dates) => ("valueDate", Literal::texts(dates.clone())),
            Self::Integers(numbers) => ("valueInt", list(&mut numbers.iter().copied().map(Literal::Integer))),
            Self::Numbers(numbers) => {
                ("valueNumber", list(&mut numbers.iter().copied().map(Literal::Number)))
            }
            Self::Booleans(values) => {
                ("valueBoolean", list(&mut values.iter().copied().map(Literal::Boolean)))
            }
            Self::Range { latitude, longitude, meters } => {
                let place = Literal::object([
                    ("latitude", Some(Literal::Number(*latitude))),
                    ("longitude", Some(Literal::Number(*longitude))),
                ]);
                let distance = Literal::object([("max", Some(Literal::Number(*meters)))]);
                let range = [("geoCoordinates", Some(place)), ("distance", Some(distance))];
                ("valueGeoRange", Literal::object(range))
            }
        }
    }

    /// REST has fields of their own for lists.
    fn to_json(&self) -> (&'static str, Value) {
        match self {
            Self::Text(text) => ("valueText", json!(text)),
            Self::Date(date) => ("valueDate", json!(date)),
            Self::Integer(number) => ("valueInt", json!(number)),
            Self::Number(number) => ("valueNumber", json!(number)),
            Self::Boolean(value) => ("valueBoolean", json!(value)),
            Self::Texts(texts) => ("valueTextArray", json!(texts)),
            Self::Dates(dates) => ("valueDateArray", json!(dates)),
            Self::Integers(numbers) => ("valueIntArray", json!(numbers)),
            Self::Numbers(numbers) => ("valueNumberArray", json!(numbers)),
            Self::Booleans(values) => ("valueBooleanArray", json!(values)),
            Self::Range { latitude, longitude, meters } => {
                let place = json!({"latitude": latitude, "longitude": longitude});
                ("valueGeoRange", json!({"geoCoordinates": place, "distance": {"max": meters}}))
            }
        }
    }
}

#[cfg(test)]
mod tests;
