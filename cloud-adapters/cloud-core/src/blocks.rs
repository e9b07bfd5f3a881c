//! Blocks of addresses as text: those that the operator writes and those that a cloud tells. Pure.

use ipnet::{IpNet, Ipv4Net};

use crate::error::ProviderError;

/// Whether `text` is an IPv4 address, a slash and a length as clouds write them, with no bit set behind the length.
pub fn is_ipv4_block(text: &str) -> bool {
    text.parse::<Ipv4Net>().is_ok_and(|block| block == block.trunc() && block.to_string() == text)
}

/// The blocks that a cloud tells, each once and in order; `what` names what they are of.
pub fn parse_blocks<'a>(
    what: &str,
    texts: impl IntoIterator<Item = &'a str>,
) -> Result<Vec<IpNet>, ProviderError> {
    let parse = |text: &str| {
        let block = text.parse::<IpNet>();
        block.map_err(|_| ProviderError::Other(format!("{what} has {text:?} as a block of addresses")))
    };
    let mut blocks = texts.into_iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    blocks.sort();
    blocks.dedup();
    Ok(blocks)
}
