//! The secret that opens the door.
//!
//! `THREADSCAPE_TOKEN`, or else a file in the state folder that only its owner may read. A file
//! that others can read is refused rather than repaired: whoever could read it may have done so.

use std::fmt::{self, Write as _};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use subtle::ConstantTimeEq as _;

pub const VARIABLE: &str = "THREADSCAPE_TOKEN";
const SHORTEST: usize = 16;
const LONGEST: usize = 256;

/// Compared in constant time; never printed by `{:?}`.
#[derive(Clone)]
pub struct Token(String);

/// Why there is no token to serve with.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("{from} holds no usable token: it takes {SHORTEST} to {LONGEST} letters, digits or -._~; {fix}")]
    Unfit { from: String, fix: String },
    #[error(
        "the token file {path} can be read by others (mode {mode:04o}); delete it, so that a new one is made: rm {path}"
    )]
    Open { path: PathBuf, mode: u32 },
    #[error("the token file {path} belongs to user {owner}, not to us; use another --state-dir or delete it")]
    Foreign { path: PathBuf, owner: u32 },
    #[error("the token file {0} is not a plain file; delete it, so that a new one is made")]
    NotAFile(PathBuf),
    #[error("could not keep the token in {path}; give a writable --state-dir or set {VARIABLE}")]
    Unwritable { path: PathBuf, source: io::Error },
    #[error("the kernel gives no random bytes: {0}; set {VARIABLE}")]
    NoRandom(getrandom::Error),
}

impl Token {
    /// The environment's token, or the state folder's, or a new one that is kept there.
    pub fn load_or_make(state_dir: &Path) -> Result<Token, TokenError> {
        match std::env::var_os(VARIABLE) {
            Some(given) => Token::given(&given.to_string_lossy()),
            None => Token::kept(state_dir),
        }
    }

    fn given(text: &str) -> Result<Token, TokenError> {
        fit(text).ok_or_else(|| TokenError::Unfit {
            from: VARIABLE.to_owned(),
            fix: format!("unset {VARIABLE} to have one made"),
        })
    }

    fn kept(state_dir: &Path) -> Result<Token, TokenError> {
        let path = state_dir.join("token");
        let unwritable = |source| TokenError::Unwritable {
            path: path.clone(),
            source,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(state_dir)
            .map_err(unwritable)?;
        if let Some(token) = read(&path)? {
            return Ok(token);
        }

        let mut bytes = [0u8; 32];
        getrandom::fill(&mut bytes).map_err(TokenError::NoRandom)?;
        let made = bytes.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });

        // Whole or not at all: written under another name, then linked. A link never replaces, so
        // of two daemons that start at once the second takes the first one's token.
        let draft = state_dir.join(format!("token.{}", std::process::id()));
        let _ = fs::remove_file(&draft);
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)
            .and_then(|mut file| {
                file.write_all(made.as_bytes())?;
                file.write_all(b"\n")?;
                file.sync_all()
            })
            .and_then(|()| match fs::hard_link(&draft, &path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
                _ => Ok(()),
            });
        let _ = fs::remove_file(&draft);
        written.map_err(unwritable)?;
        read(&path)?.ok_or_else(|| unwritable(io::ErrorKind::NotFound.into()))
    }

    pub(crate) fn matches(&self, offered: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(offered).into()
    }

    /// For the link that is printed once and the cookie.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

/// Only what needs no escape in a URL, a header or a cookie.
fn fit(text: &str) -> Option<Token> {
    let text = text.trim();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    ((SHORTEST..=LONGEST).contains(&text.len()) && text.bytes().all(plain)).then(|| Token(text.to_owned()))
}

fn read(path: &Path) -> Result<Option<Token>, TokenError> {
    // A link could point at a file that others chose, a pipe would make us wait.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits() as i32)
        .open(path)
    {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            return Err(TokenError::NotAFile(path.to_owned()));
        }
        Err(source) => {
            return Err(TokenError::Unwritable {
                path: path.to_owned(),
                source,
            });
        }
    };
    check(&file, path)?;
    let mut text = String::new();
    file.take(LONGEST as u64 + 2)
        .read_to_string(&mut text)
        .map_err(|source| TokenError::Unwritable {
            path: path.to_owned(),
            source,
        })?;
    fit(&text).map(Some).ok_or_else(|| TokenError::Unfit {
        from: path.display().to_string(),
        fix: "delete it, so that a new one is made".to_owned(),
    })
}

fn check(file: &File, path: &Path) -> Result<(), TokenError> {
    let meta = file.metadata().map_err(|source| TokenError::Unwritable {
        path: path.to_owned(),
        source,
    })?;
    let path = path.to_owned();
    if !meta.is_file() {
        return Err(TokenError::NotAFile(path));
    }
    if meta.uid() != rustix::process::geteuid().as_raw() {
        return Err(TokenError::Foreign {
            path,
            owner: meta.uid(),
        });
    }
    match meta.mode() & 0o7777 {
        mode if mode & 0o077 != 0 => Err(TokenError::Open { path, mode }),
        _ => Ok(()),
    }
}

#[cfg(test)]
impl Token {
    pub fn of_test(text: &str) -> Token {
        fit(text).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_token_is_made_once_and_kept_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("new/state");
        let made = Token::kept(&state).unwrap();
        assert_eq!(made.reveal().len(), 64);
        assert_eq!(fs::metadata(state.join("token")).unwrap().mode() & 0o777, 0o600);
        assert_eq!(Token::kept(&state).unwrap().reveal(), made.reveal());
        let left: Vec<_> = fs::read_dir(&state)
            .unwrap()
            .flatten()
            .map(|entry| entry.file_name())
            .collect();
        assert_eq!(left, ["token"], "no draft is left behind");
    }

    #[test]
    fn a_token_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        Token::kept(dir.path()).unwrap();
        let path = dir.path().join("token");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = Token::kept(dir.path()).unwrap_err().to_string();
        assert!(error.contains("0640") && error.contains("rm "), "{error}");
    }

    #[test]
    fn a_link_in_place_of_the_token_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/hostname", dir.path().join("token")).unwrap();
        assert!(matches!(Token::kept(dir.path()), Err(TokenError::NotAFile(_))));
    }

    #[test]
    fn a_short_or_strange_token_is_refused() {
        for text in ["", "short", "sixteen letters with spaces", "semi;colon;semi;colon"] {
            assert!(Token::given(text).is_err(), "{text}");
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(Token::kept(dir.path()), Err(TokenError::Unfit { .. })));
    }

    #[test]
    fn a_token_never_shows_in_a_log() {
        let token = Token::given("0123456789abcdef").unwrap();
        assert_eq!(format!("{token:?}"), "Token(hidden)");
        assert!(token.matches(b"0123456789abcdef"));
        assert!(!token.matches(b"0123456789abcdeg"));
        assert!(!token.matches(b"0123456789abcde"));
    }
}
