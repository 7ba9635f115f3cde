//! Which settings a running server can take over, and what a change to the others means.
//!
//! A field says that it can be taken over with `#[schemars(extend("x-mcp-reload" = true))]`, once, in its type. The object
//! around it must always be written: where one is left out that has its default, it is the object that is marked.
//! The kit and the operator both read that here: the first takes such a setting over, the second
//! replaces a server's copies when any other changes.

use crate::{ServerConfig, Settings};
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};
use std::any::TypeId;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The attribute of a field that a running server takes over.
const MARK: &str = "x-mcp-reload";

/// Where fields stand, each from the outermost object on.
type Paths = Vec<Vec<String>>;

/// A file's settings as far as a running server can have them.
#[derive(Clone, Debug, PartialEq)]
pub struct TakenOver<S: Settings> {
    /// The new settings where they can be taken over, the old ones elsewhere.
    pub config: ServerConfig<S>,
    /// The fields (`listen.port`) whose new value needs a restart, sorted.
    pub needs_restart: Vec<String>,
}

/// The settings without those that a running server can take over: when this changes, it has to be restarted.
pub fn restart_view<S: Settings>(config: &ServerConfig<S>) -> Value {
    let mut view = serde_json::to_value(config).unwrap_or_default();
    for path in reloadable::<S>().iter() {
        if let Some((object, field)) = parent(&mut view, path) {
            object.shift_remove(field);
        }
    }
    view
}

/// What becomes of a server with the settings `current` when its file says `new`.
///
/// # Errors
/// Where the two cannot be put together; the current settings are to stay then.
pub fn take_over<S: Settings>(
    current: &ServerConfig<S>,
    new: &ServerConfig<S>,
) -> Result<TakenOver<S>, serde_json::Error> {
    let mut needs_restart = Vec::new();
    differences(&restart_view(current), &restart_view(new), "", &mut needs_restart);
    needs_restart.sort();
    let (mut merged, mut wanted) = (serde_json::to_value(current)?, serde_json::to_value(new)?);
    for path in reloadable::<S>().iter() {
        // Where the object around it is missing on one side, that is a difference which needs a restart.
        let (Some((object, field)), Some((source, _))) =
            (parent(&mut merged, path), parent(&mut wanted, path))
        else {
            continue;
        };
        match source.shift_remove(field) {
            Some(value) => object.insert(field.to_owned(), value),
            None => object.shift_remove(field),
        };
    }
    Ok(TakenOver { config: serde_json::from_value(merged)?, needs_restart })
}

/// The paths of all fields that carry the mark. A schema takes milliseconds to make, so it is made once for each type.
fn reloadable<S: Settings>() -> Arc<Paths> {
    static KNOWN: Mutex<BTreeMap<TypeId, Arc<Paths>>> = Mutex::new(BTreeMap::new());
    // A map is whole after each insertion, whatever panicked meanwhile.
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.entry(TypeId::of::<S>()).or_insert_with(|| Arc::new(read_from_schema::<S>())).clone()
}

fn read_from_schema<S: Settings>() -> Paths {
    let mut settings = SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    let schema = settings.into_generator().into_root_schema_for::<ServerConfig<S>>();
    let mut paths = Vec::new();
    marked(schema.as_value(), &mut Vec::new(), &mut paths);
    paths
}

fn marked(schema: &Value, path: &mut Vec<String>, paths: &mut Paths) {
    if schema.get(MARK) == Some(&Value::Bool(true)) {
        paths.push(path.clone());
        return;
    }
    for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        path.push(name.clone());
        marked(property, path, paths);
        path.pop();
    }
    // An optional object is one of two.
    for choice in schema.get("anyOf").and_then(Value::as_array).into_iter().flatten() {
        marked(choice, path, paths);
    }
}

/// The object that holds the last part of a path, and that part.
fn parent<'a>(value: &'a mut Value, path: &'a [String]) -> Option<(&'a mut Map<String, Value>, &'a str)> {
    let (field, before) = path.split_last()?;
    let object = before.iter().try_fold(value, |value, part| value.get_mut(part))?;
    Some((object.as_object_mut()?, field))
}

fn differences(old: &Value, new: &Value, path: &str, found: &mut Vec<String>) {
    let (Value::Object(before), Value::Object(after)) = (old, new) else {
        if old != new {
            found.push(path.to_owned());
        }
        return;
    };
    let added = after.keys().filter(|name| !before.contains_key(*name));
    for name in before.keys().chain(added) {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let of = |object: &Map<String, Value>| object.get(name).cloned().unwrap_or_default();
        differences(&of(before), &of(after), &path, found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LogLevel, MemorySettings, OrchestratorSettings, ToolsSettings, WeaviateDirectSettings};

    type Config = ServerConfig<OrchestratorSettings>;

    fn parsed(text: &str) -> Config {
        Config::parse(text).expect("parses")
    }

    #[test]
    fn the_restart_view_is_without_what_can_be_taken_over() {
        let view = restart_view(&Config::of_kind());
        assert!(view.pointer("/listen/port").is_some() && view.pointer("/log/format").is_some());
        for gone in
            ["/log/level", "/resilience", "/settings/backends", "/settings/gateway/callTimeoutSeconds"]
        {
            assert!(view.pointer(gone).is_none(), "{gone} in {view}");
        }
        assert_eq!(view, restart_view(&parsed("{log: {level: debug}, resilience: {failureThreshold: 1}}")));
        assert_ne!(view, restart_view(&parsed("{listen: {port: 1}}")));
    }

    #[test]
    fn every_server_can_take_over_the_level_of_its_log() {
        fn of<S: Settings>() -> Arc<Paths> {
            reloadable::<S>()
        }
        for paths in [of::<MemorySettings>(), of::<OrchestratorSettings>(), of::<ToolsSettings>()] {
            assert!(paths.contains(&vec!["log".to_owned(), "level".to_owned()]), "{paths:?}");
        }
    }

    #[test]
    fn the_paths_are_made_once_for_each_type() {
        assert!(Arc::ptr_eq(&reloadable::<MemorySettings>(), &reloadable::<MemorySettings>()));
        assert_ne!(reloadable::<MemorySettings>(), reloadable::<OrchestratorSettings>());
        assert_eq!(*reloadable::<ToolsSettings>(), read_from_schema::<ToolsSettings>());
    }

    #[test]
    fn what_can_be_taken_over_is_and_the_rest_is_named() {
        let current = parsed("{listen: {port: 8002, allowedHosts: [a]}, callers: {keysFile: /k}}");
        let new = parsed(
            "{listen: {port: 9, allowedHosts: [a, b]}, log: {level: debug}, settings: {backends: [{name: x, url: y}]}}",
        );
        let taken = take_over(&current, &new).expect("fits");
        assert_eq!(taken.needs_restart, ["callers.keysFile", "listen.allowedHosts", "listen.port"]);
        assert_eq!(taken.config.log.level, LogLevel::Debug);
        assert_eq!(taken.config.settings.backends, new.settings.backends);
        assert_eq!(
            (taken.config.listen, taken.config.callers),
            (current.listen.clone(), current.callers.clone())
        );
        let same = take_over(&current, &current).expect("fits");
        assert_eq!(same, TakenOver { config: current, needs_restart: Vec::new() });
    }

    #[test]
    fn what_is_taken_over_stands_in_objects_that_are_always_written() {
        fn check<S: Settings>() {
            let mut written = serde_json::to_value(ServerConfig::<S>::of_kind()).expect("JSON");
            for path in reloadable::<S>().iter() {
                assert!(parent(&mut written, path).is_some(), "{path:?} needs a restart at times");
            }
        }
        check::<MemorySettings>();
        check::<OrchestratorSettings>();
        check::<ToolsSettings>();
        check::<WeaviateDirectSettings>();
    }

    #[test]
    fn caches_of_the_default_size_are_not_written_and_take_another_over() {
        let parsed = |text: &str| ServerConfig::<MemorySettings>::parse(text).expect("parses");
        let (plain, sized) = (parsed("{}"), parsed("settings: {cache: {maxEntries: 7}}"));
        for (current, new) in [(&plain, &sized), (&sized, &plain)] {
            let taken = take_over(current, new).expect("fits");
            assert_eq!(taken, TakenOver { config: new.clone(), needs_restart: Vec::new() });
        }
        assert_eq!(restart_view(&plain), restart_view(&sized));
    }
}
