//! A claim that exists can only grow: what is asked of it is fitted to what it is.

use crate::child::Claim;
use crate::render::Desired;
use mcp_system_crds::Reason;
use mcp_system_plan::{Finding, parse_memory};
use serde_json::{Value, json};

/// The claim as it can be applied, and what of it cannot be had.
pub(super) fn fit(object: &Desired, claim: &Claim) -> (Value, Vec<Finding>) {
    let mut body = object.body.clone();
    let mut notes = Vec::new();
    let name = &object.name;
    let spec = &mut body["spec"];

    let wanted = spec["resources"]["requests"]["storage"].as_str().map(str::to_owned);
    if let (Some(wanted), Some(has)) = (wanted, &claim.size)
        && parse_memory(&wanted) < parse_memory(has)
    {
        notes.push(Finding::new(
            Reason::NotSupported,
            format!("the volume claim {name} has {has} and cannot shrink to {wanted}: set spec.storage.embedded.size to {has}"),
        ));
        spec["resources"]["requests"]["storage"] = json!(has);
    }

    let wanted = spec["storageClassName"].as_str().map(str::to_owned);
    if let Some(wanted) = wanted.filter(|wanted| claim.storage_class_name.as_ref() != Some(wanted)) {
        let has = claim.storage_class_name.as_deref().unwrap_or("none");
        notes.push(Finding::new(
            Reason::NotSupported,
            format!(
                "the volume claim {name} has the storage class {has}, which cannot become {wanted}: set \
                 spec.storage.embedded.storageClassName back, or move the data to a new claim"
            ),
        ));
    }
    if let Some(fields) = spec.as_object_mut() {
        match &claim.storage_class_name {
            Some(class) => fields.insert("storageClassName".to_owned(), json!(class)),
            None => fields.shift_remove("storageClassName"),
        };
        fields.insert("accessModes".to_owned(), json!(claim.access_modes));
    }
    (body, notes)
}
