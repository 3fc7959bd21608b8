//! The configuration: `config/default.toml`, a file, the environment, the flags; see [`layers`].

mod environment;
mod layers;
mod sections;

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::Value;

pub(crate) use layers::Origin;
pub(crate) use sections::{AdminConfig, LogFormat, Role, Settings, TelemetryConfig};

use environment::CONFIG_VARIABLE;
use layers::Layers;

/// The lowest layer, which names every key there is.
const DEFAULTS: &str = include_str!("../../../config/default.toml");
/// Keys whose values nobody is shown.
const SECRETS: [&str; 3] = ["admin.password", "redis.sentinel_password", "kafka.password"];
/// What stands for a secret.
const HIDDEN: &str = "***";

/// A value that a flag of the command line gives to a key.
pub(crate) struct FlagValue {
    pub(crate) flag: &'static str,
    pub(crate) key: &'static str,
    /// As in an environment variable: a list has commas.
    pub(crate) text: String,
}

/// What is in force, and where each value came from.
pub(crate) struct Configuration {
    pub(crate) settings: Settings,
    layers: Layers,
}

/// Everything that is wrong with the configuration, a sentence each.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ConfigError(Vec<String>);

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [only] => write!(f, "the configuration is wrong: {only}"),
            several => {
                f.write_str("the configuration is wrong:")?;
                several.iter().try_for_each(|sentence| write!(f, "\n  - {sentence}"))
            }
        }
    }
}

impl Configuration {
    /// Lays everything that is given over the defaults.
    ///
    /// # Errors
    /// Every unknown key, wrong value and unknown variable at once.
    pub(crate) fn load(
        file: Option<&Path>,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        flags: Vec<FlagValue>,
    ) -> Result<Self, ConfigError> {
        let mut layers =
            Layers::from_defaults(DEFAULTS).map_err(|error| ConfigError(vec![error]))?;
        let mut faults = Vec::new();
        let environment = environment::read(variables, &mut faults);
        let named = environment.iter().find(|given| given.name == CONFIG_VARIABLE);
        let file = file.map(Path::to_owned).or_else(|| named.map(|given| (&given.text).into()));
        if let Some(path) = file {
            faults.extend(add_file(&mut layers, &path));
        }
        for given in environment {
            if let Some(key) = given.key {
                let origin = Origin::Environment(given.name);
                faults.extend(layers.set_text(key, &given.text, origin).err());
            }
        }
        for FlagValue { flag, key, text } in flags {
            faults.extend(layers.set_text(key, &text, Origin::Flag(flag)).err());
        }
        if !faults.is_empty() {
            return Err(ConfigError(faults));
        }
        let settings = typed(&layers).map_err(|fault| ConfigError(vec![fault]))?;
        let faults: Vec<_> = settings
            .faults()
            .into_iter()
            .map(|(key, sentence)| format!("{}: {key} {sentence}", layers.origin(listing(&key))))
            .collect();
        if faults.is_empty() { Ok(Self { settings, layers }) } else { Err(ConfigError(faults)) }
    }

    /// Every key with its value in force and its origin, as TOML, secrets hidden.
    pub(crate) fn explain(&self) -> String {
        let lines: Vec<(String, &Origin)> = self
            .layers
            .in_order()
            .into_iter()
            .map(|(key, entry)| (format!("{key} = {}", shown(key, &entry.value)), &entry.origin))
            .collect();
        let width = lines.iter().map(|(line, _)| line.chars().count()).max().unwrap_or(0);
        lines.iter().map(|(line, origin)| format!("{line:width$}  # {origin}\n")).collect()
    }
}

fn add_file(layers: &mut Layers, path: &PathBuf) -> Vec<String> {
    match std::fs::read_to_string(path) {
        Ok(text) => layers.add_file(path, &text),
        Err(error) => vec![format!("cannot read {}: {error}", path.display())],
    }
}

/// The values as the types that the program uses.
fn typed(layers: &Layers) -> Result<Settings, String> {
    serde_path_to_error::deserialize(layers.to_table()).map_err(|error| {
        let path = error.path().to_string();
        let key = listing(&path);
        let reason = error.inner().message();
        format!("{}: {}: {}", layers.origin(key), path, reason.trim_end())
    })
}

/// The key that a path within the settings leads to: a place in a list belongs to its list.
fn listing(path: &str) -> &str {
    path.split('[').next().unwrap_or_default()
}

fn shown(key: &str, value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() => "\"\"".to_owned(),
        _ if SECRETS.contains(&key) => format!("\"{HIDDEN}\""),
        Value::String(text) => Value::String(without_password(text)).to_string(),
        _ => value.to_string(),
    }
}

/// A URL with what stands between `//` and `@` hidden; any other text as it is.
fn without_password(text: &str) -> String {
    match (text.find("://"), text.rfind('@')) {
        (Some(start), Some(end)) if start + 3 <= end => {
            format!("{}{HIDDEN}{}", &text[..start + 3], &text[end..])
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
