//! Where a secret stands: in a file, or in a credential of systemd; never in the configuration itself.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

/// The path of a file that holds a secret, or `credential:NAME` for a credential that systemd hands over
/// (`LoadCredential=NAME:…`, found in `$CREDENTIALS_DIRECTORY`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretFile {
    /// A file; after loading its path is absolute or relative to the working folder.
    Path(PathBuf),
    /// A credential of the service, by name.
    Credential(String),
}

/// A credential was named and the service manager handed none over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoCredentials {
    /// The credential's name.
    pub name: String,
}

impl std::fmt::Display for NoCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "credential `{}` is not there: $CREDENTIALS_DIRECTORY is not set",
            self.name
        )
    }
}

impl std::error::Error for NoCredentials {}

impl SecretFile {
    /// The file to read, given the folder that a relative path starts from.
    pub fn locate(&self, base: &Path) -> Result<PathBuf, NoCredentials> {
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        self.path(base, credentials.as_deref())
    }

    /// The file to read, given that folder and the value of `$CREDENTIALS_DIRECTORY`.
    fn path(&self, base: &Path, credentials: Option<&Path>) -> Result<PathBuf, NoCredentials> {
        match self {
            Self::Path(path) => Ok(base.join(path)),
            Self::Credential(name) => match credentials {
                Some(folder) => Ok(folder.join(name)),
                None => Err(NoCredentials { name: name.clone() }),
            },
        }
    }
}

impl<'de> Deserialize<'de> for SecretFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.strip_prefix("credential:") {
            // The name becomes a part of a path, so that it must not lead out of the folder.
            Some(name) if name.is_empty() || name.contains('/') || name.starts_with('.') => {
                Err(de::Error::custom(format!(
                    "{name:?} is no name of a credential\n\
                     write `credential:NAME` with the name that `LoadCredential=` gives it"
                )))
            }
            Some(name) => Ok(Self::Credential(name.to_owned())),
            None => Ok(Self::Path(PathBuf::from(text))),
        }
    }
}

impl JsonSchema for SecretFile {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "SecretFile".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_found_in_the_folder_of_the_service_only() {
        let secret = SecretFile::Credential("kafka".to_owned());
        let base = Path::new("/etc/floorgate");
        assert_eq!(
            secret.path(base, Some(Path::new("/run/c"))),
            Ok(PathBuf::from("/run/c/kafka"))
        );
        assert!(secret.path(base, None).is_err());
        let file = SecretFile::Path(PathBuf::from("password"));
        assert_eq!(
            file.path(base, None),
            Ok(PathBuf::from("/etc/floorgate/password"))
        );
    }
}
