//! SQL as far as it must be understood: where its words, strings and statements end, what it may do, and
//! which arguments it takes. The database itself is the second wall, not this.

mod guard;
mod scan;

use crate::arguments::Arguments;
pub use guard::{Access, as_table, check};
pub use scan::Dialect;
use scan::{Kind, scan};

/// A checked statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Its text, with `$1`, `$2` ... for parameters.
    pub text: String,
    /// The argument of each parameter, in order.
    pub parameters: Vec<String>,
    /// Whether it may write.
    pub write: bool,
}

impl Statement {
    /// Checks a template against the arguments that it may name.
    ///
    /// # Errors
    /// Says what cannot work.
    pub fn new(template: &str, dialect: Dialect, write: bool, arguments: &Arguments) -> Result<Self, String> {
        let tokens = scan(template, dialect, true)?;
        let access = if write { Access::Write } else { Access::Read };
        guard::check_tokens(&tokens, dialect, access)?;
        let mut text = String::new();
        let mut parameters: Vec<String> = Vec::new();
        let mut end = 0;
        for token in &tokens {
            match &token.kind {
                Kind::Placeholder(name) => {
                    arguments.knows(name)?;
                    let known = parameters.iter().position(|parameter| parameter == name);
                    let place = known.unwrap_or_else(|| {
                        parameters.push(name.clone());
                        parameters.len() - 1
                    });
                    text.push_str(&template[end..token.start]);
                    // SQLite knows ?1; it takes $1 as a name, and counts names by their first appearance.
                    let mark = if dialect == Dialect::Sqlite { '?' } else { '$' };
                    text.push(mark);
                    text.push_str(&(place + 1).to_string());
                    end = token.end;
                }
                Kind::Parameter => {
                    return Err(format!(
                        "{:?} is a parameter without a name; write {{{{name}}}}",
                        &template[token.start..token.end]
                    ));
                }
                Kind::Text | Kind::QuotedName(_) if template[token.start..token.end].contains("{{") => {
                    return Err(format!(
                        "{} stands within quotes, where it would be text; write the placeholder without them",
                        &template[token.start..token.end]
                    ));
                }
                _ => {}
            }
        }
        text.push_str(&template[end..]);
        arguments.are_used(parameters.iter().map(String::as_str))?;
        Ok(Self { text, parameters, write })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Map, Value, json};

    fn new(template: &str, dialect: Dialect, names: &[&str]) -> Result<Statement, String> {
        let properties: Map<String, Value> = names.iter().map(|name| ((*name).into(), json!({}))).collect();
        let schema = json!({ "properties": properties });
        Statement::new(template, dialect, false, &Arguments::new(schema.as_object()).expect("a schema"))
    }

    #[test]
    fn placeholders_become_bound_parameters() {
        let text = "SELECT a::text, '{x}' FROM t WHERE b = {{b}} AND c > {{ c }} OR b <> {{b}} -- {{no}}\n;";
        let statement = new(text, Dialect::Postgres, &["b", "c"]).expect("sound");
        assert_eq!(
            statement.text,
            "SELECT a::text, '{x}' FROM t WHERE b = $1 AND c > $2 OR b <> $1 -- {{no}}\n;"
        );
        assert_eq!(statement.parameters, ["b", "c"]);
        let statement = new("SELECT {{b}}, {{b}}", Dialect::Sqlite, &["b"]).expect("sound");
        assert_eq!(statement.text, "SELECT ?1, ?1");
    }

    #[test]
    fn what_would_not_be_bound_is_refused() {
        for (text, expected) in [
            ("SELECT '{{b}}'", "stands within quotes"),
            ("SELECT \"{{b}}\"", "stands within quotes"),
            ("SELECT {{c}}", "there is no argument \"c\""),
            ("SELECT 1", "\"b\" is declared, but no placeholder uses it"),
            ("SELECT {{b}}, $1", "parameter without a name"),
            ("SELECT {{b", "has no end"),
            ("SELECT {{env.B}}", "headers and query only"),
            ("DELETE FROM t WHERE b = {{b}}", "only reading statements"),
        ] {
            let error = new(text, Dialect::Postgres, &["b"]).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert!(new("SELECT {{b}}, ?", Dialect::Sqlite, &["b"]).is_err());
    }
}
