//! Environment variables as overrides: looked up by the caller, parsed here.

use std::str::FromStr;

/// How a variable is looked up: the process environment, or a map in a test.
pub type Lookup<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// A variable whose value cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentError {
    /// The variable's name.
    pub variable: String,
    /// What it holds.
    pub value: String,
    /// What it should hold.
    pub expected: &'static str,
}

impl std::fmt::Display for EnvironmentError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { variable, value, expected } = self;
        write!(f, "the environment variable {variable} is {value:?}; it should be {expected}")
    }
}

impl std::error::Error for EnvironmentError {}

/// Sets `target` from a variable that is present and not empty.
pub(crate) fn set<T: FromStr>(
    lookup: &Lookup<'_>,
    variable: &str,
    expected: &'static str,
    target: &mut T,
) -> Result<(), EnvironmentError> {
    if let Some(value) = lookup(variable).filter(|value| !value.is_empty()) {
        *target =
            value.parse().map_err(|_| EnvironmentError { variable: variable.to_owned(), value, expected })?;
    }
    Ok(())
}
