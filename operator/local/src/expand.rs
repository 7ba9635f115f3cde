//! `$(NAME)` in arguments and values, as Kubernetes expands it.

use std::collections::BTreeMap;

/// Puts the values of variables in place of `$(NAME)`. `$$` stands for one `$`, so that `$$(NAME)` is
/// `$(NAME)` as it is; a name that is not known stays as it is written.
pub(crate) fn expand(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        expanded.push_str(&rest[..dollar]);
        rest = &rest[dollar + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
            match variables.get(name) {
                Some(value) => expanded.push_str(value),
                None => expanded.extend(["$(", name, ")"]),
            }
            rest = after;
        } else {
            expanded.push('$');
        }
    }
    expanded.push_str(rest);
    expanded
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn variables() -> BTreeMap<String, String> {
        BTreeMap::from([("PORT".to_owned(), "8080".to_owned()), ("MONEY".to_owned(), "$(PORT)".to_owned())])
    }

    #[test]
    fn it_expands_as_kubernetes_does() {
        for (text, expected) in [
            ("--port=$(PORT)", "--port=8080"),
            ("$(PORT)$(PORT)", "80808080"),
            ("$$(PORT)", "$(PORT)"),
            ("$$$(PORT)", "$8080"),
            ("$(UNKNOWN)", "$(UNKNOWN)"),
            ("$(MONEY)", "$(PORT)"),
            ("$(PORT", "$(PORT"),
            ("$PORT", "$PORT"),
            ("costs 5$", "costs 5$"),
            ("$()", "$()"),
            ("ä$(PORT)ö", "ä8080ö"),
        ] {
            assert_eq!(expand(text, &variables()), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_has_no_dollar_stays(text in "[^$]*") {
            prop_assert_eq!(expand(&text, &variables()), text);
        }

        #[test]
        fn doubled_dollars_give_back_any_text(text in ".*") {
            prop_assert_eq!(expand(&text.replace('$', "$$"), &variables()), text);
        }
    }
}
