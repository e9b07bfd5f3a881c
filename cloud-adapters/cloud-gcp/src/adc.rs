//! Where Google's libraries would find credentials; without any they would try for a minute on each call.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use cloud_core::ProviderError;

/// What the machine is asked, so that tests can answer instead.
pub(crate) struct Machine<'a> {
    pub(crate) variable: &'a dyn Fn(&str) -> Option<OsString>,
    pub(crate) is_readable: &'a dyn Fn(&Path) -> bool,
    /// The maker's name for this machine: on Compute Engine a metadata service hands out tokens.
    pub(crate) product: &'a str,
}

/// Looks for application default credentials on this machine.
pub(crate) fn preflight() -> Result<(), ProviderError> {
    let product = std::fs::read_to_string("/sys/class/dmi/id/product_name").unwrap_or_default();
    look(&Machine {
        variable: &|name| std::env::var_os(name),
        is_readable: &|path| std::fs::File::open(path).is_ok(),
        product: &product,
    })
}

/// The order is that of the library: the variable, then the file of `gcloud`, then the machine's own account.
pub(crate) fn look(machine: &Machine<'_>) -> Result<(), ProviderError> {
    const WAY_OUT: &str =
        "run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS to a key file";
    if let Some(named) = (machine.variable)("GOOGLE_APPLICATION_CREDENTIALS") {
        let path = PathBuf::from(named);
        if (machine.is_readable)(&path) {
            return Ok(());
        }
        return Err(ProviderError::Permission(format!(
            "no Google credentials: GOOGLE_APPLICATION_CREDENTIALS names {}, which cannot be read; {WAY_OUT}",
            path.display()
        )));
    }
    let home = (machine.variable)("HOME").map(PathBuf::from);
    let file = home.map(|home| home.join(".config/gcloud/application_default_credentials.json"));
    if file.as_deref().is_some_and(machine.is_readable) || machine.product.starts_with("Google") {
        return Ok(());
    }
    let file = file.map_or_else(|| "no HOME".to_owned(), |file| format!("no {}", file.display()));
    Err(ProviderError::Permission(format!("no Google credentials ({file}): {WAY_OUT}")))
}
