//! The token that whoever changes something must show.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

/// The file below the state folder that holds the token.
pub const TOKEN_FILE: &str = "admin.token";

/// The token's file cannot be read or made.
#[derive(Debug, thiserror::Error)]
#[error("the admin token {path}: {source}; make it readable for the router, or remove it to get a new one", path = path.display())]
pub struct TokenError {
    /// Which file.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// What a request must carry as `Authorization: Bearer <token>` to change something.
#[derive(Clone)]
pub struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Token([redacted])")
    }
}

impl Token {
    /// The token of a state folder; made at the first start, readable for its owner alone.
    ///
    /// # Errors
    ///
    /// The file cannot be read or made, or holds nothing.
    pub fn of(state: &Path) -> Result<Self, TokenError> {
        let path = state.join(TOKEN_FILE);
        let failed = |source| TokenError { path: path.clone(), source };
        match fs::read_to_string(&path) {
            Ok(text) if text.trim().is_empty() => {
                Err(failed(io::Error::new(io::ErrorKind::InvalidData, "it is empty")))
            }
            Ok(text) => Ok(Self(text.trim().to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let token = Self::draw();
                token.write(&path).map_err(failed)?;
                Ok(token)
            }
            Err(error) => Err(failed(error)),
        }
    }

    fn draw() -> Self {
        let bytes: [u8; 32] = rand::random();
        let mut text = String::new();
        for byte in bytes {
            use std::fmt::Write as _;
            // A string takes any text.
            let _ = write!(text, "{byte:02x}");
        }
        Self(text)
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        let mut options = File::options();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path)?;
        writeln!(file, "{}", self.0)
    }

    /// Whether a request's `Authorization` header shows it. How long this takes does not tell how much of a
    /// guess was right.
    pub(super) fn is_shown(&self, header: Option<&str>) -> bool {
        let shown = header.and_then(|header| header.strip_prefix("Bearer ")).unwrap_or_default();
        let (shown, own) = (shown.trim().as_bytes(), self.0.as_bytes());
        let difference = shown.iter().zip(own).fold(0, |sum, (left, right)| sum | (left ^ right));
        shown.len() == own.len() && difference == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once_for_its_owner_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let (first, again) = (Token::of(folder.path()), Token::of(folder.path()));
        let (first, again) = (first.expect("it is made"), again.expect("it is read"));
        assert_eq!((first.0.len(), &first.0), (64, &again.0));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let metadata = fs::metadata(folder.path().join(TOKEN_FILE)).expect("it is there");
            assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn nothing_but_the_token_is_the_token() {
        let token = Token::draw();
        assert!(token.is_shown(Some(&format!("Bearer {}", token.0))));
        let other = Token::draw();
        for wrong in ["", "Bearer ", "Bearer 0", &format!("Bearer {}", other.0), &token.0] {
            assert!(!token.is_shown(Some(wrong)), "{wrong}");
        }
        assert!(!token.is_shown(None));
    }
}
