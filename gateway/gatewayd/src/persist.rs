//! What outlives a restart: the peer's key, and what the mesh wants to remember. Small files, replaced as a whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use weave_model::{ShortId, Target};
use weave_trust::IdentityKey;

/// All that may be in the folder.
pub(crate) const FILES: [&str; 7] = [
    "key.pem",
    "memory.json",
    "identity.mark",
    "lock",
    "key.pem.new",
    "memory.json.new",
    "identity.mark.new",
];

/// The folder for the gateway's state, mode 0700.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    folder: PathBuf,
    /// Held while the gateway runs: two of them would take each other's addresses.
    _lock: std::sync::Arc<nix::fcntl::Flock<File>>,
}

/// What the next start should know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) short_id: Option<ShortId>,
    pub(crate) sequence: u64,
    /// Whom links were wanted with.
    pub(crate) targets: Vec<Target>,
    /// Whom the configuration named then.
    pub(crate) configured: Vec<Target>,
}

/// [`Memory`] as it stands in the file.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct MemoryFile {
    short_id: Option<u16>,
    sequence: u64,
    targets: Vec<String>,
    configured: Vec<String>,
}

impl Store {
    /// Opens the folder, made where it is missing; fails when another gateway uses it.
    pub(crate) fn open(folder: &Path) -> anyhow::Result<Store> {
        let context = || format!("while opening the state folder {}", folder.display());
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).with_context(context)?;
        let lock = private().open(folder.join("lock")).with_context(context)?;
        let lock = nix::fcntl::Flock::lock(lock, nix::fcntl::FlockArg::LockExclusiveNonblock)
            .map_err(|(_, error)| error)
            .with_context(|| format!("another gateway uses the state folder {}", folder.display()))?;
        Ok(Store { folder: folder.to_owned(), _lock: std::sync::Arc::new(lock) })
    }

    /// The peer's key and the number its certificates bear; made at the first start.
    ///
    /// The number is the time at which the key was made, so that a host that lost its state replaces its former self.
    pub(crate) fn key(&self, unix_seconds: u64) -> anyhow::Result<(IdentityKey, u64)> {
        let path = self.folder.join("key.pem");
        if let Some(text) = read(&path)? {
            let key = IdentityKey::from_pem(&text).with_context(|| {
                format!("while reading {}; remove it to start with a new key", path.display())
            })?;
            let issue =
                text.lines().find_map(|l| l.strip_prefix("issue: ")?.parse().ok()).unwrap_or_default();
            return Ok((key, issue));
        }
        let key = IdentityKey::from_seed(rand::random());
        self.replace("key.pem", &format!("issue: {unix_seconds}\n{}", key.to_pem()))?;
        Ok((key, unix_seconds))
    }

    /// What the last start remembered; nothing when there was none or its file is damaged, which is logged.
    pub(crate) fn memory(&self) -> anyhow::Result<Memory> {
        let path = self.folder.join("memory.json");
        let Some(text) = read(&path)? else { return Ok(Memory::default()) };
        let file: MemoryFile = serde_json::from_str(&text).unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), %error, "remembered state is damaged and left out");
            MemoryFile::default()
        });
        Ok(Memory {
            short_id: file.short_id.and_then(ShortId::new),
            sequence: file.sequence,
            targets: file.targets.iter().filter_map(|t| t.parse().ok()).collect(),
            configured: file.configured.iter().filter_map(|t| t.parse().ok()).collect(),
        })
    }

    /// Remembers.
    pub(crate) fn remember(&self, memory: &Memory) -> anyhow::Result<()> {
        let file = MemoryFile {
            short_id: memory.short_id.map(ShortId::number),
            sequence: memory.sequence,
            targets: memory.targets.iter().map(ToString::to_string).collect(),
            configured: memory.configured.iter().map(ToString::to_string).collect(),
        };
        self.replace("memory.json", &serde_json::to_string(&file)?)
    }

    /// Notes which identity is in use, for whoever has replaced its file and asked for a reload.
    pub(crate) fn mark(&self, mark: &str) -> anyhow::Result<()> {
        self.replace("identity.mark", &format!("{mark}\n"))
    }

    /// Writes a new file beside the old one and renames it over it, so that a crash leaves one of the two.
    fn replace(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let path = self.folder.join(name);
        let write = || -> io::Result<()> {
            let fresh = self.folder.join(format!("{name}.new"));
            let mut file = private().truncate(true).open(&fresh)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&fresh, &path)?;
            File::open(&self.folder)?.sync_all()
        };
        write().with_context(|| format!("while writing {}", path.display()))
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(0o600);
    options
}

fn read(path: &Path) -> anyhow::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("while reading {}", path.display())),
    }
}
