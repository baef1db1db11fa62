//! What the tests of the packet path share.

pub mod explained;
pub mod lab;
pub mod packet;
pub mod scene;
