//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).

/// Adds the 16-bit words of `bytes` to a running one's complement sum.
///
/// Only the last part of a packet may have an odd length. Sums may be taken in any byte order as long as the
/// result is swapped back (RFC 1071 §2 B), so this adds eight bytes at a time.
pub fn add(sum: u32, bytes: &[u8]) -> u32 {
    let mut wide: u64 = 0;
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        let word = u64::from_be_bytes(word.try_into().expect("chunks of eight"));
        let (total, carry) = wide.overflowing_add(word);
        wide = total + u64::from(carry);
    }
    let mut last = [0; 8];
    let rest = words.remainder();
    last[..rest.len()].copy_from_slice(rest);
    let (total, carry) = wide.overflowing_add(u64::from_be_bytes(last));
    wide = total + u64::from(carry);
    // Two folds bring 64 bits with their carries into 17 bits at most.
    let half = (wide >> 32) + (wide & 0xffff_ffff);
    let folded = (half >> 32) as u32 + fold32(half as u32);
    sum.wrapping_add(folded)
}

fn fold32(value: u32) -> u32 {
    (value >> 16) + (value & 0xffff)
}

/// Folds a running sum into the checksum field.
pub fn finish(sum: u32) -> u16 {
    let mut sum = sum;
    while sum > 0xffff {
        sum = fold32(sum);
    }
    !(sum as u16)
}

/// The checksum of one contiguous part.
pub fn of(bytes: &[u8]) -> u16 {
    finish(add(0, bytes))
}

/// The sum over the pseudo header: `addresses` are source and destination as they stand in the packet.
pub fn pseudo_header(addresses: &[u8], protocol: u8, length: usize) -> u32 {
    add(0, addresses) + u32::from(protocol) + fold32(length as u32)
}

/// The checksum after one 16-bit field changed (RFC 1624 equation 3).
pub fn update(checksum: u16, old: u16, new: u16) -> u16 {
    finish(u32::from(!checksum) + u32::from(!old) + u32::from(new))
}
