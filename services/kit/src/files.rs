//! Work on files that cannot leave its directory.
//!
//! Owns the name rules of SAFE-52 and a directory handle on which every operation is resolved below the opened directory by the
//! operating system (`openat2` or its emulation in cap-std). Refuses ambient paths, check-then-open, and following links outwards.
use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use cap_std::{
    ambient_authority,
    fs::{Dir, OpenOptions, OpenOptionsExt as _, Permissions},
};
use unicode_normalization::{UnicodeNormalization as _, is_nfc};

use crate::error::{Error, NOT_FOUND, Result};

crate::reasons! {
    PATH_REFUSED: InvalidArgument, "A file name breaks the rules for names or would leave its directory.", "Use relative UTF-8 names without `..`, control characters, backslash, trailing dot or `.git`.";
    PATH_COLLISION: InvalidArgument, "Two file names are equal once case and Unicode form are ignored.", "Rename one of the two files.";
    FILE_TOO_LARGE: InvalidArgument, "A file or tree is larger than the limit.", "Make the file or tree smaller.";
}

/// Longest component of a name in bytes.
const COMPONENT_BYTES_MAX: usize = 255;
/// Longest name in bytes.
const PATH_BYTES_MAX: usize = 1024;
/// Most components of a name.
const DEPTH_MAX: usize = 32;
/// Most entries one listing answers.
pub const ENTRIES_MAX: usize = 20_000;

/// A file name below some directory that follows SAFE-52; made only by [`FilePath::parse`] and [`FilePath::join`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FilePath(String);

impl FilePath {
    /// Checks and takes a relative name.
    ///
    /// # Errors
    /// PATH_REFUSED with the rule that is broken.
    pub fn parse(text: &str) -> Result<Self> {
        let refuse = |rule: &str| Err(Error::new(&PATH_REFUSED, format!("file name {text:?} is refused: {rule}")));
        if text.is_empty() || text.len() > PATH_BYTES_MAX {
            return refuse("it must have 1 to 1,024 bytes");
        }
        if text.starts_with('/') || text.contains('\\') {
            return refuse("it must be relative, without backslash");
        }
        if !is_nfc(text) {
            return refuse("it must be in Unicode form NFC");
        }
        if text.chars().any(|c| c.is_control() || is_bidi_control(c)) {
            return refuse("it must be free of control characters");
        }
        let components = text.split('/').collect::<Vec<_>>();
        if components.len() > DEPTH_MAX {
            return refuse("it must have at most 32 components");
        }
        match components.iter().find_map(|c| component_rule(c)) {
            Some(rule) => refuse(rule),
            None => Ok(Self(text.to_owned())),
        }
    }

    /// This name with a relative name below it.
    ///
    /// # Errors
    /// PATH_REFUSED as [`FilePath::parse`].
    pub fn join(&self, below: &str) -> Result<Self> {
        Self::parse(&format!("{}/{below}", self.0))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the directory that holds it; `None` at the top.
    pub fn parent(&self) -> Option<Self> {
        self.0.rsplit_once('/').map(|(parent, _)| Self(parent.to_owned()))
    }

    /// The last component.
    pub fn file_name(&self) -> &str {
        self.0.rsplit_once('/').map_or(&self.0, |(_, last)| last)
    }

    /// Whether the name steers the SCM or CI, so that writing it needs an explicit permission (SAFE-52).
    pub fn is_protected(&self) -> bool {
        let folded = fold(&self.0);
        let last = folded.rsplit('/').next().unwrap_or_default();
        folded == ".github/workflows"
            || folded.starts_with(".github/workflows/")
            || matches!(last, ".gitattributes" | ".gitmodules" | "codeowners")
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn component_rule(component: &str) -> Option<&'static str> {
    let bytes = component.as_bytes();
    if component.is_empty() || component == "." || component == ".." {
        return Some("components must not be empty, `.` or `..`");
    }
    if bytes.len() > COMPONENT_BYTES_MAX {
        return Some("a component must have at most 255 bytes");
    }
    if component.ends_with('.') || component.ends_with(' ') {
        return Some("a component must not end in a dot or space");
    }
    if bytes.len() >= 2 && bytes[1] == b':' && bytes[0].is_ascii_alphabetic() {
        return Some("it must not begin with a drive");
    }
    let folded = fold(component);
    if folded == ".git" || folded == "git~1" || folded.starts_with(".git:") {
        return Some("`.git` is reserved");
    }
    None
}

fn fold(text: &str) -> String {
    text.nfkc().flat_map(char::to_lowercase).nfkc().collect()
}

/// A set of names in which no two may differ only by case or Unicode form, their directories included.
#[derive(Default)]
pub struct PathSet(BTreeMap<String, (String, bool)>);

impl PathSet {
    /// Takes one more file name.
    ///
    /// # Errors
    /// PATH_COLLISION if another name, or a directory of another name, folds to the same text.
    pub fn insert(&mut self, path: &FilePath) -> Result<()> {
        let text = path.as_str();
        let ends = text.match_indices('/').map(|(i, _)| i).chain([text.len()]);
        for end in ends {
            let (part, is_file) = (&text[..end], end == text.len());
            match self.0.get(&fold(part)) {
                Some((known, known_is_file)) if known != part || is_file || *known_is_file => {
                    return Err(Error::new(&PATH_COLLISION, format!("file names {known:?} and {text:?} collide")));
                }
                Some(_) => {}
                None => {
                    self.0.insert(fold(part), (part.to_owned(), is_file));
                }
            }
        }
        Ok(())
    }
}

/// Permission bits a written file gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// 0644.
    Plain,
    /// 0755.
    Executable,
    /// 0600.
    Private,
}

impl Mode {
    /// The bits.
    pub fn bits(self) -> u32 {
        match self {
            Mode::Plain => 0o644,
            Mode::Executable => 0o755,
            Mode::Private => 0o600,
        }
    }
}

/// What stands under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link with its target as stored; never followed.
    Link(String),
    /// A device, FIFO or socket.
    Other,
}

/// One entry of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Name below the listed directory.
    pub path: FilePath,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits.
    pub mode: u32,
    /// Size in bytes.
    pub size_bytes: u64,
}

/// A directory that no operation on it can leave. All methods block; run long sequences on a blocking thread.
pub struct WorkDir {
    dir: Dir,
    path: PathBuf,
    /// Removes the directory when dropped, if it is a temporary one.
    _guard: Option<tempfile::TempDir>,
}

impl WorkDir {
    /// Opens an existing directory named by configuration, never by a caller.
    pub fn open(path: &Path) -> Result<Self> {
        let dir = Dir::open_ambient_dir(path, ambient_authority()).map_err(|e| io_error(e, &path.display()))?;
        let path = path.canonicalize().map_err(|e| io_error(e, &path.display()))?;
        Ok(Self { dir, path, _guard: None })
    }

    /// Opens a directory named by configuration and makes it, with mode 0700, if it is missing.
    pub fn open_or_create(path: &Path) -> Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|e| io_error(e, &path.display()))?;
        Self::open(path)
    }

    /// A new private directory that is removed with the value.
    pub fn temporary() -> Result<Self> {
        let guard = tempfile::Builder::new().prefix("slipway-").tempdir().map_err(Error::internal)?;
        let mut opened = Self::open(guard.path())?;
        opened._guard = Some(guard);
        Ok(opened)
    }

    /// The directory's own path, for child processes and messages only.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a directory below.
    pub fn open_dir(&self, path: &FilePath) -> Result<Self> {
        let dir = self.dir.open_dir(path.as_str()).map_err(|e| io_error(e, path))?;
        Ok(Self { dir, path: self.path.join(path.as_str()), _guard: None })
    }

    /// Makes a directory and those above it.
    pub fn create_dir(&self, path: &FilePath) -> Result<()> {
        self.dir.create_dir_all(path.as_str()).map_err(|e| io_error(e, path))
    }

    /// Whether something stands under the name; links are not followed.
    pub fn exists(&self, path: &FilePath) -> bool {
        self.dir.symlink_metadata(path.as_str()).is_ok()
    }

    /// Reads a regular file of at most `bytes_max`.
    ///
    /// # Errors
    /// NOT_FOUND; FILE_TOO_LARGE; PATH_REFUSED if it is no regular file or a link leads outside.
    pub fn read(&self, path: &FilePath, bytes_max: u64) -> Result<Vec<u8>> {
        let file = self.dir.open(path.as_str()).map_err(|e| io_error(e, path))?;
        if !file.metadata().map_err(|e| io_error(e, path))?.is_file() {
            return Err(Error::new(&PATH_REFUSED, format!("{path} is no regular file")));
        }
        let mut bytes = Vec::new();
        file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(|e| io_error(e, path))?;
        if bytes.len() as u64 > bytes_max {
            return Err(Error::new(&FILE_TOO_LARGE, format!("{path} is larger than {bytes_max} bytes")));
        }
        Ok(bytes)
    }

    /// Reads a UTF-8 file of at most `bytes_max`.
    pub fn read_text(&self, path: &FilePath, bytes_max: u64) -> Result<String> {
        String::from_utf8(self.read(path, bytes_max)?)
            .map_err(|_| Error::new(&PATH_REFUSED, format!("{path} is not UTF-8")))
    }

    /// Writes a file whole or not at all: readers see the old or the new bytes, also after a crash. Makes its directories.
    pub fn write(&self, path: &FilePath, bytes: &[u8], mode: Mode) -> Result<()> {
        let parent = path.parent();
        if let Some(parent) = &parent {
            self.create_dir(parent)?;
        }
        let name = format!(".slipway-{}.tmp", crate::id::uuid4());
        let temporary = parent.map_or_else(|| name.clone(), |p| format!("{p}/{name}"));
        let written = self
            .write_new(&temporary, bytes, mode, true)
            .and_then(|()| self.dir.rename(&temporary, &self.dir, path.as_str()));
        if let Err(error) = written {
            let _ = self.dir.remove_file(&temporary);
            return Err(io_error(error, path));
        }
        Ok(())
    }

    /// Writes a new file in scratch space: not synced to disk, and an existing file is an error. Makes its directories.
    pub fn write_scratch(&self, path: &FilePath, bytes: &[u8], mode: Mode) -> Result<()> {
        if let Some(parent) = path.parent() {
            self.create_dir(&parent)?;
        }
        self.write_new(path.as_str(), bytes, mode, false).map_err(|e| io_error(e, path))
    }

    fn write_new(&self, name: &str, bytes: &[u8], mode: Mode, durable: bool) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(mode.bits());
        let mut file = self.dir.open_with(name, &options)?;
        file.write_all(bytes)?;
        // The umask may have taken bits away.
        file.set_permissions(Permissions::from_std(std::fs::Permissions::from_mode(mode.bits())))?;
        if durable { file.sync_all() } else { Ok(()) }
    }

    /// Makes a symbolic link to a target inside this directory.
    ///
    /// # Errors
    /// PATH_REFUSED if the target is absolute or leads outside.
    pub fn link(&self, target: &str, path: &FilePath) -> Result<()> {
        if !stays_inside(path, target) {
            return Err(Error::new(&PATH_REFUSED, format!("link {path} leads outside")));
        }
        if let Some(parent) = path.parent() {
            self.create_dir(&parent)?;
        }
        self.dir.symlink(target, path.as_str()).map_err(|e| io_error(e, path))
    }

    /// Renames within this directory, replacing what stands there.
    pub fn rename(&self, from: &FilePath, to: &FilePath) -> Result<()> {
        self.dir.rename(from.as_str(), &self.dir, to.as_str()).map_err(|e| io_error(e, from))
    }

    /// Removes a file or link, or a directory with everything in it; fine if there is none.
    pub fn remove(&self, path: &FilePath) -> Result<()> {
        let removed = match self.dir.symlink_metadata(path.as_str()) {
            Ok(found) if found.is_dir() => self.dir.remove_dir_all(path.as_str()),
            Ok(_) => self.dir.remove_file(path.as_str()),
            Err(error) => Err(error),
        };
        match removed {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(|e| io_error(e, path)),
        }
    }

    /// Everything below, sorted by name, links not followed.
    ///
    /// # Errors
    /// PATH_REFUSED for a name that breaks the rules; FILE_TOO_LARGE for more than [`ENTRIES_MAX`] entries.
    pub fn list(&self) -> Result<Vec<Entry>> {
        let mut found = Vec::new();
        let mut open: Vec<Option<FilePath>> = vec![None];
        while let Some(at) = open.pop() {
            let name = at.as_ref().map_or(".", FilePath::as_str);
            for item in self.dir.read_dir(name).map_err(|e| io_error(e, &name))? {
                let item = item.map_err(|e| io_error(e, &name))?;
                let entry = self.entry(at.as_ref(), &item.file_name())?;
                if entry.kind == EntryKind::Directory {
                    open.push(Some(entry.path.clone()));
                }
                found.push(entry);
                if found.len() > ENTRIES_MAX {
                    return Err(Error::new(&FILE_TOO_LARGE, format!("more than {ENTRIES_MAX} files")));
                }
            }
        }
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    fn entry(&self, at: Option<&FilePath>, name: &std::ffi::OsStr) -> Result<Entry> {
        let name = name.to_str().ok_or_else(|| Error::new(&PATH_REFUSED, "a file name is not UTF-8"))?;
        let path = at.map_or_else(|| FilePath::parse(name), |at| at.join(name))?;
        let found = self.dir.symlink_metadata(path.as_str()).map_err(|e| io_error(e, &path))?;
        let kind = if found.is_symlink() {
            let target = self.dir.read_link_contents(path.as_str()).map_err(|e| io_error(e, &path))?;
            EntryKind::Link(target.to_string_lossy().into_owned())
        } else if found.is_dir() {
            EntryKind::Directory
        } else if found.is_file() {
            EntryKind::File
        } else {
            EntryKind::Other
        };
        use cap_std::fs::MetadataExt as _;
        Ok(Entry { path, kind, mode: found.mode() & 0o7777, size_bytes: found.len() })
    }
}

/// Whether a relative link at `path` with `target` ends inside the directory that `path` is below.
pub fn stays_inside(path: &FilePath, target: &str) -> bool {
    if target.is_empty() || target.starts_with('/') || target.contains(['\\', '\0']) {
        return false;
    }
    let mut depth = path.as_str().matches('/').count();
    for component in target.split('/') {
        match component {
            "" | "." => {}
            ".." if depth == 0 => return false,
            ".." => depth -= 1,
            ".git" => return false,
            _ => depth += 1,
        }
    }
    true
}

fn io_error(error: io::Error, what: &dyn fmt::Display) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => Error::new(&NOT_FOUND, format!("there is no file {what}")),
        io::ErrorKind::PermissionDenied => {
            Error::new(&PATH_REFUSED, format!("{what} cannot be reached here")).source(error)
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory | io::ErrorKind::AlreadyExists => {
            Error::new(&PATH_REFUSED, format!("{what} is in the way")).source(error)
        }
        _ => Error::internal(error),
    }
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
