//! The sets: where their images come from, and how files become an [`ImageSet`](crate::ImageSet).

mod cifar;
pub mod cifar10;
pub mod cifar100;
pub mod fix;
pub(crate) mod folder;
pub mod image_folder;
pub mod imagenet_fix;
pub mod lsun_fix;
pub mod openood;
pub mod shapes;
pub mod svhn;
