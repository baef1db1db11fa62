//! What the tests of the packet path share.

pub mod lab;
pub mod packet;
pub mod scene;
