//! Messages that show whether they are whole.

/// Bytes (at least 8) that tell their number, and whether they are whole.
pub fn pattern(number: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![(number % 251) as u8; len.max(8)];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes
}

/// The number of a [`pattern`]; panics where it is torn.
#[track_caller]
pub fn number_of(bytes: &[u8]) -> u64 {
    let number = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    assert!(
        bytes == pattern(number, bytes.len()),
        "torn: {} bytes of message {number}",
        bytes.len()
    );
    number
}
