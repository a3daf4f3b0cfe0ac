//! The headers of one message: a run of { name length u8, name, value length u16, value }.

/// Validated headers of a message, in the publisher's order.
#[derive(Debug, Clone, Copy, Default)]
pub struct Headers<'a> {
    bytes: &'a [u8],
}

/// Why bytes are no headers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// A length points behind the end.
    #[error("header {0} is cut short")]
    Truncated(usize),
    /// A name is empty or is not visible ASCII.
    #[error("the name of header {0} is empty or not visible ASCII")]
    BadName(usize),
    /// A name of more than 255 bytes.
    #[error("a header's name has {0} bytes, at most 255 are allowed")]
    LongName(usize),
    /// A value of more than 65,535 bytes.
    #[error("a header's value has {0} bytes, at most 65535 are allowed")]
    LongValue(usize),
}

impl<'a> Headers<'a> {
    /// Checks encoded headers.
    ///
    /// # Errors
    ///
    /// The first breach of the encoding.
    pub fn check(bytes: &'a [u8]) -> Result<(Self, usize), HeaderError> {
        let (mut rest, mut count) = (bytes, 0);
        while !rest.is_empty() {
            let (name, _, behind) = split(rest).ok_or(HeaderError::Truncated(count))?;
            if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
                return Err(HeaderError::BadName(count));
            }
            count += 1;
            rest = behind;
        }
        Ok((Self { bytes }, count))
    }

    pub(super) fn trusted(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The encoded bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        let mut rest = self.bytes;
        std::iter::from_fn(move || {
            let (name, value, behind) = split(rest)?;
            rest = behind;
            Some((std::str::from_utf8(name).ok()?, value))
        })
    }

    /// The value of the first header of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.iter().find(|(each, _)| *each == name).map(|(_, value)| value)
    }
}

fn split(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (&name_len, rest) = bytes.split_first()?;
    let (name, rest) = rest.split_at_checked(name_len.into())?;
    let (value_len, rest) = rest.split_first_chunk()?;
    let (value, rest) = rest.split_at_checked(u16::from_le_bytes(*value_len).into())?;
    Some((name, value, rest))
}

/// Encodes the headers of one message.
#[derive(Debug, Clone, Default)]
pub struct HeadersBuilder {
    bytes: Vec<u8>,
}

impl HeadersBuilder {
    /// No headers yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a header.
    ///
    /// # Errors
    ///
    /// A name that is empty, too long or not visible ASCII; a value that is too long.
    pub fn push(&mut self, name: &str, value: &[u8]) -> Result<&mut Self, HeaderError> {
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(HeaderError::BadName(0));
        }
        let name_len = u8::try_from(name.len()).map_err(|_| HeaderError::LongName(name.len()))?;
        let value_len =
            u16::try_from(value.len()).map_err(|_| HeaderError::LongValue(value.len()))?;
        self.bytes.push(name_len);
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.extend_from_slice(&value_len.to_le_bytes());
        self.bytes.extend_from_slice(value);
        Ok(self)
    }

    /// Appends headers that were validated before.
    pub fn extend(&mut self, headers: Headers<'_>) -> &mut Self {
        self.bytes.extend_from_slice(headers.as_bytes());
        self
    }

    /// The encoded bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}
