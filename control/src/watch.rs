//! Notices that a file has another content, however an editor or a tool saves it.
//!
//! The file is looked at by name, again and again: a rename over it, a rewrite in place and
//! a symbolic link that is turned elsewhere all show as another identity, size or time. A
//! change counts once two looks in a row see the same file, so that one that is still
//! being written is left alone.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    device: u64,
    inode: u64,
    size: u64,
    seconds: i64,
    nanoseconds: i64,
}

/// A file that is watched.
#[derive(Debug)]
pub struct Watch {
    path: PathBuf,
    /// What was there when the content was last taken.
    taken: Option<Look>,
    /// What was there at the last look.
    last: Option<Look>,
}

impl Watch {
    /// Watches a file from its present content on.
    pub fn new(path: &Path) -> Self {
        let taken = look(path);
        Self { path: path.to_owned(), taken, last: taken }
    }

    /// Looks again. `true` once for every content that has come to rest. A file that is
    /// missing is no change: an editor may be between two steps of saving it.
    pub fn changed(&mut self) -> bool {
        let now = look(&self.path);
        let settled = now.is_some() && now == self.last;
        self.last = now;
        if settled && now != self.taken {
            self.taken = now;
            return true;
        }
        false
    }

    /// Takes the present content as known, because it is being read for another reason.
    pub fn taken(&mut self) {
        self.taken = look(&self.path);
        self.last = self.taken;
    }
}

fn look(path: &Path) -> Option<Look> {
    let metadata = fs::metadata(path).ok()?;
    Some(Look {
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.size(),
        seconds: metadata.mtime(),
        nanoseconds: metadata.mtime_nsec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("watch-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn every_way_of_saving_is_noticed_once() {
        let folder = Folder::new("saving");
        let file = folder.0.join("director.yaml");
        fs::write(&file, "one").unwrap();
        let mut watch = Watch::new(&file);
        let mut settle = |what: &str| {
            let seen = (0..3).filter(|_| watch.changed()).count();
            assert_eq!(seen, 1, "{what}");
            assert!(!watch.changed(), "{what}, again");
        };
        fs::write(&file, "two, in place").unwrap();
        settle("rewritten in place");
        fs::write(folder.0.join("new"), "three").unwrap();
        fs::rename(folder.0.join("new"), &file).unwrap();
        settle("renamed over");
        fs::remove_file(&file).unwrap();
        fs::write(&file, "four").unwrap();
        settle("removed and written");
        fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink("elsewhere", &file).unwrap();
        fs::write(folder.0.join("elsewhere"), "five").unwrap();
        settle("a link to another file");
    }

    #[test]
    fn a_missing_file_is_no_change_until_it_is_back() {
        let folder = Folder::new("missing");
        let file = folder.0.join("director.yaml");
        fs::write(&file, "one").unwrap();
        let mut watch = Watch::new(&file);
        fs::remove_file(&file).unwrap();
        assert!(!watch.changed());
        assert!(!watch.changed());
        fs::write(&file, "two!").unwrap();
        assert!(!watch.changed(), "seen for the first time");
        assert!(watch.changed());
    }
}
