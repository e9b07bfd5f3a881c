//! Looks for secrets in what programs say, in every form in which one could slip out.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

/// The opening lines of PEM blocks that nobody may see say one of these.
const LABELS: [&str; 2] = ["PRIVATE KEY", "PSK"];

/// The letters of RFC 4648 §4.
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Named secrets, each as bytes that nobody may say.
#[derive(Debug, Clone, Default)]
pub struct Secrets {
    forms: Vec<(String, Vec<u8>)>,
}

impl Secrets {
    /// The keys in all files below a state directory.
    pub fn of_state(state: &Path) -> anyhow::Result<Secrets> {
        let mut secrets = Secrets::default();
        for path in files(state)? {
            let name = path.strip_prefix(state).unwrap_or(&path).display().to_string();
            secrets.add_pem(&name, &std::fs::read_to_string(&path)?);
        }
        ensure!(!secrets.forms.is_empty(), "{} holds no secret", state.display());
        Ok(secrets)
    }

    /// Adds what is secret in PEM: every line, and the key in it as bytes, as hex, as a list and in base64.
    pub fn add_pem(&mut self, name: &str, text: &str) {
        let mut block: Option<Vec<&str>> = None;
        for line in text.lines().map(str::trim) {
            if line.starts_with("-----BEGIN") && LABELS.iter().any(|label| line.contains(label)) {
                block = Some(Vec::new());
            } else if line.starts_with("-----END") {
                let Some(lines) = block.take() else { continue };
                let whole = lines.concat();
                for (at, line) in lines.into_iter().enumerate().filter(|(_, line)| line.len() >= 16) {
                    self.forms.push((format!("line {} of {name}", at + 1), line.as_bytes().to_vec()));
                }
                let seed = seed(&from_base64(&whole));
                let hex = seed.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
                let list = seed.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
                self.forms.push((format!("{name} as hex"), hex.into_bytes()));
                self.forms.push((format!("{name} as a list"), list.into_bytes()));
                self.add(name, &seed);
            } else if let Some(lines) = &mut block {
                lines.push(line);
            }
        }
    }

    /// Adds a secret as it is, in base64, and as JSON and Rust escape it.
    pub fn add(&mut self, name: &str, secret: &[u8]) {
        let encoded = base64(secret).trim_end_matches('=').as_bytes().to_vec();
        self.forms.push((format!("{name} as it is"), secret.to_vec()));
        self.forms.push((format!("{name} in base64"), encoded));
        if let Ok(text) = std::str::from_utf8(secret) {
            let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            self.forms.push((format!("{name} escaped"), escaped.into_bytes()));
        }
    }

    /// The names of the secrets that a text says.
    pub fn said_in(&self, text: &[u8]) -> Vec<&str> {
        let says = |secret: &[u8]| text.windows(secret.len()).any(|window| window == secret);
        self.forms.iter().filter(|(_, secret)| says(secret)).map(|(name, _)| name.as_str()).collect()
    }

    /// Proves that no text of a life says a secret, and that the search would find each form in the midst of it.
    pub fn check(&self, text: &[u8]) -> anyhow::Result<()> {
        let said = self.said_in(text);
        ensure!(said.is_empty(), "secrets were said: {said:?}");
        let (before, after) = text.split_at(text.len() / 2);
        for (name, secret) in &self.forms {
            let planted = [&before[before.len().saturating_sub(64)..], secret, &after[..after.len().min(64)]];
            ensure!(self.said_in(&planted.concat()).contains(&name.as_str()), "the search misses {name}");
        }
        Ok(())
    }

    /// How many forms are looked for.
    pub fn count(&self) -> usize {
        self.forms.len()
    }
}

/// The 32 bytes that a key is made of: in OpenSSH's form before its public half, in others at the end.
fn seed(key: &[u8]) -> Vec<u8> {
    // PROTOCOL.key of OpenSSH: the private half of Ed25519 is a string of 64 bytes.
    let after_length = key.windows(4).position(|four| four == [0, 0, 0, 64]).map(|at| at + 4);
    match after_length.and_then(|at| key.get(at..at + 32)) {
        Some(seed) => seed.to_vec(),
        None => key[key.len().saturating_sub(32)..].to_vec(),
    }
}

/// All files below a folder.
fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = std::fs::read_dir(folder).with_context(|| format!("while reading {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.extend(files(&entry.path())?);
        } else {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// RFC 4648 §4, with padding.
pub fn base64(bytes: &[u8]) -> String {
    let group = |group: &[u8]| {
        let bits =
            (0..3).fold(0, |bits, at| bits << 8 | u32::from(group.get(at).copied().unwrap_or_default()));
        let letter = |at: usize| char::from(LETTERS[(bits >> (18 - 6 * at) & 63) as usize]);
        (0..4).map(|at| if at <= group.len() { letter(at) } else { '=' }).collect::<String>()
    };
    bytes.chunks(3).map(group).collect()
}

/// Reads [`base64`]; skips what is none.
pub(crate) fn from_base64(text: &str) -> Vec<u8> {
    let values = text.bytes().filter_map(|byte| LETTERS.iter().position(|letter| *letter == byte));
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_usize, 0);
    for value in values {
        (bits, held) = (bits << 6 | value, held + 6);
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    bytes
}
