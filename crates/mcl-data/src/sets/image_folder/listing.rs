//! What is in a folder of pictures: classes and files, in an order that does not depend on the file system.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::DataError;
use crate::sets::folder::{self, LOOKED_FOR};

/// The pictures of a folder, by name only: none of them has been opened.
pub(super) struct Listing {
    /// The folder itself.
    pub(super) root: PathBuf,
    /// The classes, sorted by name.
    pub(super) class_names: Vec<String>,
    /// The folder of each class.
    pub(super) folders: Vec<PathBuf>,
    /// Every picture with its class.
    pub(super) files: Vec<(PathBuf, usize)>,
    /// Pictures of formats that are not read.
    pub(super) other_formats: Vec<PathBuf>,
}

impl Listing {
    /// Files wherever they are, as one class. The first one stands for the folder in errors.
    pub(super) fn of_files(files: &[PathBuf]) -> Self {
        let root = files.first().cloned().unwrap_or_default();
        Self {
            folders: vec![PathBuf::new()],
            root,
            class_names: vec!["pictures".into()],
            files: files.iter().map(|path| (path.clone(), 0)).collect(),
            other_formats: Vec::new(),
        }
    }

    /// Lists `root`: one class for each sub-folder, or one class if there are pictures only, or if `root` is a picture.
    /// A class without pictures is an error, unless `empty_classes` are wanted.
    pub(super) fn read(root: &Path, empty_classes: bool) -> Result<Self, DataError> {
        if root.is_file() {
            let one = Self::of_files(std::slice::from_ref(&root.to_path_buf()));
            return Ok(Self {
                class_names: vec![folder::name(root)],
                folders: vec![root.to_path_buf()],
                ..one
            });
        }
        let other_formats = folder::other_formats_below(root)?;
        let (folders, pictures) = (folder::folders(root)?, folder::pictures(root)?);
        let root = root.to_path_buf();
        match (folders.first(), pictures.first()) {
            (None, None) => Err(DataError::NoClassFolders { path: root }),
            (Some(folder), Some(picture)) => Err(DataError::MixedFolder {
                path: root,
                picture: folder::name(picture),
                folder: folder::name(folder),
            }),
            (None, Some(_)) => {
                let class_names = vec![folder::own_name(&root)];
                let files = pictures.into_iter().map(|path| (path, 0)).collect();
                Ok(Self { folders: vec![root.clone()], root, class_names, files, other_formats })
            }
            (Some(_), None) => {
                let class_names = names(&folders)?;
                let mut files = Vec::new();
                for (label, folder) in folders.iter().enumerate() {
                    let pictures = folder::pictures_below(folder)?;
                    if pictures.is_empty() && !empty_classes {
                        let path = folder.clone();
                        return Err(DataError::EmptyFolder { path, looked_for: LOOKED_FOR });
                    }
                    files.extend(pictures.into_iter().map(|path| (path, label)));
                }
                Ok(Self { root, class_names, folders, files, other_formats })
            }
        }
    }
}

/// The names of `folders`, of which two can be one as text: in names that are not UTF-8, what is not is replaced.
fn names(folders: &[PathBuf]) -> Result<Vec<String>, DataError> {
    let mut seen = HashMap::new();
    for folder in folders {
        let name = folder::name(folder);
        if let Some(first) = seen.insert(name.clone(), folder) {
            return Err(DataError::EqualFolderNames { name, first: first.clone(), second: folder.clone() });
        }
    }
    Ok(folders.iter().map(|folder| folder::name(folder)).collect())
}
