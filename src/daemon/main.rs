//! floorgate
fn main() {}
